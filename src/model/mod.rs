//! Values and their invariants. No I/O, no clock, no randomness: what needs the
//! host lives in `platform`, what touches a file lives in `store`.

pub mod backup;
pub mod base_url;
pub mod conversation;
pub mod error;
pub mod finding;
pub mod gate;
pub mod id;
pub mod log_line;
pub mod record;
pub mod reply;
pub mod request;
pub mod secret;
pub mod size;
pub mod time;
pub mod usd;
