//! What pachat does: a turn, a list, an export. No command line, no printing, no
//! environment: everything arrives as a value.

pub mod catalogue;
pub mod export;
pub mod guide;
pub mod journal;
pub mod key;
pub mod listing;
pub mod money;
pub mod prompt;
pub mod turn;
