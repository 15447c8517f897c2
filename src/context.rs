//! What a command works with: its settings, its channels, its host.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::cli::Global;
use crate::platform::{Clock, Disk, Environment, Guard, Input, Programs, Random, Secrets, Signals};
use crate::settings::Settings;
use crate::store::Store;
use crate::store::log::Log;
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
    /// The log.
    pub log: Arc<Log>,
    /// Files.
    pub disk: Arc<dyn Disk>,
    /// What the disk does not wait for; `None` where it waits for everything.
    pub guard: Option<Arc<Guard>>,
    /// Unpredictable bytes.
    pub random: Arc<dyn Random>,
    /// Ctrl-C and its relatives.
    pub signals: Signals,
    /// Other programs.
    pub programs: Box<dyn Programs>,
}

/// Longer than most replies take, so that a queue of prompts to one conversation gets
/// through; shorter than for ever, so that runs from cron do not pile up.
const LOCK_TIMEOUT: u64 = 600;

impl Context {
    /// The store. Nothing is touched yet.
    pub fn store(&self) -> Store {
        Store::new(
            self.data_dir(),
            Arc::clone(&self.disk),
            Arc::clone(&self.clock),
            Arc::clone(&self.random),
        )
        .with_memory_limit(self.settings.memory_limit())
        .with_patience(self.global.lock_timeout.map(Duration::from_secs))
    }

    /// How long to wait for another pachat.
    pub fn lock_timeout(&self) -> Duration {
        Duration::from_secs(self.global.lock_timeout.unwrap_or(LOCK_TIMEOUT))
    }

    /// The data directory.
    pub fn data_dir(&self) -> PathBuf {
        self.settings.data_dir().to_path_buf()
    }
}
