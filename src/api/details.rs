//! What a server says about a failure, whatever shape it says it in.
//!
//! Layer: `api`. Shapes seen: `{"error":{message,code,type,metadata,availability}}` with
//! the code as a number, a text or missing; `{"error":"text"}`; `{"detail":…}`;
//! `{"message":…}`; a bare text; a list of one; HTML; nothing.

use serde_json::Value;

/// The parts of an error body that pachat uses. Empty where there is nothing.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Details {
    /// The most telling text.
    pub(super) message: String,
    /// The status that the server means, from 400 to 599.
    pub(super) status: Option<u16>,
    /// `code` if it is a word, `type`, `error_type` and the like, joined by spaces.
    pub(super) words: String,
    /// Who failed behind the server.
    pub(super) provider: Option<String>,
    /// Why a filter refused, and the beginning of what it did not like.
    pub(super) reasons: Vec<String>,
    pub(super) flagged: Option<String>,
    /// Models that would do instead.
    pub(super) alternatives: Vec<String>,
    /// What keeps the model from being used: a setting of the account, a wish of the request.
    pub(super) excluded_by: Vec<String>,
    /// Whether the server itself says that trying again helps.
    pub(super) retryable: Option<bool>,
    /// When a quota is filled up again, in milliseconds since 1970.
    pub(super) reset_ms: Option<i64>,
    /// Tokens of the prompt, and tokens that fit.
    pub(super) tokens: Option<(u64, u64)>,
}

impl Details {
    /// Reads a response body.
    pub(super) fn from_body(body: &str) -> Self {
        match serde_json::from_str::<Value>(body) {
            Ok(value) => Self::from_value(&value),
            Err(_) => Self {
                message: if looks_like_html(body) {
                    html_title(body)
                } else {
                    body.trim().to_owned()
                },
                ..Self::default()
            },
        }
    }

    /// Reads an error event, or the `error` of a chunk.
    pub(super) fn from_value(root: &Value) -> Self {
        let root = root.get(0).unwrap_or(root);
        let error = root
            .get("error")
            .filter(|error| !error.is_null())
            .unwrap_or(root);
        let metadata = error.get("metadata").unwrap_or(&Value::Null);
        let availability = [error.get("availability"), root.get("availability")]
            .into_iter()
            .flatten()
            .find(|value| value.is_object())
            .unwrap_or(&Value::Null);
        let mut details = Self {
            message: message(error, root, metadata),
            status: [
                error.get("code"),
                error.get("http_status"),
                error.get("status"),
                root.get("code"),
                root.get("status"),
            ]
            .into_iter()
            .flatten()
            .find_map(status),
            words: String::new(),
            provider: metadata.get("provider_name").and_then(text),
            reasons: [metadata.get("reasons"), metadata.get("patterns")]
                .into_iter()
                .flat_map(texts)
                .collect(),
            flagged: metadata.get("flagged_input").and_then(text),
            alternatives: texts(availability.get("fallback_models")),
            excluded_by: [
                availability.get("excluded_by"),
                availability.get("constraint"),
            ]
            .into_iter()
            .flat_map(texts)
            .collect(),
            retryable: availability.get("retryable").and_then(Value::as_bool),
            reset_ms: metadata
                .pointer("/headers/X-RateLimit-Reset")
                .and_then(|reset| {
                    reset
                        .as_i64()
                        .or_else(|| reset.as_str()?.trim().parse().ok())
                }),
            tokens: tokens(error),
        };
        if details.provider.is_none() {
            details.provider = root.get("provider").and_then(text);
        }
        for value in [
            error.get("code"),
            error.get("type"),
            error.get("error_type"),
            metadata.get("error_type"),
            metadata.get("limit_source"),
            availability.get("code"),
        ]
        .into_iter()
        .flatten()
        {
            // LiteLLM writes Python's None as text.
            if let Some(word) = text(value).filter(|word| word != "None") {
                details.words.push_str(&word);
                details.words.push(' ');
            }
        }
        details
    }

    /// Whether message or words contain one of these, in any case.
    pub(super) fn mentions(&self, needles: &[&str]) -> bool {
        let message = self.message.to_lowercase();
        let words = self.words.to_lowercase();
        needles
            .iter()
            .any(|needle| message.contains(needle) || words.contains(needle))
    }

    /// The number after "can only afford", in the message of a 402.
    pub(super) fn affordable_tokens(&self) -> Option<u64> {
        let at = self.message.find("can only afford")?;
        let digits: String = self.message[at..]
            .chars()
            .skip_while(|character| !character.is_ascii_digit())
            .take_while(|character| character.is_ascii_digit() || *character == ',')
            .filter(char::is_ascii_digit)
            .collect();
        digits.parse().ok().filter(|count| *count > 0)
    }
}

/// Whether a body is a web page.
pub(super) fn looks_like_html(body: &str) -> bool {
    let start = body.trim_start_matches('\u{feff}').trim_start();
    start.starts_with('<')
}

fn html_title(body: &str) -> String {
    let lower = body.to_ascii_lowercase();
    let title = lower.find("<title").and_then(|at| {
        let start = at + lower[at..].find('>')? + 1;
        let end = start + lower[start..].find('<')?;
        // The same places in the original: ASCII lower case keeps lengths.
        body.get(start..end)
    });
    title.unwrap_or("a web page").trim().to_owned()
}

fn text(value: &Value) -> Option<String> {
    value
        .as_str()
        .map(str::trim)
        .filter(|text| !text.is_empty())
        .map(str::to_owned)
}

/// The texts of a list, or a text that stands alone.
fn texts(value: Option<&Value>) -> Vec<String> {
    match value {
        Some(Value::Array(list)) => list.iter().filter_map(text).collect(),
        Some(alone) => text(alone).into_iter().collect(),
        None => Vec::new(),
    }
}

fn status(value: &Value) -> Option<u16> {
    let number = value
        .as_u64()
        .or_else(|| value.as_str()?.trim().parse().ok())?;
    u16::try_from(number)
        .ok()
        .filter(|status| (400..600).contains(status))
}

/// The most telling text: not the one that only says that there was an error.
fn message(error: &Value, root: &Value, metadata: &Value) -> String {
    let said = [
        error.get("message"),
        error.get("detail"),
        error.get("msg"),
        root.get("message"),
        root.get("detail"),
    ]
    .into_iter()
    .flatten()
    .chain(Some(error))
    .find_map(dig)
    .unwrap_or_default();
    let says_nothing = said.is_empty() || said.eq_ignore_ascii_case("provider returned error");
    match metadata.get("raw").and_then(dig) {
        Some(raw) if says_nothing => raw,
        _ => said,
    }
}

/// The text in a value that may be text, JSON in a text, an object or a list.
fn dig(value: &Value) -> Option<String> {
    match value {
        Value::String(said) => {
            let said = said.trim();
            if said.starts_with('{')
                && let Ok(inner) = serde_json::from_str::<Value>(said)
                && let Some(found) = dig(&inner)
            {
                return Some(found);
            }
            Some(said.to_owned()).filter(|said| !said.is_empty())
        }
        Value::Object(object) => ["error", "message", "detail", "msg"]
            .into_iter()
            .filter_map(|key| object.get(key))
            .find_map(dig),
        // FastAPI lists what is wrong with a request.
        Value::Array(list) => {
            let all: Vec<String> = list.iter().filter_map(dig).take(3).collect();
            Some(all.join("; ")).filter(|all| !all.is_empty())
        }
        _ => None,
    }
}

/// llama.cpp tells how long the prompt is and what fits.
fn tokens(error: &Value) -> Option<(u64, u64)> {
    Some((
        error.get("n_prompt_tokens")?.as_u64()?,
        error.get("n_ctx")?.as_u64()?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_gives_its_message_and_status() {
        for (body, message, status) in [
            (r#"{"error":{"message":"m","code":401}}"#, "m", Some(401)),
            (
                r#"{"error":{"message":"m","code":"429","type":"None"}}"#,
                "m",
                Some(429),
            ),
            (r#"{"error":{"message":"m","code":null}}"#, "m", None),
            (
                r#"{"error":{"message":"m","code":"server_error"}}"#,
                "m",
                None,
            ),
            (r#"{"error":"text"}"#, "text", None),
            (
                r#"{"error":{"error_type":"x","http_status":404,"message":"m"}}"#,
                "m",
                Some(404),
            ),
            (r#"{"detail":"Not Found"}"#, "Not Found", None),
            (
                r#"{"detail":[{"loc":["a"],"msg":"field required"}]}"#,
                "field required",
                None,
            ),
            (r#"{"message":"m"}"#, "m", None),
            (
                r#"{"object":"error","message":"m","code":400}"#,
                "m",
                Some(400),
            ),
            (r#"[{"error":{"message":"m","code":400}}]"#, "m", Some(400)),
            (r#""bare""#, "bare", None),
            ("plain text\n", "plain text", None),
            ("", "", None),
            ("{}", "", None),
            ("null", "", None),
            (
                "<html><head><TITLE>502 Bad Gateway</title>",
                "502 Bad Gateway",
                None,
            ),
            ("<!doctype html>\n<p>x", "a web page", None),
            (
                r#"{"error":{"message":"Provider returned error","code":429,"metadata":{"raw":"{\"error\":{\"message\":\"slow down\"}}","provider_name":"P"}}}"#,
                "slow down",
                Some(429),
            ),
            (
                r#"{"error":{"message":"Provider returned error","metadata":{"raw":""}}}"#,
                "Provider returned error",
                None,
            ),
            (
                r#"{"error":{"message":"Compute error."},"message":"z"}"#,
                "Compute error.",
                None,
            ),
        ] {
            let details = Details::from_body(body);
            assert_eq!(
                (details.message.as_str(), details.status),
                (message, status),
                "{body}"
            );
        }
    }

    #[test]
    fn the_telling_parts_are_found() {
        let details = Details::from_body(
            r#"{"error":{"code":402,"message":"This request requires more credits, or fewer max_tokens. You requested up to 65536 tokens, but can only afford 30104."}}"#,
        );
        assert_eq!(details.affordable_tokens(), Some(30104));
        let details = Details::from_body(
            r#"{"error":{"code":429,"message":"Rate limit exceeded: free-models-per-day","metadata":{"headers":{"X-RateLimit-Reset":"1787616000000"},"limit_source":"openrouter_free_tier_daily"}}}"#,
        );
        assert_eq!(details.reset_ms, Some(1_787_616_000_000));
        assert!(details.mentions(&["free_tier_daily"]));
        let details = Details::from_body(
            r#"{"error":{"message":"m","availability":{"code":"no_endpoints","retryable":false,"fallback_models":["a/b",7]}}}"#,
        );
        assert_eq!(details.alternatives, ["a/b"]);
        assert_eq!(details.retryable, Some(false));
    }
}
