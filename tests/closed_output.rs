//! A reader that goes away. A test program of its own: a process that another test is just
//! starting would hold the other end of the pipe open for a moment.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may panic, and looks at the machine itself"
)]

mod common;

use std::io::{BufRead, BufReader};

use common::process::{conversations, pachat};
use common::server::{FakeServer, Gate, PATIENCE, Script, Step, delta};

#[test]
fn a_reader_that_goes_away_ends_it_quietly() {
    let home = tempfile::tempdir().unwrap();
    let gate = Gate::default();
    let script = Script::stream()
        .event(&delta("first line\n"))
        .step(Step::Wait(gate.clone()))
        .event(&delta("second line\n"))
        .event(&delta("third line\n"))
        .step(Step::HangUp);
    let server = FakeServer::answering([script]);
    let mut child = pachat(home.path(), &server.base_url())
        .args(["send", "-m", "a/b", "x"])
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert_eq!(line, "first line\n");
    gate.open();
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        (output.status.code(), output.stderr.as_slice()),
        (Some(0), &b""[..])
    );
    assert!(
        server.wait_for_hang_up(PATIENCE),
        "the connection stays open"
    );
    let conversation = conversations(home.path()).pop().unwrap();
    assert_eq!(conversation[1]["state"], "interrupted");
    assert!(
        conversation[1]["content"]
            .as_str()
            .unwrap()
            .starts_with("first line\n")
    );
}
