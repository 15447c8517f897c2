//! What the program and its libraries log through the macros of `log`, on its way into the
//! log file.
//!
//! Layer: beside `app`. `log` knows one logger for a process, while [`crate::run`] may be
//! called twice in one, also at the same time. So each run registers its log here: what is
//! logged goes to the log of the run on the same thread, and what a library logs on a thread
//! of its own to the run that began first.

use std::cell::Cell;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};
use std::time::Duration;

use log::{Level, LevelFilter};

use crate::cli::{Cli, Command};
use crate::context::Context;
use crate::model::log_line::Event;
use crate::platform::{Output, process};
use crate::settings::Settings;
use crate::store::Store;
use crate::store::log::{Limits, Log};

static RUNS: Mutex<Vec<(ThreadId, Arc<Log>)>> = Mutex::new(Vec::new());

thread_local! {
    /// Whether this thread is writing a line: what the writer itself has to say is dropped.
    static WRITING: Cell<bool> = const { Cell::new(false) };
}

/// The log of a run: to the file as much as the settings say, and with `-v` to standard
/// error, too.
pub(crate) fn log(cli: &Cli, settings: &Settings, store: Store, stderr: &mut Output) -> Log {
    let configured = settings.log_level();
    // `--no-save` leaves no trace, and `--dry-run` changes nothing.
    let file = match &cli.command {
        Command::Send(args) if args.no_save || args.dry_run => LevelFilter::Off,
        Command::Restore(args) if args.dry_run => LevelFilter::Off,
        Command::Rollback(args) if args.dry_run => LevelFilter::Off,
        Command::Cleanup(args) if args.dry_run => LevelFilter::Off,
        _ => configured,
    };
    let log = Log::new(store, file, process::id()).with_limits(limits(settings));
    let log = match (cli.global.quiet, cli.global.verbose) {
        (true, _) | (_, 0) => log,
        (_, 1) => log.with_echo(configured, stderr.share()),
        (_, 2) => log.with_echo(configured.max(LevelFilter::Debug), stderr.share()),
        _ => log.with_echo(LevelFilter::Trace, stderr.share()),
    };
    let secrets = [
        settings.api_key().map(|(key, _)| key),
        settings.encryption_key(),
    ];
    secrets
        .into_iter()
        .flatten()
        .for_each(|secret| log.hide(secret));
    log
}

/// When logs are put away, and how long they stay.
pub(crate) fn limits(settings: &Settings) -> Limits {
    let mut limits = Limits::default();
    if let Some(days) = settings.days("cleanup.log_days") {
        limits.keep = Duration::from_secs(u64::from(days) * 24 * 60 * 60);
    }
    limits
}

/// Takes what is logged on this thread until it is dropped.
pub(crate) struct Run(Arc<Log>);

impl Run {
    /// Begins to take what is logged.
    pub(crate) fn begin(log: &Arc<Log>) -> Self {
        // A second run in one process finds the logger in place.
        let _ = env_logger::Builder::new()
            .filter_level(LevelFilter::Trace)
            .format(format)
            .target(env_logger::Target::Pipe(Box::new(Pipe)))
            .write_style(env_logger::WriteStyle::Never)
            .try_init();
        let mut runs = runs();
        runs.push((thread::current().id(), Arc::clone(log)));
        set_level(&runs);
        Self(Arc::clone(log))
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let mut runs = runs();
        runs.retain(|(_, log)| !Arc::ptr_eq(log, &self.0));
        set_level(&runs);
    }
}

/// Gives the warning that a process owes if its log could not be written.
pub(crate) fn warn_of_failure(context: &mut Context) {
    if let Some(failure) = context.log.failure() {
        context.ui.warn(&failure);
    }
}

fn runs() -> MutexGuard<'static, Vec<(ThreadId, Arc<Log>)>> {
    RUNS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn set_level(runs: &[(ThreadId, Arc<Log>)]) {
    let level = runs.iter().map(|(_, log)| log.level()).max();
    log::set_max_level(level.unwrap_or(LevelFilter::Off));
}

fn current() -> Option<Arc<Log>> {
    let runs = runs();
    let this = thread::current().id();
    let own = runs.iter().rev().find(|(thread, _)| *thread == this);
    own.or(runs.first()).map(|(_, log)| Arc::clone(log))
}

/// Makes a line of a record. An error means that there is nothing to write.
fn format(out: &mut env_logger::fmt::Formatter, record: &log::Record<'_>) -> io::Result<()> {
    let log = current().filter(|log| record.level() <= log.level() && !WRITING.get());
    let Some(log) = log else {
        return Err(io::ErrorKind::NotFound.into());
    };
    let event = Event::Program {
        target: record.target().to_owned(),
        message: record.args().to_string(),
    };
    out.write_all(log.line(record.level(), event).as_bytes())
}

/// Where `env_logger` writes to: one call, one line.
struct Pipe;

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let line = String::from_utf8_lossy(bytes);
        let level = line.split(' ').nth(1).and_then(|word| word.parse().ok());
        if let Some(log) = current() {
            WRITING.set(true);
            log.put(level.unwrap_or(Level::Error), &line);
            WRITING.set(false);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
