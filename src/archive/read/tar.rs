//! The entries of a tar archive, in order.
//!
//! Invariants: blocks are of 512 bytes; an extension belongs to the entry right after it and
//! changes nothing but its name; padding is zero; an archive ends with two zero blocks, and
//! nothing but the zeros that fill up a record of 10 KiB follow.

use crate::archive::Refusal;
use crate::model::error::Result;

use super::header::{Header, Kind};
use super::{Unpacked, refuse};

/// The length of a block in bytes.
pub(super) const BLOCK: usize = 512;
/// The largest extension, in bytes.
const LARGEST_EXTENSION: u64 = 64 << 10;
/// `tar` writes records of this many bytes and fills up the last one.
const RECORD: usize = 10 << 10;

/// An archive that is being read.
pub(super) struct Tar<'a> {
    unpacked: &'a mut dyn Unpacked,
    /// How many bytes were read.
    offset: u64,
}

impl<'a> Tar<'a> {
    /// Reads the archive with these bytes.
    pub(super) fn new(unpacked: &'a mut dyn Unpacked) -> Self {
        Self {
            unpacked,
            offset: 0,
        }
    }

    /// The next file or directory, once the data and the padding of the one before are read.
    /// `None` at the end, when everything has been read and was right.
    pub(super) fn next(&mut self) -> Result<Option<Header>> {
        let mut extension: Option<(Header, Option<Vec<u8>>)> = None;
        loop {
            let offset = self.offset;
            let Some(block) = self.block()? else {
                return refuse("tar", "", "the archive has no end: it was cut off");
            };
            if block == [0; BLOCK] {
                if let Some((header, _)) = extension {
                    return refuse("limit", header.name, "no entry follows this extension");
                }
                return self.end().map(|()| None);
            }
            let mut header = Header::parse(&block, offset)?;
            let name = match header.kind {
                Kind::File | Kind::Directory => {
                    if let Some((_, Some(name))) = extension {
                        header.name = name;
                    }
                    return Ok(Some(header));
                }
                Kind::LongName => Some(long_name(self.extension(&header)?)),
                Kind::Records => name_of_records(&self.extension(&header)?, &header.name)?,
            };
            if extension.is_some() {
                return refuse("limit", header.name, "an entry has more than one extension");
            }
            extension = Some((header, name));
        }
    }

    /// Some bytes of the data of `entry`, of which at most `left` remain.
    pub(super) fn data(&mut self, left: u64, entry: &[u8]) -> Result<&[u8]> {
        let most = usize::try_from(left).unwrap_or(usize::MAX);
        let bytes = self.unpacked.take(most)?;
        if bytes.is_empty() {
            return refuse("tar", entry, "the archive is cut off within this entry");
        }
        self.offset += bytes.len() as u64;
        Ok(bytes)
    }

    /// Reads what fills up the last block of an entry with `size` bytes of data.
    pub(super) fn padding(&mut self, size: u64, entry: &[u8]) -> Result<()> {
        let mut left = size.wrapping_neg() % BLOCK as u64;
        while left > 0 {
            let bytes = self.data(left, entry)?;
            if bytes.iter().any(|byte| *byte != 0) {
                return refuse("tar", entry, "its last block is not filled up with zeros");
            }
            left -= bytes.len() as u64;
        }
        Ok(())
    }

    /// All data of a small entry, and its padding.
    pub(super) fn whole(&mut self, size: u64, entry: &[u8]) -> Result<Vec<u8>> {
        let mut data = Vec::new();
        while (data.len() as u64) < size {
            let left = size - data.len() as u64;
            data.extend_from_slice(self.data(left, entry)?);
        }
        self.padding(size, entry)?;
        Ok(data)
    }

    fn extension(&mut self, header: &Header) -> Result<Vec<u8>> {
        if header.size > LARGEST_EXTENSION {
            return refuse("limit", &header.name, "an extension is larger than 64 KiB");
        }
        self.whole(header.size, &header.name)
    }

    /// The next block; `None` at the end of the last member.
    fn block(&mut self) -> Result<Option<[u8; BLOCK]>> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            let bytes = self.unpacked.take(BLOCK - filled)?;
            match (bytes.len(), filled) {
                (0, 0) => return Ok(None),
                (0, _) => return refuse("tar", "", "the archive is cut off within a block"),
                _ => {}
            }
            block[filled..filled + bytes.len()].copy_from_slice(bytes);
            filled += bytes.len();
        }
        self.offset += BLOCK as u64;
        Ok(Some(block))
    }

    /// Reads on from the first of the two zero blocks to the end of the input.
    fn end(&mut self) -> Result<()> {
        if self.block()? != Some([0; BLOCK]) {
            return refuse("tar", "", "one zero block stands where two end an archive");
        }
        self.unpacked.close();
        let mut padding = 0;
        loop {
            let bytes = self.unpacked.take(usize::MAX)?;
            padding += bytes.len();
            if bytes.iter().any(|byte| *byte != 0) {
                return refuse("trailing", "", "data follows the end of the archive");
            }
            if padding > RECORD || (bytes.is_empty() && !padding.is_multiple_of(BLOCK)) {
                let detail = "more zeros follow the end of the archive than `tar` writes";
                return refuse("trailing", "", detail);
            }
            if bytes.is_empty() {
                return Ok(());
            }
        }
    }
}

/// The name in a GNU extension: all of it, but for the NUL at its end.
fn long_name(mut body: Vec<u8>) -> Vec<u8> {
    if body.ends_with(&[0]) {
        body.pop();
    }
    body
}

/// The `path` among the records of a POSIX extension: `LENGTH KEY=VALUE` and a line feed,
/// where the length counts the whole record. Times are accepted, and ignored.
fn name_of_records(mut body: &[u8], entry: &[u8]) -> Result<Option<Vec<u8>>, Refusal> {
    let mut seen = Vec::new();
    let mut name = None;
    while !body.is_empty() {
        let Some((key, value, rest)) = record(body) else {
            return Err(Refusal::new("pax", entry, "a PAX record is malformed"));
        };
        let shown: String = key.escape_ascii().take(80).map(char::from).collect();
        let (rule, wrong) = match key {
            b"path" => ("pax", false),
            b"mtime" | b"atime" | b"ctime" => ("pax", !is_time(value)),
            // A second size is how one program is made to see what another does not.
            b"size" => ("size", true),
            _ => ("pax", true),
        };
        if wrong {
            let detail = format!("it has a PAX record `{shown}`, which is not accepted");
            return Err(Refusal::new(rule, entry, detail));
        }
        if seen.contains(&key) {
            let detail = format!("it has two PAX records `{shown}`");
            return Err(Refusal::new("pax", entry, detail));
        }
        if key == b"path" {
            name = Some(value.to_vec());
        }
        seen.push(key);
        body = rest;
    }
    Ok(name)
}

/// Splits off the first record: key, value and what follows.
fn record(body: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = body.iter().take(6).position(|byte| *byte == b' ')?;
    let digits = &body[..space];
    if !digits.iter().all(u8::is_ascii_digit) || digits.starts_with(b"0") {
        return None;
    }
    let length: usize = str::from_utf8(digits).ok()?.parse().ok()?;
    let (record, rest) = body.split_at_checked(length)?;
    let text = record.get(space + 1..)?.strip_suffix(b"\n")?;
    let equals = text.iter().position(|byte| *byte == b'=')?;
    (equals > 0).then(|| (&text[..equals], &text[equals + 1..], rest))
}

/// Whether it is a number of seconds, with or without a fraction.
fn is_time(value: &[u8]) -> bool {
    let unsigned = value.strip_prefix(b"-").unwrap_or(value);
    unsigned.first().is_some_and(u8::is_ascii_digit)
        && unsigned
            .iter()
            .all(|byte| byte.is_ascii_digit() || *byte == b'.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pax_records_are_read_strictly() {
        for (body, path) in [
            (&b"12 path=a/b\n"[..], Ok(Some(&b"a/b"[..]))),
            (b"13 path=a\nbc\n", Ok(Some(b"a\nbc"))),
            (b"15 mtime=-1.50\n12 path=a=b\n", Ok(Some(b"a=b"))),
            (b"", Ok(None)),
            (b"012 path=a/\n", Err("pax")),
            (b"+12 path=a/\n", Err("pax")),
            (b"11 path=a/b\n", Err("pax")),
            (b"13 path=a/b\n", Err("pax")),
            (b"3 \n", Err("pax")),
            (b"5 =a\n", Err("pax")),
            (b"7 path\n", Err("pax")),
            (b"99999999999999999999 path=a\n", Err("pax")),
            (b"12 path=a/b\n12 path=a/c\n", Err("pax")),
            (b"12 path=a/b\n\0", Err("pax")),
            (b"11 mtime=x\n", Err("pax")),
            (b"10 size=1\n", Err("size")),
            (b"14 linkpath=a\n", Err("pax")),
        ] {
            let found = name_of_records(body, b"");
            let found = found.as_ref().map(Option::as_deref).map_err(|no| no.rule);
            assert_eq!(found, path, "{}", body.escape_ascii());
        }
    }
}
