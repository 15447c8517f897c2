//! Which conversations are put away.
//!
//! The order of the rules: age, number, size, and then the age of what is archived already. The
//! oldest go first, and a conversation is chosen once.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;

use crate::model::backup::Part;
use crate::model::error::{Kind, Result};
use crate::model::id::ConversationId;
use crate::model::size::{ByteSize, counted, grouped};
use crate::store::Store;
use crate::store::index::{Facts, Index};
use crate::store::looks::Looks;
use crate::store::parts::PartFile;
use crate::store::shelf;

use super::{Action, Plan, Step, Target, Task, Wishes};

/// What gzip leaves of a conversation, for a plan that cannot know: about a third.
const PACKED: u64 = 3;
/// Why a conversation is skipped whose turn somebody has.
const IN_USE: &str = "it is in use";

/// A conversation that may be put away.
struct Candidate<'a> {
    file: &'a PartFile,
    id: ConversationId,
    /// When something was last said.
    said: Timestamp,
    /// Whether the rules may choose it at all.
    free: bool,
    busy: bool,
    chosen: Option<(Task, Action, Arc<str>)>,
}

impl Candidate<'_> {
    fn is_active(&self) -> bool {
        self.file.part == Part::Active
    }

    /// How many bytes it will take among the conversations, as far as that can be told.
    fn coming(&self) -> u64 {
        match &self.chosen {
            None => self.file.len,
            Some((_, Action::Archive, _)) => self.file.len / PACKED,
            Some(_) => 0,
        }
    }
}

/// Chooses conversations by the rules.
pub(super) fn conversations(
    store: &Store,
    wishes: &Wishes,
    index: &mut Index,
    plan: &mut Plan,
) -> Result<()> {
    let files = store.inventory(&[Part::Active, Part::Archived])?.files;
    index.retain(&files);
    let archive = wishes.tasks.contains(&Task::Archive);
    let archived = wishes.tasks.contains(&Task::Archived);
    let choice = &wishes.choice;
    // Only where they matter: each that the index does not know is read.
    let of_archive = archived && wishes.delete_archived.is_some()
        || archive && (choice.delete || choice.max_size.is_some());
    let parts = |file: &&PartFile| file.part == Part::Active || of_archive;
    let mut candidates = candidates(store, files.iter().filter(parts), wishes, index, plan)?;
    candidates.sort_unstable_by(|a, b| (a.said, &a.id).cmp(&(b.said, &b.id)));
    if archive {
        by_age(&mut candidates, wishes);
        by_number(&mut candidates, wishes, plan);
        by_size(&mut candidates, wishes, plan);
    }
    if archived {
        by_age_in_archive(&mut candidates, wishes);
    }
    for candidate in candidates {
        let Some((task, action, reason)) = candidate.chosen else {
            continue;
        };
        if candidate.busy {
            plan.skip(task, path(candidate.file), IN_USE);
            continue;
        }
        plan.steps.push(Step {
            task,
            action,
            path: path(candidate.file),
            bytes: candidate.file.len,
            age: Some(wishes.age(candidate.said)),
            reason,
            target: Target::Conversation(candidate.id, Looks::of(candidate.file)),
        });
    }
    Ok(())
}

/// Plans to move these to the trash.
pub(super) fn named(
    store: &Store,
    ids: &[ConversationId],
    wishes: &Wishes,
    index: &mut Index,
    plan: &mut Plan,
) -> Result<()> {
    let reason: Arc<str> = "it was named".into();
    let busy = busy(store);
    for id in ids {
        let active = shelf::look(store, Part::Active, &format!("{id}.jsonl"))?;
        let file = match active {
            Some(file) => Some(file),
            None => shelf::look(store, Part::Archived, &format!("{id}.jsonl.gz"))?,
        };
        let Some(file) = file else { continue };
        if busy.contains(id) {
            plan.skip(Task::Named, path(&file), IN_USE);
            continue;
        }
        // Also one that cannot be read can be deleted, and taken back.
        let said = index.facts(store, &file).ok().flatten();
        plan.steps.push(Step {
            task: Task::Named,
            action: Action::Trash,
            path: path(&file),
            bytes: file.len,
            age: said.map(|facts| wishes.age(facts.updated_at)),
            reason: Arc::clone(&reason),
            target: Target::Conversation(id.clone(), Looks::of(&file)),
        });
    }
    Ok(())
}

fn path(file: &PartFile) -> String {
    format!("{}/{}", file.part.path(), file.name)
}

/// Every conversation among these files, with what the rules ask about it.
fn candidates<'a>(
    store: &Store,
    files: impl Iterator<Item = &'a PartFile>,
    wishes: &Wishes,
    index: &mut Index,
    plan: &mut Plan,
) -> Result<Vec<Candidate<'a>>> {
    let busy = busy(store);
    let floor = wishes.min_age.before(&wishes.now);
    let mut side_files: HashMap<&str, Timestamp> = HashMap::new();
    let mut candidates = Vec::new();
    for file in files {
        if let Some(id) = file.name.strip_suffix(".partial") {
            let modified = file.modified.and_then(|at| Timestamp::try_from(at).ok());
            side_files.insert(id, modified.unwrap_or(Timestamp::MAX));
            continue;
        }
        let facts = match index.facts(store, file) {
            Ok(Some(facts)) => facts,
            // Archived, deleted or taken back since the files were listed.
            Ok(None) => continue,
            Err(error) if is_of_one_file(error.kind()) => {
                plan.skip(Task::Archive, path(file), error.headline());
                continue;
            }
            Err(error) => return Err(error),
        };
        let free = has_its_labels(&facts, wishes);
        candidates.push(Candidate {
            file,
            said: facts.updated_at,
            busy: busy.contains(&facts.id),
            id: facts.id,
            free,
            chosen: None,
        });
    }
    for candidate in &mut candidates {
        // What was arriving when its writer died is the last that was said.
        if let Some(at) = side_files.get(candidate.id.as_str()).copied() {
            candidate.said = candidate.said.max(at);
        }
        candidate.free &= candidate.said <= floor;
    }
    Ok(candidates)
}

/// Whether an error is about a file alone, so that others may be better.
fn is_of_one_file(kind: Kind) -> bool {
    matches!(kind, Kind::Malformed | Kind::Io)
}

fn has_its_labels(facts: &Facts, wishes: &Wishes) -> bool {
    let has_one_of = |tags: &[String]| tags.iter().any(|tag| facts.tags.contains(tag));
    let wanted = &wishes.choice.tags;
    (wanted.is_empty() || has_one_of(wanted)) && !has_one_of(&wishes.keep_tags)
}

/// The conversations that somebody has the turn of. Only those have a lock file.
fn busy(store: &Store) -> HashSet<ConversationId> {
    let entries = store.disk().read_dir(&store.layout().run_dir());
    let named = entries.unwrap_or_default().into_iter().filter_map(|entry| {
        let name = entry.name.to_str()?;
        let id = name.strip_prefix("turn-")?.strip_suffix(".lock")?;
        id.parse::<ConversationId>().ok()
    });
    named.filter(|id| store.is_busy(id)).collect()
}

fn by_age(candidates: &mut [Candidate<'_>], wishes: &Wishes) {
    let choice = &wishes.choice;
    let Some(older_than) = choice.older_than else {
        return;
    };
    let before = older_than.before(&wishes.now);
    let reason: Arc<str> = format!("no message for {older_than} or longer").into();
    for candidate in candidates {
        let goes = candidate.free && candidate.said <= before;
        if goes && (candidate.is_active() || choice.delete) {
            let action = put_away(choice.delete);
            candidate.chosen = Some((Task::Archive, action, Arc::clone(&reason)));
        }
    }
}

fn put_away(delete: bool) -> Action {
    if delete {
        Action::Trash
    } else {
        Action::Archive
    }
}

fn by_number(candidates: &mut [Candidate<'_>], wishes: &Wishes, plan: &mut Plan) {
    let Some(most) = wishes.choice.max_count else {
        return;
    };
    let stays = |candidate: &Candidate<'_>| candidate.is_active() && candidate.chosen.is_none();
    let mut number = candidates.iter().filter(|one| stays(one)).count();
    let reason: Arc<str> = format!("more than {} in use", grouped(most)).into();
    for candidate in candidates {
        if number <= most {
            return;
        }
        if stays(candidate) && candidate.free && candidate.busy {
            plan.skip(Task::Archive, path(candidate.file), IN_USE);
        } else if stays(candidate) && candidate.free {
            let action = put_away(wishes.choice.delete);
            candidate.chosen = Some((Task::Archive, action, Arc::clone(&reason)));
            number -= 1;
        }
    }
    if number > most {
        plan.warnings.push(format!(
            "{} in use, more than {}: the others are kept by their labels, somebody is using them, or they are too young (see --min-age)",
            stay(number),
            grouped(most)
        ));
    }
}

fn by_size(candidates: &mut [Candidate<'_>], wishes: &Wishes, plan: &mut Plan) {
    let choice = &wishes.choice;
    let Some(most) = choice.max_size else {
        return;
    };
    let mut size: u64 = candidates.iter().map(Candidate::coming).sum();
    let reason: Arc<str> = format!("conversations take more than {}", ByteSize(most)).into();
    let ways: &[Action] = if choice.delete {
        &[Action::Archive, Action::Trash]
    } else {
        &[Action::Archive]
    };
    for &action in ways {
        for candidate in candidates.iter_mut() {
            if size <= most {
                break;
            }
            let can = match action {
                Action::Archive => candidate.is_active() && candidate.chosen.is_none(),
                _ => candidate.coming() > 0,
            };
            if can && candidate.free && candidate.busy {
                if action == Action::Archive {
                    plan.skip(Task::Archive, path(candidate.file), IN_USE);
                }
            } else if can && candidate.free {
                size -= candidate.coming();
                candidate.chosen = Some((Task::Archive, action, Arc::clone(&reason)));
                size += candidate.coming();
            }
        }
    }
    if size > most {
        let (size, most) = (ByteSize(size), ByteSize(most));
        let hint = if choice.delete {
            "the others are kept by their labels, somebody is using them, or they are too young (see --min-age)"
        } else {
            "move the oldest to the trash, too: --delete"
        };
        plan.warnings.push(format!(
            "conversations will still take about {size}, more than {most}; {hint}"
        ));
    }
}

/// `1 conversation stays`.
fn stay(number: usize) -> String {
    let ending = if number == 1 { "s" } else { "" };
    format!("{} stay{ending}", counted(number, "conversation"))
}

fn by_age_in_archive(candidates: &mut [Candidate<'_>], wishes: &Wishes) {
    let Some(after) = wishes.delete_archived else {
        return;
    };
    let before = after.before(&wishes.now);
    let reason: Arc<str> = format!("archived, and no message for {after} or longer").into();
    for candidate in candidates {
        let goes = candidate.free && candidate.chosen.is_none() && candidate.said <= before;
        if goes && !candidate.is_active() {
            candidate.chosen = Some((Task::Archived, Action::Trash, Arc::clone(&reason)));
        }
    }
}
