//! Keeping the store small: a plan, and carrying it out.
//!
//! Layer: ops. A plan is made by looking, without any lock; what a dry run shows is the very
//! value that [`apply`] carries out. Each step is looked at again when its turn comes, under the
//! locks that it takes, and left out if what it is about has changed since.
//!
//! What can be undone, and what cannot:
//! - Archiving and moving to the trash can each be undone by themselves: an archived
//!   conversation is in use again as soon as somebody goes on with it, and what is in the trash
//!   can be taken back. So no rollback point is made for them; its hard links would keep the very
//!   bytes that a cleanup is to free.
//! - Removed for good are only what is in the trash, after a time that the person has set or on
//!   demand; logs that have expired; backups that their rules do not keep; what can be made
//!   again (caches); and what dead processes have left (temporaries).
//!
//! Promises:
//! - Ages are those of the last message, not those of files. A conversation with a younger last
//!   message than the floor is never chosen, whatever else is asked for; only who names it by
//!   its id moves it.
//! - A conversation in use is never waited for: it is skipped, and named.
//! - With an index that knows the conversations none is read, unless there are attachments that
//!   nothing may refer to.

mod apply;
mod choose;
mod leftovers;
mod orphans;
pub mod space;

use std::sync::Arc;

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

use crate::model::error::{Error, Kind, Result};
use crate::model::id::ConversationId;
use crate::store::Store;
use crate::store::index::Index;
use crate::store::log::{self, Limits, Log};
use crate::store::looks::Looks;
use crate::store::read::Scope;
use crate::store::shelf::{self, Trashed};

use super::backup;
use super::retention::{Rules, Within};

pub use apply::{Applied, Done, Failure, apply};

/// What a cleanup looks after.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Task {
    /// Conversations that a person has named.
    Named,
    /// Conversations that nobody has gone on with for long.
    Archive,
    /// Archived ones that are older than a person wants to keep them.
    Archived,
    /// What is in the trash.
    Trash,
    /// The log, and older ones.
    Logs,
    /// Backups that no rule keeps.
    Backups,
    /// Attachments that no conversation refers to.
    Attachments,
    /// What dead processes have left.
    Temporaries,
    /// What can be made or fetched again.
    Caches,
}

impl Task {
    /// Those that can be chosen, in the order in which they are done.
    pub const ALL: [Self; 8] = [
        Self::Archive,
        Self::Archived,
        Self::Trash,
        Self::Logs,
        Self::Backups,
        Self::Attachments,
        Self::Temporaries,
        Self::Caches,
    ];

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Named => "named",
            Self::Archive => "archive",
            Self::Archived => "archived",
            Self::Trash => "trash",
            Self::Logs => "logs",
            Self::Backups => "backups",
            Self::Attachments => "attachments",
            Self::Temporaries => "temporaries",
            Self::Caches => "caches",
        }
    }
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// A conversation is compressed and put into the archive.
    Archive,
    /// Something is moved to the trash.
    Trash,
    /// The log gets another name and is compressed.
    Rotate,
    /// Something is removed for good.
    Delete,
}

impl Action {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Archive => "archive",
            Self::Trash => "trash",
            Self::Rotate => "rotate",
            Self::Delete => "delete",
        }
    }
}

/// What of the trash is removed for good.
#[derive(Clone, Copy, Debug)]
pub enum Emptying {
    /// Everything.
    All,
    /// What was deleted so long ago.
    After(Within),
}

/// Which conversations to put away, and how.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    /// Those whose last message is so old.
    pub older_than: Option<Within>,
    /// The oldest, until all take at most so many bytes.
    pub max_size: Option<u64>,
    /// The oldest, until at most so many are in use.
    pub max_count: Option<usize>,
    /// Only those with one of these labels, if there are any.
    pub tags: Vec<String>,
    /// They go to the trash instead of the archive.
    pub delete: bool,
}

/// What is wanted of a cleanup.
#[derive(Clone, Debug)]
pub struct Wishes {
    /// What it looks after.
    pub tasks: Vec<Task>,
    /// Which conversations to put away.
    pub choice: Choice,
    /// After how long archived ones go to the trash, if ever.
    pub delete_archived: Option<Within>,
    /// What of the trash is removed for good, if anything.
    pub emptying: Option<Emptying>,
    /// Conversations with one of these labels stay.
    pub keep_tags: Vec<String>,
    /// Conversations and attachments that are younger stay.
    pub min_age: Within,
    /// When logs are put away, and how long they stay.
    pub logs: Limits,
    /// Which backups stay.
    pub rules: Rules,
    /// Now, where the person is.
    pub now: Zoned,
    /// How many threads may pack.
    pub cores: usize,
}

impl Wishes {
    fn at(&self) -> Timestamp {
        self.now.timestamp()
    }

    fn zone(&self) -> &TimeZone {
        self.now.time_zone()
    }

    /// How long ago something was, in seconds.
    fn age(&self, at: Timestamp) -> i64 {
        self.at().duration_since(at).as_secs()
    }
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What it belongs to.
    pub task: Task,
    /// What is done.
    pub action: Action,
    /// To what: a path below the data directory.
    pub path: String,
    /// How long that is, in bytes.
    pub bytes: u64,
    /// How old it is, in seconds: since its last message, its deletion, its making. `None` where
    /// that means nothing.
    pub age: Option<i64>,
    /// Why.
    pub reason: Arc<str>,
    target: Target,
}

impl Step {
    /// The conversation that it is about, if it is about one that is not in the trash yet.
    pub fn conversation(&self) -> Option<&ConversationId> {
        match &self.target {
            Target::Conversation(id, _) => Some(id),
            _ => None,
        }
    }

    /// What people call it who do not know it by its path: the last part of an id, and a title.
    /// Reads it. `None` if it is no conversation.
    pub fn called(&self, store: &Store) -> Option<(String, String)> {
        match &self.target {
            Target::Conversation(id, _) => {
                let title = match store.read(id) {
                    Ok(loaded) => loaded.conversation.title().to_owned(),
                    Err(_) => "(cannot be read)".to_owned(),
                };
                Some((id.short().to_owned(), title))
            }
            Target::Trashed(trashed) => {
                let id = trashed.conversation()?.short().to_owned();
                Some((id, trashed.title(store).unwrap_or_default()))
            }
            _ => None,
        }
    }
}

/// What a step is about, as those know it who carry it out.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Target {
    /// A conversation, and how its file looked.
    Conversation(ConversationId, Option<Looks>),
    /// An attachment, and how it looked.
    Attachment(String, Option<Looks>),
    /// Something in the trash.
    Trashed(Trashed),
    /// A log.
    Log(log::Chore),
    /// A backup.
    Backup(String),
    /// What whoever holds the turn of a conversation may remove.
    OfTurn(ConversationId),
    /// What whoever holds the lock of backups may remove.
    OfBackups,
    /// What is left of rollback points in the making.
    OfPoints,
    /// A file that nobody has written to for a day.
    Abandoned,
    /// A file that can be made again.
    Cache,
}

/// Something that was left alone, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// What it belongs to.
    pub task: Task,
    /// What: a path below the data directory.
    pub path: String,
    /// Why: a few words such as `it is in use`.
    pub why: String,
}

/// What a cleanup does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// What is done, in this order.
    pub steps: Vec<Step>,
    /// What would have been, but for what it is.
    pub skipped: Vec<Skipped>,
    /// What else is worth knowing.
    pub warnings: Vec<String>,
}

impl Plan {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// For each task and action of the plan, in its order: how many steps, and how many bytes.
    pub fn totals(&self) -> Vec<(Task, Action, usize, u64)> {
        let mut totals: Vec<(Task, Action, usize, u64)> = Vec::new();
        for step in &self.steps {
            let same = |total: &&mut (Task, Action, usize, u64)| {
                (total.0, total.1) == (step.task, step.action)
            };
            match totals.iter_mut().find(same) {
                Some(total) => {
                    total.2 += 1;
                    total.3 += step.bytes;
                }
                None => totals.push((step.task, step.action, 1, step.bytes)),
            }
        }
        totals.sort_by_key(|total| total.0);
        totals
    }

    fn skip(&mut self, task: Task, path: impl Into<String>, why: impl Into<String>) {
        self.skipped.push(Skipped {
            task,
            path: path.into(),
            why: why.into(),
        });
    }
}

/// Plans a cleanup. Reads conversations that the index does not know; changes nothing.
pub fn plan(store: &Store, wishes: &Wishes, index: &mut Index) -> Result<Plan> {
    let mut plan = Plan::default();
    let wanted = |task| wishes.tasks.contains(&task);
    if wanted(Task::Archive) || wanted(Task::Archived) {
        choose::conversations(store, wishes, index, &mut plan)?;
    }
    if wanted(Task::Trash) {
        trash(store, wishes, &mut plan)?;
    }
    if wanted(Task::Logs) {
        logs(store, wishes, &mut plan)?;
    }
    if wanted(Task::Backups) {
        backups(store, wishes, &mut plan)?;
    }
    if wanted(Task::Attachments) {
        orphans::attachments(store, wishes, &mut plan)?;
    }
    if wanted(Task::Temporaries) {
        leftovers::temporaries(store, wishes, &mut plan)?;
    }
    if wanted(Task::Caches) {
        leftovers::caches(store, wishes, &mut plan)?;
    }
    Ok(plan)
}

/// Plans to move these conversations to the trash, whatever their age.
pub fn plan_named(
    store: &Store,
    ids: &[ConversationId],
    wishes: &Wishes,
    index: &mut Index,
) -> Result<Plan> {
    let mut plan = Plan::default();
    choose::named(store, ids, wishes, index, &mut plan)?;
    Ok(plan)
}

/// The conversations that people name, none of them twice; errors as of `Store::resolve`.
pub fn resolve(store: &Store, specs: &[String]) -> Result<Vec<ConversationId>> {
    let mut ids = Vec::new();
    for spec in specs {
        let id = store.resolve(spec)?;
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    Ok(ids)
}

/// What is in the trash that these name, none of it twice; errors as of `shelf::find`, and one
/// that says so where it is not in the trash at all.
pub fn resolve_trashed(store: &Store, specs: &[String]) -> Result<Vec<Trashed>> {
    let mut found: Vec<Trashed> = Vec::new();
    for spec in specs {
        let one = shelf::find(store, spec).map_err(|error| {
            let lower = spec.trim().to_ascii_lowercase();
            let here = |id: &ConversationId| id.as_str() == lower || id.short() == lower;
            let there = store.ids(Scope::All).unwrap_or_default();
            if error.kind() == Kind::NotFound && there.iter().any(here) {
                return Error::new(Kind::NotFound, format!("`{spec}` is not in the trash"))
                    .why("it is where conversations are")
                    .hint(format!("look at it: pachat export {spec}"));
            }
            error
        })?;
        if !found.contains(&one) {
            found.push(one);
        }
    }
    Ok(found)
}

fn trash(store: &Store, wishes: &Wishes, plan: &mut Plan) -> Result<()> {
    let (before, reason): (_, Arc<str>) = match wishes.emptying {
        None => return Ok(()),
        Some(Emptying::All) => (Timestamp::MAX, "the trash is emptied".into()),
        Some(Emptying::After(within)) => (
            within.before(&wishes.now),
            format!("in the trash for {within} or longer").into(),
        ),
    };
    let mut all = shelf::trashed(store)?;
    all.reverse();
    for trashed in all.into_iter().filter(|trashed| trashed.at <= before) {
        plan.steps.push(Step {
            task: Task::Trash,
            action: Action::Delete,
            path: format!("conversations/trash/{}", trashed.name),
            bytes: trashed.bytes,
            age: Some(wishes.age(trashed.at)),
            reason: Arc::clone(&reason),
            target: Target::Trashed(trashed),
        });
    }
    Ok(())
}

fn log_of(store: &Store, wishes: &Wishes) -> Log {
    Log::new(store.clone(), ::log::LevelFilter::Off, 0).with_limits(wishes.logs)
}

fn logs(store: &Store, wishes: &Wishes, plan: &mut Plan) -> Result<()> {
    for chore in log_of(store, wishes).chores()? {
        let (action, reason) = match chore.task {
            log::Task::PutAway => (Action::Rotate, "it is large or old".to_owned()),
            log::Task::Compress => (Action::Rotate, "it is not compressed yet".to_owned()),
            log::Task::Remove => {
                let days = wishes.logs.keep.as_secs() / (24 * 60 * 60);
                (Action::Delete, format!("put away {days}d ago or longer"))
            }
        };
        plan.steps.push(Step {
            task: Task::Logs,
            action,
            path: format!("logs/{}", chore.name),
            bytes: chore.bytes,
            age: chore.since.map(|since| wishes.age(since)),
            reason: reason.into(),
            target: Target::Log(chore),
        });
    }
    Ok(())
}

fn backups(store: &Store, wishes: &Wishes, plan: &mut Plan) -> Result<()> {
    let reason: Arc<str> = "no rule keeps it".into();
    for backup in backup::expired(store, &wishes.rules, wishes.zone())? {
        let made = backup.card.as_ref().map(|card| card.created_at);
        plan.steps.push(Step {
            task: Task::Backups,
            action: Action::Delete,
            path: format!("backups/{}", backup.name()),
            bytes: backup.size,
            age: made.map(|made| wishes.age(made)),
            reason: Arc::clone(&reason),
            target: Target::Backup(backup.id),
        });
    }
    Ok(())
}
