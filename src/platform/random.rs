//! Unpredictable bytes: for ids, nonces, keys and the jitter of retries.

use std::io;

/// Where randomness comes from.
pub trait Random: Send + Sync {
    /// Fills the buffer, or says that the system has no randomness to give.
    fn fill(&self, buffer: &mut [u8]) -> io::Result<()>;

    /// 32 random bits.
    fn next_u32(&self) -> io::Result<u32> {
        let mut bytes = [0; 4];
        self.fill(&mut bytes)?;
        Ok(u32::from_ne_bytes(bytes))
    }
}

/// The operating system's generator.
pub struct RealRandom;

impl Random for RealRandom {
    fn fill(&self, buffer: &mut [u8]) -> io::Result<()> {
        getrandom::fill(buffer).map_err(io::Error::other)
    }
}
