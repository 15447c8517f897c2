//! Failing the disk, stopping the machine and stopping the work at every single operation of a
//! backup: conversations and verified backups are never harmed, an archive is never half
//! there, and the next backup works.
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
use pachat::archive::read::{self, Nowhere};
use pachat::archive::seal::Seal;
use pachat::model::backup::BackupType;
use pachat::model::error::{Error, Kind, Result};
use pachat::ops::backup::{self, Job, Labels, Made, Output, Subject};
use pachat::ops::retention::Rules;
use pachat::ops::watch::{Unwatched, Watch};
use pachat::platform::disk::Open;
use pachat::platform::signals::{Signal, Signals};
use pachat::platform::{Clock as _, Disk};
use pachat::store::Store;
use pachat::store::backups;
use pachat::store::lock::Patience;

const ROOT: &str = "/home/somebody/data/pachat";
const IDS: [&str; 3] = [
    "20260820-080000-7k2m9q",
    "20260821-080000-7k2m9q",
    "20260822-080000-7k2m9q",
];

fn store(disk: &SimulatedDisk, hours: u64) -> Store {
    let clock = TestClock::new();
    clock.sleep(Duration::from_secs(hours * 3600));
    let random = TestRandom::new(hours);
    let disk = Arc::new(disk.clone());
    Store::new(ROOT.into(), disk, Arc::new(clock), Arc::new(random))
}

fn job(output: Output) -> Job {
    Job {
        subject: Subject {
            kind: BackupType::Data,
            sealed: false,
            recipients: Vec::new(),
            config_dir: None,
            force: false,
        },
        seal: None,
        labels: Labels::default(),
        output,
        rules: Rules {
            last: 2,
            ..Rules::default()
        },
        zone: TimeZone::UTC,
        cores: 1,
    }
}

/// Makes a backup, so many hours after the first one.
fn make(disk: &SimulatedDisk, hours: u64, job: &Job, watch: &mut dyn Watch) -> Result<Made> {
    let signals = Signals::default();
    // A lock that nobody holds is had at once; one that leaks fails the test soon.
    let mut patience = Patience {
        limit: Some(Duration::from_millis(50)),
        signals: &signals,
        notify: &mut || {},
    };
    backup::make(&store(disk, hours), job, &mut patience, watch)
}

fn write(disk: &SimulatedDisk, id: &str) {
    let path = Path::new(ROOT).join(format!("conversations/active/{id}.jsonl"));
    let text = format!(
        r#"{{"type":"conversation","version":1,"id":"{id}","created_at":"2026-08-20T08:00:00.000Z","title":"t","model":"a/b"}}
{{"type":"message","n":1,"role":"user","content":"hello","at":"2026-08-20T08:00:00.000Z"}}
"#
    );
    let mut file = disk.open(&path, Open::CreateNew).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

/// A disk with three conversations and two backups of the first ones, everything durable.
fn prepared() -> SimulatedDisk {
    let disk = SimulatedDisk::new(Path::new(ROOT));
    for directory in ["", "conversations", "conversations/active", "run"] {
        disk.create_dir(&Path::new(ROOT).join(directory)).unwrap();
    }
    let mut version = disk
        .open(&Path::new(ROOT).join("VERSION"), Open::CreateNew)
        .unwrap();
    version.write_all(b"1\n").unwrap();
    for (hour, id) in IDS.iter().enumerate() {
        write(&disk, id);
        if hour < 2 {
            let hour = u64::try_from(hour).unwrap();
            make(&disk, hour, &job(Output::Store), &mut Unwatched).unwrap();
        }
    }
    disk.restart(After::Kill)
}

/// Files below a directory of the store.
fn files(disk: &SimulatedDisk, below: &str) -> BTreeMap<PathBuf, Vec<u8>> {
    let directory = Path::new(ROOT).join(below);
    let mut files = disk.files();
    files.retain(|path, _| path.starts_with(&directory));
    files
}

fn conversations(archive: &[u8]) -> usize {
    let mut bytes = Vec::new();
    MultiGzDecoder::new(archive)
        .read_to_end(&mut bytes)
        .unwrap();
    let manifest = read::read(&mut &archive[..], false, &mut Nowhere).unwrap();
    manifest.files.len()
}

/// Nothing is harmed, whatever happened; `made` says whether a third backup was reported.
fn check(disk: &SimulatedDisk, before: &SimulatedDisk, made: bool, context: &str) {
    assert_eq!(
        files(disk, "conversations"),
        files(before, "conversations"),
        "{context}"
    );
    let archives = |disk: &SimulatedDisk| -> Vec<usize> {
        let mut all = files(disk, "backups");
        all.retain(|path, _| {
            let name = path.file_name().unwrap().to_str().unwrap();
            name.starts_with("backup_") && name.ends_with(".tar.gz")
        });
        // Reading proves that each is whole.
        all.values().map(|bytes| conversations(bytes)).collect()
    };
    let held = archives(disk);
    assert!(
        held.ends_with(&[1, 2]) || held.ends_with(&[2, 3]),
        "{context}: {held:?}"
    );
    if made {
        assert_eq!(held.last(), Some(&3), "{context}");
    }
    let listed = backups::list(&store(disk, 9)).unwrap();
    let verified = listed.iter().filter(|backup| {
        let card = backup.card.as_ref();
        card.is_some_and(|card| card.verified_at.is_some())
    });
    assert_eq!(verified.count(), listed.len(), "{context}");
    assert_eq!(listed.len(), held.len(), "{context}");
    // The next one works, and leaves nothing of the dead.
    let next = make(disk, 5, &job(Output::Store), &mut Unwatched).unwrap();
    assert_eq!(next.plan.manifest.files.len(), 3, "{context}");
    drop(next);
    assert_eq!(archives(disk).last(), Some(&3), "{context}");
    let left: Vec<PathBuf> = files(disk, "backups").into_keys().collect();
    let litter = left.iter().filter(|path| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name.starts_with('.')
    });
    assert_eq!(litter.count(), 0, "{context}: {left:?}");
    assert_eq!(left.len(), 2 * archives(disk).len(), "{context}: {left:?}");
}

fn operations(job: &Job) -> usize {
    let disk = prepared();
    let before = disk.restart(After::Kill);
    let start = disk.operations();
    make(&disk, 2, job, &mut Unwatched).unwrap();
    let end = disk.operations();
    assert_eq!(start, 0);
    assert!(end > 60, "only {end} operations");
    check(&disk, &before, matches!(job.output, Output::Store), "calm");
    end
}

fn jobs() -> Vec<Job> {
    let file = Output::File {
        path: "/home/somebody/data/copy.tar.gz".into(),
        replace: true,
    };
    vec![job(Output::Store), job(file)]
}

#[test]
fn every_operation_can_fail_once() {
    for job in jobs() {
        for at in 0..operations(&job) {
            for event in [
                Event::Fail(io::ErrorKind::Other),
                Event::Fail(io::ErrorKind::StorageFull),
                Event::Half(io::ErrorKind::StorageFull),
            ] {
                let disk = prepared();
                let before = disk.restart(After::Kill);
                disk.plan(at, event);
                let context = format!("{:?}, operation {at}, {event:?}", job.output);
                let made = make(&disk, 2, &job, &mut Unwatched).map(drop);
                if let Err(error) = &made {
                    let kinds = [Kind::Io, Kind::CannotCreate];
                    assert!(kinds.contains(&error.kind()), "{context}: {error:?}");
                }
                let made = made.is_ok() && matches!(job.output, Output::Store);
                check(&disk, &before, made, &context);
            }
        }
    }
}

#[test]
fn the_plug_can_be_pulled_at_every_operation() {
    for job in jobs() {
        for at in 0..operations(&job) {
            let disk = prepared();
            let before = disk.restart(After::Kill);
            disk.plan(at, Event::Stop);
            let made = make(&disk, 2, &job, &mut Unwatched).map(drop);
            let made = made.is_ok() && matches!(job.output, Output::Store);
            for after in After::ALL {
                let context = format!("{:?}, operation {at}, {after:?}", job.output);
                let disk = disk.restart(after);
                check(&disk, &before, made, &context);
                let copy = disk.read(Path::new("/home/somebody/data/copy.tar.gz"), 1 << 20);
                if let Ok(copy) = copy {
                    assert_eq!(conversations(&copy), 3, "{context}");
                }
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
fn ctrl_c_works_at_any_moment_and_leaves_nothing() {
    let sealed = || Job {
        subject: Subject {
            sealed: true,
            ..job(Output::Store).subject
        },
        seal: Some(Seal::Recipients(vec![pachat::archive::seal::generate().1])),
        ..job(Output::Store)
    };
    for job in [job(Output::Store), sealed()] {
        let mut moments = 0;
        loop {
            let disk = prepared();
            let before = files(&disk, "backups");
            match make(&disk, 2, &job, &mut Impatient(moments)) {
                Ok(_) => break,
                Err(error) => assert_eq!(error.kind(), Kind::Interrupted, "{error:?}"),
            }
            assert_eq!(files(&disk, "backups"), before, "moment {moments}");
            moments += 1;
        }
        assert!(moments > 3, "only {moments} moments");
    }
}

/// Does something to the disk each time a stage begins.
struct Meddler<F: FnMut(&str)>(F);

impl<F: FnMut(&str)> Watch for Meddler<F> {
    fn stage(&mut self, what: &'static str, _bytes: u64) {
        (self.0)(what);
    }

    fn advance(&mut self, _bytes: u64) -> Result<()> {
        Ok(())
    }
}

fn draft(disk: &SimulatedDisk) -> PathBuf {
    let all = files(disk, "backups").into_keys();
    let mut drafts = all.filter(|path| path.extension().is_some_and(|end| end == "tmp"));
    drafts.next().unwrap()
}

#[test]
fn what_does_not_verify_is_not_kept() {
    let recipient = || Seal::Recipients(vec![pachat::archive::seal::generate().1]);
    for (sealed, cut) in [(false, true), (false, false), (true, true), (true, false)] {
        let mut job = job(Output::Store);
        // Nothing is copied, so there is nobody else to blame.
        job.subject.force = true;
        job.subject.sealed = sealed;
        job.seal = sealed.then(recipient);
        let disk = prepared();
        let before = files(&disk, "backups");
        let mut meddler = Meddler(|what: &str| {
            if what == "verifying" {
                let path = draft(&disk);
                let mut file = disk.open(&path, Open::Append).unwrap();
                if cut {
                    file.set_len(file.stat().unwrap().len - 1).unwrap();
                } else {
                    file.write_all(b"x").unwrap();
                }
            }
        });
        let error = make(&disk, 2, &job, &mut meddler).err().unwrap();
        assert_eq!(error.kind(), Kind::Io, "{error:?}");
        assert!(error.headline().contains("did not verify"), "{error:?}");
        assert_eq!(files(&disk, "backups"), before);
    }
}

#[test]
fn a_copy_that_changes_on_its_way_to_the_disk_is_noticed() {
    let prepared = prepared();
    // A large file, whose segments are copied.
    let id = "20260819-080000-7k2m9q";
    write(&prepared, id);
    let path = Path::new(ROOT).join(format!("conversations/active/{id}.jsonl"));
    let mut bytes = vec![0; 2_000_000];
    pachat::platform::Random::fill(&TestRandom::new(7), &mut bytes).unwrap();
    let text: String = bytes
        .iter()
        .map(|byte| char::from(b'a' + byte % 26))
        .collect();
    let line = format!(
        r#"{{"type":"message","n":2,"role":"user","content":"{text}","at":"2026-08-20T08:00:00.000Z"}}"#
    );
    let mut file = prepared.open(&path, Open::Append).unwrap();
    file.write_all(format!("{line}\n").as_bytes()).unwrap();
    make(&prepared, 3, &job(Output::Store), &mut Unwatched).unwrap();
    write(&prepared, "20260823-080000-7k2m9q");
    for part in 1..8 {
        let disk = prepared.restart(After::Kill);
        let mut verified = 0;
        let mut meddler = Meddler(|what: &str| {
            if what == "verifying" {
                verified += 1;
            }
            if verified == 1 && what == "verifying" {
                let path = draft(&disk);
                let mut bytes = disk.read(&path, u64::MAX).unwrap();
                let at = bytes.len() / 8 * part;
                bytes[at] ^= 1;
                let mut file = disk.open(&path, Open::Append).unwrap();
                file.set_len(0).unwrap();
                file.write_all(&bytes).unwrap();
            }
        });
        let made = make(&disk, 4, &job(Output::Store), &mut meddler).unwrap();
        assert_eq!(made.warnings.len(), 1, "{part}: {:?}", made.warnings);
        let path = made.backup.path;
        assert_eq!(conversations(&disk.read(&path, u64::MAX).unwrap()), 5);
        assert_eq!(verified, 2);
    }
}

#[test]
fn a_backup_that_cannot_fit_is_not_begun() {
    let disk = prepared().with_free_space(10);
    let before = files(&disk, "backups");
    let mut stages = Vec::new();
    let mut watch = Meddler(|what: &str| stages.push(what.to_owned()));
    let error = make(&disk, 2, &job(Output::Store), &mut watch)
        .err()
        .unwrap();
    assert_eq!(error.kind(), Kind::Io, "{error:?}");
    assert!(error.headline().contains("10 B are free"), "{error:?}");
    assert_eq!(stages, ["reading"]);
    assert_eq!(files(&disk, "backups"), before);
}

/// A backup of the settings, which change so many times just before they are packed.
fn settings_that_change(times: u32) -> (SimulatedDisk, Result<Made>) {
    let disk = prepared();
    let directory = Path::new(ROOT).join("config");
    disk.create_dir(&directory).unwrap();
    let path = directory.join("app_config.json");
    let put = |number: u32| {
        let _ = disk.remove_file(&path);
        let mut file = disk.open(&path, Open::CreateNew).unwrap();
        let text = format!("{{\"x\":{number}}}\n");
        file.write_all(text.as_bytes()).unwrap();
    };
    put(0);
    let mut changes = 0;
    let mut meddler = Meddler(|what: &str| {
        if what == "packing" && changes < times {
            changes += 1;
            put(changes);
        }
    });
    let mut job = job(Output::Store);
    job.subject.kind = BackupType::Config;
    let made = make(&disk, 2, &job, &mut meddler);
    (disk, made)
}

#[test]
fn a_file_that_changes_meanwhile_is_taken_as_it_is_in_the_end() {
    let (disk, made) = settings_that_change(2);
    let backup = made.unwrap().backup;
    let bytes = disk.read(&backup.path, 1 << 20).unwrap();
    let mut text = String::new();
    let mut tar = tar::Archive::new(MultiGzDecoder::new(&bytes[..]));
    for entry in tar.entries().unwrap() {
        let mut entry = entry.unwrap();
        if entry.path().unwrap() == Path::new("config/app_config.json") {
            entry.read_to_string(&mut text).unwrap();
        }
    }
    assert_eq!(text, "{\"x\":2}\n");
}

#[test]
fn files_that_never_rest_are_given_up_on() {
    let (disk, made) = settings_that_change(u32::MAX);
    let error = made.err().unwrap();
    assert_eq!(error.kind(), Kind::Busy, "{error:?}");
    assert_eq!(backups::list(&store(&disk, 9)).unwrap().len(), 2);
}
