//! The `.env` file: variables for pachat alone.
//!
//! Layer: settings. Nothing is put into the environment, and only a file of the
//! configuration directory or one named on the command line is read: a cloned
//! repository must not be able to redirect requests.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

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

/// A line of a `.env` file that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BadLine {
    /// Its number, where it can be told.
    pub(super) number: Option<usize>,
    /// Whether it is no text at all; else it is not of the form `NAME=VALUE`.
    pub(super) is_binary: bool,
}

/// What is odd about a variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Odd {
    /// Nothing uses it, and nothing that does has a name like it.
    Unused,
    /// Nothing uses it; this is what was probably meant.
    Misspelt(String),
}

impl Dotenv {
    /// Reads the file; `None` if there is none.
    pub(super) fn read(disk: &dyn Disk, path: &Path) -> Result<Option<Self>> {
        let Some((mode, bytes)) = content(disk, path)
            .map_err(|error| Error::io("cannot read the variables", path, &error))?
        else {
            return Ok(None);
        };
        let (variables, bad) = parse(&bytes);
        if let Some(bad) = bad.first() {
            return Err(malformed(*bad, path));
        }
        let mut read = Self {
            path: path.to_path_buf(),
            variables,
            warnings: Vec::new(),
            notes: Vec::new(),
        };
        read.look_around(mode);
        Ok(Some(read))
    }

    /// The same with whatever can be read of it, and without a word about the rest.
    pub(super) fn read_what_can_be(disk: &dyn Disk, path: &Path) -> Option<Self> {
        let (_, bytes) = content(disk, path).ok()??;
        Some(Self {
            path: path.to_path_buf(),
            variables: parse(&bytes).0,
            warnings: Vec::new(),
            notes: Vec::new(),
        })
    }

    /// The names of its variables that are none of pachat's, or that it does not use.
    pub(super) fn odd(&self) -> Vec<(&str, Odd)> {
        let odd = self.variables.keys().filter_map(|name| {
            let bare = name.strip_prefix(PREFIX).unwrap_or(name);
            let is_unused = VARIABLES
                .iter()
                .any(|known| !known.used && known.name == bare);
            if is_unused {
                Some((name.as_str(), Odd::Unused))
            } else if names().any(|known| known == bare) {
                None
            } else {
                let what = misspelt(name).map_or(Odd::Unused, Odd::Misspelt);
                Some((name.as_str(), what))
            }
        });
        odd.collect()
    }

    /// Whether a key or a pass phrase is in it.
    pub(super) fn holds_a_secret(&self) -> bool {
        SECRETS
            .iter()
            .any(|name| self.get(name).is_some() || self.get(&format!("{PREFIX}{name}")).is_some())
    }

    /// The value of a variable that is set and not empty.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.variables
            .get(name)
            .map(|value| value.as_str())
            .filter(|value| !value.is_empty())
    }

    fn look_around(&mut self, mode: Option<u32>) {
        let path = self.path.display().to_string();
        if self.holds_a_secret() && mode.is_some_and(|mode| mode & 0o044 != 0) {
            self.warnings.push(format!(
                "{path} holds a key and other users can read it; run `chmod 600 {path}`"
            ));
        }
        let (mut warnings, mut notes) = (Vec::new(), Vec::new());
        for (name, odd) in self.odd() {
            match odd {
                Odd::Unused => notes.push(format!("{name} in {path} is not used")),
                Odd::Misspelt(near) => warnings.push(format!(
                    "unknown variable {name} in {path} is ignored; did you mean {near}?"
                )),
            }
        }
        self.warnings.extend(warnings);
        self.notes.extend(notes);
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

/// The bytes of a file of variables, any of which may be a secret, and its mode.
type Content = (Option<u32>, Zeroizing<Vec<u8>>);

/// The content of the file; `None` if there is none.
pub(super) fn content(disk: &dyn Disk, path: &Path) -> io::Result<Option<Content>> {
    let mode = match disk.open(path, Open::Read) {
        // The open file is asked, because a path's own mode may be a link's.
        Ok(file) => file.stat()?.mode,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let bytes = Zeroizing::new(disk.read(path, LARGEST)?);
    Ok(Some((mode, bytes)))
}

/// The variables, and the lines that are none.
pub(super) fn parse(bytes: &[u8]) -> (BTreeMap<String, Zeroizing<String>>, Vec<BadLine>) {
    // Windows editors begin a file with a byte order mark.
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let (mut variables, mut bad) = (BTreeMap::new(), Vec::new());
    for item in dotenvy::from_read_iter(bytes) {
        match item {
            Ok((name, value)) => {
                variables.insert(name, Zeroizing::new(value));
            }
            Err(dotenvy::Error::LineParse(line, _)) => {
                let text = String::from_utf8_lossy(bytes);
                let at = text.find(line.trim_end());
                bad.push(BadLine {
                    number: at.map(|at| line_at(text.as_bytes(), at)),
                    is_binary: false,
                });
            }
            // It is not UTF-8, and nothing after it is read.
            Err(_) => {
                let at = std::str::from_utf8(bytes).err();
                bad.push(BadLine {
                    number: at.map(|error| line_at(bytes, error.valid_up_to())),
                    is_binary: true,
                });
                break;
            }
        }
    }
    (variables, bad)
}

/// The number of the line that a byte is in.
pub(super) fn line_at(bytes: &[u8], at: usize) -> usize {
    memchr::memchr_iter(b'\n', &bytes[..at]).count() + 1
}

/// Names the line, and never repeats it: it may hold a key.
fn malformed(bad: BadLine, path: &Path) -> Error {
    let why = match (bad.is_binary, bad.number) {
        (true, _) => "it is not UTF-8".into(),
        (false, Some(number)) => format!("line {number} is not of the form NAME=VALUE"),
        (false, None) => "a line is not of the form NAME=VALUE".into(),
    };
    Error::new(Kind::Config, "the variables are not valid")
        .why(why)
        .path(path)
        .hint("write one NAME=VALUE on a line, with 'single quotes' around a value with spaces")
}
