//! Where a person's lines come from: the line editor on a terminal, or plain lines.

use std::borrow::Cow;
use std::io::{self, BufRead};
use std::path::{Path, PathBuf};

use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{CompletionType, Config, Context, Editor, Helper};

/// What came in.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    /// A prompt or a command; it may have several lines.
    Text(String),
    /// Ctrl-C; whether something had been typed, which is gone now.
    Interrupt,
    /// Ctrl-D, or the end of the input.
    End,
}

/// A source of lines.
pub trait LineSource {
    /// The next line.
    fn read(&mut self, prompt: &str, suggestions: &Suggestions) -> io::Result<Line>;

    /// Keeps a line for the next time.
    fn remember(&mut self, line: &str);
}

/// What Tab offers.
#[derive(Clone, Debug, Default)]
pub struct Suggestions {
    /// Slash commands, each with whether words follow it.
    pub commands: Vec<(&'static str, bool)>,
    /// Words that may follow a command: the command, then the words.
    pub words: Vec<(&'static str, Vec<String>)>,
}

impl Suggestions {
    /// Where the word to complete begins, and what it may become.
    fn complete(&self, line: &str, position: usize) -> (usize, Vec<String>) {
        let typed = &line[..position];
        if !typed.starts_with('/') {
            return (position, Vec::new());
        }
        let Some((command, word)) = typed.split_once(' ') else {
            let matching = self
                .commands
                .iter()
                .filter(|(name, _)| name.starts_with(typed));
            return (
                0,
                matching
                    .map(|(name, more)| {
                        if *more {
                            format!("{name} ")
                        } else {
                            (*name).to_owned()
                        }
                    })
                    .collect(),
            );
        };
        let start = position - word.len();
        let words = self
            .words
            .iter()
            .find(|(name, _)| *name == command)
            .map(|(_, words)| words);
        // Anywhere in the word: of `anthropic/claude-…` people remember the second half.
        let matching = words
            .into_iter()
            .flatten()
            .filter(|candidate| candidate.contains(word.trim_start()));
        (start, matching.cloned().collect())
    }
}

/// Plain lines, from a pipe or a file. A trailing backslash continues a line here, too.
pub struct PlainLines<'a> {
    reader: &'a mut (dyn BufRead + Send),
}

impl<'a> PlainLines<'a> {
    /// Reads from `reader`.
    pub fn new(reader: &'a mut (dyn BufRead + Send)) -> Self {
        Self { reader }
    }
}

impl LineSource for PlainLines<'_> {
    fn read(&mut self, _prompt: &str, _suggestions: &Suggestions) -> io::Result<Line> {
        let mut text = String::new();
        loop {
            let start = text.len();
            if self.reader.read_line(&mut text)? == 0 {
                return Ok(if text.is_empty() {
                    Line::End
                } else {
                    Line::Text(joined(&text))
                });
            }
            let line = text[start..].trim_end_matches(['\n', '\r']);
            if !line.ends_with('\\') {
                return Ok(Line::Text(joined(text.trim_end_matches(['\n', '\r']))));
            }
        }
    }

    fn remember(&mut self, _line: &str) {}
}

/// A text whose continued lines are joined by line feeds, without the backslashes.
fn joined(text: &str) -> String {
    let text = text.replace("\r\n", "\n").replace("\\\n", "\n");
    text.strip_suffix('\\').map(str::to_owned).unwrap_or(text)
}

/// The line editor.
pub struct TerminalLines {
    editor: Editor<Assistant, FileHistory>,
    history: Option<PathBuf>,
}

impl TerminalLines {
    /// An editor with the history in `history`, which is made with mode 0600; without one,
    /// what is typed is forgotten at the end.
    pub fn new(history: Option<&Path>, colour: bool) -> io::Result<Self> {
        let config = Config::builder()
            .auto_add_history(false)
            .history_ignore_space(true)
            .max_history_size(10_000)
            .map_err(to_io)?
            .completion_type(CompletionType::List)
            .bracketed_paste(true)
            .build();
        let mut editor = Editor::with_config(config).map_err(to_io)?;
        editor.set_helper(Some(Assistant {
            suggestions: Suggestions::default(),
            colour,
        }));
        if let Some(path) = history {
            // The first time there is no file yet; later trouble is not worth refusing to chat.
            let _ = editor.load_history(path);
        }
        Ok(Self {
            editor,
            history: history.map(Path::to_path_buf),
        })
    }
}

impl LineSource for TerminalLines {
    fn read(&mut self, prompt: &str, suggestions: &Suggestions) -> io::Result<Line> {
        if let Some(helper) = self.editor.helper_mut() {
            helper.suggestions.clone_from(suggestions);
        }
        match self.editor.readline(prompt) {
            Ok(text) => Ok(Line::Text(joined(&text))),
            Err(ReadlineError::Interrupted) => Ok(Line::Interrupt),
            Err(ReadlineError::Eof) => Ok(Line::End),
            Err(error) => Err(to_io(error)),
        }
    }

    fn remember(&mut self, line: &str) {
        let added = self.editor.add_history_entry(line).unwrap_or(false);
        if let (true, Some(path)) = (added, &self.history) {
            // Appended at once, so that a crash or a second terminal loses nothing.
            let _ = self.editor.append_history(path);
        }
    }
}

fn to_io(error: ReadlineError) -> io::Error {
    match error {
        ReadlineError::Io(error) => error,
        other => io::Error::other(other.to_string()),
    }
}

/// What the line editor asks while a person types.
struct Assistant {
    suggestions: Suggestions,
    colour: bool,
}

impl Helper for Assistant {}

impl Completer for Assistant {
    type Candidate = String;

    fn complete(
        &self,
        line: &str,
        position: usize,
        _context: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        Ok(self.suggestions.complete(line, position))
    }
}

impl Hinter for Assistant {
    type Hint = String;
}

impl Highlighter for Assistant {
    fn highlight_prompt<'b, 's: 'b, 'p: 'b>(
        &'s self,
        prompt: &'p str,
        _default: bool,
    ) -> Cow<'b, str> {
        if self.colour {
            Cow::Owned(format!("\x1b[1;32m{prompt}\x1b[0m"))
        } else {
            Cow::Borrowed(prompt)
        }
    }
}

impl Validator for Assistant {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        Ok(if context.input().ends_with('\\') {
            ValidationResult::Incomplete
        } else {
            ValidationResult::Valid(None)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suggestions() -> Suggestions {
        Suggestions {
            commands: vec![("/help", false), ("/model", true), ("/list", false)],
            words: vec![("/model", vec!["a/one".into(), "b/two".into()])],
        }
    }

    #[test]
    fn commands_and_their_words_complete() {
        let complete = |line: &str| suggestions().complete(line, line.len());
        assert_eq!(complete("/he"), (0, vec!["/help".into()]));
        assert_eq!(complete("/m"), (0, vec!["/model ".into()]));
        assert_eq!(complete("/model tw"), (7, vec!["b/two".into()]));
        assert_eq!(
            complete("/model "),
            (7, vec!["a/one".into(), "b/two".into()])
        );
        assert_eq!(complete("hello /m"), (8, Vec::new()));
    }

    #[test]
    fn plain_lines_continue_after_a_backslash() {
        let mut input: &[u8] = b"one\ntwo \\\nthree\r\n\nlast \\";
        let mut lines = PlainLines::new(&mut input);
        let mut next = || lines.read("> ", &Suggestions::default()).unwrap();
        assert_eq!(next(), Line::Text("one".into()));
        assert_eq!(next(), Line::Text("two \nthree".into()));
        assert_eq!(next(), Line::Text(String::new()));
        assert_eq!(next(), Line::Text("last ".into()));
        assert_eq!(next(), Line::End);
    }
}
