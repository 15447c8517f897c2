//! `pachat cleanup`: putting old conversations away, and removing what is not needed.
//!
//! Layer: commands. Promises: the plan is shown before anything happens, and `--dry-run` prints
//! what would be carried out; each change says in one line how to undo it, or that nothing does;
//! cron hears of what is not fine, and with `--quiet` of nothing else.

#![allow(
    clippy::doc_markdown,
    reason = "clap shows these comments as help, backticks and all"
)]

mod report;
mod sets;
mod trash;

use clap::{Args, ValueEnum};

use crate::context::Context;
use crate::logging;
use crate::model::error::{Error, Kind, Result};
use crate::model::log_line::Audit;
use crate::model::size::ByteSize;
use crate::ops::cleanup::{self, Action, Applied, Choice, Emptying, Plan, Task, Wishes};
use crate::ops::journal;
use crate::ops::retention::Within;
use crate::platform::process;
use crate::store::Store;
use crate::store::index::Index;

use super::backup;
use super::confirm::Confirm;
use super::waiting::{self, Watcher};

/// Arguments of `cleanup`.
#[derive(Debug, Default, Args)]
#[command(
    about = "Put old conversations away, and remove what is not needed",
    long_about = "Shows what it is going to do, with bytes, and asks. Conversations without a message for \
        cleanup.archive_days (7) are archived: compressed, read back and compared before the original goes, and still \
        listed, exported and gone on with as before. Old logs, backups that no rule keeps, attachments that no \
        conversation refers to and what dead processes have left are removed. Archived conversations are deleted, and \
        the trash is emptied, only after the times that you set (cleanup.delete_archived_days, \
        cleanup.empty_trash_days), or if you say so.\n\n\
        Whoever says more gets only that: with IDs or an option that chooses conversations, only conversations are \
        touched; with --empty-trash or --caches, only the trash or the caches. What is deleted goes to the trash, and \
        --restore takes it back. A conversation that somebody is using is skipped, and one whose last \
        message is younger than cleanup.min_age_days (1) stays, unless it is named by its id.\n\n\
        The sets are for cron: they do exactly what is in their definition, ask nothing and need no --yes; when a part \
        fails the others go on, and the exit code is that of the first failure.",
    after_long_help = "Examples:\n  \
        pachat cleanup --dry-run\n  \
        pachat cleanup 7k2                               move it to the trash\n  \
        pachat cleanup --restore 7k2                     take it back\n  \
        pachat cleanup --older-than 1y --keep-tag work --delete\n  \
        pachat cleanup --max-size 500MB --yes\n  \
        30 4 * * *  pachat cleanup --daily --quiet       (in a crontab)"
)]
pub struct CleanupArgs {
    /// Move these conversations to the trash: the beginning of an id's last part, an exact title, or `last`
    #[arg(value_name = "ID", conflicts_with_all = ["restore", "list_trash", "older_than", "delete", "tags", "max_size", "max_count", "only", "skip", "empty_trash", "caches"])]
    pub ids: Vec<String>,

    /// Take this out of the trash again: an id as above, or `last` for what was deleted last (repeatable)
    #[arg(long, value_name = "ID", conflicts_with_all = ["list_trash", "older_than", "delete", "tags", "max_size", "max_count", "only", "skip", "empty_trash", "caches"])]
    pub restore: Vec<String>,

    /// List what is in the trash, what was deleted last first
    #[arg(long, conflicts_with_all = ["dry_run", "older_than", "delete", "tags", "max_size", "max_count", "only", "skip", "empty_trash", "caches"])]
    pub list_trash: bool,

    /// Print what would happen, and change nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,

    /// Print one JSON document
    #[arg(long)]
    pub json: bool,

    /// Archive those without a message for so long: 30d, 2w, 1y6m, 12h (m: months)
    #[arg(long, value_name = "SPAN", help_heading = "Which conversations")]
    pub older_than: Option<Within>,

    /// Archive the oldest until all take at most so much: 500MB, 2GB
    #[arg(long, value_name = "SIZE", help_heading = "Which conversations")]
    pub max_size: Option<ByteSize>,

    /// Archive the oldest until at most so many are in use
    #[arg(long, value_name = "N", help_heading = "Which conversations")]
    pub max_count: Option<usize>,

    /// Only those with this label (repeatable)
    #[arg(long = "tag", value_name = "TAG", help_heading = "Which conversations")]
    pub tags: Vec<String>,

    /// Never those with this label (repeatable)
    #[arg(
        long = "keep-tag",
        value_name = "TAG",
        conflicts_with_all = ["ids", "restore", "list_trash"],
        help_heading = "Which conversations"
    )]
    pub keep_tags: Vec<String>,

    /// Never those with a message in the last SPAN (default: cleanup.min_age_days)
    #[arg(
        long,
        value_name = "SPAN",
        hide_short_help = true,
        conflicts_with_all = ["ids", "restore", "list_trash"],
        help_heading = "Which conversations"
    )]
    pub min_age: Option<Within>,

    /// Move them to the trash, archived ones too; with --max-size, where archiving is not enough
    #[arg(long, help_heading = "Which conversations")]
    pub delete: bool,

    /// Do only these tasks, separated by commas
    #[arg(
        long,
        value_enum,
        value_name = "TASKS",
        value_delimiter = ',',
        help_heading = "What else"
    )]
    pub only: Vec<TaskName>,

    /// Do all but these tasks, separated by commas
    #[arg(
        long,
        value_enum,
        value_name = "TASKS",
        value_delimiter = ',',
        hide_short_help = true,
        help_heading = "What else"
    )]
    pub skip: Vec<TaskName>,

    /// Remove everything in the trash for good
    #[arg(long, help_heading = "What else")]
    pub empty_trash: bool,

    /// Drop what can be made or fetched again
    #[arg(long, hide_short_help = true, help_heading = "What else")]
    pub caches: bool,

    /// Logs, temporary files, and whether there is room
    #[arg(long, help_heading = "Sets for cron", conflicts_with_all = NOT_WITH_SETS, conflicts_with_all = ["weekly", "monthly"])]
    pub daily: bool,

    /// A backup, and whether everything is private
    #[arg(long, help_heading = "Sets for cron", conflicts_with_all = NOT_WITH_SETS, conflicts_with = "monthly")]
    pub weekly: bool,

    /// Archive, report, drop caches, make the index anew, remove old rollback points
    #[arg(long, help_heading = "Sets for cron", conflicts_with_all = NOT_WITH_SETS)]
    pub monthly: bool,
}

/// What is said of sets by their definition.
const NOT_WITH_SETS: [&str; 12] = [
    "ids",
    "restore",
    "list_trash",
    "older_than",
    "delete",
    "tags",
    "max_size",
    "max_count",
    "only",
    "skip",
    "empty_trash",
    "caches",
];

/// What `--only` and `--skip` take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TaskName {
    /// Archive conversations, or what else is said to become of them
    Archive,
    /// Delete archived ones after cleanup.delete_archived_days
    Archived,
    /// Empty the trash after cleanup.empty_trash_days
    Trash,
    /// Put a large log away, and remove old ones
    Logs,
    /// Remove backups that no rule keeps
    Backups,
    /// Delete attachments that no conversation refers to
    Attachments,
    /// Remove what dead processes have left
    Temporaries,
    /// Drop what can be made or fetched again
    Caches,
}

impl From<TaskName> for Task {
    fn from(name: TaskName) -> Self {
        match name {
            TaskName::Archive => Self::Archive,
            TaskName::Archived => Self::Archived,
            TaskName::Trash => Self::Trash,
            TaskName::Logs => Self::Logs,
            TaskName::Backups => Self::Backups,
            TaskName::Attachments => Self::Attachments,
            TaskName::Temporaries => Self::Temporaries,
            TaskName::Caches => Self::Caches,
        }
    }
}

/// Carries out `cleanup`.
pub fn run(args: &CleanupArgs, context: &mut Context) -> Result<()> {
    let store = context.store();
    store.check()?;
    if let Some(set) = sets::Set::of(args) {
        return sets::run(set, args, &store, context);
    }
    if args.list_trash {
        return trash::list(args.json, &store, context);
    }
    if !args.restore.is_empty() {
        return trash::take_back(args, &store, context);
    }
    clean(args, &store, context)
}

fn clean(args: &CleanupArgs, store: &Store, context: &mut Context) -> Result<()> {
    let wishes = wishes(args, context)?;
    // A name that is wrong is worth more words than a terminal that is missing.
    let ids = cleanup::resolve(store, &args.ids)?;
    let mut confirm = if args.dry_run {
        Confirm::Given
    } else {
        Confirm::prepare(&command(args), context)?
    };
    let mut index = Index::load(store);
    let plan = if ids.is_empty() {
        cleanup::plan(store, &wishes, &mut index)?
    } else {
        cleanup::plan_named(store, &ids, &wishes, &mut index)?
    };
    index.save(store);
    if args.dry_run {
        return report::preview(&plan, args.json, store, context);
    }
    if !plan.is_empty() {
        if matches!(confirm, Confirm::Ask(_)) {
            report::announce(&plan, store, &mut context.ui);
        }
        confirm.go_on(&mut context.ui, &context.signals)?;
    }
    let mut applied = apply(store, &plan, &wishes, &mut index, context);
    report::applied(&plan, &applied, context);
    if args.json {
        report::json(&plan, Some(&applied), context)?;
    } else if plan.is_empty() && plan.skipped.is_empty() && context.ui.stdout_is_terminal() {
        context.ui.note(nothing_to_do(args, &wishes));
    }
    first_failure(&mut applied, context)
}

/// What to type before `--yes`.
fn command(args: &CleanupArgs) -> String {
    let mut command = String::from("pachat cleanup");
    for id in &args.ids {
        command.push(' ');
        command.push_str(&super::config::quote(id));
    }
    let options = [
        args.older_than.is_some(),
        args.max_size.is_some(),
        args.max_count.is_some(),
        !args.tags.is_empty(),
        !args.keep_tags.is_empty(),
        args.min_age.is_some(),
        args.delete,
        !args.only.is_empty(),
        !args.skip.is_empty(),
        args.empty_trash,
        args.caches,
    ];
    if options.contains(&true) {
        // Without them it would be another cleanup.
        command.push_str(" …");
    }
    command
}

fn nothing_to_do(args: &CleanupArgs, wishes: &Wishes) -> &'static str {
    let only_trash = args.only.as_slice() == [TaskName::Trash];
    if only_trash && wishes.emptying.is_none() {
        "nothing to do: the trash is emptied with --empty-trash, or after cleanup.empty_trash_days"
    } else {
        "nothing to do"
    }
}

/// Carries out a plan under the eyes of a person, and writes down what was done.
fn apply(
    store: &Store,
    plan: &Plan,
    wishes: &Wishes,
    index: &mut Index,
    context: &mut Context,
) -> Applied {
    let mut watch = Watcher::new(context);
    let applied = waiting::with_patience(context, |patience| {
        Ok(cleanup::apply(
            store, plan, wishes, index, patience, &mut watch,
        ))
    });
    drop(watch);
    let applied = applied.unwrap_or_default();
    audit(plan, &applied, context);
    applied
}

/// A line in the log for each kind of change.
fn audit(plan: &Plan, applied: &Applied, context: &Context) {
    for (task, action, ..) in plan.totals() {
        let (count, bytes, _) = applied.total(plan, task, action);
        if count == 0 {
            continue;
        }
        let steps = applied.done.iter().map(|done| &plan.steps[done.step]);
        let paths = steps.filter(|step| (step.task, step.action) == (task, action));
        let names: Vec<&str> = paths
            .take(report::AUDITED)
            .map(|step| step.path.rsplit('/').next().unwrap_or_default())
            .collect();
        let change = Audit::new("cleanup")
            .with("task", task.as_str())
            .with("result", action.as_str())
            .with("count", count.to_string())
            .with("bytes", bytes.to_string())
            .with("files", names.join(" "));
        journal::audit(&context.log, change);
    }
}

/// The first failure, after the others were told; or, if a conversation that was named is still
/// where it was, that.
fn first_failure(applied: &mut Applied, context: &mut Context) -> Result<()> {
    if !applied.failures.is_empty() {
        let mut failures = applied.failures.drain(..);
        let first = failures.next();
        for failure in failures {
            context.ui.error(&failure.error);
        }
        return first.map_or(Ok(()), |failure| Err(failure.error));
    }
    let named = |skipped: &&cleanup::Skipped| skipped.task == Task::Named;
    match applied.skipped.iter().find(named) {
        Some(skipped) => Err(
            Error::new(Kind::Busy, format!("{} stays where it is", skipped.path))
                .why(&*skipped.why)
                .hint("try again later"),
        ),
        None => Ok(()),
    }
}

/// What the command line and the settings want.
fn wishes(args: &CleanupArgs, context: &Context) -> Result<Wishes> {
    let settings = &context.settings;
    let days = |key| settings.days(key).map(Within::days);
    let quota = args.max_size.is_some() || args.max_count.is_some();
    let chooses = quota || args.older_than.is_some() || !args.tags.is_empty();
    if args.delete && !chooses {
        return Err(
            Error::new(Kind::Usage, "which conversations to delete is not said").hint(
                "say it: pachat cleanup --delete --older-than 1y; or name them: pachat cleanup ID",
            ),
        );
    }
    // 0 days is never.
    let archive = settings
        .days("cleanup.archive_days")
        .filter(|&days| days > 0);
    let choice = Choice {
        older_than: match args.older_than {
            None if quota => None,
            None => archive.map(Within::days),
            given => given,
        },
        max_size: args.max_size.map(|size| size.0),
        max_count: args.max_count,
        tags: args.tags.clone(),
        delete: args.delete,
    };
    Ok(Wishes {
        tasks: tasks(args, chooses),
        choice,
        delete_archived: days("cleanup.delete_archived_days"),
        emptying: if args.empty_trash {
            Some(Emptying::All)
        } else {
            days("cleanup.empty_trash_days").map(Emptying::After)
        },
        keep_tags: args.keep_tags.clone(),
        min_age: match args.min_age {
            Some(span) => span,
            None => days("cleanup.min_age_days").unwrap_or_else(|| Within::days(1)),
        },
        logs: logging::limits(settings),
        rules: backup::rules(&backup::KeepArgs::default(), context)?,
        now: context.clock.now().to_zoned(context.clock.zone()),
        cores: process::cores(),
    })
}

/// Everything but caches; but whoever says what he wants gets that and nothing else.
fn tasks(args: &CleanupArgs, chooses: bool) -> Vec<Task> {
    let said = [
        (chooses, Task::Archive),
        (args.empty_trash, Task::Trash),
        (args.caches, Task::Caches),
    ];
    let mut tasks: Vec<Task> = if !args.only.is_empty() {
        args.only.iter().copied().map(Task::from).collect()
    } else if said.iter().any(|(said, _)| *said) {
        Vec::new()
    } else {
        let all = Task::ALL.into_iter();
        all.filter(|task| *task != Task::Caches).collect()
    };
    tasks.extend(said.iter().filter(|(said, _)| *said).map(|(_, task)| task));
    let skipped: Vec<Task> = args.skip.iter().copied().map(Task::from).collect();
    tasks.retain(|task| !skipped.contains(task));
    tasks
}

/// What is done, in a word for people: `archived`.
fn past(action: Action) -> &'static str {
    match action {
        Action::Archive => "archived",
        Action::Trash => "moved to the trash",
        Action::Rotate => "put away",
        Action::Delete => "removed for good",
    }
}
