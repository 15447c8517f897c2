//! The command line: global options and the list of subcommands.
//!
//! Each subcommand's own arguments stand in its module, with the texts that `--help`,
//! the man pages and the offline guide are made from.

use std::path::PathBuf;

use clap::builder::styling::{AnsiColor, Styles};
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::commands;

/// The colours of `--help`.
const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());

/// A personal AI chatbot for the command line.
#[derive(Debug, Parser)]
#[command(
    name = "pachat",
    version,
    styles = STYLES,
    about = "A personal AI chatbot for the command line that keeps every conversation",
    long_about = LONG_ABOUT,
    after_help = "Ask the built-in manual anything, offline: pachat send -m builtin/guide 'where are my files?'",
    after_long_help = crate::manual::after_long_help(),
    arg_required_else_help = true,
    max_term_width = 100
)]
pub struct Cli {
    /// Options that every subcommand takes.
    #[command(flatten)]
    pub global: Global,

    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const LONG_ABOUT: &str = "\
A personal AI chatbot for the command line. It talks to OpenRouter or any server with an \
OpenAI-compatible chat-completions API, and keeps every conversation in plain files.

Examples:
  pachat chat                              talk, all day
  git diff | pachat send 'review this'     ask from a pipe
  pachat send -c 'and in one sentence?'    go on with the last conversation
  pachat list --search kubernetes          find it again
  pachat backup                            keep it safe
  pachat restore latest --dry-run          see what a restore would change
  pachat config schedule install           let backups and cleanup run by themselves
  pachat --version --json                  this version, and those of its formats";

/// Options that every subcommand takes.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Keep everything under this directory
    #[arg(long, global = true, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    pub data_dir: Option<PathBuf>,

    /// Read this file of settings instead of `config/app_config.json`
    #[arg(long, global = true, value_name = "FILE", value_hint = clap::ValueHint::FilePath, hide_short_help = true)]
    pub config_file: Option<PathBuf>,

    /// Read variables from this file instead of the configuration directory's .env
    #[arg(long, global = true, value_name = "FILE", value_hint = clap::ValueHint::FilePath, hide_short_help = true)]
    pub env_file: Option<PathBuf>,

    /// Read the API key from this file
    #[arg(long, global = true, value_name = "FILE", value_hint = clap::ValueHint::FilePath, hide_short_help = true)]
    pub api_key_file: Option<PathBuf>,

    /// Talk to this server: its base URL, as a rule ending in /v1
    #[arg(long, global = true, value_name = "URL", value_hint = clap::ValueHint::Url, hide_short_help = true)]
    pub base_url: Option<String>,

    /// Allow sending the key over plain http to another machine
    #[arg(long, global = true, hide_short_help = true)]
    pub insecure_http: bool,

    /// Wait at most this many seconds for another pachat to finish
    #[arg(long, global = true, value_name = "SECONDS", hide_short_help = true)]
    pub lock_timeout: Option<u64>,

    /// Answer yes to every question
    #[arg(long, global = true, hide_short_help = true)]
    pub yes: bool,

    /// When to use colour
    #[arg(long, global = true, value_name = "WHEN", hide_short_help = true)]
    pub color: Option<ColorChoice>,

    /// Say nothing on stderr but errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,

    /// Say more on stderr (-vv for every detail)
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

/// When to use colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ColorChoice {
    /// Where a person looks, unless `NO_COLOR` is set
    #[default]
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// The command line with this subcommand alone, or with none for `--version`; `None` where
/// `first`, the first argument, is anything else.
///
/// All subcommands with all their options take longer to build than everything else that
/// happens at the start. Whatever this does not accept, the whole command line has to see:
/// only it can suggest and explain.
pub fn only(first: &str) -> Option<clap::Command> {
    let root = || Global::augment_args(clap::Command::new("pachat"));
    let subcommand = clap::Command::new(first.to_owned());
    let subcommand = match first {
        "--version" | "-V" => return Some(root().version(env!("CARGO_PKG_VERSION"))),
        "chat" => commands::chat::ChatArgs::augment_args(subcommand),
        "send" => commands::send::SendArgs::augment_args(subcommand),
        "list" => commands::list::ListArgs::augment_args(subcommand),
        "export" => commands::export::ExportArgs::augment_args(subcommand),
        "import" => commands::import::ImportArgs::augment_args(subcommand),
        "backup" => commands::backup::BackupArgs::augment_args(subcommand),
        "restore" => commands::restore::RestoreArgs::augment_args(subcommand),
        "rollback" => commands::rollback::RollbackArgs::augment_args(subcommand),
        "health" => commands::health::HealthArgs::augment_args(subcommand),
        "validate" => commands::validate::ValidateArgs::augment_args(subcommand),
        "cleanup" => commands::cleanup::CleanupArgs::augment_args(subcommand),
        "models" => commands::models::ModelsArgs::augment_args(subcommand),
        _ => return None,
    };
    Some(root().subcommand(subcommand))
}

/// The subcommands. Each one's texts stand with its arguments.
#[derive(Debug, Subcommand)]
#[expect(
    missing_docs,
    reason = "a comment on a variant would replace the command's own long text"
)]
pub enum Command {
    Chat(commands::chat::ChatArgs),
    Send(commands::send::SendArgs),
    List(commands::list::ListArgs),
    Export(commands::export::ExportArgs),
    Import(commands::import::ImportArgs),
    Backup(commands::backup::BackupArgs),
    Restore(commands::restore::RestoreArgs),
    Rollback(commands::rollback::RollbackArgs),
    Health(commands::health::HealthArgs),
    Validate(commands::validate::ValidateArgs),
    Cleanup(commands::cleanup::CleanupArgs),
    Models(commands::models::ModelsArgs),
    Config(commands::config::ConfigArgs),
    Completions(commands::completions::CompletionsArgs),
}

#[cfg(test)]
mod tests {
    use clap::FromArgMatches;

    use super::*;

    #[test]
    fn a_subcommand_alone_reads_what_the_whole_command_line_reads() {
        for line in [
            "chat",
            "chat -m a/b --no-color-not-an-option",
            "send -c -m a/b --max-tokens 7 --data-dir d -vv 'why?'",
            "send --quiet --verbose x",
            "send -q - --option a=1",
            "list --all -n 3 --json --color never",
            "list --all --archived",
            "export last --format markdown",
            "import -n --json export.zip -",
            "import",
            "restore latest -n --conversation 7k2 --include config/*",
            "restore --list --merge",
            "rollback --create-point --note x --keep 3",
            "models --refresh",
            "backup --type full --encrypted --keep-daily 3 -n",
            "backup --type neither",
            "backup keygen -o key.txt",
            "backup pin latest",
            "backup --json pin latest",
            "cleanup 7k2 abc -n --json",
            "cleanup --older-than 30d --delete --keep-tag work --only archive,trash",
            "cleanup --daily --quiet",
            "cleanup --daily --weekly",
            "cleanup 7k2 --max-count 3",
        ] {
            let args: Vec<&str> = std::iter::once("pachat").chain(line.split(' ')).collect();
            let mut alone = only(args[1]).unwrap();
            let alone = alone
                .try_get_matches_from_mut(&args)
                .and_then(|matches| Cli::from_arg_matches(&matches));
            let whole = Cli::try_parse_from(&args);
            match (alone, whole) {
                (Ok(alone), Ok(whole)) => {
                    assert_eq!(format!("{alone:?}"), format!("{whole:?}"));
                }
                (alone, whole) => assert_eq!(alone.is_err(), whole.is_err(), "{line}"),
            }
        }
    }

    #[test]
    fn both_forms_say_the_same_version() {
        let args = ["pachat", "--version"];
        let alone = only(args[1]).unwrap().try_get_matches_from(args);
        let whole = Cli::try_parse_from(args);
        assert_eq!(
            alone.unwrap_err().to_string(),
            whole.unwrap_err().to_string()
        );
    }
}
