//! pachat: a personal AI chatbot for the command line.
//!
//! The program is one function, [`run`], which can be called twice in one process: everything
//! it needs of the machine arrives in a [`platform::Host`]. The modules are layers, from the
//! top: `app`, `cli`, `commands`, `context`, `settings` and `manual`; then `ops`; then
//! `store`, `archive`, `api` and `term`, none of which knows the others; then `model`; then `platform`.
//! Imports point down only, and a test holds them to it.

pub mod api;
mod app;
pub mod archive;
pub mod cli;
pub mod commands;
pub mod context;
mod logging;
pub mod manual;
pub mod model;
pub mod ops;
pub mod platform;
pub mod settings;
pub mod store;
pub mod term;

pub use app::run;
