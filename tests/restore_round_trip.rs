//! Whatever is in a store, a backup of it restores it byte for byte: in an empty home, over
//! anything that was done meanwhile, and back again by a rollback.
//!
//! The stores are made of a seed each, which a failure names. There are 64 of them;
//! `PACHAT_TEST_STORES=1000` makes more and larger ones.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may panic, and looks at the machine itself"
)]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::Path;

use common::host::{Ran, Sandbox, TestRandom};
use flate2::Compression;
use flate2::write::GzEncoder;
use pachat::model::backup::{BackupType, Part, Sha256};
use pachat::platform::Random as _;

/// How many stores are made where nothing else is said.
const STORES: u64 = 64;

type Files = BTreeMap<String, Vec<u8>>;

/// Chance, the same for the same seed.
struct Dice(TestRandom);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0.next_u32().unwrap() as usize % end
    }

    fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.0.fill(&mut bytes).unwrap();
        bytes
    }

    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }

    fn text(&mut self, words: usize) -> String {
        const WORDS: [&str; 8] = [
            "hello",
            "日本語の題名",
            "Ünïcödé",
            "\\\"quoted\\\"",
            "🙂",
            "a\\nb",
            "\\u0000",
            "x",
        ];
        let words: Vec<&str> = (0..words).map(|_| self.pick(&WORDS)).collect();
        words.join(" ")
    }

    fn id(&mut self) -> String {
        let day = 1 + self.below(28);
        let second = self.below(60);
        let digits = b"0123456789abcdefghjkmnpqrstvwxyz";
        let tail: String = (0..6).map(|_| char::from(digits[self.below(32)])).collect();
        format!("202611{day:02}-0900{second:02}-{tail}")
    }
}

fn packed(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

fn conversation(dice: &mut Dice, id: &str, large: usize) -> Vec<u8> {
    let title = dice.text(3);
    let parent = if dice.one_in(4) {
        let parent = dice.id();
        format!(r#","parent":{{"id":"{parent}","message":3}}"#)
    } else {
        String::new()
    };
    let mut text = format!(
        r#"{{"type":"conversation","version":1,"id":"{id}","created_at":"2026-11-01T09:00:00.000Z","title":"{title}"{parent}}}"#
    );
    text.push('\n');
    for n in 1..=dice.below(6) {
        let said = dice.text(4);
        text.push_str(&format!(
            r#"{{"type":"message","n":{n},"role":"user","content":"{said}","at":"2026-11-01T09:00:00.000Z"}}"#
        ));
        text.push('\n');
        if dice.one_in(10) {
            text.push_str("a line that is damaged\n");
        }
    }
    while text.len() < large {
        let said = dice.text(200);
        text.push_str(&format!(r#"{{"type":"note","text":"{said}"}}"#));
        text.push('\n');
    }
    text.into_bytes()
}

fn add_conversation(dice: &mut Dice, files: &mut Files, large: usize) {
    let id = dice.id();
    let mut bytes = match dice.below(20) {
        0 => Vec::new(),
        1 => b"no header\nat all\n".to_vec(),
        _ => conversation(dice, &id, large),
    };
    if dice.one_in(3) {
        let bytes = if dice.one_in(8) {
            dice.bytes(40)
        } else {
            packed(&bytes)
        };
        files.insert(format!("conversations/archived/{id}.jsonl.gz"), bytes);
        return;
    }
    if dice.one_in(5) {
        bytes.extend_from_slice(b"{\"type\":\"mess");
        let count = dice.below(9);
        let mut torn = dice.bytes(count);
        torn.retain(|byte| *byte != b'\n');
        bytes.extend(torn);
    }
    files.insert(format!("conversations/active/{id}.jsonl"), bytes);
    if dice.one_in(5) {
        let text = dice.text(2);
        let side = format!(
            "{{\"type\":\"partial\",\"version\":1,\"n\":9,\"at\":\"2026-11-01T09:00:00.000Z\"}}\n{{\"text\":\"{text}\"}}\n"
        );
        files.insert(
            format!("conversations/active/{id}.partial"),
            side.into_bytes(),
        );
    }
}

/// A store; now and then an empty one, and now and then one with a large conversation.
fn store(dice: &mut Dice, large: usize) -> Files {
    let mut files = Files::new();
    if dice.one_in(12) {
        return files;
    }
    for _ in 0..dice.below(12) {
        add_conversation(dice, &mut files, 0);
    }
    if dice.one_in(16) {
        add_conversation(dice, &mut files, large);
    }
    for _ in 0..dice.below(4) {
        let len = [0, 1, 1, 700][dice.below(4)];
        let bytes = dice.bytes(len);
        let end = dice.pick(&["", ".txt", ".png"]);
        files.insert(format!("attachments/{}{end}", Sha256::of(&bytes)), bytes);
    }
    if dice.one_in(2) {
        files.insert("config/app_config.json".into(), b"{}\n".to_vec());
    }
    if dice.one_in(3) {
        files.insert("config/api_keys.enc".into(), dice.bytes(99));
    }
    if dice.one_in(4) {
        let torn = format!("quarantine/{}.120.torn", dice.id());
        files.insert(torn, dice.bytes(17));
        files.insert(
            "logs/app.log.20261101-000000.gz".into(),
            packed(b"old lines\n"),
        );
    }
    files
}

/// Something happens to a store.
fn meddle(dice: &mut Dice, files: &mut Files) {
    let names: Vec<String> = files.keys().cloned().collect();
    for name in names {
        match dice.below(4) {
            0 => drop(files.remove(&name)),
            1 if name.starts_with("conversations/active/") => {
                let line = b"{\"type\":\"rewind\",\"to\":0}\n";
                files.get_mut(&name).unwrap().extend_from_slice(line);
            }
            _ => {}
        }
    }
    add_conversation(dice, files, 0);
}

fn write(sandbox: &Sandbox, files: &Files) {
    for part in Part::ALL {
        let _ = fs::remove_dir_all(sandbox.data_dir().join(part.path()));
    }
    for (name, bytes) in files {
        let path = sandbox.data_dir().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

/// What is there of these parts, the log aside, which grows with each run.
fn read(sandbox: &Sandbox, parts: &[Part]) -> Files {
    let mut files = Files::new();
    for part in parts {
        let directory = sandbox.data_dir().join(part.path());
        for entry in fs::read_dir(directory).into_iter().flatten() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            if name != "app.log" {
                let bytes = fs::read(entry.path()).unwrap();
                files.insert(format!("{}/{name}", part.path()), bytes);
            }
        }
    }
    files
}

/// What a backup takes of these files: no half lines of files that grow.
fn taken(files: &Files, parts: &[Part]) -> Files {
    let mut taken = Files::new();
    for (name, bytes) in files {
        let (directory, file) = name.rsplit_once('/').unwrap();
        let part = Part::of(directory).unwrap();
        if !parts.contains(&part) {
            continue;
        }
        let mut bytes = bytes.clone();
        if part.grows(file) {
            let end = bytes.iter().rposition(|byte| *byte == b'\n');
            bytes.truncate(end.map_or(0, |end| end + 1));
        }
        taken.insert(name.clone(), bytes);
    }
    taken
}

fn run(sandbox: &Sandbox, seed: u64, args: &[&str]) -> Ran {
    let ran = sandbox.run(args);
    assert_eq!(ran.code, 0, "seed {seed}: {args:?}: {}", ran.stderr);
    ran
}

fn round_trip(seed: u64, large: usize) {
    let mut dice = Dice(TestRandom::new(seed.wrapping_mul(0x5851_f42d_4c95_7f2d)));
    let files = store(&mut dice, large);
    let kind = [BackupType::Data, BackupType::Full, BackupType::Config][dice.below(3)];
    let parts = kind.parts();
    let home = Sandbox::new();
    fs::create_dir_all(home.data_dir()).unwrap();
    fs::write(home.data_dir().join("VERSION"), "1\n").unwrap();
    write(&home, &files);

    let mut backup = vec!["backup", "--type", kind.as_str(), "--quiet"];
    let mut opens = vec!["--yes"];
    // `keygen` changes the settings, so it does it elsewhere.
    let elsewhere = Sandbox::new();
    let key = elsewhere.path().join("key.txt");
    let key = key.to_str().unwrap();
    let recipient;
    if dice.one_in(4) {
        run(&elsewhere, seed, &["backup", "keygen", "-o", "key.txt"]);
        let text = fs::read_to_string(key).unwrap();
        let found = text
            .split_whitespace()
            .find(|word| word.starts_with("age1"));
        recipient = found.unwrap().to_owned();
        backup.extend(["--encrypted", "--recipient", &recipient]);
        opens.extend(["--identity", key]);
    }
    let expected = taken(&files, parts);
    let ran = home.run(&backup);
    if expected.is_empty() && ran.code == 66 {
        // Nothing is no backup.
        return;
    }
    assert_eq!(ran.code, 0, "seed {seed}: {}", ran.stderr);
    let file = ran.stdout.trim_end();
    assert!(Path::new(file).is_file(), "seed {seed}");

    let new = Sandbox::new();
    let restore: Vec<&str> = [&["restore", file][..], &opens].concat();
    run(&new, seed, &restore);
    assert_eq!(read(&new, parts), expected, "seed {seed}: a new home");

    // A line that is cut is no difference, so it stays where nothing else is.
    let mut changed = taken(&files, &Part::ALL);
    meddle(&mut dice, &mut changed);
    write(&home, &changed);
    let before = read(&home, &Part::ALL);
    let ran = run(&home, seed, &restore);
    assert_eq!(read(&home, parts), expected, "seed {seed}: over changes");
    if let Some((_, point)) = ran.stderr.split_once("--rollback-point ") {
        let point = point.lines().next().unwrap();
        let back = ["rollback", "--rollback-point", point, "--yes"];
        run(&home, seed, &back);
        let now = read(&home, &Part::ALL);
        assert_eq!(
            taken(&now, &Part::ALL),
            taken(&before, &Part::ALL),
            "seed {seed}: back"
        );
    }
}

#[test]
fn a_backup_restores_what_was_backed_up() {
    let stores = std::env::var("PACHAT_TEST_STORES")
        .ok()
        .map_or(STORES, |text| text.parse().unwrap());
    let large = if stores > STORES { 10 << 20 } else { 2 << 20 };
    for seed in 0..stores {
        round_trip(seed, large);
    }
}
