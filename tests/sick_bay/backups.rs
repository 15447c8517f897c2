//! Backups and rollback points.

use std::fs;

use super::bed::{Bed, RECIPIENT, WHALES, active};
use super::case::{Case, case};

const LOOK: &[&str] = &["backups"];
const DEEP: &[&str] = &["backups", "--deep"];

/// The card of the only backup.
fn card(bed: &Bed) -> String {
    format!("backups/{}", bed.names("backups", ".json")[0])
}

fn change_card(bed: &Bed, from: &str, to: &str) {
    let path = card(bed);
    let text = String::from_utf8(bed.bytes(&path)).unwrap();
    assert!(text.contains(from), "{text}");
    bed.put(&path, &text.replace(from, to));
}

/// A rollback point; its directory.
fn point(bed: &Bed) -> String {
    let ran = bed.sandbox.run(&["rollback", "--create-point"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    format!("backups/points/{}", ran.stdout.trim())
}

/// A backup that is broken.
fn backup(name: &'static str, build: impl Fn(&mut Bed, &str) + 'static) -> Case {
    case(name, move |bed| {
        let archive = format!("backups/{}", bed.back_up(&[]));
        build(bed, &archive);
    })
    .looking_at(LOOK)
}

pub fn cases() -> Vec<Case> {
    vec![
        backup("a sound backup", |_, _| {}),
        case("no backup at all", |_| {})
            .looking_at(LOOK)
            .finds("backups.none", "backups"),
        backup("the newest backup is old", |bed, _| {
            bed.time = Some("2026-12-24T18:00:00Z");
        })
        .finds("backups.old", "backups"),
        backup("the card of a backup is lost", |bed, _| {
            bed.remove(&card(bed))
        })
        .finds("backups.card-missing", ".tar.gz")
        .finds("backups.none", "backups"),
        backup("a backup is lost and its card is there", |bed, archive| {
            bed.remove(archive);
        })
        .finds("backups.card-alone", ".json")
        .finds("backups.none", "backups"),
        backup("a card is garbage", |bed, _| bed.put(&card(bed), "{"))
            .finds("backups.card-unreadable", ".tar.gz")
            .finds("backups.none", "backups"),
        backup("a card of a newer pachat", |bed, _| {
            change_card(bed, "\"version\": 1", "\"version\": 2");
        })
        .finds("backups.card-newer", ".tar.gz")
        .finds("backups.none", "backups"),
        backup("a backup that was never verified", |bed, _| {
            change_card(bed, "\"verified_at\"", "\"verified_as\"");
        })
        .finds("backups.unverified", ".tar.gz")
        .finds("backups.none", "backups"),
        backup("a backup that was cut", |bed, archive| {
            let bytes = bed.bytes(archive);
            bed.put_bytes(archive, &bytes[..bytes.len() - 7]);
        })
        .finds("backups.size", ".tar.gz")
        .finds("backups.none", "backups"),
        backup("a backup with a bit flipped", |bed, archive| {
            let mut bytes = bed.bytes(archive);
            let at = bytes.len() / 2;
            bytes[at] ^= 1;
            bed.put_bytes(archive, &bytes);
        })
        .looking_at(DEEP)
        .finds("backups.damaged", ".tar.gz"),
        backup(
            "a backup that another program has packed anew",
            |bed, archive| {
                // The byte that names the operating system: no reader minds.
                let mut bytes = bed.bytes(archive);
                bytes[9] ^= 1;
                bed.put_bytes(archive, &bytes);
            },
        )
        .looking_at(DEEP)
        .finds("backups.digest", ".tar.gz"),
        backup(
            "a backup with a bit flipped, and a card that agrees",
            |bed, archive| {
                let mut bytes = bed.bytes(archive);
                let old = super::bed::digest(&bytes);
                let at = bytes.len() / 2;
                bytes[at] ^= 1;
                change_card(bed, &old, &super::bed::digest(&bytes));
                bed.put_bytes(archive, &bytes);
            },
        )
        .looking_at(DEEP)
        .finds("backups.damaged", ".tar.gz"),
        case("an encrypted backup, and nothing that opens it", |bed| {
            bed.back_up(&["--recipient", RECIPIENT]);
        })
        .looking_at(DEEP)
        .finds("backups.sealed", ".tar.gz.age"),
        backup("a note among the backups", |bed, _| {
            bed.put("backups/notes.txt", "x")
        })
        .finds("backups.foreign", "backups/notes.txt"),
        backup("a backup that died half-way", |bed, _| {
            bed.put("backups/.backup_20260822_010101.tar.gz.tmp", "half");
        })
        .heals("backups.temporary", ".backup_20260822_010101.tar.gz.tmp")
        .forgets("backups/.backup_20260822_010101.tar.gz.tmp"),
        backup("backups that cannot be listed", |bed, _| {
            bed.trouble.closed.insert(bed.data().join("backups"));
        })
        .finds("backups.unreadable", "backups"),
        backup("a rollback point that does not say what it is", |bed, _| {
            let path = format!("{}/point.json", point(bed));
            bed.put(&path, "{");
        })
        .finds("backups.point-unreadable", ""),
        backup("a rollback point lacks a file", |bed, _| {
            let path = format!("{}/files/{}", point(bed), active(WHALES));
            fs::remove_file(bed.data().join(path)).unwrap();
        })
        .finds("backups.point-file-missing", ""),
        backup("a file of a rollback point was cut", |bed, _| {
            let path = format!("{}/files/{}", point(bed), active(WHALES));
            bed.put(&path, "{");
        })
        .finds("backups.point-file-short", ""),
    ]
}
