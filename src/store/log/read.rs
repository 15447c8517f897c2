//! Reading the log back, with what was put away.
//!
//! Takes no lock and creates nothing. A log that is put away at the same moment is read once
//! under one of its names; one that is compressed in that very moment may be read twice.

use std::io::{self, Read};

use flate2::read::MultiGzDecoder;
use jiff::Timestamp;

use super::rotation::{Rotated, rotated};
use crate::model::error::{Error, Result};
use crate::platform::disk::{Disk, File, Open};
use crate::store::Store;

/// Everything in the log that was not removed, oldest first, byte for byte. No log is an
/// empty one.
pub fn read(store: &Store) -> Result<Vec<u8>> {
    since(store, Timestamp::MIN)
}

/// The same without what was put away before `start`: all of it is older. Lines that are older
/// may be left at the beginning.
pub fn since(store: &Store, start: Timestamp) -> Result<Vec<u8>> {
    let directory = store.layout().logs_dir();
    let fail = |error: io::Error| Error::io("cannot read the log", &directory, &error);
    let disk = store.disk();
    // First, so that what is renamed from now on is seen under its new name or in here.
    let mut current = optional(disk.open(&store.layout().log(), Open::Read)).map_err(fail)?;
    let identity = match &current {
        Some(file) => file.stat().map_err(fail)?.identity,
        None => None,
    };
    let all = optional(rotated(disk, &directory)).map_err(fail)?;
    let mut all = all.unwrap_or_default();
    all.retain(|one| one.at >= start);
    let mut bytes = Vec::new();
    let limit = store.memory_limit();
    for one in &all {
        // Of two halves of a crash the compressed one counts.
        let double = !one.compressed
            && all
                .iter()
                .any(|other| other.compressed && other.at == one.at);
        if !double {
            let renamed = append(disk, one, identity, limit, &mut bytes).map_err(fail)?;
            if renamed {
                current = None;
            }
        }
    }
    if let Some(mut file) = current {
        add(&mut file, limit, &mut bytes).map_err(fail)?;
    }
    Ok(bytes)
}

/// Appends the content of a log. `true` if it is the one with that identity.
fn append(
    disk: &dyn Disk,
    one: &Rotated,
    identity: Option<(u64, u64)>,
    limit: u64,
    bytes: &mut Vec<u8>,
) -> io::Result<bool> {
    // One that has gone meanwhile was compressed or was too old.
    let opened = optional(disk.open(&one.path, Open::Read))?;
    let (mut file, compressed): (Box<dyn File>, bool) = match opened {
        Some(file) => (file, one.compressed),
        None if one.compressed => return Ok(false),
        None => {
            let mut path = one.path.clone().into_os_string();
            path.push(".gz");
            match optional(disk.open(path.as_ref(), Open::Read))? {
                Some(file) => (file, true),
                None => return Ok(false),
            }
        }
    };
    if compressed {
        add(&mut MultiGzDecoder::new(file), limit, bytes)?;
        return Ok(false);
    }
    add(&mut file, limit, bytes)?;
    Ok(identity.is_some() && file.stat()?.identity == identity)
}

/// Reads to the end, as long as all of it together fits into the memory that is allowed.
fn add(from: &mut dyn Read, limit: u64, bytes: &mut Vec<u8>) -> io::Result<()> {
    let room = limit.saturating_sub(bytes.len() as u64);
    from.take(room.saturating_add(1)).read_to_end(bytes)?;
    if bytes.len() as u64 > limit {
        let why = "the log is larger than limits.memory_mb allows";
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
    }
    Ok(())
}

fn optional<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
