//! How much there is, and whether there is room for more.
//!
//! Layer: ops. Only looks, by `stat` alone.

use std::collections::HashSet;
use std::io;

use crate::model::backup::Part;
use crate::model::error::{Error, Result};
use crate::model::size::{ByteSize, grouped};
use crate::platform::disk::{FileKind, FileSystem};
use crate::store::{Store, shelf};

/// Less free space than this is worth a warning, in bytes.
const LITTLE: u64 = 100_000_000;
/// And so is less than one part in so many of the file system.
const SHARE: u64 = 20;
/// From this share of a limit on there is a warning, in percent.
const NEAR: u64 = 80;

/// A number of files, and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// How many.
    pub files: u64,
    /// How long all of them are together, in bytes.
    pub bytes: u64,
}

impl Amount {
    fn add(&mut self, bytes: u64) {
        self.files += 1;
        self.bytes += bytes;
    }
}

/// What there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Conversations in use.
    pub active: Amount,
    /// Archived ones.
    pub archived: Amount,
    /// What is in the trash.
    pub trash: Amount,
    /// Everything below the data directory; what has several names is counted once.
    pub all: Amount,
    /// The file system that it is on.
    pub file_system: FileSystem,
}

/// What may be used.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How many bytes all of it may take.
    pub storage: u64,
    /// How many conversations may be in use.
    pub conversations: u64,
}

/// Something about space that a person has to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// Whether it is past a limit, not only near it.
    pub past: bool,
    /// What, and which call helps.
    pub text: String,
}

/// Adds up what there is. A data directory that does not exist has nothing.
pub fn usage(store: &Store) -> Result<Usage> {
    let root = store.layout().root();
    let cannot = |error: io::Error| Error::io("cannot look at the data directory", root, &error);
    let mut usage = Usage::default();
    match store.disk().stat(root) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(usage),
        other => other.map_err(cannot)?,
    };
    usage.file_system = store.disk().file_system(root).map_err(cannot)?;
    for file in store.inventory(&[Part::Active, Part::Archived])?.files {
        match file.part {
            Part::Archived => usage.archived.add(file.len),
            _ if file.name.strip_suffix(".partial").is_some() => {}
            _ => usage.active.add(file.len),
        }
    }
    for trashed in shelf::trashed(store)? {
        usage.trash.add(trashed.bytes);
    }
    let mut seen = HashSet::new();
    for walked in store.disk().walk(root).map_err(cannot)? {
        if walked.kind != FileKind::File {
            continue;
        }
        match store.disk().stat(&walked.path) {
            Ok(stat) if stat.identity.is_none_or(|identity| seen.insert(identity)) => {
                usage.all.add(stat.len);
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(cannot(error)),
        }
    }
    Ok(usage)
}

/// What is near a limit, or past it.
pub fn remarks(usage: &Usage, limits: Limits) -> Vec<Remark> {
    let mut remarks = Vec::new();
    let mut judge = |value: u64, limit: u64, text: String| {
        if value.saturating_mul(100) >= limit.saturating_mul(NEAR) {
            let past = value >= limit;
            remarks.push(Remark { past, text });
        }
    };
    let (bytes, storage) = (usage.all.bytes, limits.storage);
    judge(
        bytes,
        storage,
        format!(
            "the data directory takes {} of {}; make room: pachat cleanup --empty-trash",
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
    let system = usage.file_system;
    if let Some(free) = system.free {
        let little = LITTLE.max(system.total.map_or(0, |total| total / SHARE));
        if free < LITTLE {
            let text = format!(
                "only {} are free on this disk; nothing more can be kept soon",
                ByteSize(free)
            );
            remarks.push(Remark { past: true, text });
        } else if free < little {
            let text = format!("only {} are free on this disk", ByteSize(free));
            remarks.push(Remark { past: false, text });
        }
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
