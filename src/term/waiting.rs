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
        // terminals wrap as soon as it is written.
        let width = ui.size().map_or(80, |(columns, _)| columns);
        let time = format!(" … {seconds} s");
        let room = width.saturating_sub(time.len() + 1);
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
