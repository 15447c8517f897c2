//! A home with a sound store in it, and the tools to break it.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use flate2::Compression;
use flate2::write::GzEncoder;
use pachat::model::backup::Sha256;

use super::common::host::{Cues, Ran, Sandbox, TestClock};
use super::ward::{Trouble, Ward};

/// Two conversations in use and one put away.
pub const WHALES: &str = "20260820-080000-7k2m9q";
pub const SKY: &str = "20260821-090000-abc123";
pub const OLD: &str = "20260701-100000-zzzzz1";

/// An age recipient and the identity that belongs to it.
pub const RECIPIENT: &str = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";

pub struct Bed {
    pub sandbox: Sandbox,
    pub trouble: Trouble,
    /// Arguments before the subcommand.
    pub options: Vec<String>,
    /// What the clock shows, if not the usual time.
    pub time: Option<&'static str>,
    pub terminal: bool,
    /// Files that another process has locked.
    held: Vec<PathBuf>,
    holders: Vec<fs::File>,
}

pub fn active(id: &str) -> String {
    format!("conversations/active/{id}.jsonl")
}

pub fn archived(id: &str) -> String {
    format!("conversations/archived/{id}.jsonl.gz")
}

/// When a conversation was begun.
fn begun_at(id: &str) -> String {
    format!(
        "{}-{}-{}T{}:{}:{}.000Z",
        &id[..4],
        &id[4..6],
        &id[6..8],
        &id[9..11],
        &id[11..13],
        &id[13..15]
    )
}

pub fn header(id: &str) -> String {
    let at = begun_at(id);
    format!(
        r#"{{"type":"conversation","version":1,"id":"{id}","created_at":"{at}","title":"t","model":"a/b"}}"#
    )
}

pub fn prompt(n: u64, at: &str) -> String {
    format!(r#"{{"type":"message","n":{n},"role":"user","content":"hello","at":"{at}"}}"#)
}

pub fn reply(n: u64, at: &str) -> String {
    format!(
        r#"{{"type":"message","n":{n},"role":"assistant","content":"hi","at":"{at}","state":"complete"}}"#
    )
}

/// Two times after the beginning of the conversations here.
pub const EARLY: &str = "2026-08-21T09:30:00.000Z";
pub const LATER: &str = "2026-08-21T09:31:00.000Z";

/// A sound conversation: a header, a prompt, a reply.
pub fn conversation(id: &str) -> String {
    let at = begun_at(id);
    lines(&[&header(id), &prompt(1, &at), &reply(2, &at)])
}

pub fn lines(lines: &[&str]) -> String {
    lines.iter().flat_map(|line| [line, "\n"]).collect()
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub fn digest(bytes: &[u8]) -> String {
    Sha256::of(bytes).to_string()
}

impl Bed {
    /// A home in which nothing is wrong.
    pub fn sound() -> Self {
        let mut sandbox = Sandbox::new();
        sandbox.set("HOME", "/home/somebody");
        sandbox.set("LANG", "C.UTF-8");
        let bed = Self {
            sandbox,
            trouble: Trouble::default(),
            options: Vec::new(),
            time: None,
            terminal: false,
            held: Vec::new(),
            holders: Vec::new(),
        };
        set_mode(bed.home(), 0o700);
        for directory in ["data", "config", "config/pachat"] {
            make_dir(&bed.home().join(directory));
        }
        bed.put("VERSION", "1\n");
        bed.put("config/app_config.json", "{}\n");
        for id in [WHALES, SKY] {
            bed.put(&active(id), &conversation(id));
        }
        bed.put_bytes(&archived(OLD), &gzip(conversation(OLD).as_bytes()));
        make_dir(&bed.data().join("run"));
        bed
    }

    pub fn home(&self) -> &Path {
        self.sandbox.path()
    }

    pub fn data(&self) -> PathBuf {
        self.sandbox.data_dir()
    }

    pub fn config_dir(&self) -> PathBuf {
        self.home().join("config/pachat")
    }

    /// A file below the data directory; what was there is another file afterwards.
    pub fn put(&self, path: &str, text: &str) {
        self.put_bytes(path, text.as_bytes());
    }

    pub fn put_bytes(&self, path: &str, bytes: &[u8]) {
        put(&self.data().join(path), bytes);
    }

    /// A file of the configuration directory.
    pub fn put_config(&self, name: &str, bytes: &[u8]) {
        put(&self.config_dir().join(name), bytes);
    }

    pub fn append(&self, path: &str, bytes: &[u8]) {
        let path = self.data().join(path);
        let mut file = fs::OpenOptions::new().append(true).open(path).unwrap();
        file.write_all(bytes).unwrap();
    }

    pub fn bytes(&self, path: &str) -> Vec<u8> {
        fs::read(self.data().join(path)).unwrap()
    }

    pub fn remove(&self, path: &str) {
        fs::remove_file(self.data().join(path)).unwrap();
    }

    pub fn chmod(&self, path: &str, mode: u32) {
        set_mode(&self.data().join(path), mode);
    }

    /// A conversation with these lines after its first prompt.
    pub fn whales(&self, more: &[&str]) {
        let mut all = vec![header(WHALES), prompt(1, EARLY)];
        all.extend(more.iter().map(|line| (*line).to_owned()));
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        self.put(&active(WHALES), &lines(&all));
    }

    /// Seals a key for OpenRouter with a key file, as a person does.
    pub fn seal_key(&self) {
        let key = format!("sk-or-v1-{}", "0123456789abcdef".repeat(4));
        let ran = self
            .sandbox
            .run_with(&["config", "key", "set", "--stdin"], &key);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
    }

    /// Makes a backup; its name.
    pub fn back_up(&self, args: &[&str]) -> String {
        let ran = self.sandbox.run(&[&["backup"], args].concat());
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        let mut names = self.names("backups", ".tar.gz");
        names.extend(self.names("backups", ".age"));
        names.pop().unwrap()
    }

    /// The names in a directory that end so, sorted.
    pub fn names(&self, directory: &str, suffix: &str) -> Vec<String> {
        let entries = fs::read_dir(self.data().join(directory)).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.ends_with(suffix))
            .collect();
        names.sort();
        names
    }

    /// From now on somebody else has this file locked.
    pub fn hold(&mut self, path: &str) {
        self.held.push(self.data().join(path));
    }

    /// Lets the trouble begin.
    pub fn admit(&mut self) {
        for path in &self.held {
            let file = fs::File::open(path).unwrap();
            file.lock().unwrap();
            self.holders.push(file);
        }
        let ward = Ward::new(self.home(), self.trouble.clone());
        self.sandbox.disk = Arc::new(ward);
        if let Some(time) = self.time {
            self.sandbox.clock = Arc::new(TestClock::at(time));
        }
    }

    pub fn run(&self, args: &[&str]) -> Ran {
        let mut all: Vec<&str> = self.options.iter().map(String::as_str).collect();
        all.extend(args);
        let cues = Cues {
            clock: Arc::clone(&self.sandbox.clock),
            terminal: self.terminal,
            ..Cues::default()
        };
        self.sandbox.run_on(&cues, &all, "")
    }
}

fn make_dir(path: &Path) {
    fs::create_dir_all(path).unwrap();
    set_mode(path, 0o700);
}

/// Writes a file of mode 0600, and makes the directories above it.
pub fn put(path: &Path, bytes: &[u8]) {
    let mut missing = Vec::new();
    let mut directory = path.parent().unwrap();
    while !directory.exists() {
        missing.push(directory);
        directory = directory.parent().unwrap();
    }
    for directory in missing.into_iter().rev() {
        fs::create_dir(directory).unwrap();
        set_mode(directory, 0o700);
    }
    let _ = fs::remove_file(path);
    fs::write(path, bytes).unwrap();
    // In the past of the clock that the case has.
    let hour = Duration::from_secs(3600);
    let file = fs::File::options().append(true).open(path).unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH + hour * 496_474)
        .unwrap();
    set_mode(path, 0o600);
}

#[cfg(unix)]
pub fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}
