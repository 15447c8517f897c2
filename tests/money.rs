//! What was spent, what may be spent, and what interrupted replies cost.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may panic, and looks at the machine itself"
)]

mod common;

use common::host::Sandbox;
use common::server::{FakeServer, Script, delta};

const MODELS: &str = r#"{"data":[{"id":"a/b","context_length":1000,"pricing":{"prompt":"0.001","completion":"0.01"}},{"id":"free/one","context_length":1000,"pricing":{"prompt":"0","completion":"0"}}]}"#;

/// A sandbox whose loopback server counts as OpenRouter, with an account behind it.
fn sandbox(server: &FakeServer) -> Sandbox {
    let sandbox = Sandbox::with_server(&server.base_url());
    assert_eq!(
        sandbox
            .run(&["config", "set", "api.profile", "openrouter"])
            .code,
        0
    );
    sandbox
}

fn server() -> FakeServer {
    FakeServer::deciding(|request| match request.path.as_str() {
        "/v1/models" => Script::json(200, MODELS),
        path if path.starts_with("/v1/generation") => Script::json(
            200,
            r#"{"data":{"id":"gen-1","total_cost":2.5e-07,"tokens_prompt":7,"tokens_completion":3}}"#,
        ),
        _ if request.json()["messages"].to_string().contains("be cut") => {
            Script::stream().event(&delta("half"))
        }
        // Its cost is 0.00001305.
        _ => Script::reply("ok"),
    })
}

#[test]
fn a_budget_that_is_used_up_refuses_before_anything_is_stored() {
    let server = server();
    let sandbox = sandbox(&server);
    sandbox.run(&["config", "set", "limits.daily_cost_usd", "0.00002"]);
    for prompt in ["one", "two"] {
        assert_eq!(sandbox.run(&["send", "-m", "a/b", prompt]).code, 0);
    }
    let refused = sandbox.run(&["send", "-m", "a/b", "three"]);
    assert_eq!((refused.code, refused.stdout.as_str()), (75, ""));
    assert!(
        refused
            .stderr
            .contains("$0.000026 of $0.00002 were spent today"),
        "{}",
        refused.stderr
    );
    assert_eq!(sandbox.conversations().len(), 2);
    assert_eq!(server.requests().len(), 2);
    // What was undone was paid all the same; the guide costs nothing.
    assert_eq!(
        sandbox
            .run(&["send", "-m", "builtin/guide", "where are my files?"])
            .code,
        0
    );
}

#[test]
fn a_request_that_might_cost_too_much_is_refused() {
    let server = server();
    let sandbox = sandbox(&server);
    let send =
        |args: &[&str]| sandbox.run(&[&["send", "--max-cost", "0.05"], args, &["x"]].concat());
    let refused = send(&["-m", "a/b", "--max-tokens", "10"]);
    assert_eq!((refused.code, refused.stdout.as_str()), (2, ""));
    assert!(
        refused
            .stderr
            .contains("up to about $0.1010 for 1 + 10 tokens of a/b"),
        "{}",
        refused.stderr
    );
    assert_eq!(send(&["-m", "a/b", "--max-tokens", "4"]).code, 0);
    assert_eq!(send(&["-m", "free/one"]).code, 0);
    let unknown = send(&["-m", "no/such"]);
    assert!(
        unknown.stderr.contains("the price of no/such is not known"),
        "{}",
        unknown.stderr
    );
    let asked = server
        .requests()
        .iter()
        .filter(|request| request.path.contains("chat"))
        .count();
    assert_eq!((asked, sandbox.conversations().len()), (2, 2));
}

#[test]
fn what_an_interrupted_reply_cost_is_asked_for_with_the_next_one() {
    let server = server();
    let sandbox = sandbox(&server);
    assert_eq!(sandbox.run(&["send", "-m", "a/b", "be cut"]).code, 76);
    assert_eq!(sandbox.conversations()[0][2].get("cost"), None);
    assert_eq!(
        sandbox.run(&["send", "-c", "and on"]).code,
        76,
        "the context still says it"
    );
    assert_eq!(
        sandbox.run(&["send", "-m", "a/b", "-C", "last", "x"]).code,
        76
    );
    let before = server
        .requests()
        .iter()
        .filter(|request| request.path.contains("generation"))
        .count();
    assert_eq!(before, 0, "only after a reply that came to its end");

    let other = FakeServer::deciding(|request| match request.path.as_str() {
        "/v1/generation?id=gen-1" => Script::json(
            200,
            r#"{"data":{"total_cost":2.5e-07,"tokens_prompt":7,"tokens_completion":3}}"#,
        ),
        _ => Script::reply("whole"),
    });
    let mut sandbox = sandbox;
    sandbox.set("OPENROUTER_BASE_URL", &other.base_url());
    assert_eq!(sandbox.run(&["send", "-c", "once more"]).code, 0);
    let lines = sandbox.conversations().remove(0);
    let charges: Vec<_> = lines
        .iter()
        .filter(|line| line["type"] == "charge")
        .collect();
    assert_eq!(charges.len(), 3);
    assert_eq!(charges[0]["cost"], "0.00000025");
    let listed = sandbox.run(&["list", "--json"]).stdout;
    assert!(listed.contains(r#""cost":"0.0000138""#), "{listed}");
    let usage = sandbox.run(&["send", "-c", "--usage", "again"]).stderr;
    assert!(
        usage.contains("today") && usage.contains("this month"),
        "{usage}"
    );
}

#[test]
fn a_server_of_ones_own_has_no_price() {
    let server = server();
    let sandbox = Sandbox::with_server(&server.base_url());
    assert_eq!(
        sandbox
            .run(&["send", "-m", "a/b", "--max-cost", "0", "x"])
            .code,
        0
    );
}
