//! Restoring a backup: verify, plan, ask, swap.
//!
//! Layer: ops. Promises: the whole archive is verified before anything of the store is
//! touched; what a dry run shows is what a restore does; what it does can be undone, because a
//! rollback point comes first; killed at any instruction, it leaves the old files or the new.

pub mod apply;
mod compare;
mod content;
pub mod gather;
mod intake;
mod key_file;
pub mod plan;
pub mod select;
mod times;

use std::io::Read;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::archive::manifest::Manifest;
use crate::archive::read;
use crate::model::backup::Part;
use crate::model::error::Result;
use crate::platform::disk::File;
use crate::store::Store;
use crate::store::lock::Patience;
use crate::store::points::Point;
use crate::store::swap::{Staging, Take};

use super::rollback;
use super::watch::Watch;
use compare::Comparison;
use intake::{Asked, Intake, Shelf};
use plan::{Action, KeyFile, Mode, Plan};
use select::Selection;

/// An archive that is about to be read.
pub struct Source<'a> {
    /// Its bytes, unsealed.
    pub input: &'a mut dyn Read,
    /// Whether it was taken out of an age file.
    pub sealed: bool,
}

impl Source<'_> {
    fn read(self, intake: &mut Intake<'_>) -> Result<Manifest> {
        let Self { input, sealed } = self;
        read::read(input, sealed, intake)
    }
}

/// What is to be restored, and what becomes of what is there.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// Which files.
    pub selection: &'a Selection,
    /// What becomes of what is there.
    pub mode: Mode,
    /// Where the key file belongs; `None` without a home directory.
    pub config_dir: Option<&'a Path>,
}

/// Reads a whole archive and checks everything about it; nothing is written.
pub fn verify(store: &Store, source: Source<'_>, watch: &mut dyn Watch) -> Result<Manifest> {
    let selection = Selection::default();
    let asked = Asked {
        selection: &selection,
        mode: None,
    };
    let mut intake = Intake::new(store, asked, None, watch);
    source.read(&mut intake)
}

/// What a restore would do. Reads and checks everything; nothing is written.
pub fn preview(
    store: &Store,
    source: Source<'_>,
    request: Request<'_>,
    watch: &mut dyn Watch,
) -> Result<(Manifest, Plan)> {
    let mut intake = Intake::new(store, request.asked(), None, watch);
    let manifest = source.read(&mut intake)?;
    let key = intake.key.take();
    let mut plan = match &intake.comparison {
        Some(comparison) => comparison.plan(),
        None => Plan::default(),
    };
    plan.key_file = key_file::plan(store, request.config_dir, bytes(key.as_ref()))?;
    Ok((manifest, plan))
}

/// A restore that is verified and staged, and has changed nothing yet. Dropping it leaves
/// everything as it was.
pub struct Prepared<'a> {
    store: &'a Store,
    request: Request<'a>,
    manifest: Manifest,
    /// Gone once it has been swapped in.
    staging: Option<Staging>,
    comparison: Comparison,
    key: Option<Zeroizing<Vec<u8>>>,
    plan: Plan,
    /// Why the rollback point is made.
    reason: &'static str,
}

/// A restore that is done.
pub struct Done {
    /// What was done.
    pub plan: Plan,
    /// The way back; `None` where nothing was there before, or nothing was changed.
    pub point: Option<Point>,
    /// What went wrong afterwards, a line each.
    pub warnings: Vec<String>,
}

/// How a restore is carried out.
#[derive(Clone, Copy)]
pub struct Manner<'a> {
    /// What the rollback point says.
    pub note: &'a str,
    /// How many rollback points to keep.
    pub keep: usize,
    /// Whether a plan that has changed since it was shown is carried out, too.
    pub any_plan: bool,
}

impl<'a> Request<'a> {
    fn asked(self) -> Asked<'a> {
        Asked {
            selection: self.selection,
            mode: Some(self.mode),
        }
    }
}

/// Reads and checks everything, and writes down beside the data what is to be restored.
pub fn prepare<'a>(
    store: &'a Store,
    source: Source<'_>,
    request: Request<'a>,
    watch: &mut dyn Watch,
    patience: &mut Patience<'_>,
) -> Result<Prepared<'a>> {
    let mut shelf = Staged {
        staging: Staging::begin(store, patience)?,
        place: store.layout().root().to_path_buf(),
    };
    let mut intake = Intake::new(store, request.asked(), Some(&mut shelf), watch);
    let manifest = source.read(&mut intake)?;
    let (key, comparison) = (intake.key.take(), intake.comparison.take());
    let comparison = match comparison {
        Some(comparison) => comparison,
        None => Comparison::begin(store, &manifest, &[], false, request.mode)?,
    };
    let mut prepared = Prepared {
        store,
        request,
        manifest,
        staging: Some(shelf.staging),
        plan: comparison.plan(),
        comparison,
        key,
        reason: "restore",
    };
    prepared.plan.key_file = prepared.key_file()?;
    Ok(prepared)
}

/// Makes a data directory of its own of what an archive holds: `target`, which must not exist
/// or be empty. The store is not touched. Gives the manifest, and how many files there are.
pub fn extract(
    store: &Store,
    source: Source<'_>,
    selection: &Selection,
    target: &Path,
    watch: &mut dyn Watch,
    patience: &mut Patience<'_>,
) -> Result<(Manifest, usize)> {
    let mut shelf = Staged {
        staging: Staging::beside(store, target, patience)?,
        place: target.to_path_buf(),
    };
    let asked = Asked {
        selection,
        mode: None,
    };
    let mut intake = Intake::new(store, asked, Some(&mut shelf), watch);
    let manifest = source.read(&mut intake)?;
    let (files, key) = (intake.entries.len(), intake.key.take());
    if let Some(key) = bytes(key.as_ref()) {
        let path = shelf.staging.path(Part::Config, "master.key");
        key_file::put_new(store, &path, key)?;
    }
    // What is in it is as it was packed; the next who writes there migrates.
    shelf.staging.publish(manifest.store_format)?;
    Ok((manifest, files))
}

/// Where the files of a restore are until it is sure.
struct Staged {
    staging: Staging,
    place: PathBuf,
}

impl Shelf for Staged {
    fn create(&mut self, part: Part, name: &str) -> Result<Box<dyn File>> {
        self.staging.create(part, name)
    }

    fn place(&self) -> &Path {
        &self.place
    }
}

impl Prepared<'_> {
    /// What is to be done.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// What the archive says about itself.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Does it. Waits until nobody writes, looks again, makes a rollback point, and lets the
    /// new files take the place of the old ones all at once.
    ///
    /// `None` if the store has changed since the plan was made, and so has the plan, which is
    /// another one now; then nothing was done.
    pub fn commit(
        &mut self,
        manner: Manner<'_>,
        patience: &mut Patience<'_>,
    ) -> Result<Option<Done>> {
        let store = self.store;
        let alone = store.enter_alone(patience)?;
        // Held by who changes settings without the lock of the store.
        let settings = store.lock_settings(patience)?;
        let plan = self.look_again()?;
        let changed = plan != self.plan;
        self.plan = plan;
        if changed && !manner.any_plan {
            return Ok(None);
        }
        let parts = self.plan.parts();
        let mut point = None;
        if let Some(staging) = self.staging.take_if(|_| !parts.is_empty()) {
            let source = |_: Part, _: &str| Take::Staged;
            let new = apply::new_parts(store, &self.plan, &self.comparison.live, &source);
            point = rollback::automatic(store, &parts, self.reason, Some(manner.note), patience)?;
            let format = self.manifest.store_format;
            if format != store.newest_format() {
                // As on the way back to a rollback point: the next who writes migrates.
                store.set_format(format)?;
            }
            staging.swap(&alone, &new)?;
        }
        if self.plan.key_file == KeyFile::Add {
            key_file::put(store, self.request.config_dir, bytes(self.key.as_ref()))?;
        }
        drop((settings, alone));
        Ok(Some(Done {
            plan: self.plan.clone(),
            warnings: rollback::tidy(store, point.as_ref(), manner.keep, patience),
            point,
        }))
    }

    /// The plan as it is now.
    fn look_again(&mut self) -> Result<Plan> {
        if let Some(staging) = &self.staging {
            let staged = |part: Part, name: &str| staging.path(part, name);
            self.comparison.look_again(self.store, &staged)?;
        }
        let mut plan = self.comparison.plan();
        plan.key_file = self.key_file()?;
        Ok(plan)
    }

    fn key_file(&self) -> Result<KeyFile> {
        key_file::plan(
            self.store,
            self.request.config_dir,
            bytes(self.key.as_ref()),
        )
    }
}

fn bytes(key: Option<&Zeroizing<Vec<u8>>>) -> Option<&[u8]> {
    key.map(|key| key.as_slice())
}

/// How many files of each kind of fate a plan has, for a line: `3 added, 1 removed`.
pub fn outcome(plan: &Plan) -> String {
    let words = [
        (Action::Add, "added"),
        (Action::Replace, "replaced"),
        (Action::Remove, "removed"),
        (Action::Unchanged, "unchanged"),
        (Action::Keep, "kept"),
        (Action::Diverged, "diverged"),
    ];
    let counted = words
        .iter()
        .map(|(action, word)| (plan.count(*action), word))
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| format!("{count} {word}"));
    counted.collect::<Vec<String>>().join(", ")
}
