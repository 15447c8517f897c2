//! The `.env` file: variables for pachat alone.
//!
//! Layer: settings. Nothing is put into the environment, and only a file of the
//! configuration directory or one named on the command line is read: a cloned
//! repository must not be able to redirect requests.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use zeroize::{Zeroize, Zeroizing};

use crate::model::error::{Error, Kind, Result};
use crate::platform::Disk;
use crate::platform::disk::Open;

use super::nearest::distance;
use super::table::{TABLE, VARIABLES};

/// The most that is read of the file, in bytes.
const LARGEST: u64 = 1 << 20;

/// The prefix that makes a variable pachat's own.
pub(super) const PREFIX: &str = "PACHAT_";

/// The variables that hold secrets.
const SECRETS: [&str; 2] = ["OPENROUTER_API_KEY", "ENCRYPTION_KEY"];

/// What a `.env` file says.
pub(super) struct Dotenv {
    /// Where it is.
    pub(super) path: PathBuf,
    /// Its variables; of one that stands there twice, the last. Any may be a secret.
    variables: BTreeMap<String, Zeroizing<String>>,
    /// What is odd about it.
    pub(super) warnings: Vec<String>,
    /// What is worth knowing, but not worrying about.
    pub(super) notes: Vec<String>,
}

impl Dotenv {
    /// Reads the file; `None` if there is none.
    pub(super) fn read(disk: &dyn Disk, path: &Path) -> Result<Option<Self>> {
        let fail = |error: &io::Error| Error::io("cannot read the variables", path, error);
        let mode = match disk.open(path, Open::Read) {
            // The open file is asked, because a path's own mode may be a link's.
            Ok(file) => file.stat().map_err(|error| fail(&error))?.mode,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(fail(&error)),
        };
        let mut bytes = disk.read(path, LARGEST).map_err(|error| fail(&error))?;
        let variables = parse(&bytes, path);
        bytes.zeroize();
        let mut read = Self {
            path: path.to_path_buf(),
            variables: variables?,
            warnings: Vec::new(),
            notes: Vec::new(),
        };
        read.look_around(mode);
        Ok(Some(read))
    }

    /// The value of a variable that is set and not empty.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.variables
            .get(name)
            .map(|value| value.as_str())
            .filter(|value| !value.is_empty())
    }

    fn look_around(&mut self, mode: Option<u32>) {
        let holds_a_secret = SECRETS
            .iter()
            .any(|name| self.get(name).is_some() || self.get(&format!("{PREFIX}{name}")).is_some());
        if holds_a_secret && mode.is_some_and(|mode| mode & 0o044 != 0) {
            let path = self.path.display();
            self.warnings.push(format!(
                "{path} holds a key and other users can read it; run `chmod 600 {path}`"
            ));
        }
        for name in self.variables.keys() {
            let path = self.path.display();
            let bare = name.strip_prefix(PREFIX).unwrap_or(name);
            if VARIABLES
                .iter()
                .any(|known| !known.used && known.name == bare)
            {
                self.notes.push(format!("{name} in {path} is not used"));
            } else if !names().any(|known| known == bare) {
                match misspelt(name) {
                    Some(near) => self.warnings.push(format!(
                        "unknown variable {name} in {path} is ignored; did you mean {near}?"
                    )),
                    None => self.notes.push(format!("{name} in {path} is not used")),
                }
            }
        }
    }
}

/// The variable that was probably meant, if `name` is none of pachat's but nearly one.
pub(super) fn misspelt(name: &str) -> Option<String> {
    let (prefix, bare) = match name.strip_prefix(PREFIX) {
        Some(bare) => (PREFIX, bare),
        None => ("", name),
    };
    if names().any(|known| known == bare) {
        return None;
    }
    names()
        .map(|known| (distance(bare, known), known))
        .filter(|(distance, _)| *distance <= 2)
        .min()
        .map(|(_, known)| format!("{prefix}{known}"))
}

/// The names of all variables, without the prefix.
fn names() -> impl Iterator<Item = &'static str> {
    TABLE
        .iter()
        .filter_map(|setting| setting.variable)
        .chain(VARIABLES.iter().map(|variable| variable.name))
}

fn parse(bytes: &[u8], path: &Path) -> Result<BTreeMap<String, Zeroizing<String>>> {
    // Windows editors begin a file with a byte order mark.
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut variables = BTreeMap::new();
    for item in dotenvy::from_read_iter(bytes) {
        match item {
            Ok((name, value)) => {
                variables.insert(name, Zeroizing::new(value));
            }
            Err(error) => return Err(malformed(&error, bytes, path)),
        }
    }
    Ok(variables)
}

/// Names the line, and never repeats it: it may hold a key.
fn malformed(error: &dotenvy::Error, bytes: &[u8], path: &Path) -> Error {
    let why = match error {
        dotenvy::Error::LineParse(line, _) => {
            let text = String::from_utf8_lossy(bytes);
            let before = text
                .find(line.trim_end())
                .map(|at| text[..at].matches('\n').count() + 1);
            match before {
                Some(number) => format!("line {number} is not of the form NAME=VALUE"),
                None => "a line is not of the form NAME=VALUE".into(),
            }
        }
        _ => "it is not UTF-8".into(),
    };
    Error::new(Kind::Config, "the variables are not valid")
        .why(why)
        .path(path)
        .hint("write one NAME=VALUE on a line, with 'single quotes' around a value with spaces")
}
