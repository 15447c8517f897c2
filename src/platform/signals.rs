//! Ctrl-C, SIGTERM and SIGHUP as a flag that loops look at.
//!
//! The first signal asks the program to stop in good order. A second one ends the
//! process at once, in the handler itself, so nothing can hang it.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// A request to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Ctrl-C, or the terminal is gone (SIGHUP).
    Interrupt,
    /// SIGTERM.
    Terminate,
}

impl Signal {
    /// The exit code of a process stopped by it: 128 plus SIGINT's or SIGTERM's number.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Interrupt => 130,
            Self::Terminate => 143,
        }
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Interrupt => "interrupted",
            Self::Terminate => "terminated",
        })
    }
}

/// What ends something that waits.
impl std::error::Error for Signal {}

/// The signal that has arrived, if any. Clones share the state.
#[derive(Clone, Default)]
pub struct Signals {
    /// The number of the last signal, 0 for none.
    last: Arc<AtomicUsize>,
    /// Whether a further signal ends the process at once.
    armed: Arc<AtomicBool>,
    /// The action that ends the process at a second Ctrl-C.
    second_interrupt: Arc<Mutex<Option<signal_hook::SigId>>>,
}

impl Signals {
    /// Catches the process's signals.
    pub fn install() -> Self {
        let signals = Self::default();
        for (signal, code) in [
            (signal_hook::consts::SIGINT, Signal::Interrupt.exit_code()),
            (signal_hook::consts::SIGTERM, Signal::Terminate.exit_code()),
            #[cfg(unix)]
            (signal_hook::consts::SIGHUP, Signal::Interrupt.exit_code()),
        ] {
            // The order matters: actions run in the order of registration, so the first
            // signal finds the shutdown unarmed and arms it for the second.
            let registered = signal_hook::flag::register_conditional_shutdown(
                signal,
                i32::from(code),
                Arc::clone(&signals.armed),
            )
            .and_then(|id| {
                if signal == signal_hook::consts::SIGINT {
                    *signals.second_interrupt() = Some(id);
                }
                signal_hook::flag::register(signal, Arc::clone(&signals.armed))
            })
            .and_then(|_| {
                let number = usize::try_from(signal).unwrap_or_default();
                signal_hook::flag::register_usize(signal, Arc::clone(&signals.last), number)
            });
            if let Err(error) = registered {
                // The default action then stays in force, which also ends the program.
                log::warn!("signal {signal} cannot be caught: {error}");
            }
        }
        signals
    }

    /// What has arrived and was not taken yet.
    pub fn pending(&self) -> Option<Signal> {
        const TERMINATE: usize = signal_hook::consts::SIGTERM.unsigned_abs() as usize;
        match self.last.load(Ordering::SeqCst) {
            0 => None,
            TERMINATE => Some(Signal::Terminate),
            _ => Some(Signal::Interrupt),
        }
    }

    /// Takes a Ctrl-C that has been dealt with, so that the program can go on.
    /// SIGTERM is never taken back.
    pub fn take_interrupt(&self) {
        let interrupt = signal_hook::consts::SIGINT.unsigned_abs() as usize;
        if self
            .last
            .compare_exchange(interrupt, 0, Ordering::SeqCst, Ordering::SeqCst)
            .is_ok()
        {
            self.armed.store(false, Ordering::SeqCst);
        }
    }

    /// From here on any number of Ctrl-C only asks: in a chat, where it stops a reply and
    /// not the program, an impatient second one must not end everything.
    pub fn forgive_interrupts(&self) {
        if let Some(id) = self.second_interrupt().take() {
            signal_hook::low_level::unregister(id);
        }
    }

    fn second_interrupt(&self) -> std::sync::MutexGuard<'_, Option<signal_hook::SigId>> {
        // Nothing that holds it can panic, and an id is never half written.
        self.second_interrupt
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// What a handler does on Ctrl-C: for tests, and for keys that a line editor caught.
    pub fn raise_interrupt(&self) {
        self.last.store(
            signal_hook::consts::SIGINT.unsigned_abs() as usize,
            Ordering::SeqCst,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interrupt_can_be_taken_and_a_termination_cannot() {
        let signals = Signals::default();
        assert_eq!(signals.pending(), None);
        signals.raise_interrupt();
        assert_eq!(signals.pending(), Some(Signal::Interrupt));
        signals.take_interrupt();
        assert_eq!(signals.pending(), None);
        signals.last.store(
            signal_hook::consts::SIGTERM.unsigned_abs() as usize,
            Ordering::SeqCst,
        );
        signals.take_interrupt();
        assert_eq!(signals.pending(), Some(Signal::Terminate));
    }
}
