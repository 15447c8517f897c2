//! What people write on a backup that is there already.

use crate::model::error::{Error, Kind, Result};
use crate::store::Store;
use crate::store::backups::{self, Backup};
use crate::store::lock::Patience;

use super::Labels;

/// Pins or unpins a backup; whether that changed anything.
pub fn pin(
    store: &Store,
    spec: &str,
    pinned: bool,
    patience: &mut Patience<'_>,
) -> Result<(Backup, bool)> {
    // Before the lock, which would create a directory for nothing.
    backups::find(store, spec)?;
    let _lock = backups::lock(store, patience)?;
    let mut backup = backups::find(store, spec)?;
    let Some(card) = &mut backup.card else {
        return Err(Error::new(Kind::Usage, "cannot pin the backup")
            .why("nobody has verified it, and nothing removes such a backup anyway")
            .path(&backup.path)
            .hint(format!(
                "verify it: pachat restore {} --verify-only",
                backup.id
            )));
    };
    let changes = card.pinned != pinned;
    if changes {
        card.pinned = pinned;
        backups::put_card(store, card)?;
    }
    Ok((backup, changes))
}

/// Adds labels to the card of a backup that is there already.
pub(super) fn add(store: &Store, mut backup: Backup, labels: &Labels) -> Result<(Backup, bool)> {
    let Some(card) = &mut backup.card else {
        return Ok((backup, false));
    };
    let before = card.clone();
    for tag in &labels.tags {
        if !card.tags.contains(tag) {
            card.tags.push(tag.clone());
        }
    }
    if labels.note.is_some() {
        card.note.clone_from(&labels.note);
    }
    card.pinned |= labels.pinned;
    let changes = *card != before;
    if changes {
        backups::put_card(store, card)?;
    }
    Ok((backup, changes))
}
