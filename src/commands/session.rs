//! What `send` and `chat` share about conversations: beginning, opening and folding them.

use std::io::{self, Write as _};
use std::path::PathBuf;

use crate::context::Context;
use crate::model::conversation::{Conversation, title_of};
use crate::model::error::{Error, Kind, Result};
use crate::model::id::ConversationId;
use crate::model::record::{self, Content, Header, Message, Record, Role};
use crate::model::usd::Usd;
use crate::ops::limits::{self, Limits};
use crate::ops::money;
use crate::platform::disk::Open;
use crate::store::Store;
use crate::store::lock::Patience;
use crate::store::writer::{Beginning, Writer};
use crate::term::editor::HISTORY_HEADER;

/// Opens a conversation to write to it; says so if that means waiting.
pub(super) fn open(store: &Store, id: &ConversationId, context: &mut Context) -> Result<Writer> {
    let mut writer = with_patience(context, |patience| Writer::open(store, id, patience))?;
    for notice in std::mem::take(&mut writer.notices) {
        context.ui.note(&format!("pachat: {notice}"));
    }
    Ok(writer)
}

/// Folds in what an interrupted reply has left, if nobody is at the conversation.
pub(super) fn fold(store: &Store, id: &ConversationId, context: &mut Context) -> Result<()> {
    let left_over = context.disk.stat(&store.layout().partial(id)).is_ok();
    if left_over && !store.is_busy(id) {
        open(store, id, context)?;
    }
    Ok(())
}

/// Begins a conversation with its first prompt.
pub(super) fn create(
    store: &Store,
    beginning: Beginning,
    prompt: &str,
    context: &mut Context,
) -> Result<Writer> {
    limits::check_prompt(prompt, context.settings.memory_limit())?;
    if let Some(warning) = limits::check_new(store, &limits_of(context))? {
        context.ui.warn(&warning);
    }
    with_patience(context, |patience| {
        Writer::create(store, beginning, prompt, patience)
    })
}

fn with_patience<T>(
    context: &mut Context,
    act: impl FnOnce(&mut Patience<'_>) -> Result<T>,
) -> Result<T> {
    let limit = Some(context.lock_timeout());
    let Context { signals, ui, .. } = context;
    let mut notify =
        || ui.note("pachat: another pachat is using this conversation; waiting for it");
    act(&mut Patience {
        limit,
        signals,
        notify: &mut notify,
    })
}

/// A conversation that is kept nowhere, with one prompt.
pub(super) fn in_memory(
    beginning: Beginning,
    prompt: &str,
    context: &Context,
) -> Result<Conversation> {
    let at = context.clock.now();
    let random = context.random.next_u32().map_err(|error| {
        Error::new(Kind::Io, "the system has no randomness to give").cause(error)
    })?;
    let mut conversation = Conversation::new(Header {
        version: record::VERSION,
        id: ConversationId::new(at, random),
        created_at: at,
        title: Some(beginning.title.unwrap_or_else(|| title_of(prompt))),
        model: beginning.model,
        system: beginning.system,
        tags: Vec::new(),
        parent: None,
        imported: None,
    });
    say(&mut conversation, prompt, context);
    Ok(conversation)
}

/// Adds a prompt to a conversation in memory.
pub(super) fn say(conversation: &mut Conversation, prompt: &str, context: &Context) {
    let n = conversation.next_number();
    let message = Message::new(n, Role::User, Content::text(prompt), context.clock.now());
    conversation.apply(Record::Message(Box::new(message)));
}

/// The limits of the settings.
pub(super) fn limits_of(context: &Context) -> Limits {
    Limits {
        storage: context.settings.storage_limit(),
        conversations: context.settings.conversations_limit(),
    }
}

/// Refuses a prompt that would make a conversation, or all that is kept, larger than the limit.
/// Nothing is ever cut to fit.
pub(super) fn check_room(writer: &Writer, prompt: &str, context: &Context) -> Result<()> {
    limits::check_prompt(prompt, context.settings.memory_limit())?;
    limits::check_turn(&context.store(), &limits_of(context))?;
    let limit = context.settings.conversation_limit();
    if writer.len() + prompt.len() as u64 <= limit.0 {
        return Ok(());
    }
    Err(Error::new(Kind::Usage, "the conversation is full")
        .why(format!("with this prompt it would be larger than {limit}"))
        .hint("begin a new one (`/new` in a chat), or raise limits.conversation_mb"))
}

/// The file of the line editor's history, in the configuration directory; made here, with
/// mode 0600, so that two chats that begin at once begin with one file.
pub(super) fn history_file(context: &Context) -> Option<PathBuf> {
    let directory = context.settings.config_dir()?;
    let disk = context.disk.as_ref();
    crate::store::atomic::create_dirs(disk, directory).ok()?;
    let path = directory.join("history");
    match disk.open(&path, Open::CreateNew) {
        Ok(mut file) => file.write_all(HISTORY_HEADER.as_bytes()).ok()?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(_) => return None,
    }
    Some(path)
}

/// What was spent today and this month, as the end of a line; nothing if nothing was.
pub(super) fn spent_line(context: &Context) -> String {
    match money::spent(&context.store(), context.clock.now(), &context.clock.zone()) {
        Ok(spent) if spent.month != Usd::ZERO => {
            let (today, month) = (spent.today.rounded(), spent.month.rounded());
            format!("; {today} today, {month} this month")
        }
        _ => String::new(),
    }
}
