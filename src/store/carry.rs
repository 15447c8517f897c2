//! Giving a file another name, or copying it where the file system cannot.

use std::io::{self, Write as _};
use std::path::Path;

use crate::platform::Disk;
use crate::platform::disk::{File, Open};

use super::parts::for_each_piece;

/// Gives a file a second name; `false` where that cannot be done and a copy can.
pub(super) fn link(disk: &dyn Disk, from: &Path, to: &Path) -> io::Result<bool> {
    match disk.hard_link(from, to) {
        Ok(()) => Ok(true),
        Err(error) => match error.kind() {
            // File systems without links say either; `PermissionDenied` is also what a
            // system says that protects other people's files from being linked.
            io::ErrorKind::Unsupported
            | io::ErrorKind::PermissionDenied
            | io::ErrorKind::CrossesDevices
            | io::ErrorKind::TooManyLinks => Ok(false),
            _ => Err(error),
        },
    }
}

/// Copies the next `len` bytes of an open file to a new one, which is not synced. A file that
/// has fewer is an error.
pub(super) fn copy(disk: &dyn Disk, from: &mut dyn File, to: &Path, len: u64) -> io::Result<()> {
    let mut target = disk.open(to, Open::CreateNew)?;
    let mut copied = 0;
    for_each_piece(from, len, |piece| {
        copied += piece.len() as u64;
        target.write_all(piece)
    })?;
    if copied < len {
        let why = format!("it has {copied} bytes, and {len} were expected");
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, why));
    }
    Ok(())
}

/// Makes `to` hold the first `len` bytes of `from`: by a link if those are all, else by a copy.
pub(super) fn link_or_copy(disk: &dyn Disk, from: &Path, to: &Path, len: u64) -> io::Result<()> {
    if disk.stat(from)?.len == len && link(disk, from, to)? {
        return Ok(());
    }
    copy(disk, disk.open(from, Open::Read)?.as_mut(), to, len)
}

/// A new file with these bytes, synced.
pub(super) fn write_new(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = disk.open(path, Open::CreateNew)?;
    file.write_all(bytes)?;
    file.sync_data()
}
