//! Stopping the machine and failing the disk at every single operation of a swap, of its
//! recovery, and of making and removing rollback points: always the old set or the new one,
//! never a mixture, and nothing left over.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a test may panic, looks at the machine itself, and says how much it has tried"
)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use common::disk::{After, Event, SimulatedDisk};
use common::host::{TestClock, TestRandom};
use pachat::model::backup::Part;
use pachat::model::error::{Error, Kind, Result};
use pachat::platform::disk::{Entry, File, LockMode, Open, Stat, Walked};
use pachat::platform::{Disk, Signals};
use pachat::store::lock::Patience;
use pachat::store::points::{self, PointFile};
use pachat::store::swap::{self, NewPart, Staging, Take};
use pachat::store::{Store, atomic};

const ROOT: &str = "/home/somebody/data/pachat";
const ONE: &str = "20260101-000000-aaaaaa.jsonl";
const TWO: &str = "20260101-000000-bbbbbb.jsonl";
const THREE: &str = "20260101-000000-cccccc.jsonl";
const OLD: &str = "20250101-000000-dddddd.jsonl.gz";
const PARTS: [Part; 3] = [Part::Active, Part::Attachments, Part::Logs];

type Files = BTreeMap<PathBuf, Vec<u8>>;

fn store_on(disk: Arc<dyn Disk>, seed: u64) -> Store {
    let clock = Arc::new(TestClock::new());
    Store::new(ROOT.into(), disk, clock, Arc::new(TestRandom::new(seed)))
}

fn store(disk: &SimulatedDisk, seed: u64) -> Store {
    store_on(Arc::new(disk.clone()), seed)
}

fn with_patience<T>(act: impl FnOnce(&mut Patience<'_>) -> Result<T>) -> Result<T> {
    // A lock that nobody holds is had at once; one that leaks fails the test soon.
    act(&mut Patience {
        limit: Some(Duration::from_millis(50)),
        signals: &Signals::default(),
        notify: &mut || {},
    })
}

fn put(disk: &dyn Disk, path: &str, text: &str) {
    let path = Path::new(ROOT).join(path);
    let parent = path.parent().unwrap();
    atomic::create_dirs(disk, parent).unwrap();
    let mut file = disk.open(&path, Open::AppendOrCreate).unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file.sync_data().unwrap();
    disk.sync_dir(parent).unwrap();
}

fn append(disk: &dyn Disk, part: Part, name: &str, text: &str) {
    put(disk, &format!("{}/{name}", part.path()), text);
}

/// A small store with a bit of everything, and a rollback point from before some of it.
fn prepared() -> SimulatedDisk {
    let disk = SimulatedDisk::new(Path::new(ROOT));
    put(&disk, "VERSION", "1\n");
    append(&disk, Part::Active, ONE, "one\n");
    append(&disk, Part::Active, TWO, "two\n");
    append(&disk, Part::Archived, OLD, "archived");
    append(&disk, Part::Config, "app_config.json", "{}\n");
    append(&disk, Part::Logs, "app.log", "a line\n");
    with_patience(|patience| points::create(&store(&disk, 7), &PARTS, "manual", None, patience))
        .unwrap();
    // One has grown since, and ends in half a line; two is as it was; three is new.
    append(&disk, Part::Active, ONE, "more\nhal");
    append(&disk, Part::Active, THREE, "three\n");
    append(&disk, Part::Active, "notes.txt", "of somebody else");
    append(&disk, Part::Active, ".x.tmp", "of a dead writer");
    disk
}

/// The files of the store itself: not those of locks, points, and what is under way.
fn set(disk: &SimulatedDisk) -> Files {
    let mut files = disk.files();
    let apart = ["run", "backups", ".swap", "conversations/active/.x.tmp"];
    files.retain(|path, _| {
        !apart
            .iter()
            .any(|apart| path.starts_with(Path::new(ROOT).join(apart)))
    });
    files
}

fn file(part: Part, name: &str) -> PathBuf {
    Path::new(ROOT).join(part.path()).join(name)
}

/// What [`swap_parts`] makes of the store.
fn expected(old: &Files) -> Files {
    let mut new = old.clone();
    new.insert(file(Part::Active, ONE), b"one\n".to_vec());
    new.insert(file(Part::Active, THREE), b"another three\n".to_vec());
    new.insert(
        file(Part::Attachments, &"a".repeat(64)),
        b"picture".to_vec(),
    );
    new
}

/// A swap as a restore does it: from a point by a copy (one has grown) and by a link (two, the
/// log), and from staged files, one of them in a part that was not there.
fn swap_parts(store: &Store) -> Result<()> {
    with_patience(|patience| {
        let (point, files) = points::open(store, "latest")?;
        let take = |part: Part, name: &str| {
            let recorded = |file: &&PointFile| file.part == part && file.name == name;
            let file = files.iter().find(recorded).unwrap();
            (
                name.to_owned(),
                Take::From(points::path(store, &point, file), file.len),
            )
        };
        let mut staging = Staging::begin(store, patience)?;
        let picture = "a".repeat(64);
        for (part, name, text) in [
            (Part::Active, THREE, "another three\n"),
            (Part::Attachments, picture.as_str(), "picture"),
            // Staged and then not wanted.
            (Part::Active, TWO, "unwanted\n"),
        ] {
            let mut file = staging.create(part, name)?;
            let path = staging.path(part, name);
            file.write_all(text.as_bytes())
                .map_err(|error| Error::io("cannot stage", &path, &error))?;
        }
        let parts = [
            NewPart {
                part: Part::Active,
                files: vec![
                    take(Part::Active, ONE),
                    take(Part::Active, TWO),
                    (THREE.to_owned(), Take::Staged),
                ],
            },
            NewPart {
                part: Part::Attachments,
                files: vec![(picture.clone(), Take::Staged)],
            },
            NewPart {
                part: Part::Logs,
                files: vec![take(Part::Logs, "app.log")],
            },
        ];
        let alone = store.enter_alone(patience)?;
        staging.swap(&alone, &parts)
    })
}

/// Starts pachat: as a command that writes, or as one that only reads.
fn start(store: &Store, writes: bool) -> Result<()> {
    if writes {
        return with_patience(|patience| store.enter(patience)).map(drop);
    }
    store.check()
}

/// Starts pachat on a disk, and says whether it has the new set.
fn settled(disk: &SimulatedDisk, old: &Files, context: &str) -> bool {
    start(&store(disk, 99), false).unwrap_or_else(|error| panic!("{context}: {error:?}"));
    let reading = set(disk);
    start(&store(disk, 98), true).unwrap_or_else(|error| panic!("{context}: {error:?}"));
    let found = set(disk);
    assert_eq!(reading, found, "{context}: a reader saw something else");
    let new = expected(old);
    assert!(found == *old || found == new, "{context}: {found:#?}");
    assert_tidy(disk, context);
    found == new
}

fn assert_tidy(disk: &SimulatedDisk, context: &str) {
    let left: Vec<PathBuf> = disk
        .directories()
        .into_iter()
        .filter(|path| path.to_string_lossy().contains("/.swap"))
        .collect();
    assert_eq!(left, Vec::<PathBuf>::new(), "{context}");
}

/// How many operations a swap takes.
fn operations_of_a_swap() -> usize {
    let disk = prepared();
    let (old, before) = (set(&disk), disk.operations());
    swap_parts(&store(&disk, 1)).unwrap();
    assert_eq!(set(&disk), expected(&old));
    let operations = disk.operations() - before;
    assert_tidy(&disk, "nothing wrong");
    assert!(settled(
        &disk.restart(After::PowerCut),
        &old,
        "nothing wrong"
    ));
    operations
}

#[test]
fn a_swap_can_be_stopped_at_every_operation() {
    let operations = operations_of_a_swap();
    let (mut outcomes, mut new) = (0, 0);
    for at in 0..operations {
        let disk = prepared();
        let old = set(&disk);
        disk.plan(disk.operations() + at, Event::Stop);
        let done = swap_parts(&store(&disk, 1)).is_ok();
        for after in After::ALL {
            let context = format!("operation {at}, {after:?}");
            let is_new = settled(&disk.restart(after), &old, &context);
            assert!(is_new || !done, "{context}: it was acknowledged");
            outcomes += 1;
            new += usize::from(is_new);
        }
    }
    println!(
        "swap: {operations} operations, {outcomes} stops: old {} times, new {new} times",
        outcomes - new
    );
    assert!(
        operations > 60 && new > 10 && outcomes - new > 100,
        "{operations}, {new}"
    );
}

#[test]
fn every_operation_of_a_swap_can_fail_once() {
    let operations = operations_of_a_swap();
    let (mut outcomes, mut new) = (0, 0);
    for at in 0..operations {
        for kind in [io::ErrorKind::Other, io::ErrorKind::StorageFull] {
            let context = format!("operation {at}, {kind:?}");
            let disk = prepared();
            let old = set(&disk);
            disk.plan(disk.operations() + at, Event::Fail(kind));
            let result = swap_parts(&store(&disk, 1));
            let now = set(&disk);
            match &result {
                Ok(()) => assert_eq!(now, expected(&old), "{context}"),
                Err(error) if is_unfinished(error) => {}
                Err(error) => {
                    assert_eq!(now, old, "{context}: {error:?}");
                    // A point whose head cannot be read is passed over, and not found.
                    let kinds = [Kind::Io, Kind::CannotCreate, Kind::NotFound];
                    assert!(kinds.contains(&error.kind()), "{context}: {error:?}");
                }
            }
            for after in [After::PowerCut, After::Removed] {
                let cut = settled(&disk.restart(after), &old, &context);
                if !result.as_ref().is_err_and(is_unfinished) {
                    assert_eq!(cut, result.is_ok(), "{context}, {after:?}");
                }
            }
            let is_new = settled(&disk, &old, &context);
            outcomes += 1;
            new += usize::from(is_new);
        }
    }
    println!(
        "swap: {operations} operations, {outcomes} failures: old {} times, new {new} times",
        outcomes - new
    );
    assert!(new > 10 && outcomes - new > 100, "{operations}, {new}");
}

fn is_unfinished(error: &Error) -> bool {
    error
        .hint_text()
        .is_some_and(|hint| hint.contains("the next start completes it"))
}

/// Everything on a disk but the points, which have the time in them.
fn state(disk: &SimulatedDisk) -> (Files, Vec<PathBuf>) {
    let points = Path::new(ROOT).join("backups");
    let (mut files, mut directories) = (disk.files(), disk.directories());
    files.retain(|path, _| !path.starts_with(&points));
    directories.retain(|path| !path.starts_with(&points));
    (files, directories)
}

#[test]
fn a_recovery_can_be_stopped_at_every_operation() {
    let operations = operations_of_a_swap();
    let (mut outcomes, mut most) = (0, 0);
    // Many stops leave the same behind, and the same is settled the same way.
    let mut seen = BTreeSet::new();
    let mut known: BTreeMap<(Files, Vec<PathBuf>), bool> = BTreeMap::new();
    for at in 0..operations {
        for after in After::ALL {
            let disk = prepared();
            let old = set(&disk);
            disk.plan(disk.operations() + at, Event::Stop);
            let _ = swap_parts(&store(&disk, 1));
            let crashed = disk.restart(after);
            if !seen.insert(state(&crashed)) {
                continue;
            }
            let whole = crashed.restart(After::Kill);
            let is_new = settled(&whole, &old, "recovery");
            // As far as it goes with everything in its place, and then one that stops.
            let recovery = crashed.restart(After::Kill);
            start(&store(&recovery, 5), true).unwrap();
            most = most.max(recovery.operations());
            // Without a record, all that it does is to remove one file after the other.
            let decided = crashed.stat(&Path::new(ROOT).join(".swap/record.json"));
            let step = if decided.is_ok() { 1 } else { 7 };
            for nested in (0..recovery.operations()).step_by(step) {
                let again = crashed.restart(After::Kill);
                again.plan(nested, Event::Stop);
                let _ = start(&store(&again, 5), true);
                let context = format!("operation {at}, {after:?}, of recovery {nested}");
                for after in [After::PowerCut, After::Torn, After::Removed] {
                    let next = again.restart(after);
                    let settled = known
                        .entry(state(&next))
                        .or_insert_with(|| settled(&next, &old, &context));
                    assert_eq!(*settled, is_new, "{context}, {after:?}");
                    outcomes += 1;
                }
            }
        }
    }
    let states = seen.len();
    println!(
        "recovery of {states} states: up to {most} operations, {outcomes} outcomes: as without the second crash"
    );
    assert!(most > 25 && outcomes > 1000, "{most}, {outcomes}");
}

/// A disk on which nothing is ever renamed to a certain place.
struct Stubborn {
    disk: SimulatedDisk,
    place: PathBuf,
    read_only: bool,
}

impl Disk for Stubborn {
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn File>> {
        if self.read_only && how != Open::Read {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        self.disk.open(path, how)
    }
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.disk.create_dir(path)
    }
    fn read_dir(&self, path: &Path) -> io::Result<Vec<Entry>> {
        self.disk.read_dir(path)
    }
    fn stat(&self, path: &Path) -> io::Result<Stat> {
        self.disk.stat(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        if to == self.place {
            return Err(io::ErrorKind::ResourceBusy.into());
        }
        self.disk.rename(from, to)
    }
    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.hard_link(from, to)
    }
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.disk.remove_file(path)
    }
    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.disk.remove_dir(path)
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.disk.sync_dir(path)
    }
    fn sync_tree(&self, path: &Path) -> io::Result<()> {
        self.disk.sync_tree(path)
    }
    fn set_mode(&self, path: &Path, mode: u32) -> io::Result<()> {
        self.disk.set_mode(path, mode)
    }

    fn free_space(&self, path: &Path) -> io::Result<Option<u64>> {
        self.disk.free_space(path)
    }
    fn walk(&self, path: &Path) -> io::Result<Vec<Walked>> {
        self.disk.walk(path)
    }
}

#[test]
fn a_swap_that_cannot_be_completed_is_taken_back() {
    // The last part cannot be moved away, as where it is a mount point, or its new self cannot
    // take its place.
    for place in [
        ".swap/old/logs",
        "attachments",
        ".swap/old/conversations/active",
    ] {
        let disk = prepared();
        let old = set(&disk);
        let stubborn = Stubborn {
            disk: disk.clone(),
            place: Path::new(ROOT).join(place),
            read_only: false,
        };
        let error = swap_parts(&store_on(Arc::new(stubborn), 1)).unwrap_err();
        assert_eq!(error.kind(), Kind::Io, "{error:?}");
        assert_eq!(
            error.cause_text(),
            Some("nothing was changed"),
            "{place}: {error:?}"
        );
        assert_eq!(set(&disk), old, "{place}");
        assert_tidy(&disk, place);
        assert!(!settled(&disk.restart(After::PowerCut), &old, place));
    }
}

/// A disk on which a swap has died when this part was in nobody's place.
fn died_without(part: Part) -> SimulatedDisk {
    let operations = operations_of_a_swap();
    (0..operations)
        .find_map(|at| {
            let disk = prepared();
            disk.plan(disk.operations() + at, Event::Stop);
            let _ = swap_parts(&store(&disk, 1));
            let disk = disk.restart(After::Kill);
            let missing = disk.stat(&Path::new(ROOT).join(part.path())).is_err();
            (missing && part != Part::Attachments).then_some(disk)
        })
        .unwrap()
}

#[test]
fn what_was_written_where_a_part_was_missing_is_kept() {
    let old = set(&prepared());
    let disk = died_without(Part::Logs);
    append(&disk, Part::Logs, "app.log", "a late line\n");
    start(&store(&disk, 4), true).unwrap();
    let mut wanted = expected(&old);
    wanted.insert(file(Part::Quarantine, "app.log"), b"a late line\n".to_vec());
    assert_eq!(set(&disk), wanted);
    assert_tidy(&disk, "late");
}

#[test]
fn a_reader_that_cannot_complete_a_swap_says_so() {
    let disk = died_without(Part::Active);
    let reader = |disk: SimulatedDisk| {
        let read_only = Stubborn {
            disk,
            place: PathBuf::new(),
            read_only: true,
        };
        store_on(Arc::new(read_only), 1).check()
    };
    let error = reader(disk.clone()).unwrap_err();
    assert_eq!(error.kind(), Kind::Busy, "{error:?}");
    // What is only staged is no concern of a reader's.
    start(&store(&disk, 4), true).unwrap();
    disk.create_dir(&Path::new(ROOT).join(".swap")).unwrap();
    reader(disk).unwrap();
}

#[test]
fn who_stages_is_left_alone_and_one_at_a_time() {
    let disk = prepared();
    let owner = store(&disk, 1);
    let staging = with_patience(|patience| Staging::begin(&owner, patience)).unwrap();
    let staged = Path::new(ROOT).join(".swap/incoming");
    for writes in [false, true] {
        start(&store(&disk, 2), writes).unwrap();
    }
    with_patience(|patience| swap::recover(&store(&disk, 2), patience)).unwrap();
    with_patience(|patience| store(&disk, 2).enter_alone(patience)).unwrap();
    assert!(disk.stat(&staged).is_ok());
    let second = with_patience(|patience| Staging::begin(&store(&disk, 3), patience));
    assert_eq!(second.err().unwrap().kind(), Kind::Busy);
    drop(staging);
    assert_tidy(&disk, "dropped");
}

#[test]
fn a_log_that_somebody_writes_to_is_not_replaced_under_them() {
    let disk = prepared();
    let old = set(&disk);
    let store = store(&disk, 1);
    drop(with_patience(|patience| store.enter(patience)).unwrap());
    let path = store.layout().log_lock();
    let writer = disk.open(&path, Open::AppendOrCreate).unwrap();
    assert!(writer.try_lock(LockMode::Shared).unwrap());
    assert_eq!(swap_parts(&store).unwrap_err().kind(), Kind::Busy);
    assert_eq!(set(&disk), old);
    drop(writer);
    swap_parts(&store).unwrap();
    assert_eq!(set(&disk), expected(&old));
}

#[test]
fn what_is_in_the_way_is_named_before_anything_changes() {
    let disk = prepared();
    let strange = Path::new(ROOT).join("conversations/active/.git");
    disk.create_dir(&strange).unwrap();
    let old = set(&disk);
    let error = swap_parts(&store(&disk, 1)).unwrap_err();
    assert_eq!(error.kind(), Kind::CannotCreate);
    assert_eq!(error.path_ref(), Some(strange.as_path()));
    assert_eq!(set(&disk), old);
    assert_tidy(&disk, "refused");
}

/// Every point on a disk, whole: each file as it was when the point was made.
fn whole_points(disk: &SimulatedDisk, context: &str) -> Vec<String> {
    let store = store(disk, 50);
    let points = points::list(&store).unwrap();
    // What `list` passes over is there, and damaged.
    let directory = store.layout().points_dir();
    let entries = disk.read_dir(&directory).unwrap_or_default();
    let named = entries
        .iter()
        .filter(|entry| entry.name.to_string_lossy().starts_with("point_"));
    assert_eq!(named.count(), points.len(), "{context}: a damaged point");
    for point in &points {
        let (_, files) =
            points::open(&store, &point.id).unwrap_or_else(|error| panic!("{context}: {error:?}"));
        for file in &files {
            let bytes = disk.read(&points::path(&store, point, file), 1 << 20);
            let bytes = bytes.unwrap_or_else(|error| panic!("{context}: {}: {error}", file.name));
            assert!(
                bytes.len() as u64 >= file.len,
                "{context}: {} is short",
                file.name
            );
        }
    }
    points.into_iter().map(|point| point.id).collect()
}

fn left_over(disk: &SimulatedDisk) -> usize {
    let directories = disk.directories();
    directories
        .iter()
        .filter(|path| path.to_string_lossy().contains("/.tmp-"))
        .count()
}

#[test]
fn a_point_is_whole_or_not_there() {
    let make = |disk: &SimulatedDisk| {
        let store = store(disk, 60);
        with_patience(|patience| points::create(&store, &PARTS, "manual", Some("a note"), patience))
    };
    for (links, fewest) in [(true, 30), (false, 30)] {
        let prepare = || {
            let disk = prepared();
            // Not synced, as who writes it leaves it.
            let log = file(Part::Logs, "app.log");
            let mut log = disk.open(&log, Open::Append).unwrap();
            log.write_all(b"a line that is not synced\n").unwrap();
            if links { disk } else { disk.without_links() }
        };
        let disk = prepare();
        let before = disk.operations();
        make(&disk).unwrap();
        let operations = disk.operations() - before;
        let (mut outcomes, mut there) = (0, 0);
        for at in 0..operations {
            for event in [
                Event::Stop,
                Event::Fail(io::ErrorKind::Other),
                Event::Fail(io::ErrorKind::StorageFull),
            ] {
                let disk = prepare();
                let old = set(&disk);
                disk.plan(disk.operations() + at, event);
                let done = make(&disk).is_ok();
                let mut disks: Vec<SimulatedDisk> = After::ALL
                    .iter()
                    .map(|after| disk.restart(*after))
                    .collect();
                if event != Event::Stop {
                    disks.push(disk);
                }
                for disk in disks {
                    let context = format!("links {links}, operation {at}, {event:?}");
                    let found = whole_points(&disk, &context).len();
                    assert!(
                        found == 2 || (found == 1 && !done),
                        "{context}: {found} points"
                    );
                    outcomes += 1;
                    there += found - 1;
                    make(&disk).unwrap_or_else(|error| panic!("{context}: {error:?}"));
                    assert_eq!(whole_points(&disk, &context).len(), found + 1);
                    assert_eq!(left_over(&disk), 0, "{context}");
                    let mut now = set(&disk);
                    let log = file(Part::Logs, "app.log");
                    assert!(old[&log].starts_with(&now[&log]));
                    now.insert(log.clone(), old[&log].clone());
                    assert_eq!(now, old, "{context}");
                }
            }
        }
        println!(
            "point, links {links}: {operations} operations, {outcomes} outcomes: there {there} times, absent {} times",
            outcomes - there
        );
        assert!(operations > fewest && there > 5 && outcomes - there > 100);
    }
}

#[test]
fn removing_points_leaves_whole_ones() {
    let prepare = || {
        let disk = prepared();
        for seed in 70..73 {
            let store = store(&disk, seed);
            with_patience(|patience| points::create(&store, &PARTS, "manual", None, patience))
                .unwrap();
        }
        disk
    };
    let prune = |disk: &SimulatedDisk, seed| {
        with_patience(|patience| points::prune(&store(disk, seed), 2, patience))
    };
    let disk = prepare();
    let newest = whole_points(&disk, "before")[..2].to_vec();
    let before = disk.operations();
    assert_eq!(prune(&disk, 80).unwrap().len(), 2);
    let operations = disk.operations() - before;
    let mut outcomes = 0;
    for at in 0..operations {
        for event in [Event::Stop, Event::Fail(io::ErrorKind::Other)] {
            let disk = prepare();
            disk.plan(disk.operations() + at, event);
            let newest =
                whole_points(&disk.restart(After::Kill), "before")[..newest.len()].to_vec();
            let _ = prune(&disk, 80);
            let mut disks: Vec<SimulatedDisk> = After::ALL
                .iter()
                .map(|after| disk.restart(*after))
                .collect();
            if event != Event::Stop {
                disks.push(disk);
            }
            for disk in disks {
                let context = format!("operation {at}, {event:?}");
                assert!(
                    whole_points(&disk, &context).starts_with(&newest),
                    "{context}"
                );
                prune(&disk, 81).unwrap_or_else(|error| panic!("{context}: {error:?}"));
                assert_eq!(whole_points(&disk, &context), newest, "{context}");
                assert_eq!(left_over(&disk), 0, "{context}");
                outcomes += 1;
            }
        }
    }
    println!("prune: {operations} operations, {outcomes} outcomes: whole points each time");
    assert!(operations > 20, "{operations}");
}

#[test]
fn what_is_removed_of_a_point_has_durably_lost_its_name() {
    // Somebody died after taking a point's name away, which may not be durable yet.
    let prepare = || {
        let disk = prepared();
        let (point, _) = points::open(&store(&disk, 7), "latest").unwrap();
        let directory = store(&disk, 7).layout().points_dir();
        disk.rename(&directory.join(point.id), &directory.join(".tmp-1"))
            .unwrap();
        disk
    };
    let tidy = |disk: &SimulatedDisk| {
        with_patience(|patience| points::prune(&store(disk, 8), 1, patience)).map(drop)
    };
    let disk = prepare();
    let before = disk.operations();
    tidy(&disk).unwrap();
    assert_eq!(left_over(&disk), 0);
    let operations = disk.operations() - before;
    assert!(operations > 10, "{operations}");
    for at in 0..operations {
        let disk = prepare();
        disk.plan(disk.operations() + at, Event::Stop);
        let _ = tidy(&disk);
        whole_points(&disk.restart(After::Removed), &format!("operation {at}"));
    }
}

#[test]
fn a_lock_that_died_in_mid_swap_is_not_gone_on_with() {
    // Somebody waits for the store while its holder swaps and dies: what waits sees the record
    // only after it has the lock.
    let disk = died_without(Part::Active);
    let record = Path::new(ROOT).join(".swap/record.json");
    assert!(disk.stat(&record).is_ok());
    for alone in [false, true] {
        let disk = disk.restart(After::Kill);
        let store = store(&disk, 3);
        let lock = with_patience(|patience| {
            if alone {
                store.enter_alone(patience)
            } else {
                store.enter(patience)
            }
        });
        let _lock = lock.unwrap();
        assert!(disk.stat(&record).is_err());
        let path = store.layout().store_lock();
        let other = disk.open(&path, Open::Append).unwrap();
        assert_eq!(other.try_lock(LockMode::Shared).unwrap(), !alone);
    }
}
