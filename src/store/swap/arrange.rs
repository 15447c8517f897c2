//! Putting together what parts are to hold, without touching what they hold.

use std::collections::HashSet;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use crate::model::backup::Part;
use crate::model::error::{Error, Kind, Result};
use crate::platform::Disk;
use crate::platform::disk::FileKind;
use crate::store::{Store, atomic, carry};

use super::exchange::{Exchange, Planned};
use super::{NewPart, Take, not_ours};

/// Makes the new parts below `root`, and the directories that their exchange takes. Looks at
/// everything that could be in the way first.
pub(super) fn arrange(store: &Store, root: &Path, parts: &[NewPart]) -> Result<Exchange> {
    let disk = store.disk();
    let mut planned = Vec::new();
    let mut kept = Vec::new();
    for new in parts {
        if planned.iter().any(|other: &Planned| other.part == new.part) {
            return Err(Error::new(
                Kind::Bug,
                format!("{} was named twice", new.part.path()),
            ));
        }
        refuse_odd_names(new)?;
        let foreign = look(store, new.part)?;
        planned.push(Planned {
            part: new.part,
            existed: foreign.is_some(),
        });
        kept.push(foreign.unwrap_or_default());
    }
    for (new, kept) in parts.iter().zip(kept) {
        let live = store.part_dir(new.part);
        atomic::create_dirs(disk, atomic::parent(&live))?;
        let below = Path::new(new.part.path());
        create_below(disk, root, &Path::new("new").join(below))
            .and_then(|()| create_below(disk, root, atomic::parent(&Path::new("old").join(below))))
            .map_err(|error| cannot(root, &error))?;
        let place = root.join("new").join(below);
        for name in kept {
            let from = live.join(&name);
            let stat = disk.stat(&from).map_err(|error| cannot(&from, &error))?;
            carry::link_or_copy(disk, &from, &place.join(&name), stat.len)
                .map_err(|error| cannot(&from, &error))?;
        }
        take(disk, root, &place, new)?;
    }
    Ok(Exchange::new(store, planned))
}

/// Brings the new files of one part to their place.
fn take(disk: &dyn Disk, root: &Path, place: &Path, new: &NewPart) -> Result<()> {
    let incoming = root.join("incoming").join(new.part.path());
    for (name, from) in &new.files {
        let target = place.join(name);
        let (source, taken) = match from {
            Take::Staged => {
                let staged = incoming.join(name);
                let renamed = disk.rename(&staged, &target);
                (staged, renamed)
            }
            Take::From(path, len) => {
                let linked = carry::link_or_copy(disk, path, &target, *len);
                (path.clone(), linked)
            }
        };
        taken.map_err(|error| cannot(&source, &error))?;
    }
    Ok(())
}

/// Names are file names of the part, each once: a second one would replace the first.
fn refuse_odd_names(new: &NewPart) -> Result<()> {
    let mut seen = HashSet::new();
    for (name, _) in &new.files {
        if !new.part.accepts(name) || !seen.insert(name) {
            return Err(not_ours(new.part, name));
        }
    }
    Ok(())
}

/// The files in a part that pachat does not know and that stay; `None` if there is no such
/// directory. Whatever cannot be taken along is refused.
fn look(store: &Store, part: Part) -> Result<Option<Vec<OsString>>> {
    let disk = store.disk();
    let live = store.part_dir(part);
    let stat = match disk.stat(&live) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(|error| cannot(&live, &error))?,
    };
    if stat.kind != FileKind::Directory {
        return Err(in_the_way(&live, "it is not a directory"));
    }
    let root = store.layout().root();
    let of_root = disk.stat(root).map_err(|error| cannot(root, &error))?;
    let device = |identity: Option<(u64, u64)>| identity.map(|(device, _)| device);
    if device(of_root.identity) != device(stat.identity) {
        return Err(in_the_way(&live, "it is on another file system"));
    }
    let mut kept = Vec::new();
    for entry in disk
        .read_dir(&live)
        .map_err(|error| cannot(&live, &error))?
    {
        let name = entry.name.to_str();
        let ours = name.is_some_and(|name| part.accepts(name) || is_temporary(name));
        match entry.kind {
            FileKind::File if ours => {}
            FileKind::File => kept.push(entry.name),
            FileKind::Directory => {
                return Err(in_the_way(&live.join(entry.name), "it is a directory"));
            }
            FileKind::Other => {
                let why = "it is a link or a special file";
                return Err(in_the_way(&live.join(entry.name), why));
            }
        }
    }
    Ok(Some(kept))
}

/// Whether this is a file of somebody who died while writing another one.
fn is_temporary(name: &str) -> bool {
    name.starts_with('.') && Path::new(name).extension().is_some_and(|end| end == "tmp")
}

/// Makes the directories `below` a directory that exists.
pub(super) fn create_below(disk: &dyn Disk, root: &Path, below: &Path) -> io::Result<()> {
    let mut path = PathBuf::from(root);
    for component in below.components() {
        path.push(component);
        match disk.create_dir(&path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn in_the_way(path: &Path, why: &str) -> Error {
    Error::new(
        Kind::CannotCreate,
        "a part of the data directory cannot be replaced",
    )
    .why(why)
    .path(path)
    .hint("move it out of the data directory, and run it again; nothing was changed")
}

fn cannot(path: &Path, error: &io::Error) -> Error {
    let made = Error::io("cannot put the new files together", path, error);
    match error.kind() {
        io::ErrorKind::UnexpectedEof => made.with_kind(Kind::Malformed),
        _ => made.with_kind(Kind::Io),
    }
}
