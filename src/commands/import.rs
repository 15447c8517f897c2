//! `pachat import`: conversations that were begun elsewhere.
//!
//! Layer: commands. Promises: all of them come in, or none; what `--dry-run` prints is what
//! happens; every change can be undone by `pachat rollback`.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use clap::Args;
use serde_json::{Value as Json, json};

use crate::context::Context;
use crate::model::error::{Error, Kind, Result};
use crate::model::id::ConversationId;
use crate::model::log_line::Audit;
use crate::model::size::{counted, grouped};
use crate::ops::import::{self, Fate, Found, Left, Read, Source};
use crate::ops::journal;
use crate::term::table::{self, Align, Column};

use super::plan;
use super::session;
use super::waiting::{Watcher, with_patience};

/// Arguments of `import`.
#[derive(Debug, Args)]
#[command(
    about = "Bring in conversations from another pachat, ChatGPT, Claude or llm",
    long_about = "Brings in conversations from another pachat (what `export -F jsonl` prints, or its files), from the exports of \
        ChatGPT and Claude (the .zip as it is downloaded, or the conversations.json in it), and from llm (what `llm logs -n 0 --json` \
        prints). What kind of file it is is found out by looking into it.\n\n\
        What came in once is known again: importing the same file does nothing, and a newer export adds what is new, to \
        conversations as well; a prompt that was edited there is taken over as after /undo. One that has gone on both here and \
        there stays as it is here, and is named. Nothing that is here is changed but by adding to it. All of it comes in, or none; a rollback point is made first, so one command undoes it.",
    after_long_help = "Examples:\n  \
        pachat import ~/Downloads/chatgpt-export.zip --dry-run\n  \
        pachat import ~/Downloads/chatgpt-export.zip\n  \
        llm logs -n 0 --json | pachat import -\n  \
        ssh laptop pachat export --all -F jsonl | pachat import -"
)]
pub struct ImportArgs {
    /// Files, directories with such files, or - for standard input
    #[arg(value_name = "FILE", required = true, value_hint = clap::ValueHint::AnyPath)]
    pub files: Vec<String>,

    /// Read everything, print what would come in, and change nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,

    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

/// Carries out `import`.
pub fn run(args: &ImportArgs, context: &mut Context) -> Result<()> {
    let store = context.store();
    store.check()?;
    let sources = sources(&args.files, context)?;
    let limits = session::limits_of(context);
    let mut watcher = Watcher::new(context);
    if args.dry_run {
        let looked = import::preview(&store, sources, &limits, &mut watcher);
        drop(watcher);
        let (read, planned) = looked?;
        return tell(args, &read, &import::fates(&planned), None, context);
    }
    let prepared = with_patience(context, |patience| {
        import::prepare(&store, sources, &limits, &mut watcher, patience)
    });
    drop(watcher);
    let (read, mut prepared) = prepared?;
    let note = format!("before importing {}", plan::named(&args.files));
    let keep = context.settings.rollback_keep();
    let done = with_patience(context, |patience| {
        import::commit(&mut prepared, &note, keep, patience)
    })?;
    drop(prepared);
    let fates = import::fates(&done.plan);
    if !done.plan.is_empty() {
        let mut change = Audit::new("import")
            .with("from", plan::named(&args.files))
            .with("result", outcome(&fates));
        if let Some(point) = &done.point {
            change = change.with("point", point.id.as_str());
        }
        journal::audit(&context.log, change);
    }
    for warning in &done.warnings {
        context.ui.warn(warning);
    }
    let point = done.point.as_ref().map(|point| point.id.as_str());
    tell(args, &read, &fates, point, context)
}

fn sources(files: &[String], context: &mut Context) -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    let mut is_read = false;
    for file in files {
        if file != "-" {
            let path = context.environment.resolve(Path::new(file));
            sources.extend(Source::open(context.disk.as_ref(), file, &path)?);
        } else if std::mem::replace(&mut is_read, true) {
            return Err(Error::new(Kind::Usage, "standard input is named twice")
                .hint("name - once, or give the other one as a file"));
        } else {
            let nothing = Box::new(io::empty());
            let input = Box::new(std::mem::replace(&mut context.stdin.reader, nothing));
            sources.push(Source::stream("standard input", input));
        }
    }
    Ok(sources)
}

/// Says what came in, or would.
fn tell(
    args: &ImportArgs,
    read: &Read,
    fates: &BTreeMap<ConversationId, Fate>,
    point: Option<&str>,
    context: &mut Context,
) -> Result<()> {
    for warning in read.warnings.iter().take(plan::NAMED) {
        context.ui.warn(warning);
    }
    if let Some(more @ 1..) = read.warnings.len().checked_sub(plan::NAMED) {
        context
            .ui
            .warn(&format!("and {} more of these", grouped(more)));
    }
    let is_change = fates.values().any(|fate| fate.is_change());
    let left = left_out(&read.left);
    if !left.is_empty() && (is_change || args.dry_run) {
        let words = if args.dry_run { "would be" } else { "was" };
        context.ui.note(&format!(
            "what has no place in a conversation here {words} left out: {left}"
        ));
    }
    let diverged: Vec<&str> = fates
        .iter()
        .filter(|(_, fate)| **fate == Fate::Diverged)
        .map(|(id, _)| id.short())
        .collect();
    if let Some(first) = diverged.first() {
        context.ui.warn(&format!(
            "kept as they are, because they have gone on both here and there: {}; to take what is there, remove it here first: pachat cleanup {first}",
            plan::named(&diverged)
        ));
    }
    if args.json {
        print_json(args, read, fates, point, context)?;
    } else if args.dry_run {
        print(read, fates, context)?;
    }
    let line = match (is_change, args.dry_run) {
        (false, true) => "nothing would change".to_owned(),
        (false, false) => "nothing was changed".to_owned(),
        (true, true) => format!("would be imported: {}", outcome(fates)),
        (true, false) => format!("imported: {}", outcome(fates)),
    };
    let known = if is_change || fates.is_empty() {
        String::new()
    } else {
        format!(": {}", outcome(fates))
    };
    let undo = point.map_or_else(String::new, |point| {
        format!("; undo: pachat rollback --rollback-point {point}")
    });
    context.ui.note(&format!("{line}{known}{undo}"));
    Ok(())
}

/// How many conversations have each fate, for a line: `3 added, 1 unchanged`.
fn outcome(fates: &BTreeMap<ConversationId, Fate>) -> String {
    let count = |fate: &Fate| fates.values().filter(|other| *other == fate).count();
    let counted = Fate::ALL
        .iter()
        .map(|fate| (count(fate), fate.done()))
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| format!("{} {word}", grouped(count)));
    counted.collect::<Vec<String>>().join(", ")
}

fn left_out(left: &Left) -> String {
    let counted = [
        (left.empty, "empty conversation"),
        (left.images, "image"),
        (left.files, "file"),
        (left.tools, "call or answer of a tool"),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, what)| match what.split_once(" or ") {
        Some(_) if count > 1 => format!("{} calls and answers of tools", grouped(count)),
        _ => counted(count, what),
    });
    counted.collect::<Vec<String>>().join(", ")
}

/// The conversations in which something changes; with `-v` all of them.
fn shown<'a>(
    read: &'a Read,
    fates: &'a BTreeMap<ConversationId, Fate>,
    context: &Context,
) -> impl Iterator<Item = (Fate, &'a Found)> {
    let verbose = context.global.verbose > 0;
    let fates = fates
        .iter()
        .filter(move |(_, fate)| verbose || fate.is_change() || **fate == Fate::Diverged);
    fates.filter_map(|(id, fate)| Some((*fate, read.found.get(id)?)))
}

fn print(read: &Read, fates: &BTreeMap<ConversationId, Fate>, context: &mut Context) -> Result<()> {
    let rows: Vec<Vec<String>> = shown(read, fates, context)
        .map(|(fate, found)| {
            vec![
                fate.as_str().to_owned(),
                found.messages.to_string(),
                found.id.to_string(),
                found.title.clone(),
            ]
        })
        .collect();
    let column = |name, align| Column { name, align };
    let columns = [
        column("ACTION", Align::Left),
        column("MESSAGES", Align::Right),
        column("ID", Align::Left),
        column("TITLE", Align::Left),
    ];
    table::show(&mut context.ui, &columns, &rows)
}

fn print_json(
    args: &ImportArgs,
    read: &Read,
    fates: &BTreeMap<ConversationId, Fate>,
    point: Option<&str>,
    context: &mut Context,
) -> Result<()> {
    let conversations: Vec<Json> = shown(read, fates, context)
        .map(|(fate, found)| {
            json!({
                "action": fate.as_str(),
                "id": found.id,
                "title": found.title,
                "messages": found.messages,
                "imported": found.imported,
            })
        })
        .collect();
    let count = |fate: Fate| fates.values().filter(|other| **other == fate).count();
    let mut document = json!({
        "schema": 1,
        "dry_run": args.dry_run,
        "point": point,
    });
    for fate in Fate::ALL {
        document[fate.done()] = count(fate).into();
    }
    document["left_out"] = json!({
        "empty": read.left.empty,
        "images": read.left.images,
        "files": read.left.files,
        "tools": read.left.tools,
    });
    document["conversations"] = conversations.into();
    context.ui.data(format!("{document}\n").as_bytes())
}
