//! Who else can read or change what pachat keeps, and where copies of it go.
//!
//! Layer: ops. Promise: looking changes nothing and follows no link below the data directory.

mod places;
mod rights;

use std::path::{Path, PathBuf};

use crate::model::base_url::BaseUrl;
use crate::model::finding::{Finding, Severity};
use crate::model::secret::redact;
use crate::platform::Disk;

/// What is looked at.
pub struct Surroundings<'a> {
    /// Files.
    pub disk: &'a dyn Disk,
    /// The data directory; it need not exist.
    pub data_dir: &'a Path,
    /// Where `master.key` and the history are.
    pub config_dir: Option<&'a Path>,
    /// The file of settings.
    pub config_file: &'a Path,
    /// The file of variables, if there is one, and whether a key is in it.
    pub env_file: Option<(&'a Path, bool)>,
    /// The age identity that opens backups.
    pub identity: Option<&'a Path>,
    /// The number of the user that pachat runs as; `None` where there are no such numbers.
    pub user: Option<u32>,
    /// The server.
    pub base_url: &'a BaseUrl,
}

/// Looks at all of it.
pub fn look(around: &Surroundings<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    rights::look(around, &mut found);
    places::look(around, &mut found);
    look_for_plain_keys(around, &mut found);
    look_at_server(around, &mut found);
    found
}

/// How a path is named in findings: below the data directory from there, else in full.
fn subject(around: &Surroundings<'_>, path: &Path) -> String {
    match path.strip_prefix(around.data_dir) {
        Ok(below) if !below.as_os_str().is_empty() => below.display().to_string(),
        _ => path.display().to_string(),
    }
}

/// Whether something stands there, whatever it is.
fn exists(around: &Surroundings<'_>, path: &Path) -> bool {
    around.disk.stat(path).is_ok()
}

/// The files outside the data directory that hold a secret, or what leads to one.
fn secret_files(around: &Surroundings<'_>) -> Vec<PathBuf> {
    let mut files = Vec::new();
    if let Some(directory) = around.config_dir {
        files.push(directory.join("master.key"));
    }
    if let Some((path, true)) = around.env_file {
        files.push(path.to_path_buf());
    }
    files.extend(around.identity.map(Path::to_path_buf));
    files.retain(|path| exists(around, path));
    files
}

/// Keys in the file of settings, which is no place for them: it is backed up as it stands.
fn look_for_plain_keys(around: &Surroundings<'_>, found: &mut Vec<Finding>) {
    const LARGEST: u64 = 1 << 20;
    let Ok(bytes) = around.disk.read(around.config_file, LARGEST) else {
        return;
    };
    let text = String::from_utf8_lossy(&bytes);
    for (index, line) in text.lines().enumerate() {
        if redact(line, &[]) != line {
            found.push(
                Finding::new(
                    "security.plain-key",
                    Severity::Error,
                    subject(around, around.config_file),
                    "this line holds what looks like an API key, readable in every copy and backup of the settings",
                    "seal the key with `pachat config key set`, take it out with `pachat config edit`, and have the server replace it",
                )
                .at_line(index as u64 + 1),
            );
        }
    }
}

fn look_at_server(around: &Surroundings<'_>, found: &mut Vec<Finding>) {
    let url = around.base_url;
    if url.is_https() || url.is_loopback() {
        return;
    }
    found.push(Finding::new(
        "security.plain-http",
        Severity::Warning,
        "api.base_url",
        format!(
            "{} is another machine and is spoken to without encryption: anybody in between can read and change what is said",
            url.host()
        ),
        "use https, or a tunnel to this machine; without one no key is sent there unless --insecure-http allows it",
    ));
}
