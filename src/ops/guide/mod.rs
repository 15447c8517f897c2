//! `builtin/guide`: a model of nobody's language, which answers questions about
//! pachat with sections of its manual.
//!
//! Layer: `ops`; it knows nothing of where the manual comes from. Promises: it is
//! offline, answers the same question always the same way, and never pretends to be
//! a language model. It goes through the same turn, streaming and storage as a
//! model on a server, because it is a [`ReplyStream`].

mod excerpt;
mod ranking;
mod words;

use std::fmt::Write as _;
use std::time::Duration;

use crate::model::reply::{Delta, Finish, Identity, Progress, ReplyStream, State};
use excerpt::shorten;
use ranking::{Hit, Index};

/// The name of the model.
pub const MODEL: &str = "builtin/guide";

/// A section of the manual.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Section {
    /// What it is about, phrased as people ask for it.
    pub title: String,
    /// The text, as Markdown.
    pub body: String,
    /// The manual page it stands in, such as `pachat-send(1)`.
    pub page: String,
    /// The command to type, if there is one.
    pub command: Option<String>,
    /// Further words that people use when they mean this section; never shown.
    pub keywords: String,
}

/// How much of a question a section must have words for. Below, the question is
/// about something else.
const COVERED: f32 = 0.5;
/// Only a section at least this good compared with the best is worth a look.
const RELATED: f32 = 0.35;
/// The most "see also" lines.
const SEE_ALSO: usize = 3;
/// About as many bytes as one word group has.
const GROUP: usize = 24;

/// The manual, ready to be asked.
pub struct Guide {
    sections: Vec<Section>,
    index: Index,
}

impl Guide {
    /// A guide to these sections.
    pub fn new(sections: impl IntoIterator<Item = Section>) -> Self {
        let sections: Vec<Section> = sections.into_iter().collect();
        let index = Index::new(&sections);
        Self { sections, index }
    }

    /// Answers the last thing a person said.
    pub fn answer(&self, question: &str) -> GuideReply {
        GuideReply::new(self.text(question))
    }

    /// The sections that answer a question, best first; empty if none does.
    pub fn find(&self, question: &str) -> Vec<&Section> {
        self.hits(question)
            .iter()
            .map(|hit| &self.sections[hit.section])
            .collect()
    }

    fn hits(&self, question: &str) -> Vec<Hit> {
        let mut hits = self.index.search(question);
        let Some(best) = hits.first().copied() else {
            return hits;
        };
        if best.covered < COVERED || !best.named {
            hits.clear();
        }
        hits.retain(|hit| hit.score >= best.score * RELATED);
        hits.truncate(1 + SEE_ALSO);
        hits
    }

    fn text(&self, question: &str) -> String {
        if is_small_talk(question) {
            return GREETING.to_owned();
        }
        let found = self.find(question);
        let Some((best, others)) = found.split_first() else {
            return NOTHING_FOUND.to_owned();
        };
        let mut answer = format!("## {}\n\n{}\n", best.title, shorten(best, question));
        if let Some(command) = &best.command
            && !answer
                .lines()
                .any(|line| line.starts_with(command.as_str()))
        {
            let _ = writeln!(answer, "\n```sh\n{command}\n```");
        }
        if !others.is_empty() {
            answer.push_str("\nSee also:\n\n");
        }
        for section in others {
            match &section.command {
                Some(command) => {
                    let _ = writeln!(answer, "- {}: `{command}`", section.title);
                }
                None => {
                    let _ = writeln!(answer, "- {}: {}", section.title, section.page);
                }
            }
        }
        answer
    }
}

const GREETING: &str = "\
Hello. I am `builtin/guide`, pachat's manual: a search over its pages, not a language model. \
I work offline and know nothing but pachat. Ask me, for instance:

- how do I connect to OpenRouter?
- how do I use Ollama?
- where are my files?
- why is my reply cut?
- what does exit code 76 mean?

To talk with a language model, give pachat a key and ask without `-m`:

```sh
pachat config key set
```
";

const NOTHING_FOUND: &str = "\
I have no page about that. I am `builtin/guide`, pachat's offline manual: a search over its pages, \
not a language model. I can answer questions about pachat itself: commands and options, connecting \
to a server, settings and keys, where files are and how to read them, exit codes, incomplete \
replies, backups.

To ask a language model, connect one. With a key for OpenRouter:

```sh
pachat config key set
```

Or with a server on this machine, such as Ollama, which needs no key:

```sh
pachat config set api.base_url http://localhost:11434/v1
```
";

/// Whether nobody asked anything: greetings, thanks, and questions about the guide.
fn is_small_talk(question: &str) -> bool {
    const ADDRESS: &[&str] = &[
        "hello", "hey", "hi", "thank", "thanks", "you", "your", "yourself", "morning", "evening",
        "bye",
    ];
    const FILLER: &[&str] = &[
        "a",
        "ai",
        "an",
        "are",
        "bot",
        "bye",
        "can",
        "chatbot",
        "chatgpt",
        "claude",
        "do",
        "evening",
        "everyone",
        "for",
        "good",
        "gpt",
        "guide",
        "hello",
        "help",
        "hey",
        "hi",
        "how",
        "human",
        "i",
        "introduce",
        "is",
        "language",
        "llm",
        "made",
        "me",
        "model",
        "morning",
        "much",
        "my",
        "name",
        "pachat",
        "person",
        "real",
        "so",
        "thank",
        "thanks",
        "the",
        "there",
        "very",
        "what",
        "who",
        "with",
        "world",
        "you",
        "your",
        "yourself",
    ];
    let lower = question.to_lowercase();
    let words: Vec<&str> = lower
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .collect();
    let addressed = words.iter().any(|word| ADDRESS.contains(word)) || lower.trim() == "help";
    words.is_empty() || (addressed && words.iter().all(|word| FILLER.contains(word)))
}

/// An answer of the guide, handed out in word groups.
///
/// Nothing is delayed on purpose: each call returns the next group at once.
pub struct GuideReply {
    text: String,
    at: usize,
    identity: Identity,
}

impl GuideReply {
    fn new(text: String) -> Self {
        Self {
            text,
            at: 0,
            identity: Identity {
                model: Some(MODEL.to_owned()),
                ..Identity::default()
            },
        }
    }
}

impl ReplyStream for GuideReply {
    fn next(&mut self, _patience: Duration) -> Progress {
        let rest = &self.text[self.at..];
        if rest.is_empty() {
            let mut finish = Finish::new(State::Complete);
            finish.finish_reason = Some("stop".into());
            return Progress::Done(Box::new(finish));
        }
        // Up to the first white space behind a group's worth of text; that is a character
        // boundary, because a space is.
        let end = rest
            .char_indices()
            .skip_while(|(at, _)| *at < GROUP)
            .find(|(_, character)| character.is_whitespace())
            .map_or(rest.len(), |(at, character)| at + character.len_utf8());
        let group = rest[..end].to_owned();
        self.at += end;
        Progress::Delta(Delta {
            text: group,
            reasoning: String::new(),
        })
    }

    fn identity(&self) -> &Identity {
        &self.identity
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guide() -> Guide {
        Guide::new([
            Section {
                title: "Why is my reply cut?".into(),
                body: "Because of a limit.".into(),
                page: "pachat-guide(7)".into(),
                command: Some("pachat send -c 'go on'".into()),
                keywords: String::new(),
            },
            Section {
                title: "Where are my files?".into(),
                body: "In the data directory.".into(),
                page: "pachat-guide(7)".into(),
                ..Section::default()
            },
        ])
    }

    fn read(mut reply: GuideReply) -> (String, usize) {
        let mut text = String::new();
        let mut pieces = 0;
        loop {
            match reply.next(Duration::ZERO) {
                Progress::Delta(delta) => {
                    assert!(!delta.is_empty());
                    text.push_str(&delta.text);
                    pieces += 1;
                }
                Progress::Done(finish) => {
                    assert_eq!(finish.state, State::Complete);
                    assert!(finish.error.is_none());
                    return (text, pieces);
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn an_answer_streams_and_carries_the_command() {
        let reply = guide().answer("my replies are truncated, why?");
        assert_eq!(reply.identity().model.as_deref(), Some(MODEL));
        let (text, pieces) = read(reply);
        assert_eq!(
            text,
            "## Why is my reply cut?\n\nBecause of a limit.\n\n```sh\npachat send -c 'go on'\n```\n"
        );
        assert!(pieces > 2);
    }

    #[test]
    fn what_it_does_not_know_it_says() {
        for question in ["what is the capital of France?", "¿qué?", "日本語", "zzz"] {
            let (text, _) = read(guide().answer(question));
            assert!(text.contains("not a language model"), "{question}: {text}");
            assert!(text.contains("pachat config key set"));
        }
    }

    #[test]
    fn small_talk_is_answered_as_what_it_is() {
        for question in [
            "hello",
            "Hi there!",
            "who are you?",
            "are you an AI?",
            "thanks",
            "help",
            "",
            "?",
        ] {
            assert!(is_small_talk(question), "{question}");
            let (text, _) = read(guide().answer(question));
            assert!(text.contains("not a language model"), "{question}");
        }
        for question in [
            "how do I use ollama",
            "what model is the default",
            "where are my files?",
        ] {
            assert!(!is_small_talk(question), "{question}");
        }
    }
}
