//! Long work that others may hold up: patience, and somebody who watches.
//!
//! Layer: commands.

use crate::context::Context;
use crate::model::error::Result;
use crate::ops::watch::Watch;
use crate::platform::Signals;
use crate::store::lock::{self, Patience};
use crate::term::progress::Progress;

/// Does something that may have to wait for other pachats; says so if it has to.
pub(super) fn with_patience<T>(
    context: &mut Context,
    act: impl FnOnce(&mut Patience<'_>) -> Result<T>,
) -> Result<T> {
    let limit = Some(context.lock_timeout());
    let Context { signals, ui, .. } = context;
    let mut notify = || ui.note("pachat: another pachat is at work here; waiting for it");
    act(&mut Patience {
        limit,
        signals,
        notify: &mut notify,
    })
}

/// A progress bar, and an ear for Ctrl-C.
pub(super) struct Watcher {
    progress: Progress,
    signals: Signals,
}

impl Watcher {
    /// Begins to watch. Nothing may be said before it is dropped.
    pub(super) fn new(context: &Context) -> Self {
        Self {
            progress: Progress::new(&context.ui, context.signals.clone()),
            signals: context.signals.clone(),
        }
    }
}

impl Watch for Watcher {
    fn stage(&mut self, what: &'static str, bytes: u64) {
        self.progress.stage(what, bytes);
    }

    fn advance(&mut self, bytes: u64) -> Result<()> {
        self.progress.advance(bytes);
        lock::stop_on(&self.signals)
    }
}
