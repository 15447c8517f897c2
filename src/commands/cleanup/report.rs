//! What `cleanup` prints: the plan on standard output when that is what was asked for, the
//! story on standard error.

use serde_json::{Value as Json, json};

use crate::commands::show::json_line;
use crate::context::Context;
use crate::model::error::Result;
use crate::model::size::{ByteSize, counted, grouped};
use crate::ops::cleanup::{Action, Applied, Plan, Skipped, Step, Task};
use crate::store::Store;
use crate::store::lock::stop_on;
use crate::term::Ui;
use crate::term::clean::clean_line;
use crate::term::table::{self, Align, Column};

use super::past;

/// How many names stand in a line of the log.
pub(super) const AUDITED: usize = 50;
/// How many rows are made at once.
const PIECE: usize = 1000;
/// How many steps are named before the question, and how many that were skipped.
const NAMED: usize = 10;
/// How many conversations of a table have their titles in it: each has to be read for it.
const TITLED: usize = 1000;
/// How many ids stand in a line that says how to undo something.
const UNDONE: usize = 5;

/// Shows a plan that is not carried out.
pub(super) fn preview(
    plan: &Plan,
    as_json: bool,
    store: &Store,
    context: &mut Context,
) -> Result<()> {
    if as_json {
        json(plan, None, context)?;
    } else {
        steps(plan, store, context)?;
    }
    odd(&plan.skipped, &plan.warnings, context);
    let ui = &mut context.ui;
    for line in totals(plan) {
        ui.note(&line);
    }
    if plan.is_empty() && ui.stdout_is_terminal() {
        ui.note("nothing to do");
    }
    Ok(())
}

fn steps(plan: &Plan, store: &Store, context: &mut Context) -> Result<()> {
    if !context.ui.stdout_is_terminal() {
        // In pieces: there may be many thousands.
        for steps in plan.steps.chunks(PIECE) {
            let rows: Vec<Vec<String>> = steps.iter().map(row).collect();
            context.ui.data(table::tsv(&rows).as_bytes())?;
        }
        return Ok(());
    }
    if plan.is_empty() {
        return Ok(());
    }
    let column = |name, align| Column { name, align };
    let columns = [
        column("TASK", Align::Left),
        column("ACTION", Align::Left),
        column("SIZE", Align::Right),
        column("AGE", Align::Right),
        column("WHAT", Align::Left),
    ];
    let mut rows = Vec::new();
    for (at, step) in plan.steps.iter().enumerate() {
        stop_on(&context.signals)?;
        rows.push(vec![
            step.task.as_str().to_owned(),
            step.action.as_str().to_owned(),
            ByteSize(step.bytes).to_string(),
            step.age.map(span).unwrap_or_default(),
            what(step, (at < TITLED).then_some(store)),
        ]);
    }
    table::print(&mut context.ui, &columns, &rows)
}

/// Task, action, bytes, age in seconds, path, reason.
fn row(step: &Step) -> Vec<String> {
    vec![
        step.task.as_str().to_owned(),
        step.action.as_str().to_owned(),
        step.bytes.to_string(),
        step.age.map(|age| age.to_string()).unwrap_or_default(),
        step.path.clone(),
        step.reason.to_string(),
    ]
}

/// A conversation by its id and title, anything else by its path.
fn what(step: &Step, store: Option<&Store>) -> String {
    match store.and_then(|store| step.called(store)) {
        Some((id, title)) => format!("{id}  {title}"),
        None => short(&step.path).to_owned(),
    }
}

/// A path as people read it, without what is the same in all of them.
fn short(path: &str) -> &str {
    path.strip_prefix("conversations/").unwrap_or(path)
}

/// An age as people read it.
fn span(seconds: i64) -> String {
    const HOUR: i64 = 60 * 60;
    let hours = seconds / HOUR;
    match hours {
        ..1 => format!("{}min", seconds / 60),
        1..48 => format!("{hours}h"),
        _ => format!("{}d", hours / 24),
    }
}

/// Says on standard error what is going to happen, before the question.
pub(super) fn announce(plan: &Plan, store: &Store, ui: &mut Ui) {
    let width = ui.size().map_or(80, |(columns, _)| columns);
    for step in plan.steps.iter().take(NAMED) {
        let (action, size) = (step.action.as_str(), ByteSize(step.bytes).to_string());
        let age = step.age.map(span).unwrap_or_default();
        let line = format!(
            "  {action:7}  {size:>8}  {age:>5}  {}",
            what(step, Some(store))
        );
        ui.note(&table::cut(&clean_line(&line), width));
    }
    if plan.steps.len() > NAMED {
        let more = grouped(plan.steps.len() - NAMED);
        ui.note(&format!("  and {more} more; to see all of them: --dry-run"));
    }
    for line in totals(plan) {
        ui.note(&line);
    }
}

/// A line for each task: `archive: 12 conversations to be archived, 3.2 MB: no message for …`;
/// and one for all if there are several.
fn totals(plan: &Plan) -> Vec<String> {
    let totals = plan.totals();
    let all: u64 = totals.iter().map(|(.., bytes)| bytes).sum();
    let several = totals.len() > 1;
    let lines = totals.into_iter().map(|(task, action, count, bytes)| {
        let what = counted(count, noun(task, action));
        let same = |step: &&Step| (step.task, step.action) == (task, action);
        let mut reasons: Vec<&str> = plan
            .steps
            .iter()
            .filter(same)
            .map(|step| &*step.reason)
            .collect();
        reasons.dedup();
        let reason = match reasons.as_slice() {
            [reason] => format!(": {reason}"),
            _ => String::new(),
        };
        let (past, bytes) = (past(action), ByteSize(bytes));
        match task {
            // Who has named them knows why.
            Task::Named => format!("{what} to be {past}, {bytes}"),
            _ => format!("{}: {what} to be {past}, {bytes}{reason}", task.as_str()),
        }
    });
    let sum = several.then(|| format!("in all: {}", ByteSize(all)));
    lines.chain(sum).collect()
}

fn noun(task: Task, action: Action) -> &'static str {
    match (task, action) {
        (Task::Named | Task::Archive | Task::Archived, _) => "conversation",
        (Task::Trash, _) => "deleted thing",
        (Task::Logs, _) => "log",
        (Task::Backups, _) => "backup",
        (Task::Attachments, _) => "attachment",
        (Task::Temporaries, _) => "temporary file",
        (Task::Caches, _) => "cached file",
    }
}

/// Says what was done, and how to undo it.
pub(super) fn applied(plan: &Plan, applied: &Applied, context: &mut Context) {
    odd(&applied.skipped, &plan.warnings, context);
    let (mut lines, mut freed) = (0, 0);
    for (task, action, ..) in plan.totals() {
        let (count, before, after) = applied.total(plan, task, action);
        if count == 0 {
            continue;
        }
        let what = counted(count, noun(task, action));
        let size = match action {
            Action::Archive => format!("{}, now {}", ByteSize(before), ByteSize(after)),
            _ => ByteSize(before).to_string(),
        };
        let undo = undo(plan, applied, task, action);
        let line = format!("{what} {} ({size}){undo}", past(action));
        context.ui.note(&line);
        lines += 1;
        // What was only moved takes as much room as before.
        freed += before.saturating_sub(after);
    }
    if lines > 1 {
        context
            .ui
            .note(&format!("in all: {} freed", ByteSize(freed)));
    }
}

/// The end of a line: how to undo it.
fn undo(plan: &Plan, applied: &Applied, task: Task, action: Action) -> String {
    let done = applied
        .done
        .iter()
        .map(|done| (&plan.steps[done.step], done));
    let mut done = done.filter(|(step, _)| (step.task, step.action) == (task, action));
    match action {
        Action::Archive => {
            let first = done.next().and_then(|(step, _)| step.conversation());
            let id = first.map_or("ID", |id| id.short());
            format!("; going on with one takes it out of the archive: pachat chat -C {id}")
        }
        Action::Trash => {
            let ids: Vec<String> = done
                .map(|(step, _)| match step.conversation() {
                    Some(id) => id.short().to_owned(),
                    None => step.path.rsplit('/').next().unwrap_or_default()[..16].to_owned(),
                })
                .collect();
            let named: Vec<String> = ids.iter().map(|id| format!("--restore {id}")).collect();
            if ids.len() <= UNDONE {
                format!("; undo: pachat cleanup {}", named.join(" "))
            } else {
                let first = &named[0];
                format!(
                    "; undo: pachat cleanup {first} …; all of them: pachat cleanup --list-trash"
                )
            }
        }
        Action::Rotate => String::new(),
        Action::Delete if matches!(task, Task::Temporaries | Task::Caches) => String::new(),
        Action::Delete => "; nothing undoes that".into(),
    }
}

/// Says what was left alone, and what else is worth knowing.
fn odd(skipped: &[Skipped], warnings: &[String], context: &mut Context) {
    let ui = &mut context.ui;
    for warning in warnings {
        ui.warn(warning);
    }
    // What a person has named is an error of its own.
    let skipped = skipped.iter().filter(|skipped| skipped.task != Task::Named);
    let skipped: Vec<&Skipped> = skipped.collect();
    for skipped in skipped.iter().take(NAMED) {
        ui.note(&format!(
            "skipped {}: {}",
            short(&skipped.path),
            skipped.why
        ));
    }
    // Two cleanups at once may skip thousands.
    if skipped.len() > NAMED {
        let more = grouped(skipped.len() - NAMED);
        ui.note(&format!("and {more} more skipped; all of them: --json"));
    }
}

/// Prints the document of a plan, and of what was done of it.
pub(super) fn json(plan: &Plan, applied: Option<&Applied>, context: &mut Context) -> Result<()> {
    let document = document(plan, applied);
    context.ui.data(&json_line(&document)?)
}

pub(super) fn document(plan: &Plan, applied: Option<&Applied>) -> Json {
    let mut became = vec![None; plan.steps.len()];
    for done in applied.iter().flat_map(|applied| &applied.done) {
        became[done.step] = Some(done.spot.as_ref().map(crate::store::shelf::Spot::path));
    }
    let steps: Vec<Json> = plan
        .steps
        .iter()
        .zip(&became)
        .map(|(step, became)| {
            json!({
                "task": step.task.as_str(),
                "action": step.action.as_str(),
                "path": step.path,
                "bytes": step.bytes,
                "age_seconds": step.age,
                "reason": &*step.reason,
                "done": became.is_some(),
                "now": became.clone().flatten(),
            })
        })
        .collect();
    let totals: Vec<Json> = plan
        .totals()
        .into_iter()
        .map(|(task, action, count, bytes)| {
            json!({
                "task": task.as_str(),
                "action": action.as_str(),
                "count": count,
                "bytes": bytes,
            })
        })
        .collect();
    let skipped = applied.map_or(&plan.skipped, |applied| &applied.skipped);
    let skipped: Vec<Json> = skipped
        .iter()
        .map(|one| json!({"task": one.task.as_str(), "path": one.path, "why": one.why}))
        .collect();
    let failures = applied.iter().flat_map(|applied| &applied.failures);
    let failures: Vec<Json> = failures
        .map(|one| {
            json!({
                "task": one.task.as_str(),
                "path": one.path,
                "error": one.error.headline(),
                "exit_code": one.error.kind().code(),
            })
        })
        .collect();
    json!({
        "schema": 1,
        "dry_run": applied.is_none(),
        "steps": steps,
        "totals": totals,
        "skipped": skipped,
        "warnings": plan.warnings,
        "failures": failures,
    })
}
