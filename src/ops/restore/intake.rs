//! What happens to the files of an archive while they go by: they are checked, compared and,
//! where they are to be restored, written down outside of the data.
//!
//! Layer: ops. Promise: nothing of the store is touched.

use std::io::Write;
use std::path::Path;

use zeroize::Zeroizing;

use crate::archive::Refusal;
use crate::archive::manifest::{Entry, Manifest};
use crate::archive::read::Sink;
use crate::model::backup::Part;
use crate::model::error::{Error, Kind, Result};
use crate::model::size::ByteSize;
use crate::ops::watch::Watch;
use crate::platform::disk::File;
use crate::store::Store;
use crate::store::parts::Checker;

use super::compare::Comparison;
use super::content::Measuring;
use super::plan::Mode;
use super::select::Selection;
use super::times::Ending;

/// The longest key file, in bytes. pachat's own has 65.
const LONGEST_KEY: usize = 1 << 16;

/// Where files that are to be restored are kept until then.
pub(super) trait Shelf {
    /// A new file.
    fn create(&mut self, part: Part, name: &str) -> Result<Box<dyn File>>;

    /// A directory on the same file system; it, or one above it, exists.
    fn place(&self) -> &Path;
}

/// What is asked for of an archive.
pub(super) struct Asked<'a> {
    /// Which files.
    pub selection: &'a Selection,
    /// How they are to be compared with the store; `None` if they are not.
    pub mode: Option<Mode>,
}

/// The sink of every kind of restore.
pub(super) struct Intake<'a> {
    store: &'a Store,
    asked: Asked<'a>,
    shelf: Option<&'a mut dyn Shelf>,
    watch: &'a mut dyn Watch,
    /// What was asked for; known from the manifest on.
    pub entries: Vec<Entry>,
    /// How it stands to the store.
    pub comparison: Option<Comparison>,
    /// The archive's key file, if it was asked for.
    pub key: Option<Zeroizing<Vec<u8>>>,
    current: Current,
}

/// The file that is going by.
#[derive(Default)]
struct Current {
    checker: Option<Checker>,
    measuring: Option<Measuring>,
    file: Option<Box<dyn File>>,
    ending: Option<Ending>,
    is_key: bool,
}

impl<'a> Intake<'a> {
    pub(super) fn new(
        store: &'a Store,
        asked: Asked<'a>,
        shelf: Option<&'a mut dyn Shelf>,
        watch: &'a mut dyn Watch,
    ) -> Self {
        Self {
            store,
            asked,
            shelf,
            watch,
            entries: Vec::new(),
            comparison: None,
            key: None,
            current: Current::default(),
        }
    }

    /// Refuses before the first byte what would fill the disk.
    fn check_space(&self) -> Result<()> {
        let Some(place) = self.shelf.as_ref().map(|shelf| shelf.place()) else {
            return Ok(());
        };
        let bytes: u64 = self.entries.iter().map(|entry| entry.size).sum();
        let needed = bytes.saturating_add(bytes / 20);
        let place = existing(self.store, place);
        // A file system that does not tell is found out about while writing.
        match self.store.disk().free_space(place) {
            Ok(Some(free)) if free < needed => Err(Error::new(Kind::Io, "cannot restore")
                .why(format!(
                    "it takes {} of space, and only {} are free",
                    ByteSize(needed),
                    ByteSize(free)
                ))
                .path(place)
                .hint("free some space and run it again; nothing was changed")),
            _ => Ok(()),
        }
    }

    fn is_wanted(&self, entry: &Entry) -> bool {
        self.entries
            .binary_search_by(|wanted| wanted.path.cmp(&entry.path))
            .is_ok()
    }
}

impl Sink for Intake<'_> {
    fn manifest(&mut self, manifest: &Manifest) -> Result<()> {
        let selection = self.asked.selection;
        self.entries = selection.resolve(manifest)?;
        self.entries.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        self.check_space()?;
        if let Some(mode) = self.asked.mode {
            let everything = selection.is_everything();
            let comparison =
                Comparison::begin(self.store, manifest, &self.entries, everything, mode)?;
            self.comparison = Some(comparison);
        }
        self.watch.stage("verifying", manifest.total_bytes());
        Ok(())
    }

    fn begin(&mut self, entry: &Entry) -> Result<()> {
        let wanted = self.is_wanted(entry);
        self.current = Current::default();
        let Some(part) = entry.path.part() else {
            self.current.is_key = wanted;
            self.key = wanted.then(|| Zeroizing::new(Vec::with_capacity(LONGEST_KEY)));
            return Ok(());
        };
        if !entry.damaged {
            self.current.checker = Some(Checker::new(part, entry.path.name()));
        }
        let comparison = self.comparison.as_ref().filter(|_| wanted);
        self.current.measuring = comparison.and_then(|comparison| comparison.measuring(entry));
        if let Some(shelf) = self.shelf.as_mut().filter(|_| wanted) {
            self.current.file = Some(shelf.create(part, entry.path.name())?);
            self.current.ending = Ending::of(part, entry.path.name());
        }
        Ok(())
    }

    fn data(&mut self, bytes: &[u8]) -> Result<()> {
        let current = &mut self.current;
        if let Some(checker) = &mut current.checker {
            checker.update(bytes);
        }
        if let Some(measuring) = &mut current.measuring {
            measuring.update(bytes);
        }
        if let Some(ending) = &mut current.ending {
            ending.update(bytes);
        }
        if let Some(file) = &mut current.file {
            let place = self
                .shelf
                .as_ref()
                .map_or(Path::new(""), |shelf| shelf.place());
            file.write_all(bytes)
                .map_err(|error| Error::io("cannot restore", place, &error).with_kind(Kind::Io))?;
        }
        if let Some(key) = self.key.as_mut().filter(|_| current.is_key) {
            if key.len() + bytes.len() > LONGEST_KEY {
                let why = "the key file is longer than any that pachat makes";
                return Err(Refusal::new("content", crate::archive::path::MASTER_KEY, why).into());
            }
            key.extend_from_slice(bytes);
        }
        self.watch.advance(bytes.len() as u64)
    }

    fn end(&mut self, entry: &Entry) -> Result<()> {
        let current = std::mem::take(&mut self.current);
        if let Some(damage) = current.checker.and_then(Checker::finish) {
            return Err(Refusal::new("content", entry.path.as_str(), damage).into());
        }
        if let (Some(ending), Some(file)) = (current.ending, current.file) {
            ending.stamp(self.store, file.as_ref());
        }
        if let (Some(comparison), Some(measuring)) = (&mut self.comparison, current.measuring) {
            comparison.measured(self.store, entry, measuring.finish())?;
        }
        Ok(())
    }
}

/// The nearest directory that exists.
fn existing<'p>(store: &Store, path: &'p Path) -> &'p Path {
    let exists = |path: &&Path| store.disk().stat(path).is_ok();
    path.ancestors()
        .filter(|path| !path.as_os_str().is_empty())
        .find(exists)
        .unwrap_or(Path::new("."))
}
