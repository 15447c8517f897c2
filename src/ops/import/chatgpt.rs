//! A conversation as `ChatGPT` exports it.
//!
//! There is no published description; this is what exports are seen to hold: a tree of
//! messages (`mapping`, `parent`, `current_node`) whose content is of many types. What a
//! person sees there is taken; what tools answered and what is hidden is not.

use jiff::Timestamp;
use serde_json::Value;

use crate::model::record::{Content, Message, Role};
use crate::model::reply::State;
use crate::ops::prompt::fence;

use super::draft::{Draft, Left};
use super::tree::{Node, lay_out};

/// Reads a conversation. Whatever is missing or odd costs only itself.
pub(super) fn conversation(mut value: Value) -> Draft {
    let mapping = value.get_mut("mapping").map(Value::take);
    let text = |name: &str| value.get(name).and_then(Value::as_str);
    let first = mapping
        .as_ref()
        .and_then(Value::as_object)
        .and_then(|nodes| nodes.keys().next());
    let id = text("conversation_id")
        .or(text("id"))
        .or(first.map(String::as_str));
    let mut draft = Draft::new("chatgpt", id.unwrap_or_default());
    draft.title = text("title").map(str::to_owned);
    draft.created_at = value.get("create_time").and_then(time);
    let current = text("current_node");

    let Some(Value::Object(mapping)) = mapping else {
        return draft;
    };
    // For messages whose time nobody knows.
    let mut at = draft.created_at.unwrap_or_default();
    let mut thoughts: Vec<(String, String)> = Vec::new();
    let mut nodes = Vec::with_capacity(mapping.len());
    for (key, node) in mapping {
        let parent = node
            .get("parent")
            .and_then(Value::as_str)
            .map(str::to_owned);
        let said = node.get("message").filter(|message| message.is_object());
        let mut message = None;
        if let Some(said) = said {
            at = said.get("create_time").and_then(time).unwrap_or(at);
            match read(said, at, &mut draft.left) {
                Said::Message(read) => message = Some(read),
                Said::System(text) => {
                    let system = draft.system.get_or_insert_default();
                    if !system.is_empty() {
                        system.push_str("\n\n");
                    }
                    system.push_str(&text);
                }
                Said::Thoughts(text) => thoughts.push((key.clone(), text)),
                Said::Nothing => {}
            }
        }
        nodes.push(Node {
            key,
            parent,
            message,
        });
    }
    give_thoughts(&mut nodes, thoughts);
    draft.lines = lay_out(nodes, current);
    draft
}

/// Puts what the model thought to the answer that it led to.
fn give_thoughts(nodes: &mut [Node], thoughts: Vec<(String, String)>) {
    let mut parents: std::collections::HashMap<String, Vec<usize>> =
        std::collections::HashMap::new();
    if thoughts.is_empty() {
        return;
    }
    for (at, node) in nodes.iter().enumerate() {
        if let Some(parent) = &node.parent {
            parents.entry(parent.clone()).or_default().push(at);
        }
    }
    for (key, text) in thoughts {
        let mut key = key;
        // What comes in between is not to be seen. Nothing hangs on itself for ever.
        for _ in 0..nodes.len() {
            let Some([child]) = parents.get(&key).map(Vec::as_slice) else {
                break;
            };
            let Some(message) = &mut nodes[*child].message else {
                key.clone_from(&nodes[*child].key);
                continue;
            };
            if message.role == Role::Assistant {
                let reasoning = message.reasoning.get_or_insert_default();
                if !reasoning.is_empty() {
                    reasoning.push_str("\n\n");
                }
                reasoning.push_str(&text);
            }
            break;
        }
    }
}

enum Said {
    Message(Box<Message>),
    System(String),
    Thoughts(String),
    Nothing,
}

fn read(said: &Value, at: Timestamp, left: &mut Left) -> Said {
    let text = |path: &str| said.pointer(path).and_then(Value::as_str);
    let is_hidden = said
        .pointer("/metadata/is_visually_hidden_from_conversation")
        .and_then(Value::as_bool);
    let content = &said["content"];
    let kind = text("/content/content_type").unwrap_or_default();
    let role = match text("/author/role") {
        Some("user") => Role::User,
        Some("assistant") => Role::Assistant,
        Some("system") => Role::System,
        Some("tool") => return tool(content, kind, at, left),
        _ => return Said::Nothing,
    };
    if kind == "thoughts" {
        return thoughts(content).map_or(Said::Nothing, Said::Thoughts);
    }
    if is_hidden == Some(true) || kind == "reasoning_recap" || kind.ends_with("editable_context") {
        return Said::Nothing;
    }
    let mut shown = match kind {
        "code" => code(content),
        _ => parts(content, left),
    };
    if role == Role::System {
        return if shown.trim().is_empty() {
            Said::Nothing
        } else {
            Said::System(shown)
        };
    }
    let attached = said
        .pointer("/metadata/attachments")
        .and_then(Value::as_array);
    for file in attached.into_iter().flatten() {
        let mime = file
            .get("mime_type")
            .or(file.get("mimeType"))
            .and_then(Value::as_str);
        // Images are among the parts.
        if mime.is_some_and(|mime| mime.starts_with("image/")) {
            continue;
        }
        let name = file.get("name").and_then(Value::as_str).unwrap_or("file");
        left.files += 1;
        append(&mut shown, &format!("[file: {name}]"));
    }
    if shown.trim().is_empty() {
        return Said::Nothing;
    }
    let mut message = Message::new(0, role, Content::text(&shown), at);
    if role == Role::Assistant {
        let ended = text("/metadata/finish_details/type");
        let status = text("/status");
        message.state = Some(match (ended, status) {
            (Some("interrupted"), _) | (None, Some("in_progress")) => State::Interrupted,
            (Some("max_tokens"), _) | (None, Some("finished_partial_completion")) => State::Length,
            _ => State::Complete,
        });
        message.finish_reason = ended.map(str::to_owned);
        message.model = text("/metadata/model_slug").map(str::to_owned);
    }
    Said::Message(Box::new(message))
}

/// What a tool answered: the output of a program and images are to be seen, all else is not.
fn tool(content: &Value, kind: &str, at: Timestamp, left: &mut Left) -> Said {
    let shown = match kind {
        "execution_output" => {
            let text = content
                .get("text")
                .and_then(Value::as_str)
                .unwrap_or_default();
            if text.trim().is_empty() {
                return Said::Nothing;
            }
            fence("", text)
        }
        "multimodal_text" => {
            let images = left.images;
            let text = parts(content, left);
            if left.images == images {
                left.tools += 1;
                return Said::Nothing;
            }
            text
        }
        _ => {
            left.tools += 1;
            return Said::Nothing;
        }
    };
    let mut message = Message::new(0, Role::Assistant, Content::text(&shown), at);
    message.state = Some(State::Complete);
    Said::Message(Box::new(message))
}

/// A program that the model had run.
fn code(content: &Value) -> String {
    let text = |name: &str| {
        content
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    if text("text").trim().is_empty() {
        return String::new();
    }
    let language = Some(text("language")).filter(|language| *language != "unknown");
    fence(language.unwrap_or_default(), text("text"))
}

/// The parts of a content, one after the other.
fn parts(content: &Value, left: &mut Left) -> String {
    let mut shown = String::new();
    let parts = content.get("parts").and_then(Value::as_array);
    for part in parts.into_iter().flatten() {
        let text = |name: &str| part.get(name).and_then(Value::as_str);
        match (part, text("content_type")) {
            (Value::String(text), _) => append(&mut shown, text),
            (_, Some("image_asset_pointer")) => {
                let pointer = text("asset_pointer").unwrap_or("image");
                let name = pointer.rsplit("//").next().unwrap_or(pointer);
                left.images += 1;
                append(&mut shown, &format!("[image: {name}]"));
            }
            // What was said: the sound itself is another part.
            (_, Some("audio_transcription")) => {
                append(&mut shown, text("text").unwrap_or_default());
            }
            (Value::Object(_), _) => left.files += 1,
            _ => {}
        }
    }
    // Some types have their text beside the parts.
    for name in ["text", "result"] {
        if let (None, Some(text)) = (parts, content.get(name).and_then(Value::as_str)) {
            append(&mut shown, text);
        }
    }
    shown
}

fn thoughts(content: &Value) -> Option<String> {
    let mut shown = String::new();
    for thought in content.get("thoughts").and_then(Value::as_array)? {
        let text = |name: &str| {
            thought
                .get(name)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        let whole = if text("content").is_empty() {
            text("summary")
        } else {
            text("content")
        };
        append(&mut shown, whole);
    }
    Some(shown).filter(|shown| !shown.trim().is_empty())
}

/// Appends a paragraph.
fn append(shown: &mut String, text: &str) {
    if text.is_empty() {
        return;
    }
    if !shown.is_empty() {
        shown.push_str("\n\n");
    }
    shown.push_str(text);
}

/// Seconds since 1970, with a fraction.
fn time(value: &Value) -> Option<Timestamp> {
    let seconds = value.as_f64().filter(|seconds| *seconds > 0.0)?;
    // A file has milliseconds; a float of this size holds them.
    #[expect(clippy::cast_possible_truncation, reason = "out of range is no time")]
    Timestamp::from_millisecond((seconds * 1000.0).round() as i64).ok()
}
