//! What is in the trash, and the names that things have there.

use std::collections::HashSet;
use std::io::{self, BufRead, BufReader, Read};
use std::path::PathBuf;

use flate2::read::MultiGzDecoder;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::model::backup::Part;
use crate::model::error::{Error, Kind, Result};
use crate::model::id::{ConversationId, SHORTEST_PREFIX};
use crate::model::record::Record;
use crate::platform::disk::{FileKind, Open};
use crate::store::Store;
use crate::store::read::Scope;

/// The time in a name: UTC.
const TIME: &str = "%Y%m%d_%H%M%S";
/// How many names are tried: one for each second.
const NAMES: i64 = 3600;
/// How many digits of a digest name an attachment.
const SHORTEST_DIGEST: usize = 8;
/// The longest header that is read for a title, in bytes.
const LONGEST_HEADER: u64 = 1 << 20;

/// Something in the trash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trashed {
    /// Its name there.
    pub name: String,
    /// When it was moved there; to the second.
    pub at: Timestamp,
    /// Its length in bytes.
    pub bytes: u64,
    /// What it is.
    pub kept: Kept,
}

/// What something in the trash is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// A conversation, and whether it was archived.
    Conversation(ConversationId, bool),
    /// An attachment of this name.
    Attachment(String),
}

impl Trashed {
    /// What a name in the trash says; `None` if it is no name that pachat gives.
    fn parse(name: &str, bytes: u64) -> Option<Self> {
        let (stamp, rest) = name.split_once('.')?;
        let time = DateTime::strptime(TIME, stamp).ok()?;
        let at = TimeZone::UTC.to_timestamp(time).ok()?;
        let archived = rest.strip_suffix(".jsonl.gz");
        let kept = match archived.or_else(|| rest.strip_suffix(".jsonl")) {
            Some(id) => Kept::Conversation(id.parse().ok()?, archived.is_some()),
            None if Part::Attachments.accepts(rest) => Kept::Attachment(rest.to_owned()),
            None => return None,
        };
        Some(Self {
            name: name.to_owned(),
            at,
            bytes,
            kept,
        })
    }

    /// The conversation, if it is one.
    pub fn conversation(&self) -> Option<&ConversationId> {
        match &self.kept {
            Kept::Conversation(id, _) => Some(id),
            Kept::Attachment(_) => None,
        }
    }

    /// What people call it: the id, or the name.
    pub fn what(&self) -> &str {
        match &self.kept {
            Kept::Conversation(id, _) => id.as_str(),
            Kept::Attachment(name) => name,
        }
    }

    /// Where it was.
    pub fn origin(&self) -> (Part, String) {
        match &self.kept {
            Kept::Conversation(id, false) => (Part::Active, format!("{id}.jsonl")),
            Kept::Conversation(id, true) => (Part::Archived, format!("{id}.jsonl.gz")),
            Kept::Attachment(name) => (Part::Attachments, name.clone()),
        }
    }

    /// Where it is.
    pub fn path(&self, store: &Store) -> PathBuf {
        store.part_file(Part::Trash, &self.name)
    }

    /// The title with which a conversation was begun, as far as it can be read.
    pub fn title(&self, store: &Store) -> Option<String> {
        let Kept::Conversation(_, archived) = &self.kept else {
            return None;
        };
        let file = store.disk().open(&self.path(store), Open::Read).ok()?;
        let reader: Box<dyn Read> = if *archived {
            Box::new(MultiGzDecoder::new(file))
        } else {
            Box::new(file)
        };
        let mut line = String::new();
        let mut reader = BufReader::new(reader.take(LONGEST_HEADER));
        reader.read_line(&mut line).ok()?;
        match Record::parse(line.trim_end()) {
            Ok(Record::Header(header)) => header.title,
            _ => None,
        }
    }

    fn is_named(&self, spec: &str) -> bool {
        let whole = spec == self.name || spec == self.what();
        whole
            || match &self.kept {
                Kept::Conversation(id, _) => {
                    spec.len() >= SHORTEST_PREFIX && id.short().starts_with(spec)
                }
                Kept::Attachment(name) => spec.len() >= SHORTEST_DIGEST && name.starts_with(spec),
            }
    }
}

/// Everything in the trash, what was deleted last first; of one conversation that was in both
/// places, the one that counted first. What pachat has not put there is passed over.
pub fn trashed(store: &Store) -> Result<Vec<Trashed>> {
    let directory = store.part_dir(Part::Trash);
    let entries = match store.disk().read_dir(&directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(|error| Error::io("cannot list the trash", &directory, &error))?,
    };
    let mut all = Vec::new();
    for entry in entries {
        let name = entry.name.to_str().filter(|_| entry.kind == FileKind::File);
        let Some(mut found) = name.and_then(|name| Trashed::parse(name, 0)) else {
            continue;
        };
        let path = directory.join(&entry.name);
        match store.disk().stat(&path) {
            Ok(stat) => found.bytes = stat.len,
            // Taken back, or removed for good.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(Error::io("cannot look at the trash", &path, &error)),
        }
        all.push(found);
    }
    // `x.jsonl` comes before `x.jsonl.gz`.
    all.sort_unstable_by(|a, b| (b.at, &a.name).cmp(&(a.at, &b.name)));
    Ok(all)
}

/// What `spec` names in the trash: `last` for what was deleted last, a full id, a prefix of its
/// last part, the beginning of an attachment's digest, or a name in the trash. Of several
/// things of one name, the one that was deleted last. None is [`Kind::NotFound`], several are
/// [`Kind::Usage`] with the candidates.
pub fn find(store: &Store, spec: &str) -> Result<Trashed> {
    let spec = spec.trim();
    let lower = spec.to_ascii_lowercase();
    let mut all = trashed(store)?;
    if all.is_empty() {
        let empty = Error::new(Kind::NotFound, "the trash is empty");
        return Err(match store.ids(Scope::Archived)?.len() {
            0 => empty,
            // Whoever looks for one of them here has mixed up the two.
            _ => empty.hint(
                "archived conversations are not in it, and gone on with as they are: pachat list --archived",
            ),
        });
    }
    if spec == "last" {
        all.truncate(1);
    } else {
        let mut seen = HashSet::new();
        let exact = all.iter().any(|one| one.name == lower);
        all.retain(|one| {
            if exact {
                one.name == lower
            } else {
                one.is_named(&lower) && seen.insert(one.what().to_owned())
            }
        });
    }
    match all.len() {
        0 => Err(
            Error::new(Kind::NotFound, format!("nothing in the trash is `{spec}`"))
                .hint("see what is there: pachat cleanup --list-trash"),
        ),
        1 => Ok(all.remove(0)),
        several => Err(ambiguous(store, spec, several, &all)),
    }
}

fn ambiguous(store: &Store, spec: &str, several: usize, found: &[Trashed]) -> Error {
    const SHOWN: usize = 5;
    let mut names: Vec<String> = found
        .iter()
        .take(SHOWN)
        .map(|one| match one.title(store) {
            Some(title) => format!("{} ({title})", one.what()),
            None => one.what().to_owned(),
        })
        .collect();
    if several > SHOWN {
        names.push(format!("and {} more", several - SHOWN));
    }
    let what = format!("`{spec}` names {several} things in the trash");
    Error::new(Kind::Usage, what)
        .cause(names.join(", "))
        .hint("type more of the last part of the id")
}

/// What stands before the names of what is deleted now: the time, or a later one at which
/// nothing of these names was deleted.
pub(super) fn free_stamp(store: &Store, names: &[&str]) -> Result<String> {
    let directory = store.part_dir(Part::Trash);
    let now = store.clock().now();
    for later in 0..NAMES {
        let at = now + SignedDuration::from_secs(later);
        let stamp = at.to_zoned(TimeZone::UTC).strftime(TIME).to_string();
        let mut free = true;
        for name in names {
            let path = directory.join(format!("{stamp}.{name}"));
            match store.disk().stat(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(Error::io("cannot look at the trash", &path, &error)),
                Ok(_) => free = false,
            }
        }
        if free {
            return Ok(stamp);
        }
    }
    Err(
        Error::new(Kind::CannotCreate, "cannot name it in the trash")
            .why("every name of this hour is taken")
            .path(&directory),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_in_the_trash_tells_what_and_since_when() {
        let digest = "0f".repeat(32);
        let active = Trashed::parse("20260822_094107.20260701-080000-zzz999.jsonl", 7).unwrap();
        assert_eq!(active.at.to_string(), "2026-08-22T09:41:07Z");
        assert_eq!(
            active.origin(),
            (Part::Active, "20260701-080000-zzz999.jsonl".into())
        );
        assert!(active.is_named("zzz") && active.is_named("20260701-080000-zzz999"));
        assert!(!active.is_named("zz") && !active.is_named("999"));
        let archived = Trashed::parse("20260822_094107.20260701-080000-zzz999.jsonl.gz", 7);
        assert_eq!(archived.unwrap().origin().0, Part::Archived);
        let image = Trashed::parse(&format!("20260822_094107.{digest}.png"), 7).unwrap();
        assert_eq!(image.origin(), (Part::Attachments, format!("{digest}.png")));
        assert!(image.is_named("0f0f0f0f") && !image.is_named("0f0f"));
        for odd in [
            "20260701-080000-zzz999.jsonl",
            "20260822_094107.note.txt",
            "20260822_0941.20260701-080000-zzz999.jsonl",
            "20261322_094107.20260701-080000-zzz999.jsonl",
            "20260822_094107.../x.jsonl",
        ] {
            assert_eq!(Trashed::parse(odd, 0), None, "{odd}");
        }
    }
}
