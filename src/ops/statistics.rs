//! What the log tells: requests, how long they took, and what they cost.
//!
//! Layer: ops. A reader of the log that takes no lock and knows no conversation. Only what was
//! asked of a server counts, once, however often it was tried; lists of models and probes do
//! not. Lines that are too old are passed over without being read.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::model::error::Result;
use crate::model::log_line::{Asked, Event, Exchange, LogLine};
use crate::model::reply::State;
use crate::model::time;
use crate::model::usd::Usd;
use crate::store::{Store, log};

/// The longest span that is looked at.
const LONGEST: SignedDuration = SignedDuration::from_hours(7 * 24);

/// How long a time as it stands in the log is, in bytes. All are UTC with milliseconds, so
/// their bytes compare as they do.
const TIME: usize = "2026-11-22T11:00:00.123Z".len();

/// A span up to now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// Sixty minutes.
    Hour,
    /// Twenty-four hours.
    Day,
    /// Seven days.
    Week,
}

impl Span {
    /// Every span, the shortest first.
    pub const ALL: [Self; 3] = [Self::Hour, Self::Day, Self::Week];

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
        }
    }

    const fn length(self) -> SignedDuration {
        match self {
            Self::Hour => SignedDuration::from_hours(1),
            Self::Day => SignedDuration::from_hours(24),
            Self::Week => LONGEST,
        }
    }
}

/// How long something took, over several requests, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Latency {
    /// The mean.
    pub average: u64,
    /// Half of them were as fast.
    pub p50: u64,
    /// 95 % of them were as fast.
    pub p95: u64,
}

impl Latency {
    /// By the nearest rank; `None` of nothing. Sorts `times`.
    fn of(times: &mut [u64]) -> Option<Self> {
        times.sort_unstable();
        let count = times.len() as u64;
        let rank = |percent: u64| {
            let rank = (count * percent).div_ceil(100).max(1) - 1;
            times.get(usize::try_from(rank).ok()?).copied()
        };
        Some(Self {
            p50: rank(50)?,
            p95: rank(95)?,
            average: times.iter().sum::<u64>() / count,
        })
    }
}

/// The requests of a span.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Window {
    /// All of them.
    pub requests: u64,
    /// Those that failed. What a person stopped did not fail.
    pub failed: u64,
    /// To the first piece of a reply, of those that came to their end.
    pub first_byte_ms: Option<Latency>,
    /// To the end, of the same.
    pub total_ms: Option<Latency>,
    /// Tokens that were sent.
    pub prompt_tokens: u64,
    /// Tokens of the replies.
    pub completion_tokens: u64,
    /// What the servers charged, as far as they said.
    pub cost: Usd,
}

impl Window {
    /// The share of failures, from 0 to 1; `None` without requests.
    pub fn error_rate(&self) -> Option<f64> {
        #[expect(clippy::cast_precision_loss, reason = "a share of a count")]
        let share = |part: u64, whole: u64| part as f64 / whole as f64;
        (self.requests > 0).then(|| share(self.failed, self.requests))
    }
}

/// A request that is worth naming.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Last {
    /// When it ended.
    #[serde(with = "time")]
    pub at: Timestamp,
    /// Which model was asked.
    pub model: Option<String>,
    /// How long it took, in milliseconds.
    pub total_ms: u64,
    /// What went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What the log of the last week tells.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Statistics {
    /// Of the last hour.
    pub hour: Window,
    /// Of the last day.
    pub day: Window,
    /// Of the last week.
    pub week: Window,
    /// The last request that came to its end.
    pub last_success: Option<Last>,
    /// The last one that failed.
    pub last_failure: Option<Last>,
    /// How many requests were in the last minute.
    #[serde(skip)]
    pub last_minute: u64,
}

impl Statistics {
    /// The requests of a span.
    pub fn window(&self, span: Span) -> &Window {
        match span {
            Span::Hour => &self.hour,
            Span::Day => &self.day,
            Span::Week => &self.week,
        }
    }
}

/// Reads the log of the last week.
pub fn read(store: &Store, now: Timestamp) -> Result<Statistics> {
    let start = now.checked_sub(LONGEST).unwrap_or(Timestamp::MIN);
    let bytes = log::since(store, start)?;
    Ok(count(&bytes, now))
}

/// What a request leaves for counting: numbers only, since a week may have many.
struct Sample {
    at: Timestamp,
    failed: bool,
    whole: bool,
    first_byte_ms: Option<u64>,
    total_ms: u64,
    prompt_tokens: u64,
    completion_tokens: u64,
    cost: Usd,
}

impl Sample {
    fn new(at: Timestamp, exchange: &Exchange) -> Self {
        let failed = exchange.level() == ::log::Level::Error;
        Self {
            at,
            failed,
            whole: !failed && exchange.state != State::Interrupted,
            first_byte_ms: exchange.first_byte_ms,
            total_ms: exchange.total_ms,
            prompt_tokens: exchange.prompt_tokens.unwrap_or(0),
            completion_tokens: exchange.completion_tokens.unwrap_or(0),
            cost: exchange.cost.unwrap_or(Usd::ZERO),
        }
    }
}

/// Keeps the later one of two.
fn later(kept: &mut Option<Last>, at: Timestamp, exchange: Exchange) {
    if kept.as_ref().is_none_or(|kept| at >= kept.at) {
        *kept = Some(Last {
            at,
            model: exchange.model,
            total_ms: exchange.total_ms,
            error: exchange.error,
        });
    }
}

fn count(bytes: &[u8], now: Timestamp) -> Statistics {
    let mut statistics = Statistics::default();
    let samples = samples(bytes, now, &mut statistics);
    let since = |length: SignedDuration| {
        let start = now.checked_sub(length).unwrap_or(Timestamp::MIN);
        samples.iter().filter(move |sample| sample.at > start)
    };
    Statistics {
        hour: window(since(Span::Hour.length())),
        day: window(since(Span::Day.length())),
        week: window(since(Span::Week.length())),
        last_minute: since(SignedDuration::from_secs(60)).count() as u64,
        ..statistics
    }
}

fn window<'a>(samples: impl Iterator<Item = &'a Sample>) -> Window {
    let mut window = Window::default();
    let (mut first, mut total) = (Vec::new(), Vec::new());
    for sample in samples {
        window.requests += 1;
        window.failed += u64::from(sample.failed);
        window.prompt_tokens += sample.prompt_tokens;
        window.completion_tokens += sample.completion_tokens;
        window.cost = window.cost + sample.cost;
        if sample.whole {
            first.extend(sample.first_byte_ms);
            total.push(sample.total_ms);
        }
    }
    window.first_byte_ms = Latency::of(&mut first);
    window.total_ms = Latency::of(&mut total);
    window
}

/// The requests of the longest span; the last ones go to `lasts`. What is from the future was
/// written while the clock was wrong, and says nothing about now.
fn samples(bytes: &[u8], now: Timestamp, lasts: &mut Statistics) -> Vec<Sample> {
    let start = now.checked_sub(LONGEST).unwrap_or(Timestamp::MIN);
    let (first, last) = (time::format(start), time::format(now));
    let mut samples = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
        let line = &rest[..end];
        rest = rest.get(end + 1..).unwrap_or_default();
        let Some(at) = line.get(..TIME) else { continue };
        if at <= first.as_bytes() || at > last.as_bytes() || !is_request(line) {
            continue;
        }
        let Ok(line) = std::str::from_utf8(line) else {
            continue;
        };
        let Ok(LogLine { at, event, .. }) = line.parse() else {
            continue;
        };
        let Event::Exchange(exchange) = event else {
            continue;
        };
        if exchange.asked != Asked::Reply {
            continue;
        }
        let sample = Sample::new(at, &exchange);
        if sample.failed {
            later(&mut lasts.last_failure, at, *exchange);
        } else if sample.whole {
            later(&mut lasts.last_success, at, *exchange);
        }
        samples.push(sample);
    }
    samples
}

/// Whether the third word of a line says that it is about a request.
fn is_request(line: &[u8]) -> bool {
    let mut words = line.splitn(4, |byte| *byte == b' ');
    words.nth(2) == Some(b"request")
}

/// A time for people: `420 ms`, `1.2 s`.
pub fn in_words(milliseconds: u64) -> String {
    if milliseconds < 1000 {
        return format!("{milliseconds} ms");
    }
    let time = Duration::from_millis(milliseconds).as_secs_f64();
    format!("{time:.1} s")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-08-22T12:00:00Z";

    fn line(at: &str, rest: &str) -> String {
        format!("{at} INFO request API response time {rest} host=h pid=1\n")
    }

    fn counted(lines: &str) -> Statistics {
        count(lines.as_bytes(), NOW.parse().unwrap())
    }

    #[test]
    fn each_span_has_its_own_requests() {
        let whole = "first_byte_ms=100 total_ms=400 model=a/b state=complete exit_code=0 prompt_tokens=10 completion_tokens=5 cost=0.001";
        let lines = [
            line("2026-08-15T11:59:59.000Z", whole),
            line("2026-08-16T12:00:00.000Z", whole),
            line("2026-08-22T10:00:00.000Z", whole),
            line("2026-08-22T11:59:30.000Z", whole),
            // From the future.
            line("2026-08-22T12:00:01.000Z", whole),
        ];
        let found = counted(&lines.concat());
        assert_eq!(
            [found.hour.requests, found.day.requests, found.week.requests],
            [1, 2, 3]
        );
        assert_eq!(found.last_minute, 1);
        assert_eq!(found.week.cost.to_string(), "0.003");
        assert_eq!(
            (found.day.prompt_tokens, found.day.completion_tokens),
            (20, 10)
        );
        let success = found.last_success.unwrap();
        assert_eq!(success.at.to_string(), "2026-08-22T11:59:30Z");
        assert!(found.last_failure.is_none());
    }

    #[test]
    fn failures_count_and_their_times_do_not() {
        let at = "2026-08-22T11:30:00.000Z";
        let lines = [
            line(at, "total_ms=200 state=complete exit_code=0"),
            line(
                at,
                "total_ms=9000 state=error exit_code=69 error=\"no answer\"",
            ),
            line(at, "total_ms=50 state=interrupted exit_code=130"),
            line(at, "total_ms=9000 state=complete exit_code=77"),
            format!(
                "{at} ERROR models API response time total_ms=1 state=error exit_code=69 host=h pid=1\n"
            ),
            format!("{at} INFO audit change action=x pid=1\n"),
            "half a li".into(),
        ];
        let found = counted(&lines.concat());
        assert_eq!((found.hour.requests, found.hour.failed), (4, 2));
        assert_eq!(found.hour.error_rate(), Some(0.5));
        let total = found.hour.total_ms.unwrap();
        assert_eq!((total.average, total.p50, total.p95), (200, 200, 200));
        assert_eq!(found.hour.first_byte_ms, None);
        assert_eq!(found.day.error_rate(), Some(0.5));
        assert!(counted("").week.error_rate().is_none());
    }

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let mut times: Vec<u64> = (1..=100).rev().collect();
        let latency = Latency::of(&mut times).unwrap();
        assert_eq!((latency.average, latency.p50, latency.p95), (50, 50, 95));
        assert_eq!(Latency::of(&mut [7]).unwrap().p95, 7);
        assert_eq!(Latency::of(&mut []), None);
    }
}
