//! `logs/app.log`: one line for each thing worth knowing later.
//!
//! Invariants:
//! - A line is appended in one write, to a file opened for it under the shared lock
//!   `run/log.lock`, and closed before the lock is given back. The file gets another name
//!   only under the same lock, exclusive. So nobody ever has a renamed log open, a renamed
//!   log never changes again, and no line can go where it would be compressed without it.
//! - What a crash left without its line feed is ended first: it spoils no other line. What
//!   looks like it may be half of a write that goes on at this moment; then an empty line
//!   comes of it, which means nothing.
//! - The log is a guest: it never makes the data directory. A command that creates nothing
//!   else creates no log, one that has nothing to say does not touch it, and a data directory
//!   of a newer pachat is left alone.
//! - A log that cannot be written fails no command. The first failure is remembered, for
//!   the one warning that a process gives.
//! - Lines are not synced: they are there after the death of a process, not of the machine.
//! - Nothing is written before keys are taken out of it.

mod read;
mod rotation;

use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use log::{Level, LevelFilter};

use super::lock::{self, Lock, Patience};
use super::{Store, atomic};
use crate::model::error::{Error, Kind, Result, describe};
use crate::model::log_line::{Event, LogLine};
use crate::model::secret::Secret;
use crate::platform::Signals;
use crate::platform::disk::{File, LockMode, Open};

pub use read::{read, since};
pub use rotation::{Chore, Task};

/// How long a line waits for its lock. It is held for a line, or for a renaming.
const PATIENCE: Duration = Duration::from_secs(2);

/// When a log is put away, and for how long it is kept.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// A larger one is put away, in bytes.
    pub size: u64,
    /// One that begins with an older line is put away.
    pub age: Duration,
    /// One that was put away longer ago is removed.
    pub keep: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        const DAY: u64 = 24 * 60 * 60;
        Self {
            size: 5_000_000,
            age: Duration::from_secs(7 * DAY),
            keep: Duration::from_secs(30 * DAY),
        }
    }
}

/// Where lines are shown as well.
type Echo = (LevelFilter, Mutex<Box<dyn Write + Send>>);

/// The log of one run. Making one touches nothing.
pub struct Log {
    store: Store,
    level: LevelFilter,
    pid: u32,
    limits: Limits,
    echo: Option<Echo>,
    secrets: Mutex<Vec<Secret>>,
    failure: Mutex<Option<Error>>,
    /// Whether the format of the store is one that this program writes; looked up once.
    usable: AtomicBool,
    /// The last failure that a line tells of, so that it is not told twice.
    told: Mutex<Option<String>>,
}

impl Log {
    /// The log of a store, for lines of this level and above.
    pub fn new(store: Store, level: LevelFilter, pid: u32) -> Self {
        Self {
            store,
            level,
            pid,
            limits: Limits::default(),
            echo: None,
            secrets: Mutex::default(),
            failure: Mutex::default(),
            usable: AtomicBool::new(false),
            told: Mutex::default(),
        }
    }

    /// The same with other limits.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// The same, with lines of this level and above shown on `writer`, whatever the file takes.
    #[must_use]
    pub fn with_echo(mut self, level: LevelFilter, writer: Box<dyn Write + Send>) -> Self {
        self.echo = Some((level, Mutex::new(writer)));
        self
    }

    /// The most detailed level that goes anywhere.
    pub fn level(&self) -> LevelFilter {
        let echo = self.echo.as_ref().map_or(LevelFilter::Off, |echo| echo.0);
        self.level.max(echo)
    }

    /// From here on, this is taken out of every line.
    pub fn hide(&self, secret: &Secret) {
        let mut secrets = guard(&self.secrets);
        if !secrets.contains(secret) {
            secrets.push(secret.clone());
        }
    }

    /// Writes down what happened. Never fails; see [`Log::failure`].
    pub fn record(&self, level: Level, event: Event) {
        // Who changed what is worth knowing at any level but `off`.
        let wanted = match event {
            Event::Audit(_) => self.level > LevelFilter::Off,
            _ => level <= self.level,
        };
        if wanted || self.echo.is_some() {
            let text = self.line(level, event);
            self.show(level, &text);
            if wanted {
                self.keep(&text);
            }
        }
    }

    /// Writes down a failure that the person is told of elsewhere, unless the last line of a
    /// request has told it.
    pub fn record_failure(&self, target: &str, failure: &str) {
        if self.level >= Level::Error && guard(&self.told).as_deref() != Some(failure) {
            let event = Event::Program {
                target: target.to_owned(),
                message: failure.to_owned(),
            };
            self.keep(&self.line(Level::Error, event));
        }
    }

    /// The line that [`Log::record`] would write, without keys and without a line feed.
    pub fn line(&self, level: Level, event: Event) -> String {
        if let Event::Exchange(exchange) = &event {
            guard(&self.told).clone_from(&exchange.error);
        }
        let mut line = LogLine {
            at: self.store.clock().now(),
            level,
            pid: self.pid,
            event,
        };
        let secrets = guard(&self.secrets);
        line.tidy(&secrets.iter().collect::<Vec<_>>());
        line.to_string()
    }

    /// Writes a line made by [`Log::line`], where its level wants it.
    pub fn put(&self, level: Level, line: &str) {
        self.show(level, line);
        if level <= self.level {
            self.keep(line);
        }
    }

    /// Why the log could not be written, the first time that it could not.
    pub fn failure(&self) -> Option<String> {
        let failure = guard(&self.failure);
        failure.as_ref().map(|error| {
            let path = error
                .path_ref()
                .map(|path| format!(" ({})", path.display()));
            let path = path.unwrap_or_default();
            format!("the log cannot be written: {}{path}", error.headline())
        })
    }

    fn show(&self, level: Level, line: &str) {
        if let Some((_, writer)) = self.echo.as_ref().filter(|echo| level <= echo.0) {
            // Who cannot be talked to cannot be told so.
            let _ = guard(writer).write_all(format!("{line}\n").as_bytes());
        }
    }

    fn keep(&self, line: &str) {
        if let Err(error) = self.append(line) {
            guard(&self.failure).get_or_insert(error);
        }
    }

    fn append(&self, line: &str) -> Result<()> {
        let Some(mut opened) = self.open()? else {
            return Ok(());
        };
        if opened.is_due(&self.limits, self.store.clock().now()) {
            // Nobody may have it open who wants to rename it.
            drop(opened);
            if let Err(error) = self.rotate() {
                guard(&self.failure).get_or_insert(error);
            }
            opened = match self.open()? {
                Some(opened) => opened,
                None => return Ok(()),
            };
        }
        let start = if opened.torn { "\n" } else { "" };
        let line = format!("{start}{line}\n");
        let path = self.store.layout().log();
        opened
            .file
            .write_all(line.as_bytes())
            .map_err(|error| cannot(&path, &error))
    }

    /// Opens the log under its lock; `None` where there is no data directory to keep it in,
    /// or a newer one, whose logs may be others.
    fn open(&self) -> Result<Option<Opened>> {
        if !self.usable.load(Ordering::Relaxed) {
            match self.store.check_format() {
                Ok(()) => self.usable.store(true, Ordering::Relaxed),
                Err(error) if error.kind() == Kind::Malformed => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        match self.open_in_place() {
            Ok(opened) => Ok(Some(opened)),
            // Waited for long enough.
            Err(error) if error.kind() == Kind::Busy => Err(error),
            // Most often a directory is missing.
            Err(error) => match self.prepare() {
                Ok(true) => self.open_in_place().map(Some),
                Ok(false) => Ok(None),
                Err(_) => Err(error),
            },
        }
    }

    fn open_in_place(&self) -> Result<Opened> {
        let lock = self.lock(LockMode::Shared, PATIENCE)?;
        let path = self.store.layout().log();
        self.store
            .disk()
            .open(&path, Open::AppendOrCreate)
            .and_then(|file| Opened::new(file, lock))
            .map_err(|error| cannot(&path, &error))
    }

    /// Makes the directories. `false` if there is no data directory.
    fn prepare(&self) -> Result<bool> {
        let layout = self.store.layout();
        match self.store.disk().stat(layout.root()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            _ => {}
        }
        for directory in [layout.run_dir(), layout.logs_dir()] {
            atomic::create_dirs(self.store.disk(), &directory)?;
        }
        Ok(true)
    }

    fn lock(&self, mode: LockMode, limit: Duration) -> Result<Lock> {
        self.acquire(&self.store.layout().log_lock(), mode, limit)
    }

    fn acquire(&self, path: &Path, mode: LockMode, limit: Duration) -> Result<Lock> {
        // A signal that ends a command is no reason not to write that down.
        let signals = Signals::default();
        let mut patience = Patience {
            limit: Some(limit),
            signals: &signals,
            notify: &mut || {},
        };
        let (disk, clock) = (&self.store.disk, self.store.clock());
        lock::acquire(disk, clock, path, mode, false, &mut patience)
    }
}

/// The log, open, and its lock. Fields are dropped in this order: the file is closed first.
struct Opened {
    file: Box<dyn File>,
    _lock: Lock,
    len: u64,
    /// The time of the first line, if it has one.
    begins: Option<Timestamp>,
    /// Whether the last line lacks its end.
    torn: bool,
}

impl Opened {
    fn new(mut file: Box<dyn File>, lock: Lock) -> io::Result<Self> {
        let len = file.stat()?.len;
        let (mut begins, mut torn) = (None, false);
        if len > 0 {
            begins = first_time(file.as_mut())?;
            file.seek(SeekFrom::Start(len - 1))?;
            let mut last = [0];
            torn = file.read(&mut last)? == 1 && last != *b"\n";
        }
        Ok(Self {
            file,
            _lock: lock,
            len,
            begins,
            torn,
        })
    }

    fn is_due(&self, limits: &Limits, now: Timestamp) -> bool {
        is_due(self.len, self.begins, limits, now)
    }
}

fn is_due(len: u64, begins: Option<Timestamp>, limits: &Limits, now: Timestamp) -> bool {
    let old = begins.is_some_and(|begins| is_older(begins, limits.age, now));
    len > limits.size || old
}

/// A time in the future is not old: the clock may have been wrong.
fn is_older(at: Timestamp, age: Duration, now: Timestamp) -> bool {
    Duration::try_from(now.duration_since(at)).is_ok_and(|passed| passed > age)
}

/// The time with which a file begins that is open at its start.
fn first_time(file: &mut dyn File) -> io::Result<Option<Timestamp>> {
    let mut bytes = [0; 32];
    let count = file.read(&mut bytes)?;
    let text = std::str::from_utf8(&bytes[..count]).unwrap_or_default();
    Ok(text.split(' ').next().and_then(|word| word.parse().ok()))
}

/// For [`Log::failure`], which says what could not be done.
fn cannot(path: &Path, error: &io::Error) -> Error {
    Error::new(Kind::Io, describe(error)).path(path)
}

/// What a panic elsewhere left behind is still whole: each lock guards one assignment.
fn guard<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
