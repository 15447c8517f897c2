//! What several test files share.

#[allow(
    dead_code,
    unreachable_pub,
    reason = "each test file uses a part of it"
)]
#[allow(clippy::unwrap_used, reason = "a test may fail like that")]
pub mod server;
