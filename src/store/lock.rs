//! Kernel locks, and the patience to wait for them.
//!
//! A lock is a lock on an open file, so the kernel releases it when its holder dies, and
//! nothing is ever stale. The file itself means nothing.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::model::error::{Error, Kind, Result};
use crate::platform::Clock;
use crate::platform::disk::{Disk, File, LockMode, Open};
use crate::platform::signals::Signals;

/// How long to wait for a lock, and whom to tell.
pub struct Patience<'a> {
    /// The longest wait; `None` for ever.
    pub limit: Option<Duration>,
    /// Ctrl-C ends a wait.
    pub signals: &'a Signals,
    /// Called once, when it turns out that there is something to wait for.
    pub notify: &'a mut dyn FnMut(),
}

/// A lock that is held. Dropping it gives it back.
pub struct Lock {
    path: PathBuf,
    disk: Arc<dyn Disk>,
    /// Keeps the kernel's lock; closed when dropped.
    _file: Box<dyn File>,
    /// Whether the file goes with the lock.
    temporary: bool,
}

impl Drop for Lock {
    fn drop(&mut self) {
        if self.temporary {
            // Still locked here, so nobody can have locked this very file since. Who has it
            // open already finds out by its identity, and opens it again.
            let _ = self.disk.remove_file(&self.path);
        }
    }
}

/// Takes a lock on the file `path`, which is created if need be.
///
/// A `temporary` lock file is removed with the lock, where the platform can tell one file
/// from another of the same name.
pub fn acquire(
    disk: &Arc<dyn Disk>,
    clock: &dyn Clock,
    path: &Path,
    mode: LockMode,
    temporary: bool,
    patience: &mut Patience<'_>,
) -> Result<Lock> {
    let cannot =
        |error: io::Error| Error::io("cannot take a lock", path, &error).with_kind(Kind::Io);
    let start = clock.elapsed();
    let mut told = false;
    let mut pause = Duration::from_millis(1);
    loop {
        let file = disk.open(path, Open::AppendOrCreate).map_err(cannot)?;
        if file.try_lock(mode).map_err(cannot)? {
            let identity = file.stat().map_err(cannot)?.identity;
            // Its last holder may have removed the file between our opening and locking it.
            let current = disk.stat(path).ok().and_then(|stat| stat.identity);
            if identity == current {
                return Ok(Lock {
                    path: path.to_path_buf(),
                    disk: Arc::clone(disk),
                    _file: file,
                    temporary: temporary && identity.is_some(),
                });
            }
            continue;
        }
        drop(file);
        stop_on(patience.signals)?;
        let waited = clock.elapsed().saturating_sub(start);
        if patience.limit.is_some_and(|limit| waited >= limit) {
            let error = Error::new(Kind::Busy, "another pachat is at work here").somebody_else();
            let error = match waited.as_secs() {
                0 => error,
                seconds => error.why(format!("waited {seconds} s")),
            };
            return Err(error.hint("try again later, or wait longer with --lock-timeout SECONDS"));
        }
        // Only what a person would notice is worth a word.
        if !told && waited >= Duration::from_millis(300) {
            told = true;
            (patience.notify)();
        }
        clock.sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

/// An error if a signal has asked the program to stop.
pub fn stop_on(signals: &Signals) -> Result<()> {
    signals
        .pending()
        .map_or(Ok(()), |signal| Err(Error::of_signal(signal)))
}
