//! `pachat rollback`: the way back after a big change.
//!
//! Layer: commands. Promise: a rollback can itself be undone, by another one.

use clap::Args;
use serde_json::{Value as Json, json};

use crate::context::Context;
use crate::model::error::{Error, Kind, Result};
use crate::model::log_line::Audit;
use crate::model::size::{ByteSize, counted};
use crate::model::time;
use crate::ops::journal;
use crate::ops::restore::{Done, Manner, outcome};
use crate::ops::rollback::{self, Back};
use crate::store::Store;
use crate::store::points::{self, Point};
use crate::term::table::{self, Align, Column};

use super::confirm::Confirm;
use super::list::when;
use super::plan;
use super::waiting::with_patience;

/// Arguments of `rollback`.
#[derive(Debug, Args)]
#[command(
    about = "Go back to how things were before a big change",
    long_about = "Goes back to a rollback point. A point is made before every restore, import and rollback, so each can be \
        undone, and whenever you ask for one. It takes next to no space: files are shared, and only what is replaced \
        afterwards is kept twice. Going back touches only what the point covers: of one that you ask for conversations, \
        attachments, settings and keys; of others what was about to change.",
    after_long_help = "Examples:\n  \
        pachat rollback --list\n  \
        pachat rollback --create-point --note 'before the big clean-up'\n  \
        pachat rollback --rollback-point latest --dry-run\n  \
        pachat rollback --rollback-point latest"
)]
pub struct RollbackArgs {
    /// Make a rollback point now, and print its id
    #[arg(long, conflicts_with_all = ["list", "rollback_point"])]
    pub create_point: bool,

    /// Put a remark on the new point
    #[arg(long, value_name = "TEXT", requires = "create_point")]
    pub note: Option<String>,

    /// List the points, newest first
    #[arg(long, conflicts_with = "rollback_point")]
    pub list: bool,

    /// Go back to this point: its id, the beginning of its time, or `latest`
    #[arg(long, value_name = "ID")]
    pub rollback_point: Option<String>,

    /// Print what would happen, and change nothing
    #[arg(short = 'n', long, requires = "rollback_point")]
    pub dry_run: bool,

    /// Keep only this many of the newest points
    #[arg(long, value_name = "N", conflicts_with_all = ["list", "dry_run"], value_parser = clap::value_parser!(u64).range(1..))]
    pub keep: Option<u64>,

    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

/// Carries out `rollback`.
pub fn run(args: &RollbackArgs, context: &mut Context) -> Result<()> {
    let store = context.store();
    store.check()?;
    if args.list {
        return list(args.json, &store, context);
    }
    if let Some(spec) = &args.rollback_point {
        return back(spec, args, &store, context);
    }
    if args.create_point {
        create(args, &store, context)?;
    }
    match args.keep {
        Some(_) => prune(args, &store, context),
        None if args.create_point => Ok(()),
        None => Err(Error::new(Kind::Usage, "what to do is not said").hint(
            "see the points: pachat rollback --list; make one: --create-point; go back to one: --rollback-point ID",
        )),
    }
}

fn create(args: &RollbackArgs, store: &Store, context: &mut Context) -> Result<()> {
    let note = args.note.as_deref();
    let point = with_patience(context, |patience| rollback::create(store, note, patience))?;
    let change = Audit::new("rollback point").with("point", &*point.id);
    journal::audit(&context.log, change);
    let text = if args.json {
        let document = json!({"schema": 1, "point": document(&point)});
        format!("{document}\n")
    } else {
        format!("{}\n", point.id)
    };
    context.ui.text(&text)?;
    let files = usize::try_from(point.files).unwrap_or(usize::MAX);
    let (files, bytes) = (counted(files, "file"), ByteSize(point.bytes));
    context.ui.note(&format!(
        "{files}, {bytes}; go back: pachat rollback --rollback-point {}",
        point.id
    ));
    Ok(())
}

fn prune(args: &RollbackArgs, store: &Store, context: &mut Context) -> Result<()> {
    let keep = args
        .keep
        .map_or_else(|| context.settings.rollback_keep(), whole);
    let removed = with_patience(context, |patience| points::prune(store, keep, patience))?;
    if args.json && !args.create_point {
        let removed: Vec<&str> = removed.iter().map(|point| point.id.as_str()).collect();
        let document = json!({"schema": 1, "removed": removed});
        context.ui.data(format!("{document}\n").as_bytes())?;
    }
    for point in &removed {
        let change = Audit::new("rollback point removed").with("point", &*point.id);
        journal::audit(&context.log, change);
        context.ui.note(&format!("removed {}", point.id));
    }
    if removed.is_empty() && !args.create_point {
        context.ui.note("there are no more points than that");
    }
    Ok(())
}

fn whole(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn back(spec: &str, args: &RollbackArgs, store: &Store, context: &mut Context) -> Result<()> {
    if args.dry_run {
        let back = Back::plan(store, spec)?;
        return preview(&back, args, context);
    }
    let command = format!("pachat rollback --rollback-point {spec}");
    let mut confirm = Confirm::prepare(&command, context)?;
    let mut back = Back::plan(store, spec)?;
    let note = format!("before going back to {}", back.point().id);
    let manner = Manner {
        note: &note,
        keep: args
            .keep
            .map_or_else(|| context.settings.rollback_keep(), whole),
        any_plan: matches!(confirm, Confirm::Given),
    };
    let done = loop {
        if !back.steps().is_empty() && !manner.any_plan {
            plan::announce(&describe(back.point()), back.steps(), &mut context.ui);
            confirm.go_on(&mut context.ui, &context.signals)?;
        }
        match with_patience(context, |patience| back.commit(manner, patience))? {
            Some(done) => break done,
            None => context
                .ui
                .note("the data has changed meanwhile, and so has the plan:"),
        }
    };
    tell(args, back.point(), &done, context)
}

fn describe(point: &Point) -> String {
    match &point.note {
        Some(note) => format!("{} ({note})", point.id),
        None => format!("{} ({})", point.id, point.reason),
    }
}

fn preview(back: &Back<'_>, args: &RollbackArgs, context: &mut Context) -> Result<()> {
    let (point, steps) = (back.point(), back.steps());
    if args.json {
        plan::print_json(head(args, point, None), steps, context)?;
    } else {
        plan::print(steps, context)?;
    }
    let total = if steps.is_empty() {
        "nothing would change".to_owned()
    } else {
        outcome(steps)
    };
    context.ui.note(&format!("{}: {total}", point.id));
    Ok(())
}

fn tell(args: &RollbackArgs, point: &Point, done: &Done, context: &mut Context) -> Result<()> {
    let made = done.point.as_ref().map(|made| made.id.as_str());
    if done.plan.is_empty() {
        context.ui.note(&format!(
            "everything is as it was at {} already; nothing was changed",
            point.id
        ));
    } else {
        let mut line = format!("went back to {}: {}", point.id, outcome(&done.plan));
        let mut change = Audit::new("rollback")
            .with("to", &*point.id)
            .with("result", outcome(&done.plan));
        if let Some(made) = made {
            line.push_str(&format!("; undo: pachat rollback --rollback-point {made}"));
            change = change.with("point", made);
        }
        journal::audit(&context.log, change);
        context.ui.note(&line);
    }
    for warning in &done.warnings {
        context.ui.warn(warning);
    }
    if args.json {
        plan::print_json(head(args, point, made), &done.plan, context)?;
    }
    Ok(())
}

fn head(args: &RollbackArgs, point: &Point, made: Option<&str>) -> Json {
    json!({
        "to": point.id,
        "dry_run": args.dry_run,
        "point": made,
    })
}

fn list(as_json: bool, store: &Store, context: &mut Context) -> Result<()> {
    let points = points::list(store)?;
    if as_json {
        let points: Vec<Json> = points.iter().map(document).collect();
        let document = json!({"schema": 1, "points": points});
        return context.ui.data(format!("{document}\n").as_bytes());
    }
    if !context.ui.stdout_is_terminal() {
        let rows: Vec<Vec<String>> = points.iter().map(row).collect();
        return context.ui.data(table::tsv(&rows).as_bytes());
    }
    if points.is_empty() {
        let line = "no rollback points yet; make one: pachat rollback --create-point";
        context.ui.note(line);
        return Ok(());
    }
    print_table(&points, context)
}

fn document(point: &Point) -> Json {
    json!({
        "id": point.id,
        "created_at": time::format(point.created_at),
        "reason": point.reason,
        "note": point.note,
        "parts": point.parts,
        "files": point.files,
        "bytes": point.bytes,
    })
}

fn row(point: &Point) -> Vec<String> {
    vec![
        point.id.clone(),
        time::format(point.created_at),
        point.reason.clone(),
        point.note.clone().unwrap_or_default(),
        point.files.to_string(),
        point.bytes.to_string(),
    ]
}

fn print_table(points: &[Point], context: &mut Context) -> Result<()> {
    let column = |name, align| Column { name, align };
    let columns = [
        column("ID", Align::Left),
        column("MADE", Align::Left),
        column("REASON", Align::Left),
        column("FILES", Align::Right),
        column("BYTES", Align::Right),
        column("NOTE", Align::Left),
    ];
    let (now, zone) = (context.clock.now(), context.clock.zone());
    let rows: Vec<Vec<String>> = points
        .iter()
        .map(|point| {
            vec![
                point.id.clone(),
                when(point.created_at, now, &zone),
                point.reason.clone(),
                point.files.to_string(),
                ByteSize(point.bytes).to_string(),
                point.note.clone().unwrap_or_default(),
            ]
        })
        .collect();
    table::print(&mut context.ui, &columns, &rows)
}
