//! The parts of the store, file by file.
//!
//! Invariants:
//! - A conversation that exists throughout a listing is in it, also if it is archived, deleted
//!   or taken back meanwhile. One that is active and archived at the end counts as active, as
//!   everywhere.
//! - A file is read in pieces: none is ever in memory as a whole.

use std::collections::HashSet;
use std::io::{self, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::model::backup::{Hasher, Part, Sha256};
use crate::model::error::{Error, Result};
use crate::platform::disk::{Entry, File, FileKind, Open, Stat};

use super::Store;

pub use super::check::Checker;

/// How much is read at once, in bytes.
pub(super) const STEP: usize = 64 << 10;

/// A file of a part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartFile {
    /// The part.
    pub part: Part,
    /// Its name.
    pub name: String,
    /// Its length in bytes, half lines included.
    pub len: u64,
    /// When it was last changed.
    pub modified: Option<SystemTime>,
    /// Device and inode.
    pub identity: Option<(u64, u64)>,
}

impl PartFile {
    /// A file of this name and with this `stat`; `None` if it is no file.
    pub fn of(part: Part, name: &str, stat: &Stat) -> Option<Self> {
        (stat.kind == FileKind::File).then(|| Self {
            part,
            name: name.to_owned(),
            len: stat.len,
            modified: stat.modified,
            identity: stat.identity,
        })
    }
}

/// The files of some parts.
#[derive(Clone, Debug, Default)]
pub struct Inventory {
    /// What pachat knows, sorted by path.
    pub files: Vec<PartFile>,
    /// What it does not: paths below the data directory, for a warning. Locks, temporary
    /// files and the like are not among them.
    pub foreign: Vec<String>,
}

/// What reading a file told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Measured {
    /// Its length: of a file that grows, up to the last line feed.
    pub size: u64,
    /// The digest of that much.
    pub sha256: Sha256,
    /// What is wrong with its content, if anything.
    pub damage: Option<String>,
}

impl Store {
    /// Where a part is.
    pub fn part_dir(&self, part: Part) -> PathBuf {
        self.layout().root().join(part.path())
    }

    /// Where a file of a part is.
    pub fn part_file(&self, part: Part, name: &str) -> PathBuf {
        self.part_dir(part).join(name)
    }

    /// Lists the files of these parts, by `stat` alone. Nothing that exists throughout is
    /// missed, although conversations may move between parts meanwhile. A part whose directory
    /// does not exist has none.
    pub fn inventory(&self, parts: &[Part]) -> Result<Inventory> {
        let mut found = Inventory::default();
        let both = [Part::Active, Part::Archived];
        let moving = both.iter().all(|part| parts.contains(part));
        let trash = moving && parts.contains(&Part::Trash);
        for part in Part::ALL.into_iter().filter(|part| parts.contains(part)) {
            let moves = moving && both.contains(&part) || trash && part == Part::Trash;
            if !moves {
                self.add_listed(part, Vec::new(), &mut found)?;
            }
        }
        match (moving, trash) {
            (_, true) => self.add_conversations_and_trash(&mut found)?,
            (true, _) => self.add_conversations(&mut found)?,
            _ => {}
        }
        found
            .files
            .sort_unstable_by(|a, b| (a.part.path(), &a.name).cmp(&(b.part.path(), &b.name)));
        found
            .files
            .dedup_by(|a, b| (a.part, &a.name) == (b.part, &b.name));
        found.foreign.sort_unstable();
        found.foreign.dedup();
        Ok(found)
    }

    /// Whether there is any file in these parts. As a rule the names of one part tell.
    pub fn has_any(&self, parts: &[Part]) -> Result<bool> {
        for part in parts {
            if !self.listed(*part, &mut Vec::new())?.is_empty() {
                return Ok(true);
            }
        }
        // One that moves from part to part may have been missed.
        Ok(!self.inventory(parts)?.files.is_empty())
    }

    /// Conversations in use and put away. What is taken out of the archive while it is listed
    /// is in use by the second look; what is put away after it was seen in use is found gone,
    /// and then in the archive.
    fn add_conversations(&self, found: &mut Inventory) -> Result<()> {
        let active = self.listed(Part::Active, &mut found.foreign)?;
        let mut archived = self.listed(Part::Archived, &mut found.foreign)?;
        let gone = self.add_listed(Part::Active, active, found)?;
        archived.extend(
            gone.iter()
                .filter_map(|name| renamed(name, ".jsonl", ".jsonl.gz")),
        );
        let in_use: HashSet<&str> = found
            .files
            .iter()
            .filter(|file| file.part == Part::Active)
            .filter_map(|file| file.name.strip_suffix(".jsonl"))
            .collect();
        archived.retain(|name| {
            !name
                .strip_suffix(".jsonl.gz")
                .is_some_and(|id| in_use.contains(id))
        });
        archived.sort_unstable();
        archived.dedup();
        let gone = self.add(Part::Archived, archived, found)?;
        let back = gone
            .iter()
            .filter_map(|name| renamed(name, ".jsonl.gz", ".jsonl"));
        self.add(Part::Active, back.collect(), found)?;
        Ok(())
    }

    /// The same with the trash, which conversations go to and are taken back from. What is
    /// deleted while it is listed is in the trash by the second look; what is taken back after
    /// it was seen there is found gone, and then where it came from.
    fn add_conversations_and_trash(&self, found: &mut Inventory) -> Result<()> {
        let trash = self.listed(Part::Trash, &mut found.foreign)?;
        self.add_conversations(found)?;
        let gone = self.add_listed(Part::Trash, trash, found)?;
        for part in [Part::Active, Part::Archived] {
            let back = gone.iter().filter_map(|name| name.split_once('.'));
            let back = back.filter(|(_, name)| part.accepts(name));
            self.add(part, back.map(|(_, name)| name.to_owned()).collect(), found)?;
        }
        Ok(())
    }

    /// The names in a part that pachat knows; the others are foreign.
    fn listed(&self, part: Part, foreign: &mut Vec<String>) -> Result<Vec<String>> {
        let entries = self.read_part(part, |directory| self.disk().read_dir(directory))?;
        let known = entries
            .into_iter()
            .filter_map(|entry| known(part, entry, foreign));
        Ok(known.collect())
    }

    /// Lists a part and adds its files, and those of these `names` that were there before; the
    /// names that are gone.
    fn add_listed(
        &self,
        part: Part,
        mut names: Vec<String>,
        found: &mut Inventory,
    ) -> Result<Vec<String>> {
        let mut gone = Vec::new();
        let entries = self.read_part(part, |directory| self.disk().read_dir_stats(directory))?;
        let mut listed = Vec::with_capacity(entries.len());
        for (entry, stat) in entries {
            if let Some(name) = known(part, entry, &mut found.foreign) {
                listed.push(name.clone());
                self.add_file(part, name, stat, found, &mut gone)?;
            }
        }
        listed.sort_unstable();
        names.retain(|name| listed.binary_search(name).is_err());
        gone.extend(self.add(part, names, found)?);
        Ok(gone)
    }

    /// Reads the directory of a part; one that does not exist is empty.
    fn read_part<T>(
        &self,
        part: Part,
        read: impl FnOnce(&Path) -> io::Result<Vec<T>>,
    ) -> Result<Vec<T>> {
        let directory = self.part_dir(part);
        match read(&directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            other => other.map_err(|error| Error::io("cannot list the files", &directory, &error)),
        }
    }

    /// Adds the files of these names; the names that are gone.
    fn add(&self, part: Part, names: Vec<String>, found: &mut Inventory) -> Result<Vec<String>> {
        let mut gone = Vec::new();
        let directory = self.part_dir(part);
        for name in names {
            let stat = self.disk().stat(&directory.join(&name));
            self.add_file(part, name, stat, found, &mut gone)?;
        }
        Ok(gone)
    }

    fn add_file(
        &self,
        part: Part,
        name: String,
        stat: io::Result<Stat>,
        found: &mut Inventory,
        gone: &mut Vec<String>,
    ) -> Result<()> {
        match stat {
            Ok(stat) if stat.kind == FileKind::File => found.files.push(PartFile {
                part,
                name,
                len: stat.len,
                modified: stat.modified,
                identity: stat.identity,
            }),
            Ok(_) => found.foreign.push(format!("{}/{name}", part.path())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => gone.push(name),
            Err(error) => {
                let path = self.part_file(part, &name);
                return Err(Error::io("cannot look at a file", &path, &error));
            }
        }
        Ok(())
    }

    /// Reads a file; `None` if it is gone.
    pub fn measure(&self, part: Part, name: &str) -> Result<Option<Measured>> {
        let path = self.part_file(part, name);
        let cannot = |error: io::Error| Error::io("cannot read a file", &path, &error);
        match self.disk().open(&path, Open::Read) {
            Ok(mut file) => {
                let limit = recorded_len(file.as_mut(), part, name).map_err(cannot)?;
                measure(file.as_mut(), limit, Checker::new(part, name))
                    .map(Some)
                    .map_err(cannot)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(cannot(error)),
        }
    }
}

/// The name of an entry that pachat knows; others are foreign, if they are there to stay.
fn known(part: Part, entry: Entry, foreign: &mut Vec<String>) -> Option<String> {
    if is_passing(&entry) {
        return None;
    }
    let is_file = entry.kind == FileKind::File;
    match entry.name.into_string() {
        Ok(name) if is_file && part.accepts(&name) => return Some(name),
        Ok(name) => foreign.push(format!("{}/{name}", part.path())),
        Err(name) => foreign.push(format!("{}/{}", part.path(), name.to_string_lossy())),
    }
    None
}

/// Whether an entry is in a part only while somebody writes something else.
pub(super) fn is_passing(entry: &Entry) -> bool {
    entry.name.as_encoded_bytes().starts_with(b".")
}

/// How much of an open file counts: of one that grows, up to its last line feed at this
/// moment; of any other, its length. Leaves the file open at its start.
pub(super) fn recorded_len(file: &mut dyn File, part: Part, name: &str) -> io::Result<u64> {
    let len = file.stat()?.len;
    if !part.grows(name) {
        return Ok(len);
    }
    let end = whole_lines(file, len)?;
    file.seek(SeekFrom::Start(0))?;
    Ok(end)
}

/// Where the last line that ends within the first `len` bytes ends.
fn whole_lines(file: &mut dyn File, len: u64) -> io::Result<u64> {
    let mut end = len;
    // Nearly always the last byte is it.
    let mut buffer = vec![0];
    while end > 0 {
        let start = end.saturating_sub(buffer.len() as u64);
        file.seek(SeekFrom::Start(start))?;
        let count = read_up_to(file, &mut buffer, end - start)?;
        if let Some(at) = memchr::memrchr(b'\n', &buffer[..count]) {
            return Ok(start + at as u64 + 1);
        }
        end = start;
        buffer.resize(STEP, 0);
    }
    Ok(0)
}

/// Reads at most `limit` bytes and at most a buffer full; less only at the end of the file.
fn read_up_to(file: &mut dyn File, buffer: &mut [u8], limit: u64) -> io::Result<usize> {
    let limit = usize::try_from(limit)
        .unwrap_or(usize::MAX)
        .min(buffer.len());
    let mut count = 0;
    while count < limit {
        match file.read(&mut buffer[count..limit]) {
            Ok(0) => break,
            Ok(more) => count += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(count)
}

fn measure(file: &mut dyn File, limit: u64, mut checker: Checker) -> io::Result<Measured> {
    let mut hasher = Hasher::default();
    let mut size = 0;
    for_each_piece(file, limit, |piece| {
        hasher.update(piece);
        checker.update(piece);
        size += piece.len() as u64;
        Ok(())
    })?;
    Ok(Measured {
        size,
        sha256: hasher.finish(),
        damage: checker.finish(),
    })
}

/// Reads a file from where it is, at most `limit` bytes, in pieces.
pub(super) fn for_each_piece(
    file: &mut dyn File,
    limit: u64,
    mut take: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut left = limit;
    let mut buffer = vec![0; usize::try_from(limit).unwrap_or(STEP).min(STEP)];
    while left > 0 {
        let count = read_up_to(file, &mut buffer, left)?;
        if count == 0 {
            break;
        }
        take(&buffer[..count])?;
        left -= count as u64;
    }
    Ok(())
}

fn renamed(name: &str, suffix: &str, other: &str) -> Option<String> {
    name.strip_suffix(suffix).map(|id| format!("{id}{other}"))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::platform::disk::{Disk, RealDisk};

    fn file(content: &[u8]) -> (tempfile::TempDir, Box<dyn File>) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let mut file = RealDisk.open(&path, Open::CreateNew).unwrap();
        file.write_all(content).unwrap();
        file.seek(SeekFrom::Start(0)).unwrap();
        (directory, file)
    }

    #[test]
    fn what_grows_counts_up_to_its_last_line_feed() {
        let long = [vec![b'a'; 3], vec![b'\n'], vec![b'b'; 3 * STEP]].concat();
        for (content, expected) in [
            (&b"one\ntwo\n"[..], 8),
            (b"one\ntw", 4),
            (b"one", 0),
            (b"", 0),
            (b"\n", 1),
            (&long, 4),
        ] {
            let (_directory, mut file) = file(content);
            let file = file.as_mut();
            assert_eq!(recorded_len(file, Part::Logs, "app.log").unwrap(), expected);
            let fixed = recorded_len(file, Part::Logs, "app.log.1").unwrap();
            assert_eq!(fixed, content.len() as u64);
            let measured = measure(file, expected, Checker::new(Part::Logs, "app.log")).unwrap();
            let counted = &content[..usize::try_from(expected).unwrap()];
            assert_eq!(measured.sha256, Sha256::of(counted));
            assert_eq!((measured.size, measured.damage), (expected, None));
        }
    }
}
