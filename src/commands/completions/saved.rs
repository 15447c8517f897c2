//! Candidates for backups, rollback points and what is in the trash: their names, read from
//! the directory, and a remark from the small file beside each that has one.

use std::path::{Path, PathBuf};

use clap_complete::engine::CompletionCandidate;
use serde::Deserialize;

use crate::model::id::ConversationId;
use crate::platform::Disk;
use crate::platform::disk::FileKind;
use crate::term::clean::clean_line;

/// The most backups or points that are offered.
const MOST: usize = 100;
/// The longest card, and the longest `point.json`, that is looked at, in bytes.
const LONGEST: u64 = 64 * 1024;

/// What a card or a `point.json` says that helps to choose.
#[derive(Default, Deserialize)]
struct Remark {
    #[serde(rename = "type")]
    kind: Option<String>,
    reason: Option<String>,
    note: Option<String>,
}

/// The newest backups.
pub(super) fn backups(disk: &dyn Disk, data_dir: &Path, typed: &str) -> Vec<CompletionCandidate> {
    let directory = data_dir.join("backups");
    let id = |name: &str| {
        let id = name
            .strip_suffix(".tar.gz")
            .or_else(|| name.strip_suffix(".tar.gz.age"))?;
        Some(id.to_owned())
    };
    let ids = newest(disk, &directory, FileKind::File, &id);
    let card = |id: &str| directory.join(format!("{id}.json"));
    candidates(disk, ids, &card, "backup_", typed, "the newest backup")
}

/// The newest rollback points.
pub(super) fn points(disk: &dyn Disk, data_dir: &Path, typed: &str) -> Vec<CompletionCandidate> {
    let directory = data_dir.join("backups").join("points");
    let id = |name: &str| name.starts_with("point_").then(|| name.to_owned());
    let ids = newest(disk, &directory, FileKind::Directory, &id);
    let head = |id: &str| directory.join(id).join("point.json");
    candidates(disk, ids, &head, "point_", typed, "the newest point")
}

/// What was deleted last, by the end of its id.
pub(super) fn trashed(disk: &dyn Disk, data_dir: &Path, typed: &str) -> Vec<CompletionCandidate> {
    let directory = data_dir.join("conversations").join("trash");
    // The time comes first, so that the newest are the last by name, too.
    let id = |name: &str| -> Option<ConversationId> { name.split('.').nth(1)?.parse().ok() };
    let name = |name: &str| id(name).map(|_| name.to_owned());
    let mut found = Vec::new();
    for id in newest(disk, &directory, FileKind::File, &name)
        .iter()
        .filter_map(|name| id(name))
    {
        if id.short().starts_with(typed) {
            found.push(CompletionCandidate::new(id.short()));
        } else if id.as_str().starts_with(typed) {
            found.push(CompletionCandidate::new(id.as_str()));
        }
    }
    if "last".starts_with(typed) {
        let help = "what was deleted last";
        found.push(CompletionCandidate::new("last").help(Some(help.into())));
    }
    found
}

fn newest(
    disk: &dyn Disk,
    directory: &Path,
    kind: FileKind,
    id: &dyn Fn(&str) -> Option<String>,
) -> Vec<String> {
    let mut ids: Vec<String> = disk
        .read_dir(directory)
        .unwrap_or_default()
        .into_iter()
        .filter(|entry| entry.kind == kind)
        .filter_map(|entry| id(entry.name.to_str()?))
        .collect();
    ids.sort_unstable_by(|a, b| b.cmp(a));
    ids.truncate(MOST);
    ids
}

/// The ids that begin with what was `typed`, or whose time does where something was.
fn candidates(
    disk: &dyn Disk,
    ids: Vec<String>,
    remarks: &dyn Fn(&str) -> PathBuf,
    prefix: &str,
    typed: &str,
    latest: &'static str,
) -> Vec<CompletionCandidate> {
    let mut found = Vec::new();
    for id in ids {
        let Some(time) = id.strip_prefix(prefix) else {
            continue;
        };
        let name = if id.starts_with(typed) {
            &id
        } else if time.starts_with(typed) {
            time
        } else {
            continue;
        };
        let help = remark(disk, &remarks(&id)).map(Into::into);
        found.push(CompletionCandidate::new(name).help(help));
    }
    if "latest".starts_with(typed) {
        found.push(CompletionCandidate::new("latest").help(Some(latest.into())));
    }
    found
}

/// What a backup is of, or why a point was made, and the note on it; safe to show.
fn remark(disk: &dyn Disk, path: &Path) -> Option<String> {
    let bytes = disk.read(path, LONGEST).ok()?;
    let remark: Remark = serde_json::from_slice(&bytes).ok()?;
    let parts = [remark.kind.or(remark.reason), remark.note];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| clean_line(&parts.join(": ")))
}
