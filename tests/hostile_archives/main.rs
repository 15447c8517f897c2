//! Archives made to do harm, and what becomes of them: one table, each archive built byte by
//! byte, each refused by the rule that it breaks and under the name of the entry that breaks
//! it. Beside them archives that must be accepted, damage at random, and streams that fail.
//!
//! `cargo test --test hostile_archives -- --nocapture` prints how many there are.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::too_many_lines,
    clippy::print_stdout,
    clippy::large_types_passed_by_value,
    unreachable_pub,
    reason = "tests may panic, tables are long, and a test looks at the machine itself"
)]

#[path = "../common/mod.rs"]
mod common;

mod build;
mod cases;
mod content;
mod ends;
mod gzip;
mod manifests;
mod mutations;
mod own;
mod paths;
mod recorder;
mod restored;
mod sizes;
mod stock;
mod streams;
mod types;
mod valid;

use std::collections::BTreeSet;

use pachat::archive::read::read;
use pachat::model::error::Kind;

use cases::{At, Case, cases};
use recorder::Recorder;

#[test]
fn through_the_reader() {
    let (mut refused, mut accepted) = (0, 0);
    for case in cases() {
        let mut recorder = Recorder::default();
        let result = read(&mut &case.archive[..], case.sealed, &mut recorder);
        match (&case.refused, case.at) {
            (Some((rule, entry)), At::Read) => {
                let Err(error) = result else {
                    panic!("{}: accepted", case.name);
                };
                let line = error.headline();
                assert_eq!(error.kind(), Kind::Malformed, "{}: {line}", case.name);
                check_line(&case, &line, rule, entry);
                check_record(&case, &recorder, rule, entry);
                refused += 1;
            }
            (expected, _) => {
                let manifest = result.unwrap_or_else(|error| panic!("{}: {error}", case.name));
                assert_eq!(recorder.whole.len(), manifest.files.len(), "{}", case.name);
                accepted += usize::from(expected.is_none());
            }
        }
    }
    println!("{refused} hostile archives refused, {accepted} valid ones accepted");
}

/// The message names the rule and the entry, in characters that are safe to show.
fn check_line(case: &Case, line: &str, rule: &str, entry: &str) {
    let name = &case.name;
    assert!(line.contains(&format!("rule `{rule}`")), "{name}: {line}");
    match entry {
        "" => assert!(!line.contains("entry `"), "{name}: {line}"),
        _ => assert!(line.contains(&format!("entry `{entry}")), "{name}: {line}"),
    }
    assert!(
        line.chars().all(|c| c == ' ' || c.is_ascii_graphic()),
        "{name}: {line:?}"
    );
}

/// What a rule about names and sizes refuses never gets as far as the sink; what is refused
/// later is not called whole.
fn check_record(case: &Case, recorder: &Recorder, rule: &str, entry: &str) {
    let name = &case.name;
    match rule {
        "manifest" | "newer" if entry != "MANIFEST.json" || !name.contains("twice") => {
            assert!(!recorder.begun, "{name}");
        }
        // The first of two was in order.
        "duplicate" => assert!(recorder.open.is_none(), "{name}"),
        "path" | "place" | "type" | "pax" | "unlisted" | "missing" | "size" => {
            assert!(recorder.open.is_none(), "{name}");
            assert!(!recorder.whole.contains_key(entry), "{name}");
        }
        _ => assert!(!recorder.whole.contains_key(entry), "{name}"),
    }
}

#[test]
fn no_two_cases_have_one_name() {
    let all = cases();
    let names: BTreeSet<&str> = all.iter().map(|case| &*case.name).collect();
    assert_eq!(names.len(), all.len());
    assert!(all.iter().filter(|case| case.refused.is_some()).count() >= 70);
}
