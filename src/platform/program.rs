//! Other programs: a person's editor, a command that prints a key.

mod waited;

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::Signals;
use waited::{End, Waited};

/// Runs other programs.
pub trait Programs {
    /// Runs a command line through the platform's shell and returns what it printed.
    /// Its stdin is empty; its stderr is the person's.
    ///
    /// A signal that asks the program to stop ends the command, and is an error of kind
    /// `Interrupted` that carries it. With a limit, so does the passing of that much time, which
    /// is `TimedOut`; whatever the command has started is ended with it then, and it can ask
    /// nobody: the terminal is not its own.
    fn capture(&self, command: &str, limit: Option<Duration>) -> io::Result<Captured>;

    /// Runs a program without a shell, with `stdin` as its standard input, and waits for it. It
    /// is looked for as a shell would; that it does not exist is `NotFound`.
    ///
    /// With a limit, that and signals are as for [`Programs::capture`]; without one it is waited
    /// for, come what may.
    fn run(
        &self,
        program: &OsStr,
        arguments: &[OsString],
        stdin: &[u8],
        limit: Option<Duration>,
    ) -> io::Result<Ended>;

    /// Opens a file in an editor and waits. `editor` may carry arguments.
    fn edit(&self, editor: &str, file: &Path) -> io::Result<bool>;
}

/// What a command printed, and whether it succeeded.
pub struct Captured {
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Whether it ended with exit code 0.
    pub success: bool,
}

/// What a program left behind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// Its exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: Vec<u8>,
}

/// Real processes.
pub struct RealPrograms {
    signals: Signals,
}

impl RealPrograms {
    /// Programs whose ends are not waited for once one of these signals has arrived.
    pub fn new(signals: Signals) -> Self {
        Self { signals }
    }
}

impl Programs for RealPrograms {
    fn capture(&self, command: &str, limit: Option<Duration>) -> io::Result<Captured> {
        let mut shell = shell(command);
        shell.stdin(Stdio::null()).stderr(Stdio::inherit());
        let end = if limit.is_some() {
            End::WithAll
        } else {
            End::Alone
        };
        let program = Waited::start(&mut shell, end)?;
        program.capture(limit, &self.signals)
    }

    fn run(
        &self,
        program: &OsStr,
        arguments: &[OsString],
        stdin: &[u8],
        limit: Option<Duration>,
    ) -> io::Result<Ended> {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .stdin(Stdio::piped())
            .stderr(Stdio::piped());
        let (end, signals) = match limit {
            Some(_) => (End::WithAll, self.signals.clone()),
            None => (End::Alone, Signals::default()),
        };
        let mut program = Waited::start(&mut command, end)?;
        // What is fed here is a page at most, which any pipe holds, so this cannot wait for the
        // program while it waits for us; one that does not read it is free to.
        program.feed(stdin);
        let (status, stdout, stderr) = program.wait(limit, &signals)?;
        Ok(Ended {
            code: status.code(),
            stdout,
            stderr,
        })
    }

    fn edit(&self, editor: &str, file: &Path) -> io::Result<bool> {
        // Through the shell, as git does, so that `code --wait` and quoted paths work; the
        // file is handed over as an argument, so its name is never interpreted.
        #[cfg(unix)]
        let mut command = {
            let mut command = Command::new("sh");
            command
                .arg("-c")
                .arg(format!("{editor} \"$1\""))
                .arg(editor)
                .arg(file);
            command
        };
        #[cfg(not(unix))]
        let mut command = {
            let mut words = editor.split_whitespace();
            let mut command = Command::new(words.next().unwrap_or("notepad"));
            command.args(words).arg(file);
            command
        };
        Ok(command.status()?.success())
    }
}

/// Opens a file or lists a directory in a process of its own, which is ended if it does not come
/// back in time: `TimedOut`, as soon as it has ended, which may be much later. A thread that waits
/// for a dead file system may hold up the end of its process, whatever is done to that.
#[cfg(unix)]
pub(super) fn look(path: &Path, limit: Duration) -> io::Result<()> {
    // What is known about a file may be remembered for a while, but opening it is asked for.
    const LOOK: &str = "test -f \"$1\" && true <\"$1\"; for name in \"$1\"/*; do break; done";
    let mut look = shell(LOOK);
    look.arg("pachat-look").arg(path);
    look.stdin(Stdio::null()).stderr(Stdio::null());
    let look = Waited::start(&mut look, End::AtOnce)?;
    look.capture(Some(limit), &Signals::default()).map(drop)
}

fn shell(command: &str) -> Command {
    #[cfg(unix)]
    let (program, flag) = ("sh", "-c");
    #[cfg(not(unix))]
    let (program, flag) = ("cmd", "/C");
    let mut shell = Command::new(program);
    shell.arg(flag).arg(command);
    shell
}
