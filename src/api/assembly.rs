//! Puts a reply together from its events, and decides how it ended.
//!
//! Layer: `api`; no I/O and no time. The rule: a reply is complete if the server said why it
//! stopped (and that was no error), or marked the end after some content. Everything else
//! is a failure, because a half answer must never pass for a whole one.

use std::collections::BTreeMap;

use serde_json::Value;
use serde_json::value::RawValue;

use crate::model::error::{Error, Kind};
use crate::model::reply::{Delta, Finish, Identity, State, Usage};

use super::failure::{self, Context, Failure, Retry};
use super::sse::DONE;
use super::wire::{self, Choice, Chunk, Words};

/// How many events that are not JSON are passed over.
const MOST_MALFORMED: u32 = 3;

/// How much of a refusal is kept, in bytes: far more than is ever shown.
const ENOUGH_REFUSAL: usize = 64 << 10;

/// Why nothing more comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// The server marked the end, or the reply came in one piece.
    Marked,
    /// The body ended.
    Closed,
    /// It did not come to its end; why, in a few words.
    Broken(&'static str),
}

/// A reply so far.
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts about the reply, not the states of a machine"
)]
#[derive(Debug, Default)]
pub(super) struct Assembly {
    /// What has arrived and was not taken yet.
    pub(super) delta: Delta,
    identity: Identity,
    finish_reason: Option<String>,
    native_finish_reason: Option<String>,
    usage: Option<Box<RawValue>>,
    error: Option<Box<RawValue>>,
    refusal: String,
    has_text: bool,
    has_reasoning: bool,
    calls_tool: bool,
    /// The name of the first tool that was asked for.
    tool: String,
    marked: bool,
    valid: u32,
    malformed: u32,
}

impl Assembly {
    /// Who answers.
    pub(super) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Notes the id that came in a header, which counts more than the one in the body.
    pub(super) fn note_generation(&mut self, id: &str) {
        if !id.is_empty() {
            self.identity.generation_id = Some(id.to_owned());
        }
    }

    /// Whether anything of the reply has arrived, reasoning included.
    pub(super) fn has_content(&self) -> bool {
        self.has_text || self.has_reasoning
    }

    /// Whether the server has said why it stopped.
    pub(super) fn is_finished(&self) -> bool {
        self.finish_reason.is_some()
    }

    /// Whether nothing that may follow can change the end.
    pub(super) fn is_over(&self) -> bool {
        self.marked || self.error.is_some() || self.malformed > MOST_MALFORMED
    }

    /// Takes one event of the stream.
    pub(super) fn event(&mut self, name: &str, data: &str) {
        if self.is_over() {
            return;
        }
        let data = data.trim();
        if data == DONE {
            self.marked = true;
        } else if data.is_empty() {
            // An empty event is a keep-alive.
        } else if let Some(chunk) = Chunk::parse(data) {
            self.valid += 1;
            let nameless_error = chunk.error.is_none()
                && chunk.choice.is_none()
                && (name == "error" || chunk.object.as_str() == "error");
            self.chunk(chunk);
            if nameless_error {
                self.error = serde_json::from_str(data).ok();
            }
        } else if name == "error" {
            // The text itself is the error.
            self.error = serde_json::value::to_raw_value(data).ok();
        } else {
            self.malformed += 1;
        }
    }

    /// Takes a reply that came in one piece; `false` if it is none.
    pub(super) fn whole(&mut self, json: &str) -> bool {
        let Some(chunk) = Chunk::parse(json.trim_start_matches('\u{feff}')) else {
            return false;
        };
        if chunk.error.is_none() && chunk.choice.is_none() {
            return false;
        }
        self.valid += 1;
        self.marked = true;
        self.chunk(chunk);
        true
    }

    fn chunk(&mut self, chunk: Chunk<'_>) {
        let note = |place: &mut Option<String>, text: Option<&str>| {
            if place.is_none() {
                *place = text.map(str::to_owned);
            }
        };
        note(&mut self.identity.generation_id, chunk.id.some());
        note(&mut self.identity.model, chunk.model.some());
        note(&mut self.identity.provider, chunk.provider.some());
        if let Some(usage) = chunk.usage {
            self.usage = storable(usage);
        }
        let choice = chunk.choice.unwrap_or_default();
        if let Some(error) = chunk.error.or(choice.error) {
            self.error = Some(error.to_owned());
        }
        self.choice(choice);
    }

    fn choice(&mut self, choice: Choice<'_>) {
        // Some proxies repeat the whole message at the end of a stream.
        let words = match (choice.delta, choice.message) {
            (Some(delta), _) => Some(delta),
            (None, message) => message.filter(|_| !self.has_content()),
        };
        if let Some(words) = words {
            self.words(&words);
        }
        self.text(choice.text.as_str());
        // The reason may be sent twice; the last one counts, as for all other fields.
        if let Some(reason) = choice.finish_reason.some() {
            self.finish_reason = Some(reason.to_owned());
        }
        if let Some(reason) = choice.native_finish_reason.some() {
            self.native_finish_reason = Some(reason.to_owned());
        }
    }

    fn words(&mut self, words: &Words<'_>) {
        let thoughts = words.thoughts();
        self.has_reasoning |= !thoughts.is_empty();
        self.delta.reasoning.push_str(thoughts);
        if self.refusal.len() < ENOUGH_REFUSAL {
            self.refusal.push_str(words.refusal.as_str());
        }
        if let Some(call) = words.tool_call {
            self.calls_tool = true;
            if self.tool.is_empty() {
                self.tool = wire::tool_name(call).unwrap_or_default();
            }
        }
        self.text(words.content.as_str());
    }

    fn text(&mut self, text: &str) {
        self.has_text |= !text.is_empty();
        self.delta.text.push_str(text);
    }

    /// How the reply ended.
    pub(super) fn conclude(
        &mut self,
        ending: Ending,
        context: &Context<'_>,
    ) -> Result<Finish, Failure> {
        if let Some(error) = &self.error {
            let provider = self.identity.provider.as_deref();
            return Err(failure::of_event(error, provider, context));
        }
        if self.malformed > MOST_MALFORMED || (self.malformed > 0 && self.valid == 0) {
            return Err(Failure::new(failure::not_an_api(context), Retry::Never));
        }
        let incomplete = |what: &str| Error::new(Kind::Incomplete, what);
        match self.finish_reason.as_deref() {
            Some("error") => {
                let native = self.native_finish_reason.as_deref().unwrap_or("no reason");
                let why = format!("the server gave up: {}", context.tidy(native));
                let error = incomplete("the reply failed midway").why(why);
                return Err(Failure::new(error, Retry::Once));
            }
            Some("tool_calls" | "function_call") => {
                return Err(Failure::new(self.wants_tool(context), Retry::Never));
            }
            None if self.has_text && !matches!(ending, Ending::Marked) => {
                let why = match ending {
                    Ending::Broken(why) => why,
                    _ => "the connection ended before the reply did",
                };
                let error = incomplete("the reply is incomplete").why(why);
                return Err(Failure::new(error, Retry::Never));
            }
            _ => {}
        }
        if self.has_text {
            return Ok(self.finish());
        }
        self.without_text(ending, context)
    }

    /// A reply with some text that came to its end.
    fn finish(&mut self) -> Finish {
        let mut finish = Finish::new(match self.finish_reason.as_deref() {
            Some("length") => State::Length,
            Some("content_filter") => State::Filtered,
            _ => State::Complete,
        });
        if self.finish_reason.is_none() {
            finish
                .notices
                .push("the server did not say why the reply ended".into());
        }
        self.fill(&mut finish);
        finish
    }

    /// A reply without a word of answer.
    fn without_text(&mut self, ending: Ending, context: &Context<'_>) -> Result<Finish, Failure> {
        let reason = self.finish_reason.as_deref();
        if reason == Some("content_filter") || !self.refusal.is_empty() {
            let why = match self.refusal.as_str() {
                "" => "a content filter".to_owned(),
                refusal => context.tidy(refusal),
            };
            let mut finish = Finish::new(State::Filtered);
            finish.error =
                Some(Error::new(Kind::Malformed, "the model refused to answer").why(why));
            self.fill(&mut finish);
            return Ok(finish);
        }
        if self.calls_tool {
            return Err(Failure::new(self.wants_tool(context), Retry::Never));
        }
        let incomplete = |what: &str| Error::new(Kind::Incomplete, what);
        let figures = self.usage.clone().map(|usage| Usage(usage).figures());
        let (error, retry) = match (reason, ending) {
            (Some("length"), _) => {
                let spent = figures
                    .and_then(|figures| figures.completion_tokens)
                    .map_or_else(|| "all".to_owned(), |count| format!("all {count}"));
                let why = format!("{spent} tokens went to reasoning");
                let error = incomplete("there is no answer").why(why);
                (error.hint("allow more with --max-tokens N"), Retry::Never)
            }
            (None, Ending::Broken(why)) => {
                let error = Error::new(Kind::Unavailable, "there is no reply").why(why);
                (error, Retry::Once)
            }
            (None, Ending::Closed) if self.has_reasoning => {
                let why = "the connection ended before the reply did";
                let error = incomplete("the reply is incomplete").why(why);
                (error, Retry::Never)
            }
            _ if self.has_reasoning => {
                let why = "the model reasoned and then said nothing";
                (incomplete("there is no answer").why(why), Retry::Never)
            }
            _ => {
                let error = incomplete("the reply is empty")
                    .why("the server sent no text")
                    .hint("try again, or use another model");
                (error, Retry::Once)
            }
        };
        Err(Failure {
            other_model: retry == Retry::Once,
            ..Failure::new(error, retry)
        })
    }

    fn wants_tool(&self, context: &Context<'_>) -> Error {
        let what = match self.tool.as_str() {
            "" => "the model asked for a tool".to_owned(),
            tool => format!("the model asked for a tool, {}", context.short(tool)),
        };
        Error::new(Kind::Incomplete, what)
            .why("pachat offers none")
            .hint("ask again without tools, or use another model")
    }

    /// What is known about the end, whatever it is.
    pub(super) fn fill(&mut self, finish: &mut Finish) {
        finish.finish_reason = self.finish_reason.take();
        finish.native_finish_reason = self.native_finish_reason.take();
        finish.usage = self.usage.take().map(Usage);
        finish.cost = finish.usage.as_ref().and_then(|usage| usage.figures().cost);
        if self.malformed > 0 {
            let count = self.malformed;
            finish.notices.push(format!(
                "passed over {count} malformed piece{} of the reply",
                if count == 1 { "" } else { "s" }
            ));
        }
    }
}

/// JSON that goes into a file of lines: on one line, and such that whoever reads the line can
/// read it. Grammar alone allows numbers out of any range, halves of characters and any depth.
fn storable(json: &RawValue) -> Option<Box<RawValue>> {
    // Inside strings a line break is always escaped, so one outside can become a space.
    let line = json.get().replace(['\n', '\r'], " ");
    // Depth counts from the line, of which this is a part.
    let readable = |json: &str| serde_json::from_str::<Value>(&format!("[[{json}]]")).is_ok();
    if readable(&line) {
        return RawValue::from_string(line).ok();
    }
    let mut fields: BTreeMap<String, &RawValue> = serde_json::from_str(&line).ok()?;
    fields.retain(|_, value| readable(value.get()));
    serde_json::value::to_raw_value(&fields).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::client::Endpoint;
    use crate::platform::clock::RealClock;
    use proptest::prelude::*;

    /// Events of every kind, in any order.
    fn event() -> impl Strategy<Value = (&'static str, String)> {
        let data = prop::sample::select(vec![
            "[DONE]",
            "",
            "{oops",
            "7",
            "{}",
            r#"{"choices":[]}"#,
            r#"{"choices":[{"delta":{"content":"a"}}]}"#,
            r#"{"choices":[{"delta":{"content":"b"},"finish_reason":"stop"}]}"#,
            r#"{"choices":[{"delta":{"reasoning":"r"}}]}"#,
            r#"{"choices":[{"delta":{"refusal":"no"}}]}"#,
            r#"{"choices":[{"delta":{"tool_calls":[{}]},"finish_reason":"tool_calls"}]}"#,
            r#"{"choices":[{"finish_reason":"length"}]}"#,
            r#"{"choices":[{"finish_reason":"content_filter"}]}"#,
            r#"{"choices":[{"finish_reason":"error"}]}"#,
            r#"{"choices":[],"usage":{"cost":1}}"#,
            r#"{"error":{"code":429}}"#,
            r#"{"error":"text"}"#,
        ]);
        let name = prop::sample::select(vec!["", "", "", "error"]);
        (name, data.prop_map(str::to_owned))
    }

    proptest! {
        #[test]
        fn only_a_marked_or_explained_end_is_a_whole_reply(
            events in prop::collection::vec(event(), 0..8),
            ending in prop::sample::select(vec![Ending::Closed, Ending::Broken("cut")]),
        ) {
            let endpoint = Endpoint::new("https://openrouter.ai".parse().unwrap());
            let clock = RealClock::start();
        let context = endpoint.context("m", &clock);
            let mut assembly = Assembly::default();
            for (name, data) in &events {
                assembly.event(name, data);
            }
            let text = assembly.delta.text.clone();
            let explained = assembly.is_finished();
            let ending = if assembly.is_over() { Ending::Marked } else { ending };
            match assembly.conclude(ending, &context) {
                Ok(finish) => {
                    prop_assert!(explained || ending == Ending::Marked || finish.error.is_some());
                    prop_assert!(!text.is_empty() || finish.state == State::Filtered);
                    prop_assert!(finish.state != State::Error);
                }
                Err(failure) => prop_assert!(!failure.error.headline().is_empty()),
            }
        }
    }

    #[test]
    fn usage_that_no_reader_of_the_file_could_read_is_not_kept() {
        let deep = format!("{}{}", "[".repeat(127), "]".repeat(127));
        for (usage, kept) in [
            (r#"{"a":1}"#, Some(r#"{"a":1}"#)),
            ("{\"a\":\n1}", Some(r#"{"a": 1}"#)),
            (r#"{"b":2,"a":1e999}"#, Some(r#"{"b":2}"#)),
            (r#"{"a":"\ud800","b":2}"#, Some(r#"{"b":2}"#)),
            ("1e999", None),
            (&*deep, None),
        ] {
            let raw = RawValue::from_string(usage.to_owned()).unwrap();
            let stored = storable(&raw);
            assert_eq!(stored.as_deref().map(RawValue::get), kept, "{usage}");
        }
    }
}
