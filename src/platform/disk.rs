//! Files, through a trait, so that a test can fail, cut or delay any single operation.
//!
//! The operations are few on purpose: each is one thing that a disk can do or refuse.
//! What makes them durable and atomic is the store's business.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Read, Seek, Write};
use std::path::Path;
use std::time::SystemTime;

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
    /// Device and inode; `None` where the platform has no such thing. Two open files
    /// with the same identity are the same file.
    pub identity: Option<(u64, u64)>,
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

    /// What is known about a path.
    fn stat(&self, path: &Path) -> io::Result<Stat>;

    /// Renames, replacing what is there.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    fn remove_file(&self, path: &Path) -> io::Result<()>;

    /// Makes the entries of a directory durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;

    /// A whole file, of at most `limit` bytes.
    fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        let mut file = self.open(path, Open::Read)?;
        let len = file.stat()?.len;
        if len > limit {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("it has {len} bytes and at most {limit} are read"),
            ));
        }
        let mut bytes = Vec::with_capacity(usize::try_from(len).unwrap_or(0));
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

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

    fn stat(&self, path: &Path) -> io::Result<Stat> {
        fs::symlink_metadata(path).map(|metadata| stat(&metadata))
    }

    #[expect(clippy::disallowed_methods, reason = "this is the door")]
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    #[expect(clippy::disallowed_methods, reason = "this is the door")]
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
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
    let (mode, identity) = {
        use std::os::unix::fs::MetadataExt;
        (
            Some(metadata.mode() & 0o7777),
            Some((metadata.dev(), metadata.ino())),
        )
    };
    #[cfg(not(unix))]
    let (mode, identity) = (None, None);
    Stat {
        kind: kind(metadata.file_type()),
        len: metadata.len(),
        modified: metadata.modified().ok(),
        mode,
        identity,
    }
}
