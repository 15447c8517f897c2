//! Conversations for other eyes and other programs.

use std::fmt::Write as _;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use crate::model::conversation::Conversation;
use crate::model::record::{Header, Message, Role};
use crate::model::reply::State;

/// Markdown: a heading for each message that counts, the text as it is.
pub fn markdown(conversation: &Conversation) -> String {
    let mut out = format!("# {}\n\n", conversation.title().replace('\n', " "));
    let _ = writeln!(
        out,
        "*{}, {}*",
        conversation.id(),
        minute(conversation.header.created_at)
    );
    if let Some(system) = &conversation.header.system {
        let _ = write!(out, "\n> {}\n", system.trim_end().replace('\n', "\n> "));
    }
    for message in conversation.active() {
        let _ = write!(out, "\n## {}\n\n", speaker(message));
        out.push_str(message.content.to_text().trim_matches('\n'));
        out.push('\n');
    }
    out
}

/// Plain text: who, then what.
pub fn text(conversation: &Conversation) -> String {
    let mut out = String::new();
    for message in conversation.active() {
        if !out.is_empty() {
            out.push('\n');
        }
        let _ = writeln!(out, "{}:", speaker(message));
        out.push_str(message.content.to_text().trim_matches('\n'));
        out.push('\n');
    }
    out
}

/// One JSON document: the metadata as it stands now, and every message with whether it counts.
pub fn json(conversation: &Conversation) -> serde_json::Result<String> {
    #[derive(Serialize)]
    struct Document<'a> {
        schema: u32,
        conversation: &'a Header,
        messages: Vec<Entry<'a>>,
    }
    #[derive(Serialize)]
    struct Entry<'a> {
        #[serde(flatten)]
        message: &'a Message,
        active: bool,
    }
    let messages = conversation
        .all()
        .map(|(message, active)| Entry { message, active })
        .collect();
    let document = Document {
        schema: 1,
        conversation: &conversation.header,
        messages,
    };
    serde_json::to_string_pretty(&document).map(|text| text + "\n")
}

/// Who speaks and when, and what is wrong with it.
fn speaker(message: &Message) -> String {
    let who = match message.role {
        Role::User => "You",
        Role::System => "System",
        Role::Assistant => message.model.as_deref().unwrap_or("Assistant"),
    };
    let mark = match message.state {
        None | Some(State::Complete) => "",
        Some(State::Length) => " (cut at the maximum number of tokens)",
        Some(State::Filtered) => " (filtered)",
        Some(State::Interrupted) => " (interrupted)",
        Some(State::Error) => " (failed midway)",
    };
    format!("{who}, {}{mark}", minute(message.at))
}

fn minute(at: Timestamp) -> String {
    at.to_zoned(TimeZone::UTC)
        .strftime("%Y-%m-%d %H:%M UTC")
        .to_string()
}
