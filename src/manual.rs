//! The manual: one text for `--help`, the man pages and the offline guide.

/// What stands at the end of `pachat --help`: environment and exit codes.
pub fn after_long_help() -> String {
    String::new()
}
