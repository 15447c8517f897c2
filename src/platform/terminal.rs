//! The terminal itself: its size now, and its modes, which must be given back.

/// Columns and rows of the terminal that shows standard output, as they are now.
#[expect(clippy::disallowed_methods, reason = "this is the door")]
pub fn size() -> Option<(usize, usize)> {
    let (width, height) = terminal_size::terminal_size_of(std::io::stdout())?;
    Some((usize::from(width.0), usize::from(height.0)))
}

/// Columns and rows of the terminal that shows standard error, as they are now.
#[expect(clippy::disallowed_methods, reason = "this is the door")]
pub fn error_size() -> Option<(usize, usize)> {
    let (width, height) = terminal_size::terminal_size_of(std::io::stderr())?;
    Some((usize::from(width.0), usize::from(height.0)))
}

/// The modes of the terminal that is standard input. They belong to the terminal, not to the
/// process: whoever changes them leaves a broken terminal behind if it does not restore them.
#[derive(Clone)]
pub struct Modes(#[cfg(unix)] rustix::termios::Termios);

#[cfg(unix)]
impl Modes {
    /// The modes as they are now; `None` if standard input is no terminal.
    pub fn now() -> Option<Self> {
        let stdin = rustix::stdio::stdin();
        rustix::termios::tcgetattr(stdin).ok().map(Self)
    }

    /// Puts these modes in force.
    pub fn restore(&self) {
        use rustix::termios::{OptionalActions, tcsetattr};
        // A terminal that is gone needs no modes.
        let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &self.0);
    }
}

#[cfg(not(unix))]
impl Modes {
    /// Elsewhere the line editor looks after the modes.
    pub fn now() -> Option<Self> {
        None
    }

    /// Nothing to restore.
    pub fn restore(&self) {}
}

/// As long as this lives, what is typed does not show. It is not lost: the next prompt has it.
pub struct Hushed(Modes);

impl Hushed {
    /// Stops the echo; `None` where that cannot be done, which does no harm.
    pub fn begin() -> Option<Self> {
        let before = Modes::now()?;
        #[cfg(unix)]
        {
            let mut silent = before.clone();
            silent.0.local_modes -= rustix::termios::LocalModes::ECHO;
            silent.restore();
        }
        Some(Self(before))
    }
}

impl Drop for Hushed {
    fn drop(&mut self) {
        self.0.restore();
    }
}
