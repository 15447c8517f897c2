//! The layers of `src/`: imports point down only.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may panic, and looks at the machine itself"
)]

use std::path::{Path, PathBuf};

/// The layers from the bottom; modules on one line are siblings that do not know each other,
/// except on the top line.
const LAYERS: [&[&str]; 5] = [
    &["platform"],
    &["model"],
    &["store", "archive", "api", "term"],
    &["ops"],
    &[
        "app", "cli", "commands", "context", "logging", "settings", "manual", "lib", "main",
    ],
];

fn layer(module: &str) -> usize {
    LAYERS
        .iter()
        .position(|layer| layer.contains(&module))
        .unwrap_or_else(|| panic!("module `{module}` belongs to no layer: add it to the list"))
}

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The modules of the crate that a source names, by `crate::module` or by `super::` out of a
/// top module's own file.
fn imported(source: &str) -> Vec<String> {
    let mut modules = Vec::new();
    for line in source
        .lines()
        .map(str::trim_start)
        .filter(|line| !line.starts_with("//"))
    {
        for part in line.split("crate::").skip(1) {
            // A group such as `crate::{a, b::c}` names several.
            let names = match part.strip_prefix('{') {
                Some(group) => group.split(',').collect(),
                None => vec![part],
            };
            for name in names {
                let name: String = name
                    .trim_start()
                    .chars()
                    .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
                    .collect();
                if !name.is_empty() {
                    modules.push(name);
                }
            }
        }
    }
    modules
}

#[test]
fn imports_point_down_only() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    assert!(files.len() > 20, "the sources were not found");
    let mut wrong = Vec::new();
    for file in files {
        let relative = file.strip_prefix(&root).unwrap();
        let first = relative
            .components()
            .next()
            .unwrap()
            .as_os_str()
            .to_str()
            .unwrap();
        let own = first.strip_suffix(".rs").unwrap_or(first);
        let source = std::fs::read_to_string(&file).unwrap();
        for module in imported(&source) {
            if module == own || (own == "lib" || own == "main") {
                continue;
            }
            let top = LAYERS.len() - 1;
            let (from, to) = (layer(own), layer(&module));
            if to > from || (to == from && from != top) {
                wrong.push(format!("{} ({own}) imports {module}", relative.display()));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "imports that do not point down:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn the_parser_of_imports_sees_them() {
    let source = "use crate::store::Store;\n// use crate::no::no;\n    let x = crate::api::y();\nuse crate::{model::id, term};";
    assert_eq!(imported(source), ["store", "api", "model", "term"]);
}
