//! `pachat cleanup` as a person, a script and cron see it.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests are tests, too"
)]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
#[cfg(unix)]
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use common::host::{Cues, Ran, Sandbox, is_shared};
use pachat::platform::Disk as _;
use pachat::platform::disk::{LockMode, Open, RealDisk};
use serde_json::Value;

// The clock of a test shows 2026-08-22.
const TODAY: &str = "20260822-080000-7k2m9q";
const WEEK: &str = "20260815-080000-abc123";
const MONTH: &str = "20260715-080000-abd456";
const YEAR: &str = "20250715-080000-zzz999";

fn text(id: &str, tags: &str) -> String {
    let at = format!("{}-{}-{}T08:00:00.000Z", &id[..4], &id[4..6], &id[6..8]);
    let words = "a word and another ".repeat(50);
    format!(
        r#"{{"type":"conversation","version":1,"id":"{id}","created_at":"{at}","title":"about {id}","tags":[{tags}]}}
{{"type":"message","n":1,"role":"user","content":"{words}","at":"{at}"}}
{{"type":"message","n":2,"role":"assistant","content":"{id}","at":"{at}","state":"complete"}}
"#
    )
}

fn put(sandbox: &Sandbox, below: &str, content: impl AsRef<[u8]>) -> PathBuf {
    let path = sandbox.data_dir().join(below);
    private_directories()
        .create(path.parent().unwrap())
        .unwrap();
    let mut options = fs::File::options();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.write(true).create(true).truncate(true).open(&path);
    file.unwrap().write_all(content.as_ref()).unwrap();
    // Long before the clock of a test.
    set_time(&path, 1_767_225_600);
    path
}

/// Makes directories as pachat does.
fn private_directories() -> fs::DirBuilder {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
}

/// Sets when a file was last changed, in seconds since 1970.
fn set_time(path: &Path, seconds: u64) {
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    let file = fs::File::options().append(true).open(path).unwrap();
    file.set_modified(at).unwrap();
}

fn active(id: &str) -> String {
    format!("conversations/active/{id}.jsonl")
}

/// Four conversations of different age, in the order of [`TODAY`], [`WEEK`], [`MONTH`], [`YEAR`];
/// the file of each is as old as the others.
fn sandbox() -> Sandbox {
    filled(Sandbox::new())
}

fn filled(sandbox: Sandbox) -> Sandbox {
    put(&sandbox, "VERSION", "1\n");
    for (id, tags) in [
        (TODAY, ""),
        (WEEK, "\"work\""),
        (MONTH, "\"draft\""),
        (YEAR, "\"draft\",\"work\""),
    ] {
        put(&sandbox, &active(id), text(id, tags));
    }
    sandbox
}

/// Every file below the data directory that is not a cache, a log or a lock.
fn files(sandbox: &Sandbox) -> BTreeMap<String, Vec<u8>> {
    fn collect(root: &Path, directory: &Path, found: &mut BTreeMap<String, Vec<u8>>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let below = path.strip_prefix(root).unwrap().to_str().unwrap();
            if ["cache", "logs", "run"].contains(&below) {
                continue;
            }
            if path.is_dir() {
                collect(root, &path, found);
            } else {
                found.insert(below.replace('\\', "/"), fs::read(&path).unwrap());
            }
        }
    }
    let mut found = BTreeMap::new();
    collect(&sandbox.data_dir(), &sandbox.data_dir(), &mut found);
    found
}

fn names(sandbox: &Sandbox, below: &str) -> Vec<String> {
    let Ok(entries) = fs::read_dir(sandbox.data_dir().join(below)) else {
        return Vec::new();
    };
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// The ids in a directory of conversations.
fn ids(sandbox: &Sandbox, part: &str) -> Vec<String> {
    let names = names(sandbox, &format!("conversations/{part}"));
    let ids = names.iter().map(|name| name.split('.').next().unwrap());
    ids.map(str::to_owned).collect()
}

fn rows(ran: &Ran) -> Vec<Vec<String>> {
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    ran.stdout
        .lines()
        .map(|line| line.split('\t').map(str::to_owned).collect())
        .collect()
}

/// The ids that a dry run names, each after what becomes of it.
fn dry(sandbox: &Sandbox, args: &[&str]) -> Vec<String> {
    let args = [&["cleanup", "--dry-run"], args].concat();
    let rows = rows(&sandbox.run(&args));
    let name = |row: &Vec<String>| {
        let file = row[4].rsplit('/').next().unwrap();
        let id = file.split('.').next().unwrap();
        format!("{} {}", row[1], id)
    };
    rows.iter().map(name).collect()
}

fn archive(id: &str) -> String {
    format!("archive {id}")
}

fn trash(id: &str) -> String {
    format!("trash {id}")
}

fn good(ran: Ran) -> Ran {
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    ran
}

#[test]
fn a_dry_run_prints_the_plan_and_changes_nothing() {
    let sandbox = sandbox();
    let before = files(&sandbox);
    let ran = sandbox.run(&["cleanup", "-n"]);
    let rows = rows(&ran);
    assert_eq!(rows.len(), 3, "{}", ran.stdout);
    let len = text(YEAR, "\"draft\",\"work\"").len().to_string();
    let oldest = &rows[0];
    assert_eq!(oldest[..3], ["archive", "archive", &len]);
    let days = oldest[3].parse::<u64>().unwrap() / 86_400;
    assert_eq!(days, 403);
    assert_eq!(oldest[4], active(YEAR));
    assert_eq!(oldest[5], "no message for 7d or longer");
    // The oldest first; the one of exactly seven days and some hours is among them.
    assert_eq!(rows[2][4], active(WEEK));
    assert!(
        ran.stderr
            .contains("archive: 3 conversations to be archived"),
        "{}",
        ran.stderr
    );
    assert_eq!(files(&sandbox), before);
    assert!(names(&sandbox, "logs").is_empty());
}

#[test]
fn archiving_keeps_every_byte_and_says_how_to_go_on() {
    let sandbox = sandbox();
    let before = sandbox.run(&["export", "-F", "jsonl", "zzz999"]).stdout;
    let ran = good(sandbox.run(&["cleanup", "--yes"]));
    assert_eq!(ran.stdout, "");
    assert!(
        ran.stderr.contains("3 conversations archived"),
        "{}",
        ran.stderr
    );
    assert!(
        ran.stderr.contains("pachat chat -C zzz999"),
        "{}",
        ran.stderr
    );
    assert_eq!(ids(&sandbox, "active"), [TODAY]);
    assert_eq!(names(&sandbox, "conversations/archived").len(), 3);
    let after = good(sandbox.run(&["export", "-F", "jsonl", "zzz999"])).stdout;
    assert_eq!(after, before);
    let listed = sandbox.run(&["list", "--archived"]).stdout;
    assert_eq!(listed.lines().count(), 3);
    let log = fs::read_to_string(sandbox.data_dir().join("logs/app.log")).unwrap();
    assert!(
        log.contains("action=cleanup task=archive result=archive count=3"),
        "{log}"
    );
    // Once more there is nothing to do, and a pipe hears nothing of it.
    let ran = good(sandbox.run(&["cleanup", "--yes"]));
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("", ""));
    let cues = Cues {
        terminal: true,
        ..Cues::default()
    };
    let ran = good(sandbox.run_on(&cues, &["cleanup", "--yes"], ""));
    assert_eq!(ran.stderr, "nothing to do\n");
}

#[test]
fn a_plan_on_a_terminal_names_titles_and_adds_up() {
    let sandbox = sandbox();
    put(&sandbox, "run/conversation-x.lock", "");
    put(&sandbox, "logs/app.log.20260101_000000.gz", "old");
    let cues = Cues {
        terminal: true,
        ..Cues::default()
    };
    let ran = sandbox.run_on(&cues, &["cleanup", "--dry-run"], "");
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let short = YEAR.rsplit('-').next().unwrap();
    let row = ran
        .stdout
        .lines()
        .find(|line| line.contains(short))
        .unwrap();
    assert!(row.contains(&format!("{short}  ")), "{row}");
    assert!(!row.contains(".jsonl"), "{row}");
    assert!(ran.stderr.contains("\nin all: "), "{}", ran.stderr);
    let ran = good(sandbox.run(&["cleanup", "--yes"]));
    assert!(ran.stderr.ends_with(" freed\n"), "{}", ran.stderr);
}

#[test]
fn without_a_terminal_somebody_has_to_say_yes() {
    let sandbox = sandbox();
    let before = files(&sandbox);
    for args in [&["cleanup"][..], &["cleanup", "7k2"]] {
        let ran = sandbox.run(args);
        assert_eq!((ran.stdout.as_str(), ran.code), ("", 2), "{}", ran.stderr);
        let hint = format!("pachat {} --yes", args.join(" "));
        assert!(ran.stderr.contains(&hint), "{}", ran.stderr);
    }
    assert_eq!(files(&sandbox), before);
}

#[test]
fn what_is_named_goes_to_the_trash_and_comes_back() {
    let sandbox = sandbox();
    good(sandbox.run(&["cleanup", "--older-than", "1y", "--yes"]));
    assert_eq!(ids(&sandbox, "archived"), [YEAR]);
    let before = files(&sandbox);
    // One in use, one archived, by prefix and by title.
    let title = format!("about {YEAR}");
    let ran = good(sandbox.run(&["cleanup", "7k2", &title, "7k2m", "--yes"]));
    let undo = "undo: pachat cleanup --restore 7k2m9q --restore zzz999";
    assert!(ran.stderr.contains(undo), "{}", ran.stderr);
    assert_eq!(
        names(&sandbox, "conversations/trash")
            .iter()
            .map(|name| &name[16..])
            .collect::<Vec<_>>(),
        [format!("{YEAR}.jsonl.gz"), format!("{TODAY}.jsonl")]
    );
    assert_eq!(sandbox.run(&["export", "7k2"]).code, 66);

    let ran = good(sandbox.run(&["cleanup", "--list-trash"]));
    let listed: Vec<Vec<&str>> = ran
        .stdout
        .lines()
        .map(|line| line.split('\t').collect())
        .collect();
    assert_eq!(listed.len(), 2);
    let one = listed.iter().find(|row| row[0] == TODAY).unwrap();
    assert!(one[1].starts_with("2026-08-22T09:4"), "{one:?}");
    assert_eq!(
        one[2..],
        [
            "active",
            &text(TODAY, "").len().to_string(),
            &format!("about {TODAY}")
        ]
    );
    let document = good(sandbox.run(&["cleanup", "--list-trash", "--json"])).stdout;
    let document: Value = serde_json::from_str(&document).unwrap();
    assert_eq!(document["schema"], 1);
    assert_eq!(document["trash"].as_array().unwrap().len(), 2);

    // It needs no question: it takes nothing away.
    let ran = good(sandbox.run(&["cleanup", "--restore", "7k2", "--restore", YEAR]));
    assert!(
        ran.stderr.contains("undo: pachat cleanup 7k2m9q"),
        "{}",
        ran.stderr
    );
    assert_eq!(files(&sandbox), before);
}

#[test]
fn names_are_never_guessed() {
    let sandbox = sandbox();
    assert_eq!(sandbox.run(&["cleanup", "nobody", "--yes"]).code, 66);
    let ran = sandbox.run(&["cleanup", "ab", "--yes"]);
    assert_eq!(ran.code, 66);
    let before = files(&sandbox);
    // `ab` is too short, `abc` and `abd` are two.
    good(sandbox.run(&["cleanup", "abc", "--yes"]));
    good(sandbox.run(&["cleanup", "abd", "--yes"]));
    for (spec, code) in [("ab", 66), ("nobody", 66), ("7k2", 66), ("abc", 0)] {
        let ran = sandbox.run(&["cleanup", "--restore", spec]);
        assert_eq!(ran.code, code, "{spec}: {}", ran.stderr);
    }
    good(sandbox.run(&["cleanup", "--restore", "last"]));
    assert_eq!(files(&sandbox), before);
    // Two things in the trash whose ids begin in the same way.
    for at in ["20260801_000000", "20260802_000000"] {
        let other = if at.starts_with("20260801") {
            WEEK
        } else {
            "20260101-000000-abcxyz"
        };
        put(
            &sandbox,
            &format!("conversations/trash/{at}.{other}.jsonl"),
            text(other, ""),
        );
    }
    let ran = sandbox.run(&["cleanup", "--restore", "abc"]);
    assert_eq!(ran.code, 2);
    assert!(
        ran.stderr.contains("names 2 things") && ran.stderr.contains("about 2026"),
        "{}",
        ran.stderr
    );
    // Nothing takes the place of what is there.
    let ran = sandbox.run(&["cleanup", "--restore", WEEK]);
    assert_eq!(ran.code, 73, "{}", ran.stderr);
    assert!(
        ran.stderr.contains("there is one of that name"),
        "{}",
        ran.stderr
    );
}

#[test]
fn of_many_that_are_skipped_a_few_are_named() {
    let sandbox = sandbox();
    let ids: Vec<String> = (10..40)
        .map(|n| format!("20260101-1015{n}-sk00{n}"))
        .collect();
    let held: Vec<_> = ids
        .iter()
        .map(|id| {
            put(&sandbox, &active(id), text(id, ""));
            let lock = put(&sandbox, &format!("run/turn-{id}.lock"), "");
            let held = RealDisk.open(&lock, Open::Append).unwrap();
            assert!(held.try_lock(LockMode::Exclusive).unwrap());
            held
        })
        .collect();
    let ran = good(sandbox.run(&["cleanup", "--yes"]));
    assert_eq!(ran.stderr.matches("skipped active/").count(), 10);
    assert!(ran.stderr.contains("and 20 more skipped"), "{}", ran.stderr);
    let ran = good(sandbox.run(&["cleanup", "--yes", "--json", "--quiet"]));
    let document: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(document["skipped"].as_array().unwrap().len(), held.len());
}

#[test]
fn what_a_dead_cleanup_has_left_is_tidied_without_a_word_of_skipping() {
    let sandbox = sandbox();
    // As `kill -9` leaves it in the middle of archiving: the archive in the making goes when the
    // conversation is archived, before its own step comes.
    put(
        &sandbox,
        &format!("conversations/archived/.{YEAR}.jsonl.gz.tmp"),
        "half",
    );
    put(
        &sandbox,
        &format!("conversations/archived/.{TODAY}.jsonl.gz.tmp"),
        "half",
    );
    put(&sandbox, &format!("run/turn-{YEAR}.lock"), "");
    let ran = good(sandbox.run(&["cleanup", "--yes"]));
    assert!(!ran.stderr.contains("skipped"), "{}", ran.stderr);
    assert!(
        ran.stderr
            .contains("3 temporary files removed for good (8 B)"),
        "{}",
        ran.stderr
    );
    let left: Vec<String> = files(&sandbox).into_keys().collect();
    assert!(!left.iter().any(|name| name.contains(".tmp")), "{left:?}");
    assert_eq!(ids(&sandbox, "archived").len(), 3);
}

#[test]
fn what_is_in_use_is_skipped_and_named() {
    let sandbox = sandbox();
    let lock = put(&sandbox, &format!("run/turn-{YEAR}.lock"), "");
    let held = RealDisk.open(&lock, Open::Append).unwrap();
    assert!(held.try_lock(LockMode::Exclusive).unwrap());
    let ran = good(sandbox.run(&["cleanup", "--yes"]));
    assert!(
        ran.stderr
            .contains(&format!("skipped active/{YEAR}.jsonl: it is in use")),
        "{}",
        ran.stderr
    );
    assert!(
        ran.stderr.contains("2 conversations archived"),
        "{}",
        ran.stderr
    );
    assert_eq!(ids(&sandbox, "active"), [YEAR, TODAY]);
    // Whoever asks for it by name is told by the exit code.
    let ran = sandbox.run(&["cleanup", "zzz", "7k2", "--yes"]);
    assert_eq!(ran.code, 75, "{}", ran.stderr);
    assert_eq!(ids(&sandbox, "active"), [YEAR]);
    drop(held);
    good(sandbox.run(&["cleanup", "zzz", "--yes", "--quiet"]));
    assert!(ids(&sandbox, "active").is_empty());
}

#[test]
fn age_labels_and_the_floor_choose() {
    let sandbox = sandbox();
    assert_eq!(
        dry(&sandbox, &["--older-than", "30d"]),
        [archive(YEAR), archive(MONTH)]
    );
    assert_eq!(
        dry(&sandbox, &["--older-than", "1y", "--delete"]),
        [trash(YEAR)]
    );
    assert_eq!(
        dry(&sandbox, &["--tag", "draft"]),
        [archive(YEAR), archive(MONTH)]
    );
    assert_eq!(
        dry(&sandbox, &["--tag", "draft", "--keep-tag", "work"]),
        [archive(MONTH)]
    );
    // The young one stays, also for who wants everything.
    assert_eq!(dry(&sandbox, &["--older-than", "0d"]).len(), 3);
    assert_eq!(
        dry(&sandbox, &["--older-than", "0d", "--min-age", "1m"]).len(),
        2
    );
    assert_eq!(
        dry(&sandbox, &["--older-than", "0d", "--min-age", "0d"]).len(),
        4
    );
    good(sandbox.run(&["config", "set", "cleanup.archive_days", "0"]));
    assert!(dry(&sandbox, &[]).is_empty(), "0 is never");
    let ran = sandbox.run(&["cleanup", "--delete", "-n"]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("--older-than"), "{}", ran.stderr);
    for bad in [
        &["cleanup", "--older-than", "soon"][..],
        &["cleanup", "7k2", "--delete"],
        &["cleanup", "--daily", "--older-than", "1d"],
        &["cleanup", "--daily", "--monthly"],
        &["cleanup", "--only", "everything"],
    ] {
        assert_eq!(sandbox.run(bad).code, 2, "{bad:?}");
    }
}

#[test]
fn a_message_counts_and_not_the_time_of_the_file() {
    let sandbox = sandbox();
    set_time(&sandbox.data_dir().join(active(YEAR)), 1_787_300_000);
    assert!(dry(&sandbox, &[]).contains(&archive(YEAR)));
    // A reply that broke off yesterday is the last message.
    let side = format!("conversations/active/{MONTH}.partial");
    let side = put(
        &sandbox,
        &side,
        "{\"type\":\"partial\",\"version\":1,\"n\":3,\"at\":\"2026-08-22T08:00:00.000Z\"}\n{\"text\":\"x\"}\n",
    );
    set_time(&side, 1_787_385_600);
    assert!(!dry(&sandbox, &[]).contains(&archive(MONTH)));
}

#[test]
fn quotas_take_the_oldest_first() {
    let sandbox = sandbox();
    assert_eq!(
        dry(&sandbox, &["--max-count", "2"]),
        [archive(YEAR), archive(MONTH)]
    );
    assert_eq!(
        dry(&sandbox, &["--max-count", "3", "--delete"]),
        [trash(YEAR)]
    );
    let ran = good(sandbox.run(&["cleanup", "-n", "--max-count", "0"]));
    assert_eq!(ran.stdout.lines().count(), 3);
    assert!(
        ran.stderr.contains("1 conversation stays in use"),
        "{}",
        ran.stderr
    );
    let one = text(TODAY, "").len();
    // Room for three and a half, counting an archived one as a third.
    let size = (one * 7 / 2).to_string();
    assert_eq!(dry(&sandbox, &["--max-size", &size]), [archive(YEAR)]);
    let size = (one * 3 / 2).to_string();
    let ran = good(sandbox.run(&["cleanup", "-n", "--max-size", &size]));
    assert_eq!(ran.stdout.lines().count(), 3);
    assert!(ran.stderr.contains("--delete"), "{}", ran.stderr);
    let both = dry(&sandbox, &["--max-size", &size, "--delete"]);
    assert_eq!(both, [trash(YEAR), trash(MONTH), archive(WEEK)]);
    assert!(dry(&sandbox, &["--max-size", "1GB"]).is_empty());
}

#[test]
fn the_trash_and_the_archive_go_only_when_a_person_has_said_so() {
    let sandbox = sandbox();
    good(sandbox.run(&["cleanup", "--older-than", "1m", "--yes"]));
    good(sandbox.run(&["cleanup", "abc", "--yes"]));
    put(
        &sandbox,
        &format!("conversations/trash/20260101_000000.{YEAR}.jsonl"),
        "x\n",
    );
    put(&sandbox, "conversations/trash/mine.txt", "not of pachat");
    let before = files(&sandbox);
    good(sandbox.run(&["cleanup", "--yes"]));
    assert_eq!(files(&sandbox), before);

    good(sandbox.run(&["config", "set", "cleanup.delete_archived_days", "300"]));
    assert_eq!(dry(&sandbox, &["--only", "archived"]), [trash(YEAR)]);
    good(sandbox.run(&["config", "set", "cleanup.empty_trash_days", "30"]));
    let rows = rows(&sandbox.run(&["cleanup", "-n", "--only", "trash"]));
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0][..2], ["trash", "delete"]);
    assert!(rows[0][4].contains("20260101_000000"));

    let ran = good(sandbox.run(&["cleanup", "--empty-trash", "--yes"]));
    assert!(
        ran.stderr.contains("2 deleted things removed for good"),
        "{}",
        ran.stderr
    );
    assert!(ran.stderr.contains("nothing undoes that"), "{}", ran.stderr);
    assert_eq!(names(&sandbox, "conversations/trash"), ["mine.txt"]);
    assert_eq!(ids(&sandbox, "archived").len(), 2, "that was not said");
}

#[test]
fn logs_expire_by_the_setting() {
    let sandbox = sandbox();
    put(
        &sandbox,
        "logs/app.log",
        "2026-08-01T00:00:00.000Z INFO x\n",
    );
    put(&sandbox, "logs/app.log.20260101_000000.gz", "");
    put(&sandbox, "logs/app.log.20260801_000000.gz", "");
    let plan = dry(&sandbox, &["--only", "logs"]);
    assert_eq!(plan, ["delete app", "rotate app"]);
    // The first line that is written now rotates as well, by the same limits.
    good(sandbox.run(&["config", "set", "cleanup.log_days", "7"]));
    let mut left = names(&sandbox, "logs");
    left.retain(|name| name.starts_with("app.log.2"));
    assert_eq!(left.len(), 2, "{left:?}");
    assert_eq!(left[0], "app.log.20260801_000000.gz");
    assert_eq!(dry(&sandbox, &["--only", "logs"]), ["delete app"]);
    let ran = good(sandbox.run(&["cleanup", "--only", "logs", "--yes"]));
    assert!(
        ran.stderr.contains("1 log removed for good"),
        "{}",
        ran.stderr
    );
    let left = names(&sandbox, "logs");
    assert!(
        left.iter().all(|name| !name.contains("20260801")),
        "{left:?}"
    );
    assert_eq!(left.len(), 2, "{left:?}");
}

#[test]
fn backups_go_by_their_rules() {
    let sandbox = sandbox();
    for _ in 0..3 {
        good(sandbox.run(&["backup", "--force"]));
    }
    assert!(dry(&sandbox, &["--only", "backups"]).is_empty());
    good(sandbox.run(&["config", "set", "backup.keep_last", "1"]));
    let newest = names(&sandbox, "backups")
        .into_iter()
        .rfind(|name| name.ends_with(".tar.gz"));
    assert_eq!(dry(&sandbox, &["--only", "backups"]).len(), 2);
    good(sandbox.run(&["cleanup", "--only", "backups", "--yes"]));
    let left: Vec<String> = names(&sandbox, "backups")
        .into_iter()
        .filter(|name| name.ends_with(".tar.gz"))
        .collect();
    assert_eq!(left, newest.into_iter().collect::<Vec<_>>());
}

#[test]
fn an_attachment_goes_only_if_nothing_refers_to_it() {
    let sandbox = sandbox();
    let digest = |digit: &str| digit.repeat(64);
    for digit in ["a", "b", "c", "d", "e"] {
        put(
            &sandbox,
            &format!("attachments/{}.png", digest(digit)),
            digit,
        );
    }
    let refers = |digit: &str| text(TODAY, &format!("\"sha256:{}\"", digest(digit)));
    put(&sandbox, &active(TODAY), refers("a"));
    good(sandbox.run(&["cleanup", "abc", "--yes"]));
    let trashed = names(&sandbox, "conversations/trash").remove(0);
    put(
        &sandbox,
        &format!("conversations/trash/{trashed}"),
        refers("b"),
    );
    put(
        &sandbox,
        &active(MONTH),
        text(MONTH, &format!("\"{}\"", digest("c"))),
    );
    good(sandbox.run(&["cleanup", "--older-than", "30d", "--yes"]));
    assert!(ids(&sandbox, "archived").contains(&MONTH.to_owned()));
    // One that was put there just now may be referred to soon.
    set_time(
        &sandbox
            .data_dir()
            .join(format!("attachments/{}.png", digest("d"))),
        1_787_385_600,
    );

    assert_eq!(
        dry(&sandbox, &["--only", "attachments"]),
        [trash(&digest("e"))]
    );
    let ran = good(sandbox.run(&["cleanup", "--only", "attachments", "--yes"]));
    assert_eq!(names(&sandbox, "attachments").len(), 4);
    assert!(
        ran.stderr.contains("pachat cleanup --restore"),
        "{}",
        ran.stderr
    );
    good(sandbox.run(&["cleanup", "--restore", &digest("e")[..16]]));
    assert_eq!(names(&sandbox, "attachments").len(), 5);
    // Where something cannot be read nobody knows.
    put(
        &sandbox,
        &format!("conversations/archived/{YEAR}.jsonl.gz"),
        "no gzip",
    );
    fs::remove_file(sandbox.data_dir().join(active(YEAR))).ok();
    assert!(dry(&sandbox, &["--only", "attachments"]).is_empty());
}

#[test]
fn leftovers_go_if_their_makers_are_dead() {
    let sandbox = sandbox();
    let dead = [
        format!("conversations/active/.{WEEK}.jsonl.tmp"),
        format!("conversations/archived/.{WEEK}.jsonl.gz.tmp"),
        "config/.app_config.json.0a1b2c3d.tmp".to_owned(),
        "backups/.backup_20260101_000000.tar.gz.tmp".to_owned(),
        format!("run/turn-{WEEK}.lock"),
    ];
    for path in &dead {
        put(&sandbox, path, "half");
    }
    let foreign = put(&sandbox, "config/.editor.tmp", "mine");
    let young = put(&sandbox, "cache/.models.json.0a1b2c3d.tmp", "half");
    set_time(&young, 1_787_385_600);
    let lock = put(&sandbox, &format!("run/turn-{YEAR}.lock"), "");
    let living = put(
        &sandbox,
        &format!("conversations/active/.{YEAR}.jsonl.tmp"),
        "half",
    );
    let held = RealDisk.open(&lock, Open::Append).unwrap();
    assert!(held.try_lock(LockMode::Exclusive).unwrap());
    let rows = rows(&sandbox.run(&["cleanup", "-n", "--only", "temporaries"]));
    let mut paths: Vec<&String> = rows.iter().map(|row| &row[4]).collect();
    paths.sort();
    let mut expected: Vec<&String> = dead.iter().collect();
    expected.sort();
    assert_eq!(paths, expected);
    good(sandbox.run(&["cleanup", "--only", "temporaries", "--yes"]));
    for path in &dead {
        assert!(!sandbox.data_dir().join(path).exists(), "{path}");
    }
    for path in [foreign, young, lock, living] {
        assert!(path.exists(), "{}", path.display());
    }
}

#[test]
fn a_warm_index_spares_reading_and_a_lost_one_costs_nothing_else() {
    let sandbox = sandbox();
    let plan = dry(&sandbox, &[]);
    let index = sandbox.data_dir().join("cache/conversations.jsonl");
    let kept = fs::read_to_string(&index).unwrap();
    assert_eq!(kept.lines().count(), 5, "{kept}");
    // As long as it looks the same, nobody reads it.
    put(
        &sandbox,
        &active(YEAR),
        "x".repeat(text(YEAR, "\"draft\",\"work\"").len()),
    );
    let unread = fs::read(sandbox.data_dir().join(active(YEAR))).unwrap();
    #[cfg(unix)]
    assert_eq!(dry(&sandbox, &[]), plan);
    // What it says is not believed of what looks otherwise.
    set_time(&sandbox.data_dir().join(active(YEAR)), 1_767_225_601);
    let ran = good(sandbox.run(&["cleanup", "-n"]));
    assert!(
        ran.stderr
            .contains(&format!("skipped active/{YEAR}.jsonl: cannot read")),
        "{}",
        ran.stderr
    );
    assert_eq!(
        fs::read(sandbox.data_dir().join(active(YEAR))).unwrap(),
        unread
    );
    for broken in [
        "",
        "not JSON\n",
        "{\"format\":\"pachat-conversations\",\"version\":99}\n",
        &kept[..kept.len() - 10],
        &kept.replacen("\"looks\"", "\"looked\"", 1),
    ] {
        fs::write(&index, broken).unwrap();
        assert_eq!(dry(&sandbox, &[]), plan[1..], "{broken}");
        let line = fs::read_to_string(&index).unwrap();
        assert!(line.starts_with("{\"format\":\"pachat-conversations\",\"version\":1}\n"));
    }
}

#[test]
fn what_cannot_be_read_stays_as_it_is() {
    let sandbox = sandbox();
    put(&sandbox, &active(YEAR), "no header\n");
    let middle = text(MONTH, "").replacen('\n', "\nnot a line\n", 1);
    put(&sandbox, &active(MONTH), &middle);
    let ran = good(sandbox.run(&["cleanup", "--yes"]));
    assert!(
        ran.stderr.contains(&format!("skipped active/{YEAR}.jsonl")),
        "{}",
        ran.stderr
    );
    assert_eq!(ids(&sandbox, "active"), [YEAR, TODAY]);
    let ran = good(sandbox.run(&["export", "-F", "jsonl", MONTH]));
    assert_eq!(ran.stdout, middle, "with the line that makes no sense");
    // It can still be deleted, and taken back.
    let before = files(&sandbox);
    good(sandbox.run(&["cleanup", "zzz", "--yes"]));
    good(sandbox.run(&["cleanup", "--restore", "zzz"]));
    assert_eq!(files(&sandbox), before);
}

#[test]
fn json_tells_what_was_done() {
    let sandbox = sandbox();
    for (args, dry) in [
        (&["cleanup", "-n", "--json"], true),
        (&["cleanup", "--yes", "--json"], false),
    ] {
        let ran = good(sandbox.run(args));
        let document: Value = serde_json::from_str(&ran.stdout).unwrap();
        let names: Vec<&String> = document.as_object().unwrap().keys().collect();
        assert_eq!(
            names,
            [
                "schema", "dry_run", "steps", "totals", "skipped", "warnings", "failures"
            ]
        );
        assert_eq!(
            (&document["schema"], &document["dry_run"]),
            (&1.into(), &dry.into())
        );
        let step = &document["steps"][0];
        assert_eq!(step["task"], "archive");
        assert_eq!(step["path"], active(YEAR));
        assert_eq!(step["done"], !dry);
        let now = format!("conversations/archived/{YEAR}.jsonl.gz");
        assert_eq!(step["now"], if dry { Value::Null } else { now.into() });
        assert_eq!(document["totals"][0]["count"], 3);
    }
}

#[test]
fn an_empty_home_stays_empty() {
    let sandbox = Sandbox::new();
    for args in [
        &["cleanup", "--yes"][..],
        &["cleanup", "-n"],
        &["cleanup", "--list-trash"],
        &["cleanup", "--daily"],
        &["cleanup", "--weekly"],
        &["cleanup", "--monthly", "--quiet"],
    ] {
        let ran = good(sandbox.run(args));
        assert_eq!(ran.stdout, "", "{args:?}");
        assert!(!sandbox.data_dir().exists(), "{args:?}");
    }
}

#[test]
fn the_daily_set_is_silent_when_all_is_fine() {
    let sandbox = sandbox();
    put(&sandbox, "logs/app.log.20260101_000000.gz", "");
    put(&sandbox, "config/.app_config.json.0a1b2c3d.tmp", "half");
    let ran = good(sandbox.run(&["cleanup", "--daily", "-n"]));
    assert_eq!(ran.stdout.lines().count(), 2);
    assert!(ran.stderr.contains("then: space"), "{}", ran.stderr);
    let ran = good(sandbox.run(&["cleanup", "--daily", "--quiet"]));
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("", ""));
    assert!(!names(&sandbox, "logs").contains(&"app.log.20260101_000000.gz".to_owned()));
    assert!(names(&sandbox, "config").is_empty());
    assert_eq!(ids(&sandbox, "active").len(), 4, "archiving is monthly");
    // No room is the answer no, and one line also when quiet.
    good(sandbox.run(&["config", "set", "limits.conversations", "4"]));
    let ran = sandbox.run(&["cleanup", "--daily", "--quiet"]);
    assert_eq!(ran.code, 1);
    assert!(
        ran.stderr.contains("pachat cleanup --max-count"),
        "{}",
        ran.stderr
    );
    good(sandbox.run(&["config", "set", "limits.conversations", "5"]));
    let ran = good(sandbox.run(&["cleanup", "--daily"]));
    assert!(
        ran.stderr.contains("4 of 5 conversations"),
        "{}",
        ran.stderr
    );
}

#[test]
fn a_set_goes_on_when_a_part_fails_and_tells_all() {
    let sandbox = filled(Sandbox::at_home());
    let private = !is_shared(sandbox.path());
    // No backup can be made where a file is in the way of its directory.
    let path = put(&sandbox, "backups", "in the way");
    #[cfg(unix)]
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let ran = sandbox.run(&["cleanup", "--weekly", "--json"]);
    assert_ne!(ran.code, 0);
    let document: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(document["set"], "weekly");
    let stages = document["stages"].as_array().unwrap();
    let stage = |at: usize| {
        (
            stages[at]["stage"].as_str().unwrap(),
            stages[at]["ok"] == true,
        )
    };
    assert_eq!(
        (stage(0), stage(1)),
        (("backup", false), ("security", private)),
        "{}",
        ran.stderr
    );
    assert_eq!(stages[0]["exit_code"], ran.code);
    assert_eq!(stages[1]["stage"], "security");
    fs::remove_file(sandbox.data_dir().join("backups")).unwrap();
    let ran = sandbox.run(&["cleanup", "--weekly"]);
    assert_eq!((ran.code == 0, &*ran.stdout), (private, ""));
    assert!(ran.stderr.contains("verified"), "{}", ran.stderr);
    assert!(
        names(&sandbox, "backups")
            .iter()
            .any(|name| name.ends_with(".tar.gz"))
    );
}

#[test]
fn findings_are_told_one_by_one_and_to_cron_in_one_line() {
    let sandbox = filled(Sandbox::new());
    for name in ["x", "y"] {
        let path = sandbox.data_dir().join("conversations/active").join(name);
        fs::write(&path, "").unwrap();
        #[cfg(unix)]
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    }
    let ran = sandbox.run(&["cleanup", "--weekly"]);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(ran.stderr.matches("pachat: warning: ").count() > 1);
    let ran = sandbox.run(&["cleanup", "--weekly", "--quiet"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""));
    assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.stderr);
    assert!(ran.stderr.contains("pachat validate security"));
}

#[test]
fn the_monthly_set_archives_reports_and_makes_the_index_anew() {
    let sandbox = sandbox();
    put(&sandbox, "cache/models-old.json", "{}");
    for _ in 0..4 {
        good(sandbox.run(&["rollback", "--create-point"]));
    }
    good(sandbox.run(&["config", "set", "rollback.keep", "2"]));
    let ran = good(sandbox.run(&["cleanup", "--monthly", "--json"]));
    let document: Value = serde_json::from_str(&ran.stdout).unwrap();
    let stages = document["stages"].as_array().unwrap();
    let names_of: Vec<&str> = stages
        .iter()
        .map(|stage| stage["stage"].as_str().unwrap())
        .collect();
    assert_eq!(names_of, ["archive", "report", "optimise"]);
    assert_eq!(stages[1]["details"]["archived"]["files"], 3);
    assert_eq!(
        stages[2]["details"]["points_removed"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    assert!(
        ran.stderr.contains("in use: 1 conversation"),
        "{}",
        ran.stderr
    );
    assert_eq!(ids(&sandbox, "active"), [TODAY]);
    assert_eq!(names(&sandbox, "cache"), ["conversations.jsonl"]);
    assert_eq!(names(&sandbox, "backups/points").len(), 2);
}

#[test]
fn a_rollback_takes_a_clean_up_back() {
    let sandbox = sandbox();
    good(sandbox.run(&["rollback", "--create-point"]));
    let before = files(&sandbox);
    let conversations = |files: BTreeMap<String, Vec<u8>>| -> Vec<(String, Vec<u8>)> {
        let all = files.into_iter();
        all.filter(|(path, _)| path.starts_with("conversations/"))
            .collect()
    };
    good(sandbox.run(&["cleanup", "--yes"]));
    good(sandbox.run(&["cleanup", "7k2", "abd", "--yes"]));
    good(sandbox.run(&["cleanup", "--empty-trash", "--yes"]));
    good(sandbox.run(&["rollback", "--rollback-point", "latest", "--yes"]));
    assert_eq!(conversations(files(&sandbox)), conversations(before));
}
