//! A disk in memory that remembers what was made durable, so that a test can pull the plug
//! between any two operations, or fail any single one.
//!
//! It is pessimistic where a real file system may be kind: a name is durable only when its
//! directory was synced, content only when its file was.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsString;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::SystemTime;

use pachat::platform::disk::{Disk, Entry, File, FileKind, LockMode, Open, Stat};

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
    /// Only what was synced.
    PowerCut,
    /// What was synced, and of the rest of each file a half.
    Torn,
}

impl After {
    /// Every one of them.
    pub const ALL: [Self; 3] = [Self::Kill, Self::PowerCut, Self::Torn];
}

#[derive(Clone, Default)]
struct Inode {
    content: Vec<u8>,
    durable: Vec<u8>,
    shared: usize,
    exclusive: bool,
}

#[derive(Default)]
struct State {
    inodes: HashMap<u64, Inode>,
    names: BTreeMap<PathBuf, u64>,
    durable_names: BTreeMap<PathBuf, u64>,
    directories: BTreeSet<PathBuf>,
    durable_directories: BTreeSet<PathBuf>,
    next_inode: u64,
    operations: usize,
    plan: Option<(usize, Event)>,
    stopped: bool,
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
            for directory in root.parent().unwrap().ancestors() {
                state.directories.insert(directory.to_path_buf());
                state.durable_directories.insert(directory.to_path_buf());
            }
        }
        disk
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
        let state = self.lock();
        let kill = after == After::Kill;
        let directories = if kill {
            &state.directories
        } else {
            &state.durable_directories
        };
        // A directory whose parent is not there is not there either.
        let there: BTreeSet<PathBuf> = directories
            .iter()
            .filter(|path| path.ancestors().all(|parent| directories.contains(parent)))
            .cloned()
            .collect();
        let names = if kill {
            &state.names
        } else {
            &state.durable_names
        };
        let names: BTreeMap<PathBuf, u64> = names
            .iter()
            .filter(|(path, _)| there.contains(path.parent().unwrap()))
            .map(|(path, inode)| (path.clone(), *inode))
            .collect();
        let inodes = state
            .inodes
            .iter()
            .map(|(number, inode)| {
                let content = match after {
                    After::Kill => inode.content.clone(),
                    After::PowerCut => inode.durable.clone(),
                    After::Torn if inode.content.starts_with(&inode.durable) => {
                        let rest = inode.content.len() - inode.durable.len();
                        inode.content[..inode.durable.len() + rest / 2].to_vec()
                    }
                    After::Torn => inode.durable.clone(),
                };
                (
                    *number,
                    Inode {
                        durable: content.clone(),
                        content,
                        ..Inode::default()
                    },
                )
            })
            .collect();
        Self {
            state: Arc::new(Mutex::new(State {
                inodes,
                durable_names: names.clone(),
                names,
                durable_directories: there.clone(),
                directories: there,
                next_inode: state.next_inode,
                ..State::default()
            })),
        }
    }

    /// Every file, with its content.
    pub fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let state = self.lock();
        state
            .names
            .iter()
            .map(|(path, inode)| (path.clone(), state.inodes[inode].content.clone()))
            .collect()
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
        let found = state.names.get(path).copied();
        let inode = match (found, how) {
            (Some(_), Open::CreateNew) => return Err(io::ErrorKind::AlreadyExists.into()),
            (Some(inode), _) => inode,
            (None, Open::Read | Open::Append) => return Err(io::ErrorKind::NotFound.into()),
            (None, Open::CreateNew | Open::AppendOrCreate) => {
                if !state.directories.contains(path.parent().unwrap()) {
                    return Err(io::ErrorKind::NotFound.into());
                }
                state.next_inode += 1;
                let inode = state.next_inode;
                state.inodes.insert(inode, Inode::default());
                state.names.insert(path.to_path_buf(), inode);
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
        if !state.directories.contains(path.parent().unwrap()) {
            return Err(io::ErrorKind::NotFound.into());
        }
        if !state.directories.insert(path.to_path_buf()) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        Ok(())
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<Entry>> {
        let state = self.whole()?;
        if !state.directories.contains(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let name = |entry: &Path| -> OsString { entry.file_name().unwrap().to_os_string() };
        let here = |entry: &&PathBuf| entry.parent() == Some(path);
        let files = state.names.keys().filter(here);
        let directories = state.directories.iter().filter(here);
        Ok(files
            .map(|entry| Entry {
                name: name(entry),
                kind: FileKind::File,
            })
            .chain(directories.map(|entry| Entry {
                name: name(entry),
                kind: FileKind::Directory,
            }))
            .collect())
    }

    fn stat(&self, path: &Path) -> io::Result<Stat> {
        let state = self.whole()?;
        if let Some(inode) = state.names.get(path) {
            return Ok(stat(&state, *inode));
        }
        if state.directories.contains(path) {
            return Ok(Stat {
                kind: FileKind::Directory,
                len: 0,
                modified: None,
                mode: None,
                identity: None,
            });
        }
        Err(io::ErrorKind::NotFound.into())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.whole()?;
        let inode = state.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.names.insert(to.to_path_buf(), inode);
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.whole()?
            .names
            .remove(path)
            .map(|_| ())
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.whole()?;
        let state = &mut *state;
        let here = |entry: &PathBuf| entry.parent() == Some(path);
        state.durable_names.retain(|entry, _| !here(entry));
        let names = state.names.iter().filter(|(entry, _)| here(entry));
        state
            .durable_names
            .extend(names.map(|(entry, inode)| (entry.clone(), *inode)));
        state.durable_directories.retain(|entry| !here(entry));
        state.durable_directories.extend(
            state
                .directories
                .iter()
                .filter(|entry| here(entry))
                .cloned(),
        );
        Ok(())
    }
}

fn stat(state: &State, inode: u64) -> Stat {
    Stat {
        kind: FileKind::File,
        len: state.inodes[&inode].content.len() as u64,
        modified: Some(SystemTime::UNIX_EPOCH),
        mode: Some(0o600),
        identity: Some((0, inode)),
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
        let content = &state.inodes[&self.inode].content;
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
        let content = &mut state.inodes.get_mut(&self.inode).unwrap().content;
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
        let SeekFrom::Start(position) = to else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        self.position = usize::try_from(position).unwrap();
        Ok(position)
    }
}

impl File for SimulatedFile {
    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.disk.whole()?;
        let inode = state.inodes.get_mut(&self.inode).unwrap();
        inode.durable = inode.content.clone();
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.disk.whole()?;
        let inode = state.inodes.get_mut(&self.inode).unwrap();
        inode.content.resize(usize::try_from(len).unwrap(), 0);
        Ok(())
    }

    fn stat(&self) -> io::Result<Stat> {
        let state = self.disk.whole()?;
        Ok(stat(&state, self.inode))
    }

    fn try_lock(&self, mode: LockMode) -> io::Result<bool> {
        let mut state = self.disk.whole()?;
        let inode = state.inodes.get_mut(&self.inode).unwrap();
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
        let inode = state.inodes.get_mut(&self.inode).unwrap();
        match *self.held.lock().unwrap() {
            Some(LockMode::Shared) => inode.shared -= 1,
            Some(LockMode::Exclusive) => inode.exclusive = false,
            None => {}
        }
    }
}
