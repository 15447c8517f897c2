//! The line editor: history, completion, several lines in one.

use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustyline::completion::{Completer, Pair};
use rustyline::error::ReadlineError;
use rustyline::highlight::{CmdKind, Highlighter};
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::Validator;
use rustyline::{
    Cmd, ColorMode, CompletionType, ConditionalEventHandler, Config, Context, Editor, Event,
    EventContext, EventHandler, Helper, KeyCode, KeyEvent, Modifiers, RepeatCount,
};

use super::clean::clean_line;
use super::lines::{Line, LineSource};
use super::table;

/// The first line of a history file, which says that line feeds in an entry are escaped.
pub const HISTORY_HEADER: &str = "#V2\n";

/// The prompt of a further line of the same text.
const GOES_ON: &str = "… ";

/// A word that Tab offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The word.
    pub word: String,
    /// What a person knows it by, shown beside it; may be empty.
    pub about: String,
}

/// Whoever knows what may be typed. Asked only when somebody presses Tab.
pub trait Suggest: Send {
    /// The slash commands, each with whether words follow it.
    fn commands(&self) -> Vec<(&'static str, bool)>;

    /// The words that may follow a command.
    fn words(&self, command: &str) -> Vec<Offer>;
}

/// The line editor.
pub struct TerminalLines {
    editor: Editor<Assistant, FileHistory>,
    history: Option<PathBuf>,
    prompt: &'static str,
    /// Whether Ctrl-C found something typed.
    discards: Arc<AtomicBool>,
}

impl TerminalLines {
    /// An editor with the history in the file `history`, which exists; without one, what is
    /// typed is forgotten at the end.
    pub fn new(
        prompt: &'static str,
        history: Option<&Path>,
        colour: bool,
        suggest: Box<dyn Suggest>,
    ) -> io::Result<Self> {
        let config = Config::builder()
            .auto_add_history(false)
            .history_ignore_space(true)
            .max_history_size(10_000)
            .map_err(to_io)?
            .completion_type(CompletionType::List)
            .completion_show_all_if_ambiguous(true)
            .bracketed_paste(true)
            .color_mode(if colour {
                ColorMode::Enabled
            } else {
                ColorMode::Disabled
            })
            .build();
        let mut editor = Editor::with_config(config).map_err(to_io)?;
        editor.set_helper(Some(Assistant { suggest, colour }));
        let discards = Arc::new(AtomicBool::new(false));
        bind_keys(&mut editor, &discards);
        if let Some(path) = history {
            // Trouble with it is not worth refusing to chat.
            let _ = editor.load_history(path);
        }
        Ok(Self {
            editor,
            history: history.map(Path::to_path_buf),
            prompt,
            discards,
        })
    }
}

impl LineSource for TerminalLines {
    fn read(&mut self) -> io::Result<Line> {
        let mut begun = String::new();
        loop {
            let prompt = if begun.is_empty() {
                self.prompt
            } else {
                GOES_ON
            };
            match self.editor.readline(prompt) {
                // Only the end counts: backslashes inside pasted text are the person's own.
                Ok(text) => match text.strip_suffix('\\') {
                    Some(text) => {
                        begun.push_str(text);
                        begun.push('\n');
                    }
                    None => return Ok(Line::Text(begun + &text)),
                },
                Err(ReadlineError::Interrupted) => {
                    let discards = !begun.is_empty() || self.discards.load(Ordering::SeqCst);
                    return Ok(if discards {
                        Line::Discarded
                    } else {
                        Line::Interrupt
                    });
                }
                Err(ReadlineError::Eof) if begun.is_empty() => return Ok(Line::End),
                // Nothing follows after all.
                Err(ReadlineError::Eof) => {
                    return Ok(Line::Text(begun.trim_end_matches('\n').to_owned()));
                }
                Err(error) => return Err(to_io(error)),
            }
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

fn bind_keys(editor: &mut Editor<Assistant, FileHistory>, discards: &Arc<AtomicBool>) {
    editor.bind_sequence(KeyEvent(KeyCode::Enter, Modifiers::ALT), Cmd::Newline);
    let interrupt = Interrupt(Arc::clone(discards));
    editor.bind_sequence(
        KeyEvent::ctrl('C'),
        EventHandler::Conditional(Box::new(interrupt)),
    );
}

/// Ctrl-C: notes whether it throws something away.
struct Interrupt(Arc<AtomicBool>);

impl ConditionalEventHandler for Interrupt {
    fn handle(&self, _: &Event, _: RepeatCount, _: bool, context: &EventContext) -> Option<Cmd> {
        self.0.store(!context.line().is_empty(), Ordering::SeqCst);
        Some(Cmd::Interrupt)
    }
}

/// What the line editor asks while a person types.
struct Assistant {
    suggest: Box<dyn Suggest>,
    colour: bool,
}

impl Helper for Assistant {}

impl Completer for Assistant {
    type Candidate = Pair;

    fn complete(
        &self,
        line: &str,
        position: usize,
        _context: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<Pair>)> {
        Ok(complete(self.suggest.as_ref(), &line[..position]))
    }
}

/// Where the word to complete begins, and what it may become.
fn complete(suggest: &dyn Suggest, typed: &str) -> (usize, Vec<Pair>) {
    if !typed.starts_with('/') {
        return (typed.len(), Vec::new());
    }
    let Some((command, rest)) = typed.split_once(' ') else {
        return (0, matching_commands(suggest, typed));
    };
    let word = rest.trim_start();
    let offers = suggest.words(command);
    let begins = |offer: &&Offer| offer.word.starts_with(word);
    let mut found: Vec<&Offer> = offers.iter().filter(begins).collect();
    if found.is_empty() {
        // Of `anthropic/claude-…` people remember the second half, and of a conversation
        // the title.
        let lower = word.to_lowercase();
        let contains = |offer: &&Offer| {
            offer.word.to_lowercase().contains(&lower)
                || offer.about.to_lowercase().contains(&lower)
        };
        found = offers.iter().filter(contains).collect();
    }
    (
        typed.len() - word.len(),
        found.into_iter().map(pair).collect(),
    )
}

fn matching_commands(suggest: &dyn Suggest, typed: &str) -> Vec<Pair> {
    let commands = suggest.commands().into_iter();
    commands
        .filter(|(name, _)| name.starts_with(typed))
        .map(|(name, more)| Pair {
            display: name.to_owned(),
            replacement: if more {
                format!("{name} ")
            } else {
                name.to_owned()
            },
        })
        .collect()
}

fn pair(offer: &Offer) -> Pair {
    /// Columns of a list entry: two fit beside each other on most terminals.
    const WIDEST: usize = 38;
    let display = if offer.about.is_empty() {
        clean_line(&offer.word)
    } else {
        let line = format!("{}  {}", offer.word, offer.about);
        table::cut(&clean_line(&line), WIDEST)
    };
    Pair {
        display,
        replacement: clean_line(&offer.word),
    }
}

impl Hinter for Assistant {
    type Hint = String;
}

impl Validator for Assistant {}

/// Bold, what a person has typed; the reply stands plain below it.
impl Highlighter for Assistant {
    fn highlight<'l>(&self, line: &'l str, _position: usize) -> Cow<'l, str> {
        if self.colour && !line.is_empty() {
            Cow::Owned(format!("\x1b[1m{line}\x1b[0m"))
        } else {
            Cow::Borrowed(line)
        }
    }

    fn highlight_char(&self, _line: &str, _position: usize, _kind: CmdKind) -> bool {
        self.colour
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    struct Known;

    impl Suggest for Known {
        fn commands(&self) -> Vec<(&'static str, bool)> {
            vec![("/help", false), ("/model", true), ("/list", false)]
        }

        fn words(&self, command: &str) -> Vec<Offer> {
            let offer = |word: &str, about: &str| Offer {
                word: word.into(),
                about: about.into(),
            };
            match command {
                "/model" => vec![offer("a/one", ""), offer("b/two", ""), offer("two-a/x", "")],
                "/open" => vec![offer("7k2abc", "About \u{1b}[31mRust"), offer("9zz111", "")],
                _ => Vec::new(),
            }
        }
    }

    fn replacements(typed: &str) -> (usize, Vec<String>) {
        let (at, pairs) = complete(&Known, typed);
        (at, pairs.into_iter().map(|pair| pair.replacement).collect())
    }

    #[test]
    fn commands_complete() {
        assert_eq!(replacements("/he"), (0, vec!["/help".into()]));
        assert_eq!(replacements("/m"), (0, vec!["/model ".into()]));
        assert_eq!(replacements("hello /m"), (8, Vec::new()));
    }

    #[test]
    fn words_complete_by_their_beginning_or_else_by_a_part() {
        assert_eq!(replacements("/model b"), (7, vec!["b/two".into()]));
        assert_eq!(replacements("/model  b"), (8, vec!["b/two".into()]));
        assert_eq!(replacements("/model tw"), (7, vec!["two-a/x".into()]));
        assert_eq!(replacements("/model /tw"), (7, vec!["b/two".into()]));
        assert_eq!(replacements("/model ").1.len(), 3);
        assert_eq!(replacements("/open rust"), (6, vec!["7k2abc".into()]));
        assert_eq!(
            complete(&Known, "/open 7").1[0].display,
            "7k2abc  About Rust"
        );
    }
}
