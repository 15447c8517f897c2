//! The name that someone probably meant.
//!
//! Layer: settings. Pure.

/// The candidate with the smallest edit distance to `name`, if it is near enough to be
/// a slip of the fingers: a third of the name's length, and at least 2.
pub(super) fn nearest<'a>(
    name: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let limit = (name.chars().count() / 3).max(2);
    candidates
        .into_iter()
        .map(|candidate| (distance(name, candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Edits (insert, remove, change a letter, swap two neighbours) from one name to the
/// other, blind to case and to the difference of `-` and `_`.
pub(crate) fn distance(from: &str, to: &str) -> usize {
    let fold = |text: &str| -> Vec<char> {
        text.chars()
            .map(|c| {
                if c == '-' {
                    '_'
                } else {
                    c.to_ascii_lowercase()
                }
            })
            .collect()
    };
    let (from, to) = (fold(from), fold(to));
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=to.len()).collect();
    for i in 1..=from.len() {
        let mut row = vec![i];
        for j in 1..=to.len() {
            let change = last[j - 1] + usize::from(from[i - 1] != to[j - 1]);
            let mut best = change.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1] {
                best = best.min(before[j - 2] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_its_name_and_a_stranger_does_not() {
        let names = ["chat.model", "chat.system", "limits.memory_mb"];
        assert_eq!(nearest("chat.modle", names), Some("chat.model"));
        assert_eq!(nearest("Chat.Model", names), Some("chat.model"));
        assert_eq!(nearest("limits.memory-mb", names), Some("limits.memory_mb"));
        assert_eq!(nearest("colour", names), None);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("modle", "model"), 1);
    }
}
