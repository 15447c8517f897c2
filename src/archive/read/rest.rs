//! What is left of an archive of our own without the segments that were copied into it.
//!
//! Reading a new backup back means: what was packed for it is read as a restore would read it;
//! what was copied is compared with the digest that it had when it was read in this way itself.
//! Equal bytes after an equal window unpack to equal files, so nothing is gained by unpacking
//! them each time, and that is most of what a backup costs that copies most.
//!
//! Invariants:
//! - Every byte of the archive is compared or unpacked: the frame of each member with the one
//!   that its segments ask for, each copy with its digest, everything else by its text.
//! - What is given out is an archive by itself, because only segments of whole entries are left
//!   out.
//! - A segment after one that was left out is unpacked with the window that it was packed with,
//!   which was read from files whose digests are those of the manifest; and those digests are
//!   what the copies before it were proven to hold.

use std::io::{BufReader, ErrorKind, Read};

use flate2::{Decompress, FlushDecompress, Status};

use crate::archive::segment::{HEADER, Outline, Segment, Trailer};
use crate::model::backup::{Hasher, Sha256};
use crate::model::error::{Error, Kind, Result};

use super::Unpacked;
use super::gzip::failure;

/// How much is read at once, in bytes.
const PACKED: usize = 64 << 10;
/// How much is unpacked at once, in bytes.
const UNPACKED: usize = 128 << 10;

/// The text of an archive without its copies.
pub(super) struct Rest<'a> {
    /// Copies are short: many fit into what is read at once.
    input: BufReader<&'a mut dyn Read>,
    outline: &'a Outline,
    /// The segment at hand; behind the last one at the end.
    number: usize,
    /// The run of copies that comes next.
    copies: usize,
    /// Whether the segment before was left out.
    skipped: bool,
    /// Of the member at hand.
    trailer: Option<Trailer>,
    inflater: Decompress,
    /// What is left of the packed bytes of the segment at hand: in the input, and in the buffer.
    due: u64,
    packed: Box<[u8]>,
    packed_at: usize,
    packed_end: usize,
    /// Of the packed bytes of the segment at hand, so far.
    digest: Hasher,
    /// Of its text, so far.
    crc: crc32fast::Hasher,
    text: Box<[u8]>,
    start: usize,
    end: usize,
    inside: bool,
}

impl<'a> Rest<'a> {
    pub(super) fn new(input: &'a mut dyn Read, outline: &'a Outline) -> Self {
        Self {
            input: BufReader::with_capacity(PACKED, input),
            outline,
            number: 0,
            copies: 0,
            skipped: false,
            trailer: None,
            inflater: Decompress::new(false),
            due: 0,
            packed: vec![0; PACKED].into(),
            packed_at: 0,
            packed_end: 0,
            digest: Hasher::default(),
            crc: crc32fast::Hasher::new(),
            text: vec![0; UNPACKED].into(),
            start: 0,
            end: 0,
            inside: false,
        }
    }

    fn refill(&mut self) -> Result<()> {
        (self.start, self.end) = (0, 0);
        while self.end == 0 && (self.inside || self.begin()?) {
            self.inflate()?;
        }
        Ok(())
    }

    /// Begins the next segment that is not a copy; `false` at the end of the archive, which
    /// must be the end of the input.
    fn begin(&mut self) -> Result<bool> {
        let outline = self.outline;
        while let Some(segment) = outline.segments.get(self.number) {
            if segment.first {
                self.end_member()?;
                self.expect(&HEADER)?;
            }
            if !self.is_copy() {
                self.prepare(segment)?;
                return Ok(true);
            }
            self.compare(segment)?;
            self.add(segment.crc, segment);
            self.skipped = true;
        }
        self.end_member()?;
        match self.read(&mut [0])? {
            0 => Ok(false),
            _ => Err(differs()),
        }
    }

    /// Whether the segment at hand is left out.
    fn is_copy(&mut self) -> bool {
        let runs = &self.outline.copied;
        while runs
            .get(self.copies)
            .is_some_and(|run| run.segments.end <= self.number)
        {
            self.copies += 1;
        }
        runs.get(self.copies)
            .is_some_and(|run| run.segments.contains(&self.number))
    }

    /// Makes the inflater ready for a segment.
    fn prepare(&mut self, segment: &Segment) -> Result<()> {
        if segment.first {
            self.inflater.reset(false);
        } else if self.skipped {
            let windows = &self.outline.windows;
            let found = windows.binary_search_by_key(&self.number, |(number, _)| *number);
            let Ok(at) = found else {
                return Err(Error::new(Kind::Bug, "a window of the backup is missing"));
            };
            self.inflater.reset(false);
            let window = self.inflater.set_dictionary(&windows[at].1);
            window.map_err(|_| differs())?;
        }
        self.skipped = false;
        self.due = segment.len;
        (self.packed_at, self.packed_end) = (0, 0);
        self.inside = true;
        Ok(())
    }

    fn inflate(&mut self) -> Result<()> {
        if self.packed_at == self.packed_end && self.due > 0 {
            let most = usize::try_from(self.due).map_or(PACKED, |due| due.min(PACKED));
            let mut packed = std::mem::take(&mut self.packed);
            let read = self.read(&mut packed[..most]);
            self.packed = packed;
            (self.packed_at, self.packed_end) = (0, read?);
            self.due -= self.packed_end as u64;
            self.digest.update(&self.packed[..self.packed_end]);
            if self.packed_end == 0 {
                return Err(differs());
            }
        }
        let (before_in, before_out) = (self.inflater.total_in(), self.inflater.total_out());
        let packed = &self.packed[self.packed_at..self.packed_end];
        let status = self
            .inflater
            .decompress(packed, &mut self.text, FlushDecompress::None);
        // A segment is never the end of its stream.
        if !matches!(status, Ok(Status::Ok | Status::BufError)) {
            return Err(differs());
        }
        // Neither is more than the length of a buffer.
        let count = |now: u64, before: u64| usize::try_from(now - before).unwrap_or(0);
        let used = count(self.inflater.total_in(), before_in);
        self.end = count(self.inflater.total_out(), before_out);
        self.packed_at += used;
        self.crc.update(&self.text[..self.end]);
        let is_empty = self.packed_at == self.packed_end && self.due == 0;
        // A full buffer may have left some of it inside.
        if is_empty && self.end < self.text.len() {
            return self.end_segment();
        }
        if used == 0 && self.end == 0 {
            return Err(differs());
        }
        Ok(())
    }

    /// Ends a segment that was unpacked: it must be what was written, and its text as long as it
    /// should be.
    fn end_segment(&mut self) -> Result<()> {
        let segment = &self.outline.segments[self.number];
        let digest = std::mem::take(&mut self.digest);
        let crc = std::mem::take(&mut self.crc);
        if digest.finish() != segment.packed || crc.total_len() != segment.text {
            return Err(differs());
        }
        self.add(crc.finalize(), segment);
        self.inside = false;
        Ok(())
    }

    /// Counts a segment for the trailer of its member, and goes on to the next.
    fn add(&mut self, crc: u32, segment: &Segment) {
        let trailer = self.trailer.get_or_insert_default();
        trailer.add(crc, segment.text);
        self.number += 1;
    }

    fn end_member(&mut self) -> Result<()> {
        match self.trailer.take() {
            Some(trailer) => self.expect(&trailer.bytes()),
            None => Ok(()),
        }
    }

    /// Reads bytes that must be these.
    fn expect(&mut self, bytes: &[u8]) -> Result<()> {
        let mut found = vec![0; bytes.len()];
        let mut filled = 0;
        while filled < found.len() {
            match self.read(&mut found[filled..])? {
                0 => return Err(differs()),
                read => filled += read,
            }
        }
        if found == bytes {
            Ok(())
        } else {
            Err(differs())
        }
    }

    /// Compares a copy with its digest.
    fn compare(&mut self, segment: &Segment) -> Result<()> {
        let mut packed = std::mem::take(&mut self.packed);
        let digest = self.digest_of(segment.len, &mut packed);
        self.packed = packed;
        if digest? == segment.packed {
            Ok(())
        } else {
            Err(differs())
        }
    }

    fn digest_of(&mut self, len: u64, buffer: &mut [u8]) -> Result<Sha256> {
        let mut hasher = Hasher::default();
        let mut left = len;
        while left > 0 {
            let most = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
            match self.read(&mut buffer[..most])? {
                0 => return Err(differs()),
                read => {
                    hasher.update(&buffer[..read]);
                    left -= read as u64;
                }
            }
        }
        Ok(hasher.finish())
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        loop {
            match self.input.read(buffer) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                other => return other.map_err(|error| failure(error, false)),
            }
        }
    }
}

impl Unpacked for Rest<'_> {
    fn take(&mut self, most: usize) -> Result<&[u8]> {
        if self.start == self.end {
            self.refill()?;
        }
        let start = self.start;
        self.start = self.end.min(start.saturating_add(most));
        Ok(&self.text[start..self.start])
    }

    fn close(&mut self) {
        // The outline says what follows.
    }
}

fn differs() -> Error {
    Error::new(
        Kind::Malformed,
        "what was written or copied is not what it was",
    )
}
