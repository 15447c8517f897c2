//! `pachat config`: settings and the API key.
//!
//! Layer: commands. Values go to stdout; what was changed and how to undo it goes to
//! stderr. A change holds the lock of the settings, so that of two at once none is lost.

#![allow(
    clippy::doc_markdown,
    reason = "clap shows these comments as help, backticks and all"
)]

mod edit;
mod key;
mod list;
mod meaning;
mod schedule;

use std::io;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use crate::context::Context;
use crate::model::error::{Error, Kind, Result};
use crate::model::log_line::Audit;
use crate::ops::journal;
use crate::platform::disk::{File, LockMode, Open};
use crate::settings::{self, Change, Origin, Setting};
use crate::store::atomic;

pub use key::{Quiet as QuietKey, resolve as resolve_key, resolve_quietly as resolve_key_quietly};
pub use schedule::ScheduleAction;

/// Arguments of `config`.
#[derive(Debug, Args)]
#[command(
    about = "See and change settings and the API key",
    long_about = "Settings come from, in this order: options, environment variables, the .env file of the configuration \
        directory, app_config.json, and defaults. `config list --origin` shows where each value comes from.",
    after_long_help = "Examples:\n  \
        pachat config key set\n  \
        pachat config set chat.model anthropic/claude-sonnet-4\n  \
        pachat config set api.base_url http://localhost:11434/v1\n  \
        pachat config list --origin\n  \
        pachat config schedule install",
    arg_required_else_help = true
)]
pub struct ConfigArgs {
    /// What to do.
    #[command(subcommand)]
    pub action: ConfigAction,
}

/// The actions of `config`.
#[derive(Debug, Subcommand)]
pub enum ConfigAction {
    /// Print the value of one setting
    Get {
        /// The setting, such as chat.model
        key: String,
    },
    /// Change one setting in `app_config.json`
    Set {
        /// The setting, such as chat.model
        key: String,
        /// Its value
        value: String,
    },
    /// Remove one setting from `app_config.json`, so that its default counts again
    Unset {
        /// The setting, such as chat.model
        key: String,
    },
    /// Print every setting
    List {
        /// Show where each value comes from
        #[arg(long)]
        origin: bool,
        /// Print one JSON document
        #[arg(long)]
        json: bool,
    },
    /// Print where `app_config.json` is
    Path,
    /// Open `app_config.json` in $VISUAL or $EDITOR, and check it afterwards
    Edit,
    /// Keep the API key sealed on this machine
    #[command(
        long_about = "Keeps API keys sealed on this machine, each for one server: a key for one server is never sent \
            to another. The server is that of api.base_url, or of --base-url.",
        after_long_help = "Examples:\n  \
            pachat config key set\n  \
            pass show openrouter | pachat config key set --stdin\n  \
            pachat config key set --wrap passphrase\n  \
            pachat config key status",
        arg_required_else_help = true
    )]
    Key {
        /// What to do.
        #[command(subcommand)]
        action: KeyAction,
    },
    /// Let backups, cleanup and checks run by themselves
    #[command(
        long_about = "Lets the scheduler that the machine has run pachat: a backup every day, the daily, weekly and monthly \
            sets of cleanup, and a check of health every hour. pachat itself has no daemon. Jobs are silent when all is \
            fine; when something is wrong there is a line in the journal, in a mail from cron, or in launchd's log, and \
            a failed unit.",
        after_long_help = "Examples:\n  \
            pachat config schedule install\n  \
            pachat config schedule status\n  \
            pachat config schedule print --with cron",
        arg_required_else_help = true
    )]
    Schedule {
        /// What to do.
        #[command(subcommand)]
        action: ScheduleAction,
    },
}

/// The actions of `config key`.
#[derive(Debug, Subcommand)]
pub enum KeyAction {
    /// Seal a key for a server, asking for it with a hidden prompt
    Set {
        /// Read the key from standard input
        #[arg(long)]
        stdin: bool,
        /// What seals the key
        #[arg(long, value_enum, value_name = "MODE")]
        wrap: Option<Wrap>,
        /// The command whose output seals the key, with --wrap command
        #[arg(long, value_name = "COMMAND", required_if_eq("wrap", "command"))]
        wrap_command: Option<String>,
    },
    /// Show which key would be sent where, without showing it
    Status {
        /// Print one JSON document
        #[arg(long)]
        json: bool,
    },
    /// Remove the sealed key of a server
    Remove,
}

/// What seals the keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Wrap {
    /// Random bytes in master.key, outside the data directory
    Keyfile,
    /// A pass phrase, asked for each time or in `ENCRYPTION_KEY`
    Passphrase,
    /// What a command prints, such as a password manager's
    Command,
}

/// Runs `config`.
pub fn run(args: ConfigArgs, context: &mut Context) -> Result<()> {
    match args.action {
        ConfigAction::Get { key } => get(&key, context),
        ConfigAction::Set { key, value } => set(&key, &value, context),
        ConfigAction::Unset { key } => unset(&key, context),
        ConfigAction::List { origin, json } => list::run(origin, json, context),
        ConfigAction::Path => path(context),
        ConfigAction::Edit => edit::run(context),
        ConfigAction::Key { action } => key::run(action, context),
        ConfigAction::Schedule { action } => schedule::run(action, context),
    }
}

/// Prints what holds. Nothing does: nothing is printed, exit code 1, as `git config`.
fn get(key: &str, context: &mut Context) -> Result<()> {
    settings::known(key)?;
    match context.settings.get(key) {
        Some(value) => context.ui.text(&format!("{value}\n")),
        None => Err(Error::new(Kind::No, "")),
    }
}

fn path(context: &mut Context) -> Result<()> {
    let path = context.settings.config_file().display().to_string();
    context.ui.text(&format!("{path}\n"))
}

fn set(key: &str, value: &str, context: &mut Context) -> Result<()> {
    // Before the lock, which would create a directory for nothing.
    let (_, parsed) = settings::parse(key, value)?;
    meaning::check_value(key, &parsed.to_string())?;
    let _lock = lock(context)?;
    let path = context.settings.config_file();
    let (disk, random) = (context.disk.as_ref(), context.random.as_ref());
    let change = settings::set(disk, random, path, key, value)?;
    audit("config set", key, &change, context);
    tell(key, &change, context);
    Ok(())
}

fn unset(key: &str, context: &mut Context) -> Result<()> {
    settings::known(key)?;
    let _lock = lock(context)?;
    let path = context.settings.config_file();
    let (disk, random) = (context.disk.as_ref(), context.random.as_ref());
    let change = settings::unset(disk, random, path, key)?;
    audit("config unset", key, &change, context);
    tell(key, &change, context);
    Ok(())
}

/// A line in the log about what changed. The value of a setting that may hold a secret
/// stays out of it.
fn audit(action: &str, key: &str, change: &Change, context: &Context) {
    if change.before == change.after {
        return;
    }
    let sensitive = settings::find(key).is_none_or(Setting::is_sensitive);
    let shown = |value: &str| {
        if sensitive {
            "(not logged)".to_owned()
        } else {
            value.to_owned()
        }
    };
    let mut line = Audit::new(action).with("setting", key);
    if let Some(before) = &change.before {
        line = line.with("old", shown(before));
    }
    if let Some(after) = &change.after {
        line = line.with("new", shown(after));
    }
    journal::audit(&context.log, line);
}

/// One line about what changed and how to undo it, and one if it does not count.
fn tell(key: &str, change: &Change, context: &mut Context) {
    let undo = match &change.before {
        Some(before) => format!("pachat config set {key} {}", quote(before)),
        None => format!("pachat config unset {key}"),
    };
    let line = match (&change.before, &change.after) {
        (before, after) if before == after => match after {
            Some(value) => format!("{key} is {value} already"),
            None => format!(
                "{key} is not set in {}",
                context.settings.config_file().display()
            ),
        },
        (None, Some(value)) => format!("{key} is {value} now; undo: {undo}"),
        (Some(before), Some(value)) => {
            format!("{key} is {value} now, and was {before}; undo: {undo}")
        }
        (_, None) => format!("{key} is no longer set; undo: {undo}"),
    };
    context.ui.note(&line);
    if let Some(origin @ (Origin::Flag | Origin::Environment(_) | Origin::DotEnv(..))) =
        context.settings.origin(key)
    {
        let line = format!("{key} is also set by {origin}, which wins over the file");
        context.ui.warn(&line);
    }
}

/// A word for a shell's command line.
pub(super) fn quote(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+=,".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

/// Takes the lock of settings and sealed keys; it is held as long as the file is open.
/// Whoever has it is done in milliseconds, unless its person thinks about a pass phrase.
pub(in crate::commands) fn lock(context: &Context) -> Result<Box<dyn File>> {
    const PATIENCE: Duration = Duration::from_secs(10);
    // What a newer pachat keeps there is not this one's to change.
    context.store().check()?;
    let directory = context.settings.data_dir().join("run");
    atomic::create_dirs(context.disk.as_ref(), &directory)?;
    let path = context.store().layout().config_lock();
    let fail =
        |error: io::Error| Error::io("cannot lock the settings", &path, &error).with_kind(Kind::Io);
    let patience = context
        .global
        .lock_timeout
        .map_or(PATIENCE, Duration::from_secs);
    let start = context.clock.elapsed();
    let file = context
        .disk
        .open(&path, Open::AppendOrCreate)
        .map_err(fail)?;
    while !file.try_lock(LockMode::Exclusive).map_err(fail)? {
        if context.clock.elapsed().saturating_sub(start) >= patience {
            return Err(Error::new(Kind::Busy, "cannot change the settings")
                .somebody_else()
                .why("another pachat is changing them")
                .hint("try again, or wait longer with --lock-timeout"));
        }
        context.clock.sleep(Duration::from_millis(20));
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_word_is_one_word() {
        assert_eq!(quote("openrouter/auto"), "openrouter/auto");
        assert_eq!(quote("it's"), "'it'\\''s'");
        assert_eq!(quote(""), "''");
    }
}
