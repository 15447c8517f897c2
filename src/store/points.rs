//! Rollback points: hard links, and how long each file was.
//!
//! ```text
//! backups/points/point_20260822_094107/
//!   point.json                       what it is; see [`Point`]
//!   files.jsonl                      a line for each file:
//!                                    {"part":"conversations/active","name":"….jsonl","len":812}
//!   files/conversations/active/…     the files: hard links, or copies where there are none
//! ```
//!
//! Invariants:
//! - A point has its name only when it is whole and durable, and loses it before anything of
//!   it is removed. What has no name yet, or none any more, is a `.tmp-…` beside it; who holds
//!   `run/points.lock` and finds one knows that its maker is dead.
//! - A linked file may grow after the point was made, and only the recorded length belongs to
//!   the point: of files that grow, up to their last line feed at that moment, so half a line
//!   that a crash left is not part of it. All other files never change: they are replaced.
//! - The side file of a reply is recorded before its conversation. So a reply that ends
//!   meanwhile is in the one or the other.

mod draft;

use std::io;
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::model::backup::Part;
use crate::model::error::{Error, Kind, Result, describe};
use crate::platform::disk::{FileKind, LockMode};

use super::lock::{self, Lock, Patience};
use super::{Store, atomic, too_new};
use draft::Draft;

/// What stands before the time in the name of a point.
const PREFIX: &str = "point_";
/// The time in a name: UTC.
const TIME: &str = "%Y%m%d_%H%M%S";
/// What a point is called that is not whole.
const TEMPORARY: &str = ".tmp-";
/// How often a point is begun anew because a conversation moved.
const TRIES: usize = 5;
/// The longest `point.json`, in bytes.
const LONGEST_HEAD: u64 = 1 << 20;
/// The longest list of files, in bytes: about half a million.
const LONGEST_LIST: u64 = 64 << 20;

/// A rollback point.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Point {
    /// `point_YYYYMMDD_HHMMSS`, UTC.
    pub id: String,
    /// When it was made.
    #[serde(with = "crate::model::time")]
    pub created_at: Timestamp,
    /// Why: `manual`, `restore`, `rollback`, `cleanup`, `validate`, `import`, `migration`.
    pub reason: String,
    /// What its maker wanted to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// The format of the store that it is of.
    #[serde(default = "first_format", skip_serializing_if = "is_first_format")]
    pub format: u32,
    /// What it covers: a part that is not named is left alone by a rollback.
    pub parts: Vec<String>,
    /// How many files, and how many bytes.
    pub files: u64,
    /// Bytes of all files together, by their recorded lengths.
    pub bytes: u64,
}

fn first_format() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_first_format(format: &u32) -> bool {
    *format == first_format()
}

/// A file of a rollback point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PointFile {
    /// Its part.
    pub part: Part,
    /// Its name.
    pub name: String,
    /// How long it was.
    pub len: u64,
}

/// A line of the list of files.
#[derive(Serialize, Deserialize)]
struct Line {
    part: String,
    name: String,
    len: u64,
}

/// Makes a rollback point of these parts. The caller holds the store, shared or alone. It
/// exists whole or not at all.
pub fn create(
    store: &Store,
    parts: &[Part],
    reason: &str,
    note: Option<&str>,
    patience: &mut Patience<'_>,
) -> Result<Point> {
    store.refuse_after_failed_sync()?;
    let directory = store.layout().points_dir();
    atomic::create_dirs(store.disk(), &directory)?;
    let room = Room::enter(store, patience)?;
    for _ in 0..TRIES {
        let mut draft = Draft::begin(&room, parts)?;
        if !draft.take_files()? {
            continue;
        }
        let created_at = store.clock().now();
        let point = Point {
            id: room.free_id(created_at)?,
            created_at,
            reason: reason.to_owned(),
            note: note.map(ToOwned::to_owned),
            format: store.format()?.unwrap_or_else(|| store.newest_format()),
            parts: parts.iter().map(|part| part.path().to_owned()).collect(),
            files: draft.files.len() as u64,
            bytes: draft.files.iter().map(|file| file.len).sum(),
        };
        draft.finish(&point)?;
        return Ok(point);
    }
    Err(Error::new(Kind::Busy, "cannot make a rollback point")
        .somebody_else()
        .why("conversations keep being moved meanwhile")
        .hint("try again when fewer pachats are at work"))
}

/// The directory of points, which only one process at a time changes.
struct Room<'a> {
    store: &'a Store,
    directory: PathBuf,
    _lock: Lock,
}

impl<'a> Room<'a> {
    /// Takes the lock, and removes what a dead process has left.
    fn enter(store: &'a Store, patience: &mut Patience<'_>) -> Result<Self> {
        let (disk, path) = (&store.disk, store.layout().points_lock());
        atomic::create_dirs(store.disk(), &store.layout().run_dir())?;
        let mode = LockMode::Exclusive;
        let lock = lock::acquire(disk, store.clock(), &path, mode, false, patience)?;
        let room = Self {
            store,
            directory: store.layout().points_dir(),
            _lock: lock,
        };
        let mut left = names(store, &room.directory)?;
        left.retain(|name| name.starts_with(TEMPORARY));
        if !left.is_empty() {
            room.sync_names()?;
        }
        for name in left {
            room.discard(&room.directory.join(name));
        }
        Ok(room)
    }

    /// Removes what is no point. Whatever stays is removed another time.
    fn discard(&self, path: &Path) {
        if let Err(error) = self.store.disk().remove_tree(path) {
            log::warn!("cannot remove {}: {error}", path.display());
        }
    }

    /// Makes durable which points have names. Before anything of a point is removed: else a
    /// power cut could give half a point its name back.
    fn sync_names(&self) -> Result<()> {
        self.store
            .disk()
            .sync_dir(&self.directory)
            .map_err(|error| {
                self.store.note_failed_sync();
                Error::io("cannot change the rollback points", &self.directory, &error)
            })
    }

    fn temporary(&self) -> Result<PathBuf> {
        let random = self.store.random().next_u32().map_err(|error| {
            Error::new(Kind::Io, "the system has no randomness to give").cause(error)
        })?;
        Ok(self.directory.join(format!("{TEMPORARY}{random:08x}")))
    }

    /// The id of a point made at `at`, or the next one that is free.
    fn free_id(&self, at: Timestamp) -> Result<String> {
        let mut at = at;
        loop {
            let id = format!("{PREFIX}{}", at.strftime(TIME));
            let path = self.directory.join(&id);
            match self.store.disk().stat(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(id),
                Err(error) => return Err(cannot_make(&path, &error)),
                Ok(_) => at += SignedDuration::from_secs(1),
            }
        }
    }
}

/// Every rollback point, the newest first. Does not read their lists of files. One that cannot
/// be read is passed over, with a warning in the log.
pub fn list(store: &Store) -> Result<Vec<Point>> {
    let directory = store.layout().points_dir();
    let mut points = Vec::new();
    for name in names(store, &directory)? {
        if time_of(&name).is_none() {
            continue;
        }
        let path = directory.join(&name).join("point.json");
        match head(store, &path) {
            Ok(point) if point.id == name => points.push(point),
            Ok(point) => log::warn!("{} is of another point: {}", path.display(), point.id),
            Err(why) => log::warn!("cannot read {}: {why}", path.display()),
        }
    }
    points.sort_unstable_by(|a, b| b.id.cmp(&a.id));
    Ok(points)
}

fn head(store: &Store, path: &Path) -> io::Result<Point> {
    let bytes = store.disk().read(path, LONGEST_HEAD)?;
    Ok(serde_json::from_slice(&bytes)?)
}

/// The point that `spec` names (an id, a unique prefix of its time, or `latest`), and its files.
pub fn open(store: &Store, spec: &str) -> Result<(Point, Vec<PointFile>)> {
    let mut points = list(store)?;
    if spec == "latest" {
        points.truncate(1);
    } else {
        let time = spec.strip_prefix(PREFIX).unwrap_or(spec);
        points.retain(|point| {
            !time.is_empty() && time_of(&point.id).is_some_and(|whole| whole.starts_with(time))
        });
    }
    let ids: Vec<&str> = points.iter().map(|point| point.id.as_str()).collect();
    if ids.len() > 1 {
        return Err(Error::new(
            Kind::Usage,
            format!("`{spec}` names more than one rollback point"),
        )
        .why(ids.join(", "))
        .hint("type more of it, or the whole id"));
    }
    let Some(point) = points.pop() else {
        return Err(
            Error::new(Kind::NotFound, format!("no rollback point `{spec}`"))
                .hint("see them all: pachat rollback --list"),
        );
    };
    if point.format > store.newest_format() {
        let path = store.layout().points_dir().join(&point.id);
        return Err(too_new(&path, point.format, store.newest_format()));
    }
    let files = files(store, &point)?;
    Ok((point, files))
}

/// The list of files of a point.
fn files(store: &Store, point: &Point) -> Result<Vec<PointFile>> {
    let path = store
        .layout()
        .points_dir()
        .join(&point.id)
        .join("files.jsonl");
    let damaged = |why: String| {
        Error::new(Kind::Malformed, "the rollback point is damaged")
            .why(why)
            .path(&path)
            .hint("use another one: pachat rollback --list")
    };
    let bytes = store.disk().read(&path, LONGEST_LIST);
    let bytes = bytes.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::FileTooLarge => damaged(describe(&error)),
        _ => Error::io("cannot read the list of a rollback point", &path, &error),
    })?;
    let mut files = Vec::new();
    for (index, line) in bytes.split_inclusive(|&byte| byte == b'\n').enumerate() {
        let in_line = |why: String| damaged(format!("line {}: {why}", index + 1));
        let line: Line =
            serde_json::from_slice(line).map_err(|error| in_line(error.to_string()))?;
        // A list that was changed by hand must not lead out of the store.
        let part = Part::of(&line.part).filter(|part| part.accepts(&line.name));
        files.push(PointFile {
            part: part.ok_or_else(|| in_line("a file that pachat does not know".into()))?,
            name: line.name,
            len: line.len,
        });
    }
    let bytes = files
        .iter()
        .fold(0_u64, |sum, file| sum.saturating_add(file.len));
    if (files.len() as u64, bytes) != (point.files, point.bytes) {
        return Err(damaged("it does not list what it should".into()));
    }
    Ok(files)
}

/// Where the file of a point is.
pub fn path(store: &Store, point: &Point, file: &PointFile) -> PathBuf {
    let files = store.layout().points_dir().join(&point.id).join("files");
    files.join(file.part.path()).join(&file.name)
}

/// Removes all but the newest `keep` (at least one stays); what was removed.
pub fn prune(store: &Store, keep: usize, patience: &mut Patience<'_>) -> Result<Vec<Point>> {
    let directory = store.layout().points_dir();
    if names(store, &directory)?.is_empty() {
        return Ok(Vec::new());
    }
    let room = Room::enter(store, patience)?;
    let mut removed = Vec::new();
    let mut nameless = Vec::new();
    for point in list(store)?.into_iter().skip(keep.max(1)) {
        let (path, temporary) = (directory.join(&point.id), room.temporary()?);
        let renamed = store.disk().rename(&path, &temporary);
        renamed.map_err(|error| Error::io("cannot remove a rollback point", &path, &error))?;
        removed.push(point);
        nameless.push(temporary);
    }
    if !removed.is_empty() {
        room.sync_names()?;
    }
    for path in &nameless {
        room.discard(path);
    }
    Ok(removed)
}

/// What the dead have left of points that they were making: directories below that of points.
/// They may also be somebody's who is alive; [`tidy`] knows.
pub fn left_over(store: &Store) -> Result<Vec<PathBuf>> {
    let directory = store.layout().points_dir();
    let mut names = names(store, &directory)?;
    names.retain(|name| name.starts_with(TEMPORARY));
    Ok(names.iter().map(|name| directory.join(name)).collect())
}

/// Removes what the dead have left. As every change of points does this first, it is all done
/// when the lock was had.
pub fn tidy(store: &Store, patience: &mut Patience<'_>) -> Result<()> {
    Room::enter(store, patience).map(drop)
}

/// The names in the directory of points; none if it does not exist.
fn names(store: &Store, directory: &Path) -> Result<Vec<String>> {
    match store.disk().read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(Error::io(
            "cannot list the rollback points",
            directory,
            &error,
        )),
        Ok(entries) => Ok(entries
            .into_iter()
            .filter(|entry| entry.kind == FileKind::Directory)
            .filter_map(|entry| entry.name.into_string().ok())
            .collect()),
    }
}

/// `YYYYMMDD_HHMMSS` of the name of a point; `None` for any other name.
fn time_of(name: &str) -> Option<&str> {
    let time = name.strip_prefix(PREFIX)?;
    let fits = time.len() == 15
        && time.bytes().enumerate().all(|(at, byte)| {
            if at == 8 {
                byte == b'_'
            } else {
                byte.is_ascii_digit()
            }
        });
    fits.then_some(time)
}

fn cannot_make(path: &Path, error: &io::Error) -> Error {
    Error::io("cannot make a rollback point", path, error).with_kind(Kind::Io)
}
