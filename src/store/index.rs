//! What is known of each conversation without reading it again: `cache/conversations.jsonl`.
//!
//! Layer: store. It can be lost at any time, and nothing in it is believed of a file that does
//! not look as it did ([`super::looks`]).

use jiff::Timestamp;

use crate::model::error::Result;
use crate::model::id::ConversationId;

use super::Store;
use super::parts::PartFile;

/// What a conversation says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Its id.
    pub id: ConversationId,
    /// When it was begun.
    pub created_at: Timestamp,
    /// When something was last said: the time of its last message, not that of its file.
    pub updated_at: Timestamp,
    /// How many messages it has, those that do not count any more included.
    pub messages: u32,
    /// Labels.
    pub tags: Vec<String>,
    /// What it was forked from.
    pub parent: Option<ConversationId>,
    /// How many of its lines cannot be read.
    pub faults: u32,
}

/// The index. Loading it never fails: what is lost is read again.
#[derive(Debug, Default)]
pub struct Index {}

impl Index {
    /// The index of a store.
    pub fn load(_store: &Store) -> Self {
        Self {}
    }

    /// What is known of a file of the parts `Active` or `Archived`; it is read if that is not
    /// known. `None` if it is gone. An error of kind `Malformed` if it is no conversation.
    pub fn facts(&mut self, _store: &Store, _file: &PartFile) -> Result<Option<Facts>> {
        Ok(None)
    }

    /// Keeps the index, if anything in it is new. That it cannot be kept only costs time later.
    pub fn save(&mut self, _store: &Store) {}
}
