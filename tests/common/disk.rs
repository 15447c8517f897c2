//! A disk in memory that remembers what was made durable, so that a test can pull the plug
//! between any two operations, or fail any single one.
//!
//! It is a tree of inodes, as on a real disk: a file may have several names, and renaming a
//! directory takes along what is below it. It is pessimistic where a real file system may be
//! kind: a name is durable only when its directory was synced, content only when its file was.
//! What was renamed from one directory to another and synced in the new one only has both
//! names; synced in the old one only, it has none and is lost. But a directory never has two:
//! then each kind of power cut leaves it one of them. Several files are synced one after the
//! other, so a cut may find some of them durable and others not.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::SystemTime;

use pachat::platform::disk::{Disk, Entry, File, FileKind, LockMode, Open, Stat, Walked};

/// What is to happen at one operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// It fails with this error, and only it.
    Fail(io::ErrorKind),
    /// A write gets half of its bytes down and fails; anything else just fails.
    Half(io::ErrorKind),
    /// The machine stops: this operation and all later ones fail.
    Stop,
}

/// What a disk holds after the machine has stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// Everything that was done: the process died, the machine did not.
    Kill,
    /// Only what was synced. A directory with an old and a new name has the new one.
    PowerCut,
    /// What was synced, and of the rest of each file a half. A directory with an old and a
    /// new name has the old one.
    Torn,
    /// What was synced, without what was removed since: removals went to the disk first. A
    /// directory with an old and a new name has the new one.
    Removed,
}

impl After {
    /// Every one of them.
    pub const ALL: [Self; 4] = [Self::Kill, Self::PowerCut, Self::Torn, Self::Removed];
}

type Entries = BTreeMap<OsString, u64>;

#[derive(Clone)]
enum Inode {
    File(Content),
    Directory(Listing),
}

#[derive(Clone, Default)]
struct Listing {
    entries: Entries,
    durable: Entries,
    /// What was removed, not renamed, since it was synced.
    removed: Entries,
}

impl Listing {
    fn after(&self, after: After) -> Entries {
        let mut kept = match after {
            After::Kill => self.entries.clone(),
            _ => self.durable.clone(),
        };
        if after == After::Removed {
            kept.retain(|name, number| self.removed.get(name) != Some(number));
        }
        kept
    }
}

#[derive(Clone, Default)]
struct Content {
    bytes: Vec<u8>,
    durable: Vec<u8>,
    shared: usize,
    exclusive: bool,
}

impl Content {
    fn after(&self, after: After) -> Vec<u8> {
        match after {
            After::Kill => self.bytes.clone(),
            After::Torn if self.bytes.starts_with(&self.durable) => {
                let rest = self.bytes.len() - self.durable.len();
                self.bytes[..self.durable.len() + rest / 2].to_vec()
            }
            _ => self.durable.clone(),
        }
    }
}

/// The directory at the top.
const TOP: u64 = 0;

struct State {
    inodes: HashMap<u64, Inode>,
    next_inode: u64,
    operations: usize,
    plan: Option<(usize, Event)>,
    stopped: bool,
    linkless: bool,
    free: u64,
}

impl Default for State {
    fn default() -> Self {
        let mut state = Self {
            inodes: HashMap::new(),
            next_inode: TOP,
            operations: 0,
            plan: None,
            stopped: false,
            linkless: false,
            free: 1 << 30,
        };
        state.add(directory());
        state
    }
}

fn directory() -> Inode {
    Inode::Directory(Listing::default())
}

impl State {
    fn add(&mut self, inode: Inode) -> u64 {
        let number = self.next_inode;
        self.next_inode += 1;
        self.inodes.insert(number, inode);
        number
    }

    fn entries(&self, number: u64) -> io::Result<&Entries> {
        match &self.inodes[&number] {
            Inode::Directory(listing) => Ok(&listing.entries),
            Inode::File(_) => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    fn listing_mut(&mut self, number: u64) -> &mut Listing {
        match self.inodes.get_mut(&number) {
            Some(Inode::Directory(listing)) => listing,
            _ => panic!("{number} is not a directory"),
        }
    }

    fn entries_mut(&mut self, number: u64) -> &mut Entries {
        &mut self.listing_mut(number).entries
    }

    fn file(&self, number: u64) -> &Content {
        match &self.inodes[&number] {
            Inode::File(content) => content,
            Inode::Directory(_) => panic!("{number} is a directory"),
        }
    }

    fn file_mut(&mut self, number: u64) -> &mut Content {
        match self.inodes.get_mut(&number) {
            Some(Inode::File(content)) => content,
            _ => panic!("{number} is not a file"),
        }
    }

    fn is_directory(&self, number: u64) -> bool {
        matches!(self.inodes[&number], Inode::Directory(_))
    }

    fn kind(&self, number: u64) -> FileKind {
        if self.is_directory(number) {
            FileKind::Directory
        } else {
            FileKind::File
        }
    }

    fn find(&self, path: &Path) -> io::Result<u64> {
        let mut number = TOP;
        for component in path.components() {
            if let Component::Normal(name) = component {
                let found = self.entries(number)?.get(name).copied();
                number = found.ok_or(io::ErrorKind::NotFound)?;
            }
        }
        Ok(number)
    }

    /// The directory that a path is in, and its name there.
    fn place<'a>(&self, path: &'a Path) -> io::Result<(u64, &'a OsStr)> {
        let parent = self.find(path.parent().unwrap())?;
        self.entries(parent)?;
        Ok((parent, path.file_name().unwrap()))
    }

    fn remove(&mut self, path: &Path, directory: bool) -> io::Result<()> {
        let number = self.find(path)?;
        if directory && !self.entries(number)?.is_empty() {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        if !directory && self.is_directory(number) {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        let (parent, name) = self.place(path)?;
        let listing = self.listing_mut(parent);
        listing.entries.remove(name);
        listing.removed.insert(name.to_owned(), number);
        Ok(())
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let number = self.find(from)?;
        let (old, old_name) = self.place(from)?;
        let (new, new_name) = self.place(to)?;
        if let Ok(there) = self.find(to) {
            match (self.is_directory(number), self.is_directory(there)) {
                // Two names of one file stay as they are.
                _ if there == number => return Ok(()),
                (true, true) if !self.entries(there)?.is_empty() => {
                    return Err(io::ErrorKind::DirectoryNotEmpty.into());
                }
                (true, false) => return Err(io::ErrorKind::NotADirectory.into()),
                (false, true) => return Err(io::ErrorKind::IsADirectory.into()),
                _ => {}
            }
        }
        self.entries_mut(old).remove(old_name);
        self.entries_mut(new).insert(new_name.to_owned(), number);
        Ok(())
    }

    /// Everything below a directory, its contents first.
    fn below(&self, path: &Path, number: u64, found: &mut Vec<(PathBuf, u64)>) {
        if let Inode::Directory(listing) = &self.inodes[&number] {
            for (name, child) in &listing.entries {
                let path = path.join(name);
                self.below(&path, *child, found);
                found.push((path, *child));
            }
        }
    }

    fn sync(&mut self, number: u64) {
        match self.inodes.get_mut(&number).unwrap() {
            Inode::File(content) => content.durable.clone_from(&content.bytes),
            Inode::Directory(listing) => {
                listing.durable.clone_from(&listing.entries);
                listing.removed.clear();
            }
        }
    }

    /// The state as the next start finds it.
    fn after(&self, after: After) -> Self {
        let mut next = Self {
            next_inode: self.next_inode,
            linkless: self.linkless,
            free: self.free,
            ..Self::default()
        };
        let mut places: HashMap<u64, Vec<(u64, OsString)>> = HashMap::new();
        for (number, inode) in &self.inodes {
            let inode = match inode {
                Inode::File(content) => {
                    let bytes = content.after(after);
                    Inode::File(Content {
                        durable: bytes.clone(),
                        bytes,
                        ..Content::default()
                    })
                }
                Inode::Directory(listing) => {
                    let kept = listing.after(after);
                    for (name, child) in &kept {
                        let place = (*number, name.clone());
                        places.entry(*child).or_default().push(place);
                    }
                    Inode::Directory(Listing {
                        entries: kept.clone(),
                        durable: kept,
                        removed: Entries::new(),
                    })
                }
            };
            next.inodes.insert(*number, inode);
        }
        for (number, places) in places {
            if self.is_directory(number) && places.len() > 1 {
                next.leave_one(self, number, &places, after);
            }
        }
        next
    }

    /// Leaves a directory one of the names that it has, by whether it had it at the end.
    fn leave_one(&mut self, before: &Self, number: u64, places: &[(u64, OsString)], after: After) {
        let is_new = |(parent, name): &(u64, OsString)| {
            let entries = before.entries(*parent).unwrap();
            entries.get(name) == Some(&number)
        };
        let wanted = |place: &&(u64, OsString)| is_new(place) == (after != After::Torn);
        let kept = places.iter().find(wanted).unwrap_or(&places[0]);
        for place in places.iter().filter(|place| *place != kept) {
            let listing = self.listing_mut(place.0);
            listing.entries.remove(&place.1);
            listing.durable.remove(&place.1);
        }
    }

    fn stat(&self, number: u64) -> Stat {
        let (kind, len) = match &self.inodes[&number] {
            Inode::File(content) => (FileKind::File, content.bytes.len() as u64),
            Inode::Directory(_) => (FileKind::Directory, 0),
        };
        Stat {
            kind,
            len,
            modified: Some(SystemTime::UNIX_EPOCH),
            mode: Some(if kind == FileKind::File { 0o600 } else { 0o700 }),
            owner: None,
            identity: Some((0, number)),
        }
    }
}

/// The disk. Clones are the same disk.
#[derive(Clone, Default)]
pub struct SimulatedDisk {
    state: Arc<Mutex<State>>,
}

impl SimulatedDisk {
    /// An empty disk on which `root`'s parent exists.
    pub fn new(root: &Path) -> Self {
        let disk = Self::default();
        {
            let mut state = disk.lock();
            let mut parent = TOP;
            for component in root.parent().unwrap().components() {
                if let Component::Normal(name) = component {
                    let number = state.add(directory());
                    state.entries_mut(parent).insert(name.to_owned(), number);
                    state.sync(parent);
                    parent = number;
                }
            }
        }
        disk
    }

    /// The same disk with a file system that knows no hard links.
    pub fn without_links(self) -> Self {
        self.lock().linkless = true;
        self
    }

    /// The same disk, which says that this many bytes are free.
    pub fn with_free_space(self, bytes: u64) -> Self {
        self.lock().free = bytes;
        self
    }

    /// Lets `event` happen at the operation with this number, counted from the start.
    pub fn plan(&self, operation: usize, event: Event) {
        self.lock().plan = Some((operation, event));
    }

    /// How many operations there were.
    pub fn operations(&self) -> usize {
        self.lock().operations
    }

    /// The disk as the next start finds it, without locks and plans.
    pub fn restart(&self, after: After) -> Self {
        Self {
            state: Arc::new(Mutex::new(self.lock().after(after))),
        }
    }

    /// Every file, with its content.
    pub fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let state = self.lock();
        let mut found = Vec::new();
        state.below(Path::new("/"), TOP, &mut found);
        let files = found
            .into_iter()
            .filter_map(|(path, number)| match &state.inodes[&number] {
                Inode::File(content) => Some((path, content.bytes.clone())),
                Inode::Directory(_) => None,
            });
        files.collect()
    }

    /// Every directory.
    pub fn directories(&self) -> Vec<PathBuf> {
        let state = self.lock();
        let mut found = Vec::new();
        state.below(Path::new("/"), TOP, &mut found);
        found.retain(|(_, number)| state.is_directory(*number));
        found.into_iter().map(|(path, _)| path).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Counts an operation, and carries out what is planned for it. `Ok(true)` means that a
    /// write is to get half of its bytes down.
    fn operate(&self) -> io::Result<(MutexGuard<'_, State>, Option<io::ErrorKind>)> {
        let mut state = self.lock();
        if state.stopped {
            return Err(io::Error::other("the machine has stopped"));
        }
        let number = state.operations;
        state.operations += 1;
        match state.plan {
            Some((at, Event::Fail(kind))) if at == number => Err(kind.into()),
            Some((at, Event::Half(kind))) if at == number => Ok((state, Some(kind))),
            Some((at, Event::Stop)) if at == number => {
                state.stopped = true;
                Err(io::Error::other("the machine stops"))
            }
            _ => Ok((state, None)),
        }
    }

    fn whole(&self) -> io::Result<MutexGuard<'_, State>> {
        match self.operate()? {
            (state, None) => Ok(state),
            (_, Some(kind)) => Err(kind.into()),
        }
    }
}

impl Disk for SimulatedDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn File>> {
        let mut state = self.whole()?;
        let inode = match (state.find(path), how) {
            (Ok(_), Open::CreateNew) => return Err(io::ErrorKind::AlreadyExists.into()),
            (Ok(inode), _) if state.is_directory(inode) => {
                return Err(io::ErrorKind::IsADirectory.into());
            }
            (Ok(inode), _) => inode,
            (Err(error), Open::Read | Open::Append) => return Err(error),
            (Err(_), Open::CreateNew | Open::AppendOrCreate) => {
                let (parent, name) = state.place(path)?;
                let inode = state.add(Inode::File(Content::default()));
                state.entries_mut(parent).insert(name.to_owned(), inode);
                inode
            }
        };
        Ok(Box::new(SimulatedFile {
            disk: self.clone(),
            inode,
            position: 0,
            held: Mutex::new(None),
        }))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.whole()?;
        let (parent, name) = state.place(path)?;
        if state.find(path).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let number = state.add(directory());
        state.entries_mut(parent).insert(name.to_owned(), number);
        Ok(())
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<Entry>> {
        let state = self.whole()?;
        let entries = state.entries(state.find(path)?)?;
        Ok(entries
            .iter()
            .map(|(name, number)| Entry {
                name: name.clone(),
                kind: state.kind(*number),
            })
            .collect())
    }

    fn stat(&self, path: &Path) -> io::Result<Stat> {
        let state = self.whole()?;
        Ok(state.stat(state.find(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.whole()?.rename(from, to)
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.whole()?;
        let number = state.find(from)?;
        let (parent, name) = state.place(to)?;
        if state.linkless {
            return Err(io::ErrorKind::Unsupported.into());
        }
        if state.is_directory(number) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        if state.find(to).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        state.entries_mut(parent).insert(name.to_owned(), number);
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.whole()?.remove(path, false)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.whole()?.remove(path, true)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.whole()?;
        let number = state.find(path)?;
        state.entries(number)?;
        state.sync(number);
        Ok(())
    }

    fn sync_tree(&self, path: &Path) -> io::Result<()> {
        let mut state = self.whole()?;
        let number = state.find(path)?;
        let mut found = Vec::new();
        state.below(path, number, &mut found);
        for (_, number) in found {
            state.sync(number);
        }
        state.sync(number);
        Ok(())
    }

    fn free_space(&self, path: &Path) -> io::Result<Option<u64>> {
        let state = self.whole()?;
        state.find(path).map(|_| Some(state.free))
    }

    /// Modes are always right here.
    fn set_mode(&self, path: &Path, _mode: u32) -> io::Result<()> {
        self.whole()?.find(path).map(drop)
    }

    fn walk(&self, path: &Path) -> io::Result<Vec<Walked>> {
        let state = self.whole()?;
        let number = state.find(path)?;
        let mut found = Vec::new();
        state.below(path, number, &mut found);
        let walked = found.into_iter().map(|(path, number)| Walked {
            path,
            kind: state.kind(number),
        });
        Ok(walked.collect())
    }
}

struct SimulatedFile {
    disk: SimulatedDisk,
    inode: u64,
    position: usize,
    held: Mutex<Option<LockMode>>,
}

impl Read for SimulatedFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let state = self.disk.whole()?;
        let content = &state.file(self.inode).bytes;
        let rest = content.get(self.position..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        self.position += count;
        Ok(count)
    }
}

impl Write for SimulatedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (mut state, half) = self.disk.operate()?;
        let content = &mut state.file_mut(self.inode).bytes;
        if let Some(kind) = half {
            // The first call gets a half down, as `write` may; it is the next one that fails.
            let count = bytes.len() / 2;
            content.extend_from_slice(&bytes[..count]);
            let next = state.operations;
            state.plan = Some((next, Event::Fail(kind)));
            return if count == 0 {
                Err(kind.into())
            } else {
                Ok(count)
            };
        }
        content.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for SimulatedFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => i128::from(position),
            SeekFrom::Current(away) => self.position as i128 + i128::from(away),
            SeekFrom::End(away) => i128::from(self.stat()?.len) + i128::from(away),
        };
        self.position = usize::try_from(position).map_err(|_| io::ErrorKind::InvalidInput)?;
        Ok(self.position as u64)
    }
}

impl File for SimulatedFile {
    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.disk.whole()?;
        let inode = state.file_mut(self.inode);
        inode.durable.clone_from(&inode.bytes);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.disk.whole()?;
        let inode = state.file_mut(self.inode);
        inode.bytes.resize(usize::try_from(len).unwrap(), 0);
        Ok(())
    }

    fn stat(&self) -> io::Result<Stat> {
        let state = self.disk.whole()?;
        Ok(state.stat(self.inode))
    }

    fn try_lock(&self, mode: LockMode) -> io::Result<bool> {
        let mut state = self.disk.whole()?;
        let inode = state.file_mut(self.inode);
        let free = !inode.exclusive && (mode == LockMode::Shared || inode.shared == 0);
        if free {
            match mode {
                LockMode::Shared => inode.shared += 1,
                LockMode::Exclusive => inode.exclusive = true,
            }
            *self.held.lock().unwrap() = Some(mode);
        }
        Ok(free)
    }
}

impl Drop for SimulatedFile {
    fn drop(&mut self) {
        let mut state = self.disk.lock();
        let inode = state.file_mut(self.inode);
        match *self.held.lock().unwrap() {
            Some(LockMode::Shared) => inode.shared -= 1,
            Some(LockMode::Exclusive) => inode.exclusive = false,
            None => {}
        }
    }
}
