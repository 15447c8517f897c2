//! The table: archives, and what becomes of them.

use super::{content, ends, gzip, manifests, paths, sizes, types, valid};

/// Where an archive is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// By the reader of archives.
    Read,
    /// By the restore, which knows what files mean.
    Restore,
}

/// One archive.
pub struct Case {
    pub name: String,
    pub archive: Vec<u8>,
    /// Whether it came out of an age file.
    pub sealed: bool,
    /// The rule that refuses it and the entry that the message names, as it stands there;
    /// `None` if it must be accepted.
    pub refused: Option<(&'static str, String)>,
    pub at: At,
}

/// An archive that breaks this rule. `entry` is what the message names, before it is
/// escaped; empty where it is about the whole.
pub fn hostile(
    name: impl Into<String>,
    archive: Vec<u8>,
    rule: &'static str,
    entry: impl AsRef<[u8]>,
) -> Case {
    Case {
        name: name.into(),
        archive,
        sealed: false,
        refused: Some((rule, entry.as_ref().escape_ascii().to_string())),
        at: At::Read,
    }
}

/// An archive that must be accepted.
pub fn fine(name: impl Into<String>, archive: Vec<u8>) -> Case {
    Case {
        name: name.into(),
        archive,
        sealed: false,
        refused: None,
        at: At::Read,
    }
}

/// All of them.
pub fn cases() -> Vec<Case> {
    [
        paths::cases(),
        types::cases(),
        sizes::cases(),
        gzip::cases(),
        ends::cases(),
        manifests::cases(),
        content::cases(),
        valid::cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
