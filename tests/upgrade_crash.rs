//! Bringing an older store up to date, with every disk operation failing once and the plug
//! pulled at each; and the way back.
//!
//! A program of its own: what is logged on these threads would go into the log of a run on
//! another one.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may panic, and looks at the machine itself"
)]

mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use common::disk::{After, Event, SimulatedDisk};
use common::host::{TestClock, TestRandom};
use pachat::model::error::{Error, Kind, Result};
use pachat::model::id::ConversationId;
use pachat::ops::restore::Manner;
use pachat::ops::rollback::Back;
use pachat::platform::Signals;
use pachat::store::lock::Patience;
use pachat::store::read::Scope;
use pachat::store::writer::{Beginning, Writer};
use pachat::store::{Migration, Store, atomic, points};

const ROOT: &str = "/home/somebody/data/pachat";
const MARK: &[u8] = b"{\"type\":\"future\",\"new\":true}\n";

/// Marks every conversation that has no mark yet.
fn to_two(store: &Store) -> Result<()> {
    for id in store.ids(Scope::Active)? {
        let path = store.layout().active(&id);
        let mut bytes = store
            .disk()
            .read(&path, 1 << 20)
            .map_err(|error| Error::io("cannot migrate", &path, &error))?;
        if !bytes.ends_with(MARK) {
            bytes.extend_from_slice(MARK);
            atomic::replace(store.disk(), store.random(), &path, &bytes)?;
        }
    }
    Ok(())
}

static TO_TWO: [Migration; 1] = [to_two];

fn old(disk: &SimulatedDisk, seed: u64) -> Store {
    let clock = Arc::new(TestClock::new());
    let random = Arc::new(TestRandom::new(seed));
    Store::new(ROOT.into(), Arc::new(disk.clone()), clock, random)
}

fn new(disk: &SimulatedDisk, seed: u64) -> Store {
    old(disk, seed).with_migrations(&TO_TWO)
}

fn with_patience<T>(act: impl FnOnce(&mut Patience<'_>) -> Result<T>) -> Result<T> {
    let signals = Signals::default();
    act(&mut Patience {
        limit: Some(Duration::from_millis(50)),
        signals: &signals,
        notify: &mut || {},
    })
}

fn enter(store: &Store) -> Result<()> {
    with_patience(|patience| store.enter(patience).map(drop))
}

/// A disk with a store of format 1, and its conversations.
fn prepared() -> (SimulatedDisk, BTreeMap<ConversationId, Vec<u8>>) {
    let disk = SimulatedDisk::new(Path::new(ROOT));
    let store = old(&disk, 7);
    for prompt in ["one", "two"] {
        with_patience(|patience| Writer::create(&store, Beginning::default(), prompt, patience))
            .unwrap();
    }
    (disk.restart(After::Kill), conversations(&store))
}

fn conversations(store: &Store) -> BTreeMap<ConversationId, Vec<u8>> {
    let ids = store.ids(Scope::Active).unwrap().into_iter();
    ids.map(|id| {
        let bytes = store
            .disk()
            .read(&store.layout().active(&id), 1 << 20)
            .unwrap();
        (id, bytes)
    })
    .collect()
}

fn version(disk: &SimulatedDisk) -> String {
    let bytes = disk.files()[&Path::new(ROOT).join("VERSION")].clone();
    String::from_utf8(bytes).unwrap()
}

fn marked(before: &BTreeMap<ConversationId, Vec<u8>>) -> BTreeMap<ConversationId, Vec<u8>> {
    let mut after = before.clone();
    for bytes in after.values_mut() {
        bytes.extend_from_slice(MARK);
    }
    after
}

#[test]
fn an_older_store_is_brought_up_to_date_behind_a_rollback_point() {
    let (disk, before) = prepared();
    // Who only reads changes nothing.
    new(&disk, 1).check().unwrap();
    assert_eq!(
        (version(&disk).as_str(), conversations(&old(&disk, 1))),
        ("1\n", before.clone())
    );
    let store = new(&disk, 2);
    enter(&store).unwrap();
    assert_eq!(version(&disk), "2\n");
    assert_eq!(conversations(&store), marked(&before));
    enter(&store).unwrap();
    assert_eq!(conversations(&store), marked(&before));
    let made = points::list(&store).unwrap();
    assert_eq!(made.len(), 1);
    assert_eq!((made[0].reason.as_str(), made[0].format), ("migration", 1));
    // The program from before refuses it now.
    let error = enter(&old(&disk, 3)).unwrap_err();
    assert_eq!(error.kind(), Kind::Malformed);

    // And back: what the program from before gets is what it had.
    let manner = || Manner {
        any_plan: true,
        note: "back",
        keep: 10,
    };
    let mut back = Back::plan(&store, "latest").unwrap();
    with_patience(|patience| back.commit(manner(), patience))
        .unwrap()
        .unwrap();
    assert_eq!(version(&disk), "1\n");
    enter(&old(&disk, 4)).unwrap();
    assert_eq!(conversations(&old(&disk, 4)), before);
    enter(&new(&disk, 5)).unwrap();
    assert_eq!(conversations(&new(&disk, 5)), marked(&before));
}

#[test]
fn an_upgrade_that_stops_anywhere_is_done_again() {
    let (base, before) = prepared();
    let whole = base.restart(After::Kill);
    enter(&new(&whole, 1)).unwrap();
    let operations = whole.operations();
    assert!(operations > 30, "{operations}");
    let mut seen = [0, 0];
    for stop in 0..operations {
        for event in [Event::Stop, Event::Fail(std::io::ErrorKind::StorageFull)] {
            let disk = base.restart(After::Kill);
            disk.plan(stop, event);
            let _ = enter(&new(&disk, 1));
            for after in After::ALL {
                let next = disk.restart(after);
                let place = format!("{event:?} at {stop}, {after:?}");
                let store = new(&next, 2);
                if version(&next) == "2\n" {
                    seen[1] += 1;
                    assert_eq!(conversations(&store), marked(&before), "{place}");
                } else {
                    seen[0] += 1;
                    assert_eq!(version(&next), "1\n", "{place}");
                }
                enter(&store).unwrap_or_else(|error| panic!("{place}: {error:?}"));
                assert_eq!(version(&next), "2\n", "{place}");
                assert_eq!(conversations(&store), marked(&before), "{place}");
                // The way back is there, whole, from before anything changed.
                let oldest = points::list(&store).unwrap().pop().unwrap();
                let (point, files) = points::open(&store, &oldest.id).unwrap();
                assert_eq!(files.len(), before.len(), "{place}");
                for file in files {
                    let path = points::path(&store, &point, &file);
                    let bytes = next.files()[&path].clone();
                    let len = usize::try_from(file.len).unwrap();
                    let kept = before.values().any(|text| *text == bytes[..len]);
                    assert!(kept, "{place}: {}", file.name);
                }
            }
        }
    }
    assert!(seen.iter().all(|count| *count > 0), "{seen:?}");
}
