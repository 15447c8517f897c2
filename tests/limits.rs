//! Limits that hold: on what is held in memory, and on what is kept.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may panic, and looks at the machine itself"
)]

mod common;

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::host::Sandbox;
use common::server::{FINISHED, FakeServer, Script, delta};
use flate2::Compression;
use flate2::write::GzEncoder;
use pachat::platform::Clock as _;

const ID: &str = "20260822-094107-abcdef";

fn header() -> String {
    format!(
        "{{\"type\":\"conversation\",\"version\":1,\"id\":\"{ID}\",\"created_at\":\"2026-08-22T09:41:07Z\"}}\n"
    )
}

/// A home whose store exists, with a megabyte of memory.
fn small() -> Sandbox {
    let mut sandbox = Sandbox::new();
    assert_eq!(say(&sandbox, "hello").code, 0);
    sandbox.set("MAX_MEMORY_MB", "1");
    sandbox
}

fn say(sandbox: &Sandbox, prompt: &str) -> common::host::Ran {
    sandbox.run(&["send", "-m", "builtin/guide", prompt])
}

fn place(sandbox: &Sandbox, path: &str) -> PathBuf {
    let path = sandbox.data_dir().join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    path
}

/// A file that takes no room and looks as if it did.
fn sparse(path: &Path, len: u64) {
    File::create(path).unwrap().set_len(len).unwrap();
}

#[test]
fn a_conversation_that_does_not_fit_is_refused_and_stays() {
    let sandbox = small();
    let path = place(&sandbox, &format!("conversations/active/{ID}.jsonl"));
    let mut file = File::create(&path).unwrap();
    file.write_all(header().as_bytes()).unwrap();
    file.set_len(200 << 30).unwrap();
    let ran = sandbox.run(&["export", "abcdef"]);
    assert_eq!(ran.code, 65, "{}", ran.stderr);
    assert!(
        ran.stderr.contains("limits.memory_mb allows 1.0 MB"),
        "{}",
        ran.stderr
    );
    assert!(ran.stderr.contains("MAX_MEMORY_MB="), "{}", ran.stderr);
    let ran = sandbox.run(&["send", "-m", "builtin/guide", "-C", "abcdef", "and?"]);
    assert_eq!(ran.code, 65, "{}", ran.stderr);
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 200 << 30);
    // The others are there as ever.
    let ran = sandbox.run(&["list"]);
    assert!(ran.stdout.contains("hello"), "{}", ran.stdout);
    assert!(ran.stderr.contains("passed over"), "{}", ran.stderr);
}

#[test]
fn what_unpacks_to_more_than_fits_is_refused_and_stays() {
    let sandbox = small();
    let path = place(&sandbox, &format!("conversations/archived/{ID}.jsonl.gz"));
    let mut encoder = GzEncoder::new(File::create(&path).unwrap(), Compression::best());
    encoder.write_all(header().as_bytes()).unwrap();
    let blank = vec![b' '; 1 << 20];
    for _ in 0..64 {
        encoder.write_all(&blank).unwrap();
    }
    encoder.finish().unwrap();
    let before = std::fs::read(&path).unwrap();
    assert!(before.len() < 100_000);
    for command in [
        &["export", "abcdef"][..],
        &["send", "-m", "builtin/guide", "-C", "abcdef", "and?"],
    ] {
        let ran = sandbox.run(command);
        assert_eq!(ran.code, 65, "{}", ran.stderr);
        assert!(ran.stderr.contains("too large"), "{}", ran.stderr);
    }
    assert_eq!(std::fs::read(&path).unwrap(), before);
    assert!(
        !sandbox
            .data_dir()
            .join(format!("conversations/active/{ID}.jsonl"))
            .exists()
    );
}

#[test]
fn what_a_server_sends_in_one_piece_must_fit() {
    let large = "x".repeat(1_200_000);
    let whole =
        format!(r#"{{"choices":[{{"message":{{"content":"{large}"}},"finish_reason":"stop"}}]}}"#);
    let list = format!(r#"{{"data":[{{"id":"{large}"}}]}}"#);
    for (script, args) in [
        (
            Script::stream().event(&delta(&large)),
            &["send", "-m", "m", "hello"][..],
        ),
        // A line that never ends is not waited for.
        (
            Script::stream().send(format!("data: {large}")),
            &["send", "-m", "m", "hello"],
        ),
        (
            Script::json(200, &whole),
            &["send", "-m", "m", "--no-stream", "hello"],
        ),
        (Script::json(200, &list), &["models"]),
    ] {
        let server = FakeServer::answering([script]);
        let mut sandbox = Sandbox::with_server(&server.base_url());
        sandbox.set("MAX_MEMORY_MB", "1");
        let ran = sandbox.run(args);
        assert_eq!(
            (ran.code, ran.stdout.as_str()),
            (76, ""),
            "{args:?}: {}",
            ran.stderr
        );
        for said in [
            "is too large: ",
            "limits.memory_mb allows",
            "MAX_MEMORY_MB=NUMBER",
        ] {
            assert!(ran.stderr.contains(said), "{args:?}: {}", ran.stderr);
        }
        assert_eq!(server.requests().len(), 1, "{args:?}");
    }
    // Below that, many pieces are as good as ever.
    let piece = "y".repeat(100_000);
    let server = FakeServer::answering([Script::stream()
        .event(&delta(&piece))
        .event(&delta(&piece))
        .event(FINISHED)
        .event("[DONE]")]);
    let mut sandbox = Sandbox::with_server(&server.base_url());
    sandbox.set("MAX_MEMORY_MB", "1");
    let ran = sandbox.run(&["send", "-m", "m", "hello"]);
    assert_eq!((ran.code, ran.stdout.len()), (0, 200_001), "{}", ran.stderr);
}

#[test]
fn a_prompt_must_fit_with_all_its_parts() {
    let sandbox = small();
    let half = "x".repeat(600_000);
    let file = sandbox.path().join("half.txt");
    std::fs::write(&file, &half).unwrap();
    let name = file.to_str().unwrap();
    let ask = ["send", "-m", "builtin/guide", "-f", name];
    assert_eq!(sandbox.run(&ask).code, 0);
    let count = sandbox.conversations().len();
    let twice = [&ask[..], &["-f", name]].concat();
    assert_eq!(sandbox.run(&twice).code, 65);
    assert_eq!(sandbox.run_with(&ask, &half).code, 65);
    // Written down, each of these is six characters.
    let ran = sandbox.run_with(&["send", "-m", "builtin/guide"], &"\u{1}".repeat(200_000));
    assert_eq!(ran.code, 65, "{}", ran.stderr);
    let huge = sandbox.path().join("huge");
    sparse(&huge, 1 << 40);
    let ran = sandbox.run(&["send", "-m", "builtin/guide", "-f", huge.to_str().unwrap()]);
    assert_eq!(ran.code, 65, "{}", ran.stderr);
    assert!(ran.stderr.contains("limits.memory_mb"), "{}", ran.stderr);
    // One without a length has no end either.
    let ran = sandbox.run(&["send", "-m", "builtin/guide", "-f", "/dev/zero"]);
    assert_eq!(ran.code, 65, "{}", ran.stderr);
    // A line of a chat.
    let ran = sandbox.run_with(&["chat", "-m", "builtin/guide"], &"x".repeat(1_100_000));
    assert_eq!(ran.code, 65, "{}", ran.stderr);
    assert_eq!(sandbox.conversations().len(), count);
}

#[test]
fn a_reply_without_an_end_is_cut_kept_and_can_be_read_again() {
    let piece = "word \"and\" word ".repeat(2_000);
    let stream = (0..80).fold(Script::stream(), |script, _| script.event(&delta(&piece)));
    let scripts = [stream.event(FINISHED).event("[DONE]")];
    let (_server, mut sandbox) = common::sandbox(scripts);
    sandbox.set("MAX_MEMORY_MB", "1");
    let ran = sandbox.run(&["send", "-m", "a/b", "go on for ever"]);
    assert_eq!(ran.code, 76, "{}", ran.stderr);
    assert!(ran.stderr.contains("limits.memory_mb"), "{}", ran.stderr);
    assert!(ran.stdout.len() > 500_000, "{}", ran.stdout.len());
    assert!(ran.stdout.len() < 1_100_000, "{}", ran.stdout.len());
    let lines = &sandbox.conversations()[0];
    let reply = lines.last().unwrap();
    assert_eq!(reply["state"], "interrupted");
    let shown = ran.stdout.strip_suffix('\n').unwrap();
    assert!(reply["content"] == shown, "what was shown is what is kept");
    let again = sandbox.run(&["export", "last", "-F", "text"]);
    assert_eq!(again.code, 0, "{}", again.stderr);
    assert!(again.stdout.contains(shown.trim()));
}

fn limits(sandbox: &Sandbox, key: &str, value: &str) {
    assert_eq!(sandbox.run(&["config", "set", key, value]).code, 0);
}

#[test]
fn the_number_of_conversations_warns_and_then_holds() {
    let sandbox = Sandbox::new();
    limits(&sandbox, "limits.conversations", "5");
    for n in 0..4 {
        let ran = say(&sandbox, "where are my files?");
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{n}");
    }
    let ran = say(&sandbox, "where are my files?");
    assert_eq!(ran.code, 0);
    assert_eq!(
        ran.stderr,
        "pachat: warning: 4 of 5 conversations are in use; to make room: pachat cleanup --max-count 2\n"
    );
    let ran = say(&sandbox, "one too many");
    assert_eq!((ran.code, ran.stdout.as_str()), (73, ""), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("limits.conversations allows 5"),
        "{}",
        ran.stderr
    );
    assert!(ran.stderr.contains("pachat cleanup"), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("limits.conversations 10"),
        "{}",
        ran.stderr
    );
    assert_eq!(sandbox.conversations().len(), 5);
    // Going on, and what is kept nowhere, passes nothing; nor do the ways out.
    for command in [
        &["send", "-m", "builtin/guide", "-c", "and?"][..],
        &["send", "-m", "builtin/guide", "--no-save", "why?"],
        &["backup"],
        &["rollback", "--create-point"],
        &["restore", "latest", "--yes"],
    ] {
        let ran = sandbox.run(command);
        assert_eq!(ran.code, 0, "{command:?}: {}", ran.stderr);
        assert!(!ran.stderr.contains("in use"), "{}", ran.stderr);
    }
    // Archived ones do not count.
    let active = sandbox.data_dir().join("conversations/active");
    let first = std::fs::read_dir(active).unwrap().next().unwrap().unwrap();
    std::fs::remove_file(first.path()).unwrap();
    let ran = sandbox.run(&["send", "-q", "-m", "builtin/guide", "one more"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
}

#[test]
fn the_storage_warns_and_then_holds() {
    let sandbox = Sandbox::new();
    limits(&sandbox, "limits.storage_mb", "1");
    for _ in 0..2 {
        assert_eq!(say(&sandbox, "hello").stderr, "");
    }
    let large = place(&sandbox, "backups/large");
    sparse(&large, 850_000);
    // Measured within the hour, and far from the limit then.
    assert_eq!(say(&sandbox, "hello").stderr, "");
    sandbox.clock.sleep(Duration::from_secs(3601));
    let ran = say(&sandbox, "hello");
    assert_eq!(ran.code, 0);
    assert!(
        ran.stderr.contains(" kB of 1.0 MB are used"),
        "{}",
        ran.stderr
    );
    // Near the limit it is measured each time.
    sparse(&large, 1_100_000);
    for command in [
        &["send", "-m", "builtin/guide", "new"][..],
        &["send", "-m", "builtin/guide", "-c", "and?"],
        &["chat", "-m", "builtin/guide", "-c"],
    ] {
        let before = sandbox.conversations();
        let ran = sandbox.run_with(command, "and?\n");
        assert_eq!(
            (ran.code, ran.stdout.as_str()),
            (73, ""),
            "{command:?}: {}",
            ran.stderr
        );
        assert!(
            ran.stderr.contains("limits.storage_mb allows 1.0 MB"),
            "{}",
            ran.stderr
        );
        assert!(ran.stderr.contains("pachat cleanup"), "{}", ran.stderr);
        assert_eq!(sandbox.conversations(), before);
    }
    for command in [
        &["send", "-m", "builtin/guide", "--no-save", "why?"][..],
        &["backup"],
        &["restore", "latest", "--yes"],
    ] {
        let ran = sandbox.run(command);
        assert_eq!(ran.code, 0, "{command:?}: {}", ran.stderr);
    }
    std::fs::remove_file(large).unwrap();
    let ran = say(&sandbox, "again");
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
}

#[test]
fn rollback_points_count_once() {
    let sandbox = Sandbox::new();
    limits(&sandbox, "limits.storage_mb", "1");
    let prompt = "x".repeat(400_000);
    let ran = sandbox.run_with(&["send", "-m", "builtin/guide"], &prompt);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    for _ in 0..3 {
        assert_eq!(sandbox.run(&["rollback", "--create-point"]).code, 0);
    }
    sandbox.clock.sleep(Duration::from_secs(3601));
    let ran = say(&sandbox, "hello");
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
}

#[test]
fn everything_that_measures_finds_the_same_and_points_take_no_room() {
    let mut sandbox = Sandbox::new();
    assert_eq!(say(&sandbox, "hello").code, 0);
    assert_eq!(say(&sandbox, "hello again").code, 0);
    // Nothing below is added to the log.
    sandbox.set("LOG_LEVEL", "off");
    let bytes = |sandbox: &Sandbox| -> u64 {
        let ran = sandbox.run(&["cleanup", "--daily", "--json"]);
        let document: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
        let daily = document["stages"][2]["details"]["bytes"].as_u64().unwrap();
        let ran = sandbox.run(&["health", "--offline", "--only", "store", "--prometheus"]);
        let line = ran
            .stdout
            .lines()
            .find_map(|line| line.strip_prefix("pachat_store_bytes "));
        let health: u64 = line.unwrap().parse().unwrap();
        assert_eq!(daily, health);
        daily
    };
    let large = place(&sandbox, &format!("conversations/active/{ID}.jsonl"));
    std::fs::write(&large, header() + &" ".repeat(3_000_000) + "\n").unwrap();
    let before = bytes(&sandbox);
    assert!(before > 3_000_000);
    for _ in 0..2 {
        let ran = sandbox.run(&["rollback", "--create-point"]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
    }
    let with_points = bytes(&sandbox);
    assert!(with_points < before + 100_000, "{before} {with_points}");
    // What only a rollback point has left takes room as before.
    std::fs::remove_file(&large).unwrap();
    assert!(bytes(&sandbox) > 3_000_000);
}
