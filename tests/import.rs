//! `pachat import` as a person and a script see it.
//!
//! The exports of other programs are made up here, in the shape in which those programs write
//! them; what `llm` prints is as version 0.36 printed it.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::too_many_lines,
    reason = "helpers of tests are tests, too, and tables are long"
)]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Cursor, Write as _};
use std::path::{Path, PathBuf};

use common::host::{Ran, Sandbox};
use common::server::FakeServer;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

/// What is below a directory: each file with its bytes.
fn tree(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut directories = vec![root.to_path_buf()];
    while let Some(directory) = directories.pop() {
        let Ok(entries) = fs::read_dir(&directory) else {
            continue;
        };
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else {
                found.insert(path.clone(), fs::read(&path).unwrap());
            }
        }
    }
    found
}

/// What counts of a store: its conversations.
fn conversations(sandbox: &Sandbox) -> BTreeMap<PathBuf, Vec<u8>> {
    tree(&sandbox.data_dir().join("conversations"))
}

fn put(sandbox: &Sandbox, name: &str, bytes: impl AsRef<[u8]>) -> String {
    let path = sandbox.path().join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, bytes).unwrap();
    path.display().to_string()
}

/// Imports, and gives the JSON document.
fn import(sandbox: &Sandbox, args: &[&str]) -> Value {
    let ran = sandbox.run(&[&["import", "--json"], args].concat());
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    serde_json::from_str(&ran.stdout).unwrap()
}

fn counts(document: &Value) -> [u64; 5] {
    ["added", "continued", "unchanged", "kept", "diverged"]
        .map(|name| document[name].as_u64().unwrap())
}

fn sound(sandbox: &Sandbox) {
    let ran = sandbox.run(&["validate", "store"]);
    assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
}

/// `role: text` of what counts of a conversation.
fn said(sandbox: &Sandbox, id: &str) -> Vec<String> {
    let ran = sandbox.run(&["export", id, "-F", "json"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let document: Value = serde_json::from_str(&ran.stdout).unwrap();
    let messages = document["messages"].as_array().unwrap().iter();
    messages
        .filter(|message| message["active"] != false)
        .map(|message| {
            let [role, content] = ["role", "content"].map(|name| message[name].as_str().unwrap());
            format!("{role}: {content}")
        })
        .collect()
}

fn zip(files: &[(&str, &str)]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, text) in files {
        let options = zip::write::SimpleFileOptions::default();
        writer.start_file(*name, options).unwrap();
        writer.write_all(text.as_bytes()).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A node of the tree of `ChatGPT`: its key, the one before it, who speaks, the content, the metadata.
fn node(key: &str, parent: &str, role: &str, content: &Value, metadata: &Value) -> (String, Value) {
    let content = match content {
        Value::String(text) => json!({"content_type": "text", "parts": [text]}),
        other => other.clone(),
    };
    let number: f64 = key
        .trim_start_matches(|c: char| !c.is_ascii_digit())
        .parse()
        .unwrap_or(0.0);
    let message = json!({
        "id": key,
        "author": {"role": role, "name": null, "metadata": {}},
        "create_time": 1_700_000_000.25 + number,
        "content": content,
        "status": "finished_successfully",
        "metadata": metadata,
        "recipient": "all",
    });
    let node = json!({"id": key, "message": message, "parent": parent, "children": []});
    (key.to_owned(), node)
}

/// One in which an answer was asked for anew, with an image, a thought, a program and its output.
fn chatgpt(more: &[(&str, &str, &str)]) -> Value {
    let none = json!({});
    let answer = json!({"model_slug": "gpt-4o", "finish_details": {"type": "stop"}});
    let hidden = json!({"is_visually_hidden_from_conversation": true});
    let picture = json!({"content_type": "multimodal_text", "parts": [
        {"content_type": "image_asset_pointer", "asset_pointer": "file-service://file-7Yx", "width": 1, "height": 1},
        "And this? 🐋",
    ]});
    let files = json!({"attachments": [
        {"name": "whale.png", "mime_type": "image/png"},
        {"name": "whales.pdf", "mime_type": "application/pdf"},
    ]});
    let thought = json!({"content_type": "thoughts", "thoughts": [{"summary": "s", "content": "A whale, I think."}]});
    let code = json!({"content_type": "code", "language": "python", "text": "print(6 * 7)"});
    let output = json!({"content_type": "execution_output", "text": "42\n"});
    let search = json!({"content_type": "tether_quote", "title": "t", "text": "long"});
    let cut = json!({"finish_details": {"type": "max_tokens"}});
    let mut mapping: serde_json::Map<String, Value> = [
        (
            "root".to_owned(),
            json!({"id": "root", "message": null, "parent": null, "children": ["m0"]}),
        ),
        node("m0", "root", "system", &json!("hidden"), &hidden),
        node("m1", "m0", "user", &json!("What are whales?"), &none),
        node("m2", "m1", "assistant", &json!("Fish."), &answer),
        node("m3", "m1", "assistant", &json!("Mammals."), &answer),
        node("m4", "m3", "user", &picture, &files),
        node("m5", "m4", "assistant", &thought, &none),
        node("m6", "m5", "tool", &search, &none),
        node("m7", "m6", "assistant", &code, &none),
        node("m8", "m7", "tool", &output, &none),
        node("m9", "m8", "assistant", &json!("A whale."), &cut),
    ]
    .into_iter()
    .collect();
    let mut current = "m9".to_owned();
    for (key, role, text) in more {
        mapping.extend([node(key, &current, role, &json!(text), &none)]);
        (*key).clone_into(&mut current);
    }
    json!({
        "title": "Whales",
        "create_time": 1_700_000_000.123,
        "mapping": mapping,
        "current_node": current,
        "conversation_id": "68f0-whales",
    })
}

#[test]
fn chatgpt_comes_in_with_its_branches() {
    let sandbox = Sandbox::new();
    let empty = json!({"title": "New chat", "create_time": 1.7e9, "mapping": {}, "conversation_id": "68f0-empty"});
    let text = json!([chatgpt(&[]), empty]).to_string();
    let export = zip(&[
        ("user.json", "{}"),
        ("conversations.json", &text),
        ("file-7Yx-whale.png", "…"),
    ]);
    let file = put(&sandbox, "export.zip", export);

    let ran = sandbox.run(&["import", &file]);
    assert_eq!((ran.code, &*ran.stdout), (0, ""), "{}", ran.stderr);
    assert_eq!(
        ran.stderr,
        "what has no place in a conversation here was left out: 1 empty conversation, 1 image, 1 file, 1 call or answer of a tool\n\
         imported: 1 added\n"
    );
    let stored = sandbox.conversations();
    assert_eq!(stored.len(), 1);
    let id = stored[0][0]["id"].as_str().unwrap();
    assert!(id.starts_with("20231114-221320-"), "{id}");
    assert_eq!(
        stored[0],
        [
            json!({"type": "conversation", "version": 1, "id": id, "created_at": "2023-11-14T22:13:20.123Z", "title": "Whales", "imported": {"from": "chatgpt", "id": "68f0-whales"}}),
            json!({"type": "message", "n": 1, "role": "user", "content": "What are whales?", "at": "2023-11-14T22:13:21.250Z"}),
            json!({"type": "message", "n": 2, "role": "assistant", "content": "Fish.", "at": "2023-11-14T22:13:22.250Z", "state": "complete", "finish_reason": "stop", "model": "gpt-4o"}),
            json!({"type": "rewind", "to": 1}),
            json!({"type": "message", "n": 3, "role": "assistant", "content": "Mammals.", "at": "2023-11-14T22:13:23.250Z", "state": "complete", "finish_reason": "stop", "model": "gpt-4o"}),
            json!({"type": "message", "n": 4, "role": "user", "content": "[image: file-7Yx]\n\nAnd this? 🐋\n\n[file: whales.pdf]", "at": "2023-11-14T22:13:24.250Z"}),
            json!({"type": "message", "n": 5, "role": "assistant", "content": "```python\nprint(6 * 7)\n```", "at": "2023-11-14T22:13:27.250Z", "state": "complete", "reasoning": "A whale, I think."}),
            json!({"type": "message", "n": 6, "role": "assistant", "content": "```\n42\n```", "at": "2023-11-14T22:13:28.250Z", "state": "complete"}),
            json!({"type": "message", "n": 7, "role": "assistant", "content": "A whale.", "at": "2023-11-14T22:13:29.250Z", "state": "length", "finish_reason": "max_tokens"}),
        ]
    );
    sound(&sandbox);
    assert_eq!(
        said(&sandbox, "last").len(),
        6,
        "the first answer does not count"
    );
    let list = sandbox.run(&["list", "--search", "mammals"]);
    assert!(list.stdout.starts_with(id), "{}", list.stdout);
}

#[test]
fn claude_comes_in_with_files_and_documents() {
    let sandbox = Sandbox::new();
    let message = |uuid: &str, parent: &str, sender: &str, more: Value| {
        let mut message = json!({
            "uuid": uuid, "parent_message_uuid": parent, "sender": sender,
            "created_at": format!("2026-02-03T10:00:0{}.5Z", &uuid[1..]),
            "text": "the same again", "attachments": [], "files": [],
        });
        for (name, value) in more.as_object().unwrap() {
            message[name] = value.clone();
        }
        message
    };
    let text = |text: &str| json!({"type": "text", "text": text});
    let root = "00000000-0000-4000-8000-000000000000";
    let export = json!([{
        "uuid": "c0ffee", "name": "", "created_at": "2026-02-03T10:00:00.123456Z", "account": {"uuid": "a"},
        "chat_messages": [
            message("m1", root, "human", json!({
                "content": [text("How do I feed a starter?")],
                "attachments": [{"file_name": "notes.txt", "file_type": "txt", "extracted_content": "flour\nwater\n"}],
                "files": [{"file_name": "notes.txt"}, {"file_name": "bread.jpg"}],
            })),
            message("m2", "m1", "assistant", json!({"content": [text("Never.")]})),
            message("m3", "m1", "assistant", json!({"content": [
                {"type": "thinking", "thinking": "Easy."},
                text("Daily."),
                {"type": "tool_use", "name": "artifacts", "input": {"title": "Plan", "language": "markdown", "content": "# Feed it"}},
                {"type": "tool_use", "name": "web_search", "input": {}},
            ]})),
            message("m4", "m3", "human", json!({"content": [], "text": "Thanks"})),
        ],
    }]);
    let file = put(&sandbox, "claude/conversations.json", export.to_string());
    let directory = Path::new(&file).parent().unwrap().display().to_string();
    let document = import(&sandbox, &[&directory]);
    assert_eq!(counts(&document), [1, 0, 0, 0, 0]);
    assert_eq!(
        document["left_out"],
        json!({"empty": 0, "images": 0, "files": 1, "tools": 1})
    );
    let found = &document["conversations"][0];
    assert_eq!(found["title"], "How do I feed a starter?");
    assert_eq!(found["imported"], json!({"from": "claude", "id": "c0ffee"}));
    assert_eq!(
        said(&sandbox, found["id"].as_str().unwrap()),
        [
            "user: How do I feed a starter?\n\nnotes.txt:\n```txt\nflour\nwater\n```\n\n[file: bread.jpg]",
            "assistant: Daily.\n\nPlan:\n```markdown\n# Feed it\n```",
            "user: Thanks",
        ]
    );
    let lines = &sandbox.conversations()[0];
    assert_eq!(
        lines.iter().filter(|line| line["type"] == "rewind").count(),
        1
    );
    assert!(lines.iter().any(|line| line["reasoning"] == "Easy."));
    sound(&sandbox);
}

fn llm_reply(conversation: &str, minute: u32, prompt: &str, reply: &str) -> Value {
    json!({
        "id": format!("01m8a8ckh1dbhd07pgyzs0f{minute:03}"), "model": "gpt-4o-mini", "resolved_model": null, "options_json": {},
        "conversation_id": conversation, "duration_ms": 231, "datetime_utc": format!("2026-07-25T21:{minute:02}:35.873985+00:00"),
        "input_tokens": 3, "output_tokens": 5, "token_details": null, "conversation_name": prompt, "conversation_model": "stub",
        "schema_json": null, "prompt": prompt, "system": null, "response": reply, "reasoning": null, "prompt_json": null,
        "response_json": {"content": reply, "finish_reason": "stop", "id": "gen-1"}, "tools": [], "tool_calls": [], "tool_results": [], "attachments": [],
    })
}

#[test]
fn the_log_of_llm_comes_in_from_a_pipe() {
    let sandbox = Sandbox::new();
    let mut cut = llm_reply("b", 5, "Capital of France", "Par");
    cut["system"] = "Be terse".into();
    cut["response_json"]["finish_reason"] = "length".into();
    cut["datetime_utc"] = "2026-07-25T21:05:35".into();
    let log = json!([
        llm_reply("a", 6, "And at night?", "Black."),
        cut,
        llm_reply("a", 4, "Why is the sky blue?", "Rayleigh."),
    ]);
    let ran = sandbox.run_with(&["import", "-"], &log.to_string());
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(ran.stderr, "imported: 2 added\n");
    let stored = sandbox.conversations();
    assert_eq!(stored.len(), 2);
    let (sky, france) = (&stored[0], &stored[1]);
    assert_eq!(sky[0]["title"], "Why is the sky blue?");
    let texts: Vec<&str> = sky[1..]
        .iter()
        .map(|line| line["content"].as_str().unwrap())
        .collect();
    assert_eq!(
        texts,
        [
            "Why is the sky blue?",
            "Rayleigh.",
            "And at night?",
            "Black."
        ]
    );
    assert_eq!(
        sky[2],
        json!({"type": "message", "n": 2, "role": "assistant", "content": "Rayleigh.", "at": "2026-07-25T21:04:36.104Z", "state": "complete",
            "finish_reason": "stop", "model": "gpt-4o-mini", "generation_id": "gen-1", "usage": {"prompt_tokens": 3, "completion_tokens": 5}, "latency_ms": {"total": 231}})
    );
    assert_eq!(france[0]["system"], "Be terse");
    assert_eq!(france[2]["state"], "length");
    sound(&sandbox);
}

/// Three conversations, one of them archived.
fn another() -> Sandbox {
    let another = Sandbox::new();
    for prompt in ["first", "second", "third"] {
        let ran = another.run(&["send", "-m", "builtin/guide", prompt]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
    }
    let active = another.data_dir().join("conversations/active");
    let first = tree(&active).into_iter().next().unwrap();
    let name = first.0.file_name().unwrap().to_str().unwrap();
    let archived = active.with_file_name("archived");
    fs::create_dir(&archived).unwrap();
    fs::write(archived.join(format!("{name}.gz")), gzip(&first.1)).unwrap();
    fs::remove_file(&first.0).unwrap();
    another
}

#[test]
fn another_pachat_comes_in_byte_for_byte() {
    let another = another();
    let all = another.run(&["export", "--all", "-F", "jsonl"]);
    let sandbox = Sandbox::new();
    let ran = sandbox.run_with(&["import", "-"], &all.stdout);
    assert_eq!((ran.code, &*ran.stderr), (0, "imported: 3 added\n"));
    assert_eq!(
        sandbox.run(&["export", "--all", "-F", "jsonl"]).stdout,
        all.stdout
    );
    sound(&sandbox);

    // The same from its directories, packed or not, and from files that an export wrote.
    for place in ["conversations/active", "conversations/archived"] {
        let directory = another.data_dir().join(place).display().to_string();
        let document = import(&sandbox, &["-v", &directory]);
        assert_eq!(counts(&document)[0], 0);
        assert!(
            document["unchanged"].as_u64().unwrap() > 0,
            "{place}: {document}"
        );
    }
    let exported = another.path().join("chats").display().to_string();
    another.run(&["export", "--all", "-F", "jsonl", "-o", &exported]);
    let third = Sandbox::new();
    assert_eq!(counts(&import(&third, &[&exported])), [3, 0, 0, 0, 0]);
    assert_eq!(
        third.run(&["export", "--all", "-F", "jsonl"]).stdout,
        all.stdout
    );
}

#[test]
fn what_was_imported_is_known_again_and_goes_on() {
    let sandbox = Sandbox::new();
    let other = json!({"uuid": "c1", "name": "Bread", "created_at": "2026-02-03T10:00:00Z", "chat_messages": [
        {"uuid": "x", "sender": "human", "text": "Bread?", "created_at": "2026-02-03T10:00:00Z"},
    ]});
    let first = put(
        &sandbox,
        "first.json",
        json!([chatgpt(&[]), other]).to_string(),
    );
    let second = put(
        &sandbox,
        "second.json",
        chatgpt(&[("m10", "user", "Really?")]).to_string(),
    );
    let third = put(
        &sandbox,
        "third.json",
        chatgpt(&[("m11", "user", "Why?")]).to_string(),
    );

    assert_eq!(counts(&import(&sandbox, &[&first])), [2, 0, 0, 0, 0]);
    let before = conversations(&sandbox);
    let again = sandbox.run(&["import", &first]);
    assert_eq!(again.stderr, "nothing was changed: 2 unchanged\n");
    assert_eq!(conversations(&sandbox), before);
    assert!(
        !sandbox.data_dir().join("backups/points").exists(),
        "nothing changed, so no point"
    );

    // It was given another title here; it goes on in a newer export.
    let list = sandbox.run(&["list"]).stdout;
    let whales = list.lines().find(|line| line.ends_with("Whales")).unwrap()[..22].to_owned();
    let path = sandbox
        .data_dir()
        .join(format!("conversations/active/{whales}.jsonl"));
    let renamed = fs::read_to_string(&path)
        .unwrap()
        .replacen("Whales", "My whales", 1);
    fs::write(&path, &renamed).unwrap();
    let document = import(&sandbox, &[&second]);
    assert_eq!(counts(&document), [0, 1, 0, 0, 0]);
    let grown = fs::read_to_string(&path).unwrap();
    assert!(
        grown.starts_with(&renamed)
            && grown.ends_with("\"Really?\",\"at\":\"2023-11-14T22:13:30.250Z\"}\n"),
        "{grown}"
    );
    // The older one has nothing to add.
    assert_eq!(counts(&import(&sandbox, &[&first])), [0, 0, 1, 1, 0]);

    // It was archived; the same again, and one that went another way.
    let ran = sandbox.run(&[
        "cleanup",
        "--older-than",
        "1d",
        "--only",
        "archive",
        "--yes",
    ]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(!path.exists());
    assert_eq!(counts(&import(&sandbox, &[&second])), [0, 0, 1, 0, 0]);
    let ran = sandbox.run(&["import", &third]);
    assert_eq!(ran.code, 0);
    let short = &whales[16..];
    assert!(
        ran.stderr.contains(&format!(
            "kept as they are, because they have gone on both here and there: {short};"
        )) && ran.stderr.contains(&format!("pachat cleanup {short}\n")),
        "{}",
        ran.stderr
    );
    // What the hint says works.
    assert_eq!(sandbox.run(&["cleanup", short, "--yes"]).code, 0);
    assert_eq!(counts(&import(&sandbox, &[&third])), [1, 0, 0, 0, 0]);
    assert_eq!(said(&sandbox, short).last().unwrap(), "user: Why?");
    sound(&sandbox);
}

#[test]
fn a_prompt_that_was_edited_there_is_taken_over() {
    let sandbox = Sandbox::new();
    let mut export = chatgpt(&[("m10", "user", "Really?"), ("m11", "assistant", "Yes.")]);
    let file = put(&sandbox, "export.json", export.to_string());
    import(&sandbox, &[&file]);
    let (path, before) = conversations(&sandbox).pop_first().unwrap();
    assert_eq!(
        said(&sandbox, "last")[6..],
        ["user: Really?", "assistant: Yes."]
    );

    let none = json!({});
    for (key, parent, role, text) in [
        ("m12", "m9", "user", "Why a whale?"),
        ("m13", "m12", "assistant", "It blows."),
    ] {
        let (key, place) = node(key, parent, role, &json!(text), &none);
        export["mapping"][key] = place;
    }
    export["current_node"] = "m13".into();
    let newer = put(&sandbox, "newer.json", export.to_string());
    assert_eq!(counts(&import(&sandbox, &[&newer])), [0, 1, 0, 0, 0]);
    assert_eq!(
        said(&sandbox, "last")[6..],
        ["user: Why a whale?", "assistant: It blows."]
    );
    // Added at the end; what was there is there.
    assert!(fs::read(&path).unwrap().starts_with(&before));
    sound(&sandbox);
    assert_eq!(counts(&import(&sandbox, &[&newer])), [0, 0, 1, 0, 0]);

    // What was said here is not taken back.
    let ran = sandbox.run(&["send", "-c", "-m", "builtin/guide", "where is the log?"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let (key, place) = node("m14", "m3", "user", &json!("Another"), &none);
    export["mapping"][key] = place;
    export["current_node"] = "m14".into();
    let newest = put(&sandbox, "newest.json", export.to_string());
    assert_eq!(counts(&import(&sandbox, &[&newest])), [0, 0, 0, 0, 1]);
}

#[test]
fn an_archived_conversation_that_goes_on_is_in_use_again() {
    let sandbox = Sandbox::new();
    let first = put(&sandbox, "first.json", chatgpt(&[]).to_string());
    let second = put(
        &sandbox,
        "second.json",
        chatgpt(&[("m10", "user", "Really?")]).to_string(),
    );
    import(&sandbox, &[&first]);
    assert_eq!(
        sandbox
            .run(&[
                "cleanup",
                "--older-than",
                "1d",
                "--only",
                "archive",
                "--yes"
            ])
            .code,
        0
    );
    assert_eq!(sandbox.run(&["list"]).stdout, "");
    let before = conversations(&sandbox);
    let document = import(&sandbox, &[&second]);
    assert_eq!(counts(&document), [0, 1, 0, 0, 0]);
    assert_eq!(said(&sandbox, "last").last().unwrap(), "user: Really?");
    sound(&sandbox);
    let point = document["point"].as_str().unwrap();
    assert_eq!(
        sandbox
            .run(&["rollback", "--rollback-point", point, "--yes"])
            .code,
        0
    );
    assert_eq!(conversations(&sandbox), before);
}

#[test]
fn a_dry_run_says_what_happens_and_writes_nothing() {
    let sandbox = Sandbox::new();
    let file = put(&sandbox, "export.json", json!([chatgpt(&[])]).to_string());
    let ran = sandbox.run(&["import", "-n", &file]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let columns: Vec<&str> = ran.stdout.trim_end().split('\t').collect();
    assert_eq!([columns[0], columns[1], columns[3]], ["add", "7", "Whales"]);
    assert!(
        ran.stderr.ends_with("would be imported: 1 added\n"),
        "{}",
        ran.stderr
    );
    assert!(!sandbox.data_dir().exists(), "not even the directory");

    let mut planned = import(&sandbox, &["-n", &file]);
    planned["dry_run"] = false.into();
    assert_eq!(import(&sandbox, &[&file]), planned);
    assert_eq!(planned["conversations"][0]["id"], columns[2]);
}

#[test]
fn one_command_undoes_it() {
    let sandbox = Sandbox::new();
    sandbox.run(&["send", "-m", "builtin/guide", "what is a backup?"]);
    let before = conversations(&sandbox);
    let file = put(&sandbox, "export.json", chatgpt(&[]).to_string());
    let ran = sandbox.run(&["import", &file]);
    let (_, undo) = ran.stderr.trim_end().split_once("; undo: pachat ").unwrap();
    let mut args: Vec<&str> = undo.split(' ').collect();
    args.push("--yes");
    assert_eq!(sandbox.run(&args).code, 0);
    assert_eq!(conversations(&sandbox), before);
    let log = fs::read_to_string(sandbox.data_dir().join("logs/app.log")).unwrap();
    assert!(
        log.contains("action=import") && log.contains("result=\"1 added\""),
        "{log}"
    );
    let points = sandbox.run(&["rollback", "--list"]);
    assert!(
        points.stdout.contains("before importing"),
        "{}",
        points.stdout
    );
}

#[test]
fn the_last_conversation_stays_the_last() {
    let sandbox = Sandbox::new();
    sandbox.run(&["send", "-m", "builtin/guide", "what is a backup?"]);
    let last = sandbox.run(&["export", "last"]).stdout;
    let old = json!({"uuid": "c1", "created_at": "2024-02-03T10:00:00Z", "chat_messages": [
        {"uuid": "x", "sender": "human", "text": "Bread?", "created_at": "2024-02-03T10:00:00Z"},
    ]});
    let file = put(
        &sandbox,
        "export.json",
        json!([chatgpt(&[]), old]).to_string(),
    );
    assert_eq!(counts(&import(&sandbox, &[&file])), [2, 0, 0, 0, 0]);
    assert_eq!(sandbox.run(&["export", "last"]).stdout, last);
    // What is known of files without reading them is right.
    for list in [&["list"][..], &["list"], &["backup", "-q"], &["list"]] {
        assert_eq!(sandbox.run(list).code, 0);
    }
    assert_eq!(sandbox.run(&["list"]).stdout.lines().count(), 3);

    // Alone, it is the one in which something was said last.
    let sandbox = Sandbox::new();
    let file = put(
        &sandbox,
        "export.json",
        json!([old, chatgpt(&[])]).to_string(),
    );
    import(&sandbox, &[&file]);
    assert!(sandbox.run(&["export", "last"]).stdout.contains("Bread?"));
}

#[test]
fn one_can_go_on_with_what_was_imported() {
    let sandbox = Sandbox::new();
    let file = put(&sandbox, "export.json", chatgpt(&[]).to_string());
    import(&sandbox, &[&file]);
    let ran = sandbox.run(&["send", "-c", "-m", "builtin/guide", "where are my files?"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(sandbox.conversations().len(), 1);
    // The export that it came from has nothing to add then.
    assert_eq!(counts(&import(&sandbox, &[&file])), [0, 0, 0, 1, 0]);
    sound(&sandbox);
}

#[test]
fn what_cannot_be_imported_is_refused_and_nothing_is_changed() {
    let header = |id: &str, version: u32| {
        format!(
            r#"{{"type":"conversation","version":{version},"id":"20260822-100000-{id}","created_at":"2026-08-22T10:00:00Z"}}"#
        ) + "\n"
    };
    let whole = chatgpt(&[]).to_string();
    let twice = format!(
        "{}{}{{\"type\":\"rewind\",\"to\":0}}\n",
        header("aaaaaa", 1),
        header("aaaaaa", 1)
    );
    let mut damaged = gzip(header("aaaaaa", 1).as_bytes());
    let middle = damaged.len() / 2;
    damaged[middle] ^= 0xff;
    let mut tar = vec![0; 1024];
    tar[257..262].copy_from_slice(b"ustar");
    let good = header("bbbbbb", 1);
    for (bytes, says, hint) in [
        (b"".to_vec(), "it is empty", ""),
        (
            b" \n\n".to_vec(),
            "it ends in the middle",
            "fetch the file anew",
        ),
        (
            b"hello".to_vec(),
            "it is neither JSON nor lines of pachat",
            "pachat export -F jsonl",
        ),
        (
            b"<html>".to_vec(),
            "it is neither JSON nor lines of pachat",
            "llm logs -n 0 --json",
        ),
        (
            b"[1, 2]".to_vec(),
            "element 1 is no conversation of a kind that is known",
            "the exports of ChatGPT",
        ),
        (
            b"{\"a\": 1}".to_vec(),
            "it is no conversation of a kind that is known",
            "",
        ),
        (
            format!("[{whole}, {{}}]").into_bytes(),
            "element 2 is no conversation of a kind that is known",
            "",
        ),
        (
            format!("[{whole}, ").into_bytes(),
            "it ends in the middle",
            "nothing was imported",
        ),
        (
            whole.as_bytes()[..whole.len() / 2].to_vec(),
            "it ends in the middle",
            "",
        ),
        (
            format!("{whole}]").into_bytes(),
            "it is neither JSON nor lines",
            "",
        ),
        (
            br#"{"schema":1,"messages":[]}"#.to_vec(),
            "it is what `export -F json` prints",
            "pachat export -F jsonl",
        ),
        (
            b"SQLite format 3\0".to_vec(),
            "it is a database",
            "llm logs -n 0 --json | pachat import -",
        ),
        (
            tar.clone(),
            "it is a backup, or another archive",
            "pachat restore FILE --merge",
        ),
        (
            gzip(&tar),
            "it is a backup, or another archive",
            "pachat restore FILE --merge",
        ),
        (
            b"age-encryption.org/v1\n-> X25519 x\n".to_vec(),
            "it is a backup, or another archive",
            "",
        ),
        (
            zip(&[("user.json", "{}")]),
            "the zip file has no conversations.json in it",
            "",
        ),
        (
            zip(&[("conversations.json", "[")]),
            "it ends in the middle",
            "",
        ),
        (
            b"PK\x03\x04 and no more".to_vec(),
            "the zip file is damaged",
            "",
        ),
        (damaged, "it is cut or damaged", "fetch the file anew"),
        (gzip(&gzip(b"{}")), "it is packed twice", ""),
        (
            header("aaaaaa", 2).into_bytes(),
            "was written by a newer pachat",
            "install the current version",
        ),
        (
            format!("{good}{}", header("aaaaaa", 2)).into_bytes(),
            "was written by a newer pachat",
            "",
        ),
        (
            twice.into_bytes(),
            "20260822-100000-aaaaaa comes twice",
            "one after the other",
        ),
        (good.as_bytes()[..40].to_vec(), "it ends in the middle", ""),
    ] {
        let sandbox = Sandbox::new();
        sandbox.run(&["send", "-m", "builtin/guide", "what is a backup?"]);
        let before = conversations(&sandbox);
        let sound = put(&sandbox, "sound.jsonl", header("cccccc", 1));
        let file = put(&sandbox, "input", &bytes);
        for dry in [true, false] {
            let mut args = vec!["import", &sound, &file];
            args.extend(dry.then_some("-n"));
            let ran = sandbox.run(&args);
            let shown = String::from_utf8_lossy(&bytes);
            assert_eq!(
                (ran.code, &*ran.stdout),
                (65, ""),
                "{shown}: {}",
                ran.stderr
            );
            assert!(
                ran.stderr.starts_with("pachat: ") && ran.stderr.contains(says),
                "{shown}: {}",
                ran.stderr
            );
            assert!(
                ran.stderr.contains(hint) && ran.stderr.contains(&file),
                "{shown}: {}",
                ran.stderr
            );
            assert_eq!(conversations(&sandbox), before, "{shown}");
            assert!(!sandbox.data_dir().join(".swap").exists(), "{shown}");
        }
    }
}

#[test]
fn what_is_not_there_is_said() {
    let sandbox = Sandbox::new();
    let refused = |args: &[&str], code: u8, says: &str| {
        let ran: Ran = sandbox.run(args);
        assert_eq!(ran.code, code, "{}", ran.stderr);
        assert!(ran.stderr.contains(says), "{}", ran.stderr);
    };
    refused(&["import"], 2, "<FILE>");
    refused(&["import", "nowhere.zip"], 66, "nowhere.zip");
    refused(&["import", "-", "-"], 2, "standard input is named twice");
    fs::create_dir(sandbox.path().join("empty")).unwrap();
    let empty = sandbox.path().join("empty").display().to_string();
    refused(
        &["import", &empty],
        66,
        "no conversations.json, and no .jsonl files",
    );
    let zip = zip(&[("conversations.json", "[]")]);
    let ran = sandbox.run_with(&["import", "-"], &zip);
    assert_eq!(ran.code, 65);
    assert!(
        ran.stderr.contains("cannot be read from a stream"),
        "{}",
        ran.stderr
    );
    let list = put(&sandbox, "list.json", "[]");
    let ran = sandbox.run(&["import", &list]);
    assert_eq!(ran.code, 0);
    assert!(
        ran.stderr
            .contains("list.json: there is no conversation in it"),
        "{}",
        ran.stderr
    );
}

#[test]
fn odd_lines_cost_only_themselves() {
    let sandbox = Sandbox::new();
    let header = r#"{"type":"conversation","version":1,"id":"20260822-100000-aaaaaa","created_at":"2026-08-22T10:00:00Z","title":"t"}"#;
    let message =
        r#"{"type":"message","n":1,"role":"user","content":"x","at":"2026-08-22T10:00:00Z"}"#;
    // A line that nobody can read is kept, as pachat does; one that is cut is not.
    let file = put(
        &sandbox,
        "a.jsonl",
        format!("\u{feff}\n{header}\n{{odd\n{message}\n{{\"type\":\"mess"),
    );
    let ran = sandbox.run(&["import", &file]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(
        ran.stderr
            .contains("line 2 cannot be read, and is kept as it is"),
        "{}",
        ran.stderr
    );
    assert!(
        ran.stderr
            .contains("the last line is cut, and left out (13 bytes)"),
        "{}",
        ran.stderr
    );
    let stored = fs::read_to_string(
        sandbox
            .data_dir()
            .join("conversations/active/20260822-100000-aaaaaa.jsonl"),
    )
    .unwrap();
    assert_eq!(stored, format!("{header}\n{{odd\n{message}\n"));

    // The last line feed is missing, as after an editor; half a character, as from Python.
    let file = put(
        &sandbox,
        "b.jsonl",
        format!("{}\n{message}", header.replace("aaaaaa", "bbbbbb")),
    );
    assert_eq!(counts(&import(&sandbox, &[&file])), [1, 0, 0, 0, 0]);
    let half = chatgpt(&[]).to_string().replace("Fish.", r"Fish \ud83d.");
    let file = put(&sandbox, "half.json", half);
    assert_eq!(counts(&import(&sandbox, &[&file])), [1, 0, 0, 0, 0]);
    let whales = sandbox
        .run(&["list"])
        .stdout
        .lines()
        .find(|line| line.ends_with("Whales"))
        .unwrap()[..22]
        .to_owned();
    let lines = sandbox.run(&["export", &whales, "-F", "jsonl"]).stdout;
    assert!(lines.contains("Fish \u{fffd}."), "{lines}");
}

#[test]
fn limits_refuse_before_anything_comes_in() {
    let mut sandbox = Sandbox::new();
    let many: Vec<Value> = (0..3)
        .map(|number| {
            let mut one = chatgpt(&[]);
            one["conversation_id"] = number.to_string().into();
            one
        })
        .collect();
    let file = put(&sandbox, "many.json", json!(many).to_string());
    assert_eq!(
        sandbox
            .run(&["config", "set", "limits.conversations", "2"])
            .code,
        0
    );
    for args in [&["import", &file][..], &["import", "-n", &file]] {
        let ran = sandbox.run(args);
        assert_eq!(ran.code, 73, "{}", ran.stderr);
        assert!(
            ran.stderr
                .contains("3 conversations would be in use, and limits.conversations allows 2"),
            "{}",
            ran.stderr
        );
        assert!(
            ran.stderr
                .contains("pachat config set limits.conversations 6"),
            "{}",
            ran.stderr
        );
    }
    assert!(conversations(&sandbox).is_empty());
    assert_eq!(
        sandbox
            .run(&["config", "set", "limits.conversations", "3"])
            .code,
        0
    );
    assert_eq!(counts(&import(&sandbox, &[&file])), [3, 0, 0, 0, 0]);

    // What a small file unpacks to is refused on the way.
    assert_eq!(
        sandbox
            .run(&["config", "set", "limits.storage_mb", "1"])
            .code,
        0
    );
    let long: Vec<Value> = (0..30)
        .map(|minute| llm_reply(&minute.to_string(), minute, "p", &"x".repeat(40_000)))
        .collect();
    let packed = put(&sandbox, "packed", gzip(json!(long).to_string().as_bytes()));
    assert!(fs::metadata(&packed).unwrap().len() < 30_000);
    for args in [&["import", &packed][..], &["import", "-n", &packed]] {
        let ran = sandbox.run(args);
        assert_eq!(ran.code, 73, "{}", ran.stderr);
        assert!(
            ran.stderr.contains("limits.storage_mb allows 1.0 MB"),
            "{}",
            ran.stderr
        );
    }
    assert_eq!(
        sandbox.run(&["config", "unset", "limits.storage_mb"]).code,
        0
    );

    // One that is larger than what may be in memory, in each of the formats.
    sandbox.set("PACHAT_MAX_MEMORY_MB", "1");
    let long = "x".repeat(1_100_000);
    let mut large = chatgpt(&[]);
    large["title"] = long.as_str().into();
    let own = format!(
        "{{\"type\":\"conversation\",\"version\":1,\"id\":\"20260822-100000-aaaaaa\",\"created_at\":\"2026-08-22T10:00:00Z\",\"title\":\"{long}\"}}\n"
    );
    let replies: Vec<Value> = (0..30)
        .map(|minute| llm_reply("a", minute, "p", &long[..40_000]))
        .collect();
    for text in [
        large.to_string(),
        json!([large]).to_string(),
        own,
        json!(replies).to_string(),
    ] {
        let file = put(&sandbox, "large", &text);
        let ran = sandbox.run(&["import", &file]);
        assert_eq!(ran.code, 65, "{}", ran.stderr);
        assert!(ran.stderr.contains("limits.memory_mb"), "{}", ran.stderr);
    }
}

#[test]
fn many_are_not_all_named() {
    let sandbox = Sandbox::new();
    let all = |text: &str| {
        let one = |number: usize| {
            let said = json!([{"uuid": "m", "sender": "human", "text": text, "created_at": "2026-02-03T10:00:00Z"}]);
            json!({"uuid": number.to_string(), "created_at": "2026-02-03T10:00:00Z", "chat_messages": said})
        };
        json!((0..13).map(one).collect::<Vec<Value>>()).to_string()
    };
    let first = put(&sandbox, "first.json", all("one"));
    let other = put(&sandbox, "other.json", all("another"));
    assert_eq!(counts(&import(&sandbox, &[&first])), [13, 0, 0, 0, 0]);
    let ran = sandbox.run(&["import", &other]);
    let (named, hint) = ran.stderr.split_once(" and 3 more; ").unwrap();
    assert_eq!(named.matches(", ").count(), 9 + 1, "{named}");
    assert!(
        hint.ends_with("nothing was changed: 13 diverged\n"),
        "{hint}"
    );
    let ran = sandbox.run(&["import", "-n", &other]);
    assert_eq!(
        ran.stdout.lines().count(),
        13,
        "all of them are in the list"
    );
}

#[test]
fn what_cannot_be_read_here_stays_and_refuses_no_others() {
    let sandbox = Sandbox::new();
    let file = put(&sandbox, "export.json", chatgpt(&[]).to_string());
    import(&sandbox, &[&file]);
    let (path, _) = conversations(&sandbox).pop_first().unwrap();
    fs::write(&path, "damaged\n").unwrap();
    let new = json!({"uuid": "c1", "created_at": "2026-02-03T10:00:00Z", "chat_messages": [
        {"uuid": "x", "sender": "human", "text": "Bread?", "created_at": "2026-02-03T10:00:00Z"},
    ]});
    let both = put(
        &sandbox,
        "both.json",
        json!([chatgpt(&[]), new]).to_string(),
    );
    assert_eq!(counts(&import(&sandbox, &[&both])), [1, 0, 0, 0, 1]);
    assert_eq!(fs::read_to_string(&path).unwrap(), "damaged\n");
}

#[cfg(unix)]
#[test]
fn a_directory_may_have_more_files_than_a_process_may_have_open() {
    let home = tempfile::tempdir().unwrap();
    let chats = home.path().join("chats");
    fs::create_dir(&chats).unwrap();
    for number in 0..100 {
        let id = format!("20260822-100000-aaa{number:03}");
        let header = format!(
            r#"{{"type":"conversation","version":1,"id":"{id}","created_at":"2026-08-22T10:00:00Z"}}"#
        );
        fs::write(chats.join(format!("{id}.jsonl")), header + "\n").unwrap();
    }
    let plain = common::process::pachat(home.path(), "http://127.0.0.1:9/v1");
    let mut command = std::process::Command::new("sh");
    let line = r#"ulimit -n 40 && exec "$0" import chats"#;
    command.args(["-c", line, env!("CARGO_BIN_EXE_pachat")]);
    command.current_dir(home.path()).env_clear();
    command.envs(
        plain
            .get_envs()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    let output = command.env("PATH", "/usr/bin:/bin").output().unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        "imported: 100 added\n"
    );
}

#[test]
fn no_server_is_asked() {
    let sandbox = Sandbox::with_server(&FakeServer::nobody());
    let file = put(&sandbox, "export.json", chatgpt(&[]).to_string());
    assert_eq!(counts(&import(&sandbox, &[&file])), [1, 0, 0, 0, 0]);
}
