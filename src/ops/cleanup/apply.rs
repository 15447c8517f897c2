//! Carrying out a plan.
//!
//! A task ends with the first step of it that fails, because the next ones would fail as well;
//! other tasks go on, because emptying the trash may be what a full disk needs. A signal, or a
//! store that somebody else has for himself for too long, ends everything: what was done is
//! done, and the next cleanup does the rest.

use std::io;
use std::time::Duration;

use crate::model::backup::Part;
use crate::model::error::{Error, Kind, Result};
use crate::model::id::ConversationId;
use crate::ops::backup;
use crate::ops::watch::Watch;
use crate::store::index::Index;
use crate::store::lock::Patience;
use crate::store::looks::Looks;
use crate::store::shelf::{self, Moved, Shelf, Spot};
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
    for (number, step) in plan.steps.iter().enumerate() {
        let failed = |failure: &Failure| failure.task == step.task;
        if applied.failures.iter().any(failed) {
            continue;
        }
        let outcome = watch.advance(step.bytes).and_then(|()| work.step(step));
        match outcome {
            Ok(Outcome::Done(spot)) => applied.done.push(Done { step: number, spot }),
            Ok(Outcome::Left(why)) => applied.skipped.push(Skipped {
                task: step.task,
                path: step.path.clone(),
                why,
            }),
            Err(error) => {
                let ends = matches!(
                    error.kind(),
                    Kind::Interrupted | Kind::Terminated | Kind::Busy
                );
                applied.failures.push(Failure {
                    task: step.task,
                    path: step.path.clone(),
                    error,
                });
                if ends {
                    break;
                }
            }
        }
    }
    if let Err(failure) = work.finish(plan, &applied) {
        applied.failures.push(failure);
    }
    applied
}

struct Work<'a, 'p> {
    store: &'a Store,
    wishes: &'a Wishes,
    index: &'a mut Index,
    patience: &'a mut Patience<'p>,
}

impl Work<'_, '_> {
    fn step(&mut self, step: &Step) -> Result<Outcome> {
        let store = self.store;
        match &step.target {
            Target::Conversation(id, looks) => self.conversation(step, id, looks.as_ref()),
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
                let lock = step.path.starts_with("run/");
                let done = if lock { true } else { self.remove(step)? };
                // Its file goes with the lock.
                drop(turn);
                Ok(Outcome::gone(done, "it is gone"))
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
            Target::Cache => Ok(Outcome::gone(self.remove(step)?, "it is gone")),
        }
    }

    fn conversation(
        &mut self,
        step: &Step,
        id: &ConversationId,
        looks: Option<&Looks>,
    ) -> Result<Outcome> {
        let entered = Shelf::enter(self.store, self.patience)?;
        let part = if step.path.starts_with(Part::Archived.path()) {
            Part::Archived
        } else {
            Part::Active
        };
        let moved = match step.action {
            Action::Archive => entered.archive(id, looks)?,
            _ => entered.discard(id, looks.map(|looks| (part, looks)))?,
        };
        if let Moved::To(spot) = &moved {
            let file = match spot.part {
                Part::Archived => shelf::look(self.store, spot.part, &spot.name)?,
                _ => None,
            };
            self.index.moved(id, file.as_ref());
        }
        Ok(moved.into())
    }

    fn under_lock_of_backups(&mut self, step: &Step) -> Result<Outcome> {
        let mut at_once = at_once(self.patience);
        let lock = match backups::lock(self.store, &mut at_once) {
            Err(error) if error.kind() == Kind::Busy => {
                return Ok(Outcome::Left("a backup is being made".into()));
            }
            other => other?,
        };
        let done = self.remove(step)?;
        drop(lock);
        Ok(Outcome::gone(done, "it is gone"))
    }

    fn abandoned(&mut self, step: &Step) -> Result<Outcome> {
        // Nothing replaces the directory it is in meanwhile.
        let _entered = Shelf::enter(self.store, self.patience)?;
        let path = self.store.layout().root().join(&step.path);
        let still = match self.store.disk().stat(&path) {
            Ok(stat) => leftovers::is_abandoned(&stat, self.wishes.at()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(Error::io("cannot look at a file", &path, &error)),
        };
        let done = still && self.remove(step)?;
        Ok(Outcome::gone(
            done,
            "somebody has written to it, or it is gone",
        ))
    }

    /// Removes a file; `false` if it is gone already.
    fn remove(&self, step: &Step) -> Result<bool> {
        let path = self.store.layout().root().join(&step.path);
        match self.store.disk().remove_file(&path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
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

fn at_once<'a>(patience: &'a mut Patience<'_>) -> Patience<'a> {
    Patience {
        limit: Some(Duration::ZERO),
        signals: patience.signals,
        notify: &mut *patience.notify,
    }
}
