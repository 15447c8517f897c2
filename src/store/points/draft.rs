//! A rollback point in the making.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use crate::model::backup::Part;
use crate::model::error::Result;
use crate::platform::disk::Open;
use crate::store::carry;
use crate::store::parts::{PartFile, recorded_len};

use super::{Line, Point, PointFile, Room, cannot_make};

/// A point in the making. Dropping it removes it.
pub(super) struct Draft<'a> {
    room: &'a Room<'a>,
    parts: &'a [Part],
    root: PathBuf,
    /// Those that were made; to be synced.
    directories: Vec<PathBuf>,
    pub(super) files: Vec<PointFile>,
    copied: bool,
    done: bool,
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        if !self.done {
            self.room.discard(&self.root);
        }
    }
}

impl<'a> Draft<'a> {
    pub(super) fn begin(room: &'a Room<'a>, parts: &'a [Part]) -> Result<Self> {
        let mut draft = Self {
            room,
            parts,
            root: room.temporary()?,
            directories: Vec::new(),
            files: Vec::new(),
            copied: false,
            done: false,
        };
        let files = draft.root.join("files");
        // A set, so that what two parts are in is made once, and before what is in it.
        let mut wanted = BTreeSet::from([draft.root.clone(), files.clone()]);
        for part in parts {
            let below = Path::new(part.path());
            wanted.extend(below.ancestors().map(|path| files.join(path)));
        }
        for directory in wanted {
            let made = room.store.disk().create_dir(&directory);
            made.map_err(|error| cannot_make(&directory, &error))?;
            draft.directories.push(directory);
        }
        Ok(draft)
    }

    /// Links every file; `false` if a conversation was moved away in between, so that it may
    /// be missing from where it is now.
    pub(super) fn take_files(&mut self) -> Result<bool> {
        let inventory = self.room.store.inventory(self.parts)?;
        let (side_files, others): (Vec<_>, Vec<_>) = inventory
            .files
            .into_iter()
            .partition(|file| is_side_file(file.part, &file.name));
        for file in side_files.iter().chain(&others) {
            let source = self.room.store.part_file(file.part, &file.name);
            match self.take(file, &source) {
                Ok(len) => self.files.push(PointFile {
                    part: file.part,
                    name: file.name.clone(),
                    len,
                }),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    let moves = matches!(file.part, Part::Active | Part::Archived | Part::Trash);
                    if moves && !is_side_file(file.part, &file.name) {
                        return Ok(false);
                    }
                }
                Err(error) => return Err(cannot_make(&source, &error)),
            }
        }
        self.files
            .sort_unstable_by(|a, b| (a.part.path(), &a.name).cmp(&(b.part.path(), &b.name)));
        Ok(true)
    }

    /// Links one file, or copies it; its recorded length, which is taken from the link: the
    /// name may stand for another file by now.
    fn take(&mut self, file: &PartFile, source: &Path) -> io::Result<u64> {
        let disk = self.room.store.disk();
        let target = self
            .root
            .join("files")
            .join(file.part.path())
            .join(&file.name);
        let (part, name) = (file.part, file.name.as_str());
        if !carry::link(disk, source, &target)? {
            let mut file = disk.open(source, Open::Read)?;
            let len = recorded_len(file.as_mut(), part, name)?;
            self.copied = true;
            carry::copy(disk, file.as_mut(), &target, len)?;
            return Ok(len);
        }
        // Logs and side files are all that is not synced by who writes it.
        if part == Part::Logs || is_side_file(part, name) {
            disk.open(&target, Open::Append)?.sync_data()?;
        }
        if part.grows(name) {
            recorded_len(disk.open(&target, Open::Read)?.as_mut(), part, name)
        } else {
            disk.stat(&target).map(|stat| stat.len)
        }
    }

    /// Writes down what the point is, makes all of it durable and gives it its name.
    pub(super) fn finish(mut self, point: &Point) -> Result<()> {
        let store = self.room.store;
        let target = self.room.directory.join(&point.id);
        let cannot = |error: io::Error| cannot_make(&target, &error);
        self.write(point).map_err(cannot)?;
        self.sync().map_err(|error| {
            store.note_failed_sync();
            cannot(error)
        })?;
        store.disk().rename(&self.root, &target).map_err(cannot)?;
        self.done = true;
        self.room.sync_names()
    }

    fn write(&self, point: &Point) -> io::Result<()> {
        let disk = self.room.store.disk();
        let mut list = Vec::new();
        for file in &self.files {
            let line = Line {
                part: file.part.path().to_owned(),
                name: file.name.clone(),
                len: file.len,
            };
            serde_json::to_writer(&mut list, &line)?;
            list.push(b'\n');
        }
        carry::write_new(disk, &self.root.join("files.jsonl"), &list)?;
        let mut head = serde_json::to_vec(point)?;
        head.push(b'\n');
        carry::write_new(disk, &self.root.join("point.json"), &head)
    }

    /// The content of what is linked is durable already, so directories are enough.
    fn sync(&self) -> io::Result<()> {
        let disk = self.room.store.disk();
        if self.copied {
            return disk.sync_tree(&self.root);
        }
        let mut deepest_first = self.directories.iter().rev();
        deepest_first.try_for_each(|directory| disk.sync_dir(directory))
    }
}

fn is_side_file(part: Part, name: &str) -> bool {
    part == Part::Active && name.ends_with(".partial")
}
