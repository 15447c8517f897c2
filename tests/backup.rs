//! `pachat backup` as a person and a script see it: stdout, stderr, exit code, files.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may panic, and looks at the machine itself"
)]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Cursor, Read, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use common::host::{Captured, Cues, Ran, Sandbox, TestRandom};
use flate2::read::MultiGzDecoder;
use pachat::archive::manifest::{Entry, Manifest};
use pachat::archive::read::{self, Sink};
use pachat::archive::seal::{self, Opener};
use pachat::model::backup::Sha256;
use pachat::model::error::Result;
use pachat::model::reply::Delta;
use pachat::model::secret::Secret;
use pachat::platform::disk::RealDisk;
use pachat::platform::{Clock, Signals};
use pachat::store::Store;
use pachat::store::lock::Patience;
use pachat::store::writer::{Beginning, Writer};
use serde_json::{Value, json};

const WHALES: &str = "20260822-080000-7k2m9q";
const SKY: &str = "20260821-090000-abc123";

/// A home with two conversations and some settings.
fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    let data = sandbox.data_dir();
    fs::create_dir_all(data.join("conversations/active")).unwrap();
    fs::create_dir_all(data.join("config")).unwrap();
    fs::write(data.join("VERSION"), "1\n").unwrap();
    fs::write(data.join("config/app_config.json"), "{}\n").unwrap();
    for id in [WHALES, SKY] {
        fs::write(file(&sandbox, id), conversation(id, "hello")).unwrap();
    }
    sandbox
}

fn conversation(id: &str, prompt: &str) -> String {
    format!(
        r#"{{"type":"conversation","version":1,"id":"{id}","created_at":"2026-08-21T09:00:00.000Z","title":"t","model":"a/b"}}
{{"type":"message","n":1,"role":"user","content":"{prompt}","at":"2026-08-21T09:00:00.000Z"}}
"#
    )
}

fn file(sandbox: &Sandbox, id: &str) -> PathBuf {
    sandbox
        .data_dir()
        .join(format!("conversations/active/{id}.jsonl"))
}

/// One more message in a conversation.
fn say(sandbox: &Sandbox, id: &str, text: &str) {
    let mut file = fs::OpenOptions::new()
        .append(true)
        .open(file(sandbox, id))
        .unwrap();
    let line = format!(
        r#"{{"type":"message","n":2,"role":"user","content":"{text}","at":"2026-08-21T10:00:00.000Z"}}"#
    );
    writeln!(file, "{line}").unwrap();
}

fn backups(sandbox: &Sandbox) -> Vec<String> {
    let Ok(entries) = fs::read_dir(sandbox.data_dir().join("backups")) else {
        return Vec::new();
    };
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// The path that a run printed, and nothing else.
fn printed(ran: &Ran) -> PathBuf {
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let path = ran.stdout.strip_suffix('\n').unwrap();
    assert!(!path.contains('\n'), "{path}");
    PathBuf::from(path)
}

fn card(archive: &Path) -> Value {
    let name = archive.file_name().unwrap().to_str().unwrap();
    let path = archive.with_file_name(format!("{}.json", &name[..22]));
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// What any tar and gzip take out of an archive, the manifest included.
fn unpacked(archive: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut tar = tar::Archive::new(MultiGzDecoder::new(archive));
    let mut files = BTreeMap::new();
    for entry in tar.entries().unwrap() {
        let mut entry = entry.unwrap();
        if entry.header().entry_type().is_file() {
            let path = entry.path().unwrap().to_str().unwrap().to_owned();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            assert_eq!(files.insert(path, bytes), None);
        }
    }
    files
}

/// The same without the manifest, which has the time in it.
fn content(archive: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut files = unpacked(archive);
    assert!(files.remove("MANIFEST.json").is_some());
    files
}

/// Every file below a directory, with its content.
fn tree(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![root.to_path_buf()];
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                waiting.push(path);
            } else {
                found.insert(path.clone(), fs::read(path).unwrap());
            }
        }
    }
    found
}

/// A second backup at another time, of something new.
fn next(sandbox: &Sandbox, wait: Duration, args: &[&str]) -> Ran {
    sandbox.clock.sleep(wait);
    say(sandbox, SKY, "and then?");
    sandbox.run(args)
}

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

#[test]
fn the_first_backup_is_an_archive_with_a_card() {
    let sandbox = sandbox();
    let ran = sandbox.run(&["backup", "--tag", "first", "--note", "before the move"]);
    let archive = printed(&ran);
    let name = archive.file_name().unwrap().to_str().unwrap();
    assert!(name.starts_with("backup_20260822_0941"), "{name}");
    assert_eq!(
        archive.parent().unwrap(),
        sandbox.data_dir().join("backups")
    );
    assert!(ran.stderr.contains(": 2 conversations, "), "{}", ran.stderr);
    assert!(ran.stderr.contains(", verified\n"), "{}", ran.stderr);
    assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.stderr);
    let bytes = fs::read(&archive).unwrap();
    let files = content(&bytes);
    let expected: BTreeMap<String, Vec<u8>> = [WHALES, SKY]
        .map(|id| {
            let path = format!("conversations/active/{id}.jsonl");
            (path, fs::read(file(&sandbox, id)).unwrap())
        })
        .into();
    assert_eq!(files, expected);
    let card = card(&archive);
    assert_eq!(card["archive"], name);
    assert_eq!(card["type"], "data");
    assert_eq!(card["files"], 2);
    assert_eq!(card["size"], bytes.len());
    assert_eq!(card["encrypted"], false);
    assert_eq!(card["tags"], serde_json::json!(["first"]));
    assert_eq!(card["note"], "before the move");
    assert_eq!(card["verified_at"].as_str().unwrap()[..10], *"2026-08-22");
    let digest = pachat::model::backup::Sha256::of(&bytes).to_string();
    assert_eq!(card["sha256"], digest);
    assert_eq!(backups(&sandbox).len(), 2);
    let log = fs::read_to_string(sandbox.data_dir().join("logs/app.log")).unwrap();
    assert!(log.contains("action=backup"), "{log}");
}

#[cfg(unix)]
#[test]
fn nobody_else_can_read_a_backup() {
    use std::os::unix::fs::PermissionsExt as _;
    let sandbox = sandbox();
    let archive = printed(&sandbox.run(&["backup"]));
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(archive.parent().unwrap()), 0o700);
    for name in backups(&sandbox) {
        assert_eq!(mode(&archive.with_file_name(&name)), 0o600, "{name}");
    }
}

#[test]
fn without_data_there_is_nothing_to_back_up_and_nothing_is_made() {
    let sandbox = Sandbox::new();
    for args in [&["backup"][..], &["backup", "-n"], &["backup", "-o", "-"]] {
        let ran = sandbox.run(args);
        assert_eq!((ran.stdout.as_str(), ran.code), ("", 66), "{}", ran.stderr);
        assert!(ran.stderr.contains("nothing to back up"), "{}", ran.stderr);
        assert!(!sandbox.data_dir().exists());
    }
}

#[test]
fn nothing_new_means_that_nothing_is_written() {
    let sandbox = sandbox();
    let first = printed(&sandbox.run(&["backup"]));
    sandbox.clock.sleep(HOUR);
    let before = tree(&sandbox.data_dir().join("backups"));
    let ran = sandbox.run(&["backup"]);
    assert_eq!(printed(&ran), first);
    assert!(
        ran.stderr.contains("unchanged since backup_")
            && ran.stderr.contains("nothing was written"),
        "{}",
        ran.stderr
    );
    assert_eq!(tree(&sandbox.data_dir().join("backups")), before);
    // Another type, and another seal, are another matter.
    assert_ne!(
        printed(&sandbox.run(&["backup", "--type", "config"])),
        first
    );
    let ran = sandbox.run(&["backup", "--tag", "kept", "--pin"]);
    assert_eq!(printed(&ran), first);
    assert!(ran.stderr.contains("labels"), "{}", ran.stderr);
    assert_eq!(card(&first)["tags"], serde_json::json!(["kept"]));
    assert_eq!(card(&first)["pinned"], true);
    assert_ne!(printed(&sandbox.run(&["backup", "--force"])), first);
}

#[test]
fn a_full_backup_does_not_count_its_own_line_in_the_log_as_news() {
    let sandbox = sandbox();
    let first = printed(&sandbox.run(&["backup", "--type", "full"]));
    sandbox.clock.sleep(HOUR);
    let second = printed(&sandbox.run(&["backup", "--type", "full"]));
    assert_eq!(first, second);
    let names: Vec<String> = content(&fs::read(first).unwrap()).into_keys().collect();
    assert!(
        names.contains(&"config/app_config.json".to_owned()),
        "{names:?}"
    );
}

#[test]
fn a_backup_that_copies_from_the_last_one_is_the_same_as_one_made_anew() {
    let sandbox = sandbox();
    // Enough for many segments, of text that does not pack to nothing.
    let random = TestRandom::new(7);
    for n in 0..6 {
        let id = format!("20260820-08000{n}-7k2m9q");
        let mut bytes = vec![0; 300_000];
        pachat::platform::Random::fill(&random, &mut bytes).unwrap();
        let text: String = bytes
            .iter()
            .map(|byte| char::from(b'a' + byte % 26))
            .collect();
        fs::write(file(&sandbox, &id), conversation(&id, &text)).unwrap();
    }
    let first = printed(&sandbox.run(&["backup"]));
    let second = printed(&next(&sandbox, HOUR, &["backup"]));
    assert_ne!(first, second);
    let anew = printed(&sandbox.run(&["backup", "--force", "-o", "anew.tar.gz"]));
    let (second, anew) = (fs::read(second).unwrap(), fs::read(anew).unwrap());
    assert_eq!(content(&second), content(&anew));
    let sky = &content(&second)[&format!("conversations/active/{SKY}.jsonl")];
    assert_eq!(*sky, fs::read(file(&sandbox, SKY)).unwrap());
}

/// Overwrites a file in place, so that it looks as before.
fn disguise(path: &Path, text: &str, modified: SystemTime) {
    assert_eq!(fs::metadata(path).unwrap().len(), text.len() as u64);
    fs::write(path, text).unwrap();
    fs::File::options()
        .append(true)
        .open(path)
        .unwrap()
        .set_modified(modified)
        .unwrap();
}

#[test]
fn what_looks_the_same_is_read_only_with_force_or_without_the_index() {
    let sandbox = sandbox();
    let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let path = file(&sandbox, SKY);
    disguise(&path, &conversation(SKY, "hello"), long_ago);
    let first = printed(&sandbox.run(&["backup"]));
    disguise(&path, &conversation(SKY, "jello"), long_ago);
    assert_eq!(printed(&sandbox.run(&["backup"])), first);
    let second = printed(&sandbox.run(&["backup", "--force"]));
    assert_ne!(second, first);
    disguise(&path, &conversation(SKY, "cello"), long_ago);
    assert_eq!(printed(&sandbox.run(&["backup"])), second);
    fs::remove_file(sandbox.data_dir().join("cache/backup-data.jsonl")).unwrap();
    let third = printed(&sandbox.run(&["backup"]));
    assert_ne!(third, second);
    let sky = &content(&fs::read(third).unwrap())[&format!("conversations/active/{SKY}.jsonl")];
    assert_eq!(*sky, fs::read(&path).unwrap());
}

#[test]
fn a_file_that_changed_just_now_is_read_again() {
    let sandbox = sandbox();
    // As if it changed in the very moment in which it is read.
    let now = SystemTime::from(sandbox.clock.now());
    let path = file(&sandbox, SKY);
    disguise(&path, &conversation(SKY, "hello"), now);
    let first = printed(&sandbox.run(&["backup"]));
    disguise(&path, &conversation(SKY, "jello"), now);
    assert_ne!(printed(&sandbox.run(&["backup"])), first);
}

const TWINS: [&str; 2] = ["20260820-080000-7k2m9q", "20260820-080001-7k2m9q"];

/// Makes a backup of two large conversations, and an index that takes each segment for another.
fn confused(sandbox: &Sandbox, honest: bool) -> PathBuf {
    for (id, letter) in TWINS.iter().zip(["a", "b"]) {
        let text = letter.repeat(900_000);
        fs::write(file(sandbox, id), conversation(id, &text)).unwrap();
    }
    let first = printed(&sandbox.run(&["backup"]));
    let path = sandbox.data_dir().join("cache/backup-data.jsonl");
    let text = fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let mut head: Value = serde_json::from_str(lines[0]).unwrap();
    let segments = head["archive"]["segments"].as_array_mut().unwrap();
    let keys: Vec<Value> = segments.iter().map(|one| one["key"].clone()).collect();
    assert!(keys.len() > 2, "{keys:?}");
    for (segment, key) in segments.iter_mut().zip(keys.iter().rev()) {
        segment["key"] = key.clone();
    }
    let mut text = format!("{head}\n");
    for line in &lines[1..lines.len() - 1] {
        text.push_str(&format!("{line}\n"));
    }
    let last = if honest {
        lines[lines.len() - 1].to_owned()
    } else {
        json!({ "sha256": Sha256::of(text.as_bytes()) }).to_string()
    };
    fs::write(&path, format!("{text}{last}\n")).unwrap();
    first
}

fn assert_has_twins(sandbox: &Sandbox, archive: &Path) {
    let files = content(&fs::read(archive).unwrap());
    for id in TWINS {
        let path = format!("conversations/active/{id}.jsonl");
        assert_eq!(files[&path], fs::read(file(sandbox, id)).unwrap());
    }
}

#[test]
fn an_index_that_is_not_what_was_written_counts_for_nothing() {
    let sandbox = sandbox();
    confused(&sandbox, true);
    let ran = next(&sandbox, HOUR, &["backup"]);
    assert!(!ran.stderr.contains("damaged"), "{}", ran.stderr);
    assert_has_twins(&sandbox, &printed(&ran));
}

#[test]
fn what_was_copied_for_a_week_is_unpacked_once_more_and_what_proves_bad_packed_anew() {
    let sandbox = sandbox();
    let first = confused(&sandbox, false);
    let ran = next(&sandbox, 8 * DAY, &["backup"]);
    let name = first.file_name().unwrap().to_str().unwrap();
    assert!(
        ran.stderr.contains(&format!("{name} seems to be damaged")),
        "{}",
        ran.stderr
    );
    assert_has_twins(&sandbox, &printed(&ran));
}

#[test]
fn copies_of_copies_do_not_put_off_the_day_of_proof() {
    let sandbox = sandbox();
    let proven_at = || {
        let path = sandbox.data_dir().join("cache/backup-data.jsonl");
        let text = fs::read_to_string(path).unwrap();
        let head: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        head["archive"]["proven_at"].as_str().unwrap().to_owned()
    };
    for (id, letter) in TWINS.iter().zip(["a", "b"]) {
        let text = letter.repeat(900_000);
        fs::write(file(&sandbox, id), conversation(id, &text)).unwrap();
    }
    printed(&sandbox.run(&["backup"]));
    let first = proven_at();
    for _ in 0..3 {
        let second = printed(&next(&sandbox, 2 * DAY, &["backup"]));
        assert_eq!(proven_at(), first);
        let ran = sandbox.run(&["restore", second.to_str().unwrap(), "--verify-only"]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
    }
    printed(&next(&sandbox, 2 * DAY, &["backup"]));
    let second = proven_at();
    assert_ne!(second, first);
    printed(&next(&sandbox, HOUR, &["backup", "--force"]));
    assert_ne!(proven_at(), second);
}

#[test]
fn old_backups_go_and_pinned_ones_stay() {
    let sandbox = sandbox();
    let first = printed(&sandbox.run(&["backup", "--pin"]));
    let second = printed(&next(&sandbox, DAY, &["backup"]));
    let config = printed(&sandbox.run(&["backup", "--type", "config"]));
    let third = printed(&next(&sandbox, DAY, &["backup"]));
    // One that nobody has verified may be the only one with something in it.
    let stranger = third.with_file_name("backup_20200101_000000.tar.gz");
    fs::write(&stranger, "?").unwrap();
    let ran = next(&sandbox, DAY, &["backup", "--keep-last", "2"]);
    let fourth = printed(&ran);
    let id = |path: &Path| path.file_name().unwrap().to_str().unwrap()[..22].to_owned();
    assert!(
        ran.stderr.contains(&format!("removed {}", id(&second))),
        "{}",
        ran.stderr
    );
    let mut left: Vec<PathBuf> = backups(&sandbox)
        .iter()
        .filter(|name| name.strip_suffix(".gz").is_some())
        .map(|name| fourth.with_file_name(name))
        .collect();
    left.sort();
    let mut expected = [
        stranger.clone(),
        first.clone(),
        config.clone(),
        third.clone(),
        fourth,
    ];
    expected.sort();
    assert_eq!(left, expected);
    let ran = sandbox.run(&["backup", "unpin", &id(&first)]);
    assert_eq!((ran.stdout.as_str(), ran.code), ("", 0), "{}", ran.stderr);
    assert!(ran.stderr.contains("pachat backup pin"), "{}", ran.stderr);
    assert_eq!(sandbox.run(&["backup", "pin", &id(&config)[7..]]).code, 0);
    assert_eq!(card(&config)["pinned"], true);
    assert_eq!(sandbox.run(&["backup", "pin", "20200101"]).code, 2);
    assert_eq!(sandbox.run(&["backup", "pin", "2031"]).code, 66);
    let ran = next(&sandbox, DAY, &["backup", "--keep-last", "1", "--json"]);
    let document: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(
        document["removed"].as_array().unwrap().len(),
        3,
        "{document}"
    );
    assert_eq!(document["kept"].as_array().unwrap().len(), 1, "{document}");
    assert!(!first.exists() && config.exists() && stranger.exists());
}

#[test]
fn the_settings_say_what_stays_unless_an_option_does() {
    let sandbox = sandbox();
    let set = |key: &str, value: &str| {
        let ran = sandbox.run(&["config", "set", key, value]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
    };
    set("backup.keep_last", "1");
    printed(&sandbox.run(&["backup"]));
    printed(&next(&sandbox, HOUR, &["backup"]));
    assert_eq!(backups(&sandbox).len(), 2);
    // Two on the same day: one of them is the day's newest.
    printed(&next(&sandbox, HOUR, &["backup", "--keep-last", "5"]));
    assert_eq!(backups(&sandbox).len(), 4);
    let ran = next(&sandbox, HOUR, &["backup", "--keep-last", "0"]);
    assert!(
        ran.stderr.contains("no old one is removed"),
        "{}",
        ran.stderr
    );
    assert_eq!(backups(&sandbox).len(), 6);
    printed(&next(&sandbox, HOUR, &["backup", "--keep-daily", "5"]));
    assert_eq!(backups(&sandbox).len(), 2);
    // One that `config set` would refuse.
    let settings = sandbox.data_dir().join("config/app_config.json");
    fs::write(&settings, r#"{"backup": {"keep_within": "two weeks"}}"#).unwrap();
    let ran = sandbox.run(&["backup"]);
    assert_eq!(ran.code, 78, "{}", ran.stderr);
    assert!(ran.stderr.contains("backup.keep_within"), "{}", ran.stderr);
    assert_eq!(sandbox.run(&["backup", "--keep-within", "2x"]).code, 2);
    assert_eq!(sandbox.run(&["backup", "--keep-within", "2w"]).code, 0);
}

#[test]
fn a_dry_run_says_everything_and_writes_nothing() {
    let sandbox = sandbox();
    printed(&sandbox.run(&["backup"]));
    say(&sandbox, SKY, "more");
    let id = "20260822-090000-zzz999";
    fs::write(file(&sandbox, id), conversation(id, "new")).unwrap();
    sandbox.clock.sleep(HOUR);
    let before = tree(sandbox.path());
    let ran = sandbox.run(&["backup", "-n", "--keep-last", "1"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let length = |id: &str| fs::metadata(file(&sandbox, id)).unwrap().len();
    let row = |status: &str, id: &str| {
        format!(
            "{status}\t{}\tconversations/active/{id}.jsonl\n",
            length(id)
        )
    };
    let expected = row("changed", SKY) + &row("unchanged", WHALES) + &row("new", id);
    assert_eq!(ran.stdout, expected);
    assert!(
        ran.stderr.contains("goes: backup_20260822_09"),
        "{}",
        ran.stderr
    );
    assert!(ran.stderr.contains("(newest, last)"), "{}", ran.stderr);
    assert!(ran.stderr.contains("1 new, 1 changed"), "{}", ran.stderr);
    let ran = sandbox.run(&["backup", "-n", "--json", "--encrypted", "-o", "x.tar.gz"]);
    let document: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(document["files"].as_array().unwrap().len(), 3);
    assert_eq!(document["dry_run"], true);
    assert_eq!(tree(sandbox.path()), before);
}

#[test]
fn the_document_has_the_card_and_the_path() {
    let sandbox = sandbox();
    let ran = sandbox.run(&["backup", "--json", "--quiet"]);
    assert_eq!((ran.stderr.as_str(), ran.code), ("", 0));
    let document: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(document["schema"], 1);
    assert_eq!(document["unchanged"], false);
    assert_eq!(document["removed"], serde_json::json!([]));
    let backup = &document["backup"];
    assert_eq!(document["kept"][0]["id"], backup["id"]);
    assert_eq!(
        document["kept"][0]["rules"],
        serde_json::json!(["newest", "last"])
    );
    let archive = PathBuf::from(backup["path"].as_str().unwrap());
    for (name, value) in card(&archive).as_object().unwrap() {
        assert_eq!(backup[name], *value);
    }
    let again: Value = serde_json::from_str(&sandbox.run(&["backup", "--json"]).stdout).unwrap();
    assert_eq!(again["unchanged"], true);
    assert_eq!(again["backup"], *backup);
}

#[test]
fn a_backup_goes_to_another_place_without_a_card() {
    let sandbox = sandbox();
    let elsewhere = sandbox.path().join("my backup.tar.gz");
    let args = ["backup", "-o", "my backup.tar.gz"];
    assert_eq!(printed(&sandbox.run(&args)), elsewhere);
    let first = fs::read(&elsewhere).unwrap();
    assert_eq!(content(&first).len(), 2);
    assert!(backups(&sandbox).is_empty());
    let ran = sandbox.run(&args);
    assert_eq!((ran.stdout.as_str(), ran.code), ("", 73), "{}", ran.stderr);
    assert!(ran.stderr.contains("--force"), "{}", ran.stderr);
    assert_eq!(fs::read(&elsewhere).unwrap(), first);
    say(&sandbox, SKY, "more");
    let args = ["backup", "--force", "-o", "my backup.tar.gz"];
    assert_eq!(printed(&sandbox.run(&args)), elsewhere);
    assert_ne!(fs::read(&elsewhere).unwrap(), first);
    fs::create_dir(sandbox.path().join("stick")).unwrap();
    let inside = printed(&sandbox.run(&["backup", "-o", "stick"]));
    assert_eq!(inside.parent().unwrap(), sandbox.path().join("stick"));
    assert!(inside.exists());
    assert_eq!(sandbox.run(&["backup", "-o", "no/such/x"]).code, 73);
    let here: Vec<_> = fs::read_dir(sandbox.path()).unwrap().collect();
    assert_eq!(here.len(), 3, "{here:?}");
}

#[test]
fn a_backup_on_standard_output_is_the_archive_and_nothing_else() {
    let sandbox = sandbox();
    let out = Captured::default();
    let cues = Cues {
        clock: Arc::clone(&sandbox.clock),
        stdout: out.clone(),
        ..Cues::default()
    };
    let code = sandbox.code_on(&cues, &["backup", "-o", "-"], "");
    let stderr = cues.stderr.text();
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(content(&out.bytes()).len(), 2);
    assert!(stderr.contains("verified"), "{stderr}");
    assert!(backups(&sandbox).is_empty());
    // Nothing that is not verified leaves, and a reader that goes away is no fault.
    let closing = Cues {
        clock: Arc::clone(&sandbox.clock),
        stdout: Captured::closing_after(0),
        ..Cues::default()
    };
    assert_eq!(sandbox.code_on(&closing, &["backup", "-o", "-"], ""), 0);
    assert_eq!(closing.stderr.text(), "");
    assert!(backups(&sandbox).is_empty());
    let terminal = Cues {
        clock: Arc::clone(&sandbox.clock),
        terminal: true,
        ..Cues::default()
    };
    let ran = sandbox.run_on(&terminal, &["backup", "-o", "-"], "");
    assert_eq!((ran.stdout.as_str(), ran.code), ("", 2));
    assert_eq!(sandbox.run(&["backup", "-o", "-", "--json"]).code, 2);
}

/// Takes the files out of a sealed archive.
fn opened(archive: &[u8], opener: &Opener) -> Result<BTreeMap<String, Vec<u8>>> {
    #[derive(Default)]
    struct Files(Vec<(String, Vec<u8>)>);
    impl Sink for Files {
        fn manifest(&mut self, _manifest: &Manifest) -> Result<()> {
            Ok(())
        }
        fn begin(&mut self, entry: &Entry) -> Result<()> {
            self.0.push((entry.path.to_string(), Vec::new()));
            Ok(())
        }
        fn data(&mut self, bytes: &[u8]) -> Result<()> {
            self.0.last_mut().unwrap().1.extend_from_slice(bytes);
            Ok(())
        }
        fn end(&mut self, _entry: &Entry) -> Result<()> {
            Ok(())
        }
    }
    let mut files = Files::default();
    let mut plain = seal::open(Box::new(Cursor::new(archive)), opener)?;
    read::read(&mut plain, true, &mut files)?;
    Ok(files.0.into_iter().collect())
}

#[test]
fn a_key_is_made_once_and_opens_what_is_sealed_to_it() {
    let sandbox = sandbox();
    fs::create_dir_all(sandbox.path().join("config/pachat")).unwrap();
    let ran = sandbox.run(&["backup", "keygen", "-o", "key.txt"]);
    assert_eq!((ran.stdout.as_str(), ran.code), ("", 0), "{}", ran.stderr);
    let key = fs::read_to_string(sandbox.path().join("key.txt")).unwrap();
    let lines: Vec<&str> = key.lines().collect();
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(lines[0].starts_with("# created: 2026-08-22T"));
    let recipient = lines[1].strip_prefix("# public key: ").unwrap();
    assert!(recipient.starts_with("age1"));
    assert!(lines[2].starts_with("AGE-SECRET-KEY-1"));
    assert_eq!(
        sandbox.run(&["config", "get", "backup.recipients"]).stdout,
        format!("{recipient}\n")
    );
    let ran = sandbox.run(&["backup", "keygen", "-o", "key.txt"]);
    assert_eq!(ran.code, 73, "{}", ran.stderr);
    assert_eq!(
        fs::read_to_string(sandbox.path().join("key.txt")).unwrap(),
        key
    );
    fs::write(sandbox.path().join("config/pachat/master.key"), [7; 32]).unwrap();
    let archive = printed(&sandbox.run(&["backup", "--encrypted"]));
    assert!(archive.to_str().unwrap().ends_with(".tar.gz.age"));
    assert_eq!(card(&archive)["encrypted"], true);
    assert_eq!(card(&archive)["recipients"], serde_json::json!([recipient]));
    let opener = Opener::Identities(Secret::new(key.clone()));
    let files = opened(&fs::read(&archive).unwrap(), &opener).unwrap();
    let sky = format!("conversations/active/{SKY}.jsonl");
    assert_eq!(files[&sky], fs::read(file(&sandbox, SKY)).unwrap());
    // Conversations need no key file.
    assert_eq!(files.len(), 2);
    assert_eq!(printed(&sandbox.run(&["backup", "--encrypted"])), archive);
    // A second key, on standard output: whom it is for changes, so it is made anew.
    let ran = sandbox.run(&["backup", "keygen"]);
    let second = ran.stdout.clone();
    assert!(
        second
            .lines()
            .last()
            .unwrap()
            .starts_with("AGE-SECRET-KEY-1")
    );
    let both = printed(&sandbox.run(&["backup", "--encrypted"]));
    assert_ne!(both, archive);
    for key in [&key, &second] {
        let opener = Opener::Identities(Secret::new(key.clone()));
        assert_eq!(opened(&fs::read(&both).unwrap(), &opener).unwrap(), files);
    }
    let log = fs::read_to_string(sandbox.data_dir().join("logs/app.log")).unwrap();
    assert!(
        log.contains(recipient) && !log.contains("AGE-SECRET-KEY-1"),
        "{log}"
    );
}

#[cfg(unix)]
#[test]
fn a_key_is_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let sandbox = sandbox();
    sandbox.run(&["backup", "keygen", "-o", "key.txt"]);
    let mode = fs::metadata(sandbox.path().join("key.txt")).unwrap();
    assert_eq!(mode.permissions().mode() & 0o777, 0o600);
}

#[test]
fn the_key_file_is_in_sealed_archives_only() {
    let sandbox = sandbox();
    let directory = sandbox.path().join("config/pachat");
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("master.key"), [7; 32]).unwrap();
    let open = printed(&sandbox.run(&["backup", "--type", "config"]));
    let names: Vec<String> = content(&fs::read(open).unwrap()).into_keys().collect();
    assert_eq!(names, ["config/app_config.json"]);
    let (identity, recipient) = seal::generate();
    let args = ["backup", "--type", "config", "--recipient", &recipient];
    let sealed = fs::read(printed(&sandbox.run(&args))).unwrap();
    let files = opened(&sealed, &Opener::Identities(identity)).unwrap();
    assert_eq!(files["config/master.key"], [7; 32]);
    assert_eq!(files.len(), 2);
}

#[test]
fn a_pass_phrase_is_the_first_line_of_a_file_or_of_what_a_command_prints() {
    let sandbox = sandbox();
    fs::write(sandbox.path().join("phrase"), "correct horse\r\nsecond\n").unwrap();
    let ran = sandbox.run(&["backup", "--passphrase-file", "phrase"]);
    let archive = printed(&ran);
    let opener = Opener::Passphrase(Secret::new("correct horse".into()));
    let files = opened(&fs::read(&archive).unwrap(), &opener).unwrap();
    assert_eq!(files.len(), 2);
    // Nothing is new, so nothing is sealed.
    let ran_again = sandbox.run(&["backup", "--passphrase-command", "echo correct horse"]);
    assert_eq!(printed(&ran_again), archive);
    let ran_in_vain = sandbox.run(&["backup", "--passphrase-command", "echo horse >&2; exit 1"]);
    assert_eq!(ran_in_vain.code, 2, "{}", ran_in_vain.stderr);
    for ran in [ran, ran_again, ran_in_vain] {
        let shown = format!("{}{}", ran.stdout, ran.stderr);
        assert!(!shown.contains("horse"), "{shown}");
    }
}

#[cfg(unix)]
#[test]
fn a_pass_phrase_that_others_can_read_is_worth_a_warning() {
    use std::os::unix::fs::PermissionsExt as _;
    let sandbox = sandbox();
    let phrase = sandbox.path().join("phrase");
    // An empty one ends it before it takes any time.
    fs::write(&phrase, "\n").unwrap();
    for (mode, warns) in [(0o644, true), (0o600, false)] {
        fs::set_permissions(&phrase, fs::Permissions::from_mode(mode)).unwrap();
        let ran = sandbox.run(&["backup", "--passphrase-file", "phrase"]);
        assert_eq!(ran.code, 2, "{}", ran.stderr);
        assert_eq!(ran.stderr.contains("chmod 600"), warns, "{}", ran.stderr);
    }
}

#[test]
fn what_cannot_be_sealed_is_refused_before_anything_is_written() {
    let sandbox = sandbox();
    fs::write(sandbox.path().join("empty"), "\nsecond\n").unwrap();
    for (args, expected) in [
        (&["--encrypted"][..], "pachat backup keygen"),
        (&["--passphrase-file", "empty"], "it is empty"),
        (
            &["--passphrase-file", "empty", "--recipient", "age1x"],
            "cannot be used with",
        ),
        (&["--recipient", "age1nonsense"], "age1nonsense"),
        (&["--tag", "two\nlines"], "a tag is one line"),
    ] {
        let ran = sandbox.run(&[&["backup"], args].concat());
        assert_eq!((ran.stdout.as_str(), ran.code), ("", 2), "{}", ran.stderr);
        assert!(ran.stderr.contains(expected), "{}", ran.stderr);
    }
    assert_eq!(
        sandbox.run(&["backup", "--passphrase-file", "none"]).code,
        66
    );
    // One that `config set` would refuse.
    let settings = sandbox.data_dir().join("config/app_config.json");
    fs::create_dir_all(settings.parent().unwrap()).unwrap();
    fs::write(&settings, r#"{"backup": {"recipients": "age1x"}}"#).unwrap();
    let ran = sandbox.run(&["backup", "--encrypted"]);
    assert_eq!(ran.code, 78, "{}", ran.stderr);
    assert!(ran.stderr.contains("app_config.json"), "{}", ran.stderr);
    assert!(backups(&sandbox).is_empty());
}

#[test]
fn damaged_files_are_kept_and_foreign_ones_left_out_and_both_are_named() {
    let sandbox = sandbox();
    let active = sandbox.data_dir().join("conversations/active");
    let damaged = "20260822-090000-zzz999";
    fs::write(file(&sandbox, damaged), "not a header\n").unwrap();
    fs::write(active.join("notes.txt"), "mine").unwrap();
    let ran = sandbox.run(&["backup"]);
    let archive = fs::read(printed(&ran)).unwrap();
    assert!(ran.stderr.contains("1 damaged file"), "{}", ran.stderr);
    assert!(ran.stderr.contains(damaged), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("conversations/active/notes.txt"),
        "{}",
        ran.stderr
    );
    let files = unpacked(&archive);
    assert_eq!(files.len(), 4);
    let path = format!("conversations/active/{damaged}.jsonl");
    assert_eq!(files[&path], b"not a header\n");
    let manifest: Value = serde_json::from_slice(&files["MANIFEST.json"]).unwrap();
    let marked: Vec<&Value> = manifest["files"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|file| file["damaged"] == true)
        .map(|file| &file["path"])
        .collect();
    assert_eq!(marked, [&Value::String(path)]);
}

#[test]
fn two_at_once_do_not_get_in_each_others_way() {
    let sandbox = sandbox();
    let paths: Vec<PathBuf> = std::thread::scope(|scope| {
        let run = || printed(&sandbox.run(&["backup"]));
        let several: Vec<_> = (0..4).map(|_| scope.spawn(run)).collect();
        let mut paths: Vec<PathBuf> = several.into_iter().map(|one| one.join().unwrap()).collect();
        paths.dedup();
        paths
    });
    // The first makes it, the others find nothing new.
    assert_eq!(paths.len(), 1, "{paths:?}");
    assert_eq!(backups(&sandbox).len(), 2);
    assert_eq!(content(&fs::read(&paths[0]).unwrap()).len(), 2);
}

#[test]
fn a_reply_that_is_arriving_is_backed_up_as_far_as_it_came() {
    let sandbox = sandbox();
    let store = Store::new(
        sandbox.data_dir(),
        Arc::new(RealDisk),
        Arc::clone(&sandbox.clock) as Arc<dyn Clock>,
        Arc::new(TestRandom::new(5)),
    );
    let signals = Signals::default();
    let mut patience = Patience {
        limit: None,
        signals: &signals,
        notify: &mut || {},
    };
    let writer = Writer::create(&store, Beginning::default(), "go on", &mut patience).unwrap();
    let id = writer.conversation.id().to_string();
    let mut partial = writer.begin_reply(Some("a/b")).unwrap();
    let piece = |text: &str| Delta {
        text: text.into(),
        reasoning: String::new(),
    };
    partial.delta(&piece("so far")).unwrap();
    let first = fs::read(printed(&sandbox.run(&["backup"]))).unwrap();
    partial.delta(&piece(" and further")).unwrap();
    let second = fs::read(printed(&sandbox.run(&["backup"]))).unwrap();
    let path = format!("conversations/active/{id}.partial");
    let (first, second) = (&content(&first)[&path], &content(&second)[&path]);
    assert!(second.starts_with(first) && second.len() > first.len());
    assert!(first.ends_with(b"\n"));
    partial.delta(&piece(" unharmed")).unwrap();
    drop((partial, writer));
    let shown = sandbox.run(&["export", &id]).stdout;
    assert!(shown.contains("so far and further unharmed"), "{shown}");
}

#[test]
fn ctrl_c_leaves_nothing_behind() {
    let sandbox = sandbox();
    sandbox.signals.raise_interrupt();
    let ran = sandbox.run(&["backup"]);
    assert_eq!((ran.stdout.as_str(), ran.code), ("", 130), "{}", ran.stderr);
    assert!(backups(&sandbox).is_empty());
    sandbox.signals.take_interrupt();
    printed(&sandbox.run(&["backup"]));
}

#[test]
fn what_the_dead_have_left_goes_with_the_next_backup() {
    let sandbox = sandbox();
    let directory = sandbox.data_dir().join("backups");
    fs::create_dir(&directory).unwrap();
    for name in [
        ".backup_20260101_000000.tar.gz.tmp",
        "backup_20260101_000000.json",
    ] {
        fs::write(directory.join(name), "{}").unwrap();
    }
    printed(&sandbox.run(&["backup"]));
    let names = backups(&sandbox);
    assert_eq!(names.len(), 2, "{names:?}");
    assert!(names.iter().all(|name| name.starts_with("backup_20260822")));
}

#[test]
fn an_archive_that_rots_is_noticed_after_a_week() {
    let sandbox = sandbox();
    let first = printed(&sandbox.run(&["backup"]));
    sandbox.clock.sleep(8 * DAY);
    assert_eq!(printed(&sandbox.run(&["backup"])), first);
    assert_eq!(
        card(&first)["verified_at"].as_str().unwrap()[..10],
        *"2026-08-30"
    );
    let mut bytes = fs::read(&first).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&first, &bytes).unwrap();
    sandbox.clock.sleep(8 * DAY);
    let ran = sandbox.run(&["backup"]);
    let second = printed(&ran);
    assert_ne!(second, first);
    let name = first.file_name().unwrap().to_str().unwrap();
    assert!(
        ran.stderr.contains(name) && ran.stderr.contains("damaged"),
        "{}",
        ran.stderr
    );
    assert_eq!(card(&first)["verified_at"], Value::Null);
    assert_eq!(content(&fs::read(second).unwrap()).len(), 2);
}
