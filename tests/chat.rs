//! `pachat chat` with a program at the other end: each line of standard input is a prompt,
//! and only replies come out.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests are tests, too"
)]

mod common;

use common::server::{Script, Step, delta};
use common::{context_of, sandbox};
use serde_json::Value;

const CHAT: [&str; 3] = ["chat", "-m", "a/b"];

/// The states of a conversation's replies.
fn states(conversation: &[Value]) -> Vec<&str> {
    let states = conversation
        .iter()
        .filter_map(|line| line["state"].as_str());
    states.collect()
}

fn short_id(conversation: &[Value]) -> String {
    conversation[0]["id"].as_str().unwrap()[16..].to_owned()
}

#[test]
fn each_line_is_a_prompt_and_only_replies_come_out() {
    let (server, sandbox) = sandbox([Script::reply("one"), Script::reply("two\n")]);
    let ran = sandbox.run_with(&CHAT, "first\n\n  \nsecond\n");
    assert_eq!(
        (ran.stdout.as_str(), ran.stderr.as_str(), ran.code),
        ("one\ntwo\n", "", 0)
    );
    assert_eq!(
        context_of(&server.requests()[1].json()),
        ["user:first", "assistant:one", "user:second"]
    );
    let conversations = sandbox.conversations();
    assert_eq!(conversations.len(), 1);
    assert_eq!(conversations[0][0]["title"], "first");
    assert_eq!(states(&conversations[0]), ["complete", "complete"]);
    assert!(!sandbox.path().join("config/pachat/history").exists());
}

#[test]
fn a_backslash_joins_lines_and_the_last_line_needs_no_line_feed() {
    let (server, sandbox) = sandbox([Script::reply("ok")]);
    assert_eq!(sandbox.run_with(&CHAT, "one \\\ntwo\r\nlast").code, 0);
    assert_eq!(
        context_of(&server.requests()[1].json()),
        ["user:one \ntwo", "assistant:ok", "user:last"]
    );
}

#[test]
fn nothing_said_is_nothing_stored() {
    let (server, sandbox) = sandbox([Script::reply("ok")]);
    let ran = sandbox.run_with(&CHAT, "");
    assert_eq!((ran.stdout.as_str(), ran.code), ("", 0));
    assert_eq!(sandbox.run_with(&CHAT, "/exit\nnever read\n").code, 0);
    assert!(server.requests().is_empty());
    assert!(!sandbox.data_dir().exists());
}

#[test]
fn the_first_failure_ends_it_with_its_code() {
    for (script, code, states_then) in [
        (
            Script::json(401, r#"{"error":{"message":"no","code":401}}"#),
            77,
            vec!["complete"],
        ),
        (
            Script::stream().event(&delta("half")).step(Step::Cut),
            76,
            vec!["complete", "error"],
        ),
        (
            Script::json(400, r#"{"error":{"message":"bad","code":400}}"#),
            65,
            vec!["complete"],
        ),
    ] {
        let (server, sandbox) = sandbox([Script::reply("fine"), script]);
        let ran = sandbox.run_with(&CHAT, "one\ntwo\nthree\n");
        assert_eq!(ran.code, code, "{}", ran.stderr);
        assert!(ran.stdout.starts_with("fine\n"), "{}", ran.stdout);
        assert!(ran.stderr.starts_with("pachat: "), "{}", ran.stderr);
        assert_eq!(server.requests().len(), 2, "three was never asked");
        let conversation = sandbox.conversations().remove(0);
        assert_eq!(states(&conversation), states_then);
        let prompts: Vec<&Value> = conversation
            .iter()
            .filter(|line| line["role"] == "user")
            .map(|line| &line["content"])
            .collect();
        assert_eq!(prompts, ["one", "two"]);
    }
}

#[test]
fn a_wrong_command_is_a_failure_for_a_script() {
    let (_server, sandbox) = sandbox([Script::reply("ok")]);
    for (line, code, why) in [
        ("/nosuch", 2, "/nosuch is no command"),
        ("/s x", 2, "did you mean /system?"),
        ("/open zzzzzz", 66, "no conversation `zzzzzz`"),
        ("/open", 2, "name a conversation"),
        ("/undo", 2, "there is no prompt to take back"),
        ("/retry", 2, "there is no prompt to take back"),
        ("/save", 2, "name a file"),
        ("/usage", 2, "nothing has been said yet"),
    ] {
        let ran = sandbox.run_with(&CHAT, &format!("{line}\nnot asked\n"));
        assert_eq!(ran.code, code, "{line}: {}", ran.stderr);
        assert!(ran.stderr.contains(why), "{line}: {}", ran.stderr);
        assert_eq!(ran.stdout, "", "{line}");
    }
    assert!(sandbox.conversations().is_empty());
}

#[test]
fn an_unknown_conversation_is_66_and_no_key_is_77() {
    let (server, mut sandbox) = sandbox([Script::reply("ok")]);
    assert_eq!(sandbox.run_with(&["chat", "-c"], "x\n").code, 66);
    assert_eq!(sandbox.run_with(&["chat", "-C", "zzz"], "x\n").code, 66);
    assert!(server.requests().is_empty());
    sandbox.variables.clear();
    let ran = sandbox.run_with(&["chat"], "x\n");
    assert_eq!(
        (ran.code, ran.stdout.as_str()),
        (77, ""),
        "a script is not answered by the guide unasked"
    );
    assert!(sandbox.conversations().is_empty());
}

#[test]
fn commands_keep_standard_output_for_the_replies() {
    let (_server, sandbox) = sandbox([Script::reply("ok")]);
    let ran = sandbox.run_with(&CHAT, "hello\n/help\n/list\n/usage\n/model\n");
    assert_eq!((ran.stdout.as_str(), ran.code), ("ok\n", 0));
    for said in ["/retry", "hello", "1 reply, 1 with token counts", "a/b"] {
        assert!(ran.stderr.contains(said), "{said}: {}", ran.stderr);
    }
}

#[test]
fn a_conversation_goes_on_and_another_one_begins() {
    let (server, sandbox) = sandbox([Script::reply("ok")]);
    sandbox.run_with(&CHAT, "first\n");
    let id = short_id(&sandbox.conversations()[0]);
    let script = format!("more\n/new Second one\nother\n/open {}\nback\n", &id[..3]);
    let ran = sandbox.run_with(&["chat", "-c", "-m", "a/b"], &script);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(
        context_of(&server.requests()[3].json()),
        [
            "user:first",
            "assistant:ok",
            "user:more",
            "assistant:ok",
            "user:back"
        ]
    );
    assert_eq!(context_of(&server.requests()[2].json()), ["user:other"]);
    let mut titles: Vec<String> = sandbox
        .conversations()
        .iter()
        .map(|lines| lines[0]["title"].as_str().unwrap().to_owned())
        .collect();
    titles.sort();
    assert_eq!(titles, ["Second one", "first"]);
}

#[test]
fn the_model_and_the_instructions_change_in_the_middle() {
    let (server, sandbox) = sandbox([Script::reply("ok")]);
    let script = "/system Be brief.\none\n/model c/d\n/system -\ntwo\n/model builtin/guide\nhow do I export?\n/model a/b e/f\nthree\n";
    let ran = sandbox.run_with(&CHAT, script);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let requests = server.requests();
    let asked: Vec<_> = requests
        .iter()
        .map(|request| request.json()["model"].clone())
        .collect();
    assert_eq!(asked, ["a/b", "c/d", "a/b"]);
    assert_eq!(
        context_of(&requests[0].json()),
        ["system:Be brief.", "user:one"]
    );
    assert_eq!(context_of(&requests[1].json())[0], "user:one");
    let conversation = sandbox.conversations().remove(0);
    assert_eq!(conversation[0]["system"], "Be brief.");
    let models: Vec<&str> = conversation
        .iter()
        .filter(|line| line["type"] == "set")
        .filter_map(|line| line["model"].as_str())
        .collect();
    assert_eq!(models, ["c/d", "builtin/guide", "a/b"]);
}

#[test]
fn a_conversation_that_is_opened_is_answered_by_its_own_model() {
    let (server, sandbox) = sandbox([Script::reply("ok")]);
    sandbox.run_with(&["chat", "-m", "own/model"], "first\n");
    let id = short_id(&sandbox.conversations()[0]);
    let script = format!("/new\n/model builtin/guide\n/open {id}\nsecond\n");
    let ran = sandbox.run_with(&["chat", "-c"], &script);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(server.requests()[1].json()["model"], "own/model");
}

#[test]
fn undo_and_retry_take_back_without_removing() {
    let (server, sandbox) = sandbox([
        Script::reply("one"),
        Script::reply("two"),
        Script::reply("again"),
    ]);
    let ran = sandbox.run_with(&CHAT, "first\nsecond\n/undo\n/retry\n");
    assert_eq!(
        (ran.stdout.as_str(), ran.code),
        ("one\ntwo\nagain\n", 0),
        "{}",
        ran.stderr
    );
    assert_eq!(context_of(&server.requests()[2].json()), ["user:first"]);
    let conversation = sandbox.conversations().remove(0);
    let rewinds: Vec<&Value> = conversation
        .iter()
        .filter(|line| line["type"] == "rewind")
        .map(|line| &line["to"])
        .collect();
    assert_eq!(rewinds, [2, 0]);
    assert_eq!(states(&conversation).len(), 3);
}

#[test]
fn interrupted_replies_stay_out_of_the_context_unless_kept() {
    let cut = || Script::stream().event(&delta("half")).step(Step::Cut);
    let (server, sandbox) = sandbox([cut(), Script::reply("ok")]);
    assert_eq!(sandbox.run_with(&CHAT, "one\n").code, 76);
    let ran = sandbox.run_with(&["chat", "-c"], "two\n/keep\nthree\n");
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(
        context_of(&server.requests()[1].json()),
        ["user:one\n\ntwo"]
    );
    assert_eq!(
        context_of(&server.requests()[2].json()),
        [
            "user:one",
            "assistant:half",
            "user:two",
            "assistant:ok",
            "user:three"
        ]
    );
}

#[test]
fn save_writes_a_copy_and_never_over_a_file() {
    let (_server, sandbox) = sandbox([Script::reply("Whales are big.")]);
    let ran = sandbox.run_with(&CHAT, "whales?\n/save copy.md\n/save copy.md\n");
    assert_eq!(ran.code, 73, "{}", ran.stderr);
    assert!(ran.stderr.contains("the file exists already"));
    let copy = std::fs::read_to_string(sandbox.path().join("copy.md")).unwrap();
    assert!(copy.contains("Whales are big."), "{copy}");
}
