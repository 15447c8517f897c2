//! The API key of a run: where it comes from, and whether it can be one.
//!
//! Layer: ops. Resolving may run a command or ask for a pass phrase, so it is called
//! only when a request is about to leave.
//!
//! A key from a file, a command or a variable goes to whatever server is configured: the
//! person who named both meant them together. A sealed key goes to its own origin only.

use std::fmt;
use std::path::{Path, PathBuf};

use zeroize::{Zeroize, Zeroizing};

use crate::model::error::{Error, Kind, Result};
use crate::model::secret::Secret;
use crate::store::keys::{self, Access, Mode};

/// The most that is read of a key file, in bytes.
const LARGEST: u64 = 1 << 16;

/// Where a key may come from, the strongest first.
pub struct Sources<'a> {
    /// A file that holds the key and nothing else.
    pub file: Option<&'a Path>,
    /// A command that prints the key.
    pub command: Option<&'a str>,
    /// The value of a variable, and the variable's name for messages.
    pub variable: Option<(&'a Secret, String)>,
    /// The file of sealed keys.
    pub store: &'a Path,
    /// Scheme, host and port of the server, such as `https://openrouter.ai`.
    pub origin: &'a str,
    /// The means to read all these.
    pub access: Access<'a>,
}

/// Where a key came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// A file named on the command line.
    File(PathBuf),
    /// The command of `api.key_command`.
    Command,
    /// An environment variable, or one of a `.env` file.
    Variable(String),
    /// The sealed keys.
    Sealed(Mode),
}

impl fmt::Display for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Command => f.write_str("the command of api.key_command"),
            Self::Variable(name) => f.write_str(name),
            Self::Sealed(Mode::Keyfile) => f.write_str("the sealed keys (key file)"),
            Self::Sealed(Mode::Passphrase) => f.write_str("the sealed keys (pass phrase)"),
            Self::Sealed(Mode::Command) => f.write_str("the sealed keys (command)"),
        }
    }
}

/// The source that a key would come from, without reading, running or asking anything
/// but the list of sealed keys.
pub fn source(sources: &Sources<'_>) -> Result<Option<KeySource>> {
    if let Some(path) = sources.file {
        return Ok(Some(KeySource::File(path.to_path_buf())));
    }
    if sources.command.is_some() {
        return Ok(Some(KeySource::Command));
    }
    if let Some((_, name)) = &sources.variable {
        return Ok(Some(KeySource::Variable(name.clone())));
    }
    let store = keys::read(sources.access.disk, sources.store)?;
    Ok(store
        .filter(|store| store.holds(sources.origin))
        .map(|store| KeySource::Sealed(store.mode())))
}

/// The key for a request to the origin; `None` if no source has one.
///
/// A source that is named and does not give a key is an error of kind `Denied`: falling
/// back to a weaker one could send the wrong key.
pub fn resolve(sources: &Sources<'_>) -> Result<Option<(Secret, KeySource)>> {
    if let Some(path) = sources.file {
        let bytes = sources
            .access
            .disk
            .read(path, LARGEST)
            .map_err(|error| Error::io("cannot read the API key", path, &error))?;
        let source = KeySource::File(path.to_path_buf());
        return accept(bytes, source);
    }
    if let Some(command) = sources.command {
        return accept(run(command, sources.access.programs)?, KeySource::Command);
    }
    if let Some((secret, name)) = &sources.variable {
        let source = KeySource::Variable(name.clone());
        return accept(secret.expose().as_bytes().to_vec(), source);
    }
    let Some(store) = keys::read(sources.access.disk, sources.store)? else {
        return Ok(None);
    };
    let source = KeySource::Sealed(store.mode());
    let opened = store.open(sources.origin, &sources.access)?;
    Ok(opened.map(|secret| (secret, source)))
}

fn run(command: &str, programs: &dyn crate::platform::Programs) -> Result<Vec<u8>> {
    let fail = |why: &str| {
        Error::new(Kind::Denied, "cannot get the API key")
            .why(why)
            .hint("run the command of `pachat config get api.key_command` yourself")
    };
    let mut captured = programs.capture(command, None).map_err(|error| {
        let signal = Error::of_wait(&error);
        signal.unwrap_or_else(|| fail("the command cannot be run").cause(error))
    })?;
    if captured.success {
        Ok(captured.stdout)
    } else {
        captured.stdout.zeroize();
        Err(fail("the command failed"))
    }
}

fn accept(bytes: Vec<u8>, source: KeySource) -> Result<Option<(Secret, KeySource)>> {
    let what = format!("cannot use the API key of {source}");
    match Secret::from_bytes(bytes) {
        Some(text) => normalise(&text, &what).map(|key| Some((key, source))),
        None => Err(Error::new(Kind::Denied, what).why("it is not text")),
    }
}

/// The key without what people paste along: white space, quotes, `Bearer `.
///
/// An empty key, and one with control or non-ASCII characters, which no request header
/// can carry, is an error of kind `Denied` that begins with `what` and repeats nothing.
pub fn normalise(text: &Secret, what: &str) -> Result<Secret> {
    let mut key = text.expose();
    loop {
        let before = key;
        key = key.trim();
        for quote in ['"', '\'', '`'] {
            if key.len() >= 2 && key.starts_with(quote) && key.ends_with(quote) {
                key = &key[1..key.len() - 1];
            }
        }
        if let Some((word, rest)) = key.split_once(' ')
            && word.eq_ignore_ascii_case("bearer")
        {
            key = rest;
        } else if key.eq_ignore_ascii_case("bearer") {
            key = "";
        }
        if key == before {
            break;
        }
    }
    let refuse = |why: &str| {
        Err(Error::new(Kind::Denied, what)
            .why(why)
            .hint("copy the key again, whole and alone"))
    };
    if key.is_empty() {
        refuse("it is empty")
    } else if key.contains(char::is_whitespace) {
        refuse("it has a space or a line feed in it")
    } else if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        refuse("it has a character in it that no key has")
    } else {
        Ok(Secret::from_zeroizing(Zeroizing::new(key.to_owned())))
    }
}

/// What is odd about a key for OpenRouter; `None` if it looks like one. Keys of other
/// servers have no known form.
pub fn doubt(key: &Secret) -> Option<String> {
    const PREFIX: &str = "sk-or-v1-";
    const DIGITS: usize = 64;
    let Some(digits) = key.expose().strip_prefix(PREFIX) else {
        return Some(format!(
            "the key does not begin with {PREFIX}, as OpenRouter's do"
        ));
    };
    let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if digits.len() == DIGITS && digits.bytes().all(is_hex) {
        None
    } else {
        Some(format!(
            "the key has {} characters after {PREFIX} and OpenRouter's have {DIGITS} of 0-9 and a-f; \
             it may have been cut when copied",
            digits.len()
        ))
    }
}

/// A key as it may be shown: the prefix that all of its kind share, and the last four
/// characters; of a short key, nothing.
pub fn mask(key: &Secret) -> String {
    const LONG_ENOUGH: usize = 24;
    let text = key.expose();
    let prefix = ["sk-or-v1-", "sk-"]
        .into_iter()
        .find(|prefix| text.starts_with(prefix))
        .unwrap_or_default();
    // A key is ASCII; the check keeps the cut safe for any other text, too.
    if text.len() < LONG_ENOUGH || !text.is_ascii() {
        return "...".into();
    }
    format!("{prefix}...{}", &text[text.len() - 4..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::new(text.to_owned())
    }

    #[test]
    fn what_is_pasted_along_goes() {
        for text in [
            "sk-or-v1-abc",
            "  sk-or-v1-abc\r\n",
            "\"sk-or-v1-abc\"",
            "Bearer sk-or-v1-abc",
            "'bearer sk-or-v1-abc' ",
        ] {
            let key = normalise(&secret(text), "cannot use it").unwrap();
            assert_eq!(key.expose(), "sk-or-v1-abc", "{text:?}");
        }
    }

    #[test]
    fn what_no_header_carries_is_refused_and_not_repeated() {
        for text in [
            "",
            "  ",
            "\"\"",
            "Bearer ",
            "sk-hid\u{7}den",
            "sk-hidden\nsk-x",
            "sk-hiddén",
            "a b",
        ] {
            let error = normalise(&secret(text), "cannot use it").unwrap_err();
            assert_eq!(error.kind(), Kind::Denied, "{text:?}");
            assert!(!error.headline().contains("hid"), "{}", error.headline());
        }
    }

    #[test]
    fn a_cut_key_is_doubted() {
        let whole = format!("sk-or-v1-{}", "0123456789abcdef".repeat(4));
        assert_eq!(doubt(&secret(&whole)), None);
        assert!(doubt(&secret(&whole[..60])).is_some());
        assert!(doubt(&secret("sk-proj-1")).is_some());
    }

    #[test]
    fn a_mask_shows_four_characters_at_most() {
        let whole = format!("sk-or-v1-{}wxyz", "0123456789abcdef".repeat(4));
        assert_eq!(mask(&secret(&whole)), "sk-or-v1-...wxyz");
        assert_eq!(mask(&secret("short-key")), "...");
        assert_eq!(mask(&secret("abcdefghijklmnopqrstuvwxyz")), "...wxyz");
    }
}
