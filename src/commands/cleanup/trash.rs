//! `cleanup --list-trash` and `cleanup --restore`: what is in the trash, and the way back.

use serde_json::{Value as Json, json};

use crate::commands::list::when;
use crate::commands::show::json_line;
use crate::commands::waiting;
use crate::context::Context;
use crate::model::error::{Error, Kind, Result};
use crate::model::log_line::Audit;
use crate::model::size::ByteSize;
use crate::model::time;
use crate::ops::{cleanup, journal};
use crate::store::Store;
use crate::store::shelf::{self, Kept, Moved, Shelf, Trashed};
use crate::term::table::{self, Align, Column};

use super::CleanupArgs;

/// Lists the trash.
pub(super) fn list(as_json: bool, store: &Store, context: &mut Context) -> Result<()> {
    let all = shelf::trashed(store)?;
    if as_json {
        let trash: Vec<Json> = all.iter().map(|one| document(one, store)).collect();
        let document = json!({"schema": 1, "trash": trash});
        return context.ui.data(&json_line(&document)?);
    }
    if !context.ui.stdout_is_terminal() {
        let rows: Vec<Vec<String>> = all.iter().map(|one| row(one, store)).collect();
        return context.ui.data(table::tsv(&rows).as_bytes());
    }
    if all.is_empty() {
        context.ui.note("the trash is empty");
        return Ok(());
    }
    let column = |name, align| Column { name, align };
    let columns = [
        column("ID", Align::Left),
        column("DELETED", Align::Left),
        column("SIZE", Align::Right),
        column("TITLE", Align::Left),
    ];
    let (now, zone) = (context.clock.now(), context.clock.zone());
    let rows: Vec<Vec<String>> = all
        .iter()
        .map(|one| {
            let name = match &one.kept {
                Kept::Conversation(id, _) => id.short().to_owned(),
                Kept::Attachment(name) => name[..16].to_owned(),
            };
            vec![
                name,
                when(one.at, now, &zone),
                ByteSize(one.bytes).to_string(),
                title(one, store),
            ]
        })
        .collect();
    table::print(&mut context.ui, &columns, &rows)
}

fn kind(one: &Trashed) -> &'static str {
    match &one.kept {
        Kept::Conversation(_, false) => "active",
        Kept::Conversation(_, true) => "archived",
        Kept::Attachment(_) => "attachment",
    }
}

fn title(one: &Trashed, store: &Store) -> String {
    one.title(store).unwrap_or_default()
}

/// Id, deleted, what it was, bytes, title.
fn row(one: &Trashed, store: &Store) -> Vec<String> {
    vec![
        one.what().to_owned(),
        time::format(one.at),
        kind(one).to_owned(),
        one.bytes.to_string(),
        title(one, store),
    ]
}

fn document(one: &Trashed, store: &Store) -> Json {
    json!({
        "id": one.what(),
        "deleted_at": time::format(one.at),
        "was": kind(one),
        "bytes": one.bytes,
        "title": one.title(store),
        "path": format!("conversations/trash/{}", one.name),
    })
}

/// Takes things out of the trash. The first one that cannot be ends it.
pub(super) fn take_back(args: &CleanupArgs, store: &Store, context: &mut Context) -> Result<()> {
    let found = cleanup::resolve_trashed(store, &args.restore)?;
    let mut restored = Vec::new();
    let mut failure = None;
    for one in &found {
        if args.dry_run {
            restored.push(entry(one, &one.origin()));
            let (part, name) = one.origin();
            let line = format!("{} would be {}/{name} again", one.what(), part.path());
            context.ui.note(&line);
            continue;
        }
        match back(one, store, context) {
            Ok(()) => restored.push(entry(one, &one.origin())),
            Err(error) => {
                failure = Some(error);
                break;
            }
        }
    }
    if args.json {
        let document = json!({"schema": 1, "dry_run": args.dry_run, "restored": restored});
        context.ui.data(&json_line(&document)?)?;
    }
    failure.map_or(Ok(()), Err)
}

fn entry(one: &Trashed, (part, name): &(crate::model::backup::Part, String)) -> Json {
    json!({"id": one.what(), "path": format!("{}/{name}", part.path())})
}

fn back(one: &Trashed, store: &Store, context: &mut Context) -> Result<()> {
    let moved = waiting::with_patience(context, |patience| {
        Shelf::enter(store, patience)?.take_back(one)
    })?;
    let what = one.what();
    match moved {
        Moved::To(spot) => {
            let change = Audit::new("cleanup restore").with("file", spot.path());
            journal::audit(&context.log, change);
            let undo = match one.conversation() {
                Some(id) => format!("; undo: pachat cleanup {}", id.short()),
                None => String::new(),
            };
            context.ui.note(&format!("{what} is back{undo}"));
            Ok(())
        }
        Moved::Left(why) => Err(Error::new(Kind::Busy, format!("cannot take {what} back"))
            .why(why)
            .hint("try again later")),
    }
}
