//! Exports of other programs, and files of another pachat: never panics, and what cannot be
//! imported is malformed, or is a zip file that cannot be read from a stream. Nothing is written.
#![no_main]

use std::io::Cursor;
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use pachat::model::error::Kind;
use pachat::model::size::ByteSize;
use pachat::ops::import::{Source, fates, preview};
use pachat::ops::limits::Limits;
use pachat::ops::watch::Unwatched;
use pachat::platform::clock::RealClock;
use pachat::platform::disk::RealDisk;
use pachat::platform::random::RealRandom;
use pachat::store::Store;

fuzz_target!(|input: &[u8]| {
    let nowhere = "/pachat-that-nobody-makes".into();
    let (disk, clock) = (Arc::new(RealDisk), Arc::new(RealClock::start()));
    let store = Store::new(nowhere, disk, clock, Arc::new(RealRandom));
    let limits = Limits {
        storage: ByteSize(u64::MAX),
        conversations: u64::MAX,
    };
    let stream = Box::new(Cursor::new(input.to_vec()));
    let sources = vec![Source::stream("standard input", stream)];
    match preview(&store, sources, &limits, &mut Unwatched) {
        Ok((read, plan)) => assert_eq!(read.found.len(), fates(&plan).len()),
        Err(error) => assert_eq!(error.kind(), Kind::Malformed),
    }
});
