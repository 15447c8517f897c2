//! What goes into which segment and member, known before a single file is read.
//!
//! The tar archive is cut so that a change of a few files changes little of it:
//!
//! * Whole entries are grouped into segments. A group ends before it would exceed [`MAX`]; and
//!   after a file at which it has [`MIN`] and whose path asks for it, by a hash. So groups begin
//!   and end at the same files in the next archive, and a new or longer file moves no boundary
//!   beyond the next of those paths.
//! * An entry that is larger than [`MAX`] is cut into pieces of exactly [`MAX`] bytes of the file
//!   and a rest; its header is in front of the first.
//! * A member ends after a group at which it has [`MEMBER_MIN`] and whose last path asks for it,
//!   or at which it has [`MEMBER_MAX`]; within a file at each multiple of that; and after a file
//!   of [`LARGE`] bytes. So a window never reaches into a very large file.
//! * The manifest comes first, in a member of its own, and the end of the archive is the last.
//!
//! The key of a segment is a digest of everything its packed bytes follow from: the digests,
//! sizes and paths of the files of which bytes are in it or in its window, and their
//! directories. Nothing in it depends on the time, which is why all entries carry the same.

use crate::model::backup::{Hasher, Sha256};
use crate::model::error::{Error, Kind, Result};

use crate::archive::manifest::{self, Entry};
use crate::archive::segment::WINDOW;

/// The most bytes of a segment before packing; of a piece of a file without its header.
pub(super) const MAX: u64 = 64 << 10;

/// A group of fewer bytes ends only if the next entry does not fit. Fewer cost more bytes at
/// each boundary; more are more to pack again around a changed file.
const MIN: u64 = 8 << 10;

/// One path in so many ends a group that is long enough.
const ONE_IN: u64 = 2;

/// A member of fewer bytes ends only after a large file. What is damaged in a member may take
/// the rest of it along; each new one has to do without a window.
const MEMBER_MIN: u64 = 2 << 20;

/// A member of so many bytes ends with the group or the piece.
const MEMBER_MAX: u64 = 4 << 20;

/// One path in so many, of those that end a group, ends a member that is long enough.
const MEMBER_ONE_IN: u64 = 32;

/// A file of so many bytes is the last of its member.
pub(super) const LARGE: u64 = 1 << 20;

/// The block of tar.
const BLOCK: u64 = 512;

/// The end of a tar archive: two blocks of zeros.
pub(super) const END: [u8; 1024] = [0; 1024];

/// The time of every entry, 1980-01-01: means nothing, and every tar takes it; some warn of 0.
const MTIME: u64 = 315_532_800;

/// Begins what keys are made of. To be changed whenever the packed bytes of a segment would be
/// others for the same files, so that no segment of an older archive is taken for one.
const VERSION: &[u8] = b"pachat segment 1\n";

/// What one segment holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// These bytes of the entry of the manifest.
    Manifest { from: usize, to: usize },
    /// These files as whole entries, each after the directories that begin with it.
    Files { first: usize, end: usize },
    /// These bytes of a larger file; before the first of them its header, after the last the
    /// padding.
    Piece { file: usize, from: u64, to: u64 },
    /// The end of the archive.
    End,
}

/// A segment to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cut {
    pub(super) content: Content,
    /// Whether a member begins with it.
    pub(super) first: bool,
    /// The first entry that its window reaches into; those up to its own are the others. Means
    /// nothing for the manifest and within a file.
    pub(super) window: usize,
}

/// The archive, cut into segments.
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

    /// The segments in their order.
    pub(super) fn cuts(&self) -> Vec<Cut> {
        let mut cutter = Cutter::new(self);
        let len = self.manifest.len();
        let step = usize::try_from(MAX).unwrap_or(len);
        for from in (0..len).step_by(step) {
            let to = len.min(from + step);
            cutter.push(Content::Manifest { from, to });
        }
        cutter.end_member();
        let mut first = 0;
        let mut bytes = 0;
        for (index, file) in self.files.iter().enumerate() {
            let entry = self.entry_len(index);
            if bytes + entry > MAX && first < index {
                cutter.push_files(first, index);
                (first, bytes) = (index, 0);
            }
            bytes += entry;
            let end = index + 1;
            if bytes > MAX {
                cutter.push_pieces(index, file.size);
                (first, bytes) = (end, 0);
            } else if bytes >= MIN && hash(file.path.as_str()).is_multiple_of(ONE_IN) {
                cutter.push_files(first, end);
                (first, bytes) = (end, 0);
            }
        }
        let end = self.files.len();
        if first < end {
            cutter.push_files(first, end);
        }
        cutter.end_member();
        cutter.push(Content::End);
        cutter.cuts
    }

    /// What a segment is known by: equal keys, equal windows and equal texts.
    pub(super) fn key(&self, cut: Cut) -> Sha256 {
        let mut hasher = Hasher::default();
        hasher.update(VERSION);
        match cut.content {
            Content::Manifest { from, to } => {
                // Enough, since it is never looked for.
                hasher.update(b"manifest\n");
                hasher.update(&self.manifest[from..to]);
            }
            Content::Files { first, end } => {
                self.describe_window(cut, first, &mut hasher);
                hasher.update(b"files\n");
                (first..end).for_each(|index| self.describe(index, &mut hasher));
            }
            Content::Piece { file, from, to } => {
                if from == 0 {
                    self.describe_window(cut, file, &mut hasher);
                }
                hasher.update(b"piece\n");
                self.describe(file, &mut hasher);
                hasher.update(format!("{from} {to}\n").as_bytes());
            }
            Content::End => hasher.update(b"end\n"),
        }
        hasher.finish()
    }

    /// The lines about the window of a segment that begins with entry `next`. Where it begins
    /// within the first entry follows from their sizes.
    fn describe_window(&self, cut: Cut, next: usize, hasher: &mut Hasher) {
        (cut.window..next).for_each(|index| self.describe(index, hasher));
    }

    /// The lines about an entry of which keys are made.
    fn describe(&self, index: usize, hasher: &mut Hasher) {
        for directory in self.directories(index) {
            hasher.update(directory.as_bytes());
            hasher.update(b"\n");
        }
        let file = &self.files[index];
        hasher.update(&file.sha256.0);
        hasher.update(&file.size.to_le_bytes());
        hasher.update(file.path.as_str().as_bytes());
        hasher.update(b"\n");
    }

    /// How long the text of a segment is.
    pub(super) fn text_len(&self, content: Content) -> u64 {
        match content {
            Content::Manifest { from, to } => (to - from) as u64,
            Content::Files { first, end } => (first..end).map(|index| self.entry_len(index)).sum(),
            Content::Piece { file, from, to } => {
                let header = if from == 0 { self.headers_len(file) } else { 0 };
                header + (to - from).next_multiple_of(BLOCK)
            }
            Content::End => END.len() as u64,
        }
    }

    /// How many bytes of files a segment holds.
    pub(super) fn file_bytes(&self, content: Content) -> u64 {
        match content {
            Content::Files { first, end } => {
                self.files[first..end].iter().map(|file| file.size).sum()
            }
            Content::Piece { from, to, .. } => to - from,
            Content::Manifest { .. } | Content::End => 0,
        }
    }

    /// Appends the headers of the directories that begin with a file, and its own.
    pub(super) fn append_headers(&self, index: usize, text: &mut Vec<u8>) -> Result<()> {
        for directory in self.directories(index) {
            append_header(directory, None, text)?;
        }
        let file = &self.files[index];
        append_header(file.path.as_str(), Some(file.size), text)
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

/// Puts segments together to members.
struct Cutter<'a> {
    layout: &'a Layout<'a>,
    cuts: Vec<Cut>,
    /// How many bytes the member at hand has.
    bytes: u64,
    /// The first entry of the member at hand.
    entry: usize,
    /// The entry that comes next.
    next: usize,
    /// Whether the next segment begins a member.
    first: bool,
}

impl<'a> Cutter<'a> {
    fn new(layout: &'a Layout<'a>) -> Self {
        Self {
            layout,
            cuts: Vec::new(),
            bytes: 0,
            entry: 0,
            next: 0,
            first: true,
        }
    }

    fn push(&mut self, content: Content) {
        self.cuts.push(Cut {
            content,
            first: self.first,
            window: self.window(),
        });
        self.bytes += self.layout.text_len(content);
        self.first = false;
    }

    /// The first entry that a window reaches into that ends here.
    fn window(&self) -> usize {
        let mut reach = 0;
        let mut window = self.next;
        while window > self.entry && reach < WINDOW as u64 {
            window -= 1;
            reach += self.layout.entry_len(window);
        }
        window
    }

    fn push_files(&mut self, first: usize, end: usize) {
        self.push(Content::Files { first, end });
        self.next = end;
        self.end_member_if_due(end - 1);
    }

    fn push_pieces(&mut self, file: usize, size: u64) {
        let mut from = 0;
        while from < size {
            if from > 0 && from.is_multiple_of(MEMBER_MAX) {
                self.end_member();
            }
            let to = size.min(from + MAX);
            self.push(Content::Piece { file, from, to });
            from = to;
        }
        self.next = file + 1;
        if size >= LARGE {
            self.end_member();
        } else {
            self.end_member_if_due(file);
        }
    }

    fn end_member_if_due(&mut self, last: usize) {
        let path = self.layout.files[last].path.as_str();
        // Other bits than those that end a group.
        let asks = || (hash(path) / ONE_IN).is_multiple_of(MEMBER_ONE_IN);
        if self.bytes >= MEMBER_MAX || self.bytes >= MEMBER_MIN && asks() {
            self.end_member();
        }
    }

    fn end_member(&mut self) {
        self.bytes = 0;
        self.entry = self.next;
        self.first = true;
    }
}

/// Of a path, to choose where groups and members end: FNV-1a, of which the upper half depends
/// on every byte.
fn hash(path: &str) -> u64 {
    let hash = path.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    });
    hash >> 32
}

/// Appends the header of a file of this size, or of a directory.
fn append_header(name: &str, size: Option<u64>, text: &mut Vec<u8>) -> Result<()> {
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
    text.extend_from_slice(header.as_bytes());
    Ok(())
}

/// How many zeros follow the data of an entry of this size.
pub(super) fn padding(size: u64) -> usize {
    const MOST: u64 = BLOCK - 1;
    usize::try_from(size.wrapping_neg() & MOST).unwrap_or(0)
}

/// Fills the last block with zeros.
fn pad(text: &mut Vec<u8>) {
    let zeros = padding(text.len() as u64);
    text.resize(text.len() + zeros, 0);
}
