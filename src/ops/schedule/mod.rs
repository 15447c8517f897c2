//! The machine's own scheduler: what runs when, and the files that say so.
//!
//! Layer: ops.
