//! Probes of what is kept: how much it is, and what was left half done.
//!
//! Layer: ops. Names and lengths only: no conversation is opened, so ten thousand of them cost
//! a few milliseconds.

use std::io;

use jiff::Timestamp;

use crate::model::backup::Part;
use crate::model::error::describe;
use crate::model::id::ConversationId;
use crate::model::size::{ByteSize, counted};
use crate::ops::room::{is_near, remedy_for_conversations, remedy_for_storage};
use crate::ops::usage::{self, Usage};
use crate::platform::disk::{LockMode, Open};
use crate::store::Store;

use super::local::{is_there, nothing_yet};
use super::{INTERRUPTED, Outcome, Probe, STORE, Thresholds, number};

/// The directories of the store that are no part of backups.
const BESIDES: [&str; 3] = ["backups", "run", "cache"];

/// How many things a message names.
const NAMED: usize = 3;

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
    let usage = match usage::measure(store) {
        Ok(usage) => usage,
        Err(error) => {
            let why = format!("not everything can be read: {}", describe(&error));
            let remedy = "see what, and check its owner and permissions: pachat validate store";
            return Outcome {
                probes: vec![
                    Probe::new(STORE, "not measured").unhealthy("unreadable", &why, remedy),
                    Probe::skipped(INTERRUPTED, &why),
                ],
                ..Outcome::default()
            };
        }
    };
    Outcome {
        newest: usage.newest.and_then(|time| Timestamp::try_from(time).ok()),
        probes: vec![
            blocked(store, size(&usage, limits)),
            interrupted(store, &usage),
        ],
        ..Outcome::default()
    }
}

/// Says where a file stands in the place of a directory: nothing can be kept there, and most
/// commands fail.
fn blocked(store: &Store, mut probe: Probe) -> Probe {
    let mut blocked: Vec<&str> = Vec::new();
    let parts = Part::ALL.map(Part::path);
    for path in ["conversations"].into_iter().chain(parts).chain(BESIDES) {
        // What is below a file needs no word of its own.
        if blocked.iter().any(|above| is_below(path, above)) {
            continue;
        }
        let directory = store.layout().root().join(path).join(".");
        let looked = store.disk().stat(&directory);
        if looked.is_err_and(|error| error.kind() == io::ErrorKind::NotADirectory) {
            blocked.push(path);
        }
    }
    for path in blocked {
        probe = probe.unhealthy(
            "not-a-directory",
            format!("a file stands where the directory {path} belongs"),
            "look what it is, and move it away; pachat makes the directory when it needs it",
        );
    }
    probe
}

fn is_below(path: &str, above: &str) -> bool {
    let rest = path.strip_prefix(above);
    rest.is_some_and(|rest| rest.starts_with('/'))
}

fn size(usage: &Usage, limits: &Thresholds) -> Probe {
    let conversations = counted(
        usize::try_from(usage.active.files).unwrap_or(usize::MAX),
        "conversation",
    );
    let mut value = format!("{conversations}, {} altogether", ByteSize(usage.all.bytes));
    if usage.archived.files > 0 {
        value.push_str(&format!("; {} archived", usage.archived.files));
    }
    if usage.trash.files > 0 {
        value.push_str(&format!("; {} in the trash", usage.trash.files));
    }
    let mut probe = Probe::new(STORE, value)
        .metric(
            "store_bytes",
            "How much is in the data directory",
            number(usage.all.bytes),
        )
        .metric(
            "store_limit_bytes",
            "How much may be in the data directory",
            number(limits.storage.0),
        )
        .metric(
            "conversations",
            "How many conversations are in use",
            number(usage.active.files),
        )
        .metric(
            "conversations_limit",
            "How many conversations may be in use",
            number(limits.conversations),
        )
        .metric(
            "conversations_archived",
            "How many conversations are archived",
            number(usage.archived.files),
        )
        .metric(
            "conversations_trash",
            "How many conversations are in the trash",
            number(usage.trash.files),
        );
    if is_near(usage.all.bytes, limits.storage.0) {
        probe = probe.degraded(
            full(
                usage.all.bytes,
                limits.storage.0,
                "storage-limit",
                "storage-nearly-full",
            ),
            format!(
                "{} of {} are used",
                ByteSize(usage.all.bytes),
                limits.storage
            ),
            remedy_for_storage(usage.all.bytes, limits.storage.0),
        );
    }
    if is_near(usage.active.files, limits.conversations) {
        probe = probe.degraded(
            full(
                usage.active.files,
                limits.conversations,
                "too-many-conversations",
                "many-conversations",
            ),
            format!(
                "{} of {} conversations are in use",
                usage.active.files, limits.conversations
            ),
            remedy_for_conversations(usage.active.files, limits.conversations),
        );
    }
    if let Some((len, id)) = &usage.largest {
        probe = probe.metric(
            "largest_conversation_bytes",
            "How large the largest conversation in use is",
            number(*len),
        );
        if is_near(*len, limits.conversation.0) {
            probe = probe.degraded(
                full(
                    *len,
                    limits.conversation.0,
                    "conversation-too-large",
                    "conversation-nearly-full",
                ),
                format!("{id} has {} of {}", ByteSize(*len), limits.conversation),
                format!(
                    "begin a new one from what matters in it: pachat export {}",
                    id.short()
                ),
            );
        }
    }
    probe
}

fn full(amount: u64, limit: u64, over: &'static str, near: &'static str) -> &'static str {
    if amount >= limit { over } else { near }
}

/// Replies whose writer is gone. The next one who opens the conversation keeps what there is.
fn interrupted(store: &Store, usage: &Usage) -> Probe {
    let (mut left, mut busy) = (Vec::new(), 0);
    for id in &usage.partial {
        match is_at_work(store, id) {
            Ok(true) => busy += 1,
            // It may have come to its end just now.
            Ok(false) if store.disk().stat(&store.layout().partial(id)).is_ok() => {
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
            "nothing is lost; going on keeps what had arrived: pachat chat -C {}",
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
