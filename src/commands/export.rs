//! `pachat export`: a conversation for other eyes and other programs.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// Arguments of `export`.
#[derive(Debug, Args)]
#[command(
    about = "Print a conversation as Markdown, text, JSON or JSON Lines",
    long_about = "Prints conversations on stdout or writes them to a file or a directory. Markdown is the default; \
        jsonl is the conversation's own lines, byte for byte, and loses nothing.",
    after_long_help = "Examples:\n  \
        pachat export last\n  \
        pachat export 7k2 -F json | jq .messages\n  \
        pachat export --all -o chats/ -F markdown"
)]
pub struct ExportArgs {
    /// The conversations: the end of an id, an exact title, or `last` (the default)
    #[arg(value_name = "ID", conflicts_with = "all")]
    pub ids: Vec<String>,

    /// Export every conversation, archived ones included
    #[arg(long)]
    pub all: bool,

    /// The format
    #[arg(short = 'F', long, value_enum, default_value_t = Format::Markdown)]
    pub format: Format,

    /// Write to this file, or to one file per conversation in this directory
    #[arg(short, long, value_name = "PATH", value_hint = clap::ValueHint::AnyPath)]
    pub output: Option<PathBuf>,

    /// Replace files that exist
    #[arg(long)]
    pub force: bool,
}

/// Formats of `export`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Markdown, with a heading for each message
    Markdown,
    /// Plain text
    Text,
    /// One JSON document
    Json,
    /// The conversation's own lines
    Jsonl,
}
