//! Reading: without a lock, because files only grow and a reader stops at the last line feed.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use crate::model::conversation::Conversation;
use crate::model::error::{Error, Kind, Result};
use crate::model::id::ConversationId;
use crate::model::size::ByteSize;
use crate::platform::disk::{FileKind, LockMode, Open};

use super::Store;
use super::partial::{self, Remains};

/// The most bytes that a conversation may have to be read at all, however much memory is
/// allowed: far above the limit for writing, so that a file made elsewhere still opens.
pub(super) const LARGEST: u64 = 1 << 30;

/// A conversation as it was read.
pub struct Loaded {
    /// What it says, under the id of the file's name.
    pub conversation: Conversation,
    /// The id that its header gives, if that is another one.
    pub misnamed: Option<ConversationId>,
    /// Its lines, byte for byte, up to the last line feed.
    pub lines: Vec<u8>,
    /// Whether it is archived.
    pub archived: bool,
}

/// Which conversations to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Those in use.
    Active,
    /// Those put away.
    Archived,
    /// Both.
    All,
}

impl Store {
    /// Reads one conversation, wherever it is.
    pub fn read(&self, id: &ConversationId) -> Result<Loaded> {
        let path = self.layout().active(id);
        let (bytes, path, archived) = match self.disk().read(&path, self.memory_limit()) {
            Ok(bytes) => (bytes, path, false),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let path = self.layout().archived(id);
                (self.inflate(&path)?, path, true)
            }
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
                return Err(too_large("the conversation", &path, self.memory_limit()));
            }
            Err(error) => return Err(Error::io("cannot read the conversation", &path, &error)),
        };
        parse(bytes, id, &path, archived)
    }

    /// The content of an archived conversation.
    pub(super) fn inflate(&self, path: &Path) -> Result<Vec<u8>> {
        let cannot = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => Error::new(Kind::NotFound, "no such conversation")
                .hint("see them all: pachat list --all"),
            io::ErrorKind::InvalidInput | io::ErrorKind::UnexpectedEof => {
                Error::new(Kind::Malformed, "an archived conversation is damaged")
                    .path(path)
                    .cause(error)
            }
            _ => Error::io("cannot read an archived conversation", path, &error),
        };
        let file = self.disk().open(path, Open::Read).map_err(cannot)?;
        let mut bytes = Vec::new();
        let limit = self.memory_limit();
        MultiGzDecoder::new(file)
            .take(limit.saturating_add(1))
            .read_to_end(&mut bytes)
            .map_err(cannot)?;
        if bytes.len() as u64 > limit {
            return Err(too_large("the archived conversation", path, limit));
        }
        Ok(bytes)
    }

    /// The ids in `scope`, oldest first. A data directory that does not exist has none.
    pub fn ids(&self, scope: Scope) -> Result<Vec<ConversationId>> {
        let mut ids = Vec::new();
        if scope != Scope::Archived {
            ids.extend(self.ids_in(&self.layout().active_dir(), ".jsonl")?);
        }
        if scope != Scope::Active {
            ids.extend(self.ids_in(&self.layout().archived_dir(), ".jsonl.gz")?);
        }
        ids.sort_unstable();
        // One being archived or taken back is briefly in both places.
        ids.dedup();
        Ok(ids)
    }

    fn ids_in(&self, directory: &Path, suffix: &str) -> Result<Vec<ConversationId>> {
        let entries = match self.disk().read_dir(directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => {
                return Err(Error::io(
                    "cannot list the conversations",
                    directory,
                    &error,
                ));
            }
        };
        Ok(entries
            .iter()
            .filter(|entry| entry.kind == FileKind::File)
            .filter_map(|entry| entry.name.to_str()?.strip_suffix(suffix)?.parse().ok())
            .collect())
    }

    /// What the side file of a conversation holds, if there is one.
    pub fn remains(&self, id: &ConversationId) -> Result<Option<Remains>> {
        let path = self.layout().partial(id);
        let limit = self.memory_limit();
        match self.disk().read(&path, limit) {
            Ok(bytes) => Ok(Some(partial::parse(&bytes))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
                Err(too_large("the side file of a reply", &path, limit))
            }
            Err(error) => Err(Error::io(
                "cannot read the side file of a reply",
                &path,
                &error,
            )),
        }
    }

    /// Whether somebody is in the middle of a turn. The answer may be old when it arrives.
    pub fn is_busy(&self, id: &ConversationId) -> bool {
        self.disk()
            .open(&self.layout().turn_lock(id), Open::Read)
            .and_then(|file| file.try_lock(LockMode::Shared))
            .is_ok_and(|free| !free)
    }

    /// The conversation whose file changed last.
    pub fn last(&self) -> Result<Option<ConversationId>> {
        let newest = self.ids(Scope::Active)?.into_iter().filter_map(|id| {
            let modified = self
                .disk()
                .stat(&self.layout().active(&id))
                .ok()?
                .modified?;
            Some((modified, id))
        });
        Ok(newest.max().map(|(_, id)| id))
    }

    /// Where a conversation is, if it exists.
    pub fn locate(&self, id: &ConversationId) -> Option<PathBuf> {
        [self.layout().active(id), self.layout().archived(id)]
            .into_iter()
            .find(|path| self.disk().stat(path).is_ok())
    }
}

/// The refusal of what does not fit into the memory that is allowed. Nothing was changed.
pub(super) fn too_large(what: &str, path: &Path, limit: u64) -> Error {
    let limit = ByteSize(limit);
    Error::new(Kind::Malformed, format!("{what} is too large"))
        .why(format!("limits.memory_mb allows {limit} in memory"))
        .path(path)
        .hint("allow more: pachat config set limits.memory_mb NUMBER, or MAX_MEMORY_MB=NUMBER for one call")
}

/// Folds the bytes of a file, and takes off a line that is cut or still being written.
///
/// The name counts, not what the header says, as when a person has made a copy: locks and side
/// files go by the id, and under that of another file they would be that one's.
pub(super) fn parse(
    mut bytes: Vec<u8>,
    id: &ConversationId,
    path: &Path,
    archived: bool,
) -> Result<Loaded> {
    let mut conversation = Conversation::parse(&bytes).map_err(|why| {
        Error::new(Kind::Malformed, "cannot read the conversation")
            .why(why)
            .path(path)
            .hint("the file is left as it is; look at it with any text editor")
    })?;
    bytes.truncate(bytes.len() - conversation.torn);
    let own = std::mem::replace(&mut conversation.header.id, id.clone());
    Ok(Loaded {
        conversation,
        misnamed: (own != *id).then_some(own),
        lines: bytes,
        archived,
    })
}
