//! `pachat chat` as a person sees it: the real program on a pseudo-terminal.
//!
//! Every step waits for an event: text on the terminal, a request at the server, a gate.
#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests are tests, too"
)]

mod common;

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use common::server::{FINISHED, FakeServer, Gate, PATIENCE, Script, Step, delta};
use expectrl::process::unix::WaitStatus;
use expectrl::session::OsSession;
use expectrl::{Eof, Expect as _, Session};
use serde_json::Value;

/// What the line editor sends when it begins to read: everything before it was shown.
const READY: &str = "\u{1b}[?2004h";
const UP: &str = "\u{1b}[A";

/// A home, and how to start pachat in it.
struct Home {
    directory: tempfile::TempDir,
    server: Option<String>,
}

impl Home {
    fn new(server: &FakeServer) -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
            server: Some(server.base_url()),
        }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn history(&self) -> PathBuf {
        self.path().join("config/pachat/history")
    }

    fn command(&self, program: &str) -> Command {
        let home = self.path();
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("HOME", home)
            .env("XDG_DATA_HOME", home.join("data"))
            .env("XDG_CONFIG_HOME", home.join("config"))
            .env("TERM", "xterm-256color")
            .env("NO_COLOR", "1")
            .current_dir(home);
        if let Some(server) = &self.server {
            command
                .env("OPENROUTER_BASE_URL", server)
                .env("OPENROUTER_API_KEY", "test-key-0123456789");
        }
        command
    }

    fn pachat(&self) -> Command {
        self.command(env!("CARGO_BIN_EXE_pachat"))
    }

    /// A chat that is at its prompt.
    fn chat(&self, args: &[&str]) -> Terminal {
        let mut command = self.pachat();
        command.arg("chat").args(args);
        let mut terminal = Terminal::start(command);
        terminal.see(READY);
        terminal
    }

    /// The lines of every conversation, in the order of their ids.
    fn conversations(&self) -> Vec<Vec<Value>> {
        self.files()
            .iter()
            .map(|path| {
                let text = std::fs::read_to_string(path).unwrap();
                text.lines()
                    .map(|line| serde_json::from_str(line).unwrap())
                    .collect()
            })
            .collect()
    }

    fn files(&self) -> Vec<PathBuf> {
        let directory = self.path().join("data/pachat/conversations/active");
        let mut paths: Vec<PathBuf> = std::fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        paths.retain(|path| path.extension().is_some_and(|end| end == "jsonl"));
        paths.sort();
        paths
    }

    /// What people type for the one conversation there is.
    fn short_id(&self) -> String {
        let name = self.files()[0].file_stem().unwrap().to_owned();
        name.to_str().unwrap()[16..].to_owned()
    }
}

/// The program on its terminal.
struct Terminal(OsSession);

impl Terminal {
    fn start(command: Command) -> Self {
        let mut session = Session::spawn(command).unwrap();
        session.set_expect_timeout(Some(PATIENCE));
        Self(session)
    }

    /// Waits until the terminal shows this, and returns what came before it.
    #[track_caller]
    fn see(&mut self, text: &str) -> String {
        match self.0.expect(text) {
            Ok(found) => String::from_utf8_lossy(found.before()).into_owned(),
            Err(error) => {
                let mut rest = vec![0; 65536];
                let count = self.0.try_read(&mut rest).unwrap_or(0);
                let rest = String::from_utf8_lossy(&rest[..count]).into_owned();
                panic!("{text:?} did not come ({error}); there is {rest:?}")
            }
        }
    }

    fn keys(&mut self, keys: &str) {
        self.0.send(keys).unwrap();
    }

    /// Types a line and waits for the next prompt; returns everything in between.
    #[track_caller]
    fn line(&mut self, line: &str) -> String {
        self.keys(line);
        self.keys("\r");
        self.see(READY)
    }

    /// Waits for the end, and returns the rest of what was shown, and the exit code.
    fn end(&mut self) -> (String, i32) {
        let rest = self.0.expect(Eof).unwrap();
        let text = String::from_utf8_lossy(rest.as_bytes()).into_owned();
        match self.0.get_process().wait().unwrap() {
            WaitStatus::Exited(_, code) => (text, code),
            other => panic!("it ended with {other:?} after {text:?}"),
        }
    }

    /// Ctrl-D and its end.
    fn leave(&mut self) -> String {
        self.keys("\u{4}");
        let (text, code) = self.end();
        assert_eq!(code, 0, "{text}");
        text
    }

    fn signal(&self, name: &str) {
        let pid = self.0.get_process().pid().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(sent.unwrap().success());
    }
}

fn messages(conversation: &[Value]) -> Vec<(&str, &str)> {
    conversation
        .iter()
        .filter(|line| line["type"] == "message")
        .map(|line| {
            let state = line["state"].as_str().or(line["role"].as_str());
            (state.unwrap(), line["content"].as_str().unwrap())
        })
        .collect()
}

/// What the server got as the last message.
fn last_prompt(server: &FakeServer) -> String {
    let request = server.requests().pop().unwrap();
    let body = request.json();
    let message = body["messages"].as_array().unwrap().last().unwrap().clone();
    message["content"].as_str().unwrap().to_owned()
}

#[test]
fn it_greets_and_a_reply_streams() {
    let gate = Gate::default();
    let script = Script::stream()
        .event(&delta("Hel"))
        .step(Step::Wait(gate.clone()))
        .event(&delta("lo there"))
        .event(FINISHED)
        .event("[DONE]");
    let server = FakeServer::answering([script]);
    let home = Home::new(&server);
    let mut command = home.pachat();
    command.args(["chat", "-m", "a/b"]);
    let mut chat = Terminal::start(command);
    chat.see("a new conversation, with a/b. /help shows the commands.");
    chat.see(READY);
    chat.see("> ");
    chat.keys("hi\r");
    chat.see("Hel");
    gate.open();
    chat.see("lo there\r\n\r\n");
    chat.see(READY);
    assert_eq!(
        messages(&home.conversations()[0]),
        [("user", "hi"), ("complete", "Hello there")]
    );
}

#[test]
fn ctrl_c_stops_a_reply_and_keeps_it() {
    let script = Script::stream().event(&delta("so far")).step(Step::HangUp);
    let server = FakeServer::answering([script, Script::reply("whole")]);
    let home = Home::new(&server);
    let mut chat = home.chat(&["-m", "a/b"]);
    chat.keys("x\r");
    chat.see("so far");
    // An impatient person presses it more than once, and the chat goes on all the same.
    chat.keys("\u{3}\u{3}\u{3}");
    chat.see("(interrupted; what has arrived is kept.");
    assert!(server.wait_for_hang_up(PATIENCE), "the connection stays");
    assert_eq!(
        messages(&home.conversations()[0]),
        [("user", "x"), ("interrupted", "so far")]
    );
    chat.see(READY);
    assert!(chat.line("/retry").contains("whole"));
    chat.leave();
}

#[test]
fn ctrl_c_stops_the_wait_for_a_silent_server() {
    let script = Script::raw().step(Step::HangUp);
    let server = FakeServer::answering([script, Script::reply("now it speaks")]);
    let home = Home::new(&server);
    let mut chat = home.chat(&["-m", "a/b"]);
    chat.keys("x\r");
    assert!(server.wait_for_requests(1));
    chat.keys("\u{3}");
    chat.see("(interrupted before anything arrived.");
    chat.see(READY);
    assert!(server.wait_for_hang_up(PATIENCE), "the connection stays");
    assert!(chat.line("y").contains("now it speaks"));
}

#[test]
fn ctrl_c_at_the_prompt_explains_and_throws_away_what_was_typed() {
    let server = FakeServer::answering([Script::reply("ok")]);
    let home = Home::new(&server);
    let mut chat = home.chat(&["-m", "a/b"]);
    chat.keys("\u{3}");
    chat.see("(Ctrl-D leaves)");
    chat.see(READY);
    chat.keys("half a line");
    chat.see("e");
    chat.keys("\u{3}");
    let between = chat.see(READY);
    assert!(!between.contains("Ctrl-D"), "{between:?}");
    chat.line("whole");
    assert_eq!(last_prompt(&server), "whole");
}

#[test]
fn leaving_tells_how_to_come_back() {
    let server = FakeServer::answering([Script::reply("one"), Script::reply("two")]);
    let home = Home::new(&server);
    assert!(!home.chat(&["-m", "a/b"]).leave().contains("go on with"));
    let mut chat = home.chat(&["-m", "a/b"]);
    chat.line("first");
    let hint = format!("go on with: pachat chat -C {}", home.short_id());
    let text = chat.leave();
    assert!(text.contains(&hint), "{text:?}");

    let mut chat = home.chat(&["-C", home.short_id().as_str()]);
    let path = home.files().remove(0);
    let aside = path.with_extension("away");
    std::fs::rename(&path, &aside).unwrap();
    assert!(!chat.leave().contains("go on with"));
    std::fs::rename(&aside, &path).unwrap();

    let mut command = home.pachat();
    command.args(["chat", "-C", &home.short_id()]);
    let mut chat = Terminal::start(command);
    let shown = chat.see(READY);
    assert!(shown.contains("> first\r\none\r\n"), "{shown:?}");
    chat.line("second");
    assert_eq!(messages(&home.conversations()[0]).len(), 4);
    chat.keys("/exit\r");
    let (text, code) = chat.end();
    assert!(text.contains(&hint) && code == 0, "{text:?}");
}

#[test]
fn history_is_private_and_shared_and_comes_back() {
    let server = FakeServer::answering([Script::reply("ok")]);
    let home = Home::new(&server);
    let mut one = home.chat(&["-m", "a/b"]);
    let mut two = home.chat(&["-m", "a/b"]);
    one.line("from one");
    two.line("from two");
    two.line(" secret");
    one.line("from one\\");
    one.line("twice");
    let mode = std::fs::metadata(home.history()).unwrap().permissions();
    assert_eq!(mode.mode() & 0o777, 0o600);
    assert_eq!(
        std::fs::read_to_string(home.history()).unwrap(),
        "#V2\nfrom one\nfrom two\nfrom one\\ntwice\n"
    );
    one.leave();
    two.leave();
    let mut again = home.chat(&["-m", "a/b"]);
    again.keys(UP);
    again.keys("\r");
    again.see(READY);
    assert_eq!(last_prompt(&server), "from one\ntwice");
    // Ctrl-R finds an older one.
    again.keys("\u{12}two\r");
    again.see(READY);
    assert_eq!(last_prompt(&server), "from two");
}

#[test]
fn a_backslash_and_a_paste_make_one_prompt_of_several_lines() {
    let server = FakeServer::answering([Script::reply("ok")]);
    let home = Home::new(&server);
    let mut chat = home.chat(&["-m", "a/b"]);
    chat.line("one\\");
    chat.line("two");
    assert_eq!(last_prompt(&server), "one\ntwo");
    // A pasted backslash is the person's own.
    chat.line("\u{1b}[200~run \\\n  -it x\n/help\u{1b}[201~");
    assert_eq!(last_prompt(&server), "run \\\n  -it x\n/help");
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn what_is_typed_during_a_reply_is_not_lost() {
    let gate = Gate::default();
    let script = Script::stream()
        .event(&delta("wait"))
        .step(Step::Wait(gate.clone()))
        .event(&delta(" for it"))
        .event(FINISHED)
        .event("[DONE]");
    let server = FakeServer::answering([script, Script::reply("ok")]);
    let home = Home::new(&server);
    let mut chat = home.chat(&["-m", "a/b"]);
    chat.keys("first\r");
    chat.see("wait");
    chat.keys("second\rthird\r");
    gate.open();
    // It does not show inside the reply.
    chat.see(" for it\r\n");
    assert!(server.wait_for_requests(3));
    for _ in 0..3 {
        chat.see(READY);
    }
    let conversation = home.conversations().remove(0);
    let said: Vec<&str> = messages(&conversation).iter().map(|said| said.1).collect();
    assert_eq!(
        said,
        ["first", "wait for it", "second", "ok", "third", "ok"]
    );
}

#[test]
fn tab_completes_commands_models_and_conversations() {
    let server = FakeServer::deciding(|request| {
        if request.method == "GET" {
            Script::json(
                200,
                r#"{"data":[{"id":"anthropic/claude-opus"},{"id":"openai/gpt"}]}"#,
            )
        } else {
            Script::reply("ok")
        }
    });
    let home = Home::new(&server);
    let models = home.pachat().arg("models").output().unwrap();
    assert!(models.status.success());
    let mut chat = home.chat(&["-m", "a/b"]);
    assert!(chat.line("/he\t").contains("begin a new conversation"));
    let shown = chat.line("/mod\tpus\t");
    assert!(
        shown.contains("asking anthropic/claude-opus from here on"),
        "{shown:?}"
    );
    chat.line("about whales");
    assert_eq!(
        server.requests().pop().unwrap().json()["model"],
        "anthropic/claude-opus"
    );
    chat.line("/new");
    let shown = chat.line("/open whal\t");
    assert!(shown.contains("about whales ("), "{shown:?}");
}

#[test]
fn slash_commands_change_the_file() {
    let server = FakeServer::answering([
        Script::reply("one"),
        Script::reply("two"),
        Script::reply("three"),
    ]);
    let home = Home::new(&server);
    let mut chat = home.chat(&["-m", "a/b"]);
    chat.line("first");
    chat.line("second");
    chat.line("/title Another name");
    chat.line("/system Be brief.");
    assert!(chat.line("/undo").contains("taken back: second"));
    chat.line("/retry");
    let lines = home.conversations().remove(0);
    let kinds: Vec<&str> = lines
        .iter()
        .map(|line| line["type"].as_str().unwrap())
        .collect();
    assert_eq!(
        kinds,
        [
            "conversation",
            "message",
            "message",
            "message",
            "message",
            "set",
            "set",
            "rewind",
            "rewind",
            "message",
            "message"
        ]
    );
    assert_eq!(lines[5]["title"], "Another name");
    assert_eq!(lines[6]["system"], "Be brief.");
    assert_eq!(
        (&lines[7]["to"], &lines[8]["to"]),
        (&Value::from(2), &Value::from(0))
    );
    let body = server.requests()[2].json();
    assert_eq!(body["messages"].as_array().unwrap().len(), 2);
    assert_eq!(body["messages"][0]["content"], "Be brief.");
    assert_eq!(body["messages"][1]["content"], "first");
    for (typed, shown) in [
        ("/title", "Another name"),
        ("/system", "Be brief."),
        ("/model", "a/b"),
        ("/usage", "reply tokens"),
        ("/list", "Another name"),
        ("/nosuch", "/nosuch is no command"),
        ("/open zzzzzz", "no conversation `zzzzzz`"),
        ("/open", "name a conversation"),
        ("/save ~/copy.md", "copy.md"),
        ("/save ~/copy.md", "the file exists already"),
    ] {
        let text = chat.line(typed);
        assert!(text.contains(shown), "{typed}: {text:?}");
    }
    let copy = std::fs::read_to_string(home.path().join("copy.md")).unwrap();
    assert!(copy.contains("three"), "{copy}");
}

#[test]
fn without_a_key_the_guide_answers() {
    let home = Home {
        directory: tempfile::tempdir().unwrap(),
        server: None,
    };
    let mut command = home.pachat();
    command.arg("chat");
    let mut chat = Terminal::start(command);
    chat.see("This is the offline guide");
    chat.see("pachat config key set");
    chat.see(READY);
    assert!(chat.line("how do I set an API key?").contains("key"));
    let conversation = home.conversations().remove(0);
    assert_eq!(conversation[0]["model"], "builtin/guide");
    assert_eq!(messages(&conversation)[1].0, "complete");
    // Another model needs the key, and the chat survives the refusal.
    assert!(chat.line("/model x/y").contains("there is no API key"));
    assert!(chat.line("and a backup?").len() > 20);
}

#[test]
fn the_guide_and_back() {
    let server = FakeServer::answering([Script::reply("a model speaks")]);
    let home = Home::new(&server);
    let mut chat = home.chat(&["-m", "a/b"]);
    chat.line("/model builtin/guide");
    chat.line("how do I export?");
    assert!(server.requests().is_empty());
    chat.line("/model a/b");
    assert!(chat.line("and now?").contains("a model speaks"));
}

#[test]
fn escape_sequences_do_not_reach_the_terminal() {
    let server =
        FakeServer::answering([Script::reply("a\u{1b}]0;owned\u{7}b\u{1b}[31mc\u{9b}2Jd")]);
    let home = Home::new(&server);
    let mut chat = home.chat(&["-m", "a/b"]);
    let shown = chat.line("x");
    assert!(shown.contains("\r\nabcd\r\n"), "{shown:?}");
    assert_eq!(
        messages(&home.conversations()[0])[1].1,
        "a\u{1b}]0;owned\u{7}b\u{1b}[31mc\u{9b}2Jd"
    );
}

#[test]
fn errors_do_not_end_the_chat() {
    let server = FakeServer::answering([
        Script::json(401, r#"{"error":{"message":"bad key","code":401}}"#),
        Script::stream().event(&delta("half")).step(Step::Cut),
        Script::reply("fine"),
    ]);
    let home = Home::new(&server);
    let mut chat = home.chat(&["-m", "a/b"]);
    assert!(chat.line("one").contains("pachat: "));
    let shown = chat.line("two");
    assert!(shown.contains("marked as incomplete"), "{shown:?}");
    assert!(chat.line("three").contains("fine"));
    let conversation = home.conversations().remove(0);
    assert_eq!(messages(&conversation).last(), Some(&("complete", "fine")));
}

#[test]
fn signals_end_it_in_good_order() {
    for (signal, code) in [("TERM", 143), ("HUP", 130)] {
        let script = Script::stream().event(&delta("so far")).step(Step::HangUp);
        let server = FakeServer::answering([Script::reply("ok"), script]);
        let home = Home::new(&server);
        let mut chat = home.chat(&["-m", "a/b"]);
        chat.line("x");
        chat.signal(signal);
        let (text, ended) = chat.end();
        assert_eq!(ended, code, "SIG{signal} at the prompt");
        assert!(text.contains("go on with: pachat chat -C"), "{text:?}");
        // The terminal is as it was: no raw mode, no bracketed paste.
        assert!(text.contains("\u{1b}[?2004l"), "{text:?}");

        let mut chat = home.chat(&["-m", "a/b", "-c"]);
        chat.keys("y\r");
        chat.see("so far");
        chat.signal(signal);
        assert_eq!(chat.end().1, code, "SIG{signal} in mid-reply");
        assert_eq!(
            messages(&home.conversations()[0]).last(),
            Some(&("interrupted", "so far"))
        );
    }
}

#[test]
fn a_signal_reaches_a_chat_that_waits_for_a_pipe() {
    let server = FakeServer::answering([Script::reply("ok")]);
    let home = Home::new(&server);
    let mut command = home.pachat();
    command.args(["chat", "-m", "a/b"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // The pipe stays open.
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"x\n").unwrap();
    assert!(server.wait_for_requests(1));
    let kill = Command::new("kill")
        .args(["-s", "TERM", &child.id().to_string()])
        .status();
    assert!(kill.unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(143));
}

#[test]
fn a_conversation_that_changes_elsewhere_is_noticed() {
    let server = FakeServer::answering([Script::reply("ok")]);
    let home = Home::new(&server);
    let mut chat = home.chat(&["-m", "a/b"]);
    chat.line("one");
    let other = home.pachat().args(["send", "-c", "two"]).output().unwrap();
    assert!(other.status.success());
    let shown = chat.line("three");
    assert!(
        shown.contains("(2 messages were added elsewhere)"),
        "{shown:?}"
    );
    std::fs::remove_file(&home.files()[0]).unwrap();
    let shown = chat.line("four");
    assert!(shown.contains("was removed meanwhile"), "{shown:?}");
    chat.line("/new");
    chat.line(UP);
    chat.line("five");
    assert_eq!(
        messages(&home.conversations()[0]).last(),
        Some(&("complete", "ok"))
    );
}

#[test]
fn a_chat_whose_output_goes_into_a_file_prompts_on_stderr() {
    let server = FakeServer::answering([Script::reply("the reply")]);
    let home = Home::new(&server);
    let mut command = home.command("/bin/sh");
    command.args([
        "-c",
        "exec \"$0\" chat -m a/b >out",
        env!("CARGO_BIN_EXE_pachat"),
    ]);
    let mut chat = Terminal::start(command);
    chat.see("/help shows the commands.\r\n> ");
    chat.keys("\u{3}");
    chat.see("(Ctrl-D leaves)\r\n> ");
    chat.keys("hello\r");
    chat.see("> ");
    chat.keys("/help\r");
    chat.see("Ctrl-D leaves");
    chat.see("> ");
    let text = chat.leave();
    assert!(text.contains("go on with:"), "{text:?}");
    let out = std::fs::read_to_string(home.path().join("out")).unwrap();
    assert_eq!(out, "the reply\n");
}

#[test]
fn a_dumb_terminal_gets_no_control_sequences() {
    let server = FakeServer::answering([Script::reply("plain")]);
    let home = Home::new(&server);
    let mut command = home.pachat();
    command.args(["chat", "-m", "a/b"]).env("TERM", "dumb");
    let mut chat = Terminal::start(command);
    let mut all = chat.see("> ");
    chat.keys("hello\r");
    all += &chat.see("plain");
    all += &chat.see("> ");
    all += &chat.leave();
    assert!(!all.contains('\u{1b}'), "{all:?}");
}

#[test]
fn a_terminal_that_goes_away_ends_the_chat_and_keeps_the_reply() {
    let script = Script::stream().event(&delta("so far")).step(Step::HangUp);
    let server = FakeServer::answering([script]);
    let home = Home::new(&server);
    let mut chat = home.chat(&["-m", "a/b"]);
    chat.keys("x\r");
    chat.see("so far");
    drop(chat);
    assert!(server.wait_for_hang_up(Duration::from_secs(20)));
    // The next pachat waits for the lock of the one that ends, and folds in what it left.
    let exported = home
        .pachat()
        .args(["send", "-c", "--max-time", "1", "--no-retry", "y"])
        .output()
        .unwrap();
    assert!(exported.status.code().is_some());
    assert_eq!(
        messages(&home.conversations()[0])[1],
        ("interrupted", "so far")
    );
}
