//! What the last backup of a type has read and packed: `cache/backup-<type>.jsonl`.
//!
//! A line about the archive, one for each file, and at the end the digest of all that. It can be
//! lost at any time; then everything is read and packed again. So it is if a single byte of it
//! is not what was written. Of what it says,
//! - a file counts as unchanged, and is not read, only if it looks as it did
//!   ([`crate::store::looks`]);
//! - a packed segment is copied as it is, and what it has become in the new archive must have the
//!   digest that it had.
//!
//! Invariant: every segment in it was unpacked by the reader that restores, as part of the
//! archive for which it was packed, and its bytes had this digest.

use std::collections::HashMap;
use std::io::{self, BufRead as _, BufReader, BufWriter, Read as _, Write};
use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::archive::path::ArchivePath;
use crate::archive::segment::Segment;
use crate::archive::write::Earlier;
use crate::model::backup::{BackupType, Hasher, Sha256};
use crate::model::error::Result;
use crate::platform::disk::{File, Open};
use crate::store::looks::Looks;
use crate::store::parts::{Measured, PartFile};
use crate::store::{Store, atomic};

use super::Plan;

/// The version of the index's format; another one is read as if it were lost.
const VERSION: u32 = 3;

/// The most that is read of it, in bytes: enough for the most files that an archive may hold.
const LARGEST: u64 = 64 << 20;

/// How much of the archive is read ahead, in bytes.
const AHEAD: usize = 256 << 10;

/// How much of it is written at once, in bytes.
const STEP: usize = 64 << 10;

/// The longest segment that is copied, in bytes.
const LARGEST_SEGMENT: u64 = 1 << 20;

/// What is known from the last backup.
#[derive(Debug)]
pub(super) struct Index {
    kind: BackupType,
    /// The archive to copy from.
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
    segments: Vec<Segment>,
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

/// The line of a file: its path, how it looked, its length, its digest and what is wrong with it.
/// An array, because there are tens of thousands.
#[derive(Serialize, Deserialize)]
struct Line<P, L, D>(P, Option<L>, u64, Sha256, Option<D>);

/// The last line.
#[derive(Serialize, Deserialize)]
struct Last {
    sha256: Sha256,
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

    /// Whether a file that looks like this is still what it was, as far as looking tells.
    pub(super) fn holds_for(&self, file: &PartFile) -> bool {
        self.looks.is_some() && self.looks == Looks::of(file)
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
            let Line(path, looks, size, sha256, damage) =
                serde_json::from_slice::<Line<Box<str>, Looks, Box<str>>>(lines.next()?).ok()?;
            let known = Known {
                looks,
                size,
                sha256,
                damage,
            };
            files.push((path, known));
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
            line: Vec::new(),
            hasher: Hasher::default(),
        };
        out.line(&First {
            version: VERSION,
            kind: self.kind,
            files: plan.files.len(),
            archive: self.archive.as_ref(),
        })?;
        for (entry, file) in plan.entries() {
            out.line(&Line(
                entry.path.as_str(),
                file.looks.as_ref(),
                entry.size,
                entry.sha256,
                file.damage.as_deref(),
            ))?;
        }
        let Digested {
            mut out, hasher, ..
        } = out;
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

    /// From now on segments are copied from this archive in the directory of backups, which was
    /// proven; `whole` says whether nothing in it was believed for being a copy.
    pub(super) fn copy_from(
        &mut self,
        name: String,
        size: u64,
        segments: Vec<Segment>,
        whole: bool,
        now: Timestamp,
    ) {
        let before = self.proven_at().filter(|_| !whole);
        self.archive = Some(Archive {
            name,
            size,
            proven_at: before.unwrap_or(now),
            segments,
        });
    }

    /// When last everything was unpacked of which something can be copied.
    pub(super) fn proven_at(&self) -> Option<Timestamp> {
        self.archive.as_ref().map(|archive| archive.proven_at)
    }

    /// The archive that is copied from.
    pub(super) fn archive_name(&self) -> Option<String> {
        self.archive.as_ref().map(|archive| archive.name.clone())
    }

    /// The segments that can be copied; none where everything is to be packed `anew`.
    pub(super) fn earlier(&self, store: &Store, anew: bool) -> Packed<'_> {
        let open = |archive: &Archive| {
            let path = store.layout().backups_dir().join(&archive.name);
            let file = store.disk().open(&path, Open::Read).ok()?;
            (file.stat().ok()?.len == archive.size).then_some(file)
        };
        let archive = self.archive.as_ref().filter(|_| !anew);
        let file = archive.and_then(open);
        let archive = archive.filter(|_| file.is_some());
        let segments = archive.into_iter().flat_map(|archive| &archive.segments);
        Packed {
            segments: segments.map(|segment| (segment.key, segment)).collect(),
            file: file.map(|file| BufReader::with_capacity(AHEAD, file)),
            at: 0,
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
    line: Vec<u8>,
    hasher: Hasher,
}

impl Digested<'_> {
    fn line(&mut self, line: &impl Serialize) -> io::Result<()> {
        self.line.clear();
        serde_json::to_writer(&mut self.line, line)?;
        self.line.push(b'\n');
        self.hasher.update(&self.line);
        self.out.write_all(&self.line)
    }
}

/// The segments of the last archive.
pub(super) struct Packed<'a> {
    /// The archive. As a rule one segment is wanted after the other.
    file: Option<BufReader<Box<dyn File>>>,
    /// How far it has been read, in bytes.
    at: u64,
    segments: HashMap<Sha256, &'a Segment>,
    copied: bool,
}

impl Packed<'_> {
    /// Whether any was asked for and there.
    pub(super) fn copied(&self) -> bool {
        self.copied
    }
}

impl Earlier for Packed<'_> {
    fn find(&mut self, key: Sha256) -> Option<(&Segment, Vec<u8>)> {
        let segment = self.segments.get(&key)?;
        let file = self.file.as_mut()?;
        if segment.len > LARGEST_SEGMENT {
            return None;
        }
        let away = segment.offset.checked_signed_diff(self.at)?;
        let mut bytes = vec![0; usize::try_from(segment.len).ok()?];
        let read = file.seek_relative(away).and_then(|()| {
            self.at = segment.offset;
            file.read_exact(&mut bytes)
        });
        if read.is_err() {
            // Nobody knows where it is now.
            self.file = None;
            return None;
        }
        self.at += segment.len;
        self.copied = true;
        Some((segment, bytes))
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
        let holds = |index: &Index, file: &PartFile| index.last(&path).unwrap().holds_for(file);
        assert!(holds(&index, &file(100)));
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
            assert!(!holds(&index, &changed), "{changed:?}");
        }
        index.distrust(&path);
        assert!(!holds(&index, &file(100)));
    }

    #[test]
    fn without_its_looks_nothing_is_trusted() {
        let (index, path) = index(None);
        let faceless = PartFile {
            modified: None,
            identity: None,
            ..file(100)
        };
        assert!(!index.last(&path).unwrap().holds_for(&faceless));
    }
}
