//! Recipients and identities as people write them.

use crate::model::error::{Error, Kind, Result};
use crate::model::secret::Secret;

use super::{Seal, WORK, secret_string};

/// Those who can open, as the age crate knows them.
pub(super) fn recipients(seal: &Seal) -> Result<Vec<Box<dyn age::Recipient>>> {
    let usage = |why: &str| Err(Error::new(Kind::Usage, "cannot encrypt the backup").why(why));
    match seal {
        Seal::Recipients(texts) if texts.is_empty() => {
            usage("there is no recipient who could open it")
        }
        Seal::Recipients(texts) => texts
            .iter()
            .map(|text| recipient(text).map(|recipient| Box::new(recipient) as _))
            .collect(),
        Seal::Passphrase(secret) if secret.expose().is_empty() => usage("the pass phrase is empty"),
        Seal::Passphrase(secret) => {
            let mut recipient = age::scrypt::Recipient::new(secret_string(secret));
            recipient.set_work_factor(WORK);
            Ok(vec![Box::new(recipient)])
        }
    }
}

/// An `age1…` recipient.
pub(super) fn recipient(text: &str) -> Result<age::x25519::Recipient> {
    let text = text.trim();
    if let Ok(recipient) = text.parse() {
        return Ok(recipient);
    }
    let lower = text.to_ascii_lowercase();
    if lower.starts_with("age-secret-key-") {
        // Not shown: whoever sees it can open everything.
        return Err(
            Error::new(Kind::Usage, "this is no recipient: it is a secret identity").hint(
                "name its recipient, which begins with `age1`: `age-keygen -y FILE` shows it",
            ),
        );
    }
    let why = if lower.starts_with("ssh-") {
        "keys of SSH are not supported"
    } else if lower.starts_with("age1") && lower.rfind('1') != Some("age".len()) {
        "recipients of plugins and post-quantum recipients are not supported"
    } else if lower.starts_with("age1") {
        "a character is wrong or missing"
    } else {
        "it does not begin with `age1`"
    };
    let shown: String = text.chars().take(80).flat_map(char::escape_debug).collect();
    Err(
        Error::new(Kind::Usage, format!("`{shown}` is no recipient"))
            .why(why)
            .hint(
                "`pachat backup keygen` makes an identity and shows its recipient, which begins with `age1`",
            ),
    )
}

/// The identities of an identity file. An error names the line, never what is in it.
pub(super) fn identities(file: &Secret) -> Result<Vec<age::x25519::Identity>> {
    let mut found = Vec::new();
    for (number, line) in file.expose().lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match line.parse() {
            Ok(identity) => found.push(identity),
            Err(_) => return Err(no_identity(line, number + 1)),
        }
    }
    if found.is_empty() {
        return Err(malformed("there is no identity in it"));
    }
    Ok(found)
}

fn no_identity(line: &str, number: usize) -> Error {
    let why = if line.starts_with("AGE-PLUGIN-") {
        "identities of plugins are not supported"
    } else if line.starts_with("AGE-SECRET-KEY-PQ-") {
        "post-quantum identities are not supported"
    } else if line.starts_with("-----BEGIN AGE") || line.starts_with("age-encryption.org/") {
        "it is itself encrypted: open it with `age -d` first"
    } else if line.starts_with("-----BEGIN") {
        "keys of SSH are not supported"
    } else if line.starts_with("age1") {
        "a recipient only encrypts; an identity opens"
    } else {
        "it is not an identity"
    };
    malformed(&format!("line {number}: {why}"))
}

fn malformed(why: &str) -> Error {
    Error::new(Kind::Malformed, "the identity file cannot be used")
        .why(why)
        .hint("an identity is a line that begins with `AGE-SECRET-KEY-1`, as `age-keygen` makes it")
}

#[cfg(test)]
mod tests {
    use super::super::generate;
    use super::*;

    fn why(error: &Error) -> String {
        assert!(error.hint_text().is_some(), "{error:?}");
        error.headline()
    }

    #[test]
    fn a_recipient_that_cannot_be_used_says_why() {
        let (secret, good) = generate();
        recipient(&good).unwrap();
        recipient(&format!(" {good}\n")).unwrap();
        for (text, word) in [
            (&good[..good.len() - 1], "wrong or missing"),
            ("ssh-ed25519 AAAAC3Nza someone@host", "SSH"),
            (
                "age1yubikey1qwt50d05nh5vutpdzmlg5wn80xq5negm4uj9ghv0snvdd3yysf5yw3rhl3t",
                "plugins",
            ),
            ("someone@example.org", "does not begin"),
            ("", "does not begin"),
        ] {
            let error = recipient(text).map(drop).unwrap_err();
            assert_eq!(error.kind(), Kind::Usage);
            assert!(why(&error).contains(word), "{error}");
        }
        let error = recipient(secret.expose()).map(drop).unwrap_err();
        assert!(why(&error).contains("secret identity"), "{error}");
        assert!(!error.headline().contains(secret.expose()));
    }

    #[test]
    fn identity_files_have_comments_and_blank_lines() {
        let (one, _) = generate();
        let (two, _) = generate();
        let text = format!(
            "# created: today\r\n\n{}\r\n  {}",
            one.expose(),
            two.expose()
        );
        assert_eq!(
            identities(&Secret::new(text))
                .map(|found| found.len())
                .unwrap(),
            2
        );
    }

    #[test]
    fn what_is_no_identity_is_named_by_its_line_and_never_shown() {
        let (_, recipient) = generate();
        for (line, word) in [
            ("AGE-PLUGIN-YUBIKEY-1QQ", "line 2: identities of plugins"),
            ("AGE-SECRET-KEY-PQ-1QQ", "post-quantum"),
            ("-----BEGIN OPENSSH PRIVATE KEY-----", "SSH"),
            ("-----BEGIN AGE ENCRYPTED FILE-----", "age -d"),
            ("age-encryption.org/v1", "age -d"),
            (&recipient, "a recipient only encrypts"),
            ("hunter2", "not an identity"),
        ] {
            let error = identities(&Secret::new(format!("# x\n{line}\n")))
                .map(drop)
                .unwrap_err();
            assert_eq!(error.kind(), Kind::Malformed);
            assert!(why(&error).contains(word), "{error}");
            assert!(!error.headline().contains("hunter2"));
        }
        let error = identities(&Secret::new("# nothing\n".into()))
            .map(drop)
            .unwrap_err();
        assert!(why(&error).contains("no identity"), "{error}");
    }
}
