//! What pachat does: a turn, a list, an export, an import. No command line, no printing, no
//! environment: everything arrives as a value.

pub mod backup;
pub mod catalogue;
pub mod cleanup;
pub mod export;
pub mod guide;
pub mod health;
pub mod import;
pub mod journal;
pub mod key;
pub mod limits;
pub mod listing;
pub mod money;
pub mod prompt;
pub mod restore;
pub mod retention;
pub mod rollback;
pub mod room;
pub mod schedule;
pub mod statistics;
pub mod turn;
pub mod usage;
pub mod validate;
pub mod watch;
