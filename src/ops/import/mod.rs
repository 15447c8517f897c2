//! Conversations that come from elsewhere: another pachat, another program, another company.
//!
//! Layer: ops. Promises: all of them come in, or none; nothing that is here changes but for
//! conversations that go on where they end here; what came in once is known again, so a newer
//! export adds what is new; what a dry run shows is what an import does.
//!
//! It is a merge as that of a restore (`ops::restore::gather`), of files that are made here
//! and not read from an archive. So it has the same proof, the same rollback point and the
//! same end in one step.

mod chatgpt;
mod claude;
mod draft;
mod go_on;
mod json;
mod llm;
mod own;
mod source;
mod tree;

use std::collections::BTreeMap;

use crate::archive::manifest;
use crate::model::conversation::Conversation;
use crate::model::error::{Error, Kind, Result};
use crate::model::id::ConversationId;
use crate::model::record::Imported;
use crate::model::size::grouped;
use crate::store::Store;
use crate::store::lock::Patience;

use super::limits::{self, Limits};
use super::restore::gather::Gathering;
use super::restore::plan::{Action, Plan};
use super::restore::{Done, Manner, Prepared};
use super::watch::Watch;
use draft::Draft;
use go_on::go_on;

pub use draft::Left;
pub use source::Source;

/// The most conversations that come in at once: no backup holds more files.
const MOST: usize = manifest::MOST_FILES;

/// A conversation that was found.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its id here.
    pub id: ConversationId,
    /// Its title.
    pub title: String,
    /// How many messages it has, the inactive ones included.
    pub messages: usize,
    /// Where it comes from; `None` for another pachat.
    pub imported: Option<Imported>,
}

/// What was read, and how it stands to what is here.
pub struct Read {
    /// The conversations, by id.
    pub found: BTreeMap<ConversationId, Found>,
    /// What has no place in a conversation here.
    pub left: Left,
    /// What is odd, a line each.
    pub warnings: Vec<String>,
}

/// What becomes of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is new here.
    Add,
    /// It gets the messages that it does not have yet.
    GoOn,
    /// It is here already.
    Unchanged,
    /// It is here, and has more.
    Keep,
    /// It is here, and both have something that the other has not; the one here stays.
    Diverged,
}

impl Fate {
    /// All of them, in the order in which they are told.
    pub const ALL: [Self; 5] = [
        Self::Add,
        Self::GoOn,
        Self::Unchanged,
        Self::Keep,
        Self::Diverged,
    ];

    /// The word for what is to be done.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::GoOn => "continue",
            Self::Unchanged => "unchanged",
            Self::Keep => "keep",
            Self::Diverged => "diverged",
        }
    }

    /// The word for what was done.
    pub const fn done(self) -> &'static str {
        match self {
            Self::Add => "added",
            Self::GoOn => "continued",
            Self::Unchanged => "unchanged",
            Self::Keep => "kept",
            Self::Diverged => "diverged",
        }
    }

    /// Whether anything happens.
    pub const fn is_change(self) -> bool {
        matches!(self, Self::Add | Self::GoOn)
    }
}

/// What becomes of each conversation.
pub fn fates(plan: &Plan) -> BTreeMap<ConversationId, Fate> {
    let mut fates: BTreeMap<ConversationId, Fate> = BTreeMap::new();
    for step in &plan.steps {
        let Some(id) = step.conversation() else {
            continue;
        };
        let fate = match step.action {
            Action::Add => Fate::Add,
            // One that was archived comes out of the archive: added here, removed there.
            Action::Replace | Action::Remove => Fate::GoOn,
            Action::Unchanged => Fate::Unchanged,
            Action::Keep => Fate::Keep,
            Action::Diverged => Fate::Diverged,
        };
        let known = fates.entry(id).or_insert(fate);
        if fate == Fate::GoOn {
            *known = fate;
        }
    }
    fates
}

/// What an import would do. Nothing is written.
pub fn preview(
    store: &Store,
    sources: Vec<Source>,
    limits: &Limits,
    watch: &mut dyn Watch,
) -> Result<(Read, Plan)> {
    let mut intake = Intake::new(store, Gathering::looking(store)?, limits, watch);
    intake.read_all(sources)?;
    let plan = intake.gathering.plan();
    let read = intake.into_read().0;
    check_limits(store, limits, &plan)?;
    Ok((read, plan))
}

/// Reads everything, and writes down beside the data what is to come in.
pub fn prepare<'a>(
    store: &'a Store,
    sources: Vec<Source>,
    limits: &Limits,
    watch: &mut dyn Watch,
    patience: &mut Patience<'_>,
) -> Result<(Read, Prepared<'a>)> {
    let gathering = Gathering::staging(store, patience)?;
    let mut intake = Intake::new(store, gathering, limits, watch);
    intake.read_all(sources)?;
    let (read, gathering) = intake.into_read();
    let prepared = gathering.prepared();
    check_limits(store, limits, prepared.plan())?;
    Ok((read, prepared))
}

/// Lets it come in; see [`Prepared::commit`].
pub fn commit(
    prepared: &mut Prepared<'_>,
    note: &str,
    keep: usize,
    patience: &mut Patience<'_>,
) -> Result<Done> {
    let manner = Manner {
        note,
        keep,
        // A conversation that went on here meanwhile stays as it is, which is what is promised.
        any_plan: true,
    };
    let done = prepared.commit(manner, patience)?;
    done.ok_or_else(|| Error::new(Kind::Bug, "an import asked for another plan"))
}

fn check_limits(store: &Store, limits: &Limits, plan: &Plan) -> Result<()> {
    let fates = fates(plan);
    let added = fates.values().filter(|fate| **fate == Fate::Add).count();
    if plan.is_empty() {
        return Ok(());
    }
    limits::check_import(store, limits, added, plan.bytes())
}

/// Takes what the readers of formats find.
struct Intake<'a, 'w> {
    store: &'a Store,
    gathering: Gathering<'a>,
    limits: &'w Limits,
    watch: &'w mut dyn Watch,
    read: Read,
    /// The bytes of all conversations.
    bytes: u64,
    /// How many conversations were seen, also empty ones and those that came before.
    seen: usize,
}

impl<'a, 'w> Intake<'a, 'w> {
    fn new(
        store: &'a Store,
        gathering: Gathering<'a>,
        limits: &'w Limits,
        watch: &'w mut dyn Watch,
    ) -> Self {
        Self {
            store,
            gathering,
            limits,
            watch,
            bytes: 0,
            read: Read {
                found: BTreeMap::new(),
                left: Left::default(),
                warnings: Vec::new(),
            },
            seen: 0,
        }
    }

    fn read_all(&mut self, sources: Vec<Source>) -> Result<()> {
        let bytes = sources.iter().filter_map(Source::len).sum();
        self.watch.stage("reading", bytes);
        for source in sources {
            let before = self.seen;
            let name = source.name().to_owned();
            source.read(self)?;
            if self.seen == before {
                let warning = format!("{name}: there is no conversation in it");
                self.read.warnings.push(warning);
            }
        }
        Ok(())
    }

    fn into_read(self) -> (Read, Gathering<'a>) {
        (self.read, self.gathering)
    }

    /// The most bytes of one conversation, as it comes or as it is kept.
    fn limit(&self) -> u64 {
        self.store.memory_limit()
    }

    /// So many bytes have been read.
    fn advance(&mut self, bytes: u64) -> Result<()> {
        self.watch.advance(bytes)
    }

    /// A conversation of another program.
    fn draft(&mut self, draft: &Draft) -> Result<()> {
        self.seen += 1;
        self.read.left.add(&draft.left);
        if draft.is_empty() {
            self.read.left.empty += 1;
            return Ok(());
        }
        for attempt in 0..u8::MAX {
            let id = draft.id(attempt);
            let imported = Some(&draft.imported);
            let come = self.read.found.get(&id);
            // Two that began in the same second are called the same one time in a billion.
            if come.is_some_and(|come| come.imported.as_ref() != imported) {
                continue;
            }
            let mut lines = draft.lines(&id);
            if self.store.locate(&id).is_some() {
                match self.store.read(&id) {
                    Ok(here) if here.conversation.header.imported.as_ref() == imported => {
                        lines = go_on(&here, lines);
                    }
                    Ok(_) => continue,
                    // What cannot be read here stays as it is, and is no reason to refuse others.
                    Err(error) if error.kind() == Kind::Malformed => {}
                    Err(error) => return Err(error),
                }
            }
            let found = Found {
                id,
                title: draft.title(),
                messages: draft.messages(),
                imported: imported.cloned(),
            };
            return self.take(found, &lines);
        }
        Err(Error::new(Kind::Bug, "no id is free for a conversation"))
    }

    /// A conversation, as its file is to be.
    fn take(&mut self, found: Found, lines: &[u8]) -> Result<()> {
        if lines.len() as u64 > self.limit() {
            return Err(source::too_large(self.limit()));
        }
        self.bytes = self.bytes.saturating_add(lines.len() as u64);
        if self.bytes > self.limits.storage.0 {
            // A small file can unpack to more than any disk holds.
            limits::check_import(self.store, self.limits, 0, self.bytes)?;
        }
        if self.read.found.len() >= MOST {
            return Err(Error::new(Kind::Malformed, "cannot import")
                .why(format!(
                    "there are more than {} conversations in it",
                    grouped(MOST)
                ))
                .hint("import them in parts: no backup would hold more"));
        }
        if !self.gathering.add(&found.id, lines)? {
            return Err(
                Error::new(Kind::Malformed, format!("{} comes twice", found.id))
                    .why("and one of the two has what the other has not")
                    .hint("import the files one after the other, the one to be kept first"),
            );
        }
        self.read.found.insert(found.id.clone(), found);
        Ok(())
    }
}

/// A conversation of another pachat: its file, byte for byte.
fn own(intake: &mut Intake<'_, '_>, lines: &[u8]) -> Result<()> {
    let malformed = |why: String| Error::new(Kind::Malformed, "cannot import").why(why);
    let conversation = Conversation::parse(lines).map_err(malformed)?;
    let id = conversation.id().clone();
    if let Some(fault) = conversation.faults.first() {
        intake.read.warnings.push(format!(
            "{id}: line {} cannot be read, and is kept as it is: {}",
            fault.line, fault.why
        ));
    }
    let found = Found {
        id,
        title: conversation.title().to_owned(),
        messages: conversation.all().count(),
        imported: conversation.header.imported,
    };
    intake.seen += 1;
    intake.take(found, lines)
}

#[cfg(test)]
mod tests;
