//! Who watches long work: a progress bar, and Ctrl-C.

use crate::model::error::Result;

/// Told of the progress of long work.
pub trait Watch {
    /// A stage of the work begins: what it does (`packing`, `verifying`, …), and how many bytes
    /// it will go through.
    fn stage(&mut self, what: &'static str, bytes: u64);

    /// So many bytes more are done. An error, such as that of a signal, ends the work.
    fn advance(&mut self, bytes: u64) -> Result<()>;
}

/// Nobody watches.
pub struct Unwatched;

impl Watch for Unwatched {
    fn stage(&mut self, _what: &'static str, _bytes: u64) {}

    fn advance(&mut self, _bytes: u64) -> Result<()> {
        Ok(())
    }
}
