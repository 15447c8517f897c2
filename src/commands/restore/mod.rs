//! `pachat restore`: from a backup back to data, all or nothing.
//!
//! Layer: commands. Promises: the whole backup is verified before anything changes; what
//! `--dry-run` prints is what happens; every change can be undone by `pachat rollback`.

mod list;
mod open;

use std::path::{Path, PathBuf};

use clap::Args;
use glob::Pattern;
use serde_json::{Value as Json, json};

use crate::archive::manifest::Manifest;
use crate::context::Context;
use crate::model::error::{Error, Kind, Result};
use crate::model::log_line::Audit;
use crate::model::size::counted;
use crate::model::time;
use crate::ops::journal;
use crate::ops::restore::plan::{KeyFile, Mode, Plan};
use crate::ops::restore::select::Selection;
use crate::ops::restore::{self, Done, Manner, Request, outcome};
use crate::store::Store;

use super::config::quote;
use super::confirm::Confirm;
use super::plan;
use super::waiting::{Watcher, with_patience};
use open::Opened;

/// Arguments of `restore`.
#[derive(Debug, Args)]
#[command(
    about = "Bring back what a backup holds",
    long_about = "Brings back what a backup holds: all of it, some conversations, or chosen files. The whole backup is \
        verified first, and a rollback point is made, so one command undoes it. Killed at any moment, it leaves either \
        what was there or what the backup holds.\n\n\
        Without --merge, what the backup covers holds afterwards exactly what it holds; a backup of type data \
        covers conversations and attachments, one of type config settings and sealed keys, one of type full both; to \
        the log and the quarantine it only adds. With --merge nothing is taken away: what is missing is added, and a conversation that has grown since stays as it is.",
    after_long_help = "Examples:\n  \
        pachat restore --list\n  \
        pachat restore latest --dry-run\n  \
        pachat restore latest --conversation 7k2\n  \
        ssh nas cat pachat.tar.gz | pachat restore - --merge --yes"
)]
pub struct RestoreArgs {
    /// The backup: `latest`, its id or the beginning of its time, a file, or - for standard input
    #[arg(value_name = "BACKUP", value_hint = clap::ValueHint::FilePath)]
    pub backup: Option<String>,

    /// List the backups, newest first; with BACKUP, its files
    #[arg(long, conflicts_with_all = ["dry_run", "conversations", "include", "merge", "replace", "to", "verify_only"])]
    pub list: bool,

    /// Print one JSON document
    #[arg(long)]
    pub json: bool,

    /// Verify the backup, print what would happen, and change nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,

    /// Restore only this conversation, named as everywhere (repeatable)
    #[arg(long = "conversation", value_name = "ID")]
    pub conversations: Vec<String>,

    /// Restore only files whose path matches, such as 'config/*' (repeatable)
    #[arg(long, value_name = "GLOB", value_parser = Pattern::new)]
    pub include: Vec<Pattern>,

    /// Add what is missing, and take nothing away
    #[arg(long)]
    pub merge: bool,

    /// Let the data hold exactly what the backup holds (the default)
    #[arg(long, conflicts_with = "merge", hide_short_help = true)]
    pub replace: bool,

    /// Restore into a new directory, for --data-dir, and leave the data alone
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath, conflicts_with_all = ["merge", "replace", "dry_run"])]
    pub to: Option<PathBuf>,

    /// Open an encrypted backup with the age identity in this file (repeatable)
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub identity: Vec<PathBuf>,

    /// Read the pass phrase of an encrypted backup from the first line of this file
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath, conflicts_with = "passphrase_command", hide_short_help = true)]
    pub passphrase_file: Option<PathBuf>,

    /// Take the pass phrase of an encrypted backup from what this command prints
    #[arg(long, value_name = "COMMAND", hide_short_help = true)]
    pub passphrase_command: Option<String>,

    /// Only verify the backup: read it all, and change nothing
    #[arg(long, conflicts_with_all = ["dry_run", "conversations", "include", "merge", "replace", "to"])]
    pub verify_only: bool,
}

/// Carries out `restore`.
pub fn run(args: &RestoreArgs, context: &mut Context) -> Result<()> {
    let store = context.store();
    let Some(spec) = &args.backup else {
        if args.list {
            return list::backups(args.json, &store, context);
        }
        return Err(Error::new(Kind::Usage, "no backup is named")
            .hint("see them: pachat restore --list; restore the newest: pachat restore latest"));
    };
    if args.list || args.verify_only {
        let mut opened = open::open(spec, args, &store, context)?;
        return list::verify(args, &store, &mut opened, context);
    }
    if let Some(directory) = &args.to {
        let mut opened = open::open(spec, args, &store, context)?;
        return to_directory(directory, args, &store, &mut opened, context);
    }
    store.check()?;
    if args.dry_run {
        let mut opened = open::open(spec, args, &store, context)?;
        return preview(spec, args, &store, &mut opened, context);
    }
    let confirm = ask_before(spec, args, context)?;
    let mut opened = open::open(spec, args, &store, context)?;
    change(spec, args, &store, &mut opened, confirm, context)
}

/// Finds out whether the question can be answered before the work that leads to it.
fn ask_before(spec: &str, args: &RestoreArgs, context: &mut Context) -> Result<Confirm> {
    if spec == "-" && !context.global.yes {
        return Err(Error::new(Kind::Usage, "cannot ask whether to go on")
            .why("standard input is the backup, so it cannot answer")
            .hint("answer beforehand with --yes, or look at the plan with --dry-run"));
    }
    let mut command = format!("pachat restore {}", quote(spec));
    // Without what chooses, far more would come back.
    for id in &args.conversations {
        command.push_str(&format!(" --conversation {}", quote(id)));
    }
    for pattern in &args.include {
        command.push_str(&format!(" --include {}", quote(pattern.as_str())));
    }
    if args.merge {
        command.push_str(" --merge");
    }
    Confirm::prepare(&command, context)
}

impl RestoreArgs {
    fn selection(&self) -> Selection {
        Selection {
            conversations: self.conversations.clone(),
            include: self.include.clone(),
        }
    }

    fn mode(&self) -> Mode {
        if self.merge {
            Mode::Merge
        } else {
            Mode::Replace
        }
    }
}

fn preview(
    spec: &str,
    args: &RestoreArgs,
    store: &Store,
    opened: &mut Opened,
    context: &mut Context,
) -> Result<()> {
    let selection = args.selection();
    let config_dir = context.settings.config_dir().map(PathBuf::from);
    let request = Request {
        selection: &selection,
        mode: args.mode(),
        config_dir: config_dir.as_deref(),
    };
    let mut watcher = Watcher::new(context);
    let previewed = restore::preview(store, opened.source(), request, &mut watcher);
    drop(watcher);
    let (manifest, plan) = previewed.map_err(|error| opened.blame(error))?;
    if args.json {
        plan::print_json(head(args, opened, &manifest, None), &plan, context)?;
    } else {
        plan::print(&plan, context)?;
    }
    let total = if plan.is_empty() {
        "nothing would change".to_owned()
    } else {
        outcome(&plan)
    };
    context
        .ui
        .note(&format!("{}, verified: {total}", opened.name));
    if plan.key_file == KeyFile::Add {
        context.ui.note("master.key would be restored, too");
    }
    plan::warn(&plan, spec, &mut context.ui);
    Ok(())
}

fn to_directory(
    directory: &Path,
    args: &RestoreArgs,
    store: &Store,
    opened: &mut Opened,
    context: &mut Context,
) -> Result<()> {
    let target = context.environment.resolve(directory);
    let selection = args.selection();
    let mut watcher = Watcher::new(context);
    let extracted = with_patience(context, |patience| {
        restore::extract(
            store,
            opened.source(),
            &selection,
            &target,
            &mut watcher,
            patience,
        )
    });
    drop(watcher);
    let (manifest, files) = extracted.map_err(|error| opened.blame(error))?;
    let shown = target.display().to_string();
    if args.json {
        let document = json!({
            "schema": 1,
            "backup": opened.name,
            "type": manifest.kind.as_str(),
            "created_at": time::format(manifest.created_at),
            "to": shown,
            "files": files,
        });
        context.ui.data(format!("{document}\n").as_bytes())?;
    }
    context.ui.note(&format!(
        "restored {} of {} into {shown}; look there: pachat list --data-dir {}",
        counted(files, "file"),
        opened.name,
        quote(&shown)
    ));
    Ok(())
}

fn change(
    spec: &str,
    args: &RestoreArgs,
    store: &Store,
    opened: &mut Opened,
    mut confirm: Confirm,
    context: &mut Context,
) -> Result<()> {
    let selection = args.selection();
    let config_dir = context.settings.config_dir().map(PathBuf::from);
    let request = Request {
        selection: &selection,
        mode: args.mode(),
        config_dir: config_dir.as_deref(),
    };
    let mut watcher = Watcher::new(context);
    let prepared = with_patience(context, |patience| {
        restore::prepare(store, opened.source(), request, &mut watcher, patience)
    });
    drop(watcher);
    let mut prepared = prepared.map_err(|error| opened.blame(error))?;
    let note = format!("before restoring {}", opened.name);
    let manner = Manner {
        note: &note,
        keep: context.settings.rollback_keep(),
        any_plan: matches!(confirm, Confirm::Given),
    };
    let done = loop {
        if !prepared.plan().is_empty() && !manner.any_plan {
            let what = format!("{} ({})", opened.name, prepared.manifest().kind);
            plan::announce(&what, prepared.plan(), &mut context.ui);
            plan::warn(prepared.plan(), spec, &mut context.ui);
            confirm.go_on(&mut context.ui, &context.signals)?;
        }
        match with_patience(context, |patience| prepared.commit(manner, patience))? {
            Some(done) => break done,
            None => context
                .ui
                .note("the data has changed meanwhile, and so has the plan:"),
        }
    };
    if manner.any_plan {
        plan::warn(&done.plan, spec, &mut context.ui);
    }
    tell(args, opened, prepared.manifest(), &done, context)
}

/// Says what was done and how to go back, and writes it down.
fn tell(
    args: &RestoreArgs,
    opened: &Opened,
    manifest: &Manifest,
    done: &Done,
    context: &mut Context,
) -> Result<()> {
    let Done { plan, point, .. } = done;
    let point = point.as_ref().map(|point| point.id.as_str());
    if plan.is_empty() {
        context.ui.note(&format!(
            "everything is as in {} already; nothing was changed",
            opened.name
        ));
    } else {
        let mut change = Audit::new("restore")
            .with("backup", &*opened.name)
            .with("mode", args.mode().as_str())
            .with("result", outcome(plan));
        if let Some(point) = point {
            change = change.with("point", point);
        }
        journal::audit(&context.log, change);
        context.ui.note(&told(opened, plan, point));
    }
    for warning in &done.warnings {
        context.ui.warn(warning);
    }
    if args.json {
        plan::print_json(head(args, opened, manifest, point), plan, context)?;
    }
    Ok(())
}

fn told(opened: &Opened, plan: &Plan, point: Option<&str>) -> String {
    let mut line = format!("restored {}: {}", opened.name, outcome(plan));
    if plan.key_file == KeyFile::Add {
        line.push_str(", and master.key");
    }
    if let Some(point) = point {
        line.push_str(&format!("; undo: pachat rollback --rollback-point {point}"));
    }
    line
}

/// What the JSON document of a restore begins with.
fn head(args: &RestoreArgs, opened: &Opened, manifest: &Manifest, point: Option<&str>) -> Json {
    json!({
        "backup": opened.name,
        "type": manifest.kind.as_str(),
        "created_at": time::format(manifest.created_at),
        "mode": args.mode().as_str(),
        "dry_run": args.dry_run,
        "point": point,
    })
}
