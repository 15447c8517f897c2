//! Replies through the client against a server that misbehaves on purpose.
//!
//! The cases are those that a person notices: what text arrives, how the reply ended, what
//! is said about it, and how often the server was asked.
#![allow(
    clippy::unwrap_used,
    clippy::too_many_lines,
    reason = "tests may panic, and tables are long"
)]

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::server::{
    FINISHED, FakeServer, Framing, Gate, PATIENCE, Request, Script, Step, USAGE, delta,
};
use pachat::api::request::Body;
use pachat::api::{Client, Endpoint, Profile};
use pachat::model::error::Kind;
use pachat::model::reply::{Finish, Identity, Progress, ReplyStream, State};
use pachat::model::secret::Secret;
use pachat::platform::clock::RealClock;
use pachat::platform::random::RealRandom;

const KEY: &str = "sk-or-v1-0123456789abcdef0123456789abcdef";

/// A server with a key and short waits.
fn endpoint(url: &str) -> Endpoint {
    let mut endpoint = Endpoint::new(url.parse().unwrap());
    endpoint.key = Some(Secret::new(KEY.into()));
    endpoint.retry.base = Duration::from_millis(2);
    endpoint.limits.first_byte = PATIENCE;
    endpoint.limits.idle = PATIENCE;
    endpoint.limits.data_idle = PATIENCE;
    endpoint
}

fn client(endpoint: Endpoint) -> Client {
    Client::start(endpoint, Arc::new(RealClock::start()), Arc::new(RealRandom))
}

fn body(model: &str) -> Body {
    Body {
        model: model.into(),
        json: format!(r#"{{"model":"{model}","stream":true}}"#).into_bytes(),
    }
}

/// Everything that a reply gave.
struct Outcome {
    text: String,
    reasoning: String,
    notices: Vec<String>,
    heartbeats: usize,
    deltas: usize,
    identity: Identity,
    finish: Finish,
}

impl Outcome {
    fn kind(&self) -> Option<Kind> {
        self.finish
            .error
            .as_ref()
            .map(pachat::model::error::Error::kind)
    }

    /// All that would be said about the error.
    fn said(&self) -> String {
        self.finish
            .error
            .as_ref()
            .map_or_else(String::new, |error| {
                format!(
                    "{} | {} | {}",
                    error.headline(),
                    error.cause_text().unwrap_or_default(),
                    error.hint_text().unwrap_or_default()
                )
            })
    }
}

fn collect(stream: &mut impl ReplyStream) -> Outcome {
    let mut outcome = Outcome {
        text: String::new(),
        reasoning: String::new(),
        notices: Vec::new(),
        heartbeats: 0,
        deltas: 0,
        identity: Identity::default(),
        finish: Finish::new(State::Complete),
    };
    let began = Instant::now();
    loop {
        assert!(began.elapsed() < PATIENCE * 2, "the reply never ends");
        match stream.next(Duration::from_millis(25)) {
            Progress::Idle => {}
            Progress::Heartbeat => outcome.heartbeats += 1,
            Progress::Delta(delta) => {
                assert!(!delta.is_empty());
                outcome.deltas += 1;
                outcome.text.push_str(&delta.text);
                outcome.reasoning.push_str(&delta.reasoning);
            }
            Progress::Notice(notice) => outcome.notices.push(notice),
            Progress::Done(finish) => {
                outcome.finish = *finish;
                outcome.identity = stream.identity().clone();
                let has_error = outcome.finish.error.is_some();
                match outcome.finish.state {
                    State::Error => assert!(has_error),
                    State::Filtered => {}
                    _ => assert!(!has_error),
                }
                assert!(!outcome.said().contains(KEY), "the key is never shown");
                return outcome;
            }
        }
    }
}

fn ask(endpoint: Endpoint) -> Outcome {
    collect(&mut client(endpoint).reply(vec![body("test/model")]))
}

fn ask_server(scripts: impl IntoIterator<Item = Script>) -> (Outcome, Vec<Request>) {
    let server = FakeServer::answering(scripts);
    let outcome = ask(endpoint(&server.base_url()));
    (outcome, server.requests())
}

/// One script, and what comes of it.
struct Case {
    name: &'static str,
    script: Script,
    text: &'static str,
    state: State,
    kind: Option<Kind>,
    requests: usize,
}

fn case(name: &'static str, script: Script, text: &'static str, state: State) -> Case {
    Case {
        name,
        script,
        text,
        state,
        kind: None,
        requests: 1,
    }
}

fn failing(
    name: &'static str,
    script: Script,
    text: &'static str,
    kind: Kind,
    requests: usize,
) -> Case {
    Case {
        name,
        script,
        text,
        state: State::Error,
        kind: Some(kind),
        requests,
    }
}

fn check(cases: Vec<Case>) {
    for case in cases {
        let (outcome, requests) = ask_server([case.script]);
        let said = outcome.said();
        assert_eq!(outcome.text, case.text, "{}: {said}", case.name);
        assert_eq!(outcome.finish.state, case.state, "{}: {said}", case.name);
        assert_eq!(outcome.kind(), case.kind, "{}: {said}", case.name);
        assert_eq!(requests.len(), case.requests, "{}: {said}", case.name);
    }
}

/// A stream of the text "Hello", and then these bytes instead of a proper end.
fn hello_then(bytes: &str) -> Script {
    Script::stream().event(&delta("Hello")).send(bytes)
}

fn choice(fields: &str) -> String {
    format!(r#"{{"choices":[{{"index":0,{fields}}}]}}"#)
}

#[test]
fn a_reply_arrives_with_its_usage_cost_and_identity() {
    let (outcome, requests) =
        ask_server([Script::reply("Hello é🙂").header("X-Generation-Id", "gen-header")]);
    assert_eq!(outcome.text, "Hello é🙂");
    assert_eq!(outcome.finish.state, State::Complete);
    assert_eq!(outcome.finish.finish_reason.as_deref(), Some("stop"));
    let figures = outcome.finish.usage.as_ref().unwrap().figures();
    assert_eq!(figures.prompt_tokens, Some(67));
    assert_eq!(outcome.finish.cost.unwrap().to_string(), "0.00001305");
    assert_eq!(
        outcome.identity.generation_id.as_deref(),
        Some("gen-header")
    );
    assert_eq!(outcome.identity.model.as_deref(), Some("test/model"));
    assert_eq!(outcome.identity.provider.as_deref(), Some("Test"));
    assert!(outcome.finish.notices.is_empty());
    let request = &requests[0];
    assert_eq!(
        (request.method.as_str(), request.path.as_str()),
        ("POST", "/v1/chat/completions")
    );
    assert_eq!(
        request.header("authorization"),
        Some(format!("Bearer {KEY}").as_str())
    );
    assert_eq!(request.header("accept-encoding"), Some("identity"));
    assert_eq!(request.header("content-type"), Some("application/json"));
    assert!(request.header("user-agent").unwrap().starts_with("pachat/"));
    assert_eq!(request.header("x-title"), None);
    assert_eq!(request.json()["model"], "test/model");
}

#[test]
fn replies_that_end_well() {
    let usage = r#"{"choices":[],"usage":{"prompt_tokens":1}}"#;
    check(vec![
        case("usage chunk with no choices", Script::events([&*delta("a"), FINISHED, usage, "[DONE]"]), "a", State::Complete),
        case("finish reason twice", Script::events([&*delta("a"), FINISHED, USAGE, "[DONE]"]), "a", State::Complete),
        case("no usage at all", Script::events([&*delta("a"), FINISHED, "[DONE]"]), "a", State::Complete),
        case(
            "roles, nulls and empty deltas",
            Script::events([
                &*choice(r#""delta":{"role":"assistant","content":null}"#),
                &*choice(r#""delta":{"content":""}"#),
                &*choice(r#""delta":{}"#),
                &*choice(r#""finish_reason":null"#),
                &*delta("a"),
                FINISHED,
                "[DONE]",
            ]),
            "a",
            State::Complete,
        ),
        case(
            "comments everywhere",
            Script::stream().send(": x\n\n:\n").event(&delta("a")).send(": y\n\n").event(&delta("b")).event(FINISHED).send(": z\n\n").event("[DONE]"),
            "ab",
            State::Complete,
        ),
        case(
            "other fields and line ends",
            Script::stream().send(format!("\u{feff}id: 1\r\nevent: m\rretry: 5\r\ndata:{}\r\r", delta("a"))).event(FINISHED).event("[DONE]"),
            "a",
            State::Complete,
        ),
        case(
            "one byte at a time",
            Script::stream().step(Step::Drip(format!("data: {}\n\ndata: {FINISHED}\n\ndata: [DONE]\n\n", delta("é🙂")).into_bytes())),
            "é🙂",
            State::Complete,
        ),
        case(
            "invalid UTF-8",
            Script::stream().send(b"data: {\"choices\":[{\"delta\":{\"content\":\"a\xffb\"},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n"),
            "a\u{fffd}b",
            State::Complete,
        ),
        case("[DONE] without a blank line", hello_then(&format!("data: {FINISHED}\n\ndata: [DONE]")), "Hello", State::Complete),
        case("finish reason and then the end", hello_then(&format!("data: {FINISHED}\n\n")), "Hello", State::Complete),
        case("finish reason and then a cut", hello_then(&format!("data: {FINISHED}\n\n")).step(Step::Cut), "Hello", State::Complete),
        case("[DONE] but no finish reason", hello_then("data: [DONE]\n\n"), "Hello", State::Complete),
        case("data after [DONE]", hello_then(&format!("data: [DONE]\n\ndata: {}\n\n", delta("more"))), "Hello", State::Complete),
        case("one malformed event", hello_then(&format!("data: {{oops\n\ndata: {FINISHED}\n\ndata: [DONE]\n\n")), "Hello", State::Complete),
        case("chunks without choices", Script::events([r#"{"debug":1}"#, &*delta("a"), r#"{"x_groq":{"id":1}}"#, FINISHED, "[DONE]"]), "a", State::Complete),
        case(
            "a whole completion though a stream was asked",
            Script::json(200, r#"{"id":"x","choices":[{"message":{"role":"assistant","content":"all"},"finish_reason":"stop"}]}"#),
            "all",
            State::Complete,
        ),
        case("cut at the limit", Script::events([&*delta("a"), &*choice(r#""finish_reason":"length""#), "[DONE]"]), "a", State::Length),
        case("cut by a filter", Script::events([&*delta("a"), &*choice(r#""finish_reason":"content_filter""#), "[DONE]"]), "a", State::Filtered),
        case("thoughts in the text", Script::reply("<think>x</think>y"), "<think>x</think>y", State::Complete),
        case(
            "no media type",
            Script::new(200, "").send(format!("data: {}\n\ndata: [DONE]\n\n", delta("a"))),
            "a",
            State::Complete,
        ),
        case(
            "a body that ends with the connection",
            Script::reply("a").framing(Framing::Close),
            "a",
            State::Complete,
        ),
        case(
            "text and finish reason in one chunk, odd types around it",
            Script::events([r#"{"id":7,"created":"x","model":null,"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"stop","logprobs":[]}],"usage":null}"#, "[DONE]"]),
            "a",
            State::Complete,
        ),
    ]);
}

#[test]
fn replies_that_break_off() {
    use Kind::Incomplete;
    let error = r#"{"error":{"code":502,"message":"upstream"},"choices":[{"delta":{"content":""},"finish_reason":"error"}]}"#;
    check(vec![
        failing(
            "content and then the end",
            hello_then(""),
            "Hello",
            Incomplete,
            1,
        ),
        failing(
            "content and then a cut chunk",
            hello_then("").step(Step::Cut),
            "Hello",
            Incomplete,
            1,
        ),
        failing(
            "content and then the end of the connection",
            hello_then("").framing(Framing::Close),
            "Hello",
            Incomplete,
            1,
        ),
        failing(
            "content and a short body",
            hello_then("").framing(Framing::Length(10)),
            "Hello",
            Incomplete,
            1,
        ),
        failing(
            "error after content",
            hello_then(&format!("data: {error}\n\n")),
            "Hello",
            Incomplete,
            1,
        ),
        failing(
            "error as text",
            hello_then("data: {\"error\":\"boom\"}\n\n"),
            "Hello",
            Incomplete,
            1,
        ),
        failing(
            "error with a text code",
            hello_then(
                "data: {\"error\":{\"code\":\"server_error\",\"message\":\"m\"},\"choices\":[]}\n\n",
            ),
            "Hello",
            Incomplete,
            1,
        ),
        failing(
            "error of the choice",
            hello_then("data: {\"choices\":[{\"error\":{\"code\":500,\"message\":\"m\"}}]}\n\n"),
            "Hello",
            Incomplete,
            1,
        ),
        failing(
            "error without an object",
            hello_then("data: {\"choices\":[{\"finish_reason\":\"error\"}]}\n\n"),
            "Hello",
            Incomplete,
            1,
        ),
        failing(
            "error and then [DONE]",
            hello_then(&format!("data: {error}\n\ndata: [DONE]\n\n")),
            "Hello",
            Incomplete,
            1,
        ),
        failing(
            "named error event",
            hello_then("event: error\ndata: {\"message\":\"m\"}\n\ndata: [DONE]\n\n"),
            "Hello",
            Incomplete,
            1,
        ),
        failing(
            "named error event of text",
            hello_then("event: error\ndata: out of memory\n\n"),
            "Hello",
            Incomplete,
            1,
        ),
        failing("no event at all", Script::stream(), "", Incomplete, 2),
        failing(
            "nothing but [DONE]",
            Script::events(["[DONE]"]),
            "",
            Incomplete,
            2,
        ),
        failing(
            "stop without a word",
            Script::events([
                r#"{"choices":[{"delta":{"content":""},"finish_reason":"stop","native_finish_reason":"network_error"}]}"#,
                "[DONE]",
            ]),
            "",
            Incomplete,
            2,
        ),
        failing(
            "a tool is wanted",
            Script::events([
                &*choice(r#""delta":{"tool_calls":[{"index":0,"id":"x"}]}"#),
                &*choice(r#""finish_reason":"tool_calls""#),
                "[DONE]",
            ]),
            "",
            Incomplete,
            1,
        ),
        failing(
            "only thoughts",
            Script::events([
                &*choice(r#""delta":{"reasoning":"hm"}"#),
                &*choice(r#""finish_reason":"length""#),
                r#"{"choices":[],"usage":{"completion_tokens":16}}"#,
                "[DONE]",
            ]),
            "",
            Incomplete,
            1,
        ),
        failing(
            "only malformed events",
            Script::events(["{oops", "[DONE]"]),
            "",
            Incomplete,
            1,
        ),
        failing(
            "many malformed events",
            hello_then(&"data: {oops\n\n".repeat(4)),
            "Hello",
            Incomplete,
            1,
        ),
        failing(
            "a web page",
            Script::new(200, "text/html").send("<!doctype html><title>Sign in</title>"),
            "",
            Incomplete,
            1,
        ),
        failing(
            "a web page without a tag",
            Script::new(200, "text/html; charset=utf-8").send("hello"),
            "",
            Incomplete,
            1,
        ),
        failing(
            "JSON that is no reply",
            Script::json(200, r#"{"hello":"world"}"#),
            "",
            Incomplete,
            1,
        ),
        failing(
            "not HTTP",
            Script::raw()
                .send("SSH-2.0-OpenSSH_9.6\r\n")
                .step(Step::Cut),
            "",
            Incomplete,
            1,
        ),
        failing(
            "an error in a 200",
            Script::json(200, r#"{"error":{"code":400,"message":"bad"}}"#),
            "",
            Kind::Malformed,
            1,
        ),
        failing(
            "400 as the first event",
            Script::events([r#"{"error":{"code":400,"message":"bad"}}"#]),
            "",
            Kind::Malformed,
            1,
        ),
        failing(
            "402 as the first event",
            Script::events([r#"{"error":{"code":402,"message":"no"}}"#]),
            "",
            Kind::Denied,
            1,
        ),
        failing(
            "429 as the first event",
            Script::events([r#"{"error":{"code":429,"message":"slow"}}"#]),
            "",
            Kind::Busy,
            4,
        ),
        failing(
            "502 as the first event",
            Script::events([error]),
            "",
            Kind::Unavailable,
            4,
        ),
    ]);
    // Either a reset in the body or one before it was read: no text is ever taken as whole.
    let (outcome, _) = ask_server([hello_then("").step(Step::Reset)]);
    assert_eq!(outcome.finish.state, State::Error, "{}", outcome.said());
}

#[test]
fn details_of_the_end() {
    let (outcome, _) = ask_server([Script::events([
        r#"{"choices":[{"delta":{"content":"a"}}],"usage":null}"#,
        r#"{"choices":[{"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"cost":1}}"#,
        "{\"choices\":[],\n\"usage\":{\"prompt_tokens\":2,\n\"cost\":0}}",
        r#"{"choices":[],"usage":null}"#,
        "[DONE]",
    ].map(|data| data.replace('\n', "\ndata: ")))]);
    let usage = outcome.finish.usage.unwrap();
    assert_eq!(
        usage.figures().prompt_tokens,
        Some(2),
        "the last one, not the sum"
    );
    assert!(
        !usage.0.get().contains('\n'),
        "it goes into a file of lines"
    );
    assert_eq!(outcome.finish.cost.unwrap().to_string(), "0");

    let (outcome, _) = ask_server([hello_then("data: [DONE]\n\n")]);
    assert_eq!(outcome.finish.notices.len(), 1);

    let (outcome, _) = ask_server([Script::events([
        &*choice(r#""delta":{"reasoning_content":"h"}"#),
        &*choice(
            r#""delta":{"reasoning":"m","reasoning_details":[{"type":"reasoning.encrypted"}]}"#,
        ),
        &*delta("a"),
        FINISHED,
        "[DONE]",
    ])]);
    assert_eq!(
        (outcome.reasoning.as_str(), outcome.text.as_str()),
        ("hm", "a")
    );

    let (outcome, _) = ask_server([Script::events([
        &*choice(r#""delta":{"reasoning":"hm"}"#),
        &*choice(r#""finish_reason":"length""#),
        r#"{"choices":[],"usage":{"completion_tokens":16}}"#,
    ])]);
    assert!(
        outcome.said().contains("all 16 tokens went to reasoning"),
        "{}",
        outcome.said()
    );
    assert!(outcome.said().contains("--max-tokens"));

    let (outcome, _) = ask_server([Script::events([
        &*choice(r#""delta":{"refusal":"I cannot"},"finish_reason":"stop""#),
        "[DONE]",
    ])]);
    assert_eq!(
        (outcome.finish.state, outcome.kind()),
        (State::Filtered, Some(Kind::Malformed))
    );
    assert!(outcome.said().contains("I cannot"));
}

#[test]
fn large_pieces_and_many_small_ones() {
    let large = "x".repeat(64 << 10);
    let (outcome, _) = ask_server([Script::reply(&large)]);
    assert_eq!(outcome.text.len(), large.len());

    let huge = "y".repeat(5 << 20);
    let (outcome, _) = ask_server([Script::reply(&huge)]);
    assert_eq!(outcome.text.len(), huge.len(), "{}", outcome.said());

    let (outcome, _) =
        ask_server([Script::stream().send("data: ".to_owned() + &"z".repeat(17 << 20))]);
    assert_eq!(outcome.kind(), Some(Kind::Incomplete), "{}", outcome.said());
    assert!(outcome.said().contains("too large"));

    let count = 20_000;
    let many = format!("data: {}\n\n", delta("word ")).repeat(count);
    let (outcome, _) = ask_server([Script::stream().send(many).event(FINISHED).event("[DONE]")]);
    assert_eq!(outcome.text.len(), count * 5);
    assert!(outcome.deltas < 2_000, "{} deltas", outcome.deltas);
}

#[test]
fn refusals_have_their_kinds_and_are_not_repeated() {
    let error = |message: &str| format!(r#"{{"error":{{"message":"{message}","type":"None"}}}}"#);
    for (status, body, kind, said) in [
        (401, error("User not found."), Kind::Denied, "key set"),
        (401, String::new(), Kind::Denied, "refused the API key"),
        (401, error(&format!("Incorrect API key provided: {KEY}")), Kind::Denied, "(redacted)"),
        (400, r#"{"error":{"message":"No connected db.","type":"no_db_connection","param":null,"code":"400"}}"#.into(), Kind::Denied, "key set"),
        (402, error("You requested up to 65536 tokens, but can only afford 30104."), Kind::Denied, "--max-tokens 30104"),
        (403, r#"{"error":{"message":"flagged","code":403,"metadata":{"reasons":["violence"]}}}"#.into(), Kind::Malformed, "violence"),
        (403, error("Only management keys can perform this operation"), Kind::Denied, "management"),
        (403, r#"{"error":{"message":"no","metadata":{"error_type":"permission_denied"}}}"#.into(), Kind::Denied, "key"),
        (400, error("x/y is not a valid model ID"), Kind::Malformed, "pachat models"),
        (404, r#"{"error":{"message":"gone","availability":{"code":"model_deprecated","fallback_models":["a/new"]}}}"#.into(), Kind::Malformed, "-m a/new"),
        (404, r#"{"detail":"Not Found"}"#.into(), Kind::Malformed, "base URL"),
        (404, r#"{"error":{"message":"File Not Found","type":"not_found_error","code":404}}"#.into(), Kind::Malformed, "base URL"),
        (404, "<html><title>nginx</title>".into(), Kind::Incomplete, "not a chat API"),
        (400, r#"{"error":{"code":400,"message":"too long","type":"exceed_context_size_error","n_prompt_tokens":5010,"n_ctx":2048}}"#.into(), Kind::Malformed, "5010 tokens, and 2048 fit"),
        (400, error("litellm.ContextWindowExceededError"), Kind::Malformed, "too long for this model"),
        (422, r#"{"detail":[{"msg":"field required"}]}"#.into(), Kind::Malformed, "field required"),
        (413, String::new(), Kind::Malformed, "too large"),
        (429, error("Rate limit exceeded: free-models-per-day"), Kind::Busy, "quota is used up"),
        (429, r#"{"error":{"message":"m","type":"insufficient_quota"}}"#.into(), Kind::Denied, "credit"),
        (418, "I am a \u{1b}[31mteapot\u{1b}[0m\u{7}\r\n".into(), Kind::Malformed, "I am a teapot (HTTP 418)"),
        (400, "x".repeat(1 << 20), Kind::Malformed, "xxx…"),
    ] {
        let (outcome, requests) = ask_server([Script::json(status, &body)]);
        assert_eq!(outcome.kind(), Some(kind), "{status} {said}: {}", outcome.said());
        assert!(outcome.said().contains(said), "{status} {said}: {}", outcome.said());
        assert!(outcome.said().len() < 900);
        assert_eq!(requests.len(), 1, "{status} {said}");
    }
}

#[test]
fn a_redirect_is_reported_and_the_key_stays() {
    let other = FakeServer::answering([Script::reply("stolen")]);
    for status in [301, 302, 307, 308] {
        let target = format!("{}/elsewhere", other.base_url());
        let (outcome, _) = ask_server([Script::json(status, "").header("Location", &target)]);
        assert_eq!(outcome.kind(), Some(Kind::Incomplete));
        assert!(outcome.said().contains(&target), "{}", outcome.said());
    }
    assert!(other.requests().is_empty());
}

#[test]
fn what_passes_is_tried_again() {
    for status in [408, 409, 429, 500, 502, 503, 504, 524, 529] {
        let (outcome, requests) = ask_server([Script::json(status, ""), Script::reply("ok")]);
        assert_eq!(outcome.text, "ok", "{status}: {}", outcome.said());
        assert_eq!((requests.len(), outcome.notices.len()), (2, 1), "{status}");
        assert!(
            outcome.notices[0].contains("trying again in"),
            "{:?}",
            outcome.notices
        );
    }
    for (status, kind) in [(503, Kind::Unavailable), (429, Kind::Busy)] {
        let (outcome, requests) = ask_server([Script::json(status, "<html>busy")]);
        assert_eq!(outcome.kind(), Some(kind), "{}", outcome.said());
        assert_eq!((requests.len(), outcome.notices.len()), (4, 3));
    }
    let server = FakeServer::answering([Script::json(503, "")]);
    let mut once = endpoint(&server.base_url());
    once.retry = pachat::api::RetryPolicy::never();
    assert_eq!(ask(once).kind(), Some(Kind::Unavailable));
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn an_upstream_limit_shows_the_reason_behind_it() {
    let raw = r#"{"error":{"code":429,"message":"Provider returned error","metadata":{"raw":"m is temporarily rate-limited upstream","provider_name":"P"}}}"#;
    let (outcome, requests) = ask_server([Script::json(429, raw)]);
    assert!(
        outcome.said().contains("temporarily rate-limited upstream"),
        "{}",
        outcome.said()
    );
    assert!(outcome.said().contains("from P"));
    assert_eq!(requests.len(), 4);
}

#[test]
fn the_server_says_when() {
    let after = |name, value| Script::json(429, "").header(name, value);
    let began = Instant::now();
    let (outcome, _) = ask_server([after("Retry-After-Ms", "120"), Script::reply("ok")]);
    assert_eq!(outcome.text, "ok");
    assert!(began.elapsed() >= Duration::from_millis(120));

    let (outcome, requests) = ask_server([after("Retry-After", "3600")]);
    assert_eq!((outcome.kind(), requests.len()), (Some(Kind::Busy), 1));
    assert!(outcome.said().contains("60 min"), "{}", outcome.said());

    for nonsense in ["-5", "soon"] {
        let (outcome, _) = ask_server([after("Retry-After", nonsense), Script::reply("ok")]);
        assert_eq!(outcome.text, "ok", "{nonsense}");
    }
}

#[test]
fn a_server_that_loads_its_model_is_waited_for() {
    let loading = Script::json(
        503,
        r#"{"error":{"message":"Loading model","type":"unavailable_error","code":503}}"#,
    );
    let mut scripts = vec![loading; 6];
    scripts.push(Script::reply("ok"));
    let (outcome, requests) = ask_server(scripts);
    assert_eq!(
        (outcome.text.as_str(), requests.len()),
        ("ok", 7),
        "{}",
        outcome.said()
    );
}

#[test]
fn the_next_model_is_asked_if_one_cannot_answer() {
    let server = FakeServer::deciding(|request| match request.json()["model"].as_str() {
        Some("b") => Script::reply("from b"),
        _ => Script::json(404, r#"{"error":{"message":"model 'a' not found"}}"#),
    });
    let client = client(endpoint(&server.base_url()));
    let outcome = collect(&mut client.reply(vec![body("a"), body("b")]));
    assert_eq!(outcome.text, "from b");
    assert!(
        outcome.notices[0].contains("from a to b"),
        "{:?}",
        outcome.notices
    );

    let outcome = collect(&mut client.reply(vec![body("a")]));
    assert_eq!(outcome.kind(), Some(Kind::Malformed));
}

#[test]
fn limits_end_a_reply_that_does_not_come() {
    // Long enough for a machine that is busy with other things, and a fraction of `PATIENCE`.
    let short = Duration::from_millis(400);
    let slow = |script: Script, change: fn(&mut Endpoint, Duration)| {
        let server = FakeServer::answering([script]);
        let mut endpoint = endpoint(&server.base_url());
        change(&mut endpoint, short);
        ask(endpoint)
    };
    let outcome = slow(Script::raw().step(Step::HangUp), |endpoint, short| {
        endpoint.limits.first_byte = short;
    });
    assert_eq!(
        outcome.kind(),
        Some(Kind::Unavailable),
        "{}",
        outcome.said()
    );
    assert!(outcome.said().contains("did not begin to answer"));

    let outcome = slow(hello_then("").step(Step::HangUp), |endpoint, short| {
        endpoint.limits.idle = short;
    });
    assert_eq!(
        (outcome.text.as_str(), outcome.kind()),
        ("Hello", Some(Kind::Incomplete))
    );
    assert!(outcome.said().contains("fell silent"), "{}", outcome.said());

    let comments = |script: Script| {
        (0..100).fold(script, |script, _| {
            script
                .send(": alive\n\n")
                .step(Step::Pause(Duration::from_millis(10)))
        })
    };
    let outcome = slow(
        comments(Script::stream()).step(Step::HangUp),
        |endpoint, short| {
            endpoint.limits.data_idle = short;
        },
    );
    assert_eq!(
        outcome.kind(),
        Some(Kind::Unavailable),
        "{}",
        outcome.said()
    );
    assert!(outcome.said().contains("no text"), "{}", outcome.said());
    assert!(outcome.heartbeats > 0);

    let outcome = slow(
        comments(hello_then("")).step(Step::HangUp),
        |endpoint, short| {
            endpoint.limits.total = Some(short);
        },
    );
    assert_eq!(
        (outcome.text.as_str(), outcome.kind()),
        ("Hello", Some(Kind::Incomplete))
    );

    // Slow is not stalled: all of it takes longer than the limit, and no part of it.
    let script = (0..50).fold(Script::stream(), |script, _| {
        let drip = Step::Drip(format!("data: {}\n\n", delta("a")).into_bytes());
        script.step(drip).step(Step::Pause(short / 40))
    });
    let outcome = slow(script.event(FINISHED).event("[DONE]"), |endpoint, short| {
        endpoint.limits.idle = short;
    });
    assert_eq!(outcome.text, "a".repeat(50), "{}", outcome.said());
}

#[test]
fn an_unreachable_server_is_named() {
    let mut nobody = endpoint(&FakeServer::nobody());
    nobody.retry.retries = 2;
    let outcome = ask(nobody);
    assert_eq!(outcome.kind(), Some(Kind::Unavailable));
    assert!(
        outcome.said().contains("nothing listens there"),
        "{}",
        outcome.said()
    );
    assert_eq!(outcome.notices.len(), 2);

    // A server that speaks no TLS.
    let server = FakeServer::answering([Script::raw().send("HTTP/1.1 400 Bad Request\r\n\r\n")]);
    let url = server.base_url().replace("http://", "https://");
    let outcome = ask(endpoint(&url));
    assert_eq!(outcome.kind(), Some(Kind::Unavailable));
    assert!(outcome.said().contains("http://"), "{}", outcome.said());
}

#[test]
fn what_cannot_be_set_up_is_a_matter_of_configuration() {
    let server = FakeServer::answering([Script::reply("x")]);
    let mut broken = endpoint(&server.base_url());
    broken.ca_file = Some("/nonexistent/ca.pem".into());
    let outcome = ask(broken);
    assert_eq!(outcome.kind(), Some(Kind::Config), "{}", outcome.said());

    let mut odd = endpoint(&server.base_url());
    odd.key = Some(Secret::new("line\nbreak".into()));
    let outcome = ask(odd);
    assert_eq!(outcome.kind(), Some(Kind::Config), "{}", outcome.said());
    assert!(server.requests().is_empty());
}

#[test]
fn dropping_the_reply_closes_the_connection() {
    for (name, script) in [
        ("before the head", Script::raw().step(Step::HangUp)),
        ("after some text", hello_then("").step(Step::HangUp)),
        (
            "after a comment",
            Script::stream().send(": wait\n\n").step(Step::HangUp),
        ),
    ] {
        let server = FakeServer::answering([script]);
        let client = client(endpoint(&server.base_url()));
        let mut reply = client.reply(vec![body("m")]);
        assert!(server.wait_for_requests(1));
        let _ = reply.next(Duration::from_millis(50));
        let began = Instant::now();
        drop(reply);
        // As long as the reply itself may take, it would be if this waited for it.
        assert!(began.elapsed() < PATIENCE / 2, "dropping does not wait");
        assert!(server.wait_for_hang_up(PATIENCE), "{name}");
    }
}

#[test]
fn patience_is_kept_while_waiting_and_between_tries() {
    let gate = Gate::default();
    let server = FakeServer::answering([
        Script::json(503, "").header("Retry-After", "30"),
        Script::stream().step(Step::Wait(gate.clone())),
    ]);
    let client = client(endpoint(&server.base_url()));
    let mut reply = client.reply(vec![body("m")]);
    while !matches!(reply.next(Duration::from_millis(25)), Progress::Notice(_)) {}
    // Each of them comes back long before the half minute is over.
    let began = Instant::now();
    assert!(matches!(
        reply.next(Duration::from_millis(25)),
        Progress::Idle
    ));
    assert!(matches!(reply.next(Duration::ZERO), Progress::Idle));
    assert!(began.elapsed() < PATIENCE);
    gate.open();
}

#[test]
fn turns_share_a_connection() {
    let server = FakeServer::answering([Script::reply("x")]);
    let client = client(endpoint(&server.base_url()));
    // The end of the body arrives a moment after [DONE]: a turn that begins within that moment
    // needs a connection of its own.
    let is_shared = (0..50).any(|_| {
        let mut reply = client.reply(vec![body("m")]);
        assert_eq!(collect(&mut reply).text, "x");
        std::thread::sleep(Duration::from_millis(10));
        let requests = server.requests();
        let mut connections: Vec<usize> = requests.iter().map(|one| one.connection).collect();
        connections.sort_unstable();
        connections.dedup();
        connections.len() < requests.len()
    });
    assert!(is_shared, "no connection was used twice");
}

#[test]
fn attribution_is_sent_only_where_wanted() {
    for (profile, attribution, expected) in [
        ("openrouter", true, Some("pachat")),
        ("openrouter", false, None),
        ("generic", true, None),
    ] {
        let server = FakeServer::answering([Script::reply("x")]);
        let mut endpoint = endpoint(&server.base_url());
        endpoint.profile = Profile::new(profile, &endpoint.base_url).unwrap();
        endpoint.attribution = attribution;
        endpoint.key = None;
        ask(endpoint);
        let request = &server.requests()[0];
        assert_eq!(request.header("x-title"), expected, "{profile}");
        assert_eq!(request.header("authorization"), None);
    }
}

#[test]
fn documents_are_fetched() {
    let server = FakeServer::deciding(|request| match request.path.as_str() {
        "/v1/models" => Script::json(200, r#"{"data":[{"id":"m"}]}"#),
        "/v1/slow" => Script::raw().step(Step::HangUp),
        _ => Script::json(401, ""),
    });
    let client = Client::new(
        endpoint(&server.base_url()),
        Arc::new(RealClock::start()),
        Arc::new(RealRandom),
    );
    let models = client.get("/models", PATIENCE).unwrap();
    assert_eq!(pachat::api::models::parse(&models).unwrap()[0].id, "m");
    assert_eq!(
        client.get("/key", PATIENCE).unwrap_err().kind(),
        Kind::Denied
    );
    let slow = client.get("/slow", Duration::from_millis(50)).unwrap_err();
    assert_eq!(slow.kind(), Kind::Unavailable);
    assert!(
        slow.headline().contains("longer than"),
        "{}",
        slow.headline()
    );
}

#[test]
fn a_proxy_is_used_except_where_it_is_not_wanted() {
    let proxy = FakeServer::answering([Script::reply("through the proxy")]);
    let address = proxy.base_url().trim_end_matches("/v1").to_owned();
    let mut far = endpoint("http://api.example.invalid/v1");
    far.network.http_proxy = Some(address.clone());
    assert_eq!(ask(far).text, "through the proxy");
    assert_eq!(
        proxy.requests()[0].path,
        "http://api.example.invalid/v1/chat/completions"
    );

    let mut broken = endpoint("http://api.example.invalid/v1");
    broken.network.http_proxy = Some(FakeServer::nobody());
    broken.retry.retries = 0;
    let outcome = ask(broken);
    assert!(outcome.said().contains("proxy"), "{}", outcome.said());

    let server = FakeServer::answering([Script::reply("directly")]);
    let mut near = endpoint(&server.base_url());
    near.network.all_proxy = Some(address);
    assert_eq!(ask(near).text, "directly");
    assert_eq!(proxy.requests().len(), 1);
}

#[test]
fn an_end_that_is_never_marked_does_not_hold_the_reply_back() {
    let server = FakeServer::answering([Script::events([&*delta("a"), FINISHED])
        .send(": and on\n\n")
        .step(Step::HangUp)]);
    let mut endpoint = endpoint(&server.base_url());
    endpoint.limits.idle = Duration::from_millis(400);
    let outcome = ask(endpoint);
    assert_eq!(outcome.finish.state, State::Complete);
    assert_eq!(outcome.text, "a");
}
