//! Whether there is room for more.
//!
//! Layer: ops. Only looks.

use std::io;

use crate::model::error::{Error, Result};
use crate::model::size::{ByteSize, grouped};
use crate::ops::limits::Limits;
use crate::ops::room::{self, Room};
use crate::ops::usage::Usage;
use crate::platform::disk::FileSystem;
use crate::store::Store;

/// Something about space that a person has to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// Whether it is past a limit, not only near it.
    pub past: bool,
    /// What, and which call helps.
    pub text: String,
}

/// The file system that the data directory is on; nothing is known of one that does not exist.
pub fn file_system(store: &Store) -> Result<FileSystem> {
    let root = store.layout().root();
    let found = store
        .disk()
        .stat(root)
        .and_then(|_| store.disk().file_system(root));
    match found {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(FileSystem::default()),
        other => {
            other.map_err(|error| Error::io("cannot look at the data directory", root, &error))
        }
    }
}

/// What is near a limit, or past it.
pub fn remarks(usage: &Usage, system: FileSystem, limits: &Limits) -> Vec<Remark> {
    let mut remarks = Vec::new();
    let mut judge = |value: u64, limit: u64, text: String| {
        if room::is_near(value, limit) {
            let past = value >= limit;
            remarks.push(Remark { past, text });
        }
    };
    let (bytes, storage) = (usage.all.bytes, limits.storage.0);
    judge(
        bytes,
        storage,
        format!(
            "the data directory takes {} of {}; see what can go: pachat cleanup --dry-run",
            ByteSize(bytes),
            ByteSize(storage)
        ),
    );
    let (active, most) = (usage.active.files, limits.conversations);
    judge(
        active,
        most,
        format!(
            "{} of {} conversations are in use; archive the oldest: pachat cleanup --max-count {}",
            number(active),
            number(most),
            most / 2
        ),
    );
    if let Some(free) = system.free {
        let text = match room::for_bytes(&system) {
            Room::Enough => None,
            Room::Little => Some(""),
            Room::None => Some("; nothing more can be kept soon"),
        };
        remarks.extend(text.map(|then| Remark {
            past: !then.is_empty(),
            text: format!("only {} are free on this disk{then}", ByteSize(free)),
        }));
    }
    if system.read_only == Some(true) {
        let text = "this disk is read-only: nothing can be kept".to_owned();
        remarks.push(Remark { past: true, text });
    }
    remarks
}

fn number(number: u64) -> String {
    grouped(usize::try_from(number).unwrap_or(usize::MAX))
}
