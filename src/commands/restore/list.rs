//! `restore --list` and `--verify-only`: which backups there are, what is in one, and whether
//! it is whole.
//!
//! Layer: commands. A list reads cards only, so that a thousand backups are listed at once.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde_json::{Value as Json, json};

use crate::archive::manifest::Manifest;
use crate::context::Context;
use crate::model::error::{Error, Kind, Result};
use crate::model::size::{ByteSize, counted};
use crate::model::time;
use crate::ops::restore;
use crate::store::Store;
use crate::store::backups::{self, Backup, Card};
use crate::term::table::{self, Align, Column};

use super::super::list::when;
use super::super::waiting::{Watcher, with_patience};
use super::RestoreArgs;
use super::open::Opened;

/// Prints the backups, newest first.
pub(super) fn backups(as_json: bool, store: &Store, context: &mut Context) -> Result<()> {
    let backups = backups::list(store)?;
    if as_json {
        let backups: Vec<Json> = backups.iter().map(entry).collect();
        let document = json!({"schema": 1, "backups": backups});
        return context.ui.data(format!("{document}\n").as_bytes());
    }
    if !context.ui.stdout_is_terminal() {
        let rows: Vec<Vec<String>> = backups.iter().map(row).collect();
        return context.ui.data(table::tsv(&rows).as_bytes());
    }
    if backups.is_empty() {
        context.ui.note("no backups yet; make one: pachat backup");
        return Ok(());
    }
    print_table(&backups, context)
}

/// When a backup was made: its card knows, and its id nearly so.
fn made(backup: &Backup) -> Option<Timestamp> {
    let stamp = backup.id.strip_prefix("backup_")?;
    if let Some(card) = &backup.card {
        return Some(card.created_at);
    }
    let at = DateTime::strptime("%Y%m%d_%H%M%S", stamp).ok()?;
    Some(at.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

fn is_encrypted(backup: &Backup) -> bool {
    backup.path.extension().is_some_and(|end| end == "age")
}

fn entry(backup: &Backup) -> Json {
    let card = backup.card.as_ref();
    json!({
        "id": backup.id,
        "created_at": made(backup).map(time::format),
        "type": card.map(|card| card.kind.as_str()),
        "files": card.map(|card| card.files),
        "total_bytes": card.map(|card| card.total_bytes),
        "size": backup.size,
        "encrypted": is_encrypted(backup),
        "verified_at": card.and_then(|card| card.verified_at).map(time::format),
        "pinned": card.is_some_and(|card| card.pinned),
        "tags": card.map_or(&[][..], |card| &card.tags),
        "note": card.and_then(|card| card.note.as_deref()),
        "path": backup.path.to_string_lossy(),
    })
}

fn yes(flag: bool) -> String {
    if flag { "yes" } else { "no" }.to_owned()
}

fn row(backup: &Backup) -> Vec<String> {
    let card = backup.card.as_ref();
    let of = |get: &dyn Fn(&Card) -> String| card.map(get).unwrap_or_default();
    vec![
        backup.id.clone(),
        made(backup).map(time::format).unwrap_or_default(),
        of(&|card| card.kind.to_string()),
        of(&|card| card.files.to_string()),
        of(&|card| card.total_bytes.to_string()),
        backup.size.to_string(),
        yes(is_encrypted(backup)),
        card.and_then(|card| card.verified_at)
            .map_or_else(|| yes(false), time::format),
        yes(card.is_some_and(|card| card.pinned)),
        of(&|card| card.tags.join(",")),
        of(&|card| card.note.clone().unwrap_or_default()),
    ]
}

fn print_table(backups: &[Backup], context: &mut Context) -> Result<()> {
    let column = |name, align| Column { name, align };
    let columns = [
        column("ID", Align::Left),
        column("MADE", Align::Left),
        column("TYPE", Align::Left),
        column("FILES", Align::Right),
        column("BYTES", Align::Right),
        column("SIZE", Align::Right),
        column("VERIFIED", Align::Left),
        column("ABOUT", Align::Left),
    ];
    let (now, zone) = (context.clock.now(), context.clock.zone());
    let shown = |at: Timestamp| when(at, now, &zone);
    let rows: Vec<Vec<String>> = backups
        .iter()
        .map(|backup| {
            let card = backup.card.as_ref();
            let of = |get: &dyn Fn(&Card) -> String| card.map_or_else(|| "?".into(), get);
            let verified = card.and_then(|card| card.verified_at);
            vec![
                backup.id.clone(),
                made(backup).map(shown).unwrap_or_default(),
                of(&|card| card.kind.to_string()),
                of(&|card| card.files.to_string()),
                of(&|card| ByteSize(card.total_bytes).to_string()),
                ByteSize(backup.size).to_string(),
                verified.map_or_else(|| yes(false), shown),
                about(backup),
            ]
        })
        .collect();
    table::print(&mut context.ui, &columns, &rows)
}

/// What few backups have, in one column: encrypted, pinned, tags, the note.
fn about(backup: &Backup) -> String {
    let mut words = Vec::new();
    if is_encrypted(backup) {
        words.push("encrypted".to_owned());
    }
    if let Some(card) = &backup.card {
        if card.pinned {
            words.push("pinned".to_owned());
        }
        words.extend(card.tags.iter().map(|tag| format!("#{tag}")));
        words.extend(card.note.clone());
    }
    words.join(" ")
}

/// Verifies an archive, and prints what is in it, or only that it is whole. The card of a
/// backup is brought up to date.
pub(super) fn verify(
    args: &RestoreArgs,
    store: &Store,
    opened: &mut Opened,
    context: &mut Context,
) -> Result<()> {
    let mut watcher = Watcher::new(context);
    let verified = restore::verify(store, opened.source(), &mut watcher);
    drop(watcher);
    let manifest = verified.map_err(|error| opened.blame(error))?;
    if args.list {
        return print_files(args.json, opened, &manifest, context);
    }
    if let Some(backup) = opened.backup.clone() {
        let updated = update(&backup, &manifest, store, opened, context);
        // It is whole, also where that cannot be written down: on a medium for reading only,
        // or while another pachat is at work.
        match updated {
            Err(error) if matches!(error.kind(), Kind::Io | Kind::CannotCreate | Kind::Busy) => {
                let why = error.headline();
                let line = format!("that it was verified cannot be written down: {why}");
                context.ui.warn(&line);
            }
            other => other?,
        }
    }
    let (files, bytes) = (manifest.files.len(), manifest.total_bytes());
    let text = if args.json {
        let document = json!({
            "schema": 1,
            "backup": opened.name,
            "verified": true,
            "type": manifest.kind.as_str(),
            "created_at": time::format(manifest.created_at),
            "encrypted": opened.is_sealed(),
            "files": files,
            "total_bytes": bytes,
        });
        format!("{document}\n")
    } else {
        let (files, bytes) = (counted(files, "file"), ByteSize(bytes));
        format!("{}: verified: {files}, {bytes}\n", opened.name)
    };
    context.ui.text(&text)
}

/// Compares the archive with its card, and writes down that it was verified; makes a card that
/// is missing anew.
fn update(
    backup: &Backup,
    manifest: &Manifest,
    store: &Store,
    opened: &Opened,
    context: &mut Context,
) -> Result<()> {
    let (size, sha256) = opened.digest();
    if let Some(card) = &backup.card
        && (card.size, card.sha256) != (size, sha256)
    {
        return Err(
            Error::new(Kind::Malformed, "the backup is not what was written")
                .why("what is in it is consistent, but it is another file than its card tells of")
                .path(&backup.path)
                .hint(
                    "if you have put it there yourself, remove its .json file and verify it again",
                ),
        );
    }
    let card = Card {
        verified_at: Some(context.clock.now()),
        ..match &backup.card {
            Some(card) => card.clone(),
            None => Card {
                version: backups::CARD_VERSION,
                archive: backup.name().to_owned(),
                kind: manifest.kind,
                created_at: manifest.created_at,
                files: manifest.files.len() as u64,
                total_bytes: manifest.total_bytes(),
                size,
                sha256,
                content: manifest.content(),
                encrypted: opened.is_sealed(),
                recipients: Vec::new(),
                tags: manifest.tags.clone(),
                note: manifest.note.clone(),
                pinned: false,
                verified_at: None,
            },
        }
    };
    with_patience(context, |patience| {
        let _lock = backups::lock(store, patience)?;
        // Retention may have removed it meanwhile, and a pin may have been set.
        match backups::find(store, backup.name()) {
            Err(error) if error.kind() == Kind::NotFound => Ok(()),
            Err(error) => Err(error),
            Ok(now) => {
                let pinned = now.card.map_or(card.pinned, |card| card.pinned);
                backups::put_card(store, &Card { pinned, ..card })
            }
        }
    })
}

fn print_files(
    as_json: bool,
    opened: &Opened,
    manifest: &Manifest,
    context: &mut Context,
) -> Result<()> {
    if as_json {
        let files: Vec<Json> = manifest
            .files
            .iter()
            .map(|file| {
                json!({
                    "path": file.path.as_str(),
                    "size": file.size,
                    "sha256": file.sha256,
                    "damaged": file.damaged,
                })
            })
            .collect();
        let document = json!({
            "schema": 1,
            "backup": opened.name,
            "type": manifest.kind.as_str(),
            "created_at": time::format(manifest.created_at),
            "encrypted": opened.is_sealed(),
            "tags": manifest.tags,
            "note": manifest.note,
            "files": files,
        });
        return context.ui.data(format!("{document}\n").as_bytes());
    }
    let rows: Vec<Vec<String>> = manifest
        .files
        .iter()
        .map(|file| {
            vec![
                file.sha256.to_string(),
                file.size.to_string(),
                file.path.to_string(),
            ]
        })
        .collect();
    if !context.ui.stdout_is_terminal() {
        return context.ui.data(table::tsv(&rows).as_bytes());
    }
    // A digest would leave no room for the path.
    let rows: Vec<Vec<String>> = rows.into_iter().map(|row| row[1..].to_vec()).collect();
    let columns = [
        Column {
            name: "SIZE",
            align: Align::Right,
        },
        Column {
            name: "FILE",
            align: Align::Left,
        },
    ];
    table::print(&mut context.ui, &columns, &rows)
}
