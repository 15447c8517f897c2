//! The manual: one text for `--help`, the man pages and the offline guide.
//!
//! Topics are Markdown in `data/manual`; what the options do comes from the command
//! line's own definitions, and what the exit codes mean from [`Kind`]. Layer: beside
//! `cli`. Promises: nothing here depends on the clock, the machine or the
//! environment, so that what is generated can be committed and compared.

mod commands;
mod pages;
mod roff;
mod topics;

use std::fmt::Write as _;

use crate::model::error::Kind;
use crate::ops::guide::Section;
use crate::ops::validate::CODES;

pub use pages::man_pages;

/// Variables that pachat reads, as `--help` and the man pages list them. Those of
/// the first group exist as `PACHAT_…`, too.
const VARIABLES: [(&str, &str); 10] = [
    (
        "OPENROUTER_API_KEY",
        "the API key; comes before a sealed one",
    ),
    ("OPENROUTER_BASE_URL", "the server, as `--base-url`"),
    ("DATA_DIR", "where everything is kept, as `--data-dir`"),
    ("CONFIG_FILE", "the file of settings, as `--config-file`"),
    ("ENCRYPTION_KEY", "the pass phrase that opens sealed keys"),
    (
        "LOG_LEVEL",
        "what is said on stderr: off, error, warn, info, debug, trace",
    ),
    ("MAX_MEMORY_MB", "the setting limits.memory_mb"),
    (
        "MAX_REQUESTS_PER_MINUTE",
        "the setting limits.requests_per_minute",
    ),
    (
        "REQUEST_TIMEOUT_SECONDS",
        "the setting timeouts.first_byte_seconds",
    ),
    ("APP_DEBUG", "the setting log.debug"),
];

/// Variables that mean to pachat what they mean everywhere.
const COMMON_VARIABLES: [(&str, &str); 4] = [
    ("NO_COLOR", "no colour, unless `--color` says otherwise"),
    (
        "HTTPS_PROXY, NO_PROXY",
        "the proxy, and the servers to reach without it",
    ),
    (
        "SSL_CERT_FILE",
        "certificates to trust instead of the built-in ones",
    ),
    ("VISUAL, EDITOR", "the editor of `pachat config edit`"),
];

/// The manual in sections, for the offline guide: topics first, then exit codes, then
/// a section per command.
pub fn sections() -> Vec<Section> {
    let mut all = topics::sections();
    all.extend(exit_code_sections());
    all.extend(commands::sections());
    all
}

/// What stands at the end of `pachat --help`: environment and exit codes.
pub fn after_long_help() -> String {
    let mut text = String::from("Environment (each also as PACHAT_…, which wins):\n");
    for (name, what) in VARIABLES {
        entry(&mut text, 25, name, what);
    }
    text.push_str("\nAs everywhere:\n");
    for (name, what) in COMMON_VARIABLES {
        entry(&mut text, 25, name, what);
    }
    text.push_str("\nExit codes:\n");
    entry(&mut text, 5, "0", Kind::Closed.meaning());
    for kind in Kind::ALL {
        entry(&mut text, 5, &kind.code().to_string(), kind.meaning());
    }
    text.push_str(
        "\nThe manual: man pachat-guide, or pachat send -m builtin/guide 'your question'",
    );
    text
}

/// One line of a list in `--help`, with a hanging indent where it is long.
fn entry(text: &mut String, column: usize, name: &str, what: &str) {
    const WIDTH: usize = 78;
    let _ = write!(text, "  {name:<column$}");
    let mut at = 2 + column;
    for (place, word) in what.replace('`', "").split(' ').enumerate() {
        if place > 0 && at + 1 + word.len() > WIDTH {
            let _ = write!(text, "\n  {:<column$}", "");
            at = 2 + column;
        } else if place > 0 {
            text.push(' ');
            at += 1;
        }
        text.push_str(word);
        at += word.len();
    }
    text.push('\n');
}

/// What `validate` can find in an area, as a list in Markdown.
fn finding_list(area: &str) -> String {
    let mut list = String::new();
    for (code, severity, fixable, meaning) in CODES {
        if code.split('.').next() == Some(area) {
            let repaired = if *fixable {
                ", repaired by `--fix`"
            } else {
                ""
            };
            let severity = severity.as_str();
            let _ = writeln!(list, "`{code}`\n: {severity}{repaired}: {meaning}\n");
        }
    }
    list
}

/// The table of exit codes as Markdown.
fn exit_code_table() -> String {
    let mut table = String::from("| Code | Meaning | A script should |\n|---|---|---|\n");
    for kind in std::iter::once(Kind::Closed).chain(Kind::ALL) {
        let _ = writeln!(
            table,
            "| {} | {} | {} |",
            kind.code(),
            kind.meaning(),
            kind.advice()
        );
    }
    table
}

/// The variables as a Markdown definition list.
fn variable_list() -> String {
    let mut list = String::new();
    for (name, what) in VARIABLES {
        let _ = writeln!(list, "`{name}`, `PACHAT_{name}`\n: {what}\n");
    }
    for (name, what) in COMMON_VARIABLES {
        let _ = writeln!(list, "`{name}`\n: {what}\n");
    }
    list
}

/// A section per exit code, because people ask for the number they saw.
fn exit_code_sections() -> Vec<Section> {
    Kind::ALL
        .into_iter()
        .map(|kind| {
            let code = kind.code();
            Section {
                title: format!("Exit code {code}"),
                body: format!(
                    "Exit code {code} means: {}.\n\nWhat a script should do: {}. {}",
                    kind.meaning(),
                    kind.advice(),
                    detail(kind)
                ),
                page: "pachat-guide(7)".into(),
                command: command_for(kind).map(Into::into),
                keywords: format!("status returned error {code}"),
            }
        })
        .collect()
}

/// Where to read on about an exit code.
const fn detail(kind: Kind) -> &'static str {
    match kind {
        Kind::Closed | Kind::No | Kind::Terminated => "",
        Kind::Usage => {
            "The message names the argument, and the candidates where an id was ambiguous."
        }
        Kind::Malformed => {
            "The message names the file and the line, or repeats what the server objected to. \
             pachat never overwrites a file that it could not read."
        }
        Kind::NotFound => "`pachat list --all` shows every conversation with its id.",
        Kind::Unavailable => {
            "pachat has already tried again a few times. Your prompt is saved in the conversation."
        }
        Kind::Bug => "Please say what you typed and what the message was.",
        Kind::CannotCreate => {
            "Check that the directory exists and is yours; `export` does not replace a file without \
             `--force`."
        }
        Kind::Io => "Check free space with `df -h`, and the owner of the data directory.",
        Kind::Busy => {
            "Another pachat may be using the conversation (`--lock-timeout` limits the wait), or the \
             server asked for a pause; the message says which, and how long."
        }
        Kind::Incomplete => {
            "What arrived is saved and marked. stderr says what happened: a stalled or cut connection, \
             an error from the server midway, an address that is no chat-completions API, or, with \
             `--strict`, the maximum number of tokens."
        }
        Kind::Denied => {
            "`pachat config key status` shows which key would be sent where. If the key is right, look at \
             the credit of the account."
        }
        Kind::Config => "The message names the setting and where its value comes from.",
        Kind::Interrupted => "Your prompt and what had arrived of the reply are saved.",
    }
}

const fn command_for(kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::NotFound | Kind::Usage => Some("pachat list --all"),
        Kind::Incomplete | Kind::Interrupted | Kind::Terminated => Some("pachat send -c 'go on'"),
        Kind::Denied => Some("pachat config key status"),
        Kind::Config => Some("pachat config list --origin"),
        Kind::Unavailable => Some("pachat models --refresh"),
        Kind::CannotCreate | Kind::Io => Some("df -h"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_names_every_exit_code_and_fits_80_columns() {
        let help = after_long_help();
        for kind in Kind::ALL {
            assert!(
                help.contains(&format!("\n  {:<5}", kind.code())),
                "{kind:?}"
            );
        }
        for line in help.lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
    }

    #[test]
    fn every_section_is_complete() {
        let all = sections();
        assert!(all.len() > 50);
        for section in &all {
            assert!(!section.title.is_empty());
            assert!(section.body.len() > 40, "{}", section.title);
            assert!(section.page.contains('('), "{}", section.title);
            assert!(!section.body.contains("<!--"), "{}", section.title);
        }
        let mut titles: Vec<&str> = all.iter().map(|section| section.title.as_str()).collect();
        titles.sort_unstable();
        let count = titles.len();
        titles.dedup();
        assert_eq!(titles.len(), count, "two sections share a title");
    }
}
