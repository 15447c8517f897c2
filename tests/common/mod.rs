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
pub mod process;
pub mod server;

use serde_json::Value;

use host::Sandbox;
use server::{FakeServer, Script};

/// A server that answers with these scripts, and a home for pachat that talks to it.
pub fn sandbox(scripts: impl IntoIterator<Item = Script>) -> (FakeServer, Sandbox) {
    let server = FakeServer::answering(scripts);
    let sandbox = Sandbox::with_server(&server.base_url());
    (server, sandbox)
}

/// What a server got to see as the conversation, as `role:content`.
pub fn context_of(body: &Value) -> Vec<String> {
    let messages = body["messages"].as_array().unwrap();
    messages
        .iter()
        .map(|message| {
            let part = |name: &str| message[name].as_str().unwrap();
            format!("{}:{}", part("role"), part("content"))
        })
        .collect()
}
