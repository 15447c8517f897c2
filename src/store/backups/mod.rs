//! The directory of backups: archives, each with a card beside it.
//!
//! `backups/backup_YYYYMMDD_HHMMSS.tar.gz[.age]` is the archive, and `backup_….json` its card:
//! what is in it, and when it was last proven. A card can be made again from an archive that
//! can be opened; an archive without one is listed as not verified.
//!
//! Invariants:
//! - An archive has its name only when it is whole, synced and verified. Until then it is
//!   `.backup_….tmp`, and whoever holds `run/backup.lock` and finds one knows that its writer
//!   is dead.
//! - A card without an archive means nothing: the next backup removes it. So a card comes
//!   before its archive and goes after it, and no crash leaves an archive without its card,
//!   which nothing would ever remove.
//! - A card whose archive has another length counts for nothing.

mod draft;
mod examine;

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::model::backup::{BackupType, Sha256};
use crate::model::error::{Error, Kind, Result};
use crate::platform::disk::{Entry, File, FileKind, LockMode};

use super::lock::{self, Lock, Patience};
use super::{Store, atomic};

pub use draft::Draft;
pub use examine::{Named, OnCard, examine, named};

/// The version of the card's format that this program writes.
pub const CARD_VERSION: u32 = 1;

/// The most that is read of a card, in bytes.
const LARGEST_CARD: u64 = 64 << 10;

/// What stands before the time in an id.
const PREFIX: &str = "backup_";
/// The time in an id: UTC.
const TIME: &str = "%Y%m%d_%H%M%S";
/// How an archive ends, and a sealed one.
const PLAIN: &str = ".tar.gz";
const SEALED: &str = ".tar.gz.age";
/// How a card ends.
const CARD: &str = ".json";
/// How many names are tried: one for each second.
const NAMES: i64 = 3600;

/// The card of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Card {
    /// Version of the card's format: 1.
    pub version: u32,
    /// The name of the archive, without a directory.
    pub archive: String,
    /// What kind of backup it is.
    #[serde(rename = "type")]
    pub kind: BackupType,
    /// When it was made.
    #[serde(with = "crate::model::time")]
    pub created_at: Timestamp,
    /// How many files it holds.
    pub files: u64,
    /// The length of all of them together.
    pub total_bytes: u64,
    /// The length of the archive.
    pub size: u64,
    /// The digest of the archive.
    pub sha256: Sha256,
    /// The digest of what is in the files; see `Manifest::content`.
    pub content: Sha256,
    /// Whether it is sealed.
    pub encrypted: bool,
    /// Whose identities open it, as far as it was sealed to recipients: their `age1…`, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recipients: Vec<String>,
    /// Labels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// What its maker wanted to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Whether retention leaves it alone.
    #[serde(default)]
    pub pinned: bool,
    /// When every digest in it was last compared.
    #[serde(
        default,
        with = "crate::model::time::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub verified_at: Option<Timestamp>,
}

/// A backup in the directory.
#[derive(Clone, Debug)]
pub struct Backup {
    /// `backup_YYYYMMDD_HHMMSS`.
    pub id: String,
    /// The archive.
    pub path: PathBuf,
    /// Its length as it stands on the disk.
    pub size: u64,
    /// Its card; `None` if it is missing, cannot be read, or is of an archive of another length.
    pub card: Option<Card>,
}

impl Backup {
    /// The name of the archive, without a directory.
    pub fn name(&self) -> &str {
        let name = self.path.file_name().and_then(|name| name.to_str());
        name.unwrap_or_default()
    }
}

/// Takes the lock of who makes, changes or removes backups. Makes `run/` if need be.
pub fn lock(store: &Store, patience: &mut Patience<'_>) -> Result<Lock> {
    atomic::create_dirs(store.disk(), &store.layout().run_dir())?;
    let path = store.layout().backup_lock();
    lock::acquire(
        &store.disk,
        store.clock(),
        &path,
        LockMode::Exclusive,
        false,
        patience,
    )
}

/// Every backup, the newest first. A directory that does not exist has none. Whatever the format
/// of the store: to restore one may be what mends it.
pub fn list(store: &Store) -> Result<Vec<Backup>> {
    let directory = store.layout().backups_dir();
    let entries = entries(store, &directory)?;
    if entries.is_empty() {
        store.check_link()?;
    }
    let names: HashSet<&str> = entries.iter().filter_map(file_name).collect();
    let mut backups = Vec::new();
    for name in names.iter().copied() {
        let Some(id) = id_of(name) else { continue };
        let path = directory.join(name);
        let size = match store.disk().stat(&path) {
            Ok(stat) => stat.len,
            // Somebody has removed it meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(Error::io("cannot look at a backup", &path, &error)),
        };
        let card = names
            .contains(format!("{id}{CARD}").as_str())
            .then(|| card(store, id, name, size))
            .flatten();
        backups.push(Backup {
            id: id.to_owned(),
            path,
            size,
            card,
        });
    }
    backups.sort_by(|a, b| b.path.cmp(&a.path));
    Ok(backups)
}

/// The backup that `spec` names: `latest`, an id, or a unique prefix of its time, with or
/// without `backup_` before it, or the name of the archive. It never guesses: none is
/// [`Kind::NotFound`], more than one is [`Kind::Usage`] with the candidates.
pub fn find(store: &Store, spec: &str) -> Result<Backup> {
    let spec = spec.trim();
    let mut backups = list(store)?;
    if spec == "latest" {
        return backups.into_iter().next().ok_or_else(|| {
            Error::new(Kind::NotFound, "there is no backup yet").hint("make one: pachat backup")
        });
    }
    if let Some(at) = backups.iter().position(|backup| backup.name() == spec) {
        return Ok(backups.swap_remove(at));
    }
    let start = spec.strip_prefix(PREFIX).unwrap_or(spec);
    backups.retain(|backup| !start.is_empty() && backup.id[PREFIX.len()..].starts_with(start));
    match backups.len() {
        0 => Err(Error::new(Kind::NotFound, format!("no backup `{spec}`"))
            .hint("see them all: pachat restore --list")),
        1 => Ok(backups.swap_remove(0)),
        _ => Err(ambiguous(spec, &backups)),
    }
}

fn ambiguous(spec: &str, found: &[Backup]) -> Error {
    const SHOWN: usize = 5;
    let mut names: Vec<String> = found
        .iter()
        .take(SHOWN)
        .map(|backup| backup.name().to_owned())
        .collect();
    if found.len() > SHOWN {
        names.push(format!("and {} more", found.len() - SHOWN));
    }
    let what = format!("`{spec}` names {} backups", found.len());
    Error::new(Kind::Usage, what)
        .cause(names.join(", "))
        .hint("type more of the time, or the whole name of the archive")
}

/// Writes a card. The caller holds [`lock()`]: to anybody else's eyes the card's temporary file
/// is one that the dead have left.
pub fn put_card(store: &Store, card: &Card) -> Result<()> {
    let Some(id) = id_of(&card.archive) else {
        return Err(misnamed(card));
    };
    let mut json = serde_json::to_vec_pretty(card)
        .map_err(|error| Error::new(Kind::Bug, "cannot write JSON").cause(error))?;
    json.push(b'\n');
    let path = card_path(store, id);
    atomic::replace(store.disk(), store.random(), &path, &json)
}

fn misnamed(card: &Card) -> Error {
    let what = format!("`{}` is no name of a backup", card.archive);
    Error::new(Kind::Bug, what)
}

/// The name of an archive that is made now: that of this second, or of the next one that
/// nothing has. The caller holds [`lock()`].
pub fn new_name(store: &Store, now: Timestamp, sealed: bool) -> Result<String> {
    let directory = store.layout().backups_dir();
    let free = |id: &str| {
        [PLAIN, SEALED, CARD].iter().all(|end| {
            let taken = store.disk().stat(&directory.join(format!("{id}{end}")));
            taken.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
        })
    };
    let end = if sealed { SEALED } else { PLAIN };
    (0..NAMES)
        .filter_map(|later| now.checked_add(SignedDuration::from_secs(later)).ok())
        .map(id_at)
        .find(|id| free(id))
        .map(|id| format!("{id}{end}"))
        .ok_or_else(|| {
            Error::new(Kind::CannotCreate, "cannot name the backup")
                .why("every name of this hour is taken, or the directory cannot be looked at")
                .path(&directory)
        })
}

/// The id of a backup made at this time.
pub fn id_at(at: Timestamp) -> String {
    let time = at.to_zoned(TimeZone::UTC).strftime(TIME);
    format!("{PREFIX}{time}")
}

/// The temporary file of an archive with this name. `backups/` is made if need be, and the
/// caller holds [`lock()`].
pub fn draft(store: &Store, name: &str) -> Result<(Draft, Box<dyn File>)> {
    let directory = store.layout().backups_dir();
    atomic::create_dirs(store.disk(), &directory)?;
    Draft::create(&store.disk, directory.join(format!(".{name}.tmp")))
}

/// The temporary file of an archive that is to be `path`, outside the directory of backups.
pub fn draft_beside(store: &Store, path: &Path) -> Result<(Draft, Box<dyn File>)> {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".pachat-tmp");
    Draft::create(&store.disk, path.with_file_name(name))
}

/// Gives a draft that is whole, synced and verified the name on its card. After an error
/// there is neither.
pub fn publish(store: &Store, draft: Draft, card: Card) -> Result<Backup> {
    let Some(id) = id_of(&card.archive).map(str::to_owned) else {
        return Err(misnamed(&card));
    };
    let path = store.layout().backups_dir().join(&card.archive);
    let published = put_card(store, &card).and_then(|()| draft.publish(&path));
    if let Err(error) = published {
        // Nobody knows whether the name will last, so it is no backup yet. What of this fails
        // as well, the next one sees to: it is a whole archive with a card, or a card alone.
        for left in [&path, &card_path(store, &id)] {
            let _ = store.disk().remove_file(left);
        }
        return Err(error);
    }
    Ok(Backup {
        id,
        path,
        size: card.size,
        card: Some(card),
    })
}

/// Removes a backup: the archive first, then its card. The caller holds [`lock()`].
pub fn remove(store: &Store, backup: &Backup) -> Result<()> {
    for path in [backup.path.clone(), card_path(store, &backup.id)] {
        match store.disk().remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Error::io("cannot remove a backup", &path, &error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Removes what the dead have left: archives and indexes in the making, and cards without an archive. The
/// caller holds [`lock()`].
pub fn tidy(store: &Store) -> Result<()> {
    let directory = store.layout().backups_dir();
    let entries = entries(store, &directory)?;
    let names: HashSet<&str> = entries.iter().filter_map(file_name).collect();
    let orphan = |name: &str| {
        name.strip_suffix(CARD).is_some_and(|id| {
            is_id(id)
                && !names.contains(format!("{id}{PLAIN}").as_str())
                && !names.contains(format!("{id}{SEALED}").as_str())
        })
    };
    let draft = |name: &str| name.starts_with(".backup_") && name.strip_suffix(".tmp").is_some();
    for name in names.iter().filter(|name| draft(name) || orphan(name)) {
        let path = directory.join(name);
        store
            .disk()
            .remove_file(&path)
            .map_err(|error| Error::io("cannot remove an unfinished backup", &path, &error))?;
    }
    // The index is written under the same lock. What is left of one is in nobody's way.
    let cache = store.layout().cache_dir();
    for entry in store.disk().read_dir(&cache).unwrap_or_default() {
        let name = entry.name.to_string_lossy();
        if name.starts_with(".backup-") && name.ends_with(".tmp") {
            let _ = store.disk().remove_file(&cache.join(&entry.name));
        }
    }
    Ok(())
}

fn entries(store: &Store, directory: &Path) -> Result<Vec<Entry>> {
    match store.disk().read_dir(directory) {
        Ok(entries) => Ok(entries),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(Error::io("cannot list the backups", directory, &error)),
    }
}

fn file_name(entry: &Entry) -> Option<&str> {
    (entry.kind == FileKind::File)
        .then(|| entry.name.to_str())
        .flatten()
}

/// The id in the name of an archive; `None` for every other file.
fn id_of(name: &str) -> Option<&str> {
    let id = name
        .strip_suffix(PLAIN)
        .or_else(|| name.strip_suffix(SEALED))?;
    is_id(id).then_some(id)
}

fn is_id(text: &str) -> bool {
    let Some(time) = text.strip_prefix(PREFIX) else {
        return false;
    };
    time.len() == 15
        && time.bytes().enumerate().all(|(at, byte)| match at {
            8 => byte == b'_',
            _ => byte.is_ascii_digit(),
        })
}

fn card_path(store: &Store, id: &str) -> PathBuf {
    store.layout().backups_dir().join(format!("{id}{CARD}"))
}

fn card(store: &Store, id: &str, archive: &str, size: u64) -> Option<Card> {
    let bytes = store
        .disk()
        .read(&card_path(store, id), LARGEST_CARD)
        .ok()?;
    let card: Card = serde_json::from_slice(&bytes).ok()?;
    let fits = card.version == CARD_VERSION && card.archive == archive && card.size == size;
    fits.then_some(card)
}

#[cfg(test)]
mod tests;
