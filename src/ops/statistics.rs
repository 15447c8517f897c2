//! What the log tells: requests, how long they took, and what they cost.
//!
//! Layer: ops.
