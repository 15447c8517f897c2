//! Conversations at a glance.

use jiff::Timestamp;
use serde::Serialize;

use crate::model::conversation::Conversation;
use crate::model::error::{Kind, Result};
use crate::model::id::ConversationId;
use crate::model::record::Role;
use crate::model::time;
use crate::model::usd::Usd;
use crate::store::Store;
use crate::store::read::Scope;

/// One conversation at a glance; the shape of `list --json`.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// The id.
    pub id: ConversationId,
    /// The title.
    pub title: String,
    /// When it was begun.
    #[serde(with = "time")]
    pub created_at: Timestamp,
    /// When something was last said.
    #[serde(with = "time")]
    pub updated_at: Timestamp,
    /// How many messages count.
    pub messages: usize,
    /// The model that answered last, or else the one it was begun with.
    pub model: Option<String>,
    /// What all replies cost together, in USD; `null` if no price is known.
    pub cost: Option<Usd>,
    /// How it stands.
    pub state: Standing,
    /// Whether it is archived.
    pub archived: bool,
    /// Labels.
    pub tags: Vec<String>,
}

/// How a conversation stands: the state of its last reply, or why there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// The last reply is whole.
    Complete,
    /// The last reply was cut at the maximum number of tokens.
    Length,
    /// The last reply was filtered.
    Filtered,
    /// The last reply was interrupted.
    Interrupted,
    /// The last reply failed.
    Error,
    /// A reply is arriving right now.
    Streaming,
    /// The last prompt has no reply.
    Unanswered,
    /// Nothing was said, or everything was undone.
    Empty,
}

impl Standing {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Length => "length",
            Self::Filtered => "filtered",
            Self::Interrupted => "interrupted",
            Self::Error => "error",
            Self::Streaming => "streaming",
            Self::Unanswered => "unanswered",
            Self::Empty => "empty",
        }
    }
}

/// A list, and what could not be read for it.
#[derive(Debug)]
pub struct Listing {
    /// The conversations, the one used last first.
    pub summaries: Vec<Summary>,
    /// One line for each file that was passed over.
    pub warnings: Vec<String>,
}

/// Lists the conversations in `scope` that contain `search`, ignoring case.
pub fn list(store: &Store, scope: Scope, search: Option<&str>) -> Result<Listing> {
    let needle = search.map(str::to_lowercase);
    let mut listing = Listing {
        summaries: Vec::new(),
        warnings: Vec::new(),
    };
    for id in store.ids(scope)? {
        let loaded = match store.read(&id) {
            Ok(loaded) => loaded,
            // Archived or removed since the directory was read.
            Err(error) if error.kind() == Kind::NotFound => continue,
            Err(error) => {
                listing
                    .warnings
                    .push(format!("{id} is passed over: {}", error.headline()));
                continue;
            }
        };
        if scope == Scope::Archived && !loaded.archived {
            continue;
        }
        if needle
            .as_deref()
            .is_none_or(|needle| contains(&loaded.conversation, needle))
        {
            listing
                .summaries
                .push(summarize(store, &loaded.conversation, loaded.archived));
        }
    }
    listing
        .summaries
        .sort_by(|a, b| (b.updated_at, &b.id).cmp(&(a.updated_at, &a.id)));
    Ok(listing)
}

fn contains(conversation: &Conversation, needle: &str) -> bool {
    conversation.title().to_lowercase().contains(needle)
        || conversation
            .active()
            .any(|message| message.content.to_text().to_lowercase().contains(needle))
}

fn summarize(store: &Store, conversation: &Conversation, archived: bool) -> Summary {
    let answered_by = conversation
        .active()
        .rfind(|message| message.role == Role::Assistant)
        .and_then(|message| message.model.clone());
    Summary {
        id: conversation.id().clone(),
        title: conversation.title().to_owned(),
        created_at: conversation.header.created_at,
        updated_at: conversation.updated_at(),
        messages: conversation.active().count(),
        model: answered_by.or_else(|| conversation.header.model.clone()),
        cost: conversation.cost(),
        state: standing(store, conversation),
        archived,
        tags: conversation.header.tags.clone(),
    }
}

fn standing(store: &Store, conversation: &Conversation) -> Standing {
    use crate::model::reply::State;
    match conversation.state() {
        Some(State::Complete) => Standing::Complete,
        Some(State::Length) => Standing::Length,
        Some(State::Filtered) => Standing::Filtered,
        Some(State::Interrupted) => Standing::Interrupted,
        Some(State::Error) => Standing::Error,
        None if conversation.active().next().is_none() => Standing::Empty,
        None if store.is_busy(conversation.id()) => Standing::Streaming,
        // What a writer that died has left behind is folded in when the conversation is
        // next used; it is an interrupted reply already.
        None => match store.remains(conversation.id()) {
            Ok(Some(remains)) if !remains.delta.is_empty() => Standing::Interrupted,
            _ => Standing::Unanswered,
        },
    }
}
