//! Putting old logs away.
//!
//! Who holds `run/log-rotation.lock` does it; nobody waits for it. Invariants, in order:
//! 1. Under the exclusive lock of the log, and after looking again, `app.log` becomes
//!    `app.log.YYYYMMDD_HHMMSS`, a name that nothing has. That is all that writers wait for.
//! 2. `app.log.TIME` becomes `app.log.TIME.gz`, which has that name only when it is whole and
//!    synced. Where both are there, the plain one is the remainder of a crash.
//! 3. The plain one goes when the name of the other is durable.
//! 4. What was put away longer ago than it is kept is removed, by the time in the name.
//!
//! A crash in between leaves something that the next rotation carries on with, and no line in
//! fewer than one of these files.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::{Log, cannot, first_time, is_due, is_older};
use crate::model::error::{Kind, Result};
use crate::platform::disk::{Disk, FileKind, LockMode, Open};
use crate::store::atomic;

/// What stands before the time in the name of a log that was put away.
const PREFIX: &str = "app.log.";
/// The time in a name: UTC.
const TIME: &str = "%Y%m%d_%H%M%S";
/// How many names are tried: one for each second.
const NAMES: i64 = 60;

/// A log that was put away.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rotated {
    /// When.
    pub(super) at: Timestamp,
    /// Whether it is compressed.
    pub(super) compressed: bool,
    pub(super) path: PathBuf,
}

/// What is to be done about a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// It gets another name and is compressed, and a new one is begun.
    PutAway,
    /// It was put away, and its rotation ended before it was compressed.
    Compress,
    /// It was put away longer ago than it is kept.
    Remove,
}

/// Something that is to be done about a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chore {
    /// What.
    pub task: Task,
    /// The name of its file.
    pub name: String,
    /// Its length in bytes.
    pub bytes: u64,
    /// When it was put away; of the one that is written to, when it begins.
    pub since: Option<Timestamp>,
}

impl Log {
    /// Puts the log away if it is due, and finishes what an earlier rotation did not. Does
    /// nothing where somebody else is at it.
    pub(super) fn rotate(&self) -> Result<()> {
        let rotation_lock = self.store.layout().rotation_lock();
        let _lock = match self.acquire(&rotation_lock, LockMode::Exclusive, Duration::ZERO) {
            Err(error) if error.kind() == Kind::Busy => return Ok(()),
            other => other?,
        };
        if !self.put_away()? {
            return Ok(());
        }
        let directory = self.store.layout().logs_dir();
        let disk = self.store.disk();
        self.discard_remainders(&directory);
        let all = self.compress_all()?;
        let now = self.store.clock().now();
        for old in all
            .iter()
            .filter(|rotated| is_older(rotated.at, self.limits.keep, now))
        {
            // As a plain one it is gone by now.
            let path = compressed(&old.path);
            match disk.remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(cannot(&path, &error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// What is to be done about the logs now: the one that is written to may be due, others may
    /// be too old or not compressed yet. Takes no lock and changes nothing.
    pub fn chores(&self) -> Result<Vec<Chore>> {
        let (disk, directory) = (self.store.disk(), self.store.layout().logs_dir());
        let fail = |error: io::Error| cannot(&directory, &error);
        let now = self.store.clock().now();
        let mut chores = Vec::new();
        let all = match rotated(disk, &directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(chores),
            other => other.map_err(fail)?,
        };
        for one in &all {
            let expired = is_older(one.at, self.limits.keep, now);
            let task = match (expired, one.compressed) {
                (true, _) => Task::Remove,
                (false, false) => Task::Compress,
                (false, true) => continue,
            };
            let name = one.path.file_name().and_then(|name| name.to_str());
            match disk.stat(&one.path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                stat => chores.push(Chore {
                    task,
                    name: name.unwrap_or_default().to_owned(),
                    bytes: stat.map_err(fail)?.len,
                    since: Some(one.at),
                }),
            }
        }
        let path = self.store.layout().log();
        let looked = disk.open(&path, Open::Read).and_then(|mut file| {
            let len = file.stat()?.len;
            Ok((len, first_time(file.as_mut())?))
        });
        match looked {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            looked => {
                let (bytes, since) = looked.map_err(|error| cannot(&path, &error))?;
                if is_due(bytes, since, &self.limits, now) {
                    chores.push(Chore {
                        task: Task::PutAway,
                        name: "app.log".into(),
                        bytes,
                        since,
                    });
                }
            }
        }
        Ok(chores)
    }

    /// Does one of the [`Log::chores`]. `false` if it is no longer to be done, or somebody else
    /// is at it.
    pub fn carry_out(&self, chore: &Chore) -> Result<bool> {
        let rotation_lock = self.store.layout().rotation_lock();
        atomic::create_dirs(self.store.disk(), &self.store.layout().run_dir())?;
        let _lock = match self.acquire(&rotation_lock, LockMode::Exclusive, Duration::ZERO) {
            Err(error) if error.kind() == Kind::Busy => return Ok(false),
            other => other?,
        };
        match chore.task {
            Task::PutAway => {
                let done = self.put_away()?;
                if done {
                    self.compress_all()?;
                }
                Ok(done)
            }
            Task::Compress => self.compress_all().map(|_| true),
            Task::Remove => {
                let path = self.store.layout().logs_dir().join(&chore.name);
                match self.store.disk().remove_file(&path) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
                    other => other.map(|()| true).map_err(|error| cannot(&path, &error)),
                }
            }
        }
    }

    /// Compresses what was put away and is not compressed yet; all that was put away. The caller
    /// holds the lock of who rotates.
    fn compress_all(&self) -> Result<Vec<Rotated>> {
        let directory = self.store.layout().logs_dir();
        let all = rotated(self.store.disk(), &directory);
        let all = all.map_err(|error| cannot(&directory, &error))?;
        for plain in all.iter().filter(|rotated| !rotated.compressed) {
            self.compress(plain, &all)?;
        }
        Ok(all)
    }

    /// Renames the log. `false` if somebody was faster, or is writing just now: then it stays
    /// due, and the next line brings it here again.
    fn put_away(&self) -> Result<bool> {
        let _lock = match self.lock(LockMode::Exclusive, Duration::ZERO) {
            Err(error) if error.kind() == Kind::Busy => return Ok(false),
            other => other?,
        };
        let (disk, path) = (self.store.disk(), self.store.layout().log());
        let now = self.store.clock().now();
        let act = || -> io::Result<bool> {
            let mut file = disk.open(&path, Open::Read)?;
            let len = file.stat()?.len;
            let begins = first_time(file.as_mut())?;
            // Windows renames no open file.
            drop(file);
            if !is_due(len, begins, &self.limits, now) {
                return Ok(false);
            }
            let Some(target) = free_name(disk, &self.store.layout().logs_dir(), now)? else {
                return Ok(false);
            };
            disk.rename(&path, &target)?;
            Ok(true)
        };
        match act() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            other => other.map_err(|error| cannot(&path, &error)),
        }
    }

    /// Replaces a plain file by its compressed self.
    fn compress(&self, plain: &Rotated, all: &[Rotated]) -> Result<()> {
        let (disk, directory) = (self.store.disk(), self.store.layout().logs_dir());
        let target = compressed(&plain.path);
        let fail = |error: io::Error| cannot(&plain.path, &error);
        if all.iter().any(|other| other.path == target) {
            // The remainder of a crash. Its other half is whole, but perhaps not durable.
            disk.sync_dir(&directory).map_err(fail)?;
        } else {
            let bytes = gzip(disk, &plain.path).map_err(fail)?;
            atomic::replace(disk, self.store.random(), &target, &bytes)?;
        }
        disk.remove_file(&plain.path).map_err(fail)
    }

    /// Removes temporary files. Only who rotates makes them, and that is us.
    fn discard_remainders(&self, directory: &Path) {
        let disk = self.store.disk();
        for entry in disk.read_dir(directory).unwrap_or_default() {
            let name = entry.name.to_string_lossy();
            let ours = name.starts_with(".app.log.") && name.ends_with(".tmp");
            if ours && entry.kind == FileKind::File {
                // It is in nobody's way.
                let _ = disk.remove_file(&directory.join(&entry.name));
            }
        }
    }
}

/// The logs that were put away, oldest first.
pub(super) fn rotated(disk: &dyn Disk, directory: &Path) -> io::Result<Vec<Rotated>> {
    let mut all: Vec<Rotated> = disk
        .read_dir(directory)?
        .into_iter()
        .filter(|entry| entry.kind == FileKind::File)
        .filter_map(|entry| {
            let time = entry.name.to_str()?.strip_prefix(PREFIX)?;
            let plain = time.strip_suffix(".gz");
            Some(Rotated {
                at: time_of(plain.unwrap_or(time))?,
                compressed: plain.is_some(),
                path: directory.join(&entry.name),
            })
        })
        .collect();
    all.sort_unstable();
    Ok(all)
}

fn time_of(text: &str) -> Option<Timestamp> {
    let time = DateTime::strptime(TIME, text).ok()?;
    TimeZone::UTC.to_timestamp(time).ok()
}

/// A name for a log that is put away now: with the time, or if that is taken, a later one.
/// Nobody else looks for one at the same time.
fn free_name(disk: &dyn Disk, directory: &Path, now: Timestamp) -> io::Result<Option<PathBuf>> {
    for seconds in 0..NAMES {
        let at = now + jiff::SignedDuration::from_secs(seconds);
        let path = directory.join(format!("{PREFIX}{}", at.strftime(TIME)));
        if !exists(disk, &path)? && !exists(disk, &compressed(&path))? {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

fn exists(disk: &dyn Disk, path: &Path) -> io::Result<bool> {
    match disk.stat(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// The name of the compressed file, which may be the file itself.
fn compressed(path: &Path) -> PathBuf {
    if path.extension().is_some_and(|extension| extension == "gz") {
        return path.to_path_buf();
    }
    let mut name = path.as_os_str().to_owned();
    name.push(".gz");
    name.into()
}

/// A file, compressed in memory: a log has a few megabytes, and shrinks to a tenth.
fn gzip(disk: &dyn Disk, path: &Path) -> io::Result<Vec<u8>> {
    let mut file = disk.open(path, Open::Read)?;
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer)? {
            0 => return encoder.finish(),
            count => encoder.write_all(&buffer[..count])?,
        }
    }
}
