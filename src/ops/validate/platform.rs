//! The terminal, the locale and what the file system can do.
