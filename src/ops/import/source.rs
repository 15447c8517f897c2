//! A file to import from, and what kind of file it is.
//!
//! What it is is told by its first bytes, never by its name.

use std::cell::Cell;
use std::io::{self, BufRead, BufReader, Read, Seek};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use flate2::bufread::MultiGzDecoder;

use crate::archive::seal;
use crate::model::error::{Error, Kind, Result};
use crate::model::size::ByteSize;
use crate::platform::Disk;
use crate::platform::disk::{File, FileKind, Open};

use super::{Intake, json, own};

/// How many bytes are looked at.
const BEGINNING: usize = 4096;

/// Something to import from.
pub struct Source {
    name: String,
    path: Option<PathBuf>,
    len: Option<u64>,
    bytes: Bytes,
}

enum Bytes {
    /// A regular file, which is opened when its turn comes: a directory may have more of them
    /// than a process may have open.
    Closed(PathBuf),
    /// A pipe, or a device, which can be opened only once.
    Open(Box<dyn File>),
    Stream(Box<dyn Read>),
}

impl Source {
    /// Standard input, or another stream.
    pub fn stream(name: &str, input: Box<dyn Read>) -> Self {
        Self {
            name: name.to_owned(),
            path: None,
            len: None,
            bytes: Bytes::Stream(input),
        }
    }

    /// A file; or what there is to import in a directory, such as one that an export has
    /// been unpacked to.
    pub fn open(disk: &dyn Disk, name: &str, path: &Path) -> Result<Vec<Self>> {
        let is_directory = |path: &Path| {
            let stat = disk.stat(&path.join("."));
            stat.is_ok_and(|stat| stat.kind == FileKind::Directory)
        };
        if !is_directory(path) {
            let file = disk
                .open(path, Open::Read)
                .map_err(|error| cannot_open(path, &error))?;
            let stat = file.stat().map_err(|error| cannot_open(path, &error))?;
            let (len, bytes) = match stat.kind {
                FileKind::File => (Some(stat.len), Bytes::Closed(path.to_path_buf())),
                _ => (None, Bytes::Open(file)),
            };
            return Ok(vec![Self {
                name: name.to_owned(),
                path: Some(path.to_path_buf()),
                len,
                bytes,
            }]);
        }
        let entries = disk
            .read_dir(path)
            .map_err(|error| cannot_open(path, &error))?;
        let mut names: Vec<_> = entries
            .into_iter()
            .filter(|entry| entry.kind == FileKind::File)
            .map(|entry| entry.name)
            .filter(|name| name.to_str().is_some_and(is_wanted))
            .collect();
        names.sort();
        if names.is_empty() {
            let hint = if is_directory(&path.join("conversations")) {
                "if it is a data directory of pachat: pachat export --all -F jsonl --data-dir DIR | pachat import -"
            } else {
                "name the file itself"
            };
            return Err(Error::new(Kind::NotFound, "there is nothing to import")
                .why("the directory has no conversations.json, and no .jsonl files")
                .path(path)
                .hint(hint));
        }
        let mut sources = Vec::new();
        for file in names {
            let shown = Path::new(name).join(&file).display().to_string();
            sources.extend(Self::open(disk, &shown, &path.join(&file))?);
        }
        Ok(sources)
    }

    /// What to call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its length in bytes, if that is known.
    pub fn len(&self) -> Option<u64> {
        self.len
    }

    /// Whether it is known to hold nothing.
    pub fn is_empty(&self) -> bool {
        self.len == Some(0)
    }

    /// Reads all of it.
    pub(super) fn read(self, intake: &mut Intake<'_, '_>) -> Result<()> {
        let Self {
            name, path, bytes, ..
        } = self;
        let mut progress = Progress::default();
        let read = match bytes {
            Bytes::Stream(stream) => {
                let counted = progress.count(stream);
                bytes_of(counted, &mut progress, intake)
            }
            Bytes::Open(file) => read_file(progress.count(file), &mut progress, intake),
            Bytes::Closed(path) => {
                let file = intake.store.disk().open(&path, Open::Read);
                file.map_err(|error| cannot_open(&path, &error))
                    .and_then(|file| read_file(progress.count(file), &mut progress, intake))
            }
        };
        read.map_err(|error| match &path {
            // A signal has nothing to do with it, and an error of the store has its own path.
            _ if error.kind() == Kind::Interrupted
                || error.kind() == Kind::Terminated
                || error.path_ref().is_some() =>
            {
                error
            }
            Some(path) => error.path(path),
            None => error.cause(format!("it came from {name}")),
        })
    }
}

const ZIP: &[u8; 4] = b"PK\x03\x04";
const GZIP: &[u8] = b"\x1f\x8b";
const SQLITE: &[u8] = b"SQLite format 3\0";

/// Whether a file of an export, or of a directory, by its name.
fn is_wanted(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    // Large exports come in several: conversations-000.json and so on.
    (name.starts_with("conversations") && has_extension(name, ".json"))
        || has_extension(name, ".jsonl")
        || has_extension(name, ".jsonl.gz")
}

fn has_extension(name: &str, extension: &str) -> bool {
    name.strip_suffix(extension)
        .is_some_and(|stem| !stem.starts_with('.') && !stem.is_empty())
}

/// Reads a file of whatever kind it is.
fn read_file(
    mut file: Counted<Box<dyn File>>,
    progress: &mut Progress,
    intake: &mut Intake<'_, '_>,
) -> Result<()> {
    let mut beginning = [0; ZIP.len()];
    let count = read_some(&mut file, &mut beginning).map_err(|error| failed(&error))?;
    match (beginning == *ZIP, file.rewind()) {
        (true, Ok(())) => unzip(file, progress, intake),
        (false, Ok(())) => bytes_of(file, progress, intake),
        // A pipe cannot go back.
        (_, Err(_)) => {
            let beginning = io::Cursor::new(beginning[..count].to_vec());
            bytes_of(beginning.chain(file), progress, intake)
        }
    }
}

/// Reads what has conversations in it of a zip file.
fn unzip(
    file: impl Read + Seek,
    progress: &mut Progress,
    intake: &mut Intake<'_, '_>,
) -> Result<()> {
    let damaged = |error: zip::result::ZipError| match error {
        zip::result::ZipError::Io(error) => failed(&error),
        other => refuse(format!(
            "the zip file is damaged, or of a kind that is not known: {other}"
        ))
        .hint("fetch the file anew, or unpack it and name the directory"),
    };
    let mut archive = zip::ZipArchive::new(BufReader::new(file)).map_err(damaged)?;
    let mut wanted: Vec<(Vec<u8>, usize)> = archive
        .file_names_raw()
        .enumerate()
        .filter(|(_, name)| std::str::from_utf8(name).is_ok_and(is_wanted))
        .map(|(at, name)| (name.to_vec(), at))
        .collect();
    wanted.sort();
    if wanted.is_empty() {
        return Err(refuse("the zip file has no conversations.json in it".into())
            .hint("name the export as it was downloaded, or the file in it that has the conversations"));
    }
    for (_, at) in wanted {
        let file = archive.by_index(at).map_err(damaged)?;
        bytes_of(file, progress, intake)?;
    }
    Ok(())
}

/// Reads bytes of whatever kind they are.
fn bytes_of(input: impl Read, progress: &mut Progress, intake: &mut Intake<'_, '_>) -> Result<()> {
    let mut input = BufReader::with_capacity(1 << 16, input);
    let beginning = look(&mut input)?;
    let is_packed = beginning.starts_with(GZIP);
    let mut input = io::Cursor::new(beginning).chain(input);
    if !is_packed {
        return text(&mut input, progress, intake);
    }
    let mut input = BufReader::with_capacity(1 << 16, MultiGzDecoder::new(input));
    let beginning = look(&mut input)?;
    if beginning.starts_with(GZIP) {
        return Err(refuse("it is packed twice".into()).hint("unpack it once: gunzip FILE"));
    }
    let mut input = io::Cursor::new(beginning).chain(input);
    text(&mut input, progress, intake)
}

/// The first bytes; an error if they are those of something that cannot be imported.
fn look(input: &mut impl Read) -> Result<Vec<u8>> {
    let mut beginning = vec![0; BEGINNING];
    let count = read_some(input, &mut beginning).map_err(|error| failed(&error))?;
    beginning.truncate(count);
    refusal(&beginning).map_or(Ok(beginning), Err)
}

/// Says of what is known, but nothing to import, what to do with it.
fn refusal(beginning: &[u8]) -> Option<Error> {
    let (why, hint) = if beginning.starts_with(ZIP) {
        (
            "it is a zip file, which cannot be read from a stream",
            "save it as a file, and name that",
        )
    } else if beginning.starts_with(SQLITE) {
        (
            "it is a database",
            "if it is that of llm: llm logs -n 0 --json | pachat import -",
        )
    } else if seal::is_sealed(beginning) || beginning.get(257..262) == Some(b"ustar") {
        (
            "it is a backup, or another archive",
            "add what a backup holds: pachat restore FILE --merge",
        )
    } else if beginning.is_empty() {
        ("it is empty", "look at where it comes from")
    } else {
        return None;
    };
    Some(refuse(why.into()).hint(hint))
}

/// Reads text: the lines of another pachat, or JSON.
fn text(
    input: &mut impl BufRead,
    progress: &mut Progress,
    intake: &mut Intake<'_, '_>,
) -> Result<()> {
    let limit = intake.limit();
    let mut first = Vec::new();
    loop {
        // Blank lines and the mark that some editors put in front.
        let bytes = input.fill_buf().map_err(|error| failed(&error))?;
        let blank = match bytes {
            [0xef, 0xbb, 0xbf, ..] => 3,
            [b' ' | b'\t' | b'\r' | b'\n', ..] => 1,
            _ => break,
        };
        input.consume(blank);
    }
    let starts_object = input.fill_buf().is_ok_and(|bytes| bytes.starts_with(b"{"));
    if starts_object {
        read_line(input, &mut first, limit)?;
        if own::is_header(&first)? {
            return own::read(first, input, progress, intake);
        }
    }
    json::read(&mut io::Cursor::new(first).chain(input), progress, intake)
}

/// Reads a line with its line feed, of at most `limit` bytes; nothing at the end.
pub(super) fn read_line(input: &mut impl BufRead, line: &mut Vec<u8>, limit: u64) -> Result<()> {
    line.clear();
    let count = input
        .take(limit.saturating_add(1))
        .read_until(b'\n', line)
        .map_err(|error| failed(&error))?;
    if count as u64 > limit {
        return Err(too_large(limit));
    }
    Ok(())
}

/// How far a source has been read.
#[derive(Default)]
pub(super) struct Progress {
    read: Rc<Cell<u64>>,
    told: u64,
}

impl Progress {
    /// The same input, whose bytes count.
    fn count<R>(&self, input: R) -> Counted<R> {
        Counted {
            input,
            read: Rc::clone(&self.read),
        }
    }

    /// Tells how much more has been read since the last time.
    pub(super) fn tell(&mut self, intake: &mut Intake<'_, '_>) -> Result<()> {
        let read = self.read.get();
        let more = read - self.told;
        self.told = read;
        intake.advance(more)
    }
}

struct Counted<R> {
    input: R,
    read: Rc<Cell<u64>>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        self.read.set(self.read.get() + count as u64);
        Ok(count)
    }
}

impl<R: Seek> Seek for Counted<R> {
    fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
        self.input.seek(to)
    }
}

/// Fills the buffer, unless the end comes first.
fn read_some(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match input.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

fn cannot_open(path: &Path, error: &io::Error) -> Error {
    let failed = Error::io("cannot open what is to be imported", path, error);
    match error.kind() {
        io::ErrorKind::NotFound => {
            failed.hint("name a file or directory that is there, or - for standard input")
        }
        _ => failed,
    }
}

/// The refusal of an input.
pub(super) fn refuse(why: String) -> Error {
    Error::new(Kind::Malformed, "cannot import").why(why)
}

/// What a failed read means.
pub(super) fn failed(error: &io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput | io::ErrorKind::UnexpectedEof => {
            refuse("it is cut or damaged".into())
                .cause(error)
                .hint("fetch the file anew; nothing was imported")
        }
        _ => Error::new(Kind::Io, "cannot read what is to be imported").cause(error),
    }
}

/// The refusal of what does not fit into the memory that is allowed.
pub(super) fn too_large(limit: u64) -> Error {
    refuse(format!(
        "a conversation in it is larger than the {} that limits.memory_mb allows",
        ByteSize(limit)
    ))
    .hint("allow more: pachat config set limits.memory_mb NUMBER, or MAX_MEMORY_MB=NUMBER for one call")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_an_export_are_known_by_name() {
        for name in [
            "conversations.json",
            "export/conversations-002.json",
            "chats/20260822-094107-7k2m9q.jsonl",
            "20260822-094107-7k2m9q.jsonl.gz",
        ] {
            assert!(is_wanted(name), "{name}");
        }
        for name in [
            "user.json",
            "chat.html",
            ".jsonl",
            "._conversations.jsonl",
            "shared_conversations.json",
        ] {
            assert!(!is_wanted(name), "{name}");
        }
    }
}
