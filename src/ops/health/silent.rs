//! Places that give no answer, and what cannot be looked at because of them.
//!
//! Layer: ops.

use std::path::{Path, PathBuf};

use super::{
    BACKUP, CONFIG, DATA_DIR, INTERRUPTED, KEY, LOOK, MODEL, PERMISSIONS, Probe, RATE, REQUESTS,
    SERVER, STORE,
};

/// A place that was looked at and gave no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Silent {
    /// The data directory.
    Data(PathBuf),
    /// The configuration directory, or a file of settings or variables.
    Config(PathBuf),
    /// The file of `--api-key-file`.
    Key(PathBuf),
    /// The directory of backups, where that is elsewhere.
    Backups(PathBuf),
}

impl Silent {
    /// Where it is.
    pub fn path(&self) -> &Path {
        match self {
            Self::Data(path) | Self::Config(path) | Self::Key(path) | Self::Backups(path) => path,
        }
    }

    /// Whether it is not known what the settings are.
    pub fn hides_settings(&self) -> bool {
        matches!(self, Self::Data(_) | Self::Config(_))
    }

    /// The probe that tells of it.
    fn teller(&self) -> &'static str {
        match self {
            Self::Data(_) => DATA_DIR,
            Self::Config(_) => CONFIG,
            Self::Key(_) => KEY,
            Self::Backups(_) => BACKUP,
        }
    }

    /// The probes that have nothing to look at then.
    fn blinded(&self) -> &'static [&'static str] {
        match self {
            Self::Data(_) => &[
                PERMISSIONS,
                CONFIG,
                KEY,
                SERVER,
                MODEL,
                REQUESTS,
                RATE,
                STORE,
                INTERRUPTED,
                BACKUP,
            ],
            Self::Config(_) => &[PERMISSIONS, KEY, SERVER, MODEL],
            Self::Key(_) => &[],
            Self::Backups(_) => &[STORE, INTERRUPTED],
        }
    }
}

/// What can be said without looking: who gives no answer, and whom that concerns. Without its
/// settings no look is worth much, so that they give no answer is said whatever was `wanted`.
pub(super) fn probes(silent: &[Silent], wanted: &[&str]) -> Vec<Probe> {
    let mut probes: Vec<Probe> = Vec::new();
    for place in silent {
        let is_told = probes.iter().any(|probe| probe.name == place.teller());
        if !is_told && (place.hides_settings() || wanted.contains(&place.teller())) {
            probes.push(no_answer(place));
        }
    }
    for place in silent {
        for name in place.blinded().iter().filter(|name| wanted.contains(name)) {
            if !probes.iter().any(|probe| probe.name == *name) {
                let why = format!("{} gives no answer", place.path().display());
                probes.push(Probe::skipped(name, why));
            }
        }
    }
    probes
}

fn no_answer(place: &Silent) -> Probe {
    let path = place.path().display();
    Probe::new(place.teller(), format!("{path}, no answer")).unhealthy(
        "no-answer",
        format!("{path} gave no answer for {} s", LOOK.as_secs()),
        "check the file system that it is on: one of the network that is away is to be mounted anew",
    )
}
