//! Rows 37 to 44, 49, 52 and 69: what a status other than 200 means.

use crate::common::server::{FakeServer, Script};
use crate::stage::{KEY, Seen, Stage};
use crate::{Row, row};

/// A refusal as openrouter.ai sends it: asked once, and the prompt stays.
fn refused(status: u16, body: &str, code: u8) -> Seen {
    let stage = Stage::new([Script::json(status, body)]).openrouter();
    let seen = stage
        .send(&[])
        .stdout("")
        .code(code)
        .stored(&["user=x"])
        .asked(1);
    assert!(seen.ran.stderr.contains("  hint: "), "{}", seen.ran.stderr);
    seen
}

fn error(message: &str) -> String {
    serde_json::json!({ "error": { "message": message } }).to_string()
}

/// The error with these further fields.
fn with(code: u16, message: &str, fields: &str) -> String {
    format!(r#"{{"error":{{"code":{code},"message":"{message}",{fields}}}}}"#)
}

pub(crate) fn rows() -> Vec<Row> {
    vec![
        row(37, "401 in three wordings, and with an empty body", || {
            for body in [
                error("Missing Authentication header"),
                error("No cookie auth credentials found"),
                error("User not found."),
                error(&format!("Incorrect API key provided: {KEY}")),
                String::new(),
            ] {
                refused(401, &body, 77)
                    .says("refused the API key")
                    .says("pachat config key set");
            }
        }),
        row(38, "402 with numbers", || {
            refused(402, &error("This request requires more credits, or fewer max_tokens. You requested up to 65536 tokens, but can only afford 30104."), 77)
                .says("`--max-tokens 30104`")
                .says("https://openrouter.ai/settings/credits");
        }),
        row(39, "402 from a negative balance", || {
            refused(402, &error("Your account has a negative balance"), 77)
                .says("negative balance")
                .says("add credit at https://openrouter.ai/settings/credits");
        }),
        row(40, "403 from moderation", || {
            refused(403, &with(403, "Your chosen model requires moderation and your input was flagged", r#""metadata":{"reasons":["violence","hate"],"flagged_input":"kill the\nprocess","provider_name":"P"}"#), 65)
                .says("cause: violence, hate, about “kill the process”")
                .says("from P");
        }),
        row(41, "403 from a guardrail, a region, a permission", || {
            refused(
                403,
                &with(
                    403,
                    "Blocked by guardrail",
                    r#""metadata":{"patterns":["secret-names"]}"#,
                ),
                65,
            )
            .says("cause: secret-names");
            refused(403, &with(403, "This model is not available in your region", r#""availability":{"code":"region_restricted","retryable":false,"fallback_models":["c/d"]}"#), 65)
                .says("not available in your region");
            refused(
                403,
                &error("Only management keys can perform this operation"),
                77,
            )
            .says("management keys");
        }),
        row(42, "400 unknown model", unknown_model),
        row(
            43,
            "404 privacy settings, and a free variant that ended",
            || {
                refused(404, &with(404, "No endpoints found matching your data policy", r#""availability":{"code":"privacy_restricted","excluded_by":["data_collection","zdr"]}"#), 65)
                .says("excluded by data_collection, zdr")
                .says("https://openrouter.ai/settings/privacy");
                let ended = with(
                    404,
                    "The free variant has ended",
                    r#""availability":{"code":"free_variant_ended"}"#,
                );
                let stage = Stage::new([Script::json(404, &ended)]).openrouter();
                stage
                    .run(&["send", "-m", "a/b:free", "x"])
                    .code(65)
                    .says("`-m a/b` is the same model and costs something")
                    .stored(&["user=x"])
                    .asked(1);
            },
        ),
        row(44, "400 context length", || {
            refused(400, &error("This endpoint's maximum context length is 32768 tokens. However, you requested about 40000 tokens."), 65)
                .says("too long for this model")
                .says("32768")
                .says("40000");
            refused(
                400,
                &with(
                    400,
                    "the request exceeds the available context size",
                    r#""type":"exceed_context_size_error","n_prompt_tokens":5010,"n_ctx":2048"#,
                ),
                65,
            )
            .says("cause: 5010 tokens, and 2048 fit")
            .says("take prompts back with /undo");
            refused(
                400,
                &error("litellm.ContextWindowExceededError: too long"),
                65,
            )
            .says("too long for this model");
        }),
        row(49, "429 for the day", daily),
        row(52, "error bodies: HTML, nothing, 1 MB, escapes", odd_bodies),
        row(69, "301, 302, 307, 308", || {
            let other = FakeServer::answering([Script::reply("stolen")]);
            for status in [301, 302, 307, 308] {
                let target = format!("{}/elsewhere", other.base_url());
                let script = Script::json(status, "").header("Location", &target);
                Stage::new([script])
                    .send(&[])
                    .stdout("")
                    .code(76)
                    .says(&format!("redirected to {target}"))
                    .says("the key was not sent there")
                    .stored(&["user=x"])
                    .asked(1);
            }
            assert!(other.requests().is_empty());
        }),
    ]
}

/// The server's own proposals come first; without any, those of the kept list that look like
/// what was typed.
fn unknown_model() {
    refused(
        400,
        &with(
            400,
            "a/b is not a valid model ID",
            r#""availability":{"code":"model_not_found","fallback_models":["c/d","e/f"]}"#,
        ),
        65,
    )
    .says("cannot use the model a/b")
    .says("try `-m c/d`, or e/f");
    refused(400, &error("a/b is not a valid model ID"), 65).says("`pachat models` lists");
    let server = FakeServer::deciding(|request| {
        if request.path.ends_with("/models") {
            Script::json(
                200,
                r#"{"data":[{"id":"openai/gpt-5"},{"id":"mistral/small"},{"id":"openai/gpt-5-mini"}]}"#,
            )
        } else {
            Script::json(
                400,
                r#"{"error":{"message":"not a valid model ID","code":400}}"#,
            )
        }
    });
    let sandbox = crate::common::host::Sandbox::with_server(&server.base_url());
    assert_eq!(sandbox.run(&["models"]).code, 0);
    let ran = sandbox.run(&["send", "-m", "openai/gtp-5", "x"]);
    Seen::new(ran, sandbox.conversations(), server.requests())
        .code(65)
        .says("hint: did you mean `-m openai/gpt-5`?")
        .stored(&["user=x"])
        .asked(2);
    let ran = sandbox.run(&["send", "-m", "gpt-5", "--no-save", "x"]);
    Seen::new(ran, sandbox.conversations(), server.requests())
        .code(65)
        .says("did you mean `-m openai/gpt-5`, or openai/gpt-5-mini?")
        .asked(3);
}

/// The day's quota: no further try, and the time of the reset as the person's clock shows it.
fn daily() {
    let body = r#"{"error":{"message":"Rate limit exceeded: free-models-per-day","code":429,"metadata":{"headers":{"X-RateLimit-Reset":"1787616000000"},"limit_source":"openrouter_free_tier_daily"}}}"#;
    let in_header = Script::json(429, r#"{"error":{"message":"daily limit"}}"#)
        .header("X-RateLimit-Reset", "1787616000000");
    for script in [Script::json(429, body), in_header] {
        let mut cues = crate::common::host::Cues::default();
        let zone = jiff::tz::TimeZone::fixed(jiff::tz::offset(2));
        let clock = crate::common::host::TestClock::new().in_zone(zone);
        cues.clock = std::sync::Arc::new(clock);
        let stage = Stage::on(cues, |_| vec![script]).openrouter();
        stage
            .run(&["send", "-m", "a/b:free", "x"])
            .stdout("")
            .code(75)
            .says("today's quota is used up")
            .says("at 2026-08-25 02:00 +02; until then, `-m a/b` costs a little")
            .retried(0)
            .stored(&["user=x"])
            .asked(1);
    }
    // A reset that makes no sense is not told.
    for reset in ["-1", "99999999999999999", "soon"] {
        let script = Script::json(429, r#"{"error":{"message":"daily limit"}}"#)
            .header("X-RateLimit-Reset", reset);
        Stage::new([script]).send(&[]).code(75).asked(1);
    }
}

/// The harness itself looks for control characters and for lines that are too long.
fn odd_bodies() {
    let page = "<!doctype html><html><head><TITLE>502 Bad\nGateway</title></head><body>nginx";
    let dirty = "a\u{1b}[31mb\u{1b}]0;title\u{7}c\u{9b}1md\u{0}\u{202e}e\u{7f}\r\nf";
    for (body, says) in [
        (page.to_owned(), "502 Bad Gateway (HTTP"),
        (String::new(), "HTTP "),
        ("x".repeat(1 << 20), "xxx…"),
        (error(&"\u{1b}[31m".repeat(9000)), "HTTP "),
        (dirty.to_owned(), "abcde f (HTTP"),
        (error(dirty), "abcde f (HTTP"),
        ("{\"error\":".to_owned(), "(HTTP"),
        ("\u{feff}[[[[".to_owned(), "(HTTP"),
        ("\u{202e}\u{200f}".to_owned(), "HTTP "),
    ] {
        for (status, code) in [
            (400, 65),
            (500, 69),
            (503, 69),
            (429, 75),
            (402, 77),
            (401, 77),
        ] {
            let stage = Stage::new([Script::json(status, &body)]);
            stage
                .send(&["--no-retry"])
                .stdout("")
                .code(code)
                .says(says)
                .stored(&["user=x"])
                .asked(1);
        }
    }
    let mut bytes = b"bad \xff\xfe bytes".to_vec();
    bytes.extend([0; 100]);
    Stage::new([Script::new(500, "text/plain").send(bytes)])
        .send(&["--no-retry"])
        .code(69)
        .says("bad \u{fffd}\u{fffd} bytes (HTTP 500)");
}
