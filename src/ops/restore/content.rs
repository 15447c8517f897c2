//! What a conversation says, wherever it is: its bytes, unpacked.
//!
//! Layer: ops. A text is never kept; what is kept of it is its length and digests.

use std::io::{self, Read, Write};

use flate2::write::MultiGzDecoder;

use crate::model::backup::{Hasher, Part, Sha256};
use crate::model::error::{Error, Result};
use crate::platform::disk::Open;
use crate::store::Store;
use crate::store::parts::PartFile;

use super::plan::Relation;

/// The longest text that is unpacked in order to compare it, in bytes. It is the most that
/// pachat reads of a conversation.
const LONGEST: u64 = 1 << 30;

/// The length and the digest of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Text {
    pub len: u64,
    pub sha256: Sha256,
}

/// The text of an archive's file, measured while it goes by.
pub(super) struct Measuring {
    tally: Unpack,
    /// Whether it could not be unpacked.
    damaged: bool,
}

enum Unpack {
    Plain(Box<Tally>),
    Packed(Box<MultiGzDecoder<Tally>>),
}

/// A text and its beginning, of a chosen length.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measured {
    pub text: Text,
    /// The digest of so many bytes of it; `None` if it does not have so many.
    pub beginning: Option<Text>,
}

#[derive(Default)]
struct Tally {
    len: u64,
    whole: Hasher,
    /// How long the beginning is.
    limit: u64,
    beginning: Hasher,
}

impl Write for Tally {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let rest = self.limit.saturating_sub(self.len);
        let count = usize::try_from(rest).unwrap_or(usize::MAX).min(bytes.len());
        self.beginning.update(&bytes[..count]);
        self.whole.update(bytes);
        self.len += bytes.len() as u64;
        if self.len > LONGEST {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Tally {
    fn finish(self) -> Measured {
        Measured {
            text: Text {
                len: self.len,
                sha256: self.whole.finish(),
            },
            beginning: (self.len >= self.limit).then(|| Text {
                len: self.limit,
                sha256: self.beginning.finish(),
            }),
        }
    }
}

impl Measuring {
    /// Begins to measure a file of this part, and its first `limit` bytes.
    pub(super) fn new(part: Part, limit: u64) -> Self {
        let tally = Tally {
            limit,
            ..Tally::default()
        };
        Self {
            tally: match part {
                Part::Archived => Unpack::Packed(Box::new(MultiGzDecoder::new(tally))),
                _ => Unpack::Plain(Box::new(tally)),
            },
            damaged: false,
        }
    }

    /// More of the file.
    pub(super) fn update(&mut self, bytes: &[u8]) {
        if self.damaged {
            return;
        }
        let written = match &mut self.tally {
            Unpack::Plain(tally) => tally.write_all(bytes),
            Unpack::Packed(decoder) => decoder.write_all(bytes),
        };
        self.damaged = written.is_err();
    }

    /// What it was; `None` if it cannot be unpacked.
    pub(super) fn finish(self) -> Option<Measured> {
        let tally = match self.tally {
            _ if self.damaged => return None,
            Unpack::Plain(tally) => *tally,
            Unpack::Packed(decoder) => decoder.finish().ok()?,
        };
        Some(tally.finish())
    }
}

/// Measures a file that is there, and its first `limit` bytes; `None` if it cannot be unpacked
/// or is gone.
pub(super) fn measure(
    store: &Store,
    path: &std::path::Path,
    part: Part,
    limit: u64,
) -> Result<Option<Measured>> {
    let cannot = |error: io::Error| Error::io("cannot compare a conversation", path, &error);
    let mut file = match store.disk().open(path, Open::Read) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(cannot)?,
    };
    let mut measuring = Measuring::new(part, limit);
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer).map_err(cannot)? {
            0 => return Ok(measuring.finish()),
            count => measuring.update(&buffer[..count]),
        }
    }
}

/// What a file of the store says, without a line that is cut; `None` if it cannot be read as
/// what it is.
pub(super) fn of_store(store: &Store, file: &PartFile) -> Result<Option<Text>> {
    if file.part == Part::Archived {
        let path = store.part_file(file.part, &file.name);
        return Ok(measure(store, &path, file.part, 0)?.map(|measured| measured.text));
    }
    let measured = store.measure(file.part, &file.name)?;
    Ok(measured.map(|measured| Text {
        len: measured.size,
        sha256: measured.sha256,
    }))
}

/// How a text of the archive, measured with the beginning that is as long as `own`, stands to
/// the store's own text, which is in `file`.
pub(super) fn relate(
    store: &Store,
    file: &PartFile,
    own: Text,
    archived: Measured,
) -> Result<Relation> {
    let same = |same: bool, relation| if same { relation } else { Relation::Diverged };
    if archived.text.len == own.len {
        return Ok(same(archived.text == own, Relation::Same));
    }
    if archived.text.len > own.len {
        return Ok(same(
            archived.beginning == Some(own),
            Relation::ArchiveHasMore,
        ));
    }
    let path = store.part_file(file.part, &file.name);
    let measured = measure(store, &path, file.part, archived.text.len)?;
    let beginning = measured.and_then(|measured| measured.beginning);
    Ok(same(
        beginning == Some(archived.text),
        Relation::StoreHasMore,
    ))
}
