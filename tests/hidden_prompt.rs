//! Pass phrases that are typed on a real terminal.
#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may panic, and looks at the machine itself"
)]

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use expectrl::session::OsSession;
use expectrl::{Eof, Expect as _, Session};

/// Runs a line of shell on a terminal; `PACHAT` in it is the program.
fn shell(home: &Path, line: &str) -> OsSession {
    let line = line.replace("PACHAT", env!("CARGO_BIN_EXE_pachat"));
    let mut command = Command::new("sh");
    command
        .env_clear()
        .env("HOME", home)
        .env("PATH", "/usr/bin:/bin")
        .env("TERM", "xterm")
        .env("NO_COLOR", "1")
        .current_dir(home)
        .args(["-c", &line]);
    let mut session = Session::spawn(command).unwrap();
    session.set_expect_timeout(Some(Duration::from_secs(60)));
    session
}

/// Waits for a text, and returns what came before it.
fn see(session: &mut OsSession, text: &str) -> String {
    let found = session.expect(text).unwrap();
    String::from_utf8_lossy(found.before()).into_owned()
}

fn rest(session: &mut OsSession) -> String {
    let found = session.expect(Eof).unwrap();
    String::from_utf8_lossy(found.as_bytes()).into_owned()
}

fn home() -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    let mut session = shell(home.path(), "PACHAT send -m builtin/guide hello >reply");
    rest(&mut session);
    home
}

const SEAL: &str = "stty echo; trap : INT; PACHAT backup --encrypted; echo code=$?; stty -a";

#[test]
fn ctrl_c_ends_it_at_once_and_gives_the_echo_back() {
    let home = home();
    let mut session = shell(home.path(), SEAL);
    see(&mut session, "(not shown): ");
    session.send("half of a pass\u{3}").unwrap();
    let shown = rest(&mut session);
    assert!(shown.contains("pachat: interrupted"), "{shown}");
    assert!(shown.contains("code=130"), "{shown}");
    assert!(shown.contains(" echo "), "{shown}");
    assert!(!shown.contains("half of a pass"), "{shown}");
}

#[test]
fn what_is_typed_is_not_shown_and_asked_for_twice() {
    let home = home();
    for (again, wanted) in [("other", "code=2"), ("secret words", "code=0")] {
        let mut session = shell(home.path(), SEAL);
        see(&mut session, "(not shown): ");
        session.send_line("secret words").unwrap();
        let mut shown = see(&mut session, "The same again: ");
        session.send_line(again).unwrap();
        shown += &rest(&mut session);
        assert!(shown.contains(wanted), "{shown}");
        assert!(shown.contains(" echo "), "{shown}");
        assert!(!shown.contains("secret words"), "{shown}");
    }
    let mut session = shell(home.path(), "PACHAT restore latest --verify-only");
    see(&mut session, "(not shown): ");
    session.send_line("secret words").unwrap();
    let shown = rest(&mut session);
    assert!(shown.contains("verified: 1 file,"), "{shown}");
}
