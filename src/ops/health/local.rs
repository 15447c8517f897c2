//! Probes of this machine: the data directory, permissions, backups, the log, memory.
//!
//! Layer: ops. Nothing here reads a conversation.

use std::io;
use std::path::{Path, PathBuf};

use crate::model::backup::BackupType;
use crate::model::error::{Error, describe};
use crate::model::size::ByteSize;
use crate::ops::room::{self, Room};
use crate::ops::statistics::{self, Span, Statistics};
use crate::platform::disk::{FileKind, Open};
use crate::platform::{Disk, process};
use crate::store::{Store, backups, gate};

use super::{BACKUP, DATA_DIR, MEMORY, Outcome, PERMISSIONS, Probe, RATE, REQUESTS, Status};
use super::{number, span};

/// What is tried: one block of most file systems.
const TRIAL: [u8; 4096] = [b'\n'; 4096];

/// Whether there is a data directory. A link to one is one.
pub(super) fn is_there(store: &Store) -> io::Result<bool> {
    match store.disk().stat(&store.layout().root().join(".")) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// A probe that has nothing to look at.
pub(super) fn nothing_yet(name: &'static str) -> Probe {
    Probe::skipped(name, "no data directory yet")
}

/// Whether the data directory is there, of a format that this program knows, and takes files;
/// and how much room is left.
pub(super) fn data_dir(store: &Store) -> Probe {
    let root = store.layout().root();
    let shown = root.display();
    match is_there(store) {
        Ok(true) => {}
        Ok(false) => {
            return match store.check_format() {
                Ok(()) => Probe::new(DATA_DIR, format!("{shown}, made when it is needed")),
                Err(error) => Probe::new(DATA_DIR, shown.to_string()).failed(
                    Status::Unhealthy,
                    "missing",
                    &error,
                    "name another place with --data-dir",
                ),
            };
        }
        Err(error) => {
            let error = Error::io("cannot look at the data directory", root, &error);
            return Probe::new(DATA_DIR, shown.to_string()).failed(
                Status::Unhealthy,
                "unreadable",
                &error,
                "check the directory and the disk that it is on",
            );
        }
    }
    let mut probe = Probe::new(DATA_DIR, shown.to_string());
    match store.check_format() {
        // Nothing is tried in a store of another version.
        Err(error) => {
            let otherwise = "see what is in VERSION, or restore a backup: pachat restore --list";
            probe = probe.failed(Status::Unhealthy, "bad-format", &error, otherwise);
        }
        Ok(()) => match try_to_write(store) {
            Ok(()) => probe.value.push_str(", writable"),
            Err(error) => {
                let cause = format!("no file can be written there: {}", describe(&error));
                let remedy = match error.kind() {
                    io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                        "free some space: pachat cleanup --dry-run"
                    }
                    io::ErrorKind::ReadOnlyFilesystem => {
                        "mount it so that it can be written to, or name another place with --data-dir"
                    }
                    _ => "check owner and permissions: pachat validate security",
                };
                probe = probe.unhealthy("not-writable", cause, remedy);
            }
        },
    }
    if store.is_half_swapped() {
        probe = probe.degraded(
            "half-swapped",
            "a restore or rollback ended in its last steps",
            "any command that reads conversations completes it: pachat list",
        );
    }
    space(store, probe)
}

/// One small file comes and goes.
fn try_to_write(store: &Store) -> io::Result<()> {
    let (disk, layout) = (store.disk(), store.layout());
    let run = layout.run_dir();
    // `run/` is not made for this; without one, its parent must do.
    let directory = match disk.stat(&run) {
        Ok(stat) if stat.kind == FileKind::Directory => run,
        _ => layout.root().to_path_buf(),
    };
    let name = format!(
        ".health-{}.{:08x}.tmp",
        process::id(),
        store.random().next_u32()?
    );
    let path = directory.join(name);
    let mut file = disk.open(&path, Open::CreateNew)?;
    let written = file.write_all(&TRIAL);
    drop(file);
    let removed = disk.remove_file(&path);
    written.and(removed)
}

fn space(store: &Store, probe: Probe) -> Probe {
    const CLEAN: &str = "see what can go: pachat cleanup --dry-run";
    let Ok(file_system) = store.disk().file_system(store.layout().root()) else {
        return probe;
    };
    let mut probe = probe;
    if let Some(free) = file_system.free {
        probe.value.push_str(&format!(", {} free", ByteSize(free)));
        probe = probe.metric(
            "data_dir_free_bytes",
            "How much can still be written to the file system of the data directory",
            number(free),
        );
        let cause = format!("only {} are free on its file system", ByteSize(free));
        probe = match room::for_bytes(&file_system) {
            Room::None => probe.unhealthy("disk-full", cause, CLEAN),
            Room::Little => probe.degraded("disk-low", cause, CLEAN),
            Room::Enough => probe,
        };
    }
    if let Some(files) = file_system.free_files {
        probe = probe.metric(
            "data_dir_free_inodes",
            "How many files can still be made on the file system of the data directory",
            number(files),
        );
        if room::is_short_of_files(&file_system) {
            let cause = format!("only {files} more files can be made on its file system");
            probe = probe.degraded("inodes-low", cause, CLEAN);
        }
    }
    probe
}

/// What else has to be private.
pub(super) struct Places {
    pub(super) config_dir: Option<PathBuf>,
    pub(super) config_file: PathBuf,
    pub(super) keys_file: PathBuf,
    pub(super) user: Option<u32>,
}

/// Whether others can look into what is private, and whether all of it is one's own. The whole
/// of the data directory is `validate security`'s.
pub(super) fn permissions(store: &Store, places: &Places) -> Probe {
    let disk = store.disk();
    let mut probe = Probe::new(PERMISSIONS, "");
    let mut looked = 0;
    let root = store.layout().root();
    let data = [
        (root.join("."), root.to_path_buf(), Status::Degraded),
        (
            places.config_file.clone(),
            places.config_file.clone(),
            Status::Degraded,
        ),
        (
            places.keys_file.clone(),
            places.keys_file.clone(),
            Status::Degraded,
        ),
    ];
    let secret = places.config_dir.iter().flat_map(|directory| {
        ["master.key", "master.command", ".env"].map(|name| {
            let path = directory.join(name);
            (path.clone(), path, Status::Unhealthy)
        })
    });
    for (path, named, status) in data.into_iter().chain(secret) {
        let Ok(stat) = disk.stat(&path) else { continue };
        let Some(mode) = stat.mode else {
            return Probe::skipped(PERMISSIONS, "this platform has other permissions");
        };
        looked += 1;
        let shown = named.display();
        let (right, noun) = match stat.kind {
            FileKind::Directory => ("700", "directory"),
            _ => ("600", "file"),
        };
        let foreign = (stat.owner.zip(places.user)).is_some_and(|(owner, user)| owner != user);
        if foreign {
            probe = probe.degraded(
                "foreign-owner",
                format!("{shown} belongs to another user than the one who runs this"),
                format!(
                    "run pachat as the user whose {noun} it is, or: chown \"$(id -un)\" {shown}"
                ),
            );
        }
        // A link has no permissions of its own, and behind a closed door nobody reads.
        if stat.kind != FileKind::Other && mode & 0o077 != 0 && is_open_door(disk, &path, stat.kind)
        {
            probe = probe.with(
                status,
                "exposed",
                format!("others can open {shown} (mode {:03o})", mode & 0o777),
                format!("chmod {right} {shown}; or all at once: pachat validate security --fix"),
            );
        }
    }
    probe.value = match (looked, probe.problems.len()) {
        (0, _) => "nothing to protect yet".into(),
        (_, 0) => "private, and one's own".into(),
        (_, 1) => "1 complaint".into(),
        (_, many) => format!("{many} complaints"),
    };
    probe
}

/// Whether others get as far as to this file. A directory is looked at by itself.
fn is_open_door(disk: &dyn Disk, path: &Path, kind: FileKind) -> bool {
    if kind == FileKind::Directory {
        return true;
    }
    let directory = path.parent().map(|directory| disk.stat(directory));
    match directory {
        Some(Ok(stat)) => stat.mode.is_none_or(|mode| mode & 0o011 != 0),
        _ => true,
    }
}

/// How old the newest backup of conversations is that was verified.
pub(super) fn backup(store: &Store, days: u32) -> Probe {
    const MAKE: &str = "pachat backup";
    match is_there(store) {
        Ok(true) => {}
        Ok(false) => return nothing_yet(BACKUP),
        Err(_) => return Probe::skipped(BACKUP, "the data directory cannot be looked at"),
    }
    let listed = match backups::list(store) {
        Ok(listed) => listed,
        Err(error) => {
            return Probe::new(BACKUP, "cannot be listed").failed(
                Status::Degraded,
                "unreadable",
                &error,
                "pachat validate backups",
            );
        }
    };
    let newest = listed.iter().find_map(|backup| {
        let card = backup.card.as_ref()?;
        let verified = card.verified_at?;
        (card.kind != BackupType::Config).then_some((backup, card.created_at.max(verified)))
    });
    let Some((newest, proven)) = newest else {
        let probe = Probe::new(BACKUP, "never made");
        return if has_conversations(store) {
            probe.degraded(
                "no-backup",
                "there are conversations, and no verified backup of them",
                format!("{MAKE}; and let it be made by itself: pachat config schedule install"),
            )
        } else {
            probe
        };
    };
    let age = store
        .clock()
        .now()
        .duration_since(proven)
        .as_secs()
        .max(0)
        .unsigned_abs();
    let probe = Probe::new(BACKUP, format!("{}, proven {} ago", newest.id, span(age))).metric(
        "backup_age_seconds",
        "How long ago the newest backup of conversations was proven to be whole",
        number(age),
    );
    if age > u64::from(days) * 86_400 {
        return probe.degraded(
            "old-backup",
            format!(
                "the newest verified backup is {} old, and {days} days are allowed",
                span(age)
            ),
            format!(
                "{MAKE}; or allow more: pachat config set health.max_backup_age_days {}",
                days.saturating_mul(2)
            ),
        );
    }
    probe
}

fn has_conversations(store: &Store) -> bool {
    let layout = store.layout();
    [layout.active_dir(), layout.archived_dir()]
        .iter()
        .any(|directory| {
            let entries = store.disk().read_dir(directory).unwrap_or_default();
            entries.iter().any(|entry| {
                let name = entry.name.as_encoded_bytes();
                name.ends_with(b".jsonl") || name.ends_with(b".jsonl.gz")
            })
        })
}

/// What the log tells of requests, and how many there are just now.
pub(super) fn log(store: &Store, server_name: &str, per_minute: u32) -> Outcome {
    if matches!(is_there(store), Ok(false)) {
        return Outcome {
            probes: vec![nothing_yet(REQUESTS), nothing_yet(RATE)],
            statistics: Some(Statistics::default()),
            ..Outcome::default()
        };
    }
    let statistics = statistics::read(store, store.clock().now());
    let (requests, logged) = match &statistics {
        Ok(statistics) => (requests(store, statistics), Some(statistics.last_minute)),
        Err(error) => {
            let probe = Probe::new(REQUESTS, "the log cannot be read").failed(
                Status::Degraded,
                "unreadable-log",
                error,
                "check the permissions of the directory logs: pachat validate security",
            );
            (probe, None)
        }
    };
    Outcome {
        probes: vec![requests, rate(store, server_name, per_minute, logged)],
        statistics: statistics.ok(),
        ..Outcome::default()
    }
}

fn requests(store: &Store, statistics: &Statistics) -> Probe {
    /// Fewer failures than this many requests say nothing.
    const ENOUGH: u64 = 4;
    let ago = |at: jiff::Timestamp| {
        let passed = store.clock().now().duration_since(at).as_secs();
        span(passed.max(0).unsigned_abs())
    };
    if statistics.week.requests == 0 {
        return Probe::new(REQUESTS, "none in the last week");
    }
    let counts: Vec<String> = Span::ALL
        .iter()
        .map(|span| {
            format!(
                "{} in the last {}",
                statistics.window(*span).requests,
                span.as_str()
            )
        })
        .collect();
    let mut value = counts.join(", ");
    if let Some(last) = &statistics.last_success {
        value.push_str(&format!("; last success {} ago", ago(last.at)));
    }
    if let Some(last) = &statistics.last_failure {
        value.push_str(&format!("; last failure {} ago", ago(last.at)));
    }
    let mut probe = Probe::new(REQUESTS, value);
    if let Some(last) = &statistics.last_success {
        probe = probe.metric(
            "last_success_timestamp_seconds",
            "When a request last came to its end",
            number(last.at.as_second().max(0).unsigned_abs()),
        );
    }
    if let Some(last) = &statistics.last_failure {
        probe = probe.metric(
            "last_failure_timestamp_seconds",
            "When a request last failed",
            number(last.at.as_second().max(0).unsigned_abs()),
        );
    }
    let failing = |span: Span| {
        let window = statistics.window(span);
        (window.requests >= ENOUGH && window.failed * 2 > window.requests).then_some((span, window))
    };
    // What has been well since is over.
    let still = match (&statistics.last_success, &statistics.last_failure) {
        (Some(success), Some(failure)) => failure.at > success.at,
        (_, failure) => failure.is_some(),
    };
    let found = failing(Span::Hour).or_else(|| failing(Span::Day).filter(|_| still));
    let Some((span, window)) = found else {
        return probe;
    };
    let error = statistics
        .last_failure
        .as_ref()
        .and_then(|last| last.error.as_deref())
        .map(|error| format!("; the last one: {error}"))
        .unwrap_or_default();
    probe.degraded(
        "many-failures",
        format!(
            "{} of {} requests of the last {} failed{error}",
            window.failed,
            window.requests,
            span.as_str()
        ),
        "look at the probe `server`, and at logs/app.log",
    )
}

fn rate(store: &Store, server_name: &str, per_minute: u32, logged: Option<u64>) -> Probe {
    let counted = gate::last_minute(store, server_name).unwrap_or(0) as u64;
    // Servers without an account are not counted at the gate.
    let sent = counted.max(logged.unwrap_or(0));
    let probe = Probe::new(
        RATE,
        format!("{sent} of {per_minute} requests in the last minute"),
    )
    .metric(
        "requests_last_minute",
        "How many requests were sent in the last minute",
        number(sent),
    )
    .metric(
        "requests_per_minute_limit",
        "How many requests a minute may have",
        f64::from(per_minute),
    );
    if counted >= u64::from(per_minute) {
        return probe.degraded(
            "rate-limit",
            "as many requests as are allowed were sent in the last minute, so further ones wait",
            format!(
                "wait a minute; or allow more: pachat config set limits.requests_per_minute {}",
                per_minute.saturating_mul(2)
            ),
        );
    }
    probe
}

/// The memory of this process against its limit, and what the machine has left.
pub(super) fn memory(disk: &dyn Disk, limit: ByteSize) -> Probe {
    /// Less than this makes any program slow.
    const LITTLE: u64 = 64_000_000;
    let used = kilobytes(disk, "/proc/self/status", "VmRSS:");
    let free = kilobytes(disk, "/proc/meminfo", "MemAvailable:");
    let (Some(used), Some(free)) = (used, free) else {
        return Probe::skipped(MEMORY, "this platform does not tell");
    };
    let value = format!(
        "{} used, {limit} allowed; the machine has {} left",
        ByteSize(used),
        ByteSize(free)
    );
    let probe = Probe::new(MEMORY, value)
        .metric(
            "process_resident_memory_bytes",
            "The memory of the process that looks",
            number(used),
        )
        .metric(
            "memory_available_bytes",
            "The memory that programs can still have on this machine",
            number(free),
        );
    if used > limit.0 {
        let cause = format!("pachat uses {}, and {limit} are allowed", ByteSize(used));
        return probe.degraded(
            "memory-limit",
            cause,
            format!(
                "allow more: pachat config set limits.memory_mb {}; or report this",
                (limit.0 / 1_000_000).saturating_mul(2)
            ),
        );
    }
    if free < LITTLE {
        let cause = format!("the machine has only {} of memory left", ByteSize(free));
        return probe.degraded("memory-low", cause, "end programs that are not needed");
    }
    probe
}

/// A number of kilobytes in one of the kernel's tables, in bytes.
fn kilobytes(disk: &dyn Disk, path: &str, name: &str) -> Option<u64> {
    let bytes = disk.read(Path::new(path), 1 << 16).ok()?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let count: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    count.checked_mul(1024)
}
