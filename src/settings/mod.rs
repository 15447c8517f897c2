//! Settings from every source, and where each one came from.

use std::path::{Path, PathBuf};

/// The settings of one run.
pub struct Settings {
    data_dir: PathBuf,
}

impl Settings {
    /// The data directory.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }
}
