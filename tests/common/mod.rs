//! What the tests share. Each test program uses a part of it.
#![allow(
    dead_code,
    missing_docs,
    clippy::unwrap_used,
    clippy::must_use_candidate,
    clippy::disallowed_methods
)]

pub mod disk;
pub mod host;
pub mod server;
