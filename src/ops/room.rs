//! How much is kept, how much room is left, and from where on that is worth a word.
//!
//! Layer: ops. Promise: whoever warns of room (`send`, `health`, `validate`, `cleanup`) counts
//! and judges here, so that none of them says what another denies.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use crate::platform::Disk;
use crate::platform::disk::{FileKind, FileSystem, Stat};

/// From this share of a limit on there is a warning, in percent.
const NEAR: u64 = 80;
/// Less free space than this is little on any disk, in bytes.
const LITTLE: u64 = 100_000_000;
/// And so is less than one part in so many of the disk.
const SHARE: u64 = 20;
/// But this is enough on any disk, in bytes.
const ENOUGH: u64 = 1_000_000_000;
/// With less than this, nothing works for long, in bytes.
const NEXT_TO_NOTHING: u64 = 10_000_000;
/// So few more files are made in an afternoon.
const FEW_FILES: u64 = 1_000;

/// Whether so much of a limit is used that somebody should know.
pub fn is_near(used: u64, limit: u64) -> bool {
    u128::from(used) * 100 >= u128::from(limit) * u128::from(NEAR)
}

/// A limit that would be far enough away, for whoever wants to allow more.
pub fn ample(used: u64, limit: u64) -> u64 {
    used.max(limit).saturating_mul(2)
}

/// What helps where there are too many conversations in use.
pub fn remedy_for_conversations(used: u64, limit: u64) -> String {
    format!(
        "archive the oldest: pachat cleanup --max-count {}; or allow more: pachat config set limits.conversations {}",
        limit / 2,
        ample(used, limit)
    )
}

/// What helps where the data directory is too large, in bytes.
pub fn remedy_for_storage(used: u64, limit: u64) -> String {
    format!(
        "see what can go: pachat cleanup --dry-run; or allow more: pachat config set limits.storage_mb {}",
        ample(used, limit) / 1_000_000
    )
}

/// How much room a file system has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Room {
    /// Nobody needs to think of it.
    Enough,
    /// It is time to make some.
    Little,
    /// What is written next may not fit.
    None,
}

/// How much room there is for bytes. What the platform does not tell is enough.
pub fn for_bytes(system: &FileSystem) -> Room {
    let share = system.total.map_or(0, |total| (total / SHARE).min(ENOUGH));
    match system.free {
        Some(free) if free < NEXT_TO_NOTHING => Room::None,
        Some(free) if free < LITTLE.max(share) => Room::Little,
        _ => Room::Enough,
    }
}

/// Whether there is hardly room for more files, whatever their size.
pub fn is_short_of_files(system: &FileSystem) -> bool {
    system.free_files.is_some_and(|files| files < FEW_FILES)
}

/// The bytes of files. One with several names counts once, so rollback points cost next to
/// nothing as long as what they hold is elsewhere, too.
#[derive(Default)]
pub struct Tally {
    seen: HashSet<(u64, u64)>,
    files: u64,
    bytes: u64,
}

impl Tally {
    /// Adds a file.
    pub fn add(&mut self, len: u64, identity: Option<(u64, u64)>) {
        if identity.is_none_or(|identity| self.seen.insert(identity)) {
            self.files += 1;
            self.bytes = self.bytes.saturating_add(len);
        }
    }

    /// Adds all files below a directory of the same file system, but for those of these
    /// directories, and shows each with its directory and name. What is gone meanwhile does not
    /// count.
    pub fn add_below(
        &mut self,
        disk: &dyn Disk,
        root: &Path,
        but: &[PathBuf],
        show: &mut dyn FnMut(&Path, &OsStr, &Stat),
    ) -> io::Result<()> {
        let gone = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
        let device = match disk.stat(&root.join(".")) {
            Err(error) if gone(&error) => return Ok(()),
            other => other?.identity.map(|(device, _)| device),
        };
        let mut directories = vec![root.to_path_buf()];
        while let Some(directory) = directories.pop() {
            let entries = match disk.read_dir_stats(&directory) {
                Err(error) if gone(&error) => continue,
                other => other?,
            };
            for (entry, stat) in entries {
                let stat = match stat {
                    Err(error) if gone(&error) => continue,
                    other => other?,
                };
                match stat.kind {
                    FileKind::File => {
                        self.add(stat.len, stat.identity);
                        show(&directory, &entry.name, &stat);
                    }
                    FileKind::Directory if stat.identity.map(|(device, _)| device) == device => {
                        let path = directory.join(&entry.name);
                        if !but.contains(&path) {
                            directories.push(path);
                        }
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// How many they are.
    pub const fn files(&self) -> u64 {
        self.files
    }

    /// How many bytes they have together.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_disk_is_judged_by_bytes_and_a_large_one_by_its_share() {
        const MB: u64 = 1_000_000;
        for (free, total, expected) in [
            (9, 1_000_000, Room::None),
            (50, 200, Room::Little),
            (100, 200, Room::Enough),
            (400, 10_000, Room::Little),
            (500, 10_000, Room::Enough),
            (999, 4_000_000, Room::Little),
            (1_000, 4_000_000, Room::Enough),
        ] {
            let system = FileSystem {
                free: Some(free * MB),
                total: Some(total * MB),
                ..FileSystem::default()
            };
            assert_eq!(for_bytes(&system), expected, "{free} of {total}");
        }
        assert_eq!(for_bytes(&FileSystem::default()), Room::Enough);
    }

    #[test]
    fn a_limit_is_near_from_four_fifths_on() {
        assert!(!is_near(79, 100));
        assert!(is_near(80, 100));
        assert!(is_near(u64::MAX, u64::MAX));
    }
}
