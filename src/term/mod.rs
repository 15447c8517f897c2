//! What people see: channels, colour, clean text, tables, the line editor.

pub mod clean;
pub mod ui;

pub use ui::Ui;
