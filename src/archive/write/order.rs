//! Segments in the order in which they were begun, put together to gzip members.

use std::collections::VecDeque;
use std::io::Write;

use crate::archive::cannot_write;
use crate::archive::segment::{HEADER, Segment, Trailer};
use crate::model::backup::Sha256;
use crate::model::error::Result;

use super::Source;
use super::pack::{Packer, Promise};

/// How many segments may wait for each core: so many that none runs out of work while the first
/// is waited for, and few enough to bound the memory.
const ROOM: usize = 4;

/// How much is written at once, in bytes.
const STEP: usize = 128 << 10;

/// A segment whose turn to be written has not come.
pub(super) struct Waiting {
    pub(super) key: Sha256,
    /// How long its text is.
    pub(super) text: u64,
    /// Whether it begins a member.
    pub(super) first: bool,
    /// How many bytes of files it holds.
    pub(super) bytes: u64,
    pub(super) packed: Promise,
}

/// Writes segments in their order, and lets only so many wait.
pub(super) struct InOrder<'a> {
    out: &'a mut dyn Write,
    /// What is to be written next.
    buffer: Vec<u8>,
    waiting: VecDeque<Waiting>,
    room: usize,
    offset: u64,
    /// Of the member at hand.
    trailer: Option<Trailer>,
    segments: Vec<Segment>,
}

impl<'a> InOrder<'a> {
    pub(super) fn new(out: &'a mut dyn Write, cores: usize) -> Self {
        Self {
            out,
            buffer: Vec::with_capacity(2 * STEP),
            waiting: VecDeque::new(),
            room: ROOM * cores.max(1),
            offset: 0,
            trailer: None,
            segments: Vec::new(),
        }
    }

    pub(super) fn push(
        &mut self,
        segment: Waiting,
        source: &mut dyn Source,
        threads: &Packer<'_>,
    ) -> Result<()> {
        self.waiting.push_back(segment);
        if self.waiting.len() >= self.room {
            self.write_first(source, threads)?;
        }
        Ok(())
    }

    /// Writes what is left.
    pub(super) fn finish(&mut self, source: &mut dyn Source, threads: &Packer<'_>) -> Result<()> {
        while !self.waiting.is_empty() {
            self.write_first(source, threads)?;
        }
        self.end_member()?;
        self.flush()
    }

    /// What was written.
    pub(super) fn into_segments(self) -> Vec<Segment> {
        self.segments
    }

    fn write_first(&mut self, source: &mut dyn Source, threads: &Packer<'_>) -> Result<()> {
        let Some(segment) = self.waiting.pop_front() else {
            return Ok(());
        };
        let is_own = matches!(segment.packed, Promise::Made(_));
        let packed = segment.packed.wait()?;
        if segment.first {
            self.end_member()?;
            self.write(&HEADER)?;
        }
        let offset = self.offset;
        self.write(&packed.bytes)?;
        let trailer = self.trailer.get_or_insert_default();
        trailer.add(packed.crc, segment.text);
        self.segments.push(Segment {
            key: segment.key,
            offset,
            len: packed.bytes.len() as u64,
            packed: packed.digest,
            crc: packed.crc,
            text: segment.text,
            first: segment.first,
        });
        if is_own {
            threads.recycle(packed.bytes);
        }
        source.advance(segment.bytes)
    }

    fn end_member(&mut self) -> Result<()> {
        match self.trailer.take() {
            Some(trailer) => self.write(&trailer.bytes()),
            None => Ok(()),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.buffer.extend_from_slice(bytes);
        self.offset += bytes.len() as u64;
        if self.buffer.len() < STEP {
            return Ok(());
        }
        self.flush()
    }

    fn flush(&mut self) -> Result<()> {
        self.out.write_all(&self.buffer).map_err(cannot_write)?;
        self.buffer.clear();
        Ok(())
    }
}
