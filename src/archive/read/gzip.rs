//! Unpacking gzip members (RFC 1952), one after the other.
//!
//! Invariants: every byte of the input belongs to a member; the last bytes of a member are
//! given out only after its CRC and its length have been checked; what is given out at once
//! comes from one member. A failure of the input stays an I/O error, whatever its bytes are.

use std::io::{self, ErrorKind, Read};

use flate2::{Crc, Decompress, FlushDecompress, Status};

use crate::model::error::{Error, Kind, Result, describe};

use super::{Refusal, Unpacked, refuse};

/// How much is read at once, in bytes.
const PACKED: usize = 64 << 10;
/// How much is unpacked at once, in bytes.
const UNPACKED: usize = 128 << 10;
/// The longest name or comment in the header of a member, in bytes.
const LONGEST_TEXT: usize = 4 << 10;
/// The most members that hold nothing.
const MOST_EMPTY: u32 = 1000;
/// From this many unpacked bytes on the ratio counts. Deflate reaches 1032:1, conversations
/// about 10:1.
const RATIO_FROM: u64 = 16 << 20;
/// The most unpacked bytes for each packed one.
const RATIO: u64 = 200;

const MAGIC: [u8; 2] = [0x1f, 0x8b];
const DEFLATE: u8 = 8;
const HEADER_CRC: u8 = 1 << 1;
const EXTRA: u8 = 1 << 2;
const NAME: u8 = 1 << 3;
const COMMENT: u8 = 1 << 4;
const RESERVED: u8 = 0b1110_0000;

/// The packed bytes, with a count of those that were used.
struct Input<'a> {
    from: &'a mut dyn Read,
    sealed: bool,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    used: u64,
}

impl Input<'_> {
    /// Bytes that come next; none at the end.
    fn peek(&mut self) -> Result<&[u8]> {
        while self.start == self.end {
            match self.from.read(&mut self.buffer) {
                Ok(0) => break,
                Ok(read) => (self.start, self.end) = (0, read),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(failure(error, self.sealed)),
            }
        }
        Ok(&self.buffer[self.start..self.end])
    }

    fn advance(&mut self, used: usize) {
        self.start += used;
        self.used += used as u64;
    }

    /// Appends the next `count` bytes, which must be there.
    fn append(&mut self, count: usize, to: &mut Vec<u8>) -> Result<()> {
        let whole = to.len() + count;
        while to.len() < whole {
            let next = self.peek()?;
            let taken = next.len().min(whole - to.len());
            if taken == 0 {
                return cut_off();
            }
            to.extend_from_slice(&next[..taken]);
            self.advance(taken);
        }
        Ok(())
    }
}

/// What a failure of the input means: damage if it is a seal that does not hold. An error that
/// the input made itself passes through.
pub(super) fn failure(error: io::Error, sealed: bool) -> Error {
    match error.downcast::<Error>() {
        Ok(error) => error,
        Err(error) => match error.kind() {
            ErrorKind::InvalidData | ErrorKind::UnexpectedEof if sealed => {
                Refusal::new("age", "", "the encrypted file is damaged or cut off").into()
            }
            _ => Error::new(Kind::Io, "cannot read the archive").why(describe(&error)),
        },
    }
}

fn cut_off<T>() -> Result<T> {
    refuse("gzip", "", "the file is cut off within a gzip member")
}

/// The unpacked bytes of all members.
pub(super) struct Gunzip<'a> {
    input: Input<'a>,
    inflater: Decompress,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    /// Of the member at hand.
    crc: Crc,
    inside: bool,
    members: u64,
    empty: u32,
    unpacked: u64,
    closed: bool,
}

impl<'a> Gunzip<'a> {
    /// Unpacks `from`; `sealed` says that it was taken out of an age file.
    pub(super) fn new(from: &'a mut dyn Read, sealed: bool) -> Self {
        Self {
            input: Input {
                from,
                sealed,
                buffer: vec![0; PACKED].into(),
                start: 0,
                end: 0,
                used: 0,
            },
            inflater: Decompress::new(false),
            buffer: vec![0; UNPACKED].into(),
            start: 0,
            end: 0,
            crc: Crc::new(),
            inside: false,
            members: 0,
            empty: 0,
            unpacked: 0,
            closed: false,
        }
    }

    fn refill(&mut self) -> Result<()> {
        (self.start, self.end) = (0, 0);
        while self.end == 0 && (self.inside || self.begin()?) {
            self.inflate()?;
        }
        Ok(())
    }

    /// Begins a member; `false` at the end of the input.
    fn begin(&mut self) -> Result<bool> {
        if self.input.peek()?.is_empty() {
            return match self.members {
                0 => refuse("gzip", "", "the file is empty"),
                _ => Ok(false),
            };
        }
        if self.closed {
            return refuse("trailing", "", "something follows the end of the archive");
        }
        self.header()?;
        self.inflater.reset(false);
        self.crc.reset();
        self.inside = true;
        self.members += 1;
        Ok(true)
    }

    fn header(&mut self) -> Result<()> {
        let mut header = Vec::with_capacity(64);
        self.input.append(MAGIC.len(), &mut header)?;
        if header != MAGIC {
            let detail = if self.members > 0 {
                "something that is no gzip member follows one"
            } else {
                header.extend_from_slice(self.input.peek()?);
                instead_of_gzip(&header)
            };
            return refuse("gzip", "", detail);
        }
        self.input.append(8, &mut header)?;
        let flags = header[3];
        if header[2] != DEFLATE || flags & RESERVED != 0 {
            return refuse("gzip", "", "a member is packed in an unknown way");
        }
        if flags & EXTRA != 0 {
            self.input.append(2, &mut header)?;
            let length = u16::from_le_bytes([header[10], header[11]]);
            self.input.append(length.into(), &mut header)?;
        }
        for text in [NAME, COMMENT] {
            if flags & text != 0 {
                self.text(&mut header)?;
            }
        }
        if flags & HEADER_CRC != 0 {
            let mut crc = Crc::new();
            crc.update(&header);
            self.input.append(2, &mut header)?;
            if !header.ends_with(&crc.sum().to_le_bytes()[..2]) {
                return refuse("gzip", "", "the header of a member has a wrong CRC");
            }
        }
        Ok(())
    }

    /// Reads a text of a header, to the NUL at its end.
    fn text(&mut self, header: &mut Vec<u8>) -> Result<()> {
        let start = header.len();
        loop {
            self.input.append(1, header)?;
            if header.ends_with(&[0]) {
                return Ok(());
            }
            if header.len() - start > LONGEST_TEXT {
                return refuse("limit", "", "a gzip member has too long a name or comment");
            }
        }
    }

    fn inflate(&mut self) -> Result<()> {
        let packed = self.input.peek()?;
        let at_end = packed.is_empty();
        let (packed_before, unpacked_before) =
            (self.inflater.total_in(), self.inflater.total_out());
        let status = self
            .inflater
            .decompress(packed, &mut self.buffer, FlushDecompress::None);
        let Ok(status) = status else {
            return refuse("gzip", "", "the packed data is damaged");
        };
        let used = self.inflater.total_in() - packed_before;
        let unpacked = self.inflater.total_out() - unpacked_before;
        // Neither is more than the length of a buffer.
        let (used, end) = (
            usize::try_from(used).unwrap_or(0),
            usize::try_from(unpacked).unwrap_or(0),
        );
        self.input.advance(used);
        self.end = end;
        self.unpacked += unpacked;
        self.crc.update(&self.buffer[..end]);
        if self.unpacked > RATIO_FROM && self.unpacked / RATIO > self.input.used {
            let detail = format!("it unpacks to more than {RATIO} times its size");
            return refuse("limit", "", detail);
        }
        if status == Status::StreamEnd {
            return self.finish();
        }
        if used == 0 && end == 0 {
            return if at_end {
                cut_off()
            } else {
                refuse("gzip", "", "the packed data is damaged")
            };
        }
        Ok(())
    }

    /// Ends a member: its CRC and its length must be right.
    fn finish(&mut self) -> Result<()> {
        let mut trailer = Vec::with_capacity(8);
        self.input.append(8, &mut trailer)?;
        if trailer[..4] != self.crc.sum().to_le_bytes() {
            return refuse("gzip", "", "a member has a wrong CRC");
        }
        if trailer[4..] != self.crc.amount().to_le_bytes() {
            return refuse("gzip", "", "a member has a wrong length");
        }
        self.inside = false;
        self.empty += u32::from(self.inflater.total_out() == 0);
        if self.empty > MOST_EMPTY {
            return refuse("limit", "", "too many gzip members are empty");
        }
        Ok(())
    }
}

impl Unpacked for Gunzip<'_> {
    fn take(&mut self, most: usize) -> Result<&[u8]> {
        if self.start == self.end {
            self.refill()?;
        }
        let start = self.start;
        self.start = self.end.min(start.saturating_add(most));
        Ok(&self.buffer[start..self.start])
    }

    /// From now on no further member may begin.
    fn close(&mut self) {
        self.closed = true;
    }
}

/// What a file that is not gzipped seems to be.
fn instead_of_gzip(beginning: &[u8]) -> &'static str {
    if beginning.get(257..262) == Some(b"ustar") {
        return "it is a tar archive that is not gzipped";
    }
    let known: [(&[u8], &str); 6] = [
        (b"\x28\xb5\x2f\xfd", "it is packed with zstd, not with gzip"),
        (b"\xfd7zXZ", "it is packed with xz, not with gzip"),
        (b"BZh", "it is packed with bzip2, not with gzip"),
        (b"PK", "it is a zip archive"),
        (b"age-encryption.org/", "it is encrypted with age once more"),
        (b"-----BEGIN AGE", "it is encrypted with age once more"),
    ];
    known
        .into_iter()
        .find(|(magic, _)| beginning.starts_with(magic))
        .map_or("it is no gzip file", |(_, what)| what)
}
