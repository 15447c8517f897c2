//! How a reply is shown while it comes.

use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;
use serde_json::json;

use crate::model::error::{Error, Kind, Result};
use crate::model::record::Message;
use crate::model::reply::Delta;
use crate::model::usd::Usd;
use crate::ops::turn::Audience;
use crate::term::Ui;
use crate::term::clean::Cleaner;
use crate::term::waiting::Waiting;

/// What to do with the pieces of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// Print the text as it comes.
    Text,
    /// Print an event for each piece.
    Events,
    /// Print nothing until the end.
    Silent,
}

/// Shows a reply.
pub(super) struct Show<'a> {
    ui: &'a mut Ui,
    manner: Manner,
    /// Whom is waited for.
    model: String,
    waiting: Waiting,
    cleaner: Cleaner,
    cleaned: String,
    /// Whether it has begun to reason, which is not shown.
    thinking: bool,
    /// Whether anything was printed, and its last byte.
    last: Option<u8>,
}

impl<'a> Show<'a> {
    pub(super) fn new(ui: &'a mut Ui, manner: Manner, model: &str) -> Self {
        Self {
            ui,
            manner,
            model: model.to_owned(),
            waiting: Waiting::default(),
            thinking: false,
            cleaner: Cleaner::default(),
            cleaned: String::new(),
            last: None,
        }
    }

    /// Ends the text with a line feed, if it has none of its own.
    pub(super) fn end(&mut self) -> Result<()> {
        self.waiting.clear(self.ui);
        match self.last {
            Some(last) if last != b'\n' => self.ui.data(b"\n"),
            _ => Ok(()),
        }
    }

    /// Prints a whole reply at once.
    pub(super) fn whole(&mut self, text: &str) -> Result<()> {
        self.print(text)?;
        self.end()
    }

    fn print(&mut self, text: &str) -> Result<()> {
        if text.is_empty() {
            return Ok(());
        }
        // A terminal obeys escape sequences, so they are taken out; a pipe gets the exact bytes.
        let shown = if self.ui.stdout_is_terminal() {
            self.cleaned.clear();
            self.cleaner.feed(text, &mut self.cleaned);
            self.cleaned.as_bytes()
        } else {
            text.as_bytes()
        };
        self.last = shown.last().copied().or(self.last);
        self.ui.data(shown)
    }
}

impl Audience for Show<'_> {
    fn delta(&mut self, delta: &Delta) -> Result<()> {
        self.thinking |= !delta.reasoning.is_empty();
        let shows = match self.manner {
            Manner::Text => !delta.text.is_empty(),
            Manner::Events => true,
            Manner::Silent => false,
        };
        if shows {
            self.waiting.clear(self.ui);
        }
        match self.manner {
            Manner::Text => self.print(&delta.text),
            Manner::Events => {
                let mut event = json!({ "type": "delta", "text": delta.text });
                if !delta.reasoning.is_empty() {
                    event["reasoning"] = delta.reasoning.as_str().into();
                }
                self.ui.data(&json_line(&event)?)
            }
            Manner::Silent => Ok(()),
        }
    }

    fn notice(&mut self, line: &str) {
        self.waiting.clear(self.ui);
        self.ui.note(&format!("pachat: {line}"));
    }

    fn waiting(&mut self, since: Duration) {
        let what = if self.thinking {
            format!("{} is thinking", self.model)
        } else {
            format!("waiting for {}", self.model)
        };
        self.waiting.tick(self.ui, &what, since);
    }
}

/// A JSON document on one line.
pub(super) fn json_line(document: &impl Serialize) -> Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec(document)
        .map_err(|error| Error::new(Kind::Bug, "cannot write JSON").cause(error))?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Tokens, cost and time of a reply on one line. What the server did not say is not guessed.
pub(super) fn usage_line(reply: &Message) -> String {
    let figures = reply
        .usage
        .as_ref()
        .map(crate::model::reply::Usage::figures)
        .unwrap_or_default();
    let mut parts = Vec::new();
    match (figures.prompt_tokens, figures.completion_tokens) {
        (None, None) => parts.push("tokens n/a".to_owned()),
        (prompt, completion) => {
            let count =
                |count: Option<u64>| count.map_or("n/a".to_owned(), |count| count.to_string());
            let mut text = format!(
                "{} prompt + {} reply tokens",
                count(prompt),
                count(completion)
            );
            if let Some(cached) = figures.cached_tokens.filter(|&cached| cached > 0) {
                let _ = write!(text, ", {cached} cached");
            }
            if let Some(reasoning) = figures.reasoning_tokens.filter(|&tokens| tokens > 0) {
                let _ = write!(text, ", {reasoning} reasoning");
            }
            parts.push(text);
        }
    }
    parts.push(reply.cost.map_or("cost n/a".to_owned(), Usd::rounded));
    if let Some(latency) = reply.latency_ms {
        let first = latency
            .first_byte
            .map(|ms| format!("{} to the first word, ", seconds(ms)));
        parts.push(format!(
            "{}{} in all",
            first.unwrap_or_default(),
            seconds(latency.total)
        ));
    }
    if let Some(model) = &reply.model {
        parts.push(model.clone());
    }
    parts.join("; ")
}

fn seconds(milliseconds: u64) -> String {
    format!("{}.{:02} s", milliseconds / 1000, milliseconds % 1000 / 10)
}
