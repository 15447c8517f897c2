//! The one error of the program: its kind decides the exit code, and hints are
//! data rather than prose hidden in a message.
//!
//! Every layer returns [`Error`], so no layer needs a conversion table, and the
//! table of exit codes in the manual is generated from [`Kind`].

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::platform::signals::Signal;

/// What every fallible operation returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The kinds of failure. A kind is an exit code; nothing else decides one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Nobody reads the output any more: a quiet end, exit code 0.
    Closed,
    /// The question was answered, and the answer is no.
    No,
    /// The command line cannot be carried out as it was given.
    Usage,
    /// A stored file, an archive, an input or the request itself is malformed.
    Malformed,
    /// The named conversation, backup, rollback point or file does not exist.
    NotFound,
    /// The network or the server cannot be reached, after retries.
    Unavailable,
    /// A fault in pachat.
    Bug,
    /// An output file cannot be created, or a limit on what is kept is reached.
    CannotCreate,
    /// A read or a write failed, or the disk is full.
    Io,
    /// A lock is held, or a rate or quota is used up.
    Busy,
    /// The reply is incomplete, or what answered does not speak the protocol.
    Incomplete,
    /// The key is missing or refused, or the account has no credit.
    Denied,
    /// The configuration is invalid.
    Config,
    /// Stopped by SIGINT (Ctrl-C) or SIGHUP.
    Interrupted,
    /// Stopped by SIGTERM.
    Terminated,
}

impl Kind {
    /// Every kind that is a failure, in the order of its exit code.
    pub const ALL: [Self; 14] = [
        Self::No,
        Self::Usage,
        Self::Malformed,
        Self::NotFound,
        Self::Unavailable,
        Self::Bug,
        Self::CannotCreate,
        Self::Io,
        Self::Busy,
        Self::Incomplete,
        Self::Denied,
        Self::Config,
        Self::Interrupted,
        Self::Terminated,
    ];

    /// The process exit code. 65 to 78 are those of BSD's `sysexits.h`, where it
    /// has one of that meaning.
    pub const fn code(self) -> u8 {
        match self {
            Self::Closed => 0,
            Self::No => 1,
            Self::Usage => 2,
            Self::Malformed => 65,
            Self::NotFound => 66,
            Self::Unavailable => 69,
            Self::Bug => 70,
            Self::CannotCreate => 73,
            Self::Io => 74,
            Self::Busy => 75,
            Self::Incomplete => 76,
            Self::Denied => 77,
            Self::Config => 78,
            Self::Interrupted => 130,
            Self::Terminated => 143,
        }
    }

    /// What the code means, as the manual prints it.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Closed => "done; also when the reader closed the pipe",
            Self::No => {
                "the answer is no: a search found nothing, a check has findings, the health is degraded, or there is no room"
            }
            Self::Usage => "bad command line, or an id that names more than one conversation",
            Self::Malformed => {
                "a stored file, an archive or the input is malformed, an archive was refused, or the server refused the request as invalid"
            }
            Self::NotFound => "no such conversation, backup, rollback point or file",
            Self::Unavailable => "the network or the server is unavailable, after retries",
            Self::Bug => "a fault in pachat",
            Self::CannotCreate => {
                "an output file cannot be created, what somebody edited would be replaced, or a limit on what is kept is reached"
            }
            Self::Io => "a read or write failed, or the disk is full; nothing is lost or half done",
            Self::Busy => "busy: a lock is held, the rate is limited or a daily quota is used up",
            Self::Incomplete => {
                "the reply is incomplete (cut, stalled, failed midway), or the server does not speak the protocol"
            }
            Self::Denied => {
                "the key is missing or refused, the account has no credit, or nothing opens an encrypted backup"
            }
            Self::Config => "the configuration is invalid",
            Self::Interrupted => {
                "interrupted by Ctrl-C or a closed terminal; a partial reply is kept"
            }
            Self::Terminated => "terminated by SIGTERM; a partial reply is kept",
        }
    }

    /// What a script should do about it, as the manual prints it.
    pub const fn advice(self) -> &'static str {
        match self {
            Self::Closed => "go on",
            Self::No => "look",
            Self::Usage | Self::NotFound => "fix the call",
            Self::Malformed => "look at what the message names",
            Self::Unavailable | Self::Busy => "retry later",
            Self::Bug => "report it",
            Self::CannotCreate => "make room as the message says, or name another place",
            Self::Io => "fix the disk",
            Self::Incomplete => "look, then `pachat send -c`",
            Self::Denied => "fix the key",
            Self::Config => "fix the configuration",
            Self::Interrupted | Self::Terminated => "go on with `pachat send -c`",
        }
    }
}

/// What failed, why, where, and what to do about it.
///
/// Shown as `pachat: WHAT: WHY`, then the file, the cause and the hint on lines of
/// their own. No part of it may hold a key: texts from outside pass through
/// redaction before they get here.
pub struct Error(Box<Inner>);

struct Inner {
    kind: Kind,
    what: String,
    why: Option<String>,
    path: Option<PathBuf>,
    cause: Option<String>,
    hint: Option<String>,
    unknown_model: Option<String>,
    somebody_else: bool,
    nothing_yet: bool,
}

impl Error {
    /// An error of `kind`; `what` says what could not be done.
    pub fn new(kind: Kind, what: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            what: what.into(),
            why: None,
            path: None,
            cause: None,
            hint: None,
            unknown_model: None,
            somebody_else: false,
            nothing_yet: false,
        }))
    }

    /// A failed file operation. The kind follows from the error's own kind.
    pub fn io(what: impl Into<String>, path: &Path, error: &io::Error) -> Self {
        let kind = match error.kind() {
            io::ErrorKind::NotFound => Kind::NotFound,
            io::ErrorKind::InvalidData => Kind::Malformed,
            _ => Kind::Io,
        };
        let mut made = Self::new(kind, what).why(describe(error)).path(path);
        made.0.hint = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Some("free some space and run it again; nothing was lost".into())
            }
            io::ErrorKind::PermissionDenied => {
                Some("check the owner and the permissions of the file and its directory".into())
            }
            io::ErrorKind::NotADirectory => {
                Some("see which part is a file, and move it away: pachat validate store".into())
            }
            io::ErrorKind::ReadOnlyFilesystem => {
                Some("name a writable place with --data-dir or PACHAT_DATA_DIR".into())
            }
            _ => None,
        };
        made
    }

    /// Why it could not be done, in a few words.
    #[must_use]
    pub fn why(mut self, why: impl Into<String>) -> Self {
        self.0.why = Some(why.into());
        self
    }

    /// The file it happened to.
    #[must_use]
    pub fn path(mut self, path: &Path) -> Self {
        self.0.path = Some(path.to_path_buf());
        self
    }

    /// The text of the underlying cause.
    #[must_use]
    pub fn cause(mut self, cause: impl fmt::Display) -> Self {
        self.0.cause = Some(cause.to_string());
        self
    }

    /// What fixes it: one sentence, with the command to type where there is one.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// What a signal that has arrived makes of the work at hand.
    pub fn of_signal(signal: Signal) -> Self {
        match signal {
            Signal::Interrupt => Self::new(Kind::Interrupted, "interrupted"),
            Signal::Terminate => Self::new(Kind::Terminated, "terminated"),
        }
    }

    /// The error of a wait that a signal has ended, `None` where something else has.
    pub fn of_wait(error: &io::Error) -> Option<Self> {
        let signal = error.get_ref()?.downcast_ref::<Signal>()?;
        Some(Self::of_signal(*signal))
    }

    /// It is about this model, which the server does not know. Whoever knows what the server
    /// has can then name something like it.
    #[must_use]
    pub fn unknown_model(mut self, model: impl Into<String>) -> Self {
        self.0.unknown_model = Some(model.into());
        self
    }

    /// Nothing is wrong: another pachat is at work. A run that is to be quiet says nothing then,
    /// and its exit code says the rest.
    #[must_use]
    pub fn somebody_else(mut self) -> Self {
        self.0.somebody_else = true;
        self
    }

    /// Whether nothing is wrong but that another pachat is at work.
    pub fn is_somebody_else(&self) -> bool {
        self.0.somebody_else
    }

    /// Nothing is wrong: there is nothing yet that it could be done to, as on a new machine.
    #[must_use]
    pub fn nothing_yet(mut self) -> Self {
        self.0.nothing_yet = true;
        self
    }

    /// Whether nothing is wrong but that there is nothing yet.
    pub fn is_nothing_yet(&self) -> bool {
        self.0.nothing_yet
    }

    /// The same error as another kind.
    #[must_use]
    pub fn with_kind(mut self, kind: Kind) -> Self {
        self.0.kind = kind;
        self
    }

    /// The kind, which is the exit code.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// `WHAT: WHY` on one line.
    pub fn headline(&self) -> String {
        match &self.0.why {
            Some(why) => format!("{}: {why}", self.0.what),
            None => self.0.what.clone(),
        }
    }

    /// The hint, if there is one.
    pub fn hint_text(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// The model that the server does not know, if that is what it is about.
    pub fn unknown_model_text(&self) -> Option<&str> {
        self.0.unknown_model.as_deref()
    }

    /// The file, if there is one.
    pub fn path_ref(&self) -> Option<&Path> {
        self.0.path.as_deref()
    }

    /// The cause, if there is one.
    pub fn cause_text(&self) -> Option<&str> {
        self.0.cause.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.headline())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}({})", self.0.kind, self.headline())
    }
}

impl std::error::Error for Error {}

/// An I/O error in plain words, without the number of the operating system.
pub fn describe(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "no such file or directory".into(),
        io::ErrorKind::PermissionDenied => "permission denied".into(),
        io::ErrorKind::StorageFull => "the disk is full".into(),
        io::ErrorKind::QuotaExceeded => "the disk quota is used up".into(),
        io::ErrorKind::ReadOnlyFilesystem => "the file system is read-only".into(),
        io::ErrorKind::IsADirectory => "it is a directory".into(),
        io::ErrorKind::NotADirectory => "a part of the path is not a directory".into(),
        io::ErrorKind::AlreadyExists => "it exists already".into(),
        _ => {
            let text = error.to_string();
            match text.find(" (os error") {
                Some(end) => text[..end].to_lowercase(),
                None => text,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_distinct_and_in_order() {
        let codes: Vec<u8> = Kind::ALL.iter().map(|kind| kind.code()).collect();
        let mut sorted = codes.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(codes, sorted);
    }

    #[test]
    fn a_full_disk_is_74_with_a_hint() {
        let error = Error::io(
            "cannot save",
            Path::new("/x"),
            &io::Error::from(io::ErrorKind::StorageFull),
        );
        assert_eq!(error.kind().code(), 74);
        assert_eq!(error.headline(), "cannot save: the disk is full");
        assert!(error.hint_text().is_some());
    }
}
