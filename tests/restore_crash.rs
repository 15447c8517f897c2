//! Failing the disk, stopping the machine and stopping the work at every single operation of a
//! restore, of an import and of a rollback: always the old files or the new ones, and the next start of
//! pachat leaves nothing of what was under way.
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
use std::io::{self, Cursor, Read, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use common::disk::{After, Event, SimulatedDisk};
use common::host::{TestClock, TestRandom};
use pachat::archive::manifest::{Entry, Manifest};
use pachat::archive::path::ArchivePath;
use pachat::archive::write::{self, Nothing, Written};
use pachat::model::backup::{BackupType, Part, Sha256};
use pachat::model::error::{Error, Kind, Result};
use pachat::model::size::ByteSize;
use pachat::ops::import;
use pachat::ops::limits::Limits;
use pachat::ops::restore::plan::Mode;
use pachat::ops::restore::select::Selection;
use pachat::ops::restore::{self, Manner, Request, Source};
use pachat::ops::rollback::{self, Back};
use pachat::ops::watch::{Unwatched, Watch};
use pachat::platform::disk::Open;
use pachat::platform::signals::Signal;
use pachat::platform::{Clock as _, Disk, Signals};
use pachat::store::lock::Patience;
use pachat::store::{Store, atomic, points};

const ROOT: &str = "/home/somebody/data/pachat";
const ONE: &str = "20260820-080000-aaaaaa";
const TWO: &str = "20260821-080000-bbbbbb";
const THREE: &str = "20260822-080000-cccccc";

type Files = BTreeMap<PathBuf, Vec<u8>>;

fn conversation(id: &str, more: &str) -> String {
    format!(
        r#"{{"type":"conversation","version":1,"id":"{id}","created_at":"2026-08-20T08:00:00.000Z","title":"t","model":"a/b"}}
{more}"#
    )
}

fn active(id: &str) -> String {
    format!("conversations/active/{id}.jsonl")
}

fn path(name: &str) -> PathBuf {
    Path::new(ROOT).join(name)
}

fn store(disk: &SimulatedDisk, hours: u64) -> Store {
    let clock = TestClock::new();
    clock.sleep(Duration::from_secs(hours * 3600));
    let random = TestRandom::new(hours);
    let disk = Arc::new(disk.clone());
    Store::new(ROOT.into(), disk, Arc::new(clock), Arc::new(random))
}

fn with_patience<T>(act: impl FnOnce(&mut Patience<'_>) -> Result<T>) -> Result<T> {
    // A lock that nobody holds is had at once; one that leaks fails the test soon.
    act(&mut Patience {
        limit: Some(Duration::from_millis(50)),
        signals: &Signals::default(),
        notify: &mut || {},
    })
}

fn put(disk: &SimulatedDisk, name: &str, text: &str) {
    let path = path(name);
    let parent = path.parent().unwrap();
    atomic::create_dirs(disk, parent).unwrap();
    let mut file = disk.open(&path, Open::CreateNew).unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file.sync_data().unwrap();
    disk.sync_dir(parent).unwrap();
}

/// A store with two conversations and settings, everything durable.
fn prepared() -> SimulatedDisk {
    let disk = SimulatedDisk::new(Path::new(ROOT));
    put(&disk, "VERSION", "1\n");
    put(&disk, &active(ONE), &conversation(ONE, "{\"newer\":1}\n"));
    put(&disk, &active(TWO), &conversation(TWO, ""));
    put(&disk, "config/app_config.json", "{\"log\":{}}\n");
    disk.restart(After::Kill)
}

/// The files of the store itself.
fn data(disk: &SimulatedDisk) -> Files {
    let mut files = disk.files();
    files.retain(|found, _| {
        [path("conversations"), path("config")]
            .iter()
            .any(|part| found.starts_with(part))
    });
    files
}

struct Texts(BTreeMap<String, String>);

impl write::Source for Texts {
    fn open(&mut self, entry: &Entry) -> Result<Option<Box<dyn Read>>> {
        let text = self.0[entry.path.as_str()].clone();
        Ok(Some(Box::new(Cursor::new(text.into_bytes()))))
    }

    fn advance(&mut self, _bytes: u64) -> Result<()> {
        Ok(())
    }
}

/// What the backup holds: one conversation less, one more, and one from before it grew.
fn held() -> BTreeMap<String, String> {
    BTreeMap::from([
        ("config/app_config.json".to_owned(), "{}\n".to_owned()),
        (active(ONE), conversation(ONE, "")),
        (active(THREE), conversation(THREE, "")),
    ])
}

fn archive() -> Vec<u8> {
    let held = held();
    let entry = |(name, text): (&String, &String)| {
        let (part, name) = name.rsplit_once('/').unwrap();
        Entry {
            path: ArchivePath::new(Part::of(part).unwrap(), name).unwrap(),
            size: text.len() as u64,
            sha256: Sha256::of(text.as_bytes()),
            damaged: false,
        }
    };
    let manifest = Manifest {
        kind: BackupType::Full,
        created_at: "2026-08-22T09:41:07Z".parse().unwrap(),
        store_format: 1,
        tags: Vec::new(),
        note: None,
        files: held.iter().map(entry).collect(),
    };
    let mut out = Vec::new();
    let mut texts = Texts(held);
    let written = write::write(&manifest, &mut texts, &mut Nothing, 1, &mut out).unwrap();
    assert!(matches!(written, Written::Whole { .. }));
    out
}

fn restored() -> Files {
    let held = held();
    let files = held.into_iter();
    files
        .map(|(name, text)| (path(&name), text.into_bytes()))
        .collect()
}

const MANNER: Manner<'_> = Manner {
    note: "a note",
    keep: 2,
    any_plan: true,
};

fn restore(disk: &SimulatedDisk, archive: &[u8], watch: &mut dyn Watch) -> Result<()> {
    let store = store(disk, 1);
    let selection = Selection::default();
    let request = Request {
        selection: &selection,
        mode: Mode::Replace,
        config_dir: None,
    };
    let mut input = archive;
    with_patience(|patience| {
        let source = Source {
            input: &mut input,
            sealed: false,
        };
        let mut prepared = restore::prepare(&store, source, request, watch, patience)?;
        let done = prepared.commit(MANNER, patience)?.unwrap();
        assert!(done.point.is_some());
        Ok(())
    })
}

/// What another pachat has: one of the conversations goes on, and one is new.
fn come_in(disk: &SimulatedDisk) -> Result<()> {
    let store = store(disk, 1);
    let lines = conversation(TWO, "{\"type\":\"rewind\",\"to\":0}\n") + &conversation(THREE, "");
    let limits = Limits {
        storage: ByteSize::megabytes(1),
        conversations: 10,
    };
    with_patience(|patience| {
        let stream = Box::new(Cursor::new(lines.into_bytes()));
        let sources = vec![import::Source::stream("standard input", stream)];
        let (_, mut prepared) =
            import::prepare(&store, sources, &limits, &mut Unwatched, patience)?;
        let done = import::commit(&mut prepared, "a note", 2, patience)?;
        assert!(done.point.is_some());
        Ok(())
    })
}

fn roll_back(disk: &SimulatedDisk) -> Result<()> {
    let store = store(disk, 2);
    with_patience(|patience| {
        let mut back = Back::plan(&store, "latest")?;
        let done = back.commit(MANNER, patience)?.unwrap();
        assert!(done.point.is_some());
        Ok(())
    })
}

type Act = Box<dyn Fn(&SimulatedDisk) -> Result<()>>;

/// One of the kinds of change, from a disk that is ready for it.
struct Change {
    name: &'static str,
    disk: SimulatedDisk,
    act: Act,
    old: Files,
    new: Files,
}

fn changes() -> [Change; 3] {
    let (disk, bytes) = (prepared(), archive());
    let before = data(&disk);
    let after = disk.restart(After::Kill);
    restore(&after, &bytes, &mut Unwatched).unwrap();
    assert_eq!(data(&after), restored());
    let mut imported = before.clone();
    imported.insert(path(&active(THREE)), conversation(THREE, "").into_bytes());
    let grown = conversation(TWO, "{\"type\":\"rewind\",\"to\":0}\n");
    imported.insert(path(&active(TWO)), grown.into_bytes());
    [
        Change {
            name: "import",
            disk: disk.restart(After::Kill),
            act: Box::new(come_in),
            old: before.clone(),
            new: imported,
        },
        Change {
            name: "restore",
            disk,
            act: Box::new(move |disk| restore(disk, &bytes, &mut Unwatched)),
            old: before.clone(),
            new: restored(),
        },
        Change {
            name: "rollback",
            disk: after.restart(After::Kill),
            act: Box::new(roll_back),
            old: restored(),
            new: before,
        },
    ]
}

/// The old files or the new ones, at the latest once the next pachat has started, and nothing
/// beside them. What a point holds is whole.
fn check(disk: &SimulatedDisk, change: &Change, done: bool, context: &str) {
    let store = store(disk, 9);
    // As `pachat list` begins.
    store
        .check()
        .unwrap_or_else(|error| panic!("{context}: {error:?}"));
    let found = data(disk);
    assert!(
        found == change.new || (!done && found == change.old),
        "{context}: {:?}",
        found.keys()
    );
    // As everything begins that writes.
    drop(with_patience(|patience| store.enter(patience)).unwrap());
    assert_eq!(data(disk), found, "{context}");
    let left = disk.files();
    let left = left.keys().find(|left| left.starts_with(path(".swap")));
    assert_eq!(left, None, "{context}");
    for point in points::list(&store).unwrap() {
        let (point, files) = points::open(&store, &point.id).unwrap();
        for file in files {
            let path = points::path(&store, &point, &file);
            assert!(disk.stat(&path).unwrap().len >= file.len, "{context}");
        }
    }
    // From the new files there is a way back.
    if done {
        roll_back(disk).unwrap_or_else(|error| panic!("{context}: {error:?}"));
        assert_eq!(data(disk), change.old, "{context}");
    }
}

fn operations(change: &Change) -> usize {
    let disk = change.disk.restart(After::Kill);
    (change.act)(&disk).unwrap();
    let operations = disk.operations();
    assert!(operations > 100, "{}: only {operations}", change.name);
    check(&disk, change, true, change.name);
    operations
}

#[test]
fn the_plug_can_be_pulled_at_every_operation() {
    for change in changes() {
        let mut ends = [0, 0];
        for at in 0..operations(&change) {
            let disk = change.disk.restart(After::Kill);
            disk.plan(at, Event::Stop);
            let done = (change.act)(&disk).is_ok();
            for after in After::ALL {
                let disk = disk.restart(after);
                let context = format!("{}, operation {at}, {after:?}", change.name);
                check(&disk, &change, done, &context);
                ends[usize::from(data(&disk) == change.new)] += 1;
            }
        }
        assert!(ends.iter().all(|count| *count > 10), "{ends:?}");
    }
}

#[test]
fn every_operation_can_fail_once() {
    for change in changes() {
        for at in 0..operations(&change) {
            for event in [
                Event::Fail(io::ErrorKind::Other),
                Event::Fail(io::ErrorKind::StorageFull),
                Event::Half(io::ErrorKind::StorageFull),
            ] {
                let disk = change.disk.restart(After::Kill);
                disk.plan(at, event);
                let context = format!("{}, operation {at}, {event:?}", change.name);
                let ended = (change.act)(&disk);
                if let Err(error) = &ended {
                    // A point that cannot be read is passed over, as if there were none.
                    let kinds = [
                        Kind::Io,
                        Kind::CannotCreate,
                        Kind::Malformed,
                        Kind::NotFound,
                    ];
                    assert!(kinds.contains(&error.kind()), "{context}: {error:?}");
                }
                check(&disk, &change, ended.is_ok(), &context);
            }
        }
    }
}

/// Ctrl-C at the moment with this number.
struct Impatient(usize);

impl Watch for Impatient {
    fn stage(&mut self, _what: &'static str, _bytes: u64) {}

    fn advance(&mut self, _bytes: u64) -> Result<()> {
        if self.0 == 0 {
            return Err(Error::of_signal(Signal::Interrupt));
        }
        self.0 -= 1;
        Ok(())
    }
}

#[test]
fn ctrl_c_at_any_moment_of_the_reading_leaves_nothing() {
    let bytes = archive();
    let mut moments = 0;
    loop {
        let disk = prepared();
        let before = data(&disk);
        let Err(error) = restore(&disk, &bytes, &mut Impatient(moments)) else {
            break;
        };
        assert_eq!(error.kind(), Kind::Interrupted, "{error:?}");
        assert_eq!(data(&disk), before);
        let left = disk.files();
        assert!(left.keys().all(|left| !left.starts_with(path(".swap"))));
        moments += 1;
    }
    assert!(moments > 2, "only {moments} moments");
}

#[test]
fn a_full_disk_is_noticed_before_the_first_byte() {
    let disk = prepared().with_free_space(10);
    let before = disk.files();
    let error = restore(&disk, &archive(), &mut Unwatched).unwrap_err();
    assert_eq!(error.kind(), Kind::Io);
    assert!(error.headline().contains("only 10 B are free"), "{error:?}");
    let mut after = disk.files();
    after.retain(|found, _| !found.starts_with(path("run")));
    assert_eq!(after, before);
}

#[test]
fn a_point_is_made_only_of_what_is_there() {
    let disk = SimulatedDisk::new(Path::new(ROOT));
    let store = store(&disk, 1);
    let made = with_patience(|patience| {
        let _shared = store.enter(patience)?;
        rollback::automatic(&store, &Part::ALL, "cleanup", None, patience)
    });
    assert!(made.unwrap().is_none());
    assert!(points::list(&store).unwrap().is_empty());
}
