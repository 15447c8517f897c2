//! Blocks of the tar archive: headers, padding and the end.

use super::build::{Backup, GNU, MAGIC, MODE, MTIME, PREFIX, SETTINGS, TORN, UID};
use super::build::{Block, CHECKSUM, directory, entry, file, gz, header, tar, with, with_raw};
use super::cases::{Case, hostile};

fn of(about: &str, tar: &[u8], rule: &'static str, entry: &str) -> Case {
    hostile(format!("tar: {about}"), gz(tar), rule, entry)
}

pub fn cases() -> Vec<Case> {
    let mut cases = headers();
    cases.extend(ends());
    cases
}

fn headers() -> Vec<Case> {
    let with_settings = |settings: Block| {
        let mut entries = Backup::usual().entries();
        entries[2] = entry(settings, b"{}\n");
        tar(&entries)
    };
    let good = header(SETTINGS, 3, b'0');
    let mut padded = Backup::usual().entries();
    padded[2][512 + 3] = 1;
    let mut last_padded = Backup::usual().entries();
    last_padded[2][1023] = b'x';
    let of =
        |about: &str, block: Block, entry: &str| of(about, &with_settings(block), "tar", entry);
    let gnu = with(good, MAGIC, GNU);
    vec![
        of("wrong checksum", with_raw(good, MODE, b"0000644\0"), ""),
        of(
            "checksum that is no number",
            with_raw(good, CHECKSUM, b"        "),
            "",
        ),
        of("no magic", with(good, MAGIC, &[0; 8]), SETTINGS),
        of("other magic", with(good, MAGIC, b"ustar\x0001"), SETTINGS),
        of("mixed magic", with(good, MAGIC, b"ustar\0 \0"), SETTINGS),
        of(
            "mode that is no number",
            with(good, MODE, b"rwxr-xr-"),
            SETTINGS,
        ),
        of(
            "owner of base 256 in a POSIX header",
            with(good, UID, &[0x80, 0, 0, 0, 0, 0, 0, 1]),
            SETTINGS,
        ),
        of(
            "time that is no number",
            with(good, MTIME, b"yesterday\0\0\0"),
            SETTINGS,
        ),
        of(
            "GNU header with other fields",
            with(gnu, PREFIX, b"evil"),
            SETTINGS,
        ),
        of(
            "POSIX header with something at its end",
            with(good, 508, b"tar\0"),
            SETTINGS,
        ),
        hostile(
            "tar: padding that is not zero",
            gz(&tar(&padded)),
            "tar",
            SETTINGS,
        ),
        hostile(
            "tar: last byte of padding is not zero",
            gz(&tar(&last_padded)),
            "tar",
            SETTINGS,
        ),
    ]
}

fn ends() -> Vec<Case> {
    let entries = Backup::usual().entries();
    let blocks = entries.concat();
    let whole = tar(&entries);
    let zeros = |count: usize| vec![0; count];
    let then = |what: &[u8]| [&blocks, what].concat();
    let evil = file(TORN, b"evil\n");
    let one_then = [zeros(512), evil.clone(), zeros(1024)].concat();
    let second = [zeros(1024), evil, zeros(1024)].concat();
    let garbage = [zeros(1024), b"garbage".to_vec(), zeros(505)].concat();
    vec![
        of("no end", &blocks, "tar", ""),
        of("one zero block", &then(&zeros(512)), "tar", ""),
        of("one zero block and a half", &then(&zeros(768)), "tar", ""),
        of("one zero block, then an entry", &then(&one_then), "tar", ""),
        of("entry after the end", &then(&second), "trailing", ""),
        of("garbage after the end", &then(&garbage), "trailing", ""),
        of(
            "more zeros than a record has",
            &then(&zeros(1024 + 10 * 1024 + 512)),
            "trailing",
            "",
        ),
        of(
            "half a block of zeros after the end",
            &then(&zeros(1024 + 100)),
            "trailing",
            "",
        ),
        of(
            "cut within the manifest",
            &blocks[..700 + 512],
            "tar",
            "MANIFEST.json",
        ),
        of(
            "cut within a file",
            &blocks[..blocks.len() - 510],
            "tar",
            TORN,
        ),
        of(
            "cut within padding",
            &blocks[..blocks.len() - 10],
            "tar",
            TORN,
        ),
        of(
            "cut after a header",
            &blocks[..blocks.len() - 512],
            "tar",
            TORN,
        ),
        of(
            "half a header",
            &[&blocks[..], &whole[..100]].concat(),
            "tar",
            "",
        ),
        of("no tar archive", &b"just a text\n".repeat(100), "tar", ""),
        of("only zeros", &zeros(1024), "manifest", ""),
        of(
            "only a directory",
            &tar(&[directory("config/")]),
            "manifest",
            "config/",
        ),
    ]
}
