//! Manifests that are wrong, and archives that are not what theirs says.

use super::build::{ACTIVE, Backup, SETTINGS, TORN, directory, file, gz, sha256, tar};
use super::cases::{Case, hostile};

const MANIFEST: &str = "MANIFEST.json";

/// An archive that consists of this manifest.
fn alone(json: impl AsRef<[u8]>) -> Vec<u8> {
    gz(&tar(&[file(MANIFEST, json.as_ref())]))
}

fn bad(about: &str, archive: Vec<u8>) -> Case {
    hostile(format!("manifest: {about}"), archive, "manifest", MANIFEST)
}

fn newer(about: &str, archive: Vec<u8>) -> Case {
    hostile(format!("manifest: {about}"), archive, "newer", MANIFEST)
}

pub fn cases() -> Vec<Case> {
    let mut cases = places();
    cases.extend(texts());
    cases.extend(fields());
    cases.extend(large());
    cases.extend(differences());
    cases
}

fn places() -> Vec<Case> {
    let usual = Backup::usual();
    let mut last = usual.rest();
    let first_file = usual.files[0].0.clone();
    last.push(usual.first());
    let mut after_directory = usual.entries();
    after_directory.insert(0, directory("config/"));
    vec![
        hostile(
            "manifest: none",
            gz(&tar(&usual.rest())),
            "manifest",
            &first_file,
        ),
        hostile("manifest: last", gz(&tar(&last)), "manifest", first_file),
        hostile(
            "manifest: after a directory",
            gz(&tar(&after_directory)),
            "manifest",
            "config/",
        ),
        bad("twice", usual.then(usual.first())),
        bad("a directory", gz(&tar(&[directory(MANIFEST)]))),
        hostile(
            "manifest: in other case",
            gz(&tar(&[file("manifest.json", usual.json().as_bytes())])),
            "manifest",
            "manifest.json",
        ),
    ]
}

fn texts() -> Vec<Case> {
    let json = Backup::usual().json();
    let twice = json.replacen('{', r#"{"version":2,"#, 1);
    let inner = json.replacen(r#""path":"#, r#""path":"config/x","path":"#, 1);
    let escaped = json.replacen('{', r#"{"v\u0065rsion":2,"#, 1);
    let deep = format!(
        r#"{{"x":{}{},{}"#,
        "[".repeat(10_000),
        "]".repeat(10_000),
        &json[1..]
    );
    let not_utf8 = [b"{\"x\":\"\xff\",", &json.as_bytes()[1..]].concat();
    vec![
        bad("empty", alone("")),
        bad("not JSON", alone("format: pachat-backup\n")),
        bad("a list", alone("[]")),
        bad("cut off", alone(&json[..json.len() - 1])),
        bad("something after it", alone(format!("{json} {{}}"))),
        bad("byte order mark", alone(format!("\u{feff}{json}"))),
        bad("not UTF-8", alone(not_utf8)),
        bad("key twice", alone(twice)),
        bad("key twice, once escaped", alone(escaped)),
        bad("key twice in a file", alone(inner)),
        bad("deeply nested", alone(deep)),
    ]
}

fn fields() -> Vec<Case> {
    let with =
        |pointer: &str, value: serde_json::Value| Backup::usual().field(pointer, value).archive();
    let without = |name: &str| {
        let mut backup = Backup::usual();
        backup.manifest.as_object_mut().unwrap().remove(name);
        backup.archive()
    };
    let digest = sha256(b"{}\n");
    vec![
        newer("newer version", with("/version", 2.into())),
        bad("version 0", with("/version", 0.into())),
        bad("other format", with("/format", "zip".into())),
        bad("unknown type", with("/type", "everything".into())),
        newer("newer store", with("/store_format", 2.into())),
        bad("time that is none", with("/created_at", "yesterday".into())),
        bad("sum too small", with("/total_bytes", 1.into())),
        bad("sum too large", with("/total_bytes", (1_u64 << 60).into())),
        bad("no list of files", with("/files", serde_json::Value::Null)),
        bad(
            "digest in capitals",
            with("/files/1/sha256", digest.to_uppercase().into()),
        ),
        bad("short digest", with("/files/1/sha256", digest[..63].into())),
        bad("path that is a number", with("/files/1/path", 7.into())),
        bad("without a format", without("format")),
        bad("without a version", without("version")),
        bad("without files", without("files")),
        bad("without a sum", without("total_bytes")),
    ]
}

fn large() -> Vec<Case> {
    // Digits that do not repeat, so that it is no bomb.
    let mut random = 1_u64;
    let mut noise = String::with_capacity(17 << 20);
    while noise.len() < 17 << 20 {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        noise.push_str(&format!("{random:016x}"));
    }
    let mut backup = Backup::usual();
    backup.manifest["note"] = noise.into();
    let line = |number: usize| {
        serde_json::json!({
            "path": format!("quarantine/{number}"), "size": 0, "sha256": sha256(b"")
        })
    };
    let many: Vec<_> = (0..=100_000).map(line).collect();
    let many = Backup::of(Vec::new()).field("/files", many);
    vec![
        bad("of 17 MiB", backup.archive()),
        bad("of 100,001 files", alone(many.json())),
    ]
}

fn differences() -> Vec<Case> {
    let usual = Backup::usual();
    let without = |name: &str| {
        let mut entries = usual.entries();
        let at = usual.files.iter().position(|(known, _)| known == name);
        entries.remove(1 + at.unwrap());
        gz(&tar(&entries))
    };
    let changed = |name: &str, data: &[u8]| {
        let mut other = usual.clone();
        let file = other.files.iter_mut().find(|(known, _)| known == name);
        file.unwrap().1 = data.to_vec();
        other.archive()
    };
    let other = "conversations/active/20260822-094107-def456.jsonl";
    vec![
        hostile(
            "missing: a conversation",
            without(ACTIVE),
            "missing",
            ACTIVE,
        ),
        hostile("missing: the last file", without(TORN), "missing", TORN),
        hostile(
            "missing: an empty file",
            without("logs/app.log"),
            "missing",
            "logs/app.log",
        ),
        hostile(
            "unlisted: a conversation",
            usual.then(file(other, b"{}\n")),
            "unlisted",
            other,
        ),
        hostile(
            "unlisted: an empty file",
            usual.then(file("logs/app.log.1.gz", b"")),
            "unlisted",
            "logs/app.log.1.gz",
        ),
        hostile(
            "digest: settings",
            changed(SETTINGS, b"[]\n"),
            "digest",
            SETTINGS,
        ),
        hostile(
            "digest: of other content",
            usual
                .clone()
                .field("/files/1/sha256", sha256(b"other"))
                .archive(),
            "digest",
            SETTINGS,
        ),
        hostile(
            "digest: of an empty file",
            usual
                .clone()
                .field("/files/4/sha256", sha256(b"other"))
                .archive(),
            "digest",
            "logs/app.log",
        ),
    ]
}
