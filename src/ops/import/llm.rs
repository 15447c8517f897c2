//! The log of `llm`, as `llm logs --json` prints it: a list of replies, each with its prompt
//! and the conversation that it belongs to.

use std::collections::HashMap;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use crate::model::error::Result;
use crate::model::record::{Content, Latency, Message, Role};
use crate::model::reply::{State, Usage};

use super::Intake;
use super::draft::{Draft, Line};
use super::source::too_large;

/// The replies of all conversations, which are mixed.
pub(super) struct Logs {
    limit: u64,
    bytes: u64,
    places: HashMap<String, usize>,
    conversations: Vec<(String, Vec<(Timestamp, Value)>)>,
}

impl Logs {
    pub(super) fn new(limit: u64) -> Self {
        Self {
            limit,
            bytes: 0,
            places: HashMap::new(),
            conversations: Vec::new(),
        }
    }

    /// A reply, of so many bytes.
    pub(super) fn add(&mut self, mut reply: Value, bytes: u64) -> Result<()> {
        self.bytes += bytes;
        if self.bytes > self.limit {
            return Err(too_large(self.limit)
                .why("its conversations are mixed, so all have to be kept in memory, and limits.memory_mb does not allow that")
                .hint("allow more, or import them in parts: llm logs -n 1000 --json"));
        }
        // What was sent and received once more, and long.
        if let Some(fields) = reply.as_object_mut() {
            fields.remove("prompt_json");
        }
        let text = |name: &str| reply.get(name).and_then(Value::as_str);
        let key = text("conversation_id")
            .or(text("id"))
            .unwrap_or_default()
            .to_owned();
        let at = text("datetime_utc").and_then(time).unwrap_or_default();
        let conversations = &mut self.conversations;
        let place = *self.places.entry(key.clone()).or_insert_with(|| {
            conversations.push((key, Vec::new()));
            conversations.len() - 1
        });
        conversations[place].1.push((at, reply));
        Ok(())
    }

    /// All of them have come.
    pub(super) fn finish(self, intake: &mut Intake<'_, '_>) -> Result<()> {
        for (key, mut replies) in self.conversations {
            // The log can be printed in either order.
            replies.sort_by_key(|(at, _)| *at);
            intake.draft(&conversation(&key, replies))?;
        }
        Ok(())
    }
}

pub(super) fn conversation(key: &str, replies: Vec<(Timestamp, Value)>) -> Draft {
    let mut draft = Draft::new("llm", key);
    draft.created_at = replies.first().map(|(at, _)| *at);
    let mut system = None;
    for (at, reply) in replies {
        let text = |path: &str| {
            let text = reply.pointer(path).and_then(Value::as_str);
            text.filter(|text| !text.trim().is_empty())
        };
        if draft.title.is_none() {
            draft.title = text("/conversation_name").map(str::to_owned);
        }
        if let Some(now) = text("/system").filter(|now| system.as_deref() != Some(*now)) {
            system = Some(now.to_owned());
            if draft.is_empty() {
                draft.system = Some(now.to_owned());
            } else {
                draft.lines.push(Line::System(now.to_owned()));
            }
        }
        let list = |name: &str| {
            reply
                .get(name)
                .and_then(Value::as_array)
                .map_or(0, Vec::len)
        };
        draft.left.tools += list("tool_calls") + list("tool_results");
        let mut prompt = text("/prompt").unwrap_or_default().to_owned();
        for file in reply
            .get("attachments")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            let name = ["path", "url", "id", "type"]
                .iter()
                .find_map(|name| file.get(*name).and_then(Value::as_str));
            draft.left.files += 1;
            if !prompt.is_empty() {
                prompt.push_str("\n\n");
            }
            prompt.push_str(&format!("[file: {}]", name.unwrap_or("file")));
        }
        let mut say = |message: Message| {
            let n = draft.messages() as u64 + 1;
            draft
                .lines
                .push(Line::Message(Box::new(Message { n, ..message })));
        };
        if !prompt.is_empty() {
            say(Message::new(0, Role::User, Content::text(&prompt), at));
        }
        if let Some(answer) = text("/response") {
            say(answered(answer, at, &reply));
        }
    }
    draft
}

fn answered(answer: &str, asked_at: Timestamp, reply: &Value) -> Message {
    let text = |path: &str| {
        reply
            .pointer(path)
            .and_then(Value::as_str)
            .map(str::to_owned)
    };
    let count = |name: &str| reply.get(name).and_then(Value::as_u64);
    let took = count("duration_ms");
    let at = took
        .and_then(|took| i64::try_from(took).ok())
        .and_then(|took| {
            asked_at
                .checked_add(jiff::SignedDuration::from_millis(took))
                .ok()
        });
    let ended = text("/response_json/finish_reason")
        .or_else(|| text("/response_json/choices/0/finish_reason"));
    let (prompt, completion) = (count("input_tokens"), count("output_tokens"));
    let usage = (prompt.is_some() || completion.is_some()).then(|| {
        let usage = json!({"prompt_tokens": prompt, "completion_tokens": completion});
        Usage(serde_json::value::to_raw_value(&usage).expect("numbers are valid JSON"))
    });
    Message {
        state: Some(match ended.as_deref() {
            Some("length" | "max_tokens") => State::Length,
            Some("content_filter") => State::Filtered,
            _ => State::Complete,
        }),
        finish_reason: ended,
        model: text("/resolved_model").or_else(|| text("/model")),
        generation_id: text("/response_json/id"),
        usage,
        latency_ms: took.map(|total| Latency {
            first_byte: None,
            total,
        }),
        reasoning: text("/reasoning").filter(|text| !text.trim().is_empty()),
        ..Message::new(
            0,
            Role::Assistant,
            Content::text(answer),
            at.unwrap_or(asked_at),
        )
    }
}

/// A time in UTC, whether it says so or not.
fn time(text: &str) -> Option<Timestamp> {
    let with_zone = text.parse::<Timestamp>().ok();
    with_zone.or_else(|| {
        let naive: DateTime = text.parse().ok()?;
        Some(naive.to_zoned(TimeZone::UTC).ok()?.timestamp())
    })
}
