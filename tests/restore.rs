//! `pachat restore` as a person and a script see it: stdout, stderr, exit code, files.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may panic, and looks at the machine itself"
)]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use common::host::{Cues, Ran, Sandbox, TestRandom};
use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::Timestamp;
use pachat::archive::manifest::{Entry, Manifest};
use pachat::archive::path::ArchivePath;
use pachat::archive::write::{self, Nothing, Source, Written};
use pachat::model::backup::{BackupType, Part, Sha256};
use pachat::platform::Signals;
use pachat::platform::disk::RealDisk;
use pachat::store::Store;
use pachat::store::lock::Patience;
use pachat::store::writer::Writer;
use serde_json::Value;

const WHALES: &str = "20260822-080000-7k2m9q";
const SKY: &str = "20260821-090000-abc123";
const TEA: &str = "20260820-100000-tea123";

type Tree = BTreeMap<String, Vec<u8>>;

/// A home with two conversations, an archived one, an attachment and some settings.
fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    put(&sandbox, "VERSION", b"1\n");
    put(&sandbox, "config/app_config.json", b"{}\n");
    put(&sandbox, &active(WHALES), conversation(WHALES).as_bytes());
    put(&sandbox, &active(SKY), conversation(SKY).as_bytes());
    put(&sandbox, &archived(TEA), &packed(&conversation(TEA)));
    put(&sandbox, &attachment(), b"x");
    sandbox
}

fn conversation(id: &str) -> String {
    format!(
        r#"{{"type":"conversation","version":1,"id":"{id}","created_at":"2026-08-21T09:00:00.000Z","title":"About {id}","model":"a/b"}}
{{"type":"message","n":1,"role":"user","content":"hello","at":"2026-08-21T09:00:00.000Z"}}
"#
    )
}

fn more(n: u64, text: &str) -> String {
    format!(
        r#"{{"type":"message","n":{n},"role":"user","content":"{text}","at":"2026-08-21T10:00:00.000Z"}}
"#
    )
}

fn active(id: &str) -> String {
    format!("conversations/active/{id}.jsonl")
}

fn partial(id: &str) -> String {
    format!("conversations/active/{id}.partial")
}

fn archived(id: &str) -> String {
    format!("conversations/archived/{id}.jsonl.gz")
}

fn attachment() -> String {
    format!("attachments/{}.txt", Sha256::of(b"x"))
}

fn packed(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

fn unpacked(bytes: &[u8]) -> String {
    let mut text = String::new();
    flate2::read::MultiGzDecoder::new(bytes)
        .read_to_string(&mut text)
        .unwrap();
    text
}

fn put(sandbox: &Sandbox, path: &str, bytes: &[u8]) {
    let path = sandbox.data_dir().join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

fn append(sandbox: &Sandbox, path: &str, text: &str) {
    let path = sandbox.data_dir().join(path);
    let mut file = fs::OpenOptions::new().append(true).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

fn remove(sandbox: &Sandbox, path: &str) {
    fs::remove_file(sandbox.data_dir().join(path)).unwrap();
}

fn get(sandbox: &Sandbox, path: &str) -> Option<String> {
    fs::read_to_string(sandbox.data_dir().join(path)).ok()
}

/// Every file below a directory.
fn tree(directory: &Path) -> Tree {
    fn walk(directory: &Path, root: &Path, found: &mut Tree) {
        let Ok(entries) = fs::read_dir(directory) else {
            return;
        };
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, root, found);
            } else {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap();
                found.insert(name.to_owned(), fs::read(&path).unwrap());
            }
        }
    }
    let mut found = Tree::new();
    walk(directory, directory, &mut found);
    found
}

/// What a restore is about: no backups, points, logs, locks.
fn data(sandbox: &Sandbox) -> Tree {
    let mut files = tree(&sandbox.data_dir());
    files.retain(|path, _| {
        ["attachments/", "config/", "conversations/", "quarantine/"]
            .iter()
            .any(|part| path.starts_with(part))
    });
    files
}

fn ok(ran: Ran) -> Ran {
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    ran
}

/// Makes a backup; its file.
fn back_up(sandbox: &Sandbox, args: &[&str]) -> PathBuf {
    let ran = ok(sandbox.run(&[&["backup"], args].concat()));
    PathBuf::from(ran.stdout.trim_end())
}

fn points(sandbox: &Sandbox) -> Vec<String> {
    let ran = ok(sandbox.run(&["rollback", "--list"]));
    let id = |line: &str| line.split('\t').next().unwrap().to_owned();
    ran.stdout.lines().map(id).collect()
}

/// The command that undoes what a run did, as it says.
fn undo(ran: &Ran) -> Vec<String> {
    let (_, command) = ran.stderr.split_once("undo: pachat ").unwrap();
    let words = command.lines().next().unwrap().split(' ');
    words.map(str::to_owned).chain(["--yes".into()]).collect()
}

fn run(sandbox: &Sandbox, args: &[String]) -> Ran {
    sandbox.run(&args.iter().map(String::as_str).collect::<Vec<&str>>())
}

#[test]
fn a_backup_comes_back_whole_and_every_step_can_be_undone() {
    let sandbox = sandbox();
    back_up(&sandbox, &[]);
    let before = data(&sandbox);
    remove(&sandbox, &active(WHALES));
    append(&sandbox, &active(SKY), &more(2, "one more"));
    put(
        &sandbox,
        &active("20260901-000000-new000"),
        conversation("20260901-000000-new000").as_bytes(),
    );
    let changed = data(&sandbox);

    let ran = ok(sandbox.run(&["restore", "latest", "--yes"]));
    assert_eq!(ran.stdout, "");
    assert!(
        ran.stderr
            .contains(": 1 added, 1 replaced, 1 removed, 2 unchanged; undo: pachat rollback"),
        "{}",
        ran.stderr
    );
    assert_eq!(data(&sandbox), before);
    assert!(!sandbox.data_dir().join(".swap").exists());

    let undone = ok(run(&sandbox, &undo(&ran)));
    assert_eq!(data(&sandbox), changed);
    ok(run(&sandbox, &undo(&undone)));
    assert_eq!(data(&sandbox), before);

    let log = get(&sandbox, "logs/app.log").unwrap();
    assert!(log.contains("restore") && log.contains("rollback"), "{log}");
}

#[test]
fn nothing_to_restore_makes_no_point() {
    let sandbox = sandbox();
    back_up(&sandbox, &[]);
    let ran = ok(sandbox.run(&["restore", "latest", "--yes"]));
    assert!(ran.stderr.contains("nothing was changed"), "{}", ran.stderr);
    assert!(points(&sandbox).is_empty());
}

#[test]
fn a_dry_run_shows_what_a_restore_does_and_writes_nothing() {
    let sandbox = sandbox();
    back_up(&sandbox, &["--type", "full"]);
    remove(&sandbox, &active(WHALES));
    append(&sandbox, &active(SKY), &more(2, "one more"));
    put(&sandbox, "config/api_keys.enc", b"sealed");
    let before = tree(sandbox.path());

    let shown = ok(sandbox.run(&["restore", "latest", "--dry-run"]));
    // The log has grown since, as it does with each run, and stays.
    assert_eq!(
        shown.stdout,
        format!(
            "remove\t6\tconfig/api_keys.enc\nreplace\t{}\t{}\nadd\t{}\t{}\n",
            conversation(SKY).len(),
            active(SKY),
            conversation(WHALES).len(),
            active(WHALES),
        )
    );
    assert!(
        shown
            .stderr
            .contains("verified: 1 added, 1 replaced, 1 removed")
    );
    let planned = ok(sandbox.run(&["restore", "latest", "--dry-run", "--json", "-v"]));
    assert_eq!(tree(sandbox.path()), before);

    let done = ok(sandbox.run(&["restore", "latest", "--yes", "--json", "-v"]));
    let [planned, done] =
        [planned, done].map(|ran| -> Value { serde_json::from_str(&ran.stdout).unwrap() });
    let files = |document: &Value| -> Vec<Value> {
        let mut files = document["files"].as_array().unwrap().clone();
        files.retain(|file| !file["path"].as_str().unwrap().starts_with("logs/"));
        files
    };
    assert_eq!(files(&planned), files(&done));
    assert_eq!(planned["point"], Value::Null);
    assert!(done["point"].as_str().unwrap().starts_with("point_"));
}

#[test]
fn a_merge_loses_nothing_that_is_there() {
    let [grown, shorter, apart] = [WHALES, SKY, "20260819-100000-apart0"];
    let sandbox = sandbox();
    append(&sandbox, &active(shorter), &more(2, "second"));
    put(&sandbox, &active(apart), conversation(apart).as_bytes());
    append(&sandbox, &active(apart), &more(2, "one way"));
    let gone = "20260818-100000-gzne00";
    put(&sandbox, &active(gone), conversation(gone).as_bytes());
    back_up(&sandbox, &["--type", "full"]);

    append(&sandbox, &active(grown), &more(2, "newer"));
    put(&sandbox, &active(shorter), conversation(shorter).as_bytes());
    put(&sandbox, &active(apart), conversation(apart).as_bytes());
    append(&sandbox, &active(apart), &more(2, "the other way"));
    remove(&sandbox, &active(gone));
    let new = "20260901-000000-new000";
    put(&sandbox, &active(new), conversation(new).as_bytes());
    put(
        &sandbox,
        "config/app_config.json",
        b"{\"log\":{\"level\":\"info\"}}\n",
    );
    let before = data(&sandbox);

    let ran = ok(sandbox.run(&["restore", "latest", "--merge", "--yes"]));
    let mut expected = before.clone();
    expected.insert(active(gone), conversation(gone).into());
    let longer = conversation(shorter) + &more(2, "second");
    expected.insert(active(shorter), longer.into());
    assert_eq!(data(&sandbox), expected);
    assert!(
        ran.stderr.contains("gone separate ways: apart0; take the backup's: pachat restore latest --conversation apart0"),
        "{}",
        ran.stderr
    );

    // The hint does what it says.
    ok(sandbox.run(&["restore", "latest", "--conversation", "apart0", "--yes"]));
    let taken = conversation(apart) + &more(2, "one way");
    assert_eq!(get(&sandbox, &active(apart)).unwrap(), taken);
}

#[test]
fn the_last_conversation_is_the_one_that_was_talked_in_last() {
    let mut there = sandbox();
    // It was begun before the other one.
    append(&there, &active(SKY), &more(2, "and at night?"));
    let file = there.path().join("copy.tar.gz").display().to_string();
    assert_eq!(there.run(&["backup", "-o", &file]).code, 0);
    let last = |sandbox: &Sandbox| sandbox.run(&["export", "last", "-F", "jsonl"]).stdout;

    let new = Sandbox::new();
    assert_eq!(new.run(&["restore", &file, "--yes"]).code, 0);
    let text = last(&new);
    assert!(text.contains("and at night?"), "{text}");

    // What a merge adds is as old as it is.
    there.set(
        "PACHAT_DATA_DIR",
        there.path().join("other").to_str().unwrap(),
    );
    assert_eq!(
        there
            .run(&["send", "-m", "builtin/guide", "what is a backup?"])
            .code,
        0
    );
    let before = last(&there);
    let ran = there.run(&["restore", &file, "--merge", "--yes"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(there.run(&["list"]).stdout.lines().count(), 3);
    assert_eq!(last(&there), before);
}

#[test]
fn a_merge_meets_a_conversation_in_the_other_place() {
    let sandbox = sandbox();
    back_up(&sandbox, &[]);
    // Taken out of the archive and continued; put away as it was; put away and longer.
    remove(&sandbox, &archived(TEA));
    let longer = conversation(TEA) + &more(2, "newer");
    put(&sandbox, &active(TEA), longer.as_bytes());
    remove(&sandbox, &active(WHALES));
    put(&sandbox, &archived(WHALES), &packed(&conversation(WHALES)));
    remove(&sandbox, &active(SKY));
    let longer = conversation(SKY) + &more(2, "newer");
    put(&sandbox, &archived(SKY), &packed(&longer));
    let before = data(&sandbox);
    let ran = ok(sandbox.run(&["restore", "latest", "--merge", "--yes"]));
    assert!(ran.stderr.contains("nothing was changed"), "{}", ran.stderr);
    assert_eq!(data(&sandbox), before);

    // The backup's has more: it takes the place that it has in the backup.
    let header = conversation(TEA).lines().next().unwrap().to_owned() + "\n";
    put(&sandbox, &active(TEA), header.as_bytes());
    ok(sandbox.run(&["restore", "latest", "--merge", "--yes"]));
    assert_eq!(get(&sandbox, &active(TEA)), None);
    let path = sandbox.data_dir().join(archived(TEA));
    assert_eq!(unpacked(&fs::read(path).unwrap()), conversation(TEA));
}

#[test]
fn one_conversation_is_restored_with_its_side_file_and_nothing_else() {
    let sandbox = sandbox();
    back_up(&sandbox, &[]);
    append(&sandbox, &active(WHALES), &more(2, "newer"));
    put(&sandbox, &partial(WHALES), b"{\"type\":\"partial\"}\n");
    append(&sandbox, &active(SKY), &more(2, "newer"));
    remove(&sandbox, &attachment());
    let mut expected = data(&sandbox);
    expected.insert(active(WHALES), conversation(WHALES).into());
    expected.remove(&partial(WHALES));
    ok(sandbox.run(&["restore", "latest", "--conversation", "7k2", "--yes"]));
    assert_eq!(data(&sandbox), expected);
}

#[test]
fn a_conversation_that_is_archived_meanwhile_returns_to_its_place() {
    let sandbox = sandbox();
    back_up(&sandbox, &[]);
    remove(&sandbox, &active(WHALES));
    put(&sandbox, &archived(WHALES), &packed(&conversation(WHALES)));
    ok(sandbox.run(&["restore", "latest", "--conversation", WHALES, "--yes"]));
    assert_eq!(get(&sandbox, &active(WHALES)), Some(conversation(WHALES)));
    assert!(!sandbox.data_dir().join(archived(WHALES)).exists());
}

#[test]
fn what_a_backup_does_not_have_cannot_be_chosen() {
    let sandbox = sandbox();
    let twin = "20260801-000000-7k2aaa";
    put(&sandbox, &active(twin), conversation(twin).as_bytes());
    back_up(&sandbox, &[]);
    remove(&sandbox, &active(twin));
    let before = data(&sandbox);
    for (args, code, text) in [
        (["--conversation", "zzz"], 66, "tea123"),
        (["--conversation", "7k2"], 2, "7k2aaa"),
        (["--conversation", "7k"], 66, "three characters"),
        (
            ["--include", "config/*"],
            66,
            "no file that `config/*` names",
        ),
    ] {
        let ran = sandbox.run(&["restore", "latest", args[0], args[1], "--yes"]);
        assert_eq!(ran.code, code, "{args:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(text), "{args:?}: {}", ran.stderr);
    }
    assert_eq!(data(&sandbox), before);
}

#[test]
fn patterns_choose_files_and_whole_conversations() {
    let sandbox = sandbox();
    put(&sandbox, &partial(WHALES), b"{\"type\":\"partial\"}\n");
    back_up(&sandbox, &["--type", "full"]);
    remove(&sandbox, &partial(WHALES));
    append(&sandbox, &active(WHALES), &more(2, "newer"));
    append(&sandbox, &active(SKY), &more(2, "newer"));
    put(&sandbox, "config/app_config.json", b"{\"log\":{}}\n");
    let mut expected = data(&sandbox);
    expected.insert(active(WHALES), conversation(WHALES).into());
    expected.insert(partial(WHALES), b"{\"type\":\"partial\"}\n".to_vec());
    expected.insert("config/app_config.json".into(), b"{}\n".to_vec());
    let patterns = [
        "--include",
        "conversations/*20260822*.jsonl",
        "--include",
        "config/*",
    ];
    let args = [&["restore", "latest", "--yes"], &patterns[..]].concat();
    ok(sandbox.run(&args));
    assert_eq!(data(&sandbox), expected);
}

#[test]
fn a_directory_of_its_own_is_a_data_directory() {
    let sandbox = sandbox();
    let file = back_up(&sandbox, &["--type", "full"]);
    append(&sandbox, &active(SKY), &more(2, "newer"));
    let before = tree(&sandbox.data_dir());
    let ran = ok(sandbox.run(&["restore", "latest", "--to", "old"]));
    assert!(
        ran.stderr.contains("pachat list --data-dir"),
        "{}",
        ran.stderr
    );
    assert_eq!(tree(&sandbox.data_dir()), before);
    let old = tree(&sandbox.path().join("old"));
    assert_eq!(old[&active(SKY)], conversation(SKY).as_bytes());
    assert_eq!(old["VERSION"], b"1\n");
    let listed = ok(sandbox.run(&["list", "--all", "--data-dir", "old"]));
    assert_eq!(listed.stdout.lines().count(), 3);

    // Not over something, but into an empty directory, and from a file.
    let ran = sandbox.run(&["restore", "latest", "--to", "old"]);
    assert_eq!(ran.code, 73, "{}", ran.stderr);
    fs::create_dir(sandbox.path().join("one")).unwrap();
    let file = file.to_str().unwrap();
    ok(sandbox.run(&["restore", file, "--to", "one", "--conversation", "7k2"]));
    let mut names: Vec<String> = tree(&sandbox.path().join("one")).into_keys().collect();
    names.retain(|name| name != "VERSION");
    assert_eq!(names, [active(WHALES)]);
    // Nothing is left beside them.
    let mut beside: Vec<_> = fs::read_dir(sandbox.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    beside.sort();
    assert_eq!(beside, ["data", "old", "one"]);
}

#[test]
fn a_new_machine_is_set_up_from_a_file_or_a_stream() {
    let old = sandbox();
    let file = back_up(&old, &["--type", "full"]);
    let new = Sandbox::new();
    let ran = ok(new.run(&["restore", file.to_str().unwrap(), "--yes"]));
    assert!(!ran.stderr.contains("undo"), "{}", ran.stderr);
    assert_eq!(data(&new), data(&old));

    let new = Sandbox::new();
    let bytes = fs::read(&file).unwrap();
    let ran = new.run_with(&["restore", "-"], &bytes);
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    assert!(!new.data_dir().exists());
    ok(new.run_with(&["restore", "-", "--yes"], &bytes));
    assert_eq!(data(&new), data(&old));
}

#[test]
fn without_a_terminal_an_answer_has_to_be_given_beforehand() {
    let sandbox = sandbox();
    back_up(&sandbox, &[]);
    remove(&sandbox, &active(SKY));
    let before = data(&sandbox);
    let ran = sandbox.run(&["restore", "latest"]);
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    assert!(
        ran.stderr.contains("pachat restore latest --yes"),
        "{}",
        ran.stderr
    );
    assert_eq!(data(&sandbox), before);
    let ran = sandbox.run(&["restore"]);
    assert_eq!(ran.code, 2);
    assert!(
        ran.stderr.contains("pachat restore --list"),
        "{}",
        ran.stderr
    );
}

#[test]
fn a_backup_that_is_not_there_is_named() {
    let sandbox = sandbox();
    let ran = sandbox.run(&["restore", "latest", "--yes"]);
    assert_eq!(ran.code, 66, "{}", ran.stderr);
    back_up(&sandbox, &[]);
    for spec in ["backup_19990101_000000", "./nowhere.tar.gz"] {
        let ran = sandbox.run(&["restore", spec, "--yes"]);
        assert_eq!(ran.code, 66, "{spec}: {}", ran.stderr);
    }
}

#[test]
fn a_damaged_backup_changes_nothing() {
    let sandbox = sandbox();
    let file = back_up(&sandbox, &[]);
    remove(&sandbox, &active(SKY));
    let before = data(&sandbox);
    let whole = fs::read(&file).unwrap();
    let middle = whole.len() / 2;
    let mut flipped = whole.clone();
    flipped[middle] ^= 0x40;
    let mut longer = whole.clone();
    longer.extend_from_slice(b"more");
    for bytes in [
        &whole[..middle],
        &whole[..whole.len() - 1],
        &flipped,
        &longer,
        b"",
    ] {
        let bad = sandbox.path().join("bad.tar.gz");
        fs::write(&bad, bytes).unwrap();
        for last in ["--yes", "--dry-run", "--verify-only"] {
            let ran = sandbox.run(&["restore", "./bad.tar.gz", last]);
            assert_eq!(ran.code, 65, "{last}: {}", ran.stderr);
            assert!(ran.stderr.contains("rule `"), "{}", ran.stderr);
            assert!(ran.stderr.contains("bad.tar.gz"), "{}", ran.stderr);
        }
        assert_eq!(data(&sandbox), before);
        assert!(!sandbox.data_dir().join(".swap").exists());
    }
    assert!(points(&sandbox).is_empty());
}

#[test]
fn ctrl_c_before_the_swap_changes_nothing() {
    let sandbox = sandbox();
    back_up(&sandbox, &[]);
    remove(&sandbox, &active(SKY));
    let before = data(&sandbox);
    let cues = Cues::default();
    cues.signals.raise_interrupt();
    let ran = sandbox.run_on(&cues, &["restore", "latest", "--yes"], "");
    assert_eq!(ran.code, 130, "{}", ran.stderr);
    assert_eq!(data(&sandbox), before);
    assert!(!sandbox.data_dir().join(".swap").exists());
}

#[test]
fn sealed_backups_open_with_what_sealed_them() {
    let sandbox = sandbox();
    for name in ["key.txt", "other.txt"] {
        ok(sandbox.run(&["backup", "keygen", "-o", name]));
    }
    let key = fs::read_to_string(sandbox.path().join("key.txt")).unwrap();
    let recipient = key.split_whitespace().find(|word| word.starts_with("age1"));
    back_up(
        &sandbox,
        &["--encrypted", "--recipient", recipient.unwrap()],
    );
    remove(&sandbox, &active(SKY));
    let before = data(&sandbox);

    let restore = |args: &[&str]| sandbox.run(&[&["restore", "latest", "--yes"], args].concat());
    let ran = restore(&[]);
    assert_eq!(ran.code, 77, "{}", ran.stderr);
    assert!(ran.stderr.contains("--identity FILE"), "{}", ran.stderr);
    let ran = restore(&["--identity", "other.txt"]);
    assert_eq!(ran.code, 77, "{}", ran.stderr);
    assert_eq!(data(&sandbox), before);
    ok(restore(&[
        "--identity",
        "other.txt",
        "--identity",
        "key.txt",
    ]));
    assert!(data(&sandbox).contains_key(&active(SKY)));

    // From the settings, a path beside them.
    remove(&sandbox, &active(SKY));
    let path = sandbox.path().join("key.txt");
    ok(sandbox.run(&["config", "set", "backup.identity", path.to_str().unwrap()]));
    ok(sandbox.run(&["restore", "latest", "--conversation", "abc", "--yes"]));
    assert!(data(&sandbox).contains_key(&active(SKY)));

    fs::write(sandbox.path().join("phrase"), "correct horse\n").unwrap();
    back_up(
        &sandbox,
        &["--encrypted", "--passphrase-file", "phrase", "--force"],
    );
    let verify =
        |args: &[&str]| sandbox.run(&[&["restore", "latest", "--verify-only"], args].concat());
    let ran = verify(&[]);
    assert_eq!(ran.code, 77, "{}", ran.stderr);
    assert!(
        ran.stderr.contains("--passphrase-file FILE"),
        "{}",
        ran.stderr
    );
    let ran = verify(&["--passphrase-command", "echo battery staple"]);
    assert_eq!(ran.code, 77, "{}", ran.stderr);
    ok(verify(&["--passphrase-file", "phrase"]));
}

#[test]
fn the_key_file_of_a_sealed_backup_is_restored_where_there_is_none() {
    let sandbox = sandbox();
    let key = sandbox.path().join("config/pachat/master.key");
    fs::create_dir_all(key.parent().unwrap()).unwrap();
    fs::write(&key, "0123\n").unwrap();
    ok(sandbox.run(&["backup", "keygen", "-o", "key.txt"]));
    let file = back_up(&sandbox, &["--type", "full", "--encrypted"]);
    let opens = [file.to_str().unwrap(), "--identity", "key.txt"];
    let restore = |args: &[&str]| sandbox.run(&[&["restore"], &opens[..], args].concat());

    // Another one stays, and the backup's can be had.
    fs::write(&key, "4567\n").unwrap();
    let ran = ok(restore(&["--yes"]));
    assert!(
        ran.stderr.contains("master.key is not the backup's"),
        "{}",
        ran.stderr
    );
    assert_eq!(fs::read_to_string(&key).unwrap(), "4567\n");
    ok(restore(&["--to", "old"]));
    let old = fs::read_to_string(sandbox.path().join("old/config/master.key"));
    assert_eq!(old.unwrap(), "0123\n");

    fs::remove_file(&key).unwrap();
    let ran = ok(restore(&["--dry-run"]));
    assert!(
        ran.stderr.contains("master.key would be restored"),
        "{}",
        ran.stderr
    );
    assert!(!key.exists());
    let ran = ok(restore(&["--yes"]));
    assert!(ran.stderr.contains("master.key"), "{}", ran.stderr);
    assert_eq!(fs::read_to_string(&key).unwrap(), "0123\n");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = fs::metadata(&key).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

#[test]
fn verifying_brings_the_card_up_to_date() {
    let sandbox = sandbox();
    let file = back_up(&sandbox, &["--tag", "x"]);
    let card = file.with_file_name(format!(
        "{}.json",
        &file.file_name().unwrap().to_str().unwrap()[..22]
    ));
    let read = || -> Value { serde_json::from_slice(&fs::read(&card).unwrap()).unwrap() };
    let made = read();
    let verify = || sandbox.run(&["restore", "latest", "--verify-only"]);
    let ran = ok(verify());
    assert!(ran.stdout.starts_with("backup_2026"), "{}", ran.stdout);
    assert!(
        ran.stdout.contains(": verified: 4 files, "),
        "{}",
        ran.stdout
    );
    assert!(read()["verified_at"].as_str() > made["verified_at"].as_str());

    // A card that is lost is made again, and says the same.
    fs::remove_file(&card).unwrap();
    let row = ok(sandbox.run(&["restore", "--list"])).stdout;
    assert_eq!(row.split('\t').nth(7), Some("no"), "{row}");
    ok(verify());
    let again = read();
    for name in [
        "archive",
        "sha256",
        "size",
        "files",
        "content",
        "tags",
        "created_at",
    ] {
        assert_eq!(again[name], made[name], "{name}");
    }

    // Another archive of the same length is not the one that was written.
    let mut json = read();
    json["sha256"] = Value::from("0".repeat(64));
    fs::write(&card, json.to_string()).unwrap();
    let ran = verify();
    assert_eq!(ran.code, 65, "{}", ran.stderr);
    assert!(
        ran.stderr.contains("not what was written"),
        "{}",
        ran.stderr
    );
}

#[test]
fn backups_are_listed_newest_first() {
    let sandbox = sandbox();
    assert_eq!(ok(sandbox.run(&["restore", "--list"])).stdout, "");
    back_up(
        &sandbox,
        &["--tag", "a", "--tag", "b", "--note", "before the move"],
    );
    back_up(&sandbox, &["--type", "config"]);
    let ran = ok(sandbox.run(&["restore", "--list"]));
    let rows: Vec<Vec<&str>> = ran
        .stdout
        .lines()
        .map(|row| row.split('\t').collect())
        .collect();
    assert_eq!(rows.len(), 2);
    assert!(rows[0][0] > rows[1][0]);
    assert_eq!(rows[0][2..5], ["config", "1", "3"]);
    assert_eq!(rows[1][2], "data");
    assert_eq!(rows[1][8..], ["no", "a,b", "before the move"]);
    let json: Value =
        serde_json::from_str(&ok(sandbox.run(&["restore", "--list", "--json"])).stdout).unwrap();
    assert_eq!(json["schema"], 1);
    assert_eq!(json["backups"][1]["note"], "before the move");
    assert_eq!(json["backups"][0]["type"], "config");
    let cues = Cues {
        terminal: true,
        ..Cues::default()
    };
    let table = sandbox.run_on(&cues, &["restore", "--list"], "").stdout;
    assert!(table.contains("VERIFIED  ABOUT"), "{table}");
    assert!(table.contains("#a #b"), "{table}");
}

#[test]
fn the_files_of_a_backup_are_listed() {
    let sandbox = sandbox();
    back_up(&sandbox, &[]);
    let ran = ok(sandbox.run(&["restore", "latest", "--list"]));
    let line = format!("{}\t1\t{}", Sha256::of(b"x"), attachment());
    assert!(ran.stdout.lines().any(|row| row == line), "{}", ran.stdout);
    assert_eq!(ran.stdout.lines().count(), 4);
}

fn patience<T>(act: impl FnOnce(&mut Patience<'_>) -> T) -> T {
    let signals = Signals::default();
    act(&mut Patience {
        limit: Some(Duration::ZERO),
        signals: &signals,
        notify: &mut || {},
    })
}

fn store(sandbox: &Sandbox) -> Store {
    let clock = Arc::clone(&sandbox.clock) as _;
    let random = Arc::new(TestRandom::new(4711));
    Store::new(sandbox.data_dir(), Arc::new(RealDisk), clock, random)
}

#[test]
fn a_turn_in_progress_is_waited_for_and_an_idle_chat_goes_on() {
    let sandbox = sandbox();
    back_up(&sandbox, &[]);
    append(&sandbox, &active(WHALES), &more(2, "newer"));
    let store = store(&sandbox);
    let id = WHALES.parse().unwrap();
    let writer = patience(|patience| Writer::open(&store, &id, patience)).unwrap();
    let before = data(&sandbox);
    let restore = ["restore", "latest", "--yes", "--lock-timeout", "0"];
    let ran = sandbox.run(&restore);
    assert_eq!(ran.code, 75, "{}", ran.stderr);
    assert_eq!(data(&sandbox), before);
    drop(writer);

    // The next turn begins with what was restored.
    ok(sandbox.run(&restore));
    let mut writer = patience(|patience| Writer::open(&store, &id, patience)).unwrap();
    assert_eq!(writer.conversation.next_number(), 2);
    writer.prompt("after").unwrap();
    let text = get(&sandbox, &active(WHALES)).unwrap();
    assert!(text.starts_with(&conversation(WHALES)) && text.contains("after"));
}

/// An archive made by hand.
struct Made(Vec<(String, Vec<u8>)>);

impl Source for Made {
    fn open(&mut self, entry: &Entry) -> pachat::model::error::Result<Option<Box<dyn Read>>> {
        let found = self.0.iter().find(|(path, _)| path == entry.path.as_str());
        let (_, bytes) = found.unwrap();
        Ok(Some(Box::new(std::io::Cursor::new(bytes.clone()))))
    }

    fn advance(&mut self, _bytes: u64) -> pachat::model::error::Result<()> {
        Ok(())
    }
}

fn archive(format: u32, name: &str, text: &str, damaged: bool) -> Vec<u8> {
    let path = ArchivePath::new(Part::Active, name).unwrap();
    let bytes = text.as_bytes().to_vec();
    let manifest = Manifest {
        kind: BackupType::Data,
        created_at: "2026-08-22T09:41:07Z".parse::<Timestamp>().unwrap(),
        store_format: format,
        tags: Vec::new(),
        note: None,
        files: vec![Entry {
            path: path.clone(),
            size: bytes.len() as u64,
            sha256: Sha256::of(&bytes),
            damaged,
        }],
    };
    let mut made = Made(vec![(path.to_string(), bytes)]);
    let mut out = Vec::new();
    let written = write::write(&manifest, &mut made, &mut Nothing, 1, &mut out).unwrap();
    assert!(matches!(written, Written::Whole { .. }));
    out
}

#[test]
fn what_makes_no_sense_is_refused_unless_it_was_damaged_already() {
    let sandbox = sandbox();
    let before = data(&sandbox);
    let name = format!("{WHALES}.jsonl");
    let bad = archive(1, &name, "no conversation\n", false);
    let ran = sandbox.run_with(&["restore", "-", "--merge", "--yes"], &bad);
    assert_eq!(ran.code, 65, "{}", ran.stderr);
    assert!(ran.stderr.contains("rule `content`"), "{}", ran.stderr);
    assert!(ran.stderr.contains(&active(WHALES)), "{}", ran.stderr);
    let newer = archive(99, &name, &conversation(WHALES), false);
    let ran = sandbox.run_with(&["restore", "-", "--merge", "--yes"], &newer);
    assert_eq!(ran.code, 65, "{}", ran.stderr);
    assert!(
        ran.stderr.contains("install the current version"),
        "{}",
        ran.stderr
    );
    assert_eq!(data(&sandbox), before);

    let kept = archive(1, &name, "no conversation\n", true);
    ok(sandbox.run_with(&["restore", "-", "--conversation", "7k2", "--yes"], &kept));
    assert_eq!(get(&sandbox, &active(WHALES)).unwrap(), "no conversation\n");
}

#[test]
fn foreign_files_stay() {
    let sandbox = sandbox();
    back_up(&sandbox, &[]);
    remove(&sandbox, &active(SKY));
    put(&sandbox, "conversations/active/notes.txt", b"mine");
    put(&sandbox, "attachments/.hidden", b"mine, too");
    ok(sandbox.run(&["restore", "latest", "--yes"]));
    assert_eq!(
        get(&sandbox, "conversations/active/notes.txt").unwrap(),
        "mine"
    );
    assert_eq!(get(&sandbox, "attachments/.hidden").unwrap(), "mine, too");
    assert!(data(&sandbox).contains_key(&active(SKY)));
}

#[test]
fn only_so_many_points_are_kept() {
    let sandbox = sandbox();
    ok(sandbox.run(&["config", "set", "rollback.keep", "2"]));
    back_up(&sandbox, &[]);
    for _ in 0..4 {
        append(&sandbox, &active(SKY), &more(2, "newer"));
        ok(sandbox.run(&["restore", "latest", "--yes"]));
    }
    assert_eq!(points(&sandbox).len(), 2);
}

/// A data directory whose settings were being replaced when pachat was killed: the old ones are
/// away, and the new ones not there yet.
fn killed_while_replacing_the_settings() -> Sandbox {
    let sandbox = Sandbox::new();
    let data = sandbox.data_dir();
    let write = |name: &str, text: &str| {
        let path = data.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("VERSION", "1\n");
    write(".swap/old/config/app_config.json", "{}\n");
    write(
        ".swap/new/config/app_config.json",
        r#"{"log": {"level": "debug"}}"#,
    );
    write(
        ".swap/record.json",
        r#"{"version": 1, "parts": [{"part": "config", "existed": true}]}"#,
    );
    sandbox
}

#[test]
fn settings_are_those_of_the_restore_that_is_completed() {
    let sandbox = killed_while_replacing_the_settings();
    let ran = sandbox.run(&["config", "get", "log.level"]);
    assert_eq!((ran.code, &*ran.stdout), (0, "debug\n"), "{}", ran.stderr);
    assert!(!sandbox.data_dir().join(".swap").exists());
}

#[test]
fn a_restore_that_cannot_be_completed_is_in_nobodys_way_who_needs_no_data() {
    let sandbox = killed_while_replacing_the_settings();
    let record = sandbox.data_dir().join(".swap/record.json");
    fs::write(&record, "{").unwrap();
    for args in [&["config", "path"][..], &["--help"], &["config", "list"]] {
        let ran = sandbox.run(args);
        assert_eq!(ran.code, 0, "{args:?}: {}", ran.stderr);
    }
    let ran = sandbox.run(&["list"]);
    assert_ne!(ran.code, 0);
    assert!(record.exists());
}

#[test]
fn a_backup_is_verified_also_where_nothing_can_be_written() {
    let sandbox = sandbox();
    assert_eq!(sandbox.run(&["backup"]).code, 0);
    // No lock can be taken there.
    let run = sandbox.data_dir().join("run");
    fs::remove_dir_all(&run).unwrap();
    fs::write(&run, "").unwrap();
    let ran = sandbox.run(&["restore", "latest", "--verify-only"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stdout.contains(": verified: "), "{}", ran.stdout);
    assert!(
        ran.stderr.contains("cannot be written down"),
        "{}",
        ran.stderr
    );
}

#[test]
fn a_directory_that_is_missing_is_named_as_it_was_typed() {
    let sandbox = sandbox();
    assert_eq!(sandbox.run(&["backup"]).code, 0);
    let missing = sandbox.path().join("missing");
    let inside = missing.join("new");
    let inside = inside.to_str().unwrap();
    for args in [
        &["restore", "latest", "--to", inside],
        &["backup", "--force", "-o", inside][..],
    ] {
        let ran = sandbox.run(args);
        assert_eq!(ran.code, 73, "{}", ran.stderr);
        let file = format!("file: {}\n", missing.display());
        assert!(ran.stderr.contains(&file), "{}", ran.stderr);
        assert!(ran.stderr.contains("make "), "{}", ran.stderr);
    }
}
