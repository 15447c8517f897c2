//! Writes what is generated and committed: `man/`, `completions/`, `data/config.schema.json`
//! and the files for schedulers below `data/`.
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
    )?;
    for (scheduler, directory) in pachat::ops::schedule::SHIPPED {
        let files = pachat::ops::schedule::shipped(scheduler);
        write_all(&root.join(directory), &files)?;
    }
    write(
        &root.join("data/config.schema.json"),
        &pachat::settings::schema(),
    )
}

/// Makes a directory hold exactly these files.
#[expect(
    clippy::disallowed_methods,
    reason = "generated files need none of the care that a person\'s files get"
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
        write(&directory.join(name), text)?;
    }
    Ok(())
}

#[expect(
    clippy::disallowed_methods,
    reason = "generated files need none of the care that a person's files get"
)]
fn write(path: &Path, text: &str) -> io::Result<()> {
    std::fs::write(path, text)
}
