//! Keeping the store small: a plan, and carrying it out.
//!
//! Layer: ops.
