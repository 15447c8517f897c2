//! The subcommands: each module tells one command's whole story, from its arguments
//! to what it prints. Decisions live in `ops`.

pub mod backup;
pub mod chat;
pub mod cleanup;
pub mod completions;
pub mod config;
mod confirm;
mod connection;
pub mod export;
pub mod health;
pub mod import;
pub mod list;
pub mod models;
mod passphrase;
mod plan;
pub mod restore;
pub mod rollback;
pub mod send;
mod session;
mod show;
pub mod validate;
mod waiting;
