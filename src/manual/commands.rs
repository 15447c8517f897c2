//! The commands and their options, from the definitions that parse them.
//!
//! Everything is turned into Markdown once; the guide shows it and the man pages
//! render it.

use std::fmt::Write as _;

use clap::{Arg, Command, CommandFactory};

use super::topics::first_command;
use crate::cli::Cli;
use crate::ops::guide::Section;

/// One command as the manual describes it.
pub(super) struct CommandPage {
    /// `pachat-send`.
    pub name: String,
    /// One line.
    pub about: String,
    /// `pachat send [OPTIONS] [PROMPT]...`.
    pub usage: String,
    /// Markdown: what it does.
    pub description: String,
    /// Lines to type, ready for a code block.
    pub examples: String,
    /// Markdown: arguments, options and actions, under second-level headings.
    pub options: String,
    /// Names of the pages of its subcommands, with what each does.
    pub children: Vec<(String, String)>,
}

/// A page for the program and for each command with a story of its own.
pub(super) fn pages() -> Vec<CommandPage> {
    let mut root = Cli::command().term_width(0);
    root.build();
    let mut found = Vec::new();
    collect(&root, &mut found);
    found
}

/// The sections about commands.
pub(super) fn sections() -> Vec<Section> {
    pages()
        .into_iter()
        .map(|page| {
            let title = page.name.replace('-', " ");
            let mut body = format!("{}\n\n", page.description);
            if !page.examples.is_empty() {
                let _ = write!(body, "```sh\n{}\n```\n\n", page.examples);
            }
            for (name, about) in &page.children {
                let _ = writeln!(body, "- `{}`: {about}", name.replace('-', " "));
            }
            if page.name != "pachat" {
                let _ = write!(body, "\n{}", page.options);
            }
            Section {
                title: format!("{title}: {}", lower_first(&page.about)),
                command: first_command(&body).or_else(|| Some(format!("{title} --help"))),
                page: format!("{}(1)", page.name),
                keywords: format!("option {title} {}", option_names(&page.options)),
                body: body.replace("\n## ", "\n### ").trim().to_owned(),
            }
        })
        .collect()
}

fn collect(command: &Command, found: &mut Vec<CommandPage>) {
    found.push(describe(command));
    for child in command.get_subcommands() {
        if has_page(command, child) {
            collect(child, found);
        }
    }
}

/// The commands of the program have pages, and so has what has commands itself. An
/// action such as `config get` is described with its command.
fn has_page(parent: &Command, child: &Command) -> bool {
    let is_help = child.get_name() == "help";
    let top = is_root(parent);
    !is_help && !child.is_hide_set() && (top || child.has_subcommands())
}

/// The program itself; only its subcommands have a name of more than one word.
fn is_root(command: &Command) -> bool {
    command
        .get_bin_name()
        .is_none_or(|name| !name.contains(' '))
}

fn describe(command: &Command) -> CommandPage {
    let about = command
        .get_about()
        .map(ToString::to_string)
        .unwrap_or_default();
    let long = command
        .get_long_about()
        .map_or_else(|| about.clone(), ToString::to_string);
    let long_after = command
        .get_after_long_help()
        .map(ToString::to_string)
        .unwrap_or_default();
    let (description, own_examples) = split_examples(&long);
    let (_, examples) = split_examples(&long_after);
    let is_root = is_root(command);
    let mut options = String::new();
    for (heading, arguments) in grouped(command, is_root) {
        let _ = write!(options, "## {heading}\n\n");
        for argument in arguments {
            define(&mut options, argument);
        }
    }
    let mut children = Vec::new();
    let mut actions = String::new();
    for child in command
        .get_subcommands()
        .filter(|child| child.get_name() != "help")
    {
        let child_about = child
            .get_about()
            .map(ToString::to_string)
            .unwrap_or_default();
        if has_page(command, child) {
            children.push((page_name(child), child_about));
            continue;
        }
        let _ = write!(actions, "`{}`\n: {child_about}\n\n", usage(child));
        for argument in child.get_arguments().filter(|argument| is_own(argument)) {
            let mut definition = String::new();
            define(&mut definition, argument);
            for line in definition.lines() {
                let _ = writeln!(actions, "  {line}");
            }
        }
    }
    if !actions.is_empty() {
        let _ = write!(options, "## Actions\n\n{actions}");
    }
    CommandPage {
        name: page_name(command),
        about,
        usage: usage(command),
        description: description.trim().to_owned(),
        examples: if examples.is_empty() {
            own_examples
        } else {
            examples
        },
        options,
        children,
    }
}

fn page_name(command: &Command) -> String {
    command
        .get_bin_name()
        .unwrap_or_else(|| command.get_name())
        .replace(' ', "-")
}

/// The ways to call a command, a line each.
fn usage(command: &Command) -> String {
    let text = command.clone().render_usage().to_string();
    let text = if command
        .get_arguments()
        .any(|argument| is_own(argument) && !argument.is_positional())
        || is_root(command)
    {
        text
    } else {
        // What is left are the options of every command.
        text.replace(" [OPTIONS]", "")
    };
    let lines = text.trim_start_matches("Usage:").lines();
    let lines = lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    lines.collect::<Vec<_>>().join("\n")
}

/// Text before `Examples:`, and the examples without their indent.
fn split_examples(text: &str) -> (String, String) {
    match text.split_once("Examples:\n") {
        None => (text.to_owned(), String::new()),
        Some((before, after)) => {
            let lines: Vec<&str> = after
                .lines()
                .take_while(|line| line.starts_with("  "))
                .map(str::trim)
                .collect();
            (before.to_owned(), lines.join("\n"))
        }
    }
}

/// Whether an argument belongs to the command itself rather than to all of them.
fn is_own(argument: &Arg) -> bool {
    !argument.is_global_set() && !argument.is_hide_set() && argument.get_id() != "help"
}

/// The arguments under their headings, in the order of the definitions.
fn grouped(command: &Command, is_root: bool) -> Vec<(String, Vec<&Arg>)> {
    let mut groups: Vec<(String, Vec<&Arg>)> = Vec::new();
    for argument in command.get_arguments() {
        if argument.is_hide_set() || !(is_root || is_own(argument)) {
            continue;
        }
        let heading = match argument.get_help_heading() {
            Some(heading) => heading,
            None if argument.is_positional() => "Arguments",
            None => "Options",
        };
        match groups.iter_mut().find(|(known, _)| known == heading) {
            Some((_, arguments)) => arguments.push(argument),
            None => groups.push((heading.to_owned(), vec![argument])),
        }
    }
    groups
}

/// One entry of a definition list.
fn define(out: &mut String, argument: &Arg) {
    let names: Vec<String> = argument
        .get_short()
        .map(|short| format!("`-{short}`"))
        .into_iter()
        .chain(argument.get_long().map(|long| format!("`--{long}`")))
        .collect();
    let takes_value = argument.get_action().takes_values();
    let values: Vec<String> = argument
        .get_value_names()
        .filter(|_| takes_value)
        .unwrap_or_default()
        .iter()
        .map(|name| format!("*{name}*"))
        .collect();
    let _ = write!(out, "{}", names.join(", "));
    if !names.is_empty() && !values.is_empty() {
        out.push(' ');
    }
    let help = argument.get_long_help().or_else(|| argument.get_help());
    let _ = write!(
        out,
        "{}\n: {}",
        values.join(" "),
        help.map(ToString::to_string).unwrap_or_default()
    );
    let defaults: Vec<String> = argument
        .get_default_values()
        .iter()
        .map(|value| format!("`{}`", value.to_string_lossy()))
        .collect();
    if takes_value && !defaults.is_empty() {
        let _ = write!(out, " (default: {})", defaults.join(", "));
    }
    out.push_str("\n\n");
    if takes_value {
        for value in argument.get_possible_values() {
            let help = value
                .get_help()
                .map(|help| format!(": {help}"))
                .unwrap_or_default();
            let _ = writeln!(out, "  - `{}`{help}", value.get_name());
        }
        if !argument.get_possible_values().is_empty() {
            out.push('\n');
        }
    }
}

/// The long options in a page, for the search.
fn option_names(options: &str) -> String {
    options
        .split('`')
        .filter(|word| word.starts_with("--"))
        .collect::<Vec<_>>()
        .join(" ")
}

fn lower_first(text: &str) -> String {
    let mut characters = text.chars();
    match characters.next() {
        Some(first) => first.to_lowercase().chain(characters).collect(),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_has_a_page_with_examples_and_options() {
        let pages = pages();
        let names: Vec<&str> = pages.iter().map(|page| page.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "pachat",
                "pachat-chat",
                "pachat-send",
                "pachat-list",
                "pachat-export",
                "pachat-import",
                "pachat-backup",
                "pachat-restore",
                "pachat-rollback",
                "pachat-health",
                "pachat-validate",
                "pachat-cleanup",
                "pachat-models",
                "pachat-config",
                "pachat-config-key",
                "pachat-config-schedule",
                "pachat-completions"
            ]
        );
        let send = &pages[2];
        assert!(
            send.usage.starts_with("pachat send [OPTIONS]"),
            "{}",
            send.usage
        );
        assert!(send.examples.contains("git diff --staged | pachat send"));
        assert!(
            send.options
                .contains("## Model\n\n`-m`, `--model` *MODEL*\n: Ask this model")
        );
        assert!(send.description.contains("only the reply, on stdout"));
        assert!(!send.options.contains("--data-dir"));
        assert!(pages[0].options.contains("--data-dir"));
    }
}
