//! Writing: one process at a time, whole lines, nothing lost.
//!
//! Append rule: under the turn lock, a torn tail is moved to `quarantine/` first; a line, or
//! several, go out in one write; a failed write is taken back by cutting the file to its
//! former length; a failed sync is never repeated, because a second one may claim success
//! for pages that the kernel has dropped.

use std::io::{self, Read};
use std::path::Path;

use jiff::Timestamp;

use crate::model::conversation::{Conversation, title_of};
use crate::model::error::{Error, Kind, Result};
use crate::model::id::ConversationId;
use crate::model::record::{
    self, Charge, Content, Header, Latency, Message, Record, Rewind, Role, Set,
};
use crate::model::reply::State;
use crate::platform::disk::{File, LockMode, Open};

use super::lock::{self, Lock, Patience};
use super::partial::{self, Partial, Remains};
use super::{Store, atomic, read};

/// What a new conversation begins with.
#[derive(Clone, Debug, Default)]
pub struct Beginning {
    /// The title; made of the prompt if absent.
    pub title: Option<String>,
    /// The model asked for.
    pub model: Option<String>,
    /// The system prompt.
    pub system: Option<String>,
}

/// A conversation that this process alone may write to.
pub struct Writer {
    store: Store,
    file: Box<dyn File>,
    len: u64,
    /// What the file says, every append included.
    pub conversation: Conversation,
    /// What was repaired on opening; a line each.
    pub notices: Vec<String>,
    // Given back in this order when dropped: the turn first, then the store.
    _turn: Lock,
    _shared: Lock,
}

impl Writer {
    /// Begins a conversation with its first prompt. When this returns, both are on disk.
    pub fn create(
        store: &Store,
        beginning: Beginning,
        prompt: &str,
        patience: &mut Patience<'_>,
    ) -> Result<Self> {
        let shared = store.enter(patience)?;
        let at = store.clock().now();
        let (id, turn) = new_id(store, at, patience)?;
        let header = Header {
            version: record::VERSION,
            id: id.clone(),
            created_at: at,
            title: Some(beginning.title.unwrap_or_else(|| title_of(prompt))),
            model: beginning.model,
            system: beginning.system,
            tags: Vec::new(),
            parent: None,
            imported: None,
        };
        let message = Message::new(1, Role::User, Content::text(prompt), at);
        let mut bytes = record::line(&header);
        bytes.extend_from_slice(&record::line(&message));

        let path = store.layout().active(&id);
        let file = create_whole(store, &path, &bytes).map_err(|error| {
            Error::io("cannot begin a conversation", &path, &error).with_kind(Kind::Io)
        })?;
        let mut conversation = Conversation::new(header);
        conversation.apply(Record::Message(Box::new(message)));
        Ok(Self {
            store: store.clone(),
            file,
            len: bytes.len() as u64,
            conversation,
            notices: Vec::new(),
            _turn: turn,
            _shared: shared,
        })
    }

    /// Opens a conversation to write to it: takes its turn lock, takes it out of the
    /// archive, moves a torn tail to quarantine and folds in an interrupted reply.
    pub fn open(store: &Store, id: &ConversationId, patience: &mut Patience<'_>) -> Result<Self> {
        let shared = store.enter(patience)?;
        let turn = take_turn(store, id, patience)?;
        let path = store.layout().active(id);
        let cannot = |error: io::Error| Error::io("cannot open the conversation", &path, &error);
        let mut notices = Vec::new();
        let mut file = match store.disk().open(&path, Open::Append) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                notices.push(format!("{id} was archived and is in use again"));
                unarchive(store, id)?
            }
            other => other.map_err(cannot)?,
        };
        let limit = store.memory_limit();
        if file.stat().map_err(cannot)?.len > limit {
            return Err(read::too_large("the conversation", &path, limit));
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(cannot)?;
        let loaded = read::parse(bytes, id, &path, false)?;
        if let Some(own) = &loaded.misnamed {
            notices.push(format!(
                "the header of {id} says that it is {own}; the name of the file counts (see pachat validate store)"
            ));
        }
        let mut writer = Self {
            store: store.clone(),
            file,
            len: loaded.lines.len() as u64,
            conversation: loaded.conversation,
            notices,
            _turn: turn,
            _shared: shared,
        };
        writer.report_faults(&path);
        if writer.conversation.torn > 0 {
            writer.quarantine_tail(&path)?;
        }
        writer.fold()?;
        Ok(writer)
    }

    /// Appends a prompt; when this returns, it is on disk.
    pub fn prompt(&mut self, text: &str) -> Result<()> {
        let at = self.store.clock().now();
        self.message(Message::new(
            self.conversation.next_number(),
            Role::User,
            Content::text(text),
            at,
        ))
    }

    /// Appends a message.
    pub fn message(&mut self, message: Message) -> Result<()> {
        self.append(&record::line(&message))?;
        self.conversation.apply(Record::Message(Box::new(message)));
        Ok(())
    }

    /// Changes metadata.
    pub fn set(&mut self, set: Set) -> Result<()> {
        self.append(&record::line(&set))?;
        self.conversation.apply(Record::Set(Box::new(set)));
        Ok(())
    }

    /// Writes down what an earlier reply cost.
    pub fn charge(&mut self, charge: Charge) -> Result<()> {
        self.append(&record::line(&charge))?;
        self.conversation.apply(Record::Charge(Box::new(charge)));
        Ok(())
    }

    /// Makes the messages after number `to` inactive.
    pub fn rewind(&mut self, to: u64) -> Result<()> {
        let rewind = Rewind { to };
        self.append(&record::line(&rewind))?;
        self.conversation.apply(Record::Rewind(rewind));
        Ok(())
    }

    /// Begins the side file of the reply that comes next.
    pub fn begin_reply(&self, model: Option<&str>) -> Result<Partial> {
        let at = self.store.clock().now();
        Partial::create(
            &self.store,
            self.conversation.id(),
            self.conversation.next_number(),
            at,
            model,
        )
    }

    /// The length of the file in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether nothing is in the file; never true of one that was created or opened.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn append(&mut self, lines: &[u8]) -> Result<()> {
        self.store.refuse_after_failed_sync()?;
        let path = self.store.layout().active(self.conversation.id());
        let failed = |error: &io::Error| Error::io("cannot save", &path, error).with_kind(Kind::Io);
        if let Err(error) = self.file.write_all(lines) {
            // Half a line would be a torn tail; without it, nothing has happened.
            if let Err(second) = self.file.set_len(self.len) {
                return Err(failed(&error)
                    .cause(format!("nor could the half line be taken back: {second}")));
            }
            return Err(failed(&error));
        }
        if let Err(error) = self.file.sync_data() {
            self.store.note_failed_sync();
            return Err(
                failed(&error).hint("the disk may be failing: check it, then run pachat again")
            );
        }
        self.len += lines.len() as u64;
        Ok(())
    }

    fn report_faults(&mut self, path: &Path) {
        if let Some(first) = self.conversation.faults.first() {
            self.notices.push(format!(
                "{} of {} cannot be read and is passed over (line {}: {})",
                match self.conversation.faults.len() {
                    1 => "a line".to_owned(),
                    n => format!("{n} lines"),
                },
                path.display(),
                first.line,
                first.why
            ));
        }
    }

    /// Moves the bytes behind the last line feed out of the way, and keeps them.
    fn quarantine_tail(&mut self, path: &Path) -> Result<()> {
        let cannot = |error: io::Error| {
            Error::io("cannot repair the conversation", path, &error).with_kind(Kind::Io)
        };
        let whole = self.store.disk().read(path, u64::MAX).map_err(cannot)?;
        let start = usize::try_from(self.len)
            .unwrap_or(usize::MAX)
            .min(whole.len());
        let name = format!("{}.{}.torn", self.conversation.id(), self.len);
        let kept = quarantine(&self.store, &name, &whole[start..])?;
        self.file
            .set_len(self.len)
            .and_then(|()| self.file.sync_data())
            .map_err(cannot)?;
        self.notices.push(format!(
            "the last line was cut while it was written; its bytes are in {kept}"
        ));
        self.conversation.torn = 0;
        Ok(())
    }

    /// Folds in the side file of a writer that died: it cannot be alive, for this one has
    /// its lock.
    fn fold(&mut self) -> Result<()> {
        let id = self.conversation.id().clone();
        let Some(remains) = self.store.remains(&id)? else {
            return Ok(());
        };
        let path = self.store.layout().partial(&id);
        if remains.damaged || self.is_odd(&remains) {
            let bytes = self.store.disk().read(&path, u64::MAX).map_err(|error| {
                Error::io("cannot read the side file of a reply", &path, &error)
            })?;
            let kept = quarantine(&self.store, &format!("{id}.partial"), &bytes)?;
            self.notices.push(format!(
                "a part of an interrupted reply makes no sense; its bytes are in {kept}"
            ));
        }
        let stored = remains
            .n
            .is_some_and(|n| n < self.conversation.next_number());
        if !stored && !remains.delta.is_empty() {
            let message = self.interrupted(remains, &path);
            self.message(message)?;
            self.notices
                .push("the last reply was interrupted; what had arrived is kept".into());
        }
        partial::remove(&self.store, &path)
    }

    /// Whether a side file speaks of a message that is stored, and stored differently.
    fn is_odd(&self, remains: &Remains) -> bool {
        let stored = self
            .conversation
            .all()
            .find(|(message, _)| Some(message.n) == remains.n);
        stored
            .is_some_and(|(message, _)| !message.content.to_text().starts_with(&remains.delta.text))
    }

    fn interrupted(&self, remains: Remains, path: &Path) -> Message {
        // When it was last written to is when its writer died.
        let modified = self
            .store
            .disk()
            .stat(path)
            .ok()
            .and_then(|stat| stat.modified);
        let at = modified
            .and_then(|time| Timestamp::try_from(time).ok())
            .or(remains.at)
            .unwrap_or_else(|| self.store.clock().now());
        let n = self.conversation.next_number();
        let total = remains.at.map(|start| at.duration_since(start).as_millis());
        Message {
            state: Some(State::Interrupted),
            model: remains.identity.model,
            provider: remains.identity.provider,
            generation_id: remains.identity.generation_id,
            latency_ms: total
                .and_then(|total| u64::try_from(total).ok())
                .map(|total| Latency {
                    first_byte: None,
                    total,
                }),
            reasoning: Some(remains.delta.reasoning).filter(|text| !text.is_empty()),
            ..Message::new(n, Role::Assistant, Content::text(&remains.delta.text), at)
        }
    }
}

/// An id that no conversation has, and its turn.
fn new_id(
    store: &Store,
    at: Timestamp,
    patience: &mut Patience<'_>,
) -> Result<(ConversationId, Lock)> {
    loop {
        let random = store.random().next_u32().map_err(|error| {
            Error::new(Kind::Io, "the system has no randomness to give").cause(error)
        })?;
        let id = ConversationId::new(at, random);
        let turn = take_turn(store, &id, patience)?;
        if store.locate(&id).is_none() {
            return Ok((id, turn));
        }
    }
}

pub(super) fn take_turn(
    store: &Store,
    id: &ConversationId,
    patience: &mut Patience<'_>,
) -> Result<Lock> {
    let path = store.layout().turn_lock(id);
    lock::acquire(
        &store.disk,
        store.clock(),
        &path,
        LockMode::Exclusive,
        true,
        patience,
    )
}

/// Writes a file whose name appears only when its content is on disk, and keeps it open.
fn create_whole(store: &Store, path: &Path, bytes: &[u8]) -> io::Result<Box<dyn File>> {
    let disk = store.disk();
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".tmp");
    let temporary = path.with_file_name(name);
    let open = || match disk.open(&temporary, Open::CreateNew) {
        // Left by a process that died here; the turn lock says that it is dead.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            disk.remove_file(&temporary)?;
            disk.open(&temporary, Open::CreateNew)
        }
        other => other,
    };
    let mut file = open()?;
    let written = file
        .write_all(bytes)
        .and_then(|()| file.sync_data())
        .and_then(|()| disk.rename(&temporary, path));
    if let Err(error) = written {
        let _ = disk.remove_file(&temporary);
        return Err(error);
    }
    if let Some(directory) = path.parent() {
        disk.sync_dir(directory)?;
    }
    Ok(file)
}

/// Takes a conversation out of the archive. A crash in between leaves it in both places,
/// where the active one counts.
fn unarchive(store: &Store, id: &ConversationId) -> Result<Box<dyn File>> {
    let archived = store.layout().archived(id);
    let bytes = store.inflate(&archived)?;
    let path = store.layout().active(id);
    let cannot = |error: io::Error| {
        Error::io(
            "cannot take the conversation out of the archive",
            &path,
            &error,
        )
        .with_kind(Kind::Io)
    };
    drop(create_whole(store, &path, &bytes).map_err(cannot)?);
    store.disk().remove_file(&archived).map_err(cannot)?;
    store.disk().open(&path, Open::Append).map_err(cannot)
}

/// Keeps bytes that repair takes out of a file; the place they went to.
fn quarantine(store: &Store, name: &str, bytes: &[u8]) -> Result<String> {
    let directory = store.layout().quarantine_dir();
    atomic::create_dirs(store.disk(), &directory)?;
    for attempt in 0.. {
        let path = match attempt {
            0 => directory.join(name),
            _ => directory.join(format!("{name}.{attempt}")),
        };
        let cannot = |error: io::Error| {
            Error::io("cannot keep damaged bytes", &path, &error).with_kind(Kind::Io)
        };
        let mut file = match store.disk().open(&path, Open::CreateNew) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && attempt < 1000 => {
                continue;
            }
            other => other.map_err(cannot)?,
        };
        file.write_all(bytes)
            .and_then(|()| file.sync_data())
            .map_err(cannot)?;
        store.disk().sync_dir(&directory).map_err(cannot)?;
        return Ok(path.display().to_string());
    }
    Err(Error::new(Kind::Io, "cannot keep damaged bytes").path(&directory))
}
