//! The id of a conversation: `YYYYMMDD-HHMMSS-xxxxxx`.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Crockford's base 32, lower case: no `i`, `l`, `o` or `u`, so an id can be read
/// aloud and typed back.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// Whether [`ALPHABET`] has this character. Ids are read so often, also from the index, that a
/// search of the alphabet for each of them takes a fortieth of checking a store.
const fn is_of_alphabet(byte: u8) -> bool {
    byte.is_ascii_digit()
        || (byte.is_ascii_lowercase() && !matches!(byte, b'i' | b'l' | b'o' | b'u'))
}

/// The shortest prefix of the random part that names a conversation.
pub const SHORTEST_PREFIX: usize = 3;

/// UTC time of creation plus six random characters, so ids sort by age.
///
/// Invariant: 22 ASCII characters in exactly the form above; safe as a file name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConversationId(String);

impl ConversationId {
    /// The id of a conversation created at `at`, with 30 of the random bits.
    pub fn new(at: Timestamp, random: u32) -> Self {
        let stamp = at
            .to_zoned(TimeZone::UTC)
            .strftime("%Y%m%d-%H%M%S")
            .to_string();
        let mut id = stamp;
        id.push('-');
        for place in (0..6).rev() {
            id.push(char::from(ALPHABET[(random >> (place * 5)) as usize & 31]));
        }
        Self(id)
    }

    /// The whole id.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// When the conversation was begun, to the second; `None` if that is no time, such as one
    /// of a thirteenth month.
    pub fn begun_at(&self) -> Option<Timestamp> {
        let time = jiff::civil::DateTime::strptime("%Y%m%d-%H%M%S", &self.0[..15]).ok()?;
        time.to_zoned(TimeZone::UTC)
            .ok()
            .map(|zoned| zoned.timestamp())
    }

    /// The random part: what people type.
    pub fn short(&self) -> &str {
        &self.0[16..]
    }
}

impl FromStr for ConversationId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bytes = text.as_bytes();
        let digits = |range: std::ops::Range<usize>| bytes[range].iter().all(u8::is_ascii_digit);
        let well_formed = bytes.len() == 22
            && digits(0..8)
            && bytes[8] == b'-'
            && digits(9..15)
            && bytes[15] == b'-'
            && bytes[16..].iter().all(|byte| is_of_alphabet(*byte));
        if well_formed {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!("`{text}` is not a conversation id"))
        }
    }
}

impl fmt::Display for ConversationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for ConversationId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for ConversationId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_its_time_and_six_characters() {
        let at: Timestamp = "2026-08-22T09:41:07.5Z".parse().unwrap();
        let id = ConversationId::new(at, 0x3fff_ffff);
        assert_eq!(id.as_str(), "20260822-094107-zzzzzz");
        assert_eq!(id.short(), "zzzzzz");
        assert_eq!(id.begun_at(), "2026-08-22T09:41:07Z".parse().ok());
        let odd: ConversationId = "20261322-094107-zzzzzz".parse().unwrap();
        assert_eq!(odd.begun_at(), None);
        assert_eq!(id.as_str().parse::<ConversationId>(), Ok(id));
    }

    #[test]
    fn the_alphabet_is_known_by_its_gaps() {
        for byte in 0..=u8::MAX {
            assert_eq!(is_of_alphabet(byte), ALPHABET.contains(&byte), "{byte}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for bad in [
            "",
            "20260822-094107-zzzzz",
            "20260822-094107-zzzzzzz",
            "20260822-094107-zzzzzu",
            "20260822_094107-zzzzzz",
            "../../../../etc/passwd",
            "20260822-094107-ZZZZZZ",
        ] {
            assert!(bad.parse::<ConversationId>().is_err(), "{bad}");
        }
    }
}
