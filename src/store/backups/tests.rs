use std::io::Write as _;
use std::sync::Arc;

use super::*;
use crate::platform::clock::RealClock;
use crate::platform::disk::{Open, RealDisk};
use crate::platform::random::RealRandom;

/// A store whose directory of backups holds these files, each with three bytes.
fn store(files: &[&str]) -> (tempfile::TempDir, Store) {
    let home = tempfile::tempdir().unwrap();
    let store = Store::new(
        home.path().join("pachat"),
        Arc::new(RealDisk),
        Arc::new(RealClock::start()),
        Arc::new(RealRandom),
    );
    let directory = store.layout().backups_dir();
    atomic::create_dirs(store.disk(), &directory).unwrap();
    for name in files {
        let path = directory.join(name);
        let mut file = store.disk().open(&path, Open::CreateNew).unwrap();
        file.write_all(b"abc").unwrap();
    }
    (home, store)
}

fn card_of(archive: &str) -> Card {
    Card {
        version: CARD_VERSION,
        archive: archive.into(),
        kind: BackupType::Data,
        created_at: "2026-11-22T10:15:00Z".parse().unwrap(),
        files: 1,
        total_bytes: 10,
        size: 3,
        sha256: Sha256::of(b"abc"),
        content: Sha256::of(b""),
        encrypted: false,
        recipients: Vec::new(),
        tags: Vec::new(),
        note: None,
        pinned: false,
        verified_at: None,
    }
}

fn names(store: &Store) -> Vec<String> {
    let directory = store.layout().backups_dir();
    let entries = store.disk().read_dir(&directory).unwrap();
    let mut names: Vec<String> = entries
        .into_iter()
        .map(|entry| entry.name.into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn the_newest_is_first_and_other_files_are_none() {
    let (_home, store) = store(&[
        "backup_20260101_000000.tar.gz",
        "backup_20260301_000000.tar.gz.age",
        "backup_20260201_000000.tar.gz",
        "backup_20260201_00000.tar.gz",
        "backup_20260201_0000000.tar.gz",
        "backup_20260201_000000.tar",
        ".backup_20260401_000000.tar.gz.tmp",
        "notes.txt",
    ]);
    let listed = list(&store).unwrap();
    let ids: Vec<&str> = listed.iter().map(|backup| backup.id.as_str()).collect();
    assert_eq!(
        ids,
        [
            "backup_20260301_000000",
            "backup_20260201_000000",
            "backup_20260101_000000"
        ]
    );
    assert!(
        listed
            .iter()
            .all(|backup| backup.card.is_none() && backup.size == 3)
    );
}

#[test]
fn a_directory_that_does_not_exist_has_no_backup() {
    let (_home, store) = store(&[]);
    let nowhere = Store::new(
        store.layout().root().join("nowhere"),
        Arc::new(RealDisk),
        Arc::new(RealClock::start()),
        Arc::new(RealRandom),
    );
    assert!(list(&nowhere).unwrap().is_empty());
    let error = find(&nowhere, "latest").unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
}

#[test]
fn a_card_counts_for_its_own_archive_only() {
    let name = "backup_20260101_000000.tar.gz";
    let (_home, store) = store(&[name]);
    let good = card_of(name);
    put_card(&store, &good).unwrap();
    assert_eq!(list(&store).unwrap()[0].card, Some(good.clone()));
    for wrong in [
        Card {
            size: 4,
            ..good.clone()
        },
        Card {
            version: 2,
            ..good.clone()
        },
        Card {
            archive: format!("{name}.age"),
            ..good
        },
    ] {
        put_card(&store, &wrong).unwrap();
        assert_eq!(list(&store).unwrap()[0].card, None, "{wrong:?}");
    }
}

#[test]
fn a_backup_is_found_by_as_much_of_its_name_as_is_enough() {
    let (_home, store) = store(&[
        "backup_20260101_000000.tar.gz",
        "backup_20260102_000000.tar.gz",
        "backup_20260102_000000.tar.gz.age",
        "backup_20260205_101112.tar.gz",
    ]);
    let name = |spec: &str| find(&store, spec).map(|backup| backup.name().to_owned());
    for spec in [
        "latest",
        "backup_20260205_101112",
        "backup_202602",
        "20260205",
        " 202602 ",
        "backup_20260205_101112.tar.gz",
    ] {
        assert_eq!(
            name(spec).unwrap(),
            "backup_20260205_101112.tar.gz",
            "{spec}"
        );
    }
    assert_eq!(
        name("backup_20260102_000000.tar.gz.age").unwrap(),
        "backup_20260102_000000.tar.gz.age"
    );
    for (spec, kind) in [
        ("202601", Kind::Usage),
        ("backup_20260102_000000", Kind::Usage),
        ("2027", Kind::NotFound),
        ("", Kind::NotFound),
        ("backup_", Kind::NotFound),
        ("../backup_20260101_000000.tar.gz", Kind::NotFound),
    ] {
        assert_eq!(name(spec).unwrap_err().kind(), kind, "{spec}");
    }
    let error = name("202601").unwrap_err();
    assert!(
        error
            .cause_text()
            .unwrap()
            .contains("backup_20260101_000000.tar.gz")
    );
}

#[test]
fn a_name_that_is_taken_is_not_given_again() {
    let (_home, store) = store(&[
        "backup_20261231_235958.tar.gz",
        "backup_20261231_235959.tar.gz.age",
        "backup_20270101_000000.json",
    ]);
    let now = "2026-12-31T23:59:58.7Z".parse().unwrap();
    assert_eq!(
        new_name(&store, now, true).unwrap(),
        "backup_20270101_000001.tar.gz.age"
    );
}

#[test]
fn what_the_dead_have_left_is_removed_and_nothing_else() {
    let whole = "backup_20260101_000000.tar.gz";
    let (_home, store) = store(&[
        whole,
        "backup_20260101_000000.json",
        "backup_20260102_000000.json",
        ".backup_20260103_000000.tar.gz.age.tmp",
        ".backup_20260103_000000.json.01234567.tmp",
        "notes.json",
        ".hidden.tmp",
    ]);
    tidy(&store).unwrap();
    assert_eq!(
        names(&store),
        [
            ".hidden.tmp",
            "backup_20260101_000000.json",
            whole,
            "notes.json"
        ]
    );
    let backup = list(&store).unwrap().remove(0);
    remove(&store, &backup).unwrap();
    assert_eq!(names(&store), [".hidden.tmp", "notes.json"]);
    remove(&store, &backup).unwrap();
}

#[test]
fn a_draft_goes_away_unless_it_is_published() {
    let (_home, store) = store(&[]);
    let name = "backup_20260101_000000.tar.gz";
    drop(draft(&store, name).unwrap());
    assert!(names(&store).is_empty());
    let (draft, mut file) = draft(&store, name).unwrap();
    file.write_all(b"abc").unwrap();
    drop(file);
    let backup = publish(&store, draft, card_of(name)).unwrap();
    assert_eq!(names(&store), ["backup_20260101_000000.json", name]);
    let listed = list(&store).unwrap().remove(0);
    assert_eq!(listed.card, backup.card);
    assert_eq!(listed.path, backup.path);
}
