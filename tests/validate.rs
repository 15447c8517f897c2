//! `pachat validate` as a person and a script see it: stdout, stderr, exit code, files.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may panic, and looks at the machine itself"
)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::time::SystemTime;

use common::host::{Cues, Ran, Sandbox};
use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::Timestamp;
use pachat::model::backup::Sha256;
use pachat::ops::validate::CODES;
use pachat::platform::Disk as _;
use pachat::platform::disk::{LockMode, Open, RealDisk};
use serde_json::Value;

const WHALES: &str = "20260822-080000-7k2m9q";
const SKY: &str = "20260821-090000-abc123";
const OTHER: &str = "20260820-090000-zzz999";

type Tree = BTreeMap<String, Vec<u8>>;

fn header(id: &str) -> String {
    with_parent(id, "")
}

fn with_parent(id: &str, parent: &str) -> String {
    format!(
        r#"{{"type":"conversation","version":1,"id":"{id}","created_at":"2026-08-21T09:00:00.000Z","title":"t","model":"a/b"{parent}}}
"#
    )
}

fn prompt(n: u64) -> String {
    format!(
        r#"{{"type":"message","n":{n},"role":"user","content":"hello","at":"2026-08-21T09:00:00.000Z"}}
"#
    )
}

fn reply(n: u64, at: &str, more: &str) -> String {
    format!(
        r#"{{"type":"message","n":{n},"role":"assistant","content":"hi","at":"{at}"{more}}}
"#
    )
}

fn conversation(id: &str) -> String {
    header(id) + &prompt(1) + &reply(2, "2026-08-21T09:00:01.000Z", r#","state":"complete""#)
}

fn active(id: &str) -> String {
    format!("conversations/active/{id}.jsonl")
}

fn archived(id: &str) -> String {
    format!("conversations/archived/{id}.jsonl.gz")
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

/// A home with two conversations, one of them archived.
fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    put(&sandbox, "VERSION", "1\n");
    put(&sandbox, &active(WHALES), conversation(WHALES));
    put(&sandbox, &archived(SKY), gzip(&conversation(SKY)));
    sandbox
}

fn put(sandbox: &Sandbox, path: &str, content: impl AsRef<[u8]>) {
    let path = sandbox.data_dir().join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

fn read(sandbox: &Sandbox, path: &str) -> String {
    String::from_utf8_lossy(&fs::read(sandbox.data_dir().join(path)).unwrap()).into_owned()
}

fn tree(directory: &Path) -> Tree {
    fn walk(directory: &Path, root: &Path, found: &mut Tree) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.is_symlink() {
                walk(&path, root, found);
            } else if path.is_file() {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap();
                found.insert(name.to_owned(), fs::read(&path).unwrap());
            }
        }
    }
    let mut found = Tree::new();
    if directory.exists() {
        walk(directory, directory, &mut found);
    }
    found
}

/// What is found in these areas, as `code@line` or `code`.
fn found(sandbox: &Sandbox, args: &[&str]) -> (Vec<String>, Ran) {
    let ran = sandbox.run(&[&["validate", "--json"], args].concat());
    let json: Value = serde_json::from_str(&ran.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}{}", ran.stdout, ran.stderr));
    assert_eq!(json["schema"], 1);
    let findings = json["findings"].as_array().unwrap();
    let mut worst = "note";
    let codes = findings.iter().map(|finding| {
        let text = |name: &str| finding[name].as_str().unwrap();
        let (code, severity) = (text("code"), text("severity"));
        let known = CODES.iter().find(|known| known.0 == code);
        let known = known.unwrap_or_else(|| panic!("{code} is not in the table"));
        assert_eq!(severity, known.1.as_str(), "{code}");
        assert!(known.2 || finding["fixable"] == false, "{code}");
        for part in ["subject", "cause", "remedy"] {
            assert!(
                !text(part).is_empty() && !text(part).ends_with('.'),
                "{finding}"
            );
        }
        if severity != "note" {
            worst = severity;
        }
        match finding["line"].as_u64() {
            Some(line) => format!("{code}@{line}"),
            None => code.to_owned(),
        }
    });
    let codes: Vec<String> = codes.collect();
    assert_eq!(ran.code, u8::from(worst != "note"), "{}", ran.stdout);
    (codes, ran)
}

fn codes(sandbox: &Sandbox) -> Vec<String> {
    found(sandbox, &["store"]).0
}

fn ok(ran: Ran) -> Ran {
    assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
    ran
}

#[test]
fn a_sound_store_has_no_findings_and_is_not_touched() {
    let sandbox = sandbox();
    let before = tree(sandbox.path());
    let ran = ok(sandbox.run(&["validate", "store"]));
    assert_eq!(ran.stdout, "");
    assert_eq!(ran.stderr, "2 conversations, 6 lines, 662 B: no findings\n");
    let quiet = ok(sandbox.run(&["validate", "store", "-q"]));
    assert_eq!((quiet.stdout, quiet.stderr), (String::new(), String::new()));
    assert_eq!(tree(sandbox.path()), before);
    // Nothing at all is fine, too, and stays nothing.
    let empty = Sandbox::new();
    let ran = ok(empty.run(&["validate", "store"]));
    assert!(ran.stdout.contains("store.missing"), "{}", ran.stdout);
    assert!(!empty.data_dir().exists());
}

#[test]
fn each_way_in_which_a_line_is_wrong_is_found_with_its_number() {
    let at = "2026-08-21T09:00:01.000Z";
    let done = r#","state":"complete""#;
    let sound = reply(2, at, done);
    for (more, expected) in [
        ("\0\0\0\n".to_owned(), &["store.nul@4"][..]),
        ("{broken\n".to_owned(), &["store.not-json@4"]),
        ("\n".to_owned(), &["store.not-json@4"]),
        ("[]\n".to_owned(), &["store.not-a-record@4"]),
        ("{\"type\":\"later\",\"x\":1}\n".to_owned(), &[]),
        (header(WHALES), &["store.second-header@4"]),
        (prompt(2), &["store.number-twice@4"]),
        (prompt(5), &["store.number-gap@4"]),
        (
            prompt(7) + &prompt(6),
            &["store.number-gap@4", "store.number-order@5"],
        ),
        // What a line that cannot be read may have held is not missed twice.
        ("{broken\n".to_owned() + &prompt(4), &["store.not-json@4"]),
        (prompt(3).replace("user", "tool"), &["store.role@4"]),
        (
            prompt(3).replace(r#""content":"hello","#, ""),
            &["store.content@4"],
        ),
        (prompt(3).replace(r#""hello""#, "7"), &["store.content@4"]),
        (prompt(3).replace(r#""n":3,"#, ""), &["store.number@4"]),
        (prompt(3).replace("2026-08", "yesterday"), &["store.time@4"]),
        (reply(3, at, ""), &["store.state-missing@4"]),
        (reply(3, at, r#","state":"done""#), &["store.state@4"]),
        (
            reply(3, at, r#","state":"complete","cost":[]"#),
            &["store.field@4"],
        ),
        (
            reply(3, "2031-01-01T00:00:00Z", done),
            &["store.time-future@4"],
        ),
        (
            reply(3, "1970-01-01T00:00:00Z", done),
            &["store.time-early@4"],
        ),
        (
            reply(3, "2026-08-22T00:00:00Z", done) + &reply(4, "2026-08-21T23:00:00Z", done),
            &["store.time-backwards@5"],
        ),
        ("{\"type\":\"rewind\",\"to\":0}\n".to_owned(), &[]),
        (
            "{\"type\":\"rewind\",\"to\":9}\n".to_owned(),
            &["store.rewind@4"],
        ),
        (
            "{\"type\":\"charge\",\"n\":9,\"cost\":\"0.1\"}\n".to_owned(),
            &["store.charge@4"],
        ),
        (
            "{\"type\":\"set\",\"title\":\"t\",\"colour\":\"red\"}\n".to_owned(),
            &["store.set@4"],
        ),
        ("{\"type\":\"mess".to_owned(), &["store.torn-tail@4"]),
    ] {
        let sandbox = sandbox();
        let text = header(WHALES) + &prompt(1) + &sound + &more;
        put(&sandbox, &active(WHALES), &text);
        assert_eq!(codes(&sandbox), expected, "{more:?}");
        assert_eq!(read(&sandbox, &active(WHALES)), text);
    }
    let sandbox = sandbox();
    let mut bytes = conversation(WHALES).into_bytes();
    bytes.extend_from_slice(b"{\"type\":\"\xff\"}\n");
    put(&sandbox, &active(WHALES), bytes);
    assert_eq!(codes(&sandbox), ["store.not-utf8@4"]);
}

#[test]
fn many_wrong_lines_of_a_kind_are_counted() {
    let sandbox = sandbox();
    put(
        &sandbox,
        &active(WHALES),
        conversation(WHALES) + &"x\n".repeat(1000),
    );
    let (codes, ran) = found(&sandbox, &["store"]);
    assert_eq!(
        codes,
        ["store.not-json@4", "store.not-json@5", "store.not-json@6"]
    );
    assert!(
        ran.stdout.contains("and so in 997 more lines of this file"),
        "{}",
        ran.stdout
    );
}

#[test]
fn each_way_in_which_a_file_is_wrong_is_found() {
    let whole = conversation(WHALES);
    let packed = gzip(&conversation(SKY));
    let sky = archived(SKY);
    let whales = active(WHALES);
    let cases: Vec<(&str, Vec<u8>, &[&str])> = vec![
        (&whales, Vec::new(), &["store.no-header"]),
        (&whales, b"{\"type\":\"conv".to_vec(), &["store.no-header"]),
        (&whales, prompt(1).into_bytes(), &["store.no-header@1"]),
        (&whales, b"\0\0\n".to_vec(), &["store.no-header@1"]),
        (
            &whales,
            conversation(OTHER).into_bytes(),
            &["store.wrong-id@1"],
        ),
        (
            &whales,
            conversation(SKY).into_bytes(),
            &["store.id-twice@1"],
        ),
        (
            &whales,
            whole.replace("\"version\":1", "\"version\":2").into_bytes(),
            &["store.conversation-newer@1"],
        ),
        (&sky, packed[..packed.len() - 5].to_vec(), &["store.gzip"]),
        (&sky, [&packed[..], b"more"].concat(), &["store.gzip"]),
        (&sky, b"no gzip".to_vec(), &["store.gzip"]),
        (
            &sky,
            gzip(&(conversation(SKY) + "{\"ty")),
            &["store.archived-torn@4"],
        ),
        (
            "conversations/active/notes.txt",
            b"x".to_vec(),
            &["store.foreign"],
        ),
        (
            "conversations/active/20260822-080000-7K2M9Q.jsonl",
            whole.clone().into_bytes(),
            &["store.name"],
        ),
        (
            "conversations/archived/20260822-080000-7k2m9r.jsonl",
            whole.clone().into_bytes(),
            &["store.name"],
        ),
        (
            "conversations/active/sub/x",
            b"x".to_vec(),
            &["store.directory"],
        ),
        ("conversations/other/x", b"x".to_vec(), &["store.foreign"]),
        ("other", b"x".to_vec(), &["store.foreign"]),
        ("attachments", b"x".to_vec(), &["store.not-a-directory"]),
        (
            "config/.app_config.json.01234567.tmp",
            b"x".to_vec(),
            &["store.temporary"],
        ),
        ("quarantine/x.torn", b"x".to_vec(), &["store.quarantine"]),
        ("VERSION", b"2\n".to_vec(), &["store.version-newer"]),
        ("VERSION", b"0\n".to_vec(), &["store.version-older"]),
        ("VERSION", b"one\n".to_vec(), &["store.version-unreadable"]),
        (
            "cache/conversations.jsonl",
            b"damaged\n".to_vec(),
            &["store.index"],
        ),
        (
            "logs/app.log",
            b"no line of ours\n".to_vec(),
            &["store.log-line@1"],
        ),
        (
            "logs/app.log.20260801_000000.gz",
            b"no gzip".to_vec(),
            &["store.log-damaged"],
        ),
        (".swap/incoming/x", b"x".to_vec(), &["store.swap"]),
        (
            "conversations/active/20260820-090000-zzz999.partial",
            b"{}\n".to_vec(),
            &["store.side-file-alone"],
        ),
    ];
    for (path, content, expected) in cases {
        let sandbox = sandbox();
        put(&sandbox, path, &content);
        let before = tree(&sandbox.data_dir());
        assert_eq!(codes(&sandbox), expected, "{path}");
        assert_eq!(tree(&sandbox.data_dir()), before, "{path}");
    }
    let sandbox = sandbox();
    fs::remove_file(sandbox.data_dir().join("VERSION")).unwrap();
    assert_eq!(codes(&sandbox), ["store.version-missing"]);
}

#[cfg(unix)]
#[test]
fn links_are_named_and_not_followed() {
    let sandbox = sandbox();
    let target = sandbox.path().join("elsewhere.jsonl");
    fs::write(&target, "no conversation").unwrap();
    let link = sandbox.data_dir().join(active(OTHER));
    std::os::unix::fs::symlink(&target, link).unwrap();
    assert_eq!(codes(&sandbox), ["store.symlink"]);
}

#[test]
fn forks_are_compared_with_what_they_came_from() {
    let parent = |id: &str, n: u64| format!(r#","parent":{{"id":"{id}","message":{n}}}"#);
    for (from, expected) in [
        (parent(WHALES, 2), None),
        (parent(SKY, 1), None),
        (parent(WHALES, 3), Some("store.parent-message@1")),
        (
            ",".to_owned() + &parent("20200101-000000-aaaaaa", 1)[1..],
            Some("store.parent-missing@1"),
        ),
        (parent(OTHER, 0), Some("store.parent-cycle@1")),
    ] {
        let sandbox = sandbox();
        // Its first message goes on where the other conversation was left.
        put(
            &sandbox,
            &active(OTHER),
            with_parent(OTHER, &from) + &prompt(3),
        );
        assert_eq!(codes(&sandbox), Vec::from_iter(expected), "{from}");
    }
    let sandbox = sandbox();
    put(
        &sandbox,
        &active(OTHER),
        with_parent(OTHER, &parent(WHALES, 0)),
    );
    put(
        &sandbox,
        &active(WHALES),
        with_parent(WHALES, &parent(OTHER, 0)),
    );
    assert_eq!(codes(&sandbox), ["store.parent-cycle@1"]);
}

#[test]
fn attachments_are_what_their_names_say_and_somebody_names_them() {
    let sandbox = sandbox();
    let named = |content: &str| format!("attachments/{}.txt", Sha256::of(content.as_bytes()));
    put(&sandbox, &named("one"), "one");
    put(&sandbox, &named("two"), "two");
    put(&sandbox, &named("three"), "changed");
    let says = |content: &str| {
        prompt(3).replace(
            "hello",
            &format!("see sha256:{}", Sha256::of(content.as_bytes())),
        )
    };
    put(
        &sandbox,
        &active(WHALES),
        conversation(WHALES) + &says("one"),
    );
    put(
        &sandbox,
        &archived(SKY),
        gzip(&(conversation(SKY) + &says("three"))),
    );
    let (mut codes, ran) = found(&sandbox, &["store"]);
    codes.sort();
    assert_eq!(
        codes,
        ["store.attachment-digest", "store.attachment-orphan"]
    );
    assert!(ran.stdout.contains(&named("two")), "{}", ran.stdout);
}

#[test]
fn limits_are_told_before_they_are_reached() {
    let mut sandbox = sandbox();
    sandbox.set("PACHAT_DATA_DIR", sandbox.data_dir().to_str().unwrap());
    let settings = r#"{"limits":{"conversation_mb":1,"storage_mb":1,"conversations":1}}"#;
    put(&sandbox, "config/app_config.json", settings);
    let long = prompt(3).replace("hello", &"x".repeat(1_100_000));
    put(&sandbox, &active(WHALES), conversation(WHALES) + &long);
    assert_eq!(
        codes(&sandbox),
        [
            "store.conversation-limit",
            "store.count-limit",
            "store.storage-limit"
        ]
    );
}

#[test]
fn only_the_conversations_that_are_named_are_looked_at() {
    let sandbox = sandbox();
    put(&sandbox, &active(OTHER), "broken\n");
    put(&sandbox, "foreign", "x");
    let (codes, ran) = found(&sandbox, &["7k2"]);
    assert_eq!(codes, [""; 0]);
    let json: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(json["checked"]["areas"], serde_json::json!(["store"]));
    assert_eq!(json["checked"]["conversations"], 1);
    assert_eq!(found(&sandbox, &[OTHER]).0, ["store.no-header@1"]);
    let ran = sandbox.run(&["validate", "nothing"]);
    assert_eq!(ran.code, 66, "{}", ran.stderr);
    assert!(
        ran.stderr.contains("platform, config, security"),
        "{}",
        ran.stderr
    );
}

#[test]
fn rows_and_blocks_say_what_is_wrong_and_what_to_do() {
    let sandbox = sandbox();
    put(
        &sandbox,
        &active(WHALES),
        conversation(WHALES) + "{broken\n{\"ty",
    );
    let ran = sandbox.run(&["validate", "store"]);
    assert_eq!(ran.code, 1);
    let rows: Vec<Vec<&str>> = ran
        .stdout
        .lines()
        .map(|row| row.split('\t').collect())
        .collect();
    assert_eq!(
        rows[0][..4],
        ["error", "store.not-json", &active(WHALES), "4"]
    );
    assert_eq!(
        rows[1][..4],
        ["warning", "store.torn-tail", &active(WHALES), "5"]
    );
    assert_eq!([rows[0][6], rows[1][6]], ["", "fixable"]);
    assert!(
        ran.stderr
            .contains("1 error, 1 warning\n1 of them can be repaired"),
        "{}",
        ran.stderr
    );
    let cues = Cues {
        terminal: true,
        ..Cues::default()
    };
    let shown = sandbox
        .run_on(&cues, &["validate", "store", "--color", "never"], "")
        .stdout;
    assert!(
        shown.starts_with("store\n  error: conversations/active/"),
        "{shown}"
    );
    assert!(
        shown.contains(":4 [store.not-json]\n    it is not JSON"),
        "{shown}"
    );
    // No line is wider than the terminal.
    assert!(shown.contains("\n    remedy: it is passed over"), "{shown}");
    for line in shown.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
    // For cron: one line.
    let quiet = sandbox.run(&["validate", "store", "-q"]);
    assert_eq!((quiet.code, &*quiet.stdout), (1, ""));
    assert_eq!(
        quiet.stderr,
        "pachat: 1 error, 1 warning; see them: pachat validate store\n"
    );
    // Into a file, all at once.
    let file = sandbox.path().join("report.json");
    let ran = sandbox.run(&["validate", "store", "--json", "-o", file.to_str().unwrap()]);
    assert_eq!((ran.code, &*ran.stdout), (1, ""));
    let json: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    assert_eq!(json["findings"][0]["code"], "store.not-json");
    assert_eq!(json["point"], Value::Null);
    assert_eq!(
        json["counts"],
        serde_json::json!({"error": 1, "warning": 1, "note": 0, "fixable": 1})
    );
    assert_eq!(json["data_dir"], sandbox.data_dir().to_str().unwrap());
    assert!(
        json["at"]
            .as_str()
            .unwrap()
            .starts_with("2026-08-22T09:41:0")
    );
}

/// A store in which everything that can be repaired is broken.
fn broken() -> Sandbox {
    let sandbox = sandbox();
    put(
        &sandbox,
        &active(WHALES),
        conversation(WHALES) + "{\"type\":\"mess",
    );
    put(&sandbox, &active(OTHER), header(OTHER) + &prompt(1));
    let side = "{\"type\":\"partial\",\"version\":1,\"n\":2,\"at\":\"2026-08-22T09:00:00.000Z\"}\n{\"text\":\"as far as\"}\nodd\n";
    put(
        &sandbox,
        &format!("conversations/active/{OTHER}.partial"),
        side,
    );
    // When it was last written to is when its writer died.
    let side = format!("conversations/active/{OTHER}.partial");
    let side = fs::File::options()
        .write(true)
        .open(sandbox.data_dir().join(side));
    let died: SystemTime = "2026-08-22T09:00:01Z".parse::<Timestamp>().unwrap().into();
    side.unwrap().set_modified(died).unwrap();
    put(&sandbox, &active(SKY), conversation(SKY) + &prompt(3));
    put(&sandbox, "config/.app_config.json.01234567.tmp", "x");
    put(&sandbox, "cache/conversations.jsonl", "damaged\n");
    sandbox
}

#[test]
fn repairs_lose_nothing_are_told_and_can_be_undone() {
    let sandbox = broken();
    put(&sandbox, "conversations/active/notes.txt", "mine");
    let before = tree(&sandbox.data_dir());
    let planned = sandbox.run(&["validate", "store", "--fix", "-n"]);
    assert_eq!(planned.code, 1, "{}", planned.stderr);
    assert_eq!(tree(&sandbox.data_dir()), before);
    let refused = sandbox.run(&["validate", "store", "--fix"]);
    assert_eq!(refused.code, 2, "{}", refused.stderr);
    assert_eq!(tree(&sandbox.data_dir()), before);

    let ran = sandbox.run(&["validate", "store", "--fix", "--yes", "--json"]);
    let json: Value = serde_json::from_str(&ran.stdout).unwrap();
    let text = |repair: &Value, name: &str| repair[name].as_str().unwrap().to_owned();
    let fixed: BTreeSet<String> = json["fixed"]
        .as_array()
        .unwrap()
        .iter()
        .map(|repair| format!("{}\t{}", text(repair, "code"), text(repair, "subject")))
        .collect();
    let expected: BTreeSet<String> = planned
        .stdout
        .lines()
        .map(|row| row.rsplit_once('\t').unwrap().0.to_owned())
        .collect();
    assert_eq!(fixed, expected);
    assert_eq!(fixed.len(), 5);
    assert_eq!(json["skipped"], serde_json::json!([]));
    let point = json["point"].as_str().unwrap();
    // What is left is only worth knowing.
    assert_eq!(ran.code, 0, "{}", ran.stdout);
    assert!(
        ran.stderr.contains(&format!("repaired {}", active(WHALES))),
        "{}",
        ran.stderr
    );
    assert!(
        ran.stderr
            .contains(&format!("undo: pachat rollback --rollback-point {point}"))
    );

    // Nothing else has changed, and what was taken out is kept.
    let mut after = tree(&sandbox.data_dir());
    let log = String::from_utf8(after.remove("logs/app.log").unwrap()).unwrap();
    assert_eq!(log.matches("action=\"validate fix\"").count(), 5, "{log}");
    after.retain(|path, _| !path.starts_with("backups/points/") && !path.starts_with("run/"));
    let quarantined: Vec<Vec<u8>> = after
        .extract_if(.., |path, _| path.starts_with("quarantine/"))
        .map(|(_, bytes)| bytes)
        .collect();
    assert_eq!(quarantined.len(), 2);
    assert!(quarantined.contains(&b"{\"type\":\"mess".to_vec()));
    let mut expected = before;
    for gone in [
        &archived(SKY),
        "config/.app_config.json.01234567.tmp",
        "cache/conversations.jsonl",
        &format!("conversations/active/{OTHER}.partial"),
    ] {
        expected.remove(gone).unwrap();
    }
    expected.insert(active(WHALES), conversation(WHALES).into_bytes());
    let folded = after[&active(OTHER)].clone();
    assert!(folded.starts_with(&expected[&active(OTHER)]));
    assert!(
        String::from_utf8(folded.clone())
            .unwrap()
            .contains("as far as")
    );
    expected.insert(active(OTHER), folded);
    assert_eq!(after, expected);
    // A second run has nothing to do.
    let again = ok(sandbox.run(&["validate", "store", "--fix", "--yes", "--json"]));
    let again: Value = serde_json::from_str(&again.stdout).unwrap();
    assert_eq!(
        (&again["fixed"], &again["point"]),
        (&serde_json::json!([]), &Value::Null)
    );
    ok(sandbox.run(&["rollback", "--rollback-point", point, "--yes"]));
    let undone = read(&sandbox, &format!("conversations/active/{OTHER}.partial"));
    assert!(undone.contains("as far as"));
    assert!(!read(&sandbox, &active(OTHER)).contains("as far as"));
}

#[test]
fn what_has_something_of_its_own_is_not_removed() {
    let sandbox = sandbox();
    put(&sandbox, &active(SKY), header(SKY) + &prompt(1));
    assert_eq!(codes(&sandbox), ["store.archived-differs"]);
    let before = tree(&sandbox.data_dir());
    let ran = sandbox.run(&["validate", "store", "--fix", "--yes"]);
    assert_eq!(ran.code, 1);
    assert_eq!(tree(&sandbox.data_dir()), before);
}

#[test]
fn what_is_in_use_is_neither_judged_nor_repaired() {
    let sandbox = broken();
    let run = sandbox.data_dir().join("run");
    fs::create_dir_all(&run).unwrap();
    let lock = run.join(format!("turn-{WHALES}.lock"));
    let held = RealDisk.open(&lock, Open::AppendOrCreate).unwrap();
    assert!(held.try_lock(LockMode::Exclusive).unwrap());
    let (codes, _) = found(&sandbox, &[WHALES]);
    assert_eq!(codes, ["store.busy"]);
    drop(held);

    // It is taken between the look and the repair: by somebody who has the other one.
    let held = RealDisk
        .open(
            &run.join(format!("turn-{OTHER}.lock")),
            Open::AppendOrCreate,
        )
        .unwrap();
    assert!(held.try_lock(LockMode::Exclusive).unwrap());
    let ran = sandbox.run(&["validate", "store", "--fix", "--yes"]);
    assert!(ran.stdout.contains("store.busy"), "{}", ran.stdout);
    assert!(read(&sandbox, &format!("conversations/active/{OTHER}.partial")).contains("as far as"));
    assert_eq!(read(&sandbox, &active(WHALES)), conversation(WHALES));
}

#[cfg(unix)]
#[test]
fn a_conversation_is_never_repaired_as_another() {
    let sandbox = sandbox();
    // A copy of a file, with a cut line, beside a side file of what it was copied from.
    put(&sandbox, &active(OTHER), conversation(WHALES) + "{\"ty");
    put(
        &sandbox,
        &format!("conversations/active/{OTHER}.partial"),
        "{\"type\":\"partial\",\"version\":1,\"n\":3,\"at\":\"2026-08-22T09:00:00.000Z\"}\n{\"text\":\"x\"}\n",
    );
    let before = tree(&sandbox.data_dir());
    let ran = sandbox.run(&["validate", "store", "--fix", "--yes"]);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(ran.stdout.contains("store.id-twice"), "{}", ran.stdout);
    assert_eq!(tree(&sandbox.data_dir()), before);
}

#[test]
fn it_looks_where_other_commands_do_not_start() {
    let sandbox = sandbox();
    put(&sandbox, "config/app_config.json", "{broken");
    assert_eq!(sandbox.run(&["list"]).code, 78);
    ok(sandbox.run(&["validate", "store"]));
    let mut odd = Sandbox::new();
    odd.set("PACHAT_LOG_LEVEL", "loud");
    assert_eq!(odd.run(&["list"]).code, 78);
    ok(odd.run(&["validate", "store"]));
    put(&sandbox, "VERSION", "7\n");
    assert_eq!(codes(&sandbox), ["store.version-newer"]);
    let before = tree(&sandbox.data_dir());
    let ran = sandbox.run(&["validate", "store", "--fix", "--yes"]);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert_eq!(tree(&sandbox.data_dir()), before);
}

#[test]
fn ctrl_c_ends_it() {
    let sandbox = sandbox();
    sandbox.signals.raise_interrupt();
    let ran = sandbox.run(&["validate", "store"]);
    assert_eq!((ran.code, &*ran.stdout), (130, ""));
}

fn backups(sandbox: &Sandbox) -> Vec<String> {
    found(sandbox, &["backups"]).0
}

fn deeply(sandbox: &Sandbox) -> Vec<String> {
    found(sandbox, &["backups", "--deep"]).0
}

/// The only backup, below the data directory, without its ending.
fn stem(sandbox: &Sandbox) -> String {
    let names = tree(&sandbox.data_dir().join("backups"));
    let mut stems = names.keys().filter_map(|name| name.strip_suffix(".json"));
    format!("backups/{}", stems.next().unwrap())
}

#[test]
fn backups_are_compared_with_their_cards_and_read_if_asked() {
    let sandbox = sandbox();
    assert_eq!(backups(&sandbox), ["backups.none"]);
    ok(sandbox.run(&["backup"]));
    assert_eq!(backups(&sandbox), [""; 0]);
    let (codes, ran) = found(&sandbox, &["backups", "--deep"]);
    assert_eq!(codes, [""; 0]);
    let json: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(json["checked"]["backups"], 1);
    assert_ne!(json["checked"]["backup_bytes"], 0);

    let stem = stem(&sandbox);
    let (archive, card) = (format!("{stem}.tar.gz"), format!("{stem}.json"));
    let (sound, written) = (
        fs::read(sandbox.data_dir().join(&archive)).unwrap(),
        read(&sandbox, &card),
    );
    let mut flipped = sound.clone();
    flipped[sound.len() / 2] ^= 1;
    for (path, content, shallow, deep) in [
        (&archive, flipped, &[][..], &["backups.damaged"][..]),
        (
            &archive,
            sound[..sound.len() - 1].to_vec(),
            &["backups.size", "backups.none"],
            &["backups.size", "backups.damaged", "backups.none"],
        ),
        (
            &card,
            b"{".to_vec(),
            &["backups.card-unreadable", "backups.none"],
            &["backups.card-unreadable", "backups.none"],
        ),
        (
            &card,
            written
                .replace("\"version\": 1", "\"version\": 2")
                .into_bytes(),
            &["backups.card-newer", "backups.none"],
            &["backups.card-newer", "backups.none"],
        ),
        (
            &card,
            written.replace("verified_at", "verified_by").into_bytes(),
            &["backups.unverified", "backups.none"],
            &["backups.unverified", "backups.none"],
        ),
        (
            &card,
            written
                .lines()
                .map(|line| {
                    if line.contains("\"sha256\"") {
                        format!("\"sha256\": \"{}\",\n", Sha256::of(b""))
                    } else {
                        format!("{line}\n")
                    }
                })
                .collect::<String>()
                .into_bytes(),
            &[],
            &["backups.digest"],
        ),
    ] {
        put(&sandbox, path, content);
        assert_eq!(backups(&sandbox), shallow, "{path}");
        assert_eq!(deeply(&sandbox), deep, "{path}");
        put(&sandbox, &archive, &sound);
        put(&sandbox, &card, &written);
    }
    put(&sandbox, "backups/notes", "x");
    put(&sandbox, "backups/.backup_20260801_000000.tar.gz.tmp", "x");
    put(&sandbox, "backups/points/.tmp-01234567/point.json", "{}");
    let mut codes = backups(&sandbox);
    codes.sort();
    assert_eq!(
        codes,
        ["backups.foreign", "backups.temporary", "backups.temporary"]
    );
    let ran = ok(sandbox.run(&["validate", "backups", "--fix", "--yes"]));
    assert!(!ran.stdout.contains("backups.temporary"), "{}", ran.stdout);
    fs::remove_file(sandbox.data_dir().join(&card)).unwrap();
    fs::rename(
        sandbox.data_dir().join("backups/notes"),
        sandbox
            .data_dir()
            .join("backups/backup_20260801_000000.json"),
    )
    .unwrap();
    assert_eq!(
        backups(&sandbox),
        ["backups.card-alone", "backups.card-missing", "backups.none"]
    );
}

#[test]
fn of_an_encrypted_backup_only_the_outside_is_compared() {
    let sandbox = sandbox();
    let recipient = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";
    ok(sandbox.run(&["backup", "--encrypted", "--recipient", recipient]));
    assert_eq!(deeply(&sandbox), ["backups.sealed"]);
    let archive = format!("{}.tar.gz.age", stem(&sandbox));
    let mut bytes = fs::read(sandbox.data_dir().join(&archive)).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    put(&sandbox, &archive, bytes);
    assert_eq!(deeply(&sandbox), ["backups.digest"]);
}

#[test]
fn an_old_backup_is_told_of() {
    let sandbox = sandbox();
    ok(sandbox.run(&["backup"]));
    pachat::platform::Clock::sleep(
        sandbox.clock.as_ref(),
        std::time::Duration::from_secs(400 * 24 * 3600),
    );
    assert_eq!(backups(&sandbox), ["backups.old"]);
}

#[test]
fn rollback_points_have_their_files() {
    let sandbox = sandbox();
    ok(sandbox.run(&["backup"]));
    let make = || {
        let ran = ok(sandbox.run(&["rollback", "--create-point"]));
        format!("backups/points/{}", ran.stdout.trim())
    };
    let point = make();
    assert_eq!(backups(&sandbox), [""; 0]);
    let file = sandbox
        .data_dir()
        .join(&point)
        .join("files")
        .join(active(WHALES));
    fs::remove_file(&file).unwrap();
    assert_eq!(backups(&sandbox), ["backups.point-file-missing"]);
    fs::write(&file, "short").unwrap();
    assert_eq!(backups(&sandbox), ["backups.point-file-short"]);
    put(&sandbox, &format!("{point}/files.jsonl"), "odd\n");
    assert_eq!(backups(&sandbox), ["backups.point-unreadable"]);
    put(&sandbox, &format!("{point}/point.json"), "odd\n");
    assert_eq!(backups(&sandbox), ["backups.point-unreadable"]);
}

#[test]
fn every_code_is_in_the_table_and_every_row_of_it_is_used() {
    fn sources(directory: &Path, found: &mut String) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                sources(&path, found);
            } else if !path.ends_with("validate/mod.rs") {
                found.push_str(&fs::read_to_string(&path).unwrap());
            }
        }
    }
    let mut text = String::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for below in ["ops/validate", "settings", "commands/validate"] {
        sources(&root.join(below), &mut text);
    }
    let table: BTreeSet<&str> = CODES.iter().map(|row| row.0).collect();
    assert_eq!(table.len(), CODES.len(), "a code is there twice");
    for (code, _, _, meaning) in CODES {
        assert!(
            text.contains(&format!("\"{code}\"")),
            "nothing finds {code}"
        );
        assert!(!meaning.is_empty() && !meaning.ends_with('.'), "{code}");
    }
    for area in ["store", "backups", "platform", "security", "config"] {
        for part in text.split(&format!("\"{area}.")).skip(1) {
            let name = part.split('"').next().unwrap();
            let code = format!("{area}.{name}");
            let is_code = !name.is_empty()
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
            // Names of files are no codes.
            if is_code && name != "lock" {
                assert!(table.contains(&*code), "{code} is not in the table");
            }
        }
    }
}
