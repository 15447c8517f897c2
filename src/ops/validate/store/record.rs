//! One line of a conversation: what it says, or what is wrong with it.
//!
//! Layer: ops. A line is refused here if and only if [`Record::parse`] refuses it, which is
//! what makes every reader pass it over; but its texts are not kept, which is most of the work.
//!
//! [`Record::parse`]: crate::model::record::Record::parse

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use serde::de::{IgnoredAny, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::model::record::{Charge, Header, Latency, Rewind, Role, Set};
use crate::model::reply::State;
use crate::model::time;
use crate::model::usd::Usd;

/// What a line says, as far as other lines depend on it.
#[derive(Debug)]
pub(super) enum Said {
    /// It is a header.
    Header(Box<Header>),
    /// It is a message.
    Message(Message),
    /// It changes metadata; these keys of it are not known.
    Set(Vec<String>),
    /// It takes back what came after this message.
    Rewind(u64),
    /// It says what this message cost.
    Charge(u64),
    /// It is of a later version.
    Unknown,
}

/// What matters of a message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Message {
    pub n: u64,
    pub role: Role,
    pub at: Timestamp,
    pub state: Option<State>,
    /// Whether its content is text or a list of parts.
    pub has_content: bool,
}

/// What is wrong with a line: a code, and the cause.
pub(super) type Fault = (&'static str, String);

/// A string whose text does not matter. It is decoded, because a wrong escape makes it none.
#[derive(Clone, Copy)]
struct Text;

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyText;
        impl Visitor<'_> for AnyText {
            type Value = Text;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_str<E>(self, _text: &str) -> Result<Text, E> {
                Ok(Text)
            }
        }
        deserializer.deserialize_str(AnyText)
    }
}

/// The fields of a message, in the types of [`crate::model::record::Message`] but for texts.
#[derive(Deserialize)]
struct Fields<'a> {
    n: u64,
    role: Role,
    #[serde(borrow)]
    content: &'a RawValue,
    #[serde(with = "time")]
    at: Timestamp,
    #[serde(default)]
    state: Option<State>,
    #[serde(default, rename = "finish_reason")]
    _finish_reason: Option<Text>,
    #[serde(default, rename = "native_finish_reason")]
    _native_finish_reason: Option<Text>,
    #[serde(default, rename = "model")]
    _model: Option<Text>,
    #[serde(default, rename = "provider")]
    _provider: Option<Text>,
    #[serde(default, rename = "generation_id")]
    _generation_id: Option<Text>,
    #[serde(default, rename = "usage")]
    _usage: Option<IgnoredAny>,
    #[serde(default, rename = "cost")]
    _cost: Option<Usd>,
    #[serde(default, rename = "latency_ms")]
    _latency_ms: Option<Latency>,
    #[serde(default, rename = "reasoning")]
    _reasoning: Option<Text>,
    #[serde(default, rename = "error")]
    _error: Option<Text>,
}

/// Reads a line, without its line feed.
pub(super) fn read(line: &[u8]) -> Result<Said, Vec<Fault>> {
    let text = std::str::from_utf8(line).map_err(|_| diagnose(line))?;
    parse(text).map_err(|_| diagnose(line))
}

fn parse(text: &str) -> Result<Said, serde_json::Error> {
    #[derive(Deserialize)]
    struct Tag<'a> {
        #[serde(borrow, rename = "type")]
        tag: Cow<'a, str>,
    }
    if text.starts_with(r#"{"type":"message","#) {
        return message(text);
    }
    if text.starts_with(r#"{"type":"conversation","#) {
        return Ok(Said::Header(serde_json::from_str(text)?));
    }
    let tag: Tag<'_> = serde_json::from_str(text)?;
    Ok(match tag.tag.as_ref() {
        "conversation" => Said::Header(serde_json::from_str(text)?),
        "message" => message(text)?,
        "set" => {
            serde_json::from_str::<Set>(text)?;
            Said::Set(unknown_keys(text)?)
        }
        "rewind" => Said::Rewind(serde_json::from_str::<Rewind>(text)?.to),
        "charge" => Said::Charge(serde_json::from_str::<Charge>(text)?.n),
        _ => Said::Unknown,
    })
}

fn message(text: &str) -> Result<Said, serde_json::Error> {
    let fields: Fields<'_> = serde_json::from_str(text)?;
    Ok(Said::Message(Message {
        n: fields.n,
        role: fields.role,
        at: fields.at,
        state: fields.state,
        has_content: fields.content.get().starts_with(['"', '[']),
    }))
}

fn unknown_keys(text: &str) -> Result<Vec<String>, serde_json::Error> {
    const KNOWN: [&str; 5] = ["type", "title", "model", "system", "tags"];
    // Values that readers pass over are passed over, whatever they are.
    let keys: BTreeMap<String, &RawValue> = serde_json::from_str(text)?;
    let unknown = keys.into_keys();
    Ok(unknown.filter(|key| !KNOWN.contains(&&**key)).collect())
}

/// Says what is wrong with a line that cannot be read: at least one thing.
fn diagnose(line: &[u8]) -> Vec<Fault> {
    let one = |code, cause: String| vec![(code, cause)];
    let zeros = memchr::memchr_iter(0, line).count();
    if zeros > 0 {
        let cause = if zeros == line.len() {
            format!("it consists of {zeros} NUL bytes, as a crash of the machine leaves them")
        } else {
            format!("it holds {zeros} NUL bytes, as a crash of the machine leaves them")
        };
        return one("store.nul", cause);
    }
    let text = match std::str::from_utf8(line) {
        Ok(text) => text,
        Err(error) => {
            let at = error.valid_up_to() + 1;
            return one(
                "store.not-utf8",
                format!("it is not UTF-8 from byte {at} on"),
            );
        }
    };
    if text.trim().is_empty() {
        return one("store.not-json", "it is empty".into());
    }
    let value: Value = match serde_json::from_str(text) {
        Ok(value) => value,
        Err(error) => {
            let (why, at) = (without_place(&error), error.column());
            return one(
                "store.not-json",
                format!("it is not JSON: {why} (byte {at})"),
            );
        }
    };
    let Some(tag) = value.get("type").and_then(Value::as_str) else {
        let cause = if value.is_object() {
            "it has no `type`"
        } else {
            "it is not a JSON object"
        };
        return one("store.not-a-record", cause.into());
    };
    let mut faults = if tag == "message" {
        faults_of_message(&value)
    } else {
        Vec::new()
    };
    if faults.is_empty() {
        let why = parse(text).err();
        let why = why.map_or_else(String::new, |error| format!(": {}", without_place(&error)));
        faults.push((
            "store.field",
            format!("its `{tag}` record cannot be read{why}"),
        ));
    }
    faults
}

fn faults_of_message(value: &Value) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut check =
        |code, name: &str, is_needed: bool, what: &str, is_right: fn(&Value) -> bool| match value
            .get(name)
        {
            Some(field) if is_right(field) || (!is_needed && field.is_null()) => {}
            Some(field) => faults.push((
                code,
                format!("its `{name}` is not {what}: {}", shown(field)),
            )),
            None if is_needed => faults.push((code, format!("a message without `{name}`"))),
            None => {}
        };
    check("store.number", "n", true, "a whole number", Value::is_u64);
    check(
        "store.role",
        "role",
        true,
        "`system`, `user` or `assistant`",
        |role| Role::deserialize(role).is_ok(),
    );
    check("store.content", "content", true, "anything", |_| true);
    check("store.time", "at", true, "a time of RFC 3339", |at| {
        time::deserialize(at).is_ok()
    });
    check("store.state", "state", false, "a known state", |state| {
        State::deserialize(state).is_ok()
    });
    faults
}

/// A value as it stands there, cut.
fn shown(value: &Value) -> String {
    const LONGEST: usize = 40;
    let text = value.to_string();
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// What a parser says without its line, which is always 1.
fn without_place(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rfind(" at line ") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::record::Record;
    use proptest::prelude::*;

    fn codes(line: &[u8]) -> Vec<&'static str> {
        match read(line) {
            Ok(_) => Vec::new(),
            Err(faults) => faults.into_iter().map(|(code, _)| code).collect(),
        }
    }

    #[test]
    fn what_is_wrong_has_a_code() {
        let message = |fields: &str| format!(r#"{{"type":"message",{fields}}}"#).into_bytes();
        let at = r#""at":"2026-08-22T09:41:07Z""#;
        for (line, expected) in [
            (
                message(&format!(r#""n":1,"role":"user","content":"x",{at}"#)),
                &[][..],
            ),
            (b"\0\0\0".to_vec(), &["store.nul"]),
            (b"{\"type\":\"x\"\0}".to_vec(), &["store.nul"]),
            (b"{\"type\":\"\xff\"}".to_vec(), &["store.not-utf8"]),
            (b"".to_vec(), &["store.not-json"]),
            (b"{\"type\":".to_vec(), &["store.not-json"]),
            (b"[1]".to_vec(), &["store.not-a-record"]),
            (b"{\"n\":1}".to_vec(), &["store.not-a-record"]),
            (
                message(&format!(r#""role":"user","content":"x",{at}"#)),
                &["store.number"],
            ),
            (
                message(&format!(r#""n":-1,"role":"user","content":"x",{at}"#)),
                &["store.number"],
            ),
            (
                message(&format!(r#""n":1,"role":"tool","content":"x",{at}"#)),
                &["store.role"],
            ),
            (
                message(&format!(r#""n":1,"role":"user",{at}"#)),
                &["store.content"],
            ),
            (
                message(r#""n":1,"role":"user","content":"x""#),
                &["store.time"],
            ),
            (
                message(r#""n":1,"role":"user","content":"x","at":"yesterday""#),
                &["store.time"],
            ),
            (
                message(&format!(
                    r#""n":1,"role":"assistant","content":"x",{at},"state":"done""#
                )),
                &["store.state"],
            ),
            (
                message(&format!(
                    r#""n":1,"role":"assistant","content":"x",{at},"cost":[]"#
                )),
                &["store.field"],
            ),
            (
                message(r#""n":1"#),
                &["store.role", "store.content", "store.time"],
            ),
            (b"{\"type\":\"rewind\"}".to_vec(), &["store.field"]),
            (b"{\"type\":\"set\",\"title\":7}".to_vec(), &["store.field"]),
        ] {
            assert_eq!(codes(&line), expected, "{}", String::from_utf8_lossy(&line));
        }
    }

    #[test]
    fn unknown_keys_of_a_change_are_named() {
        let Ok(Said::Set(keys)) = read(br#"{"type":"set","title":"t","colour":"red"}"#) else {
            panic!("not a change");
        };
        assert_eq!(keys, ["colour"]);
        // A number that no program here can hold is nobody's concern where nobody reads it.
        assert!(read(br#"{"type":"set","n":1e999}"#).is_ok());
    }

    proptest! {
        #[test]
        fn a_line_is_refused_if_readers_refuse_it(
            line in prop_oneof![
                "\\{\"type\":\"(message|set|rewind|conversation|charge|x)\"(,\"(n|to|role|content|usage|at|state|cost|model|reasoning|latency_ms|title|tags|version|id)\":(-?[0-9]{1,22}|1e999|\"[a-z]{0,3}\"|\"user\"|\"assistant\"|\"complete\"|\"2026-08-22T09:41:07Z\"|\"\\\\\\\\ud800\"|\"0\\.1\"|null|\\[\\]|\\{\\}|\\[\"a\"\\]|\\{\"total\":1\\})){0,6}\\}",
                "\\{\"type\":\"message\",\"n\":1,\"role\":\"assistant\",\"content\":(\"a\"|\\[\\]|null|1),\"at\":\"2026-08-22T09:41:07(\\.123)?Z\"(,\"(state|cost|model|reasoning|latency_ms|usage|error)\":(null|\"complete\"|\"0\\.1\"|0\\.1|\\{\"total\":1\\}|\"\\\\\\\\ud800\"|7)){0,3}\\}",
                "[ -~]{0,30}",
            ],
        ) {
            let refused = read(line.as_bytes()).is_err();
            prop_assert_eq!(refused, Record::parse(&line).is_err(), "{}", line);
        }
    }
}
