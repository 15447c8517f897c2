//! Names that lead out of the store, or to places in it that no backup holds.

use super::build::{ACTIVE, Backup, SETTINGS, directory, file, header, long_name, pax, record};
use super::build::{NAME, entry, gz, tar, with};
use super::cases::{Case, hostile};

const NAMES: &[(&str, &str, &str)] = &[
    ("absolute", "/etc/passwd", "path"),
    ("absolute on a share", "//server/share/x", "path"),
    ("up", "../evil", "path"),
    (
        "up from below",
        "conversations/active/../../../evil",
        "path",
    ),
    ("up at the end", "conversations/active/..", "path"),
    ("here", "./config/app_config.json", "path"),
    ("here within", "config/./app_config.json", "path"),
    ("empty component", "config//app_config.json", "path"),
    ("slash at the end", "config/app_config.json/", "path"),
    ("backslash", "config\\app_config.json", "path"),
    ("up with backslashes", "..\\..\\evil", "path"),
    ("drive", "C:/Windows/evil", "path"),
    ("drive with backslash", "C:\\Windows\\evil", "path"),
    ("share with backslashes", "\\\\server\\share\\x", "path"),
    ("stream", "config/app_config.json:hidden", "path"),
    ("line feed", "logs/app.log\nx", "path"),
    ("escape sequence", "logs/app\x1b[2J.log", "path"),
    ("delete", "logs/app.log\x7f", "path"),
    ("control of eight bits", "logs/app\u{9b}2J.log", "path"),
    ("right to left", "logs/app\u{202e}gol.", "path"),
    ("isolate", "logs/app\u{2066}.log", "path"),
    ("zero width", "logs/app\u{200b}.log", "path"),
    ("byte order mark", "\u{feff}logs/app.log", "path"),
    ("line separator", "logs/app\u{2028}.log", "path"),
    ("device", "logs/CON", "path"),
    ("device with extension", "quarantine/nul.txt", "path"),
    ("device with number", "quarantine/COM1", "path"),
    ("device with superscript", "quarantine/LPT\u{b9}", "path"),
    ("dot at the end", "logs/app.log.", "path"),
    ("dot at the end of a directory", "logs./app.log", "path"),
    ("space at the end", "logs/app.log ", "path"),
    ("deep", "a/b/c/d/e/f/g/h/i", "path"),
    ("decomposed", "quarantine/e\u{301}.torn", "place"),
    ("composed", "quarantine/\u{e9}.torn", "place"),
    ("full-width", "quarantine/\u{ff41}.torn", "place"),
    ("top of its own", "evil", "place"),
    ("other top directory", "home/user/.bashrc", "place"),
    ("cache", "cache/index.json", "place"),
    ("lock", "run/store.lock", "place"),
    ("version", "VERSION", "place"),
    ("backup", "backups/backup_20260101_000000.tar.gz", "place"),
    (
        "rollback point",
        "backups/points/point_20260101_000000/point.json",
        "place",
    ),
    (
        "trash",
        "conversations/trash/20260822-094107-abc123.jsonl",
        "place",
    ),
    ("key without a seal", "config/master.key", "place"),
    ("environment", "config/.env", "place"),
    ("hidden", "quarantine/.hidden", "place"),
    (
        "temporary file",
        "conversations/active/.20260822-094107-abc123.jsonl.1.x.tmp",
        "place",
    ),
    (
        "conversation with a bad id",
        "conversations/active/notes.jsonl",
        "place",
    ),
    (
        "conversation with a long id",
        "conversations/active/20260822-094107-abc1234.jsonl",
        "place",
    ),
    (
        "conversation elsewhere",
        "conversations/20260822-094107-abc123.jsonl",
        "place",
    ),
    (
        "below a conversation",
        "conversations/active/20260822-094107-abc123.jsonl/x",
        "place",
    ),
    ("in place of a directory", "conversations/active", "place"),
    ("in place of the parent", "conversations", "place"),
    (
        "other case of a directory",
        "Config/app_config.json",
        "place",
    ),
    ("other case of the manifest", "manifest.json", "place"),
    (
        "attachment without a digest",
        "attachments/picture.png",
        "place",
    ),
    ("a space within", "logs/app.log copy", "place"),
    (
        "longer than a header holds",
        "quarantine/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        "place",
    ),
];

/// An archive with a file of this name that its manifest does not know.
fn unlisted(name: &[u8]) -> Vec<u8> {
    let file = match name.len() {
        ..=100 => file(name, b"evil\n"),
        _ => [long_name(name), file(name, b"evil\n")].concat(),
    };
    Backup::usual().then(file)
}

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for &(about, name, rule) in NAMES {
        cases.push(hostile(
            format!("path: {about}, unlisted"),
            unlisted(name.as_bytes()),
            rule,
            name,
        ));
        let listed = Backup::and(name, b"evil\n").archive();
        cases.push(hostile(format!("path: {about}"), listed, rule, name));
    }
    let long = "x/".repeat(513);
    let component = format!("quarantine/{}", "a".repeat(256));
    let gnu = |name: &[u8]| Backup::usual().then([long_name(name), file("x", b"")].concat());
    let posix = |name: &[u8]| {
        let extension = pax(&record("path", name));
        Backup::usual().then([extension, file("config/app_config.json", b"")].concat())
    };
    for (about, name) in [
        ("long component", component.as_bytes()),
        ("long", long.as_bytes()),
        ("NUL within", b"config/app_config.json\0.exe"),
        ("not UTF-8", b"logs/app.log.\xff"),
        ("slash of two bytes", b"..\xc0\xafevil"),
        ("empty", b""),
        ("up", b"../evil"),
    ] {
        // A very long name is not shown whole.
        let shown = &name[..name.len().min(200)];
        let gnu = hostile(format!("GNU path: {about}"), gnu(name), "path", shown);
        let posix = hostile(format!("PAX path: {about}"), posix(name), "path", shown);
        cases.extend([gnu, posix]);
    }
    cases.extend(headers());
    cases.extend(twice());
    cases
}

/// Names in the fields of a header.
fn headers() -> Vec<Case> {
    let usual = Backup::usual;
    let hidden = with(
        header(SETTINGS, 0, b'0'),
        NAME + SETTINGS.len() + 1,
        b"evil",
    );
    let prefix = with(header("evil", 0, b'0'), super::build::PREFIX, b"..");
    let json = Backup::and("quarantine/NUL_HERE", b"")
        .json()
        .replace("_HERE", "\\u0000x");
    vec![
        hostile("path: behind a NUL", usual().then(hidden), "path", SETTINGS),
        hostile(
            "path: up in the prefix",
            usual().then(prefix),
            "path",
            "../evil",
        ),
        hostile(
            "path: empty in the header",
            usual().then(file("", b"")),
            "path",
            "",
        ),
        hostile(
            "path: not UTF-8 in the header",
            usual().then(file(b"logs/app.log.\xff", b"")),
            "path",
            b"logs/app.log.\xff",
        ),
        hostile(
            "path: NUL in the manifest",
            gz(&tar(&[file("MANIFEST.json", json.as_bytes())])),
            "path",
            "quarantine/NUL\0x",
        ),
        hostile(
            "path: `tar czf FILE .`",
            gz(&tar(&[directory("./")])),
            "path",
            "./",
        ),
        hostile(
            "place: settings in a backup of data",
            usual().field("/type", "data").archive(),
            "place",
            SETTINGS,
        ),
        hostile(
            "place: conversation in a backup of settings",
            Backup::of(vec![(ACTIVE.into(), b"{}\n".to_vec())])
                .field("/type", "config")
                .archive(),
            "place",
            ACTIVE,
        ),
    ]
}

/// Entries that are there twice.
fn twice() -> Vec<Case> {
    let settings = file(SETTINGS, b"{}\n");
    let two = Backup::and("quarantine/A.torn", b"1");
    let mut same = two.files.clone();
    same.push(("quarantine/a.torn".into(), b"2".to_vec()));
    let mut again = Backup::usual();
    again.files.push((SETTINGS.into(), b"{}\n".to_vec()));
    let again = Backup::of(again.files);
    let both =
        |one: &str, two: &str| Backup::usual().then([directory(one), directory(two)].concat());
    let other = entry(header("quarantine/a.TORN", 1, b'0'), b"1");
    vec![
        hostile(
            "duplicate: file",
            Backup::usual().then(settings),
            "duplicate",
            SETTINGS,
        ),
        hostile(
            "duplicate: listed twice",
            again.archive(),
            "duplicate",
            SETTINGS,
        ),
        hostile(
            "duplicate: but for case",
            Backup::of(same).archive(),
            "duplicate",
            "quarantine/a.torn",
        ),
        hostile(
            "duplicate: directory",
            both("logs/", "logs/"),
            "duplicate",
            "logs/",
        ),
        hostile(
            "duplicate: directory without slash",
            both("logs/", "logs"),
            "duplicate",
            "logs",
        ),
        hostile(
            "unlisted: a listed name in other case",
            two.then(other),
            "unlisted",
            "quarantine/a.TORN",
        ),
    ]
}
