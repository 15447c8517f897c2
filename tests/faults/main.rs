//! Every fault on the wire has a defined outcome: one table of cases, by number, each run
//! through `pachat::run` against a server that misbehaves on purpose.
//!
//! `cargo test --test faults -- --nocapture table` prints the table. To run some rows only,
//! name them: `PACHAT_TEST_ROWS=38,49 cargo test --test faults -- --nocapture table`.
//!
//! Nothing waits for real: the clock is the test's, and where a limit has to pass, the
//! server's script lets the clock jump.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::too_many_lines,
    clippy::needless_pass_by_value,
    reason = "tests may panic, tables are long, and a test looks at the machine itself"
)]

#[path = "../common/mod.rs"]
mod common;

mod documents;
mod interruptions;
mod network;
mod refusals;
mod retries;
mod shown;
mod splits;
mod stage;
mod streams;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A row of the table: its number, what it is about, and what proves it.
pub(crate) struct Row(u8, &'static str, Box<dyn Fn() + Send + Sync>);

pub(crate) fn row(
    number: u8,
    about: &'static str,
    check: impl Fn() + Send + Sync + 'static,
) -> Row {
    Row(number, about, Box::new(check))
}

fn rows() -> Vec<Row> {
    [
        streams::rows(),
        refusals::rows(),
        retries::rows(),
        network::rows(),
        interruptions::rows(),
        shown::rows(),
        documents::rows(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// How many rows run at once: most of them wait for a server.
const PARALLEL: usize = 8;

#[test]
#[expect(clippy::print_stdout, reason = "what `--nocapture` is for")]
fn table() {
    let mut rows = rows();
    rows.sort_by_key(|row| row.0);
    let numbers: Vec<u8> = rows.iter().map(|row| row.0).collect();
    assert_eq!(numbers, (1..=78).collect::<Vec<u8>>(), "one row a case");
    if let Ok(wanted) = std::env::var("PACHAT_TEST_ROWS") {
        rows.retain(|row| wanted.split(',').any(|number| number == row.0.to_string()));
    }
    let results = Mutex::new(BTreeMap::new());
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..PARALLEL {
            scope.spawn(|| {
                while let Some(row) = rows.get(next.fetch_add(1, Ordering::SeqCst)) {
                    let passed = catch_unwind(AssertUnwindSafe(&row.2)).is_ok();
                    results.lock().unwrap().insert(row.0, (row.1, passed));
                }
            });
        }
    });
    let results = results.into_inner().unwrap();
    for (number, (about, passed)) in &results {
        println!(
            "{number:>3}  {:<6}  {about}",
            if *passed { "ok" } else { "FAILED" }
        );
    }
    let passed = results.values().filter(|(_, passed)| *passed).count();
    println!("{passed} of {} cases ok", results.len());
    assert_eq!(passed, results.len(), "see the rows that say FAILED");
}
