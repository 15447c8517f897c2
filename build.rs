//! Links GCC's unwinder into the program, where the C compiler has it as an archive.
//!
//! Otherwise each start loads `libgcc_s.so.1` for the sake of a panic that does not come: an
//! eighth of what a short command costs altogether. Without the archive nothing is lost but that.
#![allow(
    clippy::disallowed_methods,
    reason = "a build script looks at the machine itself"
)]

use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=CC");
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let native = variable("HOST") == variable("TARGET");
    let linux =
        variable("CARGO_CFG_TARGET_OS") == "linux" && variable("CARGO_CFG_TARGET_ENV") == "gnu";
    if native
        && linux
        && let Some(directory) = directory_of("libgcc_eh.a")
    {
        println!("cargo:rustc-link-search=native={}", directory.display());
        println!("cargo:rustc-link-lib=static:-bundle=gcc_eh");
    }
}

/// Where the C compiler has this archive; `None` if it has none.
fn directory_of(archive: &str) -> Option<PathBuf> {
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".to_owned());
    let output = Command::new(compiler)
        .arg(format!("-print-file-name={archive}"))
        .output()
        .ok()?;
    let path = String::from_utf8(output.stdout).ok()?;
    // A compiler that does not have it repeats the name.
    let path = Path::new(path.trim());
    path.is_absolute()
        .then(|| path.parent().map(Path::to_path_buf))?
}
