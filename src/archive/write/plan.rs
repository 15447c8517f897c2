//! What goes into which member, known before a single file is read.
//!
//! The tar archive is cut into members so that a change of a few files changes few of them:
//!
//! * Whole entries are grouped. A group ends before it would exceed [`MAX`]; and after a file
//!   at which it has [`MIN`] and whose path asks for it, by a hash. So groups begin and end at
//!   the same files in the next archive, and a new or longer file moves no boundary beyond the
//!   next of those paths.
//! * An entry that is larger than [`MAX`] is cut: its header is a member, and its content
//!   members of exactly [`MAX`] bytes and a rest.
//! * The manifest comes first, in members of its own, and the end of the archive is the last.
//!
//! The key of a member is a digest of everything its bytes follow from: the digests, sizes and
//! paths of its files, and its directories. Nothing in it depends on the time, which is why
//! all entries carry the same.

use crate::model::backup::{Hasher, Sha256};
use crate::model::error::{Error, Kind, Result};

use crate::archive::manifest::{self, Entry};

/// The most bytes of a member before packing.
pub(super) const MAX: u64 = 1 << 20;

/// What a buffer has room for: a member, packed or not, and a little more where it packs badly.
pub(super) const ROOM: usize = (1 << 20) + 4096;

/// A group of fewer bytes ends only if the next entry does not fit.
const MIN: u64 = 512 << 10;

/// One path in so many ends a group that is long enough.
const ONE_IN: u64 = 8;

/// The block of tar.
const BLOCK: u64 = 512;

/// The end of a tar archive: two blocks of zeros.
pub(super) const END: [u8; 1024] = [0; 1024];

/// The time of every entry, 1980-01-01: means nothing, and every tar takes it; some warn of 0.
const MTIME: u64 = 315_532_800;

/// Begins what keys are made of. To be changed whenever the bytes of a member would be others
/// for the same files, so that no member of an older archive is taken for one.
const VERSION: &[u8] = b"pachat member 1\n";

/// What one member holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// These bytes of the entry of the manifest.
    Manifest { from: usize, to: usize },
    /// These files as whole entries, each after the directories that begin with it.
    Files { first: usize, end: usize },
    /// The header of a large file, after the directories that begin with it.
    Header { file: usize },
    /// These bytes of a large file; after the last of them, the padding.
    Piece { file: usize, from: u64, to: u64 },
    /// The end of the archive.
    End,
}

/// The archive, cut into members.
pub(super) struct Layout<'a> {
    files: &'a [Entry],
    manifest: Vec<u8>,
}

impl<'a> Layout<'a> {
    /// The archive of these files, sorted by path, with this manifest.
    pub(super) fn new(files: &'a [Entry], json: Vec<u8>) -> Result<Self> {
        let mut header = Vec::new();
        append_header(manifest::NAME, Some(json.len() as u64), &mut header)?;
        // In its place: with very many files it is large.
        let mut manifest = json;
        manifest.splice(0..0, header);
        pad(&mut manifest);
        Ok(Self { files, manifest })
    }

    /// The entry of the manifest, padding included.
    pub(super) fn manifest(&self) -> &[u8] {
        &self.manifest
    }

    /// The members in their order.
    pub(super) fn contents(&self) -> Vec<Content> {
        let mut contents = Vec::new();
        let len = self.manifest.len();
        let step = usize::try_from(MAX).unwrap_or(len);
        contents.extend((0..len).step_by(step).map(|from| Content::Manifest {
            from,
            to: len.min(from + step),
        }));
        let mut first = 0;
        let mut bytes = 0;
        for (index, file) in self.files.iter().enumerate() {
            let entry = self.entry_len(index);
            if bytes + entry > MAX && first < index {
                contents.push(Content::Files { first, end: index });
                (first, bytes) = (index, 0);
            }
            bytes += entry;
            let end = index + 1;
            if bytes > MAX {
                contents.push(Content::Header { file: index });
                contents.extend(pieces(index, file.size));
                (first, bytes) = (end, 0);
            } else if bytes >= MIN && ends_group(file.path.as_str()) {
                contents.push(Content::Files { first, end });
                (first, bytes) = (end, 0);
            }
        }
        let end = self.files.len();
        if first < end {
            contents.push(Content::Files { first, end });
        }
        contents.push(Content::End);
        contents
    }

    /// What a member is known by: equal keys, equal bytes.
    pub(super) fn key(&self, content: Content) -> Sha256 {
        let mut hasher = Hasher::default();
        hasher.update(VERSION);
        match content {
            Content::Manifest { from, to } => {
                hasher.update(b"manifest\n");
                hasher.update(&self.manifest[from..to]);
            }
            Content::Files { first, end } => {
                hasher.update(b"files\n");
                (first..end).for_each(|index| self.describe(index, &mut hasher));
            }
            Content::Header { file } => {
                hasher.update(b"header\n");
                self.describe(file, &mut hasher);
            }
            Content::Piece { file, from, to } => {
                let file = &self.files[file];
                hasher.update(b"piece\n");
                hasher.update(format!("{} {} {from} {to}\n", file.sha256, file.size).as_bytes());
            }
            Content::End => hasher.update(b"end\n"),
        }
        hasher.finish()
    }

    /// The lines about an entry of which keys are made.
    fn describe(&self, index: usize, hasher: &mut Hasher) {
        for directory in self.directories(index) {
            hasher.update(directory.as_bytes());
            hasher.update(b"\n");
        }
        let file = &self.files[index];
        hasher.update(format!("{} {} {}\n", file.sha256, file.size, file.path).as_bytes());
    }

    /// How long a member is before packing.
    pub(super) fn plain_len(&self, content: Content) -> usize {
        let len = match content {
            Content::Manifest { from, to } => return to - from,
            Content::Files { first, end } => (first..end).map(|index| self.entry_len(index)).sum(),
            Content::Header { file } => self.headers_len(file),
            Content::Piece { from, to, .. } => (to - from).next_multiple_of(BLOCK),
            Content::End => return END.len(),
        };
        // A member is far smaller than any address space.
        usize::try_from(len).unwrap_or(0)
    }

    /// How many bytes of files a member holds.
    pub(super) fn file_bytes(&self, content: Content) -> u64 {
        match content {
            Content::Files { first, end } => {
                self.files[first..end].iter().map(|file| file.size).sum()
            }
            Content::Piece { from, to, .. } => to - from,
            Content::Manifest { .. } | Content::Header { .. } | Content::End => 0,
        }
    }

    /// Appends the headers of the directories that begin with a file, and its own.
    pub(super) fn append_headers(&self, index: usize, plain: &mut Vec<u8>) -> Result<()> {
        for directory in self.directories(index) {
            append_header(directory, None, plain)?;
        }
        let file = &self.files[index];
        append_header(file.path.as_str(), Some(file.size), plain)
    }

    /// The directories, each ended by a `/`, that no file before this one is in. Files are
    /// sorted, so the one right before it tells.
    fn directories(&self, index: usize) -> impl Iterator<Item = &'a str> + use<'a> {
        let path = |index: usize| self.files[index].path.as_str();
        let before = index.checked_sub(1).map_or("", path);
        let this = path(index);
        this.match_indices('/')
            .map(move |(at, _)| &this[..=at])
            .filter(move |directory| !before.starts_with(directory))
    }

    fn headers_len(&self, index: usize) -> u64 {
        BLOCK * (1 + self.directories(index).count() as u64)
    }

    fn entry_len(&self, index: usize) -> u64 {
        self.headers_len(index) + self.files[index].size.next_multiple_of(BLOCK)
    }
}

/// The pieces of a large file.
fn pieces(file: usize, size: u64) -> impl Iterator<Item = Content> {
    (0..size.div_ceil(MAX)).map(move |number| Content::Piece {
        file,
        from: number * MAX,
        to: size.min((number + 1) * MAX),
    })
}

/// Whether a group that is long enough ends after the file of this path: by the FNV-1a hash,
/// whose middle bits depend on every byte.
fn ends_group(path: &str) -> bool {
    let hash = path.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    });
    (hash >> 32).is_multiple_of(ONE_IN)
}

/// Appends the header of a file of this size, or of a directory.
fn append_header(name: &str, size: Option<u64>, plain: &mut Vec<u8>) -> Result<()> {
    let mut header = tar::Header::new_ustar();
    let field = header
        .as_ustar_mut()
        .and_then(|ustar| ustar.name.get_mut(..name.len()));
    let Some(field) = field else {
        return Err(Error::new(Kind::Bug, "a name in a backup is too long").cause(name));
    };
    field.copy_from_slice(name.as_bytes());
    let (kind, mode) = match size {
        Some(_) => (tar::EntryType::Regular, 0o600),
        None => (tar::EntryType::Directory, 0o700),
    };
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(size.unwrap_or(0));
    header.set_mtime(MTIME);
    header.set_cksum();
    plain.extend_from_slice(header.as_bytes());
    Ok(())
}

/// Fills the last block with zeros.
pub(super) fn pad(plain: &mut Vec<u8>) {
    plain.resize(plain.len().next_multiple_of(END.len() / 2), 0);
}
