//! Replacing a whole file at once: settings, sealed keys, indexes.
//!
//! Layer: store. Promise: whatever fails and whenever the machine stops, the target
//! holds either all of its old bytes or all of its new ones.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use crate::model::error::{Error, Kind, Result};
use crate::platform::disk::{FileKind, Open};
use crate::platform::{Disk, Random};

/// Writes the content of a file.
pub type Fill<'a> = dyn FnMut(&mut dyn io::Write) -> io::Result<()> + 'a;

/// Replaces `path` by a file of mode 0600 with these bytes; the directory must exist.
///
/// The bytes go to `.NAME.RANDOM.tmp` in the same directory, are synced, and take the
/// target's name; then the directory is synced. An error after the rename (the last
/// sync) leaves the new content, which may not survive a power cut; an error before it
/// leaves the old content and, where the disk still lets it, no temporary file.
///
/// Anything but a regular file is refused: renaming over a symbolic link would cut a
/// person's dotfiles off from their repository without a word.
pub fn replace(disk: &dyn Disk, random: &dyn Random, path: &Path, bytes: &[u8]) -> Result<()> {
    put(disk, random, path, &mut |file| file.write_all(bytes), false)
}

/// The same, with what `fill` writes: for what is better not in memory as a whole.
pub fn replace_with(
    disk: &dyn Disk,
    random: &dyn Random,
    path: &Path,
    fill: &mut Fill<'_>,
) -> Result<()> {
    put(disk, random, path, fill, false)
}

/// The same, but a file that is there hands its permission bits on to the new one: for files
/// that a person has made readable for another program on purpose.
pub fn replace_keeping_mode(
    disk: &dyn Disk,
    random: &dyn Random,
    path: &Path,
    bytes: &[u8],
) -> Result<()> {
    put(disk, random, path, &mut |file| file.write_all(bytes), true)
}

fn put(
    disk: &dyn Disk,
    random: &dyn Random,
    path: &Path,
    fill: &mut Fill<'_>,
    keeps_mode: bool,
) -> Result<()> {
    let fail = |error: &io::Error| Error::io("cannot save", path, error);
    let mut mode = None;
    match disk.stat(path) {
        Ok(stat) if stat.kind == FileKind::File => mode = stat.mode.filter(|_| keeps_mode),
        Ok(_) => {
            return Err(Error::new(Kind::CannotCreate, "cannot save")
                .why("the target is a link or a directory, and only a plain file is replaced")
                .path(path)
                .hint("name the file itself, as with --config-file"));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(fail(&error)),
    }
    let directory = parent(path);
    let temporary = temporary(path, directory, random).map_err(|error| fail(&error))?;
    let written = write(disk, &temporary, fill).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied => {
            fail(&error).with_kind(Kind::CannotCreate)
        }
        _ => fail(&error),
    });
    written?;
    let moded = mode.map_or(Ok(()), |mode| disk.set_mode(&temporary, mode));
    if let Err(error) = moded.and_then(|()| disk.rename(&temporary, path)) {
        discard(disk, &temporary);
        return Err(fail(&error));
    }
    disk.sync_dir(directory)
        .map_err(|error| fail(&error).cause("it is saved, but may not survive a power cut"))
}

/// Creates a directory and every missing parent, each with mode 0700.
pub fn create_dirs(disk: &dyn Disk, path: &Path) -> Result<()> {
    let mut missing: Vec<&Path> = Vec::new();
    for directory in path.ancestors() {
        if directory.as_os_str().is_empty() || exists(disk, directory)? {
            break;
        }
        missing.push(directory);
    }
    for directory in missing.into_iter().rev() {
        match disk.create_dir(directory) {
            // A directory that a power cut takes away takes its files with it.
            Ok(()) => disk
                .sync_dir(parent(directory))
                .map_err(|error| Error::io("cannot create the directory", directory, &error))?,
            // Another pachat was faster.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => {
                let made = Error::io("cannot create the directory", directory, &error);
                return Err(match error.kind() {
                    io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => made,
                    _ => made.with_kind(Kind::CannotCreate),
                });
            }
        }
    }
    Ok(())
}

fn exists(disk: &dyn Disk, directory: &Path) -> Result<bool> {
    match disk.stat(directory) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Error::io("cannot look at the directory", directory, &error)),
    }
}

/// Creates and fills a new file, synced. Removes it again if that fails.
fn write(disk: &dyn Disk, path: &Path, content: &mut Fill<'_>) -> io::Result<()> {
    let mut file = disk.open(path, Open::CreateNew)?;
    let written = content(&mut file).and_then(|()| file.sync_data());
    // Closed before it is removed or renamed: Windows refuses both on an open file.
    drop(file);
    if written.is_err() {
        discard(disk, path);
    }
    written
}

/// Removes a temporary file; the error that led here is the one worth telling.
fn discard(disk: &dyn Disk, path: &Path) {
    if let Err(error) = disk.remove_file(path) {
        log::warn!("cannot remove {}: {error}", path.display());
    }
}

/// A new name for a temporary file beside `path`.
fn temporary(path: &Path, directory: &Path, random: &dyn Random) -> io::Result<PathBuf> {
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::from(io::ErrorKind::IsADirectory))?;
    let mut made = std::ffi::OsString::from(".");
    made.push(name);
    let mut tail = String::new();
    // Writing to a string cannot fail.
    let _ = write!(tail, ".{:08x}.tmp", random.next_u32()?);
    made.push(tail);
    Ok(directory.join(made))
}

/// The directory that a path is in.
pub(super) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Seek, SeekFrom, Write};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::platform::disk::{Entry, File, LockMode, RealDisk, Stat, Walked};
    use crate::platform::random::RealRandom;

    /// Fails the Nth operation, counted from 1; later ones work again.
    struct FailingDisk(Arc<Countdown>);

    struct Countdown {
        fail_at: usize,
        count: AtomicUsize,
    }

    impl Countdown {
        fn step(&self) -> io::Result<()> {
            let now = self.count.fetch_add(1, Ordering::SeqCst) + 1;
            if now == self.fail_at {
                Err(io::Error::from(io::ErrorKind::StorageFull))
            } else {
                Ok(())
            }
        }
    }

    struct FailingFile(Box<dyn File>, Arc<Countdown>);

    impl FailingDisk {
        fn at(fail_at: usize) -> Self {
            Self(Arc::new(Countdown {
                fail_at,
                count: AtomicUsize::new(0),
            }))
        }
    }

    impl Disk for FailingDisk {
        fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn File>> {
            self.0.step()?;
            let file = RealDisk.open(path, how)?;
            Ok(Box::new(FailingFile(file, Arc::clone(&self.0))))
        }
        fn create_dir(&self, path: &Path) -> io::Result<()> {
            self.0.step()?;
            RealDisk.create_dir(path)
        }
        fn read_dir(&self, path: &Path) -> io::Result<Vec<Entry>> {
            self.0.step()?;
            RealDisk.read_dir(path)
        }
        fn stat(&self, path: &Path) -> io::Result<Stat> {
            self.0.step()?;
            RealDisk.stat(path)
        }
        fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
            self.0.step()?;
            RealDisk.rename(from, to)
        }
        fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
            self.0.step()?;
            RealDisk.hard_link(from, to)
        }
        fn remove_file(&self, path: &Path) -> io::Result<()> {
            self.0.step()?;
            RealDisk.remove_file(path)
        }
        fn remove_dir(&self, path: &Path) -> io::Result<()> {
            self.0.step()?;
            RealDisk.remove_dir(path)
        }
        fn sync_dir(&self, path: &Path) -> io::Result<()> {
            self.0.step()?;
            RealDisk.sync_dir(path)
        }
        fn sync_tree(&self, path: &Path) -> io::Result<()> {
            self.0.step()?;
            RealDisk.sync_tree(path)
        }
        fn free_space(&self, path: &Path) -> io::Result<Option<u64>> {
            self.0.step()?;
            RealDisk.free_space(path)
        }
        fn set_mode(&self, path: &Path, mode: u32) -> io::Result<()> {
            self.0.step()?;
            RealDisk.set_mode(path, mode)
        }
        fn walk(&self, path: &Path) -> io::Result<Vec<Walked>> {
            self.0.step()?;
            RealDisk.walk(path)
        }
    }

    impl Read for FailingFile {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0.read(buffer)
        }
    }
    impl Write for FailingFile {
        /// A disk that fills up takes a part of the bytes first.
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.1.step()?;
            self.0.write(&bytes[..bytes.len().div_ceil(2)])
        }
        fn flush(&mut self) -> io::Result<()> {
            self.0.flush()
        }
    }
    impl Seek for FailingFile {
        fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
            self.0.seek(to)
        }
    }
    impl File for FailingFile {
        fn sync_data(&self) -> io::Result<()> {
            self.1.step()?;
            self.0.sync_data()
        }
        fn set_len(&self, len: u64) -> io::Result<()> {
            self.1.step()?;
            self.0.set_len(len)
        }
        fn stat(&self) -> io::Result<Stat> {
            self.0.stat()
        }
        fn try_lock(&self, mode: LockMode) -> io::Result<bool> {
            self.0.try_lock(mode)
        }
    }

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<String> = RealDisk
            .read_dir(directory)
            .unwrap()
            .into_iter()
            .map(|entry| entry.name.into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn the_nth_failure_leaves_the_old_or_the_new_and_no_temporary_file() {
        let clean = FailingDisk::at(usize::MAX);
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("app_config.json");
        replace(&clean, &RealRandom, &path, b"old content").unwrap();
        clean.0.count.store(0, Ordering::SeqCst);
        replace(&clean, &RealRandom, &path, b"new content").unwrap();
        let operations = clean.0.count.load(Ordering::SeqCst);
        assert!(operations >= 6, "{operations}");

        for n in 1..=operations {
            replace(&RealDisk, &RealRandom, &path, b"old content").unwrap();
            let error =
                replace(&FailingDisk::at(n), &RealRandom, &path, b"new content").unwrap_err();
            assert_eq!(error.kind(), Kind::Io, "operation {n}");
            let now = RealDisk.read(&path, 100).unwrap();
            // Only the very last operation, the directory's sync, comes after the rename.
            let expected: &[u8] = if n == operations {
                b"new content"
            } else {
                b"old content"
            };
            assert_eq!(now, expected, "operation {n}");
            assert_eq!(
                names(directory.path()),
                ["app_config.json"],
                "operation {n}"
            );
        }
    }

    #[cfg(unix)]
    #[test]
    fn files_are_private_and_so_are_new_directories() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("a/b/c");
        create_dirs(&RealDisk, &directory).unwrap();
        create_dirs(&RealDisk, &directory).unwrap();
        let path = directory.join("x");
        replace(&RealDisk, &RealRandom, &path, b"1").unwrap();
        assert_eq!(RealDisk.stat(&path).unwrap().mode, Some(0o600));
        for directory in ["a", "a/b", "a/b/c"] {
            let mode = RealDisk.stat(&root.path().join(directory)).unwrap().mode;
            assert_eq!(mode, Some(0o700));
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_symbolic_link_is_not_replaced() {
        let root = tempfile::tempdir().unwrap();
        let link = root.path().join("link");
        replace(&RealDisk, &RealRandom, &root.path().join("real"), b"kept").unwrap();
        std::os::unix::fs::symlink("real", &link).unwrap();
        let error = replace(&RealDisk, &RealRandom, &link, b"new").unwrap_err();
        assert_eq!(error.kind(), Kind::CannotCreate);
        assert_eq!(RealDisk.read(&link, 10).unwrap(), b"kept");
    }

    #[test]
    fn a_missing_directory_cannot_be_created_in() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("missing/x");
        let error = replace(&RealDisk, &RealRandom, &path, b"1").unwrap_err();
        assert_eq!(error.kind(), Kind::CannotCreate);
    }
}
