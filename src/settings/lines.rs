//! On which line of a JSON text each key stands.
//!
//! Layer: settings. `serde_json` says where a text stops being JSON, but a value that
//! is well-formed and wrong has no position any more; this finds it again, for messages.

/// A key of a JSON text: its path, such as `chat.model`, and its line, from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The keys from the top, joined by dots.
    pub(super) path: String,
    /// The line, counted from 1.
    pub(super) line: usize,
}

/// Every key of every object outside arrays, in order of appearance.
///
/// The text must be valid JSON. On any other the result is harmless but meaningless.
pub(super) fn keys(text: &str) -> Vec<Place> {
    let mut places = Vec::new();
    let mut path: Vec<String> = Vec::new();
    let mut arrays = 0usize;
    let mut line = 1;
    // The last string seen, and the line it began on: a key if a colon follows.
    let mut last: Option<(String, usize)> = None;
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'\n' => line += 1,
            b'"' => {
                let end = string_end(bytes, at);
                let decoded = serde_json::from_str::<String>(&text[at..end]);
                last = decoded.ok().map(|key| (key, line));
                at = end;
                continue;
            }
            b':' if arrays == 0 => {
                if let Some((key, line)) = last.take() {
                    path.push(key);
                    places.push(Place {
                        path: path.join("."),
                        line,
                    });
                }
            }
            // Invariant: outside arrays `path` holds the keys whose value is being read.
            b',' if arrays == 0 => {
                path.pop();
            }
            // The key of the last member, unless the object was empty.
            b'}' if arrays == 0 && !is_empty_object(bytes, at) => {
                path.pop();
            }
            b'[' => arrays += 1,
            b']' => arrays = arrays.saturating_sub(1),
            _ => {}
        }
        at += 1;
    }
    places
}

/// The index after the closing quote of the string that starts at `start`.
fn string_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// Whether the object closed at `close` has no members.
fn is_empty_object(bytes: &[u8], close: usize) -> bool {
    bytes[..close]
        .iter()
        .rev()
        .find(|byte| !byte.is_ascii_whitespace())
        .is_some_and(|byte| *byte == b'{')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_their_lines() {
        let text = "{\n \"a\": {\"b\": 1,\n  \"c\": {}, \"d\": [{\"x\": 1}, \":\"]},\n\
                    \"e\\\"f\": \"{,:\",\n \"g\": {\n }, \"h\": null}";
        let found: Vec<(String, usize)> = keys(text)
            .into_iter()
            .map(|place| (place.path, place.line))
            .collect();
        let expected = [
            ("a", 2),
            ("a.b", 2),
            ("a.c", 3),
            ("a.d", 3),
            ("e\"f", 4),
            ("g", 5),
            ("h", 6),
        ];
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for ((path, line), (expected_path, expected_line)) in found.iter().zip(expected) {
            assert_eq!((path.as_str(), *line), (expected_path, expected_line));
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[\\[\\]{}\",:\\\\a\n ]{0,60}") {
            keys(&text);
        }
    }
}
