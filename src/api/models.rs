//! The list of models that a server has.
//!
//! Layer: `api`. Reads OpenRouter's list with prices and limits, and the bare lists of
//! other servers. An entry that cannot be read is left out, never a reason to fail.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::model::error::{Error, Kind, Result};
use crate::model::usd::Usd;

/// The path of the list, below the base URL.
pub const PATH: &str = "/models";

/// What is known about a model. The form is also that of the cache file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelInfo {
    /// What to name in a request.
    pub id: String,
    /// What people call it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Tokens that fit into prompt and reply together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context_length: Option<u64>,
    /// The most tokens of one reply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_completion_tokens: Option<u64>,
    /// Price of one prompt token; `None` if unknown or varying.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_price: Option<Usd>,
    /// Price of one token of the reply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_price: Option<Usd>,
    /// Whether tokens are known to cost nothing.
    #[serde(default)]
    pub free: bool,
    /// The day it goes away, `YYYY-MM-DD`, if one is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
}

/// Reads a list as a server sends it, in its order and without repetitions.
pub fn parse(json: &[u8]) -> Result<Vec<ModelInfo>> {
    let foreign = || {
        Error::new(Kind::Incomplete, "the list of models cannot be read")
            .why("the answer is not a list of models")
            .hint("check the base URL; it usually ends in /v1")
    };
    let entries = std::str::from_utf8(json).ok().and_then(entries);
    let mut seen = std::collections::HashSet::new();
    Ok(entries
        .ok_or_else(foreign)?
        .into_iter()
        .filter_map(|entry| model(&serde_json::from_str(entry.get()).ok()?))
        .filter(|model| seen.insert(model.id.clone()))
        .collect())
}

/// The entries of a list, unread, so that one with a number out of range costs only itself.
fn entries(json: &str) -> Option<Vec<&RawValue>> {
    #[derive(Deserialize)]
    struct Wrapper<'a> {
        #[serde(borrow, default)]
        data: Option<&'a RawValue>,
        #[serde(borrow, default)]
        models: Option<&'a RawValue>,
    }
    // OpenAI and nearly everyone: `data`. Ollama's own list: `models`. Together: no wrapper.
    if let Ok(bare) = serde_json::from_str(json) {
        return Some(bare);
    }
    let wrapper: Wrapper<'_> = serde_json::from_str(json).ok()?;
    [wrapper.data, wrapper.models]
        .into_iter()
        .flatten()
        .find_map(|list| serde_json::from_str(list.get()).ok())
}

fn model(entry: &Value) -> Option<ModelInfo> {
    let text = |value: Option<&Value>| {
        value
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
            .map(str::to_owned)
    };
    let id = text(entry.get("id"))
        .or_else(|| text(entry.get("name")))
        .or_else(|| text(Some(entry)))?;
    let provider = entry.get("top_provider");
    let limits = [
        entry.get("context_length"),
        provider.and_then(|provider| provider.get("context_length")),
        // llama.cpp, and vLLM.
        entry.pointer("/meta/n_ctx"),
        entry.get("max_model_len"),
    ];
    let prompt_price = price(entry.pointer("/pricing/prompt"));
    let completion_price = price(entry.pointer("/pricing/completion"));
    let is_zero = |price| price == Some(Usd::ZERO);
    Some(ModelInfo {
        name: text(entry.get("name")).filter(|name| *name != id),
        // The smaller one is what certainly fits.
        context_length: limits.into_iter().filter_map(count).min(),
        max_completion_tokens: count(
            provider.and_then(|provider| provider.get("max_completion_tokens")),
        ),
        free: is_zero(prompt_price) && is_zero(completion_price),
        prompt_price,
        completion_price,
        expires: text(entry.get("expiration_date")),
        id,
    })
}

fn count(value: Option<&Value>) -> Option<u64> {
    let value = value?;
    let whole = value.as_u64().or_else(|| {
        // A whole number that was written as a float or as text.
        let text = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        text.strip_suffix(".0").unwrap_or(&text).parse().ok()
    });
    whole.filter(|count| *count > 0)
}

/// A price per token. Negative means "varies", which is as good as unknown.
fn price(value: Option<&Value>) -> Option<Usd> {
    let value = value?;
    let text = value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned);
    text.parse().ok().filter(|price: &Usd| !price.is_negative())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(json: &str) -> ModelInfo {
        parse(format!(r#"{{"data":[{json}]}}"#).as_bytes())
            .unwrap()
            .remove(0)
    }

    #[test]
    fn openrouter_tells_prices_and_the_smaller_context() {
        let model = one(
            r#"{"id":"anthropic/claude-sonnet-4","name":"Claude Sonnet 4","context_length":1000000,
            "pricing":{"prompt":"0.000003","completion":"0.000015","image":"0"},
            "top_provider":{"context_length":200000,"max_completion_tokens":64000},"expiration_date":null}"#,
        );
        assert_eq!(model.context_length, Some(200_000));
        assert_eq!(model.max_completion_tokens, Some(64_000));
        assert_eq!(model.prompt_price.unwrap().to_string(), "0.000003");
        assert!(!model.free);
    }

    #[test]
    fn odd_prices_are_unknown_and_zero_is_free() {
        for (pricing, prompt, free) in [
            (r#"{"prompt":"-1","completion":"-1"}"#, None, false),
            (r#"{"prompt":null}"#, None, false),
            ("{}", None, false),
            ("null", None, false),
            (r#"{"prompt":"0","completion":"0"}"#, Some("0"), true),
            (
                r#"{"prompt":"1e-7","completion":0}"#,
                Some("0.0000001"),
                false,
            ),
            (
                r#"{"prompt":5e-9,"completion":"NaN"}"#,
                Some("0.000000005"),
                false,
            ),
        ] {
            let model = one(&format!(r#"{{"id":"m","pricing":{pricing}}}"#));
            assert_eq!(
                model.prompt_price.map(|price| price.to_string()).as_deref(),
                prompt,
                "{pricing}"
            );
            assert_eq!(model.free, free, "{pricing}");
        }
    }

    #[test]
    fn other_servers_and_odd_entries() {
        let llama = br#"{"models":[{"name":"x"}],"object":"list","data":[{"id":"gemma","meta":{"n_ctx":2048,"n_ctx_train":32768}}]}"#;
        let models = parse(llama).unwrap();
        assert_eq!(
            (models[0].id.as_str(), models[0].context_length),
            ("gemma", Some(2048))
        );
        let ids = |json: &str| -> Vec<String> {
            parse(json.as_bytes())
                .unwrap()
                .into_iter()
                .map(|model| model.id)
                .collect()
        };
        assert_eq!(ids(r#"{"models":[{"name":"llama3:8b"}]}"#), ["llama3:8b"]);
        assert_eq!(ids(r#"[{"id":"a"},{"id":"b"},{"id":"a"}]"#), ["a", "b"]);
        assert_eq!(
            ids(r#"{"data":[7,null,{},{"id":""},{"id":"c","context_length":"x"}]}"#),
            ["c"]
        );
        assert!(ids(r#"{"data":[]}"#).is_empty());
        for foreign in ["", "<html>", "{}", r#"{"data":null}"#, "7"] {
            assert_eq!(
                parse(foreign.as_bytes()).unwrap_err().kind(),
                Kind::Incomplete
            );
        }
    }

    #[test]
    fn the_cache_gives_back_what_was_put_in() {
        let model = one(r#"{"id":"m","name":"M","pricing":{"prompt":"0.1"}}"#);
        let json = serde_json::to_string(&model).unwrap();
        assert_eq!(serde_json::from_str::<ModelInfo>(&json).unwrap(), model);
    }
}
