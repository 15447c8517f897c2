//! The program as a process of its own, with a home of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

/// A call of the program that talks to the server at `server`.
pub fn pachat(home: &Path, server: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pachat"));
    command
        .env_clear()
        .env("HOME", home)
        .env("XDG_DATA_HOME", home.join("data"))
        .env("XDG_CONFIG_HOME", home.join("config"))
        .env("OPENROUTER_BASE_URL", server)
        .env("OPENROUTER_API_KEY", "test-key-0123456789")
        .current_dir(home)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Where the conversations are.
pub fn active(home: &Path) -> PathBuf {
    home.join("data/pachat/conversations/active")
}

/// Every conversation's messages.
pub fn conversations(home: &Path) -> Vec<Vec<Value>> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(active(home))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "jsonl")
    });
    paths.sort();
    paths
        .iter()
        .map(|path| {
            let text = std::fs::read_to_string(path).unwrap();
            assert!(text.ends_with('\n'));
            let lines = text
                .lines()
                .map(|line| serde_json::from_str::<Value>(line).unwrap());
            lines.filter(|line| line["type"] == "message").collect()
        })
        .collect()
}
