//! `MANIFEST.json`: what an archive holds.
//!
//! One JSON document with every file on a line of its own, so that `grep` finds one, and
//! `jq -r '.files[] | "\(.sha256)  \(.path)"' MANIFEST.json | sha256sum -c` proves them all.

mod strict;

use std::collections::HashSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::backup::{BackupType, Hasher, Part, Sha256};

use super::path::ArchivePath;
use super::{NEWER, Refusal};

/// The version of the backup format that this program writes.
pub const VERSION: u32 = 1;

/// The newest format of the store whose files such a backup holds.
pub const STORE_FORMAT: u32 = 1;

/// The largest manifest that is read, in bytes; about 100,000 files.
pub const LARGEST: u64 = 16 << 20;

/// The largest file that an archive may hold, in bytes.
pub const LARGEST_FILE: u64 = 1 << 30;

/// The most files that an archive may hold.
pub const MOST_FILES: usize = 100_000;

/// One file of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where it belongs.
    pub path: ArchivePath,
    /// Its length in bytes.
    pub size: u64,
    /// The digest of its bytes.
    pub sha256: Sha256,
    /// Whether it was broken already when the backup was made: its bytes are kept, and a
    /// restore does not insist that they make sense.
    pub damaged: bool,
}

/// What an archive holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// What kind of backup it is.
    pub kind: BackupType,
    /// When it was made.
    pub created_at: Timestamp,
    /// The version of the store's format.
    pub store_format: u32,
    /// Labels.
    pub tags: Vec<String>,
    /// What its maker wanted to say.
    pub note: Option<String>,
    /// Its files, sorted by path.
    pub files: Vec<Entry>,
}

/// What the manifest is called in an archive.
pub const NAME: &str = "MANIFEST.json";

/// What stands for `format`.
const FORMAT: &str = "pachat-backup";

impl Manifest {
    /// The length of all files together.
    pub fn total_bytes(&self) -> u64 {
        self.files.iter().map(|file| file.size).sum()
    }

    /// The JSON text, ended by a line feed.
    pub fn to_json(&self) -> Vec<u8> {
        let head = Head {
            format: FORMAT,
            version: VERSION,
            kind: self.kind,
            created_at: self.created_at,
            store_format: self.store_format,
            tags: &self.tags,
            note: self.note.as_deref(),
        };
        let mut json = Vec::with_capacity(512 + 192 * self.files.len());
        append(&mut json, &head);
        // What follows is inside the object that the head began.
        json.pop();
        json.extend_from_slice(b",\"files\":[");
        for (number, file) in self.files.iter().enumerate() {
            json.extend_from_slice(if number == 0 { b"\n" } else { b",\n" });
            let line = Line {
                path: file.path.as_str(),
                size: file.size,
                sha256: file.sha256,
                damaged: file.damaged,
            };
            append(&mut json, &line);
        }
        let end = format!("\n],\"total_bytes\":{}}}\n", self.total_bytes());
        json.extend_from_slice(end.as_bytes());
        json
    }

    /// Reads the JSON text, strictly: of a version and with fields that are known, nothing
    /// twice, and the sum right. Unknown fields are ignored; files may be in any order.
    ///
    /// Tags and the note are what their maker wrote: clean them before they are shown.
    pub fn parse(json: &[u8], sealed: bool) -> Result<Self, Refusal> {
        if json.len() as u64 > LARGEST {
            return Err(refuse(format!("longer than {LARGEST} bytes")));
        }
        strict::check(json).map_err(|error| refuse(shown(&error)))?;
        check_version(json)?;
        let raw: Raw = serde_json::from_slice(json).map_err(|error| refuse(shown(&error)))?;
        if raw.store_format == 0 || raw.store_format > STORE_FORMAT {
            return Err(newer_or_bad("store", raw.store_format.into(), STORE_FORMAT));
        }
        if raw.files.len() > MOST_FILES {
            return Err(refuse(format!("more than {MOST_FILES} files")));
        }
        let files = entries(raw.files, raw.kind, sealed)?;
        let total = files
            .iter()
            .try_fold(0_u64, |sum, file| sum.checked_add(file.size));
        if total != Some(raw.total_bytes) {
            return Err(refuse("`total_bytes` is not the sum of the sizes"));
        }
        Ok(Self {
            kind: raw.kind,
            created_at: raw.created_at,
            store_format: raw.store_format,
            tags: raw.tags,
            note: raw.note,
            files,
        })
    }

    /// A digest of what is in the files, whatever else the manifest says: the SHA-256 of the
    /// lines that `sha256sum` would print, sorted by path, `logs/` left out, which change with
    /// every run.
    pub fn content(&self) -> Sha256 {
        let mut files: Vec<&Entry> = self
            .files
            .iter()
            .filter(|file| file.path.part() != Some(Part::Logs))
            .collect();
        files.sort_unstable_by(|one, other| one.path.cmp(&other.path));
        let mut hasher = Hasher::default();
        for file in files {
            hasher.update(&file.sha256.digits());
            hasher.update(b"  ");
            hasher.update(file.path.as_str().as_bytes());
            hasher.update(b"\n");
        }
        hasher.finish()
    }
}

/// The beginning of the document as it is written.
#[derive(Serialize)]
struct Head<'a> {
    format: &'a str,
    version: u32,
    #[serde(rename = "type")]
    kind: BackupType,
    #[serde(with = "crate::model::time")]
    created_at: Timestamp,
    store_format: u32,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    tags: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'a str>,
}

/// A file as it is written.
#[derive(Serialize)]
struct Line<'a> {
    path: &'a str,
    size: u64,
    sha256: Sha256,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    damaged: bool,
}

/// What tells the version, whatever the rest looks like.
#[derive(Deserialize)]
struct Version {
    format: String,
    version: u64,
}

/// The document as it is read.
#[derive(Deserialize)]
struct Raw {
    #[serde(rename = "type")]
    kind: BackupType,
    #[serde(with = "crate::model::time")]
    created_at: Timestamp,
    store_format: u32,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    note: Option<String>,
    files: Vec<RawEntry>,
    total_bytes: u64,
}

/// A file as it is read.
#[derive(Deserialize)]
struct RawEntry {
    path: String,
    size: u64,
    sha256: Sha256,
    #[serde(default)]
    damaged: bool,
}

fn append(json: &mut Vec<u8>, value: &impl Serialize) {
    serde_json::to_writer(json, value).expect("plain fields go into memory without an error");
}

/// Refuses what is no manifest, or one of a version that this program does not know: before
/// anything else is looked at, which may be different there.
fn check_version(json: &[u8]) -> Result<(), Refusal> {
    match serde_json::from_slice::<Version>(json) {
        Ok(found) if found.format != FORMAT => Err(refuse("not that of a pachat backup")),
        Ok(found) if found.version != u64::from(VERSION) => {
            Err(newer_or_bad("backup", found.version, VERSION))
        }
        Ok(_) => Ok(()),
        Err(error) => Err(refuse(shown(&error))),
    }
}

fn newer_or_bad(what: &str, found: u64, known: u32) -> Refusal {
    if found > u64::from(known) {
        let detail =
            format!("made by a newer pachat: {what} format {found}, and this one knows {known}");
        return Refusal::new(NEWER, NAME, detail);
    }
    refuse(format!("there is no {what} format {found}"))
}

/// Checks the files one by one, and that no two are the same file anywhere.
///
/// That no file is the parent of another needs no check: every path is the directory of a
/// part and a name, and the directory of a part is not such a path.
fn entries(raw: Vec<RawEntry>, kind: BackupType, sealed: bool) -> Result<Vec<Entry>, Refusal> {
    let mut seen = HashSet::with_capacity(raw.len());
    raw.into_iter()
        .map(|raw| {
            let path = ArchivePath::parse(raw.path.as_bytes(), kind, sealed)?;
            if raw.size > LARGEST_FILE {
                let detail = format!("larger than {LARGEST_FILE} bytes");
                return Err(Refusal::new("size", path.as_str(), detail));
            }
            if !seen.insert(path.fold()) {
                let detail = "listed twice, or like another but for the case of letters";
                return Err(Refusal::new("duplicate", path.as_str(), detail));
            }
            Ok(Entry {
                path,
                size: raw.size,
                sha256: raw.sha256,
                damaged: raw.damaged,
            })
        })
        .collect()
}

fn refuse(detail: impl Into<String>) -> Refusal {
    Refusal::new("manifest", NAME, detail)
}

/// What the parser says, which may quote the text: made fit to be shown.
fn shown(error: &serde_json::Error) -> String {
    const LONGEST: usize = 200;
    let mut text = String::new();
    for c in error.to_string().chars().take(LONGEST) {
        if c == ' ' || c.is_ascii_graphic() {
            text.push(c);
        } else {
            text.extend(c.escape_unicode());
        }
    }
    text
}

#[cfg(test)]
mod tests;
