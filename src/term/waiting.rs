//! A line that says what is being waited for, on a terminal only.

use std::time::Duration;

use super::clean::clean_line;
use super::table;
use super::ui::Ui;

/// How long nothing has to happen before it is worth a line.
const QUIET: Duration = Duration::from_secs(2);

/// The line, while it is shown. It is rewritten in place once a second and leaves no trace.
#[derive(Debug, Default)]
pub struct Waiting {
    shown: Option<u64>,
}

impl Waiting {
    /// Says `what` is going on since `since`.
    pub fn tick(&mut self, ui: &mut Ui, what: &str, since: Duration) {
        let seconds = since.as_secs();
        if since < QUIET || self.shown == Some(seconds) || !ui.can_erase() {
            return;
        }
        self.shown = Some(seconds);
        // A line that wraps could not be taken back whole. The last column stays free: some
        // terminals wrap as soon as it is written. And a terminal adds `^C` when that is typed.
        let width = ui.size().map_or(80, |(columns, _)| columns);
        let time = format!(" … {seconds} s");
        let room = width.saturating_sub(time.len() + 1 + 2 * "^C".len());
        let line = format!("{}{time}", table::cut(&clean_line(what), room));
        let (dim, off) = if ui.colour().stderr {
            ("\x1b[2m", "\x1b[0m")
        } else {
            ("", "")
        };
        ui.talk_raw(format!("\r\x1b[K{dim}{line}{off}").as_bytes());
    }

    /// Takes the line away, before anything else is shown.
    pub fn clear(&mut self, ui: &mut Ui) {
        if self.shown.take().is_some() {
            ui.talk_raw(b"\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::Output;
    use crate::term::ui::{Colour, Talk};
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Shown(Arc<Mutex<Vec<u8>>>);

    impl Write for Shown {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What a terminal 30 columns wide, or a pipe, gets during a wait of three seconds.
    fn shown(is_terminal: bool, what: &str) -> String {
        let shown = Shown::default();
        let output = || Output {
            writer: Box::new(shown.clone()),
            is_terminal,
            size: Some((30, 10)),
        };
        let mut ui = Ui::new(output(), output(), Talk::Normal, Colour::default());
        let mut waiting = Waiting::default();
        for milliseconds in [20, 1999, 2000, 2020, 2990, 3000] {
            waiting.tick(&mut ui, what, Duration::from_millis(milliseconds));
        }
        waiting.clear(&mut ui);
        waiting.clear(&mut ui);
        let bytes = shown.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn it_counts_in_place_and_leaves_no_trace() {
        assert_eq!(
            shown(true, "waiting for a/b"),
            "\r\x1b[Kwaiting for a/b … 2 s\r\x1b[Kwaiting for a/b … 3 s\r\x1b[K"
        );
        assert_eq!(shown(false, "waiting for a/b"), "");
    }

    #[test]
    fn it_never_wraps() {
        use unicode_width::UnicodeWidthStr;
        let text = shown(true, "waiting for a/very-long-name-of-a-日本-model");
        let widest = text.split("\r\x1b[K").map(UnicodeWidthStr::width).max();
        assert!(widest < Some(30), "{text:?}");
    }
}
