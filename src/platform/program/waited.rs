//! A program that is waited for, but not at any price: a signal ends the wait, and so does a
//! limit.
//!
//! Layer: platform.

use std::io::{self, Write as _};
use std::process::{Child, Command, ExitStatus, Stdio};
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

/// A program under way, of which the standard output is kept, and what goes to standard error if
/// that is a pipe.
pub(super) struct Waited {
    child: Child,
    end: End,
    stdout: Output,
    stderr: Output,
}

/// What is printed, once nobody can print any more.
type Output = Receiver<io::Result<Vec<u8>>>;

impl Waited {
    /// Starts it.
    pub(super) fn start(command: &mut Command, end: End) -> io::Result<Self> {
        #[cfg(unix)]
        if end != End::Alone {
            std::os::unix::process::CommandExt::process_group(command, 0);
        }
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let stdout = read(child.stdout.take())?;
        let stderr = read(child.stderr.take())?;
        Ok(Self {
            child,
            end,
            stdout,
            stderr,
        })
    }

    /// Gives it all of its standard input, if that is a pipe; it need not take it.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        if let Some(mut input) = self.child.stdin.take() {
            let _ = input.write_all(bytes);
        }
    }

    /// Waits for its end and returns what it printed.
    pub(super) fn capture(
        self,
        limit: Option<Duration>,
        signals: &Signals,
    ) -> io::Result<Captured> {
        let (status, stdout, _) = self.wait(limit, signals)?;
        Ok(Captured {
            stdout,
            success: status.success(),
        })
    }

    /// Waits for its end; how that was, and what it printed on either side.
    pub(super) fn wait(
        mut self,
        limit: Option<Duration>,
        signals: &Signals,
    ) -> io::Result<(ExitStatus, Vec<u8>, Vec<u8>)> {
        let start = Instant::now();
        let ended = self.outcome(|limited| stop(start, limit.filter(|_| limited), signals));
        if ended.is_err() {
            self.end();
        }
        ended
    }

    /// `stop` is an error if there is no more waiting; with `false`, only at a signal.
    fn outcome(
        &mut self,
        stop: impl Fn(bool) -> io::Result<()>,
    ) -> io::Result<(ExitStatus, Vec<u8>, Vec<u8>)> {
        let stdout = output(&self.stdout, || stop(true))?;
        let stderr = output(&self.stderr, || stop(true))?;
        let status = self.status(|| stop(true))?;
        if !status.success() {
            // The terminal's Ctrl-C has ended it as well, and that is no failure of its own.
            stop(false)?;
        }
        Ok((status, stdout, stderr))
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

/// Waits for what is printed.
fn output(from: &Output, stop: impl Fn() -> io::Result<()>) -> io::Result<Vec<u8>> {
    loop {
        match from.recv_timeout(LOOK) {
            Ok(read) => return read,
            Err(RecvTimeoutError::Timeout) => stop()?,
            Err(RecvTimeoutError::Disconnected) => {
                return Err(io::Error::other("its output cannot be read"));
            }
        }
    }
}

/// Reads on a thread of its own, which ends with the last who holds the other side.
fn read(side: Option<impl io::Read + Send + 'static>) -> io::Result<Output> {
    let (sender, receiver) = mpsc::channel();
    let Some(mut side) = side else {
        drop(sender.send(Ok(Vec::new())));
        return Ok(receiver);
    };
    thread::Builder::new()
        .name("output".into())
        .spawn(move || {
            let mut bytes = Vec::new();
            let read = side.read_to_end(&mut bytes);
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
    fn both_sides_are_kept_and_the_input_need_not_be_read() {
        for (line, expected) in [
            (
                "cat; echo wrong >&2; exit 7",
                (Some(7), "told\n", "wrong\n"),
            ),
            ("exit 0", (Some(0), "", "")),
        ] {
            let mut command = Command::new("sh");
            command.args(["-c", line]);
            command.stdin(Stdio::piped()).stderr(Stdio::piped());
            let mut program = Waited::start(&mut command, End::Alone).unwrap();
            program.feed(b"told\n");
            let (status, stdout, stderr) = program.wait(None, &Signals::default()).unwrap();
            let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
            let found = (status.code(), text(stdout), text(stderr));
            let (code, stdout, stderr) = expected;
            assert_eq!(
                found,
                (code, stdout.to_owned(), stderr.to_owned()),
                "{line}"
            );
        }
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
