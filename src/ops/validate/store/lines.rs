//! The lines of a file of any size, in one buffer that is used again for the next file.
//!
//! Layer: ops. Promise: no more is held than a piece of the file, or the longest of its lines.

use std::io::{self, Read};

/// How much is read at once, in bytes.
const STEP: usize = 256 << 10;
/// The longest line that is looked at, in bytes.
pub(super) const LONGEST: usize = 64 << 20;

/// A line.
pub(super) enum Line<'a> {
    /// Its bytes, without the line feed.
    Whole(&'a [u8]),
    /// It is longer than [`LONGEST`].
    TooLong,
}

/// How a file ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct End {
    /// How many bytes it has.
    pub len: u64,
    /// How many of them stand behind the last line feed.
    pub torn: u64,
}

/// Takes texts apart.
#[derive(Default)]
pub(super) struct Splitter {
    buffer: Vec<u8>,
}

impl Splitter {
    /// Gives each line that ends to `take`, and after each piece says to `advance` how many
    /// bytes were read; what it answers may end the reading. Of an input of `expected` bytes
    /// no more is asked for when it has given so many: in a small file, asking for its end costs
    /// as much as asking for its content.
    pub(super) fn each(
        &mut self,
        input: &mut dyn Read,
        expected: Option<u64>,
        mut take: impl FnMut(Line<'_>),
        mut advance: impl FnMut(usize) -> io::Result<()>,
    ) -> io::Result<End> {
        let mut end = End::default();
        // What of the buffer is a line that has no end yet.
        let mut held = 0;
        let mut skipping = false;
        if self.buffer.len() < STEP {
            self.buffer.resize(STEP, 0);
        }
        loop {
            let count = match input.read(&mut self.buffer[held..]) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            advance(count)?;
            end.len += count as u64;
            end.torn += count as u64;
            let (mut start, filled) = (0, held + count);
            for feed in memchr::memchr_iter(b'\n', &self.buffer[held..filled]) {
                let feed = held + feed;
                if std::mem::take(&mut skipping) {
                    take(Line::TooLong);
                } else {
                    take(Line::Whole(&self.buffer[start..feed]));
                }
                start = feed + 1;
                end.torn = (filled - start) as u64;
            }
            if expected == Some(end.len) {
                break;
            }
            if skipping {
                continue;
            }
            self.buffer.copy_within(start..filled, 0);
            held = filled - start;
            if held > LONGEST {
                (skipping, held) = (true, 0);
            } else if held + STEP / 2 > self.buffer.len() {
                let len = self.buffer.len() * 2;
                self.buffer.resize(len, 0);
            }
        }
        // One enormous line is no reason to keep its room for all that follow.
        if self.buffer.len() > 16 * STEP {
            self.buffer = Vec::new();
        }
        Ok(end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives its bytes in pieces of a certain size.
    struct Dripping<'a>(&'a [u8], usize);

    impl Read for Dripping<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = self.1.min(self.0.len()).min(buffer.len());
            buffer[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            Ok(count)
        }
    }

    fn split(bytes: &[u8], step: usize) -> (Vec<Option<Vec<u8>>>, End) {
        let mut lines = Vec::new();
        let mut splitter = Splitter::default();
        let take = |line: Line<'_>| match line {
            Line::Whole(line) => lines.push(Some(line.to_vec())),
            Line::TooLong => lines.push(None),
        };
        let end = splitter.each(&mut Dripping(bytes, step), None, take, |_| Ok(()));
        (lines, end.unwrap())
    }

    #[test]
    fn lines_are_the_same_however_they_arrive() {
        let long = vec![b'x'; 3 * STEP];
        let text = [&b"one\n\ntwo\n"[..], &long, b"\nthree\nto"].concat();
        let (whole, end) = split(&text, usize::MAX);
        let expected: Vec<Vec<u8>> = text
            .split(|byte| *byte == b'\n')
            .map(<[u8]>::to_vec)
            .collect();
        let (torn, lines) = expected.split_last().unwrap();
        assert_eq!(whole, lines.iter().cloned().map(Some).collect::<Vec<_>>());
        assert_eq!(end.torn, torn.len() as u64);
        assert_eq!(end.len, text.len() as u64);
        for step in [1, 7, STEP - 1, STEP, STEP + 1] {
            assert_eq!(split(&text, step), (whole.clone(), end), "{step}");
        }
        assert_eq!(split(b"", 1), (Vec::new(), End::default()));
    }

    #[test]
    fn an_input_of_known_length_is_not_asked_for_its_end() {
        struct NeverEnding<'a>(Dripping<'a>);
        impl Read for NeverEnding<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                match self.0.read(buffer)? {
                    0 => Err(io::Error::other("asked for its end")),
                    count => Ok(count),
                }
            }
        }
        let mut lines = 0;
        let mut input = NeverEnding(Dripping(b"one\ntwo\nth", 3));
        let mut splitter = Splitter::default();
        let end = splitter.each(&mut input, Some(10), |_| lines += 1, |_| Ok(()));
        assert_eq!((end.unwrap(), lines), (End { len: 10, torn: 2 }, 2));
        // One that has grown is read on to its end.
        let mut input = Dripping(b"one\ntwo\nthree\n", 20);
        let end = splitter.each(&mut input, Some(10), |_| lines += 1, |_| Ok(()));
        assert_eq!((end.unwrap(), lines), (End { len: 14, torn: 0 }, 5));
    }

    #[test]
    fn a_line_without_end_costs_no_memory() {
        let mut text = vec![b'x'; LONGEST + 2 * STEP];
        text.extend_from_slice(b"\nnext\nrest");
        let (lines, end) = split(&text, STEP);
        assert_eq!(lines, [None, Some(b"next".to_vec())]);
        assert_eq!(end.torn, 4);
        assert_eq!(end.len, text.len() as u64);
    }
}
