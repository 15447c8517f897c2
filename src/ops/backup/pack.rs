//! The archive: written, and read back.

use std::io::{self, Cursor, Read, Write};
use std::path::{Path, PathBuf};

use crate::archive::manifest::{Entry, Manifest};
use crate::archive::path::MASTER_KEY;
use crate::archive::read::{self, Nowhere};
use crate::archive::seal::{self, FileKey, Opener, Seal};
use crate::archive::segment::Outline;
use crate::archive::write::{self, Source, Written};
use crate::model::backup::{Hasher, Part, Sha256};
use crate::model::error::{Error, Kind, Result};
use crate::model::size::ByteSize;
use crate::platform::disk::{File, FileKind, Open};
use crate::store::Store;
use crate::store::backups::Backup;

use super::Watch;
use super::index::Packed;

/// How much smaller text is when packed, at the most. Rather too much than too little: a disk
/// that fills up does no harm, and a refusal without need would.
const TEXT_RATIO: u64 = 8;

/// How much is copied at a time, in bytes.
const CHUNK: usize = 256 << 10;

/// An archive in the making.
pub(super) struct Attempt<'a> {
    pub(super) store: &'a Store,
    pub(super) manifest: &'a Manifest,
    pub(super) seal: Option<&'a Seal>,
    pub(super) config_dir: Option<&'a Path>,
    pub(super) cores: usize,
    /// Where it is made.
    pub(super) path: &'a Path,
}

/// What reading an archive back has proven.
pub(super) struct Proof {
    /// Its length.
    pub(super) size: u64,
    /// Its digest.
    pub(super) sha256: Sha256,
    /// What it is made of.
    pub(super) outline: Outline,
    /// Whether all of it was unpacked, and nothing believed for being a copy.
    pub(super) whole: bool,
}

impl Attempt<'_> {
    /// Writes the archive to `file` and syncs it.
    pub(super) fn pack(
        &self,
        file: Box<dyn File>,
        earlier: &mut Packed,
        watch: &mut dyn Watch,
    ) -> Result<(Written, Option<FileKey>)> {
        watch.stage("packing", self.manifest.total_bytes());
        let mut out = Noting { file, error: None };
        let packed = self.write(&mut out, earlier, watch);
        // What the disk said is worth more than what became of it on the way up.
        if let Some(error) = out.error {
            return Err(self.cannot(&error));
        }
        let packed = packed?;
        if matches!(packed.0, Written::Whole { .. }) {
            out.file.sync_data().map_err(|error| self.cannot(&error))?;
        }
        Ok(packed)
    }

    fn write(
        &self,
        out: &mut Noting,
        earlier: &mut Packed,
        watch: &mut dyn Watch,
    ) -> Result<(Written, Option<FileKey>)> {
        let mut source = Files {
            store: self.store,
            config_dir: self.config_dir,
            watch,
        };
        let Some(seal) = self.seal else {
            let written = write::write(self.manifest, &mut source, earlier, self.cores, out)?;
            return Ok((written, None));
        };
        let (mut sealer, key) = seal::seal(out, seal)?;
        let written = write::write(self.manifest, &mut source, earlier, self.cores, &mut sealer)?;
        if matches!(written, Written::Whole { .. }) {
            sealer.finish()?;
        }
        Ok((written, Some(key)))
    }

    /// Reads the archive back, which was written like this: copies must be, byte for byte, what
    /// was proven when they were new, and all that is left is read as a restore would. An error
    /// of kind `Malformed` means that it is not what it should be.
    pub(super) fn verify(
        &self,
        key: Option<FileKey>,
        outline: Outline,
        watch: &mut dyn Watch,
    ) -> Result<Proof> {
        let cannot = |error: io::Error| {
            Error::io("cannot read the new backup", self.path, &error).with_kind(Kind::Io)
        };
        let file = open(self.store, self.path)?;
        let size = file.stat().map_err(cannot)?.len;
        watch.stage("verifying", size);
        let mut reader = Watched::new(file, watch);
        let read = match key {
            None => read::read_back(&mut reader, &outline, &mut Nowhere),
            Some(key) => seal::open(Box::new(&mut reader), &Opener::Key(key))
                .and_then(|mut opened| read::read(&mut opened, true, &mut Nowhere)),
        };
        reader.trouble(cannot)?;
        let manifest = read?;
        let (read, sha256) = reader.finish(cannot)?;
        if manifest != *self.manifest || read != size {
            let what = "what is in the archive is not what went into it";
            return Err(Error::new(Kind::Malformed, what));
        }
        Ok(Proof {
            size,
            sha256,
            whole: outline.copied.is_empty(),
            outline,
        })
    }

    fn cannot(&self, error: &io::Error) -> Error {
        Error::io("cannot write the backup", self.path, error).with_kind(Kind::Io)
    }
}

/// Refuses to begin where the disk is sure to fill up.
pub(super) fn check_space(store: &Store, directory: &Path, manifest: &Manifest) -> Result<()> {
    // What does not say is found out by writing.
    let Ok(Some(free)) = store.disk().free_space(directory) else {
        return Ok(());
    };
    let least: u64 = manifest
        .files
        .iter()
        .map(|entry| match entry.path.part() {
            Some(Part::Attachments | Part::Archived) => entry.size,
            _ => entry.size / TEXT_RATIO,
        })
        .sum();
    if least <= free {
        return Ok(());
    }
    Err(Error::new(Kind::Io, "the backup is not begun")
        .why(format!(
            "it takes at least {}, and {} are free",
            ByteSize(least),
            ByteSize(free)
        ))
        .path(directory)
        .hint("free some space, or write it elsewhere with -o FILE"))
}

/// Where a file given with `-o` is to be: not where something else is, unless it may be
/// replaced.
pub(super) fn target(store: &Store, path: &Path, name: &str, replace: bool) -> Result<PathBuf> {
    let refuse = |path: &Path, why: &str, hint: &str| {
        Err(Error::new(Kind::CannotCreate, "cannot write the backup")
            .why(why)
            .path(path)
            .hint(hint))
    };
    let stat = |path: &Path| match store.disk().stat(path) {
        Ok(stat) => Ok(Some(stat.kind)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("cannot write the backup", path, &error)),
    };
    let path = match stat(path)? {
        Some(FileKind::Directory) => path.join(name),
        _ => path.to_path_buf(),
    };
    match stat(&path)? {
        None => Ok(path),
        Some(FileKind::File) if replace => Ok(path),
        Some(FileKind::File) => refuse(
            &path,
            "the file exists already",
            "replace it with --force, or name another one",
        ),
        Some(_) => refuse(
            &path,
            "it is a link, a device or a directory, and only a plain file is replaced",
            "name a file, or use -o - and a pipe",
        ),
    }
}

/// The digest of a file.
pub(super) fn digest(
    store: &Store,
    path: &Path,
    size: u64,
    watch: &mut dyn Watch,
) -> Result<Sha256> {
    let cannot = |error: io::Error| Error::io("cannot read a backup", path, &error);
    let file = store.disk().open(path, Open::Read).map_err(cannot)?;
    watch.stage("verifying", size);
    let (_, sha256) = Watched::new(file, watch).finish(cannot)?;
    Ok(sha256)
}

/// Opens an archive that was just verified.
pub(super) fn open(store: &Store, path: &Path) -> Result<Box<dyn File>> {
    let opened = store.disk().open(path, Open::Read);
    opened
        .map_err(|error| Error::io("cannot read the new backup", path, &error).with_kind(Kind::Io))
}

/// Gives out the bytes of an archive.
pub(super) fn copy(
    mut file: Box<dyn File>,
    backup: &Backup,
    watch: &mut dyn Watch,
    out: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    watch.stage("copying", backup.size);
    let mut buffer = vec![0; CHUNK];
    loop {
        let read = match file.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => {
                return Err(Error::io(
                    "cannot read the new backup",
                    &backup.path,
                    &error,
                ));
            }
        };
        out(&buffer[..read])?;
        watch.advance(read as u64)?;
    }
}

/// The files of the store as the archive wants them.
struct Files<'a> {
    store: &'a Store,
    config_dir: Option<&'a Path>,
    watch: &'a mut dyn Watch,
}

impl Source for Files<'_> {
    fn open(&mut self, entry: &Entry) -> Result<Option<Box<dyn Read>>> {
        let path = match (entry.path.part(), self.config_dir) {
            (Some(part), _) => self.store.part_file(part, entry.path.name()),
            (None, Some(directory)) if entry.path.as_str() == MASTER_KEY => {
                directory.join(entry.path.name())
            }
            (None, _) => return Ok(None),
        };
        match self.store.disk().open(&path, Open::Read) {
            // An empty one is opened, too: it may have gone.
            Ok(_) if entry.size == 0 => Ok(Some(Box::new(Cursor::new([])))),
            Ok(file) => Ok(Some(Box::new(file.take(entry.size)))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io("cannot back up the file", &path, &error)),
        }
    }

    fn advance(&mut self, bytes: u64) -> Result<()> {
        self.watch.advance(bytes)
    }
}

/// A file that remembers why it could not be written.
struct Noting {
    file: Box<dyn File>,
    error: Option<io::Error>,
}

impl Write for Noting {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes).map_err(|error| {
            let kind = error.kind();
            // Only the first says what happened.
            if kind != io::ErrorKind::Interrupted && self.error.is_none() {
                self.error = Some(error);
            }
            kind.into()
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// A file that is read under somebody's eyes, and digested on the way.
struct Watched<'a> {
    file: Box<dyn File>,
    hasher: Hasher,
    read: u64,
    watch: &'a mut dyn Watch,
    /// What the watch said, which a reader cannot say.
    stopped: Option<Error>,
    /// What the disk said.
    failed: Option<io::Error>,
}

impl<'a> Watched<'a> {
    fn new(file: Box<dyn File>, watch: &'a mut dyn Watch) -> Self {
        Self {
            file,
            hasher: Hasher::default(),
            read: 0,
            watch,
            stopped: None,
            failed: None,
        }
    }

    /// Why the reading ended early, if it did for a reason outside the file.
    fn trouble(&mut self, cannot: impl Fn(io::Error) -> Error) -> Result<()> {
        if let Some(error) = self.stopped.take() {
            return Err(error);
        }
        self.failed
            .take()
            .map_or(Ok(()), |error| Err(cannot(error)))
    }

    /// Reads what is left; the length and the digest of the whole.
    fn finish(mut self, cannot: impl Fn(io::Error) -> Error) -> Result<(u64, Sha256)> {
        let copied = io::copy(&mut self, &mut io::sink());
        self.trouble(&cannot)?;
        copied.map_err(cannot)?;
        Ok((self.read, self.hasher.finish()))
    }
}

impl Read for Watched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = match self.file.read(buffer) {
            Ok(read) => read,
            Err(error) => {
                let kind = error.kind();
                if kind != io::ErrorKind::Interrupted {
                    self.failed = Some(error);
                }
                return Err(kind.into());
            }
        };
        self.hasher.update(&buffer[..read]);
        self.read += read as u64;
        if let Err(error) = self.watch.advance(read as u64) {
            self.stopped = Some(error);
            return Err(io::Error::other("stopped"));
        }
        Ok(read)
    }
}
