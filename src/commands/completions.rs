//! `pachat completions`: the script that a shell loads.

use clap::{Args, ValueEnum};

/// Arguments of `completions`.
#[derive(Debug, Args)]
#[command(
    about = "Print the script that completes pachat's commands in a shell",
    long_about = "Prints the script that makes a shell complete subcommands, options, conversation ids and models. \
        The script asks pachat itself for the candidates, so it never grows old.",
    after_long_help = "Examples:\n  \
        pachat completions bash > ~/.local/share/bash-completion/completions/pachat\n  \
        pachat completions zsh > ~/.zfunc/_pachat\n  \
        pachat completions fish > ~/.config/fish/completions/pachat.fish"
)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    pub shell: Shell,
}

/// Shells that have completions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// GNU Bash
    Bash,
    /// Z shell
    Zsh,
    /// fish
    Fish,
    /// PowerShell
    #[value(name = "powershell")]
    PowerShell,
    /// Elvish
    Elvish,
}
