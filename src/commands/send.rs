//! `pachat send`: one prompt, one reply.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

/// Arguments of `send`.
#[derive(Debug, Args)]
#[command(
    about = "Send one prompt, print the reply",
    long_about = "Sends one prompt and prints the reply, and only the reply, on stdout.\n\n\
        The prompt is the arguments, or standard input, or both: the arguments, a blank line, \
        then what came from standard input. The prompt is on disk before the request leaves, and \
        each piece of the reply before it is printed.",
    after_long_help = "Examples:\n  \
        pachat send 'why is the sky blue?'\n  \
        git diff --staged | pachat send 'write a commit message' | git commit -F -\n  \
        pachat send -f src/main.rs 'what does this do?'\n  \
        pachat send -c 'shorter, please'\n  \
        pachat send -x 'a one-line awk that sums column 3' | sh"
)]
pub struct SendArgs {
    /// The prompt; `-` stands for standard input
    #[arg(value_name = "PROMPT")]
    pub prompt: Vec<String>,

    /// Ask this model; a further -m names the model to fall back on
    #[arg(short, long = "model", value_name = "MODEL", help_heading = "Model")]
    pub models: Vec<String>,

    /// Instructions that stand before the conversation
    #[arg(short, long, value_name = "TEXT", help_heading = "Model")]
    pub system: Option<String>,

    /// Stop the reply after this many tokens
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), help_heading = "Model")]
    pub max_tokens: Option<u32>,

    /// Randomness of the reply, from 0 to 2
    #[arg(long, value_name = "T", value_parser = temperature, help_heading = "Model")]
    pub temperature: Option<f64>,

    /// Add a field to the request; the value is JSON, or else text
    #[arg(long = "option", value_name = "KEY=VALUE", value_parser = key_value, help_heading = "Model")]
    pub options: Vec<(String, serde_json::Value)>,

    /// Attach a text file to the prompt
    #[arg(short, long = "file", value_name = "FILE", value_hint = clap::ValueHint::FilePath, help_heading = "Conversation")]
    pub files: Vec<PathBuf>,

    /// Go on with the last conversation
    #[arg(
        short = 'c',
        long = "continue",
        conflicts_with = "conversation",
        help_heading = "Conversation"
    )]
    pub resume: bool,

    /// Go on with this conversation: the end of its id, its exact title, or `last`
    #[arg(short = 'C', long, value_name = "ID", help_heading = "Conversation")]
    pub conversation: Option<String>,

    /// Give the new conversation this title
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["resume", "conversation"], help_heading = "Conversation")]
    pub title: Option<String>,

    /// Keep nothing on disk
    #[arg(long, conflicts_with_all = ["resume", "conversation", "title"], help_heading = "Conversation")]
    pub no_save: bool,

    /// Send interrupted and failed replies along as context, too
    #[arg(long, help_heading = "Conversation")]
    pub keep_partial: bool,

    /// Print one JSON object when the reply is complete
    #[arg(long, conflicts_with_all = ["ndjson", "extract"], help_heading = "Output")]
    pub json: bool,

    /// Print events as JSON lines: start, delta, end
    #[arg(long, conflicts_with = "extract", help_heading = "Output")]
    pub ndjson: bool,

    /// Print only the first code block of the reply
    #[arg(short = 'x', long, help_heading = "Output")]
    pub extract: bool,

    /// Wait for the whole reply, then print it
    #[arg(long, help_heading = "Output")]
    pub no_stream: bool,

    /// Show tokens and cost on stderr
    #[arg(long, help_heading = "Output")]
    pub usage: bool,

    /// Print the request as JSON and send nothing
    #[arg(long, help_heading = "Output")]
    pub dry_run: bool,

    /// Give up after this many seconds
    #[arg(long, value_name = "SECONDS", value_parser = seconds, help_heading = "Limits")]
    pub max_time: Option<Duration>,

    /// Do not try again when the server is busy or away
    #[arg(long, help_heading = "Limits")]
    pub no_retry: bool,

    /// Exit with 76 if the reply was cut at the maximum number of tokens
    #[arg(long, help_heading = "Limits")]
    pub strict: bool,
}

pub(super) fn temperature(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if (0.0..=2.0).contains(&value) => Ok(value),
        _ => Err("it must be a number from 0 to 2".into()),
    }
}

fn key_value(text: &str) -> Result<(String, serde_json::Value), String> {
    let (key, value) = text.split_once('=').ok_or("write it as KEY=VALUE")?;
    if key.is_empty() {
        return Err("the key is empty".into());
    }
    let value = serde_json::from_str(value).unwrap_or_else(|_| value.into());
    Ok((key.to_owned(), value))
}

fn seconds(text: &str) -> Result<Duration, String> {
    text.parse::<f64>()
        .ok()
        .filter(|seconds| *seconds > 0.0)
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(|| "it must be a number of seconds above 0".into())
}
