//! What the gzip members of our own archives are made of.
//!
//! A member is one deflate stream, cut into *segments*. Each ends at a byte, with an empty
//! stored block (what zlib calls a sync flush), and none is the last of its stream: the member
//! is closed by an empty last block. A segment may refer back to its *window*: as much as there
//! is, at most 32 KiB, of the text before it in the same member. So it packs as well as in one
//! piece, and still can be packed on its own thread, or be copied from an earlier archive in
//! which it had the same text and the same window.
//!
//! Invariant: equal packed bytes after an equal window unpack to equal text. Everything that
//! copies segments, or believes copies, rests on this.

use std::ops::Range;

use crc32fast::Hasher as Crc32;
use serde::{Deserialize, Serialize};

use crate::model::backup::Sha256;

/// How far back deflate can refer, in bytes.
pub(super) const WINDOW: usize = 32 << 10;

/// How a member begins: deflate, no name, no time, and a system that is not told.
pub(super) const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

/// The last block of a deflate stream, empty.
pub(super) const END: [u8; 2] = [3, 0];

/// A segment of an archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// What its packed bytes follow from: a digest of the manifest's lines about its text and
    /// its window.
    pub key: Sha256,
    /// Where it begins in the (unsealed) archive, in bytes.
    pub offset: u64,
    /// How long it is, packed, in bytes.
    pub len: u64,
    /// The digest of its packed bytes.
    pub packed: Sha256,
    /// The CRC-32 of its text.
    pub crc: u32,
    /// How long its text is, in bytes.
    pub text: u64,
    /// Whether a member begins with it, and its window is empty.
    pub first: bool,
}

/// Whole files whose packed bytes were copied from an earlier archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied {
    /// The files, by their numbers in the manifest.
    pub files: Range<usize>,
    /// The segments, by their numbers, that hold the entries of these files and nothing else.
    pub segments: Range<usize>,
}

/// An archive as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outline {
    /// Its segments, in order.
    pub segments: Vec<Segment>,
    /// Those that were copied and hold whole files, in order. Without them, what is left is an
    /// archive that lacks these files and nothing else.
    pub copied: Vec<Copied>,
    /// The window of each segment, by its number, that comes after a copied one and was not
    /// copied itself: what it takes to unpack it without what comes before. In order.
    pub(super) windows: Vec<(usize, Vec<u8>)>,
}

impl Outline {
    /// From now on nothing counts as copied: the archive is to be read as a whole.
    pub fn forget_copies(&mut self) {
        self.copied = Vec::new();
        self.windows = Vec::new();
    }
}

/// The end of a gzip member in the making: CRC-32 and length of its text.
#[derive(Clone, Default)]
pub(super) struct Trailer(Crc32);

impl Trailer {
    /// Goes on with a segment whose text has this CRC-32 and length.
    pub(super) fn add(&mut self, crc: u32, text: u64) {
        self.0.combine(&Crc32::new_with_initial_len(crc, text));
    }

    /// The last bytes of the member.
    pub(super) fn bytes(self) -> [u8; 10] {
        let mut bytes = [0; 10];
        bytes[..2].copy_from_slice(&END);
        // RFC 1952: the length modulo 2^32.
        let length = self.0.total_len().to_le_bytes();
        bytes[6..].copy_from_slice(&length[..4]);
        bytes[2..6].copy_from_slice(&self.0.finalize().to_le_bytes());
        bytes
    }
}
