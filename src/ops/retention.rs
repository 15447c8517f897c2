//! Which backups stay: the rules that `restic forget` has.
//!
//! Layer: ops; pure. The backups of one type are judged together, from the newest to the
//! oldest. A rule for a period (`--keep-daily 3`) keeps the newest of each of the last three
//! days *that have a backup*, in the person's time zone; days without one do not count. What
//! one rule keeps may be kept by others, too, and counts for each of them.
//!
//! Promise: the newest stays, the one just made, and every pinned one; judging what is left once more
//! removes nothing; and a larger number never keeps less.

use std::fmt;
use std::str::FromStr;

use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, Zoned};

/// How long a span of time is, as in `--keep-within 1y6m`.
#[derive(Clone, Copy, Debug)]
pub struct Within(Span);

impl FromStr for Within {
    type Err = String;

    /// Numbers with `y`, `m` (months), `w`, `d` or `h` after each.
    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || {
            format!("`{text}` is no span of time: write it like 30d, 2w, 1y6m or 12h (m: months)")
        };
        let mut span = Span::new();
        let mut rest = text.trim();
        if rest.is_empty() {
            return Err(bad());
        }
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(bad)?;
            let number: i64 = rest[..digits].parse().map_err(|_| bad())?;
            let mut after = rest[digits..].chars();
            let added = match after.next() {
                Some('y') => span.try_years(number.saturating_add(span.get_years().into())),
                Some('m') => span.try_months(number.saturating_add(span.get_months().into())),
                Some('w') => span.try_weeks(number.saturating_add(span.get_weeks().into())),
                Some('d') => span.try_days(number.saturating_add(span.get_days().into())),
                Some('h') => span.try_hours(number.saturating_add(span.get_hours().into())),
                _ => return Err(bad()),
            };
            span = added.map_err(|_| bad())?;
            rest = after.as_str();
        }
        Ok(Self(span))
    }
}

impl Within {
    /// This many days.
    pub fn days(days: u32) -> Self {
        // Far more than the calendar has covers everything.
        let days = Span::new().try_days(days);
        Self(days.unwrap_or_else(|_| Span::new().days(3_000_000)))
    }

    /// The moment so long before `now`.
    pub fn before(self, now: &Zoned) -> Timestamp {
        now.checked_sub(self.0)
            .map_or(Timestamp::MIN, |at| at.timestamp())
    }
}

impl fmt::Display for Within {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let span = self.0;
        for (number, unit) in [
            (i64::from(span.get_years()), 'y'),
            (i64::from(span.get_months()), 'm'),
            (i64::from(span.get_weeks()), 'w'),
            (i64::from(span.get_days()), 'd'),
            (i64::from(span.get_hours()), 'h'),
        ] {
            if number != 0 {
                write!(f, "{number}{unit}")?;
            }
        }
        if span.is_zero() {
            f.write_str("0d")?;
        }
        Ok(())
    }
}

/// What to keep. 0 and `None` are rules that are off.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rules {
    /// This many of the newest.
    pub last: u32,
    /// The newest of each of this many days.
    pub daily: u32,
    /// The newest of each of this many weeks, from Monday to Sunday.
    pub weekly: u32,
    /// The newest of each of this many months.
    pub monthly: u32,
    /// The newest of each of this many years.
    pub yearly: u32,
    /// All that are at most so much older than the newest.
    pub within: Option<Within>,
}

impl Rules {
    /// Whether no rule is on. Then nothing is ever removed.
    pub fn are_off(&self) -> bool {
        let numbers = [
            self.last,
            self.daily,
            self.weekly,
            self.monthly,
            self.yearly,
        ];
        numbers == [0; 5] && self.within.is_none()
    }
}

/// A backup that is judged: a verified one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its id.
    pub id: String,
    /// When it was made.
    pub at: Timestamp,
    /// Whether it stays whatever the rules say.
    pub pinned: bool,
    /// Whether it was made just now. That it is not the newest means that a clock is wrong,
    /// and no reason to remove it.
    pub fresh: bool,
}

/// What becomes of a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Its id.
    pub id: String,
    /// The rules that keep it: `newest`, `new`, `pinned`, `last`, `daily`, `weekly`, `monthly`,
    /// `yearly`, `within`, or `all` where no rule is on. Empty: it is removed.
    pub rules: Vec<&'static str>,
}

impl Verdict {
    /// Whether it stays.
    pub fn stays(&self) -> bool {
        !self.rules.is_empty()
    }
}

/// A rule for a period: how many of them are left, and the last one that was seen.
struct Period {
    name: &'static str,
    of: fn(&Zoned) -> (i16, i16),
    left: u32,
    seen: Option<(i16, i16)>,
}

impl Period {
    const fn new(name: &'static str, left: u32, of: fn(&Zoned) -> (i16, i16)) -> Self {
        Self {
            name,
            of,
            left,
            seen: None,
        }
    }

    /// Whether this one is the newest of its period. They come from the newest to the oldest.
    fn keeps(&mut self, at: &Zoned) -> bool {
        let period = (self.of)(at);
        if self.left == 0 || self.seen == Some(period) {
            return false;
        }
        self.seen = Some(period);
        self.left -= 1;
        true
    }
}

/// Judges the verified backups of one type, in any order; the verdicts are from the newest to
/// the oldest.
pub fn judge(candidates: &[Candidate], rules: &Rules, zone: &TimeZone) -> Vec<Verdict> {
    let mut sorted: Vec<&Candidate> = candidates.iter().collect();
    sorted.sort_by(|a, b| (b.at, &b.id).cmp(&(a.at, &a.id)));
    let mut periods = [
        Period::new("daily", rules.daily, |at| (at.year(), at.day_of_year())),
        Period::new("weekly", rules.weekly, |at| {
            let week = at.date().iso_week_date();
            (week.year(), i16::from(week.week()))
        }),
        Period::new("monthly", rules.monthly, |at| {
            (at.year(), i16::from(at.month()))
        }),
        Period::new("yearly", rules.yearly, |at| (at.year(), 0)),
    ];
    let newest = sorted
        .first()
        .map(|newest| newest.at.to_zoned(zone.clone()));
    let since = rules.within.and_then(|within| {
        // A span that leads out of the calendar covers everything.
        let since = newest?.checked_sub(within.0);
        Some(since.map_or(Timestamp::MIN, |since| since.timestamp()))
    });
    let judged = sorted.iter().enumerate().map(|(place, candidate)| {
        let mut reasons = Vec::new();
        if place == 0 {
            reasons.push("newest");
        } else if candidate.fresh {
            reasons.push("new");
        }
        if candidate.pinned {
            reasons.push("pinned");
        }
        if rules.are_off() {
            reasons.push("all");
        }
        if place < rules.last as usize {
            reasons.push("last");
        }
        let at = candidate.at.to_zoned(zone.clone());
        for period in &mut periods {
            if period.keeps(&at) {
                reasons.push(period.name);
            }
        }
        if since.is_some_and(|since| candidate.at >= since) {
            reasons.push("within");
        }
        Verdict {
            id: candidate.id.clone(),
            rules: reasons,
        }
    });
    judged.collect()
}

#[cfg(test)]
mod tests;
