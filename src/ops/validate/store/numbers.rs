//! The numbers of the messages of a conversation, in as little room as they need.
//!
//! Layer: ops. Numbers that rise by one, as they should, take the same room however many.

/// A set of numbers, as spans that do not touch.
#[derive(Debug, Default)]
pub(super) struct Numbers(Vec<(u64, u64)>);

/// Where a number stands among those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// It is one more than the highest.
    Next,
    /// It is higher by more than one than this, the highest; 0 if there was none.
    After(u64),
    /// It is lower than the highest, and new.
    Earlier,
    /// It was there.
    Twice,
}

impl Numbers {
    /// Adds a number.
    pub(super) fn add(&mut self, n: u64) -> Place {
        let highest = self.0.last().map_or(0, |(_, last)| *last);
        if self.contains(n) {
            return Place::Twice;
        }
        if n > highest || self.0.is_empty() {
            return self.append(n, highest);
        }
        let at = self.0.partition_point(|(_, last)| *last < n);
        self.0.insert(at, (n, n));
        Place::Earlier
    }

    fn append(&mut self, n: u64, highest: u64) -> Place {
        let next = n == highest.saturating_add(1);
        match self.0.last_mut() {
            Some((_, last)) if next => *last = n,
            _ => self.0.push((n, n)),
        }
        if next || n == 0 {
            Place::Next
        } else {
            Place::After(highest)
        }
    }

    /// Whether a number is there.
    pub(super) fn contains(&self, n: u64) -> bool {
        let at = self.0.partition_point(|(_, last)| *last < n);
        self.0.get(at).is_some_and(|(first, _)| *first <= n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn numbers_that_rise_by_one_are_one_span() {
        let mut numbers = Numbers::default();
        for n in 1..=1000 {
            assert_eq!(numbers.add(n), Place::Next);
        }
        assert_eq!(numbers.0, [(1, 1000)]);
        assert_eq!(numbers.add(1002), Place::After(1000));
        assert_eq!(numbers.add(1001), Place::Earlier);
        assert_eq!(numbers.add(500), Place::Twice);
        assert_eq!(Numbers::default().add(5), Place::After(0));
    }

    proptest! {
        #[test]
        fn it_is_a_set(numbers in prop::collection::vec(0_u64..20, 0..40)) {
            let mut spans = Numbers::default();
            let mut set = BTreeSet::new();
            for n in numbers {
                let highest = set.last().copied().unwrap_or(0);
                let expected = if set.contains(&n) {
                    Place::Twice
                } else if n == highest + 1 || (n == 0 && set.is_empty()) {
                    Place::Next
                } else if n > highest {
                    Place::After(highest)
                } else {
                    Place::Earlier
                };
                prop_assert_eq!(spans.add(n), expected);
                set.insert(n);
            }
            for n in 0..25 {
                prop_assert_eq!(spans.contains(n), set.contains(&n));
            }
        }
    }
}
