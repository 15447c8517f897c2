//! What probes find: how it is, what is wrong, what to do, and numbers.
//!
//! Layer: ops.

use jiff::Timestamp;
use serde::Serialize;

use crate::model::error::Error;
use crate::ops::statistics::Statistics;

/// How a probe ended, and how all of them did: the worst counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Not looked at, and why is in the value.
    Skipped,
    /// As it should be.
    Ok,
    /// Works, and something is not as it should be.
    Degraded,
    /// Does not work.
    Unhealthy,
}

impl Status {
    /// The word for a probe.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Skipped => "skipped",
            Self::Ok => "ok",
            Self::Degraded => "degraded",
            Self::Unhealthy => "unhealthy",
        }
    }

    /// The word for everything.
    pub const fn overall(self) -> &'static str {
        match self {
            Self::Skipped | Self::Ok => "HEALTHY",
            Self::Degraded => "DEGRADED",
            Self::Unhealthy => "UNHEALTHY",
        }
    }

    /// The number for monitoring, which is also the exit code: 0, 1 or 2.
    pub const fn number(self) -> u8 {
        match self {
            Self::Skipped | Self::Ok => 0,
            Self::Degraded => 1,
            Self::Unhealthy => 2,
        }
    }
}

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// How bad it is.
    pub status: Status,
    /// What it is, for programs. Never renamed.
    pub code: &'static str,
    /// What is wrong: one sentence without a full stop.
    pub cause: String,
    /// What to do about it.
    pub remedy: String,
}

/// A number for monitoring.
#[derive(Clone, Debug, PartialEq)]
pub struct Metric {
    /// What it measures, with its unit at the end: seconds, bytes.
    pub name: &'static str,
    /// The same as a sentence without a full stop.
    pub about: &'static str,
    /// The number.
    pub value: f64,
}

/// What a probe has found.
#[derive(Clone, Debug, PartialEq)]
pub struct Probe {
    /// Which one.
    pub name: &'static str,
    /// How it is, for people.
    pub value: String,
    /// Whether it was not looked at.
    skipped: bool,
    /// What is wrong, the worst first.
    pub problems: Vec<Problem>,
    /// What was measured.
    pub metrics: Vec<Metric>,
}

impl Probe {
    pub(super) fn new(name: &'static str, value: impl Into<String>) -> Self {
        Self {
            name,
            value: value.into(),
            skipped: false,
            problems: Vec::new(),
            metrics: Vec::new(),
        }
    }

    pub(super) fn skipped(name: &'static str, why: impl Into<String>) -> Self {
        Self {
            skipped: true,
            ..Self::new(name, why)
        }
    }

    /// The worst of its problems.
    pub fn status(&self) -> Status {
        match self.problems.first() {
            Some(problem) => problem.status,
            None if self.skipped => Status::Skipped,
            None => Status::Ok,
        }
    }

    pub(super) fn with(
        mut self,
        status: Status,
        code: &'static str,
        cause: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        self.problems.push(Problem {
            status,
            code,
            cause: cause.into(),
            remedy: remedy.into(),
        });
        // Stable: of equally bad ones the first that was found stays first.
        self.problems
            .sort_by_key(|problem| std::cmp::Reverse(problem.status));
        self
    }

    pub(super) fn degraded(
        self,
        code: &'static str,
        cause: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        self.with(Status::Degraded, code, cause, remedy)
    }

    pub(super) fn unhealthy(
        self,
        code: &'static str,
        cause: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        self.with(Status::Unhealthy, code, cause, remedy)
    }

    /// A problem in the words of an error.
    pub(super) fn failed(
        self,
        status: Status,
        code: &'static str,
        error: &Error,
        otherwise: &str,
    ) -> Self {
        let (cause, remedy) = told(error);
        self.with(
            status,
            code,
            cause,
            remedy.unwrap_or_else(|| otherwise.into()),
        )
    }

    pub(super) fn metric(mut self, name: &'static str, about: &'static str, value: f64) -> Self {
        self.metrics.push(Metric { name, about, value });
        self
    }
}

/// What is wrong by an error, on one line, and what it advises.
pub(super) fn told(error: &Error) -> (String, Option<String>) {
    let mut cause = error.headline();
    if let Some(path) = error.path_ref() {
        cause.push_str(&format!(" ({})", path.display()));
    }
    if let Some(why) = error.cause_text() {
        cause.push_str(&format!(" ({why})"));
    }
    (cause, error.hint_text().map(str::to_owned))
}

/// What was found.
#[derive(Clone, Debug)]
pub struct Report {
    /// When the look began.
    pub at: Timestamp,
    /// In the order of [`super::NAMES`].
    pub probes: Vec<Probe>,
    /// What the log tells, if it was looked at.
    pub statistics: Option<Statistics>,
}

impl Report {
    /// The worst of all.
    pub fn status(&self) -> Status {
        let worst = self.probes.iter().map(Probe::status).max();
        worst.unwrap_or(Status::Ok).max(Status::Ok)
    }

    /// Those that are not as they should be, the worst first.
    pub fn complaints(&self) -> Vec<&Probe> {
        let mut bad: Vec<&Probe> = self
            .probes
            .iter()
            .filter(|probe| probe.status() > Status::Ok)
            .collect();
        bad.sort_by_key(|probe| std::cmp::Reverse(probe.status()));
        bad
    }
}
