//! The question before a restore and a rollback: the real program on a pseudo-terminal.
#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests are tests, too"
)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use common::process::{active, pachat};
use common::server::{FakeServer, PATIENCE};
use expectrl::process::unix::WaitStatus;
use expectrl::session::OsSession;
use expectrl::{Eof, Expect as _, Session};

const ID: &str = "20260822-080000-7k2m9q";
const QUESTION: &str = "Go on? [y/N] ";

/// A home with a conversation that was backed up and has grown since.
fn home() -> (tempfile::TempDir, PathBuf) {
    let home = tempfile::tempdir().unwrap();
    let file = active(home.path()).join(format!("{ID}.jsonl"));
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(home.path().join("data/pachat/VERSION"), "1\n").unwrap();
    fs::write(&file, text()).unwrap();
    let server = FakeServer::nobody();
    let backup = pachat(home.path(), &server).arg("backup").output().unwrap();
    assert!(backup.status.success(), "{backup:?}");
    fs::write(&file, text() + "{\"type\":\"rewind\",\"to\":0}\n").unwrap();
    (home, file)
}

fn text() -> String {
    format!(
        r#"{{"type":"conversation","version":1,"id":"{ID}","created_at":"2026-08-21T09:00:00.000Z","title":"t"}}
"#
    )
}

/// A call of the program on a terminal of its own.
fn on_terminal(home: &Path, args: &[&str]) -> OsSession {
    let mut command = pachat(home, &FakeServer::nobody());
    command
        .stdin(Stdio::inherit())
        .stdout(Stdio::inherit())
        .stderr(Stdio::inherit())
        .env("TERM", "xterm")
        .env("NO_COLOR", "1")
        .args(args);
    let mut session = Session::spawn(command).unwrap();
    session.set_expect_timeout(Some(PATIENCE));
    session
}

/// Runs pachat until the question comes, answers, and gives what was shown in all, and the
/// exit code.
fn answer(home: &Path, args: &[&str], keys: &str) -> (String, i32) {
    let mut session = on_terminal(home, args);
    let before = session.expect(QUESTION).unwrap();
    let mut shown = String::from_utf8_lossy(before.before()).into_owned();
    session.send(keys).unwrap();
    let rest = session.expect(Eof).unwrap();
    shown.push_str(&String::from_utf8_lossy(rest.as_bytes()));
    match session.get_process().wait().unwrap() {
        WaitStatus::Exited(_, code) => (shown, code),
        other => panic!("it ended with {other:?} after {shown:?}"),
    }
}

#[test]
fn only_a_yes_changes_anything() {
    let (home, file) = home();
    let grown = fs::read_to_string(&file).unwrap();
    let restore = ["restore", "latest"];
    for (keys, code) in [
        ("n\r", 1),
        ("\r", 1),
        ("\u{4}", 1),
        ("maybe\r", 1),
        ("\u{3}", 130),
    ] {
        let (shown, ended) = answer(home.path(), &restore, keys);
        assert_eq!(ended, code, "{keys:?}: {shown}");
        assert!(shown.contains("1 replaced"), "{shown}");
        assert!(
            shown.contains(&format!("replace conversations/active/{ID}.jsonl")),
            "{shown}"
        );
        assert_eq!(fs::read_to_string(&file).unwrap(), grown, "{keys:?}");
        assert!(!home.path().join("data/pachat/.swap").exists(), "{keys:?}");
    }
    // A quiet one asks, too.
    let (shown, code) = answer(home.path(), &["restore", "latest", "--quiet"], "y\r");
    assert_eq!(code, 0, "{shown}");
    assert_eq!(fs::read_to_string(&file).unwrap(), text());

    let rollback = ["rollback", "--rollback-point", "latest"];
    let (shown, code) = answer(home.path(), &rollback, "no\r");
    assert_eq!(code, 1, "{shown}");
    assert_eq!(fs::read_to_string(&file).unwrap(), text());
    let (shown, code) = answer(home.path(), &rollback, "YES\r");
    assert_eq!(code, 0, "{shown}");
    assert_eq!(fs::read_to_string(&file).unwrap(), grown);
}

#[test]
fn what_happens_while_a_person_thinks_is_asked_about_again() {
    let (home, file) = home();
    let mut session = on_terminal(home.path(), &["restore", "latest"]);
    session.expect(QUESTION).unwrap();
    let new = "20260823-080000-abcdef";
    let other = active(home.path()).join(format!("{new}.jsonl"));
    fs::write(&other, text().replace(ID, new)).unwrap();
    session.send("y\r").unwrap();
    let again = session.expect(QUESTION).unwrap();
    let again = String::from_utf8_lossy(again.before()).into_owned();
    assert!(again.contains("has changed meanwhile"), "{again}");
    assert!(again.contains("1 replaced, 1 removed"), "{again}");
    session.send("y\r").unwrap();
    session.expect(Eof).unwrap();
    let status = session.get_process().wait().unwrap();
    assert!(matches!(status, WaitStatus::Exited(_, 0)), "{status:?}");
    assert_eq!(fs::read_to_string(&file).unwrap(), text());
    assert!(!other.exists());
}
