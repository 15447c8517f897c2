//! Generated files are committed: they must be what the source would make today.
#![allow(clippy::unwrap_used, reason = "a failed test is allowed to panic")]

use std::path::Path;

#[expect(
    clippy::disallowed_methods,
    reason = "a test reads the repository, not a person's files"
)]
fn compare(directory: &str, fresh: &[(String, String)]) {
    const REMEDY: &str = "run `cargo run --example generate`";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(directory);
    for (name, text) in fresh {
        let committed = std::fs::read_to_string(path.join(name))
            .unwrap_or_else(|error| panic!("{directory}/{name}: {error}: {REMEDY}"));
        // Not `assert_eq`: two whole pages in a message help nobody.
        let differs = text
            .lines()
            .zip(committed.lines())
            .find(|(new, old)| new != old);
        assert!(
            *text == committed,
            "{directory}/{name} is out of date, first at {differs:?}: {REMEDY}"
        );
    }
    for entry in std::fs::read_dir(&path).unwrap() {
        let name = entry.unwrap().file_name();
        assert!(
            fresh.iter().any(|(known, _)| name == known.as_str()),
            "{directory}/{} is generated no more: {REMEDY}",
            name.display()
        );
    }
}

#[test]
fn man_pages_are_up_to_date() {
    compare("man", &pachat::manual::man_pages());
}

#[test]
fn files_for_schedulers_are_up_to_date() {
    for (scheduler, directory) in pachat::ops::schedule::SHIPPED {
        compare(directory, &pachat::ops::schedule::shipped(scheduler));
    }
}

#[test]
fn completion_scripts_are_up_to_date() {
    compare("completions", &pachat::commands::completions::scripts());
}
