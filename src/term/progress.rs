//! A progress bar for work that turns out to be long.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::ui::{Talk, Ui};

/// Shorter work would only flicker.
const QUIET: Duration = Duration::from_millis(250);

/// Counts steps, and shows them on a terminal once the work has lasted a while. It leaves no
/// trace.
pub struct Progress {
    bar: ProgressBar,
    start: Instant,
    /// Whether anybody could see it.
    visible: bool,
}

impl Progress {
    /// For `total` steps; `what` is done to each.
    pub fn new(ui: &Ui, what: &'static str, total: usize) -> Self {
        let bar = ProgressBar::with_draw_target(Some(total as u64), ProgressDrawTarget::hidden());
        let style = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} {eta}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_message(what);
        let visible = ui.stderr_is_terminal() && ui.talk() >= Talk::Normal;
        Self {
            bar,
            start: Instant::now(),
            visible,
        }
    }

    /// One step is done.
    pub fn step(&mut self) {
        self.bar.inc(1);
        if self.visible && self.bar.is_hidden() && self.start.elapsed() >= QUIET {
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
