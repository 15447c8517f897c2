//! `pachat backup`: an archive of everything, verified before it counts.

#![allow(
    clippy::doc_markdown,
    reason = "clap shows these comments as help, backticks and all"
)]

mod keygen;
mod labels;
mod report;
mod sealing;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};

use crate::context::Context;
use crate::model::backup::BackupType;
use crate::model::error::{Error, Kind, Result};
use crate::model::log_line::Audit;
use crate::ops::backup::{self, Job, Made, Output, Subject};
use crate::ops::journal;
use crate::ops::retention::{Rules, Within};
use crate::ops::watch::Watch;
use crate::platform::process;
use crate::store::Store;
use crate::store::lock::Patience;

use super::waiting::{self, Watcher};

/// Arguments of `backup`.
#[derive(Debug, Default, Args)]
#[command(
    about = "Make a verified backup, and remove old ones",
    long_about = "Writes an archive of the conversations, of the settings or of both to the directory of backups, reads \
        it back, and prints its path. Nothing new since the last one of that type: nothing is written, and the path \
        of that one is printed. Only after a new backup is verified are old ones removed that no --keep rule keeps; \
        the newest verified one and pinned ones always stay. `tar xzf` opens an archive, after `age -d` if it is \
        encrypted.\n\n\
        Without a --keep option, the settings backup.keep_last (7) and its relatives hold. What --output writes is \
        always written, and no rule removes it.",
    after_long_help = "Examples:\n  \
        pachat backup\n  \
        pachat backup --type full --keep-daily 7 --keep-weekly 4 --keep-monthly 12\n  \
        pachat backup keygen -o identity.txt && pachat backup --encrypted\n  \
        pachat backup -o - | ssh nas 'cat > pachat.tar.gz'\n  \
        17 3 * * *  pachat backup --quiet >/dev/null    (in a crontab)",
    override_usage = "pachat backup [OPTIONS]\n       pachat backup <COMMAND>",
    args_conflicts_with_subcommands = true
)]
pub struct BackupArgs {
    /// What else to do.
    #[command(subcommand)]
    pub action: Option<BackupAction>,

    /// What to back up (default: backup.type, which is data)
    #[arg(long = "type", value_enum, value_name = "TYPE")]
    pub kind: Option<Type>,

    /// Encrypt it to backup.recipients; if there are none, with a pass phrase
    #[arg(long, help_heading = "Encryption")]
    pub encrypted: bool,

    /// Encrypt it to this `age1…` recipient instead (repeatable)
    #[arg(
        long,
        value_name = "RECIPIENT",
        conflicts_with_all = ["passphrase_file", "passphrase_command"],
        help_heading = "Encryption"
    )]
    pub recipient: Vec<String>,

    /// Encrypt it with the pass phrase on the first line of this file
    #[arg(
        long,
        hide_short_help = true,
        value_name = "FILE",
        value_hint = clap::ValueHint::FilePath,
        conflicts_with = "passphrase_command",
        help_heading = "Encryption"
    )]
    pub passphrase_file: Option<PathBuf>,

    /// Encrypt it with the pass phrase that this command prints
    #[arg(
        long,
        hide_short_help = true,
        value_name = "COMMAND",
        help_heading = "Encryption"
    )]
    pub passphrase_command: Option<String>,

    /// Put a label on it (repeatable)
    #[arg(long = "tag", value_name = "TAG")]
    pub tags: Vec<String>,

    /// Put a remark on it
    #[arg(long, value_name = "TEXT")]
    pub note: Option<String>,

    /// Let no rule ever remove it
    #[arg(long, conflicts_with = "output")]
    pub pin: bool,

    /// Make one even if nothing is new, all read and packed anew; with -o, replace the file
    #[arg(long)]
    pub force: bool,

    /// Where there is nothing to back up yet, as on a new machine, that is fine
    #[arg(long, hide_short_help = true)]
    pub if_any: bool,

    /// Print what would be in it and which others would go, and write nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,

    /// Write it to this file or directory instead, or to standard output (-)
    #[arg(short, long, value_name = "FILE", value_hint = clap::ValueHint::AnyPath)]
    pub output: Option<PathBuf>,

    /// Print one JSON document
    #[arg(long)]
    pub json: bool,

    /// Which backups of this type stay.
    #[command(flatten)]
    pub keep: KeepArgs,
}

/// The `--keep` options. If any is given, they stand in for the settings.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Which backups of this type stay")]
pub struct KeepArgs {
    /// This many of the newest
    #[arg(long, value_name = "N", conflicts_with = "output")]
    pub keep_last: Option<u32>,

    /// The newest of each of the last N days that have one
    #[arg(long, value_name = "N", conflicts_with = "output")]
    pub keep_daily: Option<u32>,

    /// The newest of each of the last N weeks that have one
    #[arg(long, value_name = "N", conflicts_with = "output")]
    pub keep_weekly: Option<u32>,

    /// The newest of each of the last N months that have one
    #[arg(long, value_name = "N", conflicts_with = "output")]
    pub keep_monthly: Option<u32>,

    /// The newest of each of the last N years that have one
    #[arg(
        long,
        hide_short_help = true,
        value_name = "N",
        conflicts_with = "output"
    )]
    pub keep_yearly: Option<u32>,

    /// All that are at most so much older than the newest: 30d, 2w, 1y6m (m: months)
    #[arg(
        long,
        hide_short_help = true,
        value_name = "SPAN",
        conflicts_with = "output"
    )]
    pub keep_within: Option<Within>,
}

/// Types of a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Type {
    /// Conversations and attachments
    Data,
    /// Everything
    Full,
    /// Settings and sealed keys
    Config,
}

impl From<Type> for BackupType {
    fn from(kind: Type) -> Self {
        match kind {
            Type::Data => Self::Data,
            Type::Full => Self::Full,
            Type::Config => Self::Config,
        }
    }
}

/// The actions of `backup`.
#[derive(Debug, Subcommand)]
pub enum BackupAction {
    /// Make an identity, which opens encrypted backups
    #[command(
        long_about = "Makes an age identity, which opens backups, and adds its recipient, which only encrypts them, to \
            backup.recipients. So a backup from cron needs no secret. The identity is printed once, or written to a \
            new file, and pachat keeps no copy: whoever loses it cannot open the backups that are encrypted to it.",
        after_long_help = "Examples:\n  \
            pachat backup keygen\n  \
            pachat backup keygen -o /media/stick/backup-identity.txt"
    )]
    Keygen {
        /// Write the identity to this new file instead
        #[arg(short, long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
        output: Option<PathBuf>,
    },
    /// Let no rule ever remove a backup
    Pin {
        /// The backup: its id, the beginning of its time, or `latest`
        id: String,
    },
    /// Let rules remove a backup again
    Unpin {
        /// The backup: its id, the beginning of its time, or `latest`
        id: String,
    },
}

/// Carries out `backup`.
pub fn run(args: &BackupArgs, context: &mut Context) -> Result<()> {
    match &args.action {
        Some(BackupAction::Keygen { output }) => keygen::run(output.as_deref(), context),
        Some(BackupAction::Pin { id }) => labels::pin(id, true, context),
        Some(BackupAction::Unpin { id }) => labels::pin(id, false, context),
        None => {
            let done = if args.dry_run {
                dry_run(args, context)
            } else {
                make(args, context)
            };
            match done {
                Err(error) if args.if_any && error.is_nothing_yet() => {
                    report::nothing_yet(&error, args.json, context)
                }
                other => other,
            }
        }
    }
}

fn make(args: &BackupArgs, context: &mut Context) -> Result<()> {
    let job = job(args, context)?;
    let mut made = watched(context, |store, patience, watch| {
        backup::make(store, &job, patience, watch)
    })?;
    if matches!(job.output, Output::Copy) {
        let mut watch = Watcher::new(context);
        made.copy_to(&mut watch, &mut |bytes| context.ui.data(bytes))?;
    }
    audit(&made, &job, context);
    report::made(&made, &job, args.json, context)?;
    made.pruned.trouble.map_or(Ok(()), Err)
}

/// Makes the backup that the settings ask for, as part of something larger: standard output is
/// not touched. The id of the verified backup that holds everything.
pub(super) fn routine(context: &mut Context) -> Result<String> {
    let job = job(&BackupArgs::default(), context)?;
    let made = watched(context, |store, patience, watch| {
        backup::make(store, &job, patience, watch)
    })?;
    audit(&made, &job, context);
    report::tell(&made, &job, context);
    match made.pruned.trouble {
        Some(error) => Err(error),
        None => Ok(made.backup.id),
    }
}

fn job(args: &BackupArgs, context: &mut Context) -> Result<Job> {
    let output = output(args, context)?;
    let rules = rules(&args.keep, context)?;
    let labels = labels::labels(args)?;
    let kind = kind(args, context);
    let sealing = sealing::sealing(args, context)?;
    Ok(Job {
        subject: subject(args, kind, &sealing, context),
        seal: sealing.seal,
        labels,
        output,
        rules,
        zone: context.clock.zone(),
        cores: process::cores(),
    })
}

fn dry_run(args: &BackupArgs, context: &mut Context) -> Result<()> {
    let rules = rules(&args.keep, context)?;
    let labels = labels::labels(args)?;
    let kind = kind(args, context);
    let sealing = sealing::announced(args, context)?;
    let subject = subject(args, kind, &sealing, context);
    let plan = watched(context, |store, patience, watch| {
        backup::plan(store, &subject, patience, watch)
    })?;
    let stays_here = args.output.is_none();
    let verdicts = if stays_here && (plan.unchanged.is_none() || args.force) {
        let (at, zone) = (plan.manifest.created_at, context.clock.zone());
        backup::forecast(&context.store(), kind, at, labels.pinned, &rules, &zone)?
    } else {
        Vec::new()
    };
    let forecast = report::Forecast {
        plan: &plan,
        verdicts: &verdicts,
        unchanged: plan
            .unchanged
            .as_ref()
            .filter(|_| stays_here && !args.force),
    };
    report::dry_run(&forecast, args.json, context)
}

fn kind(args: &BackupArgs, context: &Context) -> BackupType {
    let named = || {
        let word = context.settings.backup_type();
        BackupType::ALL
            .into_iter()
            .find(|kind| kind.as_str() == word)
    };
    match args.kind {
        Some(kind) => kind.into(),
        None => named().unwrap_or(BackupType::Data),
    }
}

fn subject(
    args: &BackupArgs,
    kind: BackupType,
    sealing: &sealing::Sealing,
    context: &Context,
) -> Subject {
    Subject {
        kind,
        sealed: sealing.sealed,
        recipients: sealing.recipients.clone(),
        config_dir: context.settings.config_dir().map(Path::to_path_buf),
        force: args.force,
    }
}

fn output(args: &BackupArgs, context: &Context) -> Result<Output> {
    let Some(path) = &args.output else {
        return Ok(Output::Store);
    };
    if path.as_os_str() != "-" {
        return Ok(Output::File {
            path: context.environment.resolve(path),
            replace: args.force,
        });
    }
    let refuse = |why: &str, hint: &str| {
        Err(
            Error::new(Kind::Usage, "cannot write the backup to standard output")
                .why(why)
                .hint(hint),
        )
    };
    if args.json {
        return refuse("--json goes there, too", "leave one of the two out");
    }
    if context.ui.stdout_is_terminal() {
        return refuse(
            "it is a terminal",
            "send it somewhere: pachat backup -o - | ssh nas 'cat > pachat.tar.gz'",
        );
    }
    Ok(Output::Copy)
}

/// The rules of the command line, if there are any; else those of the settings.
pub(super) fn rules(keep: &KeepArgs, context: &Context) -> Result<Rules> {
    let numbers = [
        keep.keep_last,
        keep.keep_daily,
        keep.keep_weekly,
        keep.keep_monthly,
        keep.keep_yearly,
    ];
    let given = numbers.iter().any(Option::is_some) || keep.keep_within.is_some();
    let [last, daily, weekly, monthly, yearly] = if given {
        numbers.map(Option::unwrap_or_default)
    } else {
        ["last", "daily", "weekly", "monthly", "yearly"]
            .map(|rule| context.settings.backup_keep(rule))
    };
    let within = if given {
        keep.keep_within
    } else {
        let text = context.settings.backup_keep_within();
        text.map(str::parse).transpose().map_err(|why: String| {
            Error::new(Kind::Config, "the setting backup.keep_within is not valid")
                .why(why)
                .path(context.settings.config_file())
                .hint("pachat config set backup.keep_within 30d")
        })?
    };
    Ok(Rules {
        last,
        daily,
        weekly,
        monthly,
        yearly,
        within,
    })
}

/// A line in the log, except where nothing changed.
fn audit(made: &Made, job: &Job, context: &Context) {
    if made.unchanged && !made.labelled {
        return;
    }
    let target = match &job.output {
        Output::Store => "backups".to_owned(),
        Output::File { .. } => made.backup.path.display().to_string(),
        Output::Copy => "standard output".to_owned(),
    };
    let mut line = Audit::new("backup")
        .with("backup", &made.backup.id)
        .with("type", job.subject.kind.as_str())
        .with("result", if made.unchanged { "labelled" } else { "made" })
        .with("target", target);
    if let Some(card) = &made.backup.card {
        line = line
            .with("bytes", card.size.to_string())
            .with("sha_of_archive", card.sha256.to_string());
    }
    if !made.pruned.removed.is_empty() {
        line = line.with("removed", made.pruned.removed.join(" "));
    }
    journal::audit(&context.log, line);
}

/// Does long work on the store under the eyes of a person.
fn watched<T>(
    context: &mut Context,
    act: impl FnOnce(&Store, &mut Patience<'_>, &mut dyn Watch) -> Result<T>,
) -> Result<T> {
    let store = context.store();
    let mut watch = Watcher::new(context);
    waiting::with_patience(context, |patience| act(&store, patience, &mut watch))
}
