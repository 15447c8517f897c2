//! A close look at the whole installation. Every finding has a cause and a remedy.
//!
//! Layer: ops. Looking changes nothing; [`fix`] repairs what can be repaired without loss.

pub mod backups;
pub mod config;
pub mod fix;
pub mod platform;
pub mod security;
pub mod store;
