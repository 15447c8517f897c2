//! What a command works with: its settings, its channels, its host.

use std::path::PathBuf;
use std::sync::Arc;

use crate::cli::Global;
use crate::platform::{Clock, Disk, Environment, Input, Programs, Random, Secrets, Signals};
use crate::settings::Settings;
use crate::term::Ui;

/// Everything a command needs, and nothing it has to look up elsewhere.
pub struct Context {
    /// The global options as they were typed.
    pub global: Global,
    /// Settings from every source, with their origins.
    pub settings: Settings,
    /// Standard output and standard error.
    pub ui: Ui,
    /// Standard input.
    pub stdin: Input,
    /// Variables and directories.
    pub environment: Environment,
    /// Hidden prompts.
    pub secrets: Box<dyn Secrets>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Files.
    pub disk: Arc<dyn Disk>,
    /// Unpredictable bytes.
    pub random: Arc<dyn Random>,
    /// Ctrl-C and its relatives.
    pub signals: Signals,
    /// Other programs.
    pub programs: Box<dyn Programs>,
}

impl Context {
    /// The data directory.
    pub fn data_dir(&self) -> PathBuf {
        self.settings.data_dir().to_path_buf()
    }
}
