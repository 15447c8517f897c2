//! Archives that must be accepted: pachat's own, and what other programs make of the same
//! files. Without these a reader that refuses everything would pass.

use super::build::{ACTIVE, Backup, GNU, KEY, LINK, MAGIC, NAME, PREFIX, SETTINGS, TYPE, UID};
use super::build::{directory, entry, file, gz, gz_with_fields, gz_with_header_crc, header};
use super::build::{long_name, members, pax, record, tar, with};
use super::cases::{Case, fine};

fn of(about: &str, archive: Vec<u8>) -> Case {
    fine(format!("valid: {about}"), archive)
}

const DIRECTORIES: [&str; 7] = [
    "attachments/",
    "config/",
    "conversations/",
    "conversations/active/",
    "conversations/archived/",
    "logs/",
    "quarantine/",
];

/// The entries of the usual backup with its directories, each changed.
fn all(change: impl Fn(Vec<u8>) -> Vec<u8>) -> Vec<u8> {
    let backup = Backup::usual();
    let mut entries = vec![backup.first()];
    entries.extend(DIRECTORIES.map(directory));
    entries.extend(backup.rest());
    entries.into_iter().flat_map(change).collect()
}

/// The first header of an entry changed.
fn changed(mut entry: Vec<u8>, at: usize, bytes: &[u8]) -> Vec<u8> {
    let block: [u8; 512] = entry[..512].try_into().unwrap();
    entry[..512].copy_from_slice(&with(block, at, bytes));
    entry
}

/// The end of an archive as `tar` writes it.
fn end_of_record(mut tar: Vec<u8>) -> Vec<u8> {
    tar.resize((tar.len() + 1024).next_multiple_of(10_240), 0);
    tar
}

pub fn cases() -> Vec<Case> {
    let mut cases = tars();
    cases.extend(gzips());
    cases.extend(contents());
    cases
}

fn tars() -> Vec<Case> {
    let gnu = |entry| {
        let entry = changed(entry, MAGIC, GNU);
        changed(entry, 329, &[0; 16])
    };
    let times = [
        record("mtime", "1795354045.28784807"),
        record("atime", "1795354045.611389112"),
        record("ctime", "1795354045.28784807"),
    ];
    let posix = |entry: Vec<u8>| [pax(&times.concat()), entry].concat();
    let old_type = |entry: Vec<u8>| match entry[TYPE] {
        b'0' => changed(entry, TYPE, &[0]),
        _ => entry,
    };
    let no_slash = |entry: Vec<u8>| {
        let name = entry[..100].split(|byte| *byte == 0).next().unwrap();
        let place = NAME + name.len() - 1;
        if name.ends_with(b"/") {
            changed(entry, place, &[0])
        } else {
            entry
        }
    };
    let owner = |entry| changed(gnu(entry), UID, &[0x80, 0, 0, 0, 0x49, 0x96, 2, 0xd2]);
    let gnu_name = |entry: Vec<u8>| {
        let name = entry[..100].split(|byte| *byte == 0).next().unwrap();
        [long_name(name), changed(entry.clone(), NAME, b"@")].concat()
    };
    let pax_name = |entry: Vec<u8>| {
        let name = entry[..100].split(|byte| *byte == 0).next().unwrap();
        let extension = pax(&record("path", name));
        [extension, changed(entry.clone(), NAME, b"@")].concat()
    };
    let whole = |change: &dyn Fn(Vec<u8>) -> Vec<u8>| gz(&end_of_record(all(change)));
    let full_name = with(header("x", 3, b'0'), NAME, &[0; 100]);
    let full_name = with(full_name, NAME, b"app_config.json");
    let full_name = with(full_name, PREFIX, b"config");
    let split = Backup::of(vec![(SETTINGS.into(), b"{}\n".to_vec())]);
    let split = gz(&tar(&[split.first(), entry(full_name, b"{}\n")]));
    let unlinked = with(header("config/", 0, b'5'), LINK, &[0; 100]);
    vec![
        of("as pachat writes it", gz(&tar(&[all(|entry| entry)]))),
        of("`tar czf`", whole(&gnu)),
        of("`tar czf --format=posix`", whole(&posix)),
        of("`tar czf --format=ustar`", whole(&|entry| entry)),
        of("old type of files", whole(&old_type)),
        of("directories without a slash", whole(&no_slash)),
        of("owner of a large number", whole(&owner)),
        of("names in GNU extensions", whole(&gnu_name)),
        of("names in PAX records", whole(&pax_name)),
        of("name in two fields", split),
        of("one directory of several", Backup::usual().then(unlinked)),
        of("no directories", Backup::usual().archive()),
    ]
}

fn gzips() -> Vec<Case> {
    let whole = tar(&Backup::usual().entries());
    let empty = gz(b"");
    let with_empty: Vec<u8> = whole
        .chunks(700)
        .flat_map(|piece| [empty.clone(), gz(piece)].concat())
        .collect();
    vec![
        of("a member for each 512 bytes", members(&whole, 512)),
        of("a member for each byte", members(&whole, 1)),
        of("members that end anywhere", members(&whole, 777)),
        of("empty members between others", with_empty),
        of(
            "fields in the header",
            gz_with_fields(&whole, b"backup.tar"),
        ),
        of("CRC of the header", gz_with_header_crc(&whole)),
        of(
            "a record filled up in one member",
            gz(&end_of_record(Backup::usual().entries().concat())),
        ),
    ]
}

fn contents() -> Vec<Case> {
    let mut backwards = Backup::usual().rest();
    backwards.reverse();
    backwards.insert(0, Backup::usual().first());
    let damaged = Backup::of(vec![(ACTIVE.into(), b"not a conversation\n".to_vec())]);
    let damaged = damaged.field("/files/0/damaged", true);
    let key = Backup::and(KEY, b"AGE-SECRET-KEY-1...\n");
    // Hardly compressible, and larger than all buffers.
    let mut random = 1_u64;
    let mut next = || {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (random >> 56) as u8
    };
    let large: Vec<u8> = (0..1_000_003).map(|_| next()).collect();
    let zeros = vec![0; 15 << 20];
    let full = format!("{:511}\n", "{}").into_bytes();
    vec![
        of("files in any order", gz(&tar(&backwards))),
        of("no files", Backup::of(Vec::new()).archive()),
        of("a damaged conversation that is marked", damaged.archive()),
        of(
            "tags and a note",
            Backup::usual()
                .field("/tags", serde_json::json!(["before", "upgrade"]))
                .field("/note", "weekly")
                .archive(),
        ),
        of(
            "large file",
            Backup::and("quarantine/noise", &large).archive(),
        ),
        of(
            "15 MiB of zeros",
            Backup::and("quarantine/zeros", &zeros).archive(),
        ),
        Case {
            sealed: true,
            ..of("key in a sealed archive", key.archive())
        },
        of(
            "file that fills its last block",
            gz(&tar(&[
                Backup::of(vec![(SETTINGS.into(), full.clone())]).first(),
                file(SETTINGS, &full),
            ])),
        ),
    ]
}
