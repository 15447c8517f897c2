//! Probes: whether everything that pachat needs is there and works.
//!
//! Layer: ops.
