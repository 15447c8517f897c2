//! Packing segments on several threads.
//!
//! Invariant: whatever a thread does, nobody waits for ever. Each job carries the only end
//! through which its result can arrive, so a thread that panics closes it, and jobs are taken
//! in order, so every job before that one is done or being done.

use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::sync::{Mutex, PoisonError};
use std::thread;

use flate2::{Compress, Compression, FlushCompress};

use crate::archive::segment::WINDOW;
use crate::model::backup::Sha256;
use crate::model::error::{Error, Kind, Result};

/// How hard to pack, from 0 to 9.
const LEVEL: u32 = 6;

/// A segment that packs better than this is stored as it is: the reader takes an archive that
/// does, as a whole, for a bomb. Half of what it lets through.
const MOST_PER_BYTE: u64 = 100;

/// What a buffer has room for: a window and the text after it, or packed text, even where that
/// packs badly.
#[expect(clippy::cast_possible_truncation, reason = "some 100 KiB")]
const ROOM: usize = WINDOW + super::plan::MAX as usize + (4 << 10);

/// A packed segment.
pub(super) struct Packed {
    pub(super) bytes: Vec<u8>,
    pub(super) digest: Sha256,
    /// The CRC-32 of its text.
    pub(super) crc: u32,
}

/// A segment that is packed or will be.
pub(super) enum Promise {
    /// Packed already.
    Kept(Packed),
    /// On its way.
    Made(Receiver<Result<Packed>>),
}

impl Promise {
    /// The packed segment, as soon as it is there.
    pub(super) fn wait(self) -> Result<Packed> {
        match self {
            Self::Kept(packed) => Ok(packed),
            Self::Made(result) => result.recv().unwrap_or_else(|_| Err(lost())),
        }
    }
}

/// Hands segments to the threads.
pub(super) struct Packer<'a> {
    jobs: Sender<Job>,
    spare: &'a Spare,
}

/// Buffers that were used: used again, because memory that is given back and asked for anew
/// each time leaves holes in the heap.
type Spare = Mutex<Vec<Vec<u8>>>;

fn take(spare: &Spare) -> Vec<u8> {
    let mut spare = spare.lock().unwrap_or_else(PoisonError::into_inner);
    let mut buffer = spare.pop().unwrap_or_default();
    // All alike, so that none is ever too small for the next.
    buffer.reserve_exact(ROOM);
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
    /// A window, and the text after it.
    text: Vec<u8>,
    /// How long the window is.
    window: usize,
    done: SyncSender<Result<Packed>>,
}

impl Packer<'_> {
    /// An empty buffer with room for a window and a segment.
    pub(super) fn buffer(&self) -> Vec<u8> {
        take(self.spare)
    }

    /// Takes back a buffer.
    pub(super) fn recycle(&self, buffer: Vec<u8>) {
        give(self.spare, buffer);
    }

    /// Has what follows the first `window` bytes packed as a segment that may refer to them.
    pub(super) fn pack(&self, text: Vec<u8>, window: usize) -> Result<Promise> {
        let (done, result) = mpsc::sync_channel(1);
        let job = Job { text, window, done };
        self.jobs.send(job).map_err(|_| lost())?;
        Ok(Promise::Made(result))
    }
}

/// Does `work` with so many threads (at least one) that pack for it.
pub(super) fn on_threads<T>(
    threads: usize,
    work: impl FnOnce(Packer<'_>) -> Result<T>,
) -> Result<T> {
    with(threads, segment, work)
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

/// Packs what follows a window of this length into an empty buffer.
type Pack = fn(&mut Compress, &[u8], usize, Vec<u8>) -> Result<Packed>;

/// Packs until there is nothing left to do.
fn pack_all(jobs: &Mutex<Receiver<Job>>, spare: &Spare, pack: Pack) {
    let mut deflater = Compress::new(Compression::new(LEVEL), false);
    loop {
        let next = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { text, window, done }) = next else {
            return;
        };
        let packed = pack(&mut deflater, &text, window, take(spare));
        give(spare, text);
        // Nobody wants it any more: the writing has failed, and the next job will not come.
        let _ = done.send(packed);
    }
}

/// Packs one segment.
///
/// Rarely the bytes depend on what the deflater packed before: behind a dictionary it looks at a
/// byte that is left over from then. They unpack to the same text. A deflater for each segment
/// would avoid it, and cost a quarter more time.
fn segment(
    deflater: &mut Compress,
    text: &[u8],
    window: usize,
    mut packed: Vec<u8>,
) -> Result<Packed> {
    let (window, text) = text.split_at(window);
    deflater.reset();
    if !window.is_empty() {
        deflater.set_dictionary(window).map_err(|_| odd())?;
    }
    deflate(deflater, text, &mut packed)?;
    // Somebody does keep a megabyte of one letter.
    if (packed.len() as u64) * MOST_PER_BYTE < text.len() as u64 {
        packed.clear();
        let mut store = Compress::new(Compression::none(), false);
        deflate(&mut store, text, &mut packed)?;
    }
    Ok(Packed {
        digest: Sha256::of(&packed),
        bytes: packed,
        crc: crc32fast::hash(text),
    })
}

/// Appends all that becomes of the text, to a byte's end.
fn deflate(deflater: &mut Compress, mut text: &[u8], packed: &mut Vec<u8>) -> Result<()> {
    loop {
        if packed.capacity() - packed.len() < 64 {
            packed.reserve(4 << 10);
        }
        let before = deflater.total_in();
        deflater
            .compress_vec(text, packed, FlushCompress::Sync)
            .map_err(|_| odd())?;
        let used = deflater.total_in() - before;
        text = &text[usize::try_from(used).unwrap_or(0)..];
        // As long as there is room left, nothing else is on its way.
        if text.is_empty() && packed.len() < packed.capacity() {
            return Ok(());
        }
    }
}

fn odd() -> Error {
    Error::new(Kind::Bug, "the backup cannot be packed")
}

fn lost() -> Error {
    Error::new(Kind::Bug, "a thread that packs the backup has ended early")
}

#[cfg(test)]
mod tests {
    use flate2::{Decompress, FlushDecompress, Status};

    use super::*;

    #[test]
    fn threads_that_are_lost_are_an_error_and_not_a_hang() {
        let faulty: Pack = |deflater, text, window, buffer| {
            assert!(text != b"bad", "a test makes this thread panic");
            segment(deflater, text, window, buffer)
        };
        for threads in [1, 3] {
            let result = with(threads, faulty, |packer| {
                let good = packer.pack(b"good".to_vec(), 0)?;
                let bad: Vec<Promise> = (0..10)
                    .map(|_| packer.pack(b"bad".to_vec(), 0))
                    .collect::<Result<_>>()?;
                good.wait()?;
                bad.into_iter().try_for_each(|bad| bad.wait().map(drop))
            });
            assert_eq!(result.unwrap_err().kind(), Kind::Bug);
        }
    }

    fn packed(text: &[u8], window: usize) -> Vec<u8> {
        let mut deflater = Compress::new(Compression::new(LEVEL), false);
        segment(&mut deflater, text, window, Vec::new())
            .unwrap()
            .bytes
    }

    #[test]
    fn what_packs_too_well_is_stored() {
        let letters = vec![b'a'; 64 << 10];
        assert!(packed(&letters, 0).len() > letters.len());
        let digits: Vec<u8> = (0..16_000u32).flat_map(u32::to_be_bytes).collect();
        assert!(packed(&digits, 0).len() < digits.len());
    }

    fn noise(len: u32) -> Vec<u8> {
        let numbers = (0..len / 4).map(|number| number.wrapping_mul(0x9e37_79b9) ^ (number >> 3));
        numbers.flat_map(u32::to_be_bytes).collect()
    }

    /// Unpacks a segment that follows this window.
    fn unpacked(bytes: &[u8], window: &[u8], len: usize) -> Vec<u8> {
        let mut inflater = Decompress::new(false);
        if !window.is_empty() {
            inflater.set_dictionary(window).unwrap();
        }
        let mut out = Vec::with_capacity(len + 1);
        let status = inflater.decompress_vec(bytes, &mut out, FlushDecompress::None);
        assert_eq!(status.unwrap(), Status::Ok);
        assert_eq!(inflater.total_in(), bytes.len() as u64);
        out
    }

    #[test]
    fn a_segment_refers_to_its_window_and_ends_at_a_byte() {
        let all = noise(18 << 10);
        let window = &all[..16 << 10];
        // The window once more, and what is nowhere else.
        let bytes = packed(&[window, &all].concat(), window.len());
        assert!(bytes.len() < 3000, "{}", bytes.len());
        assert!(bytes.ends_with(&[0, 0, 0xff, 0xff]));
        assert!(unpacked(&bytes, window, all.len()) == all);
    }

    #[test]
    fn a_buffer_that_is_just_full_is_no_end() {
        let text = noise(12_000);
        let whole = packed(&text, 0);
        for room in 1..300 {
            let mut deflater = Compress::new(Compression::new(LEVEL), false);
            let mut out = Vec::with_capacity(whole.len() - 150 + room);
            deflate(&mut deflater, &text, &mut out).unwrap();
            assert!(out.len() <= whole.len() + 5, "{room}");
            assert!(unpacked(&out, &[], text.len()) == text, "{room}");
        }
    }

    #[test]
    fn work_that_fails_ends_the_threads() {
        let result: Result<()> = on_threads(3, |packer| {
            let _unused = packer.pack(vec![0; 100_000], 0)?;
            Err(Error::new(Kind::Interrupted, "stopped"))
        });
        assert_eq!(result.unwrap_err().kind(), Kind::Interrupted);
    }
}
