//! A request for a reply, before it takes the shape a certain server wants.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::record::Role;

/// One message as it goes out.
#[derive(Clone, Debug, Serialize)]
pub struct Outgoing<'a> {
    /// Who says it.
    pub role: Role,
    /// The content as JSON, borrowed from the conversation where it can be.
    pub content: Cow<'a, RawValue>,
}

/// What to ask a server for.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// The model, and after it the models to fall back on, in order. Never empty.
    pub models: &'a [String],
    /// The context: system prompt first, the new prompt last.
    pub messages: Vec<Outgoing<'a>>,
    /// Whether the reply is to come piece by piece.
    pub stream: bool,
    /// The most tokens the reply may have.
    pub max_tokens: Option<u32>,
    /// Sampling temperature, 0 to 2.
    pub temperature: Option<f64>,
    /// Further fields of the request body, as the person gave them.
    pub options: &'a Map<String, Value>,
    /// The conversation, for servers that keep their caches warm by it.
    pub session: Option<&'a str>,
}
