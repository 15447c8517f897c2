//! Putting conversations away, and taking them back: the archive and the trash.
//!
//! Layer: store.
//!
//! ```text
//! conversations/archived/<id>.jsonl.gz
//! conversations/trash/YYYYMMDD_HHMMSS.<id>.jsonl       what was in use
//! conversations/trash/YYYYMMDD_HHMMSS.<id>.jsonl.gz    what was archived
//! conversations/trash/YYYYMMDD_HHMMSS.<sha256>.<ext>   attachments that nothing refers to
//! ```
//!
//! The time is when it was deleted, in UTC, so that the age in the trash depends on no clock of
//! a file system.
//!
//! Invariants:
//! - Everything happens under the store's shared lock and the conversation's turn lock. The turn
//!   is never waited for: what is in use is left alone, and the caller is told.
//! - A conversation is archived by writing all of it to a temporary file in the archive, syncing
//!   that, reading it back and comparing length and SHA-256 of what comes out with the source as
//!   it is then; only then does it get its name, and only when that is durable does the source
//!   go. A crash at any point leaves it in one of the places, or in both: then the active one
//!   counts, as everywhere. Several take each of these steps together, and share the syncs.
//! - What moves between directories is synced in the new one before the old one.
//! - Nothing takes the place of what is not the same: an archived file that a crash has left
//!   beside an active one is replaced only if the active one begins with all that it says, and
//!   nothing is taken back where something is.
//! - No file is ever in memory as a whole, but for a conversation whose writer died: that one is
//!   repaired first, as by whoever opens it to go on.
//! - Nothing is removed for good but by [`Shelf::destroy`].

mod batch;
mod pack;
mod trash;
mod twins;

use std::io;
use std::path::Path;
use std::time::Duration;

use crate::model::backup::Part;
use crate::model::error::{Error, Kind, Result};
use crate::model::id::ConversationId;
use crate::platform::Signals;
use crate::platform::disk::Open;

use super::lock::{Lock, Patience};
use super::looks::Looks;
use super::parts::{PartFile, recorded_len};
use super::writer::{self, Writer};
use super::{Store, atomic};

pub use batch::{Ended, MOST, MOST_BYTES, Tell, Wanted};
pub use trash::{Kept, Trashed, find, trashed};
pub use twins::is_redundant;

/// What became of what was to be moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Moved {
    /// It is there now.
    To(Spot),
    /// It was left where it is, for this reason: a few words such as `it is in use`.
    Left(String),
}

/// Where something has gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spot {
    /// Its part of the store.
    pub part: Part,
    /// Its name there.
    pub name: String,
    /// Its length there, in bytes.
    pub bytes: u64,
}

impl Spot {
    /// Where it is, below the data directory.
    pub fn path(&self) -> String {
        format!("{}/{}", self.part.path(), self.name)
    }
}

fn left(why: &str) -> Moved {
    Moved::Left(why.to_owned())
}

const IN_USE: &str = "it is in use";
const CHANGED: &str = "it has changed meanwhile";
const GONE: &str = "it is gone";

/// The store, entered to move things: as long as this lives, nothing replaces its files.
pub struct Shelf<'a> {
    store: &'a Store,
    signals: Signals,
    _shared: Lock,
}

impl<'a> Shelf<'a> {
    /// Enters the store. Waits only for whoever has all of it for himself.
    pub fn enter(store: &'a Store, patience: &mut Patience<'_>) -> Result<Self> {
        store.refuse_after_failed_sync()?;
        Ok(Self {
            store,
            signals: patience.signals.clone(),
            _shared: store.enter(patience)?,
        })
    }

    /// Moves an attachment that nothing refers to to the trash.
    pub fn discard_attachment(&self, name: &str, seen: Option<&Looks>) -> Result<Moved> {
        let Some(file) = self.look(Part::Attachments, name)? else {
            return Ok(left(GONE));
        };
        if seen.is_some() && Looks::of(&file).as_ref() != seen {
            return Ok(left(CHANGED));
        }
        let stamp = trash::free_stamp(self.store, &[name])?;
        let spot = self.rename_to_trash(&file, &stamp)?;
        self.sync_trash()?;
        self.sync_dir(&self.store.part_dir(Part::Attachments))?;
        Ok(Moved::To(spot))
    }

    /// Takes something out of the trash, back to where it came from. Refuses where something
    /// of that name is there: an error of kind `CannotCreate`.
    pub fn take_back(&self, trashed: &Trashed) -> Result<Moved> {
        let store = self.store;
        let _turn = match trashed.conversation() {
            None => None,
            Some(id) => match self.turn(id)? {
                Some(turn) => Some(turn),
                None => return Ok(left(IN_USE)),
            },
        };
        let (part, name) = trashed.origin();
        let (source, target) = (trashed.path(store), store.part_file(part, &name));
        let taken = match trashed.conversation() {
            Some(id) => store.locate(id).is_some(),
            None => self.exists(&target)?,
        };
        if taken {
            let what = trashed.what();
            return Err(
                Error::new(Kind::CannotCreate, format!("cannot take {what} back"))
                    .why("there is one of that name again")
                    .path(&target)
                    .hint(format!(
                        "look at it, and if it is in the way: pachat cleanup {what}"
                    )),
            );
        }
        let cannot = |error: io::Error| {
            Error::io("cannot take it out of the trash", &source, &error).with_kind(Kind::Io)
        };
        atomic::create_dirs(store.disk(), &store.part_dir(part))?;
        match store.disk().rename(&source, &target) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(left(GONE)),
            other => other.map_err(cannot)?,
        }
        self.sync_dir(&store.part_dir(part))?;
        self.sync_dir(&store.part_dir(Part::Trash))?;
        Ok(Moved::To(Spot {
            part,
            name,
            bytes: trashed.bytes,
        }))
    }

    /// Removes something in the trash for good. Durable after [`Shelf::sync_trash`].
    pub fn destroy(&self, trashed: &Trashed) -> Result<Moved> {
        let _turn = match trashed.conversation() {
            None => None,
            // Somebody may be taking it back.
            Some(id) => match self.turn(id)? {
                Some(turn) => Some(turn),
                None => return Ok(left(IN_USE)),
            },
        };
        let path = trashed.path(self.store);
        match self.store.disk().remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(left(GONE)),
            Err(error) => Err(Error::io("cannot empty the trash", &path, &error)),
            Ok(()) => Ok(Moved::To(Spot {
                part: Part::Trash,
                name: trashed.name.clone(),
                bytes: trashed.bytes,
            })),
        }
    }

    /// Makes durable what was moved to the trash, and what was removed from it.
    pub fn sync_trash(&self) -> Result<()> {
        self.sync_dir(&self.store.part_dir(Part::Trash))
    }

    /// Takes the turn of a conversation if it is free.
    pub fn turn(&self, id: &ConversationId) -> Result<Option<Lock>> {
        match writer::take_turn(self.store, id, &mut self.at_once(&mut || {})) {
            Ok(turn) => Ok(Some(turn)),
            Err(error) if error.kind() == Kind::Busy => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn at_once<'b>(&'b self, notify: &'b mut dyn FnMut()) -> Patience<'b> {
        Patience {
            limit: Some(Duration::ZERO),
            signals: &self.signals,
            notify,
        }
    }

    /// The turn of a conversation whose active file, if it has one, is whole and has no side
    /// file; or why not.
    fn prepared(&self, id: &ConversationId, seen: Option<&Looks>) -> Result<Result<Lock, String>> {
        let in_use = || Ok(Err(IN_USE.to_owned()));
        let name = format!("{id}.jsonl");
        let Some(turn) = self.turn(id)? else {
            return in_use();
        };
        let file = self.look(Part::Active, &name)?;
        if seen.is_some() && file.as_ref().and_then(Looks::of).as_ref() != seen {
            return Ok(Err(CHANGED.into()));
        }
        match file.map_or(Ok(true), |_| self.is_whole(id)) {
            Ok(true) => return Ok(Ok(turn)),
            Ok(false) => {}
            Err(error) => return Ok(Err(error.headline())),
        }
        drop(turn);
        let len = match Writer::open(self.store, id, &mut self.at_once(&mut || {})) {
            Ok(writer) => {
                for notice in &writer.notices {
                    log::info!("{id}: {notice}");
                }
                writer.len()
            }
            Err(error) => match error.kind() {
                Kind::Busy => return in_use(),
                Kind::Malformed => {
                    let why = error.headline();
                    return Ok(Err(format!("it would have to be repaired first: {why}")));
                }
                _ => return Err(error),
            },
        };
        let Some(turn) = self.turn(id)? else {
            return in_use();
        };
        let file = self.look(Part::Active, &name)?;
        if file.is_none_or(|file| file.len != len) {
            return Ok(Err(CHANGED.into()));
        }
        Ok(Ok(turn))
    }

    /// Whether an active conversation ends with a whole line and no reply was left in a side
    /// file. The caller holds its turn.
    fn is_whole(&self, id: &ConversationId) -> Result<bool> {
        let path = self.store.layout().active(id);
        let cannot = |error: io::Error| Error::io("cannot read the conversation", &path, &error);
        if self.exists(&self.store.layout().partial(id))? {
            return Ok(false);
        }
        let mut file = self.store.disk().open(&path, Open::Read).map_err(cannot)?;
        let len = file.stat().map_err(cannot)?.len;
        let name = format!("{id}.jsonl");
        let whole = recorded_len(file.as_mut(), Part::Active, &name).map_err(cannot)?;
        Ok(whole == len)
    }

    /// How a file is now; `None` if there is none.
    fn look(&self, part: Part, name: &str) -> Result<Option<PartFile>> {
        look(self.store, part, name)
    }

    fn exists(&self, path: &Path) -> Result<bool> {
        match self.store.disk().stat(path) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(Error::io("cannot look at a file", path, &error)),
        }
    }

    /// Durable after a sync of the trash, and then of the directory where it was.
    fn rename_to_trash(&self, file: &PartFile, stamp: &str) -> Result<Spot> {
        let name = format!("{stamp}.{}", file.name);
        let source = self.store.part_file(file.part, &file.name);
        let target = self.store.part_file(Part::Trash, &name);
        atomic::create_dirs(self.store.disk(), &self.store.part_dir(Part::Trash))?;
        self.store
            .disk()
            .rename(&source, &target)
            .map_err(|error| {
                Error::io("cannot move it to the trash", &source, &error).with_kind(Kind::Io)
            })?;
        Ok(Spot {
            part: Part::Trash,
            name,
            bytes: file.len,
        })
    }

    fn sync_dir(&self, directory: &Path) -> Result<()> {
        self.store.disk().sync_dir(directory).map_err(|error| {
            self.store.note_failed_sync();
            Error::io("cannot make a move durable", directory, &error)
                .with_kind(Kind::Io)
                .cause("nothing is lost: what was moved is in one of the two places, or in both")
        })
    }

    /// Removes a temporary file; what led here is worth more words than that it stays.
    fn remove_quietly(&self, path: &Path) {
        if let Err(error) = self.store.disk().remove_file(path)
            && error.kind() != io::ErrorKind::NotFound
        {
            log::warn!("cannot remove {}: {error}", path.display());
        }
    }
}

/// How a file of a part is now; `None` if there is none.
pub fn look(store: &Store, part: Part, name: &str) -> Result<Option<PartFile>> {
    let path = store.part_file(part, name);
    match store.disk().stat(&path) {
        Ok(stat) => Ok(PartFile::of(part, name, &stat)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("cannot look at a file", &path, &error)),
    }
}
