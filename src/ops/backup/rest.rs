//! An archive without the members that were copied into it.
//!
//! Reading a new backup back means: what was packed for it is read as a restore would read it;
//! what was copied is compared with the digest that it had when it was read in this way itself.
//! Equal bytes unpack to equal files, so nothing is gained by unpacking them each time, and that
//! is most of what a backup costs that copies most.
//!
//! Invariants: every byte of the archive is either given out or part of a member whose digest is
//! right; and what is given out is an archive by itself, because members are cut out whole, and
//! only those that hold whole entries.

use std::io::{self, Read};

use crate::archive::write::{Copied, Member};
use crate::model::backup::{Hasher, Sha256};
use crate::model::error::{Error, Kind, Result};

/// How much of a copy is read at once, in bytes.
const STEP: usize = 64 << 10;

/// The rest of an archive.
pub(super) struct Rest<'a> {
    from: &'a mut dyn Read,
    /// The members to compare, from the last to the first: where each begins, its length and
    /// its digest.
    due: Vec<(u64, u64, Sha256)>,
    at: u64,
    buffer: Vec<u8>,
}

impl<'a> Rest<'a> {
    /// Reads `from`, an archive of these members.
    pub(super) fn new(from: &'a mut dyn Read, members: &[Member], copied: &[Copied]) -> Self {
        let last_first = copied.iter().rev();
        let due = last_first.flat_map(|run| members[run.members.clone()].iter().rev());
        Self {
            from,
            due: due
                .map(|member| (member.offset, member.len, member.packed))
                .collect(),
            at: 0,
            buffer: Vec::new(),
        }
    }

    /// Says whether all copies have come.
    pub(super) fn end(&self) -> Result<()> {
        match self.due.last() {
            Some(_) => Err(differs()),
            None => Ok(()),
        }
    }

    /// Compares the copy that is next, which is so long.
    fn compare(&mut self, len: u64, packed: Sha256) -> io::Result<()> {
        self.buffer.resize(STEP, 0);
        let mut hasher = Hasher::default();
        let mut copy = Read::take(&mut *self.from, len);
        loop {
            match copy.read(&mut self.buffer) {
                Ok(0) => break,
                Ok(read) => hasher.update(&self.buffer[..read]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if copy.limit() > 0 || hasher.finish() != packed {
            return Err(io::Error::other(differs()));
        }
        self.at += len;
        Ok(())
    }
}

impl Read for Rest<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut most = buffer.len();
        while let Some(&(offset, len, packed)) = self.due.last() {
            if self.at < offset {
                let before = usize::try_from(offset - self.at).unwrap_or(usize::MAX);
                most = most.min(before);
                break;
            }
            self.compare(len, packed)?;
            self.due.pop();
        }
        let read = self.from.read(&mut buffer[..most])?;
        self.at += read as u64;
        Ok(read)
    }
}

fn differs() -> Error {
    Error::new(
        Kind::Malformed,
        "what was copied is not what it was where it came from",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(parts: &[&[u8]]) -> (Vec<u8>, Vec<Member>) {
        let mut bytes = Vec::new();
        let mut members = Vec::new();
        for part in parts {
            members.push(Member {
                key: Sha256::of(b""),
                offset: bytes.len() as u64,
                len: part.len() as u64,
                packed: Sha256::of(part),
            });
            bytes.extend_from_slice(part);
        }
        (bytes, members)
    }

    /// Runs of members that were copied, each from one number up to another.
    fn copied(runs: &[(usize, usize)]) -> Vec<Copied> {
        let copied = runs.iter().map(|&(first, end)| Copied {
            files: 0..0,
            members: first..end,
        });
        copied.collect()
    }

    fn rest(bytes: &[u8], members: &[Member], copied: &[Copied]) -> Result<Vec<u8>> {
        let mut input = bytes;
        let mut rest = Rest::new(&mut input, members, copied);
        let mut out = Vec::new();
        match rest.read_to_end(&mut out) {
            Ok(_) => rest.end().map(|()| out),
            Err(error) => Err(error.downcast::<Error>().unwrap()),
        }
    }

    #[test]
    fn what_was_copied_is_compared_and_the_rest_given_out() {
        let (bytes, members) = members(&[b"manifest", b"one", b"two", b"three", b"new", b"end"]);
        for (chosen, expected) in [
            (vec![], "manifestonetwothreenewend"),
            (vec![(1, 2)], "manifesttwothreenewend"),
            (vec![(1, 2), (2, 4)], "manifestnewend"),
            (vec![(2, 3)], "manifestonethreenewend"),
        ] {
            let out = rest(&bytes, &members, &copied(&chosen)).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }

    #[test]
    fn no_byte_of_a_copy_may_differ_and_none_be_missing() {
        let (bytes, members) = members(&[b"manifest", b"one", b"two", b"end"]);
        let copied = copied(&[(1, 2), (2, 3)]);
        for at in 8..14 {
            let mut bad = bytes.clone();
            bad[at] ^= 1;
            let error = rest(&bad, &members, &copied).unwrap_err();
            assert_eq!(error.kind(), Kind::Malformed, "{at}");
            let cut = rest(&bytes[..at], &members, &copied).unwrap_err();
            assert_eq!(cut.kind(), Kind::Malformed, "{at}");
        }
    }

    #[test]
    fn what_follows_the_last_member_is_given_out_too() {
        let (mut bytes, members) = members(&[b"manifest", b"one", b"end"]);
        bytes.extend_from_slice(b"more");
        let out = rest(&bytes, &members, &copied(&[(1, 2)])).unwrap();
        assert_eq!(out, b"manifestendmore");
    }
}
