//! `app_config.json`: read with every fault in one message, changed without touching
//! what else stands in it.
//!
//! Layer: settings. Promise: an unknown key is kept, and order is kept.

use std::io;
use std::path::Path;

use serde_json::{Map, Value as Json};

use crate::model::error::{Error, Kind, Result};
use crate::platform::{Disk, Random};
use crate::store::atomic;

use super::lines;
use super::table::{Setting, TABLE, Value, find, nearest};

/// The most that is read of the file, in bytes. A page of settings has about 1000.
pub(super) const LARGEST: u64 = 1 << 20;

/// What a file of settings says.
#[derive(Debug, Default)]
pub(super) struct Contents {
    /// Its values, in no particular order.
    pub(super) values: Vec<(&'static Setting, Value)>,
    /// What is odd or wrong about it.
    pub(super) issues: Vec<Issue>,
}

impl Contents {
    /// What is odd about it, for people.
    pub(super) fn warnings(&self) -> Vec<String> {
        let odd = self.issues.iter().filter(|issue| !issue.is_fault());
        odd.map(Issue::message).collect()
    }
}

/// Something odd or wrong in a file of settings.
#[derive(Clone, Debug)]
pub(super) struct Issue {
    /// What kind of thing it is.
    pub(super) kind: IssueKind,
    /// The setting or section, as it stands in the file.
    pub(super) key: String,
    /// The line; of a key that stands there twice, that of the last.
    pub(super) line: Option<usize>,
    /// What is wrong, or what to write instead.
    pub(super) why: String,
}

/// What kind of thing is odd or wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IssueKind {
    /// A value that is not allowed: `why` is what it must be.
    Wrong,
    /// No setting of that name: `why` is what may have been meant.
    Unknown,
    /// A key that stands there twice: `why` says where.
    Duplicate,
}

impl Issue {
    /// Whether the settings cannot be used with it.
    pub(super) fn is_fault(&self) -> bool {
        self.kind == IssueKind::Wrong
    }

    /// One line for people.
    fn message(&self) -> String {
        let Self { key, why, .. } = self;
        let at = match self.line {
            Some(line) => format!(" (line {line})"),
            None => String::new(),
        };
        match self.kind {
            IssueKind::Wrong => format!("`{key}`{at} {why}"),
            IssueKind::Unknown => format!("unknown setting `{key}`{at} is ignored; {why}"),
            IssueKind::Duplicate => format!("`{key}` {why}; the last one counts"),
        }
    }
}

/// What a change did.
#[derive(Debug, PartialEq)]
pub struct Change {
    /// The value that stood in the file before, as people type it.
    pub before: Option<String>,
    /// The value that stands there now.
    pub after: Option<String>,
}

/// The bytes of the file; `None` if there is none.
pub(super) fn bytes(disk: &dyn Disk, path: &Path) -> Result<Option<Vec<u8>>> {
    match disk.read(path, LARGEST) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("cannot read the settings", path, &error)),
    }
}

/// Reads a text of settings. `path` is for messages; every fault is in the one error.
pub(super) fn parse(bytes: &[u8], path: &Path) -> Result<Contents> {
    let contents = look(bytes, path)?;
    let faults: Vec<String> = contents
        .issues
        .iter()
        .filter(|issue| issue.is_fault())
        .map(Issue::message)
        .collect();
    if faults.is_empty() {
        return Ok(contents);
    }
    let count = match faults.len() {
        1 => String::new(),
        count => format!("{count} values are wrong: "),
    };
    Err(invalid(path, format!("{count}{}", faults.join("; "))))
}

/// The same, where wrong values are not an error but among the issues.
pub(super) fn look(bytes: &[u8], path: &Path) -> Result<Contents> {
    let (text, document) = document(bytes, path)?;
    let mut reading = Reading {
        places: lines::keys(text),
        contents: Contents::default(),
    };
    reading.top(&document);
    Ok(reading.contents)
}

/// Sets or (with `None`) removes one setting. The directory must exist.
pub(super) fn change(
    disk: &dyn Disk,
    random: &dyn Random,
    path: &Path,
    setting: &Setting,
    value: Option<&Value>,
) -> Result<Change> {
    let old = bytes(disk, path)?;
    let mut top = match &old {
        Some(bytes) => document(bytes, path)?.1,
        None => Map::new(),
    };
    let (section, name) = setting.key.split_once('.').unwrap_or(("", setting.key));
    let before = match value {
        Some(value) => insert(&mut top, section, name, value.to_json(), path)?,
        None => remove(&mut top, section, name),
    };
    let change = Change {
        before: before.map(|json| match setting.from_json(&json) {
            Ok(value) => value.to_string(),
            // A wrong value is being repaired.
            Err(_) => json.to_string(),
        }),
        after: value.map(ToString::to_string),
    };
    if change.before != change.after {
        let text = format!("{:#}\n", Json::Object(top));
        atomic::replace(disk, random, path, text.as_bytes())?;
    }
    Ok(change)
}

/// The text without a byte order mark, and the object it is.
fn document<'a>(bytes: &'a [u8], path: &Path) -> Result<(&'a str, Map<String, Json>)> {
    let text = std::str::from_utf8(bytes).map_err(|_| invalid(path, "it is not UTF-8".into()))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    match serde_json::from_str(text) {
        Ok(Json::Object(top)) => Ok((text, top)),
        Ok(_) => Err(invalid(path, "it must be one JSON object, { … }".into())),
        Err(error) => Err(invalid(path, format!("it is not JSON: {error}"))),
    }
}

fn invalid(path: &Path, why: String) -> Error {
    Error::new(Kind::Config, "the settings are not valid")
        .why(why)
        .path(path)
        .hint("run `pachat config edit`, or `pachat config unset KEY` for a wrong value")
}

fn insert(
    top: &mut Map<String, Json>,
    section: &str,
    name: &str,
    json: Json,
    path: &Path,
) -> Result<Option<Json>> {
    let entry = top
        .entry(section)
        .or_insert_with(|| Json::Object(Map::new()));
    match entry {
        Json::Object(section) => Ok(section.insert(name.to_owned(), json)),
        _ => Err(invalid(
            path,
            format!("`{section}` must be an object, {{ … }}"),
        )),
    }
}

/// Removes a key, and its section if nothing is left in it.
fn remove(top: &mut Map<String, Json>, section: &str, name: &str) -> Option<Json> {
    let Some(Json::Object(members)) = top.get_mut(section) else {
        return None;
    };
    // Not `remove`, which would move the last key into the gap.
    let removed = members.shift_remove(name);
    if removed.is_some() && members.is_empty() {
        top.shift_remove(section);
    }
    removed
}

struct Reading {
    places: Vec<lines::Place>,
    contents: Contents,
}

impl Reading {
    fn top(&mut self, top: &Map<String, Json>) {
        self.find_duplicates();
        for (section, members) in top {
            let known = TABLE
                .iter()
                .any(|setting| setting.key.split('.').next() == Some(section));
            match members {
                Json::Object(members) if known => {
                    for (name, json) in members {
                        self.member(&format!("{section}.{name}"), json);
                    }
                }
                _ if known => {
                    let why = "must be an object, { … }".to_owned();
                    self.add(IssueKind::Wrong, section, why);
                }
                // For editors.
                Json::String(_) if section == "$schema" => {}
                _ => self.unknown(section),
            }
        }
    }

    fn member(&mut self, key: &str, json: &Json) {
        let Some(setting) = find(key) else {
            return self.unknown(key);
        };
        match setting.from_json(json) {
            Ok(value) => self.contents.values.push((setting, value)),
            Err(why) => self.add(IssueKind::Wrong, key, why),
        }
    }

    fn unknown(&mut self, key: &str) {
        let advice = if find(key).is_some() {
            // Only reached by a name with a dot at the top.
            let (section, name) = key.split_once('.').unwrap_or(("", key));
            format!("write it as {{\"{section}\": {{\"{name}\": …}}}}")
        } else if let Some(near) = nearest(key) {
            format!("did you mean `{near}`?")
        } else {
            "see `pachat config list`".into()
        };
        self.add(IssueKind::Unknown, key, advice);
    }

    fn find_duplicates(&mut self) {
        for (index, place) in self.places.iter().enumerate() {
            let first = self.places[..index]
                .iter()
                .find(|before| before.path == place.path);
            if let Some(first) = first {
                self.contents.issues.push(Issue {
                    kind: IssueKind::Duplicate,
                    key: place.path.clone(),
                    line: Some(place.line),
                    why: format!("stands on line {} and on line {}", first.line, place.line),
                });
            }
        }
    }

    /// Of a key that stands there twice, the last counts.
    fn add(&mut self, kind: IssueKind, key: &str, why: String) {
        let place = self.places.iter().rev().find(|place| place.path == key);
        self.contents.issues.push(Issue {
            kind,
            key: key.to_owned(),
            line: place.map(|place| place.line),
            why,
        });
    }
}
