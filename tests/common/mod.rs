//! What the tests share. Each test program uses a part of it.
#![allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::must_use_candidate,
    clippy::disallowed_methods,
    clippy::match_same_arms,
    reason = "each test program uses a part of this, and a test may panic"
)]

pub mod disk;
pub mod host;
pub mod server;
