//! Failing the disk and stopping the machine at every single operation of archiving, deleting,
//! taking back and a whole clean-up: each conversation is always somewhere, byte for byte, what
//! has a name is whole, and the next attempt works.
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
use std::io;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use common::disk::{After, Event, SimulatedDisk};
use common::host::{TestClock, TestRandom};
use flate2::read::MultiGzDecoder;
use jiff::tz::TimeZone;
use pachat::model::backup::Part;
use pachat::model::error::{Error, Kind, Result};
use pachat::model::id::ConversationId;
use pachat::ops::cleanup::{self, Applied, Choice, Emptying, Plan, Task, Wishes};
use pachat::ops::retention::{Rules, Within};
use pachat::ops::watch::Unwatched;
use pachat::platform::disk::{LockMode, Open};
use pachat::platform::signals::Signals;
use pachat::platform::{Clock as _, Disk};
use pachat::store::Store;
use pachat::store::index::Index;
use pachat::store::lock::Patience;
use pachat::store::log::Limits;
use pachat::store::shelf::{self, Ended, Moved, Shelf, Tell, Wanted};

const ROOT: &str = "/home/somebody/data/pachat";
const OLD: &str = "20260701-080000-7k2m9q";
const OTHER: &str = "20260702-080000-qrs789";
const OLDER: &str = "20260601-080000-abc123";
const YOUNG: &str = "20260822-090000-zzz999";
const DIGEST: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

fn store(disk: &SimulatedDisk) -> Store {
    let random = Arc::new(TestRandom::new(7));
    let clock = Arc::new(TestClock::new());
    Store::new(ROOT.into(), Arc::new(disk.clone()), clock, random)
}

fn id(text: &str) -> ConversationId {
    text.parse().unwrap()
}

/// The lines of a conversation, long enough for several pieces.
fn text(id: &str) -> Vec<u8> {
    let at = format!("{}-{}-{}T08:00:00.000Z", &id[..4], &id[4..6], &id[6..8]);
    let mut text = format!(
        r#"{{"type":"conversation","version":1,"id":"{id}","created_at":"{at}","title":"t"}}
{{"type":"message","n":1,"role":"user","content":"hello from {id}","at":"{at}"}}
"#
    );
    text.push_str("a line that cannot be read\n");
    text.into_bytes()
}

fn path(below: &str) -> PathBuf {
    Path::new(ROOT).join(below)
}

fn put(disk: &SimulatedDisk, below: &str, bytes: &[u8]) {
    let mut missing: Vec<PathBuf> = Vec::new();
    for directory in path(below).ancestors().skip(1) {
        if disk.stat(directory).is_ok() {
            break;
        }
        missing.push(directory.to_path_buf());
    }
    for directory in missing.iter().rev() {
        disk.create_dir(directory).unwrap();
    }
    let mut file = disk.open(&path(below), Open::CreateNew).unwrap();
    file.write_all(bytes).unwrap();
}

fn active(id: &str) -> String {
    format!("conversations/active/{id}.jsonl")
}

/// A disk with these files and nothing else, everything durable.
fn disk(files: &[(String, Vec<u8>)]) -> SimulatedDisk {
    let disk = SimulatedDisk::new(Path::new(ROOT));
    put(&disk, "VERSION", b"1\n");
    put(&disk, "run/store.lock", b"");
    put(&disk, "conversations/archived/.keep", b"");
    put(&disk, "conversations/active/.keep", b"");
    for (below, bytes) in files {
        put(&disk, below, bytes);
    }
    disk.restart(After::Kill)
}

fn with_patience<T>(act: impl FnOnce(&mut Patience<'_>) -> T) -> T {
    let signals = Signals::default();
    // A lock that nobody holds is had at once; one that leaks fails the test soon.
    act(&mut Patience {
        limit: Some(Duration::from_millis(50)),
        signals: &signals,
        notify: &mut || {},
    })
}

fn on_shelf<T>(disk: &SimulatedDisk, act: impl FnOnce(&Shelf<'_>) -> Result<T>) -> Result<T> {
    let store = store(disk);
    let shelf = with_patience(|patience| Shelf::enter(&store, patience))?;
    act(&shelf)
}

/// Everything in `conversations/`, unpacked; by path below it.
fn held(disk: &SimulatedDisk, context: &str) -> BTreeMap<String, Vec<u8>> {
    let root = path("conversations");
    let mut held = BTreeMap::new();
    for (path, bytes) in disk.files() {
        let Ok(below) = path.strip_prefix(&root) else {
            continue;
        };
        let below = below.to_str().unwrap().to_owned();
        let name = path.file_name().unwrap().to_str().unwrap();
        if name.starts_with('.') {
            continue;
        }
        let mut text = Vec::new();
        if name.strip_suffix(".gz").is_some() {
            let read = MultiGzDecoder::new(&*bytes).read_to_end(&mut text);
            assert!(
                read.is_ok(),
                "{context}: {below} is called whole and is not"
            );
        } else {
            text = bytes;
        }
        held.insert(below, text);
    }
    held
}

/// Whoever has the name of the conversation has exactly its bytes; the places that do.
fn places(disk: &SimulatedDisk, id: &str, bytes: &[u8], context: &str) -> Vec<String> {
    let held = held(disk, context);
    let named = held.into_iter().filter(|(path, _)| path.contains(id));
    named
        .map(|(path, content)| {
            assert!(content == bytes, "{context}: {path} holds something else");
            path
        })
        .collect()
}

type Act = fn(&SimulatedDisk) -> Result<Moved>;

/// One way of moving a conversation: where it begins, and where it is afterwards.
struct Way {
    name: &'static str,
    before: fn() -> SimulatedDisk,
    act: Act,
    /// A part of the path at which it ends.
    ends: &'static str,
    /// Whether it is a conversation that can be read all the time.
    readable: bool,
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn in_use() -> SimulatedDisk {
    disk(&[(active(OLD), text(OLD))])
}

fn put_away() -> SimulatedDisk {
    let archived = format!("conversations/archived/{OLD}.jsonl.gz");
    disk(&[(archived, gzip(&text(OLD)))])
}

/// As a crash leaves it: in both places, and the beginnings of another try.
fn in_both() -> SimulatedDisk {
    disk(&[
        (active(OLD), text(OLD)),
        (
            format!("conversations/archived/{OLD}.jsonl.gz"),
            gzip(&text(OLD)),
        ),
        (
            format!("conversations/archived/.{OLD}.jsonl.gz.tmp"),
            b"half".to_vec(),
        ),
    ])
}

fn in_trash() -> SimulatedDisk {
    let name = format!("conversations/trash/20260820_080000.{OLD}.jsonl");
    disk(&[(name, text(OLD))])
}

fn archived_in_trash() -> SimulatedDisk {
    let name = format!("conversations/trash/20260820_080000.{OLD}.jsonl.gz");
    disk(&[(name, gzip(&text(OLD)))])
}

/// Moves several together. What was told of each, and the error that ended it.
fn together(
    disk: &SimulatedDisk,
    ids: &[&str],
    act: impl FnOnce(&Shelf<'_>, &[Wanted<'_>], &mut Tell<'_>) -> Result<(), Ended>,
) -> (BTreeMap<String, Moved>, Option<Error>) {
    let named: Vec<ConversationId> = ids.iter().map(|text| id(text)).collect();
    let wanted: Vec<Wanted<'_>> = named.iter().map(|id| Wanted { id, seen: None }).collect();
    let mut told = BTreeMap::new();
    let ended = on_shelf(disk, |shelf| {
        let mut tell = |number: usize, moved| {
            let before = told.insert(ids[number].to_owned(), moved);
            assert_eq!(before, None, "{} was told of twice", ids[number]);
        };
        act(shelf, &wanted, &mut tell).map_err(|(_, error)| error)
    });
    (told, ended.err())
}

fn archive_all(disk: &SimulatedDisk, ids: &[&str]) -> (BTreeMap<String, Moved>, Option<Error>) {
    together(disk, ids, |shelf, wanted, tell| {
        shelf.archive(wanted, 1, tell)
    })
}

fn discard_all(disk: &SimulatedDisk, ids: &[&str]) -> (BTreeMap<String, Moved>, Option<Error>) {
    together(disk, ids, |shelf, wanted, tell| shelf.discard(wanted, tell))
}

fn the_only((mut told, ended): (BTreeMap<String, Moved>, Option<Error>)) -> Result<Moved> {
    match ended {
        None => Ok(told.remove(OLD).unwrap()),
        Some(error) => Err(error),
    }
}

fn archive(disk: &SimulatedDisk) -> Result<Moved> {
    the_only(archive_all(disk, &[OLD]))
}

fn discard(disk: &SimulatedDisk) -> Result<Moved> {
    the_only(discard_all(disk, &[OLD]))
}

fn take_back(disk: &SimulatedDisk) -> Result<Moved> {
    let trashed = shelf::find(&store(disk), "7k2")?;
    on_shelf(disk, |shelf| shelf.take_back(&trashed))
}

const WAYS: [Way; 7] = [
    Way {
        name: "archive",
        before: in_use,
        act: archive,
        ends: "archived/",
        readable: true,
    },
    Way {
        name: "archive once more",
        before: in_both,
        act: archive,
        ends: "archived/",
        readable: true,
    },
    Way {
        name: "delete",
        before: in_use,
        act: discard,
        ends: "trash/",
        readable: false,
    },
    Way {
        name: "delete an archived one",
        before: put_away,
        act: discard,
        ends: "trash/",
        readable: false,
    },
    Way {
        name: "delete from both places",
        before: in_both,
        act: discard,
        ends: "trash/",
        readable: false,
    },
    Way {
        name: "take back",
        before: in_trash,
        act: take_back,
        ends: "active/",
        readable: false,
    },
    Way {
        name: "take an archived one back",
        before: archived_in_trash,
        act: take_back,
        ends: "archived/",
        readable: false,
    },
];

/// Nothing is lost, and another attempt ends where the first one should have.
fn check(way: &Way, disk: &SimulatedDisk, context: &str) {
    let bytes = text(OLD);
    let there = places(disk, OLD, &bytes, context);
    assert!(!there.is_empty(), "{context}: it is lost");
    if way.readable {
        let read = store(disk).read(&id(OLD));
        assert_eq!(read.unwrap().lines, bytes, "{context}");
    }
    let again = (way.act)(disk);
    match again {
        Ok(Moved::To(_)) => {}
        // It was done already.
        Ok(Moved::Left(why)) => assert_eq!(why, "it is gone", "{context}"),
        Err(error) => {
            let done = matches!(error.kind(), Kind::NotFound | Kind::CannotCreate);
            assert!(done, "{context}: {error:?}");
        }
    }
    let there = places(disk, OLD, &bytes, context);
    let arrived = there.iter().any(|path| path.starts_with(way.ends));
    assert!(arrived, "{context}: it is at {there:?}");
    // What is half written goes with the next try at it. Of one that is deleted there is none.
    let litter = disk.files().into_keys();
    let litter: Vec<PathBuf> = litter
        .filter(|path| path.extension().is_some_and(|extension| extension == "tmp"))
        .collect();
    let fine = litter.is_empty() || way.name.contains("delete");
    assert!(fine, "{context}: {litter:?}");
}

fn operations(way: &Way) -> usize {
    let disk = (way.before)();
    let moved = (way.act)(&disk).unwrap();
    assert!(matches!(moved, Moved::To(_)), "{}: {moved:?}", way.name);
    let operations = disk.operations();
    assert!(operations > 10, "{}: {operations} operations", way.name);
    let there = places(&disk, OLD, &text(OLD), way.name);
    assert!(
        there.iter().all(|path| path.starts_with(way.ends)),
        "{}: {there:?}",
        way.name
    );
    operations
}

#[test]
fn the_plug_can_be_pulled_at_every_operation() {
    for way in &WAYS {
        for at in 0..operations(way) {
            let disk = (way.before)();
            disk.plan(at, Event::Stop);
            let ended = (way.act)(&disk);
            for after in After::ALL {
                let next = disk.restart(after);
                let context = format!("{}, operation {at}, {after:?}", way.name);
                if matches!(ended, Ok(Moved::To(_))) {
                    // What was reported lasts, also when it was the very last operation.
                    let there = places(&next, OLD, &text(OLD), &context);
                    let first = there.iter().find(|path| path.starts_with(way.ends));
                    assert!(first.is_some(), "{context}: {there:?}");
                }
                check(way, &next, &context);
            }
        }
    }
}

#[test]
fn every_operation_can_fail_once() {
    for way in &WAYS {
        for at in 0..operations(way) {
            for event in [
                Event::Fail(io::ErrorKind::StorageFull),
                Event::Fail(io::ErrorKind::Other),
                Event::Half(io::ErrorKind::StorageFull),
            ] {
                let disk = (way.before)();
                disk.plan(at, event);
                let context = format!("{}, operation {at}, {event:?}", way.name);
                if let Err(error) = (way.act)(&disk) {
                    let expected = matches!(error.kind(), Kind::Io | Kind::CannotCreate);
                    assert!(expected, "{context}: {error:?}");
                }
                check(way, &disk, &context);
            }
        }
    }
}

const THREE: [&str; 3] = [OLDER, OLD, YOUNG];

/// Three conversations, of which a crash has left the second in both places.
fn three() -> SimulatedDisk {
    let archived = format!("conversations/archived/{OLD}.jsonl.gz");
    let mut files: Vec<_> = THREE.iter().map(|id| (active(id), text(id))).collect();
    files.push((archived, gzip(&text(OLD))));
    disk(&files)
}

fn temporaries(disk: &SimulatedDisk) -> Vec<PathBuf> {
    let files = disk.files().into_keys();
    files
        .filter(|path| path.extension().is_some_and(|extension| extension == "tmp"))
        .collect()
}

/// A way of moving several, and where it ends.
type Batch = (
    fn(&SimulatedDisk, &[&str]) -> (BTreeMap<String, Moved>, Option<Error>),
    &'static str,
);

const BATCHES: [Batch; 2] = [(archive_all, "archived/"), (discard_all, "trash/")];

/// None of three is lost, those that were told of are where they should be and nowhere else,
/// and another attempt brings the rest there.
fn check_three(
    (act, ends): Batch,
    disk: &SimulatedDisk,
    told: &BTreeMap<String, Moved>,
    context: &str,
) {
    let arrived = |there: &[String]| there.iter().all(|path| path.starts_with(ends));
    for id in THREE {
        let there = places(disk, id, &text(id), context);
        assert!(!there.is_empty(), "{context}: {id} is lost");
        if matches!(told.get(id), Some(Moved::To(_))) {
            assert!(arrived(&there), "{context}: {id} is at {there:?}");
        }
    }
    // Of those that are in no place but the last there is nothing to do.
    let (again, ended) = act(disk, &THREE);
    assert!(ended.is_none(), "{context}: {ended:?}");
    assert_eq!(again.len(), 3, "{context}: {again:?}");
    for id in THREE {
        let there = places(disk, id, &text(id), context);
        assert!(arrived(&there) && !there.is_empty(), "{context}: {there:?}");
    }
    assert!(
        temporaries(disk).is_empty() || ends == "trash/",
        "{context}"
    );
}

#[test]
fn a_batch_can_be_cut_short_at_every_operation() {
    for batch in BATCHES {
        let (act, ends) = batch;
        let calm = three();
        let (told, ended) = act(&calm, &THREE);
        assert!(ended.is_none(), "{ended:?}");
        assert!(told.values().all(|moved| matches!(moved, Moved::To(_))));
        let operations = calm.operations();
        check_three(batch, &calm, &told, ends);
        let mut some = 0;
        for at in 0..operations {
            for after in After::ALL {
                let disk = three();
                disk.plan(at, Event::Stop);
                let (told, _) = act(&disk, &THREE);
                let context = format!("{ends}, operation {at}, {after:?}");
                check_three(batch, &disk.restart(after), &told, &context);
            }
            for event in [
                Event::Fail(io::ErrorKind::StorageFull),
                Event::Fail(io::ErrorKind::Other),
                Event::Half(io::ErrorKind::StorageFull),
            ] {
                let disk = three();
                disk.plan(at, event);
                let (told, ended) = act(&disk, &THREE);
                let context = format!("{ends}, operation {at}, {event:?}");
                let moved = |moved: &&Moved| matches!(moved, Moved::To(_));
                match ended {
                    // What is about one of them is told, and leaves the others alone.
                    None => {
                        assert_eq!(told.len(), 3, "{context}");
                        let moved = told.values().filter(moved).count();
                        assert!(moved >= 2, "{context}: {told:?}");
                        some += usize::from(moved == 2);
                    }
                    Some(error) => {
                        let expected = matches!(error.kind(), Kind::Io | Kind::CannotCreate);
                        assert!(expected, "{context}: {error:?}");
                    }
                }
                let litter = temporaries(&disk);
                assert!(litter.is_empty(), "{context}: {litter:?}");
                check_three(batch, &disk, &told, &context);
            }
        }
        assert!(operations > 40 && some > 0, "{operations}, {some}");
    }
}

#[test]
fn one_in_use_does_not_hold_up_the_others() {
    for (act, ends) in BATCHES {
        let disk = three();
        let lock = disk
            .open(
                &path(&format!("run/turn-{OLDER}.lock")),
                Open::AppendOrCreate,
            )
            .unwrap();
        assert!(lock.try_lock(LockMode::Exclusive).unwrap());
        let (told, ended) = act(&disk, &THREE);
        assert!(ended.is_none(), "{ended:?}");
        assert_eq!(told[OLDER], Moved::Left("it is in use".into()));
        for id in [OLD, YOUNG] {
            assert!(matches!(told[id], Moved::To(_)), "{told:?}");
            let there = places(&disk, id, &text(id), ends);
            assert!(there.iter().all(|path| path.starts_with(ends)), "{there:?}");
        }
        assert_eq!(
            places(&disk, OLDER, &text(OLDER), ends),
            [format!("active/{OLDER}.jsonl")]
        );
        // Every other turn was given back.
        let turns = disk.files().into_keys();
        let turns = turns.filter(|path| path.to_str().unwrap().contains("/turn-"));
        assert_eq!(turns.count(), 1);
    }
}

#[test]
fn a_signal_leaves_everything_where_it_was() {
    let disk = three();
    let store = store(&disk);
    let before = disk.files();
    let signals = Signals::default();
    let shelf = Shelf::enter(
        &store,
        &mut Patience {
            limit: None,
            signals: &signals,
            notify: &mut || {},
        },
    )
    .unwrap();
    signals.raise_interrupt();
    let ids = THREE.map(id);
    let wanted: Vec<Wanted<'_>> = ids.iter().map(|id| Wanted { id, seen: None }).collect();
    let ended = shelf.archive(&wanted, 1, &mut |_, moved| panic!("{moved:?}"));
    assert_eq!(ended.unwrap_err().1.kind(), Kind::Interrupted);
    assert_eq!(disk.files(), before);
}

#[test]
fn more_than_a_batch_is_archived_on_several_threads() {
    let ids: Vec<String> = (0..300)
        .map(|n| format!("20260701-080000-{n:06}"))
        .collect();
    let files: Vec<_> = ids.iter().map(|id| (active(id), text(id))).collect();
    let disk = disk(&files);
    let wishes = Wishes {
        tasks: vec![Task::Archive],
        cores: 4,
        ..wishes()
    };
    let mut index = Index::load(&store(&disk));
    let plan = cleanup::plan(&store(&disk), &wishes, &mut index).unwrap();
    let applied = with_patience(|patience| {
        let store = store(&disk);
        cleanup::apply(&store, &plan, &wishes, &mut index, patience, &mut Unwatched)
    });
    assert!(applied.failures.is_empty(), "{:?}", applied.failures);
    assert_eq!(applied.done.len(), 300);
    for id in &ids {
        assert_eq!(
            places(&disk, id, &text(id), "threads"),
            [format!("archived/{id}.jsonl.gz")]
        );
    }
    assert!(temporaries(&disk).is_empty());
    assert_true_index(&disk, &index, 300, "threads");
}

/// What an index says of a conversation is what its file says; it knows at least so many.
fn assert_true_index(disk: &SimulatedDisk, index: &Index, least: usize, context: &str) {
    let store = store(disk);
    let files = store.inventory(&[Part::Active, Part::Archived]).unwrap();
    let mut fresh = Index::default();
    let mut known = 0;
    for file in &files.files {
        if let Some(facts) = index.known(file) {
            let read = fresh.facts(&store, file).unwrap();
            assert_eq!(read.as_ref(), Some(facts), "{context}");
            known += 1;
        }
    }
    assert!(known >= least, "{context}: {known} are known");
}

#[test]
fn an_archived_remainder_that_says_something_else_is_not_replaced() {
    for other in [gzip(b"another\n"), b"no gzip".to_vec()] {
        let archived = format!("conversations/archived/{OLD}.jsonl.gz");
        let disk = disk(&[(active(OLD), text(OLD)), (archived.clone(), other.clone())]);
        let moved = archive(&disk).unwrap();
        assert!(matches!(moved, Moved::Left(_)), "{moved:?}");
        let files = disk.files();
        assert_eq!(files[&path(&archived)], other);
        assert_eq!(files[&path(&active(OLD))], text(OLD));
    }
}

#[test]
fn what_a_dead_writer_has_left_is_repaired_first() {
    let partial = format!(
        "{}\n{}\n",
        r#"{"type":"partial","version":1,"n":2,"at":"2026-07-01T08:00:01.000Z","model":"a/b"}"#,
        r#"{"text":"what had arrived"}"#
    );
    let torn = [text(OLD), b"{\"type\":\"mess".to_vec()].concat();
    let before = || {
        let side = format!("conversations/active/{OLD}.partial");
        disk(&[
            (active(OLD), torn.clone()),
            (side, partial.clone().into_bytes()),
        ])
    };
    let calm = before();
    assert!(matches!(archive(&calm).unwrap(), Moved::To(_)));
    let operations = calm.operations();
    let everything = |disk: &SimulatedDisk, context: &str| {
        let quarantine = disk.files().into_iter();
        let quarantine = quarantine.filter(|(path, _)| path.starts_with(crate::path("quarantine")));
        let all: Vec<Vec<u8>> = held(disk, context)
            .into_values()
            .chain(quarantine.map(|(_, bytes)| bytes))
            .collect();
        String::from_utf8(all.concat()).unwrap()
    };
    for at in 0..operations {
        let disk = before();
        disk.plan(at, Event::Stop);
        let _ = archive(&disk);
        for after in After::ALL {
            let next = disk.restart(after);
            let context = format!("operation {at}, {after:?}");
            for _ in 0..2 {
                let all = everything(&next, &context);
                for part in ["hello from", "what had arrived", "{\"type\":\"mess"] {
                    assert!(all.contains(part), "{context}: {part} is lost");
                }
                archive(&next).unwrap();
            }
            assert_eq!(
                held(&next, &context).into_keys().collect::<Vec<_>>(),
                [format!("archived/{OLD}.jsonl.gz")],
                "{context}"
            );
        }
    }
}

fn wishes() -> Wishes {
    Wishes {
        tasks: Task::ALL.to_vec(),
        choice: Choice {
            older_than: Some(Within::days(7)),
            ..Choice::default()
        },
        delete_archived: Some(Within::days(60)),
        emptying: Some(Emptying::After(Within::days(30))),
        keep_tags: Vec::new(),
        min_age: Within::days(1),
        logs: Limits::default(),
        rules: Rules {
            last: 7,
            ..Rules::default()
        },
        now: TestClock::new().now().to_zoned(TimeZone::UTC),
        // The order of operations is the same each time.
        cores: 1,
    }
}

/// A store in which each task has something to do, but for backups.
fn full() -> SimulatedDisk {
    let trash = |at: &str| format!("conversations/trash/{at}.20260101-080000-qqq111.jsonl");
    disk(&[
        (active(OLD), text(OLD)),
        (active(OTHER), text(OTHER)),
        (active(YOUNG), text(YOUNG)),
        (
            format!("conversations/archived/{OLDER}.jsonl.gz"),
            gzip(&text(OLDER)),
        ),
        (trash("20260820_080000"), text("20260101-080000-qqq111")),
        (trash("20260301_080000"), b"long gone\n".to_vec()),
        (format!("attachments/{DIGEST}.png"), b"picture".to_vec()),
        (
            "logs/app.log".into(),
            b"2026-01-01T00:00:00.000Z INFO x\n".to_vec(),
        ),
        ("logs/app.log.20260101_000000.gz".into(), gzip(b"old\n")),
        ("cache/models.json".into(), b"{}".to_vec()),
        ("config/.app_config.json.0a1b2c3d.tmp".into(), b"{".to_vec()),
        (format!("run/turn-{OLDER}.lock"), Vec::new()),
    ])
}

fn planned(disk: &SimulatedDisk) -> (Plan, Index) {
    let mut index = Index::load(&store(disk));
    let plan = cleanup::plan(&store(disk), &wishes(), &mut index).unwrap();
    (plan, index)
}

fn applied(disk: &SimulatedDisk, plan: &Plan, index: &mut Index) -> Applied {
    let store = store(disk);
    with_patience(|patience| {
        cleanup::apply(&store, plan, &wishes(), index, patience, &mut Unwatched)
    })
}

/// Whatever happened, nothing is gone that the plan did not name.
fn check_all(disk: &SimulatedDisk, context: &str) {
    for id in [OLD, OTHER, OLDER, YOUNG, "20260101-080000-qqq111"] {
        let long_gone = format!("trash/20260301_080000.{id}.jsonl");
        let held = held(disk, context);
        let named = held.iter().filter(|(path, _)| path.contains(id));
        let named: Vec<_> = named.filter(|(path, _)| **path != long_gone).collect();
        assert!(!named.is_empty(), "{context}: {id} is lost");
        for (path, bytes) in named {
            assert!(**bytes == text(id), "{context}: {path}");
        }
    }
    let files = disk.files();
    let picture = files
        .iter()
        .any(|(path, bytes)| path.to_str().unwrap().contains(DIGEST) && bytes == b"picture");
    assert!(picture, "{context}: the attachment is lost");
    let log = files.iter().any(|(path, bytes)| {
        let name = path.file_name().unwrap().to_str().unwrap();
        let mut text = Vec::new();
        if name.strip_suffix(".gz").is_some() {
            let _ = MultiGzDecoder::new(&**bytes).read_to_end(&mut text);
        } else {
            text.clone_from(bytes);
        }
        name.starts_with("app.log") && text.starts_with(b"2026-01-01T00:00:00.000Z INFO x\n")
    });
    assert!(log, "{context}: the log is lost");
}

#[test]
fn what_a_dry_run_shows_is_what_is_done() {
    let disk = full();
    let (plan, mut index) = planned(&disk);
    let tasks: Vec<&str> = plan.steps.iter().map(|step| step.task.as_str()).collect();
    assert_eq!(
        tasks,
        [
            "archived",
            "archive",
            "archive",
            "trash",
            "logs",
            "logs",
            "attachments",
            "temporaries",
            "temporaries",
            "caches"
        ],
        "{plan:#?}"
    );
    // Looking again finds the same, from an index that knows everything.
    index.save(&store(&disk));
    assert_eq!(planned(&disk).0.steps[..9], plan.steps[..9]);
    let done = applied(&disk, &plan, &mut index);
    assert!(done.failures.is_empty(), "{:?}", done.failures);
    assert!(done.skipped.is_empty(), "{:?}", done.skipped);
    let steps: Vec<usize> = done.done.iter().map(|done| done.step).collect();
    assert_eq!(steps, (0..plan.steps.len()).collect::<Vec<_>>());
    check_all(&disk, "calm");
    assert!(!disk.files().contains_key(&path(
        "conversations/trash/20260301_080000.20260101-080000-qqq111.jsonl"
    )));
    // Afterwards there is nothing to do, but for the cache that the index is in.
    let (after, _) = planned(&disk);
    let left = after.steps.iter().filter(|step| step.task != Task::Caches);
    assert_eq!(left.count(), 0, "{after:#?}");
}

#[test]
fn a_whole_clean_up_survives_failures_and_power_cuts() {
    let disk = full();
    let (plan, mut index) = planned(&disk);
    let start = disk.operations();
    applied(&disk, &plan, &mut index);
    let end = disk.operations();
    assert!(end > start + 100, "only {} operations", end - start);
    for at in start..end {
        for event in [
            Event::Stop,
            Event::Fail(io::ErrorKind::StorageFull),
            Event::Fail(io::ErrorKind::Other),
        ] {
            let disk = full();
            let (plan, mut index) = planned(&disk);
            disk.plan(at, event);
            applied(&disk, &plan, &mut index);
            let context = format!("operation {at}, {event:?}");
            if event == Event::Stop {
                for after in After::ALL {
                    let next = disk.restart(after);
                    // The attachment and the conversations, whatever was synced when.
                    check_all(&next, &format!("{context}, {after:?}"));
                }
            } else {
                check_all(&disk, &context);
                assert_true_index(&disk, &index, 0, &context);
            }
        }
    }
}
