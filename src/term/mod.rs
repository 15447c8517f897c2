//! What people see: channels, colour, clean text, tables, the line editor.

pub mod clean;
pub mod editor;
pub mod lines;
pub mod progress;
pub mod table;
pub mod ui;
pub mod waiting;

pub use ui::Ui;
