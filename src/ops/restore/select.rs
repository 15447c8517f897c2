//! Which files of an archive were asked for.
//!
//! Layer: ops. Pure.

use std::collections::BTreeSet;

use glob::Pattern;

use crate::archive::manifest::{Entry, Manifest};
use crate::archive::path::ArchivePath;
use crate::model::error::{Error, Kind, Result};
use crate::model::id::{ConversationId, SHORTEST_PREFIX};

use super::plan;

/// What was asked for; everything where both lists are empty.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Conversations: whole ids, or the beginnings of their last parts.
    pub conversations: Vec<String>,
    /// Patterns of paths in the archive. A `*` stands for slashes, too.
    pub include: Vec<Pattern>,
}

impl Selection {
    /// Whether everything was asked for.
    pub fn is_everything(&self) -> bool {
        self.conversations.is_empty() && self.include.is_empty()
    }

    /// The files of the archive that were asked for, the key file among them. All files of a
    /// conversation go together. What names nothing in the archive is an error.
    pub fn resolve(&self, manifest: &Manifest) -> Result<Vec<Entry>> {
        if self.is_everything() {
            return Ok(manifest.files.clone());
        }
        let known = conversations(manifest);
        let mut ids = BTreeSet::new();
        for spec in &self.conversations {
            ids.insert(find(spec, &known)?);
        }
        let mut paths: BTreeSet<&ArchivePath> = BTreeSet::new();
        for pattern in &self.include {
            let mut matching = manifest
                .files
                .iter()
                .filter(|entry| pattern.matches(entry.path.as_str()))
                .peekable();
            if matching.peek().is_none() {
                return Err(Error::new(
                    Kind::NotFound,
                    format!("the backup has no file that `{pattern}` names"),
                )
                .hint(
                    "see its files: pachat restore BACKUP --list; a pattern names the whole path, such as 'config/*'",
                ));
            }
            for entry in matching {
                paths.insert(&entry.path);
                ids.extend(conversation(entry));
            }
        }
        let chosen = |entry: &&Entry| {
            paths.contains(&entry.path) || conversation(entry).is_some_and(|id| ids.contains(&id))
        };
        Ok(manifest.files.iter().filter(chosen).cloned().collect())
    }
}

/// The conversation that a file of an archive belongs to.
fn conversation(entry: &Entry) -> Option<ConversationId> {
    plan::conversation(entry.path.part()?, entry.path.name())
}

fn conversations(manifest: &Manifest) -> BTreeSet<ConversationId> {
    let texts = manifest
        .files
        .iter()
        .filter(|entry| entry.path.as_str().contains(".jsonl"));
    texts.filter_map(conversation).collect()
}

/// The conversation that `spec` names among those of an archive. It never guesses.
fn find(spec: &str, known: &BTreeSet<ConversationId>) -> Result<ConversationId> {
    let lower = spec.trim().to_ascii_lowercase();
    let named = |id: &&ConversationId| {
        id.as_str() == lower || (lower.len() >= SHORTEST_PREFIX && id.short().starts_with(&lower))
    };
    let found: Vec<&ConversationId> = known.iter().filter(named).collect();
    match found.as_slice() {
        [id] => Ok((*id).clone()),
        [] => Err(unknown(spec, known)),
        several => Err(Error::new(
            Kind::Usage,
            format!("`{spec}` names {} conversations", several.len()),
        )
        .cause(names(several.iter().copied()))
        .hint("type more of the last part of the id")),
    }
}

fn unknown(spec: &str, known: &BTreeSet<ConversationId>) -> Error {
    let error = Error::new(
        Kind::NotFound,
        format!("the backup has no conversation `{spec}`"),
    );
    if known.is_empty() {
        return error
            .why("it has none at all")
            .hint("see what each backup holds: pachat restore --list");
    }
    error
        .cause(format!("it has {}", names(known.iter().rev())))
        .hint("type three characters or more of the last part of an id")
}

fn names<'a>(ids: impl ExactSizeIterator<Item = &'a ConversationId>) -> String {
    const SHOWN: usize = 5;
    let more = ids.len().saturating_sub(SHOWN);
    let mut names: Vec<String> = ids.take(SHOWN).map(ToString::to_string).collect();
    if more > 0 {
        names.push(format!("and {more} more"));
    }
    names.join(", ")
}
