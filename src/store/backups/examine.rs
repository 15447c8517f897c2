//! What is in the directory of backups besides sound pairs of archive and card.

use std::io;

use serde_json::Value;

use crate::model::error::describe;
use crate::store::Store;

use super::{Backup, CARD, CARD_VERSION, Card, LARGEST_CARD, card_path, id_of, is_id};

/// What a file in the directory of backups is, by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Named {
    /// An archive.
    Archive,
    /// The card of the backup with this id.
    Card(String),
    /// An archive or a card in the making.
    Draft,
    /// Nothing of pachat's.
    Other,
}

/// What a name says.
pub fn named(name: &str) -> Named {
    let is_draft = name.starts_with(".backup_") && name.strip_suffix(".tmp").is_some();
    match name.strip_suffix(CARD) {
        Some(id) if is_id(id) => Named::Card(id.to_owned()),
        _ if id_of(name).is_some() => Named::Archive,
        _ if is_draft => Named::Draft,
        _ => Named::Other,
    }
}

/// How the card of a backup is.
#[derive(Clone, Debug)]
pub enum OnCard {
    /// There is none.
    Missing,
    /// It cannot be read, for this reason.
    Unreadable(String),
    /// It is of this later version.
    Newer(u64),
    /// It is one of an archive of another length.
    OtherSize(Box<Card>),
    /// It fits.
    Fits(Box<Card>),
}

/// Looks at the card of a backup.
pub fn examine(store: &Store, backup: &Backup) -> OnCard {
    let bytes = match store
        .disk()
        .read(&card_path(store, &backup.id), LARGEST_CARD)
    {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return OnCard::Missing,
        Err(error) => return OnCard::Unreadable(describe(&error)),
    };
    let value: Value = match serde_json::from_slice(&bytes) {
        Ok(value) => value,
        Err(error) => return OnCard::Unreadable(format!("it is not JSON: {error}")),
    };
    if let Some(newer) = value.get("version").and_then(Value::as_u64)
        && newer > u64::from(CARD_VERSION)
    {
        return OnCard::Newer(newer);
    }
    match serde_json::from_value::<Card>(value) {
        Err(error) => OnCard::Unreadable(error.to_string()),
        Ok(card) if card.version != CARD_VERSION => {
            OnCard::Unreadable(format!("it has version {}", card.version))
        }
        Ok(card) if card.archive != backup.name() => {
            OnCard::Unreadable(format!("it is of another archive, {}", card.archive))
        }
        Ok(card) if card.size != backup.size => OnCard::OtherSize(Box::new(card)),
        Ok(card) => OnCard::Fits(Box::new(card)),
    }
}
