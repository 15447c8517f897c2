//! What people write on a backup: tags, a note, a pin.

use crate::context::Context;
use crate::model::error::{Error, Kind, Result};
use crate::model::log_line::Audit;
use crate::ops::backup::{self, Labels};
use crate::ops::journal;

use super::BackupArgs;

/// The longest tag and the longest note, in bytes. They stand in the manifest and on a card.
const LONGEST_TAG: usize = 100;
const LONGEST_NOTE: usize = 2000;
/// The most tags.
const MOST_TAGS: usize = 100;

/// The labels on the command line.
pub(super) fn labels(args: &BackupArgs) -> Result<Labels> {
    let refuse = |why: String| {
        Err(Error::new(Kind::Usage, "cannot label the backup")
            .why(why)
            .hint("keep it short: pachat backup --tag before-the-move"))
    };
    let mut tags: Vec<String> = Vec::new();
    for tag in &args.tags {
        let tag = tag.trim();
        if tag.is_empty() || tag.len() > LONGEST_TAG || tag.contains(char::is_control) {
            return refuse(format!(
                "a tag is one line of at most {LONGEST_TAG} bytes that is not empty"
            ));
        }
        if !tags.iter().any(|known| known == tag) {
            tags.push(tag.to_owned());
        }
    }
    if tags.len() > MOST_TAGS {
        return refuse(format!("there are at most {MOST_TAGS} tags"));
    }
    let note = args.note.as_deref().map(str::trim);
    let note = note.filter(|note| !note.is_empty());
    if note.is_some_and(|note| note.len() > LONGEST_NOTE) {
        return refuse(format!("a note has at most {LONGEST_NOTE} bytes"));
    }
    Ok(Labels {
        tags,
        note: note.map(str::to_owned),
        pinned: args.pin,
    })
}

/// Carries out `backup pin` and `backup unpin`.
pub(super) fn pin(spec: &str, pinned: bool, context: &mut Context) -> Result<()> {
    let (backup, changed) = super::watched(context, |store, patience, _| {
        store.check()?;
        backup::pin(store, spec, pinned, patience)
    })?;
    let id = &backup.id;
    let line = match (pinned, changed) {
        (true, true) => {
            format!("{id} is pinned: no rule removes it; undo: pachat backup unpin {id}")
        }
        (true, false) => format!("{id} is pinned already"),
        (false, true) => {
            format!("{id} is no longer pinned; undo: pachat backup pin {id}")
        }
        (false, false) => format!("{id} is not pinned"),
    };
    if changed {
        let action = if pinned { "backup pin" } else { "backup unpin" };
        journal::audit(&context.log, Audit::new(action).with("backup", id));
    }
    context.ui.note(&line);
    Ok(())
}
