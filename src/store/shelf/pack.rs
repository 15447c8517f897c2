//! Packing a conversation, and proving that what was packed comes out again.
//!
//! Everything goes through in pieces.

use std::io::{self, BufReader, Read, Write as _};
use std::path::Path;

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;

use crate::model::backup::{Hasher, Sha256};
use crate::platform::Disk;
use crate::platform::disk::{File, Open};
use crate::store::Store;
use crate::store::parts::{STEP, for_each_piece};

/// How hard gzip tries: its own default, beyond which it takes much longer for little.
const LEVEL: u32 = 6;

/// Writes a packed copy of `source` to the new file `temporary`, and syncs it. The caller holds
/// the turn of the conversation, so a file of that name is one that the dead have left.
pub(super) fn pack(store: &Store, source: &Path, temporary: &Path) -> io::Result<()> {
    let disk = store.disk();
    let mut from = disk.open(source, Open::Read)?;
    let to = match disk.open(temporary, Open::CreateNew) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            disk.remove_file(temporary)?;
            disk.open(temporary, Open::CreateNew)?
        }
        other => other?,
    };
    let mut encoder = GzEncoder::new(to, Compression::new(LEVEL));
    for_each_piece(from.as_mut(), u64::MAX, |piece| encoder.write_all(piece))?;
    encoder
        .finish()?
        .sync_data()
        .inspect_err(|_| store.note_failed_sync())
}

/// Whether a packed file holds exactly what `source` holds now.
pub(super) fn is_packed(disk: &dyn Disk, source: &Path, packed: &Path) -> io::Result<bool> {
    Ok(digest(&mut *disk.open(source, Open::Read)?)? == digest(&mut unpacked(disk, packed)?)?)
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
