//! `pachat send` as a person and a script see it: stdout, stderr, exit code, files.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may panic, and looks at the machine itself"
)]

mod common;

use common::host::Sandbox;
use common::server::{FakeServer, Script, delta};
use common::{context_of, sandbox};
use serde_json::{Value, json};

/// The roles and states of a conversation's messages.
fn shape(conversation: &[Value]) -> Vec<String> {
    conversation
        .iter()
        .filter(|line| line["type"] == "message")
        .map(|line| match line["state"].as_str() {
            Some(state) => format!("{}:{state}", line["role"].as_str().unwrap()),
            None => line["role"].as_str().unwrap().to_owned(),
        })
        .collect()
}

#[test]
fn stdout_is_the_reply_and_nothing_else() {
    let (_server, sandbox) = sandbox([Script::reply("Blue, because of Rayleigh.")]);
    let ran = sandbox.run(&["send", "-m", "a/b", "why is the sky blue?"]);
    assert_eq!(
        (ran.stdout.as_str(), ran.stderr.as_str(), ran.code),
        ("Blue, because of Rayleigh.\n", "", 0)
    );
    let conversations = sandbox.conversations();
    assert_eq!(conversations.len(), 1);
    assert_eq!(shape(&conversations[0]), ["user", "assistant:complete"]);
    assert_eq!(conversations[0][0]["title"], "why is the sky blue?");
    assert_eq!(conversations[0][1]["content"], "why is the sky blue?");
    assert_eq!(conversations[0][2]["content"], "Blue, because of Rayleigh.");
}

#[test]
fn a_reply_with_a_line_feed_of_its_own_gets_no_second_one() {
    let (_server, sandbox) = sandbox([Script::reply(" two\n\nlines\n")]);
    assert_eq!(
        sandbox.run(&["send", "-m", "a/b", "x"]).stdout,
        " two\n\nlines\n"
    );
}

#[test]
fn escape_sequences_reach_a_pipe_exactly() {
    let (_server, sandbox) = sandbox([Script::reply("a\u{1b}[31mb\u{7}\u{202e}c")]);
    assert_eq!(
        sandbox.run(&["send", "-m", "a/b", "x"]).stdout,
        "a\u{1b}[31mb\u{7}\u{202e}c\n"
    );
}

#[test]
fn the_prompt_is_arguments_files_and_standard_input() {
    let (server, sandbox) = sandbox([Script::reply("ok")]);
    std::fs::write(sandbox.path().join("a.rs"), "fn a() {}\n").unwrap();
    let ran = sandbox.run_with(
        &["send", "-m", "a/b", "-f", "a.rs", "what", "is this?"],
        "from the pipe\n",
    );
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(
        context_of(&server.requests()[0].json()),
        ["user:what is this?\n\na.rs:\n```rs\nfn a() {}\n```\n\nfrom the pipe"]
    );
    assert_eq!(
        sandbox
            .run_with(&["send", "-m", "a/b", "-"], "only stdin")
            .code,
        0
    );
    assert_eq!(
        context_of(&server.requests()[1].json()),
        ["user:only stdin"]
    );
}

#[test]
fn an_empty_prompt_is_a_usage_error_and_stores_nothing() {
    let (server, sandbox) = sandbox([Script::reply("ok")]);
    let ran = sandbox.run_with(&["send", "-m", "a/b"], " \n");
    assert_eq!((ran.stdout.as_str(), ran.code), ("", 2));
    assert!(
        ran.stderr.contains("there is nothing to send"),
        "{}",
        ran.stderr
    );
    assert!(server.requests().is_empty());
    assert!(!sandbox.data_dir().exists());
}

#[test]
fn continuing_sends_the_whole_conversation() {
    let (server, sandbox) = sandbox([
        Script::reply("one"),
        Script::reply("two"),
        Script::reply("three"),
    ]);
    sandbox.run(&["send", "-m", "a/b", "-s", "be brief", "first"]);
    assert_eq!(sandbox.run(&["send", "-c", "second"]).stdout, "two\n");
    let id = sandbox.conversations()[0][0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(
        sandbox.run(&["send", "-C", &id[16..20], "third"]).stdout,
        "three\n"
    );
    let requests = server.requests();
    assert_eq!(
        context_of(&requests[2].json()),
        [
            "system:be brief",
            "user:first",
            "assistant:one",
            "user:second",
            "assistant:two",
            "user:third"
        ]
    );
    assert_eq!(
        requests[2].json()["model"],
        "a/b",
        "the conversation's model is asked again"
    );
    assert_eq!(sandbox.conversations().len(), 1);
}

#[test]
fn a_conversation_is_found_by_its_exact_title_and_never_guessed() {
    let (_server, sandbox) = sandbox([Script::reply("ok")]);
    sandbox.run(&["send", "-m", "a/b", "--title", "My plan", "x"]);
    assert_eq!(sandbox.run(&["send", "-C", "My plan", "y"]).code, 0);
    for unknown in ["my plan", "zzzzzz", "20260101-000000-zzzzzz"] {
        let ran = sandbox.run(&["send", "-C", unknown, "y"]);
        assert_eq!(ran.code, 66, "{unknown}");
        assert!(ran.stderr.contains("no conversation"), "{}", ran.stderr);
    }
    assert_eq!(
        sandbox.conversations().len(),
        1,
        "no new conversation is begun instead"
    );
    assert_eq!(
        Sandbox::new()
            .run(&["send", "-m", "builtin/guide", "-c", "x"])
            .code,
        66
    );
}

#[test]
fn an_ambiguous_id_is_refused_with_the_candidates() {
    let (_server, sandbox) = sandbox([Script::reply("ok")]);
    sandbox.run(&["send", "-m", "a/b", "--title", "same", "x"]);
    sandbox.run(&["send", "-m", "a/b", "--title", "same", "y"]);
    let ran = sandbox.run(&["send", "-C", "same", "z"]);
    assert_eq!(ran.code, 2);
    for conversation in sandbox.conversations() {
        assert!(
            ran.stderr.contains(conversation[0]["id"].as_str().unwrap()),
            "{}",
            ran.stderr
        );
    }
}

#[test]
fn without_saving_nothing_at_all_is_on_disk() {
    let (_server, sandbox) = sandbox([Script::reply("secret")]);
    let before: Vec<_> = walk(sandbox.path());
    let ran = sandbox.run(&["send", "-m", "a/b", "--no-save", "x"]);
    assert_eq!((ran.stdout.as_str(), ran.code), ("secret\n", 0));
    assert_eq!(walk(sandbox.path()), before);
}

fn walk(directory: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(walk(&path));
        }
        found.push(path);
    }
    found
}

#[test]
fn json_is_one_object_with_everything() {
    let (_server, sandbox) = sandbox([Script::reply("hi")]);
    let ran = sandbox.run(&["send", "-m", "a/b", "--json", "x"]);
    let document: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(document["schema"], 1);
    assert_eq!(document["content"], "hi");
    assert_eq!(document["state"], "complete");
    assert_eq!(document["n"], 2);
    assert_eq!(
        document["conversation"],
        sandbox.conversations()[0][0]["id"]
    );
    assert!(document["usage"]["prompt_tokens"].is_u64());
    assert!(
        document["cost"].is_string(),
        "a decimal string, not a float: {document}"
    );
    assert_eq!(document["error"], Value::Null);
}

#[test]
fn ndjson_is_start_deltas_end() {
    let (_server, sandbox) = sandbox([Script::reply("hello there")]);
    let ran = sandbox.run(&["send", "-m", "a/b", "--ndjson", "x"]);
    let events: Vec<Value> = ran
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(events[0]["type"], "start");
    assert_eq!(events.last().unwrap()["type"], "end");
    assert_eq!(events.last().unwrap()["state"], "complete");
    let text: String = events[1..events.len() - 1]
        .iter()
        .map(|event| {
            assert_eq!(event["type"], "delta");
            event["text"].as_str().unwrap()
        })
        .collect();
    assert_eq!(text, "hello there");
}

#[test]
fn extracting_prints_the_first_code_block_only() {
    let reply = "Try:\n\n```sh\necho 1\n```\n\nor\n\n```sh\necho 2\n```\n";
    let (_server, sandbox) = sandbox([Script::reply(reply), Script::reply("no code here")]);
    assert_eq!(
        sandbox.run(&["send", "-m", "a/b", "-x", "x"]).stdout,
        "echo 1\n"
    );
    let none = sandbox.run(&["send", "-m", "a/b", "-x", "x"]);
    assert_eq!(
        (none.stdout.as_str(), none.code),
        ("", 1),
        "nothing that a shell would run"
    );
}

#[test]
fn usage_goes_to_stderr() {
    let (_server, sandbox) = sandbox([Script::reply("hi")]);
    let ran = sandbox.run(&["send", "-m", "a/b", "--usage", "x"]);
    assert_eq!(ran.stdout, "hi\n");
    assert!(
        ran.stderr.contains("prompt +") && ran.stderr.contains('$'),
        "{}",
        ran.stderr
    );
}

#[test]
fn a_dry_run_shows_the_request_without_the_key_and_sends_nothing() {
    let (server, sandbox) = sandbox([Script::reply("hi")]);
    let ran = sandbox.run(&[
        "send",
        "-m",
        "a/b",
        "--dry-run",
        "--max-tokens",
        "7",
        "--temperature",
        "0.5",
        "--option",
        "seed=42",
        "--option",
        "stop=END",
        "x",
    ]);
    let document: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(
        document["body"]["messages"],
        json!([{ "role": "user", "content": "x" }])
    );
    assert_eq!(document["body"]["temperature"], 0.5);
    assert_eq!(document["body"]["seed"], 42);
    assert_eq!(document["body"]["stop"], "END");
    assert_eq!(document["headers"]["authorization"], "Bearer (redacted)");
    assert!(!ran.stdout.contains("test-key"), "{}", ran.stdout);
    assert!(server.requests().is_empty());
    assert!(!sandbox.data_dir().exists());
}

#[test]
fn options_of_the_request_are_sent() {
    let (server, sandbox) = sandbox([Script::reply("hi")]);
    sandbox.run(&[
        "send",
        "-m",
        "a/b",
        "--max-tokens",
        "7",
        "--option",
        "top_k=3",
        "x",
    ]);
    let request = &server.requests()[0];
    let body = request.json();
    let limit = body.get("max_tokens").or(body.get("max_completion_tokens"));
    assert_eq!(limit, Some(&json!(7)));
    assert_eq!(body["top_k"], 3);
    assert_eq!(
        request.header("authorization"),
        Some("Bearer test-key-0123456789")
    );
}

#[test]
fn a_cut_stream_is_76_and_its_text_is_kept_and_marked() {
    let (_server, sandbox) = sandbox([
        Script::stream()
            .event(&delta("half a"))
            .event(&delta(" reply")),
        Script::reply("whole"),
    ]);
    let ran = sandbox.run(&["send", "-m", "a/b", "x"]);
    assert_eq!((ran.stdout.as_str(), ran.code), ("half a reply\n", 76));
    assert!(ran.stderr.contains("hint:"), "{}", ran.stderr);
    assert_eq!(
        shape(&sandbox.conversations()[0]),
        ["user", "assistant:error"]
    );
    assert_eq!(sandbox.conversations()[0][2]["content"], "half a reply");
    assert_eq!(sandbox.run(&["send", "-c", "again"]).stdout, "whole\n");
}

#[test]
fn a_half_reply_is_context_only_if_wanted() {
    let half = || Script::stream().event(&delta("half"));
    let (server, sandbox) = sandbox([half(), Script::reply("a"), half(), Script::reply("b")]);
    sandbox.run(&["send", "-m", "a/b", "x"]);
    sandbox.run(&["send", "-c", "y"]);
    assert_eq!(context_of(&server.requests()[1].json()), ["user:x\n\ny"]);
    sandbox.run(&["send", "-m", "a/b", "x"]);
    sandbox.run(&["send", "-c", "--keep-partial", "y"]);
    assert_eq!(
        context_of(&server.requests()[3].json()),
        ["user:x", "assistant:half", "user:y"]
    );
}

#[test]
fn a_reply_cut_at_max_tokens_says_so_and_strict_makes_it_76() {
    let cut = r#"{"choices":[{"index":0,"delta":{"content":"cut"},"finish_reason":"length"}]}"#;
    let (_server, sandbox) = sandbox([Script::events([cut, "[DONE]"])]);
    let ran = sandbox.run(&["send", "-m", "a/b", "x"]);
    assert_eq!((ran.stdout.as_str(), ran.code), ("cut\n", 0));
    assert!(
        ran.stderr.contains("maximum number of tokens"),
        "{}",
        ran.stderr
    );
    assert_eq!(
        sandbox.run(&["send", "-m", "a/b", "--strict", "x"]).code,
        76
    );
    assert_eq!(
        shape(&sandbox.conversations()[0]),
        ["user", "assistant:length"]
    );
}

#[test]
fn a_refused_key_is_77_and_is_not_shown() {
    let body = r#"{"error":{"message":"User not found for test-key-0123456789","code":401}}"#;
    let (_server, sandbox) = sandbox([Script::json(401, body)]);
    let ran = sandbox.run(&["send", "-m", "a/b", "x"]);
    assert_eq!((ran.stdout.as_str(), ran.code), ("", 77));
    assert!(!ran.stderr.contains("test-key"), "{}", ran.stderr);
    assert_eq!(
        shape(&sandbox.conversations()[0]),
        ["user"],
        "the prompt is kept"
    );
}

#[test]
fn no_key_is_77_before_anything_is_stored() {
    let sandbox = Sandbox::new();
    let ran = sandbox.run(&["send", "x"]);
    assert_eq!((ran.stdout.as_str(), ran.code), ("", 77));
    assert!(
        ran.stderr.contains("pachat config key set"),
        "{}",
        ran.stderr
    );
    assert!(!sandbox.data_dir().exists());
}

#[test]
fn a_key_is_not_sent_over_plain_http_to_another_machine() {
    let mut sandbox = Sandbox::new();
    sandbox.set("OPENROUTER_BASE_URL", "http://192.0.2.1/v1");
    sandbox.set("OPENROUTER_API_KEY", "test-key-0123456789");
    let ran = sandbox.run(&["send", "-m", "a/b", "x"]);
    assert_eq!(ran.code, 78);
    assert!(ran.stderr.contains("--insecure-http"), "{}", ran.stderr);
}

#[test]
fn nobody_listening_is_69_and_the_prompt_is_kept() {
    let sandbox = Sandbox::with_server(&FakeServer::nobody());
    let ran = sandbox.run(&["send", "-m", "a/b", "--no-retry", "x"]);
    assert_eq!((ran.stdout.as_str(), ran.code), ("", 69));
    assert_eq!(shape(&sandbox.conversations()[0]), ["user"]);
}

#[test]
fn the_next_model_is_asked_when_the_first_is_unknown() {
    let server = FakeServer::deciding(|request| {
        if request.json()["model"] == "no/such" {
            Script::json(
                404,
                r#"{"error":{"message":"no endpoints found for no/such","code":404}}"#,
            )
        } else {
            Script::reply("from the second")
        }
    });
    let sandbox = Sandbox::with_server(&server.base_url());
    let ran = sandbox.run(&["send", "-m", "no/such", "-m", "a/b", "x"]);
    assert_eq!(
        (ran.stdout.as_str(), ran.code),
        ("from the second\n", 0),
        "{}",
        ran.stderr
    );
}

#[test]
fn a_server_without_a_named_model_is_asked_for_its_first() {
    let server = FakeServer::deciding(|request| {
        if request.path.ends_with("/models") {
            Script::json(
                200,
                r#"{"object":"list","data":[{"id":"only-one"},{"id":"other"}]}"#,
            )
        } else {
            Script::reply("hi")
        }
    });
    let sandbox = Sandbox::with_server(&server.base_url());
    assert_eq!(sandbox.run(&["send", "x"]).code, 0);
    assert_eq!(server.requests()[1].json()["model"], "only-one");
}

#[test]
fn without_streaming_the_reply_is_printed_whole() {
    let body = r#"{"id":"1","model":"a/b","choices":[{"index":0,"finish_reason":"stop","message":{"role":"assistant","content":"whole"}}]}"#;
    let (server, sandbox) = sandbox([Script::json(200, body)]);
    let ran = sandbox.run(&["send", "-m", "a/b", "--no-stream", "x"]);
    assert_eq!((ran.stdout.as_str(), ran.code), ("whole\n", 0));
    assert_ne!(server.requests()[0].json()["stream"], true);
}

#[test]
fn the_guide_answers_without_key_and_network() {
    let sandbox = Sandbox::new();
    let ran = sandbox.run(&["send", "-m", "builtin/guide", "where are my files?"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stdout.contains("pachat"), "{}", ran.stdout);
    assert_eq!(
        shape(&sandbox.conversations()[0]),
        ["user", "assistant:complete"]
    );
    assert_eq!(sandbox.conversations()[0][2]["model"], "builtin/guide");
}

#[test]
fn bad_input_is_refused_with_the_reason() {
    let (server, sandbox) = sandbox([Script::reply("ok")]);
    std::fs::write(sandbox.path().join("binary"), [0xff, 0xfe, 0x00]).unwrap();
    for (args, code, word) in [
        (
            &["send", "-m", "a/b", "-f", "missing.txt", "x"][..],
            66,
            "missing.txt",
        ),
        (&["send", "-m", "a/b", "-f", "binary", "x"], 65, "UTF-8"),
        (&["send", "--temperature", "3", "x"], 2, "0 to 2"),
        (&["send", "--max-tokens", "0", "x"], 2, "--max-tokens"),
        (&["send", "--option", "novalue", "x"], 2, "KEY=VALUE"),
        (&["send", "--max-time=-1", "x"], 2, "--max-time"),
        (&["sned", "x"], 2, "send"),
        (&["send", "-c", "-C", "last", "x"], 2, "cannot be used with"),
    ] {
        let ran = sandbox.run(args);
        assert_eq!(ran.code, code, "{args:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(word), "{args:?}: {}", ran.stderr);
        assert_eq!(ran.stdout, "");
    }
    assert!(server.requests().is_empty());
}

#[test]
fn a_newer_data_directory_is_left_alone() {
    let (server, sandbox) = sandbox([Script::reply("ok")]);
    std::fs::create_dir_all(sandbox.data_dir()).unwrap();
    std::fs::write(sandbox.data_dir().join("VERSION"), "2\n").unwrap();
    let before = walk(sandbox.path());
    for args in [&["send", "-m", "a/b", "x"][..], &["list"], &["export"]] {
        let ran = sandbox.run(args);
        assert_eq!(ran.code, 65, "{args:?}");
        assert!(ran.stderr.contains("newer"), "{}", ran.stderr);
    }
    assert_eq!(walk(sandbox.path()), before);
    assert!(server.requests().is_empty());
}

#[test]
fn archived_conversations_are_read_and_taken_back_when_used() {
    use std::io::Write;
    let (server, sandbox) = sandbox([Script::reply("one"), Script::reply("two")]);
    sandbox.run(&["send", "-m", "a/b", "first"]);
    let active = sandbox.data_dir().join("conversations/active");
    let archived = sandbox.data_dir().join("conversations/archived");
    std::fs::create_dir_all(&archived).unwrap();
    let id = sandbox.conversations()[0][0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let path = active.join(format!("{id}.jsonl"));
    // Two gzip members, as parallel compression makes them.
    let text = std::fs::read(&path).unwrap();
    let mut packed = Vec::new();
    for half in text.chunks(text.len() / 2 + 1) {
        let mut encoder =
            flate2::write::GzEncoder::new(&mut packed, flate2::Compression::default());
        encoder.write_all(half).unwrap();
        encoder.finish().unwrap();
    }
    std::fs::write(archived.join(format!("{id}.jsonl.gz")), packed).unwrap();
    std::fs::remove_file(path).unwrap();

    assert_eq!(sandbox.run(&["list"]).stdout, "");
    assert!(sandbox.run(&["list", "--archived"]).stdout.contains(&id));
    assert_eq!(
        sandbox
            .run(&["export", &id, "-F", "jsonl"])
            .stdout
            .as_bytes(),
        text
    );
    let ran = sandbox.run(&["send", "-C", &id, "second"]);
    assert_eq!((ran.stdout.as_str(), ran.code), ("two\n", 0));
    assert!(ran.stderr.contains("archived"), "{}", ran.stderr);
    assert_eq!(context_of(&server.requests()[1].json()).len(), 3);
    assert!(std::fs::read_dir(&archived).unwrap().next().is_none());
}

#[test]
fn a_torn_tail_goes_to_quarantine_and_the_conversation_goes_on() {
    let (_server, sandbox) = sandbox([Script::reply("one"), Script::reply("two")]);
    sandbox.run(&["send", "-m", "a/b", "first"]);
    let id = sandbox.conversations()[0][0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let path = sandbox
        .data_dir()
        .join(format!("conversations/active/{id}.jsonl"));
    let torn = br#"{"type":"message","n":3,"role":"us"#;
    let mut text = std::fs::read(&path).unwrap();
    text.extend_from_slice(torn);
    std::fs::write(&path, text).unwrap();
    let ran = sandbox.run(&["send", "-c", "second"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stderr.contains("quarantine"), "{}", ran.stderr);
    assert_eq!(shape(&sandbox.conversations()[0]).len(), 4);
    let kept: Vec<_> = walk(&sandbox.data_dir().join("quarantine"));
    assert_eq!(kept.len(), 1);
    assert_eq!(std::fs::read(&kept[0]).unwrap(), torn);
}
