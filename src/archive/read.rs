//! Reading an archive, trusting nothing.
//!
//! Rules, each by the name that a [`Refusal`] gives it, in the order in which they can break:
//!
//! | rule | what must be true |
//! |---|---|
//! | `age` | a sealed archive is whole: no byte changed, none missing |
//! | `gzip` | members of RFC 1952 and nothing else, with the CRC and the length that they state |
//! | `tar` | sound headers, POSIX ustar or GNU; padding of zeros; two zero blocks at the end |
//! | `type` | files and directories; GNU long names and PAX records about them |
//! | `pax` | sound PAX records, of a path and of times only |
//! | `manifest` | `MANIFEST.json` is the first entry, once, and makes sense |
//! | `path`, `place` | a path that is safe everywhere, where this type of backup keeps files |
//! | `duplicate` | nothing twice, not even under names that some file system takes for one |
//! | `unlisted`, `missing` | files are those of the manifest: all of them, no others |
//! | `size`, `digest` | files are as the manifest says |
//! | `limit` | no more than the manifest states and a sensible archive needs |
//! | `trailing` | nothing after the end |
//!
//! Sizes and limits are checked before a byte of the file is given out. Nothing but the
//! manifest is held in memory whole.

mod gzip;
mod header;
mod rest;
mod tar;

use std::collections::HashMap;
use std::io::Read;

use crate::model::backup::Hasher;
use crate::model::error::{Error, Result};

use super::Refusal;
use super::manifest::{self, Entry, Manifest};
use super::path::{ArchivePath, check_directory};
use super::segment::{Copied, Outline};
use gzip::Gunzip;
use header::{Header, Kind};
use rest::Rest;
use tar::Tar;

/// Where the files of an archive go. Nothing that arrives has been proven before
/// [`read`] returns.
pub trait Sink {
    /// The manifest, before anything else. An error ends the reading.
    fn manifest(&mut self, manifest: &Manifest) -> Result<()>;

    /// A file begins.
    fn begin(&mut self, entry: &Entry) -> Result<()>;

    /// More bytes of the file that began last.
    fn data(&mut self, bytes: &[u8]) -> Result<()>;

    /// The file that began last is whole, and its digest is that of the manifest.
    fn end(&mut self, entry: &Entry) -> Result<()>;
}

/// A sink that keeps nothing: for reading in order to verify.
pub struct Nowhere;

impl Sink for Nowhere {
    fn manifest(&mut self, _manifest: &Manifest) -> Result<()> {
        Ok(())
    }
    fn begin(&mut self, _entry: &Entry) -> Result<()> {
        Ok(())
    }
    fn data(&mut self, _bytes: &[u8]) -> Result<()> {
        Ok(())
    }
    fn end(&mut self, _entry: &Entry) -> Result<()> {
        Ok(())
    }
}

/// Reads a whole gzipped tar archive to the end of `input`; `sealed` says that it was taken
/// out of an age file. What breaks a rule is an error of kind `Malformed`, made of a
/// [`Refusal`]; a failure of the input is one of kind `Io`; errors of the sink pass through.
pub fn read(input: &mut dyn Read, sealed: bool, sink: &mut dyn Sink) -> Result<Manifest> {
    entries(&mut Gunzip::new(input, sealed), sealed, &[], sink)
}

/// Reads an archive that was just written, as `outline` says, and not sealed: what was copied is
/// compared, everything else read as by [`read`]. All rules hold for the rest; none of the
/// copied files may be in it. An error of kind `Malformed` means that it is not what was
/// written.
pub fn read_back(input: &mut dyn Read, outline: &Outline, sink: &mut dyn Sink) -> Result<Manifest> {
    if outline.copied.is_empty() {
        return read(input, false, sink);
    }
    entries(&mut Rest::new(input, outline), false, &outline.copied, sink)
}

/// Where the bytes of a tar archive come from.
trait Unpacked {
    /// Takes at most `most` bytes; none only at the end.
    fn take(&mut self, most: usize) -> Result<&[u8]>;

    /// The end of the archive has been read: only padding may follow.
    fn close(&mut self);
}

/// Reads the entries of an archive without those that were copied.
fn entries(
    unpacked: &mut dyn Unpacked,
    sealed: bool,
    copied: &[Copied],
    sink: &mut dyn Sink,
) -> Result<Manifest> {
    let mut tar = Tar::new(unpacked);
    let manifest = read_manifest(&mut tar, sealed)?;
    sink.manifest(&manifest)?;
    let mut expected = Expected::new(&manifest, sealed, copied);
    while let Some(header) = tar.next()? {
        if header.kind == Kind::Directory {
            expected.directory(&header)?;
        } else {
            let entry = expected.file(&header)?;
            copy(&mut tar, entry, sink)?;
        }
    }
    expected.complete()?;
    Ok(manifest)
}

/// An error that says which rule is broken.
fn refuse<T>(rule: &'static str, entry: impl AsRef<[u8]>, detail: impl Into<String>) -> Result<T> {
    Err(Refusal::new(rule, entry, detail).into())
}

/// Reads the first entry, which must be the manifest.
fn read_manifest(tar: &mut Tar, sealed: bool) -> Result<Manifest> {
    let Some(header) = tar.next()? else {
        return refuse("manifest", "", "the archive is empty");
    };
    check_beginning(&header.name)?;
    if header.name != manifest::NAME.as_bytes() || header.kind != Kind::File {
        let detail = "the first entry is not the file `MANIFEST.json`";
        return refuse("manifest", header.name, detail);
    }
    if header.size > manifest::LARGEST {
        let detail = format!("it is larger than {} MiB", manifest::LARGEST >> 20);
        return refuse("manifest", header.name, detail);
    }
    let json = tar.whole(header.size, &header.name)?;
    Manifest::parse(&json, sealed).map_err(Error::from)
}

/// Gives a file to the sink and checks its digest.
fn copy(tar: &mut Tar, entry: &Entry, sink: &mut dyn Sink) -> Result<()> {
    let name = entry.path.as_str().as_bytes();
    sink.begin(entry)?;
    let mut hasher = Hasher::default();
    let mut left = entry.size;
    while left > 0 {
        let bytes = tar.data(left, name)?;
        hasher.update(bytes);
        sink.data(bytes)?;
        left -= bytes.len() as u64;
    }
    tar.padding(entry.size, name)?;
    if hasher.finish() != entry.sha256 {
        return refuse("digest", name, "its SHA-256 is not that of the manifest");
    }
    sink.end(entry)
}

/// Says what is wrong with the name that `tar czf FILE .` gives everything.
fn check_beginning(name: &[u8]) -> Result<()> {
    if name.starts_with(b"./") {
        let detail = "its name begins with `./`: name the files and directories to `tar`, \
                      `MANIFEST.json` first";
        return refuse("path", name, detail);
    }
    Ok(())
}

/// The entries that may still come.
struct Expected<'a> {
    manifest: &'a Manifest,
    sealed: bool,
    /// The manifest's files, and whether they have come.
    files: HashMap<&'a ArchivePath, (&'a Entry, bool)>,
    /// Which directories have come; there are few that may.
    directories: Vec<Vec<u8>>,
}

impl<'a> Expected<'a> {
    fn new(manifest: &'a Manifest, sealed: bool, copied: &[Copied]) -> Self {
        let mut copied = copied.iter().map(|run| &run.files).peekable();
        let mut expected = |number: usize| {
            while copied.next_if(|files| files.end <= number).is_some() {}
            copied.peek().is_none_or(|files| number < files.start)
        };
        let files = manifest.files.iter().enumerate();
        let files = files.filter(|(number, _)| expected(*number));
        Self {
            manifest,
            sealed,
            files: files
                .map(|(_, entry)| (&entry.path, (entry, false)))
                .collect(),
            directories: Vec::new(),
        }
    }

    fn directory(&mut self, header: &Header) -> Result<()> {
        check_beginning(&header.name)?;
        check_directory(&header.name, self.manifest.kind)?;
        if header.size != 0 {
            return refuse("size", &header.name, "a directory has a size");
        }
        let name = header.name.strip_suffix(b"/").unwrap_or(&header.name);
        if self.directories.iter().any(|seen| seen == name) {
            return refuse("duplicate", &header.name, "this directory is there twice");
        }
        self.directories.push(name.to_vec());
        Ok(())
    }

    fn file(&mut self, header: &Header) -> Result<&'a Entry> {
        let name = &header.name;
        check_beginning(name)?;
        if name == manifest::NAME.as_bytes() {
            return refuse("manifest", name, "it is there twice");
        }
        let path = ArchivePath::parse(name, self.manifest.kind, self.sealed)?;
        let Some((entry, seen)) = self.files.get_mut(&path) else {
            return refuse("unlisted", name, "the manifest does not name it");
        };
        if std::mem::replace(seen, true) {
            return refuse("duplicate", name, "this file is there twice");
        }
        if header.size != entry.size {
            let detail = format!(
                "it has {} bytes where the manifest says {}",
                header.size, entry.size
            );
            return refuse("size", name, detail);
        }
        Ok(entry)
    }

    fn complete(&self) -> Result<()> {
        let mut files = self.manifest.files.iter();
        let is_missing = |file: &&Entry| self.files.get(&file.path).is_some_and(|(_, seen)| !seen);
        match files.find(is_missing) {
            Some(file) => refuse("missing", file.path.as_str(), "only the manifest has it"),
            None => Ok(()),
        }
    }
}
