//! What dead processes have left, and what can be made again.
//!
//! Invariant: nothing is removed that a living process may be using. What is written under a
//! lock is removed by whoever holds that lock; for the rest, which takes seconds to write, a day
//! without a change is proof enough. Only names that pachat itself gives are looked at.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::model::backup::Part;
use crate::model::error::{Error, Result};
use crate::model::id::ConversationId;
use crate::platform::disk::{FileKind, Stat};
use crate::store::{Store, points};

use super::{Action, Plan, Step, Target, Task, Wishes};

/// How long nobody must have written to a file that no lock protects.
pub(super) const ABANDONED: Duration = Duration::from_secs(24 * 60 * 60);

/// Directories in which files are replaced whole, without a lock that could be asked.
const REPLACED: [&str; 7] = [
    "",
    "config",
    "cache",
    "logs",
    "attachments",
    "quarantine",
    "conversations/trash",
];

/// Plans to remove temporary files of processes that are dead.
pub(super) fn temporaries(store: &Store, wishes: &Wishes, plan: &mut Plan) -> Result<()> {
    let mut add = |path: String, stat: Option<&Stat>, target: Target| {
        let reason = match target {
            Target::Abandoned => "nobody has written to it for a day",
            _ => "the process that made it is dead",
        };
        plan.steps.push(Step {
            task: Task::Temporaries,
            action: Action::Delete,
            path,
            bytes: stat.map_or(0, |stat| stat.len),
            age: stat.and_then(changed).map(|changed| wishes.age(changed)),
            reason: reason.into(),
            target,
        });
    };
    for part in [Part::Active, Part::Archived] {
        for (name, stat) in files(store, part.path())? {
            let Some(id) = in_the_making(&name) else {
                continue;
            };
            if !store.is_busy(&id) {
                let path = format!("{}/{name}", part.path());
                add(path, Some(&stat), Target::OfTurn(id));
            }
        }
    }
    for (name, stat) in files(store, "backups")? {
        // Those who make backups write to it all the time.
        let draft = name.starts_with(".backup_") && name.strip_suffix(".tmp").is_some();
        if draft && is_abandoned(&stat, wishes.at()) {
            add(format!("backups/{name}"), Some(&stat), Target::OfBackups);
        }
    }
    for directory in REPLACED {
        for (name, stat) in files(store, directory)? {
            if is_replacement(&name) && is_abandoned(&stat, wishes.at()) {
                let path = if directory.is_empty() {
                    name
                } else {
                    format!("{directory}/{name}")
                };
                add(path, Some(&stat), Target::Abandoned);
            }
        }
    }
    for (name, stat) in files(store, "run")? {
        let id = name.strip_prefix("turn-");
        let id = id.and_then(|name| name.strip_suffix(".lock")?.parse().ok());
        if let Some(id) = id.filter(|id| !store.is_busy(id)) {
            add(format!("run/{name}"), Some(&stat), Target::OfTurn(id));
        }
    }
    for path in points::left_over(store)? {
        let stat = store.disk().stat(&path).ok();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if stat
            .as_ref()
            .is_some_and(|stat| is_abandoned(stat, wishes.at()))
        {
            add(
                format!("backups/points/{name}"),
                stat.as_ref(),
                Target::OfPoints,
            );
        }
    }
    Ok(())
}

/// Plans to drop what can be made or fetched again.
pub(super) fn caches(store: &Store, wishes: &Wishes, plan: &mut Plan) -> Result<()> {
    let reason: Arc<str> = "it can be made again".into();
    for (name, stat) in files(store, "cache")? {
        if name.starts_with('.') {
            continue;
        }
        plan.steps.push(Step {
            task: Task::Caches,
            action: Action::Delete,
            path: format!("cache/{name}"),
            bytes: stat.len,
            age: changed(&stat).map(|changed| wishes.age(changed)),
            reason: Arc::clone(&reason),
            target: Target::Cache,
        });
    }
    Ok(())
}

/// The conversation whose file has this name until it is whole.
fn in_the_making(name: &str) -> Option<ConversationId> {
    let name = name.strip_prefix('.')?.strip_suffix(".tmp")?;
    let id = name
        .strip_suffix(".jsonl.gz")
        .or_else(|| name.strip_suffix(".jsonl"));
    id?.parse().ok()
}

/// Whether a file has a name like that of one that takes the place of another when it is whole:
/// `.NAME.RANDOM.tmp`.
fn is_replacement(name: &str) -> bool {
    let parts = || {
        let (name, random) = name
            .strip_prefix('.')?
            .strip_suffix(".tmp")?
            .rsplit_once('.')?;
        let random = random.len() == 8 && random.bytes().all(|byte| byte.is_ascii_hexdigit());
        Some(random && !name.is_empty())
    };
    parts().unwrap_or(false)
}

/// When a file was last changed.
fn changed(stat: &Stat) -> Option<Timestamp> {
    Timestamp::try_from(stat.modified?).ok()
}

/// Whether nobody has written to a file for long enough.
pub(super) fn is_abandoned(stat: &Stat, now: Timestamp) -> bool {
    changed(stat).is_some_and(|changed| {
        Duration::try_from(now.duration_since(changed)).is_ok_and(|age| age >= ABANDONED)
    })
}

/// The files in a directory of the store, by name; none if it does not exist.
fn files(store: &Store, directory: &str) -> Result<Vec<(String, Stat)>> {
    let path = if directory.is_empty() {
        store.layout().root().to_path_buf()
    } else {
        store.layout().root().join(directory)
    };
    let cannot =
        |path: &Path, error: &io::Error| Error::io("cannot look for leftovers", path, error);
    let entries = match store.disk().read_dir(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(|error| cannot(&path, &error))?,
    };
    let mut found = Vec::new();
    for entry in entries
        .into_iter()
        .filter(|entry| entry.kind == FileKind::File)
    {
        let Ok(name) = entry.name.into_string() else {
            continue;
        };
        // Of most files the name is enough.
        if !directory.is_empty() && is_plain(directory, &name) {
            continue;
        }
        let file = path.join(&name);
        match store.disk().stat(&file) {
            Ok(stat) => found.push((name, stat)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(cannot(&file, &error)),
        }
    }
    found.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    Ok(found)
}

/// Whether a file is none that this module is about, by its name alone.
fn is_plain(directory: &str, name: &str) -> bool {
    match directory {
        "cache" => false,
        "run" => !name.starts_with("turn-"),
        _ => !name.starts_with('.'),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_pachat_gives_are_temporary() {
        for name in [
            ".app_config.json.0a1b2c3d.tmp",
            ".app.log.20260822_094107.gz.0a1b2c3d.tmp",
        ] {
            assert!(is_replacement(name), "{name}");
        }
        for name in [
            ".tmp",
            "..0a1b2c3d.tmp",
            ".x.tmp",
            "x.0a1b2c3d.tmp",
            ".x.0a1b2c3g.tmp",
            ".x.0a1b2c3d.swp",
        ] {
            assert!(!is_replacement(name), "{name}");
        }
        let id = "20260822-094107-7k2m9q";
        for name in [format!(".{id}.jsonl.tmp"), format!(".{id}.jsonl.gz.tmp")] {
            assert_eq!(in_the_making(&name).unwrap().as_str(), id);
        }
        assert_eq!(in_the_making(&format!(".{id}.tmp")), None);
        assert_eq!(in_the_making(&format!("{id}.jsonl.tmp")), None);
    }
}
