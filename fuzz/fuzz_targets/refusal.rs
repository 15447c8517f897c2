//! The translator of refusals: whatever status and body come, the person gets short lines
//! without control characters. The first two bytes are the status.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pachat::api::{Endpoint, of_response};
use pachat::platform::clock::RealClock;
use reqwest::header::HeaderMap;

fuzz_target!(|input: &[u8]| {
    let [high, low, body @ ..] = input else {
        return;
    };
    let status = 300 + u16::from_be_bytes([*high, *low]) % 300;
    let endpoint = Endpoint::new("https://openrouter.ai".parse().expect("it is an address"));
    let clock = RealClock::start();
    let context = endpoint.context("a/b:free", &clock);
    let failure = of_response(status, &HeaderMap::new(), body, &context);
    let error = &failure.error;
    for line in [
        Some(&*error.headline()),
        error.cause_text(),
        error.hint_text(),
    ] {
        let line = line.unwrap_or_default();
        assert!(line.chars().all(|c| !c.is_control()), "{line:?}");
        assert!(line.chars().count() <= 480, "{line}");
    }
});
