//! What a restore does, file by file.
//!
//! Layer: ops. Pure: it is made of what is in the archive, what is in the store, and how the
//! two stand to each other. A dry run shows the very value that a restore carries out.
//!
//! Promises: a merge takes nothing away that is not in the archive as well; a restricted
//! restore touches nothing but the files it names and what belongs to their conversations.

mod make;

use std::collections::{BTreeMap, BTreeSet};

use crate::archive::manifest::Entry;
use crate::model::backup::Part;
use crate::model::id::ConversationId;
use crate::store::parts::PartFile;

pub(super) use make::Copies;
use make::Maker;

/// What becomes of what is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It gives way to what the archive holds.
    Replace,
    /// It stays, and what is missing is added.
    Merge,
}

impl Mode {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Replace => "replace",
            Self::Merge => "merge",
        }
    }
}

/// How what a file of the archive says stands to what a file of the store says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// They say the same.
    Same,
    /// The archive's goes on where the store's ends.
    ArchiveHasMore,
    /// The store's goes on where the archive's ends.
    StoreHasMore,
    /// Each says something that the other does not.
    Diverged,
}

/// What is to happen to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// It is new.
    Add,
    /// It gets another content.
    Replace,
    /// It goes.
    Remove,
    /// The conversation stays as it is, although the backup has something to say that it does
    /// not: they have gone separate ways.
    Diverged,
    /// It stays, and is not what the archive holds.
    Keep,
    /// It is what the archive holds.
    Unchanged,
}

impl Action {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Replace => "replace",
            Self::Remove => "remove",
            Self::Diverged => "diverged",
            Self::Keep => "keep",
            Self::Unchanged => "unchanged",
        }
    }

    /// Whether anything happens.
    pub const fn is_change(self) -> bool {
        matches!(self, Self::Add | Self::Replace | Self::Remove)
    }
}

/// What is to happen to one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its part.
    pub part: Part,
    /// Its name.
    pub name: String,
    /// What happens.
    pub action: Action,
    /// Its length in bytes: of a file that goes or stays, as it is; else as it will be.
    pub size: u64,
}

impl Step {
    /// Where it is, below the data directory.
    pub fn path(&self) -> String {
        format!("{}/{}", self.part.path(), self.name)
    }

    /// The conversation that it belongs to.
    pub fn conversation(&self) -> Option<ConversationId> {
        conversation(self.part, &self.name)
    }
}

/// What is to happen to the key file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeyFile {
    /// The archive, or what was asked for of it, has none.
    #[default]
    None,
    /// There is none, so the archive's is put in its place.
    Add,
    /// The one that is there is the same.
    Same,
    /// The one that is there is another one, and stays.
    Differs,
    /// There is no configuration directory to put it in.
    NoPlace,
}

/// What is to happen to all of them, in the order of their paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The files that the archive and the store have to do with each other.
    pub steps: Vec<Step>,
    /// The key file.
    pub key_file: KeyFile,
}

impl Plan {
    /// What happens.
    pub fn changes(&self) -> impl Iterator<Item = &Step> {
        self.steps.iter().filter(|step| step.action.is_change())
    }

    /// How many files this happens to.
    pub fn count(&self, action: Action) -> usize {
        let same = |step: &&Step| step.action == action;
        self.steps.iter().filter(same).count()
    }

    /// Bytes to be written.
    pub fn bytes(&self) -> u64 {
        let written = |step: &&Step| matches!(step.action, Action::Add | Action::Replace);
        self.steps
            .iter()
            .filter(written)
            .map(|step| step.size)
            .sum()
    }

    /// Whether nothing happens.
    pub fn is_empty(&self) -> bool {
        self.changes().next().is_none() && self.key_file != KeyFile::Add
    }

    /// The parts in which something happens. Conversations move between two of them, which
    /// therefore go together: a way back that covered one of them could meet a conversation in
    /// both.
    pub fn parts(&self) -> Vec<Part> {
        const PLACES: [Part; 2] = [Part::Active, Part::Archived];
        let mut parts: BTreeSet<Part> = self.changes().map(|step| step.part).collect();
        if PLACES.iter().any(|part| parts.contains(part)) {
            parts.extend(PLACES);
        }
        parts.into_iter().collect()
    }

    /// The conversations that stay although the archive says something else.
    pub fn diverged(&self) -> impl Iterator<Item = ConversationId> {
        let diverged = |step: &&Step| step.action == Action::Diverged;
        self.steps
            .iter()
            .filter(diverged)
            .filter_map(Step::conversation)
    }
}

/// What a plan is made of.
pub struct Question<'a> {
    /// What becomes of what is there.
    pub mode: Mode,
    /// The files of the archive that were asked for, without the key file.
    pub entries: &'a [Entry],
    /// The parts that are to hold nothing else; none unless the whole archive was asked for.
    pub whole: &'a [Part],
    /// The files of the store, of all parts that the archive knows.
    pub live: &'a [PartFile],
    /// How each of [`pairs`] stands, in their order.
    pub relations: &'a [Relation],
}

/// How two files are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// Byte for byte: they are the same or not.
    Bytes,
    /// By what they say, unpacked: one may go on where the other ends.
    Content,
}

/// A file of the archive, and the one of the store that it stands against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// Its place in [`Question::entries`].
    pub entry: usize,
    /// Its place in [`Question::live`].
    pub live: usize,
    /// How they are compared.
    pub measure: Measure,
}

/// The conversation that a file belongs to.
pub fn conversation(part: Part, name: &str) -> Option<ConversationId> {
    let stem = match part {
        Part::Active => name
            .strip_suffix(".jsonl")
            .or_else(|| name.strip_suffix(".partial"))?,
        Part::Archived => name.strip_suffix(".jsonl.gz")?,
        _ => return None,
    };
    stem.parse().ok()
}

/// Which files have to be compared, for a plan in this mode.
pub fn pairs(mode: Mode, entries: &[Entry], live: &[PartFile]) -> Vec<Pair> {
    let places: BTreeMap<(Part, &str), usize> = live
        .iter()
        .enumerate()
        .map(|(at, file)| ((file.part, &*file.name), at))
        .collect();
    let copies = Copies::of(live.iter().map(|file| (file.part, &*file.name)));
    let own = Copies::of(entries.iter().map(named));
    entries
        .iter()
        .enumerate()
        .filter_map(|(at, entry)| {
            let (part, name) = named(entry);
            let id = conversation(part, name).filter(|_| mode == Mode::Merge);
            if let Some(id) = id.filter(|id| own.counting(id) == Some(at)) {
                let live = copies.counting(&id)?;
                return Some(Pair {
                    entry: at,
                    live,
                    measure: Measure::Content,
                });
            }
            let live = *places.get(&(part, name))?;
            Some(Pair {
                entry: at,
                live,
                measure: Measure::Bytes,
            })
        })
        .collect()
}

/// Makes the plan. The key file is the caller's business.
pub fn plan(question: &Question<'_>) -> Plan {
    let mut maker = Maker::new(question);
    match question.mode {
        Mode::Replace => maker.replace(),
        Mode::Merge => maker.merge(),
    }
    let mut steps = maker.steps;
    steps.sort_unstable_by(|a, b| (a.part.path(), &a.name).cmp(&(b.part.path(), &b.name)));
    Plan {
        steps,
        key_file: KeyFile::None,
    }
}

/// The part and the name of an entry that is not the key file.
pub(super) fn named(entry: &Entry) -> (Part, &str) {
    let path = &entry.path;
    // The key file is the only one without a part; it is never among the entries of a plan,
    // and could only be an unknown file of settings.
    (path.part().unwrap_or(Part::Config), path.name())
}

#[cfg(test)]
mod tests;
