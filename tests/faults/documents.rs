//! Rows 71 and 76: the list of models, with odd prices and from odd servers.

use pachat::platform::Clock;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::common::host::{Cues, Ran, Sandbox};
use crate::common::server::{FakeServer, Script};
use crate::{Row, row};

pub(crate) fn rows() -> Vec<Row> {
    vec![
        row(
            71,
            "prices: -1, null, missing, 1e-7, overrides, discount",
            prices,
        ),
        row(
            76,
            "lists: empty, large, other shapes, 304, stale, offline",
            lists,
        ),
    ]
}

fn models(list: &str, args: &[&str]) -> Ran {
    let server = FakeServer::answering([Script::json(200, list)]);
    let sandbox = Sandbox::with_server(&server.base_url());
    sandbox.run(&[&["models"], args].concat())
}

fn prices() {
    for (pricing, prompt, completion, free) in [
        (r#"{"prompt":"-1","completion":"-1"}"#, None, None, false),
        (r#"{"prompt":null,"completion":null}"#, None, None, false),
        ("{}", None, None, false),
        ("null", None, None, false),
        ("7", None, None, false),
        (
            r#"{"prompt":"1e-7","completion":1e-7}"#,
            Some("0.0000001"),
            Some("0.0000001"),
            false,
        ),
        (
            r#"{"prompt":"0.00000005","completion":"5E-9"}"#,
            Some("0.00000005"),
            Some("0.000000005"),
            false,
        ),
        (
            r#"{"prompt":"0","completion":"0"}"#,
            Some("0"),
            Some("0"),
            true,
        ),
        (r#"{"prompt":"NaN","completion":"inf"}"#, None, None, false),
        (
            r#"{"prompt":"1e999","completion":"-1e999"}"#,
            None,
            None,
            false,
        ),
        (
            r#"{"prompt":"0.000003","completion":"0.000015","discount":0.5,"overrides":[{"min_prompt_tokens":200000,"prompt":"0.000006"}],"request":"-1"}"#,
            Some("0.000003"),
            Some("0.000015"),
            false,
        ),
    ] {
        let list = format!(r#"{{"data":[{{"id":"m","pricing":{pricing}}},{{"id":"n"}}]}}"#);
        let ran = models(&list, &["--json"]);
        assert_eq!(ran.code, 0, "{pricing}: {}", ran.stderr);
        let document: Value = serde_json::from_str(&ran.stdout).unwrap();
        let model = &document["models"][0];
        assert_eq!(model["prompt_price"].as_str(), prompt, "{pricing}");
        assert_eq!(model["completion_price"].as_str(), completion, "{pricing}");
        assert_eq!(model["free"], free, "{pricing}");
        let table = models(&list, &[]);
        assert_eq!(table.code, 0, "{pricing}: {}", table.stderr);
        assert!(
            !table.stdout.contains("NaN") && !table.stdout.contains("inf"),
            "{}",
            table.stdout
        );
    }
}

fn ids(ran: &Ran) -> Vec<String> {
    let document: Value = serde_json::from_str(&ran.stdout).unwrap();
    let models = document["models"].as_array().unwrap().iter();
    models
        .map(|model| model["id"].as_str().unwrap().to_owned())
        .collect()
}

fn lists() {
    for (list, expected) in [
        (
            r#"{"models":[{"name":"x"}],"object":"list","data":[{"id":"gemma","meta":{"n_ctx":2048}}]}"#,
            &["gemma"][..],
        ),
        (r#"{"models":[{"name":"llama3:8b"}]}"#, &["llama3:8b"]),
        (r#"[{"id":"a"},{"id":"b"},{"id":"a"}]"#, &["a", "b"]),
        (
            r#"{"data":[7,null,{},{"id":""},{"id":"c","context_length":"x"},{"id":"d","pricing":{"prompt":1e400}}]}"#,
            &["c"],
        ),
    ] {
        let ran = models(list, &["--json"]);
        assert_eq!(
            (ids(&ran).as_slice(), ran.code),
            (to_owned(expected).as_slice(), 0),
            "{list}"
        );
    }
    for (list, code, says) in [
        (r#"{"data":[]}"#, 1, "no model matches"),
        ("<html>", 76, "the list of models cannot be read"),
        ("{}", 76, "not a list of models"),
        ("", 76, "not a list of models"),
    ] {
        let ran = models(list, &[]);
        assert_eq!(
            (ran.stdout.as_str(), ran.code),
            ("", code),
            "{list}: {}",
            ran.stderr
        );
        assert!(ran.stderr.contains(says), "{list}: {}", ran.stderr);
    }
    large_kept_and_stale();
    an_empty_list_is_not_kept();
}

fn to_owned(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

/// A list of the size of openrouter.ai's is asked for once an hour, and is better than none
/// when the server is away.
fn large_kept_and_stale() {
    let description = "d".repeat(1700);
    let entries: Vec<String> = (0..350)
        .map(|n| format!(r#"{{"id":"a/model-{n}","description":"{description}","pricing":{{"prompt":"0.000001"}}}}"#))
        .collect();
    let list = format!(r#"{{"data":[{}]}}"#, entries.join(","));
    assert!(list.len() > 600_000);
    let turn = Arc::new(AtomicUsize::new(0));
    let answers = Arc::clone(&turn);
    let server = FakeServer::deciding(move |_| match answers.load(Ordering::SeqCst) {
        0 => Script::json(200, &list),
        1 => Script::json(304, ""),
        _ => Script::json(503, "<html>away"),
    });
    let sandbox = Sandbox::with_server(&server.base_url());
    // One clock for all runs: an hour is to pass.
    let clock = Cues::default().clock;
    let run = |args: &[&str]| {
        let cues = Cues {
            clock: Arc::clone(&clock),
            ..Cues::default()
        };
        sandbox.run_on(&cues, args, "")
    };
    let offline = run(&["models", "--offline"]);
    assert_eq!(offline.code, 66, "{}", offline.stderr);
    for _ in 0..2 {
        let ran = run(&["models", "--json"]);
        assert_eq!((ids(&ran).len(), ran.code), (350, 0), "{}", ran.stderr);
    }
    assert_eq!(server.requests().len(), 1, "kept for an hour");
    clock.sleep(Duration::from_secs(3700));
    for round in 1..=2 {
        turn.store(round, Ordering::SeqCst);
        let ran = run(&["models", "--json"]);
        assert_eq!((ids(&ran).len(), ran.code), (350, 0), "{}", ran.stderr);
        assert!(
            ran.stderr.contains("warning: this list is from 2026-08-22"),
            "{}",
            ran.stderr
        );
        assert_eq!(server.requests().len(), 1 + round);
    }
    let refreshed = run(&["models", "--refresh"]);
    assert_eq!(refreshed.code, 69, "{}", refreshed.stderr);
    let asked = server.requests().len();
    let offline = run(&["models", "--offline", "--json"]);
    assert_eq!(
        (ids(&offline).len(), offline.code),
        (350, 0),
        "{}",
        offline.stderr
    );
    assert_eq!(server.requests().len(), asked, "no network");
}

/// A server that has loaded no model yet is asked again.
fn an_empty_list_is_not_kept() {
    let server = FakeServer::answering([
        Script::json(200, r#"{"object":"list","data":[]}"#),
        Script::json(200, r#"{"object":"list","data":[{"id":"just-loaded"}]}"#),
        Script::reply("ok"),
    ]);
    let sandbox = Sandbox::with_server(&server.base_url());
    let ran = sandbox.run(&["send", "x"]);
    assert_eq!(ran.code, 69);
    assert!(
        ran.stderr.contains("the server has no models"),
        "{}",
        ran.stderr
    );
    let ran = sandbox.run(&["send", "x"]);
    assert_eq!(
        (ran.stdout.as_str(), ran.code),
        ("ok\n", 0),
        "{}",
        ran.stderr
    );
    assert_eq!(server.requests()[2].json()["model"], "just-loaded");
}
