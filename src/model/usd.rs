//! Amounts of money in US dollars, exact to the last digit a server sends.

use std::fmt;
use std::iter::Sum;
use std::ops::Add;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Digits kept behind the decimal point. Prices are as small as 5e-9 a token, and
/// costs computed in floating point by servers come with up to 21 digits.
const SCALE: usize = 24;
/// 10^[`SCALE`].
const ONE: i128 = 1_000_000_000_000_000_000_000_000;

/// An amount in US dollars: a decimal fraction, never a binary one.
///
/// Shape in files: a decimal string without exponent, such as `"0.00001305"`.
/// Range: ±1.7e14 dollars with 24 digits behind the point; further digits are
/// cut off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Usd(i128);

impl Usd {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// This many times the amount, or `None` where it does not fit.
    pub fn times(self, count: u64) -> Option<Self> {
        self.0.checked_mul(i128::from(count)).map(Self)
    }

    /// Whether the amount is below zero. Servers use a negative price for "varies".
    pub fn is_negative(self) -> bool {
        self.0 < 0
    }

    /// For people: `$0`, two significant digits below a cent (`$0.000013`), four
    /// decimals from a cent on (`$0.0312`).
    pub fn rounded(self) -> String {
        let sign = if self.0 < 0 { "-" } else { "" };
        let magnitude = self.0.unsigned_abs();
        let cent = ONE.unsigned_abs() / 100;
        if magnitude == 0 {
            return "$0".into();
        }
        let decimals = if magnitude >= cent {
            4
        } else {
            // Leading zeros behind the point, plus two digits.
            let digits = magnitude.ilog10() as usize;
            (SCALE - digits + 1).min(SCALE)
        };
        let unit = 10u128.pow(u32::try_from(SCALE - decimals).unwrap_or(0));
        let shown = (magnitude + unit / 2) / unit;
        let base = 10u128.pow(u32::try_from(decimals).unwrap_or(0));
        let text = format!("{sign}${}.{:0decimals$}", shown / base, shown % base);
        match text.trim_end_matches('0') {
            whole if whole.ends_with('.') => whole.trim_end_matches('.').to_owned(),
            short if magnitude < cent => short.to_owned(),
            _ => text,
        }
    }
}

impl fmt::Display for Usd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let magnitude = self.0.unsigned_abs();
        let one = ONE.unsigned_abs();
        let fraction = format!("{:0SCALE$}", magnitude % one);
        let fraction = fraction.trim_end_matches('0');
        if fraction.is_empty() {
            write!(f, "{sign}{}", magnitude / one)
        } else {
            write!(f, "{sign}{}.{fraction}", magnitude / one)
        }
    }
}

impl FromStr for Usd {
    type Err = String;

    /// Reads a JSON number or a decimal string, with or without exponent.
    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || {
            format!(
                "`{}` is not an amount",
                text.chars().take(40).collect::<String>()
            )
        };
        let trimmed = text.trim();
        let (negative, body) = match trimmed.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, trimmed.strip_prefix('+').unwrap_or(trimmed)),
        };
        let (mantissa, exponent) = match body.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().map_err(|_| bad())?),
            None => (body, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if whole.len() + fraction.len() == 0 || !all_digits(whole) || !all_digits(fraction) {
            return Err(bad());
        }
        let mut value: i128 = 0;
        // The power of ten that the next digit stands for, counted in units of the scale.
        let start = i64::from(exponent)
            + i64::try_from(whole.len()).map_err(|_| bad())?
            + i64::try_from(SCALE).map_err(|_| bad())?
            - 1;
        for (place, digit) in (0..=start).rev().zip(whole.bytes().chain(fraction.bytes())) {
            if digit == b'0' {
                continue;
            }
            let power = u32::try_from(place)
                .ok()
                .and_then(|place| 10i128.checked_pow(place));
            let part = power.and_then(|power| power.checked_mul(i128::from(digit - b'0')));
            value = part
                .and_then(|part| value.checked_add(part))
                .ok_or_else(bad)?;
        }
        Ok(Self(if negative { -value } else { value }))
    }
}

impl Add for Usd {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sum for Usd {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Self::add)
    }
}

impl Serialize for Usd {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Usd {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usd(text: &str) -> Usd {
        text.parse().unwrap()
    }

    #[test]
    fn amounts_keep_their_last_digit() {
        for (given, kept) in [
            ("0.00001305", "0.00001305"),
            ("1.305e-05", "0.00001305"),
            ("0.000013049999999999999", "0.000013049999999999999"),
            ("5e-9", "0.000000005"),
            ("0", "0"),
            ("-1", "-1"),
            ("12.50", "12.5"),
            ("1E3", "1000"),
            ("1e-400", "0"),
        ] {
            assert_eq!(usd(given).to_string(), kept);
        }
        for bad in ["", ".", "e5", "1.2.3", "NaN", "null", "1e99", "0x1"] {
            assert!(bad.parse::<Usd>().is_err(), "{bad}");
        }
    }

    #[test]
    fn sums_are_exact() {
        // 67 × $0.15e-6 + 5 × $0.60e-6, a recorded request.
        let prompt = usd("0.00000015").times(67).unwrap();
        let completion = usd("0.0000006").times(5).unwrap();
        assert_eq!((prompt + completion).to_string(), "0.00001305");
        let many: Usd = std::iter::repeat_n(usd("0.1"), 10).sum();
        assert_eq!(many.to_string(), "1");
    }

    #[test]
    fn people_see_few_digits() {
        for (given, shown) in [
            ("0", "$0"),
            ("0.00001305", "$0.000013"),
            ("0.03119", "$0.0312"),
            ("0.01", "$0.0100"),
            ("0.005", "$0.005"),
            ("2", "$2"),
            ("12.3456789", "$12.3457"),
            ("-0.002", "-$0.002"),
        ] {
            assert_eq!(usd(given).rounded(), shown, "{given}");
        }
    }
}
