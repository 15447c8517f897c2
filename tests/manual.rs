//! The guide answers what people ask, and every command that the manual, the help
//! texts and the README show can be typed.
#![allow(clippy::unwrap_used, reason = "a failed test is allowed to panic")]

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use clap::Parser;
use pachat::cli::Cli;
use pachat::manual;
use pachat::model::reply::{Progress, ReplyStream};
use pachat::ops::guide::Guide;
use pachat::settings::{Fallback, TABLE};

/// Questions as people type them, and the section that answers each.
const QUESTIONS: &[(&str, &str)] = &[
    (
        "is everything working?",
        "How do I check that everything works?",
    ),
    ("health check", "How do I check that everything works?"),
    (
        "why can I not connect to the server",
        "Why can pachat not talk to the server?",
    ),
    ("certificate expired", "I get a certificate error"),
    (
        "prometheus metrics",
        "How do I monitor pachat with Prometheus or Nagios?",
    ),
    (
        "check my files for corruption",
        "How do I check my files and settings?",
    ),
    ("archive old conversations", "How do I clean up?"),
    ("free disk space", "How do I clean up?"),
    ("delete a conversation", "How do I delete a conversation?"),
    ("undelete from the trash", "How do I delete a conversation?"),
    (
        "systemd timer",
        "How do I run backup, cleanup and health by themselves?",
    ),
    (
        "run maintenance automatically",
        "How do I run backup, cleanup and health by themselves?",
    ),
    (
        "too many conversations",
        "What are the limits, and what happens at them?",
    ),
    ("upgrade to a new version", "How do I upgrade pachat?"),
    (
        "what does the finding torn-tail mean",
        "Findings about conversations and their files (store)",
    ),
    (
        "how do I make an encrypted backup",
        "How do I make an encrypted backup?",
    ),
    (
        "how can I encrypt my backups with age?",
        "How do I make an encrypted backup?",
    ),
    ("backup", "How do I make a backup?"),
    ("how do I restore a backup", "How do I restore a backup?"),
    (
        "encrypt a backup to a public key",
        "How do I make an encrypted backup?",
    ),
    (
        "restore everything from a backup",
        "How do I restore a backup?",
    ),
    ("my disk died", "The disk is lost, or this is a new machine"),
    (
        "I lost my disk, how do I recover?",
        "The disk is lost, or this is a new machine",
    ),
    ("I restored the wrong backup", "I restored the wrong backup"),
    (
        "how do I undo a restore",
        "How do I undo a restore, or go back to an earlier state?",
    ),
    (
        "make a rollback point",
        "How do I undo a restore, or go back to an earlier state?",
    ),
    (
        "what is in a rollback point",
        "What is in a rollback point?",
    ),
    ("how many backups are kept", "How many backups are kept?"),
    ("retention of old backups", "How many backups are kept?"),
    (
        "keep daily and weekly backups",
        "How many backups are kept?",
    ),
    ("offsite backups", "How do I get backups off this machine?"),
    (
        "upload backups with rclone",
        "How do I get backups off this machine?",
    ),
    (
        "can I use restic?",
        "How do I get backups off this machine?",
    ),
    (
        "nightly backup with cron",
        "How do I make backups regularly, from cron?",
    ),
    (
        "schedule backups every day",
        "How do I make backups regularly, from cron?",
    ),
    (
        "format of the backup archive",
        "What is the format of a backup?",
    ),
    (
        "why is my archive refused",
        "What does pachat refuse in a backup?",
    ),
    (
        "what do you check against path traversal",
        "What does pachat refuse in a backup?",
    ),
    (
        "will old backups still open in future versions",
        "What is promised about these formats?",
    ),
    (
        "is the format compatible with newer versions",
        "What is promised about these formats?",
    ),
    (
        "I lost my age identity",
        "I lost the identity that opens my encrypted backups",
    ),
    (
        "I forgot the passphrase of my backup",
        "I lost the identity that opens my encrypted backups",
    ),
    ("my backup is corrupt", "A backup is damaged"),
    ("verification of a backup failed", "A backup is damaged"),
    (
        "I deleted a conversation by accident",
        "I deleted or damaged a conversation",
    ),
    (
        "bring one conversation back",
        "I deleted or damaged a conversation",
    ),
    (
        "open a backup without pachat",
        "I have the backup, but not pachat",
    ),
    (
        "disaster recovery plan",
        "What must I do today, so that I can recover tomorrow?",
    ),
    (
        "what does --keep-within do",
        "pachat backup: make a verified backup, and remove old ones",
    ),
    (
        "why is my reply cut",
        "Why is my reply cut, incomplete or interrupted?",
    ),
    (
        "the answer stops in the middle of a sentence",
        "Why is my reply cut, incomplete or interrupted?",
    ),
    (
        "my response was truncated!",
        "Why is my reply cut, incomplete or interrupted?",
    ),
    ("where are my files?", "Where are my files?"),
    ("where is the log", "Where is the log, and what is in it?"),
    ("switch logging off", "Where is the log, and what is in it?"),
    (
        "what is the format of the log file",
        "What is the format of the log file?",
    ),
    (
        "In which folder are conversations stored?",
        "Where are my files?",
    ),
    ("how do I use ollama", "How do I use Ollama?"),
    ("can I run it with a local model", "How do I use Ollama?"),
    (
        "does it work with LM Studio?",
        "How do I use llama.cpp, LM Studio or vLLM?",
    ),
    ("llama-server", "How do I use llama.cpp, LM Studio or vLLM?"),
    (
        "how do i connect to openrouter",
        "How do I connect to OpenRouter?",
    ),
    ("use my own base url", "How do I connect to another server?"),
    ("how to change the model", "How do I change the model?"),
    ("switch to another model", "How do I change the model?"),
    ("what does exit code 76 mean", "Exit code 76"),
    ("exit status 69", "Exit code 69"),
    ("pachat returned 77", "Exit code 77"),
    (
        "list of exit codes",
        "List of exit codes: what do they mean?",
    ),
    (
        "how do I delete a conversation",
        "How do I delete a conversation?",
    ),
    (
        "how do I delete my history",
        "How do I delete a conversation?",
    ),
    (
        "remove the api key",
        "How do I set, change or remove the API key?",
    ),
    (
        "where does my token come from",
        "How do I set, change or remove the API key?",
    ),
    ("is my key stored safely?", "What protects my API key?"),
    (
        "I forgot my passphrase",
        "I lost master.key or forgot the pass phrase",
    ),
    (
        "I lost master.key",
        "I lost master.key or forgot the pass phrase",
    ),
    (
        "how do I use it in a shell script",
        "How do I use pachat in a pipe or a script?",
    ),
    (
        "pipe git diff into it",
        "How do I use pachat in a pipe or a script?",
    ),
    (
        "can I use a cron job?",
        "How do I use pachat in a pipe or a script?",
    ),
    (
        "how do I resume yesterday's conversation",
        "How do I continue a conversation?",
    ),
    (
        "search old chats",
        "How do I list and search conversations?",
    ),
    (
        "export everything as markdown",
        "How do I export a conversation?",
    ),
    (
        "import my chatgpt history",
        "How do I import conversations from ChatGPT, Claude or llm?",
    ),
    (
        "how do I bring my chats from claude here",
        "How do I import conversations from ChatGPT, Claude or llm?",
    ),
    (
        "switch from llm",
        "How do I import conversations from ChatGPT, Claude or llm?",
    ),
    (
        "what is a conversation id",
        "How do I name a conversation, and what is its id?",
    ),
    ("rename a conversation", "How do I rename a conversation?"),
    (
        "what slash commands are there",
        "Which slash commands does chat have?",
    ),
    (
        "how do I exit the chat",
        "How do I talk in an interactive chat?",
    ),
    (
        "how do I type several lines in chat",
        "How do I talk in an interactive chat?",
    ),
    ("what did I spend so far?", "What did it cost?"),
    ("how much does a message cost", "What did it cost?"),
    (
        "make the reply longer than the max tokens",
        "How long may a reply be, and how random?",
    ),
    (
        "set a system prompt",
        "How do I give the model instructions?",
    ),
    ("undo the last message", "How do I undo or retry a reply?"),
    ("attach a file", "How do I attach a file to a prompt?"),
    (
        "only print the code block",
        "How do I get only the code, or JSON?",
    ),
    (
        "error 401 unauthorized",
        "I get \"key missing\" or \"refused\" (401, 402, 403)",
    ),
    (
        "too many requests",
        "I get \"busy\" or \"rate limited\" (429)",
    ),
    ("it hangs forever", "I get a timeout, or nothing happens"),
    (
        "increase the timeout",
        "I get a timeout, or nothing happens",
    ),
    (
        "connection refused",
        "I get \"network unavailable\" or \"connection refused\"",
    ),
    ("I am behind a corporate proxy", "How do I use a proxy?"),
    ("self-signed certificate", "I get a certificate error"),
    (
        "do you collect telemetry?",
        "What does pachat send, and to whom?",
    ),
    (
        "how do I not save a conversation",
        "How do I keep a conversation off the disk?",
    ),
    ("move to a new laptop", "How do I move to another machine?"),
    ("uninstall", "How do I uninstall pachat?"),
    (
        "tab completion in zsh",
        "How do I complete commands with Tab in my shell?",
    ),
    (
        "which environment variables are there",
        "Which environment variables does pachat read?",
    ),
    (
        "what does app_config.json look like",
        "What does the settings file look like?",
    ),
    (
        "what does chat.keep_partial do",
        "Settings of conversations (chat)",
    ),
    ("timeouts.idle_seconds", "Settings of time-outs (timeouts)"),
    (
        "format of the jsonl files",
        "What is the format of a conversation file?",
    ),
    (
        "read the files with jq",
        "How do I read conversations with jq or grep?",
    ),
    (
        "what is the quarantine directory",
        "What are .partial files and the quarantine directory?",
    ),
    (
        "what does --no-stream do",
        "pachat send: send one prompt, print the reply",
    ),
    (
        "pachat list options",
        "pachat list: list conversations, newest first",
    ),
];

/// Questions that the manual does not answer, and must not pretend to.
const OFF_TOPIC: &[&str] = &[
    "what is the capital of France?",
    "write a poem about autumn leaves",
    "who won the world cup in 1998",
    "explain quantum entanglement",
    "translate good morning into Japanese",
    "why is the sky blue?",
];

fn guide() -> Guide {
    Guide::new(manual::sections())
}

fn answer(guide: &Guide, question: &str) -> String {
    let mut reply = guide.answer(question);
    let mut text = String::new();
    while let Progress::Delta(delta) = reply.next(Duration::ZERO) {
        text.push_str(&delta.text);
    }
    text
}

#[test]
fn questions_find_their_section() {
    let guide = guide();
    let wrong: Vec<String> = QUESTIONS
        .iter()
        .filter_map(|(question, title)| {
            let found: Vec<&str> = guide
                .find(question)
                .iter()
                .map(|section| section.title.as_str())
                .collect();
            (found.first() != Some(title)).then(|| format!("{question}: {found:?}, not {title}"))
        })
        .collect();
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[test]
fn other_questions_find_nothing() {
    let guide = guide();
    for question in OFF_TOPIC {
        let found: Vec<&str> = guide
            .find(question)
            .iter()
            .map(|section| section.title.as_str())
            .collect();
        assert!(found.is_empty(), "{question}: {found:?}");
        assert!(answer(&guide, question).contains("not a language model"));
    }
}

#[test]
fn an_answer_fits_a_screen_has_a_command_and_looks_further() {
    let guide = guide();
    for (question, title) in QUESTIONS {
        let text = answer(&guide, question);
        assert!(text.starts_with(&format!("## {title}\n")), "{question}");
        // Some exit codes have nothing to type, only something to look at.
        let has_command = text.contains("```sh\n") || title.starts_with("Exit code");
        assert!(has_command, "{question}: {text}");
        assert!(text.len() < 3_600, "{question}: {} bytes", text.len());
    }
    assert!(answer(&guide, "how do I use ollama").contains("\nSee also:\n\n- "));
}

#[test]
fn every_command_of_the_manual_can_be_typed() {
    let mut checked = 0;
    for section in manual::sections() {
        for line in section
            .command
            .iter()
            .map(String::as_str)
            .chain(shell_lines(&section.body))
        {
            checked += check(line, &section.title);
        }
    }
    assert!(checked > 150, "{checked}");
}

#[test]
fn every_command_of_the_repository_pages_can_be_typed() {
    for (name, text) in [
        ("README.md", include_str!("../README.md")),
        ("SECURITY.md", include_str!("../SECURITY.md")),
        ("CONTRIBUTING.md", include_str!("../CONTRIBUTING.md")),
    ] {
        for line in shell_lines(text) {
            check(line, name);
        }
    }
}

#[test]
fn every_setting_is_described_with_its_default() {
    let text = include_str!("../data/manual/settings.md");
    for setting in TABLE {
        let entry = text
            .split(&format!("`{}`\n: ", setting.key))
            .nth(1)
            .unwrap_or_else(|| panic!("settings.md has no entry for {}", setting.key));
        let entry = entry.lines().next().unwrap();
        let defaults = match setting.fallback {
            Fallback::None => vec![],
            Fallback::Value(value) | Fallback::OnOpenRouter(value) => vec![value.to_owned()],
            // The second of the pair of limits refers to the first.
            Fallback::ByDistance(..) if entry.ends_with("Default: as before.") => vec![],
            Fallback::ByDistance(far, near) => vec![far.to_string(), near.to_string()],
        };
        for default in defaults {
            assert!(
                entry.contains(&default),
                "{}: {default}: {entry}",
                setting.key
            );
        }
        let variable = setting.variable.unwrap_or_default();
        assert!(manual::after_long_help().contains(variable), "{variable}");
    }
}

/// Archives are refused by rules that the manual explains: all of them, and no others.
#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "a test reads the repository, not a person's files"
)]
fn every_rule_for_archives_is_explained() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut rules = BTreeSet::new();
    for directory in ["src/archive", "src/archive/read", "src/ops/restore"] {
        for entry in std::fs::read_dir(root.join(directory)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                rules.extend(rules_of(&std::fs::read_to_string(path).unwrap()));
            }
        }
    }
    let text = include_str!("../data/manual/data.md");
    let table = text.split("| Rule | What must hold |").nth(1).unwrap();
    let explained: BTreeSet<String> = table
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .flat_map(|line| line.split('|').nth(1).unwrap().split(','))
        .map(|rule| rule.trim().trim_matches('`').to_owned())
        .collect();
    assert_eq!(rules, explained);
    assert!(rules.len() > 15, "{rules:?}");
}

/// The rules that a source refuses archives by. They are written out where that is done.
fn rules_of(source: &str) -> Vec<String> {
    let source = source.split("mod tests {").next().unwrap();
    [
        "refuse(\"",
        "refused(\"",
        "Refusal::new(\"",
        "NEWER: &str = \"",
    ]
    .into_iter()
    .flat_map(|call| source.split(call).skip(1))
    .filter_map(|rest| {
        let (rule, after) = rest.split_once('"')?;
        // What has no second argument is a detail of a rule.
        let is_rule = after.starts_with([',', ';']);
        (is_rule && rule.bytes().all(|byte| byte.is_ascii_lowercase())).then(|| rule.to_owned())
    })
    .collect()
}

/// The lines of the shell blocks in a Markdown text.
fn shell_lines(markdown: &str) -> impl Iterator<Item = &str> {
    let mut inside = false;
    markdown.lines().filter(move |line| {
        if line.starts_with("```") {
            inside = *line == "```sh";
            return false;
        }
        inside
    })
}

/// Parses each call of pachat in a line of shell; how many there were.
fn check(line: &str, place: &str) -> usize {
    let mut calls = 0;
    for words in commands(line) {
        let start = words.iter().position(|word| word == "pachat");
        // `cargo run -- send` is a call, too; `-C … pachat` of tar names a directory.
        let words: Vec<String> = match start {
            Some(start) if start == 0 || words[0] == "ssh" || words[0].contains('=') => {
                words[start..].to_vec()
            }
            _ if words.starts_with(&["cargo".into(), "run".into()])
                && words.contains(&"--".into()) =>
            {
                let at = words.iter().position(|word| word == "--").unwrap();
                std::iter::once("pachat".to_owned())
                    .chain(words[at + 1..].iter().cloned())
                    .collect()
            }
            _ => continue,
        };
        calls += 1;
        if let Err(error) = Cli::try_parse_from(&words) {
            // `--help` and `--version` end the parsing on purpose.
            assert!(!error.use_stderr(), "{place}: {line}\n{words:?}\n{error}");
        }
    }
    calls
}

/// The simple commands of a line, as a shell splits it: at `|`, `&`, `;`, `$(` and `)`,
/// outside quotes, without redirections, remarks, or what follows two spaces.
fn commands(line: &str) -> Vec<Vec<String>> {
    let mut all = vec![Vec::new()];
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut skip_next = false;
    let mut characters = line.trim().chars().peekable();
    let finish = |word: &mut Option<String>, all: &mut Vec<Vec<String>>, skip: &mut bool| {
        if let Some(done) = word.take()
            && !std::mem::take(skip)
            && !["if", "then", "else"].contains(&done.as_str())
        {
            all.last_mut().unwrap().push(done);
        }
    };
    while let Some(character) = characters.next() {
        match (quote, character) {
            (Some(open), _) if character == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (None, '#') if word.is_none() => break,
            (None, ' ') if characters.peek() == Some(&' ') => break,
            (None, ' ') => finish(&mut word, &mut all, &mut skip_next),
            (None, '|' | '&' | ';' | '(' | ')') => {
                finish(&mut word, &mut all, &mut skip_next);
                all.push(Vec::new());
            }
            (None, '<' | '>') => {
                // A digit before it names a descriptor.
                if word
                    .as_deref()
                    .is_some_and(|word| word.parse::<u8>().is_ok())
                {
                    word = None;
                }
                finish(&mut word, &mut all, &mut skip_next);
                skip_next = true;
            }
            _ => word.get_or_insert_default().push(character),
        }
    }
    finish(&mut word, &mut all, &mut skip_next);
    all.retain(|words| !words.is_empty());
    all
}
