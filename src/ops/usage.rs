//! How much there is in the data directory: the one place where it is measured.
//!
//! Layer: ops. Only looks, by names and lengths, without a lock. Promise: a file counts once,
//! however many names it has. A rollback point is second names of files, so it takes room only
//! where the first ones are gone or have been replaced.

use std::io;
use std::time::SystemTime;

use crate::model::backup::Part;
use crate::model::id::ConversationId;
use crate::platform::disk::Stat;
use crate::store::Store;

use super::room::Tally;

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
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

/// What there is.
#[derive(Clone, Debug, Default)]
pub struct Usage {
    /// Conversations in use.
    pub active: Amount,
    /// Archived ones.
    pub archived: Amount,
    /// What is in the trash.
    pub trash: Amount,
    /// Everything below the data directory.
    pub all: Amount,
    /// The largest conversation in use, and how long it is.
    pub largest: Option<(u64, ConversationId)>,
    /// When the conversation changed that changed last.
    pub newest: Option<SystemTime>,
    /// Conversations with a side file.
    pub partial: Vec<ConversationId>,
}

/// Adds up what there is. A data directory that does not exist has nothing.
pub fn measure(store: &Store) -> io::Result<Usage> {
    let layout = store.layout();
    let (active, archived) = (layout.active_dir(), layout.archived_dir());
    let trash = store.part_dir(Part::Trash);
    let mut usage = Usage::default();
    let mut tally = Tally::default();
    tally.add_below(
        store.disk(),
        layout.root(),
        &[],
        &mut |directory, name, stat| {
            let Some(name) = name.to_str().filter(|name| !name.starts_with('.')) else {
                return;
            };
            if directory == active {
                usage.count_active(name, stat);
            } else if directory == archived && id(name, ".jsonl.gz").is_some() {
                usage.archived.add(stat.len);
            } else if directory == trash {
                usage.trash.add(stat.len);
            }
        },
    )?;
    usage.all = Amount {
        files: tally.files(),
        bytes: tally.bytes(),
    };
    Ok(usage)
}

impl Usage {
    fn count_active(&mut self, name: &str, stat: &Stat) {
        if let Some(id) = id(name, ".jsonl") {
            self.active.add(stat.len);
            self.newest = self.newest.max(stat.modified);
            if self.largest.as_ref().is_none_or(|(len, _)| stat.len > *len) {
                self.largest = Some((stat.len, id));
            }
        } else {
            self.partial.extend(id(name, ".partial"));
        }
    }
}

fn id(name: &str, end: &str) -> Option<ConversationId> {
    name.strip_suffix(end)?.parse().ok()
}
