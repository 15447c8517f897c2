//! Where the lines of a chat come from, read on a thread of their own: reading blocks, and a
//! chat must notice a signal while it waits for a line.

use std::io::{self, BufRead, Read as _};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

use crate::model::error::{Error, Kind, Result, describe};
use crate::platform::Signals;
use crate::platform::signals::Signal;
use crate::platform::terminal::Modes;

use super::ui::Ui;

/// The longest time between a signal and its effect while a chat waits for a line.
const LOOK: Duration = Duration::from_millis(100);

/// What came in.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    /// A prompt or a command; it may have several lines.
    Text(String),
    /// Ctrl-C where nothing had been typed.
    Interrupt,
    /// Ctrl-C that threw away what had been typed.
    Discarded,
    /// Ctrl-D, or the end of the input.
    End,
}

/// A source of lines that may block.
pub trait LineSource: Send {
    /// The next line.
    fn read(&mut self) -> io::Result<Line>;

    /// Keeps a line for the next time.
    fn remember(&mut self, line: &str) {
        let _ = line;
    }
}

/// Who shows the prompt, and what a signal does to a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// A line editor: it shows its own prompt and reads Ctrl-C as a key.
    Edited,
    /// A person at a terminal without an editor: this prompt goes to standard error.
    Typed(&'static str),
    /// A program: no prompt, and Ctrl-C ends the chat.
    Piped,
}

enum Order {
    Read,
    Remember(String),
}

/// The lines of a chat.
pub struct Lines {
    manner: Manner,
    orders: Sender<Order>,
    incoming: Receiver<io::Result<Line>>,
    /// Whether a line was asked for that has not come yet.
    asked: bool,
    /// The terminal as it was before the editor changed it.
    modes: Option<Modes>,
}

impl Lines {
    /// Starts to read from `source`, line by line, each when it is asked for.
    pub fn start(mut source: impl LineSource + 'static, manner: Manner) -> Self {
        let (orders, received) = mpsc::channel();
        let (sender, incoming) = mpsc::channel();
        let modes = match manner {
            Manner::Edited => Modes::now(),
            _ => None,
        };
        std::thread::spawn(move || {
            for order in received {
                match order {
                    Order::Remember(line) => source.remember(&line),
                    // Whoever asked is gone, and so is the chat.
                    Order::Read if sender.send(source.read()).is_err() => return,
                    Order::Read => {}
                }
            }
        });
        Self {
            manner,
            orders,
            incoming,
            asked: false,
            modes,
        }
    }

    /// The next line. A signal that ends the chat is an error of its kind.
    pub fn read(&mut self, ui: &mut Ui, signals: &Signals) -> Result<Line> {
        if let Manner::Typed(prompt) = self.manner {
            ui.talk_raw(prompt.as_bytes());
        }
        if !self.asked {
            // A reader that has died shows as a line that never comes.
            self.asked = self.orders.send(Order::Read).is_ok();
        }
        loop {
            match self.incoming.recv_timeout(LOOK) {
                Ok(Ok(line)) => {
                    self.asked = false;
                    return Ok(line);
                }
                Ok(Err(error)) if error.kind() == io::ErrorKind::FileTooLarge => {
                    self.asked = false;
                    return Err(Error::new(Kind::Malformed, "a line is too large")
                        .why("limits.memory_mb allows no more for one prompt")
                        .hint("raise limits.memory_mb, or send a part of it"));
                }
                Ok(Err(error)) => {
                    self.asked = false;
                    // A terminal that is gone fails the read, too; the signal says more.
                    self.heed(ui, signals)?;
                    return Err(
                        Error::new(Kind::Io, "cannot read what is typed").why(describe(&error))
                    );
                }
                Err(RecvTimeoutError::Timeout) => {
                    if let Some(line) = self.heed(ui, signals)? {
                        return Ok(line);
                    }
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Error::new(Kind::Bug, "the line editor has stopped"));
                }
            }
        }
    }

    /// Keeps a line for the next time.
    pub fn remember(&self, line: &str) {
        // A history that cannot be kept is no reason not to chat.
        let _ = self.orders.send(Order::Remember(line.to_owned()));
    }

    /// What a signal that has arrived means here.
    fn heed(&self, ui: &mut Ui, signals: &Signals) -> Result<Option<Line>> {
        if self.manner != Manner::Piped && signals.pending() == Some(Signal::Interrupt) {
            signals.take_interrupt();
            if signals.pending().is_none() {
                // With an editor Ctrl-C is a key, so this one was meant for a reply that
                // has just ended.
                let typed = matches!(self.manner, Manner::Typed(_));
                return Ok(typed.then_some(Line::Interrupt));
            }
        }
        let Some(signal) = signals.pending() else {
            return Ok(None);
        };
        if let Some(modes) = &self.modes {
            // The editor sits in its read and will never clean up.
            modes.restore();
            let _ = ui.data(b"\x1b[?2004l\n");
        }
        Err(Error::of_signal(signal))
    }
}

/// Plain lines, from a pipe, a file, or a terminal without an editor. A line that ends in a
/// backslash goes on in the next one here, too.
pub struct PlainLines {
    reader: Box<dyn BufRead + Send>,
    /// The most bytes of one text.
    limit: u64,
}

impl PlainLines {
    /// Reads from `reader` texts of at most `limit` bytes.
    pub fn new(reader: Box<dyn BufRead + Send>, limit: u64) -> Self {
        Self { reader, limit }
    }

    /// A line with its line feed, of at most `room` bytes.
    fn line(&mut self, room: u64) -> io::Result<String> {
        let mut bytes = Vec::new();
        let mut limited = (&mut self.reader).take(room.saturating_add(1));
        limited.read_until(b'\n', &mut bytes)?;
        if bytes.len() as u64 > room {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        String::from_utf8(bytes)
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8"))
    }
}

impl LineSource for PlainLines {
    fn read(&mut self) -> io::Result<Line> {
        let mut text = String::new();
        loop {
            let line = self.line(self.limit.saturating_sub(text.len() as u64))?;
            if line.is_empty() {
                // A backslash at the very end continues nothing.
                return Ok(match text.strip_suffix('\n') {
                    Some(text) => Line::Text(text.to_owned()),
                    None => Line::End,
                });
            }
            let line = line
                .strip_suffix('\n')
                .map_or(line.as_str(), |line| line.trim_end_matches('\r'));
            let Some(begun) = line.strip_suffix('\\') else {
                text.push_str(line);
                return Ok(Line::Text(text));
            };
            text.push_str(begun);
            text.push('\n');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_lines_continue_after_a_backslash() {
        let input: &[u8] = b"one\ntwo \\\nthree\r\n\na\\b\\\n\\\nc\nlast";
        let mut lines = PlainLines::new(Box::new(input), 64);
        let mut next = || lines.read().unwrap();
        assert_eq!(next(), Line::Text("one".into()));
        assert_eq!(next(), Line::Text("two \nthree".into()));
        assert_eq!(next(), Line::Text(String::new()));
        assert_eq!(next(), Line::Text("a\\b\n\nc".into()));
        assert_eq!(next(), Line::Text("last".into()));
        assert_eq!(next(), Line::End);
    }

    #[test]
    fn a_line_without_an_end_is_not_read_to_its_end() {
        let endless = io::BufReader::new(io::repeat(b'x'));
        let mut lines = PlainLines::new(Box::new(endless), 1000);
        let error = lines.read().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
        // Nor is one that goes on in the next one for ever.
        let endless = io::BufReader::new(io::repeat(b'\\').chain(io::empty()));
        let mut lines = PlainLines::new(Box::new(endless), 1000);
        assert!(lines.read().is_err());
    }

    #[test]
    fn a_backslash_at_the_very_end_continues_nothing() {
        let input: &[u8] = b"last \\";
        let mut lines = PlainLines::new(Box::new(input), 64);
        assert_eq!(lines.read().unwrap(), Line::Text("last ".into()));
        assert_eq!(lines.read().unwrap(), Line::End);
    }

    /// A source whose line comes when the test says so.
    struct Slow(Receiver<Line>);

    impl LineSource for Slow {
        fn read(&mut self) -> io::Result<Line> {
            self.0.recv().map_err(io::Error::other)
        }
    }

    fn ui() -> Ui {
        use crate::platform::Output;
        use crate::term::ui::{Colour, Talk};
        let output = || Output {
            writer: Box::new(io::sink()),
            is_terminal: true,
            size: None,
        };
        Ui::new(output(), output(), Talk::Normal, Colour::default())
    }

    #[test]
    fn ctrl_c_ends_a_wait_for_a_program_and_not_for_a_person() {
        for manner in [Manner::Piped, Manner::Typed("> ")] {
            let (sender, receiver) = mpsc::channel();
            let mut lines = Lines::start(Slow(receiver), manner);
            let signals = Signals::default();
            signals.raise_interrupt();
            match lines.read(&mut ui(), &signals) {
                Ok(line) => {
                    assert_eq!((manner, line), (Manner::Typed("> "), Line::Interrupt));
                    // The read goes on; its line is not lost.
                    sender.send(Line::Text("late".into())).unwrap();
                    let line = lines.read(&mut ui(), &signals).unwrap();
                    assert_eq!(line, Line::Text("late".into()));
                }
                Err(error) => {
                    assert_eq!((manner, error.kind()), (Manner::Piped, Kind::Interrupted));
                }
            }
        }
    }

    #[test]
    fn a_late_ctrl_c_does_not_reach_past_the_editor() {
        let (sender, receiver) = mpsc::channel();
        let mut lines = Lines::start(Slow(receiver), Manner::Edited);
        let signals = Signals::default();
        signals.raise_interrupt();
        let (seen, last) = (signals.clone(), Line::Text("typed".into()));
        std::thread::spawn(move || {
            while seen.pending().is_some() {
                std::thread::yield_now();
            }
            sender.send(Line::Text("typed".into())).unwrap();
        });
        assert_eq!(lines.read(&mut ui(), &signals).unwrap(), last);
    }
}
