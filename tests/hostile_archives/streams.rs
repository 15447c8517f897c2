//! Where the archive comes from and where its files go: both can fail, and neither failure is
//! the archive's fault.

use std::io::{self, ErrorKind, Read};

use pachat::archive::manifest::{Entry, Manifest};
use pachat::archive::read::{Nowhere, Sink, read};
use pachat::model::error::{Error, Kind, Result};

use super::build::{Backup, members, tar};
use super::recorder::Recorder;

/// Gives so many bytes at once, and breaks with an error of this kind at the end.
struct Stream<'a> {
    bytes: &'a [u8],
    at_once: usize,
    ends: Option<ErrorKind>,
    interrupt: bool,
}

impl Read for Stream<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.interrupt = !self.interrupt;
        if self.interrupt {
            return Err(ErrorKind::Interrupted.into());
        }
        let (now, later) = self.bytes.split_at(self.at_once.min(self.bytes.len()));
        self.bytes = later;
        buffer[..now.len()].copy_from_slice(now);
        match self.ends {
            Some(kind) if now.is_empty() => Err(kind.into()),
            _ => Ok(now.len()),
        }
    }
}

fn archive() -> Vec<u8> {
    members(&tar(&Backup::usual().entries()), 3000)
}

#[test]
fn a_slow_stream_gives_the_same() {
    let archive = archive();
    for at_once in [1, 7, 512] {
        let mut recorder = Recorder::default();
        let mut stream = Stream {
            bytes: &archive,
            at_once,
            ends: None,
            interrupt: false,
        };
        read(&mut stream, false, &mut recorder).unwrap();
        let files: Vec<_> = Backup::usual().files;
        assert_eq!(recorder.whole.len(), files.len());
        for (path, data) in files {
            assert_eq!(recorder.whole[&path], data);
        }
    }
}

#[test]
fn a_disk_that_fails_is_not_a_bad_archive() {
    let archive = archive();
    for end in [0, 5, archive.len() / 2, archive.len() - 3, archive.len()] {
        for (ends, sealed, kind) in [
            (ErrorKind::Other, false, Kind::Io),
            (ErrorKind::PermissionDenied, true, Kind::Io),
            (ErrorKind::InvalidData, true, Kind::Malformed),
            (ErrorKind::UnexpectedEof, true, Kind::Malformed),
        ] {
            let mut stream = Stream {
                bytes: &archive[..end],
                at_once: 1000,
                ends: Some(ends),
                interrupt: false,
            };
            let error = read(&mut stream, sealed, &mut Nowhere).unwrap_err();
            assert_eq!(error.kind(), kind, "{ends} at {end}: {error}");
            let names_seal = error.headline().contains("rule `age`");
            assert_eq!(names_seal, kind == Kind::Malformed, "{error}");
        }
    }
}

/// A sink that does not like one of the four calls.
struct Refusing(&'static str);

impl Refusing {
    fn answer(&self, call: &str) -> Result<()> {
        if self.0 == call {
            return Err(Error::new(Kind::Busy, call).hint("wait"));
        }
        Ok(())
    }
}

impl Sink for Refusing {
    fn manifest(&mut self, _manifest: &Manifest) -> Result<()> {
        self.answer("manifest")
    }
    fn begin(&mut self, _entry: &Entry) -> Result<()> {
        self.answer("begin")
    }
    fn data(&mut self, _bytes: &[u8]) -> Result<()> {
        self.answer("data")
    }
    fn end(&mut self, _entry: &Entry) -> Result<()> {
        self.answer("end")
    }
}

#[test]
fn the_error_of_a_sink_is_left_as_it_is() {
    for call in ["manifest", "begin", "data", "end"] {
        let error = read(&mut &archive()[..], false, &mut Refusing(call)).unwrap_err();
        assert_eq!((error.kind(), &*error.headline()), (Kind::Busy, call));
        assert_eq!(error.hint_text(), Some("wait"));
    }
}
