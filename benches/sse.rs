//! How fast the parser of event streams is: `cargo bench --bench sse`.

use std::time::Instant;

use pachat::api::sse::Parser;

/// What a connection hands over at a time.
const READ: usize = 16 << 10;
const SAMPLE: usize = 64 << 20;
const ROUNDS: usize = 9;

#[expect(
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "it prints a speed"
)]
fn main() {
    let event = br#"data: {"id":"gen-1787000000-AbCdEfGhIjKlMnOp","object":"chat.completion.chunk","created":1787000000,"model":"bench/model","provider":"Bench","choices":[{"index":0,"delta":{"role":"assistant","content":" word"},"finish_reason":null}]}"#;
    let event = [event.as_slice(), b"\n\n"].concat();
    // `cargo test --all-targets` runs this, too, and wants to know only that it works.
    let measured = std::env::args().any(|argument| argument == "--bench");
    let sample = if measured { SAMPLE } else { SAMPLE >> 10 };
    let expected = sample / event.len();
    let sample = event.repeat(expected);
    let mut speeds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let mut parser = Parser::default();
            let mut count = 0;
            let start = Instant::now();
            for bytes in sample.chunks(READ) {
                let fed = parser.feed(bytes, |_| count += 1);
                assert!(fed.is_ok());
            }
            let seconds = start.elapsed().as_secs_f64();
            assert_eq!(count, expected);
            sample.len() as f64 / seconds / 1e6
        })
        .collect();
    speeds.sort_by(f64::total_cmp);
    println!(
        "median {:.0} MB/s, slowest {:.0} MB/s, {ROUNDS} rounds",
        speeds[ROUNDS / 2],
        speeds[0]
    );
}
