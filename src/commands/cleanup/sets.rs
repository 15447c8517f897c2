//! `cleanup --daily`, `--weekly` and `--monthly`: what a machine should do by itself.
//!
//! Promises: a set does what stands here and nothing else, in this order, and asks nothing; a
//! part that fails keeps none of the others from going on, unless it was Ctrl-C; at the end
//! everything that failed has been told, and the first failure is the exit code.

use serde_json::{Value as Json, json};

use crate::commands::session::limits_of;
use crate::commands::show::json_line;
use crate::commands::validate::surroundings::security_findings;
use crate::commands::{backup, waiting};
use crate::context::Context;
use crate::model::backup::Part;
use crate::model::error::{Error, Kind, Result};
use crate::model::finding::{Finding, Severity};
use crate::model::log_line::Audit;
use crate::model::size::{ByteSize, counted};
use crate::ops::cleanup::{self, Task, space};
use crate::ops::journal;
use crate::ops::usage::{self, Amount, Usage};
use crate::store::Store;
use crate::store::index::Index;
use crate::store::points;

use super::{CleanupArgs, report};

/// A set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Set {
    Daily,
    Weekly,
    Monthly,
}

/// A part of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Logs,
    Temporaries,
    Space,
    Backup,
    Security,
    Archive,
    Report,
    Optimise,
}

impl Set {
    /// The set that the command line asks for, if it asks for one.
    pub(super) fn of(args: &CleanupArgs) -> Option<Self> {
        match (args.daily, args.weekly, args.monthly) {
            (true, ..) => Some(Self::Daily),
            (_, true, _) => Some(Self::Weekly),
            (.., true) => Some(Self::Monthly),
            _ => None,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Daily => "daily",
            Self::Weekly => "weekly",
            Self::Monthly => "monthly",
        }
    }

    fn stages(self) -> &'static [Stage] {
        match self {
            Self::Daily => &[Stage::Logs, Stage::Temporaries, Stage::Space],
            Self::Weekly => &[Stage::Backup, Stage::Security],
            Self::Monthly => &[Stage::Archive, Stage::Report, Stage::Optimise],
        }
    }
}

impl Stage {
    fn as_str(self) -> &'static str {
        match self {
            Self::Logs => "logs",
            Self::Temporaries => "temporaries",
            Self::Space => "space",
            Self::Backup => "backup",
            Self::Security => "security",
            Self::Archive => "archive",
            Self::Report => "report",
            Self::Optimise => "optimise",
        }
    }

    /// The task of a cleanup that it is, if it is one.
    fn task(self) -> Option<Task> {
        match self {
            Self::Logs => Some(Task::Logs),
            Self::Temporaries => Some(Task::Temporaries),
            Self::Archive => Some(Task::Archive),
            _ => None,
        }
    }
}

/// Carries out a set.
pub(super) fn run(
    set: Set,
    args: &CleanupArgs,
    store: &Store,
    context: &mut Context,
) -> Result<()> {
    if args.dry_run {
        return preview(set, args, store, context);
    }
    let mut documents = Vec::new();
    let mut failures: Vec<Error> = Vec::new();
    for &stage in set.stages() {
        let result = carry_out(stage, args, store, context);
        let mut document = json!({"stage": stage.as_str(), "ok": result.is_ok()});
        match result {
            Ok(details) => document["details"] = details,
            Err(error) => {
                document["error"] = error.headline().into();
                document["exit_code"] = error.kind().code().into();
                let ends = matches!(error.kind(), Kind::Interrupted | Kind::Terminated);
                failures.push(error);
                if ends {
                    break;
                }
            }
        }
        documents.push(document);
    }
    if args.json {
        let document = json!({"schema": 1, "set": set.as_str(), "stages": documents});
        context.ui.data(&json_line(&document)?)?;
    }
    let mut failures = failures.into_iter();
    let first = failures.next();
    for other in failures {
        context.ui.error(&other);
    }
    first.map_or(Ok(()), Err)
}

/// Shows what a set would do.
fn preview(set: Set, args: &CleanupArgs, store: &Store, context: &mut Context) -> Result<()> {
    let mut wishes = super::wishes(args, context)?;
    wishes.tasks = set
        .stages()
        .iter()
        .filter_map(|stage| stage.task())
        .collect();
    let mut index = Index::load(store);
    let plan = cleanup::plan(store, &wishes, &mut index)?;
    index.save(store);
    report::preview(&plan, args.json, store, context)?;
    let others = set.stages().iter().filter(|stage| stage.task().is_none());
    let others: Vec<&str> = others.map(|stage| stage.as_str()).collect();
    if !others.is_empty() {
        context.ui.note(&format!("then: {}", others.join(", ")));
    }
    Ok(())
}

/// Does a part of a set; what is to be known of it, for the document.
fn carry_out(
    stage: Stage,
    args: &CleanupArgs,
    store: &Store,
    context: &mut Context,
) -> Result<Json> {
    match stage {
        Stage::Logs | Stage::Temporaries | Stage::Archive => {
            let tasks = stage.task().into_iter().collect();
            clean(tasks, args, store, context)
        }
        Stage::Space => space(store, context),
        Stage::Backup => make_backup(context),
        Stage::Security => security(context),
        Stage::Report => tell(store, context),
        Stage::Optimise => optimise(args, store, context),
    }
}

/// Plans and carries out some tasks of a cleanup.
fn clean(
    tasks: Vec<Task>,
    args: &CleanupArgs,
    store: &Store,
    context: &mut Context,
) -> Result<Json> {
    let mut wishes = super::wishes(args, context)?;
    wishes.tasks = tasks;
    let mut index = Index::load(store);
    let plan = cleanup::plan(store, &wishes, &mut index)?;
    index.save(store);
    let mut applied = super::apply(store, &plan, &wishes, &mut index, context);
    report::applied(&plan, &applied, context);
    let document = report::document(&plan, Some(&applied));
    super::first_failure(&mut applied, context)?;
    Ok(json!({"totals": document["totals"], "skipped": document["skipped"]}))
}

/// Whether there is room: what is near a limit is a warning, what is past one a "no".
fn space(store: &Store, context: &mut Context) -> Result<Json> {
    let (usage, system) = (measure(store)?, space::file_system(store)?);
    let mut past = Vec::new();
    for remark in space::remarks(&usage, system, &limits_of(context)) {
        if remark.past {
            past.push(remark.text);
        } else {
            context.ui.warn(&remark.text);
        }
    }
    if past.is_empty() {
        return Ok(json!({"bytes": usage.all.bytes, "free": system.free}));
    }
    Err(Error::new(Kind::No, "there is no room").why(past.join("; ")))
}

fn make_backup(context: &mut Context) -> Result<Json> {
    match backup::routine(context) {
        Ok(id) => Ok(json!({"backup": id})),
        // On the first day of a new machine that is no fault.
        Err(error) if error.is_nothing_yet() => Ok(json!({"backup": null})),
        Err(error) => Err(error),
    }
}

fn security(context: &mut Context) -> Result<Json> {
    let findings = security_findings(context);
    let serious = |finding: &&Finding| finding.severity >= Severity::Warning;
    let serious: Vec<&Finding> = findings.iter().filter(serious).collect();
    let Some(first) = serious.first() else {
        return Ok(json!({"findings": findings}));
    };
    for finding in &serious {
        let (subject, cause, remedy) = (&finding.subject, &finding.cause, &finding.remedy);
        context.ui.warn(&format!("{subject}: {cause}; {remedy}"));
    }
    let number = counted(serious.len(), "finding");
    let why = format!("{number}, the first: {}: {}", first.subject, first.cause);
    Err(
        Error::new(Kind::No, "something is not as private as it should be")
            .why(why)
            .hint("see all of them: pachat validate security"),
    )
}

fn measure(store: &Store) -> Result<Usage> {
    usage::measure(store).map_err(|error| {
        Error::io(
            "cannot measure the data directory",
            store.layout().root(),
            &error,
        )
    })
}

/// Says how much there is.
fn tell(store: &Store, context: &mut Context) -> Result<Json> {
    let (usage, system) = (measure(store)?, space::file_system(store)?);
    let backups = crate::store::backups::list(store)?;
    let mut of_backups = Amount::default();
    for backup in &backups {
        of_backups.files += 1;
        of_backups.bytes += backup.size;
    }
    let points = points::list(store)?.len();
    let line = |amount: Amount, noun| {
        let files = usize::try_from(amount.files).unwrap_or(usize::MAX);
        format!("{}, {}", counted(files, noun), ByteSize(amount.bytes))
    };
    let ui = &mut context.ui;
    ui.note(&format!("in use: {}", line(usage.active, "conversation")));
    ui.note(&format!(
        "archived: {}",
        line(usage.archived, "conversation")
    ));
    ui.note(&format!(
        "in the trash: {}",
        line(usage.trash, "deleted thing")
    ));
    ui.note(&format!("backups: {}", line(of_backups, "backup")));
    ui.note(&format!("in all: {}", line(usage.all, "file")));
    let amount = |amount: Amount| json!({"files": amount.files, "bytes": amount.bytes});
    Ok(json!({
        "active": amount(usage.active),
        "archived": amount(usage.archived),
        "trash": amount(usage.trash),
        "backups": amount(of_backups),
        "points": points,
        "all": amount(usage.all),
        "free": system.free,
    }))
}

/// Drops caches, makes the index anew, and removes rollback points beyond those that are kept.
fn optimise(args: &CleanupArgs, store: &Store, context: &mut Context) -> Result<Json> {
    let dropped = clean(vec![Task::Caches], args, store, context)?;
    let mut index = Index::default();
    for file in store.inventory(&[Part::Active, Part::Archived])?.files {
        crate::store::lock::stop_on(&context.signals)?;
        // What cannot be read is for `validate` to name.
        let _ = index.facts(store, &file);
    }
    index.save(store);
    let keep = context.settings.rollback_keep();
    let removed = waiting::with_patience(context, |patience| points::prune(store, keep, patience))?;
    for point in &removed {
        let change = Audit::new("rollback point removed").with("point", &*point.id);
        journal::audit(&context.log, change);
        context.ui.note(&format!("removed {}", point.id));
    }
    let removed: Vec<&str> = removed.iter().map(|point| point.id.as_str()).collect();
    Ok(json!({"caches": dropped["totals"], "indexed": index.len(), "points_removed": removed}))
}
