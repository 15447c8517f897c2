//! `pachat models`: what can be asked, and what it costs.

use std::sync::Arc;

use clap::Args;

use crate::api::models::ModelInfo;
use crate::context::Context;
use crate::model::error::{Error, Kind, Result};
use crate::model::time;
use crate::model::usd::Usd;
use crate::ops::catalogue::{self, Catalogue, Freshness};
use crate::term::table::{self, Align, Column};

use super::connection::{self, Connection};
use super::show::json_line;

/// Arguments of `models`.
#[derive(Debug, Args)]
#[command(
    about = "List the models that can be asked",
    long_about = "Lists the server's models with context length and price in USD per million tokens. The list is kept \
        for an hour; if the server is away, an older list is shown and said to be old.",
    after_long_help = "Examples:\n  \
        pachat models claude\n  \
        pachat models --free\n  \
        pachat models --json | jq -r '.models[].id'"
)]
pub struct ModelsArgs {
    /// Show only models whose id or name contains these words
    #[arg(value_name = "WORD")]
    pub words: Vec<String>,

    /// Show only models that cost nothing
    #[arg(long)]
    pub free: bool,

    /// Ask the server, however fresh the kept list is
    #[arg(long)]
    pub refresh: bool,

    /// Use the kept list, however old it is, and no network
    #[arg(long, conflicts_with = "refresh")]
    pub offline: bool,

    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

/// Carries out `models`.
pub fn run(args: &ModelsArgs, context: &mut Context) -> Result<()> {
    let catalogue = fetch(args, context)?;
    if let Some(why) = &catalogue.stale {
        let from = time::format(catalogue.fetched_at);
        context.ui.warn(&format!("this list is from {from}: {why}"));
    }
    let words: Vec<String> = args.words.iter().map(|word| word.to_lowercase()).collect();
    let wanted = |model: &&ModelInfo| {
        (!args.free || model.free) && words.iter().all(|word| mentions(model, word))
    };
    let models: Vec<&ModelInfo> = catalogue.models.iter().filter(wanted).collect();
    if args.json {
        let document = serde_json::json!({
            "schema": 1,
            "fetched_at": time::format(catalogue.fetched_at),
            "models": models,
        });
        context.ui.data(&json_line(&document)?)?;
    } else {
        print(&models, context)?;
    }
    if models.is_empty() {
        context.ui.note("no model matches");
        return Err(Error::new(Kind::No, ""));
    }
    Ok(())
}

fn fetch(args: &ModelsArgs, context: &mut Context) -> Result<Catalogue> {
    let store = context.store();
    if args.offline {
        let base_url = context.settings.base_url().clone();
        return catalogue::kept(&store, &base_url)?.ok_or_else(|| {
            Error::new(Kind::NotFound, "no list of models is kept yet")
                .hint("ask the server once: pachat models")
        });
    }
    let freshness = if args.refresh {
        Freshness::Now
    } else {
        Freshness::Hour
    };
    let now = context.clock.now();
    let mut connection = Connection::new(connection::Limits::default());
    let log = Arc::clone(&context.log);
    catalogue::models(
        &store,
        connection.client(context)?,
        &log,
        now,
        freshness,
        true,
    )
}

fn mentions(model: &ModelInfo, word: &str) -> bool {
    model.id.to_lowercase().contains(word)
        || model
            .name
            .as_ref()
            .is_some_and(|name| name.to_lowercase().contains(word))
}

fn print(models: &[&ModelInfo], context: &mut Context) -> Result<()> {
    const COLUMNS: [Column; 5] = [
        Column {
            name: "MODEL",
            align: Align::Left,
        },
        Column {
            name: "CONTEXT",
            align: Align::Right,
        },
        Column {
            name: "$/M IN",
            align: Align::Right,
        },
        Column {
            name: "$/M OUT",
            align: Align::Right,
        },
        Column {
            name: "NAME",
            align: Align::Left,
        },
    ];
    let rows: Vec<Vec<String>> = models
        .iter()
        .map(|model| {
            vec![
                model.id.clone(),
                model
                    .context_length
                    .map(|tokens| tokens.to_string())
                    .unwrap_or_default(),
                per_million(model.prompt_price),
                per_million(model.completion_price),
                model.name.clone().unwrap_or_default(),
            ]
        })
        .collect();
    table::show(&mut context.ui, &COLUMNS, &rows)
}

/// A price per token as dollars per million tokens; nothing where there is no price.
fn per_million(price: Option<Usd>) -> String {
    price
        .and_then(|price| price.times(1_000_000))
        .map(|price| price.to_string())
        .unwrap_or_default()
}
