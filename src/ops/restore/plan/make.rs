//! The rules by which a plan is made.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::backup::Part;
use crate::model::id::ConversationId;
use crate::store::parts::PartFile;

use super::{Action, Question, Relation, Step, conversation, named, pairs};

/// Where the files of each conversation are in a list.
pub(in crate::ops::restore) struct Copies(BTreeMap<ConversationId, Held>);

#[derive(Default)]
struct Held {
    active: Option<usize>,
    archived: Option<usize>,
    partial: Option<usize>,
}

impl Copies {
    pub(in crate::ops::restore) fn of<'a>(files: impl Iterator<Item = (Part, &'a str)>) -> Self {
        let mut copies: BTreeMap<ConversationId, Held> = BTreeMap::new();
        for (at, (part, name)) in files.enumerate() {
            let Some(id) = conversation(part, name) else {
                continue;
            };
            let held = copies.entry(id).or_default();
            match part {
                Part::Archived => held.archived = Some(at),
                _ if name.ends_with(".partial") => held.partial = Some(at),
                _ => held.active = Some(at),
            }
        }
        Self(copies)
    }

    /// The copy that counts: where a conversation is in both places, the active one does.
    pub(in crate::ops::restore) fn counting(&self, id: &ConversationId) -> Option<usize> {
        let held = self.0.get(id)?;
        held.active.or(held.archived)
    }

    fn partial(&self, id: &ConversationId) -> Option<usize> {
        self.0.get(id)?.partial
    }

    fn all(&self, id: &ConversationId) -> impl Iterator<Item = usize> {
        let held = self.0.get(id);
        held.into_iter()
            .flat_map(|held| [held.active, held.archived, held.partial])
            .flatten()
    }
}

/// A plan in the making.
pub(super) struct Maker<'a> {
    question: &'a Question<'a>,
    /// For each entry, the file that it was compared with, and how they stand.
    compared: BTreeMap<usize, (usize, Relation)>,
    own: Copies,
    copies: Copies,
    /// What is decided so far, in no order.
    pub(super) steps: Vec<Step>,
}

impl<'a> Maker<'a> {
    pub(super) fn new(question: &'a Question<'a>) -> Self {
        let pairs = pairs(question.mode, question.entries, question.live);
        let compared = pairs
            .iter()
            .zip(question.relations)
            .map(|(pair, relation)| (pair.entry, (pair.live, *relation)))
            .collect();
        Self {
            question,
            compared,
            own: Copies::of(question.entries.iter().map(named)),
            copies: Copies::of(question.live.iter().map(|file| (file.part, &*file.name))),
            steps: Vec::new(),
        }
    }

    pub(super) fn replace(&mut self) {
        let question = self.question;
        let mut gone = BTreeSet::new();
        for (at, entry) in question.entries.iter().enumerate() {
            let (part, name) = named(entry);
            match self.compared.get(&at) {
                None => self.take(at, Action::Add),
                Some((_, Relation::Same)) => self.take(at, Action::Unchanged),
                Some((live, _)) if self.only_adds_to(part) => self.leave(*live, Action::Keep),
                Some(_) => self.take(at, Action::Replace),
            }
            // The archive's place counts, and its side file.
            if let Some(id) = conversation(part, name) {
                gone.extend(self.copies.all(&id));
            }
        }
        let whole =
            |file: &PartFile| question.whole.contains(&file.part) && !self.only_adds_to(file.part);
        let others = question.live.iter().enumerate();
        gone.extend(
            others
                .filter(|(_, file)| whole(file))
                .map(|(place, _)| place),
        );
        for (live, _) in self.compared.values() {
            gone.remove(live);
        }
        for live in gone {
            self.leave(live, Action::Remove);
        }
    }

    /// Whether a file of this part stays as it is, also in a whole restore. The log and the
    /// quarantine say what happened since, the restore included.
    fn only_adds_to(&self, part: Part) -> bool {
        !self.question.whole.is_empty() && matches!(part, Part::Logs | Part::Quarantine)
    }

    pub(super) fn merge(&mut self) {
        for (at, entry) in self.question.entries.iter().enumerate() {
            let (part, name) = named(entry);
            match conversation(part, name) {
                Some(id) if self.own.counting(&id) == Some(at) => self.merge_conversation(at, &id),
                // A remainder of a move between the places, or a side file, which goes with
                // its conversation.
                Some(id) if self.own.counting(&id).is_some() => {}
                _ => match self.compared.get(&at) {
                    None => self.take(at, Action::Add),
                    Some((_, Relation::Same)) => self.take(at, Action::Unchanged),
                    Some((live, _)) => self.leave(*live, Action::Keep),
                },
            }
        }
    }

    fn merge_conversation(&mut self, at: usize, id: &ConversationId) {
        let Some(&(live, relation)) = self.compared.get(&at) else {
            self.take(at, Action::Add);
            return self.merge_partial(id);
        };
        let in_place = self.is_at(at, live);
        match relation {
            Relation::Same => {
                self.leave(live, Action::Unchanged);
                if in_place {
                    self.merge_partial(id);
                }
            }
            Relation::StoreHasMore => self.leave(live, Action::Keep),
            // What had arrived of a reply is only in the side file.
            Relation::ArchiveHasMore if self.has_own_partial(id) => {
                self.leave(live, Action::Diverged);
            }
            Relation::ArchiveHasMore => {
                if in_place {
                    self.take(at, Action::Replace);
                } else {
                    self.take(at, Action::Add);
                    self.leave(live, Action::Remove);
                }
                self.merge_partial(id);
            }
            Relation::Diverged => self.leave(live, Action::Diverged),
        }
    }

    /// The archive's side file of a conversation, where the store has none.
    fn merge_partial(&mut self, id: &ConversationId) {
        let Some(at) = self.own.partial(id) else {
            return;
        };
        match self.compared.get(&at) {
            None => self.take(at, Action::Add),
            Some((_, Relation::Same)) => self.take(at, Action::Unchanged),
            Some((live, _)) => self.leave(*live, Action::Keep),
        }
    }

    /// Whether the store has a side file of a conversation that the archive does not have.
    fn has_own_partial(&self, id: &ConversationId) -> bool {
        let same = self.own.partial(id).is_some_and(|at| {
            let compared = self.compared.get(&at);
            compared.is_some_and(|(_, relation)| *relation == Relation::Same)
        });
        self.copies.partial(id).is_some() && !same
    }

    fn is_at(&self, entry: usize, live: usize) -> bool {
        let file = &self.question.live[live];
        named(&self.question.entries[entry]) == (file.part, &*file.name)
    }

    fn take(&mut self, entry: usize, action: Action) {
        let entry = &self.question.entries[entry];
        let (part, name) = named(entry);
        self.steps.push(Step {
            part,
            name: name.to_owned(),
            action,
            size: entry.size,
        });
    }

    fn leave(&mut self, live: usize, action: Action) {
        let file = &self.question.live[live];
        self.steps.push(Step {
            part: file.part,
            name: file.name.clone(),
            action,
            size: file.len,
        });
    }
}
