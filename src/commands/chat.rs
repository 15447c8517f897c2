//! `pachat chat`: the conversation on a terminal.

use clap::Args;

/// Arguments of `chat`.
#[derive(Debug, Args)]
#[command(
    about = "Talk with a model",
    long_about = "Opens a conversation on the terminal: type, read the reply as it comes, go on.\n\n\
        Ctrl-C stops a reply and keeps what has arrived. Ctrl-D leaves, and says how to come back. \
        Lines that begin with / are commands: /help lists them. A line that ends in \\ goes on in the \
        next one; pasted text stays in one piece. Where standard input is no terminal, each line of it is \
        a prompt.",
    after_long_help = "Examples:\n  \
        pachat chat                     a new conversation\n  \
        pachat chat -c                  the last one again\n  \
        pachat chat -C 7k2              the one whose id ends in 7k2…\n  \
        pachat chat -m builtin/guide    the manual, offline"
)]
pub struct ChatArgs {
    /// Ask this model; a further -m names the model to fall back on
    #[arg(short, long = "model", value_name = "MODEL")]
    pub models: Vec<String>,

    /// Instructions that stand before the conversation
    #[arg(short, long, value_name = "TEXT")]
    pub system: Option<String>,

    /// Go on with the last conversation
    #[arg(short = 'c', long = "continue", conflicts_with = "conversation")]
    pub resume: bool,

    /// Go on with this conversation: the end of its id, its exact title, or `last`
    #[arg(short = 'C', long, value_name = "ID")]
    pub conversation: Option<String>,

    /// Give the new conversation this title
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["resume", "conversation"])]
    pub title: Option<String>,

    /// Stop each reply after this many tokens
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_tokens: Option<u32>,

    /// Randomness of the replies, from 0 to 2
    #[arg(long, value_name = "T", value_parser = super::send::temperature)]
    pub temperature: Option<f64>,
}
