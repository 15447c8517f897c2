//! Stand-in.
use crate::model::error::{Error, Result};
use crate::platform::disk::Open;
use crate::platform::{Disk, Random};
use std::path::Path;
/// Stand-in.
pub fn create_dirs(disk: &dyn Disk, path: &Path) -> Result<()> {
    if disk.stat(path).is_ok() {
        return Ok(());
    }
    if let Some(p) = path.parent() {
        create_dirs(disk, p)?;
    }
    match disk.create_dir(path) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(e) => Err(Error::io("cannot create directory", path, &e)),
    }
}
/// Stand-in.
pub fn replace(disk: &dyn Disk, random: &dyn Random, path: &Path, bytes: &[u8]) -> Result<()> {
    let tmp = path.with_extension(format!("{}.tmp", random.next_u32().unwrap_or(0)));
    let go = || -> std::io::Result<()> {
        let mut f = disk.open(&tmp, Open::CreateNew)?;
        f.write_all(bytes)?;
        f.sync_data()?;
        disk.rename(&tmp, path)?;
        disk.sync_dir(path.parent().unwrap_or(path))
    };
    go().map_err(|e| Error::io("cannot write", path, &e))
}
