//! Rows 57 to 60 and 78: people, signals and other processes. The last three also with real
//! processes.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::common::host::{Captured, Cues};
use crate::common::server::{FINISHED, FakeServer, Gate, Script, Step, delta};
use crate::stage::{KEY, Stage, interrupt, shown, stored};
use crate::{Row, row};

const SOON: Duration = Duration::from_secs(10);

pub(crate) fn rows() -> Vec<Row> {
    vec![
        row(57, "Ctrl-C before the first word", || {
            for begin in [
                Script::raw(),
                Script::stream(),
                Script::stream().send(": PROCESSING\n\n"),
            ] {
                let stage =
                    Stage::cued(|cues| vec![begin.step(interrupt(cues)).step(Step::HangUp)]);
                stage
                    .send(&[])
                    .stdout("")
                    .code(130)
                    .says("interrupted")
                    .says("the prompt is kept; ask again: pachat send -C ")
                    .stored(&["user=x"])
                    .asked(1);
                assert!(
                    stage.server.wait_for_hang_up(SOON),
                    "the connection stays open"
                );
            }
            // While it waits to try again.
            let stage = Stage::cued(|cues| {
                let busy = Script::json(503, "{}").header("Retry-After", "30");
                vec![busy.step(interrupt(cues)), Script::raw().step(Step::HangUp)]
            });
            stage.send(&[]).stdout("").code(130).stored(&["user=x"]);
        }),
        row(58, "Ctrl-C in mid-reply", || {
            let stage = Stage::cued(|cues| {
                let script = Script::stream()
                    .event(&delta("Hello"))
                    .step(shown(cues, "Hello"));
                vec![script.step(interrupt(cues)).step(Step::HangUp)]
            });
            let seen = stage
                .send(&[])
                .stdout("Hello\n")
                .code(130)
                .says("what has arrived is kept; go on: pachat send -C ")
                .stored(&["user=x", "assistant:interrupted=Hello"])
                .asked(1);
            assert!(
                stage.server.wait_for_hang_up(SOON),
                "the connection stays open"
            );
            assert_eq!(
                seen.reply()["generation_id"],
                "gen-1",
                "the cost can be asked for later"
            );
        }),
        row(59, "stdout closed", closed),
        row(60, "SIGTERM and kill -9 in mid-reply", killed),
        row(78, "two processes, one conversation", two_processes),
    ]
}

fn pachat(home: &Path, server: &FakeServer, args: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_pachat"))
        .args(args)
        .env_clear()
        .env("HOME", home)
        .env("XDG_DATA_HOME", home.join("data"))
        .env("XDG_CONFIG_HOME", home.join("config"))
        .env("OPENROUTER_BASE_URL", server.base_url())
        .env("OPENROUTER_API_KEY", KEY)
        .current_dir(home)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// The messages of the one conversation, in short.
fn messages(home: &Path) -> Vec<String> {
    let active = home.join("data/pachat/conversations/active");
    let path = std::fs::read_dir(active)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| {
            path.extension()
                .is_some_and(|extension| extension == "jsonl")
        })
        .unwrap();
    let text = std::fs::read_to_string(path).unwrap();
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    stored(&lines)
}

/// The first line on standard output; then nobody reads any more.
fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill")
        .args(["-s", name, &child.id().to_string()])
        .status();
    assert!(sent.unwrap().success());
}

fn closed() {
    let cues = Cues {
        stdout: Captured::closing_after(5),
        ..Cues::default()
    };
    let stage = Stage::on(cues, |cues| {
        let script = Script::stream()
            .event(&delta("Hello"))
            .step(shown(cues, "Hello"));
        vec![script.event(&delta(" and more")).step(Step::HangUp)]
    });
    stage
        .send(&[])
        .stdout("Hello")
        .code(0)
        .silent()
        .stored(&["user=x", "assistant:interrupted=Hello and more"])
        .asked(1);
    assert!(
        stage.server.wait_for_hang_up(SOON),
        "the connection stays open"
    );
    // With a real process: `tests/closed_output.rs`, where no other test's child can hold the
    // pipe open for a moment.
}

fn killed() {
    for (name, code) in [("TERM", Some(143)), ("INT", Some(130)), ("KILL", None)] {
        let home = tempfile::tempdir().unwrap();
        let slow = Script::stream()
            .event(&delta("so far\n"))
            .step(Step::HangUp);
        let server = FakeServer::answering([slow, Script::reply("on we go")]);
        let mut child = pachat(home.path(), &server, &["send", "-m", "a/b", "x"]);
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        assert_eq!(line, "so far\n");
        signal(&child, name);
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), code, "SIG{name}");
        assert!(server.wait_for_hang_up(SOON), "SIG{name}");
        // After kill -9 the text is in the side file, until somebody opens the conversation.
        let next = pachat(home.path(), &server, &["send", "-c", "y"]);
        assert!(
            next.wait_with_output().unwrap().status.success(),
            "SIG{name}"
        );
        assert_eq!(
            messages(home.path()),
            [
                "user=x",
                "assistant:interrupted=so far\n",
                "user=y",
                "assistant:complete=on we go"
            ],
            "SIG{name}"
        );
    }
}

fn two_processes() {
    let home = tempfile::tempdir().unwrap();
    let gate = Gate::default();
    let server = FakeServer::answering([
        Script::stream()
            .event(&delta("one\n"))
            .step(Step::Wait(gate.clone()))
            .event(&delta("more\n"))
            .event(FINISHED)
            .event("[DONE]"),
        Script::reply("two"),
    ]);
    let mut first = pachat(home.path(), &server, &["send", "-m", "a/b", "x"]);
    let mut stdout = BufReader::new(first.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    let mut second = pachat(home.path(), &server, &["send", "-c", "y"]);
    let mut stderr = BufReader::new(second.stderr.take().unwrap());
    let mut said = String::new();
    stderr.read_line(&mut said).unwrap();
    assert!(
        said.contains("another pachat is using this conversation"),
        "{said}"
    );
    assert_eq!(server.requests().len(), 1, "the second waits for its turn");
    gate.open();
    assert!(first.wait().unwrap().success());
    assert!(second.wait_with_output().unwrap().status.success());
    assert_eq!(
        messages(home.path()),
        [
            "user=x",
            "assistant:complete=one\nmore\n",
            "user=y",
            "assistant:complete=two"
        ]
    );
}
