//! What a backup or a rollback point covers, and the digests that prove it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::id::ConversationId;

/// A flat directory of the store that backups and rollback points know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// Conversations in use, and replies that are arriving.
    Active,
    /// Conversations put away.
    Archived,
    /// Deleted conversations: in rollback points, never in backups.
    Trash,
    /// Images and files, each once.
    Attachments,
    /// Settings and sealed keys.
    Config,
    /// The log and older ones.
    Logs,
    /// What repair took out of files.
    Quarantine,
}

impl Part {
    /// Every part, in the order of their paths.
    pub const ALL: [Self; 7] = [
        Self::Attachments,
        Self::Config,
        Self::Active,
        Self::Archived,
        Self::Trash,
        Self::Logs,
        Self::Quarantine,
    ];

    /// Its directory below the data directory, `/`-separated.
    pub const fn path(self) -> &'static str {
        match self {
            Self::Active => "conversations/active",
            Self::Archived => "conversations/archived",
            Self::Trash => "conversations/trash",
            Self::Attachments => "attachments",
            Self::Config => "config",
            Self::Logs => "logs",
            Self::Quarantine => "quarantine",
        }
    }

    /// The part with this path.
    pub fn of(path: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|part| part.path() == path)
    }

    /// Whether pachat itself writes files of this name there. Names are of ASCII letters,
    /// digits, `.`, `-` and `_`, so no two of them are the same on any file system unless
    /// they differ only in case.
    pub fn accepts(self, name: &str) -> bool {
        fn is_id(text: Option<&str>) -> bool {
            text.is_some_and(|text| text.parse::<ConversationId>().is_ok())
        }
        let plain = |text: &str| {
            !text.starts_with('.')
                && !text.ends_with('.')
                && text
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'))
        };
        match self {
            Self::Active => {
                is_id(name.strip_suffix(".jsonl")) || is_id(name.strip_suffix(".partial"))
            }
            Self::Archived => is_id(name.strip_suffix(".jsonl.gz")),
            Self::Attachments => {
                let digest = name.split('.').next().unwrap_or_default();
                digest.len() == 64
                    && digest
                        .bytes()
                        .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
                    && plain(name)
            }
            Self::Config => matches!(name, "app_config.json" | "api_keys.enc"),
            Self::Logs => name.starts_with("app.log") && plain(name),
            Self::Trash | Self::Quarantine => !name.is_empty() && plain(name),
        }
    }

    /// Whether a file of this name there only ever grows by whole lines.
    pub fn grows(self, name: &str) -> bool {
        match self {
            Self::Active => true,
            Self::Logs => name == "app.log",
            _ => false,
        }
    }
}

/// What kind of backup: which parts it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BackupType {
    /// Conversations and attachments.
    Data,
    /// Settings and sealed keys.
    Config,
    /// Both, the log and the quarantine.
    Full,
}

impl BackupType {
    /// Every type.
    pub const ALL: [Self; 3] = [Self::Data, Self::Config, Self::Full];

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Config => "config",
            Self::Full => "full",
        }
    }

    /// What it holds, in the order of the archive.
    pub const fn parts(self) -> &'static [Part] {
        match self {
            Self::Data => &[Part::Attachments, Part::Active, Part::Archived],
            Self::Config => &[Part::Config],
            Self::Full => &[
                Part::Attachments,
                Part::Config,
                Part::Active,
                Part::Archived,
                Part::Logs,
                Part::Quarantine,
            ],
        }
    }
}

impl fmt::Display for BackupType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A SHA-256 digest; written as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sha256(pub [u8; 32]);

impl Sha256 {
    /// Its digits, in ASCII.
    pub fn digits(&self) -> [u8; 64] {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut digits = [0; 64];
        for (pair, byte) in digits.chunks_exact_mut(2).zip(self.0) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        digits
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(str::from_utf8(&self.digits()).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Sha256 {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || "not a SHA-256 digest: 64 lower-case hexadecimal digits".to_owned();
        let digits = text.as_bytes();
        if digits.len() != 64 {
            return Err(bad());
        }
        let value = |digit: u8| match digit {
            b'0'..=b'9' => Ok(digit - b'0'),
            b'a'..=b'f' => Ok(digit - b'a' + 10),
            _ => Err(bad()),
        };
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = value(pair[0])? << 4 | value(pair[1])?;
        }
        Ok(Self(bytes))
    }
}

impl Serialize for Sha256 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let digits = self.digits();
        serializer.serialize_str(str::from_utf8(&digits).map_err(serde::ser::Error::custom)?)
    }
}

impl<'de> Deserialize<'de> for Sha256 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// Takes the text as it stands: there are tens of thousands in an index.
        struct Digits;
        impl de::Visitor<'_> for Digits {
            type Value = Sha256;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("64 hexadecimal digits")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Sha256, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Digits)
    }
}

/// A digest in the making.
pub struct Hasher(ring::digest::Context);

impl Default for Hasher {
    fn default() -> Self {
        Self(ring::digest::Context::new(&ring::digest::SHA256))
    }
}

impl Hasher {
    /// Takes in more bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all of them.
    pub fn finish(self) -> Sha256 {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(self.0.finish().as_ref());
        Sha256(bytes)
    }
}

impl Sha256 {
    /// The digest of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        let mut hasher = Hasher::default();
        hasher.update(bytes);
        hasher.finish()
    }
}
