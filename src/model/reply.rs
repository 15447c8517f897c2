//! A reply while it arrives, and how it ended.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use super::error::Error;
use super::usd::Usd;

/// How a reply ended. A half answer is never a whole one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// The model said all it had to say.
    Complete,
    /// Cut at the maximum number of tokens.
    Length,
    /// Cut or refused by a content filter.
    Filtered,
    /// Stopped by the person, by a signal, by a closed output or by a crash.
    Interrupted,
    /// Failed midway: an error from the server, a cut connection, a stall.
    Error,
}

impl State {
    /// The word in files.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Length => "length",
            Self::Filtered => "filtered",
            Self::Interrupted => "interrupted",
            Self::Error => "error",
        }
    }
}

/// The `usage` object exactly as the server sent it.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Usage(pub Box<RawValue>);

/// The figures of a [`Usage`] that pachat shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Tokens of the whole request.
    pub prompt_tokens: Option<u64>,
    /// Tokens of the reply, reasoning included.
    pub completion_tokens: Option<u64>,
    /// The part of `prompt_tokens` that came from a cache.
    pub cached_tokens: Option<u64>,
    /// The part of `completion_tokens` that was reasoning.
    pub reasoning_tokens: Option<u64>,
    /// What the server charged.
    pub cost: Option<Usd>,
}

impl Usage {
    /// Picks the figures out; what is missing or of an odd type is `None`.
    pub fn figures(&self) -> Figures {
        #[derive(Deserialize, Default)]
        struct Wire {
            #[serde(default, deserialize_with = "count")]
            prompt_tokens: Option<u64>,
            #[serde(default, deserialize_with = "count")]
            completion_tokens: Option<u64>,
            #[serde(default)]
            prompt_tokens_details: Option<Details>,
            #[serde(default)]
            completion_tokens_details: Option<Details>,
            #[serde(default)]
            cost: Option<Box<RawValue>>,
        }
        #[derive(Deserialize, Default)]
        struct Details {
            #[serde(default, deserialize_with = "count")]
            cached_tokens: Option<u64>,
            #[serde(default, deserialize_with = "count")]
            reasoning_tokens: Option<u64>,
        }
        let wire: Wire = serde_json::from_str(self.0.get()).unwrap_or_default();
        Figures {
            prompt_tokens: wire.prompt_tokens,
            completion_tokens: wire.completion_tokens,
            cached_tokens: wire
                .prompt_tokens_details
                .and_then(|details| details.cached_tokens),
            reasoning_tokens: wire
                .completion_tokens_details
                .and_then(|details| details.reasoning_tokens),
            // The text, not the number: a binary fraction would lose its last digit.
            cost: wire
                .cost
                .and_then(|raw| raw.get().trim_matches('"').parse().ok()),
        }
    }
}

/// A count that may be missing, null, a float or text: never a reason to fail.
fn count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let value = serde_json::Value::deserialize(deserializer)?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked to be a whole number in the range that a float holds exactly"
    )]
    Ok(value.as_u64().or_else(|| {
        value
            .as_f64()
            .filter(|count| count.fract() == 0.0 && (0.0..9e15).contains(count))
            .map(|count| count as u64)
    }))
}

impl fmt::Debug for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.get())
    }
}

/// A piece of a reply: what arrived in one read, which may be many events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delta {
    /// Text of the answer.
    pub text: String,
    /// Text of the reasoning before it.
    pub reasoning: String,
}

impl Delta {
    /// Whether nothing arrived.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty() && self.reasoning.is_empty()
    }
}

/// Who answers, as far as the server has said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The server's id of this reply.
    pub generation_id: Option<String>,
    /// The model that answers.
    pub model: Option<String>,
    /// Who runs it.
    pub provider: Option<String>,
}

/// The end of a reply.
#[derive(Debug)]
pub struct Finish {
    /// How it ended.
    pub state: State,
    /// Why the model stopped, in the server's words.
    pub finish_reason: Option<String>,
    /// The same in the words of the server behind the server.
    pub native_finish_reason: Option<String>,
    /// Token counts, if the server sent any.
    pub usage: Option<Usage>,
    /// What the server charged, if it said so.
    pub cost: Option<Usd>,
    /// The failure. Present exactly when the state is [`State::Error`]; also present
    /// with [`State::Filtered`] when the server refused outright.
    pub error: Option<Error>,
    /// Oddities worth a line on stderr, such as a missing finish reason.
    pub notices: Vec<String>,
}

impl Finish {
    /// An end of this state with nothing else known.
    pub fn new(state: State) -> Self {
        Self {
            state,
            finish_reason: None,
            native_finish_reason: None,
            usage: None,
            cost: None,
            error: None,
            notices: Vec::new(),
        }
    }

    /// An end by failure.
    pub fn failed(error: Error) -> Self {
        Self {
            error: Some(error),
            ..Self::new(State::Error)
        }
    }
}

/// What happened while waiting for a reply.
#[derive(Debug)]
pub enum Progress {
    /// Nothing, for as long as the caller had patience.
    Idle,
    /// A sign of life without content, such as an SSE comment.
    Heartbeat,
    /// A piece of the reply.
    Delta(Delta),
    /// Something to tell the person, such as a retry: one line, no line feed.
    Notice(String),
    /// The end. Nothing follows.
    Done(Box<Finish>),
}

/// A reply in the making, wherever it comes from.
///
/// Dropping it ends the reply: a connection is closed at once, so that a server
/// which bills by the token stops.
pub trait ReplyStream {
    /// Waits until something happens, at most `patience`. The caller is expected to
    /// look for signals between two calls, so `patience` bounds how long Ctrl-C waits.
    fn next(&mut self, patience: Duration) -> Progress;

    /// Who answers, as far as is known now.
    fn identity(&self) -> &Identity;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(json: &str) -> Figures {
        Usage(RawValue::from_string(json.into()).unwrap()).figures()
    }

    #[test]
    fn figures_survive_every_shape_seen() {
        let figures = usage(
            r#"{"prompt_tokens":67.0,"completion_tokens":5,"cost":1.305e-05,"prompt_tokens_details":{"cached_tokens":3},"completion_tokens_details":null}"#,
        );
        assert_eq!(figures.prompt_tokens, Some(67));
        assert_eq!(figures.completion_tokens, Some(5));
        assert_eq!(figures.cached_tokens, Some(3));
        assert_eq!(figures.cost.unwrap().to_string(), "0.00001305");
        assert_eq!(usage(r#"{"cost":"0.5"}"#).cost.unwrap().to_string(), "0.5");
        assert_eq!(
            usage(r#"{"cost":null,"prompt_tokens":"many"}"#),
            Figures::default()
        );
        assert_eq!(usage("[]"), Figures::default());
    }
}
