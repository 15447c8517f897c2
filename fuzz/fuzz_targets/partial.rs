//! The parser of side files: never panics, however the file was cut.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pachat::store::partial::parse;

fuzz_target!(|bytes: &[u8]| {
    let whole = parse(bytes);
    let cut = parse(&bytes[..bytes.len() / 2]);
    // What is read of a file that is still being written stays as it was.
    assert!(whole.damaged || whole.delta.text.starts_with(&cut.delta.text));
});
