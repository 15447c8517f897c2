//! Probes: whether everything that pachat needs is there and works.
//!
//! Layer: ops. Promises: a look changes nothing that stays (one small file in the data
//! directory comes and goes); it creates no data directory, writes nothing to the log, and
//! costs nothing at any server. Each probe has a bound, and one that does not come back in
//! time is reported as such and holds up nobody: its thread, which may hang in a dead network
//! file system for ever, is left to itself and owns all it works with. A place that is known to
//! give no answer is not touched at all.

mod local;
mod report;
mod server;
mod silent;
mod store;

use std::path::PathBuf;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::model::error::Result;
use crate::model::size::ByteSize;
use crate::platform::Signals;
use crate::store::Store;
use crate::store::lock;

use super::statistics::Statistics;

pub use report::{Metric, Probe, Problem, Report, Status};
pub use server::{Model, ServerJob};
pub use silent::Silent;

/// The probes by name, in the order of a report.
pub const NAMES: [&str; 13] = [
    DATA_DIR,
    PERMISSIONS,
    CONFIG,
    KEY,
    SERVER,
    MODEL,
    REQUESTS,
    RATE,
    STORE,
    INTERRUPTED,
    BACKUP,
    MEMORY,
    CLOCK,
];

const DATA_DIR: &str = "data-dir";
const PERMISSIONS: &str = "permissions";
const CONFIG: &str = "config";
const KEY: &str = "key";
const SERVER: &str = "server";
const MODEL: &str = "model";
const REQUESTS: &str = "requests";
const RATE: &str = "rate";
const STORE: &str = "store";
const INTERRUPTED: &str = "interrupted";
const BACKUP: &str = "backup";
const MEMORY: &str = "memory";
const CLOCK: &str = "clock";

/// How long a place may take that is looked at before anything is read there.
pub const LOOK: Duration = Duration::from_secs(4);

/// How long a probe that asks no server may take.
const LOCAL: Duration = Duration::from_secs(5);

/// How much longer the network's probe is waited for than it is told to take, so that it can
/// say itself what was too slow.
const GRACE: Duration = Duration::from_secs(1);

/// How often to look whether a signal has arrived.
const GLANCE: Duration = Duration::from_millis(20);

/// By how much clocks may differ.
const SKEW: SignedDuration = SignedDuration::from_mins(5);

/// The earliest time that a clock can show: no pachat is older.
const EARLIEST: &str = "2026-01-01T00:00:00Z";

/// Whether a probe asks the server, unless it is told not to.
pub fn asks_server(name: &str) -> bool {
    matches!(name, SERVER | MODEL | CLOCK)
}

#[expect(clippy::cast_precision_loss, reason = "monitoring counts in floats")]
fn number(count: u64) -> f64 {
    count as f64
}

/// How the settings were read.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file of settings.
    pub file: PathBuf,
    /// Why it cannot be used, and what to do: headline and hint.
    pub fault: Option<(String, Option<String>)>,
    /// What is odd about the settings.
    pub warnings: Vec<String>,
}

/// How the key was found.
#[derive(Clone, Debug)]
pub enum Key {
    /// There is none, and the server wants one or not.
    Missing {
        /// Whether the server wants one.
        wanted: bool,
    },
    /// There is one, from there.
    Found {
        /// Where it came from.
        source: String,
        /// What is odd about it.
        doubt: Option<String>,
    },
    /// It is there, and opening it takes a person or a command.
    Closed {
        /// Where it is.
        source: String,
        /// Why it was not opened.
        why: String,
    },
    /// It is there, and the command that opens it did not come to its end in time.
    Late {
        /// Where it is.
        source: String,
        /// Where the command stands.
        command: &'static str,
        /// How long it was given.
        limit: Duration,
    },
    /// It is there, and must not be sent.
    Withheld {
        /// Where it came from.
        source: String,
    },
    /// It does not open: headline and hint.
    Fault(String, Option<String>),
}

/// What is too much, and what is too long ago.
#[derive(Clone, Copy, Debug)]
pub struct Thresholds {
    /// How large the data directory may grow.
    pub storage: ByteSize,
    /// How many conversations may be in use.
    pub conversations: u64,
    /// How large one of them may grow.
    pub conversation: ByteSize,
    /// How much memory pachat may use.
    pub memory: ByteSize,
    /// How many requests a minute may have.
    pub per_minute: u32,
    /// How long the server may take.
    pub response: Duration,
    /// How old the newest verified backup may be, in days.
    pub backup_days: u32,
}

/// What to look at.
pub struct Job {
    /// The probes that are wanted: some of [`NAMES`].
    pub names: Vec<&'static str>,
    /// What gives no answer and is not to be touched.
    pub silent: Vec<Silent>,
    /// How the settings were read.
    pub config: Config,
    /// Where `master.key` and `.env` are.
    pub config_dir: Option<PathBuf>,
    /// The sealed keys.
    pub keys_file: PathBuf,
    /// The user that this process acts for.
    pub user: Option<u32>,
    /// How the key was found.
    pub key: Key,
    /// The server's name in file names.
    pub server_name: String,
    /// The server, or why none is asked.
    pub server: std::result::Result<ServerJob, &'static str>,
    /// The model of new conversations.
    pub model: Model,
    /// How long the server may take altogether.
    pub limit: Duration,
    /// What is too much.
    pub thresholds: Thresholds,
}

/// What a task brings back.
#[derive(Default)]
struct Outcome {
    probes: Vec<Probe>,
    statistics: Option<Statistics>,
    /// When the file changed that changed last.
    newest: Option<Timestamp>,
    /// By how much the server's clock is ahead.
    skew: Option<SignedDuration>,
}

impl From<Probe> for Outcome {
    fn from(probe: Probe) -> Self {
        Self {
            probes: vec![probe],
            ..Self::default()
        }
    }
}

/// Probes that are looked at together, on a thread of their own.
struct Task {
    names: &'static [&'static str],
    limit: Duration,
    work: Box<dyn FnOnce() -> Outcome + Send>,
    /// What to say of one that does not come back.
    late: Box<dyn Fn() -> Vec<Probe>>,
}

impl Task {
    fn local(
        names: &'static [&'static str],
        work: impl FnOnce() -> Outcome + Send + 'static,
    ) -> Self {
        let late = move || {
            let late = |name| {
                Probe::new(name, "no answer").unhealthy(
                    "probe-timeout",
                    format!("the disk gave no answer for {} s", LOCAL.as_secs()),
                    "check whether the data directory is on a network file system that is away",
                )
            };
            // The clock is shown whatever the others say.
            let own = names.iter().copied().filter(|name| *name != CLOCK);
            own.map(late).collect()
        };
        Self {
            names,
            limit: LOCAL,
            work: Box::new(work),
            late: Box::new(late),
        }
    }
}

/// Looks at everything that is wanted. Only a signal is an error.
pub fn check(job: Job, store: &Store, signals: &Signals) -> Result<Report> {
    let at = store.clock().now();
    let wanted = job.names.clone();
    let mut probes = silent::probes(&job.silent, &wanted);
    let told: Vec<&str> = probes.iter().map(|probe| probe.name).collect();
    let is_open = |name: &str| wanted.contains(&name) && !told.contains(&name);
    let mut others = vec![config(&job.config), key(&job.key)];
    let mut tasks = tasks(job, store);
    // What tells of the newest file for the clock needs the directory that gives no answer.
    tasks.retain(|task| {
        let own = task
            .names
            .iter()
            .filter(|name| **name != CLOCK || told.is_empty());
        own.into_iter().any(|name| is_open(name))
    });
    let outcome = carry_out(tasks, store, signals)?;
    others.extend(outcome.probes);
    others.push(clock(at, outcome.newest, outcome.skew));
    probes.extend(others.into_iter().filter(|probe| is_open(probe.name)));
    probes.sort_by_key(|probe| NAMES.iter().position(|name| *name == probe.name));
    Ok(Report {
        at,
        probes,
        statistics: outcome.statistics,
    })
}

fn tasks(job: Job, store: &Store) -> Vec<Task> {
    let mut tasks = Vec::new();
    let limits = job.thresholds;
    match job.server {
        Ok(server) => tasks.push(server::task(server, job.model, job.limit, limits, store)),
        Err(why) => {
            let (store, model) = (store.clone(), job.model);
            tasks.push(Task::local(&[SERVER, MODEL], move || {
                server::unasked(&model, why, &store)
            }));
        }
    }
    let own = store.clone();
    tasks.push(Task::local(&[DATA_DIR], move || {
        local::data_dir(&own).into()
    }));
    let own = store.clone();
    let places = local::Places {
        config_dir: job.config_dir,
        config_file: job.config.file,
        keys_file: job.keys_file,
        user: job.user,
    };
    tasks.push(Task::local(&[PERMISSIONS], move || {
        local::permissions(&own, &places).into()
    }));
    let own = store.clone();
    tasks.push(Task::local(&[STORE, INTERRUPTED, CLOCK], move || {
        store::look(&own, &limits)
    }));
    let own = store.clone();
    tasks.push(Task::local(&[BACKUP], move || {
        local::backup(&own, limits.backup_days).into()
    }));
    let own = store.clone();
    let server_name = job.server_name;
    tasks.push(Task::local(&[REQUESTS, RATE], move || {
        local::log(&own, &server_name, limits.per_minute)
    }));
    let own = store.clone();
    tasks.push(Task::local(&[MEMORY], move || {
        local::memory(own.disk(), limits.memory).into()
    }));
    tasks
}

fn carry_out(tasks: Vec<Task>, store: &Store, signals: &Signals) -> Result<Outcome> {
    let clock = store.clock();
    let start = clock.elapsed();
    let (sender, receiver) = mpsc::channel();
    let mut pending = Vec::new();
    let mut all = Outcome::default();
    for (number, task) in tasks.into_iter().enumerate() {
        let Task {
            limit, work, late, ..
        } = task;
        let sender = sender.clone();
        let spawned = thread::Builder::new()
            .name("probe".into())
            // Nobody listens any more to one that is late.
            .spawn(move || drop(sender.send((number, work()))));
        match spawned {
            Ok(_) => pending.push((number, limit, late)),
            Err(error) => {
                log::warn!("cannot start a thread: {error}");
                all.probes.extend(late());
            }
        }
    }
    drop(sender);
    while !pending.is_empty() {
        match receiver.recv_timeout(GLANCE) {
            Ok((number, outcome)) => {
                pending.retain(|(one, ..)| *one != number);
                let Outcome {
                    probes,
                    statistics,
                    newest,
                    skew,
                } = outcome;
                all.probes.extend(probes);
                all.statistics = all.statistics.or(statistics);
                all.newest = all.newest.or(newest);
                all.skew = all.skew.or(skew);
            }
            Err(RecvTimeoutError::Timeout) => {
                lock::stop_on(signals)?;
                let passed = clock.elapsed().saturating_sub(start);
                pending.retain(|(_, limit, late)| {
                    let is_late = passed > *limit;
                    if is_late {
                        all.probes.extend(late());
                    }
                    !is_late
                });
            }
            // Only a fault in a probe ends its thread without a word.
            Err(RecvTimeoutError::Disconnected) => {
                for (_, _, late) in pending.drain(..) {
                    all.probes.extend(late());
                }
            }
        }
    }
    Ok(all)
}

fn config(config: &Config) -> Probe {
    if let Some((cause, hint)) = &config.fault {
        const ALL: &str = "see all that is wrong: pachat validate config";
        let remedy = match hint {
            Some(hint) => format!("{hint}; {ALL}"),
            None => ALL.to_owned(),
        };
        let value = "not valid: what is wrong counts for nothing";
        return Probe::new(CONFIG, value).unhealthy("bad-config", cause, remedy);
    }
    match config.warnings.as_slice() {
        [] => Probe::new(CONFIG, "read without a complaint"),
        [one] => Probe::new(CONFIG, "read with a warning").degraded(
            "config-warning",
            one,
            "pachat validate config",
        ),
        several => {
            let count = several.len();
            Probe::new(CONFIG, format!("read with {count} warnings")).degraded(
                "config-warning",
                several.join("; "),
                "pachat validate config",
            )
        }
    }
}

fn key(key: &Key) -> Probe {
    const SET: &str = "pachat config key set";
    match key {
        Key::Missing { wanted: false } => Probe::new(KEY, "none, and none is needed"),
        Key::Missing { wanted: true } => Probe::new(KEY, "none").unhealthy(
            "no-key",
            "there is no API key, and the server wants one",
            format!("{SET}, or set OPENROUTER_API_KEY"),
        ),
        Key::Found { source, doubt } => {
            let probe = Probe::new(KEY, format!("from {source}"));
            match doubt {
                Some(doubt) => probe.degraded("odd-key", doubt, SET),
                None => probe,
            }
        }
        Key::Closed { source, why } => {
            Probe::new(KEY, format!("from {source}; not opened: {why}"))
        }
        Key::Late {
            source,
            command,
            limit,
        } => {
            let seconds = limit.as_secs();
            Probe::new(KEY, format!("from {source}; no answer")).unhealthy(
                "key-timeout",
                format!("the command in {command} took longer than {seconds} s, and was ended"),
                format!(
                    "run it yourself and see what it waits for; or give it more time: --timeout {}",
                    seconds.saturating_mul(2).min(600)
                ),
            )
        }
        Key::Withheld { source } => Probe::new(KEY, format!("from {source}; not sent")).unhealthy(
            "key-over-http",
            "the server is another machine and the connection is not encrypted, so the key is not sent",
            "use https in the base URL, or allow it with --insecure-http",
        ),
        Key::Fault(cause, hint) => Probe::new(KEY, "does not open").unhealthy(
            "key-closed",
            cause,
            hint.clone().unwrap_or_else(|| "pachat config key status".into()),
        ),
    }
}

/// The clock against a server's, against the newest file, and against reason.
fn clock(now: Timestamp, newest: Option<Timestamp>, skew: Option<SignedDuration>) -> Probe {
    const SET: &str =
        "set this machine's clock, and let it be kept right (timedatectl set-ntp true)";
    let time = now.strftime("%Y-%m-%d %H:%M:%S UTC");
    let mut probe = Probe::new(CLOCK, time.to_string());
    if let Some(skew) = skew {
        let seconds = skew.as_secs();
        probe = probe.metric(
            "clock_skew_seconds",
            "By how much the server's clock is ahead of this machine's",
            skew.as_secs_f64(),
        );
        if skew.abs() > SKEW {
            let (by, side) = (
                seconds.unsigned_abs(),
                if seconds > 0 { "behind" } else { "ahead of" },
            );
            probe = probe.degraded(
                "clock-skew",
                format!("this machine's clock is {} {side} the server's", span(by)),
                SET,
            );
        } else {
            probe.value.push_str(", as the server's");
        }
    }
    let earliest: Option<Timestamp> = EARLIEST.parse().ok();
    if earliest.is_some_and(|earliest| now < earliest) {
        return probe.unhealthy(
            "clock-wrong",
            "the clock shows a time before this program was made",
            SET,
        );
    }
    if let Some(newest) = newest {
        let ahead = newest.duration_since(now);
        if ahead > SignedDuration::from_mins(1) {
            let by = span(ahead.as_secs().unsigned_abs());
            return probe.degraded(
                "clock-behind-files",
                format!("the newest conversation was changed {by} from now: the clock was set back, or was ahead"),
                SET,
            );
        }
    }
    probe
}

/// A span for people: `90 s`, `12 min`, `5 h`, `3 days`.
fn span(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}
