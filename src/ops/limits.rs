//! The limits of the store: how large it may grow, and what helps.
//!
//! Layer: ops.
