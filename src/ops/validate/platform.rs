//! The machine: its terminal, its clock, and what the file system below the data directory
//! really does.
//!
//! Layer: ops. Promise: what is tried on the file system leaves nothing behind, and a data
//! directory that does not exist stays that way. Nothing outside it is written to.

use std::io::{self, SeekFrom};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::model::error::describe;
use crate::model::finding::{Finding, Severity};
use crate::model::size::ByteSize;
use crate::ops::room;
use crate::platform::disk::{FileKind, LockMode, Open};
use crate::platform::{Disk, Random};

/// What is looked at.
pub struct Machine<'a> {
    /// Files.
    pub disk: &'a dyn Disk,
    /// For the name of the directory in which things are tried.
    pub random: &'a dyn Random,
    /// The data directory; it need not exist.
    pub data_dir: &'a Path,
    /// Whether a person looks on.
    pub is_terminal: bool,
    /// How wide the terminal is.
    pub columns: Option<usize>,
    /// `TERM`.
    pub terminal: Option<&'a str>,
    /// The first that is set of `LC_ALL`, `LC_CTYPE` and `LANG`.
    pub locale: Option<&'a str>,
    /// Whether `HOME` is set, where there is such a thing.
    pub has_home: bool,
    /// The time.
    pub now: Timestamp,
    /// When the newest conversation began.
    pub newest: Option<Timestamp>,
    /// The most that is read of a file.
    pub memory_limit: ByteSize,
}

/// Looks at all of it.
pub fn look(machine: &Machine<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    look_at_terminal(machine, &mut found);
    look_at_clock(machine, &mut found);
    look_at_memory(machine, &mut found);
    look_at_disk(machine, &mut found);
    found
}

fn look_at_terminal(machine: &Machine<'_>, found: &mut Vec<Finding>) {
    /// Narrower than this, tables and the prompt of a chat wrap.
    const NARROW: usize = 40;
    let mut note = |cause: String, remedy: &str| {
        let subject = "terminal";
        found.push(Finding::new(
            "platform.terminal",
            Severity::Note,
            subject,
            cause,
            remedy,
        ));
    };
    if machine.is_terminal {
        match machine.terminal {
            None => note(
                "TERM is not set, so there is no line editor in a chat".into(),
                "set TERM to what the terminal is, such as xterm-256color",
            ),
            Some("dumb") => note(
                "TERM is `dumb`, so there are no colours and no line editor in a chat".into(),
                "use another terminal for chats; everything else works",
            ),
            Some(_) => {}
        }
    }
    if let Some(columns) = machine.columns.filter(|columns| *columns < NARROW) {
        note(
            format!("the terminal has {columns} columns, and tables are cut below {NARROW}"),
            "make it wider, or use --json",
        );
    }
    if !is_utf8(machine.locale) {
        let locale = machine.locale.unwrap_or("not set");
        found.push(Finding::new(
            "platform.locale",
            Severity::Note,
            "environment",
            format!("the locale is {locale}, not one of UTF-8: a terminal or an editor that believes it shows some letters wrongly"),
            "set LANG to a UTF-8 locale, such as C.UTF-8; what pachat stores is UTF-8 anyway",
        ));
    }
    if !machine.has_home {
        found.push(Finding::new(
            "platform.home",
            Severity::Warning,
            "environment",
            "HOME is not set: `~/` in a setting leads nowhere, and master.key, .env and the history of chats may be looked for in another place than usual",
            "set HOME, for a service with `Environment=HOME=…` or `User=…`",
        ));
    }
}

/// An unset locale is `C`. macOS and Windows have UTF-8 whatever it says.
fn is_utf8(locale: Option<&str>) -> bool {
    if cfg!(any(windows, target_os = "macos")) {
        return true;
    }
    let locale = locale.unwrap_or_default().to_ascii_lowercase();
    // Without one, programs from cron run in `C`, and nobody looks at a terminal there.
    locale.is_empty() || locale.contains("utf-8") || locale.contains("utf8")
}

fn look_at_clock(machine: &Machine<'_>, found: &mut Vec<Finding>) {
    const DAY: i64 = 86_400;
    const LONG_AGO: i64 = 10 * 365 * DAY;
    let mut add = |severity, cause: String| {
        found.push(Finding::new(
            "platform.clock",
            severity,
            "clock",
            cause,
            "set the clock, and let it be kept by NTP (`timedatectl set-ntp true`)",
        ));
    };
    let year = machine.now.to_zoned(TimeZone::UTC).year();
    if year < 2020 {
        add(
            Severity::Error,
            format!("the clock shows the year {year}: ids, backups and certificates go by it"),
        );
        return;
    }
    let Some(newest) = machine.newest else {
        return;
    };
    let ahead = machine.now.as_second() - newest.as_second();
    if ahead < -DAY {
        add(
            Severity::Error,
            format!(
                "the clock shows a time before the newest conversation, which began {newest}: one of the two is wrong"
            ),
        );
    } else if ahead > LONG_AGO {
        add(
            Severity::Error,
            format!(
                "the clock shows the year {year}, ten years after the newest conversation began"
            ),
        );
    }
}

fn look_at_memory(machine: &Machine<'_>, found: &mut Vec<Finding>) {
    let Some(memory) = memory(machine.disk) else {
        return;
    };
    if machine.memory_limit.0 > memory {
        found.push(Finding::new(
            "platform.memory",
            Severity::Warning,
            "limits.memory_mb",
            format!(
                "it allows {} to be read at once, and there are {} of memory",
                machine.memory_limit,
                ByteSize(memory)
            ),
            format!(
                "run `pachat config set limits.memory_mb {}`",
                (memory / 2_000_000).max(1)
            ),
        ));
    }
}

/// How much memory there is for this process, in bytes, where Linux tells: that of the
/// machine, or of the container if that is less.
fn memory(disk: &dyn Disk) -> Option<u64> {
    const PAGE: u64 = 1 << 16;
    let text = |path: &str| {
        let bytes = disk.read(Path::new(path), PAGE).ok()?;
        String::from_utf8(bytes).ok()
    };
    let machine = text("/proc/meminfo").and_then(|text| {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("MemTotal:"))?;
        let kibibytes: u64 = line.split_whitespace().next()?.parse().ok()?;
        kibibytes.checked_mul(1024)
    });
    let container = text("/sys/fs/cgroup/memory.max").and_then(|text| text.trim().parse().ok());
    [machine, container].into_iter().flatten().min()
}

fn look_at_disk(machine: &Machine<'_>, found: &mut Vec<Finding>) {
    // Of a data directory that does not exist yet, the place where it will be.
    let Some(place) = machine
        .data_dir
        .ancestors()
        .find(|path| machine.disk.stat(path).is_ok())
    else {
        return;
    };
    let subject = place.display().to_string();
    if look_at_space(machine, place, &subject, found) {
        return;
    }
    if place != machine.data_dir {
        return;
    }
    match try_out(machine, place) {
        Ok(tried) => found.extend(tried),
        Err(error) => found.push(Finding::new(
            "platform.write",
            Severity::Error,
            subject,
            format!(
                "nothing can be written to the data directory: {}",
                describe(&error)
            ),
            match error.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    "free some space: pachat cleanup --dry-run shows what pachat can give back"
                }
                io::ErrorKind::NotADirectory => {
                    "move away the file that stands there, or name another place with --data-dir"
                }
                _ => "check its owner and permissions, and the disk; or name another one with --data-dir",
            },
        )),
    }
}

/// Says whether nothing can be written at all, so that there is nothing to try.
fn look_at_space(
    machine: &Machine<'_>,
    place: &Path,
    subject: &str,
    found: &mut Vec<Finding>,
) -> bool {
    let Ok(file_system) = machine.disk.file_system(place) else {
        return false;
    };
    if file_system.read_only == Some(true) {
        found.push(Finding::new(
            "platform.read-only",
            Severity::Error,
            subject,
            "the file system is read-only: nothing said in a chat can be kept",
            "mount it writable, or name another place with --data-dir; a disk that became read-only by itself has failed",
        ));
        return true;
    }
    if let Some(files) = file_system.free_files
        && room::is_short_of_files(&file_system)
    {
        found.push(Finding::new(
            "platform.files",
            Severity::Warning,
            subject,
            format!("the file system has room for {files} more files, whatever their size"),
            "remove files that nobody needs; `pachat cleanup --dry-run` shows which of pachat's",
        ));
    }
    false
}

/// Tries what the store relies on, in a directory of its own, and takes it away again.
fn try_out(machine: &Machine<'_>, data_dir: &Path) -> io::Result<Vec<Finding>> {
    let run = data_dir.join("run");
    let parent = match machine.disk.stat(&run) {
        Ok(stat) if stat.kind == FileKind::Directory => run,
        _ => data_dir.to_path_buf(),
    };
    let name = format!(".validate.{:08x}.tmp", machine.random.next_u32()?);
    let trial = Trial {
        disk: machine.disk,
        directory: parent.join(name),
        subject: data_dir.display().to_string(),
    };
    machine.disk.create_dir(&trial.directory)?;
    let tried = trial.all();
    machine.disk.remove_tree(&trial.directory)?;
    tried
}

struct Trial<'a> {
    disk: &'a dyn Disk,
    directory: PathBuf,
    subject: String,
}

impl Trial<'_> {
    fn all(&self) -> io::Result<Vec<Finding>> {
        self.put("a", b"a")?;
        let found = [
            self.locks()?,
            self.links(),
            self.renames()?,
            self.directory_sync(),
        ];
        Ok(found.into_iter().flatten().collect())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn put(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut file = self.disk.open(&self.path(name), Open::CreateNew)?;
        file.write_all(bytes)?;
        file.sync_data()
    }

    fn finding(
        &self,
        code: &'static str,
        severity: Severity,
        cause: &str,
        remedy: &str,
    ) -> Finding {
        Finding::new(code, severity, &self.subject, cause, remedy)
    }

    /// Whether one lock keeps another out, and lets it in when it is gone.
    fn locks(&self) -> io::Result<Option<Finding>> {
        let open = || self.disk.open(&self.path("a"), Open::Append);
        let (first, second) = (open()?, open()?);
        let exclude = || -> io::Result<bool> {
            let mine = first.try_lock(LockMode::Exclusive)?;
            let theirs = second.try_lock(LockMode::Exclusive)?;
            Ok(mine && !theirs)
        };
        let works = exclude();
        drop(first);
        let works = works.and_then(|works| Ok(works && second.try_lock(LockMode::Exclusive)?));
        Ok(if let Ok(true) = works {
            None
        } else {
            Some(self.finding(
                "platform.locks",
                Severity::Error,
                "locks do not keep each other out here, so two pachats could write to one conversation at once",
                "keep the data directory on a local disk, or mount it with locking",
            ))
        })
    }

    fn links(&self) -> Option<Finding> {
        match self.disk.hard_link(&self.path("a"), &self.path("b")) {
            Ok(()) => None,
            Err(_) => Some(self.finding(
                "platform.hard-links",
                Severity::Note,
                "the file system has no hard links, so rollback points are copies and need space and time",
                "nothing needs to be done; see how many are kept: pachat config get rollback.keep",
            )),
        }
    }

    /// Whether renaming replaces what is there.
    fn renames(&self) -> io::Result<Option<Finding>> {
        self.put("old", b"old")?;
        self.put("new", b"new")?;
        let renamed = self.disk.rename(&self.path("new"), &self.path("old"));
        let replaced = renamed.is_ok() && {
            let mut file = self.disk.open(&self.path("old"), Open::Read)?;
            let mut content = Vec::new();
            file.seek(SeekFrom::Start(0))?;
            file.read_to_end(&mut content)?;
            content == b"new" && self.disk.stat(&self.path("new")).is_err()
        };
        Ok(if replaced {
            None
        } else {
            Some(self.finding(
                "platform.rename",
                Severity::Error,
                "a file cannot be replaced by another one here, so settings, keys and backups cannot be saved",
                "keep the data directory on a local disk",
            ))
        })
    }

    fn directory_sync(&self) -> Option<Finding> {
        match self.disk.sync_dir(&self.directory) {
            Ok(()) => None,
            Err(_) => Some(self.finding(
                "platform.sync",
                Severity::Warning,
                "the names of new files cannot be made durable here: a power cut may take the last ones",
                "keep the data directory on a local disk",
            )),
        }
    }
}
