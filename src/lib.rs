//! pachat: a personal AI chatbot for the command line.

pub mod api;
pub mod cli;
pub mod commands;
pub mod context;
pub mod manual;
pub mod model;
pub mod ops;
pub mod platform;
pub mod settings;
pub mod store;
pub mod term;
