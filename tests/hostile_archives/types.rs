//! Entries that are neither files nor directories, and extensions of the tar format.

use super::build::{ACTIVE, Backup, GNU, LINK, MAGIC, PREFIX, SETTINGS, TORN};
use super::build::{bare, directory, entry, file, gz, header, long_name, pax, record, tar, with};
use super::cases::{Case, hostile};

fn then(entries: &[Vec<u8>]) -> Vec<u8> {
    Backup::usual().then(entries.concat())
}

pub fn cases() -> Vec<Case> {
    let mut cases = flags();
    cases.extend(links_and_directories());
    cases.extend(records());
    cases.extend(extensions());
    cases
}

fn flags() -> Vec<Case> {
    let flags: &[(u8, &str)] = &[
        (b'1', "hard link"),
        (b'2', "symbolic link"),
        (b'3', "character device"),
        (b'4', "block device"),
        (b'6', "named pipe"),
        (b'7', "contiguous file"),
        (b'g', "global PAX header"),
        (b'S', "sparse file"),
        (b'M', "other volume"),
        (b'V', "volume label"),
        (b'K', "long link target"),
        (b'D', "directory listing"),
        (b'N', "old long names"),
        (b'X', "records of Solaris"),
        (b'A', "access list of Solaris"),
        (b'I', "inode"),
        (b'8', "reserved"),
        (b' ', "space"),
        (0xff, "no character"),
    ];
    let of = |&(flag, about): &(u8, &str)| {
        let archive = Backup::usual().then(bare(TORN, flag));
        hostile(format!("type: {about}"), archive, "type", TORN)
    };
    flags.iter().map(of).collect()
}

fn links_and_directories() -> Vec<Case> {
    let link = |name: &str, target: &[u8]| with(header(name, 0, b'2'), LINK, target).to_vec();
    let inside = file(ACTIVE, b"evil\n");
    let through = then(&[link("conversations", b"/tmp"), inside.clone()]);
    let hard = with(header(ACTIVE, 0, b'1'), LINK, b"/etc/passwd").to_vec();
    // A sparse file of GNU's has its map where POSIX has the prefix.
    let sparse = with(header(TORN, 0, b'S'), MAGIC, GNU);
    let sparse = with(sparse, PREFIX + 41, b"00000000000\0");
    let linked = with(header(SETTINGS, 3, b'0'), LINK, b"/etc/passwd");
    let mut target = Backup::usual().entries();
    target[2] = entry(linked, b"{}\n");
    let global = entry(header("pax_global_header", 10, b'g'), &record("a", "bcd"));
    vec![
        hostile(
            "type: through a symbolic link",
            through,
            "type",
            "conversations",
        ),
        hostile(
            "type: hard link out of the store",
            then(&[hard, inside]),
            "type",
            ACTIVE,
        ),
        hostile(
            "type: sparse file of GNU",
            Backup::usual().then(sparse),
            "type",
            TORN,
        ),
        hostile(
            "type: global header first",
            gz(&tar(&[global, Backup::usual().first()])),
            "type",
            "pax_global_header",
        ),
        hostile(
            "tar: file with a link target",
            gz(&tar(&target)),
            "tar",
            SETTINGS,
        ),
        hostile(
            "place: other directory",
            then(&[directory("home/")]),
            "place",
            "home",
        ),
        hostile(
            "place: trash",
            then(&[directory("conversations/trash/")]),
            "place",
            "conversations/trash",
        ),
        hostile(
            "place: directory named like a file",
            then(&[directory(ACTIVE)]),
            "place",
            ACTIVE,
        ),
        hostile(
            "path: directory above",
            then(&[directory("../")]),
            "path",
            "..",
        ),
        hostile(
            "path: directory here",
            then(&[directory("./")]),
            "path",
            "./",
        ),
        hostile("path: root", then(&[directory("/")]), "path", ""),
        hostile(
            "size: directory with data",
            then(&[entry(header("logs/", 5, b'5'), b"evil\n")]),
            "size",
            "logs/",
        ),
    ]
}

/// PAX records.
fn records() -> Vec<Case> {
    let torn = file(TORN, b"");
    let named = "./PaxHeaders/x";
    let of = |about: &str, rule: &'static str, body: &[u8]| {
        let archive = then(&[pax(body), torn.clone()]);
        hostile(format!("PAX: {about}"), archive, rule, named)
    };
    let path = record("path", TORN);
    // What follows would be read as an entry by who goes by the header's size.
    let inner = file("../evil", b"evil\n");
    let smuggled = [
        pax(&record("size", inner.len().to_string())),
        header(TORN, 0, b'0').to_vec(),
        inner,
    ];
    vec![
        hostile("PAX: smuggled entry", then(&smuggled), "size", named),
        of("larger size", "size", &record("size", "1000000")),
        of("the same size", "size", &record("size", "0")),
        of("link target", "pax", &record("linkpath", "/etc/passwd")),
        of("comment", "pax", &record("comment", "x")),
        of("owner", "pax", &record("uid", "0")),
        of("character set", "pax", &record("hdrcharset", "BINARY")),
        of("sparse map", "pax", &record("GNU.sparse.major", "1")),
        of(
            "name of a sparse file",
            "pax",
            &record("GNU.sparse.name", "../evil"),
        ),
        of("attribute", "pax", &record("SCHILY.xattr.user.x", "x")),
        of(
            "attribute of libarchive",
            "pax",
            &record("LIBARCHIVE.xattr.user.x", "eA=="),
        ),
        of(
            "access list",
            "pax",
            &record("SCHILY.acl.access", "user::rwx"),
        ),
        of(
            "key that clears the screen",
            "pax",
            &record("\x1b[2Jpath", TORN),
        ),
        of("time that is no number", "pax", &record("mtime", "now")),
        of("path twice", "pax", &[path.clone(), path.clone()].concat()),
        of("length with a sign", "pax", b"+12 path=a/b\n"),
        of("length with a zero", "pax", b"013 path=a/b\n"),
        of("length too small", "pax", b"11 path=a/b\n"),
        of("length too large", "pax", b"99 path=a/b\n"),
        of(
            "length that overflows",
            "pax",
            b"99999999999999999999999 path=a/b\n",
        ),
        of("no length", "pax", b"path=a/b\n"),
        of("no line feed", "pax", b"12 path=a/bc"),
        of("no key", "pax", b"6 =ab\n"),
        of("NULs at the end", "pax", &[path, vec![0; 8]].concat()),
    ]
}

/// Where extensions stand, and how long they are.
fn extensions() -> Vec<Case> {
    let torn = file(TORN, b"");
    let times = pax(&record("mtime", "1.5"));
    let name = long_name(TORN.as_bytes());
    let large = 65_537;
    let mut at_the_end = Backup::usual().entries();
    at_the_end.push(name.clone());
    let gnu = "././@LongLink";
    vec![
        hostile(
            "extension: two GNU names",
            then(&[name.clone(), name.clone(), torn.clone()]),
            "limit",
            gnu,
        ),
        hostile(
            "extension: two sets of records",
            then(&[times.clone(), times.clone(), torn.clone()]),
            "limit",
            "./PaxHeaders/x",
        ),
        hostile(
            "extension: one of each",
            then(&[times, name, torn.clone()]),
            "limit",
            gnu,
        ),
        hostile("extension: at the end", gz(&tar(&at_the_end)), "limit", gnu),
        hostile(
            "extension: large GNU name",
            then(&[long_name(&vec![b'a'; large]), torn.clone()]),
            "limit",
            gnu,
        ),
        hostile(
            "extension: large records",
            then(&[pax(&record("path", vec![b'a'; large])), torn.clone()]),
            "limit",
            "./PaxHeaders/x",
        ),
        hostile(
            "extension: said to be huge",
            then(&[header("././@LongLink", 1 << 33, b'L').to_vec(), torn]),
            "limit",
            gnu,
        ),
    ]
}
