//! `pachat rollback` as a person and a script see it: stdout, stderr, exit code, files.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may panic, and looks at the machine itself"
)]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::Path;

use common::host::{Cues, Ran, Sandbox};
use serde_json::Value;

const WHALES: &str = "20260822-080000-7k2m9q";
const SKY: &str = "20260821-090000-abc123";

type Tree = BTreeMap<String, Vec<u8>>;

fn conversation(id: &str) -> String {
    format!(
        r#"{{"type":"conversation","version":1,"id":"{id}","created_at":"2026-08-21T09:00:00.000Z","title":"t","model":"a/b"}}
{{"type":"message","n":1,"role":"user","content":"hello","at":"2026-08-21T09:00:00.000Z"}}
"#
    )
}

fn active(id: &str) -> String {
    format!("conversations/active/{id}.jsonl")
}

/// A home with two conversations and some settings.
fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    put(&sandbox, "VERSION", "1\n");
    put(&sandbox, "config/app_config.json", "{}\n");
    for id in [WHALES, SKY] {
        put(&sandbox, &active(id), &conversation(id));
    }
    sandbox
}

fn put(sandbox: &Sandbox, path: &str, text: &str) {
    let path = sandbox.data_dir().join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// Replaces a file as pachat does, so that it is another one.
fn replace(sandbox: &Sandbox, path: &str, text: &str) {
    remove(sandbox, path);
    put(sandbox, path, text);
}

fn remove(sandbox: &Sandbox, path: &str) {
    fs::remove_file(sandbox.data_dir().join(path)).unwrap();
}

fn append(sandbox: &Sandbox, id: &str, text: &str) {
    let path = sandbox.data_dir().join(active(id));
    let mut file = fs::OpenOptions::new().append(true).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

fn grow(sandbox: &Sandbox, id: &str) {
    let line = r#"{"type":"message","n":2,"role":"user","content":"more","at":"2026-08-21T10:00:00.000Z"}"#;
    append(sandbox, id, &format!("{line}\n"));
}

fn tree(directory: &Path) -> Tree {
    fn walk(directory: &Path, root: &Path, found: &mut Tree) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, root, found);
            } else {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap();
                found.insert(name.to_owned(), fs::read(&path).unwrap());
            }
        }
    }
    let mut found = Tree::new();
    walk(directory, directory, &mut found);
    found
}

fn data(sandbox: &Sandbox) -> Tree {
    let mut files = tree(&sandbox.data_dir());
    files.retain(|path, _| path.starts_with("conversations/") || path.starts_with("config/"));
    files
}

fn ok(ran: Ran) -> Ran {
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    ran
}

fn point(sandbox: &Sandbox, args: &[&str]) -> String {
    let ran = ok(sandbox.run(&[&["rollback", "--create-point"], args].concat()));
    ran.stdout.strip_suffix('\n').unwrap().to_owned()
}

fn back(sandbox: &Sandbox, to: &str) -> Ran {
    ok(sandbox.run(&["rollback", "--rollback-point", to, "--yes"]))
}

#[test]
fn going_back_restores_what_was_and_can_itself_be_undone() {
    let sandbox = sandbox();
    let id = point(&sandbox, &[]);
    assert!(id.starts_with("point_2026"), "{id}");
    let before = data(&sandbox);
    grow(&sandbox, WHALES);
    remove(&sandbox, &active(SKY));
    replace(&sandbox, "config/app_config.json", "{\"log\":{}}\n");
    put(
        &sandbox,
        &active("20260901-000000-new000"),
        &conversation("20260901-000000-new000"),
    );
    let changed = data(&sandbox);

    let ran = back(&sandbox, &id);
    assert!(
        ran.stderr.contains(&format!(
            "went back to {id}: 1 added, 2 replaced, 1 removed; undo: "
        )),
        "{}",
        ran.stderr
    );
    assert_eq!(data(&sandbox), before);
    assert!(!sandbox.data_dir().join(".swap").exists());
    back(&sandbox, "latest");
    assert_eq!(data(&sandbox), changed);
    back(&sandbox, &id);
    assert_eq!(data(&sandbox), before);
}

#[test]
fn a_point_that_is_the_present_changes_nothing() {
    let sandbox = sandbox();
    let id = point(&sandbox, &[]);
    // The same bytes in another file, and half a line that a crash left, are no difference.
    replace(&sandbox, "config/app_config.json", "{}\n");
    append(&sandbox, SKY, "{\"type\":\"mess");
    let ran = back(&sandbox, &id);
    assert!(ran.stderr.contains("nothing was changed"), "{}", ran.stderr);
    let listed = ok(sandbox.run(&["rollback", "--list"]));
    assert_eq!(listed.stdout.lines().count(), 1);
}

#[test]
fn a_dry_run_shows_the_plan_and_writes_nothing() {
    let sandbox = sandbox();
    let id = point(&sandbox, &[]);
    grow(&sandbox, WHALES);
    remove(&sandbox, &active(SKY));
    let before = tree(sandbox.path());
    let ran = ok(sandbox.run(&["rollback", "--rollback-point", &id, "-n"]));
    let len = conversation(SKY).len();
    assert_eq!(
        ran.stdout,
        format!(
            "add\t{len}\t{}\nreplace\t{len}\t{}\n",
            active(SKY),
            active(WHALES)
        )
    );
    let args = ["rollback", "--rollback-point", &id, "--json"];
    let planned = ok(sandbox.run(&[&args[..], &["-n"]].concat())).stdout;
    assert_eq!(tree(sandbox.path()), before);
    let done = ok(sandbox.run(&[&args[..], &["--yes"]].concat())).stdout;
    let [planned, done] =
        [planned, done].map(|text| -> Value { serde_json::from_str(&text).unwrap() });
    assert_eq!(planned["files"], done["files"]);
    assert_eq!(planned["to"], id.as_str());
    assert!(done["point"].as_str().unwrap().starts_with("point_"));
}

#[test]
fn only_the_parts_of_a_point_are_touched() {
    let sandbox = sandbox();
    ok(sandbox.run(&["backup", "--type", "config"]));
    replace(&sandbox, "config/app_config.json", "{\"log\":{}}\n");
    ok(sandbox.run(&["restore", "latest", "--yes"]));
    grow(&sandbox, WHALES);
    let grown = data(&sandbox)[&active(WHALES)].clone();
    back(&sandbox, "latest");
    let now = data(&sandbox);
    assert_eq!(now[&active(WHALES)], grown);
    assert_eq!(now["config/app_config.json"], b"{\"log\":{}}\n");
}

#[test]
fn points_are_listed_newest_first_and_pruned() {
    let sandbox = sandbox();
    assert_eq!(ok(sandbox.run(&["rollback", "--list"])).stdout, "");
    let first = point(&sandbox, &["--note", "before the tidying"]);
    let second = point(&sandbox, &[]);
    let ran = ok(sandbox.run(&["rollback", "--list"]));
    let rows: Vec<Vec<&str>> = ran
        .stdout
        .lines()
        .map(|row| row.split('\t').collect())
        .collect();
    assert_eq!([rows[0][0], rows[1][0]], [&*second, &*first]);
    assert_eq!(rows[1][2..5], ["manual", "before the tidying", "3"]);
    let json: Value =
        serde_json::from_str(&ok(sandbox.run(&["rollback", "--list", "--json"])).stdout).unwrap();
    assert_eq!(json["points"][1]["note"], "before the tidying");
    let cues = Cues {
        terminal: true,
        ..Cues::default()
    };
    let table = sandbox.run_on(&cues, &["rollback", "--list"], "").stdout;
    assert!(
        table.contains("REASON") && table.contains("before the tidying"),
        "{table}"
    );

    let third = point(&sandbox, &["--keep", "2"]);
    let ids = |ran: Ran| -> Vec<String> {
        let id = |row: &str| row.split('\t').next().unwrap().to_owned();
        ran.stdout.lines().map(id).collect()
    };
    assert_eq!(
        ids(ok(sandbox.run(&["rollback", "--list"]))),
        [&*third, &*second]
    );
    let ran = ok(sandbox.run(&["rollback", "--keep", "1"]));
    assert!(
        ran.stderr.contains(&format!("removed {second}")),
        "{}",
        ran.stderr
    );
    assert_eq!(ids(ok(sandbox.run(&["rollback", "--list"]))), [&*third]);
}

#[test]
fn what_cannot_be_done_is_said_before_anything_happens() {
    let empty = Sandbox::new();
    let ran = empty.run(&["rollback", "--create-point"]);
    assert_eq!(ran.code, 66, "{}", ran.stderr);
    assert!(!empty.data_dir().join("backups").exists());

    let sandbox = sandbox();
    let id = point(&sandbox, &[]);
    grow(&sandbox, WHALES);
    let before = data(&sandbox);
    for (args, code, text) in [
        (&["rollback"][..], 2, "--create-point"),
        (&["rollback", "--rollback-point", &id], 2, "--yes"),
        (
            &["rollback", "--rollback-point", "point_1999", "--yes"],
            66,
            "pachat rollback --list",
        ),
        (&["rollback", "--keep", "0"], 2, "0"),
        (
            &["rollback", "--list", "--create-point"],
            2,
            "--create-point",
        ),
    ] {
        let ran = sandbox.run(args);
        assert_eq!(ran.code, code, "{args:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(text), "{args:?}: {}", ran.stderr);
    }
    assert_eq!(data(&sandbox), before);
}
