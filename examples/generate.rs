//! Writes what is generated and committed: `man/` and `completions/`.
//!
//! `cargo run --example generate` brings them up to date; a test compares them.

use std::io;
use std::path::Path;

fn main() -> io::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    write_all(&root.join("man"), &pachat::manual::man_pages())?;
    write_all(
        &root.join("completions"),
        &pachat::commands::completions::scripts(),
    )
}

/// Makes a directory hold exactly these files.
#[expect(
    clippy::disallowed_methods,
    reason = "generated files need no care of the store's"
)]
fn write_all(directory: &Path, files: &[(String, String)]) -> io::Result<()> {
    std::fs::create_dir_all(directory)?;
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        if !files
            .iter()
            .any(|(name, _)| entry.file_name() == name.as_str())
        {
            std::fs::remove_file(entry.path())?;
        }
    }
    for (name, text) in files {
        std::fs::write(directory.join(name), text)?;
    }
    Ok(())
}
