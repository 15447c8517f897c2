//! A progress bar on standard error.
//!
//! The bar is drawn straight onto the process's terminal, past the [`Ui`]: it is no line of
//! talk, and leaves no trace. So nothing else may be said before [`Progress::clear`].

use std::fmt::Write;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use super::Ui;
use super::ui::Talk;
use crate::model::size::ByteSize;
use crate::platform::{Signals, terminal};

/// What is done within this time needs no bar.
const PATIENCE: Duration = Duration::from_millis(250);

/// How often to look whether a signal has arrived.
const LOOK: Duration = Duration::from_millis(50);

/// The most that the bar is drawn in a second.
const DRAWS_PER_SECOND: u8 = 15;

/// A bar for long work, shown only where a person looks, and only after a quarter of a second.
pub struct Progress {
    bar: ProgressBar,
    /// Whether somebody could see it.
    visible: bool,
    signals: Signals,
    /// Takes the bar away at a signal, from when it is shown: the work itself may be in the
    /// middle of a long sync, and a second signal ends the process where it stands.
    guard: Option<Guard>,
}

struct Guard {
    /// Closed when there is nothing to take away any more.
    over: Sender<()>,
    thread: JoinHandle<()>,
}

impl Progress {
    /// A bar; hidden where standard error is no terminal, or with `--quiet`, and gone at the
    /// first signal.
    pub fn new(ui: &Ui, signals: Signals) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        let template = if ui.colour().stderr {
            TEMPLATE.replace("{wide_bar}", "{wide_bar:.cyan}")
        } else {
            TEMPLATE.to_owned()
        };
        if let Ok(style) = ProgressStyle::with_template(&template) {
            let columns = || terminal::error_size().map_or(COLUMNS, |(columns, _)| columns);
            let style = style.with_key(
                "figures",
                move |state: &ProgressState, out: &mut dyn Write| {
                    // Nothing better can be done with a bar that cannot be drawn.
                    let _ = out.write_str(&Figures::of(state).shown(columns()));
                },
            );
            bar.set_style(style.progress_chars("=> "));
        }
        Self {
            bar,
            visible: ui.can_erase() && ui.talk() >= Talk::Normal,
            signals,
            guard: None,
        }
    }

    /// A stage begins: what it does, and how many bytes it will go through.
    pub fn stage(&mut self, what: &'static str, bytes: u64) {
        self.bar.set_message(what);
        self.bar.set_length(bytes);
        self.bar.set_position(0);
        self.bar.reset_eta();
    }

    /// So many bytes more are done.
    pub fn advance(&mut self, bytes: u64) {
        if self.visible && self.guard.is_none() && self.bar.elapsed() >= PATIENCE {
            self.show();
        }
        self.bar.inc(bytes);
    }

    fn show(&mut self) {
        let (over, told) = mpsc::channel();
        let (bar, signals) = (self.bar.clone(), self.signals.clone());
        let spawned = thread::Builder::new().name("bar".into()).spawn(move || {
            while told.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
                if signals.pending().is_some() {
                    bar.finish_and_clear();
                    bar.set_draw_target(ProgressDrawTarget::hidden());
                    return;
                }
            }
        });
        // Without a guard it had better not be there.
        self.visible = spawned.is_ok();
        if let Ok(thread) = spawned {
            let target = ProgressDrawTarget::stderr_with_hz(DRAWS_PER_SECOND);
            self.bar.set_draw_target(target);
            self.guard = Some(Guard { over, thread });
        }
    }

    /// Takes the bar away.
    pub fn clear(self) {
        drop(self);
    }
}

/// The figures come in a form that leaves room for the bar: a line that wraps cannot be taken
/// away. The cursor goes back to the beginning, because a terminal shows a Ctrl-C where the
/// cursor is, and at the end of the line it would wrap. There it meets a space, which indicatif
/// fills up the line with.
const TEMPLATE: &str = " {msg} [{wide_bar}] {figures}\r";

/// What a terminal has that does not say.
const COLUMNS: usize = 80;

/// How far it is.
struct Figures {
    done: u64,
    all: u64,
    /// Bytes in a second.
    speed: u64,
    /// The time that is left.
    left: Duration,
}

impl Figures {
    fn of(state: &ProgressState) -> Self {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "no speed is too large for it, or below zero"
        )]
        let speed = state.per_sec() as u64;
        Self {
            done: state.pos(),
            all: state.len().unwrap_or_default(),
            speed,
            left: state.eta(),
        }
    }

    /// As much as a terminal with so many columns has room for.
    fn shown(&self, columns: usize) -> String {
        let size = |bytes| ByteSize(bytes).to_string();
        let (done, all) = (size(self.done), size(self.all));
        let seconds = self.left.as_secs();
        let left = format!("{}:{:02}", seconds / 60, seconds % 60);
        match columns {
            ..45 => format!("{:>3}%", self.done.saturating_mul(100) / self.all.max(1)),
            45..70 => format!("{done:>8} of {all} {left:>5}"),
            _ => format!("{done:>8} of {all} {:>8}/s {left:>5}", size(self.speed)),
        }
    }
}

impl Drop for Progress {
    /// Also when an error ends the work, so that the message about it has a line of its own.
    fn drop(&mut self) {
        if let Some(Guard { over, thread }) = self.guard.take() {
            drop(over);
            // It must not take away what is said after this. A panic in it has told its own.
            let _ = thread.join();
        }
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use indicatif::TermLike;

    use super::*;
    use crate::platform::Output;
    use crate::term::ui::Colour;

    fn progress(is_terminal: bool, talk: Talk, dumb: bool) -> Progress {
        let output = |is_terminal| Output {
            writer: Box::new(io::sink()),
            is_terminal,
            size: None,
        };
        let ui = Ui::new(output(true), output(is_terminal), talk, Colour::default());
        let ui = if dumb { ui.without_erasing() } else { ui };
        Progress::new(&ui, Signals::default())
    }

    #[test]
    fn it_is_for_people_who_want_to_see_it() {
        assert!(progress(true, Talk::Normal, false).visible);
        assert!(!progress(false, Talk::Normal, false).visible);
        assert!(!progress(true, Talk::Quiet, false).visible);
        assert!(!progress(true, Talk::Normal, true).visible);
    }

    #[test]
    fn the_line_fits_the_terminal() {
        let figures = Figures {
            done: 98_765_432_109,
            all: 123_456_789_012,
            speed: 123_456_789,
            left: Duration::from_secs(3 * 3600),
        };
        for columns in 20..200 {
            let line = format!(" verifying [>] {} ", figures.shown(columns));
            assert!(line.len() <= columns, "{columns}: {line}");
        }
        assert_eq!(figures.shown(40), " 80%");
        assert_eq!(figures.shown(45), " 98.8 GB of 123.5 GB 180:00");
        let all = " 98.8 GB of 123.5 GB 123.5 MB/s 180:00";
        assert_eq!(figures.shown(80), all);
    }

    /// A terminal that keeps what is on its one line, and where the cursor is.
    #[derive(Clone, Debug, Default)]
    struct Line(Arc<Mutex<(Vec<char>, usize)>>);

    impl Line {
        const COLUMNS: usize = 72;

        fn put(&self, text: &str) {
            let mut line = self.0.lock().unwrap();
            for char in text.chars() {
                let (cells, column) = &mut *line;
                if char == '\r' {
                    *column = 0;
                    continue;
                }
                assert!(*column < Self::COLUMNS, "it wraps: {cells:?}");
                cells.resize(cells.len().max(*column + 1), ' ');
                cells[*column] = char;
                *column += 1;
            }
        }

        fn text(&self) -> String {
            self.0.lock().unwrap().0.iter().collect()
        }
    }

    impl TermLike for Line {
        fn width(&self) -> u16 {
            u16::try_from(Self::COLUMNS).unwrap()
        }
        fn move_cursor_up(&self, lines: usize) -> io::Result<()> {
            assert_eq!(lines, 0);
            Ok(())
        }
        fn move_cursor_down(&self, lines: usize) -> io::Result<()> {
            assert_eq!(lines, 0);
            Ok(())
        }
        fn move_cursor_right(&self, _columns: usize) -> io::Result<()> {
            unreachable!("nothing does that")
        }
        fn move_cursor_left(&self, _columns: usize) -> io::Result<()> {
            unreachable!("nothing does that")
        }
        fn write_line(&self, text: &str) -> io::Result<()> {
            unreachable!("{text} takes more than a line")
        }
        fn write_str(&self, text: &str) -> io::Result<()> {
            self.put(text);
            Ok(())
        }
        fn clear_line(&self) -> io::Result<()> {
            *self.0.lock().unwrap() = Default::default();
            Ok(())
        }
        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn ctrl_c_is_shown_on_the_line_and_goes_with_it() {
        let line = Line::default();
        let mut progress = progress(true, Talk::Normal, false);
        progress.stage("packing", 10_000_000);
        let target = ProgressDrawTarget::term_like(Box::new(line.clone()));
        progress.bar.set_draw_target(target);
        progress.bar.inc(5_000_000);
        progress.bar.force_draw();
        assert!(line.text().starts_with(" packing [="), "{:?}", line.text());
        // As the terminal does, impatiently.
        line.put("^C^C");
        progress.clear();
        assert_eq!(line.text().trim(), "");
    }

    #[test]
    fn a_signal_takes_it_away_also_while_the_work_hears_nothing() {
        let mut progress = progress(true, Talk::Normal, false);
        progress.stage("packing", 10);
        progress.show();
        progress.signals.raise_interrupt();
        let Guard { over, thread } = progress.guard.take().unwrap();
        thread.join().unwrap();
        assert!(progress.bar.is_finished());
        progress.advance(5);
        assert!(progress.bar.is_hidden());
        drop(over);
    }

    #[test]
    fn what_is_over_soon_shows_nothing() {
        let mut progress = progress(true, Talk::Normal, false);
        progress.stage("packing", 10);
        assert!(progress.bar.is_hidden());
        assert_eq!(progress.bar.length(), Some(10));
        progress.stage("verifying", 20);
        progress.advance(5);
        assert_eq!(progress.bar.position(), 5);
        progress.clear();
    }
}
