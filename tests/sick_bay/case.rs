//! One broken home: how it is broken, what is found, what repair may touch, and what is left.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_json::Value;

use super::bed::Bed;

pub struct Case {
    pub name: &'static str,
    build: Box<dyn Fn(&mut Bed)>,
    /// What is looked at; all but backups, if nothing else is said.
    arguments: Vec<&'static str>,
    /// The findings, exactly.
    found: Vec<Expected>,
    /// What repair may change, remove or make, as paths below the home; one that ends in `/`
    /// stands for everything below it.
    changes: Vec<String>,
    /// Of these, what it may remove or rewrite without keeping the bytes.
    forgets: Vec<String>,
    /// The codes that are left after repair, sorted.
    left: Vec<&'static str>,
    /// Whether repair must not warn of anything.
    is_smooth: bool,
}

/// A finding that is to be there.
#[derive(Debug)]
struct Expected {
    code: &'static str,
    /// The end of its subject.
    subject: String,
    /// Its line, where that matters.
    line: Option<u64>,
}

/// A home that is broken by `build`.
pub fn case(name: &'static str, build: impl Fn(&mut Bed) + 'static) -> Case {
    Case {
        name,
        build: Box::new(build),
        arguments: Vec::new(),
        found: Vec::new(),
        changes: Vec::new(),
        forgets: Vec::new(),
        left: Vec::new(),
        is_smooth: false,
    }
}

impl Case {
    /// A finding, which stays after repair.
    pub fn finds(mut self, code: &'static str, subject: impl Into<String>) -> Self {
        self.left.push(code);
        self.heals(code, subject)
    }

    /// A finding that is gone after repair.
    pub fn heals(mut self, code: &'static str, subject: impl Into<String>) -> Self {
        self.found.push(Expected {
            code,
            subject: subject.into(),
            line: None,
        });
        self
    }

    /// The line of the finding that was named last.
    pub fn at_line(mut self, line: u64) -> Self {
        self.found.last_mut().unwrap().line = Some(line);
        self
    }

    /// A finding that comes with the repair.
    pub fn then(mut self, code: &'static str) -> Self {
        self.left.push(code);
        self
    }

    /// What repair may change below the data directory; the directory itself, if it is empty.
    pub fn changes(self, path: impl AsRef<str>) -> Self {
        let path = format!("data/pachat/{}", path.as_ref());
        self.changes_home(if path == "data/pachat/" {
            "data/pachat"
        } else {
            &path
        })
    }

    /// What it may change elsewhere in the home.
    pub fn changes_home(mut self, path: &str) -> Self {
        self.changes.push(path.to_owned());
        self
    }

    /// What repair may remove for good.
    pub fn forgets(mut self, path: impl AsRef<str>) -> Self {
        self.forgets.push(format!("data/pachat/{}", path.as_ref()));
        self.changes(path)
    }

    /// What is looked at.
    pub fn looking_at(mut self, arguments: &[&'static str]) -> Self {
        self.arguments = arguments.to_vec();
        self
    }

    /// Repair has nothing to say but what it has done.
    pub fn without_warning(mut self) -> Self {
        self.is_smooth = true;
        self
    }

    pub fn codes(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.found
            .iter()
            .map(|expected| expected.code)
            .chain(self.left.iter().copied())
    }

    /// Builds it, looks, repairs, and looks again.
    pub fn treat(&self) {
        let name = self.name;
        let mut bed = Bed::sound();
        (self.build)(&mut bed);
        bed.admit();
        let before = Chart::of(bed.home());
        let findings = self.look(&bed);
        self.check(&findings);
        let looked = Chart::of(bed.home());
        looked.compare(&before, &[], name, "looking");

        let ran = bed.run(&[&["validate"], &*self.arguments, &["--fix", "--yes"]].concat());
        let after = Chart::of(bed.home());
        after.compare(&before, &self.changes, name, "repair");
        after.has_lost_nothing(&before, &self.forgets, name);
        let warns = ran.stderr.contains("warning: ");
        assert!(!(self.is_smooth && warns), "{name}: {}", ran.stderr);
        let mut left: Vec<&str> = self.left.clone();
        left.sort_unstable();
        let mut codes: Vec<String> = self
            .look(&bed)
            .into_iter()
            .map(|found| found.code)
            .collect();
        codes.sort_unstable();
        assert_eq!(
            codes, left,
            "{name}: what is left after repair\n{}{}",
            ran.stdout, ran.stderr
        );

        // What is repaired is not repaired again.
        bed.run(&[&["validate"], &*self.arguments, &["--fix", "--yes"]].concat());
        Chart::of(bed.home()).compare(&after, &[], name, "a second repair");
    }

    fn look(&self, bed: &Bed) -> Vec<Found> {
        let ran = bed.run(&[&["validate"], &*self.arguments, &["--json"]].concat());
        let document: Value = serde_json::from_str(&ran.stdout)
            .unwrap_or_else(|error| panic!("{}: {error}: {}{}", self.name, ran.stdout, ran.stderr));
        assert_eq!(document["schema"], 1);
        let findings: Vec<Found> = document["findings"]
            .as_array()
            .unwrap()
            .iter()
            .map(Found::of)
            .collect();
        let worst = findings.iter().any(|found| found.severity != "note");
        assert_eq!(ran.code, u8::from(worst), "{}: {}", self.name, ran.stderr);
        findings
    }

    fn check(&self, findings: &[Found]) {
        let name = self.name;
        let shown = || {
            let lines: Vec<String> = findings
                .iter()
                .map(|found| {
                    format!(
                        "  {} {} {:?}: {}",
                        found.code, found.subject, found.line, found.cause
                    )
                })
                .collect();
            lines.join("\n")
        };
        for found in findings {
            assert!(!found.cause.is_empty(), "{name}: no cause\n{}", shown());
            assert!(!found.remedy.is_empty(), "{name}: no remedy\n{}", shown());
            let known = pachat::ops::validate::CODES
                .iter()
                .find(|(code, ..)| *code == found.code);
            let Some((_, severity, fixable, _)) = known else {
                panic!("{name}: {} is in no table", found.code);
            };
            assert_eq!(severity.as_str(), found.severity, "{name}: {}", found.code);
            assert!(*fixable || !found.fixable, "{name}: {}", found.code);
        }
        let mut expected: Vec<&Expected> = self.found.iter().collect();
        for found in findings {
            let fits = |one: &&Expected| {
                one.code == found.code
                    && found.subject.ends_with(one.subject.as_str())
                    && (one.line.is_none() || one.line == found.line)
            };
            match expected.iter().position(fits) {
                Some(at) => drop(expected.remove(at)),
                None => panic!("{name}: {} was not expected\n{}", found.code, shown()),
            }
        }
        assert!(
            expected.is_empty(),
            "{name}: not found: {expected:?}\n{}",
            shown()
        );
    }
}

struct Found {
    code: String,
    severity: String,
    subject: String,
    line: Option<u64>,
    cause: String,
    remedy: String,
    fixable: bool,
}

impl Found {
    fn of(json: &Value) -> Self {
        let text = |name: &str| json[name].as_str().unwrap_or_default().to_owned();
        Self {
            code: text("code"),
            severity: text("severity"),
            subject: text("subject"),
            line: json["line"].as_u64(),
            cause: text("cause"),
            remedy: text("remedy"),
            fixable: json["fixable"].as_bool().unwrap_or_default(),
        }
    }
}

/// Every file, directory and link of a home.
struct Chart(BTreeMap<String, Entry>);

#[derive(PartialEq, Eq)]
struct Entry {
    mode: u32,
    content: Content,
}

#[derive(PartialEq, Eq)]
enum Content {
    Directory,
    File(Vec<u8>),
    Link(std::path::PathBuf),
}

impl Chart {
    fn of(home: &Path) -> Self {
        let mut found = BTreeMap::new();
        walk(home, home, &mut found);
        Self(found)
    }

    /// That nothing differs but what may.
    fn compare(&self, before: &Self, may_change: &[String], name: &str, after: &str) {
        let paths: BTreeSet<&String> = self.0.keys().chain(before.0.keys()).collect();
        for path in paths {
            let (old, new) = (before.0.get(path), self.0.get(path));
            let may = may_change.iter().any(|allowed| {
                allowed == path || (allowed.ends_with('/') && path.starts_with(allowed.as_str()))
            });
            assert!(
                old == new || may || (old.is_none() && is_working_file(path)) || is_own(path),
                "{name}: {after} has {} {path}",
                match (old, new) {
                    (None, _) => "made",
                    (_, None) => "removed",
                    _ => "changed",
                }
            );
        }
    }

    /// That what is no longer in a file is in another one.
    fn has_lost_nothing(&self, before: &Self, forgets: &[String], name: &str) {
        for (path, old) in &before.0 {
            let Content::File(old) = &old.content else {
                continue;
            };
            if is_own(path)
                || forgets
                    .iter()
                    .any(|allowed| path.starts_with(allowed.as_str()))
            {
                continue;
            }
            let new: &[u8] = match self.0.get(path).map(|entry| &entry.content) {
                Some(Content::File(new)) => new,
                _ => &[],
            };
            let common = old
                .iter()
                .zip(new)
                .take_while(|(old, new)| old == new)
                .count();
            let gone = &old[common..];
            let is_kept = gone.is_empty()
                || self.0.values().any(|entry| match &entry.content {
                    Content::File(bytes) => memchr::memmem::find(bytes, gone).is_some(),
                    _ => false,
                });
            assert!(
                is_kept,
                "{name}: repair has lost {} bytes of {path}",
                gone.len()
            );
        }
    }
}

/// What any command may make: locks, the log, rollback points, what repair takes out.
fn is_working_file(path: &str) -> bool {
    ["run", "logs", "backups", "quarantine", "cache"]
        .iter()
        .any(|directory| {
            let directory = format!("data/pachat/{directory}");
            path == directory || path.starts_with(&format!("{directory}/"))
        })
}

/// What any command may change: its own lock files and the log's next line.
fn is_own(path: &str) -> bool {
    path == "data/pachat/logs/app.log"
        || (path.starts_with("data/pachat/run/") && path.ends_with(".lock"))
}

fn walk(directory: &Path, home: &Path, found: &mut BTreeMap<String, Entry>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let metadata = fs::symlink_metadata(&path).unwrap();
        let content = if metadata.is_dir() {
            walk(&path, home, found);
            Content::Directory
        } else if metadata.is_file() {
            Content::File(fs::read(&path).unwrap())
        } else {
            Content::Link(fs::read_link(&path).unwrap_or_default())
        };
        let name = path
            .strip_prefix(home)
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned();
        let mode = mode_of(&metadata);
        found.insert(name, Entry { mode, content });
    }
}

#[cfg(unix)]
fn mode_of(metadata: &fs::Metadata) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;
    metadata.permissions().mode()
}
