//! `pachat chat`: the conversation on a terminal.

mod commands;
mod offers;
mod scene;
mod slash;
mod turns;

use clap::Args;

use crate::context::Context;
use crate::model::conversation::Conversation;
use crate::model::error::{Error, Kind, Result};
use crate::model::id::ConversationId;
use crate::model::record::Set;
use crate::ops::journal;
use crate::platform::Input;
use crate::store::Store;
use crate::store::writer::Beginning;
use crate::term::editor::TerminalLines;
use crate::term::lines::{Line, Lines, Manner, PlainLines};

use super::connection::{self, Connection, GUIDE};
use super::session;
use offers::Offers;
use slash::Meaning;

/// What stands in front of what a person types.
const PROMPT: &str = "> ";

/// Arguments of `chat`.
#[derive(Debug, Args)]
#[command(
    about = "Talk with a model",
    long_about = "Opens a conversation on the terminal: type, read the reply as it comes, go on.\n\n\
        Ctrl-C stops a reply and keeps what has arrived. Ctrl-D leaves, and says how to come back. \
        Lines that begin with / are commands: /help lists them. A line that ends in \\ goes on in the \
        next one; pasted text stays in one piece. Where standard input is no terminal, each line of it is \
        a prompt.",
    after_long_help = "Examples:\n  \
        pachat chat                     a new conversation\n  \
        pachat chat -c                  the last one again\n  \
        pachat chat -C 7k2              the one whose id's last part begins with 7k2\n  \
        pachat chat -m builtin/guide    the manual, offline"
)]
pub struct ChatArgs {
    /// Ask this model; a further -m names the model to fall back on
    #[arg(short, long = "model", value_name = "MODEL")]
    pub models: Vec<String>,

    /// Instructions that stand before the conversation
    #[arg(short, long, value_name = "TEXT")]
    pub system: Option<String>,

    /// Go on with the last conversation
    #[arg(short = 'c', long = "continue", conflicts_with = "conversation")]
    pub resume: bool,

    /// Go on with this conversation: the beginning of its id's last part, its exact title, or `last`
    #[arg(short = 'C', long, value_name = "ID")]
    pub conversation: Option<String>,

    /// Give the new conversation this title
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["resume", "conversation"])]
    pub title: Option<String>,

    /// Stop each reply after this many tokens
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_tokens: Option<u32>,

    /// Randomness of the replies, from 0 to 2
    #[arg(long, value_name = "T", value_parser = super::send::temperature)]
    pub temperature: Option<f64>,

    /// Add a field to each request; the value is JSON, or else text
    #[arg(long = "option", value_name = "KEY=VALUE", value_parser = super::send::key_value)]
    pub options: Vec<(String, serde_json::Value)>,
}

/// Carries out `chat`.
pub fn run(args: &ChatArgs, context: &mut Context) -> Result<()> {
    let store = context.store();
    store.check()?;
    let interactive = context.stdin.is_terminal;
    let edited = interactive
        && context.ui.stdout_is_terminal()
        && context.environment.get("TERM") != Some("dumb");
    let mut chat = Chat::begin(args, store, interactive, edited, context)?;
    let mut lines = chat.lines(context)?;
    if !interactive {
        return chat.talk(&mut lines, context);
    }
    context.signals.forgive_interrupts();
    chat.greet(context);
    let ended = chat.talk(&mut lines, context);
    chat.say_goodbye(context);
    ended
}

/// A chat in progress. Between two turns it holds no lock and no open file.
struct Chat<'a> {
    args: &'a ChatArgs,
    store: Store,
    connection: Connection,
    /// Whether a person is at the other end.
    interactive: bool,
    /// Whether that person has a line editor.
    edited: bool,
    /// The conversation, once something was said in it.
    id: Option<ConversationId>,
    /// The number of the next message when this chat last looked: if it is another one now,
    /// somebody else has been at it.
    next: u64,
    /// What the next conversation begins with.
    beginning: Beginning,
    /// The models named here, on the command line or with `/model`.
    models: Vec<String>,
    keep_partial: bool,
}

/// Whether a chat goes on after a line.
#[derive(PartialEq, Eq)]
enum Then {
    Continue,
    Leave,
}

impl<'a> Chat<'a> {
    fn begin(
        args: &'a ChatArgs,
        store: Store,
        interactive: bool,
        edited: bool,
        context: &mut Context,
    ) -> Result<Self> {
        let system = args
            .system
            .clone()
            .or_else(|| context.settings.system().map(str::to_owned));
        let mut chat = Self {
            args,
            store,
            connection: Connection::new(connection::Limits::default()),
            interactive,
            edited,
            id: None,
            next: 1,
            beginning: Beginning {
                title: args.title.clone(),
                model: None,
                system,
            },
            models: args.models.clone(),
            keep_partial: context.settings.keep_partial(),
        };
        if let Some(spec) = args
            .conversation
            .as_deref()
            .or(args.resume.then_some("last"))
        {
            let id = chat.store.resolve(spec)?;
            chat.open(&id, context)?;
            if let Some(system) = &args.system {
                let set = Set {
                    system: Some(system.clone()),
                    ..Set::default()
                };
                session::open(&chat.store, &id, context)?.set(set)?;
            }
        }
        chat.connect(context)?;
        Ok(chat)
    }

    /// Where this chat's lines come from. The context lends its input; nothing else reads it.
    fn lines(&self, context: &mut Context) -> Result<Lines> {
        if self.edited {
            let history = session::history_file(context);
            let colour = context.ui.colour().stdout;
            let offers = Offers::new(self.store.clone(), context.settings.base_url().clone());
            let editor = TerminalLines::new(PROMPT, history.as_deref(), colour, Box::new(offers))
                .map_err(|error| {
                Error::new(Kind::Io, "cannot use the terminal").cause(error)
            })?;
            return Ok(Lines::start(editor, Manner::Edited));
        }
        let limit = context.settings.memory_limit().0;
        let nothing = Input {
            reader: Box::new(std::io::empty()),
            is_terminal: false,
        };
        let stdin = std::mem::replace(&mut context.stdin, nothing);
        let manner = if self.interactive {
            Manner::Typed(PROMPT)
        } else {
            Manner::Piped
        };
        Ok(Lines::start(PlainLines::new(stdin.reader, limit), manner))
    }

    /// Gets ready to ask. Without a key there is still the manual, for who sits at a terminal
    /// and named no model.
    fn connect(&mut self, context: &mut Context) -> Result<()> {
        let models = self.current_models(context)?;
        match self.connection.prepare(&models, context) {
            Err(error)
                if error.kind() == Kind::Denied && self.models.is_empty() && self.interactive =>
            {
                scene::introduce_guide(&error, context);
                self.models = vec![GUIDE.to_owned()];
                self.connection.prepare(&self.models, context)
            }
            other => other,
        }
    }

    /// Reads lines until the end.
    fn talk(&mut self, lines: &mut Lines, context: &mut Context) -> Result<()> {
        loop {
            let text = match lines.read(&mut context.ui, &context.signals)? {
                Line::End => {
                    self.end_line(context);
                    return Ok(());
                }
                Line::Interrupt => {
                    self.end_line(context);
                    context.ui.aside("(Ctrl-D leaves)");
                    continue;
                }
                Line::Discarded => continue,
                Line::Text(text) if text.trim().is_empty() => continue,
                Line::Text(text) => text,
            };
            lines.remember(&text);
            context.ui.measure();
            if self.interactive {
                // One that came too late for the last reply is not meant for the next one.
                context.signals.take_interrupt();
            }
            match self.line(&text, context) {
                Ok(Then::Continue) => {}
                Ok(Then::Leave) => return Ok(()),
                Err(error) => self.recover(error, context)?,
            }
        }
    }

    /// Shows a person what went wrong and lets the chat go on. A script must learn of a
    /// failure, for its next line may depend on the reply; and some errors end any chat.
    fn recover(&self, error: Error, context: &mut Context) -> Result<()> {
        if !self.interactive || matches!(error.kind(), Kind::Closed | Kind::Terminated) {
            return Err(error);
        }
        if error.kind() == Kind::Interrupted {
            context.signals.take_interrupt();
            if context.signals.pending().is_some() {
                // No Ctrl-C, but the terminal going away.
                return Err(error);
            }
            context.ui.aside("(interrupted; nothing was sent)");
        } else {
            context.ui.error(&error);
            journal::failure(&context.log, &error);
        }
        Ok(())
    }

    fn line(&mut self, text: &str, context: &mut Context) -> Result<Then> {
        match slash::read(text) {
            Meaning::Prompt(prompt) => self.prompt(prompt, context)?,
            Meaning::Command("/exit", _) => return Ok(Then::Leave),
            Meaning::Command(name, rest) => self.command(name, rest, context)?,
            Meaning::Unknown(word, near) => {
                let error = Error::new(Kind::Usage, format!("{word} is no command"));
                return Err(match near {
                    Some(near) => {
                        error.hint(format!("did you mean {near}? /help shows all of them"))
                    }
                    None => error.hint("/help shows the commands"),
                });
            }
        }
        Ok(Then::Continue)
    }

    /// Takes up a conversation that exists.
    fn open(&mut self, id: &ConversationId, context: &mut Context) -> Result<()> {
        session::fold(&self.store, id, context)?;
        let conversation = self.store.read(id)?.conversation;
        self.next = conversation.next_number();
        self.id = Some(id.clone());
        Ok(())
    }

    /// The conversation as it is on disk now.
    fn read(&self) -> Result<Conversation> {
        match &self.id {
            Some(id) => Ok(self.store.read(id).map_err(gone)?.conversation),
            None => Err(Error::new(Kind::Usage, "nothing has been said yet")),
        }
    }

    /// The models to ask: named here, or the conversation's, or the configured one.
    fn current_models(&mut self, context: &mut Context) -> Result<Vec<String>> {
        let own = match &self.id {
            Some(_) if self.models.is_empty() => self.read()?.header.model,
            _ => None,
        };
        self.connection
            .models(&self.models, own.as_deref(), context)
    }
}

/// Says what to do about a conversation that somebody removed during the chat.
fn gone(error: Error) -> Error {
    if error.kind() != Kind::NotFound {
        return error;
    }
    Error::new(Kind::NotFound, "this conversation was removed meanwhile")
        .hint("/new begins another one; the Up key brings back what you typed")
}
