//! A host for `pachat::run` inside a test: a temporary home, its own streams, a clock that
//! only moves when something waits.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use pachat::platform::disk::RealDisk;
use pachat::platform::program::{self, Ended, RealPrograms};
use pachat::platform::{
    Clock, Disk, Environment, Host, Input, Output, Programs, Random, Secrets, Signals,
};
use zeroize::Zeroizing;

/// A clock that begins at a chosen moment and moves when somebody sleeps.
pub struct TestClock {
    waited: AtomicU64,
    /// Real time counts, too: for tests against a server.
    start: std::time::Instant,
    /// How many seconds pass in a real one.
    speed: u32,
    calendar: Timestamp,
    zone: TimeZone,
}

impl TestClock {
    pub fn new() -> Self {
        Self::at("2026-08-22T09:41:07Z")
    }

    /// A clock that shows this time when it begins.
    pub fn at(calendar: &str) -> Self {
        Self {
            waited: AtomicU64::new(0),
            start: std::time::Instant::now(),
            speed: 1,
            calendar: calendar.parse().unwrap(),
            zone: TimeZone::UTC,
        }
    }

    /// The same at another speed: for limits that must pass while the server goes on.
    pub fn faster(self, speed: u32) -> Self {
        Self { speed, ..self }
    }

    /// The same in another time zone.
    pub fn in_zone(self, zone: TimeZone) -> Self {
        Self { zone, ..self }
    }

    /// How long was slept, which took no time.
    pub fn waited(&self) -> Duration {
        Duration::from_micros(self.waited.load(Ordering::SeqCst))
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        self.calendar + self.elapsed()
    }

    fn elapsed(&self) -> Duration {
        self.waited() + self.start.elapsed() * self.speed
    }

    fn sleep(&self, time: Duration) {
        self.waited
            .fetch_add(u64::try_from(time.as_micros()).unwrap(), Ordering::SeqCst);
        std::thread::yield_now();
    }

    fn zone(&self) -> TimeZone {
        self.zone.clone()
    }
}

/// Numbers that look random and are the same in each run.
pub struct TestRandom(AtomicU64);

impl TestRandom {
    pub fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }
}

impl Random for TestRandom {
    fn fill(&self, buffer: &mut [u8]) -> io::Result<()> {
        for byte in buffer {
            // SplitMix64.
            let mut z = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::SeqCst);
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            *byte = (z >> 56) as u8;
        }
        Ok(())
    }
}

/// A stream that keeps what is written.
#[derive(Clone, Default)]
pub struct Captured {
    written: Arc<(Mutex<Vec<u8>>, Condvar)>,
    /// After so many bytes nobody reads any more.
    closes_after: Option<usize>,
}

impl Captured {
    /// A stream whose reader goes away once it has seen so many bytes.
    pub fn closing_after(bytes: usize) -> Self {
        Self {
            closes_after: Some(bytes),
            ..Self::default()
        }
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.written.0.lock().unwrap().clone()).unwrap()
    }

    /// What was written, which need not be text.
    pub fn bytes(&self) -> Vec<u8> {
        self.written.0.lock().unwrap().clone()
    }

    /// Waits until this was written; `false` if that takes too long.
    pub fn wait_for(&self, text: &str) -> bool {
        let missing = |written: &mut Vec<u8>| !String::from_utf8_lossy(written).contains(text);
        let written = self.written.0.lock().unwrap();
        let waited = self
            .written
            .1
            .wait_timeout_while(written, super::server::PATIENCE, missing);
        !missing(&mut waited.unwrap().0)
    }
}

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut written = self.written.0.lock().unwrap();
        if self
            .closes_after
            .is_some_and(|limit| written.len() >= limit)
        {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        written.extend_from_slice(bytes);
        self.written.1.notify_all();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What of the host a test wants to hold in its hands while pachat runs.
#[derive(Clone)]
pub struct Cues {
    pub clock: Arc<TestClock>,
    pub signals: Signals,
    pub stdout: Captured,
    pub stderr: Captured,
    /// Whether standard output is a terminal.
    pub terminal: bool,
}

impl Default for Cues {
    fn default() -> Self {
        Self {
            clock: Arc::new(TestClock::new()),
            signals: Signals::default(),
            stdout: Captured::default(),
            stderr: Captured::default(),
            terminal: false,
        }
    }
}

struct NoSecrets;

impl Secrets for NoSecrets {
    fn ask(&self, _prompt: &str) -> io::Result<Zeroizing<String>> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// Programs that the test keeps, too.
struct Lent(Arc<dyn Programs + Send + Sync>);

impl Programs for Lent {
    fn capture(&self, command: &str, limit: Option<Duration>) -> io::Result<program::Captured> {
        self.0.capture(command, limit)
    }

    fn run(
        &self,
        program: &OsStr,
        words: &[OsString],
        stdin: &[u8],
        limit: Option<Duration>,
    ) -> io::Result<Ended> {
        self.0.run(program, words, stdin, limit)
    }

    fn edit(&self, editor: &str, file: &Path) -> io::Result<bool> {
        self.0.edit(editor, file)
    }
}

/// Whether the tests themselves are in a place that everybody writes to, such as below `/tmp`:
/// that is a finding of its own.
pub fn is_shared(path: &Path) -> bool {
    path.ancestors().any(|directory| {
        let stat = RealDisk.stat(directory);
        stat.is_ok_and(|stat| stat.mode.is_some_and(|mode| mode & 0o1002 == 0o1002))
    })
}

/// What one run left behind.
#[derive(Debug)]
pub struct Ran {
    pub stdout: String,
    pub stderr: String,
    pub code: u8,
}

/// A home of its own for pachat.
pub struct Sandbox {
    directory: tempfile::TempDir,
    pub variables: BTreeMap<OsString, OsString>,
    pub disk: Arc<dyn Disk>,
    /// One for all runs: what one run wrote is in the past of the next.
    pub clock: Arc<TestClock>,
    /// What Ctrl-C goes to.
    pub signals: Signals,
    /// Other programs, if not the machine's.
    pub programs: Option<Arc<dyn Programs + Send + Sync>>,
    /// The number of the person, whoever runs the tests.
    pub user: Option<u32>,
    runs: AtomicU64,
}

impl Sandbox {
    pub fn new() -> Self {
        Self::within(tempfile::tempdir().unwrap())
    }

    /// One in the directory of the build: that it is below `/tmp` is what a look at security
    /// finds of the others.
    pub fn at_home() -> Self {
        Self::within(tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap())
    }

    fn within(directory: tempfile::TempDir) -> Self {
        Self {
            directory,
            variables: BTreeMap::new(),
            disk: Arc::new(RealDisk),
            clock: Arc::new(TestClock::new()),
            signals: Signals::default(),
            programs: None,
            user: Some(1000),
            runs: AtomicU64::new(1),
        }
    }

    /// A sandbox that talks to the server at `base_url`.
    pub fn with_server(base_url: &str) -> Self {
        let mut sandbox = Self::new();
        sandbox.set("OPENROUTER_BASE_URL", base_url);
        sandbox.set("PACHAT_OPENROUTER_API_KEY", "test-key-0123456789");
        sandbox
    }

    pub fn set(&mut self, name: &str, value: &str) {
        self.variables.insert(name.into(), value.into());
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    pub fn data_dir(&self) -> PathBuf {
        self.path().join("data/pachat")
    }

    /// Runs pachat with these arguments and nothing on standard input.
    pub fn run(&self, args: &[&str]) -> Ran {
        self.run_with(args, "")
    }

    /// Runs pachat with these arguments and this on standard input.
    pub fn run_with(&self, args: &[&str], stdin: &(impl AsRef<[u8]> + ?Sized)) -> Ran {
        let cues = Cues {
            clock: Arc::clone(&self.clock),
            signals: self.signals.clone(),
            ..Cues::default()
        };
        self.run_on(&cues, args, stdin)
    }

    /// The same on a host of which the test holds parts.
    pub fn run_on(&self, cues: &Cues, args: &[&str], stdin: &(impl AsRef<[u8]> + ?Sized)) -> Ran {
        let code = self.code_on(cues, args, stdin);
        Ran {
            stdout: cues.stdout.text(),
            stderr: cues.stderr.text(),
            code,
        }
    }

    /// The same for a standard output that is no text.
    pub fn code_on(&self, cues: &Cues, args: &[&str], stdin: &(impl AsRef<[u8]> + ?Sized)) -> u8 {
        let Cues { stdout, stderr, .. } = cues.clone();
        let host = Host {
            environment: Environment {
                variables: self.variables.clone(),
                working_directory: self.path().to_path_buf(),
                data_home: Some(self.path().join("data")),
                config_home: Some(self.path().join("config")),
                user: self.user,
                program: Some("/usr/local/bin/pachat".into()),
            },
            stdin: Input {
                reader: Box::new(io::Cursor::new(stdin.as_ref().to_vec())),
                is_terminal: false,
            },
            stdout: Output {
                writer: Box::new(stdout.clone()),
                is_terminal: cues.terminal,
                size: cues.terminal.then_some((80, 24)),
            },
            stderr: Output {
                writer: Box::new(stderr.clone()),
                is_terminal: false,
                size: None,
            },
            secrets: Box::new(NoSecrets),
            clock: Arc::clone(&cues.clock) as Arc<dyn Clock>,
            disk: Arc::clone(&self.disk),
            random: Arc::new(TestRandom::new(self.runs.fetch_add(1000, Ordering::SeqCst))),
            signals: cues.signals.clone(),
            programs: match &self.programs {
                Some(programs) => Box::new(Lent(Arc::clone(programs))),
                None => Box::new(RealPrograms::new(cues.signals.clone())),
            },
        };
        let args = std::iter::once("pachat")
            .chain(args.iter().copied())
            .map(OsString::from);
        let code = pachat::run(args, host);
        (0..=u8::MAX)
            .find(|number| ExitCode::from(*number) == code)
            .unwrap()
    }

    /// Every conversation's lines, in the order of their ids.
    pub fn conversations(&self) -> Vec<Vec<serde_json::Value>> {
        let directory = self.data_dir().join("conversations/active");
        let Ok(entries) = std::fs::read_dir(directory) else {
            return Vec::new();
        };
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.retain(|path| {
            path.extension()
                .is_some_and(|extension| extension == "jsonl")
        });
        paths.sort();
        paths
            .iter()
            .map(|path| {
                let text = std::fs::read_to_string(path).unwrap();
                assert!(text.ends_with('\n'), "{} ends in mid-line", path.display());
                text.lines()
                    .map(|line| serde_json::from_str(line).unwrap())
                    .collect()
            })
            .collect()
    }
}
