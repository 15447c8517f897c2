//! The limits of one person's account, shared by all processes that use a data directory.
//!
//! Invariants:
//! - A request holds one of the places for as long as it is under way. A place is a kernel
//!   lock on a file in `run/`, so a process that dies gives it back.
//! - No span of sixty seconds has more requests than are allowed in a minute. Each request
//!   appends its time to a file in `run/` under a lock; the file is replaced, never cut, so a
//!   death at any moment leaves all times of the last minute in it.
//!
//! The calendar's clock is used, since it is the only one that processes share. A time in the
//! future (the clock was set back) does not count.

use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::model::gate::{Gate, Passage, Permit, Wait};
use crate::platform::Clock;
use crate::platform::disk::{Disk, File, LockMode, Open};

use super::Store;

/// The span in which requests are counted, in milliseconds: a minute, and three seconds because
/// a request may take that much longer to arrive than the one a minute before it.
const SPAN: i64 = 63_000;

/// How often to look whether a place has become free.
const GLANCE: Duration = Duration::from_millis(50);

/// From this length on, old times are thrown out of the file: some hundred requests.
const LONG: u64 = 16 << 10;

/// The most that is read of the file: it never gets that long.
const LONGEST: u64 = 16 << 20;

/// What an account allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// Requests in any sixty seconds.
    pub per_minute: u32,
    /// Requests at the same time.
    pub at_once: u32,
}

/// How many requests went to a server in the last minute, as far as they were counted. Takes
/// no lock.
pub fn last_minute(store: &Store, server: &str) -> io::Result<usize> {
    const MINUTE: i64 = 60_000;
    let path = store.layout().run_dir().join(format!("rate-{server}"));
    let text = match store.disk().read(&path, 1 << 20) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    };
    let now = store.clock().now().as_millisecond();
    let times = text.lines().filter_map(|line| line.parse::<i64>().ok());
    Ok(times
        .filter(|time| (0..MINUTE).contains(&(now - time)))
        .count())
}

/// The gate in front of one server.
pub struct StoreGate {
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    run_dir: PathBuf,
    /// Tells servers apart; safe in a file name.
    server: String,
    allowance: Allowance,
}

impl StoreGate {
    /// The gate for `server`, a name that is safe in a file name. Nothing is touched yet.
    pub fn new(store: &Store, server: String, allowance: Allowance) -> Self {
        Self {
            disk: Arc::clone(&store.disk),
            clock: Arc::clone(&store.clock),
            run_dir: store.layout().run_dir(),
            server,
            allowance,
        }
    }

    fn path(&self, what: &str) -> PathBuf {
        self.run_dir.join(format!("{what}-{}", self.server))
    }

    /// A place, if one is free.
    fn place(&self) -> io::Result<Option<Box<dyn File>>> {
        for number in 0..self.allowance.at_once {
            let path = self.path(&format!("place-{number}"));
            let file = self.disk.open(&path, Open::AppendOrCreate)?;
            if file.try_lock(LockMode::Exclusive)? {
                return Ok(Some(file));
            }
        }
        Ok(None)
    }

    /// Writes down a request that leaves now, unless there were too many; then says how long
    /// it takes until there are not.
    fn count(&self) -> io::Result<Result<(), Duration>> {
        let lock = self
            .disk
            .open(&self.path("rate-lock"), Open::AppendOrCreate)?;
        if !lock.try_lock(LockMode::Exclusive)? {
            // Held for some microseconds only.
            return Ok(Err(Duration::from_millis(1)));
        }
        let path = self.path("rate");
        let now = self.clock.now().as_millisecond();
        let mut file = self.disk.open(&path, Open::AppendOrCreate)?;
        let mut text = String::new();
        Read::take(&mut *file, LONGEST).read_to_string(&mut text)?;
        let recent: Vec<i64> = text
            .lines()
            .filter_map(|line| line.parse().ok())
            .filter(|time| (0..SPAN).contains(&(now - time)))
            .collect();
        let allowed = self.allowance.per_minute as usize;
        if recent.len() >= allowed {
            // The oldest of the last so many: when it is out of the span, there is room.
            let oldest = recent[recent.len() - allowed];
            let wait = u64::try_from(oldest + SPAN - now).unwrap_or(1).max(1);
            return Ok(Err(Duration::from_millis(wait)));
        }
        if text.len() as u64 > LONG {
            self.shorten(&recent, now)?;
        } else {
            file.write_all(format!("{now}\n").as_bytes())?;
        }
        Ok(Ok(()))
    }

    /// Replaces the file by one with the times that still matter, and `now`.
    fn shorten(&self, recent: &[i64], now: i64) -> io::Result<()> {
        let temporary = self.path("rate-new");
        match self.disk.remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut text = String::new();
        for time in recent.iter().chain([&now]) {
            text.push_str(&format!("{time}\n"));
        }
        let mut file = self.disk.open(&temporary, Open::CreateNew)?;
        file.write_all(text.as_bytes())?;
        self.disk.rename(&temporary, &self.path("rate"))
    }

    fn try_pass(&self) -> io::Result<Passage> {
        let Some(place) = self.place()? else {
            let count = self.allowance.at_once;
            return Ok(Passage::Wait(Wait {
                time: GLANCE,
                why: format!("{count} requests are under way already"),
            }));
        };
        Ok(match self.count()? {
            Ok(()) => Passage::Open(Box::new(place) as Permit),
            Err(time) => Passage::Wait(Wait {
                time,
                why: format!(
                    "{} requests were sent in the last minute",
                    self.allowance.per_minute
                ),
            }),
        })
    }
}

impl Gate for StoreGate {
    fn poll(&self) -> Passage {
        self.try_pass().unwrap_or_else(|error| {
            // Being polite to a server is not worth refusing to work on an odd disk; and where
            // nothing is to be kept there may be no directory.
            if error.kind() != io::ErrorKind::NotFound {
                log::warn!("the rate of requests cannot be limited: {error}");
            }
            Passage::Open(Box::new(()))
        })
    }
}
