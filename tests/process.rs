//! Real processes: killed, signalled, in parallel, and with a reader that goes away.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may panic, and looks at the machine itself"
)]

mod common;

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use common::process::{active, conversations, pachat};
use common::server::{FINISHED, FakeServer, Gate, PATIENCE, Script, Step, delta};

fn is_next(request: &common::server::Request) -> bool {
    let body = request.json();
    let messages = body["messages"].as_array().unwrap();
    messages.last().unwrap()["content"]
        .as_str()
        .unwrap()
        .ends_with("next")
}

/// The number of the last piece of a slow reply.
const LAST: usize = 99;

/// A stream of a hundred pieces, a millisecond apart or a little more: longer than any test
/// waits before it kills.
fn slow_reply() -> Script {
    let pause = Step::Pause(Duration::from_millis(1));
    let stream = (0..=LAST).fold(Script::stream(), |script, n| {
        script
            .event(&delta(&format!("piece {n} é🙂\n")))
            .step(pause.clone())
    });
    stream.event(FINISHED).event("[DONE]")
}

/// How many times a process is killed: some here, more where the environment asks for it.
fn rounds() -> usize {
    std::env::var("PACHAT_TEST_KILLS").map_or(20, |text| text.parse().unwrap())
}

#[test]
#[expect(clippy::print_stdout, reason = "what `--nocapture` is for")]
fn killed_at_any_moment_of_a_reply_nothing_is_lost() {
    let home = tempfile::tempdir().unwrap();
    let server = FakeServer::deciding(|request| {
        if is_next(request) {
            Script::reply("and on it goes")
        } else {
            slow_reply()
        }
    });
    let mut with_text = 0;
    for round in 0..rounds() {
        let prompt = format!("prompt number {round}");
        let arrived = server.requests().len();
        let mut child = pachat(home.path(), &server.base_url())
            .args(["send", "-m", "a/b", &prompt])
            .spawn()
            .unwrap();
        assert!(server.wait_for_requests(arrived + 1));
        let mut stdout = child.stdout.take().unwrap();
        let mut seen = Vec::new();
        // Half of them when something has been shown, however slow the machine is.
        if round % 2 == 1 {
            (&mut stdout).take(1).read_to_end(&mut seen).unwrap();
        }
        // From right away to the middle of the reply, spread by a number coprime to 64.
        std::thread::sleep(Duration::from_millis((round * 37 % 64) as u64));
        child.kill().unwrap();
        stdout.read_to_end(&mut seen).unwrap();
        let killed = !child.wait().unwrap().success();
        let seen = String::from_utf8(seen).unwrap();

        let next = pachat(home.path(), &server.base_url())
            .args(["send", "-c", "next"])
            .output()
            .unwrap();
        assert!(
            next.status.success(),
            "{}",
            String::from_utf8_lossy(&next.stderr)
        );
        let conversation = conversations(home.path()).pop().unwrap();
        assert_eq!(conversation[0]["content"], prompt.as_str(), "round {round}");
        let reply = &conversation[1];
        if killed && reply["role"] == "assistant" {
            let kept = reply["content"].as_str().unwrap();
            // The kill may come between the end of the reply and the end of the process.
            let whole =
                reply["state"] == "complete" && kept.ends_with(&format!("piece {LAST} é🙂\n"));
            assert!(
                whole || reply["state"] == "interrupted",
                "round {round}: {reply}"
            );
            assert!(
                kept.starts_with(seen.as_str()),
                "round {round}: seen {seen:?}, kept {kept:?}"
            );
            with_text += usize::from(!seen.is_empty());
        } else if killed {
            assert_eq!(seen, "", "round {round}: what was seen is not in the file");
        }
        let last = conversation.last().unwrap();
        assert_eq!(
            (&last["state"], &last["content"]),
            (&"complete".into(), &"and on it goes".into())
        );
        // The side file and temporary files are gone.
        assert_eq!(
            std::fs::read_dir(active(home.path())).unwrap().count(),
            1,
            "round {round}"
        );
        // The ids of two rounds in one second are in no order; one conversation at a time.
        std::fs::remove_dir_all(active(home.path())).unwrap();
        std::fs::create_dir(active(home.path())).unwrap();
    }
    assert!(
        with_text > rounds() / 4,
        "only {with_text} kills came in mid-reply"
    );
    println!(
        "{} kills, {with_text} of them with text on stdout: nothing lost",
        rounds()
    );
}

fn finish(children: Vec<Child>) -> Vec<(ExitStatus, String)> {
    children
        .into_iter()
        .map(|child| {
            let output = child.wait_with_output().unwrap();
            (output.status, String::from_utf8(output.stderr).unwrap())
        })
        .collect()
}

#[test]
fn sixty_four_new_conversations_at_once_are_all_stored() {
    let home = tempfile::tempdir().unwrap();
    let server = FakeServer::deciding(|_| Script::reply("ok"));
    let children = (0..64)
        .map(|n| {
            let prompt = format!("prompt {n}");
            pachat(home.path(), &server.base_url())
                .args(["send", "-m", "a/b", &prompt])
                .spawn()
                .unwrap()
        })
        .collect();
    for (status, stderr) in finish(children) {
        assert!(status.success(), "{stderr}");
    }
    let mut prompts: Vec<String> = conversations(home.path())
        .iter()
        .map(|messages| {
            assert_eq!(messages.len(), 2);
            assert_eq!(messages[1]["state"], "complete");
            messages[0]["content"].as_str().unwrap().to_owned()
        })
        .collect();
    prompts.sort();
    prompts.dedup();
    assert_eq!(prompts.len(), 64);
    let locks = std::fs::read_dir(home.path().join("data/pachat/run"))
        .unwrap()
        .count();
    assert_eq!(
        locks, 2,
        "only the files of the store's and the log's locks stay"
    );
}

#[test]
fn sixteen_prompts_to_one_conversation_make_whole_turns() {
    let home = tempfile::tempdir().unwrap();
    let server = FakeServer::deciding(|request| {
        let body = request.json();
        let last = body["messages"].as_array().unwrap().last().unwrap()["content"].clone();
        Script::reply(&format!("reply to {}", last.as_str().unwrap()))
    });
    let first = pachat(home.path(), &server.base_url())
        .args(["send", "-m", "a/b", "begin"])
        .status();
    assert!(first.unwrap().success());
    let children = (0..16)
        .map(|n| {
            let prompt = format!("prompt {n}");
            pachat(home.path(), &server.base_url())
                .args(["send", "-c", &prompt])
                .spawn()
                .unwrap()
        })
        .collect();
    for (status, stderr) in finish(children) {
        assert!(status.success(), "{stderr}");
    }
    let conversation = conversations(home.path()).pop().unwrap();
    assert_eq!(conversation.len(), 34);
    for turn in conversation.chunks(2) {
        assert_eq!(
            (&turn[0]["role"], &turn[1]["role"]),
            (&"user".into(), &"assistant".into())
        );
        let expected = format!("reply to {}", turn[0]["content"].as_str().unwrap());
        assert_eq!(
            turn[1]["content"],
            expected.as_str(),
            "a reply belongs to its own prompt"
        );
    }
    let numbers: Vec<u64> = conversation
        .iter()
        .map(|line| line["n"].as_u64().unwrap())
        .collect();
    assert_eq!(numbers, (1..=34).collect::<Vec<_>>());
}

#[cfg(unix)]
#[test]
fn signals_keep_the_partial_reply_and_tell_by_the_exit_code() {
    for (signal, code) in [("INT", 130), ("TERM", 143), ("HUP", 130)] {
        let home = tempfile::tempdir().unwrap();
        let script = Script::stream()
            .event(&delta("so far\n"))
            .step(Step::HangUp);
        let server = FakeServer::answering([script]);
        let mut child = pachat(home.path(), &server.base_url())
            .args(["send", "-m", "a/b", "x"])
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut line).unwrap();
        let kill = Command::new("kill")
            .args(["-s", signal, &child.id().to_string()])
            .status();
        assert!(kill.unwrap().success());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(code), "SIG{signal}");
        assert!(
            server.wait_for_hang_up(PATIENCE),
            "SIG{signal}: the connection stays open"
        );
        let conversation = conversations(home.path()).pop().unwrap();
        assert_eq!(
            (&conversation[1]["state"], &conversation[1]["content"]),
            (&"interrupted".into(), &"so far\n".into())
        );
    }
}

#[test]
fn a_process_that_waits_for_a_conversation_gives_up_with_75() {
    let home = tempfile::tempdir().unwrap();
    let gate = Gate::default();
    let script = Script::stream()
        .event(&delta("busy\n"))
        .step(Step::Wait(gate.clone()))
        .event("[DONE]");
    let server = FakeServer::answering([script]);
    let mut first = pachat(home.path(), &server.base_url())
        .args(["send", "-m", "a/b", "x"])
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut stdout = BufReader::new(first.stdout.take().unwrap());
    stdout.read_line(&mut line).unwrap();
    let second = pachat(home.path(), &server.base_url())
        .args(["send", "-c", "--lock-timeout", "0", "y"])
        .output()
        .unwrap();
    assert_eq!(
        second.status.code(),
        Some(75),
        "{}",
        String::from_utf8_lossy(&second.stderr)
    );
    let listed = pachat(home.path(), &server.base_url())
        .arg("list")
        .output()
        .unwrap();
    assert!(
        String::from_utf8(listed.stdout)
            .unwrap()
            .contains("\tstreaming\t")
    );
    gate.open();
    assert!(first.wait().unwrap().success());
    assert_eq!(conversations(home.path())[0].len(), 2);
}

#[cfg(unix)]
#[test]
fn a_key_command_that_ctrl_c_has_ended_is_no_failure_of_the_command() {
    let home = tempfile::tempdir().unwrap();
    let call = |args: &[&str]| {
        let mut command = pachat(home.path(), &FakeServer::nobody());
        command.env_remove("OPENROUTER_API_KEY").args(args);
        command.output().unwrap()
    };
    // As the terminal does, which sends it to both.
    let command = "kill -INT $PPID; kill -INT $$";
    assert!(
        call(&["config", "set", "api.key_command", command])
            .status
            .success()
    );
    let ran = call(&["send", "-m", "a/b", "hello"]);
    assert_eq!(ran.status.code(), Some(130));
    assert_eq!(
        String::from_utf8_lossy(&ran.stderr),
        "pachat: interrupted\n"
    );
}

#[test]
fn going_on_with_a_copy_leaves_the_original_and_its_side_file_alone() {
    const COPY: &str = "20260101-000000-c0c0c0";
    let home = tempfile::tempdir().unwrap();
    let gate = Gate::default();
    let busy = Script::stream()
        .event(&delta("busy\n"))
        .step(Step::Wait(gate.clone()))
        .event(FINISHED)
        .event("[DONE]");
    let server = FakeServer::answering([busy, Script::reply("of the copy")]);
    let call = |args: &[&str]| {
        let mut command = pachat(home.path(), &server.base_url());
        command.args(args);
        command
    };
    let mut first = call(&["send", "-m", "a/b", "x"]).spawn().unwrap();
    let mut line = String::new();
    let mut stdout = BufReader::new(first.stdout.take().unwrap());
    stdout.read_line(&mut line).unwrap();
    let files = || {
        let entries = std::fs::read_dir(active(home.path())).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    };
    let before = files();
    let is_conversation = |name: &&String| Path::new(name).extension() == Some("jsonl".as_ref());
    let original = before.iter().find(is_conversation).unwrap();
    let path = |name: &str| active(home.path()).join(name);
    // What somebody does who wants to try something else from here: the header stays that of
    // the original.
    let copy = format!("{COPY}.jsonl");
    std::fs::copy(path(original), path(&copy)).unwrap();
    let second = call(&["send", "-C", "c0c0", "-m", "a/b", "y"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(second.status.success(), "{said}");
    assert!(
        said.contains(&format!("the header of {COPY} says")),
        "{said}"
    );
    // The reply that is arriving still has its side file, and nothing of it is in the copy.
    let mut expected = before.clone();
    expected.push(copy.clone());
    expected.sort();
    assert_eq!(files(), expected);
    let text = std::fs::read_to_string(path(&copy)).unwrap();
    assert!(
        text.contains("of the copy") && !text.contains("busy"),
        "{text}"
    );
    let listed = call(&["list"]).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert_eq!(listed.matches(COPY).count(), 1, "{listed}");
    gate.open();
    assert!(first.wait().unwrap().success());
    let text = std::fs::read_to_string(path(original)).unwrap();
    assert!(
        text.contains("busy") && !text.contains("of the copy"),
        "{text}"
    );
}
