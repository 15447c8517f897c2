//! `pachat list`: conversations, newest first.

use clap::Args;

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
