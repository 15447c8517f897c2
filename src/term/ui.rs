//! The two channels: stdout is data, stderr is talk.

use std::io::{self, Write};

use crate::model::error::{Error, Kind, Result, describe};
use crate::platform::{Output, terminal};

use super::clean::{clean, clean_line};

/// How much pachat says on stderr.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Talk {
    /// Errors only.
    Quiet,
    /// Notes, too.
    Normal,
    /// Details, too.
    Verbose,
}

/// Where colour goes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Colour {
    /// On standard output.
    pub stdout: bool,
    /// On standard error.
    pub stderr: bool,
}

/// Everything that pachat shows goes through here.
pub struct Ui {
    stdout: Output,
    stderr: Output,
    talk: Talk,
    colour: Colour,
    erases: bool,
}

impl Ui {
    /// Channels that say as much as `talk` allows.
    pub fn new(stdout: Output, stderr: Output, talk: Talk, colour: Colour) -> Self {
        Self {
            stdout,
            stderr,
            talk,
            colour,
            erases: true,
        }
    }

    /// For a terminal that knows no control sequences: nothing is ever rewritten in place.
    #[must_use]
    pub fn without_erasing(mut self) -> Self {
        self.erases = false;
        self
    }

    /// Whether a line on standard error can be taken back.
    pub fn can_erase(&self) -> bool {
        self.erases && self.stderr.is_terminal
    }

    /// Whether what was written to standard output can be written over.
    pub fn can_redraw(&self) -> bool {
        self.erases && self.stdout.is_terminal
    }

    /// Looks again how large the terminal is: people resize it during a chat.
    pub fn measure(&mut self) {
        if self.stdout.size.is_some() {
            self.stdout.size = terminal::size().or(self.stdout.size);
        }
    }

    /// Whether a person reads standard output.
    pub fn stdout_is_terminal(&self) -> bool {
        self.stdout.is_terminal
    }

    /// Whether a person reads standard error.
    pub fn stderr_is_terminal(&self) -> bool {
        self.stderr.is_terminal
    }

    /// Columns and rows of the terminal that shows standard output.
    pub fn size(&self) -> Option<(usize, usize)> {
        self.stdout.size
    }

    /// Where colour goes.
    pub fn colour(&self) -> Colour {
        self.colour
    }

    /// How much is said.
    pub fn talk(&self) -> Talk {
        self.talk
    }

    /// Data, byte for byte, on standard output. A reader that went away is an error of
    /// kind [`Kind::Closed`], which ends the program quietly.
    pub fn data(&mut self, bytes: &[u8]) -> Result<()> {
        match self
            .stdout
            .writer
            .write_all(bytes)
            .and_then(|()| self.stdout.writer.flush())
        {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                Err(Error::new(Kind::Closed, "standard output is closed"))
            }
            Err(error) => {
                Err(Error::new(Kind::Io, "cannot write to standard output").why(describe(&error)))
            }
        }
    }

    /// A text for people on standard output: cleaned on a terminal, exact in a pipe.
    pub fn text(&mut self, text: &str) -> Result<()> {
        if self.stdout.is_terminal {
            self.data(clean(text).as_bytes())
        } else {
            self.data(text.as_bytes())
        }
    }

    /// One line of talk on standard error, unless quiet.
    pub fn note(&mut self, line: &str) {
        if self.talk >= Talk::Normal {
            self.stderr_line(line);
        }
    }

    /// A remark between the parts of a chat: a note, dim where there is colour.
    pub fn aside(&mut self, line: &str) {
        if self.colour.stderr {
            let line = format!("\x1b[2m{}\x1b[0m\n", clean_line(line));
            self.talk_raw(line.as_bytes());
        } else {
            self.note(line);
        }
    }

    /// One line of talk on standard error, if verbose.
    pub fn detail(&mut self, line: &str) {
        if self.talk >= Talk::Verbose {
            self.stderr_line(line);
        }
    }

    /// A warning: something is odd, and the work goes on.
    pub fn warn(&mut self, line: &str) {
        if self.talk >= Talk::Normal {
            self.stderr_line(&format!("pachat: warning: {line}"));
        }
    }

    /// Bytes for the terminal on standard error, such as a prompt; nothing if quiet.
    pub fn talk_raw(&mut self, bytes: &[u8]) {
        if self.talk >= Talk::Normal {
            // Who cannot be talked to cannot be told so.
            let _ = self
                .stderr
                .writer
                .write_all(bytes)
                .and_then(|()| self.stderr.writer.flush());
        }
    }

    /// A question, or the end of its line, on standard error: also when quiet, because an
    /// answer is waited for.
    pub fn question(&mut self, text: &str) {
        let _ = self
            .stderr
            .writer
            .write_all(text.as_bytes())
            .and_then(|()| self.stderr.writer.flush());
    }

    /// An error: what, why, then file, cause and hint, each on a line; all of it on one line if
    /// quiet, for whom a program calls and a person reads in a mail. Always shown.
    pub fn error(&mut self, error: &Error) {
        if error.kind() == Kind::Closed {
            return;
        }
        let (red, off) = if self.colour.stderr {
            ("\x1b[1;31m", "\x1b[0m")
        } else {
            ("", "")
        };
        let path = error.path_ref().map(|path| path.display().to_string());
        let further = [
            ("file", path.as_deref()),
            ("cause", error.cause_text()),
            ("hint", error.hint_text()),
        ];
        let between = if self.talk == Talk::Quiet {
            "; "
        } else {
            "\n  "
        };
        let mut text = format!("{red}pachat:{off} {}", clean_line(&error.headline()));
        for (name, value) in further {
            if let Some(value) = value {
                text.extend([between, name, ": ", &clean_line(value)]);
            }
        }
        text.push('\n');
        let _ = self.stderr.writer.write_all(text.as_bytes());
    }

    fn stderr_line(&mut self, line: &str) {
        let line = format!("{}\n", clean_line(line));
        let _ = self.stderr.writer.write_all(line.as_bytes());
    }
}
