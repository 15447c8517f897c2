//! Writing an archive: what independent readers find in it, and what it takes over from the one
//! before.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may panic, and looks at the machine itself"
)]

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{self, Read, Write};

use flate2::bufread::GzDecoder;
use flate2::read::MultiGzDecoder;
use pachat::archive::manifest::{Entry, Manifest, STORE_FORMAT};
use pachat::archive::path::ArchivePath;
use pachat::archive::read::{self, Nowhere};
use pachat::archive::segment::{Outline, Segment};
use pachat::archive::write::{Earlier, Nothing, Source, Written, write};
use pachat::model::backup::{BackupType, Part, Sha256};
use pachat::model::error::{Error, Kind, Result};
use proptest::prelude::*;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// A store in memory, with a record of what was asked of it.
#[derive(Default)]
struct Store {
    files: BTreeMap<ArchivePath, Vec<u8>>,
    opened: Vec<String>,
    advanced: u64,
    /// The most bytes of files that were opened and not yet written.
    most_in_flight: u64,
    opened_bytes: u64,
    stop_after: Option<u64>,
}

impl Store {
    fn put(&mut self, part: Part, name: &str, content: Vec<u8>) {
        self.files
            .insert(ArchivePath::new(part, name).unwrap(), content);
    }

    fn conversation(&mut self, number: usize, content: Vec<u8>) {
        self.put(Part::Active, &name(number), content);
    }

    fn manifest(&self) -> Manifest {
        Manifest {
            kind: BackupType::Full,
            created_at: "2026-08-22T09:41:07.123Z".parse().unwrap(),
            store_format: STORE_FORMAT,
            tags: Vec::new(),
            note: None,
            files: self
                .files
                .iter()
                .map(|(path, content)| Entry {
                    path: path.clone(),
                    size: content.len() as u64,
                    sha256: Sha256::of(content),
                    damaged: false,
                })
                .collect(),
        }
    }
}

impl Source for Store {
    fn open(&mut self, entry: &Entry) -> Result<Option<Box<dyn Read>>> {
        self.opened.push(entry.path.to_string());
        self.opened_bytes += entry.size;
        self.most_in_flight = self
            .most_in_flight
            .max(self.opened_bytes.saturating_sub(self.advanced));
        let content = self.files.get(&entry.path).cloned();
        Ok(content.map(|content| Box::new(io::Cursor::new(content)) as _))
    }

    fn advance(&mut self, bytes: u64) -> Result<()> {
        self.advanced += bytes;
        match self.stop_after {
            Some(most) if self.advanced > most => Err(Error::new(Kind::Interrupted, "stopped")),
            _ => Ok(()),
        }
    }
}

/// An archive, as a later one finds it.
struct Archive {
    bytes: Vec<u8>,
    outline: Outline,
    asked: usize,
    lost: HashSet<Sha256>,
}

impl Earlier for Archive {
    fn find(&mut self, key: Sha256) -> Option<(&Segment, Vec<u8>)> {
        self.asked += 1;
        let mut segments = self.outline.segments.iter();
        let segment = segments.find(|segment| segment.key == key)?;
        let bytes = packed(&self.bytes, segment).to_vec();
        (!self.lost.contains(&key)).then_some((segment, bytes))
    }
}

fn name(number: usize) -> String {
    // Consecutive minutes, and a random part as different from one to the next as in life.
    let random = u32::try_from(number).unwrap().wrapping_mul(0x9e37_79b9) >> 2;
    let at = jiff::Timestamp::from_second(1_790_000_000 + 60 * i64::try_from(number).unwrap());
    let id = pachat::model::id::ConversationId::new(at.unwrap(), random);
    format!("{id}.jsonl")
}

/// Text that packs to about a third, different for each seed.
fn text(seed: usize, len: usize) -> Vec<u8> {
    const WORDS: [&[u8]; 8] = [
        b"conversation ",
        b"{\"role\":\"user\"}\n",
        b"the ",
        b"archive ",
        b"0123456789",
        b"is written ",
        b"once more ",
        b"\n",
    ];
    let mut state = 0x9e37_79b9_7f4a_7c15_u64 ^ u64::try_from(seed + 1).unwrap();
    let mut text = Vec::with_capacity(len + 16);
    while text.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        text.extend_from_slice(WORDS[usize::try_from(state % 8).unwrap()]);
    }
    text.truncate(len);
    text
}

fn packed<'a>(bytes: &'a [u8], segment: &Segment) -> &'a [u8] {
    let start = usize::try_from(segment.offset).unwrap();
    &bytes[start..start + usize::try_from(segment.len).unwrap()]
}

fn written(store: &mut Store, earlier: &mut dyn Earlier, cores: usize) -> Archive {
    let manifest = store.manifest();
    let mut bytes = Vec::new();
    match write(&manifest, store, earlier, cores, &mut bytes).unwrap() {
        Written::Whole(outline) => Archive {
            bytes,
            outline,
            asked: 0,
            lost: HashSet::new(),
        },
        Written::Changed(entry) => panic!("{} changed", entry.path),
    }
}

/// Takes the archive apart with other programs' code, and compares it with the store.
fn assert_holds(archive: &Archive, store: &Store) {
    let mut tar = tar::Archive::new(MultiGzDecoder::new(&archive.bytes[..]));
    let mut files = BTreeMap::new();
    let mut directories = HashSet::new();
    let mut names = Vec::new();
    for (number, entry) in tar.entries().unwrap().raw(true).enumerate() {
        let mut entry = entry.unwrap();
        let name = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
        let header = entry.header().clone();
        assert!(header.as_ustar().is_some(), "{name}");
        assert_eq!((header.uid().unwrap(), header.gid().unwrap()), (0, 0));
        assert_eq!(header.mtime().unwrap(), 315_532_800);
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        if number == 0 {
            assert_eq!(name, "MANIFEST.json");
            assert_eq!(content, store.manifest().to_json());
            continue;
        }
        if let Some(directory) = name.strip_suffix('/') {
            assert_eq!(header.entry_type(), tar::EntryType::Directory);
            assert_eq!(header.mode().unwrap(), 0o700);
            assert!(directories.insert(directory.to_owned()), "{name} twice");
        } else {
            assert_eq!(header.entry_type(), tar::EntryType::Regular);
            assert_eq!(header.mode().unwrap(), 0o600);
            files.insert(name.clone(), content);
        }
        if let Some((parent, _)) = name.trim_end_matches('/').rsplit_once('/') {
            assert!(directories.contains(parent), "{name} before its directory");
        }
        names.push(name);
    }
    assert!(names.is_sorted(), "{names:?}");
    let expected: BTreeMap<String, Vec<u8>> = store
        .files
        .iter()
        .map(|(path, content)| (path.to_string(), content.clone()))
        .collect();
    assert!(files == expected, "files differ: {:?}", files.keys());
    assert_members(archive);
}

/// Every member is a gzip file by itself, the segments of each follow each other and are what
/// they say, and what all of them hold is a tar archive to its last block.
fn assert_members(archive: &Archive) {
    let segments = &archive.outline.segments;
    let mut rest = &archive.bytes[..];
    let mut offset = 0;
    let mut text = Vec::new();
    for member in segments.chunk_by(|_, next| !next.first) {
        assert!(member[0].first);
        assert_eq!(rest[..10], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255]);
        let mut decoder = GzDecoder::new(rest);
        let before = text.len();
        decoder.read_to_end(&mut text).unwrap();
        assert!(text.len() - before <= 8 * MIB + 80 * KIB);
        rest = decoder.into_inner();
        offset += 10;
        let mut at = before;
        for segment in member {
            assert_eq!(segment.offset, offset);
            offset += segment.len;
            assert_eq!(Sha256::of(packed(&archive.bytes, segment)), segment.packed);
            assert!(segment.text <= 68 * KIB as u64);
            let end = at + usize::try_from(segment.text).unwrap();
            assert_eq!(crc32fast::hash(&text[at..end]), segment.crc);
            at = end;
        }
        assert_eq!(at, text.len());
        offset += 10;
    }
    assert!(rest.is_empty());
    assert_eq!(offset, archive.bytes.len() as u64);
    assert_eq!(text.len() % 512, 0);
    assert!(text.ends_with(&[0; 1024]));
}

/// The text of an archive.
fn text_of(archive: &Archive) -> Vec<u8> {
    let mut text = Vec::new();
    let mut decoder = MultiGzDecoder::new(&archive.bytes[..]);
    decoder.read_to_end(&mut text).unwrap();
    text
}

/// Two archives of the same files have the same text, cut at the same places. The packed bytes
/// may differ: what packs them keeps a trace of what it packed before.
fn assert_same(one: &Archive, other: &Archive) {
    assert!(text_of(one) == text_of(other));
    let cuts = |archive: &Archive| -> Vec<_> {
        let segments = archive.outline.segments.iter();
        segments
            .map(|one| (one.key, one.crc, one.text, one.first))
            .collect()
    };
    assert_eq!(cuts(one), cuts(other));
}

/// How many members it has.
fn members(archive: &Archive) -> usize {
    let segments = archive.outline.segments.iter();
    segments.filter(|segment| segment.first).count()
}

/// How many segments of the second are not in the first, the manifest's left out.
fn new_segments(first: &Archive, second: &Archive) -> usize {
    let segments = first.outline.segments.iter();
    let known: HashSet<Sha256> = segments.map(|segment| segment.key).collect();
    let files = second
        .outline
        .segments
        .chunk_by(|_, next| !next.first)
        .skip(1)
        .flatten();
    files
        .filter(|segment| !known.contains(&segment.key))
        .count()
}

/// A store of many conversations of some 20 KiB.
fn many(count: usize) -> Store {
    let mut store = Store::default();
    for number in 0..count {
        store.conversation(2 * number, text(number, 15_000 + number * 7919 % 10_000));
    }
    store
}

#[test]
fn other_readers_find_everything_in_it() {
    let mut store = many(200);
    let digest = "5f".repeat(32);
    store.put(
        Part::Attachments,
        &format!("{digest}.png"),
        text(1, 300_000),
    );
    store.put(Part::Config, "app_config.json", b"{}".to_vec());
    store.put(Part::Logs, "app.log", Vec::new());
    store.put(
        Part::Quarantine,
        "20260822-094107-abc123.12.torn",
        vec![0; 512],
    );
    let archived = name(7).replace(".jsonl", ".jsonl.gz");
    store.put(Part::Archived, &archived, text(2, 511));
    let archive = written(&mut store, &mut Nothing, 2);
    assert_holds(&archive, &store);
    assert!(members(&archive) > 3);
    let total: usize = store.files.values().map(Vec::len).sum();
    assert_eq!(store.advanced, total as u64);
    assert_eq!(store.opened.len(), store.files.len());
}

#[test]
fn nothing_to_back_up_is_an_archive_too() {
    let mut store = Store::default();
    let archive = written(&mut store, &mut Nothing, 2);
    assert_holds(&archive, &store);
    assert_eq!(archive.outline.segments.len(), 2);
}

#[test]
fn the_number_of_cores_and_the_time_of_day_change_nothing() {
    let mut store = many(100);
    store.put(Part::Logs, "app.log", text(3, 3 * MIB));
    let one = written(&mut store, &mut Nothing, 1);
    let four = written(&mut store, &mut Nothing, 4);
    let none = written(&mut store, &mut Nothing, 0);
    assert_same(&one, &four);
    assert_same(&one, &none);
}

#[test]
fn text_that_did_not_change_is_copied_and_the_files_not_read() {
    let mut store = many(200);
    let mut first = written(&mut store, &mut Nothing, 2);
    store.opened.clear();
    store.conversation(2 * 120, text(999, 21_000));
    let second = written(&mut store, &mut first, 2);
    assert_holds(&second, &store);

    // The segment that the changed file is in, and those whose windows reach into it.
    assert!((1..=3).contains(&new_segments(&first, &second)));
    assert!(
        store
            .opened
            .contains(&format!("conversations/active/{}", name(240)))
    );
    assert!(store.opened.len() < 16, "{}", store.opened.len());

    store.opened.clear();
    let mut second = second;
    let third = written(&mut store, &mut second, 2);
    assert!(second.asked > 0 && store.opened.is_empty());
    assert!(third.bytes == second.bytes);
}

#[test]
fn small_pieces_that_change_everywhere_leave_most_to_be_copied() {
    let mut store = Store::default();
    for number in 0..2000 {
        store.conversation(2 * number, text(number, 1_000 + number * 7919 % 7_000));
    }
    let mut first = written(&mut store, &mut Nothing, 2);
    store.opened.clear();
    for number in (50..2000).step_by(100) {
        let path = ArchivePath::new(Part::Active, &name(2 * number)).unwrap();
        store.files.get_mut(&path).unwrap().extend(text(1, 900));
    }
    let second = written(&mut store, &mut first, 2);
    assert_holds(&second, &store);
    let (new, all) = (new_segments(&first, &second), second.outline.segments.len());
    assert!(new * 4 < all, "{new} of {all}");
    assert!(store.opened.len() < 2000 / 3, "{}", store.opened.len());
    assert_eq!(read_back(&second).unwrap(), store.manifest());
}

/// Reads an archive without what was copied.
fn read_back(archive: &Archive) -> Result<Manifest> {
    read::read_back(&mut &archive.bytes[..], &archive.outline, &mut Nowhere)
}

fn read_whole(archive: &Archive) -> Result<Manifest> {
    read::read(&mut &archive.bytes[..], false, &mut Nowhere)
}

#[test]
fn without_what_was_copied_an_archive_is_one_of_the_other_files() {
    let mut store = many(200);
    // One of several pieces stays, another becomes new.
    store.conversation(1, text(1, 3 * MIB));
    store.conversation(3, text(3, 2 * MIB + 1));
    let mut first = written(&mut store, &mut Nothing, 2);
    assert_eq!(first.outline.copied, []);
    store.conversation(3, text(4, 2 * MIB + 1));
    store.conversation(2 * 120, text(999, 21_000));
    let mut second = written(&mut store, &mut first, 2);
    let manifest = store.manifest();
    let copied = &second.outline.copied;
    let count: usize = copied.iter().map(|copied| copied.files.len()).sum();
    assert!((150..202).contains(&count), "{count}");
    assert_eq!(read_whole(&second).unwrap(), manifest);
    assert_eq!(read_back(&second).unwrap(), manifest);

    // It leaves out just what it says.
    let mut seen = Seen::default();
    let read = read::read_back(&mut &second.bytes[..], &second.outline, &mut seen);
    read.unwrap();
    assert_eq!(seen.0.len() + count, manifest.files.len());
    let whole = second.outline.clone();
    for number in 0..whole.copied.len() {
        let end = whole.copied[number].files.end;
        let next = whole.copied.get(number + 1);
        if end < manifest.files.len() && next.is_none_or(|next| end < next.files.start) {
            second.outline.copied[number].files.end += 1;
            assert!(read_back(&second).is_err(), "{number}");
        }
        second.outline.copied[number].files.end = end - 1;
        assert!(read_back(&second).is_err(), "{number}");
        second.outline.copied[number].files.end = end;
    }
    second.outline.forget_copies();
    assert_eq!(read_back(&second).unwrap(), manifest);
}

/// The names of the files that were read.
#[derive(Default)]
struct Seen(Vec<String>);

impl read::Sink for Seen {
    fn manifest(&mut self, _: &Manifest) -> Result<()> {
        Ok(())
    }
    fn begin(&mut self, entry: &Entry) -> Result<()> {
        self.0.push(entry.path.to_string());
        Ok(())
    }
    fn data(&mut self, _: &[u8]) -> Result<()> {
        Ok(())
    }
    fn end(&mut self, _: &Entry) -> Result<()> {
        Ok(())
    }
}

#[test]
fn no_byte_of_what_was_written_or_copied_may_differ() {
    let mut store = many(12);
    let mut first = written(&mut store, &mut Nothing, 2);
    store.conversation(2 * 5, text(999, 21_000));
    let mut second = written(&mut store, &mut first, 2);
    assert!(second.outline.copied.len() > 1);
    for at in 0..second.bytes.len() {
        second.bytes[at] ^= 1;
        let error = read_back(&second).unwrap_err();
        assert_eq!(error.kind(), Kind::Malformed, "{at}");
        second.bytes[at] ^= 1;
    }
    let whole = second.bytes.clone();
    for cut in (0..whole.len()).step_by(97) {
        second.bytes.truncate(whole.len() - 1 - cut);
        let error = read_back(&second).unwrap_err();
        assert_eq!(error.kind(), Kind::Malformed, "{cut}");
        second.bytes.clone_from(&whole);
    }
    second.bytes.push(0);
    assert!(read_back(&second).is_err());
}

#[test]
fn a_segment_is_not_copied_after_another_window() {
    let mut store = many(60);
    let mut first = written(&mut store, &mut Nothing, 2);
    // The same files but one: what follows it is the same text after another one.
    store.files.pop_first();
    let second = written(&mut store, &mut first, 2);
    assert_holds(&second, &store);
    assert!((1..=3).contains(&new_segments(&first, &second)));
    let fresh = written(&mut store, &mut Nothing, 2);
    assert_same(&second, &fresh);
    assert_eq!(read_back(&second).unwrap(), store.manifest());
}

#[test]
fn with_very_many_changes_all_of_it_is_read() {
    let mut store = Store::default();
    for number in 0..600 {
        store.conversation(number, text(number, 40_000));
    }
    let mut first = written(&mut store, &mut Nothing, 2);
    for number in (0..600).step_by(4) {
        store.conversation(number, text(1000 + number, 40_000));
    }
    let second = written(&mut store, &mut first, 2);
    assert!(new_segments(&first, &second) < 310);
    assert!(second.outline.copied.is_empty());
    assert_holds(&second, &store);
    assert_eq!(read_back(&second).unwrap(), store.manifest());
}

/// Which segment a file's first piece or its only one is in: each file of these stores begins
/// one.
fn pieces_of(archive: &Archive, file: usize) -> std::ops::Range<usize> {
    let copied = archive.outline.copied.iter();
    let mut found = copied.filter(|copied| copied.files == (file..file + 1));
    found.next().unwrap().segments.clone()
}

#[test]
fn a_large_file_counts_as_copied_only_as_a_whole() {
    let mut store = Store::default();
    store.conversation(1, text(1, 300_000));
    store.conversation(2, text(2, 200_000));
    store.conversation(3, text(3, 100_000));
    let mut first = written(&mut store, &mut Nothing, 2);
    let all = written(&mut store, &mut first, 2);
    assert_eq!(all.outline.copied.len(), 3);
    let pieces = pieces_of(&all, 1);
    assert_eq!(pieces.len(), 4);
    for lost in pieces {
        first.lost = HashSet::from([first.outline.segments[lost].key]);
        let again = written(&mut store, &mut first, 2);
        assert_same(&again, &first);
        assert_eq!(read_back(&again).unwrap(), store.manifest(), "{lost}");
        let copied = &again.outline.copied;
        assert!(copied.iter().all(|copied| copied.files != (1..2)));
    }
}

#[test]
fn a_segment_that_was_lost_is_made_again() {
    let mut store = many(100);
    let mut first = written(&mut store, &mut Nothing, 2);
    for number in [2, 3, 20] {
        first.lost.insert(first.outline.segments[number].key);
    }
    let second = written(&mut store, &mut first, 2);
    assert_same(&first, &second);
    assert_eq!(read_back(&second).unwrap(), store.manifest());
}

#[test]
fn new_files_move_no_boundary_far_away() {
    let mut store = many(600);
    let before = written(&mut store, &mut Nothing, 2);
    assert!(members(&before) > 5, "{}", members(&before));
    for number in [1, 101, 501] {
        store.conversation(number, text(number, 50_000));
        let after = written(&mut store, &mut Nothing, 2);
        let anew = new_segments(&before, &after);
        assert!(anew <= 12, "inserted at {number}: {anew}");
        store
            .files
            .remove(&ArchivePath::new(Part::Active, &name(number)).unwrap());
    }
    store.files.pop_first();
    let after = written(&mut store, &mut Nothing, 2);
    assert!(new_segments(&before, &after) <= 12);
}

#[test]
fn a_large_file_is_cut_into_pieces() {
    let mut store = many(3);
    store.conversation(1, text(1, 9 * MIB + 100));
    store.conversation(3, text(3, 2 * MIB));
    let mut first = written(&mut store, &mut Nothing, 2);
    assert_holds(&first, &store);
    // The manifest; a file and 4 MiB of the next; 4 MiB; the rest; a file and 2 MiB; a file; the
    // end.
    assert_eq!(members(&first), 7);
    assert_eq!(
        first.outline.segments.len(),
        1 + (1 + 64) + 64 + 17 + (1 + 32) + 1 + 1
    );

    // With all pieces at hand it is not read; with one lost it is, to prove the whole: from
    // there on, also where a member begins.
    store.opened.clear();
    let again = written(&mut store, &mut first, 2);
    assert!(again.bytes == first.bytes && store.opened.is_empty());
    for lost in [2, 40, 66, 70, 146] {
        store.opened.clear();
        first.lost = HashSet::from([first.outline.segments[lost].key]);
        let again = written(&mut store, &mut first, 2);
        assert_same(&again, &first);
        let large = format!("conversations/active/{}", name(1));
        assert!(
            store
                .opened
                .iter()
                .filter(|opened| **opened == large)
                .count()
                == 1
        );
        assert_eq!(read_back(&again).unwrap(), store.manifest(), "{lost}");
    }
}

#[test]
fn memory_holds_a_few_segments_and_no_more() {
    let mut store = Store::default();
    for number in 0..120 {
        store.conversation(number, text(number, 60 * KIB));
    }
    let cores = 2;
    let _ = written(&mut store, &mut Nothing, cores);
    let most = (4 * cores + 3) * 64 * KIB;
    assert!(
        store.most_in_flight <= most as u64,
        "{}",
        store.most_in_flight
    );
}

#[test]
fn a_file_that_grew_is_read_as_far_as_the_manifest_says() {
    let mut store = many(2);
    store.conversation(1, text(1, 2 * MIB + 5));
    let manifest = store.manifest();
    let before = written(&mut store, &mut Nothing, 2);
    for content in store.files.values_mut() {
        content.extend_from_slice(b"one more line\n");
    }
    let mut bytes = Vec::new();
    let result = write(&manifest, &mut store, &mut Nothing, 2, &mut bytes).unwrap();
    let Written::Whole(outline) = result else {
        panic!("it counts as changed");
    };
    let after = Archive {
        bytes,
        outline,
        ..written(&mut Store::default(), &mut Nothing, 1)
    };
    assert_same(&after, &before);
}

#[test]
fn a_file_that_changed_is_named() {
    for len in [0, 3_000, 2 * MIB + 5] {
        for change in ["shorter", "other", "gone"] {
            let mut store = many(3);
            store.conversation(1, text(1, len));
            let manifest = store.manifest();
            let path = ArchivePath::new(Part::Active, &name(1)).unwrap();
            let content = store.files.get_mut(&path).unwrap();
            match (change, content.last_mut()) {
                ("shorter", Some(_)) => drop(content.pop()),
                ("other", Some(last)) => *last ^= 1,
                ("gone", _) => drop(store.files.remove(&path)),
                _ => continue,
            }
            let result = write(&manifest, &mut store, &mut Nothing, 2, &mut Vec::new()).unwrap();
            let Written::Changed(entry) = result else {
                panic!("{change}, {len} bytes: not noticed");
            };
            assert_eq!(entry.path, path);
        }
    }
}

#[test]
fn a_change_in_a_piece_that_was_copied_is_noticed_if_the_file_is_read() {
    let mut store = Store::default();
    store.conversation(1, text(1, 300_000));
    let mut first = written(&mut store, &mut Nothing, 2);
    let manifest = store.manifest();
    store.files.first_entry().unwrap().get_mut()[0] ^= 1;
    // The manifest, and five pieces, of which the third is lost.
    first.lost.insert(first.outline.segments[3].key);
    let result = write(&manifest, &mut store, &mut first, 2, &mut Vec::new()).unwrap();
    assert_eq!(result, Written::Changed(manifest.files[0].clone()));
}

/// A writer that knows why it failed.
struct Told;
impl Write for Told {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::Error::other(Error::new(
            Kind::CannotCreate,
            "no room in /x",
        )))
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Files that cannot be read.
struct Unreadable;
impl Read for Unreadable {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::PermissionDenied.into())
    }
}
impl Source for Unreadable {
    fn open(&mut self, _: &Entry) -> Result<Option<Box<dyn Read>>> {
        Ok(Some(Box::new(Self)))
    }
    fn advance(&mut self, _: u64) -> Result<()> {
        Ok(())
    }
}

#[test]
fn errors_of_either_side_end_the_writing() {
    let mut store = many(200);
    store.stop_after = Some(500_000);
    let manifest = store.manifest();
    let error = write(&manifest, &mut store, &mut Nothing, 2, &mut Vec::new()).unwrap_err();
    assert_eq!(error.kind(), Kind::Interrupted);
    assert!(store.opened.len() < 200);

    let mut room = vec![0; 100_000];
    let mut full = &mut room[..];
    let error = write(&manifest, &mut many(200), &mut Nothing, 2, &mut full).unwrap_err();
    assert_eq!(error.kind(), Kind::Io);

    let error = write(&manifest, &mut many(200), &mut Nothing, 2, &mut Told).unwrap_err();
    assert_eq!(error.headline(), "no room in /x");

    let error = write(&manifest, &mut Unreadable, &mut Nothing, 2, &mut Vec::new()).unwrap_err();
    assert_eq!(error.kind(), Kind::Io);
    let file = error.path_ref().unwrap().to_str().unwrap();
    assert_eq!(file, format!("conversations/active/{}", name(0)));
}

#[test]
fn what_could_not_be_read_back_is_not_written() {
    let mut manifest = many(3).manifest();
    manifest.files[1].size = (1 << 30) + 1;
    let refused = |manifest: &Manifest| {
        let mut out = Vec::new();
        let error = write(manifest, &mut many(3), &mut Nothing, 2, &mut out).unwrap_err();
        assert!(out.is_empty());
        error
    };
    let error = refused(&manifest);
    assert_eq!(error.kind(), Kind::Malformed);
    assert!(error.path_ref().is_some());

    let mut manifest = many(3).manifest();
    manifest.files.swap(0, 2);
    assert_eq!(refused(&manifest).kind(), Kind::Bug);

    manifest.note = Some("n".repeat(17 << 20));
    manifest.files.clear();
    assert_eq!(refused(&manifest).kind(), Kind::Malformed);
}

#[test]
fn the_format_of_the_store_is_the_one_that_the_manifest_knows() {
    assert_eq!(STORE_FORMAT, pachat::store::FORMAT);
}

/// What happens to one file between two archives.
#[derive(Clone, Debug)]
enum Change {
    Put { number: usize, len: usize },
    Append { number: usize, len: usize },
    Remove { number: usize },
}

fn change() -> impl Strategy<Value = Change> {
    let number = 0_usize..120;
    let len = prop_oneof![6 => 0_usize..9_000, 2 => 0_usize..90_000, 1 => Just(150_000)];
    prop_oneof![
        1 => (number.clone(), len).prop_map(|(number, len)| Change::Put { number, len }),
        4 => (number.clone(), 1_usize..2_000).prop_map(|(number, len)| Change::Append { number, len }),
        1 => number.prop_map(|number| Change::Remove { number }),
    ]
}

impl Store {
    fn change(&mut self, change: &Change, seed: usize) {
        let path = |number: usize| ArchivePath::new(Part::Active, &name(number)).unwrap();
        match *change {
            Change::Put { number, len } => self.conversation(number, text(seed, len)),
            Change::Append { number, len } => {
                self.files
                    .entry(path(number))
                    .or_default()
                    .extend(text(seed, len));
            }
            Change::Remove { number } => drop(self.files.remove(&path(number))),
        }
    }
}

fn sizes() -> impl Strategy<Value = Vec<usize>> {
    let size = prop_oneof![
        4 => 0_usize..2_000,
        2 => 0_usize..400_000,
        2 => 63 * KIB..66 * KIB,
        1 => MIB - 2_000..MIB + 2_000,
        1 => Just(512),
        1 => 4 * MIB - 2..4 * MIB + 2,
    ];
    proptest::collection::vec(size, 0..12)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, ..ProptestConfig::default() })]

    #[test]
    fn any_sizes_come_back_and_the_next_archive_is_the_same(sizes in sizes(), change in 0_usize..12) {
        let mut store = Store::default();
        for (number, &size) in sizes.iter().enumerate() {
            store.conversation(number, text(number, size));
        }
        let mut first = written(&mut store, &mut Nothing, 2);
        assert_holds(&first, &store);

        // The one after a change is what it would be without the first.
        store.conversation(change, text(77, 1_000));
        let second = written(&mut store, &mut first, 2);
        assert_holds(&second, &store);
        let fresh = written(&mut store, &mut Nothing, 1);
        assert_same(&second, &fresh);
        prop_assert_eq!(read_back(&second).unwrap(), store.manifest());
        let keys: HashMap<Sha256, u32> =
            first.outline.segments.iter().map(|one| (one.key, one.crc)).collect();
        for one in &second.outline.segments {
            prop_assert!(keys.get(&one.key).is_none_or(|crc| *crc == one.crc));
        }
    }

    /// Copies of copies of copies are what a backup of every day consists of after a year.
    #[test]
    fn a_chain_of_archives_that_copy_from_each_other_stays_sound(
        generations in proptest::collection::vec(proptest::collection::vec(change(), 0..6), 4..10),
    ) {
        let mut store = Store::default();
        for number in 0..100 {
            store.conversation(number, text(number, 500 + number * 7919 % 8_000));
        }
        let mut last = written(&mut store, &mut Nothing, 2);
        for (generation, changes) in generations.iter().enumerate() {
            for (number, change) in changes.iter().enumerate() {
                store.change(change, 1000 * (generation + 1) + number);
            }
            let next = written(&mut store, &mut last, 2);
            assert_holds(&next, &store);
            prop_assert_eq!(read_whole(&next).unwrap(), store.manifest());
            prop_assert_eq!(read_back(&next).unwrap(), store.manifest());
            let fresh = written(&mut store, &mut Nothing, 1);
            assert_same(&next, &fresh);
            last = next;
        }
    }
}
