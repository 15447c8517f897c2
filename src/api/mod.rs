//! Talking to servers: what is sent, what comes back, and what its failures mean.
//!
//! Layer: `api` uses `model` and `platform` and nothing else. [`Client::reply`] streams a
//! chat completion and can be cancelled at any moment; [`Client::get`] fetches the small
//! documents beside it.
#![allow(
    clippy::doc_markdown,
    reason = "names of servers are words here, not identifiers"
)]

mod assembly;
mod client;
mod details;
mod failure;
pub mod models;
mod pipe;
pub mod probe;
mod profile;
mod reading;
mod reply;
pub mod request;
pub mod response;
mod retry;
pub mod sse;
mod transport;
mod trouble;
pub mod wire;

pub use client::{Client, Endpoint, Limits};
pub use failure::{Context, Failure, Retry, of_response};
pub use profile::{Profile, Server};
pub use reply::{Reply, too_busy};
pub use retry::RetryPolicy;
pub use transport::NetworkEnvironment;
