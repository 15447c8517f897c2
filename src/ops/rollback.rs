//! Rollback points: made before every big change, and the way back to them.
//!
//! Layer: ops. Promise: a rollback is a change like any other, all at once and undone by
//! another one; it touches only the parts that its point covers.

use std::collections::BTreeMap;
use std::io::{self, Read};

use crate::model::backup::{Hasher, Part, Sha256};
use crate::model::error::{Error, Kind, Result};
use crate::platform::disk::Open;
use crate::store::Store;
use crate::store::lock::Patience;
use crate::store::parts::PartFile;
use crate::store::points::{self, Point, PointFile};
use crate::store::swap::{Staging, Take};

use super::restore::apply;
use super::restore::plan::{Action, Plan, Step};
use super::restore::{Done, Manner};

/// What a point covers that a person makes: everything but what tells what has happened, the
/// log and the quarantine, which no way back should take away.
pub const EVERYTHING: [Part; 5] = [
    Part::Attachments,
    Part::Config,
    Part::Active,
    Part::Archived,
    Part::Trash,
];

/// Makes a point of everything.
pub fn create(store: &Store, note: Option<&str>, patience: &mut Patience<'_>) -> Result<Point> {
    let nothing = || {
        Error::new(Kind::NotFound, "there is nothing yet to go back to")
            .hint("begin a conversation: pachat chat")
    };
    if !store.has_any(&EVERYTHING)? {
        return Err(nothing());
    }
    let _shared = store.enter(patience)?;
    automatic(store, &EVERYTHING, "manual", note, patience)?.ok_or_else(nothing)
}

/// Makes a point of these parts before something changes them; `None` if there is nothing in
/// them. The caller holds the store, shared or alone. `reason` is one of those of [`Point`].
pub fn automatic(
    store: &Store,
    parts: &[Part],
    reason: &str,
    note: Option<&str>,
    patience: &mut Patience<'_>,
) -> Result<Option<Point>> {
    if !store.has_any(parts)? {
        return Ok(None);
    }
    points::create(store, parts, reason, note, patience).map(Some)
}

/// Removes all but the newest `keep` points after `made` was added to them. The change is done,
/// so what goes wrong here is only a warning.
pub fn tidy(
    store: &Store,
    made: Option<&Point>,
    keep: usize,
    patience: &mut Patience<'_>,
) -> Vec<String> {
    if made.is_none() {
        return Vec::new();
    }
    match points::prune(store, keep, patience) {
        Ok(_) => Vec::new(),
        Err(error) => vec![format!(
            "older rollback points are still there: {}",
            error.headline()
        )],
    }
}

/// The way back to a point.
pub struct Back<'a> {
    store: &'a Store,
    point: Point,
    files: Vec<PointFile>,
    live: Vec<PartFile>,
    plan: Plan,
}

impl<'a> Back<'a> {
    /// Plans the way back to the point that `spec` names. Nothing is touched.
    pub fn plan(store: &'a Store, spec: &str) -> Result<Self> {
        let (point, files) = points::open(store, spec)?;
        let mut back = Self {
            store,
            point,
            files,
            live: Vec::new(),
            plan: Plan::default(),
        };
        back.look()?;
        Ok(back)
    }

    /// The point.
    pub fn point(&self) -> &Point {
        &self.point
    }

    /// What is to be done.
    pub fn steps(&self) -> &Plan {
        &self.plan
    }

    /// Does it. Waits until nobody writes, looks again, makes a point of what is there now, and
    /// lets the old files take the place of the new ones all at once.
    ///
    /// `None` if the store has changed since the plan was made, and so has the plan, which is
    /// another one now; then nothing was done.
    pub fn commit(
        &mut self,
        manner: Manner<'_>,
        patience: &mut Patience<'_>,
    ) -> Result<Option<Done>> {
        let store = self.store;
        let staging = Staging::begin(store, patience)?;
        let alone = store.enter_alone(patience)?;
        // Held by who changes settings without the lock of the store.
        let settings = store.lock_settings(patience)?;
        let shown = std::mem::take(&mut self.plan);
        // It may have been removed meanwhile.
        (self.point, self.files) = points::open(store, &self.point.id)?;
        self.look()?;
        if shown != self.plan && !manner.any_plan {
            return Ok(None);
        }
        let parts = self.plan.parts();
        let mut made = None;
        if !parts.is_empty() {
            let files: BTreeMap<(Part, &str), &PointFile> = self
                .files
                .iter()
                .map(|file| ((file.part, file.name.as_str()), file))
                .collect();
            let source = |part: Part, name: &str| match files.get(&(part, name)) {
                Some(file) => Take::From(points::path(store, &self.point, file), file.len),
                None => Take::Staged,
            };
            let new = apply::new_parts(store, &self.plan, &self.live, &source);
            made = automatic(store, &parts, "rollback", Some(manner.note), patience)?;
            if self.point.format != store.newest_format() {
                // Before the files: migrations are repeatable, so an old number on new files
                // does no harm if this ends here. The next who writes migrates the old files.
                store.set_format(self.point.format)?;
            }
            staging.swap(&alone, &new)?;
        }
        drop((settings, alone));
        Ok(Some(Done {
            plan: self.plan.clone(),
            warnings: tidy(store, made.as_ref(), manner.keep, patience),
            point: made,
        }))
    }

    /// The parts of the point.
    fn parts(&self) -> Vec<Part> {
        let parts = self.point.parts.iter();
        parts.filter_map(|path| Part::of(path)).collect()
    }

    /// Compares the point with what is there.
    fn look(&mut self) -> Result<()> {
        self.live = self.store.inventory(&self.parts())?.files;
        let mut others: BTreeMap<(Part, String), &PartFile> = self
            .live
            .iter()
            .map(|file| ((file.part, file.name.clone()), file))
            .collect();
        let mut steps = Vec::new();
        for file in &mut self.files {
            let live = others.remove(&(file.part, file.name.clone()));
            let action = look_at(self.store, &self.point, file, live)?;
            steps.push(Step {
                part: file.part,
                name: file.name.clone(),
                action,
                size: file.len,
            });
        }
        steps.extend(others.into_values().map(|file| Step {
            part: file.part,
            name: file.name.clone(),
            action: Action::Remove,
            size: file.len,
        }));
        steps.sort_unstable_by(|a, b| (a.part.path(), &a.name).cmp(&(b.part.path(), &b.name)));
        self.plan.steps = steps;
        Ok(())
    }
}

/// What going back does to a file. Corrects the length of one that was cut since the point was
/// made: repair has moved what is missing to the quarantine.
fn look_at(
    store: &Store,
    point: &Point,
    file: &mut PointFile,
    live: Option<&PartFile>,
) -> Result<Action> {
    let path = points::path(store, point, file);
    let stat = store.disk().stat(&path).map_err(|error| {
        Error::io("cannot go back", &path, &error)
            .with_kind(Kind::Malformed)
            .cause("a file of the rollback point is missing or cannot be looked at")
            .hint("see the other points: pachat rollback --list")
    })?;
    file.len = file.len.min(stat.len);
    let Some(live) = live else {
        return Ok(Action::Add);
    };
    if live.len != file.len && !is_only_torn(store, file, live)? {
        return Ok(Action::Replace);
    }
    if live.identity.is_some() && live.identity == stat.identity {
        return Ok(Action::Unchanged);
    }
    let own = store.part_file(live.part, &live.name);
    let same = beginning(store, &path, file.len)? == beginning(store, &own, file.len)?;
    Ok(if same {
        Action::Unchanged
    } else {
        Action::Replace
    })
}

/// Whether a file has nothing behind the length of the point's but a line that is cut, which is
/// no part of a point.
fn is_only_torn(store: &Store, file: &PointFile, live: &PartFile) -> Result<bool> {
    if live.len < file.len || !live.part.grows(&live.name) {
        return Ok(false);
    }
    let measured = store.measure(live.part, &live.name)?;
    Ok(measured.is_some_and(|measured| measured.size == file.len))
}

/// The digest of the first `len` bytes of a file.
fn beginning(store: &Store, path: &std::path::Path, len: u64) -> Result<Sha256> {
    let cannot = |error: io::Error| Error::io("cannot compare with the point", path, &error);
    let file = store.disk().open(path, Open::Read).map_err(cannot)?;
    let mut file = file.take(len);
    let mut hasher = Hasher::default();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer).map_err(cannot)? {
            0 => return Ok(hasher.finish()),
            count => hasher.update(&buffer[..count]),
        }
    }
}
