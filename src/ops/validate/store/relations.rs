//! What conversations say of each other: ids, forks, and being in two places.
//!
//! Layer: ops.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use crate::model::backup::Part;
use crate::model::finding::{Finding, Severity};
use crate::model::id::ConversationId;
use crate::model::record::Parent;
use crate::store::Store;
use crate::store::shelf;

use super::conversation::{Head, Outcome};

/// What is known of all conversations that were looked at.
#[derive(Default)]
pub(super) struct Relations<'a> {
    /// Where each id was found by the name of its file.
    places: HashMap<&'a ConversationId, Places>,
    /// Those whose header names another id: path, id and that.
    misnamed: BTreeMap<String, (ConversationId, ConversationId)>,
    forks: BTreeMap<ConversationId, (String, Parent)>,
}

/// Where the files of a conversation are.
#[derive(Clone, Copy, Default)]
struct Places {
    active: bool,
    archived: bool,
    deleted: bool,
}

impl<'a> Relations<'a> {
    /// A file of this name exists.
    pub(super) fn place(&mut self, id: &'a ConversationId, part: Part) {
        let places = self.places.entry(id).or_default();
        match part {
            Part::Active => places.active = true,
            Part::Archived => places.archived = true,
            _ => places.deleted = true,
        }
    }

    /// A file was read.
    pub(super) fn add(&mut self, part: Part, path: &str, id: &ConversationId, outcome: &Outcome) {
        let Some(head) = outcome.header.as_deref() else {
            return;
        };
        let Head {
            id: own, parent, ..
        } = head;
        if own != id {
            self.misnamed
                .insert(path.to_owned(), (id.clone(), own.clone()));
        }
        if let (Some(parent), Part::Active | Part::Archived) = (parent, part) {
            let fork = (path.to_owned(), parent.clone());
            self.forks.insert(id.clone(), fork);
        }
    }

    /// What is wrong between them. `all` says whether every conversation was looked at.
    pub(super) fn look(&self, store: &Store, all: bool) -> Vec<Finding> {
        let mut found = Vec::new();
        for (path, (id, own)) in &self.misnamed {
            let taken = store.locate(own).is_some() || self.places.contains_key(own);
            found.push(misnamed(path, id, own, taken));
        }
        self.look_at_twins(store, &mut found);
        self.look_at_forks(store, &mut found);
        if all {
            self.look_for_cycles(&mut found);
        }
        found
    }

    /// Conversations in use and put away at the same time.
    fn look_at_twins(&self, store: &Store, found: &mut Vec<Finding>) {
        let twins: BTreeSet<&ConversationId> = self
            .places
            .iter()
            .filter(|(_, places)| places.active && places.archived)
            .map(|(id, _)| *id)
            .collect();
        for id in twins {
            // Whoever archives it or takes it back is in the middle of that.
            if store.is_busy(id) {
                continue;
            }
            let path = format!("{}/{id}.jsonl.gz", Part::Archived.path());
            match shelf::is_redundant(store, id) {
                Ok(Some(true)) => found.push(
                    Finding::new(
                        "store.archived-twice",
                        Severity::Warning,
                        path,
                        "the conversation is in use as well, and has everything that this copy has: a process died while it was moved",
                        "remove the copy: pachat validate --fix",
                    )
                    .fixable(),
                ),
                Ok(Some(false)) => found.push(Finding::new(
                    "store.archived-differs",
                    Severity::Warning,
                    path,
                    "the conversation is in use as well, with other content: this copy is shown nowhere",
                    "compare the two with zcat and diff; to see this one, move it out of the data directory",
                )),
                // One of them is gone.
                Ok(None) => {}
                Err(error) => found.push(super::failed(&path, &error)),
            }
        }
    }

    fn look_at_forks(&self, store: &Store, found: &mut Vec<Finding>) {
        // The numbers of a parent's messages are read once for all its forks.
        let mut numbers: HashMap<&ConversationId, Option<HashSet<u64>>> = HashMap::new();
        for (id, (path, parent)) in &self.forks {
            if &parent.id == id {
                continue;
            }
            if store.locate(&parent.id).is_none() {
                let deleted = self
                    .places
                    .get(&parent.id)
                    .is_some_and(|places| places.deleted);
                found.push(gone(path, parent, deleted));
                continue;
            }
            let numbers = numbers.entry(&parent.id).or_insert_with(|| {
                let read = store.read(&parent.id).ok()?;
                Some(
                    read.conversation
                        .all()
                        .map(|(message, _)| message.n)
                        .collect(),
                )
            });
            let misses = |numbers: &HashSet<u64>| !numbers.contains(&parent.message);
            if parent.message > 0 && numbers.as_ref().is_some_and(misses) {
                found.push(
                    Finding::new(
                        "store.parent-message",
                        Severity::Warning,
                        path,
                        format!(
                            "it goes on after message {} of {}, which has no such message",
                            parent.message, parent.id
                        ),
                        "what it goes on from is not complete; an older copy of the other conversation may be in a backup: pachat restore --list",
                    )
                    .at_line(1),
                );
            }
        }
    }

    /// A conversation that is its own ancestor; each such circle is told once.
    fn look_for_cycles(&self, found: &mut Vec<Finding>) {
        let mut done: HashSet<&ConversationId> = HashSet::new();
        for start in self.forks.keys() {
            let mut way: Vec<&ConversationId> = Vec::new();
            let mut at = start;
            while done.insert(at) {
                way.push(at);
                match self.forks.get(at) {
                    Some((_, parent)) => at = &parent.id,
                    None => break,
                }
            }
            if let Some(first) = way.iter().position(|id| *id == at)
                && let Some((path, parent)) = self.forks.get(at)
            {
                let others = way.len() - first;
                let cause = match others {
                    1 => "it says that it was forked from itself".to_owned(),
                    _ => format!(
                        "it was forked from {}, which comes from it again: a circle of {others}",
                        parent.id
                    ),
                };
                found.push(
                    Finding::new(
                        "store.parent-cycle",
                        Severity::Warning,
                        path,
                        cause,
                        "one of the headers was changed by hand; take it out of a backup: pachat restore --list",
                    )
                    .at_line(1),
                );
            }
        }
    }
}

/// A file whose header names another id than its name; `taken` if that is the name of a file.
fn misnamed(path: &str, id: &ConversationId, own: &ConversationId, taken: bool) -> Finding {
    let finding = if taken {
        Finding::new(
            "store.id-twice",
            Severity::Error,
            path,
            format!(
                "its header says that it is {own}, which is another file: one of them is a copy"
            ),
            "compare the two; remove the copy, or give it a header with the id of its name",
        )
    } else {
        Finding::new(
            "store.wrong-id",
            Severity::Error,
            path,
            format!("its header says that it is {own}, not {id}, so backups keep it as damaged"),
            format!("give the file its own id as a name: {own}"),
        )
    };
    finding.at_line(1)
}

fn gone(path: &str, parent: &Parent, deleted: bool) -> Finding {
    let remedy = if deleted {
        format!(
            "it is in the trash; take it back: pachat cleanup --restore {}",
            parent.id
        )
    } else {
        format!(
            "what was said before is missing here; a backup may have it: pachat restore latest --conversation {}",
            parent.id
        )
    };
    Finding::new(
        "store.parent-missing",
        Severity::Note,
        path,
        format!("it was forked from {}, which is gone", parent.id),
        remedy,
    )
    .at_line(1)
}
