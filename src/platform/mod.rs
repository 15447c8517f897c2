//! The only doors to the host: disk, clock, environment, terminal, signals,
//! randomness, other programs.
//!
//! Everything is taken once in `main`, by [`Host::from_process`], and handed down.
//! A test builds a [`Host`] of its own and sees exactly what a process would.

pub mod clock;
pub mod disk;
pub mod environment;
pub mod guard;
pub mod network;
pub mod process;
pub mod program;
pub mod random;
mod secrets;
pub mod signals;
pub mod streams;
pub mod terminal;

use std::sync::Arc;

pub use clock::Clock;
pub use disk::Disk;
pub use environment::Environment;
pub use guard::Guard;
pub use network::Network;
pub use program::Programs;
pub use random::Random;
pub use signals::Signals;
pub use streams::{Input, Output, Secrets};

/// The machine as one run of pachat sees it.
pub struct Host {
    /// Variables and directories.
    pub environment: Environment,
    /// Standard input.
    pub stdin: Input,
    /// Standard output: data.
    pub stdout: Output,
    /// Standard error: talk.
    pub stderr: Output,
    /// Prompts for secrets on the terminal.
    pub secrets: Box<dyn Secrets>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Files.
    pub disk: Arc<dyn Disk>,
    /// Unpredictable bytes.
    pub random: Arc<dyn Random>,
    /// Ctrl-C and its relatives.
    pub signals: Signals,
    /// Other programs: an editor, a command that prints a key.
    pub programs: Box<dyn Programs>,
}

impl Host {
    /// The real host.
    pub fn from_process() -> Self {
        let signals = Signals::install();
        let programs = program::RealPrograms::new(signals.clone());
        Self {
            environment: Environment::from_process(),
            stdin: streams::real_stdin(),
            stdout: streams::real_stdout(),
            stderr: streams::real_stderr(),
            secrets: Box::new(secrets::TerminalSecrets::new(signals.clone())),
            clock: Arc::new(clock::RealClock::start()),
            disk: Arc::new(disk::RealDisk),
            random: Arc::new(random::RealRandom),
            signals,
            programs: Box::new(programs),
        }
    }
}
