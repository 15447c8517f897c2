//! `pachat health`: whether everything works, once or over and over.
//!
//! Layer: commands. Promises: exit codes are those of monitoring plugins; a broken file of
//! settings, a missing data directory and one of a newer format are findings, not failures.

mod places;
mod prometheus;
mod report;
mod watch;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use clap::builder::PossibleValuesParser;

use crate::api::{Client, Profile};
use crate::commands::config::{QuietKey, resolve_key_quietly};
use crate::commands::connection::{self, GUIDE};
use crate::context::Context;
use crate::model::error::{Error, Kind, Result};
use crate::model::secret::Secret;
use crate::ops::health::{
    self, Config, Job, Key, Model, NAMES, Report, ServerJob, Silent, Status, Thresholds,
};
use crate::ops::key::{self, KeySource};
use crate::platform::network::RealNetwork;
use crate::platform::process;
use crate::settings::{Origin, Settings};
use crate::store::atomic;

pub use places::look_at_settings;

/// Arguments of `health`.
#[derive(Debug, Args)]
#[command(
    about = "Check that everything works, and say what is wrong",
    long_about = "Looks at the data directory, permissions, settings, the key, the server and its models, the requests of \
        the last week, sizes against their limits, backups, memory and the clock. Each probe is ok, degraded or \
        unhealthy, and says what to do if it is not ok. The server is asked for nothing that costs anything.\n\n\
        Probes: data-dir, permissions, config, key, server, model, requests, rate, store, interrupted, backup, \
        memory, clock.\n\n\
        Exit codes are those of monitoring plugins: 0 if everything is healthy, 1 if something is degraded, 2 if \
        something is unhealthy (or the command line is wrong).",
    after_long_help = "Examples:\n  \
        pachat health\n  \
        pachat health --offline --quiet          for cron: silent when healthy, one line when not\n  \
        pachat health --json | jq -r '.probes[] | select(.status != \"ok\") | .cause'\n  \
        pachat health --watch 60 --on-change 'notify-send \"pachat: $2\"'\n  \
        pachat health --prometheus --output /var/lib/node_exporter/pachat.prom\n\n\
        A file of --output that is there keeps its permissions; a new one is private. So that another \
        program may read it, make it once: install -m 644 /dev/null FILE"
)]
pub struct HealthArgs {
    /// Ask no server: look at this machine only
    #[arg(long)]
    pub offline: bool,

    /// Look at these probes only, with commas in between
    #[arg(long, value_name = "PROBE", value_delimiter = ',', value_parser = PossibleValuesParser::new(NAMES), hide_possible_values = true)]
    pub only: Vec<String>,

    /// Leave these probes out, with commas in between
    #[arg(long, value_name = "PROBE", value_delimiter = ',', value_parser = PossibleValuesParser::new(NAMES), hide_possible_values = true)]
    pub skip: Vec<String>,

    /// Give the server this many seconds altogether, and as many to a command that gives the key
    #[arg(long, value_name = "SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub timeout: u64,

    /// Where nothing is kept yet, as on a new machine, that is fine: look at nothing
    #[arg(long, hide_short_help = true, conflicts_with_all = ["json", "prometheus", "output", "watch"])]
    pub if_any: bool,

    /// Print one JSON document
    #[arg(long, conflicts_with = "prometheus")]
    pub json: bool,

    /// Print metrics for Prometheus, as the node exporter's textfile collector reads them
    #[arg(long)]
    pub prometheus: bool,

    /// Write to this file, all at once, and print one line if something is wrong
    #[arg(short, long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub output: Option<PathBuf>,

    /// Look again every so many seconds, until Ctrl-C
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub watch: Option<u64>,

    /// Run this command when the status changes, for a minute at most: $1 is the old one, $2 the new one, the complaints are its stdin
    #[arg(long, value_name = "COMMAND", requires = "watch", value_hint = clap::ValueHint::CommandString)]
    pub on_change: Option<String>,
}

/// Carries out `health`.
pub fn run(args: &HealthArgs, context: &mut Context) -> Result<()> {
    let names = names(args)?;
    if args.if_any && is_new(context) {
        context.ui.note("nothing is kept yet");
        return Ok(());
    }
    if let Some(seconds) = args.watch {
        let pause = Duration::from_secs(seconds);
        return watch::run(args, &names, pause, context);
    }
    let report = look(args, &names, context)?;
    let shown = document(args, &report, context)?;
    match &args.output {
        Some(_) => {
            save(args, &shown, context)?;
            complain(&report, context)?;
        }
        None if context.global.quiet && !args.json && !args.prometheus => {
            complain(&report, context)?;
        }
        // What comes from outside was cleaned line by line; what is left are colours.
        None => context.ui.data(shown.as_bytes())?,
    }
    verdict(report.status())
}

/// Whether there is no store yet.
fn is_new(context: &Context) -> bool {
    matches!(context.store().format(), Ok(None))
}

/// The exit code of a status. All has been said already.
fn verdict(status: Status) -> Result<()> {
    match status.number() {
        0 => Ok(()),
        1 => Err(Error::new(Kind::No, "")),
        _ => Err(Error::new(Kind::Usage, "")),
    }
}

/// The probes that are wanted.
fn names(args: &HealthArgs) -> Result<Vec<&'static str>> {
    let wanted = |name: &&str| {
        let is = |given: &String| given == name;
        (args.only.is_empty() || args.only.iter().any(is)) && !args.skip.iter().any(is)
    };
    let names: Vec<&str> = NAMES.into_iter().filter(wanted).collect();
    if names.is_empty() {
        return Err(Error::new(Kind::Usage, "there is nothing to look at")
            .why("--skip leaves out all that --only names"));
    }
    Ok(names)
}

/// Whatever was known of places and settings is out of date: for another look. What is wrong with
/// the settings is told by that. Only a signal is an error.
fn renew(context: &mut Context) -> Result<()> {
    if let Some(guard) = &context.guard {
        let (clock, signals) = (context.clock.as_ref(), &context.signals);
        guard.forget();
        places::look_at_settings(guard, &context.global, &context.environment, clock, signals)?;
    }
    if context.store().is_half_swapped() {
        // They may be among what a restore has taken away and not put back yet.
        return Ok(());
    }
    let (global, environment) = (&context.global, &context.environment);
    let Ok(settings) = Settings::load_what_can_be(global, environment, context.disk.as_ref())
    else {
        return Ok(());
    };
    let key = settings.api_key().map(|(key, _)| key);
    for secret in key.into_iter().chain(settings.encryption_key()) {
        context.log.hide(secret);
    }
    context.settings = settings;
    Ok(())
}

/// One look.
fn look(args: &HealthArgs, names: &[&'static str], context: &mut Context) -> Result<Report> {
    let silent = places::look_at_rest(args, context)?;
    let job = job(args, names, silent, context)?;
    health::check(job, &context.store(), &context.signals)
}

fn job(
    args: &HealthArgs,
    names: &[&'static str],
    silent: Vec<Silent>,
    context: &mut Context,
) -> Result<Job> {
    let config = config(context);
    let unknown = silent.iter().any(Silent::hides_settings);
    let unasked = unasked(args, &config, unknown, context);
    let asks = unasked.is_none() && names.iter().any(|name| health::asks_server(name));
    let wants_key = asks || (!unknown && names.contains(&"key"));
    let profile = Profile::new(context.settings.profile(), context.settings.base_url())?;
    let (key, secret) = if wants_key {
        let limit = Duration::from_secs(args.timeout);
        find_key(profile, asks.then_some(limit), context)?
    } else {
        (Key::Missing { wanted: false }, None)
    };
    let server = asks.then(|| {
        let limits = connection::Limits::default();
        // That there is none is told of the key, unless none seemed to be needed.
        let keyless = secret.is_none() && !matches!(key, Key::Missing { wanted: false });
        let endpoint = connection::endpoint(secret, limits, profile, context);
        let (clock, random) = (Arc::clone(&context.clock), Arc::clone(&context.random));
        ServerJob {
            client: Client::new(endpoint, clock, random),
            network: Arc::new(RealNetwork),
            keyless,
        }
    });
    let settings = &context.settings;
    Ok(Job {
        names: names.to_vec(),
        silent,
        config,
        config_dir: settings.config_dir().map(PathBuf::from),
        keys_file: settings.keys_file(),
        user: process::user(),
        key,
        server_name: settings.base_url().file_name(),
        server: server.ok_or(unasked.unwrap_or("not wanted")),
        model: Model {
            name: settings.model().map(str::to_owned),
            base_url: settings.base_url().clone(),
            profile,
            built_in: settings.model() == Some(GUIDE),
        },
        limit: Duration::from_secs(args.timeout),
        thresholds: Thresholds {
            storage: settings.storage_limit(),
            conversations: settings.conversations_limit(),
            conversation: settings.conversation_limit(),
            memory: settings.memory_limit(),
            per_minute: settings.requests_per_minute(),
            response: settings.max_response(),
            backup_days: settings.days("health.max_backup_age_days").unwrap_or(8),
        },
    })
}

/// Why no server is asked, if none is. Which one is meant, and whose the key is, is in the
/// settings.
fn unasked(
    args: &HealthArgs,
    config: &Config,
    unknown: bool,
    context: &Context,
) -> Option<&'static str> {
    let by_default = context.settings.origin("api.base_url") == Some(&Origin::Default);
    if args.offline {
        Some("--offline")
    } else if unknown || (config.fault.is_some() && by_default) {
        Some("the settings do not say which")
    } else {
        None
    }
}

/// The settings as they are now: at the start, whatever was wrong was passed over.
fn config(context: &Context) -> Config {
    let loaded = Settings::load(&context.global, &context.environment, context.disk.as_ref());
    let (fault, warnings) = match loaded {
        Ok((_, warnings)) => (None, warnings),
        Err(error) => {
            let mut cause = error.headline();
            if let Some(path) = error.path_ref() {
                cause.push_str(&format!(" ({})", path.display()));
            }
            let hint = error.hint_text().map(str::to_owned);
            (Some((cause, hint)), Vec::new())
        }
    };
    Config {
        file: context.settings.config_file().to_path_buf(),
        fault,
        warnings,
    }
}

/// The key, without asking anybody, and how it was found. A command that gives it is run only
/// with a limit. Only a signal is an error.
fn find_key(
    profile: Profile,
    limit: Option<Duration>,
    context: &Context,
) -> Result<(Key, Option<Secret>)> {
    let wanted = profile.needs_key();
    Ok(match resolve_key_quietly(context, limit) {
        Ok(QuietKey::Missing) => (Key::Missing { wanted }, None),
        Ok(QuietKey::Closed(source, why)) => {
            let (source, why) = (source.to_string(), why.to_owned());
            (Key::Closed { source, why }, None)
        }
        Ok(QuietKey::Found(secret, source)) => {
            context.log.hide(&secret);
            let source = source.to_string();
            if !connection::may_carry_key(context) {
                return Ok((Key::Withheld { source }, None));
            }
            let doubt = key::doubt(&secret);
            let doubt = doubt.filter(|_| context.settings.base_url().is_openrouter());
            (Key::Found { source, doubt }, Some(secret))
        }
        Ok(QuietKey::Late(source)) => {
            let command = match source {
                KeySource::Sealed(_) => "master.command",
                _ => "api.key_command",
            };
            let late = Key::Late {
                source: source.to_string(),
                command,
                limit: limit.unwrap_or_default(),
            };
            (late, None)
        }
        Err(error) if matches!(error.kind(), Kind::Interrupted | Kind::Terminated) => {
            return Err(error);
        }
        Err(error) => {
            let hint = error.hint_text().map(str::to_owned);
            (Key::Fault(error.headline(), hint), None)
        }
    })
}

/// What is printed, or written.
fn document(args: &HealthArgs, report: &Report, context: &Context) -> Result<String> {
    if args.json {
        return report::json(report, context.settings.data_dir());
    }
    if args.prometheus {
        return Ok(prometheus::text(report));
    }
    if context.ui.stdout_is_terminal() && args.output.is_none() {
        let colour = context.ui.colour().stdout;
        let width = context.ui.size().map_or(80, |(columns, _)| columns);
        return Ok(report::text(&report::lines(report, width), None, colour));
    }
    Ok(report::tsv(report))
}

/// Replaces the file of `--output`, all at once.
fn save(args: &HealthArgs, document: &str, context: &Context) -> Result<()> {
    let Some(path) = &args.output else {
        return Ok(());
    };
    let path = context.environment.resolve(path);
    let (disk, random) = (context.disk.as_ref(), context.random.as_ref());
    atomic::replace_keeping_mode(disk, random, &path, document.as_bytes())
}

/// One line if something is wrong.
fn complain(report: &Report, context: &mut Context) -> Result<()> {
    if report.status() == Status::Ok {
        return Ok(());
    }
    let line = format!("pachat health: {}\n", report::line(report));
    context.ui.text(&line)
}
