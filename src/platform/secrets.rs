//! Hidden prompts on the controlling terminal.

use std::io;

use zeroize::Zeroizing;

use super::{Secrets, Signals};

/// Prompts on the controlling terminal.
pub(super) struct TerminalSecrets {
    #[cfg_attr(
        not(unix),
        expect(dead_code, reason = "the prompt ends there by itself")
    )]
    signals: Signals,
}

impl TerminalSecrets {
    pub(super) fn new(signals: Signals) -> Self {
        Self { signals }
    }
}

#[cfg(unix)]
impl Secrets for TerminalSecrets {
    fn ask(&self, prompt: &str) -> io::Result<Zeroizing<String>> {
        unix::ask(prompt, &self.signals)
    }
}

#[cfg(not(unix))]
impl Secrets for TerminalSecrets {
    fn ask(&self, prompt: &str) -> io::Result<Zeroizing<String>> {
        rpassword::prompt_password(prompt).map(Zeroizing::new)
    }
}

#[cfg(unix)]
mod unix {
    use std::fs;
    use std::io::{self, Read as _, Write as _};

    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
    use zeroize::Zeroizing;

    use crate::platform::Signals;

    /// The longest line that a terminal gives, in bytes: more would move, and leave a copy.
    const LONGEST: usize = 4096;

    /// How long a signal may go unnoticed that came right before the wait.
    const GLANCE: Timespec = Timespec {
        tv_sec: 0,
        tv_nsec: 100_000_000,
    };

    /// A terminal that shows nothing of what is typed but the end of the line, until it is
    /// dropped: also when a signal ends the wait, else the shell would go on so.
    struct Silent<'a>(&'a fs::File, Termios);

    impl<'a> Silent<'a> {
        fn begin(terminal: &'a fs::File) -> io::Result<Self> {
            let before = tcgetattr(terminal)?;
            let mut silent = before.clone();
            silent.local_modes -= LocalModes::ECHO;
            silent.local_modes |= LocalModes::ECHONL;
            tcsetattr(terminal, OptionalActions::Now, &silent)?;
            Ok(Self(terminal, before))
        }
    }

    impl Drop for Silent<'_> {
        fn drop(&mut self) {
            // A terminal that is gone needs no modes.
            let _ = tcsetattr(self.0, OptionalActions::Now, &self.1);
        }
    }

    pub(super) fn ask(prompt: &str, signals: &Signals) -> io::Result<Zeroizing<String>> {
        let terminal = fs::File::options()
            .read(true)
            .write(true)
            .open("/dev/tty")?;
        // Before the prompt: who answers it at once is not shown either.
        let _silent = Silent::begin(&terminal)?;
        (&terminal).write_all(prompt.as_bytes())?;
        let mut line = Zeroizing::new(Vec::with_capacity(LONGEST));
        let mut piece = Zeroizing::new([0; LONGEST]);
        loop {
            if let Some(signal) = signals.pending() {
                // The next line begins at the left.
                let _ = (&terminal).write_all(b"\n");
                return Err(io::Error::new(io::ErrorKind::Interrupted, signal));
            }
            // Where a terminal cannot be waited for so, this returns at once, and the read waits.
            match poll(&mut [PollFd::new(&terminal, PollFlags::IN)], Some(&GLANCE)) {
                Ok(0) | Err(rustix::io::Errno::INTR) => continue,
                Ok(_) => {}
                Err(error) => return Err(error.into()),
            }
            let length = (&terminal).read(&mut piece[..])?;
            line.extend_from_slice(&piece[..length]);
            if length == 0 {
                let _ = (&terminal).write_all(b"\n");
            }
            if length == 0 || line.ends_with(b"\n") {
                break;
            }
        }
        while matches!(line.last(), Some(b'\n' | b'\r')) {
            line.pop();
        }
        String::from_utf8(std::mem::take(&mut *line))
            .map(Zeroizing::new)
            .map_err(|error| {
                drop(Zeroizing::new(error.into_bytes()));
                io::Error::new(io::ErrorKind::InvalidData, "it is not text")
            })
    }
}
