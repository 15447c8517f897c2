//! A disk that does not wait for directories that do not answer.
//!
//! A dead network file system keeps whoever asks it for anything, often for ever, and often so
//! that even a killed process stays. So a look decides first which places answer, on threads
//! that nobody waits for longer than the limit; what is below a place that does not is
//! `TimedOut` from then on, at once.
//!
//! Layer: platform. For commands that must say something whatever happens, such as monitoring;
//! the others wait for a disk, as programs do.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::disk::{Disk, Entry, File, FileSystem, Open, Stat, Walked};
use super::{Clock, Signals};

/// How often to look whether a signal has arrived.
const LOOK: Duration = Duration::from_millis(20);

/// How much longer a look is waited for than it is told to take, so that it can put away what it
/// has started.
const GRACE: Duration = Duration::from_secs(1);

/// A disk, and what is known of the places that were looked at.
pub struct Guard {
    disk: Arc<dyn Disk>,
    places: Mutex<Vec<Place>>,
}

struct Place {
    path: PathBuf,
    /// The thread that looks has something to say here, if it ever does.
    look: Receiver<io::Result<()>>,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// It may answer yet.
    Asked,
    Answers,
    /// The look has come back, and says that nothing did.
    Silent,
    /// The look itself has not come back.
    Lost,
}

impl Guard {
    /// A guard for this disk. It knows of no place yet, and so lets everything through.
    pub fn new(disk: Arc<dyn Disk>) -> Self {
        Self {
            disk,
            places: Mutex::default(),
        }
    }

    /// Looks at those of the places that it knows nothing of, all at once, for about this long.
    /// Nobody looks at what is below a place that is known to be silent. Only a signal is an
    /// error, of kind `Interrupted` with the signal in it.
    pub fn look(
        &self,
        paths: &[PathBuf],
        limit: Duration,
        clock: &dyn Clock,
        signals: &Signals,
    ) -> io::Result<()> {
        let start = clock.elapsed();
        let mut places = self.places();
        for path in paths {
            let is_known = |place: &Place| {
                place.path == *path || (place.is_silent() && path.starts_with(&place.path))
            };
            if !places.iter().any(is_known) {
                places.push(self.ask(path, limit)?);
            }
        }
        while let Some(place) = places.iter_mut().find(|place| place.state == State::Asked) {
            if place.listen(LOOK) {
                continue;
            }
            if let Some(signal) = signals.pending() {
                return Err(io::Error::new(io::ErrorKind::Interrupted, signal));
            }
            if clock.elapsed().saturating_sub(start) >= limit + GRACE {
                place.state = State::Lost;
            }
        }
        Ok(())
    }

    /// Forgets what it knows, so that everything is looked at again, but for the places whose
    /// look has not come back: one such thread for each is enough.
    pub fn forget(&self) {
        let mut places = self.places();
        for place in places.iter_mut() {
            if place.state == State::Lost {
                place.listen(Duration::ZERO);
            }
        }
        places.retain(|place| place.state == State::Lost);
    }

    /// Whether a place was looked at and did not answer.
    pub fn is_silent(&self, path: &Path) -> bool {
        self.places()
            .iter()
            .any(|place| place.is_silent() && path.starts_with(&place.path))
    }

    fn ask(&self, path: &Path, limit: Duration) -> io::Result<Place> {
        let (sender, receiver) = mpsc::channel();
        let (disk, asked) = (Arc::clone(&self.disk), path.to_path_buf());
        thread::Builder::new()
            .name("look".into())
            // Nobody listens any more to one that is late.
            .spawn(move || drop(sender.send(disk.answers(&asked, limit))))?;
        Ok(Place {
            path: path.to_path_buf(),
            look: receiver,
            state: State::Asked,
        })
    }

    fn places(&self) -> MutexGuard<'_, Vec<Place>> {
        // Nothing that holds it can panic, and a state is never half written.
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pass(&self, path: &Path) -> io::Result<&dyn Disk> {
        if self.is_silent(path) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(self.disk.as_ref())
    }

    /// For what goes on to what is below.
    fn pass_with_all_below(&self, path: &Path) -> io::Result<&dyn Disk> {
        let is_below = |place: &Place| place.is_silent() && place.path.starts_with(path);
        if self.places().iter().any(is_below) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.pass(path)
    }
}

impl Place {
    fn is_silent(&self) -> bool {
        matches!(self.state, State::Silent | State::Lost)
    }

    /// Whether the look has come back within this time.
    fn listen(&mut self, limit: Duration) -> bool {
        self.state = match self.look.recv_timeout(limit) {
            Err(RecvTimeoutError::Timeout) => return false,
            Ok(Err(error)) if error.kind() == io::ErrorKind::TimedOut => State::Silent,
            // Whatever else is wrong there, it is an answer.
            Ok(_) | Err(RecvTimeoutError::Disconnected) => State::Answers,
        };
        true
    }
}

impl Disk for Guard {
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn File>> {
        self.pass(path)?.open(path, how)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.pass(path)?.create_dir(path)
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<Entry>> {
        self.pass(path)?.read_dir(path)
    }

    fn read_dir_stats(&self, path: &Path) -> io::Result<Vec<(Entry, io::Result<Stat>)>> {
        self.pass_with_all_below(path)?.read_dir_stats(path)
    }

    fn stat(&self, path: &Path) -> io::Result<Stat> {
        self.pass(path)?.stat(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.pass(from)?;
        self.pass(to)?.rename(from, to)
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.pass(from)?;
        self.pass(to)?.hard_link(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.pass(path)?.remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.pass(path)?.remove_dir(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.pass(path)?.sync_dir(path)
    }

    fn sync_files(&self, paths: &[PathBuf]) -> io::Result<()> {
        for path in paths {
            self.pass(path)?;
        }
        self.disk.sync_files(paths)
    }

    fn sync_tree(&self, path: &Path) -> io::Result<()> {
        self.pass_with_all_below(path)?.sync_tree(path)
    }

    fn free_space(&self, path: &Path) -> io::Result<Option<u64>> {
        self.pass(path)?.free_space(path)
    }

    fn file_system(&self, path: &Path) -> io::Result<FileSystem> {
        self.pass(path)?.file_system(path)
    }

    fn answers(&self, path: &Path, limit: Duration) -> io::Result<()> {
        self.pass(path)?.answers(path, limit)
    }

    fn set_mode(&self, path: &Path, mode: u32) -> io::Result<()> {
        self.pass(path)?.set_mode(path, mode)
    }

    fn walk(&self, path: &Path) -> io::Result<Vec<Walked>> {
        self.pass_with_all_below(path)?.walk(path)
    }

    fn remove_tree(&self, path: &Path) -> io::Result<()> {
        self.pass_with_all_below(path)?.remove_tree(path)
    }

    fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        self.pass(path)?.read(path, limit)
    }
}
