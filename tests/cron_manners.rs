//! What cron sees: silence when all is fine, one line when it is not, an exit code that says
//! what to do, and two runs that do not get in each other's way.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may panic, and looks at the machine itself"
)]

mod common;

use std::path::PathBuf;
use std::process::{Command, Stdio};

use common::host::{Cues, Sandbox};
use pachat::platform::Disk;
use pachat::platform::disk::{File, LockMode, Open, RealDisk};

/// A home with a conversation, a backup and a rollback point.
fn home() -> Sandbox {
    let sandbox = Sandbox::new();
    for command in [
        &["send", "-m", "builtin/guide", "where are my files?"][..],
        &["backup"],
        &["rollback", "--create-point"],
    ] {
        let ran = sandbox.run(command);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
    }
    sandbox
}

/// Long enough for what another test's child may hold for a moment: between being forked and
/// becoming another program it has every lock of this process. Time passes quickly here.
const A_MOMENT: [&str; 2] = ["--lock-timeout", "1000000000"];

/// Takes a lock as another pachat does.
fn hold(sandbox: &Sandbox, name: &str) -> Box<dyn File> {
    let path: PathBuf = sandbox.data_dir().join("run").join(name);
    let file = RealDisk.open(&path, Open::AppendOrCreate).unwrap();
    assert!(file.try_lock(LockMode::Exclusive).unwrap());
    file
}

const CHANGES: [&[&str]; 8] = [
    &["backup"],
    &["backup", "--force"],
    &["restore", "latest", "--yes"],
    &["rollback", "--create-point"],
    &["rollback", "--rollback-point", "latest", "--yes"],
    &["send", "-m", "builtin/guide", "new"],
    &["send", "-m", "builtin/guide", "-c", "and?"],
    &["chat", "-m", "builtin/guide", "-c"],
];

#[test]
fn a_run_that_meets_another_one_leaves_quietly() {
    let sandbox = home();
    let held = hold(&sandbox, "store.lock");
    for command in CHANGES {
        let at_once = [command, &["--lock-timeout", "0"]].concat();
        let quiet = [&at_once[..], &["--quiet"]].concat();
        let ran = sandbox.run_with(&quiet, "and?\n");
        assert_eq!(
            (ran.code, ran.stdout.as_str(), ran.stderr.as_str()),
            (75, "", ""),
            "{command:?}"
        );
        let ran = sandbox.run_with(&at_once, "and?\n");
        assert_eq!((ran.code, ran.stdout.as_str()), (75, ""), "{command:?}");
        assert!(
            ran.stderr
                .starts_with("pachat: another pachat is at work here\n"),
            "{}",
            ran.stderr
        );
    }
    drop(held);
    for command in CHANGES {
        let ran = sandbox.run_with(&[command, &A_MOMENT].concat(), "and?\n");
        assert_eq!(ran.code, 0, "{command:?}: {}", ran.stderr);
    }
}

#[test]
fn each_lock_is_left_to_who_has_it() {
    let sandbox = home();
    for (lock, command) in [
        ("backup.lock", &["backup", "--force"][..]),
        ("points.lock", &["rollback", "--create-point"]),
        ("swap.lock", &["restore", "latest", "--yes"]),
        ("config.lock", &["config", "set", "rollback.keep", "5"]),
    ] {
        let held = hold(&sandbox, lock);
        let quiet = [command, &["--quiet", "--lock-timeout", "0"]].concat();
        let ran = sandbox.run(&quiet);
        assert_eq!((ran.code, ran.stderr.as_str()), (75, ""), "{lock}");
        drop(held);
        let ran = sandbox.run(&[command, &A_MOMENT].concat());
        assert_eq!(ran.code, 0, "{lock}: {}", ran.stderr);
    }
}

#[test]
fn a_run_that_may_wait_waits() {
    let sandbox = home();
    let held = hold(&sandbox, "store.lock");
    let cues = Cues::default();
    let stderr = cues.stderr.clone();
    // Time passes quickly here.
    let arguments = ["backup", "--force", "--lock-timeout", "1000000000"];
    std::thread::scope(|scope| {
        let run = scope.spawn(|| sandbox.run_on(&cues, &arguments, ""));
        assert!(stderr.wait_for("waiting for it"));
        drop(held);
        let ran = run.join().unwrap();
        assert_eq!(ran.code, 0, "{}", ran.stderr);
    });
}

#[test]
fn what_is_wrong_is_one_line() {
    let sandbox = home();
    let mut broken = Sandbox::new();
    broken.set("LOG_LEVEL", "loud");
    let empty = Sandbox::new();
    for (sandbox, command, code) in [
        (&sandbox, &["restore", "20010101", "--yes"][..], 66),
        (&sandbox, &["export", "nothing-like-it"], 66),
        (&sandbox, &["backup", "-o", "/nowhere/at/all"], 73),
        (&broken, &["backup"], 78),
        (&empty, &["backup"], 66),
        (&empty, &["send", "why?"], 77),
    ] {
        let ran = sandbox.run(&[command, &["--quiet"]].concat());
        assert_eq!(
            (ran.code, ran.stdout.as_str()),
            (code, ""),
            "{}",
            ran.stderr
        );
        assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.stderr);
        assert!(ran.stderr.starts_with("pachat: "), "{}", ran.stderr);
        assert!(ran.stderr.contains("; hint: "), "{}", ran.stderr);
        // The same, told at length.
        let ran = sandbox.run(command);
        assert!(ran.stderr.contains("\n  hint: "), "{}", ran.stderr);
    }
}

#[test]
fn nothing_asks_and_nothing_is_coloured_where_nobody_looks() {
    let mut sandbox = home();
    sandbox.set("TERM", "xterm-256color");
    sandbox.set("COLORTERM", "truecolor");
    for (command, code) in [
        (&["restore", "latest"][..], 2),
        (&["rollback", "--rollback-point", "latest"], 2),
        (&["backup", "--encrypted"], 2),
        (&["config", "key", "set"], 2),
        (&["backup", "--nonsense"], 2),
        (&["list"], 0),
        (&["restore", "--list"], 0),
        (&["backup", "-v"], 0),
    ] {
        let ran = sandbox.run(command);
        assert_eq!(ran.code, code, "{command:?}: {}", ran.stderr);
        let said = ran.stdout + &ran.stderr;
        assert!(!said.contains('\x1b'), "{command:?}: {said}");
        assert!(
            !said.contains("[y/N]") && !said.contains("not shown"),
            "{said}"
        );
    }
}

#[test]
fn many_processes_at_once_are_done_or_leave_quietly() {
    let home = tempfile::tempdir().unwrap();
    let call = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pachat"));
        command
            .env_clear()
            .env("HOME", home.path())
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    };
    let begun = call(&["send", "-m", "builtin/guide", "hello"])
        .output()
        .unwrap();
    assert!(begun.status.success());
    let backup = ["backup", "--force", "--quiet", "--lock-timeout", "0"];
    let running: Vec<_> = (0..6).map(|_| call(&backup).spawn().unwrap()).collect();
    let mut made = 0;
    for child in running {
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        let printed = String::from_utf8(output.stdout).unwrap();
        match output.status.code() {
            Some(0) => {
                made += 1;
                assert_eq!((printed.lines().count(), said.as_str()), (1, ""));
            }
            Some(75) => assert_eq!((printed.as_str(), said.as_str()), ("", "")),
            code => panic!("{code:?}: {said}"),
        }
    }
    assert!(made > 0, "somebody must have had the lock");
    let last = call(&backup).output().unwrap();
    assert_eq!(last.status.code(), Some(0));
}
