//! Writing an archive: members of at most a mebibyte, packed on all cores, in order.
//!
//! The output depends on nothing but the manifest and the files: not on the number of cores,
//! not on the time. Where an earlier archive has a member of the same files, its packed bytes
//! are copied, and the files are not even read. At any time a handful of members are in
//! memory, however large the files are.

mod pack;
mod plan;

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::ops::Range;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::model::backup::{Hasher, Sha256};
use crate::model::error::{Error, Kind, Result};

use super::cannot_write;
use super::manifest::{self, Entry, Manifest};
use pack::{Packed, Packer, Promise};
use plan::{Content, Layout};

/// Where the bytes of files come from.
pub trait Source {
    /// The file's content: as many bytes as the manifest says. `None` if the file is gone.
    fn open(&mut self, entry: &Entry) -> Result<Option<Box<dyn Read>>>;

    /// Called after each member with the bytes of files that it holds; an error ends the
    /// writing.
    fn advance(&mut self, bytes: u64) -> Result<()>;
}

/// A member of an archive that exists already and was verified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// What is packed in it: a digest of the manifest's lines about it.
    pub key: Sha256,
    /// Where it begins in the (unsealed) archive, in bytes.
    pub offset: u64,
    /// How long it is, in bytes.
    pub len: u64,
    /// The digest of its packed bytes.
    pub packed: Sha256,
}

/// Packed members of an earlier archive.
pub trait Earlier {
    /// The packed bytes of the member with this key, if there is one and its digest is right;
    /// and that digest.
    fn find(&mut self, key: Sha256) -> Option<(Vec<u8>, Sha256)>;
}

/// No earlier archive.
pub struct Nothing;

impl Earlier for Nothing {
    fn find(&mut self, _key: Sha256) -> Option<(Vec<u8>, Sha256)> {
        None
    }
}

/// Whole files whose packed bytes were copied from an earlier archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied {
    /// The files, by their numbers in the manifest.
    pub files: Range<usize>,
    /// The members, by their numbers, that hold the entries of these files and nothing else.
    pub members: Range<usize>,
}

/// What came of writing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Written {
    /// The archive is whole.
    Whole {
        /// Its members.
        members: Vec<Member>,
        /// Those that were copied and hold whole files, in order. Without them, what is left is
        /// an archive that lacks these files and nothing else.
        copied: Vec<Copied>,
    },
    /// This file is no longer what the manifest says: the output is worthless.
    Changed(Entry),
}

/// Writes the gzipped tar archive of `manifest` to `out`, packing on `cores` threads. The
/// files of the manifest must be sorted by path.
///
/// Files are opened and read in their order and on the calling thread. A file that is longer
/// than the manifest says is read that far: the files that grow only ever grow.
pub fn write(
    manifest: &Manifest,
    source: &mut dyn Source,
    earlier: &mut dyn Earlier,
    cores: usize,
    out: &mut dyn Write,
) -> Result<Written> {
    let json = checked_json(manifest)?;
    let layout = Layout::new(&manifest.files, json)?;
    pack::on_threads(cores, |packer| {
        let mut writer = Writer {
            files: &manifest.files,
            layout: &layout,
            source,
            earlier,
            packer: &packer,
            large: None,
            kept: Vec::new(),
            out: InOrder {
                out,
                waiting: VecDeque::new(),
                room: cores.max(1),
                offset: 0,
                members: Vec::new(),
            },
        };
        let contents = layout.contents();
        for content in &contents {
            if let Some(changed) = writer.member(*content)? {
                return Ok(Written::Changed(changed.clone()));
            }
        }
        writer.out.write_all(writer.source, writer.packer)?;
        Ok(Written::Whole {
            members: writer.out.members,
            copied: whole_files(&contents, &writer.kept),
        })
    })
}

/// The members that were copied and hold whole files; `kept` says which were copied. Of a large
/// file none counts unless all do.
fn whole_files(contents: &[Content], kept: &[bool]) -> Vec<Copied> {
    let mut copied = Vec::new();
    for (number, content) in contents.iter().enumerate() {
        let (files, count) = match *content {
            Content::Files { first, end } => (first..end, 1),
            Content::Header { file } => {
                let pieces = contents[number + 1..].iter();
                let pieces = pieces.take_while(|next| matches!(next, Content::Piece { .. }));
                (file..file + 1, 1 + pieces.count())
            }
            Content::Manifest { .. } | Content::Piece { .. } | Content::End => continue,
        };
        let members = number..number + count;
        if kept[members.clone()].iter().all(|kept| *kept) {
            copied.push(Copied { files, members });
        }
    }
    copied
}

/// The text of the manifest, if its archive could be read back.
fn checked_json(manifest: &Manifest) -> Result<Vec<u8>> {
    let files = &manifest.files;
    if !files.is_sorted_by(|one, next| one.path < next.path) {
        return Err(Error::new(
            Kind::Bug,
            "the files of a backup are not sorted",
        ));
    }
    let refuse = |why: String| {
        Error::new(Kind::Malformed, "these files cannot be backed up")
            .why(why)
            .hint("move some of them out of the data directory")
    };
    if let Some(file) = files.iter().find(|file| file.size > manifest::LARGEST_FILE) {
        let why = format!("one is larger than {} bytes", manifest::LARGEST_FILE);
        return Err(refuse(why).path(Path::new(file.path.as_str())));
    }
    let json = manifest.to_json();
    if files.len() > manifest::MOST_FILES || json.len() as u64 > manifest::LARGEST {
        let most = manifest::MOST_FILES;
        return Err(refuse(format!("a backup holds about {most} files at most")));
    }
    Ok(json)
}

/// A write in progress.
struct Writer<'a> {
    files: &'a [Entry],
    layout: &'a Layout<'a>,
    source: &'a mut dyn Source,
    earlier: &'a mut dyn Earlier,
    packer: &'a Packer<'a>,
    /// The large file of which a piece had to be read.
    large: Option<Large>,
    /// Of each member so far, whether it was copied.
    kept: Vec<bool>,
    out: InOrder<'a>,
}

/// A large file that is being read: from its beginning, because its digest is to be proven.
struct Large {
    file: Box<dyn Read>,
    hasher: Hasher,
    at: u64,
}

impl<'a> Writer<'a> {
    /// Makes one member, or names the file that changed.
    fn member(&mut self, content: Content) -> Result<Option<&'a Entry>> {
        let key = self.layout.key(content);
        let worth_finding = match content {
            Content::Files { .. } | Content::Header { .. } => true,
            // Once a piece had to be read, all the rest must be: the digest is that of the
            // whole.
            Content::Piece { .. } => self.large.is_none(),
            // Quicker made than found.
            Content::Manifest { .. } | Content::End => false,
        };
        let found = if worth_finding {
            self.earlier.find(key)
        } else {
            None
        };
        self.kept.push(found.is_some());
        let packed = if let Some((bytes, digest)) = found {
            Promise::Kept(Packed { bytes, digest })
        } else {
            let mut plain = self.packer.buffer(self.layout.plain_len(content));
            if let Some(changed) = self.fill(content, &mut plain)? {
                return Ok(Some(changed));
            }
            self.packer.pack(plain)?
        };
        let bytes = self.layout.file_bytes(content);
        self.out
            .push(Waiting { key, bytes, packed }, self.source, self.packer)?;
        Ok(None)
    }

    /// Puts together what is packed in a member.
    fn fill(&mut self, content: Content, plain: &mut Vec<u8>) -> Result<Option<&'a Entry>> {
        match content {
            Content::Manifest { from, to } => {
                plain.extend_from_slice(&self.layout.manifest()[from..to]);
            }
            Content::Files { first, end } => {
                for index in first..end {
                    self.layout.append_headers(index, plain)?;
                    let entry = &self.files[index];
                    if !self.read_whole(entry, plain)? {
                        return Ok(Some(entry));
                    }
                    plan::pad(plain);
                }
            }
            Content::Header { file } => {
                self.large = None;
                self.layout.append_headers(file, plain)?;
            }
            Content::Piece { file, from, to } => {
                let entry = &self.files[file];
                if !self.read_piece(entry, from, to, plain)? {
                    return Ok(Some(entry));
                }
                plan::pad(plain);
            }
            Content::End => plain.extend_from_slice(&plan::END),
        }
        Ok(None)
    }

    /// Appends a file; `false` if it is not what the manifest says.
    fn read_whole(&mut self, entry: &Entry, plain: &mut Vec<u8>) -> Result<bool> {
        let Some(mut file) = self.source.open(entry)? else {
            return Ok(false);
        };
        let start = plain.len();
        Ok(append(file.as_mut(), entry, entry.size, plain)?
            && Sha256::of(&plain[start..]) == entry.sha256)
    }

    /// Appends these bytes of a large file; `false` if it is not what the manifest says, which
    /// its last piece proves.
    fn read_piece(
        &mut self,
        entry: &Entry,
        from: u64,
        to: u64,
        plain: &mut Vec<u8>,
    ) -> Result<bool> {
        if self.large.is_none() {
            self.large = self.source.open(entry)?.map(Large::new);
        }
        let Some(large) = &mut self.large else {
            return Ok(false);
        };
        // What was found in the earlier archive counts for the digest, too.
        while large.at < from {
            let step = (from - large.at).min(plan::MAX);
            let whole = large.append(entry, step, plain)?;
            plain.clear();
            if !whole {
                return Ok(false);
            }
        }
        if !large.append(entry, to - from, plain)? {
            return Ok(false);
        }
        if to < entry.size {
            return Ok(true);
        }
        let hasher = self.large.take().map(|large| large.hasher);
        Ok(hasher.is_some_and(|hasher| hasher.finish() == entry.sha256))
    }
}

impl Large {
    fn new(file: Box<dyn Read>) -> Self {
        Self {
            file,
            hasher: Hasher::default(),
            at: 0,
        }
    }

    fn append(&mut self, entry: &Entry, len: u64, plain: &mut Vec<u8>) -> Result<bool> {
        let start = plain.len();
        let whole = append(self.file.as_mut(), entry, len, plain)?;
        self.hasher.update(&plain[start..]);
        self.at += len;
        Ok(whole)
    }
}

/// Appends the next `len` bytes of a file; `false` if there are fewer.
fn append(file: &mut dyn Read, entry: &Entry, len: u64, plain: &mut Vec<u8>) -> Result<bool> {
    let start = plain.len();
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    plain.resize(start + len, 0);
    match file.read_exact(&mut plain[start..]) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => {
            let path = Path::new(entry.path.as_str());
            Err(Error::io("cannot read a file for the backup", path, &error))
        }
    }
}

/// A member whose turn to be written has not come.
struct Waiting {
    key: Sha256,
    /// How many bytes of files it holds.
    bytes: u64,
    packed: Promise,
}

/// Writes members in the order in which they were begun, and lets only so many wait.
struct InOrder<'a> {
    out: &'a mut dyn Write,
    waiting: VecDeque<Waiting>,
    /// The most that may wait: bounds the memory.
    room: usize,
    offset: u64,
    members: Vec<Member>,
}

impl InOrder<'_> {
    fn push(
        &mut self,
        member: Waiting,
        source: &mut dyn Source,
        packing: &Packer<'_>,
    ) -> Result<()> {
        self.waiting.push_back(member);
        if self.waiting.len() >= self.room {
            self.write_first(source, packing)?;
        }
        Ok(())
    }

    fn write_all(&mut self, source: &mut dyn Source, packing: &Packer<'_>) -> Result<()> {
        while !self.waiting.is_empty() {
            self.write_first(source, packing)?;
        }
        Ok(())
    }

    fn write_first(&mut self, source: &mut dyn Source, packing: &Packer<'_>) -> Result<()> {
        let Some(first) = self.waiting.pop_front() else {
            return Ok(());
        };
        let is_own = matches!(first.packed, Promise::Made(_));
        let packed = first.packed.wait()?;
        self.out.write_all(&packed.bytes).map_err(cannot_write)?;
        let len = packed.bytes.len() as u64;
        self.members.push(Member {
            key: first.key,
            offset: self.offset,
            len,
            packed: packed.digest,
        });
        self.offset += len;
        if is_own {
            packing.recycle(packed.bytes);
        }
        source.advance(first.bytes)
    }
}
