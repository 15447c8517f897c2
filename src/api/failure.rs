//! What a refusal of the server means: the error that is shown, and whether to try again.
//!
//! Layer: `api`. The kind of an error follows from status and words, never from the place
//! it came from, so an error event in a stream is treated as the same error in a response.

use std::iter::Peekable;
use std::str::Chars;
use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::{HeaderMap, HeaderValue, LOCATION};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::model::base_url::BaseUrl;
use crate::model::error::{Error, Kind};
use crate::model::secret::{Secret, redact};
use crate::platform::Clock;

use super::details::{Details, looks_like_html};
use super::profile::Profile;
use super::retry::wanted_wait;

/// The longest text from outside that is shown.
const LONGEST_TEXT: usize = 300;

/// The longest name from outside that is shown: of a model, a provider, a tool.
const LONGEST_NAME: usize = 80;

/// Whether another try may help, before anything of the reply was handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// It cannot.
    Never,
    /// Once: a server that fails like this twice will do so again.
    Once,
    /// After a wait.
    Later,
    /// After as long as the server asks.
    After(Duration),
    /// The server loads its model, which may take minutes.
    Loading,
}

/// A failed request.
#[derive(Debug)]
pub struct Failure {
    /// What the person is shown in the end.
    pub error: Error,
    /// Whether to try again.
    pub retry: Retry,
    /// Whether another model might do.
    pub other_model: bool,
    /// What the person is told when it is tried again.
    pub announcement: String,
}

impl Failure {
    pub(super) fn new(error: Error, retry: Retry) -> Self {
        Self {
            announcement: error.headline(),
            error,
            retry,
            other_model: false,
        }
    }

    #[must_use]
    pub(super) fn announced_as(mut self, announcement: impl Into<String>) -> Self {
        self.announcement = announcement.into();
        self
    }
}

/// What a message about a failure is made from besides the failure itself.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    pub(super) base_url: &'a BaseUrl,
    pub(super) profile: Profile,
    pub(super) key: Option<&'a Secret>,
    pub(super) model: &'a str,
    /// Whether requests go through a proxy.
    pub(super) proxied: bool,
    pub(super) clock: &'a dyn Clock,
}

impl Context<'_> {
    /// A text from outside, safe to show: one line, no control characters, no keys, and
    /// not too long.
    pub(super) fn tidy(&self, text: &str) -> String {
        self.tidy_to(text, LONGEST_TEXT)
    }

    /// The same for a name, which is short if it is one.
    pub(super) fn short(&self, text: &str) -> String {
        self.tidy_to(text, LONGEST_NAME)
    }

    /// The same for the first few of a list.
    fn list(&self, texts: &[String]) -> String {
        let first: Vec<String> = texts.iter().take(5).map(|text| self.short(text)).collect();
        self.tidy(&first.join(", "))
    }

    fn tidy_to(&self, text: &str, longest: usize) -> String {
        // Redacted before it is cut, or half a key would be left.
        let head: String = text.chars().take(LONGEST_TEXT * 8).collect();
        let known: Vec<&Secret> = self.key.into_iter().collect();
        let clean = redact(&one_line(&head), &known);
        if clean.chars().count() <= longest {
            return clean;
        }
        let mut short: String = clean.chars().take(longest - 1).collect();
        short.push('…');
        short
    }
}

/// Drops escape sequences and what reorders text; turns white space into single spaces.
fn one_line(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\u{1b}' => match characters.peek() {
                Some('[') => {
                    characters.next();
                    skip_control_sequence(&mut characters);
                }
                Some(']' | 'P' | 'X' | '^' | '_') => skip_string(&mut characters),
                _ => {}
            },
            '\u{9b}' => skip_control_sequence(&mut characters),
            '\u{90}' | '\u{98}' | '\u{9d}'..='\u{9f}' => skip_string(&mut characters),
            c if c.is_whitespace() => {
                if !out.is_empty() && !out.ends_with(' ') {
                    out.push(' ');
                }
            }
            '\u{200e}'
            | '\u{200f}'
            | '\u{61c}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}' => {}
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out.truncate(out.trim_end().len());
    out
}

/// Skips the parameters of a control sequence and its final byte.
fn skip_control_sequence(characters: &mut Peekable<Chars<'_>>) {
    while characters
        .next_if(|c| ('\u{20}'..='\u{3f}').contains(c))
        .is_some()
    {}
    characters.next_if(|c| ('\u{40}'..='\u{7e}').contains(c));
}

/// Skips a string for the terminal, such as a title, up to its end or that of the line.
fn skip_string(characters: &mut Peekable<Chars<'_>>) {
    while let Some(character) = characters.next_if(|c| *c != '\n') {
        match character {
            '\u{7}' | '\u{9c}' => return,
            '\u{1b}' if characters.next_if_eq(&'\\').is_some() => return,
            _ => {}
        }
    }
}

/// What a response with a status other than 2xx means.
pub fn of_response(
    status: u16,
    headers: &HeaderMap,
    body: &[u8],
    context: &Context<'_>,
) -> Failure {
    if status == 304 {
        // Nobody asked whether anything has changed; a cache in between must be confused.
        let why = "it answered with HTTP 304".to_owned();
        return unavailable(status, &Details::default(), why);
    }
    if (300..400).contains(&status) {
        return redirect(status, headers, context);
    }
    let body = String::from_utf8_lossy(body);
    let mut details = Details::from_body(&body);
    if looks_like_html(&body) && matches!(status, 404 | 405) {
        return Failure::new(not_an_api(context), Retry::Never);
    }
    let header_reset = headers
        .get("x-ratelimit-reset")
        .and_then(|value| value.to_str().ok()?.trim().parse().ok());
    details.reset_ms = details.reset_ms.or(header_reset);
    let mut failure = of_details(status, &details, context);
    let advice = headers.get("x-should-retry").map(HeaderValue::as_bytes);
    match (failure.retry, advice) {
        (Retry::Later, Some(b"false")) => failure.retry = Retry::Never,
        (Retry::Later, _) => {
            if let Some(wait) = wanted_wait(headers, context.clock.now()) {
                failure.retry = Retry::After(wait);
            }
        }
        _ => {}
    }
    failure
}

/// What an error inside a 200 response means; `raw` is the error itself, or the whole
/// event if it has no `error` in it.
pub(super) fn of_event(raw: &RawValue, provider: Option<&str>, context: &Context<'_>) -> Failure {
    let value: Value = serde_json::from_str(raw.get()).unwrap_or_default();
    let mut details = Details::from_value(&value);
    if details.provider.is_none() {
        details.provider = provider.map(str::to_owned);
    }
    let status = details.status.unwrap_or_else(|| status_of_words(&details));
    of_details(status, &details, context)
}

/// The status that an error without a number stands for.
fn status_of_words(details: &Details) -> u16 {
    for (status, words) in [
        (
            401,
            &["authentication", "invalid_api_key", "unauthorized"][..],
        ),
        (402, &["payment_required", "insufficient credits"]),
        (
            429,
            &["rate_limit", "rate limit", "too_many_requests", "quota"],
        ),
        (
            400,
            &[
                "invalid_request",
                "context_length",
                "exceed_context",
                "invalid_prompt",
                "bad request",
            ],
        ),
        (404, &["not_found", "no_endpoints", "model_deprecated"]),
        (503, &["overloaded", "unavailable", "loading model"]),
        (504, &["timeout", "timed out"]),
    ] {
        if details.mentions(words) {
            return status;
        }
    }
    502
}

fn of_details(status: u16, details: &Details, context: &Context<'_>) -> Failure {
    let message = context.tidy(&details.message);
    let by = details.provider.as_deref().map(|name| context.short(name));
    let why = match (message.is_empty(), by) {
        (true, _) => format!("HTTP {status}"),
        (false, Some(by)) => format!("{message} (HTTP {status}, from {by})"),
        (false, None) => format!("{message} (HTTP {status})"),
    };
    let is_key = status == 401 || (matches!(status, 400 | 403) && is_about_key(details));
    let mut failure = if is_key {
        Failure::new(denied(context, why), Retry::Never)
    } else {
        match status {
            402 => Failure::new(no_credit(details, context, why), Retry::Never),
            429 => rate_limited(details, context, why),
            408 | 409 | 425 | 500.. => unavailable(status, details, why),
            _ => refused(status, details, context, &why),
        }
    };
    match (details.retryable, failure.retry) {
        (Some(true), Retry::Never) if !is_key && status != 402 => failure.retry = Retry::Later,
        (Some(false), Retry::Later) => failure.retry = Retry::Never,
        _ => {}
    }
    failure
}

fn is_about_key(details: &Details) -> bool {
    details.mentions(&[
        // LiteLLM without a database answers 400 to a wrong key.
        "no connected db",
        "no_db_connection",
        "auth_error",
        "authentication",
        "api key",
        "api_key",
        "apikey",
        "permission",
        "management key",
        "unauthorized",
    ])
}

fn denied(context: &Context<'_>, why: String) -> Error {
    let origin = context.base_url.origin();
    let error = if context.key.is_some() {
        Error::new(Kind::Denied, format!("{origin} refused the API key"))
    } else {
        Error::new(Kind::Denied, format!("{origin} wants an API key"))
    };
    error
        .why(why)
        .hint("set a valid key with `pachat config key set`")
}

fn no_credit(details: &Details, context: &Context<'_>, why: String) -> Error {
    let place = if context.profile.is_openrouter() {
        " at https://openrouter.ai/settings/credits"
    } else {
        ""
    };
    let hint = match details.affordable_tokens() {
        Some(tokens) => format!("ask for less with `--max-tokens {tokens}`, or add credit{place}"),
        None => format!("add credit{place}"),
    };
    Error::new(Kind::Denied, "the account has not enough credit")
        .why(why)
        .hint(hint)
}

fn rate_limited(details: &Details, context: &Context<'_>, why: String) -> Failure {
    if details.mentions(&["insufficient_quota"]) {
        return Failure::new(no_credit(details, context, why), Retry::Never);
    }
    if details.mentions(&["per-day", "per day", "daily"]) {
        let until = details
            .reset_ms
            .and_then(|reset| Timestamp::from_millisecond(reset).ok())
            .map_or_else(String::new, |at| {
                let at = at.to_zoned(context.clock.zone());
                format!(" at {}", at.strftime("%Y-%m-%d %H:%M %Z"))
            });
        let hint = if context.model.ends_with(":free") {
            let paid = context.short(context.model.trim_end_matches(":free"));
            format!("it is filled up again{until}; until then, `-m {paid}` costs a little")
        } else {
            format!("it is filled up again{until}; until then, use another model")
        };
        let error = Error::new(Kind::Busy, "today's quota is used up")
            .why(why)
            .hint(hint);
        return Failure::new(error, Retry::Never);
    }
    let error = Error::new(Kind::Busy, "the server limits the rate of requests")
        .why(why)
        .hint("try again in a minute, or use another model");
    Failure {
        other_model: true,
        ..Failure::new(error, Retry::Later).announced_as("rate limited (HTTP 429)")
    }
}

fn unavailable(status: u16, details: &Details, why: String) -> Failure {
    if status == 503 && details.mentions(&["loading model"]) {
        let error = Error::new(Kind::Unavailable, "the server is still loading its model")
            .why(why)
            .hint("try again in a minute");
        return Failure::new(error, Retry::Loading).announced_as("the server is loading its model");
    }
    let announcement = match status {
        408 | 504 | 524 => "server too slow",
        409 => "conflict on the server",
        503 | 529 => "server busy",
        _ => "server error",
    };
    let error = Error::new(Kind::Unavailable, "the server cannot answer now")
        .why(why)
        .hint("try again later, or use another model");
    Failure {
        other_model: true,
        ..Failure::new(error, Retry::Later).announced_as(format!("{announcement} (HTTP {status})"))
    }
}

/// What the server will not do, however often it is asked.
fn refused(status: u16, details: &Details, context: &Context<'_>, why: &str) -> Failure {
    let malformed = |what: &str| Error::new(Kind::Malformed, what).why(why);
    let too_long = details.tokens.is_some()
        || details.mentions(&[
            "context_length",
            "context length",
            "context window",
            "contextwindow",
            "exceed_context",
            "maximum context",
            "prompt is too long",
        ]);
    let mut other_model = false;
    let error = if too_long {
        other_model = true;
        let error = malformed("the conversation is too long for this model").hint(
            "begin a new conversation, take prompts back with /undo in a chat, or use a model with a longer context (`pachat models`)",
        );
        match details.tokens {
            Some((prompt, fits)) => error.cause(format!("{prompt} tokens, and {fits} fit")),
            None => error,
        }
    } else if is_about_model(status, details) {
        other_model = true;
        without_model(details, context, why)
    } else if status == 403 {
        let error = malformed("the server refused the request");
        match reasons(details, context) {
            Some(reasons) => error.cause(reasons),
            None => error,
        }
    } else if matches!(status, 404 | 405) {
        malformed("the server has no chat completions there")
            .hint("check the base URL; it usually ends in /v1")
    } else if status == 413 {
        malformed("the request is too large for the server")
            .hint("send less at once, or start a new conversation")
    } else {
        malformed("the server refused the request")
    };
    // The one shape of a 404 that has been seen to pass.
    let passing = status == 404 && details.mentions(&["provider returned error"]);
    Failure {
        other_model,
        ..Failure::new(error, if passing { Retry::Once } else { Retry::Never })
    }
}

/// Why a filter refused, and what it refused.
fn reasons(details: &Details, context: &Context<'_>) -> Option<String> {
    let reasons = context.list(&details.reasons);
    let flagged = details.flagged.as_deref().map(|text| context.short(text));
    match (reasons.is_empty(), flagged) {
        (true, None) => None,
        (false, None) => Some(reasons),
        (true, Some(flagged)) => Some(format!("about “{flagged}”")),
        (false, Some(flagged)) => Some(format!("{reasons}, about “{flagged}”")),
    }
}

/// The model is not there, or not for this account; names what is in the way and what
/// would do instead.
fn without_model(details: &Details, context: &Context<'_>, why: &str) -> Error {
    let model = context.short(context.model);
    let error = Error::new(
        Kind::Malformed,
        format!("the server cannot use the model {model}"),
    )
    .why(why);
    let error = if details.excluded_by.is_empty() {
        error
    } else {
        error.cause(format!(
            "excluded by {}",
            context.list(&details.excluded_by)
        ))
    };
    let has = "`pachat models` lists what this server has";
    if !details.alternatives.is_empty() {
        let first = context.short(&details.alternatives[0]);
        return match context.list(&details.alternatives[1..]).as_str() {
            "" => error.hint(format!("try `-m {first}`; {has}")),
            more => error.hint(format!("try `-m {first}`, or {more}; {has}")),
        };
    }
    if details.mentions(&["free_variant_ended", "free variant"]) {
        let paid = context.short(context.model.trim_end_matches(":free"));
        return error.hint(format!("`-m {paid}` is the same model and costs something"));
    }
    if details.mentions(&["privacy", "data policy"]) {
        let place = if context.profile.is_openrouter() {
            "https://openrouter.ai/settings/privacy"
        } else {
            "the settings of your account"
        };
        return error.hint(format!("change that at {place}, or use another model"));
    }
    error.hint(has).unknown_model(context.model)
}

fn is_about_model(status: u16, details: &Details) -> bool {
    details.mentions(&[
        "not a valid model",
        "model_not_found",
        "invalid model",
        "no_endpoints",
        "no endpoints",
        "model_deprecated",
        "model_unavailable",
        "free_variant_ended",
        "privacy_restricted",
        "data policy",
        "free variant",
        "constraint_filtered",
        "wrong_endpoint",
        "unknown model",
        "no allowed providers",
    ]) || (matches!(status, 400 | 404)
        && details.mentions(&["model"])
        && details.mentions(&["not found", "does not exist", "not exist", "not supported"]))
}

fn redirect(status: u16, headers: &HeaderMap, context: &Context<'_>) -> Failure {
    let target = headers
        .get(LOCATION)
        .map(|target| context.tidy(&String::from_utf8_lossy(target.as_bytes())));
    let origin = context.base_url.origin();
    let error = Error::new(
        Kind::Incomplete,
        format!("{origin} sends requests elsewhere"),
    )
    .why(format!("HTTP {status}"))
    .hint("the key was not sent there; if you trust the new address, set it as the base URL");
    let error = match target {
        Some(target) => error.cause(format!("redirected to {target}")),
        None => error,
    };
    Failure::new(error, Retry::Never)
}

/// What helps against a limit of memory.
pub(super) const ALLOW_MORE_MEMORY: &str =
    "allow more: pachat config set limits.memory_mb NUMBER, or MAX_MEMORY_MB=NUMBER for one call";

/// What answers is a web page, or speaks another protocol.
pub(super) fn not_an_api(context: &Context<'_>) -> Error {
    Error::new(
        Kind::Incomplete,
        format!("{} is not a chat API", context.base_url),
    )
    .why("the answer is not a chat completion")
    .hint("check the base URL (does it end in /v1?), and whether the network wants a login first")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::client::Endpoint;
    use crate::platform::clock::RealClock;
    use proptest::prelude::*;

    /// Every line that is shown of a failure.
    fn lines(failure: &Failure) -> Vec<String> {
        let error = &failure.error;
        [
            Some(error.headline().as_str()),
            error.cause_text(),
            error.hint_text(),
            Some(&failure.announcement),
        ]
        .into_iter()
        .flatten()
        .map(str::to_owned)
        .collect()
    }

    /// Bodies of the shapes that servers send, with any text in any place.
    fn body() -> impl Strategy<Value = Vec<u8>> {
        let text = prop_oneof![
            ".{0,80}",
            "[\\x00-\\x1f\\u{7f}-\\u{9f}\\u{202e}a\\[\\];m]{0,60}",
            "(x|é|🙂){0,400}",
            Just("Provider returned error".to_owned()),
            Just("can only afford 30104, per-day, context length, no endpoints".to_owned()),
        ];
        let json = (text.clone(), text.clone(), any::<i64>(), any::<bool>()).prop_map(
            |(one, two, number, flag)| {
                let metadata = serde_json::json!({
                    "raw": two, "provider_name": two, "reasons": [one, two], "patterns": two,
                    "flagged_input": one, "limit_source": two,
                    "headers": { "X-RateLimit-Reset": number },
                });
                let availability = serde_json::json!({
                    "code": two, "retryable": flag, "fallback_models": [two, one, two],
                    "excluded_by": [one], "constraint": two,
                });
                serde_json::json!({ "error": {
                    "message": one, "code": number % 600, "metadata": metadata,
                    "availability": availability, "n_prompt_tokens": number, "n_ctx": number,
                } })
                .to_string()
                .into_bytes()
            },
        );
        prop_oneof![
            prop::collection::vec(any::<u8>(), 0..300),
            text.clone().prop_map(String::into_bytes),
            text.prop_map(|text| format!("<html><title>{text}").into_bytes()),
            json,
        ]
    }

    proptest! {
        #[test]
        fn whatever_a_server_says_is_told_in_short_clean_lines(
            status in 300u16..600,
            body in body(),
            model in ".{0,200}",
            header in "[ -~]{0,30}",
        ) {
            let mut endpoint = Endpoint::new("https://openrouter.ai".parse().unwrap());
            endpoint.key = Some(Secret::new("sk-or-v1-0123456789abcdef".into()));
            let clock = RealClock::start();
            let context = endpoint.context(&model, &clock);
            let mut headers = HeaderMap::new();
            for name in ["location", "retry-after", "x-ratelimit-reset", "date"] {
                headers.insert(name, HeaderValue::from_str(&header).unwrap());
            }
            let failure = of_response(status, &headers, &body, &context);
            for line in lines(&failure) {
                prop_assert!(line.chars().all(|c| !c.is_control()), "{line:?}");
                // 300 for the text from outside, and the words around it.
                prop_assert!(line.chars().count() <= 480, "{line}");
            }
            let text = String::from_utf8_lossy(&body);
            let tidy = context.tidy(&text);
            prop_assert!(tidy.chars().count() <= LONGEST_TEXT);
            prop_assert!(tidy.chars().all(|c| !c.is_control()));
            prop_assert!(context.short(&text).chars().count() <= LONGEST_NAME);
        }
    }

    #[test]
    fn a_key_is_redacted_wherever_it_stands() {
        let mut endpoint = Endpoint::new("https://openrouter.ai".parse().unwrap());
        endpoint.key = Some(Secret::new("local-secret".into()));
        let clock = RealClock::start();
        let context = endpoint.context("m", &clock);
        for text in [
            "local-secret",
            "a local-\u{1b}[1msecret b",
            "x\u{1b}]0;t\u{7}local-secret",
        ] {
            let tidy = context.tidy(text);
            assert!(
                tidy.contains("(redacted)") && !tidy.contains("secret"),
                "{tidy}"
            );
        }
    }
}
