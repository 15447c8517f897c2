//! The body of a request, in the words of the server it goes to.
//!
//! Layer: `api`. Messages are written straight from their stored JSON: nothing is decoded
//! and encoded again, and nothing is copied but into the body itself.

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::json;

use crate::model::request::Request;

use super::profile::Profile;

/// The longest session id that OpenRouter takes.
const LONGEST_SESSION: usize = 256;

/// A model to ask, and the request body for it.
#[derive(Clone, Debug)]
pub struct Body {
    /// The model, for messages about it.
    pub model: String,
    /// The JSON.
    pub json: Vec<u8>,
}

/// The bodies to try in order: one, or one per model where the server itself cannot fall
/// back. The next is tried only if the model before it cannot answer.
pub fn bodies(request: &Request<'_>, profile: Profile) -> Vec<Body> {
    let count = if profile.falls_back() {
        1
    } else {
        request.models.len()
    };
    request.models[..count.min(request.models.len())]
        .iter()
        .map(|model| Body {
            model: model.clone(),
            json: render(&Wire {
                request,
                profile,
                model,
            }),
        })
        .collect()
}

fn render(wire: &Wire<'_, '_>) -> Vec<u8> {
    let content: usize = wire
        .request
        .messages
        .iter()
        .map(|message| message.content.get().len() + 40)
        .sum();
    let mut json = Vec::with_capacity(content + 512);
    serde_json::to_writer(&mut json, wire)
        .expect("keys are strings, numbers are finite, and writing to memory cannot fail");
    json
}

/// A request as it goes out. The person's own options come last and win: a field that
/// they name is not written at all otherwise.
struct Wire<'a, 'b> {
    request: &'a Request<'b>,
    profile: Profile,
    model: &'a str,
}

impl Wire<'_, '_> {
    fn is_free(&self, field: &str) -> bool {
        !self.request.options.contains_key(field)
    }

    /// Neither name of the limit may appear beside the other.
    fn limit_is_free(&self) -> bool {
        self.is_free("max_tokens") && self.is_free("max_completion_tokens")
    }
}

impl Serialize for Wire<'_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let request = self.request;
        let mut map = serializer.serialize_map(None)?;
        if self.is_free("model") {
            map.serialize_entry("model", self.model)?;
        }
        if self.profile.falls_back() && request.models.len() > 1 && self.is_free("models") {
            map.serialize_entry("models", request.models)?;
        }
        if self.is_free("messages") {
            map.serialize_entry("messages", &request.messages)?;
        }
        if self.is_free("stream") {
            map.serialize_entry("stream", &request.stream)?;
        }
        if request.stream && self.profile.asks_for_usage() && self.is_free("stream_options") {
            map.serialize_entry("stream_options", &json!({"include_usage": true}))?;
        }
        if let Some(limit) = request.max_tokens.filter(|_| self.limit_is_free()) {
            map.serialize_entry(self.profile.max_tokens_field(), &limit)?;
        }
        // JSON has no infinities; they would become null and then be refused.
        let temperature = request.temperature.filter(|value| value.is_finite());
        if let Some(temperature) = temperature.filter(|_| self.is_free("temperature")) {
            map.serialize_entry("temperature", &temperature)?;
        }
        let session = request.session.filter(|id| id.len() <= LONGEST_SESSION);
        if let Some(session) = session.filter(|_| self.profile.takes_session())
            && self.is_free("session_id")
        {
            map.serialize_entry("session_id", session)?;
        }
        for (field, value) in request.options {
            map.serialize_entry(field, value)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::record::{Content, Role};
    use crate::model::request::Outgoing;
    use serde_json::{Map, Value};
    use std::borrow::Cow;

    fn rendered(profile: &str, models: &[&str], options: Value) -> Vec<String> {
        let models: Vec<String> = models.iter().map(ToString::to_string).collect();
        let options: Map<String, Value> = serde_json::from_value(options).unwrap();
        let content = Content::text("a \"b\" é");
        let request = Request {
            models: &models,
            messages: vec![Outgoing {
                role: Role::User,
                content: Cow::Borrowed(content.raw()),
            }],
            stream: true,
            max_tokens: Some(9),
            temperature: Some(0.5),
            options: &options,
            session: Some("20260822-094107-zzzzzz"),
        };
        let profile = Profile::new(profile, &"http://localhost:1".parse().unwrap()).unwrap();
        bodies(&request, profile)
            .into_iter()
            .map(|body| String::from_utf8(body.json).unwrap())
            .collect()
    }

    #[test]
    fn openrouter_gets_its_own_fields_and_others_do_not() {
        assert_eq!(
            rendered("openrouter", &["a/b", "c/d"], serde_json::json!({})),
            [
                r#"{"model":"a/b","models":["a/b","c/d"],"messages":[{"role":"user","content":"a \"b\" é"}],"stream":true,"max_tokens":9,"temperature":0.5,"session_id":"20260822-094107-zzzzzz"}"#
            ]
        );
        assert_eq!(
            rendered("openai", &["m", "n"], serde_json::json!({})),
            [
                r#"{"model":"m","messages":[{"role":"user","content":"a \"b\" é"}],"stream":true,"stream_options":{"include_usage":true},"max_completion_tokens":9,"temperature":0.5}"#,
                r#"{"model":"n","messages":[{"role":"user","content":"a \"b\" é"}],"stream":true,"stream_options":{"include_usage":true},"max_completion_tokens":9,"temperature":0.5}"#
            ]
        );
    }

    #[test]
    fn options_win_and_no_field_is_written_twice() {
        let all = rendered(
            "vllm",
            &["m"],
            serde_json::json!({"temperature":1,"max_completion_tokens":5,"stream_options":null,"top_p":0.1}),
        );
        assert_eq!(
            all,
            [
                r#"{"model":"m","messages":[{"role":"user","content":"a \"b\" é"}],"stream":true,"temperature":1,"max_completion_tokens":5,"stream_options":null,"top_p":0.1}"#
            ]
        );
    }
}
