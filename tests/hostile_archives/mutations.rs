//! Damage at random: whatever is done to an archive, it is either refused as malformed or
//! gives the very files that it was made of.

use std::collections::BTreeMap;

use pachat::archive::read::read;
use pachat::model::error::Kind;
use proptest::prelude::*;

use super::build::{Backup, directory, gz, long_name, members, pax, record, tar};
use super::recorder::Recorder;

/// An archive with one of everything, unpacked.
fn original() -> Vec<u8> {
    let backup = Backup::usual();
    let mut entries = backup.entries();
    let (last, _) = &backup.files[backup.files.len() - 1];
    entries.insert(entries.len() - 1, long_name(last.as_bytes()));
    entries.insert(2, directory("config/"));
    entries.insert(1, pax(&record("mtime", "1.5")));
    tar(&entries)
}

fn files() -> BTreeMap<String, Vec<u8>> {
    Backup::usual().files.into_iter().collect()
}

/// Says what an archive became; `true` if it was accepted.
fn check(archive: &[u8], expected: &BTreeMap<String, Vec<u8>>, about: &str) -> bool {
    let mut recorder = Recorder::default();
    match read(&mut &archive[..], false, &mut recorder) {
        Ok(_) => {
            assert!(
                recorder.whole == *expected,
                "{about}: accepted, and different"
            );
            true
        }
        Err(error) => {
            assert_eq!(error.kind(), Kind::Malformed, "{about}: {error}");
            false
        }
    }
}

#[test]
fn every_cut_is_refused() {
    let archive = members(&original(), 3000);
    let files = files();
    for end in 0..archive.len() {
        assert!(!check(&archive[..end], &files, &format!("cut at {end}")));
    }
    assert!(check(&archive, &files, "whole"));
}

#[test]
fn a_flipped_bit_changes_no_file() {
    let mut archive = members(&original(), 3000);
    let files = files();
    for at in 0..archive.len() {
        archive[at] ^= 1 << (at % 8);
        check(&archive, &files, &format!("bit of byte {at}"));
        archive[at] ^= 1 << (at % 8);
    }
}

/// What is done to some bytes. Places are fractions of the length, out of 2^16.
#[derive(Clone, Debug)]
enum Change {
    Flip(u16, u8),
    Cut(u16),
    Insert(u16, Vec<u8>),
    Remove(u16, u16),
    /// Doubles a block of 512 bytes.
    Double(u16),
    /// Swaps two blocks.
    Swap(u16, u16),
    Zero(u16),
}

fn change() -> impl Strategy<Value = Change> {
    let place = any::<u16>;
    prop_oneof![
        4 => (place(), 1_u8..).prop_map(|(at, change)| Change::Flip(at, change)),
        1 => place().prop_map(Change::Cut),
        2 => (place(), prop::collection::vec(any::<u8>(), 1..600))
            .prop_map(|(at, bytes)| Change::Insert(at, bytes)),
        2 => (place(), 0_u16..2000).prop_map(|(at, len)| Change::Remove(at, len)),
        2 => place().prop_map(Change::Double),
        2 => (place(), place()).prop_map(|(one, other)| Change::Swap(one, other)),
        1 => place().prop_map(Change::Zero),
    ]
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        let length = bytes.len();
        if length < 1024 {
            return;
        }
        let place = |at: u16| (usize::from(at) * length) >> 16;
        let block = |at: u16| {
            let start = place(at) / 512 * 512;
            start..(start + 512).min(length)
        };
        match *self {
            Self::Flip(at, change) => bytes[place(at)] ^= change,
            Self::Cut(at) => bytes.truncate(place(at)),
            Self::Insert(at, ref new) => {
                bytes.splice(place(at)..place(at), new.iter().copied());
            }
            Self::Remove(at, count) => {
                let end = (place(at) + usize::from(count)).min(length);
                bytes.drain(place(at)..end);
            }
            Self::Double(at) => {
                let double = bytes[block(at)].to_vec();
                let start = block(at).start;
                bytes.splice(start..start, double);
            }
            Self::Swap(one, other) => {
                let (one, other) = (block(one), block(other));
                let length = one.len().min(other.len());
                for offset in 0..length {
                    bytes.swap(one.start + offset, other.start + offset);
                }
            }
            Self::Zero(at) => bytes[block(at)].fill(0),
        }
    }
}

/// Makes every header's checksum right again, so that what it says is looked at.
fn repair(bytes: &mut [u8]) {
    for block in bytes.chunks_exact_mut(512) {
        if block[257..262] == *b"ustar" {
            let fixed = super::build::checked(block.try_into().unwrap());
            block.copy_from_slice(&fixed);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_packed_archive_that_was_changed(changes in prop::collection::vec(change(), 1..4)) {
        let mut archive = members(&original(), 3000);
        for change in &changes {
            change.apply(&mut archive);
        }
        check(&archive, &files(), "packed");
    }

    #[test]
    fn an_unpacked_archive_that_was_changed(
        changes in prop::collection::vec(change(), 1..4),
        repaired: bool,
    ) {
        let mut archive = original();
        for change in &changes {
            change.apply(&mut archive);
        }
        if repaired {
            repair(&mut archive);
        }
        check(&gz(&archive), &files(), "unpacked");
    }
}
