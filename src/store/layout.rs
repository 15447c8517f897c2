//! Where each thing stands below the data directory.

use std::path::{Path, PathBuf};

use crate::model::id::ConversationId;

/// The paths of one data directory.
#[derive(Clone, Debug)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    /// The layout below `root`.
    pub fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// The data directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The file that holds the version of the store's format.
    pub fn version(&self) -> PathBuf {
        self.root.join("VERSION")
    }

    /// Where conversations are.
    pub fn active_dir(&self) -> PathBuf {
        self.root.join("conversations/active")
    }

    /// A conversation.
    pub fn active(&self, id: &ConversationId) -> PathBuf {
        self.active_dir().join(format!("{id}.jsonl"))
    }

    /// The text of a reply while it arrives.
    pub fn partial(&self, id: &ConversationId) -> PathBuf {
        self.active_dir().join(format!("{id}.partial"))
    }

    /// Where archived conversations are.
    pub fn archived_dir(&self) -> PathBuf {
        self.root.join("conversations/archived")
    }

    /// An archived conversation.
    pub fn archived(&self, id: &ConversationId) -> PathBuf {
        self.archived_dir().join(format!("{id}.jsonl.gz"))
    }

    /// Where repair puts the bytes that it takes out of a file.
    pub fn quarantine_dir(&self) -> PathBuf {
        self.root.join("quarantine")
    }

    /// Where lock files are.
    pub fn run_dir(&self) -> PathBuf {
        self.root.join("run")
    }

    /// The lock of the whole store.
    pub fn store_lock(&self) -> PathBuf {
        self.run_dir().join("store.lock")
    }

    /// The lock of one conversation.
    pub fn turn_lock(&self, id: &ConversationId) -> PathBuf {
        self.run_dir().join(format!("turn-{id}.lock"))
    }

    /// Where the log is.
    pub fn logs_dir(&self) -> PathBuf {
        self.root.join("logs")
    }

    /// The log that is written to.
    pub fn log(&self) -> PathBuf {
        self.logs_dir().join("app.log")
    }

    /// Held together by all who append to the log, and alone by who renames it.
    pub fn log_lock(&self) -> PathBuf {
        self.run_dir().join("log.lock")
    }

    /// Held by the one who puts old logs away.
    pub fn rotation_lock(&self) -> PathBuf {
        self.run_dir().join("log-rotation.lock")
    }

    /// Held by the one who changes settings or sealed keys.
    pub fn config_lock(&self) -> PathBuf {
        self.run_dir().join("config.lock")
    }

    /// Where backups are.
    pub fn backups_dir(&self) -> PathBuf {
        self.root.join("backups")
    }

    /// Held by the one who makes or removes backups.
    pub fn backup_lock(&self) -> PathBuf {
        self.run_dir().join("backup.lock")
    }

    /// Where rollback points are.
    pub fn points_dir(&self) -> PathBuf {
        self.backups_dir().join("points")
    }

    /// Held by the one who makes or removes rollback points.
    pub fn points_lock(&self) -> PathBuf {
        self.run_dir().join("points.lock")
    }

    /// What is to replace parts of the store, while that is under way.
    pub fn swap_dir(&self) -> PathBuf {
        self.root.join(".swap")
    }

    /// Held by the one who replaces parts of the store, from the first file that it stages.
    pub fn swap_lock(&self) -> PathBuf {
        self.run_dir().join("swap.lock")
    }

    /// Where things are kept that can be fetched again.
    pub fn cache_dir(&self) -> PathBuf {
        self.root.join("cache")
    }
}
