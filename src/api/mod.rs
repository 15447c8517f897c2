//! Talking to servers: what is sent, what comes back, and what its failures mean.
//!
//! Layer: `api` uses `model` and `platform` and nothing else. [`Client::reply`] streams a
//! chat completion and can be cancelled at any moment; [`Client::get`] fetches the small
//! documents beside it.

pub mod models;
pub mod profile;
pub mod request;
pub mod sse;
pub mod wire;

pub use profile::{Profile, Server};
