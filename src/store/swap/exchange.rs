//! Exchanging old parts for new ones, from whatever state a crash has left.
//!
//! With a record, what has been done to a part can be told from what exists:
//!
//! | `new` | `old` | in place | so                                                    |
//! |-------|-------|----------|-------------------------------------------------------|
//! | yes   | no    | old      | nothing has been done                                 |
//! | yes   | yes   | nothing  | the old one is away                                   |
//! | no    | yes   | new      | it is done                                            |
//! | yes   | yes   | late     | after a crash somebody made the directory once more   |
//!
//! Where a part did not exist before, there is no `old`; the record says so. What is late is
//! moved away, and its files are kept in `quarantine/`.
//!
//! Invariant: the directory that something was renamed into is synced before the one that it
//! was renamed out of, so that a power cut in between loses no name. The record goes when all
//! of them are.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::model::backup::Part;
use crate::model::error::{Error, Kind, Result};
use crate::store::{Store, atomic};

/// The version of the record that this program writes and knows.
const VERSION: u32 = 1;
/// The longest record, in bytes.
const LONGEST: u64 = 64 << 10;

/// Where the record of a swap is.
pub(super) fn record(root: &Path) -> PathBuf {
    root.join("record.json")
}

#[derive(Serialize, Deserialize)]
struct Record {
    version: u32,
    parts: Vec<Line>,
}

#[derive(Serialize, Deserialize)]
struct Line {
    part: String,
    existed: bool,
}

/// A part that is replaced.
pub(super) struct Planned {
    pub(super) part: Part,
    /// Whether it had a directory before.
    pub(super) existed: bool,
}

/// How it went.
pub(super) enum Outcome {
    /// The new parts are in their places.
    Done,
    /// The old ones are, because of this error.
    Undone(Error),
}

/// The exchange of some parts.
pub(super) struct Exchange {
    store: Store,
    root: PathBuf,
    planned: Vec<Planned>,
}

impl Exchange {
    pub(super) fn new(store: &Store, planned: Vec<Planned>) -> Self {
        Self {
            store: store.clone(),
            root: store.layout().swap_dir(),
            planned,
        }
    }

    /// What was decided.
    pub(super) fn read(store: &Store) -> Result<Self> {
        let path = record(&store.layout().swap_dir());
        let damaged = |why: String| {
            Error::new(
                Kind::Malformed,
                "cannot complete a restore that was interrupted",
            )
            .why(why)
            .path(&path)
            .hint("the old files are in .swap/old, the new ones in place or in .swap/new")
        };
        let bytes = store.disk().read(&path, LONGEST);
        let bytes =
            bytes.map_err(|error| Error::io("cannot read what was decided", &path, &error))?;
        let record: Record =
            serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
        if record.version != VERSION {
            return Err(damaged(format!("version {} is not known", record.version))
                .hint("install the current version of pachat"));
        }
        let planned = record.parts.into_iter().map(|line| {
            let part = Part::of(&line.part);
            Ok(Planned {
                part: part.ok_or_else(|| damaged(format!("`{}` is not known", line.part)))?,
                existed: line.existed,
            })
        });
        Ok(Self::new(store, planned.collect::<Result<_>>()?))
    }

    /// The parts that are replaced.
    pub(super) fn parts(&self) -> Vec<Part> {
        self.planned.iter().map(|planned| planned.part).collect()
    }

    /// Writes the record: from here on the swap will be completed. After an error it will not,
    /// unless the error says so.
    pub(super) fn decide(&self) -> Result<()> {
        let lines = self.planned.iter().map(|planned| Line {
            part: planned.part.path().to_owned(),
            existed: planned.existed,
        });
        let content = Record {
            version: VERSION,
            parts: lines.collect(),
        };
        let mut bytes = serde_json::to_vec(&content)
            .map_err(|error| Error::new(Kind::Bug, "cannot write the record").cause(error))?;
        bytes.push(b'\n');
        let (disk, random) = (self.store.disk(), self.store.random());
        let written = atomic::replace(disk, random, &record(&self.root), &bytes);
        // It may have its name already.
        written.map_err(|error| match self.forget() {
            Ok(()) => error.with_kind(Kind::Io),
            Err(_) => unfinished(&error),
        })
    }

    /// Removes the record: it is over.
    pub(super) fn forget(&self) -> Result<()> {
        let path = record(&self.root);
        let removed = match self.store.disk().remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        };
        removed
            .map_err(|error| Error::io("cannot remove the record of a restore", &path, &error))?;
        self.sync(&self.root)
    }

    /// Brings the new parts to their places; where that cannot be done, the old ones. An error
    /// is that of a swap that only another start can complete.
    pub(super) fn carry_out(&self) -> Result<Outcome> {
        let Err(first) = self.forward() else {
            return Ok(Outcome::Done);
        };
        // A sync that failed is not repeated: the second one might lie.
        if self.store.refuse_after_failed_sync().is_err() {
            return Err(unfinished(&first));
        }
        if self.forward().is_ok() {
            return Ok(Outcome::Done);
        }
        match self.back() {
            Ok(()) => Ok(Outcome::Undone(first)),
            Err(_) => Err(unfinished(&first)),
        }
    }

    fn forward(&self) -> Result<()> {
        for planned in &self.planned {
            let [live, new, old] = self.places(planned.part);
            if !self.exists(&new)? {
                continue;
            }
            if self.exists(&live)? {
                if planned.existed && !self.exists(&old)? {
                    self.rename(&live, &old)?;
                } else {
                    self.put_aside(&live)?;
                }
            }
            self.rename(&new, &live)?;
        }
        self.keep_late()?;
        self.sync_all(["old", "", "new"])
    }

    fn back(&self) -> Result<()> {
        for planned in self.planned.iter().rev() {
            let [live, new, old] = self.places(planned.part);
            if !self.exists(&new)? {
                self.rename(&live, &new)?;
            }
            if self.exists(&old)? {
                self.rename(&old, &live)?;
            }
        }
        self.keep_late()?;
        self.sync_all(["new", "", "old"])
    }

    /// Moves a directory away that was made after a crash, where a part was missing.
    fn put_aside(&self, live: &Path) -> Result<()> {
        let late = self.root.join("late");
        atomic::create_dirs(self.store.disk(), &late)?;
        let mut number = 0;
        loop {
            let target = late.join(number.to_string());
            if !self.exists(&target)? {
                self.rename(live, &target)?;
                return self.sync(&late);
            }
            number += 1;
        }
    }

    /// Moves the files that were put aside to quarantine.
    fn keep_late(&self) -> Result<()> {
        let late = self.root.join("late");
        let quarantine = self.store.layout().quarantine_dir();
        if !self.exists(&late)? {
            return Ok(());
        }
        atomic::create_dirs(self.store.disk(), &quarantine)?;
        for directory in self.entries(&late)? {
            for file in self.entries(&directory)? {
                let name = file.file_name().unwrap_or_default();
                let mut target = quarantine.join(name);
                let mut number = 0;
                while self.exists(&target)? {
                    number += 1;
                    let mut other = name.to_os_string();
                    other.push(format!(".{number}"));
                    target = quarantine.join(other);
                }
                self.rename(&file, &target)?;
            }
        }
        self.sync(&quarantine)
    }

    fn entries(&self, directory: &Path) -> Result<Vec<PathBuf>> {
        let entries = self.store.disk().read_dir(directory);
        let entries = entries.map_err(|error| cannot(directory, &error))?;
        Ok(entries
            .into_iter()
            .map(|entry| directory.join(entry.name))
            .collect())
    }

    /// Where a part is, its new self, and its old one.
    fn places(&self, part: Part) -> [PathBuf; 3] {
        [
            self.store.part_dir(part),
            self.root.join("new").join(part.path()),
            self.root.join("old").join(part.path()),
        ]
    }

    /// Syncs the directories that parts are in: below these of `.swap`, or the live ones.
    fn sync_all(&self, order: [&str; 3]) -> Result<()> {
        for below in order {
            let top = match below {
                "" => self.store.layout().root().to_path_buf(),
                below => self.root.join(below),
            };
            let mut parents: Vec<PathBuf> = self
                .planned
                .iter()
                .filter_map(|planned| Some(top.join(planned.part.path()).parent()?.to_path_buf()))
                .collect();
            parents.sort_unstable();
            parents.dedup();
            for parent in parents {
                self.sync(&parent)?;
            }
        }
        Ok(())
    }

    fn sync(&self, directory: &Path) -> Result<()> {
        match self.store.disk().sync_dir(directory) {
            // Of what is completed a second time, the directories may be gone.
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                self.store.note_failed_sync();
                Err(cannot(directory, &error))
            }
            _ => Ok(()),
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        let renamed = self.store.disk().rename(from, to);
        renamed.map_err(|error| cannot(from, &error))
    }

    fn exists(&self, path: &Path) -> Result<bool> {
        super::exists(&self.store, path)
    }
}

/// The error of a swap that was decided and is neither complete nor undone.
pub(super) fn unfinished(error: &Error) -> Error {
    let made = Error::new(Kind::Io, "the files are not all replaced yet")
        .why(error.headline())
        .hint("run any command, such as `pachat list`: the next start completes it");
    match error.path_ref() {
        Some(path) => made.path(path),
        None => made,
    }
}

fn cannot(path: &Path, error: &io::Error) -> Error {
    Error::io("cannot replace a part of the data directory", path, error).with_kind(Kind::Io)
}
