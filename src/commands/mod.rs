//! The subcommands: each module tells one command's whole story, from its arguments
//! to what it prints. Decisions live in `ops`.

pub mod chat;
pub mod completions;
pub mod config;
mod connection;
pub mod export;
pub mod list;
pub mod models;
pub mod send;
mod session;
mod show;
