//! The format of a backup, as streams of bytes: no disk, no clock.
//!
//! An archive is a tar archive, gzipped, perhaps sealed with age. Its first entry is
//! `MANIFEST.json`, which names every file with its size and SHA-256; the directories and
//! files follow, sorted, with fixed owners and times. The gzip file is a sequence of members,
//! each of which can be unpacked and checked by itself, and which together are what `tar xzf`
//! reads; what they are made of, so that an archive can copy from the one before, [`segment`]
//! says.
//!
//! Promise of [`read`]: it accepts what [`write`](mod@write) writes, and what `tar` and `gzip` make of the
//! same files, and nothing else; whatever it refuses, it names the rule.

pub mod manifest;
pub mod path;
pub mod read;
pub mod seal;
pub mod segment;
pub mod write;

use std::fmt;
use std::io;

use crate::model::error::{Error, Kind, describe};

/// The rule that a newer pachat's archive breaks.
const NEWER: &str = "newer";

/// Why an archive is refused: a rule, what broke it, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The rule, in one or two words that never change: `path`, `duplicate`, `size`, `digest`.
    pub rule: &'static str,
    /// The entry, escaped so that it can be shown; empty where it is about the whole.
    pub entry: String,
    /// What is wrong, in a few words.
    pub detail: String,
}

impl Refusal {
    /// A refusal about the entry of this name, which may be any bytes; only the beginning of a
    /// very long one is kept.
    pub fn new(rule: &'static str, entry: impl AsRef<[u8]>, detail: impl Into<String>) -> Self {
        const LONGEST: usize = 300;
        let name = entry.as_ref();
        let mut entry = name[..name.len().min(LONGEST)].escape_ascii().to_string();
        if name.len() > LONGEST {
            entry.push_str("...");
        }
        Self {
            rule,
            entry,
            detail: detail.into(),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rule `{}`", self.rule)?;
        if !self.entry.is_empty() {
            write!(f, ", entry `{}`", self.entry)?;
        }
        write!(f, ": {}", self.detail)
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        let error = Self::new(Kind::Malformed, "the archive is refused").why(refusal.to_string());
        match refusal.rule {
            NEWER => error.hint("install the current version of pachat"),
            _ => error,
        }
    }
}

/// A failed write of an archive. An error that the writer made itself passes through: it knows
/// the file.
fn cannot_write(error: io::Error) -> Error {
    match error.downcast::<Error>() {
        Ok(error) => error,
        Err(error) => Error::new(Kind::Io, "cannot write the archive").why(describe(&error)),
    }
}
