//! The lines of a conversation file.
//!
//! A conversation is JSON Lines, append-only: a header, then messages and changes
//! of metadata. Unknown line types and unknown fields are left alone, because the
//! file is never rewritten. Field names are those of the chat-completions API
//! where it has one.

use std::borrow::Cow;
use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::id::ConversationId;
use super::reply::{State, Usage};
use super::time;
use super::usd::Usd;

/// The format version written into every header.
pub const VERSION: u32 = 1;

/// The first line of every conversation file.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename = "conversation")]
pub struct Header {
    /// Version of the line format, [`VERSION`].
    pub version: u32,
    /// The conversation's id; also the stem of its file name.
    pub id: ConversationId,
    /// When it was created.
    #[serde(with = "time")]
    pub created_at: Timestamp,
    /// What people call it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// The model asked for unless a call names another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The system prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// Labels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// What this conversation was forked from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Parent>,
    /// Where it comes from, if another program wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imported: Option<Imported>,
}

/// The program that a conversation was imported from, and what it is called there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Imported {
    /// `chatgpt`, `claude` or `llm`.
    pub from: String,
    /// Its id there.
    pub id: String,
}

/// The place a fork begins. Nothing of the parent is copied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parent {
    /// The parent's id.
    pub id: ConversationId,
    /// The number of the last of its messages that the fork shares.
    pub message: u64,
}

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Instructions that stand before everything.
    System,
    /// The person.
    User,
    /// The model.
    Assistant,
}

impl Role {
    /// The word in files and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
        }
    }
}

/// The content of a message as JSON: a string, or an array of typed parts.
///
/// Kept in its serialized form: what was read from a file goes into the next
/// request without being decoded and encoded again.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Content(Box<RawValue>);

impl Content {
    /// Plain text.
    pub fn text(text: &str) -> Self {
        Self(serde_json::value::to_raw_value(text).expect("a string is always valid JSON"))
    }

    /// The JSON as it stands in the file.
    pub fn raw(&self) -> &RawValue {
        &self.0
    }

    /// The text of it: the string itself, or the text parts one after the other.
    pub fn to_text(&self) -> Cow<'_, str> {
        #[derive(Deserialize)]
        struct Part<'a> {
            #[serde(borrow, default)]
            text: Option<Cow<'a, str>>,
        }
        let json = self.0.get();
        // An unescaped string can be borrowed; `Cow` alone would always own it.
        if let Ok(text) = serde_json::from_str::<&str>(json) {
            return Cow::Borrowed(text);
        }
        if let Ok(text) = serde_json::from_str::<String>(json) {
            return Cow::Owned(text);
        }
        let parts: Vec<Part<'_>> = serde_json::from_str(json).unwrap_or_default();
        Cow::Owned(parts.into_iter().filter_map(|part| part.text).collect())
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        matches!(self.0.get(), "\"\"" | "null" | "[]")
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.get())
    }
}

/// A message. The fields after `at` belong to assistant messages only.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename = "message")]
pub struct Message {
    /// Its number: 1 for the first, one more for each further one, never reused.
    pub n: u64,
    /// Who said it.
    pub role: Role,
    /// What was said.
    pub content: Content,
    /// When it was written: the prompt was given, or the reply ended.
    #[serde(with = "time")]
    pub at: Timestamp,
    /// How the reply ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,
    /// Why the model stopped, in the server's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finish_reason: Option<String>,
    /// The same in the words of the server behind the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub native_finish_reason: Option<String>,
    /// The model that answered, which may not be the one that was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Who ran the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// The server's id of this reply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation_id: Option<String>,
    /// Token counts as the server sent them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// What the server charged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<Usd>,
    /// How long it took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<Latency>,
    /// What the model thought before it answered, where the server tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<String>,
    /// What went wrong, for a reply whose state is `error`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Message {
    /// A message with nothing but a number, a role, a content and a time.
    pub fn new(n: u64, role: Role, content: Content, at: Timestamp) -> Self {
        Self {
            n,
            role,
            content,
            at,
            state: None,
            finish_reason: None,
            native_finish_reason: None,
            model: None,
            provider: None,
            generation_id: None,
            usage: None,
            cost: None,
            latency_ms: None,
            reasoning: None,
            error: None,
        }
    }

    /// Whether this is a reply that did not come to its end.
    pub fn is_unfinished(&self) -> bool {
        matches!(self.state, Some(State::Interrupted | State::Error))
    }
}

/// Milliseconds from the moment the request left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latency {
    /// To the first piece of the reply; absent if there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_byte: Option<u64>,
    /// To the end of the reply.
    pub total: u64,
}

/// A change of metadata. Only these keys can change, and never a message.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename = "set")]
pub struct Set {
    /// A new title.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Another model from here on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Another system prompt from here on; empty for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// The labels, all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<String>>,
}

/// Makes every message with a number above `to` inactive, without removing it.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename = "rewind")]
pub struct Rewind {
    /// The last message that stays; 0 for none.
    pub to: u64,
}

/// What a reply turned out to cost, where the server said so only later.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename = "charge")]
pub struct Charge {
    /// The number of the reply.
    pub n: u64,
    /// What the server charged.
    pub cost: Usd,
    /// Token counts, in the shape of a message's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
}

/// One line, read.
#[derive(Clone, Debug)]
pub enum Record {
    /// The first line.
    Header(Box<Header>),
    /// A message.
    Message(Box<Message>),
    /// A change of metadata.
    Set(Box<Set>),
    /// Undo.
    Rewind(Rewind),
    /// What an earlier reply cost.
    Charge(Box<Charge>),
    /// A line of a type this version does not know; kept and ignored.
    Unknown,
}

impl Record {
    /// Reads one line, without its line feed.
    pub fn parse(line: &str) -> Result<Self, serde_json::Error> {
        #[derive(Deserialize)]
        struct Tag<'a> {
            #[serde(borrow, rename = "type")]
            tag: Cow<'a, str>,
        }
        // Nearly every line is a message or header that pachat wrote itself, with the type in
        // front: no need to scan it once more for its type.
        if line.starts_with(r#"{"type":"message","#) {
            return serde_json::from_str(line).map(|message| Self::Message(Box::new(message)));
        }
        if line.starts_with(r#"{"type":"conversation","#) {
            return serde_json::from_str(line).map(Self::Header);
        }
        let tag: Tag<'_> = serde_json::from_str(line)?;
        Ok(match tag.tag.as_ref() {
            "conversation" => Self::Header(serde_json::from_str(line)?),
            "message" => Self::Message(serde_json::from_str(line)?),
            "set" => Self::Set(serde_json::from_str(line)?),
            "rewind" => Self::Rewind(serde_json::from_str(line)?),
            "charge" => Self::Charge(serde_json::from_str(line)?),
            _ => Self::Unknown,
        })
    }
}

/// Renders a line with its line feed.
///
/// Invariant: the only line feed is the last byte, because JSON escapes the others.
pub fn line(record: &impl Serialize) -> Vec<u8> {
    let mut bytes =
        serde_json::to_vec(record).expect("records have string keys and finite numbers");
    bytes.push(b'\n');
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at() -> Timestamp {
        "2026-08-22T09:41:07.5Z".parse().unwrap()
    }

    #[test]
    fn lines_have_the_documented_shape() {
        let message = Message::new(1, Role::User, Content::text("a \"b\"\nc"), at());
        assert_eq!(
            String::from_utf8(line(&message)).unwrap(),
            "{\"type\":\"message\",\"n\":1,\"role\":\"user\",\"content\":\"a \\\"b\\\"\\nc\",\"at\":\"2026-08-22T09:41:07.500Z\"}\n"
        );
        let set = Set {
            title: Some("t".into()),
            ..Set::default()
        };
        assert_eq!(line(&set), b"{\"type\":\"set\",\"title\":\"t\"}\n");
        assert_eq!(line(&Rewind { to: 3 }), b"{\"type\":\"rewind\",\"to\":3}\n");
    }

    #[test]
    fn unknown_types_and_fields_are_tolerated() {
        let line = r#"{"n":2,"role":"assistant","new":{"a":[1]},"content":[{"type":"text","text":"x"},{"type":"image"}],"at":"2026-08-22T09:41:07Z","type":"message"}"#;
        let Record::Message(message) = Record::parse(line).unwrap() else {
            panic!("not a message")
        };
        assert_eq!(message.content.to_text(), "x");
        assert!(matches!(
            Record::parse(r#"{"type":"later"}"#),
            Ok(Record::Unknown)
        ));
        assert!(Record::parse(r#"{"type":"message","n":1"#).is_err());
        assert!(Record::parse("\0\0\0").is_err());
    }
}
