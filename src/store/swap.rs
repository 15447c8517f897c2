//! Replacing whole parts of the store at once: restore, import and rollback.
//!
//! ```text
//! .swap/
//!   incoming/conversations/active/…   files as they are staged
//!   new/conversations/active/…        the parts as they are to be
//!   record.json                       the decision: which parts are replaced
//!   old/conversations/active/…        what was replaced
//!   late/…                            what was made where a part was missing after a crash
//! ```
//!
//! The order of things, which is what makes it one step: the new parts are whole and durable;
//! the record is written; each part is renamed to `old` and its new self into its place; all of
//! that is made durable; the record goes; the rest is removed.
//!
//! Invariants:
//! - Without a record nothing of the store has been touched, and `.swap` can be removed. With
//!   one, the swap is completed from whatever state it is in (see `exchange`).
//! - Who makes, carries out or removes a record holds `run/swap.lock` and the store alone.
//! - Who holds the store's lock, shared or alone, has seen after taking it that there is no
//!   record (`Store::enter`, `Store::enter_alone`). So nobody works on half of a swap, also not
//!   one who waited for the lock while its holder died.
//! - The locks are taken in this order: swap, store, the log's rotation, the log.

mod arrange;
mod exchange;

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::model::backup::Part;
use crate::model::error::{Error, Kind, Result};
use crate::platform::Signals;
use crate::platform::disk::{File, FileKind, LockMode, Open};

use super::lock::{self, Lock, Patience};
use super::{Store, atomic, carry};
use exchange::{Exchange, Outcome};

/// How long a command that only reads waits for a swap to be completed, and a swap for who
/// writes to the log.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where a file of the new set comes from.
#[derive(Clone, Debug)]
pub enum Take {
    /// It was staged by [`Staging::create`].
    Staged,
    /// The first `len` bytes of this file: a hard link if it has no more, else a copy. A file
    /// that has fewer is an error, before anything was changed.
    From(PathBuf, u64),
}

/// What a part is to hold.
#[derive(Clone, Debug)]
pub struct NewPart {
    /// The part.
    pub part: Part,
    /// Every file of it that pachat knows, by name. Files that pachat does not know stay.
    pub files: Vec<(String, Take)>,
}

/// A set of files in the making. Dropping it removes it.
pub struct Staging {
    store: Store,
    root: PathBuf,
    /// What it is to become; `None` for parts of the store.
    target: Option<PathBuf>,
    /// Parts whose directory was made.
    made: HashSet<Part>,
    _lock: Lock,
}

impl Drop for Staging {
    fn drop(&mut self) {
        let disk = self.store.disk();
        let removed = match self.target {
            Some(_) => disk.remove_tree(&self.root),
            None => clear(&self.store),
        };
        if let Err(error) = removed {
            log::warn!("cannot remove {}: {error}", self.root.display());
        }
    }
}

impl Staging {
    /// Begins a set that is to replace parts of the store: one at a time, by a lock of its own.
    /// Makes the data directory if need be, removes what a dead one has left, and completes a
    /// swap that was under way. The caller holds no lock of the store.
    pub fn begin(store: &Store, patience: &mut Patience<'_>) -> Result<Self> {
        store.refuse_after_failed_sync()?;
        store.check_format()?;
        let lock = swap_lock(store, patience)?;
        settle(store, patience)?;
        let root = store.layout().swap_dir();
        clear(store).map_err(|error| Error::io("cannot remove an old staging", &root, &error))?;
        atomic::create_dirs(store.disk(), &root.join("incoming"))?;
        Ok(Self {
            store: store.clone(),
            root,
            target: None,
            made: HashSet::new(),
            _lock: lock,
        })
    }

    /// Begins a set that is to become the directory `target`, which must not exist or be
    /// empty; its parent must exist. The files are staged in `.TARGET.pachat-tmp` beside it,
    /// so on the same file system. No lock of the store is taken, and the store is not looked
    /// at. [`Staging::publish`] ends it.
    pub fn beside(store: &Store, target: &Path, patience: &mut Patience<'_>) -> Result<Self> {
        let disk = store.disk();
        refuse_taken(store, target)?;
        let name = target
            .file_name()
            .ok_or_else(|| cannot_become(target, "it has no name"))?;
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(name);
        hidden.push(".pachat-tmp");
        let root = atomic::parent(target).join(hidden);
        match disk.create_dir(&root) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(
                    Error::io("cannot restore there", atomic::parent(target), &error)
                        .with_kind(Kind::CannotCreate)
                        .hint("make that directory first, or name another one"),
                );
            }
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(Error::io("cannot restore beside the target", &root, &error)
                    .with_kind(Kind::CannotCreate));
            }
            // One that is there is the remainder of a dead process, or its lock is held.
            _ => {}
        }
        let lock = lock::acquire(
            &store.disk,
            store.clock(),
            &root.join("lock"),
            LockMode::Exclusive,
            false,
            patience,
        )?;
        let incoming = root.join("incoming");
        let cannot =
            |error: io::Error| Error::io("cannot restore beside the target", &root, &error);
        disk.remove_tree(&incoming).map_err(cannot)?;
        disk.create_dir(&incoming).map_err(cannot)?;
        Ok(Self {
            store: store.clone(),
            root: root.clone(),
            target: Some(target.to_path_buf()),
            made: HashSet::new(),
            _lock: lock,
        })
    }

    /// A new file; its directory is made. Not synced: [`Staging::swap`] and
    /// [`Staging::publish`] sync everything.
    pub fn create(&mut self, part: Part, name: &str) -> Result<Box<dyn File>> {
        let path = self.path(part, name);
        if !part.accepts(name) {
            return Err(not_ours(part, name));
        }
        let cannot =
            |error: io::Error| Error::io("cannot stage a file", &path, &error).with_kind(Kind::Io);
        if self.made.insert(part) {
            arrange::create_below(
                self.store.disk(),
                &self.root,
                &Path::new("incoming").join(part.path()),
            )
            .map_err(cannot)?;
        }
        self.store
            .disk()
            .open(&path, Open::CreateNew)
            .map_err(cannot)
    }

    /// Where a staged file is.
    pub fn path(&self, part: Part, name: &str) -> PathBuf {
        self.root.join("incoming").join(part.path()).join(name)
    }

    /// Makes the parts hold the new files and nothing else that pachat knows, all at once. The
    /// caller holds the store alone (`alone` proves it) and has made a rollback point.
    ///
    /// After an error nothing has changed, unless the error says that the next start of pachat
    /// completes it.
    pub fn swap(self, alone: &Lock, parts: &[NewPart]) -> Result<()> {
        let _ = alone;
        if self.target.is_some() {
            return Err(Error::new(
                Kind::Bug,
                "a set for a directory of its own was swapped",
            ));
        }
        self.store.refuse_after_failed_sync()?;
        let plan: Vec<Part> = parts.iter().map(|part| part.part).collect();
        // Before anything is looked at: what is written to the log meanwhile would be lost.
        let logs = lock_logs(&self.store, &plan)?;
        let exchange = arrange::arrange(&self.store, &self.root, parts)?;
        self.store.disk().sync_tree(&self.root).map_err(|error| {
            self.store.note_failed_sync();
            Error::io("cannot make the new files durable", &self.root, &error).with_kind(Kind::Io)
        })?;
        exchange.decide()?;
        let outcome = exchange.carry_out()?;
        let forgotten = exchange.forget();
        // What is said from here on may go to the log.
        drop(logs);
        match (outcome, forgotten) {
            (Outcome::Undone(error), Ok(())) => Err(error.cause("nothing was changed")),
            // A record that cannot be removed of something undone would do it again.
            (Outcome::Undone(error), Err(_)) => Err(exchange::unfinished(&error)),
            (Outcome::Done, Ok(())) => Ok(()),
            (Outcome::Done, Err(error)) => {
                log::warn!("the next start of pachat tidies up: {error}");
                Ok(())
            }
        }
    }

    /// Makes everything that was staged the directory that was named to [`Staging::beside`],
    /// at once: a data directory of its own, of this format, as its `VERSION` says.
    pub fn publish(self, format: u32) -> Result<()> {
        let Some(target) = &self.target else {
            return Err(Error::new(Kind::Bug, "a set for the store was published"));
        };
        let (disk, incoming) = (self.store.disk(), self.root.join("incoming"));
        let cannot = |error: io::Error| {
            Error::io("cannot make the directory", target, &error).with_kind(Kind::CannotCreate)
        };
        let version = format!("{format}\n");
        carry::write_new(disk, &incoming.join("VERSION"), version.as_bytes()).map_err(cannot)?;
        // Who finds a VERSION expects this one.
        arrange::create_below(disk, &incoming, Path::new(Part::Active.path())).map_err(cannot)?;
        disk.sync_tree(&self.root).map_err(cannot)?;
        refuse_taken(&self.store, target)?;
        let renamed = disk.rename(&incoming, target).or_else(|error| {
            // Windows does not rename over an empty directory.
            disk.remove_dir(target).map_err(|_| error)?;
            disk.rename(&incoming, target)
        });
        renamed.map_err(cannot)?;
        disk.sync_dir(atomic::parent(target)).map_err(cannot)
    }
}

/// Completes a swap that a dead process began, or removes what it had staged; nothing if
/// there is none. Cheap where there is none: one `stat`. The caller holds no lock.
///
/// A living process that stages is left alone; one that swaps is waited for.
pub fn recover(store: &Store, patience: &mut Patience<'_>) -> Result<()> {
    if !is_there(store)? {
        return Ok(());
    }
    let mut at_once = Patience {
        limit: Some(Duration::ZERO),
        signals: patience.signals,
        notify: &mut || {},
    };
    let _lock = match swap_lock(store, &mut at_once) {
        Ok(lock) => lock,
        // It is being staged, or nothing can be locked here: the store is whole.
        Err(_) if !is_decided(store)? => return Ok(()),
        Err(error) if error.kind() == Kind::Busy => swap_lock(store, patience)?,
        Err(error) => return Err(error),
    };
    settle(store, patience)?;
    if let Err(error) = clear(store) {
        // It is in nobody's way.
        let root = store.layout().swap_dir();
        log::warn!("cannot remove {}: {error}", root.display());
    }
    Ok(())
}

/// Removes what was staged, unless there is a record: then it is for the next start. That
/// there is none must be durable first: else a power cut could bring the record back, and half
/// of what it speaks of.
fn clear(store: &Store) -> io::Result<()> {
    let (disk, root) = (store.disk(), store.layout().swap_dir());
    match disk.stat(&exchange::record(&root)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        other => return other.map(|_| ()),
    }
    if store.refuse_after_failed_sync().is_err() {
        return Ok(());
    }
    match disk.sync_dir(&root) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(()) => disk.remove_tree(&root),
    }
}

/// For commands that only read, and take no lock: completes a swap that was decided, and
/// waits for that a few seconds. Fails with [`Kind::Busy`] where it cannot be completed, as
/// on a file system that is read-only. What was only staged is removed if that can be done.
pub(super) fn recover_for_reading(store: &Store) -> Result<()> {
    if !is_there(store)? {
        return Ok(());
    }
    let decided = is_decided(store)?;
    let signals = Signals::default();
    let mut patience = Patience {
        limit: Some(store.patience.map_or(PATIENCE, |limit| limit.min(PATIENCE))),
        signals: &signals,
        notify: &mut || {},
    };
    let recovered = recover(store, &mut patience);
    if !decided && !is_decided(store)? {
        return Ok(());
    }
    recovered.map_err(|error| {
        let cause = error.headline();
        let busy = Error::new(Kind::Busy, "a restore is not complete yet");
        let busy = if error.is_somebody_else() {
            busy.somebody_else()
        } else {
            busy
        };
        busy.why("its last steps come first, and cannot be done now")
            .cause(cause)
            .path(&store.layout().swap_dir())
            .hint("run pachat again, where and as somebody who may write to the data directory")
    })
}

/// Whether there may be something to complete or to remove: one `stat`.
pub(super) fn is_there(store: &Store) -> Result<bool> {
    exists(store, &store.layout().swap_dir())
}

/// Whether there is a swap that has to be completed.
pub(super) fn is_decided(store: &Store) -> Result<bool> {
    exists(store, &exchange::record(&store.layout().swap_dir()))
}

fn exists(store: &Store, path: &Path) -> Result<bool> {
    match store.disk().stat(path) {
        Ok(_) => Ok(true),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(false)
        }
        Err(error) => Err(Error::io("cannot look at the data directory", path, &error)),
    }
}

/// Takes the lock of who replaces parts of the store.
fn swap_lock(store: &Store, patience: &mut Patience<'_>) -> Result<Lock> {
    atomic::create_dirs(store.disk(), &store.layout().run_dir())?;
    let path = store.layout().swap_lock();
    let (disk, clock) = (&store.disk, store.clock());
    lock::acquire(disk, clock, &path, LockMode::Exclusive, false, patience)
}

/// Completes what was decided. The caller holds the lock of who replaces.
fn settle(store: &Store, patience: &mut Patience<'_>) -> Result<()> {
    if !is_decided(store)? {
        return Ok(());
    }
    let (disk, clock) = (&store.disk, store.clock());
    let path = store.layout().store_lock();
    let _alone = lock::acquire(disk, clock, &path, LockMode::Exclusive, false, patience)?;
    let exchange = Exchange::read(store)?;
    let logs = lock_logs(store, &exchange.parts())?;
    let outcome = exchange.carry_out()?;
    exchange.forget()?;
    drop(logs);
    match outcome {
        Outcome::Done => {
            log::warn!("a restore, import or rollback that was interrupted is complete now");
        }
        Outcome::Undone(error) => {
            log::warn!(
                "a restore, import or rollback that was interrupted was taken back: {error}"
            );
        }
    }
    Ok(())
}

/// Keeps everybody from writing to the log, and from putting it away, where it is replaced.
/// As long as this is held, nothing may be logged.
fn lock_logs(store: &Store, parts: &[Part]) -> Result<Vec<Lock>> {
    if !parts.contains(&Part::Logs) {
        return Ok(Vec::new());
    }
    let signals = Signals::default();
    let mut patience = Patience {
        limit: Some(PATIENCE),
        signals: &signals,
        notify: &mut || {},
    };
    let layout = store.layout();
    let (disk, clock) = (&store.disk, store.clock());
    [layout.rotation_lock(), layout.log_lock()]
        .iter()
        .map(|path| lock::acquire(disk, clock, path, LockMode::Exclusive, false, &mut patience))
        .collect()
}

/// Refuses a target that is something already.
fn refuse_taken(store: &Store, target: &Path) -> Result<()> {
    match store.disk().stat(target) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::io("cannot look at the target", target, &error)),
        Ok(stat) if stat.kind == FileKind::Directory => {
            let entries = store.disk().read_dir(target);
            let entries =
                entries.map_err(|error| Error::io("cannot look at the target", target, &error))?;
            if entries.is_empty() {
                Ok(())
            } else {
                Err(cannot_become(target, "the directory is not empty"))
            }
        }
        Ok(_) => Err(cannot_become(target, "it exists and is not a directory")),
    }
}

fn cannot_become(target: &Path, why: &str) -> Error {
    Error::new(Kind::CannotCreate, "cannot restore there")
        .why(why)
        .path(target)
        .hint("name a directory that does not exist yet, or an empty one")
}

fn not_ours(part: Part, name: &str) -> Error {
    let shown = name.escape_debug();
    Error::new(
        Kind::Malformed,
        format!("`{}/{shown}` is no file of pachat's", part.path()),
    )
}
