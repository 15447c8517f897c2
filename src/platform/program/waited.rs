//! A program that is waited for, but not at any price: a signal ends the wait, and so does a
//! limit.
//!
//! Layer: platform.

use std::io::{self, Read as _};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use super::Captured;
use crate::platform::Signals;

/// How often to look whether a signal has arrived.
const LOOK: Duration = Duration::from_millis(20);

/// How long a program that was asked to end may take to put things in order.
const GRACE: Duration = Duration::from_millis(500);

/// How a program is ended that does not end by itself.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// It is asked first, then made to. It shares the terminal, so it can ask a person; what it
    /// has started gets the terminal's signals.
    Alone,
    /// The same with all that it has started: it leads a group of its own. It can ask nobody,
    /// since the terminal belongs to another group.
    WithAll,
    /// The same without being asked, since it has nothing to put in order, and waited for until
    /// it is gone: where it hangs in the system, there shall not be a second one.
    #[cfg_attr(not(unix), expect(dead_code, reason = "used for file systems of Unix"))]
    AtOnce,
}

/// A program under way, of which the standard output is kept.
pub(super) struct Waited {
    child: Child,
    end: End,
    output: Receiver<io::Result<Vec<u8>>>,
}

impl Waited {
    /// Starts it.
    pub(super) fn start(command: &mut Command, end: End) -> io::Result<Self> {
        #[cfg(unix)]
        if end != End::Alone {
            std::os::unix::process::CommandExt::process_group(command, 0);
        }
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let output = read(child.stdout.take())?;
        Ok(Self { child, end, output })
    }

    /// Waits for its end and returns what it printed.
    pub(super) fn capture(
        mut self,
        limit: Option<Duration>,
        signals: &Signals,
    ) -> io::Result<Captured> {
        let start = Instant::now();
        let waited = self.output(|| stop(start, limit, signals));
        let ended = waited.and_then(|stdout| {
            let status = self.status(|| stop(start, limit, signals))?;
            if !status.success() {
                // The terminal's Ctrl-C has ended it as well, and that is no failure of its own.
                stop(start, None, signals)?;
            }
            Ok(Captured {
                stdout,
                success: status.success(),
            })
        });
        if ended.is_err() {
            self.end();
        }
        ended
    }

    /// What it printed, once nobody can print any more.
    fn output(&self, stop: impl Fn() -> io::Result<()>) -> io::Result<Vec<u8>> {
        loop {
            match self.output.recv_timeout(LOOK) {
                Ok(read) => return read,
                Err(RecvTimeoutError::Timeout) => stop()?,
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(io::Error::other("its output cannot be read"));
                }
            }
        }
    }

    /// How it ended. It may go on for a while after it has closed its output.
    fn status(&mut self, stop: impl Fn() -> io::Result<()>) -> io::Result<ExitStatus> {
        let mut pause = Duration::from_millis(1);
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            stop()?;
            thread::sleep(pause);
            pause = (pause * 2).min(LOOK);
        }
    }

    /// Ends it, first by asking. One that hangs in the system, and so cannot be ended, is left
    /// behind.
    fn end(&mut self) {
        if self.end == End::AtOnce {
            self.make_end();
            let _ = self.child.wait();
            return;
        }
        self.ask_to_end();
        let deadline = Instant::now() + GRACE;
        while Instant::now() < deadline && !self.has_ended() {
            thread::sleep(Duration::from_millis(5));
        }
        self.make_end();
        let deadline = Instant::now() + GRACE;
        while Instant::now() < deadline && matches!(self.child.try_wait(), Ok(None)) {
            thread::sleep(Duration::from_millis(5));
        }
    }
}

#[cfg(unix)]
impl Waited {
    fn ask_to_end(&self) {
        use rustix::process::Signal;
        self.signal(Signal::TERM);
        // One that wanted the terminal has been stopped, and hears nothing until it goes on.
        self.signal(Signal::CONT);
    }

    fn make_end(&mut self) {
        // Also where the leader has ended: what it has started may not have.
        self.signal(rustix::process::Signal::KILL);
    }

    fn signal(&self, signal: rustix::process::Signal) {
        use rustix::process::{Pid, kill_process, kill_process_group};
        let pid = Pid::from_child(&self.child);
        // One that has ended in the meantime needs no signal.
        let _ = match self.end {
            End::Alone => kill_process(pid, signal),
            End::WithAll | End::AtOnce => kill_process_group(pid, signal),
        };
    }

    /// Whether it has ended. Leaves it to be waited for, so that its number stays its own.
    fn has_ended(&self) -> bool {
        use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let found = waitid(WaitId::Pid(Pid::from_child(&self.child)), options);
        !matches!(found, Ok(None))
    }
}

#[cfg(not(unix))]
impl Waited {
    fn ask_to_end(&mut self) {
        let _ = self.child.kill();
    }

    fn make_end(&mut self) {}

    fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }
}

/// An error if there is no more waiting.
fn stop(start: Instant, limit: Option<Duration>, signals: &Signals) -> io::Result<()> {
    if let Some(signal) = signals.pending() {
        return Err(io::Error::new(io::ErrorKind::Interrupted, signal));
    }
    if limit.is_some_and(|limit| start.elapsed() >= limit) {
        return Err(io::ErrorKind::TimedOut.into());
    }
    Ok(())
}

/// Reads on a thread of its own, which ends with the last who holds the other side.
fn read(stdout: Option<ChildStdout>) -> io::Result<Receiver<io::Result<Vec<u8>>>> {
    let (sender, receiver) = mpsc::channel();
    thread::Builder::new()
        .name("output".into())
        .spawn(move || {
            let mut bytes = Vec::new();
            let read = stdout.map_or(Ok(0), |mut stdout| stdout.read_to_end(&mut bytes));
            // Nobody listens any more to one that is late.
            drop(sender.send(read.map(|_| bytes)));
        })?;
    Ok(receiver)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn capture(line: &str, end: End, limit: Duration) -> io::Result<Captured> {
        let mut command = Command::new("sh");
        command.args(["-c", line]);
        let program = Waited::start(&mut command, end)?;
        program.capture(Some(limit), &Signals::default())
    }

    #[test]
    fn what_is_printed_is_kept_and_failure_is_told() {
        let captured = capture("echo one; exit 3", End::WithAll, Duration::from_secs(60)).unwrap();
        assert_eq!(captured.stdout, b"one\n");
        assert!(!captured.success);
        // It may close its output long before it ends.
        let captured = capture("exec >&-; sleep 0.1", End::Alone, Duration::from_secs(60));
        assert!(captured.unwrap().success);
    }

    #[test]
    fn what_takes_too_long_is_ended_also_if_it_does_not_want_to() {
        for (end, line) in [
            (End::Alone, "exec sleep 60"),
            (End::WithAll, "trap '' TERM; while :; do sleep 60; done"),
            (End::AtOnce, "sleep 60; true"),
        ] {
            let captured = capture(line, end, Duration::from_millis(50));
            let error = captured.err().unwrap();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{line}");
        }
    }
}
