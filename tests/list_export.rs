//! `pachat list` and `pachat export` as a person and a script see them.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests are tests, too"
)]

mod common;

use std::io::Write as _;

use common::host::{Cues, Ran, Sandbox};
use common::server::{FakeServer, Script};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;

const WHALES: &str = "20260822-100000-7k2m9q";
const SKY: &str = "20260821-090000-abc123";
const BONES: &str = "20260701-080000-zzz999";

/// Three conversations: one whose reply broke off, one with a price and an odd title, one that
/// is archived.
fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    std::fs::create_dir_all(sandbox.data_dir().join("conversations/active")).unwrap();
    std::fs::write(sandbox.data_dir().join("VERSION"), "1\n").unwrap();
    for (id, at, title, reply) in [
        (
            WHALES,
            "2026-08-22T10:00:0",
            "whales?",
            r#""content":"Whales are ","state":"error","error":"the connection was lost""#,
        ),
        (
            SKY,
            "2026-08-21T09:00:0",
            r"why\tis the sky\nblue?",
            r#""content":"Blue, by Rayleigh.","state":"complete","cost":"0.00001305""#,
        ),
        (
            BONES,
            "2026-07-01T08:00:0",
            "dinosaurs?",
            r#""content":"Old bones.","state":"complete""#,
        ),
    ] {
        let lines = format!(
            r#"{{"type":"conversation","version":1,"id":"{id}","created_at":"{at}0.000Z","title":"{title}","model":"a/b"}}
{{"type":"message","n":1,"role":"user","content":"{title}","at":"{at}0.000Z"}}
{{"type":"message","n":2,"role":"assistant",{reply},"at":"{at}5.500Z","model":"test/model"}}
"#
        );
        std::fs::write(file(&sandbox, id), lines).unwrap();
    }
    archive(&sandbox, BONES);
    sandbox
}

fn file(sandbox: &Sandbox, id: &str) -> std::path::PathBuf {
    sandbox
        .data_dir()
        .join(format!("conversations/active/{id}.jsonl"))
}

fn archive(sandbox: &Sandbox, id: &str) {
    let active = file(sandbox, id);
    let directory = sandbox.data_dir().join("conversations/archived");
    std::fs::create_dir_all(&directory).unwrap();
    let archived = std::fs::File::create(directory.join(format!("{id}.jsonl.gz"))).unwrap();
    let mut encoder = GzEncoder::new(archived, Compression::default());
    encoder.write_all(&std::fs::read(&active).unwrap()).unwrap();
    encoder.finish().unwrap();
    std::fs::remove_file(active).unwrap();
}

fn rows(ran: &Ran) -> Vec<Vec<&str>> {
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    ran.stdout
        .lines()
        .map(|line| line.split('\t').collect())
        .collect()
}

#[test]
fn a_pipe_gets_tab_separated_values_newest_first() {
    let sandbox = sandbox();
    let ran = sandbox.run(&["list"]);
    let rows = rows(&ran);
    assert_eq!(ran.stderr, "");
    assert_eq!(rows.len(), 2, "no heading, and nothing archived");
    let broken = &rows[0];
    assert_eq!(broken.len(), 7, "{broken:?}");
    assert_eq!(broken[0], WHALES);
    assert_eq!(broken[1], "2026-08-22T10:00:05.500Z");
    assert_eq!(&broken[2..], ["2", "", "error", "test/model", "whales?"]);
    // A tab or a line feed in a title would make another column or row.
    assert_eq!(
        &rows[1][2..],
        [
            "2",
            "0.00001305",
            "complete",
            "test/model",
            "why is the sky blue?"
        ]
    );
}

#[test]
fn json_has_a_schema_and_every_field() {
    let sandbox = sandbox();
    let ran = sandbox.run(&["list", "--json", "--all"]);
    assert_eq!(ran.code, 0);
    let document: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(document["schema"], 1);
    let conversations = document["conversations"].as_array().unwrap();
    assert_eq!(conversations.len(), 3);
    for conversation in conversations {
        let names: Vec<&String> = conversation.as_object().unwrap().keys().collect();
        assert_eq!(
            names,
            [
                "id",
                "title",
                "created_at",
                "updated_at",
                "messages",
                "model",
                "cost",
                "state",
                "archived",
                "tags"
            ]
        );
    }
    let archived: Vec<bool> = conversations
        .iter()
        .map(|conversation| conversation["archived"].as_bool().unwrap())
        .collect();
    assert_eq!(archived.iter().filter(|archived| **archived).count(), 1);
    assert_eq!(conversations[0]["state"], "error");
    assert_eq!(conversations[0]["cost"], Value::Null);
}

#[test]
fn an_empty_store_is_an_empty_answer() {
    let sandbox = Sandbox::new();
    let ran = sandbox.run(&["list"]);
    assert_eq!((ran.stdout.as_str(), ran.code), ("", 0));
    let ran = sandbox.run(&["list", "--json"]);
    assert_eq!(ran.stdout, "{\"schema\":1,\"conversations\":[]}\n");
    assert!(!sandbox.data_dir().exists(), "looking makes nothing");
}

#[test]
fn ids_for_xargs_and_a_limit() {
    let sandbox = sandbox();
    let ran = sandbox.run(&["list", "-0"]);
    assert_eq!(ran.stdout, format!("{WHALES}\0{SKY}\0"));
    let ran = sandbox.run(&["list", "-n", "1"]);
    assert_eq!(rows(&ran)[0][0], WHALES);
    assert_eq!(rows(&ran).len(), 1);
    assert_eq!(sandbox.run(&["list", "-n", "0"]).stdout, "");
    let ran = sandbox.run(&["list", "--archived"]);
    assert_eq!(rows(&ran)[0][6], "dinosaurs?");
}

#[test]
fn a_search_says_no_with_1() {
    let sandbox = sandbox();
    let ran = sandbox.run(&["list", "--search", "RAYLEIGH"]);
    assert_eq!(rows(&ran)[0][6], "why is the sky blue?");
    let ran = sandbox.run(&["list", "--search", "bones"]);
    assert_eq!((ran.stdout.as_str(), ran.code), ("", 1));
    assert_eq!(ran.stderr, "no conversation contains `bones`\n");
    assert_eq!(
        rows(&sandbox.run(&["list", "--search", "bones", "--all"])).len(),
        1
    );
    let ran = sandbox.run(&["list", "--json", "--search", "unicorn"]);
    assert_eq!(ran.code, 1);
    assert_eq!(ran.stdout, "{\"schema\":1,\"conversations\":[]}\n");
}

#[test]
fn markdown_and_text_mark_what_broke_off() {
    let sandbox = sandbox();
    let ran = sandbox.run(&["export", "whales?"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stdout.starts_with("# whales?\n"), "{}", ran.stdout);
    assert!(ran.stdout.contains("Whales are"));
    assert!(ran.stdout.contains("(failed midway)"), "{}", ran.stdout);
    let ran = sandbox.run(&["export", "-F", "text", "whales?"]);
    assert!(
        ran.stdout
            .starts_with("You, 2026-08-22 10:00 UTC:\nwhales?\n")
    );
    assert!(
        ran.stdout
            .contains("test/model, 2026-08-22 10:00 UTC (failed midway):\n")
    );
}

#[test]
fn jsonl_is_the_file_itself_archived_or_not() {
    let sandbox = sandbox();
    let bytes = std::fs::read_to_string(file(&sandbox, WHALES)).unwrap();
    assert_eq!(
        sandbox.run(&["export", "-F", "jsonl", WHALES]).stdout,
        bytes
    );
    // Lines that pachat does not know are part of the file, too.
    let more = format!("{bytes}{{\"type\":\"from the future\",\"x\": 1}}\n");
    std::fs::write(file(&sandbox, WHALES), &more).unwrap();
    assert_eq!(sandbox.run(&["export", "-F", "jsonl", WHALES]).stdout, more);
    archive(&sandbox, WHALES);
    assert_eq!(sandbox.run(&["export", "-F", "jsonl", "7k2"]).stdout, more);
}

#[test]
fn json_is_one_document() {
    let sandbox = sandbox();
    let ran = sandbox.run(&["export", "-F", "json", "whales?"]);
    let document: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(document["schema"], 1);
    assert_eq!(document["conversation"]["title"], "whales?");
    let messages = document["messages"].as_array().unwrap();
    assert_eq!(messages.len(), 2);
    assert_eq!(messages[1]["state"], "error");
    assert_eq!(messages[1]["active"], true);
}

#[test]
fn what_was_taken_back_is_in_json_and_not_in_markdown() {
    let server = FakeServer::answering([Script::reply("one"), Script::reply("two")]);
    let sandbox = Sandbox::with_server(&server.base_url());
    sandbox.run_with(&["chat", "-m", "a/b"], "first\nsecond\n/undo\n");
    assert!(!sandbox.run(&["export"]).stdout.contains("second"));
    let ran = sandbox.run(&["export", "-F", "json"]);
    let document: Value = serde_json::from_str(&ran.stdout).unwrap();
    let active: Vec<&Value> = document["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|message| &message["active"])
        .collect();
    assert_eq!(active, [true, true, false, false]);
}

#[test]
fn files_and_directories_are_written_once() {
    let sandbox = sandbox();
    let out = sandbox.path().join("out.md");
    let args = ["export", "whales?", "-o", "out.md"];
    let ran = sandbox.run(&args);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, ""), "{}", ran.stderr);
    assert!(ran.stderr.contains("out.md"));
    let first = std::fs::read_to_string(&out).unwrap();
    assert!(first.starts_with("# whales?\n"));
    std::fs::write(&out, "mine").unwrap();
    let ran = sandbox.run(&args);
    assert_eq!(ran.code, 73);
    assert!(ran.stderr.contains("--force"), "{}", ran.stderr);
    assert_eq!(std::fs::read_to_string(&out).unwrap(), "mine");
    let ran = sandbox.run(&["export", "whales?", "-o", "out.md", "--force"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(std::fs::read_to_string(&out).unwrap(), first);

    let ran = sandbox.run(&["export", "--all", "-o", "chats", "-F", "jsonl"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let names: Vec<String> = std::fs::read_dir(sandbox.path().join("chats"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(names.len(), 3, "archived ones, too: {names:?}");
    assert!(names.contains(&format!("{BONES}.jsonl")));
}

#[test]
fn an_unknown_or_ambiguous_name_is_refused() {
    let sandbox = sandbox();
    let ran = sandbox.run(&["export", "zzzzzz"]);
    assert_eq!((ran.stdout.as_str(), ran.code), ("", 66));
    assert!(ran.stderr.contains("no conversation `zzzzzz`"));
    let empty = Sandbox::new();
    assert_eq!(empty.run(&["export"]).code, 66);
    // Two conversations of one title.
    let server = FakeServer::answering([Script::reply("ok")]);
    let twice = Sandbox::with_server(&server.base_url());
    for _ in 0..2 {
        twice.run(&["send", "-m", "a/b", "same"]);
    }
    let ran = twice.run(&["export", "same"]);
    assert_eq!((ran.stdout.as_str(), ran.code), ("", 2));
    assert!(
        ran.stderr.contains("names 2 conversations"),
        "{}",
        ran.stderr
    );
}

#[test]
fn where_only_archived_ones_are_left_last_says_so_everywhere() {
    let sandbox = sandbox();
    for id in [WHALES, SKY] {
        archive(&sandbox, id);
    }
    for args in [
        &["export"][..],
        &["export", "last"],
        &["send", "-c", "-m", "builtin/guide", "hello"],
        &["send", "-C", "last", "-m", "builtin/guide", "hello"],
        &["chat", "-c", "-m", "builtin/guide"],
        &["cleanup", "last", "--yes"],
        &["validate", "last"],
    ] {
        let ran = sandbox.run(args);
        assert_eq!(
            (ran.code, ran.stdout.as_str()),
            (66, ""),
            "{args:?}: {}",
            ran.stderr
        );
        for said in [
            "no conversation is in use",
            "only archived ones, 3",
            "pachat list --a",
        ] {
            assert!(ran.stderr.contains(said), "{args:?}: {}", ran.stderr);
        }
    }
    let ran = sandbox.run(&["cleanup", "--restore", "last"]);
    assert_eq!(ran.code, 66);
    assert!(ran.stderr.contains("the trash is empty"), "{}", ran.stderr);
    assert!(ran.stderr.contains("list --archived"), "{}", ran.stderr);
    // None of this has taken one out of the archive; naming one does.
    assert!(!file(&sandbox, WHALES).exists());
    let said = |args: &[&str]| {
        let cues = Cues {
            terminal: true,
            ..Cues::default()
        };
        sandbox.run_on(&cues, args, "").stderr
    };
    let listed = said(&["list"]);
    assert!(listed.contains("no conversation is in use"), "{listed}");
    assert!(listed.contains("list --archived"), "{listed}");
    let ran = sandbox.run(&["send", "-C", "7k2", "-m", "builtin/guide", "hello"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(sandbox.run(&["export", "last"]).code, 0);
    assert!(file(&sandbox, WHALES).exists());
}
