//! What is wrong with the sources of the settings, place by place: for `validate`.
//!
//! Layer: settings. Reads what loading reads, changes nothing, and never fails: what cannot be
//! read is itself a finding. No finding repeats what stands in a `.env` file but names.

use std::path::{Path, PathBuf};

use crate::cli::Global;
use crate::model::error::Kind;
use crate::model::finding::{Finding, Severity};
use crate::model::secret::redact;
use crate::platform::{Disk, Environment};

use super::dotenv::{self, Dotenv, Odd};
use super::file::{self, Issue, IssueKind};
use super::load::Loading;
use super::{Origin, Setting, find, lines};

/// The file of variables that counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvFile {
    /// Where it is; it exists.
    pub path: PathBuf,
    /// Whether a key or a pass phrase is in it.
    pub holds_a_secret: bool,
}

/// The file of variables, if there is one.
pub fn env_file(global: &Global, environment: &Environment, disk: &dyn Disk) -> Option<EnvFile> {
    let path = Loading::forgiving(global, environment, disk).env_file()?;
    disk.stat(&path).ok()?;
    let read = Dotenv::read_what_can_be(disk, &path);
    Some(EnvFile {
        holds_a_secret: read.is_some_and(|read| read.holds_a_secret()),
        path,
    })
}

/// The line of the file of settings on which a setting stands, if it does.
pub fn line_of(disk: &dyn Disk, path: &Path, key: &str) -> Option<u64> {
    let bytes = disk.read(path, file::LARGEST).ok()?;
    let places = lines::keys(std::str::from_utf8(&bytes).ok()?);
    let place = places.iter().rfind(|place| place.path == key)?;
    Some(place.line as u64)
}

/// What is wrong with the file of settings, the file of variables, the variables of the
/// environment and the options that set something.
pub fn findings(global: &Global, environment: &Environment, disk: &dyn Disk) -> Vec<Finding> {
    let loading = Loading::forgiving(global, environment, disk);
    let mut found = Vec::new();
    if let Some(path) = loading.env_file() {
        look_at_variables(disk, &path, global.env_file.is_some(), &mut found);
    }
    look_at_environment(environment, &mut found);
    for (setting, origin, why) in loading.faults() {
        found.push(wrong_variable(setting, &origin, &why, disk));
    }
    if let Ok((data_dir, _)) = loading.data_dir() {
        let (path, origin) = loading.config_file(&data_dir);
        look_at_file(disk, &path, &origin, &data_dir, &mut found);
    }
    found
}

fn look_at_variables(disk: &dyn Disk, path: &Path, named: bool, found: &mut Vec<Finding>) {
    let subject = path.display().to_string();
    let bytes = match dotenv::content(disk, path) {
        Ok(Some((_, bytes))) => bytes,
        Ok(None) => {
            if named {
                found.push(missing(&subject, "--env-file"));
            }
            return;
        }
        Err(error) => {
            found.push(unreadable(&subject, &error));
            return;
        }
    };
    let (_, bad) = dotenv::parse(&bytes);
    for bad in bad {
        let cause = if bad.is_binary {
            "this line is not UTF-8, and no variable from here on is read"
        } else {
            "this line is not of the form NAME=VALUE"
        };
        let finding = Finding::new(
            "config.env-line",
            Severity::Error,
            &subject,
            cause,
            "write one NAME=VALUE on a line, with 'single quotes' around a value with spaces",
        );
        found.push(at(finding, bad.number));
    }
    let Some(read) = Dotenv::read_what_can_be(disk, path) else {
        return;
    };
    for (name, odd) in read.odd() {
        let finding = match odd {
            Odd::Misspelt(near) => unknown_variable(&subject, name, &near),
            Odd::Unused => Finding::new(
                "config.unused-variable",
                Severity::Note,
                &subject,
                format!("{name} is not a variable that pachat uses"),
                "nothing needs to be done; take the line out if it was meant for pachat",
            ),
        };
        found.push(at(finding, line_of_variable(&bytes, name)));
    }
}

fn look_at_environment(environment: &Environment, found: &mut Vec<Finding>) {
    for name in environment.variables.keys() {
        if let Some(name) = name
            .to_str()
            .filter(|name| name.starts_with(dotenv::PREFIX))
            && let Some(near) = dotenv::misspelt(name)
        {
            found.push(unknown_variable("environment", name, &near));
        }
    }
}

fn unknown_variable(subject: &str, name: &str, near: &str) -> Finding {
    Finding::new(
        "config.unknown-variable",
        Severity::Warning,
        subject,
        format!("the variable {name} is unknown and does nothing"),
        format!("if {near} was meant, call it so; else take it out"),
    )
}

/// A value of an option or a variable that is not allowed. `why` repeats no secret: the
/// variables that hold one are no settings.
fn wrong_variable(setting: &Setting, origin: &Origin, why: &str, disk: &dyn Disk) -> Finding {
    let (subject, name) = match origin {
        Origin::Environment(name) => ("environment".to_owned(), name.as_str()),
        Origin::DotEnv(path, name) => (path.display().to_string(), name.as_str()),
        _ => ("command line".to_owned(), "the option"),
    };
    let finding = Finding::new(
        "config.variable",
        Severity::Error,
        subject,
        redact(&format!("{name}, for `{}`, {why}", setting.key), &[]),
        "correct the value, or leave it out",
    );
    match origin {
        Origin::DotEnv(path, name) => {
            let bytes = dotenv::content(disk, path).ok().flatten();
            at(
                finding,
                bytes.and_then(|(_, bytes)| line_of_variable(&bytes, name)),
            )
        }
        _ => finding,
    }
}

/// The line on which a variable is set; the last one counts.
fn line_of_variable(bytes: &[u8], name: &str) -> Option<usize> {
    let text = String::from_utf8_lossy(bytes);
    let mut lines = text.lines().collect::<Vec<_>>().into_iter().enumerate();
    let found = lines.rfind(|(_, line)| {
        let line = line.trim_start_matches('\u{feff}').trim_start();
        let line = line.strip_prefix("export ").unwrap_or(line).trim_start();
        line.strip_prefix(name)
            .is_some_and(|rest| rest.trim_start().starts_with('='))
    });
    found.map(|(index, _)| index + 1)
}

fn look_at_file(
    disk: &dyn Disk,
    path: &Path,
    origin: &Origin,
    data_dir: &Path,
    found: &mut Vec<Finding>,
) {
    // As everywhere, what is below the data directory is named from there.
    let subject = path.strip_prefix(data_dir).unwrap_or(path);
    let subject = subject.display().to_string();
    let bytes = match disk.read(path, file::LARGEST) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            if *origin != Origin::Default {
                found.push(missing(&subject, &origin.to_string()));
            }
            return;
        }
        Err(error) => {
            found.push(unreadable(&subject, &error));
            return;
        }
    };
    match file::look(&bytes, path) {
        Ok(contents) => {
            found.extend(contents.issues.iter().map(|issue| finding(issue, &subject)));
        }
        Err(error) => found.push(no_settings(&bytes, &error, &subject)),
    }
}

/// A file that is no JSON object.
fn no_settings(bytes: &[u8], error: &crate::model::error::Error, subject: &str) -> Finding {
    debug_assert_eq!(error.kind(), Kind::Config, "all that looking refuses");
    let why = error.headline();
    let why = why.split_once(": ").map_or(why.as_str(), |(_, why)| why);
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let line = match std::str::from_utf8(text) {
        Err(error) => Some(dotenv::line_at(text, error.valid_up_to())),
        Ok(text) => serde_json::from_str::<serde_json::Value>(text)
            .err()
            .map(|error| error.line().max(1)),
    };
    let finding = Finding::new(
        "config.not-json",
        Severity::Error,
        subject,
        format!("{why}; no setting of this file holds, and most commands refuse to start"),
        "mend it with `pachat config edit`, or restore it: `pachat rollback --list`",
    );
    at(finding, line)
}

fn finding(issue: &Issue, subject: &str) -> Finding {
    let Issue { key, why, .. } = issue;
    let made = match issue.kind {
        IssueKind::Wrong => Finding::new(
            "config.value",
            Severity::Error,
            subject,
            redact(&format!("`{key}` {why}"), &[]),
            match find(key) {
                Some(_) => format!(
                    "correct it with `pachat config set {key} VALUE`, or take it out with `pachat config unset {key}`"
                ),
                None => "correct it with `pachat config edit`".into(),
            },
        ),
        IssueKind::Unknown => Finding::new(
            "config.unknown-setting",
            Severity::Warning,
            subject,
            format!("there is no setting `{key}`, so this does nothing"),
            why.clone(),
        ),
        IssueKind::Duplicate => Finding::new(
            "config.duplicate",
            Severity::Warning,
            subject,
            format!("`{key}` {why}; the last one counts"),
            "take one of them out with `pachat config edit`",
        ),
    };
    at(made, issue.line)
}

fn missing(subject: &str, named_by: &str) -> Finding {
    Finding::new(
        "config.file-missing",
        Severity::Error,
        subject,
        format!("{named_by} names this file, and it does not exist"),
        "correct the name, or put the file there",
    )
}

fn unreadable(subject: &str, error: &std::io::Error) -> Finding {
    Finding::new(
        "config.unreadable",
        Severity::Error,
        subject,
        format!(
            "the file cannot be read: {}",
            crate::model::error::describe(error)
        ),
        "check its owner, its permissions and its size",
    )
}

fn at(finding: Finding, line: Option<usize>) -> Finding {
    match line {
        Some(line) => finding.at_line(line as u64),
        None => finding,
    }
}
