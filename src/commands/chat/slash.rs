//! The commands inside a chat: what they are called, and what was typed.

use std::fmt::Write as _;

/// A slash command: its name, what may follow, what it does.
pub(super) struct Slash {
    pub(super) name: &'static str,
    pub(super) argument: &'static str,
    pub(super) help: &'static str,
}

/// Every slash command, in the order of `/help`.
pub(super) const ALL: [Slash; 13] = [
    Slash {
        name: "/help",
        argument: "",
        help: "show this",
    },
    Slash {
        name: "/new",
        argument: "[TITLE]",
        help: "begin a new conversation",
    },
    Slash {
        name: "/open",
        argument: "ID",
        help: "go on with another conversation",
    },
    Slash {
        name: "/list",
        argument: "[TEXT]",
        help: "show recent conversations, or those that contain TEXT",
    },
    Slash {
        name: "/model",
        argument: "[MODEL]",
        help: "show the model, or ask another one from here on",
    },
    Slash {
        name: "/system",
        argument: "[TEXT]",
        help: "show the instructions, or give others (`/system -` for none)",
    },
    Slash {
        name: "/title",
        argument: "[TEXT]",
        help: "show the title, or change it",
    },
    Slash {
        name: "/undo",
        argument: "",
        help: "take back the last prompt and its reply",
    },
    Slash {
        name: "/retry",
        argument: "",
        help: "ask the last prompt again",
    },
    Slash {
        name: "/keep",
        argument: "",
        help: "send the interrupted replies along as context from here on",
    },
    Slash {
        name: "/save",
        argument: "FILE",
        help: "write the conversation to FILE as Markdown",
    },
    Slash {
        name: "/usage",
        argument: "",
        help: "show tokens and cost of this conversation",
    },
    Slash {
        name: "/exit",
        argument: "",
        help: "leave (also Ctrl-D)",
    },
];

/// What a line means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Meaning<'a> {
    /// Something for the model.
    Prompt(&'a str),
    /// A slash command and what follows it.
    Command(&'static str, &'a str),
    /// Begins like a slash command and is none; the nearest one, if any is near.
    Unknown(&'a str, Option<&'static str>),
}

/// Tells commands from prompts. A path such as `/etc/hosts` and a comment such as `//` are
/// prompts; an unambiguous beginning of a command's name is enough.
pub(super) fn read(line: &str) -> Meaning<'_> {
    let trimmed = line.trim();
    let (word, rest) = match trimmed.split_once(char::is_whitespace) {
        Some((word, rest)) => (word, rest.trim()),
        None => (trimmed, ""),
    };
    let is_word = word.len() > 1
        && word.starts_with('/')
        && word[1..]
            .chars()
            .all(|character| character.is_ascii_alphabetic());
    if !is_word {
        return Meaning::Prompt(line);
    }
    if word == "/quit" {
        return Meaning::Command("/exit", rest);
    }
    let mut matching = ALL.iter().filter(|slash| slash.name.starts_with(word));
    match (matching.next(), matching.next()) {
        (Some(slash), None) => Meaning::Command(slash.name, rest),
        // `/new` and the like are exact, although nothing longer begins with them.
        (Some(first), Some(_)) => match ALL.iter().find(|slash| slash.name == word) {
            Some(exact) => Meaning::Command(exact.name, rest),
            None => Meaning::Unknown(word, Some(first.name)),
        },
        _ => Meaning::Unknown(word, nearest(word)),
    }
}

/// The command whose name shares the most leading characters, if more than the slash.
fn nearest(word: &str) -> Option<&'static str> {
    let shared = |name: &str| {
        name.bytes()
            .zip(word.bytes())
            .take_while(|(a, b)| a == b)
            .count()
    };
    ALL.iter()
        .map(|slash| slash.name)
        .max_by_key(|name| shared(name))
        .filter(|name| shared(name) > 1)
}

/// The text of `/help`.
pub(super) fn help() -> String {
    let mut out = String::new();
    for slash in &ALL {
        let usage = format!("{} {}", slash.name, slash.argument);
        let _ = writeln!(out, "  {usage:<18}{}", slash.help);
    }
    out.push_str(
        "\n  Ctrl-C stops a reply and keeps what has arrived; Ctrl-D leaves.\n  \
        A line that ends in \\ goes on in the next one, and so does Alt-Enter.\n  \
        Up and Ctrl-R bring back earlier prompts; one that begins with a space is not kept.\n  \
        Tab completes commands, models and conversations; a part of the name is enough.\n",
    );
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_told_from_prompts() {
        assert_eq!(read("/model a/b"), Meaning::Command("/model", "a/b"));
        assert_eq!(read(" /m a/b "), Meaning::Command("/model", "a/b"));
        assert_eq!(read("/quit"), Meaning::Command("/exit", ""));
        assert_eq!(read("/modle x"), Meaning::Unknown("/modle", Some("/model")));
        assert_eq!(read("/zzz"), Meaning::Unknown("/zzz", None));
        assert_eq!(read("/s"), Meaning::Unknown("/s", Some("/system")));
        for prompt in [
            "hello",
            "/etc/hosts is broken",
            "// a comment",
            "/",
            "/* c */",
            "a\n/help",
        ] {
            assert_eq!(read(prompt), Meaning::Prompt(prompt));
        }
    }
}
