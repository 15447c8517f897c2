//! From a question to the words that a search compares: lower case, without stop
//! words and endings, with the other words people use for the same thing.
//!
//! Layer: `ops`. Promises: a text always gives the same terms, whether it is a
//! section of the manual or a question about it.

/// Words that say nothing about what is asked.
const STOP_WORDS: &[&str] = &[
    "a", "about", "after", "again", "all", "also", "am", "an", "and", "any", "are", "as", "at",
    "be", "been", "but", "by", "can", "could", "d", "did", "do", "does", "don", "for", "from",
    "get", "give", "had", "has", "have", "how", "i", "if", "in", "into", "is", "it", "its", "just",
    "let", "ll", "m", "may", "me", "mean", "my", "need", "of", "on", "one", "or", "our", "pachat",
    "please", "re", "s", "should", "so", "some", "t", "tell", "than", "that", "the", "their",
    "them", "then", "there", "these", "they", "this", "those", "to", "too", "up", "ve", "want",
    "was", "we", "were", "what", "when", "which", "while", "who", "why", "will", "with", "would",
    "you", "your",
];

/// Words that mean the same to someone with a question.
const SYNONYMS: &[&[&str]] = &[
    &[
        "cut",
        "truncated",
        "incomplete",
        "unfinished",
        "partial",
        "half",
        "stopped",
    ],
    &["delete", "remove", "erase", "trash", "wipe", "discard"],
    &["key", "token", "credential", "apikey"],
    &["folder", "directory", "dir", "location", "path", "where"],
    &["file", "files", "data"],
    &[
        "conversation",
        "chat",
        "history",
        "session",
        "thread",
        "dialogue",
    ],
    &["backup", "back-up", "copy", "snapshot"],
    &["restore", "recover", "unpack"],
    &["encrypted", "encryption", "sealed", "age", "cipher"],
    &[
        "change",
        "set",
        "switch",
        "choose",
        "select",
        "use",
        "pick",
        "different",
        "another",
    ],
    &["default", "standard", "preset"],
    &[
        "error", "fail", "failure", "problem", "broken", "wrong", "crash",
    ],
    &["exit", "status", "return", "code"],
    &["quit", "leave", "exit", "close", "end"],
    &["setting", "configuration", "config", "preference"],
    &[
        "timeout", "time-out", "slow", "hang", "stall", "stuck", "wait", "freeze",
    ],
    &[
        "price",
        "cost",
        "spend",
        "money",
        "usage",
        "expensive",
        "bill",
    ],
    &["resume", "continue", "go-on"],
    &["search", "find", "grep", "look"],
    &["rename", "title", "name"],
    &["password", "passphrase", "phrase"],
    &["script", "pipe", "cron", "automation", "shell"],
    &["install", "build", "compile"],
    &["uninstall", "deinstall"],
    &["certificate", "tls", "ssl", "ca", "https"],
    &["private", "privacy", "telemetry", "tracking", "secret"],
    &["local", "offline", "localhost"],
    &["move", "migrate", "transfer", "another-machine"],
    &["undo", "revert", "rewind", "back"],
    &["retry", "regenerate", "again"],
    &["completion", "autocomplete", "tab"],
    &["colour", "color"],
    &["reply", "answer", "response", "output", "message"],
    &["prompt", "question", "ask"],
    &["machine", "computer", "laptop", "server", "host"],
    &["instruction", "persona", "system"],
    &["export", "save", "download", "print"],
    &["lost", "forgot", "forgotten", "missing"],
    &["format", "structure", "schema"],
    &["connect", "setup", "configure", "start", "begin"],
];

/// How much a synonym counts beside the word itself.
const SYNONYM_WEIGHT: f32 = 0.55;

/// Splits a text into terms.
///
/// A compound such as `--max-tokens` or `api.base_url` gives itself and its parts,
/// so that both the exact name and a half-remembered one find it.
pub(super) fn terms(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for word in text.split(|c: char| !(c.is_alphanumeric() || "-_./'".contains(c))) {
        let dashed = word.starts_with('-');
        let word = word.trim_matches(|c: char| !c.is_alphanumeric());
        if word.is_empty() {
            continue;
        }
        let lower = word.to_lowercase();
        if dashed && lower.len() == 1 {
            found.push(format!("-{word}"));
            continue;
        }
        let mut parts = lower
            .split(|c: char| !c.is_alphanumeric())
            .filter(|part| !part.is_empty())
            .peekable();
        let first = parts.next();
        if parts.peek().is_some() {
            found.push(lower.clone());
        }
        for part in first.into_iter().chain(parts) {
            if STOP_WORDS.binary_search(&part).is_err() {
                found.push(stem(part));
            }
        }
    }
    found
}

/// The other terms that a term may stand for, with the weight of each.
pub(super) fn alternatives(term: &str) -> Vec<(String, f32)> {
    let mut found: Vec<(String, f32)> = vec![(term.to_owned(), 1.0)];
    for group in SYNONYMS {
        let stems: Vec<String> = group.iter().map(|word| stem(word)).collect();
        if !stems.iter().any(|other| other == term) {
            continue;
        }
        for other in stems {
            if !found.iter().any(|(known, _)| *known == other) {
                found.push((other, SYNONYM_WEIGHT));
            }
        }
    }
    found
}

/// Takes English endings off: plural, -ing, -ed, -ly, and a last `e`, so that `delete`,
/// `deleting` and `deleted` meet.
pub(super) fn stem(word: &str) -> String {
    if word.len() <= 3 || !word.is_ascii() || word.bytes().any(|byte| byte.is_ascii_digit()) {
        return word.to_owned();
    }
    let mut root = word;
    let singular;
    if let Some(short) = word.strip_suffix("ies") {
        singular = format!("{short}y");
        root = &singular;
    } else if word.ends_with('s') && !["ss", "us", "is"].iter().any(|end| word.ends_with(end)) {
        root = &word[..word.len() - 1];
    }
    for ending in ["ing", "ed", "ly"] {
        if let Some(short) = root.strip_suffix(ending)
            && short.len() >= 3
            && short.bytes().any(|byte| b"aeiouy".contains(&byte))
        {
            return undouble(short).trim_end_matches('e').to_owned();
        }
    }
    if root.len() > 3 {
        root = root.strip_suffix('e').unwrap_or(root);
    }
    root.to_owned()
}

/// `stopp` to `stop`; `call` and `pass` keep theirs in every form.
fn undouble(word: &str) -> &str {
    let bytes = word.as_bytes();
    match bytes {
        [.., one, two] if one == two && !b"aeiouls".contains(one) => &word[..word.len() - 1],
        _ => word,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stop_words_are_sorted() {
        assert!(STOP_WORDS.is_sorted());
    }

    #[test]
    fn forms_of_a_word_meet() {
        for forms in [
            ["delete", "deleting", "deleted", "deletes"].as_slice(),
            &["stop", "stopping", "stopped", "stops"],
            &["reply", "replies"],
            &["backup", "backups"],
            &["truncate", "truncated", "truncates"],
            &["call", "calling", "called"],
        ] {
            let stems: Vec<String> = forms.iter().map(|form| stem(form)).collect();
            for (form, found) in forms.iter().zip(&stems) {
                assert_eq!(*found, stems[0], "{form}");
            }
        }
    }

    #[test]
    fn compounds_give_themselves_and_their_parts() {
        assert_eq!(
            terms("What does --max-tokens do?"),
            ["max-tokens", "max", "token"]
        );
        assert_eq!(terms("the -c option"), ["-c", "option"]);
        assert_eq!(
            terms("it's master.key"),
            ["it's", "master.key", "master", "key"]
        );
    }
}
