//! What the last backup of a type has read and packed: `cache/backup-<type>.jsonl`.
//!
//! A line about the archive, one for each file, and at the end the digest of all that. It can be
//! lost at any time; then everything is read and packed again. So it is if a single byte of it
//! is not what was written. Of what it says,
//! - a file counts as unchanged, and is not read, only if it looks as it did
//!   ([`crate::store::looks`]);
//! - a packed member is copied only if its bytes have the digest that they had.
//!
//! Invariant: every member in it was unpacked by the reader that restores, as part of the
//! archive for which it was packed, and its bytes had this digest.

use std::collections::HashMap;
use std::io::{self, BufRead as _, BufReader, BufWriter, Read as _, Seek as _, SeekFrom, Write};
use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::archive::path::ArchivePath;
use crate::archive::write::{Earlier, Member};
use crate::model::backup::{BackupType, Hasher, Sha256};
use crate::model::error::Result;
use crate::platform::disk::{File, Open};
use crate::store::looks::Looks;
use crate::store::parts::{Measured, PartFile};
use crate::store::{Store, atomic};

use super::Plan;

/// The version of the index's format; another one is read as if it were lost.
const VERSION: u32 = 2;

/// The most that is read of it, in bytes: enough for the most files that an archive may hold.
const LARGEST: u64 = 64 << 20;

/// How much of it is written at once, in bytes.
const STEP: usize = 64 << 10;

/// The longest member that is copied, in bytes.
const LARGEST_MEMBER: u64 = 64 << 20;

/// What is known from the last backup.
#[derive(Debug)]
pub(super) struct Index {
    kind: BackupType,
    /// The archive to copy members from.
    archive: Option<Archive>,
    /// The files, sorted by path. There may be very many.
    files: Vec<(Box<str>, Known)>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Archive {
    name: String,
    size: u64,
    /// When last an archive was unpacked as a whole, of which this one is a copy in part.
    #[serde(with = "crate::model::time")]
    proven_at: Timestamp,
    members: Vec<Member>,
}

/// What a file was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Known {
    /// How it looked; `None` if looking does not tell whether it changed.
    pub(super) looks: Option<Looks>,
    /// What was in it.
    pub(super) size: u64,
    pub(super) sha256: Sha256,
    pub(super) damage: Option<Box<str>>,
}

/// The first line.
#[derive(Serialize, Deserialize)]
struct First<A> {
    version: u32,
    kind: BackupType,
    files: usize,
    archive: Option<A>,
}

/// The line of a file.
#[derive(Serialize, Deserialize)]
struct Line<P, L, D> {
    path: P,
    looks: Option<L>,
    size: u64,
    sha256: Sha256,
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    damage: Option<D>,
}

/// The last line.
#[derive(Serialize, Deserialize)]
struct Last {
    sha256: Sha256,
}

fn none<T>() -> Option<T> {
    None
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
        let file = store.disk().open(&path(store, kind), Open::Read).ok();
        file.and_then(|file| Self::parse(file, kind))
            .unwrap_or_else(|| Self::empty(kind))
    }

    fn parse(file: impl io::Read, kind: BackupType) -> Option<Self> {
        let mut lines = Lines {
            from: BufReader::with_capacity(STEP, file.take(LARGEST)),
            line: Vec::new(),
            hasher: Hasher::default(),
        };
        let first: First<Archive> = serde_json::from_slice(lines.next()?).ok()?;
        if first.version != VERSION || first.kind != kind {
            return None;
        }
        let mut files: Vec<(Box<str>, Known)> = Vec::new();
        for _ in 0..first.files {
            let line: Line<Box<str>, Looks, Box<str>> =
                serde_json::from_slice(lines.next()?).ok()?;
            let known = Known {
                looks: line.looks,
                size: line.size,
                sha256: line.sha256,
                damage: line.damage,
            };
            files.push((line.path, known));
        }
        lines.end()?;
        Some(Self {
            kind,
            archive: first.archive,
            files,
        })
    }

    /// An index that knows nothing.
    pub(super) fn empty(kind: BackupType) -> Self {
        Self {
            kind,
            archive: None,
            files: Vec::new(),
        }
    }

    /// Lets go of what is known of files, and keeps what can be copied.
    pub(super) fn forget_files(&mut self) {
        self.files = Vec::new();
    }

    /// Keeps the index, with the files of this plan. That it cannot be kept only costs time
    /// later.
    pub(super) fn save(&self, store: &Store, plan: &Plan) {
        let saved = || -> Result<()> {
            atomic::create_dirs(store.disk(), &store.layout().cache_dir())?;
            let path = path(store, self.kind);
            atomic::replace_with(store.disk(), store.random(), &path, &mut |file| {
                self.write(file, plan)
            })
        };
        if let Err(error) = saved() {
            log::warn!("the index of backups is not kept: {error}");
        }
    }

    fn write(&self, file: &mut dyn Write, plan: &Plan) -> io::Result<()> {
        let mut out = Digested {
            out: BufWriter::with_capacity(STEP, file),
            hasher: Hasher::default(),
        };
        out.line(&First {
            version: VERSION,
            kind: self.kind,
            files: plan.files.len(),
            archive: self.archive.as_ref(),
        })?;
        for (entry, file) in plan.entries() {
            out.line(&Line {
                path: entry.path.as_str(),
                looks: file.looks.as_ref(),
                size: entry.size,
                sha256: entry.sha256,
                damage: file.damage.as_deref(),
            })?;
        }
        let Digested { mut out, hasher } = out;
        let last = Last {
            sha256: hasher.finish(),
        };
        serde_json::to_writer(&mut out, &last)?;
        out.write_all(b"\n")?;
        out.flush()
    }

    /// What is known of a path, whether it still holds or not.
    pub(super) fn last(&self, path: &ArchivePath) -> Option<&Known> {
        let at = self.place(path)?;
        Some(&self.files[at].1)
    }

    fn place(&self, path: &ArchivePath) -> Option<usize> {
        let found = self
            .files
            .binary_search_by(|(known, _)| (**known).cmp(path.as_str()));
        found.ok()
    }

    /// What is known of a file that looks like this, if that is enough to know its content.
    pub(super) fn trusted(&self, path: &ArchivePath, file: &PartFile) -> Option<&Known> {
        let known = self.last(path)?;
        (known.looks.is_some() && known.looks == Looks::of(file)).then_some(known)
    }

    /// A file is not what the index says, although it looks so.
    pub(super) fn distrust(&mut self, path: &ArchivePath) {
        if let Some(at) = self.place(path) {
            self.files[at].1.looks = None;
        }
    }

    /// Whether it says of the files what this plan says.
    pub(super) fn agrees(&self, plan: &Plan) -> bool {
        let rows = self.files.iter();
        self.files.len() == plan.files.len()
            && rows
                .zip(plan.entries())
                .all(|((path, known), (entry, file))| {
                    **path == *entry.path.as_str()
                        && known.sha256 == entry.sha256
                        && known.size == entry.size
                        && known.looks == file.looks
                        && known.damage == file.damage
                })
    }

    /// From now on members are copied from this archive in the directory of backups, which was
    /// proven; `whole` says whether nothing in it was believed for being a copy.
    pub(super) fn copy_from(
        &mut self,
        name: String,
        size: u64,
        members: Vec<Member>,
        whole: bool,
        now: Timestamp,
    ) {
        let before = self.proven_at().filter(|_| !whole);
        self.archive = Some(Archive {
            name,
            size,
            proven_at: before.unwrap_or(now),
            members,
        });
    }

    /// When last everything was unpacked of which something can be copied.
    pub(super) fn proven_at(&self) -> Option<Timestamp> {
        self.archive.as_ref().map(|archive| archive.proven_at)
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

/// The lines of an index, digested.
struct Lines<R> {
    from: BufReader<R>,
    line: Vec<u8>,
    hasher: Hasher,
}

impl<R: io::Read> Lines<R> {
    fn read(&mut self) -> Option<()> {
        self.line.clear();
        self.from.read_until(b'\n', &mut self.line).ok()?;
        self.line.ends_with(b"\n").then_some(())
    }

    /// The next one, which must be there.
    fn next(&mut self) -> Option<&[u8]> {
        self.read()?;
        self.hasher.update(&self.line);
        Some(&self.line)
    }

    /// Reads the last one, which must be right, and the end.
    fn end(mut self) -> Option<()> {
        self.read()?;
        let last: Last = serde_json::from_slice(&self.line).ok()?;
        let whole = last.sha256 == self.hasher.finish();
        (whole && self.from.fill_buf().ok()?.is_empty()).then_some(())
    }
}

/// Writes lines, and digests them.
struct Digested<'a> {
    out: BufWriter<&'a mut dyn Write>,
    hasher: Hasher,
}

impl Digested<'_> {
    fn line(&mut self, line: &impl Serialize) -> io::Result<()> {
        let mut json = serde_json::to_vec(line)?;
        json.push(b'\n');
        self.hasher.update(&json);
        self.out.write_all(&json)
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
    let name = format!("backup-{kind}.jsonl");
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
            kind: BackupType::Config,
            archive: None,
            files: vec![(path.as_str().into(), known)],
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
