//! How a file of a scheduler shows that it is pachat's, and that nobody has edited it since.
//!
//! A line holds `digest SHA256`, of the whole text without these 64 digits. What has no such line
//! is somebody else's; where the digest is not right, a person has been at it. Neither is
//! replaced or removed without being told to.

use crate::model::backup::Hasher;

/// What stands before the digest.
const MARK: &str = "made by `pachat config schedule install`; digest ";
/// Digits of a digest.
const LEN: usize = 64;

/// Whose a text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// pachat's, as it was made.
    Ours,
    /// pachat's, edited since.
    Edited,
    /// Somebody else's.
    Foreign,
}

/// The remark, for the renderers to put into a comment. [`seal`] fills in the digest.
pub(super) fn remark() -> String {
    format!("{MARK}{}", "0".repeat(LEN))
}

/// Fills in the digest of a text that holds [`remark`].
pub(super) fn seal(text: &str) -> String {
    let Some((start, end)) = place(text.as_bytes()) else {
        return text.to_owned();
    };
    let digest = digest(text.as_bytes(), start, end);
    format!("{}{digest}{}", &text[..start], &text[end..])
}

/// Whose a text is.
pub(super) fn owner(text: &[u8]) -> Owner {
    match place(text) {
        None => Owner::Foreign,
        Some((start, end)) if text[start..end] == *digest(text, start, end).as_bytes() => {
            Owner::Ours
        }
        Some(_) => Owner::Edited,
    }
}

fn place(text: &[u8]) -> Option<(usize, usize)> {
    let start = memchr::memmem::find(text, MARK.as_bytes())? + MARK.len();
    let rest = &text[start..];
    let digits = rest.iter().take_while(|byte| byte.is_ascii_hexdigit());
    Some((start, start + digits.take(LEN).count()))
}

fn digest(text: &[u8], start: usize, end: usize) -> String {
    let mut hasher = Hasher::default();
    hasher.update(&text[..start]);
    hasher.update(&text[end..]);
    hasher.finish().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_edit_is_noticed() {
        let text = seal(&format!("# {}\nline\n", remark()));
        assert_eq!(owner(text.as_bytes()), Owner::Ours);
        assert_eq!(owner(b"# my own\n"), Owner::Foreign);
        for at in 0..text.len() {
            let mut edited = text.clone().into_bytes();
            edited[at] ^= 1;
            assert_ne!(owner(&edited), Owner::Ours, "at {at}");
            let cut = &text.as_bytes()[..at];
            assert_ne!(owner(cut), Owner::Ours, "cut at {at}");
        }
        assert_eq!(owner(format!("{text}more\n").as_bytes()), Owner::Edited);
    }
}
