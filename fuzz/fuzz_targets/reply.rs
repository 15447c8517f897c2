//! Chunks and completions, from the bytes of a 200 response to the end of the reply: never
//! panics, a split changes nothing, and what is stored of the usage can be read back. The
//! first byte says where the body is split.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pachat::api::Endpoint;
use pachat::api::response::{Fed, Response};
use pachat::model::reply::State;
use pachat::platform::clock::RealClock;
use reqwest::header::HeaderMap;

/// Text, state and headline of the reply that these pieces make.
fn read(pieces: &[&[u8]]) -> (String, String, State, String) {
    let endpoint = Endpoint::new("http://localhost:1/v1".parse().expect("it is an address"));
    let clock = RealClock::start();
    let context = endpoint.context("m", &clock);
    let mut response = Response::default();
    response.head(200, HeaderMap::new());
    let mut ended = None;
    for piece in pieces {
        if let Fed::Ended(result) = response.feed(piece, &context) {
            ended = Some(result);
            break;
        }
    }
    let ended = ended.unwrap_or_else(|| response.end(&context));
    let delta = response.take();
    let finish = ended.unwrap_or_else(|failure| response.failed(failure.error));
    if let Some(usage) = &finish.usage {
        usage.figures();
        assert!(!usage.0.get().contains('\n'));
        assert!(serde_json::from_str::<serde_json::Value>(usage.0.get()).is_ok());
    }
    let said = finish
        .error
        .map_or_else(String::new, |error| error.headline());
    (delta.text, delta.reasoning, finish.state, said)
}

fuzz_target!(|input: &[u8]| {
    let Some((&at, bytes)) = input.split_first() else {
        return;
    };
    let (head, tail) = bytes.split_at(usize::from(at).min(bytes.len()));
    assert_eq!(read(&[head, tail]), read(&[bytes]));
});
