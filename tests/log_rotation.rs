//! Putting old logs away with many at once, and with a crash at every operation. No line that
//! was written is lost.
//!
//! What the disk's failures make `log` say here goes to whatever run there is in the process,
//! so tests that run the program are elsewhere.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may panic, and looks at the machine itself"
)]

mod common;

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use common::disk::{After, Event as Fault, SimulatedDisk};
use common::host::{TestClock, TestRandom};
use common::server::{FakeServer, Script};
use flate2::read::MultiGzDecoder;
use log::{Level, LevelFilter};
use pachat::model::log_line::{Event, LogLine};
use pachat::platform::clock::RealClock;
use pachat::platform::disk::{LockMode, Open, RealDisk};
use pachat::platform::random::RealRandom;
use pachat::platform::{Clock, Disk};
use pachat::store::Store;
use pachat::store::log::{self as store_log, Limits, Log};

const ROOT: &str = "/home/somebody/data/pachat";

fn message(text: &str) -> Event {
    Event::Program {
        target: "test".into(),
        message: text.into(),
    }
}

/// How often each message is in the log, plain or put away. Lines that cannot be read are
/// passed over, unless there should be none; an empty one means nothing.
fn messages(store: &Store, torn: bool) -> BTreeMap<String, usize> {
    let bytes = store_log::read(store).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let mut found = BTreeMap::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        match line.parse::<LogLine>() {
            Ok(LogLine {
                event: Event::Program { message, .. },
                ..
            }) => *found.entry(message).or_default() += 1,
            Ok(other) => panic!("{other}"),
            Err(why) => assert!(torn, "{line:?}: {why}"),
        }
    }
    found
}

fn unpacked(path: PathBuf) -> String {
    let mut text = String::new();
    let file = std::fs::File::open(path).unwrap();
    MultiGzDecoder::new(file).read_to_string(&mut text).unwrap();
    text
}

#[test]
fn many_threads_with_their_own_files_lose_nothing() {
    const THREADS: usize = 8;
    const LINES: usize = 250;
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("pachat");
    std::fs::create_dir(&root).unwrap();
    let store = || {
        let clock: Arc<dyn Clock> = Arc::new(RealClock::start());
        Store::new(
            root.clone(),
            Arc::new(RealDisk),
            clock,
            Arc::new(RealRandom),
        )
    };
    let limits = Limits {
        size: 20_000,
        ..Limits::default()
    };
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let store = store();
            scope.spawn(move || {
                let log = Log::new(store, LevelFilter::Info, 1).with_limits(limits);
                for n in 0..LINES {
                    log.record(Level::Info, message(&format!("{thread}-{n}")));
                    // Nobody waits to rename, so there must be a moment when nobody writes.
                    std::thread::sleep(Duration::from_micros(500));
                }
                assert_eq!(log.failure(), None);
            });
        }
    });
    // In calm, nothing keeps what is due from being put away.
    let log = Log::new(store(), LevelFilter::Info, 1).with_limits(limits);
    for text in ["calm 1", "calm 2"] {
        log.record(Level::Info, message(text));
    }
    let length = RealDisk.stat(&root.join("logs/app.log")).unwrap().len;
    assert!(length <= limits.size, "{length}");
    let found = messages(&store(), false);
    assert_eq!(found.len(), THREADS * LINES + 2);
    assert!(found.values().all(|count| *count == 1));
    let put_away = std::fs::read_dir(root.join("logs")).unwrap().count() - 1;
    assert!(put_away >= 1, "{put_away}");
}

#[test]
fn many_processes_lose_nothing() {
    const PROCESSES: usize = 48;
    let home = tempfile::tempdir().unwrap();
    let server = FakeServer::deciding(|_| Script::json(200, r#"{"data":[{"id":"a/b"}]}"#));
    let logs = home.path().join("data/pachat/logs");
    std::fs::create_dir_all(&logs).unwrap();
    let line = "2026-11-22T11:00:00.000Z INFO program message message=before target=x pid=1\n";
    let before = 5_000_000 / line.len() - PROCESSES / 2;
    std::fs::write(logs.join("app.log"), line.repeat(before)).unwrap();
    let children: Vec<_> = (0..PROCESSES)
        .map(|_| {
            Command::new(env!("CARGO_BIN_EXE_pachat"))
                .args(["models", "--refresh"])
                .env_clear()
                .env("HOME", home.path())
                .env("XDG_DATA_HOME", home.path().join("data"))
                .env("XDG_CONFIG_HOME", home.path().join("config"))
                .env("OPENROUTER_BASE_URL", server.base_url())
                .env("OPENROUTER_API_KEY", "test-key-0123456789")
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && stderr.is_empty(), "{stderr}");
    }
    let mut text = std::fs::read_to_string(logs.join("app.log")).unwrap_or_default();
    let mut put_away = 0;
    for entry in std::fs::read_dir(&logs).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "gz") {
            text += &unpacked(path);
            put_away += 1;
        }
    }
    assert_eq!(put_away, 1);
    let whole = text.lines().filter(|line| line.parse::<LogLine>().is_ok());
    assert_eq!(whole.count(), before + PROCESSES);
    assert_eq!(
        text.matches(" models API response time ").count(),
        PROCESSES
    );
}

fn simulated(disk: &SimulatedDisk, seed: u64) -> Store {
    let random = Arc::new(TestRandom::new(seed));
    let clock = Arc::new(TestClock::new());
    Store::new(ROOT.into(), Arc::new(disk.clone()), clock, random)
}

/// A disk with a log of eight lines that are durable.
fn with_a_log() -> SimulatedDisk {
    let disk = SimulatedDisk::new(Path::new(ROOT));
    for directory in [ROOT, &format!("{ROOT}/logs"), &format!("{ROOT}/run")] {
        disk.create_dir(Path::new(directory)).unwrap();
    }
    for n in 0..8 {
        let log = Log::new(simulated(&disk, 1), LevelFilter::Info, 1);
        log.record(Level::Info, message(&format!("durable {n}")));
        assert_eq!(log.failure(), None);
    }
    let store = simulated(&disk, 1);
    let file = disk.open(&store.layout().log(), Open::Append).unwrap();
    file.sync_data().unwrap();
    for directory in [Path::new(ROOT), Path::new(ROOT).parent().unwrap()] {
        disk.sync_dir(directory).unwrap();
    }
    disk.sync_dir(&store.layout().logs_dir()).unwrap();
    disk.sync_dir(&store.layout().run_dir()).unwrap();
    disk
}

/// Six lines, among which the log is put away more than once. Returns those that were
/// certainly written.
fn write_some(disk: &SimulatedDisk, prefix: &str) -> Vec<String> {
    let limits = Limits {
        size: 300,
        ..Limits::default()
    };
    let mut written = Vec::new();
    for n in 0..6 {
        let log = Log::new(simulated(disk, 7), LevelFilter::Info, 1).with_limits(limits);
        let text = format!("{prefix} {n}");
        log.record(Level::Info, message(&text));
        if log.failure().is_none() {
            written.push(text);
        }
    }
    written
}

fn check(disk: &SimulatedDisk, written: &[String], context: &str) {
    let known = (0..8).map(|n| format!("durable {n}"));
    let known: Vec<String> = known.chain(written.iter().cloned()).collect();
    let look = |moment: &str| {
        let found = messages(&simulated(disk, 9), true);
        for text in &known {
            assert_eq!(
                found.get(text),
                Some(&1),
                "{context}, {moment}: {text}: {:?}",
                disk.files().keys()
            );
        }
    };
    look("at once");
    // Two further rounds: what is left over is carried on with, and locks are free.
    assert_eq!(write_some(disk, "after").len(), 6, "{context}");
    look("after more lines");
    let logs = simulated(disk, 1).layout().logs_dir();
    let left = disk.files().into_keys().filter(|path| {
        let current = path.file_name().unwrap() == "app.log";
        let packed = path.extension().is_some_and(|extension| extension == "gz");
        path.starts_with(&logs) && !current && !packed
    });
    assert_eq!(left.count(), 0, "{context}: {:?}", disk.files().keys());
}

fn operations() -> (usize, usize) {
    let disk = with_a_log();
    let start = disk.operations();
    let written = write_some(&disk, "new");
    assert_eq!(written.len(), 6);
    let end = disk.operations();
    check(&disk, &written, "nothing wrong");
    (start, end)
}

#[test]
fn the_plug_can_be_pulled_at_every_operation() {
    let (start, end) = operations();
    assert!(end - start > 80, "only {} operations", end - start);
    for at in start..end {
        let disk = with_a_log();
        disk.plan(at, Fault::Stop);
        let written = write_some(&disk, "new");
        for after in After::ALL {
            // Without a sync, a line survives the process and not the machine.
            let known = if after == After::Kill {
                &written[..]
            } else {
                &[]
            };
            let context = format!("operation {}, {after:?}", at - start);
            check(&disk.restart(after), known, &context);
        }
    }
}

#[test]
fn every_operation_can_fail_once() {
    let (start, end) = operations();
    for at in start..end {
        for fault in [
            Fault::Fail(io::ErrorKind::StorageFull),
            Fault::Fail(io::ErrorKind::Other),
            Fault::Half(io::ErrorKind::StorageFull),
        ] {
            let disk = with_a_log();
            disk.plan(at, fault);
            let written = write_some(&disk, "new");
            assert!(written.len() >= 5, "operation {}", at - start);
            check(
                &disk,
                &written,
                &format!("operation {}, {fault:?}", at - start),
            );
        }
    }
}

#[test]
fn who_holds_the_lock_too_long_costs_a_line_and_not_the_command() {
    let disk = with_a_log();
    let store = simulated(&disk, 1);
    let held = disk
        .open(&store.layout().log_lock(), Open::AppendOrCreate)
        .unwrap();
    assert!(held.try_lock(LockMode::Exclusive).unwrap());
    let clock = Arc::new(TestClock::new());
    let random = Arc::new(TestRandom::new(2));
    let (shared, disk) = (Arc::clone(&clock), Arc::new(disk.clone()));
    let waiting = Store::new(ROOT.into(), disk, shared, random);
    let log = Log::new(waiting, LevelFilter::Info, 1);
    log.record(Level::Info, message("lost"));
    assert!(log.failure().is_some());
    let waited = clock.waited();
    assert!(
        waited > Duration::ZERO && waited < Duration::from_secs(3),
        "{waited:?}"
    );
    drop(held);
    assert!(!messages(&store, false).contains_key("lost"));
}

#[test]
fn a_log_is_not_renamed_under_somebody_who_writes() {
    let disk = with_a_log();
    let store = simulated(&disk, 1);
    let names = |disk: &SimulatedDisk| disk.files().into_keys().collect::<Vec<_>>();
    let before = names(&disk);
    let writer = disk
        .open(&store.layout().log_lock(), Open::AppendOrCreate)
        .unwrap();
    assert!(writer.try_lock(LockMode::Shared).unwrap());
    assert_eq!(write_some(&disk, "meanwhile").len(), 6);
    let rotation_lock = store.layout().rotation_lock();
    let mut now = names(&disk);
    now.retain(|path| *path != rotation_lock);
    assert_eq!(now, before);
    drop(writer);
    assert_eq!(write_some(&disk, "then").len(), 6);
    assert_ne!(names(&disk), before);
    let found = messages(&store, false);
    assert_eq!(found.len(), 8 + 6 + 6);
}
