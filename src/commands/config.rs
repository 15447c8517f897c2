//! `pachat config`: settings and the API key.

use clap::{Args, Subcommand, ValueEnum};

/// Arguments of `config`.
#[derive(Debug, Args)]
#[command(
    about = "See and change settings and the API key",
    long_about = "Settings come from, in this order: options, environment variables, the .env file of the configuration \
        directory, app_config.json, and defaults. `config list --origin` shows where each value comes from.",
    after_long_help = "Examples:\n  \
        pachat config key set\n  \
        pachat config set chat.model anthropic/claude-sonnet-4\n  \
        pachat config set api.base_url http://localhost:11434/v1\n  \
        pachat config list --origin",
    arg_required_else_help = true
)]
pub struct ConfigArgs {
    /// What to do.
    #[command(subcommand)]
    pub action: ConfigAction,
}

/// The actions of `config`.
#[derive(Debug, Subcommand)]
pub enum ConfigAction {
    /// Print the value of one setting
    Get {
        /// The setting, such as chat.model
        key: String,
    },
    /// Change one setting in app_config.json
    Set {
        /// The setting, such as chat.model
        key: String,
        /// Its value
        value: String,
    },
    /// Remove one setting from app_config.json, so that its default counts again
    Unset {
        /// The setting, such as chat.model
        key: String,
    },
    /// Print every setting
    List {
        /// Show where each value comes from
        #[arg(long)]
        origin: bool,
        /// Print one JSON document
        #[arg(long)]
        json: bool,
    },
    /// Print where app_config.json is
    Path,
    /// Open app_config.json in $VISUAL or $EDITOR, and check it afterwards
    Edit,
    /// Keep the API key sealed on this machine
    Key {
        /// What to do.
        #[command(subcommand)]
        action: KeyAction,
    },
}

/// The actions of `config key`.
#[derive(Debug, Subcommand)]
pub enum KeyAction {
    /// Seal a key for a server, asking for it with a hidden prompt
    Set {
        /// Read the key from standard input
        #[arg(long)]
        stdin: bool,
        /// What seals the key
        #[arg(long, value_enum, value_name = "MODE")]
        wrap: Option<Wrap>,
        /// The command whose output seals the key, with --wrap command
        #[arg(long, value_name = "COMMAND", required_if_eq("wrap", "command"))]
        wrap_command: Option<String>,
    },
    /// Show which key would be sent where, without showing it
    Status {
        /// Print one JSON document
        #[arg(long)]
        json: bool,
    },
    /// Remove the sealed key of a server
    Remove,
}

/// What seals the keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Wrap {
    /// Random bytes in master.key, outside the data directory
    Keyfile,
    /// A pass phrase, asked for each time or in ENCRYPTION_KEY
    Passphrase,
    /// What a command prints, such as a password manager's
    Command,
}
