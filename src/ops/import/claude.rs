//! A conversation as Claude exports it.
//!
//! There is no published description; this is what exports are seen to hold: messages in the
//! order in which they were written, each with blocks of content, and in newer exports with
//! the message before it, which makes a tree.

use jiff::Timestamp;
use serde_json::Value;

use crate::model::record::{Content, Message, Role};
use crate::model::reply::State;
use crate::ops::prompt::{self, Attachment, fence};

use super::draft::{Draft, Left};
use super::tree::{Node, lay_out};

/// Reads a conversation. Whatever is missing or odd costs only itself.
pub(super) fn conversation(mut value: Value) -> Draft {
    let messages = value.get_mut("chat_messages").map(Value::take);
    let text = |name: &str| value.get(name).and_then(Value::as_str);
    let mut draft = Draft::new("claude", text("uuid").unwrap_or_default());
    draft.title = text("name").map(str::to_owned);
    draft.created_at = text("created_at").and_then(|at| at.parse().ok());
    let current = text("current_leaf_message_uuid");

    let Some(Value::Array(messages)) = messages else {
        return draft;
    };
    let has_parents = messages.iter().any(|message| {
        message
            .get("parent_message_uuid")
            .is_some_and(Value::is_string)
    });
    let mut at = draft.created_at.unwrap_or_default();
    let mut nodes: Vec<Node> = Vec::with_capacity(messages.len());
    for (number, said) in messages.iter().enumerate() {
        let text = |name: &str| said.get(name).and_then(Value::as_str);
        at = text("created_at")
            .and_then(|at| at.parse().ok())
            .unwrap_or(at);
        let parent = if has_parents {
            text("parent_message_uuid").map(str::to_owned)
        } else {
            nodes.last().map(|node| node.key.clone())
        };
        nodes.push(Node {
            key: text("uuid").map_or_else(|| number.to_string(), str::to_owned),
            parent,
            message: read(said, at, &mut draft.left),
        });
    }
    draft.lines = lay_out(nodes, current);
    draft
}

fn read(said: &Value, at: Timestamp, left: &mut Left) -> Option<Box<Message>> {
    let role = match said.get("sender").and_then(Value::as_str) {
        Some("human") => Role::User,
        Some("assistant") => Role::Assistant,
        _ => return None,
    };
    let (mut shown, reasoning) = blocks(said, left);
    if shown.is_empty() {
        let text = said.get("text").and_then(Value::as_str);
        shown.push_str(text.unwrap_or_default());
    }
    let list = |name: &str| {
        said.get(name)
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
    };
    let name = |file: &Value| {
        let name = file.get("file_name").and_then(Value::as_str);
        name.filter(|name| !name.is_empty())
            .unwrap_or("file")
            .to_owned()
    };
    let attached: Vec<Attachment> = list("attachments")
        .filter_map(|file| {
            let text = file.get("extracted_content").and_then(Value::as_str)?;
            Some(Attachment {
                name: name(file),
                text: text.to_owned(),
            })
        })
        .collect();
    // The text of a file is among the attachments, and the file itself among the files.
    let files: Vec<String> = list("files")
        .map(&name)
        .filter(|name| attached.iter().all(|file| file.name != *name))
        .map(|name| format!("[file: {name}]"))
        .collect();
    left.files += files.len();
    shown = prompt::assemble(&shown, &attached, &files.join("\n"));
    if shown.trim().is_empty() {
        return None;
    }
    let mut message = Message::new(0, role, Content::text(&shown), at);
    if role == Role::Assistant {
        message.state = Some(match said.get("stop_reason").and_then(Value::as_str) {
            Some("max_tokens") => State::Length,
            Some("user_canceled") => State::Interrupted,
            _ => State::Complete,
        });
        message.reasoning = Some(reasoning).filter(|text| !text.trim().is_empty());
    }
    Some(Box::new(message))
}

/// What is to be seen of a message, and what was thought before.
fn blocks(said: &Value, left: &mut Left) -> (String, String) {
    let (mut shown, mut reasoning) = (Vec::new(), Vec::new());
    for block in said
        .get("content")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let text = |path: &str| block.pointer(path).and_then(Value::as_str);
        match text("/type") {
            Some("text") => shown.extend(text("/text").map(str::to_owned)),
            Some("thinking") => reasoning.extend(text("/thinking").map(str::to_owned)),
            // A document beside the conversation.
            Some("tool_use") if text("/name") == Some("artifacts") => {
                let title = text("/input/title").map(|title| format!("{title}:\n"));
                let language = text("/input/language").unwrap_or_default();
                if let Some(content) = text("/input/content") {
                    let title = title.unwrap_or_default();
                    shown.push(format!("{title}{}", fence(language, content)));
                } else {
                    left.tools += 1;
                }
            }
            Some("image") => left.images += 1,
            Some(_) => left.tools += 1,
            None => {}
        }
    }
    shown.retain(|text| !text.is_empty());
    (shown.join("\n\n"), reasoning.join("\n\n"))
}
