//! What is known of each conversation without reading it again: `cache/conversations.jsonl`.
//!
//! Layer: store. It can be lost at any time, and nothing in it is believed of a file that does
//! not look as it did ([`super::looks`]).
//!
//! ```text
//! {"format":"pachat-conversations","version":1}
//! {"looks":{"len":…},"facts":{"id":"20260822-094107-7k2m9q","updated_at":"…","messages":2, …}}
//! {"archived":true,"looks":{"len":…},"facts":{"id":"20260701-080000-zzz999", …}}
//! ```
//!
//! Invariants:
//! - Another format, another version or a line that makes no sense is an empty index.
//! - It is replaced as a whole. Of two processes that do so the later one wins; what the other
//!   knew is read again.
//! - Reading a conversation for it keeps no more than one of its lines at a time.

use std::collections::{BTreeMap, HashSet};
use std::io::{self, BufRead, BufReader, Read as _};
use std::path::PathBuf;

use flate2::read::MultiGzDecoder;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::backup::Part;
use crate::model::error::{Error, Kind, Result, describe};
use crate::model::id::ConversationId;
use crate::model::record::{Header, Record};
use crate::platform::disk::Open;

use super::looks::Looks;
use super::parts::PartFile;
use super::read::LARGEST;
use super::{Store, atomic};

/// The format that its first line names.
const FORMAT: &str = "pachat-conversations";
/// The version of it that this program writes and reads.
const VERSION: u32 = 1;
/// The most that is read of it, in bytes: some hundred thousand conversations.
const LONGEST: u64 = 128 << 20;
/// How much of a conversation is read at once, in bytes.
const STEP: usize = 64 << 10;

/// What a conversation says about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Its id.
    pub id: ConversationId,
    /// When it was begun.
    pub created_at: Timestamp,
    /// When something was last said: the time of its last message, not that of its file.
    pub updated_at: Timestamp,
    /// How many messages it has, those that do not count any more included.
    pub messages: u32,
    /// Labels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// What it was forked from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<ConversationId>,
    /// How many of its lines cannot be read.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub faults: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

#[derive(Serialize, Deserialize)]
struct Head {
    format: String,
    version: u32,
}

/// A line of the index.
#[derive(Serialize, Deserialize)]
struct Line<F> {
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    archived: bool,
    looks: Looks,
    facts: F,
}

/// What is known of a file: how it looked, and what was in it.
#[derive(Debug)]
struct Known {
    looks: Looks,
    facts: Facts,
}

/// Which file: the conversation, and whether it is archived.
type Key = (ConversationId, bool);

/// The index. Loading it never fails: what is lost is read again.
#[derive(Debug, Default)]
pub struct Index {
    known: BTreeMap<Key, Known>,
    /// Whether there is something in it that its file does not have, or the other way round.
    changed: bool,
}

impl Index {
    /// The index of a store.
    pub fn load(store: &Store) -> Self {
        Self::read(store).ok().flatten().unwrap_or_default()
    }

    /// The index of a store as it is kept; `None` if none is, or one of another version. One
    /// that is damaged is an error of kind `Malformed`: it is made anew by itself, but somebody
    /// may want to know.
    pub fn read(store: &Store) -> Result<Option<Self>> {
        let path = path(store);
        let cannot = |error: io::Error| Error::io("cannot read the index", &path, &error);
        let damaged = |number: usize| {
            Error::new(Kind::Malformed, "the index of conversations is damaged")
                .why(format!("line {number} makes no sense"))
                .path(&path)
                .hint("it is made anew when it is next used: pachat cleanup --dry-run")
        };
        let file = match store.disk().open(&path, Open::Read) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(cannot)?,
        };
        let mut reader = BufReader::with_capacity(STEP, file.take(LONGEST));
        let mut line = Vec::new();
        reader.read_until(b'\n', &mut line).map_err(cannot)?;
        let head: Head = serde_json::from_slice(&line).map_err(|_| damaged(1))?;
        if head.format != FORMAT || head.version != VERSION {
            return Ok(None);
        }
        let mut known = BTreeMap::new();
        for number in 2.. {
            line.clear();
            if reader.read_until(b'\n', &mut line).map_err(cannot)? == 0 {
                break;
            }
            let read: Line<Facts> = serde_json::from_slice(&line).map_err(|_| damaged(number))?;
            let Line {
                archived,
                looks,
                facts,
            } = read;
            known.insert((facts.id.clone(), archived), Known { looks, facts });
        }
        Ok(Some(Self {
            known,
            changed: false,
        }))
    }

    /// What is known of a file of the parts `Active` or `Archived`; it is read if that is not
    /// known. `None` if it is gone. An error of kind `Malformed` if it is no conversation, or
    /// another one than its name says.
    pub fn facts(&mut self, store: &Store, file: &PartFile) -> Result<Option<Facts>> {
        let Some(key) = key(file) else {
            return Ok(None);
        };
        if let Some(facts) = self.known(file) {
            return Ok(Some(facts.clone()));
        }
        let read_at = store.clock().now().into();
        let Some(facts) = read(store, file, &key.0)? else {
            return Ok(None);
        };
        let looks = Looks::settled(file, read_at);
        self.put(key, looks.map(|looks| (looks, facts.clone())));
        Ok(Some(facts))
    }

    /// What is known of a file without reading it; `None` if that is nothing.
    pub fn known(&self, file: &PartFile) -> Option<&Facts> {
        let known = self.known.get(&key(file)?)?;
        (Looks::of(file).as_ref() == Some(&known.looks)).then_some(&known.facts)
    }

    /// Notes that a conversation was moved by whoever holds its turn: to this file of the
    /// archive, which is never changed in place and needs no rest to be known; or to the trash,
    /// of which nothing is known.
    pub fn moved(&mut self, id: &ConversationId, to: Option<&PartFile>) {
        let active = self.known.remove(&(id.clone(), false));
        let archived = self.known.remove(&(id.clone(), true));
        self.changed |= active.is_some() || archived.is_some();
        let looks = to.and_then(Looks::of);
        if let (Some(known), Some(looks)) = (active.or(archived), looks) {
            let facts = known.facts;
            self.put((id.clone(), true), Some((looks, facts)));
        }
    }

    /// Forgets every conversation that is not among these files, which are all that there are.
    pub fn retain(&mut self, files: &[PartFile]) {
        let there: HashSet<(&str, bool)> = files.iter().filter_map(name).collect();
        let before = self.known.len();
        self.known
            .retain(|(id, archived), _| there.contains(&(id.as_str(), *archived)));
        self.changed |= self.known.len() != before;
    }

    /// How many conversations are known.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Keeps the index, if anything in it is new. That it cannot be kept only costs time later.
    pub fn save(&mut self, store: &Store) {
        if !self.changed {
            return;
        }
        match self.write(store) {
            Ok(()) => self.changed = false,
            Err(error) => log::warn!("the index of conversations is not kept: {error}"),
        }
    }

    fn put(&mut self, key: Key, entry: Option<(Looks, Facts)>) {
        let before = match entry {
            Some((looks, facts)) => {
                self.changed = true;
                self.known.insert(key, Known { looks, facts })
            }
            None => self.known.remove(&key),
        };
        self.changed |= before.is_some();
    }

    fn write(&self, store: &Store) -> Result<()> {
        let bug = |error| Error::new(Kind::Bug, "cannot write JSON").cause(error);
        let mut bytes = Vec::new();
        let head = Head {
            format: FORMAT.into(),
            version: VERSION,
        };
        serde_json::to_writer(&mut bytes, &head).map_err(bug)?;
        bytes.push(b'\n');
        for ((_, archived), known) in &self.known {
            let line = Line {
                archived: *archived,
                looks: known.looks.clone(),
                facts: &known.facts,
            };
            serde_json::to_writer(&mut bytes, &line).map_err(bug)?;
            bytes.push(b'\n');
        }
        atomic::create_dirs(store.disk(), &store.layout().cache_dir())?;
        atomic::replace(store.disk(), store.random(), &path(store), &bytes)
    }
}

fn path(store: &Store) -> PathBuf {
    store.layout().cache_dir().join("conversations.jsonl")
}

/// Which conversation a file holds by its name; `None` for a side file and whatever is no
/// conversation.
fn key(file: &PartFile) -> Option<Key> {
    let (id, archived) = name(file)?;
    Some((id.parse().ok()?, archived))
}

/// The same, by its name alone.
fn name(file: &PartFile) -> Option<(&str, bool)> {
    let (suffix, archived) = match file.part {
        Part::Active => (".jsonl", false),
        Part::Archived => (".jsonl.gz", true),
        _ => return None,
    };
    Some((file.name.strip_suffix(suffix)?, archived))
}

/// Reads the facts of a conversation from its file.
fn read(store: &Store, file: &PartFile, id: &ConversationId) -> Result<Option<Facts>> {
    let path = store.part_file(file.part, &file.name);
    let malformed = |why: String| {
        Error::new(Kind::Malformed, "cannot read the conversation")
            .why(why)
            .path(&path)
            .hint("the file is left as it is; look at it: pachat validate store")
    };
    let opened = match store.disk().open(&path, Open::Read) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(|error| Error::io("cannot read the conversation", &path, &error))?,
    };
    let facts = if file.part == Part::Archived {
        let unpacked = MultiGzDecoder::new(BufReader::with_capacity(STEP, opened));
        fold(BufReader::with_capacity(STEP, unpacked.take(LARGEST)))
    } else {
        fold(BufReader::with_capacity(STEP, opened.take(LARGEST)))
    };
    let facts = facts.map_err(|error| match error.kind() {
        io::ErrorKind::InvalidInput | io::ErrorKind::UnexpectedEof => {
            malformed(format!("it cannot be unpacked: {}", describe(&error)))
        }
        _ => Error::io("cannot read the conversation", &path, &error),
    })?;
    let facts = facts.map_err(malformed)?;
    if facts.id != *id {
        return Err(malformed(format!(
            "its header says that it is {}",
            facts.id
        )));
    }
    Ok(Some(facts))
}

/// Folds the lines of a conversation into its facts; as `Conversation::parse` does, but
/// without keeping what was said.
fn fold(mut reader: impl BufRead) -> io::Result<Result<Facts, String>> {
    let mut line = Vec::new();
    let mut facts: Option<Facts> = None;
    loop {
        line.clear();
        reader.read_until(b'\n', &mut line)?;
        // A last line without its end was cut, or is being written.
        if line.pop() != Some(b'\n') {
            break;
        }
        let record = std::str::from_utf8(&line)
            .map_err(|_| "it is not UTF-8".to_owned())
            .and_then(|text| Record::parse(text).map_err(|error| error.to_string()));
        match (&mut facts, record) {
            (Some(facts), record) => apply(facts, record.ok()),
            (None, Ok(Record::Header(header))) => facts = Some(begin(*header)),
            (None, Ok(_)) => {
                let why = "its first line is not the header of a conversation";
                return Ok(Err(why.into()));
            }
            (None, Err(why)) => return Ok(Err(format!("its first line cannot be read: {why}"))),
        }
    }
    Ok(facts.ok_or_else(|| "it has no complete line".into()))
}

fn begin(header: Header) -> Facts {
    Facts {
        id: header.id,
        created_at: header.created_at,
        updated_at: header.created_at,
        messages: 0,
        tags: header.tags,
        parent: header.parent.map(|parent| parent.id),
        faults: 0,
    }
}

fn apply(facts: &mut Facts, record: Option<Record>) {
    match record {
        Some(Record::Message(message)) => {
            facts.messages = facts.messages.saturating_add(1);
            facts.updated_at = message.at;
        }
        Some(Record::Set(set)) => {
            if let Some(tags) = set.tags {
                facts.tags = tags;
            }
        }
        Some(_) => {}
        None => facts.faults = facts.faults.saturating_add(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::conversation::Conversation;
    use proptest::prelude::*;

    const HEADER: &str = r#"{"type":"conversation","version":1,"id":"20260822-094107-7k2m9q","created_at":"2026-08-22T09:41:07.5Z","tags":["a"],"parent":{"id":"20260821-094107-7k2m9q","message":3}}"#;

    fn folded(text: &[u8]) -> Result<Facts, String> {
        fold(text).unwrap()
    }

    #[test]
    fn the_facts_are_those_of_the_last_lines() {
        let text = format!(
            "{HEADER}\n{}\nnot JSON\n{}\n{}\n{{\"type\":\"mess",
            r#"{"type":"message","n":1,"role":"user","content":"x","at":"2026-08-22T10:00:00.25Z"}"#,
            r#"{"type":"set","tags":["b","c"]}"#,
            r#"{"type":"rewind","to":0}"#,
        );
        let facts = folded(text.as_bytes()).unwrap();
        assert_eq!(facts.updated_at.to_string(), "2026-08-22T10:00:00.25Z");
        assert_eq!((facts.messages, facts.faults), (1, 1));
        assert_eq!(facts.tags, ["b", "c"]);
        assert_eq!(facts.parent.unwrap().as_str(), "20260821-094107-7k2m9q");
        assert!(folded(b"").unwrap_err().contains("no complete line"));
        assert!(folded(b"{}\n").unwrap_err().contains("cannot be read"));
        assert!(
            folded(b"{\"type\":\"set\"}\n")
                .unwrap_err()
                .contains("header")
        );
    }

    proptest! {
        #[test]
        fn the_lean_reader_agrees_with_the_one_that_keeps_everything(
            lines in prop::collection::vec(prop_oneof![
                "\\{\"type\":\"message\",\"n\":[0-9]{1,2},\"role\":\"user\",\"content\":\"[a-z]{0,9}\",\"at\":\"2026-0[1-9]-1[0-9]T00:00:00Z\"\\}",
                "\\{\"type\":\"set\",\"tags\":\\[\"[a-z]{1,3}\"\\]\\}",
                "\\{\"type\":\"rewind\",\"to\":[0-9]\\}",
                "[ -~]{0,12}",
            ], 0..12),
            torn in "[ -~]{0,9}",
        ) {
            let mut all = vec![HEADER.to_owned()];
            all.extend(lines);
            all.push(torn);
            let text = all.join("\n");
            let facts = folded(text.as_bytes()).unwrap();
            let whole = Conversation::parse(text.as_bytes()).unwrap();
            prop_assert_eq!(facts.updated_at, whole.updated_at());
            prop_assert_eq!(facts.messages as usize, whole.all().count());
            prop_assert_eq!(facts.faults as usize, whole.faults.len());
            prop_assert_eq!(&facts.tags, &whole.header.tags);
        }
    }
}
