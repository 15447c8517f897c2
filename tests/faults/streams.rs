//! Rows 1 to 36 and 61 to 68: what comes in the body of a response with status 200.
//!
//! Each body is sent in one piece and byte by byte here, and in a thousand random splits in
//! `splits`; the outcome must always be the same.

use std::time::Duration;

use crate::common::server::{FINISHED, Framing, Script, Step, USAGE, delta};
use crate::stage::{Stage, pass, shown, stored};
use crate::{Row, row};

/// A body, and what comes of it.
#[derive(Clone)]
pub(crate) struct Stream {
    pub(crate) row: u8,
    pub(crate) media_type: &'static str,
    pub(crate) body: Vec<u8>,
    /// What is on standard output, but for the last line feed.
    pub(crate) text: String,
    pub(crate) code: u8,
    /// The state in which the reply is stored; empty if none is.
    pub(crate) state: &'static str,
    /// Part of what is on standard error; empty if that is silent.
    pub(crate) says: &'static str,
    pub(crate) asked: usize,
}

impl Stream {
    fn new(row: u8, body: impl Into<Vec<u8>>) -> Self {
        Self {
            row,
            media_type: "text/event-stream",
            body: body.into(),
            text: String::new(),
            code: 0,
            state: "complete",
            says: "",
            asked: 1,
        }
    }

    /// A reply that comes to its end.
    fn good(row: u8, body: impl Into<Vec<u8>>, text: &str) -> Self {
        Self {
            text: text.to_owned(),
            ..Self::new(row, body)
        }
    }

    /// A reply that breaks off after this text.
    fn broken(row: u8, body: impl Into<Vec<u8>>, text: &str, says: &'static str) -> Self {
        Self {
            code: 76,
            state: "error",
            says,
            ..Self::good(row, body, text)
        }
    }

    /// No reply at all.
    fn none(row: u8, body: impl Into<Vec<u8>>, code: u8, asked: usize, says: &'static str) -> Self {
        Self {
            code,
            says,
            asked,
            state: "",
            ..Self::new(row, body)
        }
    }

    fn says(self, says: &'static str) -> Self {
        Self { says, ..self }
    }

    fn state(self, state: &'static str) -> Self {
        Self { state, ..self }
    }

    fn media_type(self, media_type: &'static str) -> Self {
        Self { media_type, ..self }
    }
}

/// A stream of these events.
fn events<S: AsRef<str>>(data: impl IntoIterator<Item = S>) -> String {
    let mut stream = String::new();
    for data in data {
        stream.push_str("data: ");
        stream.push_str(data.as_ref());
        stream.push_str("\n\n");
    }
    stream
}

fn choice(fields: &str) -> String {
    format!(r#"{{"choices":[{{"index":0,{fields}}}]}}"#)
}

/// The text "Hello", and then this.
fn hello(then: &str) -> String {
    events([delta("Hello")]) + then
}

/// An ordinary end.
fn end() -> String {
    events([FINISHED, "[DONE]"])
}

const ERROR: &str = r#"{"id":"gen-1","provider":"Test","error":{"code":502,"message":"upstream died"},"choices":[{"index":0,"delta":{"content":""},"finish_reason":"error"}]}"#;
const COMPLETION: &str = r#"{"id":"gen-1","model":"test/model","choices":[{"index":0,"finish_reason":"stop","message":{"role":"assistant","content":"all at once"}}],"usage":{"prompt_tokens":1,"completion_tokens":3}}"#;

/// Every body.
pub(crate) fn all() -> Vec<Stream> {
    let malformed = "data: {oops\n\n";
    let counted = |count: u32| format!(r#"{{"choices":[],"usage":{{"prompt_tokens":{count}}}}}"#);
    vec![
        Stream::good(1, format!(": OPENROUTER PROCESSING\n\n{}{}{}", hello(""), events([FINISHED, USAGE]), events(["[DONE]"])), "Hello"),
        Stream::good(2, hello(&events([FINISHED, &counted(7), "[DONE]"])), "Hello"),
        Stream::good(3, hello(&events([FINISHED, FINISHED, USAGE, "[DONE]"])), "Hello"),
        Stream::good(4, hello(&end()), "Hello"),
        Stream::good(5, events([
            r#"{"choices":[{"delta":{"content":"He"}}],"usage":null}"#, r#"{"choices":[{"delta":{"content":"llo"},"finish_reason":"stop"}],"usage":null}"#,
            &counted(7), r#"{"choices":[],"usage":null}"#, "[DONE]",
        ]), "Hello"),
        Stream::good(6, events([
            &*delta("Hello"), r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"x_groq":{"usage":{"prompt_tokens":7}},"usage":{"prompt_tokens":7}}"#,
            &counted(7), "[DONE]",
        ]), "Hello"),
        Stream::good(7, events([
            &*choice(r#""delta":{"role":"assistant"}"#), &*choice(r#""delta":{"content":null}"#), &*choice(r#""delta":{"content":""}"#),
            &*choice(r#""finish_reason":null"#), &*choice(r#""delta":{}"#), &*choice(r#""delta":null"#), &*delta("a"),
            &*choice(r#""delta":{"content":null}"#), &*delta("b"), FINISHED, "[DONE]",
        ]), "ab"),
        Stream::good(8, format!(": x\n\n:\n\n:y\r\n{}: z\n\n{}: w\n\n{}: last\n\n", events([delta("a")]), events([delta("b")]), end()), "ab"),
        Stream::good(10, format!("\u{feff}{}", hello(&end())), "Hello"),
        Stream::good(10, format!("\u{feff}{COMPLETION}"), "all at once"),
        Stream::good(11, hello(&end()).replace('\n', "\r\n"), "Hello"),
        Stream::good(11, hello(&end()).replace('\n', "\r"), "Hello"),
        Stream::good(11, format!("data: {}\r\n\ndata: {}\r\rdata: {FINISHED}\n\r\ndata: [DONE]\n\n", delta("a"), delta("b")), "ab"),
        Stream::good(12, format!("data:{}\n\ndata:  {}\n\ndata\n\nnonsense\n\n{}", delta("a"), delta("b"), end()), "ab"),
        Stream::good(12, format!("data: {{\"choices\":\ndata: [{{\"delta\":\ndata:{{\"content\":\"a\"}}}}]}}\n\n{}", end()), "a"),
        Stream::good(12, format!(" data: {}\n\n{}{}", delta("not a field"), events([delta("a")]), end()), "a"),
        Stream::good(13, format!("{}{}", events([delta("é🙂日本👩‍👩‍👧")]), end()), "é🙂日本👩‍👩‍👧"),
        Stream::good(14, [b"data: {\"choices\":[{\"delta\":{\"content\":\"a\xffb\xf0\x9f\"},\"finish_reason\":\"stop\"}]}\n\n".as_slice(), b"data: [DONE]\n\n"].concat(), "a\u{fffd}b\u{fffd}"),
        Stream::good(15, events([delta(&"x".repeat(64 << 10))]) + &end(), &"x".repeat(64 << 10)),
        Stream::good(16, format!("id: 1\nevent: message\nretry: 5\nother: z\nunknown\ndata: {}\n\n{}", delta("a"), end()), "a"),
        Stream::broken(17, hello("event: error\ndata: {\"message\":\"boom\"}\n\n"), "Hello", "boom"),
        Stream::broken(17, hello("event: error\ndata: out of memory\n\ndata: [DONE]\n\n"), "Hello", "out of memory"),
        Stream::none(17, "event: error\ndata: {\"message\":\"bad field\",\"code\":400}\n\n", 65, 1, "bad field"),
        Stream::good(18, hello("data: [DONE]"), "Hello").says("did not say why"),
        Stream::good(18, hello(&format!("{}data: [DONE]\n", events([FINISHED]))), "Hello"),
        Stream::good(19, hello(&events([FINISHED])), "Hello"),
        Stream::good(19, hello(&format!("data: {FINISHED}")), "Hello"),
        Stream::good(20, hello(&events(["[DONE]"])), "Hello").says("warning: the server did not say why the reply ended"),
        Stream::broken(21, hello(""), "Hello", "the connection ended before the reply did"),
        Stream::broken(21, hello("data: {\"choices\":[{\"delta\":{\"cont"), "Hello", "hint: what has arrived is kept"),
        Stream::none(23, "", 76, 2, "the reply is empty"),
        Stream::none(23, events(["[DONE]"]), 76, 2, "the reply is empty"),
        Stream::none(23, ": only a comment\n\n", 76, 2, "the reply is empty"),
        Stream::none(24, events([r#"{"choices":[{"delta":{"content":""},"finish_reason":"stop","native_finish_reason":"network_error"}]}"#, "[DONE]"]), 76, 2, "the reply is empty"),
        Stream::good(25, hello(&format!("{}{}data: {{oops\n\n", end(), events([delta("more"), ERROR.to_owned()]))), "Hello"),
        Stream::good(26, hello(&format!("{malformed}{}", end())), "Hello").says("warning: passed over 1 malformed piece of the reply"),
        Stream::broken(26, hello(&malformed.repeat(4)), "Hello", "is not a chat API"),
        Stream::none(26, format!("{malformed}{}", events(["[DONE]"])), 76, 1, "is not a chat API"),
        Stream::good(27, events([r#"{"debug":{"echo_upstream_body":{}},"choices":[]}"#, &*delta("Hello"), r#"{"x_groq":{"id":1}}"#, "{}", FINISHED, "[DONE]"]), "Hello"),
        Stream::none(29, events([r#"{"error":{"code":400,"message":"bad thing"},"choices":[]}"#]), 65, 1, "bad thing (HTTP 400)"),
        Stream::none(29, events([r#"{"error":{"code":402,"message":"Insufficient credits"}}"#]), 77, 1, "not enough credit"),
        Stream::broken(30, hello(&events([ERROR])), "Hello", "upstream died (HTTP 502, from Test)"),
        Stream::broken(31, hello(&events([r#"{"error":{"code":"server_error","message":"m"},"choices":[]}"#])), "Hello", "the reply failed midway"),
        Stream::broken(31, hello(&events([r#"{"error":"boom"}"#])), "Hello", "boom"),
        Stream::broken(31, hello(&events([r#"{"choices":[],"error":{"message":"m"}}"#])), "Hello", "the reply failed midway"),
        Stream::broken(31, hello(&events([r#"{"choices":[{"error":{"code":500,"message":"m"}}]}"#])), "Hello", "m (HTTP 500"),
        Stream::broken(31, hello(&events([r#"{"error":[1,{"x":null}]}"#])), "Hello", "the reply failed midway"),
        Stream::broken(32, hello(&events([r#"{"choices":[{"finish_reason":"error","native_finish_reason":"network_error"}]}"#])), "Hello", "the server gave up: network_error"),
        Stream::broken(33, hello(&events([ERROR, "[DONE]"])), "Hello", "upstream died"),
        Stream::none(34, r#"{"error":{"code":400,"message":"bad thing"}}"#, 65, 1, "bad thing").media_type("application/json"),
        Stream::none(34, r#"{"error":{"code":401,"message":"User not found."}}"#, 77, 1, "refused the API key").media_type("application/json"),
        Stream::good(35, COMPLETION, "all at once").media_type("application/json"),
        Stream::good(35, format!("\n\n  {COMPLETION}"), "all at once"),
        Stream::none(36, "<!doctype html><title>Sign in</title>", 76, 1, "does it end in /v1?").media_type("text/html; charset=utf-8"),
        Stream::none(36, "Welcome", 76, 1, "is not a chat API").media_type("Text/HTML"),
        Stream::none(36, " \n<html>", 76, 1, "is not a chat API"),
        Stream::none(36, r#"{"hello":"world"}"#, 76, 1, "is not a chat API").media_type("application/json"),
        Stream::good(61, hello(&events([&*choice(r#""delta":{},"finish_reason":"length""#), "[DONE]"])), "Hello").state("length").says("maximum number of tokens; go on with `pachat send -c 'go on'`"),
        Stream::good(62, hello(&events([&*choice(r#""delta":{},"finish_reason":"content_filter""#), "[DONE]"])), "Hello").state("filtered").says("content filter"),
        Stream::none(62, events([&*choice(r#""delta":{"content":""},"finish_reason":"content_filter""#), "[DONE]"]), 65, 1, "refused to answer: a content filter"),
        Stream::none(62, events([&*choice(r#""delta":{"refusal":"I can"}"#), &*choice(r#""delta":{"refusal":"not do that"},"finish_reason":"stop""#), "[DONE]"]), 65, 1, "refused to answer: I cannot do that"),
        Stream::none(63, events([
            &*choice(r#""delta":{"role":"assistant","content":null,"tool_calls":[{"index":0,"id":"c1","type":"function","function":{"name":"get_weather","arguments":""}}]}"#),
            &*choice(r#""delta":{"tool_calls":[{"index":0,"function":{"name":"","arguments":"{}"}}]}"#), &*choice(r#""delta":{},"finish_reason":"tool_calls""#), "[DONE]",
        ]), 76, 1, "the model asked for a tool, get_weather: pachat offers none"),
        Stream::broken(64, events([&*choice(r#""delta":{"reasoning":"hm"}"#), &*choice(r#""finish_reason":"length""#), r#"{"choices":[],"usage":{"completion_tokens":16}}"#, "[DONE]"]), "", "all 16 tokens went to reasoning"),
        Stream::broken(64, events([&*choice(r#""delta":{"reasoning":"hm"},"finish_reason":"stop""#), "[DONE]"]), "", "the model reasoned and then said nothing"),
        Stream::good(65, events([&*choice(r#""delta":{"reasoning_content":"h"}"#), &*choice(r#""delta":{"reasoning":"m","reasoning_content":"twice","reasoning_details":[{"type":"reasoning.encrypted","data":"xx"}]}"#), &*delta("Hello"), FINISHED, "[DONE]"]), "Hello"),
        Stream::good(66, events([&*delta("<think>hm"), &*delta("</think>y"), FINISHED, "[DONE]"]), "<think>hm</think>y"),
        Stream::good(67, hello(&end()), "Hello"),
        Stream::good(68, hello(&end()).replace("gen-1", "chatcmpl-7"), "Hello"),
        Stream::good(74, events([r#"{"id":7,"created":123456789012345678901234567890,"x":{"y":[1e999,-0,{}]},"model":null,"choices":[{"index":0.0,"delta":{"content":"wrong","content":"a","new":1e400},"logprobs":[],"finish_reason":"stop"}],"usage":{"prompt_tokens":7.0,"completion_tokens":1e300,"cost":1e999,"total_tokens":99999999999999999999}}"#, "[DONE]"]), "a"),
        Stream::none(74, events(["7", "[]", "null", "\"x\""]), 76, 1, "is not a chat API"),
    ]
}

fn script(stream: &Stream, step: Step) -> Script {
    Script::new(200, stream.media_type).step(step)
}

/// All bodies of a row, in one piece and byte by byte.
fn check(number: u8) {
    let streams: Vec<Stream> = all().into_iter().filter(|one| one.row == number).collect();
    assert!(!streams.is_empty());
    for stream in streams {
        let body = || stream.body.clone();
        let mut scripts = vec![script(&stream, Step::Send(body()))];
        if stream.body.len() < 8 << 10 {
            scripts.push(script(&stream, Step::Drip(body())));
        }
        for script in scripts {
            let seen = Stage::new([script]).send(&[]);
            let line_feed = if stream.text.is_empty() { "" } else { "\n" };
            let reply = format!("assistant:{}={}", stream.state, stream.text);
            let messages: &[&str] = if stream.state.is_empty() {
                &["user=x"]
            } else {
                &["user=x", &reply]
            };
            let seen = seen
                .stdout(&format!("{}{line_feed}", stream.text))
                .code(stream.code)
                .stored(messages)
                .asked(stream.asked)
                .says(stream.says);
            if stream.says.is_empty() {
                seen.silent();
            }
        }
    }
}

fn script_of(number: u8) -> Script {
    let stream = all().into_iter().find(|one| one.row == number).unwrap();
    let body = stream.body.clone();
    script(&stream, Step::Send(body))
}

/// The first body of a row with `--usage`.
fn usage(number: u8, says: &str) -> crate::stage::Seen {
    check(number);
    Stage::new([script_of(number)])
        .send(&["--usage"])
        .says(says)
}

pub(crate) fn rows() -> Vec<Row> {
    let plain = |number, about| row(number, about, move || check(number));
    vec![
        row(1, "happy stream, usage chunk with choices", || {
            let seen = usage(1, "67 prompt + 5 reply tokens; $0.000013");
            assert_eq!(seen.ran.stderr.matches("tokens; $").count(), 1);
            assert_eq!(seen.reply()["cost"], "0.00001305");
        }),
        row(2, "usage chunk with no choices", || {
            usage(2, "7 prompt + n/a reply tokens; cost n/a");
        }),
        row(3, "finish_reason twice", || {
            check(3);
            Stage::new([script_of(3)])
                .send(&[])
                .stored(&["user=x", "assistant:complete=Hello"]);
        }),
        row(4, "no usage at all", || {
            let seen = usage(4, "tokens n/a; cost n/a");
            assert_eq!(seen.reply().get("usage"), None);
        }),
        row(5, "usage null in every chunk, then real", || {
            let seen = usage(5, "7 prompt");
            assert_eq!(seen.reply()["usage"]["prompt_tokens"], 7);
        }),
        row(6, "usage in three chunks is not summed", || {
            let seen = usage(6, "7 prompt");
            assert_eq!(seen.reply()["usage"]["prompt_tokens"], 7);
        }),
        plain(7, "roles, nulls, empty and missing deltas"),
        plain(8, "comments before, between, after data"),
        row(9, "only comments for longer than data-idle", only_comments),
        plain(10, "byte order mark, also split"),
        plain(11, "CR, LF, CRLF, mixed, also split"),
        plain(12, "spaces, several data lines, no colon"),
        plain(13, "one byte a read, inside an emoji"),
        plain(14, "invalid UTF-8"),
        row(15, "large deltas, events, and above the limit", || {
            check(15);
            let image = "y".repeat(5 << 20);
            let whole = Script::stream().send(events([delta(&image)]) + &end());
            Stage::new([whole])
                .send(&[])
                .stdout(&format!("{image}\n"))
                .code(0)
                .silent();
            let endless = Script::stream().send("data: ".to_owned() + &"z".repeat(17 << 20));
            Stage::new([endless])
                .send(&[])
                .stdout("")
                .code(76)
                .says("the reply is too large: one piece of it has more than 16 MiB")
                .stored(&["user=x"])
                .asked(1);
        }),
        plain(16, "event, id, retry and unknown fields"),
        plain(17, "named error event"),
        plain(18, "[DONE] without a blank line, then the end"),
        plain(19, "finish_reason, then the end"),
        plain(20, "[DONE] but no finish_reason"),
        plain(21, "content, then a bare end"),
        row(22, "chunked body cut, reset, short Content-Length", cut),
        plain(23, "no event at all, or [DONE] alone"),
        plain(24, "stop, no content, native network_error"),
        plain(25, "data after [DONE]"),
        plain(26, "malformed JSON in an event"),
        plain(27, "chunks without choices"),
        plain(29, "400 or 402 as the first event"),
        plain(30, "error event after content"),
        plain(31, "the same in odd shapes"),
        plain(32, "finish_reason error without an error"),
        plain(33, "error event, then [DONE]"),
        plain(34, "200 with a JSON error"),
        plain(35, "200 with a plain completion"),
        plain(36, "200 with a web page"),
        row(61, "cut at max_tokens", || {
            check(61);
            Stage::new([script_of(61)])
                .send(&["--strict"])
                .stdout("Hello\n")
                .code(76)
                .stored(&["user=x", "assistant:length=Hello"]);
        }),
        plain(62, "content filter, refusal"),
        plain(63, "a tool is asked for though none is offered"),
        row(64, "reasoning only", || {
            check(64);
            let seen = Stage::new([script_of(64)])
                .send(&[])
                .says("allow more with --max-tokens");
            assert_eq!(seen.reply()["reasoning"], "hm");
        }),
        row(65, "reasoning in its two fields", || {
            check(65);
            let seen = Stage::new([script_of(65)])
                .send(&[])
                .stdout("Hello\n")
                .silent();
            assert_eq!(seen.reply()["reasoning"], "hm");
        }),
        plain(66, "<think> inside the content"),
        row(67, "another model answers", || {
            let seen = usage(67, "; test/model");
            assert_eq!(seen.reply()["model"], "test/model");
            assert_eq!(seen.reply()["provider"], "Test");
        }),
        row(68, "ids that are not unique", || {
            check(68);
            let stage = Stage::new([script_of(68)]);
            stage.sandbox.run(&["send", "-m", "a/b", "x"]);
            let seen = stage.run(&["send", "-c", "y"]).code(0);
            assert_eq!(
                stored(&seen.conversations[0]),
                [
                    "user=x",
                    "assistant:complete=Hello",
                    "user=y",
                    "assistant:complete=Hello"
                ]
            );
            let id = |at: usize| seen.conversations[0][at]["generation_id"].clone();
            assert_eq!((id(2), id(4)), ("chatcmpl-7".into(), "chatcmpl-7".into()));
        }),
        row(74, "unknown fields, huge numbers, repeated keys", || {
            let seen = usage(74, "7 prompt + n/a reply tokens; cost n/a");
            assert_eq!(seen.reply()["content"], "a");
        }),
    ]
}

/// A generation that is dead on the server is kept alive by its comments only so long.
fn only_comments() {
    let check = |stage: Stage, text: &str, code: u8, messages: &[&str]| {
        stage
            .send(&[])
            .stdout(text)
            .code(code)
            .says("signs of life but no text")
            .says("hint: ")
            .stored(messages)
            .asked(1);
    };
    let comments = |script: Script| {
        (0..500).fold(script, |script, _| {
            let pause = Step::Pause(Duration::from_millis(1));
            script.send(": PROCESSING\n\n").step(pause)
        })
    };
    let silent = Stage::in_quick_time(comments(Script::stream()).step(Step::HangUp));
    check(silent, "", 69, &["user=x"]);
    let midway = Stage::cued(|cues| {
        let script = Script::stream().send(hello("")).step(shown(cues, "Hello"));
        let script = script.send(": PROCESSING\n\n").step(pass(cues, 700));
        vec![script.send(": PROCESSING\n\n").step(Step::HangUp)]
    });
    let midway = midway.setting("timeouts.idle_seconds", "86400");
    let kept = ["user=x", "assistant:error=Hello"];
    check(midway, "Hello\n", 76, &kept);
}

/// However the connection breaks, what arrived is kept; with nothing arrived it is one more
/// try, and then the network's fault.
fn cut() {
    let with = |script: Script| Stage::new([script]).send(&[]);
    for script in [
        Script::stream().send(hello("")).step(Step::Cut),
        Script::stream()
            .send(hello(""))
            .framing(Framing::Length(10)),
        Script::stream().send(hello("")).framing(Framing::Close),
    ] {
        with(script)
            .stdout("Hello\n")
            .code(76)
            .says("the reply is incomplete")
            .stored(&["user=x", "assistant:error=Hello"])
            .asked(1);
    }
    for script in [
        Script::stream().send(": wait\n\n").step(Step::Cut),
        Script::stream()
            .send(": wait\n\n")
            .framing(Framing::Length(10)),
    ] {
        with(script)
            .stdout("")
            .code(69)
            .retried(1)
            .stored(&["user=x"])
            .asked(2);
    }
    // A reset may overtake the text: then there is none, but it is never taken for whole.
    let stage = Stage::cued(|cues| {
        vec![
            Script::stream()
                .send(hello(""))
                .step(shown(cues, "Hello"))
                .step(Step::Reset),
        ]
    });
    stage
        .send(&[])
        .stdout("Hello\n")
        .code(76)
        .stored(&["user=x", "assistant:error=Hello"]);
}
