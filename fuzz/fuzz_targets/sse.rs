//! The event stream parser: never panics, and a split of the bytes changes nothing. The first
//! byte says where they are split.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pachat::api::sse::{Event, Parser};

/// Every event; a comment has no data.
fn events(pieces: &[&[u8]]) -> Vec<(String, Option<String>)> {
    let mut events = Vec::new();
    let mut sink = |event: Event<'_>| {
        events.push(match event {
            Event::Comment => (String::new(), None),
            Event::Message { name, data } => (name.to_owned(), Some(data.to_owned())),
        });
    };
    let mut parser = Parser::default();
    for piece in pieces {
        parser
            .feed(piece, &mut sink)
            .expect("the input is far below the limit");
    }
    parser
        .finish(&mut sink)
        .expect("the input is far below the limit");
    events
}

fuzz_target!(|input: &[u8]| {
    let Some((&at, bytes)) = input.split_first() else {
        return;
    };
    let (head, tail) = bytes.split_at(usize::from(at).min(bytes.len()));
    assert_eq!(events(&[head, tail]), events(&[bytes]));
});
