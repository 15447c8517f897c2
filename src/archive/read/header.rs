//! The header of an entry: one block of 512 bytes (POSIX.1-1988 "ustar", and GNU's dialect).
//!
//! Promise: a header that two programs could read in two ways is refused.

use crate::archive::Refusal;

use super::tar::BLOCK;

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A GNU extension: the name of the next entry.
    LongName,
    /// A POSIX extension: records about the next entry.
    Records,
}

/// What a header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Its path as it stands there: any bytes.
    pub name: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// The length of its data in bytes.
    pub size: u64,
}

impl Header {
    /// Reads a block that begins at this byte of the unpacked archive.
    pub(super) fn parse(block: &[u8; BLOCK], offset: u64) -> Result<Self, Refusal> {
        let at = |detail: &str| format!("the header at byte {offset} {detail}");
        let whole: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        let field: u32 = block[148..156].iter().map(|byte| u32::from(*byte)).sum();
        // The field itself counts as spaces.
        let sum = whole - field + 8 * u32::from(b' ');
        if octal(&block[148..156]) != Some(sum.into()) {
            return Err(Refusal::new("tar", "", at("has a wrong checksum")));
        }
        let shown = until_nul(&block[..100]);
        let refused = |rule, detail: &str| Err(Refusal::new(rule, shown, detail));
        let posix = match &block[257..265] {
            b"ustar\x0000" => true,
            b"ustar  \0" => false,
            _ => return refused("tar", &at("is neither POSIX ustar nor GNU")),
        };
        let kind = match block[156] {
            0 | b'0' => Kind::File,
            b'5' => Kind::Directory,
            b'L' => Kind::LongName,
            b'x' => Kind::Records,
            other => return refused("type", &unwanted(other)),
        };
        let Some(size) = octal(&block[124..136]) else {
            return refused("size", "its size is no octal number");
        };
        let numbers = [100..108, 108..116, 116..124, 136..148, 329..337, 337..345];
        if !numbers
            .into_iter()
            .all(|range| is_harmless(&block[range], posix))
        {
            return refused("tar", &at("has a number that is not octal"));
        }
        // POSIX keeps the beginning of a long name here; GNU what we do not accept.
        let (prefix, rest) = block[345..].split_at(if posix { 155 } else { 0 });
        if block[157..257].iter().chain(rest).any(|byte| *byte != 0) {
            return refused("tar", &at("has data in fields that must be empty"));
        }
        if [&block[..100], prefix].into_iter().any(has_inner_nul) {
            return refused("path", "its name has a NUL character");
        }
        let mut name = until_nul(prefix).to_vec();
        if !name.is_empty() {
            name.push(b'/');
        }
        name.extend_from_slice(shown);
        Ok(Self { name, kind, size })
    }
}

/// An octal number, as all programs read it: digits from the first byte on, then nothing but
/// spaces and NULs.
fn octal(field: &[u8]) -> Option<u64> {
    let digits = field
        .iter()
        .take_while(|byte| matches!(byte, b'0'..=b'7'))
        .count();
    let (digits, rest) = field.split_at(digits);
    let sound = !digits.is_empty() && rest.iter().all(|byte| matches!(byte, 0 | b' '));
    sound.then(|| {
        digits
            .iter()
            .fold(0, |value, digit| value << 3 | u64::from(digit - b'0'))
    })
}

/// Whether a number that nobody needs is one: octal, absent, or as GNU writes owners and
/// times that are too large for octal.
fn is_harmless(field: &[u8], posix: bool) -> bool {
    octal(field).is_some()
        || field.iter().all(|byte| matches!(byte, 0 | b' '))
        || (!posix && matches!(field[0], 0x80 | 0xff))
}

fn until_nul(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

fn has_inner_nul(field: &[u8]) -> bool {
    field[until_nul(field).len()..]
        .iter()
        .any(|byte| *byte != 0)
}

/// Names a type of entry that is never accepted.
fn unwanted(flag: u8) -> String {
    let name = match flag {
        b'1' => "a hard link",
        b'2' => "a symbolic link",
        b'3' => "a character device",
        b'4' => "a block device",
        b'6' => "a named pipe",
        b'7' => "a contiguous file",
        b'g' => "a global PAX header",
        b'K' => "a long link target",
        b'S' => "a sparse file",
        b'M' => "a file that began on another volume",
        b'V' => "a volume label",
        _ => {
            return format!(
                "it is an entry of the unknown type `{}`",
                flag.escape_ascii()
            );
        }
    };
    format!("it is {name}; only files and directories are accepted")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octal_numbers_are_read_strictly() {
        for (field, value) in [
            (&b"00000000012\0"[..], Some(10)),
            (b"777777777777", Some((1 << 36) - 1)),
            (b"0012\0 ", Some(10)),
            (b"12 ", Some(10)),
            (b"\0\0\0\0", None),
            (b" 12\0", None),
            (b"-12\0", None),
            (b"+12\0", None),
            (b"18\0", None),
            (b"1\x002", None),
            (b"0x1\0", None),
            (b"\x80\0\0\x01", None),
            (b"", None),
        ] {
            assert_eq!(octal(field), value, "{}", field.escape_ascii());
        }
    }
}
