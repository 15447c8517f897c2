//! Writing an archive: segments of some 64 KiB at most, packed on all cores, in order.
//!
//! The text and where it is cut depend on nothing but the manifest and the files: not on the
//! number of cores, not on the time. Where an earlier archive has a segment of the same text after
//! the same window, its packed bytes are copied, and its files are not even read. At any time a
//! handful of segments are in memory, however large the files are.

mod order;
mod pack;
mod plan;

use std::io::{self, Read, Write};
use std::ops::Range;
use std::path::Path;

use crate::model::backup::{Hasher, Sha256};
use crate::model::error::{Error, Kind, Result};

use super::manifest::{self, Entry, Manifest};
use super::segment::{Copied, Outline, Segment, WINDOW};
use order::{InOrder, Waiting};
use pack::{Packed, Packer, Promise};
use plan::{Content, Cut, Layout};

/// The most windows that are remembered for reading an archive back without what was copied:
/// 4 MiB. Where more runs of segments are new, reading all of it costs little more.
const MOST_WINDOWS: usize = 128;

/// Where the bytes of files come from.
pub trait Source {
    /// The file's content: as many bytes as the manifest says. `None` if the file is gone.
    fn open(&mut self, entry: &Entry) -> Result<Option<Box<dyn Read>>>;

    /// Called after each segment with the bytes of files that it holds; an error ends the
    /// writing.
    fn advance(&mut self, bytes: u64) -> Result<()>;
}

/// Packed segments of an earlier archive.
pub trait Earlier {
    /// The segment with this key, if there is one, and its packed bytes. Reading the new archive
    /// back tells whether they still are what they were.
    fn find(&mut self, key: Sha256) -> Option<(&Segment, Vec<u8>)>;
}

/// No earlier archive.
pub struct Nothing;

impl Earlier for Nothing {
    fn find(&mut self, _key: Sha256) -> Option<(&Segment, Vec<u8>)> {
        None
    }
}

/// What came of writing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Written {
    /// The archive is whole.
    Whole(Outline),
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
            window: None,
            kept: Vec::new(),
            windows: Vec::new(),
            out: InOrder::new(out, cores),
        };
        let cuts = layout.cuts();
        for cut in &cuts {
            if let Some(changed) = writer.segment(*cut)? {
                return Ok(Written::Changed(changed.clone()));
            }
        }
        writer.out.finish(writer.source, writer.packer)?;
        let copied = copied(&cuts, &writer.kept, &writer.windows);
        Ok(Written::Whole(Outline {
            segments: writer.out.into_segments(),
            windows: if copied.is_empty() {
                Vec::new()
            } else {
                writer.windows
            },
            copied,
        }))
    })
}

/// The segments that were copied and hold whole files; `kept` says which were copied. Of a file
/// in pieces none counts unless all do. None counts where a `window` is missing that it takes to
/// read the others.
fn copied(cuts: &[Cut], kept: &[bool], windows: &[(usize, Vec<u8>)]) -> Vec<Copied> {
    let mut copied = Vec::new();
    let mut after_copy = None;
    for (number, cut) in cuts.iter().enumerate() {
        let (files, count) = match cut.content {
            Content::Files { first, end } => (first..end, 1),
            Content::Piece { file, from: 0, .. } => {
                let pieces = cuts[number..].iter();
                let same = |next: &&Cut| matches!(next.content, Content::Piece { file: other, .. } if other == file);
                (file..file + 1, pieces.take_while(same).count())
            }
            Content::Manifest { .. } | Content::Piece { .. } | Content::End => (0..0, 0),
        };
        let segments = number..number + count;
        if count > 0 && kept[segments.clone()].iter().all(|kept| *kept) {
            after_copy = Some(segments.end);
            copied.push(Copied { files, segments });
        } else if after_copy == Some(number) && !cut.first && !knows(windows, number) {
            return Vec::new();
        }
    }
    copied
}

fn knows(windows: &[(usize, Vec<u8>)], number: usize) -> bool {
    windows.binary_search_by_key(&number, |(at, _)| *at).is_ok()
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
    /// The file of which a piece had to be read.
    large: Option<Large>,
    /// The window of the next segment; `None` where it was not read, because what is in it was
    /// copied.
    window: Option<Vec<u8>>,
    /// Of each segment so far, whether it was copied.
    kept: Vec<bool>,
    /// The windows that had to be read.
    windows: Vec<(usize, Vec<u8>)>,
    out: InOrder<'a>,
}

/// A file that is being read in pieces: from its beginning, because its digest is to be proven.
struct Large {
    file: Box<dyn Read>,
    hasher: Hasher,
    at: u64,
}

impl<'a> Writer<'a> {
    /// Makes one segment, or names the file that changed.
    fn segment(&mut self, cut: Cut) -> Result<Option<&'a Entry>> {
        let Cut { content, first, .. } = cut;
        if first {
            self.window = Some(Vec::new());
        }
        let key = self.layout.key(cut);
        let worth_finding = match content {
            Content::Files { .. } | Content::Piece { from: 0, .. } => true,
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
        let packed = if let Some((segment, bytes)) = found {
            self.kept.push(true);
            self.window = None;
            Promise::Kept(Packed {
                bytes,
                digest: segment.packed,
                crc: segment.crc,
            })
        } else {
            let mut text = self.packer.buffer();
            let changed = self.fill(cut, &mut text)?;
            if changed.is_some() {
                return Ok(changed);
            }
            self.kept.push(false);
            let own = usize::try_from(self.layout.text_len(content)).unwrap_or(usize::MAX);
            let window = text.len().saturating_sub(own);
            self.window = Some(text[text.len().saturating_sub(WINDOW)..].to_vec());
            self.packer.pack(text, window)?
        };
        let waiting = Waiting {
            key,
            text: self.layout.text_len(content),
            first,
            bytes: self.layout.file_bytes(content),
            packed,
        };
        self.out.push(waiting, self.source, self.packer)?;
        Ok(None)
    }

    /// Puts together what is packed in a segment, after its window.
    fn fill(&mut self, cut: Cut, text: &mut Vec<u8>) -> Result<Option<&'a Entry>> {
        let known = self.window.take();
        if let Some(window) = &known {
            text.extend_from_slice(window);
        } else if let Content::Files { first: next, .. }
        | Content::Piece {
            file: next,
            from: 0,
            ..
        } = cut.content
            && let Some(changed) = self.read_window(cut.window..next, text)?
        {
            return Ok(Some(changed));
        }
        match cut.content {
            Content::Manifest { from, to } => {
                text.extend_from_slice(&self.layout.manifest()[from..to]);
            }
            Content::Files { first, end } => {
                for index in first..end {
                    if !self.append_entry(index, text)? {
                        return Ok(Some(&self.files[index]));
                    }
                }
            }
            Content::Piece { file, from, to } => {
                let entry = &self.files[file];
                if from == 0 {
                    self.layout.append_headers(file, text)?;
                    self.large = self.source.open(entry)?.map(Large::new);
                } else if self.large.is_none() {
                    // What was copied counts for the digest, too, and may be the window.
                    let before = self.skip(entry, from)?;
                    if known.is_none() {
                        text.extend_from_slice(&before);
                    }
                }
                if !self.read_piece(entry, to, text)? {
                    return Ok(Some(entry));
                }
            }
            Content::End => text.extend_from_slice(&plan::END),
        }
        Ok(None)
    }

    /// Reads the window that these entries are, and remembers it.
    fn read_window(
        &mut self,
        entries: Range<usize>,
        text: &mut Vec<u8>,
    ) -> Result<Option<&'a Entry>> {
        let mut window = Vec::new();
        for index in entries {
            if !self.append_entry(index, &mut window)? {
                return Ok(Some(&self.files[index]));
            }
            window.drain(..window.len().saturating_sub(WINDOW));
        }
        text.extend_from_slice(&window);
        if self.windows.len() < MOST_WINDOWS {
            window.shrink_to_fit();
            self.windows.push((self.kept.len(), window));
        }
        Ok(None)
    }

    /// Appends a whole entry; `false` if its file is not what the manifest says.
    fn append_entry(&mut self, index: usize, text: &mut Vec<u8>) -> Result<bool> {
        self.layout.append_headers(index, text)?;
        let entry = &self.files[index];
        let Some(mut file) = self.source.open(entry)? else {
            return Ok(false);
        };
        let start = text.len();
        let whole = append(file.as_mut(), entry, entry.size, text)?
            && Sha256::of(&text[start..]) == entry.sha256;
        text.resize(text.len() + plan::padding(entry.size), 0);
        Ok(whole)
    }

    /// Opens a file and reads up to this byte; what a window holds of it.
    fn skip(&mut self, entry: &Entry, to: u64) -> Result<Vec<u8>> {
        let mut window = Vec::new();
        self.large = self.source.open(entry)?.map(Large::new);
        while let Some(large) = &mut self.large
            && large.at < to
        {
            let step = (to - large.at).min(plan::MAX);
            if !large.append(entry, step, &mut window)? {
                self.large = None;
            }
            window.drain(..window.len().saturating_sub(WINDOW));
        }
        Ok(window)
    }

    /// Appends the next bytes of a file up to this one, and the padding after the last of them;
    /// `false` if it is not what the manifest says, which its last piece proves.
    fn read_piece(&mut self, entry: &Entry, to: u64, text: &mut Vec<u8>) -> Result<bool> {
        let Some(large) = &mut self.large else {
            return Ok(false);
        };
        let next = to - large.at;
        if !large.append(entry, next, text)? {
            return Ok(false);
        }
        if to < entry.size {
            return Ok(true);
        }
        text.resize(text.len() + plan::padding(entry.size), 0);
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

    fn append(&mut self, entry: &Entry, len: u64, text: &mut Vec<u8>) -> Result<bool> {
        let start = text.len();
        let whole = append(self.file.as_mut(), entry, len, text)?;
        self.hasher.update(&text[start..]);
        self.at += len;
        Ok(whole)
    }
}

/// Appends the next `len` bytes of a file; `false` if there are fewer.
fn append(file: &mut dyn Read, entry: &Entry, len: u64, text: &mut Vec<u8>) -> Result<bool> {
    let start = text.len();
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    text.resize(start + len, 0);
    match file.read_exact(&mut text[start..]) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => {
            let path = Path::new(entry.path.as_str());
            Err(Error::io("cannot read a file for the backup", path, &error))
        }
    }
}
