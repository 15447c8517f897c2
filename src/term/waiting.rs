//! A line that says what is being waited for, on a terminal only.

use std::time::Duration;

use super::ui::Ui;

/// How long nothing has to happen before it is worth a line.
const QUIET: Duration = Duration::from_secs(2);

/// The line, while it is shown. It is rewritten in place once a second and leaves no trace.
#[derive(Debug, Default)]
pub struct Waiting {
    shown: Option<u64>,
}

impl Waiting {
    /// Says that `what` has been waited for since `since`.
    pub fn tick(&mut self, ui: &mut Ui, what: &str, since: Duration) {
        let seconds = since.as_secs();
        if since < QUIET || self.shown == Some(seconds) || !ui.stderr_is_terminal() {
            return;
        }
        self.shown = Some(seconds);
        let line = format!(
            "\r\x1b[Kwaiting for {} … {seconds} s",
            super::clean::clean_line(what)
        );
        ui.talk_raw(line.as_bytes());
    }

    /// Takes the line away, before anything else is shown.
    pub fn clear(&mut self, ui: &mut Ui) {
        if self.shown.take().is_some() {
            ui.talk_raw(b"\r\x1b[K");
        }
    }
}
