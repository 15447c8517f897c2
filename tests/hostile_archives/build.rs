//! Makes archives byte by byte, with every field as wrong as a case wants it. Shares nothing
//! with the code under test.

use std::fmt::Write as _;
use std::io::Write as _;

use flate2::write::GzEncoder;
use flate2::{Compression, Crc, GzBuilder};

pub type Block = [u8; 512];

pub const POSIX: &[u8; 8] = b"ustar\x0000";
pub const GNU: &[u8; 8] = b"ustar  \0";

/// Where a header keeps what.
pub const NAME: usize = 0;
pub const MODE: usize = 100;
pub const UID: usize = 108;
pub const SIZE: usize = 124;
pub const MTIME: usize = 136;
pub const CHECKSUM: usize = 148;
pub const TYPE: usize = 156;
pub const LINK: usize = 157;
pub const MAGIC: usize = 257;
pub const PREFIX: usize = 345;

/// The header of an entry, in POSIX's format. A name that is too long is cut.
pub fn header(name: impl AsRef<[u8]>, size: u64, kind: u8) -> Block {
    let mut block = [0; 512];
    let name = name.as_ref();
    let shown = name.len().min(100);
    block[..shown].copy_from_slice(&name[..shown]);
    let mode: &[u8] = if kind == b'5' {
        b"0000700\0"
    } else {
        b"0000600\0"
    };
    put(&mut block, MODE, mode);
    put(&mut block, UID, b"0000000\0");
    put(&mut block, 116, b"0000000\0");
    put(&mut block, SIZE, format!("{size:011o}\0").as_bytes());
    put(&mut block, MTIME, b"00000000000\0");
    block[TYPE] = kind;
    put(&mut block, MAGIC, POSIX);
    put(&mut block, 329, b"0000000\0");
    put(&mut block, 337, b"0000000\0");
    checked(block)
}

fn put(block: &mut Block, at: usize, bytes: &[u8]) {
    block[at..at + bytes.len()].copy_from_slice(bytes);
}

/// The block with its checksum made right.
pub fn checked(mut block: Block) -> Block {
    put(&mut block, CHECKSUM, b"        ");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    put(&mut block, CHECKSUM, format!("{sum:06o}\0 ").as_bytes());
    block
}

/// The block with these bytes at this place, and a right checksum.
pub fn with(mut block: Block, at: usize, bytes: &[u8]) -> Block {
    put(&mut block, at, bytes);
    checked(block)
}

/// The same without touching the checksum.
pub fn with_raw(mut block: Block, at: usize, bytes: &[u8]) -> Block {
    put(&mut block, at, bytes);
    block
}

/// A header and what belongs to it, filled up to whole blocks.
pub fn entry(header: Block, data: &[u8]) -> Vec<u8> {
    let mut bytes = header.to_vec();
    bytes.extend_from_slice(data);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

pub fn file(name: impl AsRef<[u8]>, data: &[u8]) -> Vec<u8> {
    entry(header(name, data.len() as u64, b'0'), data)
}

pub fn directory(name: impl AsRef<[u8]>) -> Vec<u8> {
    header(name, 0, b'5').to_vec()
}

/// An entry without data.
pub fn bare(name: &str, kind: u8) -> Vec<u8> {
    header(name, 0, kind).to_vec()
}

/// GNU's extension for a long name.
pub fn long_name(name: &[u8]) -> Vec<u8> {
    let body = [name, b"\0"].concat();
    let header = header("././@LongLink", body.len() as u64, b'L');
    entry(with(header, MAGIC, GNU), &body)
}

/// A PAX record, its length counted right.
pub fn record(key: &str, value: impl AsRef<[u8]>) -> Vec<u8> {
    let value = value.as_ref();
    let rest = key.len() + value.len() + 3;
    let length = (1..9)
        .map(|digits| rest + digits)
        .find(|length| length.to_string().len() + rest == *length)
        .unwrap();
    let mut record = format!("{length} {key}=").into_bytes();
    record.extend_from_slice(value);
    record.push(b'\n');
    record
}

/// PAX's extension with this body.
pub fn pax(body: &[u8]) -> Vec<u8> {
    entry(header("./PaxHeaders/x", body.len() as u64, b'x'), body)
}

/// A tar archive of these entries.
pub fn tar(entries: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = entries.concat();
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

/// A gzip member.
pub fn gz(bytes: &[u8]) -> Vec<u8> {
    gz_level(bytes, Compression::fast())
}

/// A gzip member, packed as tightly as can be.
pub fn gz_best(bytes: &[u8]) -> Vec<u8> {
    gz_level(bytes, Compression::best())
}

fn gz_level(bytes: &[u8], level: Compression) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), level);
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Members of so many unpacked bytes each.
pub fn members(bytes: &[u8], each: usize) -> Vec<u8> {
    bytes.chunks(each).flat_map(gz).collect()
}

/// A gzip member with every field in its header that there can be.
pub fn gz_with_fields(bytes: &[u8], name: &[u8]) -> Vec<u8> {
    let mut encoder = GzBuilder::new()
        .filename(name)
        .comment("a comment")
        .extra(b"XX\x02\x00ab".to_vec())
        .mtime(1_766_000_000)
        .write(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A gzip member with a CRC of its header, which only some programs write.
pub fn gz_with_header_crc(bytes: &[u8]) -> Vec<u8> {
    let mut member = gz(bytes);
    member[3] |= 2;
    let mut crc = Crc::new();
    crc.update(&member[..10]);
    let sum = crc.sum().to_le_bytes();
    member.splice(10..10, sum[..2].iter().copied());
    member
}

pub fn sha256(bytes: &[u8]) -> String {
    ring::digest::digest(&ring::digest::SHA256, bytes)
        .as_ref()
        .iter()
        .fold(String::new(), |mut hex, byte| {
            write!(hex, "{byte:02x}").unwrap();
            hex
        })
}

pub const ACTIVE: &str = "conversations/active/20260822-094107-abc123.jsonl";
pub const ARCHIVED: &str = "conversations/archived/20250101-000000-zzz999.jsonl.gz";
pub const SETTINGS: &str = "config/app_config.json";
pub const KEY: &str = "config/master.key";
pub const TORN: &str = "quarantine/20260822-094107-abc123.4096.torn";

/// A conversation with this id in its header.
pub fn conversation(id: &str) -> Vec<u8> {
    format!(
        r#"{{"type":"conversation","version":1,"id":"{id}","created_at":"2026-08-22T09:41:07.000Z","title":"Trees","model":"a/b"}}
{{"type":"message","n":1,"role":"user","content":"What is an oak?","at":"2026-08-22T09:41:08.000Z"}}
{{"type":"message","n":2,"role":"assistant","content":"A tree.","at":"2026-08-22T09:41:09.000Z","state":"complete"}}
"#
    )
    .into_bytes()
}

/// What a backup holds, before it becomes an archive: a manifest that can be changed, and
/// files.
#[derive(Clone)]
pub struct Backup {
    pub files: Vec<(String, Vec<u8>)>,
    pub manifest: serde_json::Value,
}

impl Backup {
    /// A backup of type `full` of these files.
    pub fn of(files: Vec<(String, Vec<u8>)>) -> Self {
        let mut backup = Self {
            files,
            manifest: serde_json::Value::Null,
        };
        backup.describe();
        backup
    }

    /// One file in each place.
    pub fn usual() -> Self {
        let picture = b"\x89PNG\r\n\x1a\n and so on".repeat(40);
        Self::of(vec![
            (format!("attachments/{}.png", sha256(&picture)), picture),
            (SETTINGS.into(), b"{}\n".to_vec()),
            (ACTIVE.into(), conversation("20260822-094107-abc123")),
            (ARCHIVED.into(), gz(&conversation("20250101-000000-zzz999"))),
            ("logs/app.log".into(), Vec::new()),
            (TORN.into(), b"{\"type\":\"mess".to_vec()),
        ])
    }

    /// The usual one with one more file.
    pub fn and(name: impl Into<String>, data: &[u8]) -> Self {
        let mut backup = Self::usual();
        backup.files.push((name.into(), data.to_vec()));
        backup.describe();
        backup
    }

    /// Makes the manifest what the files are.
    fn describe(&mut self) {
        let describe = |(path, data): &(String, Vec<u8>)| {
            let (size, sha256) = (data.len(), sha256(data));
            serde_json::json!({ "path": path, "size": size, "sha256": sha256 })
        };
        let files: Vec<_> = self.files.iter().map(describe).collect();
        let total: usize = self.files.iter().map(|(_, data)| data.len()).sum();
        self.manifest = serde_json::json!({
            "format": "pachat-backup",
            "version": 1,
            "type": "full",
            "created_at": "2026-08-22T09:41:07.000Z",
            "store_format": 1,
            "files": files,
            "total_bytes": total,
        });
    }

    /// The same with one field of the manifest changed.
    pub fn field(mut self, pointer: &str, value: impl Into<serde_json::Value>) -> Self {
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        let parent = self.manifest.pointer_mut(parent).unwrap();
        match name.parse::<usize>() {
            Ok(index) => parent[index] = value.into(),
            Err(_) => parent[name] = value.into(),
        }
        self
    }

    pub fn json(&self) -> String {
        self.manifest.to_string()
    }

    /// The entry of the manifest.
    pub fn first(&self) -> Vec<u8> {
        file("MANIFEST.json", self.json().as_bytes())
    }

    /// The entries of the files, without the manifest.
    pub fn rest(&self) -> Vec<Vec<u8>> {
        self.files
            .iter()
            .map(|(name, data)| file(name, data))
            .collect()
    }

    /// All entries.
    pub fn entries(&self) -> Vec<Vec<u8>> {
        let mut entries = vec![self.first()];
        entries.extend(self.rest());
        entries
    }

    /// The whole archive.
    pub fn archive(&self) -> Vec<u8> {
        gz(&tar(&self.entries()))
    }

    /// The archive with one more entry, which the manifest knows nothing of, after it.
    pub fn then(&self, extra: impl AsRef<[u8]>) -> Vec<u8> {
        let mut entries = self.entries();
        entries.insert(1, extra.as_ref().to_vec());
        gz(&tar(&entries))
    }
}
