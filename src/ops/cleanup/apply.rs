//! Carrying out a plan.
//!
//! Conversations are moved in batches, which share their syncs: steps of one task and action that
//! follow each other. Every other step is a batch of its own.
//!
//! A task ends with the first step of it that fails, because the next ones would fail as well;
//! other tasks go on, because emptying the trash may be what a full disk needs. A signal, or a
//! store that somebody else has for himself for too long, ends everything: what was done is
//! done, and the next cleanup does the rest.

use std::collections::HashSet;
use std::io;
use std::slice;
use std::time::Duration;

use crate::model::backup::Part;
use crate::model::error::{Error, Kind, Result};
use crate::ops::backup;
use crate::ops::watch::Watch;
use crate::store::index::Index;
use crate::store::lock::Patience;
use crate::store::shelf::{self, Ended, Moved, Shelf, Spot, Wanted};
use crate::store::{Store, backups, points};

use super::{Action, Plan, Skipped, Step, Target, Task, Wishes, leftovers, log_of};

/// What was done of a plan.
#[derive(Debug, Default)]
pub struct Applied {
    /// The steps that were done.
    pub done: Vec<Done>,
    /// What was left alone, and why: also what the plan says of that.
    pub skipped: Vec<Skipped>,
    /// What failed.
    pub failures: Vec<Failure>,
}

impl Applied {
    /// The steps of this task and action that were done: how many, how many bytes they were
    /// about, and how many of those were moved elsewhere and are still there.
    pub fn total(&self, plan: &Plan, task: Task, action: Action) -> (usize, u64, u64) {
        let done = self.done.iter().map(|done| (&plan.steps[done.step], done));
        done.filter(|(step, _)| (step.task, step.action) == (task, action))
            .fold((0, 0, 0), |(count, before, after), (step, done)| {
                let now = done.spot.as_ref().map_or(0, |spot| spot.bytes);
                (count + 1, before + step.bytes, after + now)
            })
    }
}

/// A step that was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// Its place in the plan.
    pub step: usize,
    /// Where what it was about is now; `None` if it is gone.
    pub spot: Option<Spot>,
}

/// A task that ended early.
#[derive(Debug)]
pub struct Failure {
    /// Which.
    pub task: Task,
    /// What it was about to do: a path below the data directory.
    pub path: String,
    /// What went wrong.
    pub error: Error,
}

/// What became of a step.
enum Outcome {
    Done(Option<Spot>),
    Left(String),
}

impl From<Moved> for Outcome {
    fn from(moved: Moved) -> Self {
        match moved {
            // What is destroyed is where it was.
            Moved::To(spot) => Self::Done(Some(spot)),
            Moved::Left(why) => Self::Left(why),
        }
    }
}

impl Outcome {
    fn gone(done: bool, otherwise: &str) -> Self {
        if done {
            Self::Done(None)
        } else {
            Self::Left(otherwise.to_owned())
        }
    }
}

/// Carries out a plan, as far as what it is about is still as it was.
pub fn apply(
    store: &Store,
    plan: &Plan,
    wishes: &Wishes,
    index: &mut Index,
    patience: &mut Patience<'_>,
    watch: &mut dyn Watch,
) -> Applied {
    let mut applied = Applied {
        skipped: plan.skipped.clone(),
        ..Applied::default()
    };
    watch.stage("cleaning", plan.steps.iter().map(|step| step.bytes).sum());
    let mut work = Work {
        store,
        wishes,
        index,
        patience,
    };
    let mut next = 0;
    while next < plan.steps.len() {
        let first = next;
        let steps = batch(&plan.steps[first..]);
        next += steps.len();
        let failed = |failure: &Failure| failure.task == steps[0].task;
        if applied.failures.iter().any(failed) {
            continue;
        }
        let (done, skipped) = (&mut applied.done, &mut applied.skipped);
        let mut tell = |number: usize, outcome| match outcome {
            Outcome::Done(spot) => done.push(Done {
                step: first + number,
                spot,
            }),
            Outcome::Left(why) => skipped.push(Skipped {
                task: steps[number].task,
                path: steps[number].path.clone(),
                why,
            }),
        };
        let bytes = steps.iter().map(|step| step.bytes).sum();
        let ended = match watch.advance(bytes) {
            Ok(()) => work.steps(steps, &mut tell),
            Err(error) => Err((0, error)),
        };
        if let Err((number, error)) = ended {
            let ends = matches!(
                error.kind(),
                Kind::Interrupted | Kind::Terminated | Kind::Busy
            );
            applied.failures.push(Failure {
                task: steps[number].task,
                path: steps[number].path.clone(),
                error,
            });
            if ends {
                break;
            }
        }
    }
    if let Err(failure) = work.finish(plan, &applied) {
        applied.failures.push(failure);
    }
    applied
}

/// The first of these steps, and those behind it that are carried out together with it.
fn batch(steps: &[Step]) -> &[Step] {
    let mut bytes = 0;
    let mut ids = HashSet::new();
    let mut count = 0;
    for step in steps.iter().take(shelf::MOST) {
        bytes += step.bytes;
        let alike = (step.task, step.action) == (steps[0].task, steps[0].action);
        let small = step.action != Action::Archive || bytes <= shelf::MOST_BYTES;
        // Whoever has a turn already cannot take it once more.
        let new = step.conversation().is_some_and(|id| ids.insert(id));
        if count > 0 && !(alike && small && new) {
            break;
        }
        count += 1;
        if !new {
            break;
        }
    }
    &steps[..count]
}

struct Work<'a, 'p> {
    store: &'a Store,
    wishes: &'a Wishes,
    index: &'a mut Index,
    patience: &'a mut Patience<'p>,
}

impl Work<'_, '_> {
    /// Carries out a batch, and tells what became of each step of it, by its place there.
    fn steps(&mut self, steps: &[Step], tell: &mut dyn FnMut(usize, Outcome)) -> Result<(), Ended> {
        let [step] = steps else {
            return self.conversations(steps, tell);
        };
        let outcome = self.step(step).map_err(|error| (0, error))?;
        tell(0, outcome);
        Ok(())
    }

    fn step(&mut self, step: &Step) -> Result<Outcome> {
        let store = self.store;
        match &step.target {
            Target::Conversation(..) => {
                let mut outcome = Outcome::Left("it is gone".into());
                let mut tell = |_, told| outcome = told;
                self.conversations(slice::from_ref(step), &mut tell)
                    .map_err(|(_, error)| error)?;
                Ok(outcome)
            }
            Target::Attachment(name, looks) => {
                let entered = Shelf::enter(store, self.patience)?;
                let moved = entered.discard_attachment(name, looks.as_ref())?;
                Ok(moved.into())
            }
            Target::Trashed(trashed) => {
                let entered = Shelf::enter(store, self.patience)?;
                Ok(match entered.destroy(trashed)? {
                    Moved::To(_) => Outcome::Done(None),
                    Moved::Left(why) => Outcome::Left(why),
                })
            }
            Target::Log(chore) => {
                let done = log_of(store, self.wishes).carry_out(chore)?;
                Ok(Outcome::gone(done, "another pachat is at it"))
            }
            Target::Backup(id) => {
                let (rules, zone) = (&self.wishes.rules, self.wishes.zone());
                let done = backup::remove_expired(store, id, rules, zone, self.patience)?;
                Ok(Outcome::gone(done, "a rule keeps it now, or it is gone"))
            }
            Target::OfTurn(id) => {
                let entered = Shelf::enter(store, self.patience)?;
                let Some(turn) = entered.turn(id)? else {
                    return Ok(Outcome::Left("it is in use".into()));
                };
                // Its lock's file goes with the lock.
                if !step.path.starts_with("run/") {
                    self.remove(step)?;
                }
                drop(turn);
                Ok(Outcome::Done(None))
            }
            Target::OfBackups => self.under_lock_of_backups(step),
            Target::OfPoints => {
                let mut at_once = at_once(self.patience);
                match points::tidy(store, &mut at_once) {
                    Err(error) if error.kind() == Kind::Busy => {
                        Ok(Outcome::Left("it is in use".into()))
                    }
                    other => other.map(|()| Outcome::Done(None)),
                }
            }
            Target::Abandoned => self.abandoned(step),
            Target::Cache => self.remove(step),
        }
    }

    fn conversations(
        &mut self,
        steps: &[Step],
        tell: &mut dyn FnMut(usize, Outcome),
    ) -> Result<(), Ended> {
        let (store, index) = (self.store, &mut *self.index);
        let entered = Shelf::enter(store, self.patience).map_err(|error| (0, error))?;
        let wanted: Vec<Wanted<'_>> = steps.iter().filter_map(wanted).collect();
        let mut tell = |number: usize, moved: Moved| {
            if let Moved::To(spot) = &moved {
                let file = match spot.part {
                    // What cannot be looked at is read when it is asked for.
                    Part::Archived => shelf::look(store, spot.part, &spot.name).unwrap_or(None),
                    _ => None,
                };
                index.moved(wanted[number].id, file.as_ref());
            }
            tell(number, moved.into());
        };
        match steps[0].action {
            Action::Archive => entered.archive(&wanted, self.wishes.cores, &mut tell),
            _ => entered.discard(&wanted, &mut tell),
        }
    }

    fn under_lock_of_backups(&mut self, step: &Step) -> Result<Outcome> {
        let mut at_once = at_once(self.patience);
        let lock = match backups::lock(self.store, &mut at_once) {
            Err(error) if error.kind() == Kind::Busy => {
                return Ok(Outcome::Left("a backup is being made".into()));
            }
            other => other?,
        };
        let removed = self.remove(step);
        drop(lock);
        removed
    }

    fn abandoned(&mut self, step: &Step) -> Result<Outcome> {
        // Nothing replaces the directory it is in meanwhile.
        let _entered = Shelf::enter(self.store, self.patience)?;
        let path = self.store.layout().root().join(&step.path);
        match self.store.disk().stat(&path) {
            Ok(stat) if !leftovers::is_abandoned(&stat, self.wishes.at()) => {
                Ok(Outcome::Left("somebody has written to it".into()))
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::io("cannot look at a file", &path, &error))
            }
            _ => self.remove(step),
        }
    }

    /// Removes a file. One that is gone already is as it should be: an earlier step of the same
    /// cleanup takes away what it finds in its way, such as a dead one's archive in the making.
    fn remove(&self, step: &Step) -> Result<Outcome> {
        let path = self.store.layout().root().join(&step.path);
        match self.store.disk().remove_file(&path) {
            Ok(()) => Ok(Outcome::Done(None)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Outcome::Done(None)),
            Err(error) => Err(Error::io("cannot remove a file", &path, &error)),
        }
    }

    /// Makes durable what was removed, and keeps the index, unless that was to go.
    fn finish(&mut self, plan: &Plan, applied: &Applied) -> Result<(), Failure> {
        let done = |task| {
            let mut steps = applied.done.iter().map(|done| &plan.steps[done.step]);
            steps.any(|step| step.task == task)
        };
        if !plan.steps.iter().any(|step| step.task == Task::Caches) {
            self.index.save(self.store);
        }
        if !done(Task::Trash) {
            return Ok(());
        }
        let entered = Shelf::enter(self.store, self.patience);
        let synced = entered.and_then(|entered| entered.sync_trash());
        synced.map_err(|error| Failure {
            task: Task::Trash,
            path: Part::Trash.path().into(),
            error,
        })
    }
}

/// Which conversation a step is about, and how it looked.
fn wanted(step: &Step) -> Option<Wanted<'_>> {
    let Target::Conversation(id, looks) = &step.target else {
        return None;
    };
    let archived = step.path.starts_with(Part::Archived.path());
    let part = if archived {
        Part::Archived
    } else {
        Part::Active
    };
    Some(Wanted {
        id,
        seen: looks.as_ref().map(|looks| (part, looks)),
    })
}

fn at_once<'a>(patience: &'a mut Patience<'_>) -> Patience<'a> {
    Patience {
        limit: Some(Duration::ZERO),
        signals: patience.signals,
        notify: &mut *patience.notify,
    }
}
