//! Looking at the content of a file while it goes by.
//!
//! Invariant: what is kept of a file is at most its first line or a page of settings, however
//! long the file is and whatever it unpacks to.

use std::io::{self, Write};

use flate2::write::MultiGzDecoder;

use crate::model::backup::Part;
use crate::model::conversation::Conversation;
use crate::model::id::ConversationId;

use super::read::LARGEST;

/// The longest header of a conversation and the longest settings, in bytes.
const LONGEST: usize = 1 << 20;

/// Says what is wrong with the content of a file while it goes by, without keeping it.
pub struct Checker(Content);

enum Content {
    Conversation(ConversationId, FirstLine),
    Archived(ConversationId, Box<Archived>),
    Settings(Vec<u8>),
    Anything,
}

impl Checker {
    /// A checker for a file of this part and name.
    pub fn new(part: Part, name: &str) -> Self {
        let id = |suffix| name.strip_suffix(suffix).and_then(|id| id.parse().ok());
        let content = match part {
            Part::Active => id(".jsonl").map(|id| Content::Conversation(id, FirstLine::default())),
            Part::Archived => id(".jsonl.gz").map(|id| Content::Archived(id, Box::default())),
            Part::Config if name == "app_config.json" => Some(Content::Settings(Vec::new())),
            _ => None,
        };
        Self(content.unwrap_or(Content::Anything))
    }

    /// More of the file.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            Content::Conversation(_, line) => line.add(bytes),
            Content::Archived(_, archived) => archived.add(bytes),
            Content::Settings(text) => {
                // One byte too many says that there are too many.
                let room = (LONGEST + 1).saturating_sub(text.len());
                text.extend_from_slice(&bytes[..room.min(bytes.len())]);
            }
            Content::Anything => {}
        }
    }

    /// What is wrong: a conversation without a header that can be read, or with another id
    /// than its name says; an archived one that cannot be unpacked; settings that are not a
    /// JSON object. A line in the middle of a conversation that cannot be read is not enough.
    pub fn finish(self) -> Option<String> {
        match self.0 {
            Content::Conversation(id, line) => line.damage(&id),
            Content::Archived(id, archived) => archived.damage(&id),
            Content::Settings(text) => damage_of_settings(&text),
            Content::Anything => None,
        }
    }
}

/// The first line of a text, its line feed included.
#[derive(Default)]
struct FirstLine {
    line: Vec<u8>,
    whole: bool,
    /// How many bytes the text has.
    len: u64,
}

impl FirstLine {
    fn add(&mut self, bytes: &[u8]) {
        self.len += bytes.len() as u64;
        if self.whole || self.line.len() > LONGEST {
            return;
        }
        let end = memchr::memchr(b'\n', bytes).map(|at| at + 1);
        self.whole = end.is_some();
        let bytes = &bytes[..end.unwrap_or(bytes.len())];
        let room = (LONGEST + 1).saturating_sub(self.line.len());
        self.line.extend_from_slice(&bytes[..room.min(bytes.len())]);
    }

    fn damage(&self, id: &ConversationId) -> Option<String> {
        if self.line.len() > LONGEST {
            return Some("the first line is too long".into());
        }
        match Conversation::parse(&self.line) {
            Ok(read) if read.id() == id => None,
            Ok(read) => Some(format!("its header says that it is {}", read.id())),
            Err(why) => Some(why),
        }
    }
}

impl Write for FirstLine {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.add(bytes);
        if self.len > LARGEST {
            return Err(io::Error::other("more than 1 GiB comes out"));
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A gzip file on its way through.
struct Archived {
    decoder: MultiGzDecoder<FirstLine>,
    failed: Option<io::Error>,
}

impl Default for Archived {
    fn default() -> Self {
        Self {
            decoder: MultiGzDecoder::new(FirstLine::default()),
            failed: None,
        }
    }
}

impl Archived {
    fn add(&mut self, bytes: &[u8]) {
        if self.failed.is_none() {
            self.failed = self.decoder.write_all(bytes).err();
        }
    }

    fn damage(self, id: &ConversationId) -> Option<String> {
        let Self { decoder, failed } = self;
        let unpacked = match failed {
            Some(error) => Err(error),
            None => decoder.finish(),
        };
        match unpacked {
            Ok(line) => line.damage(id),
            Err(error) => Some(format!("it cannot be unpacked: {error}")),
        }
    }
}

fn damage_of_settings(text: &[u8]) -> Option<String> {
    if text.len() > LONGEST {
        return Some("it is too long for settings".into());
    }
    // As the settings themselves are read.
    let text = text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(text);
    match serde_json::from_slice(text) {
        Ok(serde_json::Value::Object(_)) => None,
        Ok(_) => Some("it is not a JSON object".into()),
        Err(error) => Some(format!("it is not JSON: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    const ID: &str = "20260822-094107-abcdef";

    fn text(id: &str) -> Vec<u8> {
        format!(
            "{{\"type\":\"conversation\",\"version\":1,\"id\":\"{id}\",\"created_at\":\"2026-08-22T09:41:07Z\"}}\nnot JSON\n"
        )
        .into_bytes()
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// What is wrong with a file, which must be the same however it is cut into pieces.
    fn damage(part: Part, name: &str, bytes: &[u8]) -> Option<String> {
        let found = [1, 7, 1 << 16].map(|step| {
            let mut checker = Checker::new(part, name);
            bytes.chunks(step).for_each(|piece| checker.update(piece));
            checker.finish()
        });
        assert_eq!(found[0], found[1]);
        assert_eq!(found[1], found[2]);
        found[0].clone()
    }

    fn conversation(bytes: &[u8]) -> String {
        damage(Part::Active, &format!("{ID}.jsonl"), bytes).unwrap_or_default()
    }

    fn archived(bytes: &[u8]) -> String {
        damage(Part::Archived, &format!("{ID}.jsonl.gz"), bytes).unwrap_or_default()
    }

    fn settings(bytes: &[u8]) -> String {
        damage(Part::Config, "app_config.json", bytes).unwrap_or_default()
    }

    #[test]
    fn a_conversation_needs_its_own_header() {
        assert_eq!(conversation(&text(ID)), "");
        assert!(conversation(b"").contains("no complete line"));
        assert!(conversation(&text(ID)[..40]).contains("no complete line"));
        assert!(conversation(b"{\"type\":\"set\"}\n").contains("not the header"));
        assert!(conversation(b"\0\0\0\n").contains("cannot be read"));
        let other = "20260822-094107-abcdeg";
        assert!(conversation(&text(other)).contains(other));
        let long = vec![b' '; LONGEST + 1];
        assert!(conversation(&long).contains("too long"));
        let at_most = [vec![b' '; LONGEST - text(ID).len()], text(ID)].concat();
        assert_eq!(conversation(&at_most), "");
    }

    #[test]
    fn an_archived_one_unpacks_to_its_end() {
        let whole = gzip(&text(ID));
        assert_eq!(archived(&whole), "");
        let two = [gzip(&text(ID)[..20]), gzip(&text(ID)[20..])].concat();
        assert_eq!(archived(&two), "", "of two members");
        assert!(archived(&gzip(b"{}\n")).contains("cannot be read"));
        for end in 0..whole.len() {
            assert_ne!(archived(&whole[..end]), "", "cut at {end}");
        }
        for at in 10..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            assert_ne!(archived(&flipped), "", "a bit at {at}");
        }
        assert_ne!(archived(&[&whole[..], b"more"].concat()), "");
    }

    #[test]
    fn settings_are_an_object() {
        assert_eq!(settings(b"{\"a\": 1}\n"), "");
        assert_eq!(settings("\u{feff}{}".as_bytes()), "");
        assert!(settings(b"[]").contains("not a JSON object"));
        assert!(settings(b"").contains("not JSON"));
        assert!(settings(&vec![b' '; LONGEST + 1]).contains("too long"));
    }

    #[test]
    fn anything_else_may_be_anything() {
        for (part, name) in [
            (Part::Active, "20260822-094107-abcdef.partial"),
            (Part::Config, "api_keys.enc"),
            (Part::Logs, "app.log"),
            (Part::Attachments, "x"),
        ] {
            assert_eq!(damage(part, name, b"\0\xff"), None);
        }
    }
}
