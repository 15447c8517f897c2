//! From one version to the next: what a version says about itself, and what it refuses to open.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may panic, and looks at the machine itself"
)]

mod common;

use std::collections::BTreeMap;
use std::path::PathBuf;

use common::host::Sandbox;
use serde_json::Value;

#[test]
fn the_version_and_those_of_its_formats_are_data() {
    let sandbox = Sandbox::new();
    let plain = sandbox.run(&["--version"]).stdout;
    for arguments in [["--version", "--json"], ["-V", "--json"], ["--json", "-V"]] {
        let ran = sandbox.run(&arguments);
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
        assert!(ran.stdout.ends_with("}\n"));
        let document: Value = serde_json::from_str(&ran.stdout).unwrap();
        assert_eq!(document["schema"], 1);
        let version = document["version"].as_str().unwrap();
        assert_eq!(plain, format!("pachat {version}\n"));
        for format in ["store_format", "conversation_format", "backup_format"] {
            assert_eq!(document[format], 1, "{format}");
        }
    }
    assert_eq!(sandbox.run(&["list", "--json", "--version"]).code, 2);
    assert!(!sandbox.data_dir().exists());
}

/// Every file of a home, with its content.
fn files(sandbox: &Sandbox) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut left = vec![sandbox.path().to_path_buf()];
    while let Some(directory) = left.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                left.push(path);
            } else {
                found.insert(path.clone(), std::fs::read(&path).unwrap());
            }
        }
    }
    found
}

/// A home that a newer pachat has written to.
fn newer() -> Sandbox {
    let sandbox = Sandbox::new();
    for command in [
        &["send", "-m", "builtin/guide", "where are my files?"][..],
        &["backup"],
        &["rollback", "--create-point"],
    ] {
        assert_eq!(sandbox.run(command).code, 0);
    }
    std::fs::write(sandbox.data_dir().join("VERSION"), "2\n").unwrap();
    sandbox
}

fn assert_refused(sandbox: &Sandbox, command: &[&str]) {
    let before = files(sandbox);
    let ran = sandbox.run_with(command, "and?\n");
    assert_eq!(
        (ran.code, ran.stdout.as_str()),
        (65, ""),
        "{command:?}: {}",
        ran.stderr
    );
    assert!(
        ran.stderr.contains("newer than this pachat"),
        "{command:?}: {}",
        ran.stderr
    );
    assert!(
        ran.stderr.contains("install the current version"),
        "{command:?}: {}",
        ran.stderr
    );
    let after = files(sandbox);
    let changed = after
        .iter()
        .filter(|(path, bytes)| before.get(*path) != Some(*bytes));
    let changed: Vec<&PathBuf> = changed.map(|(path, _)| path).collect();
    assert_eq!(
        (after.len(), changed),
        (before.len(), vec![]),
        "{command:?}"
    );
}

#[test]
fn a_newer_store_is_opened_by_no_command() {
    let sandbox = newer();
    for command in [
        &["send", "-m", "builtin/guide", "new"][..],
        &["send", "-m", "builtin/guide", "-c", "and?"],
        &["send", "-m", "builtin/guide", "-c", "--dry-run", "and?"],
        &["chat", "-m", "builtin/guide"],
        &["chat", "-m", "builtin/guide", "-c"],
        &["list"],
        &["list", "--all", "--json"],
        &["export", "last"],
        &["export", "--all"],
        &["backup"],
        &["backup", "--dry-run"],
        &["backup", "-o", "-"],
        &["backup", "pin", "latest"],
        &["restore", "latest", "--yes"],
        &["restore", "latest", "--dry-run"],
        &["rollback", "--list"],
        &["rollback", "--create-point"],
        &["rollback", "--rollback-point", "latest", "--yes"],
        &["rollback", "--rollback-point", "latest", "--dry-run"],
        &["config", "set", "rollback.keep", "5"],
        &["config", "unset", "rollback.keep"],
        &["config", "key", "set", "--stdin"],
        &["config", "key", "remove"],
    ] {
        assert_refused(&sandbox, command);
    }
}

#[test]
fn a_newer_store_is_not_cleaned_up() {
    let sandbox = newer();
    for command in [
        &["cleanup", "--yes"][..],
        &["cleanup", "--dry-run"],
        &["cleanup", "--daily", "--yes"],
        &["cleanup", "--weekly"],
        &["cleanup", "--monthly"],
        &["cleanup", "--list-trash"],
        &["cleanup", "--restore", "last"],
    ] {
        assert_refused(&sandbox, command);
    }
}

#[test]
fn what_does_not_touch_the_store_works_beside_a_newer_one() {
    let sandbox = newer();
    for command in [
        &["--version"][..],
        &["config", "get", "rollback.keep"],
        &["config", "list"],
        &["config", "path"],
        // Archives say themselves what they are.
        &["restore", "--list"],
        &["config", "schedule", "print", "--with", "cron"],
        &[
            "send",
            "-m",
            "builtin/guide",
            "--no-save",
            "where are my files?",
        ],
        &["completions", "bash"],
    ] {
        let ran = sandbox.run(command);
        assert_eq!(ran.code, 0, "{command:?}: {}", ran.stderr);
    }
}
