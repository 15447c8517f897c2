//! `pachat models`: what can be asked, and what it costs.

use clap::Args;

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
