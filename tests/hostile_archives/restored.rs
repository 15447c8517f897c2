//! The same table through the program: whatever an archive holds, a restore that refuses it
//! leaves the data as it was.

use std::collections::BTreeMap;
use std::path::Path;

use super::build::{ACTIVE, SETTINGS, conversation};
use super::cases::cases;
use super::common::host::Sandbox;

/// Every file and directory of the data directory by its path, with its content. Left out is
/// what any command may touch: locks, the log, and what can be made again.
fn snapshot(directory: &Path) -> BTreeMap<String, Option<Vec<u8>>> {
    fn visit(root: &Path, directory: &Path, found: &mut BTreeMap<String, Option<Vec<u8>>>) {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().display().to_string();
            if ["run", "cache", "logs"].contains(&&*name) {
                continue;
            }
            if path.is_dir() {
                found.insert(name, None);
                visit(root, &path, found);
            } else {
                found.insert(name, Some(std::fs::read(&path).unwrap()));
            }
        }
    }
    let mut found = BTreeMap::new();
    visit(directory, directory, &mut found);
    found
}

/// A home with a conversation and settings of its own.
fn home() -> Sandbox {
    let sandbox = Sandbox::new();
    let id = "20260101-000000-aaaaaa";
    let own = format!("conversations/active/{id}.jsonl");
    let other = conversation("20260822-094107-abc123");
    let other = [&other[..], b"{\"type\":\"rewind\",\"to\":1}\n"].concat();
    for (path, data) in [
        ("VERSION", b"1\n".to_vec()),
        (&*own, conversation(id)),
        (ACTIVE, other),
        (SETTINGS, b"{\"model\": \"a/b\"}\n".to_vec()),
    ] {
        let path = sandbox.data_dir().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, data).unwrap();
    }
    let listed = sandbox.run(&["list", "--all"]);
    assert_eq!(listed.code, 0, "{}", listed.stderr);
    sandbox
}

#[test]
fn through_restore() {
    let sandbox = home();
    let file = sandbox.path().join("hostile.tar.gz");
    let before = snapshot(&sandbox.data_dir());
    let mut refused = 0;
    for case in cases() {
        // That one is asked for its key first.
        let readable = !case.sealed && case.name != "gzip: sealed";
        let Some((rule, entry)) = case.refused.filter(|_| readable) else {
            continue;
        };
        std::fs::write(&file, &case.archive).unwrap();
        let ran = sandbox.run(&["restore", file.to_str().unwrap(), "--yes", "--replace"]);
        let name = &case.name;
        assert_eq!(ran.code, 65, "{name}: {}", ran.stderr);
        let mut lines = ran.stderr.lines().filter(|line| line.contains("rule `"));
        let line = lines
            .next()
            .unwrap_or_else(|| panic!("{name}: {}", ran.stderr));
        assert!(lines.next().is_none(), "{name}: {}", ran.stderr);
        assert!(line.contains(&format!("rule `{rule}`")), "{name}: {line}");
        assert!(line.contains(&*entry), "{name}: {line}");
        let shown = |c: char| c == '\n' || c == ' ' || c.is_ascii_graphic();
        assert!(ran.stderr.chars().all(shown), "{name}: {:?}", ran.stderr);
        assert_eq!(ran.stdout, "", "{name}");
        assert!(
            before == snapshot(&sandbox.data_dir()),
            "{name}: the data changed"
        );
        refused += 1;
    }
    println!("{refused} hostile archives refused by `restore`");
}

/// The valid ones do restore: the refusals above are not for another reason.
#[test]
fn valid_archives_are_restored() {
    for case in cases() {
        if case.refused.is_some() || case.sealed {
            continue;
        }
        let sandbox = home();
        let file = sandbox.path().join("valid.tar.gz");
        std::fs::write(&file, &case.archive).unwrap();
        let ran = sandbox.run(&["restore", file.to_str().unwrap(), "--yes", "--replace"]);
        assert_eq!(ran.code, 0, "{}: {}", case.name, ran.stderr);
        let own = "conversations/active/20260101-000000-aaaaaa.jsonl";
        let gone = !sandbox.data_dir().join(own).exists();
        // Only a backup without conversations could have left it.
        assert!(gone, "{}: the store was not replaced", case.name);
    }
}
