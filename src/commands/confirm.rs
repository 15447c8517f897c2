//! The question before something big changes.
//!
//! Layer: commands. Promise: silence, the end of the input and Ctrl-C are all "no".

use crate::context::Context;
use crate::model::error::{Error, Kind, Result};
use crate::platform::{Signals, signals::Signal};
use crate::term::Ui;
use crate::term::lines::{Line, Lines, Manner, PlainLines};

/// The longest answer, in bytes.
const LONGEST: u64 = 4096;

/// Who is asked.
pub(super) enum Confirm {
    /// Nobody: `--yes` has answered everything.
    Given,
    /// The person at the terminal.
    Ask(Lines),
}

impl Confirm {
    /// Finds out whether there is somebody to ask. To be called before the work that leads to
    /// the question: where nobody can answer it, the work would be in vain. `command` is what
    /// stands before `--yes` in the hint.
    pub(super) fn prepare(command: &str, context: &mut Context) -> Result<Self> {
        if context.global.yes {
            return Ok(Self::Given);
        }
        if !context.stdin.is_terminal || !context.ui.stderr_is_terminal() {
            return Err(Error::new(Kind::Usage, "cannot ask whether to go on")
                .why("there is no terminal")
                .hint(format!(
                    "answer beforehand: {command} --yes; or look at the plan: {command} --dry-run"
                )));
        }
        let nothing = Box::new(std::io::empty());
        let reader = std::mem::replace(&mut context.stdin.reader, nothing);
        Ok(Self::Ask(Lines::start(
            PlainLines::new(reader, LONGEST),
            Manner::Piped,
        )))
    }

    /// Asks. "No" is an error of kind [`Kind::No`] that says nothing more.
    pub(super) fn go_on(&mut self, ui: &mut Ui, signals: &Signals) -> Result<()> {
        let Self::Ask(lines) = self else {
            return Ok(());
        };
        ui.question("Go on? [y/N] ");
        let answer = lines.read(ui, signals).inspect_err(|error| {
            if error.kind() == Kind::Interrupted {
                ui.question("\n");
            }
        })?;
        match answer {
            Line::Text(text) if is_yes(&text) => Ok(()),
            Line::Interrupt | Line::Discarded => Err(Error::of_signal(Signal::Interrupt)),
            Line::Text(_) | Line::End => {
                ui.note("nothing was changed");
                Err(Error::new(Kind::No, ""))
            }
        }
    }
}

fn is_yes(text: &str) -> bool {
    matches!(text.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}
