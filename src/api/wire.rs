//! Chunks and completions as servers send them, read tolerantly.
//!
//! Layer: `api`. Every server differs a little: fields are missing, null, repeated, or of
//! another type. So each field takes any JSON and keeps what it can use; a chunk is only
//! malformed if it is not JSON at all. What is used is borrowed from the text, because a
//! long reply is tens of thousands of chunks.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// A piece of a streamed reply, or a whole one that was not streamed.
#[derive(Debug, Default)]
pub struct Chunk<'a> {
    /// The server's id of the reply.
    pub id: Text<'a>,
    /// The model that answers.
    pub model: Text<'a>,
    /// Who runs it (OpenRouter).
    pub provider: Text<'a>,
    /// What kind of object this is; vLLM sends `error` here.
    pub object: Text<'a>,
    /// The failure, whatever its shape.
    pub error: Option<&'a RawValue>,
    /// Token counts.
    pub usage: Option<&'a RawValue>,
    /// The first choice, if there is any. pachat never asks for a second one.
    pub choice: Option<Choice<'a>>,
}

/// One answer to the request.
#[derive(Debug, Default)]
pub struct Choice<'a> {
    /// What is new, in a stream.
    pub delta: Option<Words<'a>>,
    /// The whole message, outside a stream.
    pub message: Option<Words<'a>>,
    /// Text in the older completions format, which some proxies keep sending.
    pub text: Text<'a>,
    /// Why the model stopped.
    pub finish_reason: Text<'a>,
    /// The same in the words of the server behind the server.
    pub native_finish_reason: Text<'a>,
    /// A failure of this choice alone.
    pub error: Option<&'a RawValue>,
}

/// What the model says.
#[derive(Debug, Default)]
pub struct Words<'a> {
    /// The answer.
    pub content: Text<'a>,
    /// Thoughts before it, in the field that OpenRouter, Ollama and newer vLLM use.
    pub reasoning: Text<'a>,
    /// Thoughts before it, in the field that llama.cpp, DeepSeek and older vLLM use.
    pub reasoning_content: Text<'a>,
    /// Why it will not answer.
    pub refusal: Text<'a>,
    /// The tools that it wants to call, if any.
    pub tool_call: Option<&'a RawValue>,
}

impl Words<'_> {
    /// The thoughts, whichever field they came in.
    pub fn thoughts(&self) -> &str {
        match self.reasoning.as_str() {
            "" => self.reasoning_content.as_str(),
            thoughts => thoughts,
        }
    }
}

impl<'a> Chunk<'a> {
    /// Reads a chunk; `None` if it is not a JSON object.
    pub fn parse(json: &'a str) -> Option<Self> {
        serde_json::from_str(json).ok()
    }
}

/// The name of the first tool in `tool_calls`, or in the older `function_call`.
pub(super) fn tool_name(call: &RawValue) -> Option<String> {
    let call: serde_json::Value = serde_json::from_str(call.get()).ok()?;
    let call = call.get(0).unwrap_or(&call);
    let name = call.pointer("/function/name").or_else(|| call.get("name"));
    name?.as_str().map(str::to_owned)
}

/// Text, or nothing: null, numbers and objects are nothing, and of an array of parts the
/// text of each part is taken. Never fails.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text<'a>(Cow<'a, str>);

impl Text<'_> {
    /// The text, empty for nothing.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text, if there is any.
    pub fn some(&self) -> Option<&str> {
        Some(self.as_str()).filter(|text| !text.is_empty())
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Text<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }
    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
        Ok(Text(Cow::Borrowed(text)))
    }
    fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
        Ok(Text(Cow::Owned(text.to_owned())))
    }
    fn visit_unit<E>(self) -> Result<Text<'de>, E> {
        Ok(Text::default())
    }
    fn visit_bool<E>(self, _: bool) -> Result<Text<'de>, E> {
        Ok(Text::default())
    }
    fn visit_i64<E>(self, _: i64) -> Result<Text<'de>, E> {
        Ok(Text::default())
    }
    fn visit_u64<E>(self, _: u64) -> Result<Text<'de>, E> {
        Ok(Text::default())
    }
    fn visit_f64<E>(self, _: f64) -> Result<Text<'de>, E> {
        Ok(Text::default())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Text<'de>, A::Error> {
        let mut all = String::new();
        while let Some(part) = parts.next_element::<Part<'de>>()? {
            all.push_str(part.0.as_str());
        }
        Ok(Text(Cow::Owned(all)))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Text<'de>, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Text::default())
    }
}

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextVisitor)
    }
}

/// An object that is read key by key; anything else counts as an empty one. Unlike
/// derived code this accepts repeated keys (the last one wins) and any type.
trait Object<'de>: Default {
    fn entry<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error>;
}

struct ObjectVisitor<T>(T);

impl<'de, T: Object<'de>> Visitor<'de> for ObjectVisitor<T> {
    /// `None` for what is not an object.
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut object = self.0;
        while let Some(key) = map.next_key::<Text<'de>>()? {
            object.entry(key.as_str(), &mut map)?;
        }
        Ok(Some(object))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }
    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }
}

/// An object, or nothing where there is something else.
struct Maybe<T>(Option<T>);

impl<'de, T: Object<'de>> Deserialize<'de> for Maybe<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer
            .deserialize_any(ObjectVisitor(T::default()))
            .map(Self)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Chunk<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Maybe(chunk) = Maybe::<Chunk<'de>>::deserialize(deserializer)?;
        chunk.ok_or_else(|| serde::de::Error::custom("not an object"))
    }
}

impl<'de> Object<'de> for Chunk<'de> {
    fn entry<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "id" => self.id = map.next_value()?,
            "model" => self.model = map.next_value()?,
            "provider" => self.provider = map.next_value()?,
            "object" => self.object = map.next_value()?,
            "error" => self.error = map.next_value()?,
            "usage" => self.usage = map.next_value()?,
            "choices" => self.choice = map.next_value::<First<'de>>()?.0,
            _ => {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

/// A choice, with its place among the choices.
#[derive(Default)]
struct Placed<'a> {
    index: u64,
    choice: Choice<'a>,
}

impl<'de> Object<'de> for Placed<'de> {
    fn entry<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        let choice = &mut self.choice;
        match key {
            "index" => self.index = map.next_value::<&RawValue>()?.get().parse().unwrap_or(0),
            "delta" => choice.delta = map.next_value::<Maybe<Words<'de>>>()?.0,
            "message" => choice.message = map.next_value::<Maybe<Words<'de>>>()?.0,
            "text" => choice.text = map.next_value()?,
            "finish_reason" => choice.finish_reason = map.next_value()?,
            "native_finish_reason" => choice.native_finish_reason = map.next_value()?,
            "error" => choice.error = map.next_value()?,
            _ => {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

impl<'de> Object<'de> for Words<'de> {
    fn entry<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "content" => self.content = map.next_value()?,
            "reasoning" => self.reasoning = map.next_value()?,
            "reasoning_content" => self.reasoning_content = map.next_value()?,
            "refusal" => self.refusal = map.next_value()?,
            "tool_calls" | "function_call" => {
                let raw = map.next_value::<&'de RawValue>()?;
                if !matches!(raw.get(), "null" | "[]" | "{}" | "\"\"" | "false") {
                    self.tool_call = Some(raw);
                }
            }
            _ => {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

/// The `text` of a content part, or a part that is the text itself.
struct Part<'a>(Text<'a>);

#[derive(Default)]
struct TypedPart<'a>(Text<'a>);

impl<'de> Object<'de> for TypedPart<'de> {
    fn entry<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        if key == "text" {
            self.0 = map.next_value()?;
        } else {
            map.next_value::<IgnoredAny>()?;
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Part<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?.get();
        let text = if raw.starts_with('{') {
            serde_json::from_str::<Maybe<TypedPart<'de>>>(raw)
                .ok()
                .and_then(|part| part.0)
                .map(|part| part.0)
        } else {
            serde_json::from_str(raw).ok()
        };
        Ok(Self(text.unwrap_or_default()))
    }
}

/// The choice with index 0, out of all of them.
struct First<'a>(Option<Choice<'a>>);

struct FirstVisitor;

impl<'de> Visitor<'de> for FirstVisitor {
    type Value = First<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut choices: A) -> Result<First<'de>, A::Error> {
        let mut first = None;
        while let Some(Maybe(placed)) = choices.next_element::<Maybe<Placed<'de>>>()? {
            if let Some(placed) = placed.filter(|placed| placed.index == 0 && first.is_none()) {
                first = Some(placed.choice);
            }
        }
        Ok(First(first))
    }
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<First<'de>, A::Error> {
        let placed = ObjectVisitor(Placed::default()).visit_map(map)?;
        Ok(First(placed.map(|placed| placed.choice)))
    }
    fn visit_str<E>(self, _: &str) -> Result<First<'de>, E> {
        Ok(First(None))
    }
    fn visit_unit<E>(self) -> Result<First<'de>, E> {
        Ok(First(None))
    }
    fn visit_bool<E>(self, _: bool) -> Result<First<'de>, E> {
        Ok(First(None))
    }
    fn visit_i64<E>(self, _: i64) -> Result<First<'de>, E> {
        Ok(First(None))
    }
    fn visit_u64<E>(self, _: u64) -> Result<First<'de>, E> {
        Ok(First(None))
    }
    fn visit_f64<E>(self, _: f64) -> Result<First<'de>, E> {
        Ok(First(None))
    }
}

impl<'de> Deserialize<'de> for First<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FirstVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn content(json: &str) -> String {
        let chunk = Chunk::parse(json).unwrap();
        let choice = chunk.choice.unwrap_or_default();
        choice.delta.unwrap_or_default().content.as_str().to_owned()
    }

    #[test]
    fn content_of_every_type_is_taken_or_passed_over() {
        for (delta, expected) in [
            (r#"{"content":"a\nb"}"#, "a\nb"),
            (r#"{"content":null}"#, ""),
            (r#"{"content":""}"#, ""),
            ("{}", ""),
            ("null", ""),
            ("[]", ""),
            (r#""text""#, ""),
            (r#"{"content":5}"#, ""),
            (r#"{"content":{"a":[1]}}"#, ""),
            (
                r#"{"content":[{"type":"text","text":"a"},{"type":"image_url"},"b",null,{"text":7}]}"#,
                "ab",
            ),
            (r#"{"content":"x","content":"y"}"#, "y"),
            (r#"{"role":7,"content":"z","obfuscation":[[]]}"#, "z"),
        ] {
            let json = format!(r#"{{"choices":[{{"index":0,"delta":{delta}}}]}}"#);
            assert_eq!(content(&json), expected, "{delta}");
        }
    }

    #[test]
    fn choices_of_every_shape() {
        for (choices, expected) in [
            ("[]", ""),
            ("null", ""),
            ("7", ""),
            (r#""x""#, ""),
            ("[null]", ""),
            (r#"[{"delta":{"content":"no index"}}]"#, "no index"),
            (
                r#"[{"index":1,"delta":{"content":"b"}},{"index":0,"delta":{"content":"a"}}]"#,
                "a",
            ),
            (r#"[{"index":"0","delta":{"content":"odd"}}]"#, "odd"),
            (r#"[{"index":0.0,"delta":{"content":"odd"}}]"#, "odd"),
            (r#"{"delta":{"content":"object"}}"#, "object"),
        ] {
            assert_eq!(
                content(&format!(r#"{{"choices":{choices}}}"#)),
                expected,
                "{choices}"
            );
        }
        assert_eq!(content("{}"), "");
    }

    #[test]
    fn the_rest_of_a_chunk() {
        let chunk = Chunk::parse(
            r#"{"id":"gen-1","model":"m","provider":null,"created":1e99,"error":null,"usage":{"a": 1},
               "choices":[{"index":0,"message":{"reasoning":null,"reasoning_content":"hm","refusal":"no",
               "tool_calls":[{"id":1}]},"finish_reason":"stop","native_finish_reason":3}]}"#,
        )
        .unwrap();
        assert_eq!(chunk.id.as_str(), "gen-1");
        assert_eq!(chunk.provider.some(), None);
        assert!(chunk.error.is_none());
        assert_eq!(chunk.usage.unwrap().get(), r#"{"a": 1}"#);
        let choice = chunk.choice.unwrap();
        assert_eq!(choice.finish_reason.some(), Some("stop"));
        assert_eq!(choice.native_finish_reason.some(), None);
        let message = choice.message.unwrap();
        assert_eq!(message.thoughts(), "hm");
        assert_eq!(message.refusal.as_str(), "no");
        assert!(message.tool_call.is_some());
        for bad in ["", "{", "[]", "7", "null", "\"x\"", "{}x"] {
            assert!(Chunk::parse(bad).is_none(), "{bad}");
        }
    }

    /// Any JSON value of a small depth.
    fn json() -> impl Strategy<Value = serde_json::Value> {
        use serde_json::Value;
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".{0,6}".prop_map(Value::from),
        ];
        let key = prop::sample::select(vec![
            "choices",
            "index",
            "delta",
            "content",
            "text",
            "usage",
            "error",
            "message",
            "tool_calls",
        ]);
        leaf.prop_recursive(5, 30, 4, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec((key.clone(), inner), 0..4).prop_map(|entries| {
                    entries
                        .into_iter()
                        .map(|(key, value)| (key.to_owned(), value))
                        .collect()
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn every_json_object_is_a_chunk(value in json()) {
            let text = value.to_string();
            prop_assert_eq!(Chunk::parse(&text).is_some(), value.is_object());
        }
    }
}
