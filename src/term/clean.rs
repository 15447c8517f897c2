//! Text from outside, made safe for a terminal.
//!
//! A reply, a title, a file name or an error body may hold escape sequences that move
//! the cursor, retitle the window, write to the clipboard or reverse the reading
//! direction. On a terminal they are taken out; in a pipe, bytes stay exact.

/// Takes control characters, escape sequences and bidirectional overrides out of a
/// text that may arrive in pieces, cut anywhere.
///
/// Invariant: feeding a text in any split gives the same output as feeding it whole.
#[derive(Clone, Debug, Default)]
pub struct Cleaner {
    state: State,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Ordinary text.
    #[default]
    Text,
    /// After ESC.
    Escape,
    /// After ESC and an intermediate byte (0x20 to 0x2f): one more byte ends it.
    Intermediate,
    /// In a control sequence (CSI), until a byte from 0x40 to 0x7e.
    Control,
    /// In a string (OSC, DCS, SOS, PM, APC), until BEL or ST.
    String,
    /// In a string, after ESC.
    StringEscape,
}

#[expect(
    clippy::match_same_arms,
    reason = "a transition a line, state by state"
)]
impl Cleaner {
    /// Appends the harmless part of `text` to `out`.
    pub fn feed(&mut self, text: &str, out: &mut String) {
        for character in text.chars() {
            self.state = match (self.state, character) {
                (State::Text, '\u{1b}') => State::Escape,
                (State::Text, '\u{9b}') => State::Control,
                (State::Text, '\u{90}' | '\u{98}' | '\u{9d}'..='\u{9f}') => State::String,
                (State::Text, character) => {
                    if is_harmless(character) {
                        out.push(character);
                    }
                    State::Text
                }
                (State::Escape, '[') => State::Control,
                (State::Escape, ']' | 'P' | 'X' | '^' | '_') => State::String,
                (State::Escape | State::Intermediate, ' '..='/') => State::Intermediate,
                (State::Control, '\u{20}'..='\u{3f}') => State::Control,
                (State::String, '\u{7}' | '\u{9c}') => State::Text,
                (State::String, '\u{1b}') => State::StringEscape,
                // A string that never ends must not swallow the rest of a reply: real ones
                // have no line feed in them.
                (State::String | State::Control | State::Escape | State::Intermediate, '\n') => {
                    out.push('\n');
                    State::Text
                }
                (State::String, _) => State::String,
                (State::StringEscape, '\\') => State::Text,
                (State::StringEscape | State::Control | State::Escape, '\u{1b}') => State::Escape,
                (State::StringEscape, '\n') => {
                    out.push('\n');
                    State::Text
                }
                (State::StringEscape, _) => State::String,
                (State::Escape | State::Intermediate | State::Control, _) => State::Text,
            };
        }
    }
}

/// Whether a character can only be seen, and neither controls nor reorders.
#[expect(clippy::match_same_arms, reason = "kinds of characters stand apart")]
fn is_harmless(character: char) -> bool {
    match character {
        '\n' | '\t' => true,
        // Embeddings, overrides and isolates reorder what follows them; the line and
        // paragraph separators break tables.
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}' => false,
        '\u{200e}' | '\u{200f}' | '\u{61c}' => false,
        _ => !character.is_control(),
    }
}

/// A whole text, cleaned; line feeds and tabs stay.
pub fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    Cleaner::default().feed(text, &mut out);
    out
}

/// A text cleaned for a single line: line feeds and tabs become spaces.
pub fn clean_line(text: &str) -> String {
    clean(text).replace(['\n', '\t'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sequences_go_and_text_stays() {
        for (dirty, pure) in [
            ("plain é 日本 🙂\n\tok", "plain é 日本 🙂\n\tok"),
            ("a\x1b[31mred\x1b[0mb", "aredb"),
            ("a\x1b]0;title\x07b", "ab"),
            ("a\x1b]52;c;aGk=\x1b\\b", "ab"),
            ("a\x1bPq#0\x1b\\b", "ab"),
            ("a\u{9b}31mb\u{9d}0;x\u{9c}c", "abc"),
            ("a\rb\x08c\x07d\0e\x7f", "abcde"),
            ("a\x1b(Bb\x1bcc", "abc"),
            ("\u{202e}txt.exe\u{2066}", "txt.exe"),
            ("never ends \x1b]0;oops\nnext", "never ends \nnext"),
            ("\x1b\x1b[1mx", "x"),
        ] {
            assert_eq!(clean(dirty), pure, "{dirty:?}");
        }
        assert_eq!(clean_line("a\nb\tc"), "a b c");
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same(text in "[\\x00-\\x7f\\u{80}-\\u{9f}\\u{202a}-\\u{202e}é🙂]{0,40}", cut in 0usize..40) {
            let characters: Vec<char> = text.chars().collect();
            let cut = cut.min(characters.len());
            let mut cleaner = Cleaner::default();
            let mut out = String::new();
            cleaner.feed(&characters[..cut].iter().collect::<String>(), &mut out);
            cleaner.feed(&characters[cut..].iter().collect::<String>(), &mut out);
            prop_assert_eq!(&out, &clean(&text));
            prop_assert!(out.chars().all(is_harmless));
        }
    }
}
