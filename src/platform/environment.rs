//! Environment variables and well-known directories, taken once.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use etcetera::BaseStrategy;

/// A snapshot of the process's environment.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// The variables.
    pub variables: BTreeMap<OsString, OsString>,
    /// The working directory, against which relative paths are read.
    pub working_directory: PathBuf,
    /// Where the platform keeps a user's data; `None` where there is no home.
    pub data_home: Option<PathBuf>,
    /// Where the platform keeps a user's configuration.
    pub config_home: Option<PathBuf>,
    /// The number of the user that this process acts for; `None` where users have none.
    pub user: Option<u32>,
    /// Where this program is.
    pub program: Option<PathBuf>,
}

impl Environment {
    /// The environment of this process.
    #[expect(clippy::disallowed_methods, reason = "this is the door")]
    pub fn from_process() -> Self {
        let base = etcetera::choose_base_strategy().ok();
        Self {
            variables: std::env::vars_os().collect(),
            working_directory: std::env::current_dir().unwrap_or_else(|_| PathBuf::from(".")),
            data_home: base.as_ref().map(BaseStrategy::data_dir),
            config_home: base.as_ref().map(BaseStrategy::config_dir),
            user: super::process::user(),
            program: super::process::program().ok(),
        }
    }

    /// A variable that is set, not empty and valid UTF-8.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.get_os(name)?.to_str()
    }

    /// A variable that is set and not empty. Empty means unset, as for most tools.
    pub fn get_os(&self, name: &str) -> Option<&OsStr> {
        self.variables
            .get(OsStr::new(name))
            .map(OsString::as_os_str)
            .filter(|value| !value.is_empty())
    }

    /// A path as the person typed it, made absolute.
    pub fn resolve(&self, path: &Path) -> PathBuf {
        self.working_directory.join(path)
    }
}
