//! What pachat itself writes: accepted when it is whole, refused when it is damaged.

use std::io::{Cursor, Read, Write};

use pachat::archive::manifest::{Entry, Manifest};
use pachat::archive::read::{Nowhere, read};
use pachat::archive::seal::{Opener, Seal, open, seal};
use pachat::archive::write::{Nothing, Source, Written, write};
use pachat::model::error::{Kind, Result};

use super::build::{Backup, tar};
use super::recorder::Recorder;

struct Files(Vec<(String, Vec<u8>)>);

impl Source for Files {
    fn open(&mut self, entry: &Entry) -> Result<Option<Box<dyn Read>>> {
        let mut files = self.0.iter();
        let file = files.find(|(path, _)| path == entry.path.as_str());
        Ok(file.map(|(_, data)| Box::new(Cursor::new(data.clone())) as Box<dyn Read>))
    }

    fn advance(&mut self, _bytes: u64) -> Result<()> {
        Ok(())
    }
}

/// Writes the usual backup with a file of several members.
fn written() -> (Backup, Vec<u8>) {
    let large = tar(&Backup::usual().entries()).repeat(300);
    let backup = Backup::and("quarantine/large", &large);
    let mut manifest = Manifest::parse(backup.json().as_bytes(), false).unwrap();
    manifest
        .files
        .sort_by(|one, other| one.path.cmp(&other.path));
    let mut archive = Vec::new();
    let mut files = Files(backup.files.clone());
    let written = write(&manifest, &mut files, &mut Nothing, 2, &mut archive).unwrap();
    assert!(matches!(written, Written::Whole { .. }));
    (backup, archive)
}

#[test]
fn what_pachat_writes_is_accepted() {
    let (backup, archive) = written();
    let mut recorder = Recorder::default();
    read(&mut &archive[..], false, &mut recorder).unwrap();
    assert!(recorder.whole == backup.files.into_iter().collect());
}

#[test]
fn a_damaged_seal_is_a_bad_archive() {
    let (_, archive) = written();
    let (key, recipient) = pachat::archive::seal::generate();
    let (mut to, _) = seal(Vec::new(), &Seal::Recipients(vec![recipient])).unwrap();
    to.write_all(&archive).unwrap();
    let sealed = to.finish().unwrap();
    let opener = Opener::Identities(key);
    let read_sealed = |sealed: &[u8]| {
        let mut stream = open(Box::new(sealed), &opener)?;
        read(&mut *stream, true, &mut Nowhere)
    };
    assert!(read_sealed(&sealed).is_ok());
    let mut flipped = sealed.clone();
    flipped[sealed.len() / 2] ^= 1;
    let more = [&sealed[..], b"x"].concat();
    for damaged in [&flipped[..], &sealed[..sealed.len() - 20], &more] {
        let error = read_sealed(damaged).unwrap_err();
        assert_eq!(error.kind(), Kind::Malformed, "{error}");
        assert!(error.headline().contains("rule `age`"), "{error}");
    }
}
