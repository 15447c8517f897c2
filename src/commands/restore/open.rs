//! Which archive is meant, and what opens it.
//!
//! Layer: commands. Promise: a pass phrase and an identity reach neither the log nor a message.

use std::cell::RefCell;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use zeroize::Zeroizing;

use crate::archive::seal::{self, Opener};
use crate::context::Context;
use crate::model::backup::{Hasher, Sha256};
use crate::model::error::{Error, Kind, Result, describe};
use crate::model::secret::Secret;
use crate::ops::restore::Source;
use crate::platform::disk::Open;
use crate::store::Store;
use crate::store::backups::{self, Backup};

use super::RestoreArgs;
use crate::commands::passphrase;

/// How much of an archive tells whether it is sealed, and how, in bytes.
const BEGINNING: u64 = 4096;

/// An archive that is open.
pub(super) struct Opened {
    /// What to call it: the id of a backup, the name of a file, or standard input.
    pub name: String,
    /// The backup, if it is one of the directory's.
    pub backup: Option<Backup>,
    path: Option<PathBuf>,
    sealed: bool,
    input: Box<dyn Read>,
    tally: Rc<RefCell<Tally>>,
}

/// What was read of a file so far.
#[derive(Default)]
struct Tally {
    hasher: Hasher,
    len: u64,
}

struct Tallied {
    input: Box<dyn Read>,
    tally: Rc<RefCell<Tally>>,
}

impl Read for Tallied {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        let mut tally = self.tally.borrow_mut();
        tally.hasher.update(&buffer[..count]);
        tally.len += count as u64;
        Ok(count)
    }
}

impl Opened {
    /// Its bytes, unsealed.
    pub(super) fn source(&mut self) -> Source<'_> {
        Source {
            input: self.input.as_mut(),
            sealed: self.sealed,
        }
    }

    /// Whether it is sealed.
    pub(super) fn is_sealed(&self) -> bool {
        self.sealed
    }

    /// The length and the digest of the archive as it is on the disk, once it has been read.
    pub(super) fn digest(&self) -> (u64, Sha256) {
        let tally = std::mem::take(&mut *self.tally.borrow_mut());
        (tally.len, tally.hasher.finish())
    }

    /// Says of an archive that was refused which one it is, and what to do.
    pub(super) fn blame(&self, error: Error) -> Error {
        if error.kind() != Kind::Malformed || error.path_ref().is_some() {
            return error;
        }
        let error = match &self.path {
            Some(path) => error.path(path),
            None => error.cause(format!("it came from {}", self.name)),
        };
        match error.hint_text() {
            Some(_) => error,
            None => error.hint("nothing was changed; see the other backups: pachat restore --list"),
        }
    }
}

/// Opens the archive that `spec` names. Asks for a pass phrase if it takes one.
pub(super) fn open(
    spec: &str,
    args: &RestoreArgs,
    store: &Store,
    context: &mut Context,
) -> Result<Opened> {
    let found = find(spec, store, context)?;
    let tally = Rc::default();
    let mut input = Tallied {
        input: found.input,
        tally: Rc::clone(&tally),
    };
    let cannot = |error: io::Error| match &found.path {
        Some(path) => Error::io("cannot read the backup", path, &error),
        None => Error::new(Kind::Io, "cannot read the backup from standard input").cause(error),
    };
    let mut beginning = Vec::new();
    (&mut input)
        .take(BEGINNING)
        .read_to_end(&mut beginning)
        .map_err(cannot)?;
    let sealed = seal::is_sealed(&beginning);
    let key = if sealed {
        Some(opener(&beginning, &found.name, args, context)?)
    } else {
        None
    };
    let whole = Box::new(io::Cursor::new(beginning).chain(input));
    let mut opened = Opened {
        name: found.name,
        backup: found.backup,
        path: found.path,
        sealed,
        input: Box::new(io::empty()),
        tally,
    };
    opened.input = match key {
        Some(key) => seal::open(whole, &key).map_err(|error| opened.refused(error))?,
        None => whole,
    };
    Ok(opened)
}

impl Opened {
    /// Says of an archive that could not be opened which one it is, and what would open it.
    fn refused(&self, error: Error) -> Error {
        if error.kind() != Kind::Denied {
            return self.blame(error);
        }
        let error = match (&self.path, error.path_ref()) {
            (Some(path), None) => error.path(path),
            _ => error,
        };
        match error.hint_text() {
            Some(_) => error,
            None => error.hint("name what opens it: --identity FILE, or --passphrase-file FILE"),
        }
    }
}

struct Found {
    name: String,
    path: Option<PathBuf>,
    backup: Option<Backup>,
    input: Box<dyn Read>,
}

/// A file where it is one or can only be one, else a backup.
fn find(spec: &str, store: &Store, context: &mut Context) -> Result<Found> {
    if spec == "-" {
        let nothing = Box::new(io::empty());
        return Ok(Found {
            name: "standard input".into(),
            path: None,
            backup: None,
            input: Box::new(std::mem::replace(&mut context.stdin.reader, nothing)),
        });
    }
    let path = context.environment.resolve(Path::new(spec));
    let is_path = spec.contains(std::path::is_separator);
    let (name, path, backup) = if is_path || context.disk.stat(&path).is_ok() {
        (spec.to_owned(), path, None)
    } else {
        let backup = backups::find(store, spec)?;
        (backup.id.clone(), backup.path.clone(), Some(backup))
    };
    let file = context.disk.open(&path, Open::Read).map_err(|error| {
        Error::io("cannot open the backup", &path, &error)
            .hint("see the backups there are: pachat restore --list")
    })?;
    Ok(Found {
        name,
        path: Some(path),
        backup,
        input: file,
    })
}

/// What opens a sealed archive that begins with these bytes.
fn opener(
    beginning: &[u8],
    name: &str,
    args: &RestoreArgs,
    context: &mut Context,
) -> Result<Opener> {
    if seal::wants_passphrase(beginning) {
        let secret = passphrase(name, args, context)?;
        context.log.hide(&secret);
        return Ok(Opener::Passphrase(secret));
    }
    let mut files: Vec<PathBuf> = args
        .identity
        .iter()
        .map(|path| context.environment.resolve(path))
        .collect();
    if files.is_empty() {
        files.extend(context.settings.backup_identity().map(PathBuf::from));
    }
    if files.is_empty() {
        return Err(sealed(
            name,
            "it is encrypted, and no identity is named",
            "name the file of an age identity: --identity FILE, or pachat config set backup.identity FILE",
        ));
    }
    let mut text = Zeroizing::new(String::new());
    for file in &files {
        let bytes = Zeroizing::new(passphrase::read(file, "the identity", context)?);
        let identity = std::str::from_utf8(&bytes).map_err(|_| {
            Error::new(Kind::Denied, "cannot read the identity")
                .why("it is not text")
                .path(file)
        })?;
        text.push_str(identity);
        text.push('\n');
    }
    Ok(Opener::Identities(Secret::from_zeroizing(text)))
}

fn sealed(name: &str, why: &str, hint: &str) -> Error {
    Error::new(Kind::Denied, format!("cannot open {name}"))
        .why(why)
        .hint(hint)
}

fn passphrase(name: &str, args: &RestoreArgs, context: &mut Context) -> Result<Secret> {
    let (file, command) = (
        args.passphrase_file.as_deref(),
        args.passphrase_command.as_deref(),
    );
    let refused = |why: &str| {
        let what = format!("cannot open {name} with this pass phrase");
        Error::new(Kind::Denied, what).why(why)
    };
    if let Some(secret) = passphrase::given(file, command, &refused, context)? {
        return Ok(secret);
    }
    let prompt = format!("Pass phrase of {name} (not shown): ");
    let typed = context.secrets.ask(&prompt).map_err(|error| {
        if let Some(signal) = Error::of_wait(&error) {
            return signal;
        }
        sealed(
            name,
            "it is encrypted with a pass phrase, and there is no terminal to ask on",
            "give the pass phrase: --passphrase-file FILE, or --passphrase-command COMMAND",
        )
        .cause(describe(&error))
    })?;
    Ok(Secret::from_zeroizing(typed))
}
