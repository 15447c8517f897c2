//! Probes of what is kept: how much it is, and what was left half done.
//!
//! Layer: ops. Names and lengths only: no conversation is opened, so ten thousand of them cost
//! a few milliseconds.

use std::io;
use std::path::Path;
use std::time::SystemTime;

use jiff::Timestamp;

use crate::model::id::ConversationId;
use crate::model::size::{ByteSize, counted};
use crate::platform::disk::{FileKind, LockMode, Open};
use crate::store::Store;

use super::local::{is_there, nothing_yet};
use super::{INTERRUPTED, Outcome, Probe, STORE, Thresholds, number};

/// From this share of a limit on, in percent, it is worth a warning.
const NEARLY: u64 = 80;

/// How many things a message names.
const NAMED: usize = 3;

/// What is in a directory.
#[derive(Default)]
struct Counted {
    files: u64,
    bytes: u64,
}

/// What is in the data directory.
#[derive(Default)]
struct Survey {
    active: Counted,
    archived: Counted,
    trash: Counted,
    bytes: u64,
    /// The largest conversation in use.
    largest: Option<(u64, String)>,
    /// When the conversation changed that changed last.
    newest: Option<SystemTime>,
    /// Side files.
    partial: Vec<String>,
}

/// Both probes, from one look.
pub(super) fn look(store: &Store, limits: &Thresholds) -> Outcome {
    match is_there(store) {
        Ok(true) => {}
        Ok(false) => {
            return Outcome {
                probes: vec![nothing_yet(STORE), nothing_yet(INTERRUPTED)],
                ..Outcome::default()
            };
        }
        Err(_) => {
            let skipped = |name| Probe::skipped(name, "the data directory cannot be looked at");
            return Outcome {
                probes: vec![skipped(STORE), skipped(INTERRUPTED)],
                ..Outcome::default()
            };
        }
    }
    let survey = survey(store);
    Outcome {
        newest: survey
            .newest
            .and_then(|time| Timestamp::try_from(time).ok()),
        probes: vec![size(&survey, limits), interrupted(store, &survey)],
        ..Outcome::default()
    }
}

fn survey(store: &Store) -> Survey {
    let layout = store.layout();
    let mut survey = Survey::default();
    survey.active = walk(store, &layout.active_dir(), |name, len, modified| {
        if let Some(id) = name.strip_suffix(".jsonl") {
            if survey.largest.as_ref().is_none_or(|(most, _)| len > *most) {
                survey.largest = Some((len, id.to_owned()));
            }
            survey.newest = survey.newest.max(modified);
            return true;
        }
        if let Some(id) = name.strip_suffix(".partial") {
            survey.partial.push(id.to_owned());
        }
        false
    });
    let ends =
        |end: &'static str| move |name: &str, _: u64, _: Option<SystemTime>| name.ends_with(end);
    survey.archived = walk(store, &layout.archived_dir(), ends(".jsonl.gz"));
    let root = layout.root();
    survey.trash = walk(store, &root.join("conversations/trash"), |_, _, _| true);
    // Rollback points are second names of the same files and take no room of their own.
    let others = [
        "attachments",
        "backups",
        "quarantine",
        "logs",
        "cache",
        "config",
    ];
    let others = others.map(|name| walk(store, &root.join(name), |_, _, _| true).bytes);
    survey.bytes = survey.active.bytes
        + survey.archived.bytes
        + survey.trash.bytes
        + others.iter().sum::<u64>();
    survey
}

/// The files of a directory: how many of those that `counts`, and how long all of them are.
/// What cannot be looked at is told by the probe of the data directory.
fn walk(
    store: &Store,
    directory: &Path,
    mut counts: impl FnMut(&str, u64, Option<SystemTime>) -> bool,
) -> Counted {
    let mut counted = Counted::default();
    for entry in store.disk().read_dir(directory).unwrap_or_default() {
        if entry.kind != FileKind::File {
            continue;
        }
        let Ok(stat) = store.disk().stat(&directory.join(&entry.name)) else {
            continue;
        };
        counted.bytes += stat.len;
        let name = entry.name.to_string_lossy();
        counted.files += u64::from(counts(&name, stat.len, stat.modified));
    }
    counted
}

fn size(survey: &Survey, limits: &Thresholds) -> Probe {
    let conversations = counted(
        usize::try_from(survey.active.files).unwrap_or(usize::MAX),
        "conversation",
    );
    let mut value = format!("{conversations}, {} altogether", ByteSize(survey.bytes));
    if survey.archived.files > 0 {
        value.push_str(&format!("; {} archived", survey.archived.files));
    }
    if survey.trash.files > 0 {
        value.push_str(&format!("; {} in the trash", survey.trash.files));
    }
    let mut probe = Probe::new(STORE, value)
        .metric(
            "store_bytes",
            "How much is in the data directory",
            number(survey.bytes),
        )
        .metric(
            "store_limit_bytes",
            "How much may be in the data directory",
            number(limits.storage.0),
        )
        .metric(
            "conversations",
            "How many conversations are in use",
            number(survey.active.files),
        )
        .metric(
            "conversations_limit",
            "How many conversations may be in use",
            number(limits.conversations),
        )
        .metric(
            "conversations_archived",
            "How many conversations are archived",
            number(survey.archived.files),
        )
        .metric(
            "conversations_trash",
            "How many conversations are in the trash",
            number(survey.trash.files),
        );
    if nearly(survey.bytes, limits.storage.0) {
        probe = probe.degraded(
            full(survey.bytes, limits.storage.0, "storage-limit", "storage-nearly-full"),
            format!("{} of {} are used", ByteSize(survey.bytes), limits.storage),
            "see what can go: pachat cleanup --dry-run; or allow more: pachat config set limits.storage_mb",
        );
    }
    if nearly(survey.active.files, limits.conversations) {
        probe = probe.degraded(
            full(survey.active.files, limits.conversations, "too-many-conversations", "many-conversations"),
            format!("{} of {} conversations are in use", survey.active.files, limits.conversations),
            "archive those that rest: pachat cleanup --dry-run; or allow more: pachat config set limits.conversations",
        );
    }
    if let Some((len, id)) = &survey.largest {
        probe = probe.metric(
            "largest_conversation_bytes",
            "How large the largest conversation in use is",
            number(*len),
        );
        if nearly(*len, limits.conversation.0) {
            probe = probe.degraded(
                full(
                    *len,
                    limits.conversation.0,
                    "conversation-too-large",
                    "conversation-nearly-full",
                ),
                format!("{id} has {} of {}", ByteSize(*len), limits.conversation),
                format!("go on in a new one; it can rest in the archive: pachat cleanup {id}"),
            );
        }
    }
    probe
}

fn nearly(amount: u64, limit: u64) -> bool {
    amount.saturating_mul(100) >= limit.saturating_mul(NEARLY)
}

fn full(amount: u64, limit: u64, over: &'static str, near: &'static str) -> &'static str {
    if amount >= limit { over } else { near }
}

/// Replies whose writer is gone. The next one who opens the conversation keeps what there is.
fn interrupted(store: &Store, survey: &Survey) -> Probe {
    let (mut left, mut busy) = (Vec::new(), 0);
    for name in &survey.partial {
        let Ok(id) = name.parse::<ConversationId>() else {
            continue;
        };
        match is_at_work(store, &id) {
            Ok(true) => busy += 1,
            // It may have come to its end just now.
            Ok(false) if store.disk().stat(&store.layout().partial(&id)).is_ok() => {
                left.push(id);
            }
            _ => {}
        }
    }
    left.sort();
    let probe = |value: &str| {
        Probe::new(INTERRUPTED, value)
            .metric(
                "turns_interrupted",
                "How many replies were cut off by the death of their writer",
                number(left.len() as u64),
            )
            .metric(
                "turns_under_way",
                "How many replies are arriving just now",
                number(busy),
            )
    };
    if left.is_empty() {
        return match busy {
            0 => probe("none"),
            1 => probe("none; 1 reply is arriving"),
            many => probe(&format!("none; {many} replies are arriving")),
        };
    }
    let mut names: Vec<String> = left.iter().take(NAMED).map(ToString::to_string).collect();
    if left.len() > NAMED {
        names.push(format!("and {} more", left.len() - NAMED));
    }
    let what = match left.len() {
        1 => "1 reply was".to_owned(),
        many => format!("{many} replies were"),
    };
    probe(&counted(left.len(), "interrupted reply").replace("replys", "replies")).degraded(
        "interrupted-turns",
        format!(
            "{what} cut off by the death of pachat, in {}",
            names.join(", ")
        ),
        format!(
            "nothing is lost; going on keeps what had arrived: pachat chat {}",
            left.first().map(ToString::to_string).unwrap_or_default()
        ),
    )
}

/// Whether somebody holds the conversation's turn lock. Makes no file.
fn is_at_work(store: &Store, id: &ConversationId) -> io::Result<bool> {
    match store
        .disk()
        .open(&store.layout().turn_lock(id), Open::Append)
    {
        Ok(file) => Ok(!file.try_lock(LockMode::Shared)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}
