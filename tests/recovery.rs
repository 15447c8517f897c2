//! The manual's pages on backups and recovery, typed as they stand.
//!
//! Each section's shell blocks are run by bash in a home of its own, in which something has
//! happened; afterwards a second script looks whether the trouble is over. Needs the tools that
//! the pages name.
#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may panic, and looks at the machine itself"
)]

use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Two conversations, an archived one, an API key, and what the page says to do in time.
const PREPARED: &str = r#"
pachat send -q -m builtin/guide 'where are my files?' > first.txt
pachat send -q -m builtin/guide 'how do I use ollama' > second.txt
gzip -9n < ~/data/pachat/conversations/active/"$(pachat list --json | jq -r '.conversations[0].id')".jsonl > one.gz
id=20200101-000000-arch1v
mkdir -p ~/data/pachat/conversations/archived
zcat one.gz | sed "s/\"id\":\"[^\"]*\"/\"id\":\"$id\"/" | gzip -n > ~/data/pachat/conversations/archived/$id.jsonl.gz
echo test-key-0123456789 > key.txt
pachat config key set --stdin < key.txt
mkdir -p ~/safe
pachat backup keygen -q -o ~/safe/backup-identity.txt
pachat backup -q --type full --encrypted -o ~/safe/pachat.tar.gz.age
pachat backup -q > /dev/null
"#;

/// What happens before a section is read, and what must be true once it was followed.
const SCENES: &[(&str, &str, &str)] = &[
    (
        "What must I do today, so that I can recover tomorrow?",
        "rm -r ~/safe; pachat config unset backup.recipients",
        "test -s ~/safe/pachat.tar.gz.age",
    ),
    (
        "The disk is lost, or this is a new machine",
        "pachat export -F jsonl --all | sort > before; rm -r ~/data ~/config",
        "pachat export -F jsonl --all | sort | cmp - before; pachat config key status | grep -q keyfile",
    ),
    (
        "I deleted or damaged a conversation",
        r"ID=$(pachat list --json | jq -r '.conversations[0].id'); export ID
        cp ~/data/pachat/conversations/active/$ID.jsonl before
        pachat send -q -m builtin/guide 'and what is new since?' > /dev/null
        rm ~/data/pachat/conversations/active/$ID.jsonl",
        r#"cmp before ~/data/pachat/conversations/active/$ID.jsonl; test "$(pachat list | wc -l)" = 3"#,
    ),
    (
        "I restored the wrong backup",
        r#"pachat send -q -m builtin/guide 'what is a conversation id' > /dev/null
        pachat list > before; pachat restore -q latest --yes; test "$(pachat list | wc -l)" = 2"#,
        "pachat list | cmp - before",
    ),
    (
        "I lost the identity that opens my encrypted backups",
        "rm ~/safe/backup-identity.txt",
        "pachat restore ~/safe/pachat-new.tar.gz.age --identity ~/safe/backup-identity-2.txt --verify-only",
    ),
    (
        "A backup is damaged",
        "cp ~/data/pachat/backups/backup_*.tar.gz bad.tar.gz
        printf x | dd of=bad.tar.gz bs=1 seek=300 conv=notrunc status=none",
        "code=0; pachat restore ~/bad.tar.gz --verify-only || code=$?; test $code = 65",
    ),
    (
        "Every backup that I have is damaged",
        r#"cd ~/data/pachat/conversations/active
        first=$(ls | head -n 1); first=${first%.jsonl}
        for n in $(seq 10 99); do
            id=20250101-000000-sav1$n
            { sed "s/$first/$id/" "$first.jsonl"
              printf '{"type":"message","n":3,"role":"user","content":"%s","at":"2025-01-01T00:00:00.000Z"}\n' \
                  "$(head -c 90000 /dev/urandom | base64 -w 0)"
            } > "$id.jsonl"
        done
        cd; pachat backup -q -o bad.tar.gz
        printf xxxx | dd of=bad.tar.gz bs=1 seek=$(($(stat -c %s bad.tar.gz) / 2)) conv=notrunc status=none"#,
        r#"files() { jq -r '.files[] | "\(.sha256)  \(.path)"' MANIFEST.json; }
        cd ~/salvaged; (files | sha256sum -c 2> /dev/null || true) > told
        test "$(grep -c 'OK$' told)" -ge 50; test "$(grep -vc 'OK$' told)" -ge 1"#,
    ),
    (
        "I have the backup, but not pachat",
        "",
        r#"test "$(pachat --data-dir ~/recovered list --all | wc -l)" = 3"#,
    ),
    (
        "How do I make a backup?",
        "",
        "pachat restore latest --verify-only",
    ),
    (
        "How do I make an encrypted backup?",
        "pachat config unset backup.recipients",
        "test -s backup-identity.txt; pachat restore --list --json | jq -e '.backups[0].encrypted'",
    ),
    (
        "How do I restore a backup?",
        "pachat export -F jsonl --all | sort > before; rm ~/data/pachat/conversations/active/*.jsonl",
        "pachat export -F jsonl --all | sort | cmp - before",
    ),
    (
        "How do I make backups regularly, from cron?",
        "",
        "pachat restore latest --verify-only",
    ),
    (
        "How do I undo a restore, or go back to an earlier state?",
        "",
        "pachat rollback --list | grep -q 'before the big clean-up'",
    ),
    (
        "How many backups are kept?",
        "",
        "test \"$(pachat config get backup.keep_monthly)\" = 12",
    ),
    (
        "How do I get backups off this machine?",
        "echo a long phrase > ~/safe/restic-password",
        "test -s ~/dav/pachat.tar.gz.age; restic stats --mode files-by-contents | grep 'File Count:'",
    ),
];

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A `WebDAV` share on loopback, and its port.
fn webdav(directory: &Path) -> (Killed, u16) {
    use std::io::{BufRead, BufReader};
    std::fs::create_dir_all(directory).unwrap();
    let mut server = Command::new("rclone")
        .args(["serve", "webdav", "--addr", "127.0.0.1:0"])
        .arg(directory)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It says where it listens: "… WebDav Server started on [http://127.0.0.1:40861/]".
    let log = BufReader::new(server.stderr.take().unwrap());
    let mut port = None;
    for line in log.lines() {
        let line = line.unwrap();
        if let Some((_, rest)) = line.split_once("http://127.0.0.1:") {
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            port = Some(digits.parse().unwrap());
            break;
        }
    }
    (Killed(server), port.expect("rclone says where it listens"))
}

fn bash(home: &Path, script: &str) -> std::process::Output {
    let program = Path::new(env!("CARGO_BIN_EXE_pachat"));
    Command::new("bash")
        .args(["-c", &format!("set -euo pipefail\ncd ~\n{script}")])
        .env_clear()
        .env("HOME", home)
        .env("XDG_DATA_HOME", home.join("data"))
        .env("XDG_CONFIG_HOME", home.join("config"))
        .env("RCLONE_CONFIG", home.join("rclone.conf"))
        .env(
            "PATH",
            format!(
                "{}:/usr/local/bin:/usr/bin:/bin",
                program.parent().unwrap().display()
            ),
        )
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// The shell blocks of a section, as one script.
fn script(title: &str) -> String {
    let sections = pachat::manual::sections();
    let section = sections
        .iter()
        .find(|section| section.title == title)
        .unwrap_or_else(|| panic!("no section `{title}`"));
    let mut inside = false;
    let mut script = String::new();
    for line in section.body.lines() {
        if line.starts_with("```") {
            inside = line == "```sh";
        } else if inside {
            script.push_str(line);
            script.push('\n');
        }
    }
    // Nobody is there to answer the question that some of these ask a person.
    let quiet = [
        "--list",
        "--dry-run",
        "--verify-only",
        "--yes",
        "--create-point",
    ];
    let lines = script.lines().map(|line| {
        let asks =
            line.starts_with("pachat r") && !quiet.iter().any(|option| line.contains(option));
        [line, if asks { " --yes" } else { "" }, "\n"].concat()
    });
    lines.collect()
}

#[test]
#[ignore = "needs bash, age, jq, rclone and restic"]
#[expect(clippy::print_stdout, reason = "what `--nocapture` is for")]
fn every_command_of_the_pages_does_what_they_say() {
    for (title, before, after) in SCENES {
        let home = tempfile::tempdir().unwrap();
        let (_server, port) = webdav(&home.path().join("dav"));
        let script = script(title).replace("localhost:8080", &format!("127.0.0.1:{port}"));
        let whole = format!("{PREPARED}\n{before}\nset -x\n{script}\n{after}\n");
        let output = bash(home.path(), &whole);
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "{title}: {:?}\n{script}\n{told}",
            output.status
        );
        println!("ok  {title}: {} lines", script.lines().count());
    }
}

#[test]
fn every_section_with_commands_has_a_scene() {
    let pages = [
        include_str!("../data/manual/recovery.md"),
        include_str!("../data/manual/backups.md"),
    ];
    let sections = pages.iter().flat_map(|page| page.split("\n## ").skip(1));
    let mut count = 0;
    for section in sections.filter(|section| section.contains("\n```sh\n")) {
        let name = section.lines().next().unwrap();
        count += 1;
        assert!(
            SCENES.iter().any(|(title, ..)| *title == name),
            "no scene for `{name}`"
        );
    }
    assert_eq!(count, SCENES.len());
}
