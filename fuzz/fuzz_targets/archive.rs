//! The reader of backups: never panics, refuses what is malformed and calls it so, and gives
//! out no more of a file than the manifest says. The first byte says how the rest gets there:
//! as it is, or gzipped, so that the fuzzer need not find a CRC; in one piece or in many.
#![no_main]

use std::io::{Cursor, Read, Write};

use flate2::Compression;
use flate2::write::GzEncoder;
use libfuzzer_sys::fuzz_target;
use pachat::archive::manifest::{Entry, Manifest};
use pachat::archive::read::{Sink, read};
use pachat::model::backup::Hasher;
use pachat::model::error::{Kind, Result};

/// Proves what it is given.
#[derive(Default)]
struct Proof {
    listed: usize,
    whole: usize,
    open: Option<(u64, Hasher)>,
}

impl Sink for Proof {
    fn manifest(&mut self, manifest: &Manifest) -> Result<()> {
        self.listed = manifest.files.len();
        Ok(())
    }
    fn begin(&mut self, entry: &Entry) -> Result<()> {
        assert!(self.open.is_none());
        self.open = Some((entry.size, Hasher::default()));
        Ok(())
    }
    fn data(&mut self, bytes: &[u8]) -> Result<()> {
        let (left, hasher) = self.open.as_mut().expect("a file is open");
        *left = left
            .checked_sub(bytes.len() as u64)
            .expect("no more than listed");
        hasher.update(bytes);
        Ok(())
    }
    fn end(&mut self, entry: &Entry) -> Result<()> {
        let (left, hasher) = self.open.take().expect("a file is open");
        assert_eq!((left, hasher.finish()), (0, entry.sha256));
        self.whole += 1;
        Ok(())
    }
}

/// Gives one byte at a time.
struct Slow<R>(R);

impl<R: Read> Read for Slow<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let most = buffer.len().min(1);
        self.0.read(&mut buffer[..most])
    }
}

fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("it goes into memory");
    encoder.finish().expect("it goes into memory")
}

fuzz_target!(|input: &[u8]| {
    let [how, bytes @ ..] = input else {
        return;
    };
    let archive = match how & 1 {
        0 => bytes.to_vec(),
        _ => packed(bytes),
    };
    let sealed = how & 2 != 0;
    let mut proof = Proof::default();
    let mut fast = Cursor::new(&archive);
    let mut slow = Slow(Cursor::new(&archive));
    let input: &mut dyn Read = if how & 4 == 0 { &mut fast } else { &mut slow };
    match read(input, sealed, &mut proof) {
        Ok(manifest) => assert_eq!(
            (manifest.files.len(), proof.open.is_none()),
            (proof.whole, true)
        ),
        Err(error) => {
            assert_eq!(error.kind(), Kind::Malformed);
            let safe = |c: char| c == ' ' || c.is_ascii_graphic();
            assert!(error.headline().chars().all(safe), "{error}");
        }
    }
    assert!(proof.whole <= proof.listed);
});
