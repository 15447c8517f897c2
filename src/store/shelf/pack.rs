//! Packing a conversation, and proving that what was packed comes out again.
//!
//! Everything goes through in pieces.

use std::io::{self, BufReader, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;
use flate2::{Compress, Compression, Crc, FlushCompress, Status};

use crate::model::backup::{Hasher, Sha256};
use crate::platform::Disk;
use crate::platform::disk::{File, Open};
use crate::store::parts::{STEP, for_each_piece};

/// How hard gzip tries: its own default, beyond which it takes much longer for little.
const LEVEL: u32 = 6;

/// How a gzip file begins that tells no name and no time (RFC 1952, 2.3).
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

/// What failed of two files.
pub(super) enum Trouble {
    /// Reading what is to be packed.
    Source(io::Error),
    /// Writing what is packed, or reading it back.
    Packed(io::Error),
}

/// What packing one conversation after another needs. Made once, it is about 400 KiB; made for
/// each, it would leave the memory full of holes.
pub(super) struct Packer {
    deflate: Compress,
    /// What is packed and not written yet.
    out: Vec<u8>,
}

impl Packer {
    pub(super) fn new() -> Self {
        Self {
            deflate: Compress::new(Compression::new(LEVEL), false),
            out: Vec::with_capacity(STEP),
        }
    }

    /// Writes a packed copy of `source` to the new file `temporary`, which is not durable yet;
    /// its length. The caller holds the turn of the conversation, so a file of that name is one
    /// that the dead have left.
    pub(super) fn pack(
        &mut self,
        disk: &dyn Disk,
        source: &Path,
        temporary: &Path,
    ) -> Result<u64, Trouble> {
        let mut from = disk.open(source, Open::Read).map_err(Trouble::Source)?;
        let to = match disk.open(temporary, Open::CreateNew) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => disk
                .remove_file(temporary)
                .and_then(|()| disk.open(temporary, Open::CreateNew)),
            other => other,
        };
        let mut to = to.map_err(Trouble::Packed)?;
        self.deflate.reset();
        self.out.clear();
        self.out.extend_from_slice(&HEADER);
        let mut sum = Crc::new();
        let mut writing = false;
        for_each_piece(from.as_mut(), u64::MAX, |piece| {
            sum.update(piece);
            let written = self.push(piece, FlushCompress::None, to.as_mut());
            writing = written.is_err();
            written
        })
        .map_err(|error| {
            if writing {
                Trouble::Packed(error)
            } else {
                Trouble::Source(error)
            }
        })?;
        self.finish(&sum, to.as_mut()).map_err(Trouble::Packed)
    }

    /// Packs some bytes; with `Finish`, also all that it holds back.
    fn push(
        &mut self,
        mut bytes: &[u8],
        flush: FlushCompress,
        to: &mut dyn File,
    ) -> io::Result<()> {
        loop {
            let before = self.deflate.total_in();
            let status = self.deflate.compress_vec(bytes, &mut self.out, flush)?;
            let taken = self.deflate.total_in() - before;
            bytes = &bytes[usize::try_from(taken).unwrap_or(usize::MAX)..];
            if self.out.len() == self.out.capacity() {
                to.write_all(&self.out)?;
                self.out.clear();
            }
            let done = match flush {
                FlushCompress::Finish => status == Status::StreamEnd,
                _ => bytes.is_empty(),
            };
            if done {
                return Ok(());
            }
        }
    }

    /// Writes the rest, with the checksum and the length of what was packed (RFC 1952, 2.3.1).
    fn finish(&mut self, sum: &Crc, to: &mut dyn File) -> io::Result<u64> {
        self.push(&[], FlushCompress::Finish, to)?;
        self.out.extend_from_slice(&sum.sum().to_le_bytes());
        self.out.extend_from_slice(&sum.amount().to_le_bytes());
        to.write_all(&self.out)?;
        to.stat().map(|stat| stat.len)
    }
}

/// Whether a packed file holds exactly what `source` holds now.
pub(super) fn is_packed(disk: &dyn Disk, source: &Path, packed: &Path) -> Result<bool, Trouble> {
    let source = disk.open(source, Open::Read);
    let source = source.and_then(|mut file| digest(&mut *file));
    let packed = unpacked(disk, packed).and_then(|mut file| digest(&mut file));
    Ok(source.map_err(Trouble::Source)? == packed.map_err(Trouble::Packed)?)
}

/// Whether `source` begins with all that a packed file holds. One that cannot be unpacked holds
/// something else.
pub(super) fn begins_with(disk: &dyn Disk, source: &Path, packed: &Path) -> io::Result<bool> {
    let mut source = BufReader::with_capacity(STEP, disk.open(source, Open::Read)?);
    let mut packed = unpacked(disk, packed)?;
    let (mut piece, mut other) = (vec![0; STEP], vec![0; STEP]);
    loop {
        let count = match packed.read(&mut piece) {
            Ok(0) => return Ok(true),
            Ok(count) => count,
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::InvalidInput
                        | io::ErrorKind::InvalidData
                        | io::ErrorKind::UnexpectedEof
                ) =>
            {
                return Ok(false);
            }
            Err(error) => return Err(error),
        };
        match source.read_exact(&mut other[..count]) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            result => result?,
        }
        if piece[..count] != other[..count] {
            return Ok(false);
        }
    }
}

fn unpacked(disk: &dyn Disk, path: &Path) -> io::Result<MultiGzDecoder<Box<dyn File>>> {
    disk.open(path, Open::Read).map(MultiGzDecoder::new)
}

/// The length of what a reader gives, and its digest.
fn digest(reader: &mut dyn Read) -> io::Result<(u64, Sha256)> {
    let mut hasher = Hasher::default();
    let mut len = 0;
    let mut buffer = vec![0; STEP];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok((len, hasher.finish())),
            Ok(count) => {
                hasher.update(&buffer[..count]);
                len += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::disk::RealDisk;

    #[test]
    fn what_one_packer_packs_one_after_the_other_comes_out_again() {
        let directory = tempfile::tempdir().unwrap();
        let mut packer = Packer::new();
        // Noise does not become shorter, so what is packed is written in several pieces.
        let mut state = 1_u32;
        let noise: Vec<u8> = (0..5 * STEP + 7)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                state.to_be_bytes()[0]
            })
            .collect();
        let plain = b"the same again and again\n".repeat(20_000);
        for (at, text) in [&noise[..], b"", &plain, &noise[..STEP], b"x"]
            .into_iter()
            .enumerate()
        {
            let origin = directory.path().join(format!("{at}"));
            let target = directory.path().join(format!("{at}.gz"));
            let mut file = RealDisk.open(&origin, Open::CreateNew).unwrap();
            file.write_all(text).unwrap();
            let len = packer.pack(&RealDisk, &origin, &target).ok().unwrap();
            let bytes = RealDisk.read(&target, u64::MAX).unwrap();
            assert_eq!(bytes.len() as u64, len);
            let mut out = Vec::new();
            MultiGzDecoder::new(&bytes[..])
                .read_to_end(&mut out)
                .unwrap();
            assert!(out == text, "{at}");
            assert!(matches!(is_packed(&RealDisk, &origin, &target), Ok(true)));
            if !text.is_empty() {
                file.write_all(b"y").unwrap();
                assert!(matches!(is_packed(&RealDisk, &origin, &target), Ok(false)));
            }
        }
    }
}
