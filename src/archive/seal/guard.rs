//! Bounds what the header of a sealed file can cost. The age crate keeps the whole header in
//! memory and parses it again with every line, and keeps every armoured line in memory.

use std::cell::Cell;
use std::io::{self, Read};
use std::rc::Rc;

/// The longest header, in bytes of the file: enough for about 200 recipients.
const LONGEST_HEADER: u64 = 32 << 10;

/// The longest line of an armoured file. They have 64 characters.
const LONGEST_LINE: usize = 256;

/// Passes on what it reads, up to a limit until that is lifted.
pub(super) struct Guard<R> {
    inner: R,
    limit: Limit,
    armoured: bool,
    column: usize,
}

/// The limit of a [`Guard`], in whose hands it remains while a parser owns the guard.
#[derive(Clone)]
pub(super) struct Limit(Rc<Cell<u64>>);

impl Limit {
    /// The header is over.
    pub(super) fn lift(&self) {
        self.0.set(u64::MAX);
    }
}

impl<R: Read> Guard<R> {
    pub(super) fn new(inner: R, armoured: bool) -> (Self, Limit) {
        let limit = Limit(Rc::new(Cell::new(LONGEST_HEADER)));
        let guard = Self {
            inner,
            limit: limit.clone(),
            armoured,
            column: 0,
        };
        (guard, limit)
    }

    fn check_lines(&mut self, bytes: &[u8]) -> io::Result<()> {
        for line in bytes.split_inclusive(|&byte| byte == b'\n') {
            self.column += line.len();
            if self.column > LONGEST_LINE {
                return Err(bad("an armoured line is too long"));
            }
            if line.ends_with(b"\n") {
                self.column = 0;
            }
        }
        Ok(())
    }
}

impl<R: Read> Read for Guard<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.limit.0.get();
        if left == 0 {
            return Err(bad("the header is too long"));
        }
        let most = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let read = self.inner.read(&mut buffer[..most])?;
        if left != u64::MAX {
            self.limit.0.set(left - read as u64);
        }
        if self.armoured {
            self.check_lines(&buffer[..read])?;
        }
        Ok(read)
    }
}

fn bad(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_without_an_end_is_read_so_far() {
        let (mut guard, _limit) = Guard::new(io::repeat(b'x'), false);
        let error = io::copy(&mut guard, &mut io::sink()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn what_follows_the_header_may_be_longer() {
        let (mut guard, limit) = Guard::new(io::repeat(b'x').take(1 << 20), false);
        guard.read_exact(&mut [0; 1000]).unwrap();
        limit.lift();
        assert_eq!(
            io::copy(&mut guard, &mut io::sink()).unwrap(),
            (1 << 20) - 1000
        );
    }

    #[test]
    fn a_line_without_an_end_is_refused_in_armour() {
        let short = "x".repeat(64) + "\n";
        let (mut guard, limit) = Guard::new(io::Cursor::new(short.repeat(1000)), true);
        limit.lift();
        io::copy(&mut guard, &mut io::sink()).unwrap();

        let (mut guard, limit) = Guard::new(io::repeat(b'x').take(1000), true);
        limit.lift();
        assert!(io::copy(&mut guard, &mut io::sink()).is_err());
    }
}
