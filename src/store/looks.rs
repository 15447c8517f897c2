//! Whether a file is the one that was read before, without reading it again.
//!
//! A file counts as unchanged only if its length, its time of change and its identity are what
//! they were, and it had been left alone for two seconds when it was read. File systems tick in
//! steps of up to two seconds, so a file that changed in the same tick after it was read would
//! look the same. (git treats its index in this way.)

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::parts::PartFile;

/// How long a file must have been left alone to be known by its time.
const SETTLED: Duration = Duration::from_secs(2);

/// How a file looks without being read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Looks {
    len: u64,
    /// When it was last changed, in nanoseconds since 1970.
    modified: u64,
    identity: Option<(u64, u64)>,
}

impl Looks {
    /// How a file looked that was read from `read_at` on.
    pub fn settled(file: &PartFile, read_at: SystemTime) -> Option<Self> {
        let modified = file.modified?;
        // A file from the future is never settled.
        let quiet = read_at.duration_since(modified).ok()?;
        (quiet >= SETTLED).then(|| Self::of(file)).flatten()
    }

    /// How it looks now, if that tells anything.
    pub fn of(file: &PartFile) -> Option<Self> {
        let since = file.modified?.duration_since(SystemTime::UNIX_EPOCH).ok()?;
        Some(Self {
            len: file.len,
            modified: u64::try_from(since.as_nanos()).ok()?,
            identity: file.identity,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::backup::Part;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn file(modified: u64) -> PartFile {
        PartFile {
            part: Part::Config,
            name: "app_config.json".into(),
            len: 10,
            modified: Some(at(modified)),
            identity: Some((1, 2)),
        }
    }

    #[test]
    fn a_file_is_known_by_its_looks_only_if_it_was_left_alone() {
        let settled = |read_at| Looks::settled(&file(100), at(read_at)).is_some();
        assert!(settled(102));
        assert!(!settled(101));
        assert!(!settled(100));
        // Its clock, or ours, is wrong.
        assert!(!settled(50));
        let unknown = PartFile {
            modified: None,
            ..file(100)
        };
        assert_eq!(Looks::settled(&unknown, at(200)), None);
    }
}
