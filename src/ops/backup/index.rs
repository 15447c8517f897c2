//! What the last backup of a type has read and packed: `cache/backup-<type>.json`.
//!
//! It can be lost at any time; then everything is read and packed again. Nothing in it is
//! believed that could make a backup wrong:
//! - A file counts as unchanged, and is not read, only if it looks as it did
//!   ([`crate::store::looks`]).
//! - A packed member is copied only if its bytes have the digest that they had; and the archive
//!   that it ends up in is read back like any other.

use std::collections::{BTreeMap, HashMap};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::archive::path::ArchivePath;
use crate::archive::write::{Earlier, Member};
use crate::model::backup::{BackupType, Sha256};
use crate::model::error::{Error, Kind, Result};
use crate::platform::disk::{File, Open};
use crate::store::looks::Looks;
use crate::store::parts::{Measured, PartFile};
use crate::store::{Store, atomic};

use super::Plan;

/// The version of the index's format; another one is read as if it were lost.
const VERSION: u32 = 1;

/// The most that is read of it, in bytes: enough for the most files that an archive may hold.
const LARGEST: u64 = 64 << 20;

/// The longest member that is copied, in bytes.
const LARGEST_MEMBER: u64 = 64 << 20;

/// What is known from the last backup.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Index {
    version: u32,
    kind: BackupType,
    /// The archive to copy members from.
    archive: Option<Archive>,
    /// The files, by path.
    files: BTreeMap<String, Known>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Archive {
    name: String,
    size: u64,
    members: Vec<Member>,
}

/// What a file was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Known {
    /// How it looked; `None` if looking does not tell whether it changed.
    pub(super) looks: Option<Looks>,
    /// What was in it.
    pub(super) size: u64,
    pub(super) sha256: Sha256,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) damage: Option<Box<str>>,
}

impl Known {
    /// What is known of a file that was just read.
    pub(super) fn of(measured: &Measured, looks: Option<Looks>) -> Self {
        Self {
            looks,
            size: measured.size,
            sha256: measured.sha256,
            damage: measured.damage.as_deref().map(Into::into),
        }
    }
}

impl Index {
    /// The index of this type; empty if it is lost or cannot be read.
    pub(super) fn load(store: &Store, kind: BackupType) -> Self {
        let bytes = store.disk().read(&path(store, kind), LARGEST);
        let read: Option<Self> = bytes
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok());
        read.filter(|index| index.version == VERSION && index.kind == kind)
            .unwrap_or_else(|| Self::empty(kind))
    }

    /// An index that knows nothing.
    pub(super) fn empty(kind: BackupType) -> Self {
        Self {
            version: VERSION,
            kind,
            archive: None,
            files: BTreeMap::new(),
        }
    }

    /// Lets go of what is known of files, and keeps what can be copied.
    pub(super) fn forget_files(&mut self) {
        self.files = BTreeMap::new();
    }

    /// Keeps the index. That it cannot be kept only costs time later.
    pub(super) fn save(&self, store: &Store) {
        let saved = || -> Result<()> {
            let json = serde_json::to_vec(self)
                .map_err(|error| Error::new(Kind::Bug, "cannot write JSON").cause(error))?;
            atomic::create_dirs(store.disk(), &store.layout().cache_dir())?;
            atomic::replace(store.disk(), store.random(), &path(store, self.kind), &json)
        };
        if let Err(error) = saved() {
            log::warn!("the index of backups is not kept: {error}");
        }
    }

    /// What is known of a path, whether it still holds or not.
    pub(super) fn last(&self, path: &ArchivePath) -> Option<&Known> {
        self.files.get(path.as_str())
    }

    /// What is known of a file that looks like this, if that is enough to know its content.
    pub(super) fn trusted(&self, path: &ArchivePath, file: &PartFile) -> Option<&Known> {
        let known = self.last(path)?;
        (known.looks.is_some() && known.looks == Looks::of(file)).then_some(known)
    }

    /// A file is not what the index says, although it looks so.
    pub(super) fn distrust(&mut self, path: &ArchivePath) {
        if let Some(known) = self.files.get_mut(path.as_str()) {
            known.looks = None;
        }
    }

    /// What was read for a backup; whether that is something new.
    pub(super) fn remember(&mut self, plan: &Plan) -> bool {
        let files = plan.entries().map(|(entry, file)| {
            let known = Known {
                looks: file.looks.clone(),
                size: entry.size,
                sha256: entry.sha256,
                damage: file.damage.clone(),
            };
            (entry.path.as_str().to_owned(), known)
        });
        let files = files.collect();
        let is_new = self.files != files;
        self.files = files;
        is_new
    }

    /// From now on members are copied from this archive in the directory of backups.
    pub(super) fn copy_from(&mut self, name: String, size: u64, members: Vec<Member>) {
        self.archive = Some(Archive {
            name,
            size,
            members,
        });
    }

    /// The archive that members are copied from.
    pub(super) fn archive_name(&self) -> Option<String> {
        self.archive.as_ref().map(|archive| archive.name.clone())
    }

    /// The members that can be copied; none where everything is to be packed `anew`.
    pub(super) fn earlier(&self, store: &Store, anew: bool) -> Packed {
        let open = |archive: &Archive| {
            let path = store.layout().backups_dir().join(&archive.name);
            let file = store.disk().open(&path, Open::Read).ok()?;
            (file.stat().ok()?.len == archive.size).then_some(file)
        };
        let archive = self.archive.as_ref().filter(|_| !anew);
        let file = archive.and_then(open);
        let members = archive.filter(|_| file.is_some());
        let members = members.into_iter().flat_map(|archive| &archive.members);
        Packed {
            members: members.map(|member| (member.key, member.clone())).collect(),
            file,
            copied: false,
        }
    }
}

/// The members of the last archive.
pub(super) struct Packed {
    file: Option<Box<dyn File>>,
    members: HashMap<Sha256, Member>,
    copied: bool,
}

impl Packed {
    /// Whether any was asked for and there.
    pub(super) fn copied(&self) -> bool {
        self.copied
    }
}

impl Earlier for Packed {
    fn find(&mut self, key: Sha256) -> Option<(Vec<u8>, Sha256)> {
        let member = self.members.get(&key)?;
        let file = self.file.as_mut()?;
        if member.len > LARGEST_MEMBER {
            return None;
        }
        file.seek(SeekFrom::Start(member.offset)).ok()?;
        let mut bytes = Vec::with_capacity(usize::try_from(member.len).ok()?);
        file.take(member.len).read_to_end(&mut bytes).ok()?;
        if Sha256::of(&bytes) != member.packed {
            return None;
        }
        self.copied = true;
        Some((bytes, member.packed))
    }
}

fn path(store: &Store, kind: BackupType) -> PathBuf {
    let name = format!("backup-{kind}.json");
    store.layout().cache_dir().join(name)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::model::backup::Part;

    fn file(seconds: u64) -> PartFile {
        PartFile {
            part: Part::Config,
            name: "app_config.json".into(),
            len: 10,
            modified: Some(at(seconds)),
            identity: Some((1, 2)),
        }
    }

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn index(looks: Option<Looks>) -> (Index, ArchivePath) {
        let path = ArchivePath::new(Part::Config, "app_config.json").unwrap();
        let known = Known {
            looks,
            size: 10,
            sha256: Sha256::of(b"0123456789"),
            damage: None,
        };
        let index = Index {
            version: VERSION,
            kind: BackupType::Config,
            archive: None,
            files: BTreeMap::from([(path.as_str().to_owned(), known)]),
        };
        (index, path)
    }

    #[test]
    fn a_file_that_looks_different_is_read_again() {
        let (mut index, path) = index(Looks::settled(&file(100), at(200)));
        assert!(index.trusted(&path, &file(100)).is_some());
        for changed in [
            file(101),
            PartFile {
                len: 11,
                ..file(100)
            },
            PartFile {
                identity: Some((1, 3)),
                ..file(100)
            },
            PartFile {
                modified: None,
                ..file(100)
            },
        ] {
            assert_eq!(index.trusted(&path, &changed), None, "{changed:?}");
        }
        index.distrust(&path);
        assert_eq!(index.trusted(&path, &file(100)), None);
        assert!(index.last(&path).is_some());
    }

    #[test]
    fn without_its_looks_nothing_is_trusted() {
        let (index, path) = index(None);
        let faceless = PartFile {
            modified: None,
            identity: None,
            ..file(100)
        };
        assert_eq!(index.trusted(&path, &faceless), None);
    }
}
