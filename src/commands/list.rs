//! `pachat list`: conversations, newest first.

use clap::Args;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use crate::context::Context;
use crate::model::error::{Error, Kind, Result};
use crate::model::time;
use crate::model::usd::Usd;
use crate::ops::listing::{self, Summary};
use crate::store::Store;
use crate::store::read::Scope;
use crate::term::table::{self, Align, Column};

/// Arguments of `list`.
#[derive(Debug, Args)]
#[command(
    about = "List conversations, newest first",
    long_about = "Lists conversations, the one that was used last first: a table on a terminal, tab-separated \
        values in a pipe (id, updated, messages, cost in USD, state, model, title). Exits with 1 if --search finds nothing.",
    after_long_help = "Examples:\n  \
        pachat list\n  \
        pachat list --search 'borrow checker'\n  \
        pachat list --json | jq -r '.conversations[] | select(.state != \"complete\") | .id'"
)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of the command line"
)]
pub struct ListArgs {
    /// Show only conversations that contain this text in a message or the title, ignoring case
    #[arg(long, value_name = "TEXT")]
    pub search: Option<String>,

    /// Show at most this many (default: all in a pipe, a screenful on a terminal)
    #[arg(short = 'n', long, value_name = "N")]
    pub limit: Option<usize>,

    /// Show archived conversations only
    #[arg(long, conflicts_with = "all")]
    pub archived: bool,

    /// Show archived conversations, too
    #[arg(long)]
    pub all: bool,

    /// Print one JSON document
    #[arg(long, conflicts_with = "null")]
    pub json: bool,

    /// Print ids only, each ended by a NUL byte (for xargs -0)
    #[arg(short = '0', long = "null")]
    pub null: bool,
}

/// Carries out `list`.
pub fn run(args: &ListArgs, context: &mut Context) -> Result<()> {
    let store = context.store();
    store.check()?;
    let scope = match (args.archived, args.all) {
        (true, _) => Scope::Archived,
        (_, true) => Scope::All,
        _ => Scope::Active,
    };
    let listing = listing::list(&store, scope, args.search.as_deref())?;
    for warning in &listing.warnings {
        context.ui.warn(warning);
    }
    let total = listing.summaries.len();
    let shown = &listing.summaries[..total.min(limit(args, context))];
    if args.json {
        context.ui.data(json(shown)?.as_bytes())?;
    } else if args.null {
        let ids: Vec<String> = shown
            .iter()
            .map(|summary| format!("{}\0", summary.id))
            .collect();
        context.ui.data(ids.concat().as_bytes())?;
    } else if context.ui.stdout_is_terminal() {
        print_table(shown, context)?;
        if total > shown.len() && args.limit.is_none() {
            let shown = shown.len();
            context.ui.note(&format!(
                "{shown} of {total} shown; all of them: pachat list -n {total}"
            ));
        }
    } else {
        let rows: Vec<Vec<String>> = shown.iter().map(row).collect();
        context.ui.data(table::tsv(&rows).as_bytes())?;
    }
    if total == 0 {
        nothing(args, &store, context)
    } else {
        Ok(())
    }
}

/// As many as were asked for; else a screenful for a person, and everything for a program.
fn limit(args: &ListArgs, context: &Context) -> usize {
    /// Rows for the heading, the note, the command and the next prompt.
    const OTHER_ROWS: usize = 4;
    let rows = match context.ui.size() {
        Some((_, rows)) if !args.json && !args.null => rows.saturating_sub(OTHER_ROWS).max(5),
        _ => usize::MAX,
    };
    args.limit.unwrap_or(rows)
}

/// An empty list is an answer; a search without a result is the answer "no".
fn nothing(args: &ListArgs, store: &Store, context: &mut Context) -> Result<()> {
    if let Some(text) = &args.search {
        context
            .ui
            .note(&format!("no conversation contains `{text}`"));
        return Err(Error::new(Kind::No, ""));
    }
    if context.ui.stdout_is_terminal() {
        let others = match (args.archived, args.all) {
            (true, _) => store.ids(Scope::Active)?.len(),
            (_, true) => 0,
            _ => store.ids(Scope::Archived)?.len(),
        };
        context.ui.note(match (others, args.archived) {
            (0, _) => "no conversations yet; begin one: pachat chat",
            (_, true) => "no conversation is archived",
            (_, false) => {
                "no conversation is in use; see the archived ones: pachat list --archived"
            }
        });
    }
    Ok(())
}

fn json(summaries: &[Summary]) -> Result<String> {
    #[derive(Serialize)]
    struct Document<'a> {
        schema: u32,
        conversations: &'a [Summary],
    }
    serde_json::to_string(&Document {
        schema: 1,
        conversations: summaries,
    })
    .map(|text| text + "\n")
    .map_err(|error| Error::new(Kind::Bug, "cannot write JSON").cause(error))
}

fn row(summary: &Summary) -> Vec<String> {
    vec![
        summary.id.to_string(),
        time::format(summary.updated_at),
        summary.messages.to_string(),
        summary
            .cost
            .map(|cost| cost.to_string())
            .unwrap_or_default(),
        summary.state.as_str().to_owned(),
        summary.model.clone().unwrap_or_default(),
        summary.title.clone(),
    ]
}

fn print_table(summaries: &[Summary], context: &mut Context) -> Result<()> {
    const COLUMNS: [Column; 6] = [
        Column {
            name: "ID",
            align: Align::Left,
        },
        Column {
            name: "UPDATED",
            align: Align::Left,
        },
        Column {
            name: "MSGS",
            align: Align::Right,
        },
        Column {
            name: "COST",
            align: Align::Right,
        },
        Column {
            name: "STATE",
            align: Align::Left,
        },
        Column {
            name: "TITLE",
            align: Align::Left,
        },
    ];
    if summaries.is_empty() {
        return Ok(());
    }
    let (now, zone) = (context.clock.now(), context.clock.zone());
    let rows: Vec<Vec<String>> = summaries
        .iter()
        .map(|summary| {
            let state = if summary.archived {
                "archived"
            } else {
                summary.state.as_str()
            };
            vec![
                summary.id.short().to_owned(),
                when(summary.updated_at, now, &zone),
                summary.messages.to_string(),
                summary.cost.map(Usd::rounded).unwrap_or_default(),
                state.to_owned(),
                summary.title.clone(),
            ]
        })
        .collect();
    table::print(&mut context.ui, &COLUMNS, &rows)
}

/// A time for people: the clock for today, the date for this year, the year for the rest.
pub(super) fn when(at: Timestamp, now: Timestamp, zone: &TimeZone) -> String {
    let (at, now) = (at.to_zoned(zone.clone()), now.to_zoned(zone.clone()));
    let form = if at.date() == now.date() {
        "%H:%M"
    } else if at.year() == now.year() {
        "%b %d %H:%M"
    } else {
        "%Y-%m-%d"
    };
    at.strftime(form).to_string()
}
