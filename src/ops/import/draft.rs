//! A conversation of another program on its way to a file.
//!
//! Invariant: the same conversation gives the same id and the same bytes, today and in a year,
//! and one that has gone on gives the same bytes and more. That is what makes it known again.

use jiff::Timestamp;

use crate::model::backup::Sha256;
use crate::model::conversation::title_of;
use crate::model::id::ConversationId;
use crate::model::record::{self, Header, Imported, Message, Rewind, Role, Set};

/// What can be in a conversation elsewhere and has no place in one here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// Conversations in which nothing was said.
    pub empty: usize,
    /// Images; their names are in the text.
    pub images: usize,
    /// Other files; their names are in the text.
    pub files: usize,
    /// What tools were asked, and what they answered.
    pub tools: usize,
}

impl Left {
    /// Adds what was left out elsewhere.
    pub fn add(&mut self, other: &Self) {
        self.empty += other.empty;
        self.images += other.images;
        self.files += other.files;
        self.tools += other.tools;
    }
}

/// A line of a conversation.
#[derive(Clone, Debug)]
pub(super) enum Line {
    Message(Box<Message>),
    Rewind(u64),
    /// Another system prompt from here on.
    System(String),
}

/// A conversation of another program.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    pub imported: Imported,
    /// When it was begun; that of its first message if nobody says.
    pub created_at: Option<Timestamp>,
    pub title: Option<String>,
    pub system: Option<String>,
    pub lines: Vec<Line>,
    pub left: Left,
}

impl Draft {
    pub(super) fn new(from: &str, id: &str) -> Self {
        Self {
            imported: Imported {
                from: from.to_owned(),
                id: id.to_owned(),
            },
            created_at: None,
            title: None,
            system: None,
            lines: Vec::new(),
            left: Left::default(),
        }
    }

    fn said(&self) -> impl Iterator<Item = &Message> {
        self.lines.iter().filter_map(|line| match line {
            Line::Message(message) => Some(&**message),
            Line::Rewind(_) | Line::System(_) => None,
        })
    }

    /// Whether nothing was said.
    pub(super) fn is_empty(&self) -> bool {
        self.said().next().is_none()
    }

    pub(super) fn messages(&self) -> usize {
        self.said().count()
    }

    pub(super) fn title(&self) -> String {
        let given = self.title.as_deref().map(str::trim).unwrap_or_default();
        if !given.is_empty() {
            return given.to_owned();
        }
        let prompt = self.said().find(|message| message.role == Role::User);
        prompt.or_else(|| self.said().next()).map_or_else(
            || title_of(""),
            |message| title_of(&message.content.to_text()),
        )
    }

    fn begun_at(&self) -> Timestamp {
        let first = || self.said().next().map(|message| message.at);
        let begun = self.created_at.or_else(first).unwrap_or_default();
        // An id has four digits for the year; and nothing was said to a machine before that.
        begun.max(Timestamp::UNIX_EPOCH)
    }

    /// Its id here: the time at which it was begun, and what its id elsewhere makes of six
    /// characters; with `attempt`, others.
    pub(super) fn id(&self, attempt: u8) -> ConversationId {
        let Imported { from, id } = &self.imported;
        let digest = Sha256::of(format!("{from}\n{id}\n{attempt}").as_bytes()).0;
        let random = u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]);
        ConversationId::new(self.begun_at(), random)
    }

    /// Its file.
    pub(super) fn lines(&self, id: &ConversationId) -> Vec<u8> {
        let mut bytes = record::line(&Header {
            version: record::VERSION,
            id: id.clone(),
            created_at: self.begun_at(),
            title: Some(self.title()),
            // What a model is called there is not what it is called here.
            model: None,
            system: self.system.clone(),
            tags: Vec::new(),
            parent: None,
            imported: Some(self.imported.clone()),
        });
        for line in &self.lines {
            bytes.extend_from_slice(&match line {
                Line::Message(message) => record::line(message),
                Line::Rewind(to) => record::line(&Rewind { to: *to }),
                Line::System(text) => record::line(&Set {
                    system: Some(text.clone()),
                    ..Set::default()
                }),
            });
        }
        bytes
    }
}
