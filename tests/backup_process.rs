//! Backups, restores, imports and rollbacks as real processes: killed at any moment, and all at once.
#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may panic, and looks at the machine itself"
)]

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use common::process::pachat;

/// Nobody listens there, and nobody is asked.
const NO_SERVER: &str = "http://127.0.0.1:9/v1";

/// How many times a process is killed: some here, more where the environment asks for it.
fn rounds() -> usize {
    std::env::var("PACHAT_TEST_KILLS").map_or(24, |text| text.parse().unwrap())
}

fn call(home: &Path, args: &[&str]) -> Command {
    let mut command = pachat(home, NO_SERVER);
    command.args(args);
    command
}

fn run(home: &Path, args: &[&str]) -> Output {
    let output = call(home, args).output().unwrap();
    assert!(
        output.status.success(),
        "{args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

fn data(home: &Path) -> PathBuf {
    home.join("data/pachat")
}

/// Every file below a directory, with its content.
fn tree(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut left = vec![directory.to_path_buf()];
    while let Some(directory) = left.pop() {
        let Ok(entries) = std::fs::read_dir(&directory) else {
            continue;
        };
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() {
                left.push(path);
            } else {
                files.insert(path.clone(), std::fs::read(&path).unwrap());
            }
        }
    }
    files
}

/// Conversations as they could have been: `count` of them, of `length` bytes or a little more.
fn fill(home: &Path, first: usize, count: usize, length: usize) {
    let active = data(home).join("conversations/active");
    std::fs::create_dir_all(&active).unwrap();
    std::fs::create_dir_all(data(home).join("run")).unwrap();
    std::fs::write(data(home).join("VERSION"), "1\n").unwrap();
    for number in first..first + count {
        let id = format!("20260822-{:06}-aaa{:03}", number % 240_000, number % 1000);
        let mut text = format!(
            "{{\"type\":\"conversation\",\"version\":1,\"id\":\"{id}\",\"created_at\":\"2026-08-22T09:41:07.120Z\",\"title\":\"t\"}}\n"
        );
        let mut n = 0;
        while text.len() < length {
            n += 1;
            let role = if n % 2 == 1 { "user" } else { "assistant" };
            text.push_str(&format!(
                "{{\"type\":\"message\",\"n\":{n},\"role\":\"{role}\",\"content\":\"{} words of {number}\",\"at\":\"2026-08-22T09:41:08.000Z\",\"state\":\"complete\"}}\n",
                n * 7919 * (number + 1)
            ));
        }
        std::fs::write(active.join(format!("{id}.jsonl")), text).unwrap();
    }
}

/// Paths that must not be there when nothing runs: what only a dead process leaves behind.
fn left_over(home: &Path) -> Vec<PathBuf> {
    let is_left_over = |path: &PathBuf| {
        let below = path.strip_prefix(data(home)).unwrap();
        below.components().any(|part| {
            let name = part.as_os_str().to_string_lossy();
            name.starts_with('.') && name.contains("tmp")
        })
    };
    let mut left: Vec<PathBuf> = tree(&data(home)).into_keys().filter(is_left_over).collect();
    if data(home).join(".swap").exists() {
        left.push(data(home).join(".swap"));
    }
    left
}

#[test]
#[expect(clippy::print_stdout, reason = "what `--nocapture` is for")]
fn killed_at_any_moment_there_is_the_old_or_the_new() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let conversations = data(home).join("conversations/active");
    // Two states of the store, and a backup of each.
    fill(home, 0, 40, 30_000);
    let old = tree(&conversations);
    let of_old = String::from_utf8(run(home, &["backup", "--pin"]).stdout).unwrap();
    fill(home, 20, 40, 45_000);
    std::fs::remove_file(old.keys().next().unwrap()).unwrap();
    let new = tree(&conversations);
    let of_new = String::from_utf8(run(home, &["backup", "--pin"]).stdout).unwrap();
    assert_ne!(old, new);
    run(home, &["rollback", "--create-point"]);

    let restore_old = ["restore", of_old.trim(), "--yes"];
    let restore_new = ["restore", of_new.trim(), "--yes"];
    let backup = ["backup", "--force", "--keep-last", "3"];
    let point = ["rollback", "--create-point", "--keep", "3"];
    let back = ["rollback", "--rollback-point", "latest", "--yes"];
    let calls: [&[&str]; 5] = [&restore_old, &backup, &restore_new, &back, &point];
    // How long each takes when nobody kills it.
    let mut takes = [Duration::ZERO; 5];
    for (call, takes) in calls.iter().zip(&mut takes) {
        let start = Instant::now();
        run(home, call);
        *takes = start.elapsed();
    }

    let (mut killed, mut olds) = (0, 0);
    for round in 0..rounds() {
        let which = round % calls.len();
        let mut child = call(home, calls[which]).spawn().unwrap();
        // From right away to a little after its usual end, spread by a number coprime to 97.
        let part = u32::try_from(round * 37 % 97).unwrap();
        let (start, time) = (Instant::now(), takes[which] * part / 90);
        while start.elapsed() < time {
            std::thread::sleep(Duration::from_micros(200));
            if child.try_wait().unwrap().is_some() {
                // The machine is less busy now than when this was measured.
                takes[which] = start.elapsed();
                break;
            }
        }
        child.kill().unwrap();
        killed += usize::from(!child.wait().unwrap().success());

        run(home, &["list"]);
        let now = tree(&conversations);
        assert!(
            now == old || now == new,
            "round {round}, {:?}: {} files, neither the old nor the new",
            calls[which],
            now.len()
        );
        olds += usize::from(now == old);
        assert!(!data(home).join(".swap").exists(), "round {round}");
    }
    // The next of each kind takes away what the dead have left, and every archive is whole.
    run(home, &backup);
    run(home, &point);
    assert_eq!(left_over(home), Vec::<PathBuf>::new());
    let mut archives = 0;
    for entry in std::fs::read_dir(data(home).join("backups")).unwrap() {
        let path = entry.unwrap().path();
        if path.to_string_lossy().ends_with(".tar.gz") {
            run(home, &["restore", path.to_str().unwrap(), "--verify-only"]);
            archives += 1;
        }
    }
    assert!(archives >= 2);
    assert!(killed > rounds() / 3, "only {killed} were killed in time");
    println!(
        "{} kills, {killed} of them before the end: {olds} times the old set, {} times the new, never a mixture; \
         {archives} archives verified",
        rounds(),
        rounds() - olds
    );
}

#[test]
fn everything_at_once_loses_nothing() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    fill(home, 0, 30, 10_000);
    run(home, &["backup"]);
    let prompts: Vec<String> = (0..12)
        .map(|n| format!("where are my files? {n}"))
        .collect();
    let send = |prompt: &str| {
        call(home, &["send", "-m", "builtin/guide", prompt])
            .spawn()
            .unwrap()
    };
    let mut coming = run(home, &["export", "--all", "-F", "jsonl"]).stdout;
    coming.extend_from_slice(
        br#"{"type":"conversation","version":1,"id":"20260821-080000-bbbbbb","created_at":"2026-08-21T08:00:00Z"}
{"type":"message","n":1,"role":"user","content":"from elsewhere","at":"2026-08-21T08:00:00Z"}
"#,
    );
    let file = home.join("coming.jsonl");
    std::fs::write(&file, coming).unwrap();
    let file = file.to_str().unwrap();
    let mut children: Vec<(String, std::process::Child)> = Vec::new();
    for (n, prompt) in prompts.iter().enumerate() {
        children.push((prompt.clone(), send(prompt)));
        let other: &[&str] = match n % 5 {
            0 => &["backup"],
            1 => &["restore", "latest", "--merge", "--yes"],
            2 => &["rollback", "--create-point"],
            3 => &["import", file],
            _ => &["backup", "--force"],
        };
        children.push((other.join(" "), call(home, other).spawn().unwrap()));
    }
    for (what, child) in children {
        let output = child.wait_with_output().unwrap();
        assert!(
            output.status.success(),
            "{what}: {:?} {}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let all = common::process::conversations(home);
    assert_eq!(all.len(), 30 + 1 + prompts.len());
    for prompt in &prompts {
        let turns = all
            .iter()
            .filter(|messages| messages[0]["content"] == prompt.as_str());
        let turns: Vec<_> = turns.collect();
        assert_eq!(turns.len(), 1, "{prompt}");
        assert_eq!(turns[0].len(), 2, "{prompt}");
    }
    run(home, &["backup", "--force"]);
    run(home, &["rollback", "--create-point"]);
    run(home, &["restore", "latest", "--verify-only"]);
    assert_eq!(left_over(home), Vec::<PathBuf>::new());
}

#[test]
fn nobody_else_can_read_what_is_made_whatever_the_umask() {
    use std::os::unix::fs::PermissionsExt as _;

    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let open = |line: &str| {
        let line = line.replace("PACHAT", env!("CARGO_BIN_EXE_pachat"));
        let mut command = call(home, &[]);
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("umask 000; {line}")]);
        shell.current_dir(home).env_clear();
        shell.envs(
            command
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        );
        shell.env("PATH", "/usr/bin:/bin");
        command = shell;
        let output = command.output().unwrap();
        let talk = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{line}: {talk}");
    };
    open("PACHAT config set log.level debug");
    open("PACHAT send --no-stream -m builtin/guide hello");
    open("PACHAT backup keygen -o key");
    open("PACHAT backup --type full && PACHAT backup --encrypted && PACHAT backup -o copy.tar.gz");
    open("PACHAT send --no-stream -m builtin/guide hello");
    open("PACHAT rollback --create-point");
    open("PACHAT restore copy.tar.gz --yes && PACHAT restore copy.tar.gz --to new");
    open("PACHAT rollback --rollback-point latest --yes");
    let mut seen = 0;
    let mut left = vec![home.to_path_buf()];
    while let Some(directory) = left.pop() {
        for entry in std::fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            let metadata = path.symlink_metadata().unwrap();
            let mode = metadata.permissions().mode() & 0o777;
            let wanted = if metadata.is_dir() { 0o700 } else { 0o600 };
            // Above the data directory, directories are made as anybody makes them.
            assert_eq!(mode, wanted, "{}", path.display());
            seen += 1;
            if metadata.is_dir() {
                left.push(path);
            }
        }
    }
    assert!(seen > 30, "{seen}");
}
