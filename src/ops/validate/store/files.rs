//! What stands in the directories of the store: what belongs there, and what does not.
//!
//! Layer: ops. By names and `stat` alone; no file is opened.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::path::Path;

use crate::model::backup::Part;
use crate::model::finding::{Finding, Severity};
use crate::model::id::ConversationId;
use crate::platform::disk::{Entry, FileKind, LockMode, Open, Stat};
use crate::store::Store;
use crate::store::parts::PartFile;
use crate::store::shelf;

/// What may stand at the top of the data directory.
const TOP: [&str; 9] = [
    "VERSION",
    "attachments",
    "backups",
    "cache",
    "config",
    "conversations",
    "logs",
    "quarantine",
    "run",
];
/// The directories of the store that are no parts.
const OTHERS: [&str; 5] = ["backups", "backups/points", "cache", "conversations", "run"];
/// Where a process writes a file before it gives it its name, besides the parts.
const WRITTEN: [&str; 2] = ["", "cache"];

/// The files of the store.
#[derive(Default)]
pub(super) struct Files {
    /// Conversations in use, put away and deleted: the file and its conversation.
    pub conversations: Vec<(PartFile, ConversationId)>,
    /// Side files of replies.
    pub replies: Vec<(PartFile, ConversationId)>,
    pub attachments: Vec<PartFile>,
    /// Settings, logs, what is quarantined.
    pub others: Vec<PartFile>,
    /// Files that somebody may have begun who died, as they looked.
    pub temporary: Vec<(String, Stat)>,
}

/// Lists everything.
pub(super) fn list(store: &Store, found: &mut Vec<Finding>) -> Files {
    let mut files = Files::default();
    for path in OTHERS {
        look_at_directory(store, path, found);
    }
    for part in Part::ALL {
        look_at_directory(store, part.path(), found);
        list_part(store, part, &mut files, found);
    }
    for path in WRITTEN {
        list_passing(store, path, &mut files, found);
    }
    look_at_top(store, found);
    files
}

/// A directory of the store must be one.
fn look_at_directory(store: &Store, path: &str, found: &mut Vec<Finding>) {
    let whole = store.layout().root().join(path);
    match store.disk().stat(&whole).map(|stat| stat.kind) {
        Ok(FileKind::File) => found.push(Finding::new(
            "store.not-a-directory",
            Severity::Error,
            path,
            "a file stands where a directory belongs, so nothing can be kept there",
            "look what it is, and move it away; pachat makes the directory when it needs it",
        )),
        Ok(FileKind::Other) => found.push(Finding::new(
            "store.symlink",
            Severity::Warning,
            path,
            "it is a link, not a directory: a restore refuses to replace it, and copies of the data directory may lack what it leads to",
            "move what it leads to here; to keep everything elsewhere, name that place with --data-dir or PACHAT_DATA_DIR",
        )),
        Err(error)
            if !matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            found.push(super::unreadable(path, &error));
        }
        _ => {}
    }
}

/// The entries of a directory, each once; none if there is none.
fn entries(store: &Store, path: &str, found: &mut Vec<Finding>) -> Vec<(Entry, io::Result<Stat>)> {
    let directory = store.layout().root().join(path);
    match store.disk().read_dir_stats(&directory) {
        Ok(mut entries) => {
            entries.sort_unstable_by(|(a, _), (b, _)| a.name.cmp(&b.name));
            // One that is renamed meanwhile may be listed twice.
            entries.dedup_by(|(a, _), (b, _)| a.name == b.name);
            entries
        }
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Vec::new()
        }
        Err(error) => {
            found.push(super::unreadable(path, &error));
            Vec::new()
        }
    }
}

fn list_part(store: &Store, part: Part, files: &mut Files, found: &mut Vec<Finding>) {
    // What is in the trash has names of its own.
    let trashed: HashMap<String, Option<ConversationId>> = match part {
        Part::Trash => shelf::trashed(store).unwrap_or_default(),
        _ => Vec::new(),
    }
    .into_iter()
    .map(|trashed| (trashed.name.clone(), trashed.conversation().cloned()))
    .collect();
    for (entry, stat) in entries(store, part.path(), found) {
        let name = match entry.name.into_string() {
            Ok(name) => name,
            Err(name) => {
                found.push(foreign(&format!("{}/{}", part.path(), name.display())));
                continue;
            }
        };
        let path = format!("{}/{name}", part.path());
        if entry.kind != FileKind::File {
            found.push(odd_entry(&path, entry.kind));
            continue;
        }
        let file = match stat {
            Ok(stat) => PartFile::of(part, &name, &stat),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                found.push(super::unreadable(&path, &error));
                None
            }
        };
        let Some(file) = file else { continue };
        let stem = |suffix: &str| name.strip_suffix(suffix).and_then(|id| id.parse().ok());
        let conversation: Option<ConversationId> = match part {
            Part::Active => stem(".jsonl"),
            Part::Archived => stem(".jsonl.gz"),
            Part::Trash => trashed.get(&name).cloned().flatten(),
            _ => None,
        };
        if name.starts_with('.') {
            passing(store, &path, &name, files, found);
        } else if let Some(id) = conversation {
            files.conversations.push((file, id));
        } else if let (Part::Active, Some(id)) = (part, stem(".partial")) {
            files.replies.push((file, id));
        } else if part == Part::Attachments && part.accepts(&name) {
            files.attachments.push(file);
        } else if part.accepts(&name) && part != Part::Trash || trashed.contains_key(&name) {
            files.others.push(file);
        } else {
            found.push(unknown(part, &path, &name));
        }
    }
}

/// Only the files in the making of a directory whose other files are nobody's business here.
fn list_passing(store: &Store, path: &str, files: &mut Files, found: &mut Vec<Finding>) {
    for (entry, _) in entries(store, path, &mut Vec::new()) {
        let name = entry.name.to_string_lossy().into_owned();
        if is_temporary(&name) && entry.kind == FileKind::File {
            let path = Path::new(path).join(&name);
            passing(store, &path.display().to_string(), &name, files, found);
        }
    }
}

fn look_at_top(store: &Store, found: &mut Vec<Finding>) {
    let conversations = BTreeSet::from(["active", "archived", "trash"]);
    for (directory, known) in [
        ("", &BTreeSet::from(TOP)),
        ("conversations", &conversations),
    ] {
        for (entry, _) in entries(store, directory, found) {
            let name = entry.name.to_string_lossy().into_owned();
            if name.starts_with('.') || known.contains(&*name) {
                continue;
            }
            let path = Path::new(directory).join(&name);
            found.push(foreign(&path.display().to_string()));
        }
    }
}

/// A file that begins with a point.
fn passing(store: &Store, path: &str, name: &str, files: &mut Files, found: &mut Vec<Finding>) {
    if !is_temporary(name) {
        found.push(foreign(path));
    } else if let Ok(stat) = store.disk().stat(&store.layout().root().join(path)) {
        files.temporary.push((path.to_owned(), stat));
    }
}

/// Whether a name is that of a file in the making.
fn is_temporary(name: &str) -> bool {
    name.starts_with('.') && Path::new(name).extension().is_some_and(|end| end == "tmp")
}

/// Of files in the making, those that nobody makes: they look as they did when they were
/// listed, which is as long ago as a look at everything takes, and the lock of who would make
/// them is free.
pub(super) fn left_over(store: &Store, temporary: Vec<(String, Stat)>) -> Vec<Finding> {
    let layout = store.layout();
    let is_left = |path: &str, before: &Stat| {
        let name = path.rsplit('/').next().unwrap_or_default();
        let id = name.get(1..23).and_then(|id| id.parse().ok());
        let is_held = match path.split('/').next() {
            Some("conversations") => id.is_some_and(|id| store.is_busy(&id)),
            Some("config") => is_held(store, &layout.config_lock()),
            Some("logs") => is_held(store, &layout.rotation_lock()),
            _ => false,
        };
        let now = store.disk().stat(&layout.root().join(path));
        !is_held
            && now.is_ok_and(|now| {
                (now.len, now.modified, now.identity)
                    == (before.len, before.modified, before.identity)
            })
    };
    temporary
        .into_iter()
        .filter(|(path, stat)| is_left(path, stat))
        .map(|(path, stat)| {
            Finding::new(
                "store.temporary",
                Severity::Note,
                path,
                format!(
                    "a process died while it wrote this; it has {} bytes that nothing refers to",
                    stat.len
                ),
                "remove it: pachat validate --fix",
            )
            .fixable()
        })
        .collect()
}

/// Whether somebody holds a lock. The answer may be old when it arrives.
pub(super) fn is_held(store: &Store, lock: &Path) -> bool {
    store
        .disk()
        .open(lock, Open::Read)
        .and_then(|file| file.try_lock(LockMode::Shared))
        .is_ok_and(|free| !free)
}

fn odd_entry(path: &str, kind: FileKind) -> Finding {
    match kind {
        FileKind::Directory => Finding::new(
            "store.directory",
            Severity::Warning,
            path,
            "a directory stands among files: nothing in it is listed or backed up, and a restore refuses to replace what is around it",
            "move it out of the data directory",
        ),
        _ => Finding::new(
            "store.symlink",
            Severity::Warning,
            path,
            "it is a link or a special file: it is not followed, not listed and not backed up",
            "put the file itself here, or remove the link",
        ),
    }
}

/// A file that no part knows. One that was surely meant to be a conversation is not shown by
/// any command, which its owner may not know.
fn unknown(part: Part, path: &str, name: &str) -> Finding {
    let lower = name.to_ascii_lowercase();
    let kept = matches!(part, Part::Active | Part::Archived | Part::Trash);
    if !(kept && lower.contains(".jsonl")) {
        return foreign(path);
    }
    let right = match part {
        Part::Archived => "YYYYMMDD-HHMMSS-xxxxxx.jsonl.gz",
        _ => "YYYYMMDD-HHMMSS-xxxxxx.jsonl",
    };
    let well_formed = |name: &str| Part::Active.accepts(name) || Part::Archived.accepts(name);
    let (cause, remedy) = if well_formed(name) {
        (
            "no conversation is looked for under this name in this directory, so no command shows it".to_owned(),
            "move it where it belongs: .jsonl to conversations/active, .jsonl.gz to conversations/archived".to_owned(),
        )
    } else if well_formed(&lower) {
        (
            "names of conversations are in lower case, so no command shows it".to_owned(),
            format!("rename it to {lower}"),
        )
    } else {
        (
            "its name is no id of a conversation, so no command shows it".to_owned(),
            format!("if it is one, give it its id as a name: {right}; else move it away"),
        )
    };
    Finding::new("store.name", Severity::Warning, path, cause, remedy)
}

fn foreign(path: &str) -> Finding {
    Finding::new(
        "store.foreign",
        Severity::Note,
        path,
        "pachat does not know it, and neither lists it nor backs it up",
        "move it out of the data directory, if you do not mean it to be there",
    )
}
