//! Attachments: that their content is what their names say, and that somebody names them.
//!
//! Layer: ops. An attachment is named wherever its digest, 64 hexadecimal digits, stands in a
//! conversation.

use std::collections::HashSet;
use std::io::{self, Read as _};

use crate::model::backup::{Hasher, Part, Sha256};
use crate::model::finding::{Finding, Severity};
use crate::platform::disk::Open;
use crate::store::Store;

/// How many digits a digest has.
const DIGITS: usize = 64;

/// Which of the digests that matter were seen.
#[derive(Clone, Debug, Default)]
pub(super) struct Digests {
    wanted: HashSet<[u8; DIGITS]>,
    seen: HashSet<[u8; DIGITS]>,
}

impl Digests {
    /// Those of the attachments with these names; `None` if there is none to look for.
    pub(super) fn of<'a>(names: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let wanted: HashSet<_> = names.into_iter().filter_map(digits).collect();
        (!wanted.is_empty()).then(|| Self {
            wanted,
            seen: HashSet::new(),
        })
    }

    /// Looks at a text. A run of 64 digits covers exactly one of every 64 bytes, so one byte in
    /// 64 is looked at where there is none.
    pub(super) fn see(&mut self, text: &[u8]) {
        let mut at = DIGITS - 1;
        while at < text.len() {
            if !is_digit(text[at]) {
                at += DIGITS;
                continue;
            }
            let before = text[..at].iter().rev().take_while(|byte| is_digit(**byte));
            let start = at - before.count();
            let behind = text[at..].iter().take_while(|byte| is_digit(**byte));
            let end = at + behind.count();
            for window in text[start..end].windows(DIGITS) {
                if let Ok(window) = <[u8; DIGITS]>::try_from(window)
                    && self.wanted.contains(&window)
                {
                    self.seen.insert(window);
                }
            }
            // The next byte to look at that is behind this run.
            at += (end - at).div_ceil(DIGITS).max(1) * DIGITS;
        }
    }

    /// Takes over what another one has seen.
    pub(super) fn merge(&mut self, other: Self) {
        self.seen.extend(other.seen);
    }

    /// Whether the attachment with this name was not seen.
    fn misses(&self, name: &str) -> bool {
        digits(name).is_some_and(|digits| !self.seen.contains(&digits))
    }
}

fn is_digit(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

/// The digest in the name of an attachment.
fn digits(name: &str) -> Option<[u8; DIGITS]> {
    name.as_bytes().get(..DIGITS)?.try_into().ok()
}

/// Reads an attachment and compares its digest with its name.
pub(super) fn look(
    store: &Store,
    name: &str,
    path: &str,
    buffer: &mut Vec<u8>,
    advance: &mut dyn FnMut(usize) -> io::Result<()>,
) -> io::Result<Option<Finding>> {
    let opened = store
        .disk()
        .open(&store.part_file(Part::Attachments, name), Open::Read);
    let mut file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Ok(Some(super::unreadable(path, &error))),
    };
    buffer.resize(256 << 10, 0);
    let mut hasher = Hasher::default();
    loop {
        match file.read(buffer) {
            Ok(0) => break,
            Ok(count) => {
                hasher.update(&buffer[..count]);
                advance(count)?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Ok(Some(super::unreadable(path, &error))),
        }
    }
    let found: Sha256 = hasher.finish();
    Ok((!name.starts_with(&found.to_string())).then(|| {
        Finding::new(
            "store.attachment-digest",
            Severity::Error,
            path,
            format!("its content has the SHA-256 digest {found}, so it is not what its name says"),
            "take it out of a backup: pachat restore latest --include 'attachments/*'",
        )
    }))
}

/// What no conversation names. Only to be asked when every one of them could be read.
pub(super) fn orphans<'a>(
    digests: &Digests,
    names: impl IntoIterator<Item = &'a str>,
) -> Vec<Finding> {
    let orphans = names.into_iter().filter(|name| digests.misses(name));
    orphans
        .map(|name| {
            Finding::new(
                "store.attachment-orphan",
                Severity::Note,
                format!("{}/{name}", Part::Attachments.path()),
                "no conversation names it",
                "remove what nothing needs: pachat cleanup",
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ONE: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    proptest! {
        #[test]
        fn a_digest_is_seen_wherever_it_stands(
            before in "[0-9a-z \"]{0,200}",
            behind in "[0-9a-z \"]{0,200}",
            there: bool,
        ) {
            let middle = if there { ONE } else { &ONE[1..] };
            let text = format!("{before}{middle}{behind}");
            let mut digests = Digests::of([ONE]).unwrap();
            digests.see(text.as_bytes());
            prop_assert_eq!(!digests.misses(ONE), text.contains(ONE), "{}", text);
        }
    }
}
