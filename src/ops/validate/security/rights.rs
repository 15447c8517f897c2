//! Permissions and owners. Directories are 0700, files 0600, and all of them are the person's.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};

use crate::model::error::describe;
use crate::model::finding::{Finding, Severity};
use crate::model::size::counted;
use crate::platform::disk::{FileKind, Open, Stat};

use super::{Surroundings, exists, subject};

/// What pachat makes below the data directory. Rollback points come last: their files are
/// second names of others, which are named first.
const KNOWN: [&str; 11] = [
    "VERSION",
    "config",
    "conversations",
    "attachments",
    "quarantine",
    "logs",
    "cache",
    "run",
    ".swap",
    "backups",
    "backups/points",
];

/// From so many files of a directory on, one finding stands for all of them.
const MANY: usize = 10;

/// The last place that holds points.
const POINTS: &str = "backups/points";

pub(super) fn look(around: &Surroundings<'_>, found: &mut Vec<Finding>) {
    look_above(around, found);
    if let Ok(stat) = around.disk.stat(around.data_dir) {
        let mut seen = Seen::default();
        // That it is itself a link is a person's choice, and what it leads to is opened
        // through it.
        if stat.kind == FileKind::Directory {
            seen.add(around, around.data_dir.to_path_buf(), &stat);
        }
        for name in KNOWN {
            seen.below(around, name, found);
        }
        seen.tell(around, found);
    }
    look_at_config_dir(around, found);
}

/// What is wrong with the files of a data directory.
#[derive(Default)]
struct Seen {
    /// By directory, what is open to others.
    open: BTreeMap<PathBuf, Vec<(PathBuf, Stat)>>,
    /// By directory, what belongs to somebody else.
    foreign: BTreeMap<PathBuf, Vec<(PathBuf, Stat)>>,
    /// The files among these, so that none is named twice.
    known: HashSet<(u64, u64)>,
}

impl Seen {
    fn below(&mut self, around: &Surroundings<'_>, name: &str, found: &mut Vec<Finding>) {
        let root = around.data_dir.join(name);
        let Ok(stat) = around.disk.stat(&root) else {
            return;
        };
        if stat.kind != FileKind::Other {
            self.add(around, root.clone(), &stat);
        }
        if stat.kind != FileKind::Directory {
            return;
        }
        let walked = match around.disk.walk(&root) {
            Ok(walked) => walked,
            // Gone meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => {
                found.push(Finding::new(
                    "security.unreadable",
                    Severity::Error,
                    subject(around, &root),
                    format!(
                        "not everything below it can be looked at: {}",
                        describe(&error)
                    ),
                    "check the owner and the permissions of the directories below it, then run this again",
                ));
                return;
            }
        };
        let points = around.data_dir.join(POINTS);
        for walked in walked {
            let later = name == "backups" && walked.path.starts_with(&points);
            if walked.kind != FileKind::Other
                && !later
                && let Ok(stat) = around.disk.stat(&walked.path)
            {
                self.add(around, walked.path, &stat);
            }
        }
    }

    fn add(&mut self, around: &Surroundings<'_>, path: PathBuf, stat: &Stat) {
        let is_open = is_open(stat);
        let is_foreign = is_foreign(around, stat);
        if !(is_open || is_foreign) {
            return;
        }
        // A rollback point's file is another name of one that was named already.
        if stat.kind == FileKind::File
            && stat
                .identity
                .is_some_and(|identity| !self.known.insert(identity))
        {
            return;
        }
        let directory = match path.parent() {
            Some(parent) if path != around.data_dir => parent.to_path_buf(),
            _ => path.clone(),
        };
        if is_open {
            let files = self.open.entry(directory.clone()).or_default();
            files.push((path.clone(), *stat));
        }
        if is_foreign {
            let files = self.foreign.entry(directory).or_default();
            files.push((path, *stat));
        }
    }

    fn tell(self, around: &Surroundings<'_>, found: &mut Vec<Finding>) {
        for (directory, mut files) in self.open {
            // Secrets are never only counted, and what is counted is closed file by file.
            let named = files.extract_if(.., |(path, stat)| {
                is_secret(path) || stat.kind == FileKind::Directory
            });
            found.extend(named.map(|(path, stat)| mode(around, &path, &stat)));
            if files.len() <= MANY {
                found.extend(files.iter().map(|(path, stat)| mode(around, path, stat)));
                continue;
            }
            let (path, stat) = &files[0];
            found.push(
                Finding::new(
                    "security.mode",
                    Severity::Warning,
                    subject(around, &directory),
                    format!(
                        "{} in this directory are open to others than you, or closed to you, such as {} (mode {})",
                        counted(files.len(), "file"),
                        path.file_name().unwrap_or_default().display(),
                        octal(stat)
                    ),
                    "run `pachat validate --fix`",
                )
                .fixable(),
            );
        }
        for (directory, files) in self.foreign {
            found.push(owner(around, &directory, &files));
        }
    }
}

/// What cannot be read by others because of its own directory's permissions could be as soon
/// as it is copied or linked elsewhere, so each is judged by itself.
fn is_open(stat: &Stat) -> bool {
    let Some(mode) = stat.mode else {
        return false;
    };
    let own = if stat.kind == FileKind::Directory {
        0o700
    } else {
        0o600
    };
    mode & 0o077 != 0 || mode & own != own
}

fn is_foreign(around: &Surroundings<'_>, stat: &Stat) -> bool {
    matches!((around.user, stat.owner), (Some(user), Some(owner)) if user != owner)
}

/// Files that hold a key, sealed or not.
fn is_secret(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    matches!(name, Some("master.key" | "api_keys.enc" | ".env"))
}

fn octal(stat: &Stat) -> String {
    format!("{:04o}", stat.mode.unwrap_or_default() & 0o7777)
}

/// Who can do what they should not.
fn exposure(stat: &Stat) -> &'static str {
    let mode = stat.mode.unwrap_or_default();
    if mode & 0o002 != 0 {
        "its permissions let every user of this machine change it"
    } else if mode & 0o020 != 0 {
        "its permissions let the users of its group change it"
    } else if mode & 0o005 != 0 {
        "its permissions let every user of this machine read it"
    } else if mode & 0o050 != 0 {
        "its permissions let the users of its group read it"
    } else if mode & 0o077 != 0 {
        "its permissions give others than you rights on it"
    } else {
        "its permissions keep you yourself from reading or writing it"
    }
}

fn mode(around: &Surroundings<'_>, path: &Path, stat: &Stat) -> Finding {
    let right = if stat.kind == FileKind::Directory {
        "700"
    } else {
        "600"
    };
    let name = subject(around, path);
    let cause = format!("{} (mode {})", exposure(stat), octal(stat));
    let remedy = format!(
        "run `pachat validate --fix`, or `chmod {right} {}`",
        path.display()
    );
    let is_exposed = stat.mode.is_some_and(|mode| mode & 0o077 != 0);
    if is_secret(path) && is_exposed {
        secret(name, &cause, &remedy)
    } else {
        Finding::new("security.mode", Severity::Warning, name, cause, remedy).fixable()
    }
}

fn secret(name: String, cause: &str, remedy: &str) -> Finding {
    Finding::new(
        "security.secret-mode",
        Severity::Error,
        name,
        format!("{cause}, and it holds a key"),
        format!("{remedy}; if others use this machine, have the server replace the key"),
    )
    .fixable()
}

fn owner(around: &Surroundings<'_>, directory: &Path, files: &[(PathBuf, Stat)]) -> Finding {
    let (path, stat) = &files[0];
    let owner = stat.owner.unwrap_or_default();
    let user = around.user.unwrap_or_default();
    let (name, cause) = if files.len() == 1 {
        let cause = format!("it belongs to user {owner}, and pachat runs as user {user}");
        (subject(around, path), cause)
    } else {
        let cause = format!(
            "{} in this directory belong to others, such as {} to user {owner}, and pachat runs as user {user}",
            counted(files.len(), "file"),
            path.file_name().unwrap_or_default().display(),
        );
        (subject(around, directory), cause)
    };
    Finding::new(
        "security.owner",
        Severity::Warning,
        name,
        cause,
        format!(
            "run pachat as the user whose data it is, never with sudo; to take it over: `sudo chown -R {user} {}`",
            around.data_dir.display()
        ),
    )
}

/// The directories above: whoever can write to one of them can put another data directory in
/// the place of this one. Below one with the sticky bit only the owner can.
fn look_above(around: &Surroundings<'_>, found: &mut Vec<Finding>) {
    let tops = [Some(around.data_dir), around.config_dir];
    let mut seen = HashSet::new();
    let tops = tops.into_iter().flatten();
    for top in tops.filter(|top| exists(around, top)) {
        for directory in top.ancestors().skip(1) {
            let Ok(stat) = around.disk.stat(directory) else {
                continue;
            };
            let mode = stat.mode.unwrap_or_default();
            if mode & 0o002 == 0 || !seen.insert(directory) {
                continue;
            }
            let name = directory.display().to_string();
            if mode & 0o1000 == 0 {
                found.push(Finding::new(
                    "security.parent",
                    Severity::Error,
                    &name,
                    format!("every user of this machine can put something else in the place of {} (mode {})", top.display(), octal(&stat)),
                    format!("run `chmod o-w {name}`, or keep the data elsewhere"),
                ));
            } else {
                found.push(Finding::new(
                    "security.shared",
                    Severity::Warning,
                    top.display().to_string(),
                    format!("it is below {name}, which every user of this machine writes to and which the system empties now and then"),
                    "keep it below your home directory: move it there and name it with --data-dir or PACHAT_DATA_DIR",
                ));
            }
        }
    }
}

/// The files of the configuration directory, each by itself: others than pachat's are nobody's
/// business here.
fn look_at_config_dir(around: &Surroundings<'_>, found: &mut Vec<Finding>) {
    let mut keys: Vec<PathBuf> = Vec::new();
    let mut others: Vec<PathBuf> = Vec::new();
    if let Some(directory) = around.config_dir {
        if let Ok(stat) = around.disk.stat(directory)
            && stat.mode.is_some_and(|mode| mode & 0o022 != 0)
        {
            found.push(mode(around, directory, &stat));
        }
        keys.push(directory.join("master.key"));
        others.push(directory.join("master.command"));
        others.push(directory.join("history"));
    }
    keys.extend(around.identity.map(Path::to_path_buf));
    match around.env_file {
        Some((path, true)) => keys.push(path.to_path_buf()),
        // Without a key in it anybody may read it, but not change it: it says where requests go.
        Some((path, false)) if behind(around, path).is_some_and(|stat| is_changeable(&stat)) => {
            others.push(path.to_path_buf());
        }
        _ => {}
    }
    for (path, is_key) in keys
        .into_iter()
        .map(|path| (path, true))
        .chain(others.into_iter().map(|path| (path, false)))
    {
        if path.starts_with(around.data_dir) {
            continue;
        }
        let Some(stat) = behind(around, &path) else {
            continue;
        };
        let name = path.display().to_string();
        if stat.mode.is_some_and(|mode| mode & 0o077 != 0) {
            let cause = format!("{} (mode {})", exposure(&stat), octal(&stat));
            let remedy = format!("run `pachat validate --fix`, or `chmod 600 {name}`");
            found.push(if is_key {
                secret(name, &cause, &remedy)
            } else {
                Finding::new("security.mode", Severity::Warning, name, cause, remedy).fixable()
            });
        }
        if is_foreign(around, &stat) {
            let directory = path.parent().unwrap_or(&path).to_path_buf();
            found.push(owner(around, &directory, &[(path, stat)]));
        }
    }
}

/// What a path leads to, if it is a file: these may be links into a directory of dotfiles.
fn behind(around: &Surroundings<'_>, path: &Path) -> Option<Stat> {
    let file = around.disk.open(path, Open::Read).ok()?;
    file.stat().ok().filter(|stat| stat.kind == FileKind::File)
}

fn is_changeable(stat: &Stat) -> bool {
    stat.mode.is_some_and(|mode| mode & 0o022 != 0)
}
