//! Removing the backups that no rule keeps.
//!
//! The backups of one type are judged by themselves. One that nobody has verified is not
//! judged at all: it may be the only one that holds something, so people have to look.

use std::collections::HashSet;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::model::backup::BackupType;
use crate::model::error::{Error, Result};
use crate::ops::retention::{self, Candidate, Rules, Verdict};
use crate::store::Store;
use crate::store::backups::{self, Backup};
use crate::store::lock::Patience;

use super::Job;

/// What became of the backups of a type.
#[derive(Debug, Default)]
pub struct Pruned {
    /// The verdicts, from the newest to the oldest.
    pub verdicts: Vec<Verdict>,
    /// The ids of those that were removed.
    pub removed: Vec<String>,
    /// Why one that should go could not be removed. The new backup is there all the same.
    pub trouble: Option<Error>,
}

/// Removes what no rule keeps. The caller holds the lock of backups, and has just `made` one.
pub(super) fn prune(store: &Store, job: &Job, made: &str) -> Pruned {
    let mut pruned = Pruned::default();
    let listed = match backups::list(store) {
        Ok(listed) => listed,
        Err(error) => {
            pruned.trouble = Some(error);
            return pruned;
        }
    };
    let mut candidates = candidates(&listed, job.subject.kind);
    for candidate in &mut candidates {
        candidate.fresh = candidate.id == made;
    }
    pruned.verdicts = retention::judge(&candidates, &job.rules, &job.zone);
    for verdict in pruned.verdicts.iter().filter(|verdict| !verdict.stays()) {
        let named = listed.iter().filter(|backup| backup.id == verdict.id);
        // Of two archives of one second only the one with the card was judged.
        let Some(backup) = named.into_iter().find(|backup| backup.card.is_some()) else {
            continue;
        };
        match backups::remove(store, backup) {
            Ok(()) => pruned.removed.push(backup.id.clone()),
            Err(error) => pruned.trouble = Some(error),
        }
    }
    pruned
}

/// The verified backups that no rule keeps as things stand, of all types.
pub fn expired(store: &Store, rules: &Rules, zone: &TimeZone) -> Result<Vec<Backup>> {
    let listed = backups::list(store)?;
    let mut goes: HashSet<String> = HashSet::new();
    for kind in BackupType::ALL {
        let verdicts = retention::judge(&candidates(&listed, kind), rules, zone);
        let verdicts = verdicts.into_iter().filter(|verdict| !verdict.stays());
        goes.extend(verdicts.map(|verdict| verdict.id));
    }
    let mut expired = listed;
    // Of two archives of one second only the one with the card was judged.
    expired.retain(|backup| backup.card.is_some() && goes.contains(&backup.id));
    Ok(expired)
}

/// Removes the backup with this id, if the rules still do not keep it; whether it did. Waits
/// for whoever makes one.
pub fn remove_expired(
    store: &Store,
    id: &str,
    rules: &Rules,
    zone: &TimeZone,
    patience: &mut Patience<'_>,
) -> Result<bool> {
    let _lock = backups::lock(store, patience)?;
    let expired = expired(store, rules, zone)?;
    match expired.iter().find(|backup| backup.id == id) {
        Some(backup) => backups::remove(store, backup).map(|()| true),
        None => Ok(false),
    }
}

/// What the rules would say once there is another backup, made `coming`.
pub fn forecast(
    store: &Store,
    kind: BackupType,
    coming: Timestamp,
    pinned: bool,
    rules: &Rules,
    zone: &TimeZone,
) -> Result<Vec<Verdict>> {
    let mut candidates = candidates(&backups::list(store)?, kind);
    candidates.push(Candidate {
        id: backups::id_at(coming),
        at: coming,
        pinned,
        fresh: true,
    });
    Ok(retention::judge(&candidates, rules, zone))
}

fn candidates(listed: &[Backup], kind: BackupType) -> Vec<Candidate> {
    listed
        .iter()
        .filter_map(|backup| {
            let card = backup.card.as_ref()?;
            let judged = card.kind == kind && card.verified_at.is_some();
            judged.then(|| Candidate {
                id: backup.id.clone(),
                at: card.created_at,
                pinned: card.pinned,
                fresh: false,
            })
        })
        .collect()
}
