//! Repairs that lose nothing.
//!
//! Layer: ops. Promises: a rollback point comes before everything but permissions; what is in
//! use is left alone and named; each repair looks again, under the lock of who would change the
//! same, whether it is still right; bytes are only ever moved to the quarantine, and removed
//! only where they are somewhere else as well or where nothing refers to them. Killed at any
//! instruction, it leaves what was there or what is right, and can be run again.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use crate::model::backup::Part;
use crate::model::error::{Error, Kind, Result, describe};
use crate::model::finding::Finding;
use crate::model::id::ConversationId;
use crate::ops::rollback::{self, EVERYTHING};
use crate::platform::disk::{FileKind, Stat};
use crate::platform::signals::Signals;
use crate::store::lock::{self, Lock, Patience};
use crate::store::points::{self, Point};
use crate::store::shelf::{Moved, Shelf};
use crate::store::writer::Writer;
use crate::store::{Store, backups};

/// A repair: what it is about, and what is or was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Repair {
    /// The code of the finding.
    pub code: &'static str,
    /// The subject of the finding.
    pub subject: String,
    /// What was done, what would be, or why it was not: a few words.
    pub what: String,
}

/// What a run of repairs has done.
#[derive(Debug, Default)]
pub struct Fixed {
    /// Repairs that were made.
    pub done: Vec<Repair>,
    /// Those that were not, and why.
    pub skipped: Vec<Repair>,
    /// The way back; `None` if nothing was done that needs one.
    pub point: Option<Point>,
    /// What went wrong besides, a line each.
    pub warnings: Vec<String>,
}

/// What repairing the findings would do, in their order.
pub fn plan(findings: &[Finding]) -> Vec<Repair> {
    let repairable = findings.iter().filter(|finding| finding.fixable);
    let planned = repairable.filter_map(|finding| {
        Some(Repair {
            code: finding.code,
            subject: finding.subject.clone(),
            what: intention(finding.code)?.to_owned(),
        })
    });
    planned.collect()
}

/// What is done about a code; `None` if nothing can be.
fn intention(code: &str) -> Option<&'static str> {
    Some(match code {
        _ if is_about_modes(code) => "close it to others, and open it to you",
        "store.swap" => "complete or remove an interrupted restore",
        "store.version-missing" => "write the format into VERSION",
        "store.torn-tail" => "move the cut line to the quarantine",
        "store.side-file" => "fold the interrupted reply into the conversation",
        "store.side-file-damaged" => {
            "fold in what can be read, and move all of it to the quarantine"
        }
        "store.archived-twice" => "remove the archived copy",
        "store.index" => "remove it, so that it is made anew",
        "store.temporary" | "backups.temporary" => "remove it",
        _ => return None,
    })
}

fn is_about_modes(code: &str) -> bool {
    matches!(code, "security.mode" | "security.secret-mode")
}

/// Makes these repairs. `keep` is how many rollback points stay. The only errors are signals:
/// what could not be done is told in the result.
pub fn apply(
    store: &Store,
    repairs: &[Repair],
    keep: usize,
    patience: &mut Patience<'_>,
) -> Result<Fixed> {
    let signals = patience.signals.clone();
    let mut work = Work {
        store,
        signals,
        fixed: Fixed::default(),
    };
    let (modes, others): (Vec<&Repair>, Vec<&Repair>) = repairs
        .iter()
        .partition(|repair| is_about_modes(repair.code));
    // First: without them, not even a rollback point may be possible.
    for repair in modes {
        let outcome = close(store, &repair.subject);
        work.note(repair, outcome)?;
    }
    if others.is_empty() {
        return Ok(work.fixed);
    }
    match begin(store, patience) {
        Ok(point) => work.fixed.point = point,
        Err(error) => {
            for repair in others {
                work.note(repair, Err(copy(&error)))?;
            }
            return Ok(work.fixed);
        }
    }
    for repair in &others {
        work.repair(repair, patience)?;
    }
    work.conversations(&others)?;
    work.temporary_files(&others)?;
    let made = work.fixed.point.as_ref();
    work.fixed.warnings = rollback::tidy(store, made, keep, patience);
    Ok(work.fixed)
}

/// Enters the store, which completes what a crash has left of a restore, and makes a point.
fn begin(store: &Store, patience: &mut Patience<'_>) -> Result<Option<Point>> {
    let _shared = store.enter(patience)?;
    // Where something else stands in the place of a part, there is nothing to go back to.
    let is_listable = |part: &Part| {
        let listed = store.disk().read_dir(&store.part_dir(*part));
        !listed.is_err_and(|error| error.kind() == io::ErrorKind::NotADirectory)
    };
    let parts: Vec<Part> = EVERYTHING.into_iter().filter(is_listable).collect();
    let note = Some("before validate --fix");
    rollback::automatic(store, &parts, "validate", note, patience)
}

fn copy(error: &Error) -> Error {
    Error::new(error.kind(), error.headline())
}

struct Work<'a> {
    store: &'a Store,
    signals: Signals,
    fixed: Fixed,
}

/// What became of a repair: what was done, or why nothing was.
type Outcome = Result<std::result::Result<String, String>>;

impl Work<'_> {
    /// Writes down what became of a repair; a signal is an error.
    fn note(&mut self, repair: &Repair, outcome: Outcome) -> Result<()> {
        let repair = |what| Repair {
            what,
            ..repair.clone()
        };
        match outcome {
            Ok(Ok(done)) => self.fixed.done.push(repair(done)),
            Ok(Err(why)) => self.fixed.skipped.push(repair(why)),
            Err(error) if matches!(error.kind(), Kind::Interrupted | Kind::Terminated) => {
                return Err(error);
            }
            Err(error) if error.kind() == Kind::Busy => {
                let why = "another pachat is at work there";
                self.fixed.skipped.push(repair(why.to_owned()));
            }
            Err(error) => self.fixed.skipped.push(repair(error.headline())),
        }
        lock::stop_on(&self.signals)
    }

    /// Repairs that stand for themselves.
    fn repair(&mut self, repair: &Repair, patience: &mut Patience<'_>) -> Result<()> {
        let store = self.store;
        let outcome = match repair.code {
            // Entering the store has done both.
            "store.swap" => Ok(swap_is_settled(store)),
            "store.version-missing" => Ok(version_is_there(store)),
            "store.archived-twice" => drop_twin(store, &repair.subject, patience),
            "store.index" => remove_index(store, &repair.subject),
            _ => return Ok(()),
        };
        self.note(repair, outcome)
    }

    /// What opening a conversation repairs: each is opened once.
    fn conversations(&mut self, repairs: &[&Repair]) -> Result<()> {
        let mut by_id: BTreeMap<ConversationId, Vec<&Repair>> = BTreeMap::new();
        for repair in repairs {
            if matches!(
                repair.code,
                "store.torn-tail" | "store.side-file" | "store.side-file-damaged"
            ) && let Some(id) = id_in(&repair.subject)
            {
                by_id.entry(id).or_default().push(repair);
            }
        }
        for (id, repairs) in by_id {
            let mut opened = self.open(&id);
            for repair in repairs {
                let outcome = match &mut opened {
                    Ok(Ok(notices)) if notices.is_empty() => {
                        Ok(Err("there is nothing to repair any more".to_owned()))
                    }
                    Ok(Ok(notices)) => Ok(Ok(notices.join("; "))),
                    Ok(Err(why)) => Ok(Err(why.clone())),
                    Err(error) => Err(copy(error)),
                };
                self.note(repair, outcome)?;
            }
        }
        Ok(())
    }

    /// Opens a conversation as whoever writes to it does, and closes it again; what was
    /// repaired, a line each, or why nothing was.
    fn open(&self, id: &ConversationId) -> Result<std::result::Result<Vec<String>, String>> {
        // Opening what is archived would take it out of the archive.
        if self
            .store
            .disk()
            .stat(&self.store.layout().active(id))
            .is_err()
        {
            return Ok(Err("the conversation is not in use any more".into()));
        }
        let opened = at_once(&self.signals, |patience| {
            Writer::open(self.store, id, patience)
        });
        match opened {
            Ok(writer) => Ok(Ok(writer
                .notices
                .iter()
                // What cannot be repaired is a finding of its own.
                .filter(|notice| !notice.contains("cannot be read and "))
                .cloned()
                .collect())),
            Err(error) if error.kind() == Kind::Busy => {
                Ok(Err("the conversation is in use".into()))
            }
            Err(error) => Err(error),
        }
    }

    /// Files in the making, under the locks of all who could be making them.
    fn temporary_files(&mut self, repairs: &[&Repair]) -> Result<()> {
        let of = |code: &str| -> Vec<&Repair> {
            let repairs = repairs.iter().copied();
            repairs.filter(|repair| repair.code == code).collect()
        };
        let of_backups = of("backups.temporary");
        if !of_backups.is_empty() {
            let locked = at_once(&self.signals, |patience| {
                backups::lock(self.store, patience)
            });
            for repair in of_backups {
                let outcome = match &locked {
                    Err(error) => Err(copy(error)),
                    Ok(_) if repair.subject.starts_with("backups/points/") => {
                        self.remove_points_in_the_making(&repair.subject)
                    }
                    Ok(_) => remove_temporary(self.store, &repair.subject),
                };
                self.note(repair, outcome)?;
            }
        }
        let of_store = of("store.temporary");
        if !of_store.is_empty() {
            let locked = self.lock_everything();
            for repair in of_store {
                let outcome = match &locked {
                    Err(error) => Err(copy(error)),
                    Ok(_) => remove_temporary(self.store, &repair.subject),
                };
                self.note(repair, outcome)?;
            }
        }
        Ok(())
    }

    /// Keeps everybody from making files in the store, if nobody does now.
    fn lock_everything(&self) -> Result<[Lock; 3]> {
        let store = self.store;
        at_once(&self.signals, |patience| {
            let alone = store.enter_alone(patience)?;
            let settings = store.lock_settings(patience)?;
            let logs = store.lock_rotation(patience)?;
            // The last one is given back first.
            Ok([logs, settings, alone])
        })
    }

    /// Whoever makes or removes a point removes what the dead have left of others.
    fn remove_points_in_the_making(&self, subject: &str) -> Outcome {
        let path = self.store.layout().root().join(subject);
        if self.store.disk().stat(&path).is_ok() {
            at_once(&self.signals, |patience| {
                points::prune(self.store, usize::MAX, patience)
            })?;
        }
        Ok(match self.store.disk().stat(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok("removed".into()),
            _ => Err("it is still there".into()),
        })
    }
}

/// Does something that waits for nobody.
fn at_once<T>(signals: &Signals, act: impl FnOnce(&mut Patience<'_>) -> Result<T>) -> Result<T> {
    act(&mut Patience {
        limit: Some(Duration::ZERO),
        signals,
        notify: &mut || {},
    })
}

/// The conversation in the name of a file.
fn id_in(subject: &str) -> Option<ConversationId> {
    let name = subject.rsplit('/').next()?;
    name.get(..22)?.parse().ok()
}

fn swap_is_settled(store: &Store) -> std::result::Result<String, String> {
    match store.disk().stat(&store.layout().swap_dir()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Ok("completed what was decided, and removed the rest".into())
        }
        _ => Err("it cannot be completed or removed now".into()),
    }
}

fn version_is_there(store: &Store) -> std::result::Result<String, String> {
    match store.disk().stat(&store.layout().version()) {
        Ok(_) => Ok("written".into()),
        Err(error) => Err(describe(&error)),
    }
}

fn drop_twin(store: &Store, subject: &str, patience: &mut Patience<'_>) -> Outcome {
    let Some(id) = id_in(subject) else {
        return Ok(Err("it is no conversation".into()));
    };
    // Whoever has the store alone is not waited for, either.
    let (signals, mut notify) = (patience.signals.clone(), || {});
    let mut patience = Patience {
        limit: Some(Duration::ZERO),
        signals: &signals,
        notify: &mut notify,
    };
    let shelf = Shelf::enter(store, &mut patience)?;
    Ok(match shelf.drop_twin(&id)? {
        Moved::To(spot) => Ok(format!("removed; everything in it is in {}", spot.path())),
        Moved::Left(why) => Err(why),
    })
}

fn remove_index(store: &Store, subject: &str) -> Outcome {
    remove_file(
        store,
        subject,
        "removed; it is made anew when it is next used",
    )
}

/// Removes a file that still is one in the making.
fn remove_temporary(store: &Store, subject: &str) -> Outcome {
    let name = subject.rsplit('/').next().unwrap_or_default();
    let is_one =
        name.starts_with('.') && Path::new(name).extension().is_some_and(|end| end == "tmp");
    if !is_one {
        return Ok(Err("it is no temporary file".into()));
    }
    remove_file(store, subject, "removed")
}

fn remove_file(store: &Store, subject: &str, done: &str) -> Outcome {
    let path = store.layout().root().join(subject);
    match store.disk().stat(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Err("it is gone already".into()));
        }
        Ok(stat) if stat.kind != FileKind::File => return Ok(Err("it is no plain file".into())),
        _ => {}
    }
    store
        .disk()
        .remove_file(&path)
        .map_err(|error| Error::io("cannot remove it", &path, &error))?;
    Ok(Ok(done.to_owned()))
}

/// Closes a file or a directory to others; of a directory of the store its files, too.
fn close(store: &Store, subject: &str) -> Outcome {
    let (disk, root) = (store.disk(), store.layout().root());
    let path = root.join(subject);
    let cannot = |error: io::Error| Error::io("its permissions cannot be changed", &path, &error);
    let stat = disk.stat(&path).map_err(cannot)?;
    let mut changed = Vec::new();
    change_mode(store, &path, &stat, &mut changed).map_err(cannot)?;
    if stat.kind == FileKind::Directory && path.starts_with(root) && path != root {
        for entry in disk.read_dir(&path).map_err(cannot)? {
            let own = path.join(&entry.name);
            if entry.kind == FileKind::File
                && let Ok(stat) = disk.stat(&own)
            {
                change_mode(store, &own, &stat, &mut changed).map_err(cannot)?;
            }
        }
    }
    Ok(match &changed[..] {
        // With its directory, or by somebody else: it is as it is to be.
        [] => Ok("its permissions are as they should be".into()),
        [(from, to)] => Ok(format!("mode {from:04o} is {to:04o} now")),
        many => Ok(format!(
            "the permissions of {} files are as they should be",
            many.len()
        )),
    })
}

/// Gives a file or directory the mode that pachat makes it with.
fn change_mode(
    store: &Store,
    path: &Path,
    stat: &Stat,
    changed: &mut Vec<(u32, u32)>,
) -> io::Result<()> {
    let right = match stat.kind {
        FileKind::File => 0o600,
        FileKind::Directory => 0o700,
        FileKind::Other => return Err(io::Error::other("it is a link or a special file")),
    };
    match stat.mode.map(|mode| mode & 0o7777) {
        Some(mode) if mode != right => {
            store.disk().set_mode(path, right)?;
            changed.push((mode, right));
            Ok(())
        }
        _ => Ok(()),
    }
}
