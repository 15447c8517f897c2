//! `logs/app.log` as a person and a monitor find it after each command.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may panic, and looks at the machine itself"
)]

mod common;

use std::io::Read;
use std::path::PathBuf;

use common::host::Sandbox;
use common::sandbox;
use common::server::{Gate, Script, Step, delta};
use flate2::read::MultiGzDecoder;
use pachat::model::log_line::{Asked, Audit, Event, Exchange, LogLine};
use pachat::model::reply::State;
use pachat::platform::Disk;
use pachat::platform::disk::RealDisk;

const KEY: &str = "test-key-0123456789";

fn path(sandbox: &Sandbox) -> PathBuf {
    sandbox.data_dir().join("logs/app.log")
}

fn text(sandbox: &Sandbox) -> String {
    std::fs::read_to_string(path(sandbox)).unwrap_or_default()
}

/// The log, each line of which must be one that can be read.
fn lines(sandbox: &Sandbox) -> Vec<LogLine> {
    let text = text(sandbox);
    assert!(text.is_empty() || text.ends_with('\n'));
    text.lines()
        .map(|line| line.parse().unwrap_or_else(|why| panic!("{line}: {why}")))
        .collect()
}

fn exchanges(sandbox: &Sandbox) -> Vec<Exchange> {
    let lines = lines(sandbox).into_iter();
    lines
        .filter_map(|line| match line.event {
            Event::Exchange(exchange) => Some(*exchange),
            _ => None,
        })
        .collect()
}

fn audits(sandbox: &Sandbox) -> Vec<Audit> {
    let lines = lines(sandbox).into_iter();
    lines
        .filter_map(|line| match line.event {
            Event::Audit(audit) => Some(audit),
            _ => None,
        })
        .collect()
}

#[test]
fn a_reply_leaves_one_line_with_its_figures() {
    let (server, sandbox) = sandbox([Script::reply("one"), Script::reply("two")]);
    assert_eq!(sandbox.run(&["send", "-m", "a/b", "first"]).stderr, "");
    assert_eq!(sandbox.run(&["send", "-c", "second"]).stderr, "");
    let found = exchanges(&sandbox);
    assert_eq!(
        (found.len(), lines(&sandbox).len()),
        (2, 2),
        "{}",
        text(&sandbox)
    );
    let conversation = sandbox.conversations()[0][0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let host = server.base_url().replace("http://", "").replace("/v1", "");
    for exchange in found {
        assert_eq!(
            exchange,
            Exchange {
                asked: Asked::Reply,
                conversation: Some(conversation.clone()),
                host: host.clone(),
                model: Some("a/b".into()),
                answered: Some("test/model".into()),
                state: State::Complete,
                exit_code: 0,
                first_byte_ms: exchange.first_byte_ms,
                total_ms: exchange.total_ms,
                prompt_tokens: Some(67),
                completion_tokens: Some(5),
                cost: "0.00001305".parse().ok(),
                error: None,
            }
        );
        assert!(exchange.first_byte_ms.unwrap() <= exchange.total_ms);
    }
    assert!(
        text(&sandbox).starts_with("2026-08-22T09:41:07."),
        "{}",
        text(&sandbox)
    );
    assert!(text(&sandbox).contains("Z INFO request API response time first_byte_ms="));
}

#[cfg(unix)]
#[test]
fn the_log_is_private() {
    use std::os::unix::fs::PermissionsExt;
    let (_server, sandbox) = sandbox([Script::reply("ok")]);
    sandbox.run(&["send", "-m", "a/b", "x"]);
    let mode = |path: PathBuf| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(path(&sandbox)), 0o600);
    assert_eq!(mode(sandbox.data_dir().join("logs")), 0o700);
}

#[test]
fn a_failure_leaves_one_line_also_after_retries() {
    let busy = || Script::json(503, r#"{"error":{"message":"come back later"}}"#);
    let (server, sandbox) = sandbox([busy(), busy(), busy(), busy(), busy(), busy(), busy()]);
    let ran = sandbox.run(&["send", "-m", "a/b", "x"]);
    assert!(server.requests().len() > 1);
    let found = exchanges(&sandbox);
    assert_eq!(
        (found.len(), lines(&sandbox).len()),
        (1, 1),
        "{}",
        text(&sandbox)
    );
    assert_eq!(
        (found[0].state, found[0].exit_code),
        (State::Error, ran.code)
    );
    assert_eq!((found[0].first_byte_ms, found[0].cost), (None, None));
    let error = found[0].error.as_ref().unwrap();
    assert!(error.contains("come back later"), "{error}");
    assert!(text(&sandbox).contains(" ERROR request "));
}

#[test]
fn a_reply_that_breaks_off_has_its_line() {
    let cut = Script::stream().event(&delta("half")).step(Step::Cut);
    let (_server, sandbox) = sandbox([cut]);
    assert_eq!(sandbox.run(&["send", "-m", "a/b", "x"]).code, 76);
    let found = exchanges(&sandbox);
    assert_eq!((found.len(), lines(&sandbox).len()), (1, 1));
    assert_eq!((found[0].state, found[0].exit_code), (State::Error, 76));
    assert!(found[0].first_byte_ms.is_some());
}

#[test]
fn an_interrupted_reply_has_its_line() {
    let gate = Gate::default();
    let script = Script::stream()
        .event(&delta("half"))
        .step(Step::Reach(gate.clone()))
        .step(Step::HangUp);
    let (_server, sandbox) = sandbox([script]);
    let signals = sandbox.signals.clone();
    let person = std::thread::spawn(move || {
        assert!(gate.wait());
        std::thread::sleep(std::time::Duration::from_millis(100));
        signals.raise_interrupt();
    });
    assert_eq!(sandbox.run(&["send", "-m", "a/b", "x"]).code, 130);
    person.join().unwrap();
    let found = exchanges(&sandbox);
    assert_eq!((found.len(), lines(&sandbox).len()), (1, 1));
    assert_eq!(
        (found[0].state, found[0].exit_code),
        (State::Interrupted, 130)
    );
}

#[test]
fn every_prompt_of_a_chat_has_its_line() {
    let (_server, sandbox) = sandbox([
        Script::reply("one"),
        Script::json(401, r#"{"error":{"message":"who are you?"}}"#),
    ]);
    let ran = sandbox.run_with(&["chat", "-m", "a/b"], "first\nsecond\n");
    assert_eq!(ran.code, 77, "{}", ran.stderr);
    let codes: Vec<u8> = exchanges(&sandbox)
        .iter()
        .map(|exchange| exchange.exit_code)
        .collect();
    assert_eq!(codes, [0, 77]);
    assert_eq!(lines(&sandbox).len(), 2);
}

#[test]
fn a_list_of_models_has_a_kind_of_its_own() {
    let models = Script::json(200, r#"{"data":[{"id":"a/b"}]}"#);
    let (_server, sandbox) = sandbox([models, Script::json(500, "{}")]);
    assert_eq!(sandbox.run(&["models"]).code, 0);
    // From the kept list: nobody was asked.
    assert_eq!(sandbox.run(&["models"]).code, 0);
    assert_eq!(exchanges(&sandbox).len(), 1, "{}", text(&sandbox));
    assert_ne!(sandbox.run(&["models", "--refresh"]).code, 0);
    let found = exchanges(&sandbox);
    assert_eq!(found.len(), 2, "{}", text(&sandbox));
    assert!(found.iter().all(|found| found.asked == Asked::Models));
    assert_eq!(found[0].state, State::Complete);
    assert_eq!(found[1].state, State::Error);
    assert!(text(&sandbox).contains(" INFO models API response time "));
}

#[test]
fn what_is_not_to_be_saved_leaves_nothing_on_the_disk() {
    let models = Script::json(200, r#"{"data":[{"id":"a/b"}]}"#);
    let (_server, mut sandbox) = sandbox([
        models,
        Script::reply("ok"),
        Script::json(401, r#"{"error":{"message":"no"}}"#),
    ]);
    sandbox.set("LOG_LEVEL", "trace");
    // Without -m, the server is asked for its models first.
    let ran = sandbox.run(&["send", "--no-save", "confidential"]);
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("ok\n", ""));
    assert_eq!(
        sandbox.run(&["send", "--no-save", "-m", "a/b", "x"]).code,
        77
    );
    let left: Vec<_> = std::fs::read_dir(sandbox.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn who_only_looks_makes_no_log() {
    let sandbox = Sandbox::new();
    for command in [
        &["list"][..],
        &["config", "list"],
        &["config", "path"],
        &["send", "-m", "a/b", "no key"],
        &["export", "last"],
    ] {
        sandbox.run(command);
        assert!(!sandbox.data_dir().exists(), "{command:?}");
    }
    sandbox.run(&["send", "-m", "builtin/guide", "where are my files?"]);
    for command in [&["list"][..], &["config", "list"], &["export", "last"]] {
        assert_eq!(sandbox.run(command).code, 0);
    }
    // The guide is no server.
    assert!(!sandbox.data_dir().join("logs").exists());
}

#[test]
fn changes_of_settings_are_traced() {
    let sandbox = Sandbox::new();
    for arguments in [
        &["config", "set", "chat.model", "a/b"][..],
        &["config", "set", "chat.model", "a/b"],
        &["config", "set", "chat.model", "c/d"],
        &["config", "set", "api.key_command", "echo hunter2"],
        &["config", "unset", "chat.model"],
    ] {
        assert_eq!(sandbox.run(arguments).code, 0);
    }
    let audit = |action: &str, setting: &str| Audit::new(action).with("setting", setting);
    assert_eq!(
        audits(&sandbox),
        [
            audit("config set", "chat.model").with("new", "a/b"),
            audit("config set", "chat.model")
                .with("old", "a/b")
                .with("new", "c/d"),
            audit("config set", "api.key_command").with("new", "(not logged)"),
            audit("config unset", "chat.model").with("old", "c/d"),
        ]
    );
    assert!(!text(&sandbox).contains("hunter2"));
}

#[test]
fn an_edited_file_is_traced_setting_by_setting() {
    let mut sandbox = Sandbox::new();
    sandbox.run(&["config", "set", "chat.model", "a/b"]);
    sandbox.set(
        "EDITOR",
        r#"f() { echo '{"chat":{"model":"x/y","max_tokens":5}}' > "$1"; }; f"#,
    );
    let ran = sandbox.run(&["config", "edit"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let edit = |setting: &str| Audit::new("config edit").with("setting", setting);
    assert_eq!(
        audits(&sandbox)[1..],
        [
            edit("chat.model").with("old", "a/b").with("new", "x/y"),
            edit("chat.max_tokens").with("new", "5"),
        ]
    );
}

#[test]
fn changes_of_keys_are_traced_without_them() {
    let mut sandbox = Sandbox::new();
    sandbox.set("LOG_LEVEL", "warn");
    let set = ["config", "key", "set", "--stdin"];
    let key = format!("sk-or-v1-{}", "0123456789abcdef".repeat(4));
    assert_eq!(sandbox.run_with(&set, &key).code, 0);
    assert_eq!(sandbox.run_with(&set, "another-key-than-before").code, 0);
    assert_eq!(sandbox.run(&["config", "key", "remove"]).code, 0);
    let results: Vec<_> = audits(&sandbox)
        .iter()
        .map(|audit| {
            assert_eq!(audit.detail("server"), Some("https://openrouter.ai"));
            let result = audit.detail("result").map(str::to_owned);
            (audit.action().to_owned(), result)
        })
        .collect();
    assert_eq!(
        results,
        [
            ("config key set".to_owned(), Some("sealed".to_owned())),
            ("config key set".to_owned(), Some("replaced".to_owned())),
            ("config key remove".to_owned(), None),
        ]
    );
    for part in ["01234567", "cdef", "another-key"] {
        assert!(!text(&sandbox).contains(part), "{}", text(&sandbox));
    }
}

#[test]
fn the_level_decides() {
    let failure = || Script::json(401, r#"{"error":{"message":"no"}}"#);
    let (_server, mut sandbox) = sandbox([
        Script::reply("ok"),
        failure(),
        Script::reply("ok"),
        failure(),
    ]);
    sandbox.set("LOG_LEVEL", "off");
    sandbox.run(&["send", "-m", "a/b", "x"]);
    sandbox.run(&["send", "-m", "a/b", "x"]);
    sandbox.run(&["config", "set", "chat.model", "a/b"]);
    assert!(!sandbox.data_dir().join("logs").exists());
    sandbox.set("LOG_LEVEL", "warn");
    sandbox.run(&["send", "-m", "a/b", "x"]);
    assert_eq!(lines(&sandbox).len(), 0);
    sandbox.run(&["send", "-m", "a/b", "x"]);
    assert_eq!(lines(&sandbox).len(), 1);
}

#[test]
fn a_key_that_the_server_repeats_is_not_logged() {
    let message = format!(r#"{{"error":{{"message":"bad key {KEY} \u001b[31m\nreally"}}}}"#);
    let (_server, sandbox) = sandbox([Script::json(401, &message)]);
    assert_eq!(sandbox.run(&["send", "-m", "a/b", "x"]).code, 77);
    let text = text(&sandbox);
    assert!(!text.contains(KEY) && !text.contains('\u{1b}'), "{text}");
    assert!(text.contains("(redacted)"), "{text}");
    assert_eq!(lines(&sandbox).len(), 1);
}

#[test]
fn a_command_that_fails_for_another_reason_says_why() {
    let sandbox = Sandbox::new();
    sandbox.run(&["send", "-m", "builtin/guide", "hello"]);
    let ran = sandbox.run(&["send", "-m", "a/b", "x"]);
    assert_eq!(ran.code, 77);
    let text = text(&sandbox);
    assert!(
        text.contains("ERROR program message message=\"there is no API key"),
        "{text}"
    );
    // A typing error is nothing that anybody asks about later.
    sandbox.run(&["send", "-C", "zzz", "x"]);
    assert_eq!(lines(&sandbox).len(), 1);
}

#[test]
fn a_log_that_cannot_be_written_is_one_warning() {
    let (_server, sandbox) = sandbox([Script::reply("one"), Script::reply("two")]);
    std::fs::create_dir_all(sandbox.data_dir()).unwrap();
    std::fs::write(sandbox.data_dir().join("logs"), "in the way").unwrap();
    let ran = sandbox.run_with(&["chat", "-m", "a/b"], "first\nsecond\n");
    assert_eq!(
        (ran.stdout.as_str(), ran.code),
        ("one\ntwo\n", 0),
        "{}",
        ran.stderr
    );
    assert_eq!(
        ran.stderr.matches("the log cannot be written").count(),
        1,
        "{}",
        ran.stderr
    );
    assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.stderr);
}

#[test]
fn verbose_shows_lines_as_well() {
    let models = Script::json(200, r#"{"data":[{"id":"a/b"}]}"#);
    let (_server, mut sandbox) = sandbox([Script::reply("ok"), models]);
    let ran = sandbox.run(&["-v", "send", "-m", "a/b", "x"]);
    assert!(ran.stderr.contains(" INFO request API response time "));
    assert_eq!(lines(&sandbox).len(), 1);
    // What is shown is not written for that.
    sandbox.set("LOG_LEVEL", "error");
    let ran = sandbox.run(&["-vvv", "models", "--refresh"]);
    assert!(ran.stderr.contains(" program message "), "{}", ran.stderr);
    assert!(!ran.stderr.contains(KEY));
    assert_eq!(lines(&sandbox).len(), 1);
}

fn log_files(sandbox: &Sandbox) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(sandbox.data_dir().join("logs"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn unpacked(path: PathBuf) -> String {
    let mut text = String::new();
    let file = std::fs::File::open(path).unwrap();
    MultiGzDecoder::new(file).read_to_string(&mut text).unwrap();
    text
}

/// Writes a line: each change of a setting has one.
fn write(sandbox: &Sandbox, value: &str) {
    let ran = sandbox.run(&["config", "set", "chat.model", value]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(!ran.stderr.contains("warning"), "{}", ran.stderr);
}

#[test]
fn a_log_is_put_away_when_it_is_large() {
    let sandbox = Sandbox::new();
    write(&sandbox, "a/b");
    let path = sandbox.data_dir().join("logs/app.log");
    let line = std::fs::read_to_string(&path).unwrap();
    let many = line.repeat(5_000_000 / line.len());
    std::fs::write(&path, &many).unwrap();
    write(&sandbox, "c/d");
    assert_eq!(log_files(&sandbox), ["app.log"], "it is not larger yet");
    let before = std::fs::read_to_string(&path).unwrap() + &line;
    std::fs::write(&path, &before).unwrap();
    write(&sandbox, "e/f");
    assert_eq!(
        log_files(&sandbox),
        ["app.log", "app.log.20260822_094107.gz"]
    );
    let after = std::fs::read_to_string(&path).unwrap();
    assert_eq!(after.lines().count(), 1);
    assert!(after.contains("new=e/f"));
    let put_away = sandbox.data_dir().join("logs/app.log.20260822_094107.gz");
    #[cfg(unix)]
    assert_eq!(RealDisk.stat(&put_away).unwrap().mode, Some(0o600));
    assert_eq!(unpacked(put_away), before);
}

#[test]
fn a_log_is_put_away_after_a_week_and_removed_a_month_later() {
    let mut sandbox = Sandbox::new();
    let day = |text: &str| format!("2026-{text}T12:00:00Z");
    for (today, model, files) in [
        ("09-01", "a", &["app.log"][..]),
        ("09-08", "b", &["app.log"]),
        ("09-09", "c", &["app.log", "app.log.20260909_120000.gz"]),
        // A clock that goes back is no reason to do anything.
        ("01-01", "d", &["app.log", "app.log.20260909_120000.gz"]),
        (
            "09-17",
            "e",
            &[
                "app.log",
                "app.log.20260909_120000.gz",
                "app.log.20260917_120000.gz",
            ],
        ),
        (
            "10-12",
            "f",
            &[
                "app.log",
                "app.log.20260917_120000.gz",
                "app.log.20261012_120000.gz",
            ],
        ),
    ] {
        sandbox.clock = std::sync::Arc::new(common::host::TestClock::at(&day(today)));
        // A moment more than a week, and not less.
        if today == "09-08" {
            sandbox.clock =
                std::sync::Arc::new(common::host::TestClock::at("2026-09-08T11:59:00Z"));
        }
        write(&sandbox, model);
        assert_eq!(log_files(&sandbox), files, "{today}");
    }
    let bystander = sandbox.data_dir().join("logs/app.log.notes");
    std::fs::write(&bystander, "mine").unwrap();
    sandbox.clock = std::sync::Arc::new(common::host::TestClock::at(&day("12-31")));
    write(&sandbox, "g");
    assert_eq!(
        log_files(&sandbox),
        ["app.log", "app.log.20261231_120000.gz", "app.log.notes"]
    );
}

#[test]
fn what_a_crash_left_is_carried_on_with() {
    let sandbox = Sandbox::new();
    write(&sandbox, "a");
    let logs = sandbox.data_dir().join("logs");
    let line = std::fs::read_to_string(logs.join("app.log")).unwrap();
    // A line without its end, a log that was renamed and not compressed, and half a
    // compressed one.
    std::fs::write(logs.join("app.log"), format!("{line}2026-08-22T09:4")).unwrap();
    std::fs::write(logs.join("app.log.20260820_000000"), &line).unwrap();
    std::fs::write(
        logs.join(".app.log.20260820_000000.gz.01234567.tmp"),
        "half",
    )
    .unwrap();
    write(&sandbox, "b");
    let text = std::fs::read_to_string(logs.join("app.log")).unwrap();
    let last = text.lines().last().unwrap();
    assert!(last.parse::<LogLine>().is_ok(), "{text}");
    std::fs::write(logs.join("app.log"), text.repeat(50_000)).unwrap();
    write(&sandbox, "c");
    assert_eq!(
        log_files(&sandbox),
        [
            "app.log",
            "app.log.20260820_000000.gz",
            "app.log.20260822_094107.gz"
        ]
    );
    assert_eq!(unpacked(logs.join("app.log.20260820_000000.gz")), line);
}
