//! Files, through a trait, so that a test can fail, cut or delay any single operation.
//!
//! The operations are few on purpose: each is one thing that a disk can do or refuse.
//! What makes them durable and atomic is the store's business.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

#[cfg(unix)]
use super::program;

/// How to open a file. Files are created with mode 0600, never changed to it later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// For reading; it must exist.
    Read,
    /// For reading and appending; it must exist.
    Append,
    /// For reading and appending; created if missing.
    AppendOrCreate,
    /// For reading and appending; it must not exist.
    CreateNew,
}

/// What kind of thing a directory entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link, a device, a socket: nothing that pachat writes.
    Other,
}

/// A directory entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name, without the directory.
    pub name: OsString,
    /// What it is; links are not followed.
    pub kind: FileKind,
}

/// Something below a directory, at any depth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Walked {
    /// Where it is: the directory that was walked, and the way from there.
    pub path: PathBuf,
    /// What it is; links are not followed.
    pub kind: FileKind,
}

/// What is known about a file. Links are not followed.
#[derive(Clone, Copy, Debug)]
pub struct Stat {
    /// What it is.
    pub kind: FileKind,
    /// Its length in bytes.
    pub len: u64,
    /// When it was last changed, where the file system says.
    pub modified: Option<SystemTime>,
    /// Unix permission bits; `None` elsewhere.
    pub mode: Option<u32>,
    /// The number of the user whose file it is; `None` where there are no such numbers.
    pub owner: Option<u32>,
    /// Device and inode; `None` where the platform has no such thing. Two open files
    /// with the same identity are the same file.
    pub identity: Option<(u64, u64)>,
}

/// What is known about a file system. `None` is what the platform does not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileSystem {
    /// How many bytes this person can still write.
    pub free: Option<u64>,
    /// How many bytes it has altogether.
    pub total: Option<u64>,
    /// How many files can still be made; also `None` where there is no limit.
    pub free_files: Option<u64>,
    /// Whether nothing can be written to it.
    pub read_only: Option<bool>,
}

/// A lock on a whole file, by the kernel: gone with the process that holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockMode {
    /// Together with other readers.
    Shared,
    /// Alone.
    Exclusive,
}

/// An open file. Dropping it closes it and releases its lock.
pub trait File: Read + Write + Seek + Send {
    /// Makes the content durable.
    fn sync_data(&self) -> io::Result<()>;

    /// Cuts or extends the file.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// What is known about it.
    fn stat(&self) -> io::Result<Stat>;

    /// Sets when it was last changed; does nothing on a disk that does not keep that.
    fn set_modified(&self, _at: SystemTime) -> io::Result<()> {
        Ok(())
    }

    /// Takes the lock if it is free; `false` if another holder has it.
    fn try_lock(&self, mode: LockMode) -> io::Result<bool>;
}

/// A disk.
pub trait Disk: Send + Sync {
    /// Opens a file.
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn File>>;

    /// Creates one directory with mode 0700.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// The entries of a directory, in no order.
    fn read_dir(&self, path: &Path) -> io::Result<Vec<Entry>>;

    /// The same, and what is known about each of them. A disk can tell both in one go, which
    /// spares it the way to every single one.
    fn read_dir_stats(&self, path: &Path) -> io::Result<Vec<(Entry, io::Result<Stat>)>> {
        let entries = self.read_dir(path)?.into_iter();
        Ok(entries
            .map(|entry| {
                let stat = self.stat(&path.join(&entry.name));
                (entry, stat)
            })
            .collect())
    }

    /// What is known about a path.
    fn stat(&self, path: &Path) -> io::Result<Stat>;

    /// Renames. A file replaces a file that is there. A directory, with all that is below it,
    /// is renamed at once; what is there must be nothing, or on Unix an empty directory. One
    /// that is not empty is an error, and so is another file system.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Gives a file a second name, which must be free. Some file systems have no such thing,
    /// and none has it across file systems.
    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file, or a symbolic link itself.
    fn remove_file(&self, path: &Path) -> io::Result<()>;

    /// Removes an empty directory.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;

    /// Makes the entries of a directory durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;

    /// Makes the contents of these files durable, but not their names; for many files of one
    /// directory that were just written. What an error leaves durable nobody knows.
    fn sync_files(&self, paths: &[PathBuf]) -> io::Result<()> {
        for path in paths {
            // Windows syncs only what is open for writing.
            self.open(path, Open::Append)?.sync_data()?;
        }
        Ok(())
    }

    /// Makes everything below a directory durable, contents and names, and its own entries;
    /// for a tree of many files that was just made. The directory's own name is not included.
    fn sync_tree(&self, path: &Path) -> io::Result<()>;

    /// How many bytes this person can still write to the file system that a path is on;
    /// `None` where the platform does not tell.
    fn free_space(&self, path: &Path) -> io::Result<Option<u64>>;

    /// What is known about the file system that a path is on.
    fn file_system(&self, path: &Path) -> io::Result<FileSystem> {
        let free = self.free_space(path)?;
        Ok(FileSystem {
            free,
            ..FileSystem::default()
        })
    }

    /// Whether what a path is on answers at all: `TimedOut` if it does not within this time, as
    /// far as the platform can tell. What is not there, or may not be looked at, is an answer.
    fn answers(&self, path: &Path, _limit: Duration) -> io::Result<()> {
        self.stat(path).map(drop)
    }

    /// Gives a file or directory these Unix permission bits; follows no link. Does nothing
    /// where there are none.
    fn set_mode(&self, path: &Path, mode: u32) -> io::Result<()>;

    /// Everything below a directory: the contents of each directory before itself, by name.
    /// Does not leave the file system of the directory.
    fn walk(&self, path: &Path) -> io::Result<Vec<Walked>>;

    /// Removes a directory and everything below it, one by one; that it is gone already is
    /// fine. Links are removed, not followed. What an error leaves can be removed again.
    fn remove_tree(&self, path: &Path) -> io::Result<()> {
        let gone_is_fine = |result: io::Result<()>| match result {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        };
        let below = match self.walk(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        for walked in &below {
            gone_is_fine(match walked.kind {
                FileKind::Directory => self.remove_dir(&walked.path),
                _ => self.remove_file(&walked.path),
            })?;
        }
        gone_is_fine(self.remove_dir(path))
    }

    /// A whole file, of at most `limit` bytes.
    fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        let mut file = self.open(path, Open::Read)?;
        let stat = file.stat()?;
        let too_large = |len: u64| {
            io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("it has {len} bytes and at most {limit} are read"),
            )
        };
        if stat.len > limit {
            return Err(too_large(stat.len));
        }
        let mut bytes = Vec::new();
        // Where there is not that much memory, it is an error and not the end.
        bytes.try_reserve_exact(usize::try_from(stat.len).unwrap_or(usize::MAX))?;
        if stat.kind == FileKind::File && stat.len > 0 {
            file.read_to_end(&mut bytes)?;
        } else {
            // A pipe, a device: its length says nothing about what comes out of it.
            file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
        }
        if bytes.len() as u64 > limit {
            return Err(too_large(bytes.len() as u64));
        }
        Ok(bytes)
    }
}

/// From how many files on a sync of everything is faster than one for each.
#[cfg(target_os = "linux")]
const MANY: usize = 8;

/// The machine's file system.
pub struct RealDisk;

struct RealFile(fs::File);

impl Disk for RealDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn File>> {
        let mut options = fs::OpenOptions::new();
        options.read(true);
        match how {
            Open::Read => {}
            Open::Append => {
                options.append(true);
            }
            Open::AppendOrCreate => {
                options.append(true).create(true);
            }
            Open::CreateNew => {
                options.append(true).create_new(true);
            }
        }
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(path)?;
        Ok(Box::new(RealFile(file)))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        #[cfg_attr(not(unix), expect(unused_mut, reason = "modes are Unix's"))]
        let mut builder = fs::DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(path)
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<Entry>> {
        fs::read_dir(path)?
            .map(|entry| {
                let entry = entry?;
                Ok(Entry {
                    name: entry.file_name(),
                    kind: kind(entry.file_type()?),
                })
            })
            .collect()
    }

    /// Relative to the open directory, where the system can do that.
    fn read_dir_stats(&self, path: &Path) -> io::Result<Vec<(Entry, io::Result<Stat>)>> {
        fs::read_dir(path)?
            .map(|entry| {
                let entry = entry?;
                let found = Entry {
                    name: entry.file_name(),
                    kind: kind(entry.file_type()?),
                };
                // Links are not followed.
                Ok((found, entry.metadata().map(|metadata| stat(&metadata))))
            })
            .collect()
    }

    fn stat(&self, path: &Path) -> io::Result<Stat> {
        fs::symlink_metadata(path).map(|metadata| stat(&metadata))
    }

    #[expect(clippy::disallowed_methods, reason = "this is the door")]
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::hard_link(from, to)
    }

    #[expect(clippy::disallowed_methods, reason = "this is the door")]
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path)
    }

    #[cfg(unix)]
    #[expect(clippy::disallowed_methods, reason = "this is the door")]
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        match fs::File::open(path)?.sync_all() {
            // Some network and FUSE file systems cannot sync a directory and say so; there
            // is nothing better to be had from them.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::Unsupported | io::ErrorKind::InvalidInput
                ) =>
            {
                Ok(())
            }
            other => other,
        }
    }

    /// Windows makes the entry durable with the file and cannot sync a directory.
    #[cfg(not(unix))]
    fn sync_dir(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    /// For many, one `syncfs` first: it writes all of them out together. After it the sync of
    /// each has nothing left to write and takes next to no time; but only that one tells of
    /// this very file's errors on every kernel and file system.
    #[cfg(target_os = "linux")]
    #[expect(clippy::disallowed_methods, reason = "this is the door")]
    fn sync_files(&self, paths: &[PathBuf]) -> io::Result<()> {
        if let Some(first) = paths.first().filter(|_| paths.len() >= MANY)
            && let Err(error) = rustix::fs::syncfs(fs::File::open(first)?)
        {
            log::debug!("many files are synced one by one: {error}");
        }
        for path in paths {
            fs::File::open(path)?.sync_data()?;
        }
        Ok(())
    }

    /// One `syncfs`: it writes out what else waits on that file system, which is still much
    /// faster than a sync for each of thousands of files. Since Linux 5.8 it reports errors of
    /// earlier writes, too.
    #[cfg(target_os = "linux")]
    #[expect(clippy::disallowed_methods, reason = "this is the door")]
    fn sync_tree(&self, path: &Path) -> io::Result<()> {
        let directory = fs::File::open(path)?;
        match rustix::fs::syncfs(&directory).map_err(io::Error::from) {
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::Unsupported | io::ErrorKind::InvalidInput
                ) =>
            {
                sync_each(self, path)
            }
            other => other,
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn sync_tree(&self, path: &Path) -> io::Result<()> {
        sync_each(self, path)
    }

    #[cfg(unix)]
    fn free_space(&self, path: &Path) -> io::Result<Option<u64>> {
        let stat = rustix::fs::statvfs(path)?;
        Ok(Some(stat.f_bavail.saturating_mul(stat.f_frsize)))
    }

    #[cfg(not(unix))]
    fn free_space(&self, _path: &Path) -> io::Result<Option<u64>> {
        Ok(None)
    }

    #[cfg(unix)]
    fn file_system(&self, path: &Path) -> io::Result<FileSystem> {
        let stat = rustix::fs::statvfs(path)?;
        // btrfs and the like make inodes as they need them, and say 0.
        let limited = stat.f_files > 0;
        Ok(FileSystem {
            free: Some(stat.f_bavail.saturating_mul(stat.f_frsize)),
            total: Some(stat.f_blocks.saturating_mul(stat.f_frsize)),
            free_files: limited.then_some(stat.f_favail),
            read_only: Some(stat.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY)),
        })
    }

    #[cfg(unix)]
    fn answers(&self, path: &Path, limit: Duration) -> io::Result<()> {
        program::look(path, limit)
    }

    #[cfg(unix)]
    fn set_mode(&self, path: &Path, mode: u32) -> io::Result<()> {
        use rustix::fs::{Mode, OFlags};
        // Through an open file, so that what was looked at is what changes. Without `NONBLOCK`
        // a pipe would hold this up.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let bits = Mode::from_raw_mode(mode as rustix::fs::RawMode);
        match rustix::fs::open(path, flags, Mode::empty()) {
            Ok(file) => Ok(rustix::fs::fchmod(file, bits)?),
            // Its owner cannot even read it.
            Err(rustix::io::Errno::ACCESS) if self.stat(path)?.kind != FileKind::Other => {
                Ok(rustix::fs::chmod(path, bits)?)
            }
            Err(error) => Err(error.into()),
        }
    }

    #[cfg(not(unix))]
    fn set_mode(&self, _path: &Path, _mode: u32) -> io::Result<()> {
        Ok(())
    }

    fn walk(&self, path: &Path) -> io::Result<Vec<Walked>> {
        walkdir::WalkDir::new(path)
            .min_depth(1)
            .follow_root_links(false)
            .same_file_system(true)
            .contents_first(true)
            .sort_by_file_name()
            .into_iter()
            .map(|entry| {
                let entry = entry?;
                Ok(Walked {
                    kind: kind(entry.file_type()),
                    path: entry.into_path(),
                })
            })
            .collect()
    }
}

/// Syncs each file below a directory, and each directory after what is in it.
fn sync_each(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    for walked in disk.walk(path)? {
        match walked.kind {
            // Windows syncs only what is open for writing.
            FileKind::File => disk.open(&walked.path, Open::Append)?.sync_data()?,
            FileKind::Directory => disk.sync_dir(&walked.path)?,
            FileKind::Other => {}
        }
    }
    disk.sync_dir(path)
}

impl Read for RealFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }

    fn read_to_end(&mut self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        self.0.read_to_end(buffer)
    }
}

impl Write for RealFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for RealFile {
    fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
        self.0.seek(to)
    }
}

impl File for RealFile {
    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn stat(&self) -> io::Result<Stat> {
        self.0.metadata().map(|metadata| stat(&metadata))
    }

    fn set_modified(&self, at: SystemTime) -> io::Result<()> {
        self.0.set_modified(at)
    }

    fn try_lock(&self, mode: LockMode) -> io::Result<bool> {
        let taken = match mode {
            LockMode::Shared => self.0.try_lock_shared(),
            LockMode::Exclusive => self.0.try_lock(),
        };
        match taken {
            Ok(()) => Ok(true),
            Err(fs::TryLockError::WouldBlock) => Ok(false),
            Err(fs::TryLockError::Error(error)) => Err(error),
        }
    }
}

fn kind(file_type: fs::FileType) -> FileKind {
    if file_type.is_file() {
        FileKind::File
    } else if file_type.is_dir() {
        FileKind::Directory
    } else {
        FileKind::Other
    }
}

fn stat(metadata: &fs::Metadata) -> Stat {
    #[cfg(unix)]
    let (mode, owner, identity) = {
        use std::os::unix::fs::MetadataExt;
        (
            Some(metadata.mode() & 0o7777),
            Some(metadata.uid()),
            Some((metadata.dev(), metadata.ino())),
        )
    };
    #[cfg(not(unix))]
    let (mode, owner, identity) = (None, None, None);
    Stat {
        kind: kind(metadata.file_type()),
        len: metadata.len(),
        modified: metadata.modified().ok(),
        mode,
        owner,
        identity,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(path: &Path, text: &str) {
        let mut file = RealDisk.open(path, Open::CreateNew).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    fn tree() -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("root");
        for path in ["", "b", "b/c"] {
            RealDisk.create_dir(&root.join(path)).unwrap();
        }
        for path in ["z", "b/y", "b/c/x"] {
            put(&root.join(path), path);
        }
        (directory, root)
    }

    #[test]
    fn a_walk_meets_contents_before_their_directory() {
        let (_directory, root) = tree();
        let paths: Vec<PathBuf> = RealDisk
            .walk(&root)
            .unwrap()
            .into_iter()
            .map(|walked| walked.path)
            .collect();
        assert_eq!(
            paths,
            ["b/c/x", "b/c", "b/y", "b", "z"].map(|path| root.join(path))
        );
        let missing = RealDisk.walk(&root.join("missing")).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_tree_is_made_durable_either_way() {
        let (_directory, root) = tree();
        RealDisk.sync_tree(&root).unwrap();
        sync_each(&RealDisk, &root).unwrap();
        assert!(RealDisk.sync_tree(&root.join("missing")).is_err());
    }

    #[test]
    fn few_and_many_files_are_made_durable_and_a_missing_one_is_told() {
        let (_directory, root) = tree();
        let mut paths: Vec<PathBuf> = (0..20).map(|n| root.join(format!("many{n}"))).collect();
        for path in &paths {
            put(path, "text");
        }
        RealDisk.sync_files(&[]).unwrap();
        RealDisk.sync_files(&paths[..1]).unwrap();
        RealDisk.sync_files(&paths).unwrap();
        paths.push(root.join("missing"));
        let missing = RealDisk.sync_files(&paths).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_tree_goes_as_a_whole_and_may_be_gone() {
        let (directory, root) = tree();
        RealDisk.remove_tree(&root).unwrap();
        RealDisk.remove_tree(&root).unwrap();
        assert!(RealDisk.read_dir(directory.path()).unwrap().is_empty());
    }

    #[test]
    fn whatever_is_there_or_not_answers() {
        const LONG: Duration = Duration::from_secs(60);
        let (_directory, root) = tree();
        let answers = |path: &Path| {
            let answer = RealDisk.answers(path, LONG);
            assert!(
                !matches!(&answer, Err(error) if error.kind() == io::ErrorKind::TimedOut),
                "{}: {answer:?}",
                path.display()
            );
        };
        answers(&root);
        answers(&root.join("z"));
        answers(&root.join("missing"));
        #[cfg(unix)]
        {
            // A pipe that nobody writes to is not waited for.
            let pipe = root.join("pipe");
            let made = std::process::Command::new("mkfifo").arg(&pipe).status();
            assert!(made.unwrap().success());
            answers(&pipe);
        }
    }

    #[cfg(unix)]
    #[test]
    fn removing_a_tree_follows_no_link() {
        let (directory, root) = tree();
        let outside = directory.path().join("outside");
        RealDisk.create_dir(&outside).unwrap();
        put(&outside.join("kept"), "kept");
        std::os::unix::fs::symlink(&outside, root.join("b/link")).unwrap();
        RealDisk.remove_tree(&root).unwrap();
        assert_eq!(RealDisk.read(&outside.join("kept"), 9).unwrap(), b"kept");
        // Not even where the tree itself is one.
        std::os::unix::fs::symlink(&outside, &root).unwrap();
        assert!(RealDisk.remove_tree(&root).is_err());
        assert_eq!(RealDisk.read(&outside.join("kept"), 9).unwrap(), b"kept");
    }

    #[cfg(unix)]
    #[test]
    fn a_second_name_is_the_same_file_and_must_be_free() {
        let (_directory, root) = tree();
        RealDisk
            .hard_link(&root.join("z"), &root.join("b/z"))
            .unwrap();
        let identity = |path: &str| RealDisk.stat(&root.join(path)).unwrap().identity;
        assert_eq!(identity("z"), identity("b/z"));
        let taken = RealDisk
            .hard_link(&root.join("z"), &root.join("b/y"))
            .unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AlreadyExists);
        assert!(RealDisk.free_space(&root).unwrap().unwrap() > 0);
    }

    #[test]
    fn a_directory_is_renamed_but_not_over_one_with_something_in_it() {
        let (_directory, root) = tree();
        RealDisk.create_dir(&root.join("full")).unwrap();
        put(&root.join("full/kept"), "kept");
        assert!(
            RealDisk
                .rename(&root.join("b"), &root.join("full"))
                .is_err()
        );
        RealDisk.rename(&root.join("b"), &root.join("new")).unwrap();
        assert_eq!(RealDisk.read(&root.join("new/c/x"), 9).unwrap(), b"b/c/x");
    }
}
