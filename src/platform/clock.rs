//! Time: the calendar's, which may be wrong or jump, and a steady one for limits.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Where time comes from.
pub trait Clock: Send + Sync {
    /// The calendar's time, for what is written and shown. Never used to measure.
    fn now(&self) -> Timestamp;

    /// Time since some fixed moment, steady: for limits, waits and latencies.
    fn elapsed(&self) -> Duration;

    /// Waits.
    fn sleep(&self, time: Duration);

    /// The zone to show times in.
    fn zone(&self) -> TimeZone;
}

/// The machine's clock.
pub struct RealClock(Instant);

impl RealClock {
    /// Starts counting.
    pub fn start() -> Self {
        Self(Instant::now())
    }
}

impl Clock for RealClock {
    #[expect(clippy::disallowed_methods, reason = "this is the door")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }

    fn sleep(&self, time: Duration) {
        std::thread::sleep(time);
    }

    fn zone(&self) -> TimeZone {
        TimeZone::system()
    }
}
