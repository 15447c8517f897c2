//! A disk that is the real one below the home of a test, and what the case wants elsewhere: so
//! no finding depends on where and as whom the tests run.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use pachat::platform::disk::{
    Disk, Entry, File, FileKind, FileSystem, LockMode, Open, RealDisk, Stat, Walked,
};

/// What is wrong with the disk.
#[derive(Clone, Default)]
pub struct Trouble {
    /// What files outside the home hold, such as `/proc/meminfo`.
    pub elsewhere: BTreeMap<PathBuf, String>,
    /// The permissions of directories above the home.
    pub above: BTreeMap<PathBuf, u32>,
    /// Files that seem to belong to this user.
    pub owners: BTreeMap<PathBuf, u32>,
    /// What cannot be opened or listed.
    pub closed: BTreeSet<PathBuf>,
    /// What the file system says about itself.
    pub file_system: Option<FileSystem>,
    pub read_only: bool,
    pub without_links: bool,
    pub without_locks: bool,
    pub without_replacing: bool,
    pub without_directory_sync: bool,
    /// How many bytes can be written before the disk is full.
    pub room: Option<u64>,
}

pub struct Ward {
    home: PathBuf,
    trouble: Trouble,
    written: std::sync::Arc<AtomicU64>,
}

impl Ward {
    pub fn new(home: &Path, trouble: Trouble) -> Self {
        Self {
            home: home.to_path_buf(),
            trouble,
            written: std::sync::Arc::default(),
        }
    }

    fn is_inside(&self, path: &Path) -> bool {
        path.starts_with(&self.home)
    }

    fn reading(&self, path: &Path) -> io::Result<()> {
        if self.trouble.closed.contains(path) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        if self.is_inside(path) {
            Ok(())
        } else {
            Err(io::ErrorKind::NotFound.into())
        }
    }

    fn writing(&self, path: &Path) -> io::Result<()> {
        assert!(self.is_inside(path), "{} is none of ours", path.display());
        if self.trouble.read_only {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        Ok(())
    }

    /// Making something new takes room, too.
    fn making(&self, path: &Path) -> io::Result<()> {
        self.writing(path)?;
        match self.trouble.room {
            Some(room) if self.written.load(Ordering::SeqCst) >= room => {
                Err(io::ErrorKind::StorageFull.into())
            }
            _ => Ok(()),
        }
    }

    fn dressed(&self, path: &Path, mut stat: Stat) -> Stat {
        if let Some(owner) = self.trouble.owners.get(path) {
            stat.owner = Some(*owner);
        }
        stat
    }
}

impl Disk for Ward {
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn File>> {
        self.reading(path)?;
        let is_new = matches!(how, Open::CreateNew)
            || (how == Open::AppendOrCreate && RealDisk.stat(path).is_err());
        if is_new {
            self.making(path)?;
        } else if how != Open::Read {
            self.writing(path)?;
        }
        Ok(Box::new(WardFile {
            file: RealDisk.open(path, how)?,
            locks: !self.trouble.without_locks,
            owner: self.trouble.owners.get(path).copied(),
            room: self.trouble.room,
            written: self.written.clone(),
        }))
    }

    fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        if let Some(text) = self.trouble.elsewhere.get(path) {
            return Ok(text.clone().into_bytes());
        }
        self.reading(path)?;
        RealDisk.read(path, limit)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.making(path)?;
        RealDisk.create_dir(path)
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<Entry>> {
        self.reading(path)?;
        RealDisk.read_dir(path)
    }

    fn stat(&self, path: &Path) -> io::Result<Stat> {
        if self.is_inside(path) {
            return RealDisk.stat(path).map(|stat| self.dressed(path, stat));
        }
        if !self.home.starts_with(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(Stat {
            kind: FileKind::Directory,
            len: 0,
            modified: None,
            mode: Some(self.trouble.above.get(path).copied().unwrap_or(0o755)),
            owner: Some(0),
            identity: None,
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.writing(from)?;
        self.writing(to)?;
        if self.trouble.without_replacing && RealDisk.stat(to).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        RealDisk.rename(from, to)
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.making(to)?;
        if self.trouble.without_links {
            return Err(io::ErrorKind::Unsupported.into());
        }
        RealDisk.hard_link(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.writing(path)?;
        RealDisk.remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.writing(path)?;
        RealDisk.remove_dir(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        if self.trouble.without_directory_sync {
            return Err(io::Error::other("directories cannot be synced"));
        }
        RealDisk.sync_dir(path)
    }

    fn sync_tree(&self, path: &Path) -> io::Result<()> {
        RealDisk.sync_tree(path)
    }

    fn free_space(&self, path: &Path) -> io::Result<Option<u64>> {
        self.file_system(path).map(|system| system.free)
    }

    fn file_system(&self, _path: &Path) -> io::Result<FileSystem> {
        let usual = FileSystem {
            free: Some(100 << 30),
            total: Some(200 << 30),
            free_files: Some(1 << 20),
            read_only: Some(self.trouble.read_only),
        };
        Ok(self.trouble.file_system.unwrap_or(usual))
    }

    fn set_mode(&self, path: &Path, mode: u32) -> io::Result<()> {
        self.writing(path)?;
        RealDisk.set_mode(path, mode)
    }

    fn walk(&self, path: &Path) -> io::Result<Vec<Walked>> {
        if self
            .trouble
            .closed
            .iter()
            .any(|closed| closed.starts_with(path))
        {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        RealDisk.walk(path)
    }
}

struct WardFile {
    file: Box<dyn File>,
    locks: bool,
    owner: Option<u32>,
    room: Option<u64>,
    written: std::sync::Arc<AtomicU64>,
}

impl Read for WardFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read(buffer)
    }
}

impl Write for WardFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let so_far = self.written.load(Ordering::SeqCst);
        let room = self
            .room
            .map_or(u64::MAX, |room| room.saturating_sub(so_far));
        if room == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let count = bytes.len().min(usize::try_from(room).unwrap_or(usize::MAX));
        let written = self.file.write(&bytes[..count])?;
        self.written.fetch_add(written as u64, Ordering::SeqCst);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Seek for WardFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

impl File for WardFile {
    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn stat(&self) -> io::Result<Stat> {
        let mut stat = self.file.stat()?;
        stat.owner = self.owner.or(stat.owner);
        Ok(stat)
    }

    fn try_lock(&self, mode: LockMode) -> io::Result<bool> {
        if self.locks {
            self.file.try_lock(mode)
        } else {
            Ok(true)
        }
    }
}
