//! Settings that are each allowed and do not fit together, and the files that they name.
//!
//! Layer: ops. Whether a setting is allowed at all is decided where settings are read. Promise:
//! nothing is asked for, no command is run, and no message holds a key.

use std::path::{Path, PathBuf};

use crate::archive::seal;
use crate::model::base_url::BaseUrl;
use crate::model::error::{Error, describe};
use crate::model::finding::{Finding, Severity};
use crate::model::size::ByteSize;
use crate::model::usd::Usd;
use crate::ops::retention::Within;
use crate::platform::Disk;
use crate::platform::disk::Open;
use crate::store::keys::{self, Access, KeyStore, Mode};

/// The settings that are compared, and the means to look at the files they name.
pub struct Subject<'a> {
    /// Where most of these stand, for the finding.
    pub config_file: String,
    /// The line there of a setting, if it stands there.
    pub line_of: &'a dyn Fn(&str) -> Option<u64>,
    /// The server.
    pub base_url: &'a BaseUrl,
    /// Whether a variable or a command gives the key, before the sealed ones.
    pub has_other_key: bool,
    /// The file of sealed keys.
    pub keys_file: PathBuf,
    /// Files, the configuration directory and the data directory.
    pub access: Access<'a>,
    /// `api.ca_file`.
    pub ca_file: Option<&'a Path>,
    /// Backups: `backup.encrypted`, `.recipients`, `.identity`.
    pub encrypted: bool,
    /// Whom sealed backups are for.
    pub recipients: Vec<String>,
    /// What opens them.
    pub identity: Option<&'a Path>,
    /// The rules that keep a number of backups.
    pub keeps: [u32; 5],
    /// `backup.keep_within`.
    pub keep_within: Option<&'a str>,
    /// `limits.memory_mb`.
    pub memory_limit: ByteSize,
    /// `limits.conversation_mb`.
    pub conversation_limit: ByteSize,
    /// `limits.daily_cost_usd` and `limits.monthly_cost_usd`.
    pub cost_limits: (Option<Usd>, Option<Usd>),
    /// `cleanup.archive_days`; 0 is never.
    pub archive_days: u32,
    /// `cleanup.min_age_days`.
    pub min_age_days: u32,
}

impl Subject<'_> {
    fn finding(
        &self,
        code: &'static str,
        severity: Severity,
        key: &str,
        cause: String,
        remedy: &str,
    ) -> Finding {
        let finding = Finding::new(code, severity, &self.config_file, cause, remedy);
        match (self.line_of)(key) {
            Some(line) => finding.at_line(line),
            None => finding,
        }
    }
}

/// Looks at all of it.
pub fn look(subject: &Subject<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    look_at_files(subject, &mut found);
    look_at_backups(subject, &mut found);
    look_at_limits(subject, &mut found);
    look_at_keys(subject, &mut found);
    found
}

fn look_at_files(subject: &Subject<'_>, found: &mut Vec<Finding>) {
    for (setting, path) in [
        ("api.ca_file", subject.ca_file),
        ("backup.identity", subject.identity),
    ] {
        let Some(path) = path else { continue };
        if let Err(why) = readable(subject.access.disk, path) {
            found.push(Finding::new(
                "config.file-missing",
                Severity::Error,
                path.display().to_string(),
                format!("`{setting}` names this file, and it cannot be read: {why}"),
                format!("put it there, or run `pachat config unset {setting}`"),
            ));
        }
    }
}

fn readable(disk: &dyn Disk, path: &Path) -> Result<(), String> {
    let opened = disk.open(path, Open::Read);
    let mut file = opened.map_err(|error| describe(&error))?;
    // A directory opens; only reading it says what it is.
    match file.read(&mut [0]) {
        Ok(0) => Err("it is empty".into()),
        Ok(_) => Ok(()),
        Err(error) => Err(describe(&error)),
    }
}

fn look_at_backups(subject: &Subject<'_>, found: &mut Vec<Finding>) {
    let mut add = |code, severity, key: &str, cause: String, remedy: &str| {
        found.push(subject.finding(code, severity, key, cause, remedy));
    };
    for recipient in &subject.recipients {
        if let Err(error) = seal::check_recipient(recipient) {
            let hint = error.hint_text().unwrap_or("see `pachat backup --help`");
            add(
                "config.recipient",
                Severity::Error,
                "backup.recipients",
                format!("`backup.recipients`: {}", error.headline()),
                hint,
            );
        }
    }
    if subject.encrypted && subject.recipients.is_empty() {
        add(
            "config.no-recipient",
            Severity::Warning,
            "backup.encrypted",
            "`backup.encrypted` is on and `backup.recipients` is empty, so every backup asks for a pass phrase, and one from cron fails".into(),
            "run `pachat backup keygen`, or `pachat config unset backup.encrypted`",
        );
    }
    let within = subject.keep_within.map(str::parse::<Within>);
    if let Some(Err(why)) = &within {
        add(
            "config.value",
            Severity::Error,
            "backup.keep_within",
            format!("`backup.keep_within`: {why}"),
            "correct it with `pachat config set backup.keep_within 30d`",
        );
    }
    if subject.keeps == [0; 5] && within.is_none() {
        add(
            "config.retention",
            Severity::Note,
            "backup.keep_last",
            "every `backup.keep_…` rule is off, so no backup is ever removed".into(),
            "if that is not meant, run `pachat config set backup.keep_last 7`",
        );
    }
}

fn look_at_limits(subject: &Subject<'_>, found: &mut Vec<Finding>) {
    let mut add = |key: &str, cause: String, remedy: &str| {
        found.push(subject.finding("config.conflict", Severity::Warning, key, cause, remedy));
    };
    if subject.conversation_limit > subject.memory_limit {
        add(
            "limits.conversation_mb",
            format!(
                "`limits.conversation_mb` lets a conversation grow to {}, and `limits.memory_mb` lets no more than {} be read",
                subject.conversation_limit, subject.memory_limit
            ),
            "raise `limits.memory_mb`, or lower `limits.conversation_mb`",
        );
    }
    if let (Some(daily), Some(monthly)) = subject.cost_limits
        && daily > monthly
    {
        add(
            "limits.daily_cost_usd",
            format!(
                "`limits.daily_cost_usd` allows {daily} a day, and `limits.monthly_cost_usd` only {monthly} a month"
            ),
            "lower the one or raise the other with `pachat config set`",
        );
    }
    if subject.archive_days > 0 && subject.min_age_days > subject.archive_days {
        add(
            "cleanup.min_age_days",
            format!(
                "`cleanup.archive_days` is {}, and nothing younger than the {} days of `cleanup.min_age_days` is touched",
                subject.archive_days, subject.min_age_days
            ),
            "lower `cleanup.min_age_days`, or raise `cleanup.archive_days`",
        );
    }
}

/// The sealed keys. They are opened only where that takes nothing but a file.
fn look_at_keys(subject: &Subject<'_>, found: &mut Vec<Finding>) {
    let path = &subject.keys_file;
    let name = path.strip_prefix(subject.access.data_dir).unwrap_or(path);
    let name = name.display().to_string();
    let store = match keys::read(subject.access.disk, path) {
        Ok(Some(store)) => store,
        Ok(None) => return,
        Err(error) => {
            found.push(told("config.keys", Severity::Error, name, &error));
            return;
        }
    };
    if store.mode() == Mode::Keyfile
        && let Some(error) = cannot_open(&store, &subject.access)
    {
        let place = error.path_ref().unwrap_or(path);
        let place = place.strip_prefix(subject.access.data_dir).unwrap_or(place);
        let place = place.display().to_string();
        found.push(told("config.key-file", Severity::Error, place, &error));
    }
    let origin = subject.base_url.origin();
    let wants_key = !subject.has_other_key && !subject.base_url.is_private();
    if wants_key && !store.holds(&origin) {
        let others: Vec<&str> = store.origins().map(|(origin, _)| origin).collect();
        found.push(Finding::new(
            "config.key-elsewhere",
            Severity::Warning,
            name,
            format!(
                "there are sealed keys for {}, and none for {origin}, which requests go to",
                others.join(", ")
            ),
            "run `pachat config key set`, or correct `api.base_url`",
        ));
    }
}

/// Why not every key can be opened.
fn cannot_open(store: &KeyStore, access: &Access<'_>) -> Option<Error> {
    let origins: Vec<String> = store
        .origins()
        .map(|(origin, _)| origin.to_owned())
        .collect();
    origins
        .iter()
        .find_map(|origin| store.open(origin, access).err())
}

/// An error as a finding.
fn told(code: &'static str, severity: Severity, subject: String, error: &Error) -> Finding {
    let remedy = error
        .hint_text()
        .unwrap_or("check the file, its owner and its permissions");
    Finding::new(code, severity, subject, error.headline(), remedy)
}
