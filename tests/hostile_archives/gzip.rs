//! Damage and tricks around the tar archive.

use super::build::{Backup, TORN, gz, gz_best, gz_with_fields, gz_with_header_crc, members, tar};
use super::cases::{Case, hostile};

fn of(about: &str, archive: Vec<u8>, rule: &'static str) -> Case {
    hostile(format!("gzip: {about}"), archive, rule, "")
}

pub fn cases() -> Vec<Case> {
    let mut cases = damaged();
    cases.extend(followed());
    cases.extend(other_formats());
    cases.extend(bombs());
    cases
}

fn damaged() -> Vec<Case> {
    let whole = Backup::usual().archive();
    let end = whole.len();
    let changed = |at: usize, change: u8| {
        let mut archive = whole.clone();
        archive[at] ^= change;
        archive
    };
    let mut header_crc = gz_with_header_crc(&tar(&Backup::usual().entries()));
    header_crc[10] ^= 1;
    // A block of the one type that does not exist.
    let mut bad_block = gz(b"");
    bad_block[10] = 0b111;
    let two = members(&tar(&Backup::usual().entries()), 1024);
    let second = 1 + two[1..]
        .windows(3)
        .position(|bytes| bytes == b"\x1f\x8b\x08")
        .unwrap();
    vec![
        of("only the magic", whole[..2].to_vec(), "gzip"),
        of("cut within the header", whole[..7].to_vec(), "gzip"),
        of("cut within the data", whole[..end / 2].to_vec(), "gzip"),
        of("cut before the CRC", whole[..end - 8].to_vec(), "gzip"),
        of("cut within the length", whole[..end - 1].to_vec(), "gzip"),
        of("wrong CRC", changed(end - 8, 1), "gzip"),
        of("wrong length", changed(end - 4, 1), "gzip"),
        of(
            "length with another high byte",
            changed(end - 1, 0x80),
            "gzip",
        ),
        of("reserved flag", changed(3, 0x20), "gzip"),
        of("method that is not deflate", changed(2, 1), "gzip"),
        of("wrong CRC of the header", header_crc, "gzip"),
        of("block of no known type", bad_block, "gzip"),
        of(
            "garbage between members",
            [&two[..second], b"garbage", &two[second..]].concat(),
            "gzip",
        ),
        of(
            "zeros between members",
            [&two[..second], &[0; 512], &two[second..]].concat(),
            "gzip",
        ),
        hostile(
            "tar: second member is not there",
            two[..second].to_vec(),
            "tar",
            "MANIFEST.json",
        ),
    ]
}

fn followed() -> Vec<Case> {
    let whole = Backup::usual().archive();
    let by = |what: &[u8]| [&whole, what].concat();
    vec![
        of("garbage after it", by(b"garbage"), "trailing"),
        of("one byte after it", by(b"\0"), "trailing"),
        of("zeros after it", by(&[0; 512]), "trailing"),
        of("magic after it", by(b"\x1f\x8b"), "trailing"),
        of(
            "second archive in a member of its own",
            by(&whole),
            "trailing",
        ),
        of("empty member after it", by(&gz(b"")), "trailing"),
        of(
            "zeros in a member of their own",
            by(&gz(&[0; 1024])),
            "trailing",
        ),
    ]
}

fn other_formats() -> Vec<Case> {
    let tar = tar(&Backup::usual().entries());
    vec![
        of("empty file", Vec::new(), "gzip"),
        of("one byte", vec![0x1f], "gzip"),
        of("text", b"nothing of the kind\n".to_vec(), "gzip"),
        of("a tar archive", tar.clone(), "gzip"),
        of(
            "packed with zstd",
            b"\x28\xb5\x2f\xfd\x24\0\x01\0\0".to_vec(),
            "gzip",
        ),
        of("packed with xz", b"\xfd7zXZ\0\0\x04".to_vec(), "gzip"),
        of("packed with bzip2", b"BZh91AY&SY".to_vec(), "gzip"),
        of("packed with zip", b"PK\x03\x04\x14\0\0\0".to_vec(), "gzip"),
        of(
            "packed with zlib",
            b"\x78\x9c\x03\0\0\0\0\x01".to_vec(),
            "gzip",
        ),
        of(
            "sealed",
            b"age-encryption.org/v1\n-> X25519 x\n".to_vec(),
            "gzip",
        ),
        of("packed twice", gz(&gz(&tar)), "tar"),
        of("an empty member", gz(b""), "tar"),
    ]
}

fn bombs() -> Vec<Case> {
    let zeros = vec![0; 20 << 20];
    let mut entries = Backup::usual().entries();
    entries.push(zeros.clone());
    let empty: Vec<u8> = std::iter::repeat_n(gz(b""), 1001).flatten().collect();
    vec![
        of(
            "20 MiB of zeros as a file",
            gz_best(&tar(&Backup::and("quarantine/zeros", &zeros).entries())),
            "limit",
        ),
        of(
            "20 MiB of zeros at the end",
            gz_best(&tar(&entries)),
            "trailing",
        ),
        of(
            "20 MiB of spaces as the manifest",
            gz_best(&tar(&[super::build::file(
                "MANIFEST.json",
                &[b' ', b'\n'].repeat(8 << 20),
            )])),
            "limit",
        ),
        of(
            "1,001 empty members",
            [empty, Backup::usual().archive()].concat(),
            "limit",
        ),
        of(
            "long name in a member's header",
            gz_with_fields(&tar(&Backup::usual().entries()), &[b'a'; 100_000]),
            "limit",
        ),
        hostile(
            "size: a bomb that the manifest does not own up to",
            Backup::usual().then(super::build::header(TORN, 1 << 32, b'0')),
            "size",
            TORN,
        ),
    ]
}
