//! What a backup would hold: every file looked at, and those read that may have changed.

use std::collections::HashSet;
use std::io;
use std::time::SystemTime;

use zeroize::Zeroizing;

use crate::archive::manifest::{Entry, Manifest};
use crate::archive::path::ArchivePath;
use crate::model::backup::{BackupType, Part, Sha256};
use crate::model::error::{Error, Result};
use crate::store::backups::{self, Backup};
use crate::store::looks::Looks;
use crate::store::parts::PartFile;
use crate::store::{FORMAT, Store};

use super::index::{Index, Known};
use super::{Plan, Subject, Watch};

/// The most that is read of `master.key`, in bytes; it has 32.
const LARGEST_KEY: u64 = 4096;

/// How a file stands to the last backup of that type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It was not there.
    New,
    /// It was something else.
    Changed,
    /// It is the same.
    Unchanged,
}

impl Status {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Changed => "changed",
            Self::Unchanged => "unchanged",
        }
    }
}

/// What else is known of a file of the manifest. There may be very many of them.
#[derive(Clone, Debug)]
pub struct Surveyed {
    /// Against the last backup.
    pub status: Status,
    /// How it looks, for the next backup; `None` if looking does not tell.
    pub(super) looks: Option<Looks>,
    /// What is wrong with it.
    pub(super) damage: Option<Box<str>>,
}

/// Surveys the store; `None` if a file went away between being listed and being read: it may
/// be under another name by now, so everything has to be listed again. The caller holds the
/// store's lock, shared.
pub(super) fn survey(
    store: &Store,
    subject: &Subject,
    index: &Index,
    watch: &mut dyn Watch,
) -> Result<Option<Plan>> {
    let created_at = super::now(store);
    let inventory = store.inventory(subject.kind.parts())?;
    let looked_at: Vec<_> = inventory
        .files
        .iter()
        .filter_map(|file| {
            // An odd name can be longer than an archive takes.
            let path = ArchivePath::new(file.part, &file.name)?;
            let last = index.last(&path);
            let known = last.filter(|last| !subject.force && last.holds_for(file));
            Some((file, path, last, known))
        })
        .collect();
    let unread = looked_at.iter().filter(|(.., known)| known.is_none());
    watch.stage("reading", unread.map(|(file, ..)| file.len).sum());
    let mut found = Found::default();
    for (file, path, last, known) in looked_at {
        let known = match known {
            Some(known) => known.clone(),
            None => match read(store, file)? {
                Some(known) => {
                    watch.advance(file.len)?;
                    known
                }
                None => return Ok(None),
            },
        };
        found.add(path, known, last);
    }
    watch.advance(0)?;
    if let Some((path, known)) = key_file(store, subject)? {
        let last = index.last(&path);
        found.add(path, known, last);
    }
    let Found { entries, files } = found;
    if files.is_empty() {
        return Err(nothing(store, subject.kind));
    }
    let damaged = entries.iter().zip(&files).filter_map(|(entry, file)| {
        let damage = file.damage.as_ref()?;
        Some(format!("{}: {damage}", entry.path))
    });
    let damaged = damaged.collect();
    let manifest = Manifest {
        kind: subject.kind,
        created_at,
        store_format: FORMAT,
        tags: Vec::new(),
        note: None,
        files: entries,
    };
    Ok(Some(Plan {
        damaged,
        foreign: inventory.foreign,
        unchanged: unchanged(store, subject, &manifest)?,
        manifest,
        files,
    }))
}

fn read(store: &Store, file: &PartFile) -> Result<Option<Known>> {
    let read_at = SystemTime::from(super::now(store));
    let measured = store.measure(file.part, &file.name)?;
    Ok(measured.map(|measured| Known::of(&measured, Looks::settled(file, read_at))))
}

/// The files of a survey, sorted by path.
#[derive(Default)]
struct Found {
    entries: Vec<Entry>,
    files: Vec<Surveyed>,
}

impl Found {
    /// Adds a file, of which this was `last` known.
    fn add(&mut self, path: ArchivePath, known: Known, last: Option<&Known>) {
        let status = match last {
            None => Status::New,
            Some(last) if last.sha256 == known.sha256 => Status::Unchanged,
            Some(_) => Status::Changed,
        };
        // As a rule behind all others.
        let at = match self.entries.last() {
            Some(last) if path < last.path => {
                self.entries.partition_point(|entry| entry.path < path)
            }
            _ => self.entries.len(),
        };
        let entry = Entry {
            path,
            size: known.size,
            sha256: known.sha256,
            damaged: known.damage.is_some(),
        };
        let file = Surveyed {
            status,
            looks: known.looks,
            damage: known.damage,
        };
        self.entries.insert(at, entry);
        self.files.insert(at, file);
    }
}

/// `master.key`, without which the sealed API keys are lost: in sealed archives only, since an
/// open one with both would be as good as the keys themselves.
fn key_file(store: &Store, subject: &Subject) -> Result<Option<(ArchivePath, Known)>> {
    let Some(directory) = &subject.config_dir else {
        return Ok(None);
    };
    if !subject.sealed || !subject.kind.parts().contains(&Part::Config) {
        return Ok(None);
    }
    let path = directory.join("master.key");
    let bytes = match store.disk().read(&path, LARGEST_KEY) {
        Ok(bytes) => Zeroizing::new(bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("cannot back up the key file", &path, &error)),
    };
    let known = Known {
        looks: None,
        size: bytes.len() as u64,
        sha256: Sha256::of(&bytes),
        damage: None,
    };
    Ok(Some((ArchivePath::master_key(), known)))
}

/// The newest verified backup of the same kind, sealed in the same way, if it holds the same.
fn unchanged(store: &Store, subject: &Subject, manifest: &Manifest) -> Result<Option<Backup>> {
    let alike = |backup: &Backup| {
        backup.card.as_ref().is_some_and(|card| {
            card.kind == subject.kind
                && card.verified_at.is_some()
                && card.encrypted == subject.sealed
                && card.recipients == subject.recipients
        })
    };
    let newest = backups::list(store)?.into_iter().find(alike);
    let content = manifest.content();
    Ok(newest.filter(|backup| {
        let card = backup.card.as_ref();
        card.is_some_and(|card| card.content == content)
    }))
}

fn nothing(store: &Store, kind: BackupType) -> Error {
    let error = super::nothing(store.layout().root());
    match kind {
        BackupType::Config => error
            .why("there are no settings and no sealed keys")
            .hint("see what can be set: pachat config list"),
        BackupType::Data | BackupType::Full => error,
    }
}

/// How many conversations a manifest holds. One that is being put away is in both places.
pub(super) fn conversations(manifest: &Manifest) -> usize {
    let ids: HashSet<&str> = manifest
        .files
        .iter()
        .filter_map(|entry| match entry.path.part()? {
            Part::Active => entry.path.name().strip_suffix(".jsonl"),
            Part::Archived => entry.path.name().strip_suffix(".jsonl.gz"),
            _ => None,
        })
        .collect();
    ids.len()
}
