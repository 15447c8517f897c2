//! Making a backup: what is to be in it, whether that is new, and the archive.
//!
//! Layer: ops. The order, all of it under `run/backup.lock`:
//! 1. what the dead have left is removed;
//! 2. the files are looked at, and those read that the index does not know; nothing new since
//!    the newest verified backup of that type: done;
//! 3. the archive is written under a temporary name. What it holds is what was read in step 2,
//!    byte for byte, or it is begun again. Up to here the store's lock is held, shared;
//! 4. it is synced, read back (what is new in it as a restore would read it, `rest`), and gets
//!    its name and its card;
//! 5. only then are old backups removed.
//!
//! Promise: whatever fails and whenever the machine stops, the conversations and all earlier
//! backups are as they were, and there is no archive that was not verified.

mod index;
mod labels;
mod pack;
mod prune;
mod survey;
mod work;

use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::archive::manifest::{Entry, Manifest};
use crate::archive::seal::Seal;
use crate::model::backup::BackupType;
use crate::model::error::{Error, Kind, Result};
use crate::platform::disk::File;
use crate::store::Store;
use crate::store::backups::{self, Backup};
use crate::store::lock::Patience;

use super::retention::{Rules, Verdict};
use super::watch::Watch;

use index::Index;
use work::Work;

pub use labels::pin;
pub use prune::{Pruned, expired, forecast, remove_expired};
pub use survey::{Status, Surveyed};

/// How often a backup begins again because files changed under it.
const TRIES: u32 = 5;

/// What a backup is of.
#[derive(Clone, Debug)]
pub struct Subject {
    /// What kind of backup.
    pub kind: BackupType,
    /// Whether it is to be sealed.
    pub sealed: bool,
    /// To whom, if not with a pass phrase; sorted.
    pub recipients: Vec<String>,
    /// Where `master.key` is, which goes into sealed archives.
    pub config_dir: Option<PathBuf>,
    /// Whether everything is read and packed anew.
    pub force: bool,
}

/// What people write on a backup.
#[derive(Clone, Debug, Default)]
pub struct Labels {
    /// Words to find it by.
    pub tags: Vec<String>,
    /// What they want to say.
    pub note: Option<String>,
    /// Whether retention leaves it alone.
    pub pinned: bool,
}

/// Where a backup goes.
#[derive(Clone, Debug)]
pub enum Output {
    /// To the directory of backups.
    Store,
    /// To this file, or into this directory under the usual name.
    File {
        /// Where.
        path: PathBuf,
        /// Whether a file that is there may be replaced.
        replace: bool,
    },
    /// To whoever calls [`Made::copy_to`], and then nowhere.
    Copy,
}

/// A backup to make.
pub struct Job {
    /// Of what.
    pub subject: Subject,
    /// How it is sealed. Invariant: `Some` if and only if the subject is to be sealed.
    pub seal: Option<Seal>,
    /// What is written on it.
    pub labels: Labels,
    /// Where it goes.
    pub output: Output,
    /// Which backups stay.
    pub rules: Rules,
    /// Where the person's days begin.
    pub zone: TimeZone,
    /// How many threads pack.
    pub cores: usize,
}

/// What a backup would be.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What is in it.
    pub manifest: Manifest,
    /// What else is known of its files, in their order.
    pub files: Vec<Surveyed>,
    /// Files that are broken, with what is wrong: they are backed up as they are.
    pub damaged: Vec<String>,
    /// Files that pachat does not know, and leaves out.
    pub foreign: Vec<String>,
    /// The verified backup that holds all this already.
    pub unchanged: Option<Backup>,
}

impl Plan {
    /// The files, with what else is known of each.
    pub fn entries(&self) -> impl Iterator<Item = (&Entry, &Surveyed)> {
        self.manifest.files.iter().zip(&self.files)
    }

    /// How many conversations it holds.
    pub fn conversations(&self) -> usize {
        survey::conversations(&self.manifest)
    }
}

/// What came of it.
pub struct Made {
    /// The backup, with its card. Not in the directory of backups if it went elsewhere.
    pub backup: Backup,
    /// What is in it.
    pub plan: Plan,
    /// Whether there was nothing new, so that this is an earlier one.
    pub unchanged: bool,
    /// Whether the labels of the earlier one changed.
    pub labelled: bool,
    /// Which others stay, and which were removed.
    pub pruned: Pruned,
    /// What is odd.
    pub warnings: Vec<String>,
    /// The bytes of an archive that has no name any more.
    copy: Option<Box<dyn File>>,
}

impl Made {
    /// Gives out the bytes of an archive that is for [`Output::Copy`].
    pub fn copy_to(
        &mut self,
        watch: &mut dyn Watch,
        out: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        match self.copy.take() {
            Some(file) => pack::copy(file, &self.backup, watch, out),
            None => Ok(()),
        }
    }

    /// The verdicts on the backups of this type, from the newest to the oldest.
    pub fn verdicts(&self) -> &[Verdict] {
        &self.pruned.verdicts
    }
}

/// Says what a backup of `subject` would be, and changes nothing.
pub fn plan(
    store: &Store,
    subject: &Subject,
    patience: &mut Patience<'_>,
    watch: &mut dyn Watch,
) -> Result<Plan> {
    check_exists(store)?;
    let index = Index::load(store, subject.kind);
    for _ in 0..TRIES {
        let _entered = store.enter(patience)?;
        if let Some(plan) = survey::survey(store, subject, &index, watch)? {
            return Ok(plan);
        }
    }
    Err(busy())
}

/// Makes a backup, if there is anything new.
pub fn make(
    store: &Store,
    job: &Job,
    patience: &mut Patience<'_>,
    watch: &mut dyn Watch,
) -> Result<Made> {
    check_exists(store)?;
    let _lock = backups::lock(store, patience)?;
    backups::tidy(store)?;
    let mut work = Work::new(store, job);
    for _ in 0..TRIES {
        if let Some(done) = work.attempt(patience, watch)? {
            return work.finish(done);
        }
    }
    Err(busy())
}

/// A data directory that does not exist is not made by backing it up.
fn check_exists(store: &Store) -> Result<()> {
    store.check()?;
    let version = store.layout().version();
    match store.disk().stat(&version) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(nothing(store.layout().root()))
        }
        Err(error) => Err(Error::io(
            "cannot read the data directory",
            &version,
            &error,
        )),
    }
}

fn nothing(root: &Path) -> Error {
    Error::new(Kind::NotFound, "there is nothing to back up yet")
        .nothing_yet()
        .path(root)
        .hint("begin a conversation: pachat chat")
}

fn busy() -> Error {
    Error::new(Kind::Busy, "the backup is not made")
        .somebody_else()
        .why("files kept changing while they were read")
        .hint("try again later")
}

/// The time, to the millisecond: as it comes back out of a manifest.
fn now(store: &Store) -> Timestamp {
    let now = store.clock().now();
    Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now)
}
