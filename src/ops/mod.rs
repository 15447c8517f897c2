//! What pachat does: a turn, a list, an export. No command line, no printing, no
//! environment: everything arrives as a value.

pub mod backup;
pub mod catalogue;
pub mod export;
pub mod guide;
pub mod journal;
pub mod key;
pub mod listing;
pub mod money;
pub mod prompt;
pub mod restore;
pub mod retention;
pub mod rollback;
pub mod turn;
pub mod watch;
