//! The limits of an account, shared by processes.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may panic, and looks at the machine itself"
)]

mod common;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use common::disk::{After, Event, SimulatedDisk};
use common::host::{Sandbox, TestClock, TestRandom};
use common::server::{FakeServer, Script};
use pachat::model::gate::{Gate, Passage, Permit, Wait};
use pachat::platform::{Clock, Disk};
use pachat::store::Store;
use pachat::store::gate::{Allowance, StoreGate};

const ROOT: &str = "/home/somebody/pachat";

fn gate(disk: &SimulatedDisk, clock: &Arc<TestClock>, per_minute: u32, at_once: u32) -> StoreGate {
    let clock = Arc::clone(clock) as Arc<dyn Clock>;
    let store = Store::new(
        ROOT.into(),
        Arc::new(disk.clone()),
        clock,
        Arc::new(TestRandom::new(1)),
    );
    StoreGate::new(
        &store,
        "server".into(),
        Allowance {
            per_minute,
            at_once,
        },
    )
}

fn disk() -> SimulatedDisk {
    let disk = SimulatedDisk::new(Path::new(ROOT));
    for directory in [ROOT.to_owned(), format!("{ROOT}/run")] {
        disk.create_dir(Path::new(&directory)).unwrap();
    }
    disk
}

fn pass(gate: &StoreGate) -> Permit {
    match gate.poll() {
        Passage::Open(permit) => permit,
        Passage::Wait(wait) => panic!("{wait:?}"),
    }
}

fn wait(gate: &StoreGate) -> Wait {
    match gate.poll() {
        Passage::Open(_) => panic!("the gate is open"),
        Passage::Wait(wait) => wait,
    }
}

#[test]
fn no_span_of_a_minute_has_more_requests_than_allowed() {
    let (disk, clock) = (disk(), Arc::new(TestClock::new()));
    let gate = gate(&disk, &clock, 5, 9);
    let mut sent: Vec<i64> = Vec::new();
    for _ in 0..400 {
        match gate.poll() {
            Passage::Open(_) => sent.push(clock.now().as_millisecond()),
            Passage::Wait(wait) => clock.sleep(wait.time),
        }
        clock.sleep(Duration::from_millis(700));
    }
    assert!(sent.len() > 20, "{}", sent.len());
    for window in sent.windows(6) {
        assert!(window[5] - window[0] >= 60_000, "{window:?}");
    }
}

#[test]
fn a_place_is_held_by_its_permit_only() {
    let (disk, clock) = (disk(), Arc::new(TestClock::new()));
    let (one, other) = (gate(&disk, &clock, 50, 2), gate(&disk, &clock, 50, 2));
    let (first, _second) = (pass(&one), pass(&other));
    assert!(wait(&one).why.contains("under way"), "{:?}", wait(&one));
    drop(first);
    let _third = pass(&other);
    // Whoever dies gives its place back, and its requests still count.
    let after = gate(&disk.restart(After::Kill), &clock, 4, 2);
    let _fourth = pass(&after);
    assert!(
        wait(&after).why.contains("last minute"),
        "{:?}",
        wait(&after)
    );
}

#[test]
fn a_death_at_any_operation_lets_no_request_be_forgotten() {
    let clock = Arc::new(TestClock::new());
    for at in 0..400 {
        let disk = disk();
        let allowed = 3;
        let before = disk.operations();
        disk.plan(before + at, Event::Stop);
        let dying = gate(&disk, &clock, allowed, 9);
        let passed = (0..allowed)
            .filter(|_| matches!(dying.poll(), Passage::Open(permit) if permit.is::<Box<dyn pachat::platform::disk::File>>()))
            .count();
        let next = gate(&disk.restart(After::Kill), &clock, allowed, 9);
        let more = (0..=allowed)
            .take_while(|_| matches!(next.poll(), Passage::Open(_)))
            .count();
        assert!(
            passed + more <= allowed as usize,
            "stopped at {at}: {passed} and {more}"
        );
    }
}

#[test]
fn a_long_file_is_shortened_without_forgetting_the_last_minute() {
    let (disk, clock) = (disk(), Arc::new(TestClock::new()));
    let gate = gate(&disk, &clock, 3, 9);
    for _ in 0..3000 {
        match gate.poll() {
            Passage::Open(_) => {}
            Passage::Wait(wait) => clock.sleep(wait.time),
        }
    }
    let size = disk.files()[&Path::new(ROOT).join("run/rate-server")].len();
    assert!(size < 20_000, "{size}");
    let mut open = 0;
    while matches!(gate.poll(), Passage::Open(_)) {
        open += 1;
    }
    assert!(open <= 3, "{open}");
}

#[test]
fn a_process_says_how_long_it_waits_or_does_not_wait() {
    let server = FakeServer::deciding(|_| Script::reply("ok"));
    let mut sandbox = Sandbox::with_server(&server.base_url());
    sandbox.set("MAX_REQUESTS_PER_MINUTE", "1");
    assert_eq!(sandbox.run(&["send", "-m", "a/b", "one"]).code, 0);
    let refused = sandbox.run(&["send", "-m", "a/b", "--no-wait", "two"]);
    assert_eq!((refused.code, refused.stdout.as_str()), (75, ""));
    assert!(
        refused
            .stderr
            .contains("1 requests were sent in the last minute"),
        "{}",
        refused.stderr
    );
    assert_eq!(
        sandbox.conversations().len(),
        1,
        "the refused prompt is not stored"
    );
    let waited = sandbox.run(&["send", "-m", "a/b", "three"]);
    assert_eq!((waited.code, waited.stdout.as_str()), (0, "ok\n"));
    assert!(waited.stderr.contains("waiting"), "{}", waited.stderr);
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn a_server_on_this_machine_is_not_limited_unless_asked() {
    let server = FakeServer::deciding(|_| Script::reply("ok"));
    let sandbox = Sandbox::with_server(&server.base_url());
    for _ in 0..60 {
        let ran = sandbox.run(&["send", "-m", "a/b", "x"]);
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    }
}
