//! The limits on what is kept: how much, and how many conversations.
//!
//! Layer: ops. Promises: only what would pass a limit is refused, and nothing that is there is
//! touched; backups, restores and cleanup are never refused, for they are the way out. What is
//! counted is counted without a lock, so processes that write at once may each pass a limit by
//! what they write then.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::error::{Error, Kind, Result};
use crate::model::size::{ByteSize, grouped};
use crate::platform::disk::Open;
use crate::store::Store;
use crate::store::read::Scope;

use super::room::{ample, is_near, remedy_for_conversations, remedy_for_storage};
use super::usage;

/// How long a measurement is believed while there is much room, in seconds.
const BELIEVED: i64 = 3600;
/// The most that is read of the kept measurement, in bytes.
const LARGEST: u64 = 4096;

/// What may be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Of the whole data directory.
    pub storage: ByteSize,
    /// Conversations in use; archived ones do not count.
    pub conversations: u64,
}

/// Whether one more conversation may begin: the warning that it is time to clean up, if it is.
/// An error of kind [`Kind::CannotCreate`] if it would pass a limit.
pub fn check_new(store: &Store, limits: &Limits) -> Result<Option<String>> {
    // In a store that this program cannot read there is nothing to be counted, or kept.
    store.check()?;
    let mut near = Vec::new();
    let mut remedy = "pachat cleanup".to_owned();
    let count = store.ids(Scope::Active)?.len();
    if count as u64 >= limits.conversations {
        return Err(
            Error::new(Kind::CannotCreate, "no further conversation is begun")
                .why(format!(
                    "{} are in use, and limits.conversations allows {}",
                    grouped(count),
                    limits.conversations
                ))
                .hint(remedy_for_conversations(count as u64, limits.conversations)),
        );
    }
    if is_near(count as u64, limits.conversations) {
        near.push(format!(
            "{} of {} conversations are in use",
            grouped(count),
            limits.conversations
        ));
        remedy.push_str(&format!(" --max-count {}", limits.conversations / 2));
    }
    if let Some(bytes) = check_storage(store, limits)?
        && is_near(bytes, limits.storage.0)
    {
        near.push(format!(
            "{} of {} are used",
            ByteSize(bytes),
            limits.storage
        ));
    }
    if near.is_empty() {
        return Ok(None);
    }
    Ok(Some(format!("{}; to make room: {remedy}", near.join(", "))))
}

/// Whether anything more may be kept. An error of kind [`Kind::CannotCreate`] if not.
pub fn check_turn(store: &Store, limits: &Limits) -> Result<()> {
    check_storage(store, limits).map(drop)
}

/// Whether so many more conversations may come in, which have so many bytes. An error of kind
/// [`Kind::CannotCreate`] if they would pass a limit.
pub fn check_import(store: &Store, limits: &Limits, added: usize, bytes: u64) -> Result<()> {
    let refused = |why: String| Error::new(Kind::CannotCreate, "nothing was imported").why(why);
    let all = (store.ids(Scope::Active)?.len() + added) as u64;
    if added > 0 && all > limits.conversations {
        return Err(refused(format!(
            "{} conversations would be in use, and limits.conversations allows {}",
            grouped(usize::try_from(all).unwrap_or(usize::MAX)),
            limits.conversations
        ))
        .hint(format!(
            "allow more: pachat config set limits.conversations {}; what has not been touched for a week can be archived then: pachat cleanup",
            ample(all, limits.conversations)
        )));
    }
    let used = check_storage(store, limits)?.unwrap_or(0);
    let all = used.saturating_add(bytes);
    if all > limits.storage.0 {
        return Err(refused(format!(
            "the data directory would have {}, and limits.storage_mb allows {}",
            ByteSize(all),
            limits.storage
        ))
        .path(store.layout().root())
        .hint(remedy_for_storage(all, limits.storage.0)));
    }
    Ok(())
}

/// Whether a prompt could be read back, once it is written down as JSON.
pub fn check_prompt(prompt: &str, memory: ByteSize) -> Result<()> {
    // No byte becomes more than six, so most prompts need not be written down to know.
    let len = prompt.len() as u64;
    let fits = len.saturating_mul(8) < memory.0
        || serde_json::to_string(prompt).is_ok_and(|json| (json.len() as u64) < memory.0);
    if fits {
        return Ok(());
    }
    Err(Error::new(Kind::Malformed, "the prompt is too large")
        .why(format!(
            "limits.memory_mb allows {memory} for a conversation"
        ))
        .hint("raise limits.memory_mb, or send a part of it"))
}

/// How many bytes are kept, if that could be measured; an error if the limit is reached.
fn check_storage(store: &Store, limits: &Limits) -> Result<Option<u64>> {
    let limit = limits.storage.0;
    let now = store.clock().now();
    let bytes = match believed(store, now, limit) {
        Some(bytes) => bytes,
        None => match usage::measure(store) {
            Ok(usage) => {
                let bytes = usage.all.bytes;
                keep(store, &Measured { at: now, bytes });
                bytes
            }
            // What cannot be measured is not held against anybody.
            Err(error) => {
                log::warn!("the data directory cannot be measured: {error}");
                return Ok(None);
            }
        },
    };
    if bytes < limit {
        return Ok(Some(bytes));
    }
    Err(Error::new(Kind::CannotCreate, "nothing more is kept")
        .why(format!(
            "the data directory has {}, and limits.storage_mb allows {}",
            ByteSize(bytes),
            limits.storage
        ))
        .path(store.layout().root())
        .hint(format!(
            "make room: pachat cleanup; or allow more: pachat config set limits.storage_mb {}",
            ample(bytes, limit) / 1_000_000
        )))
}

/// A measurement, in `cache/usage.json`.
#[derive(Serialize, Deserialize)]
struct Measured {
    #[serde(with = "crate::model::time")]
    at: Timestamp,
    bytes: u64,
}

/// The kept measurement, if it is young and far from the limit.
fn believed(store: &Store, now: Timestamp, limit: u64) -> Option<u64> {
    let path = store.layout().cache_dir().join("usage.json");
    let bytes = store.disk().read(&path, LARGEST).ok()?;
    let measured: Measured = serde_json::from_slice(&bytes).ok()?;
    // One from the future is of a clock that was wrong.
    let age = now.duration_since(measured.at).as_secs();
    let young = (0..BELIEVED).contains(&age);
    (young && !is_near(measured.bytes, limit)).then_some(measured.bytes)
}

/// Keeps a measurement, without a sync: after a power cut it is only taken again. That it
/// cannot be kept only costs time later.
fn keep(store: &Store, measured: &Measured) {
    let (disk, directory) = (store.disk(), store.layout().cache_dir());
    if disk.stat(&store.layout().version()).is_err() {
        // There is no store yet, and this is not the one to make it.
        return;
    }
    let _ = disk.create_dir(&directory);
    let Ok(random) = store.random().next_u32() else {
        return;
    };
    let temporary = directory.join(format!(".usage.json.{random:08x}.tmp"));
    let written = (|| {
        let json = serde_json::to_vec(measured)?;
        let mut file = disk.open(&temporary, Open::CreateNew)?;
        file.write_all(&json)?;
        drop(file);
        disk.rename(&temporary, &directory.join("usage.json"))
    })();
    if written.is_err() {
        let _ = disk.remove_file(&temporary);
    }
}
