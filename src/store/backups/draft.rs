//! A file in the making, which goes away unless it is published.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::model::error::{Error, Kind, Result};
use crate::platform::disk::{Disk, File, Open};

/// A file under a temporary name. Dropping it removes it.
pub struct Draft {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    published: bool,
}

impl Draft {
    /// Makes the file, in the place of one that was left over. The directory must exist.
    pub fn create(disk: &Arc<dyn Disk>, path: PathBuf) -> Result<(Self, Box<dyn File>)> {
        let fail = |error: io::Error| Error::io("cannot create the archive", &path, &error);
        match disk.remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(fail(error)),
            _ => {}
        }
        let file = disk
            .open(&path, Open::CreateNew)
            .map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => no_directory("cannot create the archive", &path, &error),
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => fail(error),
                _ => fail(error).with_kind(Kind::CannotCreate),
            })?;
        let draft = Self {
            disk: Arc::clone(disk),
            path,
            published: false,
        };
        Ok((draft, file))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives it its name, for good: what has that name is replaced. The content is synced
    /// already. After an error it may have the name, and lose it in a power cut.
    pub fn publish(mut self, target: &Path) -> Result<()> {
        let fail = |error: io::Error| Error::io("cannot name the archive", target, &error);
        self.disk.rename(&self.path, target).map_err(fail)?;
        self.published = true;
        let directory = match target.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        self.disk.sync_dir(directory).map_err(|error| {
            fail(error).cause("it is whole and has its name, but may not survive a power cut")
        })
    }
}

/// The error of a directory that is not there, for what was to be made in it.
fn no_directory(what: &str, path: &Path, error: &io::Error) -> Error {
    let directory = path.parent().unwrap_or(path);
    Error::io(what, directory, error)
        .with_kind(Kind::CannotCreate)
        .hint("make the directory first, or name another one")
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.published
            && let Err(error) = self.disk.remove_file(&self.path)
        {
            log::warn!("cannot remove {}: {error}", self.path.display());
        }
    }
}
