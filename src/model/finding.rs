//! What a look at the installation finds: what is wrong, why, and what to do.

use serde::Serialize;

/// How serious a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing; nothing is wrong.
    Note,
    /// Something that will hurt some day, or that is not as it should be.
    Warning,
    /// Something is broken, exposed or cannot be read.
    Error,
}

impl Severity {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// One thing that was found. The shape of an element of `validate --json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What kind of thing, for programs: `store.torn-tail`. Never renamed.
    pub code: &'static str,
    /// How serious it is.
    pub severity: Severity,
    /// What it is about: a path below the data directory, another path, or a setting.
    pub subject: String,
    /// The line of a file, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// What is wrong, and why that matters: one sentence without a full stop.
    pub cause: String,
    /// What to do about it; the command to type where there is one.
    pub remedy: String,
    /// Whether `validate --fix` repairs it without losing anything.
    pub fixable: bool,
}

impl Finding {
    /// A finding about `subject`.
    pub fn new(
        code: &'static str,
        severity: Severity,
        subject: impl Into<String>,
        cause: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            code,
            severity,
            subject: subject.into(),
            line: None,
            cause: cause.into(),
            remedy: remedy.into(),
            fixable: false,
        }
    }

    /// The same, at this line of the file.
    #[must_use]
    pub fn at_line(mut self, line: u64) -> Self {
        self.line = Some(line);
        self
    }

    /// The same, as one that `--fix` repairs.
    #[must_use]
    pub fn fixable(mut self) -> Self {
        self.fixable = true;
        self
    }
}
