//! Stores of a size that hurts.

use super::bed::{Bed, WHALES, active, conversation, header, lines};

/// What is found here and nowhere else.
pub const CODES: [&str; 1] = ["store.too-large"];

/// How many conversations the large store has.
fn many() -> u32 {
    std::env::var("PACHAT_TEST_FILES")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(2_000)
}

/// An id for each number.
fn id(number: u32) -> String {
    const DIGITS: &[u8; 10] = b"0123456789";
    let tail: String = format!("{number:06}")
        .bytes()
        .map(|byte| char::from(DIGITS[usize::from(byte - b'0')]))
        .collect();
    format!("20260822-090000-{tail}")
}

#[test]
fn a_store_of_very_many_files_is_looked_at_to_its_end() {
    let mut bed = Bed::sound();
    bed.put(
        "config/app_config.json",
        "{\"limits\": {\"conversations\": 10000000, \"storage_mb\": 100000}}",
    );
    let count = many();
    for number in 0..count {
        let id = id(number);
        bed.put(
            &active(&id),
            &conversation(&id).replace("2026-08-21T09:3", "2026-08-22T09:3"),
        );
    }
    bed.append(&active(&id(count - 1)), b"{\"ty");
    bed.admit();
    let ran = bed.run(&["validate", "--json"]);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    let document: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    let findings = document["findings"].as_array().unwrap();
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert_eq!(findings[0]["code"], "store.torn-tail");
    assert_eq!(findings[0]["subject"], active(&id(count - 1)).as_str());
    let ran = bed.run(&["validate", "--fix", "--yes"]);
    assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
}

#[test]
fn a_line_longer_than_memory_allows_is_refused_and_not_read() {
    let mut bed = Bed::sound();
    bed.put(&active(WHALES), &lines(&[&header(WHALES)]));
    // A hole: it takes no room on the disk.
    let path = bed.data().join(active(WHALES));
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    file.set_len((1 << 30) + 1).unwrap();
    bed.admit();
    let ran = bed.run(&["validate", "store", "--json"]);
    let document: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    let codes: Vec<&str> = document["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|finding| finding["code"].as_str().unwrap())
        .collect();
    assert!(codes.contains(&"store.too-large"), "{codes:?}");
}
