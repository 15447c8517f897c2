//! When to try again, and how long to wait before it.
//!
//! Layer: `api`. The waits follow "full jitter": a random time up to a bound that doubles,
//! so that many clients do not come back at the same moment.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::{AGE, DATE, HeaderMap, HeaderName, RETRY_AFTER};

use crate::platform::Random;

const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");

/// How often and how patiently to try again. Nothing is ever tried again after the first
/// piece of a reply was handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// The most tries after the first one.
    pub retries: u32,
    /// The bound of the first wait; it doubles each time.
    pub base: Duration,
    /// The longest wait of our own choosing.
    pub cap: Duration,
    /// From the first try to the last one.
    pub budget: Duration,
    /// The longest wait that a server may ask for. Above it, the person is told instead.
    pub longest_wait: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            retries: 3,
            base: Duration::from_secs(1),
            cap: Duration::from_secs(20),
            budget: Duration::from_secs(60),
            longest_wait: Duration::from_secs(60),
        }
    }
}

impl RetryPolicy {
    /// One try only.
    pub fn never() -> Self {
        Self {
            retries: 0,
            ..Self::default()
        }
    }

    /// A wait before the try with this number, from 0 for the first retry.
    pub(super) fn delay(&self, retry: u32, random: &dyn Random) -> Duration {
        let bound = self
            .base
            .saturating_mul(2u32.saturating_pow(retry))
            .min(self.cap);
        // Without randomness the bound itself is a good wait.
        let share = random
            .next_u32()
            .map_or(1.0, |bits| f64::from(bits) / f64::from(u32::MAX));
        bound.mul_f64(share)
    }
}

/// How long the server asks to wait: `retry-after-ms`, or `Retry-After` as seconds or as a
/// date. `None` if it does not ask, or not in a way that makes sense.
pub(super) fn wanted_wait(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = |name: &HeaderName| headers.get(name)?.to_str().ok().map(str::trim);
    if let Some(wait) = text(&RETRY_AFTER_MS).and_then(|text| seconds(text, 1000.0)) {
        return Some(wait);
    }
    let after = text(&RETRY_AFTER)?;
    if let Some(wait) = seconds(after, 1.0) {
        return Some(wait);
    }
    // Against the server's own clock where it tells it: ours may be wrong by years.
    let now = text(&DATE).and_then(http_date).unwrap_or(now);
    let until = http_date(after)?;
    Duration::try_from(until.duration_since(now)).ok()
}

fn seconds(text: &str, units: f64) -> Option<Duration> {
    let number: f64 = text.parse().ok()?;
    Duration::try_from_secs_f64(number / units).ok()
}

/// What the server's clock shows, as far as it says. A cache in between hands an old date on,
/// and says how old it is.
pub(super) fn server_time(headers: &HeaderMap) -> Option<Timestamp> {
    let text = |name: &HeaderName| headers.get(name)?.to_str().ok().map(str::trim);
    let date = text(&DATE).and_then(http_date)?;
    let age: u32 = text(&AGE).and_then(|age| age.parse().ok()).unwrap_or(0);
    date.checked_add(jiff::SignedDuration::from_secs(age.into()))
        .ok()
}

fn http_date(text: &str) -> Option<Timestamp> {
    jiff::fmt::rfc2822::DateTimeParser::new()
        .parse_timestamp(text)
        .ok()
}

/// A wait for people: `0.4 s`, `12 s`, `5 min`, `2 h`.
pub(super) fn in_words(wait: Duration) -> String {
    let seconds = wait.as_secs_f64();
    let whole = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    if seconds < 1.0 {
        format!("{seconds:.1} s")
    } else if whole < 120 {
        format!("{whole} s")
    } else if whole < 2 * 3600 {
        format!("{} min", whole.div_ceil(60))
    } else {
        format!("{} h", whole.div_ceil(3600))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    fn wanted(name: &'static str, value: &str) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        wanted_wait(&headers, "2026-08-22T09:00:00Z".parse().unwrap())
    }

    #[test]
    fn the_server_may_ask_in_three_ways() {
        let seconds = |count| Some(Duration::from_secs(count));
        assert_eq!(wanted("retry-after", "2"), seconds(2));
        assert_eq!(wanted("retry-after", " 0 "), seconds(0));
        assert_eq!(wanted("retry-after", "3600"), seconds(3600));
        assert_eq!(
            wanted("retry-after-ms", "1500"),
            Some(Duration::from_millis(1500))
        );
        let date = "Sat, 22 Aug 2026 09:00:30 GMT";
        assert_eq!(wanted("retry-after", date), seconds(30));
        for nonsense in [
            "-5",
            "soon",
            "",
            "NaN",
            "inf",
            "1e300",
            "Sat, 22 Aug 2026 08:00:00 GMT",
        ] {
            assert_eq!(wanted("retry-after", nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn a_date_counts_from_the_servers_own_clock() {
        let mut headers = HeaderMap::new();
        headers.insert(DATE, "Sat, 22 Aug 2026 09:00:00 GMT".parse().unwrap());
        headers.insert(
            RETRY_AFTER,
            "Sat, 22 Aug 2026 09:00:05 GMT".parse().unwrap(),
        );
        let wrong = "1999-01-01T00:00:00Z".parse().unwrap();
        assert_eq!(wanted_wait(&headers, wrong), Some(Duration::from_secs(5)));
    }

    struct Fixed(u32);

    impl Random for Fixed {
        fn fill(&self, buffer: &mut [u8]) -> io::Result<()> {
            buffer.copy_from_slice(&self.0.to_ne_bytes());
            Ok(())
        }
    }

    #[test]
    fn waits_double_up_to_a_cap_and_are_spread() {
        let policy = RetryPolicy::default();
        let longest: Vec<u64> = (0..7)
            .map(|retry| policy.delay(retry, &Fixed(u32::MAX)).as_secs())
            .collect();
        assert_eq!(longest, [1, 2, 4, 8, 16, 20, 20]);
        assert_eq!(policy.delay(5, &Fixed(0)), Duration::ZERO);
        assert_eq!(policy.delay(u32::MAX, &Fixed(u32::MAX)).as_secs(), 20);
    }

    #[test]
    fn waits_are_told_in_words() {
        for (milliseconds, words) in [
            (400, "0.4 s"),
            (1000, "1 s"),
            (1200, "2 s"),
            (90_000, "90 s"),
            (3_600_000, "60 min"),
            (86_400_000, "24 h"),
        ] {
            assert_eq!(in_words(Duration::from_millis(milliseconds)), words);
        }
    }
}
