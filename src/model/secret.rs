//! Text that must not be shown: zeroized when dropped, redacted when printed.

use std::fmt;
use zeroize::{Zeroize, Zeroizing};

/// A key, token or pass phrase.
///
/// Invariant: only [`Secret::expose`] gives the text out, so a search for that
/// name finds every place where a secret can leave.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes the text over; the caller's copy is gone.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// Takes over text that is already zeroized when dropped.
    pub fn from_zeroizing(text: Zeroizing<String>) -> Self {
        Self(text)
    }

    /// Takes bytes over; they must be UTF-8. The bytes are zeroized on failure.
    pub fn from_bytes(bytes: Vec<u8>) -> Option<Self> {
        match String::from_utf8(bytes) {
            Ok(text) => Some(Self::new(text)),
            Err(error) => {
                error.into_bytes().zeroize();
                None
            }
        }
    }

    /// The text itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(redacted)")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(redacted)")
    }
}

/// Replaces what looks like a key (`sk-…`), a bearer token, and each of `known`
/// in a text that is about to be logged or shown.
pub fn redact(text: &str, known: &[&Secret]) -> String {
    let mut out = text.to_owned();
    for secret in known {
        let secret = secret.expose();
        // A very short secret would redact ordinary words without hiding much.
        if secret.len() >= 6 {
            out = out.replace(secret, "(redacted)");
        }
    }
    for mark in ["sk-", "Bearer ", "bearer "] {
        out = redact_after(&out, mark);
    }
    out
}

/// Redacts each run of token characters that follows `mark` at a word's start.
fn redact_after(text: &str, mark: &str) -> String {
    const SHORTEST: usize = 12;
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(mark) {
        let (before, found) = rest.split_at(at);
        out.push_str(before);
        let starts_word = !before.ends_with(|c: char| c.is_ascii_alphanumeric());
        let tail = &found[mark.len()..];
        let end = tail
            .find(|c: char| !(c.is_ascii_alphanumeric() || "-_.~+/=".contains(c)))
            .unwrap_or(tail.len());
        out.push_str(mark);
        if starts_word && end >= SHORTEST {
            out.push_str("(redacted)");
        } else {
            out.push_str(&tail[..end]);
        }
        rest = &tail[end..];
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_prints_as_redacted() {
        let secret = Secret::new("hunter2hunter2".into());
        assert_eq!(format!("{secret} {secret:?}"), "(redacted) (redacted)");
    }

    #[test]
    fn keys_and_bearer_tokens_are_taken_out_of_text() {
        let known = Secret::new("local-secret".into());
        let text =
            "key sk-or-v1-0123456789abcdef, Authorization: Bearer abcdefghijklmnop; local-secret.";
        assert_eq!(
            redact(text, &[&known]),
            "key sk-(redacted), Authorization: Bearer (redacted); (redacted)."
        );
    }

    #[test]
    fn ordinary_words_stay() {
        let text = "task-oriented risk-averse sk-1 Bearer of news";
        assert_eq!(redact(text, &[]), text);
    }
}
