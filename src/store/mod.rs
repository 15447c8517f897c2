//! The store: conversations as plain files that lose nothing.
//!
//! Invariants:
//! - A file `<id>.jsonl` begins with a complete header line, from the moment it has that
//!   name: it is written under another name, synced, and renamed.
//! - A conversation is only ever appended to, whole lines in one write, under its turn lock.
//! - What was acknowledged is synced; what was shown is at least in the side file.
//! - Nothing is overwritten that could not be read; repair moves bytes to `quarantine/`.
//! - Locks are the kernel's, so nothing is ever stale.
//! - Files are replaced by whole directories, all at once; who finds that half done completes
//!   it before anything else.

pub mod atomic;
pub mod backups;
mod carry;
mod check;
pub mod gate;
pub mod index;
pub mod keys;
pub mod layout;
pub mod lock;
pub mod log;
pub mod looks;
pub mod partial;
pub mod parts;
pub mod points;
pub mod read;
pub mod resolve;
pub mod shelf;
pub mod swap;
pub mod writer;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::model::backup::Part;
use crate::model::error::{Error, Kind, Result};
use crate::model::size::ByteSize;
use crate::platform::disk::{FileKind, LockMode, Stat};
use crate::platform::{Clock, Disk, Random};

use layout::Layout;
use lock::{Lock, Patience};

/// The version of the store's format that this program writes.
pub const FORMAT: u32 = 1;

/// A migration from one format to the next. It must be repeatable: a crash in it leaves the
/// old version number, and so does the way back to an older rollback point in its last steps.
/// It replaces files and never changes one in place, for rollback points share them.
pub type Migration = fn(&Store) -> Result<()>;

/// `MIGRATIONS[n]` takes a store from format `n + 1` to `n + 2`. Empty as long as there is
/// only one format.
const MIGRATIONS: [Migration; FORMAT as usize - 1] = [];

/// A data directory. Making one touches nothing.
#[derive(Clone)]
pub struct Store {
    layout: Layout,
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    /// The most bytes of one conversation, or of another file, that are held in memory.
    memory_limit: u64,
    /// The longest that reading waits for a restore in its last steps, if it is to be short.
    patience: Option<Duration>,
    /// How to bring an older store up to date, from format 1 on.
    migrations: &'static [Migration],
    /// Set by the first failed sync: from then on this process writes nothing more, because
    /// it can no longer know what is on the disk.
    sync_failed: Arc<AtomicBool>,
}

impl Store {
    /// The store below `root`.
    pub fn new(
        root: PathBuf,
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
    ) -> Self {
        Self {
            layout: Layout::new(root),
            disk,
            clock,
            random,
            memory_limit: read::LARGEST,
            patience: None,
            migrations: &MIGRATIONS,
            sync_failed: Arc::default(),
        }
    }

    /// The same store, of which at most so much is held in memory of one conversation.
    #[must_use]
    pub fn with_memory_limit(mut self, limit: ByteSize) -> Self {
        self.memory_limit = limit.0.min(read::LARGEST);
        self
    }

    /// The same store, where reading waits no longer than this for a restore in its last steps.
    #[must_use]
    pub fn with_patience(mut self, limit: Option<Duration>) -> Self {
        self.patience = limit;
        self
    }

    /// The same store as a program with these migrations sees it.
    #[must_use]
    pub fn with_migrations(mut self, migrations: &'static [Migration]) -> Self {
        self.migrations = migrations;
        self
    }

    /// The newest format that this program knows, which is the one that it writes.
    pub fn newest_format(&self) -> u32 {
        u32::try_from(self.migrations.len() + 1).unwrap_or(u32::MAX)
    }

    /// The most bytes of one conversation, or of another file, that are held in memory.
    pub fn memory_limit(&self) -> u64 {
        self.memory_limit
    }

    /// Where things are.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The disk.
    pub fn disk(&self) -> &dyn Disk {
        self.disk.as_ref()
    }

    /// The clock.
    pub fn clock(&self) -> &dyn Clock {
        self.clock.as_ref()
    }

    /// Randomness.
    pub fn random(&self) -> &dyn Random {
        self.random.as_ref()
    }

    /// Checks that this program can read the store, and completes a restore, import or rollback
    /// that died in its last steps. A store that does not exist yet is fine.
    pub fn check(&self) -> Result<()> {
        self.check_format()?;
        swap::recover_for_reading(self)
    }

    /// Whether a restore, import or rollback died in its last steps, or is in them right now: parts of
    /// the store may be missing until [`Store::check`]. One `stat`; what cannot be looked at
    /// is none.
    pub fn is_half_swapped(&self) -> bool {
        swap::is_decided(self).unwrap_or(false)
    }

    /// Checks that this program can read the store, and nothing else: for the log, which must
    /// not wait for anything, and for looking without touching.
    pub fn check_format(&self) -> Result<()> {
        match self.format()? {
            Some(format) if format > self.newest_format() => Err(self.too_new(format)),
            _ => Ok(()),
        }
    }

    fn note_failed_sync(&self) {
        self.sync_failed.store(true, Ordering::SeqCst);
    }

    fn refuse_after_failed_sync(&self) -> Result<()> {
        if self.sync_failed.load(Ordering::SeqCst) {
            return Err(Error::new(Kind::Io, "nothing more is written")
                .why("the disk failed to make earlier data durable")
                .hint("check the disk, then run pachat again"));
        }
        Ok(())
    }

    /// Refuses a data directory that is a link to a place that is not there, as on a disk that is
    /// not mounted: it is not one that is to be made yet.
    pub fn check_link(&self) -> Result<()> {
        let root = self.layout.root();
        let is_link = |stat: Stat| stat.kind == FileKind::Other;
        if !self.disk.stat(root).is_ok_and(is_link) {
            return Ok(());
        }
        match self.disk.stat(&root.join(".")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(Error::new(Kind::Io, "the data directory is not there")
                    .why("it is a link to a place that does not exist")
                    .path(root)
                    .hint("mount the disk that it leads to, or name another place with --data-dir or PACHAT_DATA_DIR"))
            }
            _ => Ok(()),
        }
    }

    /// The format version of the files, `None` where there is none yet.
    pub fn format(&self) -> Result<Option<u32>> {
        let path = self.layout.version();
        let bytes = match self.disk.read(&path, 64) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return self.check_link().map(|()| None);
            }
            Err(error) => return Err(Error::io("cannot read the data directory", &path, &error)),
        };
        let text = String::from_utf8_lossy(&bytes);
        text.trim().parse().map(Some).map_err(|_| {
            Error::new(
                Kind::Malformed,
                "cannot tell the format of the data directory",
            )
            .why("VERSION holds no number")
            .path(&path)
            .hint(format!(
                "if this is pachat's own directory, write {} into the file",
                self.newest_format()
            ))
        })
    }

    /// Makes the directories that writing needs, brings an older store up to date, completes a
    /// restore that died, and takes the store's lock, shared: as long as it is held, nothing
    /// replaces the store's files.
    pub fn enter(&self, patience: &mut Patience<'_>) -> Result<Lock> {
        let mut recovered = false;
        loop {
            let lock = self.take_shared(patience)?;
            // Looked at under the lock: who had it until now may have died in the middle.
            if !swap::is_there(self)? || (recovered && !swap::is_decided(self)?) {
                return Ok(lock);
            }
            drop(lock);
            swap::recover(self, patience)?;
            // What is there from here on is being staged by somebody who is alive.
            recovered = true;
        }
    }

    fn take_shared(&self, patience: &mut Patience<'_>) -> Result<Lock> {
        let format = self.format()?;
        if format.is_none() {
            for directory in [self.layout.active_dir(), self.layout.run_dir()] {
                atomic::create_dirs(self.disk(), &directory)?;
            }
        }
        let mut take = |mode| self.lock_store(mode, patience);
        match format {
            None => {
                let lock = take(LockMode::Shared)?;
                // Several first users may do this at once; each writes the same.
                self.set_format(self.newest_format())?;
                Ok(lock)
            }
            Some(format) if format == self.newest_format() => match take(LockMode::Shared) {
                // Somebody cleared `run/`, as one may.
                Err(error)
                    if error.kind() == Kind::Io
                        && self.disk.stat(&self.layout.run_dir()).is_err() =>
                {
                    atomic::create_dirs(self.disk(), &self.layout.run_dir())?;
                    take(LockMode::Shared)
                }
                other => other,
            },
            Some(newer) if newer > self.newest_format() => Err(self.too_new(newer)),
            Some(_) => {
                atomic::create_dirs(self.disk(), &self.layout.run_dir())?;
                let mut take = |mode| self.lock_store(mode, patience);
                let exclusive = take(LockMode::Exclusive)?;
                // Half of a swap is no store; whoever called completes it and comes back.
                if !swap::is_decided(self)? {
                    // Somebody else may have done it while this waited.
                    let from = self.format()?.unwrap_or_else(|| self.newest_format());
                    self.migrate(from, patience)?;
                }
                drop(exclusive);
                self.lock_store(LockMode::Shared, patience)
            }
        }
    }

    /// Takes the store's lock alone: no other process writes as long as it is held.
    ///
    /// Another process may have come and gone while this waited, also one that replaced
    /// everything. So nothing that was known of the store before is known now: whoever changes
    /// it looks at it under this lock. What does hold is what the lock promises: the format is
    /// this program's, and no swap is half done.
    pub fn enter_alone(&self, patience: &mut Patience<'_>) -> Result<Lock> {
        loop {
            drop(self.enter(patience)?);
            let lock = self.lock_store(LockMode::Exclusive, patience)?;
            if self.format()? == Some(self.newest_format()) && !swap::is_decided(self)? {
                return Ok(lock);
            }
        }
    }

    /// Takes the lock of those who change settings and sealed keys. The caller holds the store.
    pub fn lock_settings(&self, patience: &mut Patience<'_>) -> Result<Lock> {
        let (disk, path) = (&self.disk, self.layout.config_lock());
        let mode = LockMode::Exclusive;
        lock::acquire(disk, self.clock(), &path, mode, false, patience)
    }

    /// Takes the lock of who puts old logs away.
    pub fn lock_rotation(&self, patience: &mut Patience<'_>) -> Result<Lock> {
        let (disk, path) = (&self.disk, self.layout.rotation_lock());
        let mode = LockMode::Exclusive;
        lock::acquire(disk, self.clock(), &path, mode, false, patience)
    }

    fn lock_store(&self, mode: LockMode, patience: &mut Patience<'_>) -> Result<Lock> {
        let path = self.layout.store_lock();
        lock::acquire(&self.disk, self.clock(), &path, mode, false, patience)
    }

    /// Runs the migrations from format `from` on, under the exclusive lock, behind a rollback
    /// point. Each one must be repeatable: a crash in it leaves the old version number.
    fn migrate(&self, from: u32, patience: &mut Patience<'_>) -> Result<()> {
        if from > self.newest_format() {
            return Err(self.too_new(from));
        }
        let migration = |format: u32| self.migrations.get((format as usize).wrapping_sub(1));
        if migration(from).is_some() {
            let parts = [
                Part::Attachments,
                Part::Config,
                Part::Active,
                Part::Archived,
                Part::Trash,
            ];
            points::create(self, &parts, "migration", None, patience)?;
        }
        for format in from..self.newest_format() {
            let Some(migration) = migration(format) else {
                return Err(Error::new(
                    Kind::Malformed,
                    format!("format {format} of the data directory is unknown"),
                )
                .path(&self.layout.version()));
            };
            migration(self)?;
            self.set_format(format + 1)?;
        }
        Ok(())
    }

    /// Writes the format version of the files. The caller holds the store alone, or there are
    /// no files yet.
    pub(crate) fn set_format(&self, format: u32) -> Result<()> {
        let (path, content) = (self.layout.version(), format!("{format}\n"));
        atomic::replace(self.disk(), self.random(), &path, content.as_bytes())
    }

    fn too_new(&self, format: u32) -> Error {
        too_new(&self.layout.version(), format, self.newest_format())
    }
}

fn too_new(path: &Path, format: u32, newest: u32) -> Error {
    Error::new(
        Kind::Malformed,
        "what is kept here is newer than this pachat",
    )
    .why(format!(
        "it has format {format}, and this version knows formats up to {newest}"
    ))
    .path(path)
    .hint("install the current version of pachat")
}
