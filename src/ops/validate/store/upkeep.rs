//! Everything in the data directory that is not a conversation or an attachment: the format,
//! what a crash has left, the log, the index, and how much room there is.
//!
//! Layer: ops.

use std::io::{self, BufRead, BufReader, Read};

use flate2::read::MultiGzDecoder;

use crate::model::backup::Part;
use crate::model::error::{Kind, describe};
use crate::model::finding::{Finding, Severity};
use crate::model::log_line::LogLine;
use crate::model::size::{ByteSize, counted, grouped};
use crate::ops::room::{self, Room, is_near, remedy_for_conversations, remedy_for_storage};
use crate::platform::disk::Open;
use crate::store::index::{Facts, Index};
use crate::store::parts::PartFile;
use crate::store::{FORMAT, Store, partial};

use super::conversation::Outcome;
use super::{Counts, Limits, files};

/// The longest line of a log that is looked at, in bytes.
const LONGEST_LOG_LINE: u64 = 1 << 20;

/// What VERSION says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// This program knows it, or will see.
    Readable,
    /// There is nothing to read.
    Missing,
    /// What the files say may be something else than it seems.
    Newer,
}

/// Looks at the data directory and its format.
pub(super) fn look_at_format(store: &Store, found: &mut Vec<Finding>) -> Format {
    let root = store.layout().root();
    let shown = root.display().to_string();
    match store.disk().read_dir(root) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if let Err(error) = store.check_format() {
                found.push(Finding::new(
                    "store.unreadable",
                    Severity::Error,
                    shown,
                    error.headline(),
                    error.hint_text().unwrap_or_default(),
                ));
                return Format::Missing;
            }
            found.push(Finding::new(
                "store.missing",
                Severity::Note,
                shown,
                "there is no data directory yet",
                "the first conversation makes it: pachat chat; if you expected one here, see where it is looked for: pachat config path",
            ));
            return Format::Missing;
        }
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            found.push(Finding::new(
                "store.not-a-directory",
                Severity::Error,
                shown,
                "a file stands where the data directory belongs",
                "move it away, or name another place with --data-dir or PACHAT_DATA_DIR",
            ));
            return Format::Missing;
        }
        Err(error) => {
            found.push(super::unreadable(&shown, &error));
            return Format::Missing;
        }
        Ok(entries) if entries.is_empty() => return Format::Missing,
        Ok(_) => {}
    }
    version(store, found)
}

fn version(store: &Store, found: &mut Vec<Finding>) -> Format {
    let bytes = match store.disk().read(&store.layout().version(), 64) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let has_data = Part::ALL.into_iter().any(|part| {
                let entries = store.disk().read_dir(&store.part_dir(part));
                entries.is_ok_and(|entries| !entries.is_empty())
            });
            // Settings can be there before the first conversation.
            let is_used = has_data && store.disk().stat(&store.layout().active_dir()).is_ok();
            if is_used {
                found.push(
                    Finding::new(
                        "store.version-missing",
                        Severity::Warning,
                        "VERSION",
                        "it is missing, so a newer pachat could not tell what it finds here",
                        format!("have format {FORMAT} written into it: pachat validate --fix"),
                    )
                    .fixable(),
                );
            }
            return Format::Readable;
        }
        Err(error) => {
            found.push(super::unreadable("VERSION", &error));
            return Format::Readable;
        }
    };
    let text = String::from_utf8_lossy(&bytes);
    match text.trim().parse::<u32>() {
        Ok(newer) if newer > FORMAT => {
            found.push(Finding::new(
                "store.version-newer",
                Severity::Error,
                "VERSION",
                format!("the data directory has format {newer}, and this pachat knows formats up to {FORMAT}; nothing else of it was looked at"),
                "install the current version of pachat",
            ));
            Format::Newer
        }
        Ok(older) if older < FORMAT => {
            found.push(Finding::new(
                "store.version-older",
                Severity::Warning,
                "VERSION",
                format!(
                    "the data directory has format {older}, and this pachat writes format {FORMAT}"
                ),
                "the next command that writes brings it up to date, after a rollback point",
            ));
            Format::Readable
        }
        Ok(_) => Format::Readable,
        Err(_) => {
            found.push(Finding::new(
                "store.version-unreadable",
                Severity::Error,
                "VERSION",
                "it holds no number, so no command dares to change anything",
                format!("if this is pachat's own directory, write {FORMAT} into the file"),
            ));
            Format::Readable
        }
    }
}

/// What a restore or a rollback has left that is not under way.
pub(super) fn look_for_swap(store: &Store, found: &mut Vec<Finding>) {
    let layout = store.layout();
    let is_there = store.disk().stat(&layout.swap_dir()).is_ok();
    if !is_there || files::is_held(store, &layout.swap_lock()) {
        return;
    }
    let (cause, remedy) = if store.is_half_swapped() {
        (
            "a restore or rollback was interrupted, and its last steps could not be done: parts of the data may be missing from their places",
            "have them done where and as somebody who may write here: pachat validate --fix",
        )
    } else {
        (
            "a restore or rollback was interrupted before it changed anything, and left what it had unpacked",
            "remove it: pachat validate --fix",
        )
    };
    let severity = Severity::Warning;
    found.push(Finding::new("store.swap", severity, ".swap", cause, remedy).fixable());
}

/// The side file of a reply. `conversation` is what its conversation turned out to be.
pub(super) fn look_at_side_file(
    store: &Store,
    file: &PartFile,
    id: &crate::model::id::ConversationId,
    conversation: Option<&Outcome>,
) -> Option<Finding> {
    let path = super::path_of(file);
    if store.is_busy(id) {
        return Some(super::busy(id));
    }
    let whole = store.part_file(file.part, &file.name);
    let bytes = match store.disk().read(&whole, 1 << 30) {
        Ok(bytes) => bytes,
        // It was folded in meanwhile.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => return Some(super::unreadable(&path, &error)),
    };
    // A turn may have begun after the first look.
    if store.is_busy(id) || store.disk().stat(&whole).is_err() {
        return None;
    }
    let Some(outcome) = conversation else {
        return Some(Finding::new(
            "store.side-file-alone",
            Severity::Warning,
            path,
            "it holds an interrupted reply, and its conversation is not in use",
            format!(
                "if the conversation is archived, opening it folds the reply in: pachat chat -C {id}; else keep what you need of the text and remove the file"
            ),
        ));
    };
    let remains = partial::parse(&bytes);
    let (code, cause) = if remains.damaged {
        (
            "store.side-file-damaged",
            "it holds an interrupted reply, and bytes that make no sense",
        )
    } else {
        (
            "store.side-file",
            "a reply was interrupted by a crash, and what had arrived is not yet part of its conversation",
        )
    };
    let is_repairable = super::is_repairable(outcome, id);
    let remedy = if !is_repairable {
        "the conversation cannot be read; keep the file until it can".to_owned()
    } else if remains.damaged {
        "fold in what can be read and keep the rest in the quarantine: pachat validate --fix"
            .to_owned()
    } else {
        "fold it in: pachat validate --fix; the next prompt does so, too".to_owned()
    };
    let mut finding = Finding::new(code, Severity::Warning, path, cause, remedy);
    finding.fixable = is_repairable;
    Some(finding)
}

/// Whether the index says of a conversation what its file says.
pub(super) fn is_known_rightly(known: &Facts, outcome: &Outcome) -> bool {
    let Some(head) = outcome.header.as_deref() else {
        return false;
    };
    known.id == head.id
        && known.created_at == head.created_at
        && Some(known.updated_at) == outcome.updated_at
        && u64::from(known.messages) == outcome.messages
        && u64::from(known.faults) == outcome.faults
        && known.parent.as_ref() == head.parent.as_ref().map(|parent| &parent.id)
}

/// The index as it is kept, if it can be used.
pub(super) fn index(store: &Store, found: &mut Vec<Finding>) -> Option<Index> {
    match Index::read(store) {
        Ok(index) => index,
        Err(error) if error.kind() == Kind::Malformed => {
            found.push(stale_index(&format!("it is damaged: {}", error.headline())));
            None
        }
        Err(error) => {
            found.push(super::failed(INDEX, &error));
            None
        }
    }
}

/// Where the index is.
pub(super) const INDEX: &str = "cache/conversations.jsonl";

/// The index is wrong for this reason.
pub(super) fn stale_index(why: &str) -> Finding {
    Finding::new(
        "store.index",
        Severity::Note,
        INDEX,
        why,
        "have it made anew: pachat validate --fix; no conversation depends on it",
    )
    .fixable()
}

/// Logs, and what is in the quarantine.
pub(super) fn look_at_others(store: &Store, others: &[PartFile], found: &mut Vec<Finding>) {
    let quarantined = others.iter().filter(|file| file.part == Part::Quarantine);
    let (count, bytes) =
        quarantined.fold((0, 0), |(count, bytes), file| (count + 1, bytes + file.len));
    if count > 0 {
        found.push(Finding::new(
            "store.quarantine",
            Severity::Note,
            Part::Quarantine.path(),
            format!(
                "repairs took {} out of {} and kept them here",
                ByteSize(bytes),
                counted(count, "file")
            ),
            "look at them; what is worth nothing can be removed by hand, pachat never does it",
        ));
    }
    for file in others.iter().filter(|file| file.part == Part::Logs) {
        look_at_log(store, file, found);
    }
}

fn look_at_log(store: &Store, file: &PartFile, found: &mut Vec<Finding>) {
    let path = super::path_of(file);
    let opened = store
        .disk()
        .open(&store.part_file(file.part, &file.name), Open::Read);
    let input = match opened {
        Ok(input) => input,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return,
        Err(error) => return found.push(super::unreadable(&path, &error)),
    };
    let packed = super::is_packed(&file.name);
    let read = if packed {
        odd_lines(MultiGzDecoder::new(input))
    } else {
        odd_lines(input)
    };
    match read {
        Ok((0, _)) => {}
        Ok((count, first)) => found.push(
            Finding::new(
                "store.log-line",
                Severity::Note,
                path,
                format!(
                    "{} of it cannot be read as what pachat writes, as after a crash",
                    grouped(count) + if count == 1 { " line" } else { " lines" }
                ),
                "nothing needs to be done: statistics pass it over",
            )
            .at_line(first),
        ),
        Err(error) if packed => found.push(Finding::new(
            "store.log-damaged",
            Severity::Note,
            path,
            format!("it cannot be unpacked to its end: {}", describe(&error)),
            "keep what zcat gives of it, and remove it",
        )),
        Err(error) => found.push(super::unreadable(&path, &error)),
    }
}

/// How many lines of a log cannot be read, and the first of them. A last line that is cut is
/// still being written.
fn odd_lines(input: impl Read) -> io::Result<(usize, u64)> {
    let mut reader = BufReader::with_capacity(64 << 10, input);
    let (mut count, mut first, mut number) = (0, 0, 0);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = (&mut reader)
            .take(LONGEST_LOG_LINE)
            .read_until(b'\n', &mut line)?;
        if read == 0 || (line.last() != Some(&b'\n') && (read as u64) < LONGEST_LOG_LINE) {
            return Ok((count, first));
        }
        number += 1;
        let text = std::str::from_utf8(&line)
            .unwrap_or("?")
            .trim_end_matches('\n');
        if !text.is_empty() && text.parse::<LogLine>().is_err() {
            count += 1;
            if count == 1 {
                first = number;
            }
        }
    }
}

/// Counts and sizes against the limits, and the room that is left.
pub(super) fn look_at_room(
    store: &Store,
    counts: &Counts,
    active: u64,
    limits: &Limits,
    found: &mut Vec<Finding>,
) {
    let root = store.layout().root();
    if is_near(counts.storage, limits.storage.0) {
        found.push(Finding::new(
            "store.storage-limit",
            Severity::Warning,
            "limits.storage_mb",
            format!(
                "the data directory has {} of {}",
                ByteSize(counts.storage),
                limits.storage
            ),
            remedy_for_storage(counts.storage, limits.storage.0),
        ));
    }
    if is_near(active, limits.conversations) {
        let remedy = remedy_for_conversations(active, limits.conversations);
        let active = usize::try_from(active).unwrap_or(usize::MAX);
        let limit = usize::try_from(limits.conversations).unwrap_or(usize::MAX);
        found.push(Finding::new(
            "store.count-limit",
            Severity::Warning,
            "limits.conversations",
            format!(
                "{} of {} are in use",
                counted(active, "conversation"),
                grouped(limit)
            ),
            remedy,
        ));
    }
    let system = store.disk().file_system(root).unwrap_or_default();
    // Where nothing can be written, room helps nobody; that is told of the machine.
    if let Some(free) = system.free
        && system.read_only != Some(true)
        && room::for_bytes(&system) != Room::Enough
    {
        found.push(Finding::new(
            "store.space",
            Severity::Warning,
            root.display().to_string(),
            format!("only {} are free on this disk", ByteSize(free)),
            "free some space; what pachat can give back: pachat cleanup --dry-run",
        ));
    }
}
