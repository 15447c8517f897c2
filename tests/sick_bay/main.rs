//! The sick bay: stores and configurations, each broken in a way in which real ones break. For
//! each: what `validate` finds, that every finding has a cause and a remedy, that looking
//! changes nothing, that `--fix` changes nothing it should not and loses nothing, and what is
//! left afterwards.
//!
//! `cargo test --test sick_bay -- --nocapture table` prints them all. `PACHAT_TEST_FILES=200000`
//! makes the large one as large as that.
#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::too_many_lines,
    clippy::print_stdout,
    clippy::struct_excessive_bools,
    clippy::semicolon_if_nothing_returned,
    clippy::case_sensitive_file_extension_comparisons,
    unreachable_pub,
    reason = "tests may panic, tables are long, and a test looks at the machine itself"
)]

#[path = "../common/mod.rs"]
mod common;

mod archive;
mod attachments;
mod backups;
mod bed;
mod case;
mod conversations;
mod keys;
mod lines;
mod machine;
mod rights;
mod settings;
mod size;
mod store;
mod ward;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use bed::Bed;
use case::Case;

fn cases() -> Vec<Case> {
    [
        conversations::cases(),
        lines::cases(),
        archive::cases(),
        attachments::cases(),
        store::cases(),
        settings::cases(),
        keys::cases(),
        rights::cases(),
        machine::cases(),
        backups::cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// One part of the cases, so that they run beside each other. All of them are treated before it
/// fails.
fn treat(part: usize, parts: usize) {
    let mut failed = Vec::new();
    for case in cases().iter().skip(part).step_by(parts) {
        if catch_unwind(AssertUnwindSafe(|| case.treat())).is_err() {
            failed.push(case.name);
        }
    }
    assert!(failed.is_empty(), "failed: {failed:#?}");
}

#[test]
fn first_ward() {
    treat(0, 4);
}

#[test]
fn second_ward() {
    treat(1, 4);
}

#[test]
fn third_ward() {
    treat(2, 4);
}

#[test]
fn fourth_ward() {
    treat(3, 4);
}

#[test]
fn nothing_is_found_where_nothing_is_wrong() {
    for areas in [
        &[][..],
        &["platform"],
        &["config"],
        &["security"],
        &["store"],
    ] {
        let mut bed = Bed::sound();
        bed.admit();
        let ran = bed.run(&[&["validate"], areas].concat());
        assert_eq!(ran.code, 0, "{areas:?}: {}{}", ran.stdout, ran.stderr);
        let json = bed.run(&[&["validate", "--json"], areas].concat());
        let document: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
        assert_eq!(document["findings"], serde_json::json!([]), "{areas:?}");
    }
}

#[test]
fn every_code_is_found_somewhere() {
    let all = cases();
    let found: BTreeSet<&str> = all.iter().flat_map(Case::codes).collect();
    let missing: Vec<&str> = pachat::ops::validate::CODES
        .iter()
        .map(|(code, ..)| *code)
        .filter(|code| !found.contains(code) && !size::CODES.contains(code))
        .collect();
    assert!(missing.is_empty(), "no case for {missing:?}");
}

#[test]
fn table_of_all_cases() {
    let all = cases();
    let names: BTreeSet<&str> = all.iter().map(|case| case.name).collect();
    assert_eq!(names.len(), all.len(), "two cases have one name");
    assert!(all.len() >= 50, "{}", all.len());
    for case in &all {
        let codes: BTreeSet<&str> = case.codes().collect();
        let codes: Vec<&str> = codes.into_iter().collect();
        println!("{:<60} {}", case.name, codes.join(" "));
    }
    println!("{} broken homes", all.len());
}
