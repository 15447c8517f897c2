//! Failing the disk and pulling the plug at every single operation of `validate --fix`: nothing
//! that was there is lost, and another run repairs what is left.
//!
//! What the disk's failures make `log` say here goes to whatever run there is in the process,
//! so tests that run the program are elsewhere.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may panic, and looks at the machine itself"
)]

mod common;

use std::io::{self, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use common::disk::{After, Event, SimulatedDisk};
use common::host::{TestClock, TestRandom};
use flate2::Compression;
use flate2::write::GzEncoder;
use pachat::model::finding::Finding;
use pachat::model::size::ByteSize;
use pachat::ops::validate::fix::{self, Fixed};
use pachat::ops::validate::{backups, store as validate};
use pachat::ops::watch::Unwatched;
use pachat::platform::disk::Open;
use pachat::platform::{Clock as _, Disk, Signals};
use pachat::store::lock::Patience;
use pachat::store::{Store, atomic};

const ROOT: &str = "/home/somebody/data/pachat";
const TORN: &str = "20260820-080000-aaaaaa";
const CUT: &str = "20260821-080000-bbbbbb";
const TWIN: &str = "20260822-080000-cccccc";
const SOUND: &str = "20260822-080000-dddddd";
const TAIL: &str = "{\"type\":\"mess";
const REPLY: &str = "as far as it came";

fn conversation(id: &str) -> String {
    format!(
        r#"{{"type":"conversation","version":1,"id":"{id}","created_at":"2026-08-20T08:00:00.000Z","title":"t","model":"a/b"}}
{{"type":"message","n":1,"role":"user","content":"hello","at":"2026-08-20T08:00:00.000Z"}}
"#
    )
}

fn active(id: &str) -> String {
    format!("conversations/active/{id}.jsonl")
}

fn store(disk: &SimulatedDisk, hours: u64) -> Store {
    let clock = TestClock::new();
    clock.sleep(Duration::from_secs(hours * 3600));
    let random = TestRandom::new(hours);
    let disk = Arc::new(disk.clone());
    Store::new(ROOT.into(), disk, Arc::new(clock), Arc::new(random))
}

fn put(disk: &SimulatedDisk, name: &str, bytes: &[u8]) {
    let path = Path::new(ROOT).join(name);
    atomic::create_dirs(disk, path.parent().unwrap()).unwrap();
    let mut file = disk.open(&path, Open::CreateNew).unwrap();
    file.write_all(bytes).unwrap();
}

/// A store in which everything that can be repaired is broken, everything durable.
fn prepared() -> SimulatedDisk {
    let disk = SimulatedDisk::new(Path::new(ROOT));
    put(&disk, &active(TORN), (conversation(TORN) + TAIL).as_bytes());
    put(&disk, &active(CUT), conversation(CUT).as_bytes());
    let side = format!(
        "{{\"type\":\"partial\",\"version\":1,\"n\":2,\"at\":\"2026-08-22T09:00:00.000Z\"}}\n{{\"text\":\"{REPLY}\"}}\n"
    );
    put(
        &disk,
        &format!("conversations/active/{CUT}.partial"),
        side.as_bytes(),
    );
    put(&disk, &active(TWIN), conversation(TWIN).as_bytes());
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(conversation(TWIN).as_bytes()).unwrap();
    put(
        &disk,
        &format!("conversations/archived/{TWIN}.jsonl.gz"),
        &packed.finish().unwrap(),
    );
    put(&disk, &active(SOUND), conversation(SOUND).as_bytes());
    put(&disk, "config/.app_config.json.0badcafe.tmp", b"{");
    put(&disk, "cache/conversations.jsonl", b"damaged\n");
    put(&disk, "backups/.backup_20260820_080000.tar.gz.tmp", b"x");
    put(&disk, "backups/points/.tmp-0badcafe/point.json", b"{}");
    put(&disk, ".swap/incoming/conversations/active/x", b"staged");
    disk.restart(After::Kill)
}

fn look(disk: &SimulatedDisk, hours: u64) -> Vec<Finding> {
    let request = validate::Request {
        only: None,
        limits: validate::Limits {
            conversation: ByteSize::megabytes(10),
            storage: ByteSize::megabytes(1000),
            conversations: 1000,
        },
        cores: 2,
    };
    let store = store(disk, hours);
    let (mut found, _) = validate::look(&store, &request, &mut Unwatched).unwrap();
    let request = backups::Request {
        deep: false,
        max_age_days: None,
    };
    let (more, _) = backups::look(&store, request, &mut Unwatched).unwrap();
    found.extend(more);
    found
}

/// Repairs what is found now.
fn repair(disk: &SimulatedDisk, found: &[Finding], hours: u64) -> Fixed {
    let signals = Signals::default();
    // A lock that nobody holds is had at once; one that leaks fails the test soon.
    let mut patience = Patience {
        limit: Some(Duration::from_millis(50)),
        signals: &signals,
        notify: &mut || {},
    };
    fix::apply(&store(disk, hours), &fix::plan(found), 5, &mut patience).unwrap()
}

fn text(disk: &SimulatedDisk, name: &str) -> Option<String> {
    let bytes = disk.read(&Path::new(ROOT).join(name), 1 << 20).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// Everything that was there is there, or where a repair puts it.
fn check(disk: &SimulatedDisk, context: &str) {
    for id in [TORN, CUT, TWIN] {
        let now = text(disk, &active(id)).unwrap_or_default();
        assert!(now.starts_with(&conversation(id)), "{context}: {id}: {now}");
    }
    assert_eq!(text(disk, &active(SOUND)), Some(conversation(SOUND)));
    let files = disk.files();
    let holds = |below: &str, text: &str| {
        files.iter().any(|(path, bytes)| {
            path.starts_with(Path::new(ROOT).join(below))
                && String::from_utf8_lossy(bytes).contains(text)
        })
    };
    assert!(
        holds("conversations/active", TAIL) || holds("quarantine", TAIL),
        "{context}: the cut line is gone"
    );
    assert!(
        holds("conversations/active", REPLY),
        "{context}: the interrupted reply is gone"
    );
    // Another run does the rest, and only the rest.
    repair(disk, &look(disk, 5), 5);
    let left: Vec<_> = look(disk, 6)
        .into_iter()
        .filter(|finding| finding.fixable)
        .collect();
    assert!(left.is_empty(), "{context}: {left:?}");
    let cut = text(disk, &active(CUT)).unwrap();
    assert_eq!(cut.matches(REPLY).count(), 1, "{context}: {cut}");
    assert_eq!(text(disk, &active(TORN)), Some(conversation(TORN)));
    assert_eq!(text(disk, &active(SOUND)), Some(conversation(SOUND)));
    assert_eq!(text(disk, &active(TWIN)), Some(conversation(TWIN)));
}

fn operations() -> usize {
    let disk = prepared();
    let found = look(&disk, 0);
    let mut codes: Vec<&str> = found
        .iter()
        .filter(|finding| finding.fixable)
        .map(|finding| finding.code)
        .collect();
    codes.sort_unstable();
    assert_eq!(
        codes,
        [
            "backups.temporary",
            "backups.temporary",
            "store.archived-twice",
            "store.index",
            "store.side-file",
            "store.swap",
            "store.temporary",
            "store.torn-tail",
            "store.version-missing",
        ]
    );
    let start = disk.operations();
    let fixed = repair(&disk, &found, 0);
    assert_eq!(fixed.done.len(), codes.len(), "{fixed:?}");
    assert!(fixed.point.is_some());
    let operations = disk.operations() - start;
    check(&disk, "calm");
    operations
}

#[test]
fn every_operation_can_fail_once() {
    for at in 0..operations() {
        for event in [
            Event::Fail(io::ErrorKind::Other),
            Event::Half(io::ErrorKind::StorageFull),
        ] {
            let disk = prepared();
            let found = look(&disk, 0);
            disk.plan(disk.operations() + at, event);
            repair(&disk, &found, 0);
            let disk = disk.restart(After::Kill);
            check(&disk, &format!("operation {at}, {event:?}"));
        }
    }
}

#[test]
fn the_plug_can_be_pulled_at_every_operation() {
    for at in 0..operations() {
        let disk = prepared();
        let found = look(&disk, 0);
        disk.plan(disk.operations() + at, Event::Stop);
        repair(&disk, &found, 0);
        for after in After::ALL {
            let disk = disk.restart(after);
            check(&disk, &format!("operation {at}, {after:?}"));
        }
    }
}
