//! Backups and rollback points.
//!
//! Layer: ops. Promises: looking changes nothing; what an archive says is believed only where
//! it was read by the reader that restores.

use std::collections::HashSet;
use std::io::{self, Read};

use jiff::Timestamp;
use serde::Serialize;

use crate::archive::seal;
use crate::model::backup::{BackupType, Hasher, Sha256};
use crate::model::error::{Error, Kind, Result, describe};
use crate::model::finding::{Finding, Severity};
use crate::model::size::{ByteSize, counted};
use crate::ops::restore::{self, Source};
use crate::ops::watch::Watch;
use crate::platform::disk::{Entry, FileKind, LockMode, Open};
use crate::store::Store;
use crate::store::backups::{self, Backup, Card, Named, OnCard};
use crate::store::points::{self, Point, PointFile};
use crate::store::read::Scope;

/// Where backups are.
const BACKUPS: &str = "backups";
/// Where rollback points are.
const POINTS: &str = "backups/points";
/// How many files of a point are named before they are only counted.
const NAMED: usize = 3;
/// How much of an archive tells whether it is sealed, in bytes.
const BEGINNING: u64 = 4096;

/// How closely to look, and by what to judge.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// Whether every archive is read.
    pub deep: bool,
    /// After how many days without a verified backup somebody should know; `None` or 0 for
    /// never.
    pub max_age_days: Option<u32>,
}

/// How much was looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Backups.
    pub backups: u64,
    /// Their bytes that were read; 0 without a deep look.
    pub bytes: u64,
    /// Rollback points.
    pub points: u64,
}

/// Looks at backups and rollback points. An error is that of the watcher, or a signal.
pub fn look(
    store: &Store,
    request: Request,
    watch: &mut dyn Watch,
) -> Result<(Vec<Finding>, Counts)> {
    let mut found = Vec::new();
    let mut counts = Counts::default();
    let listed = match backups::list(store) {
        Ok(mut listed) => {
            listed.reverse();
            listed
        }
        Err(error) => {
            // Whether there are any, and of what age, nobody knows now.
            found.push(failed(BACKUPS, &error));
            counts.points = look_at_points(store, &mut found);
            return Ok((found, counts));
        }
    };
    look_at_names(store, &listed, &mut found);
    let mut cards = Vec::new();
    for backup in &listed {
        let path = format!("{BACKUPS}/{}", backup.name());
        let card = look_at_card(store, backup, &path, &mut found);
        if request.deep {
            counts.bytes += backup.size;
            read(store, backup, &path, card.as_ref(), watch, &mut found)?;
        }
        cards.extend(card);
    }
    look_at_age(store, request, &listed, &cards, &mut found);
    counts.backups = listed.len() as u64;
    counts.points = look_at_points(store, &mut found);
    Ok((found, counts))
}

fn entries(store: &Store, path: &str, found: &mut Vec<Finding>) -> Vec<Entry> {
    match store.disk().read_dir(&store.layout().root().join(path)) {
        Ok(mut entries) => {
            entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
            entries
        }
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Vec::new()
        }
        Err(error) => {
            found.push(unreadable(path, &error));
            Vec::new()
        }
    }
}

/// Whatever is in the directory and is neither an archive nor its card.
fn look_at_names(store: &Store, listed: &[Backup], found: &mut Vec<Finding>) {
    let ids: HashSet<&str> = listed.iter().map(|backup| backup.id.as_str()).collect();
    let busy = is_held(store, &store.layout().backup_lock());
    for entry in entries(store, BACKUPS, found) {
        let name = entry.name.to_string_lossy();
        let path = format!("{BACKUPS}/{name}");
        match backups::named(&name) {
            _ if entry.kind == FileKind::Directory && name == "points" => {}
            _ if entry.kind != FileKind::File => found.push(foreign(&path)),
            Named::Card(id) if !ids.contains(id.as_str()) => found.push(Finding::new(
                "backups.card-alone",
                Severity::Note,
                path,
                "it describes a backup that is not here",
                "if the archive was moved away, this is as it should be; the next backup removes the card",
            )),
            // Whoever makes a backup may be at it.
            Named::Draft if !busy => found.push(left_over(path, "an unfinished backup was left")),
            Named::Archive | Named::Card(_) | Named::Draft => {}
            Named::Other => found.push(foreign(&path)),
        }
    }
}

fn left_over(path: String, what: &str) -> Finding {
    Finding::new(
        "backups.temporary",
        Severity::Note,
        path,
        format!("{what} by a process that died"),
        "remove it: pachat validate --fix; the next one that is made does so, too",
    )
    .fixable()
}

/// The card of a backup, if it can be believed.
fn look_at_card(
    store: &Store,
    backup: &Backup,
    path: &str,
    found: &mut Vec<Finding>,
) -> Option<Card> {
    let verify = format!(
        "read it and have a card made: pachat restore {} --verify-only",
        backup.id
    );
    let mut add = |code, severity, cause: String, remedy: &str| {
        found.push(Finding::new(code, severity, path, cause, remedy));
    };
    match backups::examine(store, backup) {
        OnCard::Missing => {
            let cause = "it has no card, so nothing is known of it and no rule removes it";
            add(
                "backups.card-missing",
                Severity::Warning,
                cause.into(),
                &verify,
            );
            None
        }
        OnCard::Unreadable(why) => {
            let cause = format!("its card {}.json cannot be read: {why}", backup.id);
            add("backups.card-unreadable", Severity::Warning, cause, &verify);
            None
        }
        OnCard::Newer(version) => {
            let cause = format!("its card has version {version}, of a newer pachat");
            let remedy = "install the current version of pachat";
            add("backups.card-newer", Severity::Warning, cause, remedy);
            None
        }
        OnCard::OtherSize(card) => {
            let cause = format!(
                "it has {} bytes, and its card says {}: it was cut, or replaced by another",
                backup.size, card.size
            );
            let remedy = format!(
                "see whether it can still be restored: pachat restore {} --verify-only; make a new one: pachat backup --force",
                backup.id
            );
            add("backups.size", Severity::Error, cause, &remedy);
            None
        }
        OnCard::Fits(card) => {
            if card.verified_at.is_none() {
                let cause = "it was never read back to see whether it can be restored";
                let remedy = format!("read it: pachat restore {} --verify-only", backup.id);
                add(
                    "backups.unverified",
                    Severity::Warning,
                    cause.into(),
                    &remedy,
                );
            }
            Some(*card)
        }
    }
}

/// Whether there is a verified backup of conversations, and how old the newest proof is.
fn look_at_age(
    store: &Store,
    request: Request,
    listed: &[Backup],
    cards: &[Card],
    found: &mut Vec<Finding>,
) {
    let has_conversations = store.ids(Scope::All).is_ok_and(|ids| !ids.is_empty());
    if !has_conversations {
        return;
    }
    let proofs = cards
        .iter()
        .filter(|card| card.kind != BackupType::Config)
        .filter_map(|card| card.verified_at);
    let Some(newest) = proofs.max() else {
        let cause = if listed.is_empty() {
            "there is no backup of the conversations"
        } else {
            "no backup of the conversations is verified"
        };
        found.push(Finding::new(
            "backups.none",
            Severity::Warning,
            BACKUPS,
            cause,
            "make one: pachat backup",
        ));
        return;
    };
    let days = days_since(newest, store.clock().now());
    if let Some(limit) = request.max_age_days.filter(|limit| *limit > 0)
        && days >= i64::from(limit)
    {
        found.push(Finding::new(
            "backups.old",
            Severity::Warning,
            BACKUPS,
            format!(
                "the newest verified backup was proven {days} days ago, and the limit is {limit}"
            ),
            "make one: pachat backup; and have it made by itself: pachat config schedule install",
        ));
    }
}

fn days_since(then: Timestamp, now: Timestamp) -> i64 {
    now.duration_since(then).as_hours() / 24
}

/// Counts and hashes what is read.
struct Tallied<R> {
    input: R,
    tally: Hasher,
}

impl<R: Read> Read for Tallied<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        self.tally.update(&buffer[..count]);
        Ok(count)
    }
}

/// Reads an archive to its end.
fn read(
    store: &Store,
    backup: &Backup,
    path: &str,
    card: Option<&Card>,
    watch: &mut dyn Watch,
    found: &mut Vec<Finding>,
) -> Result<()> {
    let input = match store.disk().open(&backup.path, Open::Read) {
        Ok(input) => input,
        // Retention has removed it meanwhile.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => {
            found.push(unreadable(path, &error));
            return Ok(());
        }
    };
    let mut input = Tallied {
        input,
        tally: Hasher::default(),
    };
    let mut beginning = Vec::new();
    if let Err(error) = (&mut input).take(BEGINNING).read_to_end(&mut beginning) {
        found.push(unreadable(path, &error));
        return Ok(());
    }
    let sealed = seal::is_sealed(&beginning);
    if sealed {
        watch.stage("comparing", backup.size);
    } else {
        let mut whole = io::Cursor::new(beginning).chain(&mut input);
        let source = Source {
            input: &mut whole,
            sealed,
        };
        match restore::verify(store, source, watch) {
            Ok(_) => {}
            Err(error) => match error.kind() {
                Kind::Interrupted | Kind::Terminated => return Err(error),
                Kind::Malformed => found.push(damaged(backup, path, &error)),
                _ => {
                    found.push(failed(path, &error));
                    return Ok(());
                }
            },
        }
    }
    // What the reader left after a refusal, and all of a sealed one.
    let digest = match rest(input, sealed, watch)? {
        Ok(digest) => digest,
        Err(error) => {
            found.push(unreadable(path, &error));
            return Ok(());
        }
    };
    let is_damaged = found
        .last()
        .is_some_and(|last| last.code == "backups.damaged" && last.subject == path);
    if let Some(card) = card.filter(|card| card.sha256 != digest && !is_damaged) {
        found.push(Finding::new(
            "backups.digest",
            Severity::Error,
            path,
            format!("its SHA-256 digest is {digest}, and its card says {}: its bytes have changed", card.sha256),
            format!("see whether it can still be restored: pachat restore {} --verify-only; make a new one: pachat backup --force", backup.id),
        ));
    } else if sealed {
        let cause = match card {
            Some(_) => {
                "it is encrypted: its digest is that of its card, and what is in it was not read"
            }
            None => "it is encrypted and has no card: nothing could be compared",
        };
        found.push(Finding::new(
            "backups.sealed",
            Severity::Note,
            path,
            cause,
            format!(
                "read all of it with its identity: pachat restore {} --verify-only --identity FILE",
                backup.id
            ),
        ));
    }
    Ok(())
}

/// Reads what is left; the digest of everything.
fn rest<R: Read>(
    mut input: Tallied<R>,
    sealed: bool,
    watch: &mut dyn Watch,
) -> Result<io::Result<Sha256>> {
    let mut buffer = vec![0; 1 << 16];
    loop {
        match input.read(&mut buffer) {
            Ok(0) => return Ok(Ok(input.tally.finish())),
            // The bar of one that was read shows its content, not its bytes.
            Ok(count) => watch.advance(if sealed { count as u64 } else { 0 })?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Ok(Err(error)),
        }
    }
}

fn damaged(backup: &Backup, path: &str, error: &Error) -> Finding {
    let mut cause = format!("it cannot be restored: {}", error.headline());
    if let Some(more) = error.cause_text() {
        cause.push_str(&format!(" ({more})"));
    }
    Finding::new(
        "backups.damaged",
        Severity::Error,
        path,
        cause,
        format!(
            "use another one: pachat restore --list; make a new one: pachat backup --force; what tar still gets out of it: tar xzf {}",
            backup.path.display()
        ),
    )
}

/// Rollback points; how many there are.
fn look_at_points(store: &Store, found: &mut Vec<Finding>) -> u64 {
    let listed = points::list(store).unwrap_or_default();
    let ids: HashSet<&str> = listed.iter().map(|point| point.id.as_str()).collect();
    let busy = is_held(store, &store.layout().points_lock());
    for entry in entries(store, POINTS, found) {
        let name = entry.name.to_string_lossy();
        let path = format!("{POINTS}/{name}");
        let is_point = entry.kind == FileKind::Directory && name.starts_with("point_");
        if ids.contains(&*name) {
            continue;
        }
        if is_point {
            found.push(broken_point(
                &path,
                "its point.json is missing or cannot be read, so no list shows it",
            ));
        } else if name.starts_with(".tmp-") {
            if !busy {
                found.push(left_over(path, "an unfinished rollback point was left"));
            }
        } else {
            found.push(foreign(&path));
        }
    }
    for point in &listed {
        match points::open(store, &point.id) {
            Ok((point, files)) => look_at_point(store, &point, &files, found),
            // It has been removed meanwhile.
            Err(error) if error.kind() == Kind::NotFound => {}
            Err(error) => {
                let path = format!("{POINTS}/{}", point.id);
                found.push(broken_point(&path, &error.headline()));
            }
        }
    }
    listed.len() as u64
}

fn broken_point(path: &str, why: &str) -> Finding {
    Finding::new(
        "backups.point-unreadable",
        Severity::Warning,
        path,
        why,
        "there is no way back to it; take by hand what is in its files/, then remove it",
    )
}

/// The files of a point: each is there, and has at least what it had.
fn look_at_point(store: &Store, point: &Point, files: &[PointFile], found: &mut Vec<Finding>) {
    let (mut missing, mut short) = (Vec::new(), Vec::new());
    for file in files {
        let name = format!("{}/{}", file.part.path(), file.name);
        match store.disk().stat(&points::path(store, point, file)) {
            Ok(stat) if stat.len < file.len => short.push(name),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => missing.push(name),
            Err(error) => {
                found.push(unreadable(
                    &format!("{POINTS}/{}/files/{name}", point.id),
                    &error,
                ));
            }
        }
    }
    // Somebody may have removed the whole point while it was looked at.
    let is_there = || {
        store
            .disk()
            .stat(&store.layout().points_dir().join(&point.id))
            .is_ok()
    };
    for (code, names, what) in [
        ("backups.point-file-missing", missing, "missing"),
        (
            "backups.point-file-short",
            short,
            "shorter than when it was made",
        ),
    ] {
        if names.is_empty() || !is_there() {
            continue;
        }
        let shown = names.iter().take(NAMED).map(String::as_str);
        let mut shown = shown.collect::<Vec<_>>().join(", ");
        if names.len() > NAMED {
            shown.push_str(&format!(" and {} more", names.len() - NAMED));
        }
        found.push(Finding::new(
            code,
            Severity::Warning,
            format!("{POINTS}/{}", point.id),
            format!("{} of it: {what}: {shown}", counted(names.len(), "file")),
            "going back to it is not complete; use another one: pachat rollback --list, or a backup: pachat restore --list",
        ));
    }
}

fn is_held(store: &Store, lock: &std::path::Path) -> bool {
    store
        .disk()
        .open(lock, Open::Read)
        .and_then(|file| file.try_lock(LockMode::Shared))
        .is_ok_and(|free| !free)
}

fn foreign(path: &str) -> Finding {
    Finding::new(
        "backups.foreign",
        Severity::Note,
        path,
        "pachat does not know it",
        "move it elsewhere, if you do not mean it to be here",
    )
}

fn unreadable(path: &str, error: &io::Error) -> Finding {
    Finding::new(
        "backups.unreadable",
        Severity::Error,
        path,
        format!("it cannot be read: {}", describe(error)),
        "check its owner and its permissions, and the disk",
    )
}

fn failed(path: &str, error: &Error) -> Finding {
    Finding::new(
        "backups.unreadable",
        Severity::Error,
        path,
        error.headline(),
        error
            .hint_text()
            .unwrap_or("check its owner and its permissions, and the disk"),
    )
}

impl Counts {
    /// `3 backups (12.0 MB read), 2 rollback points`.
    pub fn shown(&self) -> String {
        let number = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
        let read = match self.bytes {
            0 => String::new(),
            bytes => format!(" ({} read)", ByteSize(bytes)),
        };
        format!(
            "{}{read}, {}",
            counted(number(self.backups), "backup"),
            counted(number(self.points), "rollback point")
        )
    }
}
