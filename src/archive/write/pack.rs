//! Packing members on several threads.
//!
//! Invariant: whatever a thread does, nobody waits for ever. Each job carries the only end
//! through which its result can arrive, so a thread that panics closes it, and jobs are taken
//! in order, so every job before that one is done or being done.

use std::io::Write;
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::sync::{Mutex, PoisonError};
use std::thread;

use flate2::{Compression, GzBuilder};

use crate::archive::cannot_write;
use crate::model::backup::Sha256;
use crate::model::error::{Error, Kind, Result};

/// How hard to pack, from 0 to 9.
const LEVEL: u32 = 6;

/// A member that packs better than this is stored as it is: the reader takes an archive that
/// does, as a whole, for a bomb. Half of what it lets through.
const MOST_PER_BYTE: u64 = 100;

/// What the header of a gzip member says where the system is not to be told.
const UNKNOWN_SYSTEM: u8 = 255;

/// A packed member.
pub(super) struct Packed {
    pub(super) bytes: Vec<u8>,
    pub(super) digest: Sha256,
}

impl Packed {
    /// These bytes, which are packed already.
    pub(super) fn new(bytes: Vec<u8>) -> Self {
        let digest = Sha256::of(&bytes);
        Self { bytes, digest }
    }
}

/// A member that is packed or will be.
pub(super) enum Promise {
    /// Packed already.
    Kept(Packed),
    /// On its way.
    Made(Receiver<Result<Packed>>),
}

impl Promise {
    /// The packed member, as soon as it is there.
    pub(super) fn wait(self) -> Result<Packed> {
        match self {
            Self::Kept(packed) => Ok(packed),
            Self::Made(result) => result.recv().unwrap_or_else(|_| Err(lost())),
        }
    }
}

/// Hands members to the threads.
pub(super) struct Packer<'a> {
    jobs: Sender<Job>,
    spare: &'a Spare,
}

/// Buffers that were used: used again, because a megabyte that is given back and asked for
/// anew each time leaves holes in the heap.
type Spare = Mutex<Vec<Vec<u8>>>;

fn take(spare: &Spare, len: usize) -> Vec<u8> {
    let mut spare = spare.lock().unwrap_or_else(PoisonError::into_inner);
    let mut buffer = spare.pop().unwrap_or_default();
    // All alike, so that none is ever too small for the next.
    buffer.reserve_exact(len.max(super::plan::ROOM));
    buffer
}

fn give(spare: &Spare, mut buffer: Vec<u8>) {
    buffer.clear();
    spare
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(buffer);
}

struct Job {
    plain: Vec<u8>,
    done: SyncSender<Result<Packed>>,
}

impl Packer<'_> {
    /// An empty buffer with room for `len` bytes.
    pub(super) fn buffer(&self, len: usize) -> Vec<u8> {
        take(self.spare, len)
    }

    /// Takes back a buffer.
    pub(super) fn recycle(&self, buffer: Vec<u8>) {
        give(self.spare, buffer);
    }

    /// Has these bytes packed as one gzip member.
    pub(super) fn pack(&self, plain: Vec<u8>) -> Result<Promise> {
        let (done, result) = mpsc::sync_channel(1);
        let job = Job { plain, done };
        self.jobs.send(job).map_err(|_| lost())?;
        Ok(Promise::Made(result))
    }
}

/// Does `work` with so many threads (at least one) that pack for it.
pub(super) fn on_threads<T>(
    threads: usize,
    work: impl FnOnce(Packer<'_>) -> Result<T>,
) -> Result<T> {
    with(threads, gzip, work)
}

fn with<T>(threads: usize, pack: Pack, work: impl FnOnce(Packer<'_>) -> Result<T>) -> Result<T> {
    let (sender, jobs) = mpsc::channel();
    let jobs = Mutex::new(jobs);
    let spare = Spare::default();
    thread::scope(|scope| {
        let packer = Packer {
            jobs: sender,
            spare: &spare,
        };
        let mut packing = Vec::new();
        for _ in 0..threads.max(1) {
            let thread = thread::Builder::new().name("pack".into());
            match thread.spawn_scoped(scope, || pack_all(&jobs, &spare, pack)) {
                Ok(handle) => packing.push(handle),
                // Fewer do it as well.
                Err(_) if !packing.is_empty() => break,
                Err(error) => {
                    return Err(Error::new(Kind::Io, "cannot start a thread").cause(error));
                }
            }
        }
        let result = work(packer);
        for handle in packing {
            // A panic has come out already as the error of the job that met it.
            let _ = handle.join();
        }
        result
    })
}

/// Packs some bytes into an empty buffer.
type Pack = fn(&[u8], Vec<u8>) -> Result<Packed>;

/// Packs until there is nothing left to do.
fn pack_all(jobs: &Mutex<Receiver<Job>>, spare: &Spare, pack: Pack) {
    loop {
        let next = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { plain, done }) = next else {
            return;
        };
        let packed = pack(&plain, take(spare, 0));
        give(spare, plain);
        // Nobody wants it any more: the writing has failed, and the next job will not come.
        let _ = done.send(packed);
    }
}

/// One gzip member, without a name or a time.
fn gzip(plain: &[u8], buffer: Vec<u8>) -> Result<Packed> {
    let mut packed = gzip_at(LEVEL, plain, buffer)?;
    // Somebody does keep a megabyte of one letter.
    if (packed.len() as u64) * MOST_PER_BYTE < plain.len() as u64 {
        packed.clear();
        packed = gzip_at(0, plain, packed)?;
    }
    Ok(Packed::new(packed))
}

fn gzip_at(level: u32, plain: &[u8], buffer: Vec<u8>) -> Result<Vec<u8>> {
    let mut member = GzBuilder::new()
        .mtime(0)
        .operating_system(UNKNOWN_SYSTEM)
        .write(buffer, Compression::new(level));
    member.write_all(plain).map_err(cannot_write)?;
    member.finish().map_err(cannot_write)
}

fn lost() -> Error {
    Error::new(Kind::Bug, "a thread that packs the backup has ended early")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_that_are_lost_are_an_error_and_not_a_hang() {
        let faulty = |plain: &[u8], buffer: Vec<u8>| {
            assert!(plain != b"bad", "a test makes this thread panic");
            gzip(plain, buffer)
        };
        for threads in [1, 3] {
            let result = with(threads, faulty, |packer| {
                let good = packer.pack(b"good".to_vec())?;
                let bad: Vec<Promise> = (0..10)
                    .map(|_| packer.pack(b"bad".to_vec()))
                    .collect::<Result<_>>()?;
                good.wait()?;
                bad.into_iter().try_for_each(|bad| bad.wait().map(drop))
            });
            assert_eq!(result.unwrap_err().kind(), Kind::Bug);
        }
    }

    #[test]
    fn what_packs_too_well_is_stored() {
        let letters = vec![b'a'; 1 << 20];
        assert!(gzip(&letters, Vec::new()).unwrap().bytes.len() > letters.len());
        let digits: Vec<u8> = (0..200_000u32).flat_map(u32::to_be_bytes).collect();
        assert!(gzip(&digits, Vec::new()).unwrap().bytes.len() < digits.len());
    }

    #[test]
    fn work_that_fails_ends_the_threads() {
        let result: Result<()> = on_threads(3, |packer| {
            let _unused = packer.pack(vec![0; 100_000])?;
            Err(Error::new(Kind::Interrupted, "stopped"))
        });
        assert_eq!(result.unwrap_err().kind(), Kind::Interrupted);
    }
}
