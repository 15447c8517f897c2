//! A merge of conversations that do not come out of an archive: an import.
//!
//! Layer: ops. Promises: as those of a restore. Nothing of the store is touched before
//! [`Prepared::commit`]; only looking writes nothing at all.

use std::collections::HashMap;

use crate::archive::manifest::{Entry, Manifest};
use crate::archive::path::ArchivePath;
use crate::model::backup::{BackupType, Part, Sha256};
use crate::model::error::{Error, Kind, Result};
use crate::model::id::ConversationId;
use crate::store::Store;
use crate::store::lock::Patience;
use crate::store::swap::Staging;

use super::compare::Comparison;
use super::plan::{Copies, Mode, Plan};
use super::select::Selection;
use super::times::Ending;
use super::{Prepared, Request};

/// Restricts nothing.
static EVERYTHING: Selection = Selection {
    conversations: Vec::new(),
    include: Vec::new(),
};

/// Conversations on their way in.
pub struct Gathering<'a> {
    store: &'a Store,
    /// Where they are kept until then; `None` for only looking.
    staging: Option<Staging>,
    manifest: Manifest,
    comparison: Comparison,
    /// Which file of the store counts for a conversation.
    live: Copies,
    /// What has come.
    come: HashMap<ConversationId, Sha256>,
}

impl<'a> Gathering<'a> {
    /// Begins one that only looks.
    pub fn looking(store: &'a Store) -> Result<Self> {
        Self::begin(store, None)
    }

    /// Begins one that can be carried out.
    pub fn staging(store: &'a Store, patience: &mut Patience<'_>) -> Result<Self> {
        Self::begin(store, Some(Staging::begin(store, patience)?))
    }

    fn begin(store: &'a Store, staging: Option<Staging>) -> Result<Self> {
        let manifest = Manifest {
            kind: BackupType::Data,
            created_at: store.clock().now(),
            store_format: store.newest_format(),
            tags: Vec::new(),
            note: None,
            files: Vec::new(),
        };
        let comparison = Comparison::begin(store, &manifest, &[], false, Mode::Merge)?;
        let live = comparison.live.iter().map(|file| (file.part, &*file.name));
        Ok(Self {
            store,
            staging,
            manifest,
            live: Copies::of(live),
            comparison,
            come: HashMap::new(),
        })
    }

    /// Takes a conversation as its file is to be. `false` if it came before, and different.
    pub fn add(&mut self, id: &ConversationId, lines: &[u8]) -> Result<bool> {
        let name = format!("{id}.jsonl");
        let bug = || Error::new(Kind::Bug, "a conversation has no place");
        let path = ArchivePath::new(Part::Active, &name).ok_or_else(bug)?;
        let sha256 = Sha256::of(lines);
        if let Some(known) = self.come.insert(id.clone(), sha256) {
            return Ok(known == sha256);
        }
        if let Some(staging) = &mut self.staging {
            let mut file = staging.create(Part::Active, &name)?;
            file.write_all(lines).map_err(|error| {
                let path = staging.path(Part::Active, &name);
                Error::io("cannot keep what is to be imported", &path, &error).with_kind(Kind::Io)
            })?;
            if let Some(mut ending) = Ending::of(Part::Active, &name) {
                ending.update(lines);
                ending.stamp(self.store, file.as_ref());
            }
        }
        let entry = Entry {
            path,
            size: lines.len() as u64,
            sha256,
            damaged: false,
        };
        let live = self.live.counting(id);
        self.comparison.add(self.store, &entry, lines, live)?;
        Ok(true)
    }

    /// What would be done with what has come so far.
    pub fn plan(&self) -> Plan {
        self.comparison.plan()
    }

    /// All have come.
    pub fn prepared(self) -> Prepared<'a> {
        Prepared {
            store: self.store,
            request: Request {
                selection: &EVERYTHING,
                mode: Mode::Merge,
                config_dir: None,
            },
            manifest: self.manifest,
            plan: self.comparison.plan(),
            staging: self.staging,
            comparison: self.comparison,
            key: None,
            reason: "import",
        }
    }
}
