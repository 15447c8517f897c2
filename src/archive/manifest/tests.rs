use super::*;

const DIGEST: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn entry(part: Part, name: &str, size: u64) -> Entry {
    Entry {
        path: ArchivePath::new(part, name).unwrap(),
        size,
        sha256: Sha256::of(name.as_bytes()),
        damaged: false,
    }
}

fn example() -> Manifest {
    let mut settings = entry(Part::Config, "app_config.json", 12);
    settings.damaged = true;
    Manifest {
        kind: BackupType::Full,
        created_at: "2026-08-22T09:41:07.123Z".parse().unwrap(),
        store_format: 1,
        tags: vec!["weekly".into(), "\"quoted\"\n".into()],
        note: Some("before the move".into()),
        files: vec![
            settings,
            entry(Part::Active, "20260822-094107-abc123.jsonl", 70_000),
            entry(Part::Logs, "app.log", 0),
        ],
    }
}

/// A manifest of one file, with some text replaced.
fn changed(from: &str, to: &str) -> Vec<u8> {
    let text = format!(
        r#"{{"format":"pachat-backup","version":1,"type":"full","created_at":"2026-08-22T09:41:07Z","store_format":1,"files":[{{"path":"logs/app.log","size":7,"sha256":"{DIGEST}"}}],"total_bytes":7}}"#
    );
    assert!(text.contains(from), "{from}");
    text.replacen(from, to, 1).into_bytes()
}

fn refusal(json: &[u8]) -> Refusal {
    Manifest::parse(json, false).unwrap_err()
}

#[test]
fn what_is_written_is_read_back() {
    let full = example();
    assert_eq!(Manifest::parse(&full.to_json(), false), Ok(full.clone()));
    let empty = Manifest {
        tags: Vec::new(),
        note: None,
        files: Vec::new(),
        ..full
    };
    assert_eq!(Manifest::parse(&empty.to_json(), false), Ok(empty));
}

#[test]
fn every_file_is_on_a_line_of_its_own() {
    let text = String::from_utf8(example().to_json()).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines[0],
        r#"{"format":"pachat-backup","version":1,"type":"full","created_at":"2026-08-22T09:41:07.123Z","store_format":1,"tags":["weekly","\"quoted\"\n"],"note":"before the move","files":["#
    );
    let digest = Sha256::of(b"app_config.json");
    assert_eq!(
        lines[1],
        format!(
            r#"{{"path":"config/app_config.json","size":12,"sha256":"{digest}","damaged":true}},"#
        )
    );
    assert_eq!(lines.len(), 5);
    assert_eq!(lines[4], r#"],"total_bytes":70012}"#);
    assert!(text.ends_with("}\n"));
}

#[test]
fn unknown_fields_are_ignored() {
    let json = changed("\"size\":7", "\"mode\":{\"x\":[1.5,null]},\"size\":7");
    assert_eq!(Manifest::parse(&json, false).unwrap().files[0].size, 7);
}

#[test]
fn another_version_or_format_is_named() {
    for (from, to, words) in [
        (
            "\"version\":1,\"type\":\"full\"",
            "\"version\":2,\"type\":{}",
            "made by a newer pachat: backup format 2",
        ),
        ("\"version\":1", "\"version\":0", "no backup format 0"),
        (
            "\"store_format\":1",
            "\"store_format\":9",
            "made by a newer pachat: store format 9",
        ),
        (
            "\"store_format\":1",
            "\"store_format\":0",
            "no store format 0",
        ),
        ("pachat-backup", "restic", "not that of a pachat backup"),
        (
            "{\"format\":\"pachat-backup\",",
            "{",
            "missing field `format`",
        ),
    ] {
        let refusal = refusal(&changed(from, to));
        let newer = words.contains("newer");
        assert_eq!(refusal.rule, if newer { "newer" } else { "manifest" });
        assert!(refusal.detail.contains(words), "{refusal}");
    }
}

#[test]
fn a_field_given_twice_is_refused_at_every_level() {
    for (from, to) in [
        ("\"version\":1", "\"version\":1,\"version\":1"),
        ("\"version\":1", "\"version\":1,\"x\":1,\"x\":1"),
        ("\"size\":7", "\"size\":7,\"si\\u007ae\":7"),
        ("\"size\":7", "\"size\":7,\"x\":[{\"y\":1,\"y\":2}]"),
    ] {
        let refusal = refusal(&changed(from, to));
        assert_eq!(refusal.rule, "manifest");
        assert!(refusal.detail.contains("twice"), "{refusal}");
    }
}

#[test]
fn what_is_not_quite_a_manifest_is_refused() {
    let fields = format!("[[\"logs/app.log.1\",0,\"{DIGEST}\"],{{");
    let deep = format!("\"x\":{}0{},\"type\"", "{\"x\":".repeat(9), "}".repeat(9));
    let endless = format!("\"x\":{}", "{\"x\":".repeat(100_000));
    let twice = format!(
        r#"{{"path":"logs/app.log.A","size":0,"sha256":"{DIGEST}"}},{{"path":"logs/app.log.a"#
    );
    for (from, to, rule) in [
        ("[{", fields.as_str(), "manifest"),
        ("}]", "}],", "manifest"),
        ("\"total_bytes\":7}", "\"total_bytes\":7}{}", "manifest"),
        ("\"total_bytes\":7", "\"total_bytes\":8", "manifest"),
        ("\"size\":7", "\"size\":-7", "manifest"),
        ("\"size\":7", "\"size\":7.0", "manifest"),
        ("\"size\":7", "\"size\":1073741825", "size"),
        ("\"type\":\"full\"", "\"type\":\"half\"", "manifest"),
        ("\"type\":\"full\"", "\"type\":\"data\"", "place"),
        ("\"type\"", &deep, "manifest"),
        ("\"type\"", &endless, "manifest"),
        ("09:41:07Z", "noon", "manifest"),
        (&DIGEST[..2], "E3", "manifest"),
        ("logs/app.log", "logs/../x", "path"),
        ("logs/app.log", "config/master.key", "place"),
        ("{\"path\":\"logs/app.log", &twice, "duplicate"),
    ] {
        assert_eq!(refusal(&changed(from, to)).rule, rule, "{to:.80}");
    }
}

#[test]
fn a_parser_that_quotes_the_text_cannot_reach_the_terminal() {
    let refusal = refusal(&changed("\"full\"", "\"\\u001b]0;x\\u0007\\u202e\""));
    assert!(
        refusal
            .detail
            .bytes()
            .all(|byte| (b' '..=b'~').contains(&byte)),
        "{:?}",
        refusal.detail
    );
}

#[test]
fn limits_hold() {
    let mut long = changed("full", "full");
    long.resize(usize::try_from(LARGEST).unwrap() + 1, b' ');
    assert!(refusal(&long).detail.contains("longer"));

    let line = r#"{"path":"a","size":0,"sha256":""},"#.replace("\"\"", &format!("\"{DIGEST}\""));
    let many = changed("[{", &format!("[{}{{", line.repeat(MOST_FILES)));
    assert!(refusal(&many).detail.contains("more than 100000 files"));
}

#[test]
fn the_digest_of_the_content_is_about_the_files_alone() {
    let one = example();
    let lines = format!(
        "{}  config/app_config.json\n{}  conversations/active/20260822-094107-abc123.jsonl\n",
        one.files[0].sha256, one.files[1].sha256
    );
    assert_eq!(one.content(), Sha256::of(lines.as_bytes()));

    let mut other = example();
    other.note = None;
    other.created_at = "2027-01-01T00:00:00Z".parse().unwrap();
    other.files[2].sha256 = Sha256::of(b"a longer log");
    other.files.reverse();
    assert_eq!(one.content(), other.content());
    other.files[1].sha256 = Sha256::of(b"one more message");
    assert_ne!(one.content(), other.content());
}
