//! `pachat chat`: the conversation on a terminal.

mod commands;
mod slash;

use std::sync::Arc;

use clap::Args;

use crate::context::Context;
use crate::model::conversation::Conversation;
use crate::model::error::{Error, Kind, Result};
use crate::model::id::ConversationId;
use crate::model::record::{Role, Set};
use crate::model::reply::State;
use crate::ops::turn::{self, Ask, Keeper, Outcome};
use crate::platform::Input;
use crate::store::Store;
use crate::store::read::Scope;
use crate::store::writer::{Beginning, Writer};
use crate::term::clean::clean_line;
use crate::term::editor::{Line, LineSource, PlainLines, Suggestions, TerminalLines};

use super::session::{self, Connection, GUIDE};
use super::show::{Manner, Show};
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
        pachat chat -C 7k2              the one whose id ends in 7k2…\n  \
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

    /// Go on with this conversation: the end of its id, its exact title, or `last`
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
}

/// Carries out `chat`.
pub fn run(args: &ChatArgs, context: &mut Context) -> Result<()> {
    let store = context.store();
    store.check()?;
    let interactive = context.stdin.is_terminal && context.ui.stdout_is_terminal();
    let mut chat = Chat::begin(args, store, interactive, context)?;
    if interactive {
        chat.greet(context);
        let history = session::history_file(context);
        let colour = context.ui.colour().stdout;
        let mut lines = TerminalLines::new(history.as_deref(), colour)
            .map_err(|error| Error::new(Kind::Io, "cannot use the terminal").cause(error))?;
        let ended = chat.talk(&mut lines, context);
        chat.say_goodbye(context);
        return ended;
    }
    // The context lends its input for the time of the chat; nothing else reads from it.
    let nothing = Input {
        reader: Box::new(std::io::empty()),
        is_terminal: false,
    };
    let mut stdin = std::mem::replace(&mut context.stdin, nothing);
    chat.talk(&mut PlainLines::new(&mut *stdin.reader), context)
}

/// A chat in progress. Between two turns it holds no lock and no open file.
struct Chat<'a> {
    args: &'a ChatArgs,
    store: Store,
    connection: Connection,
    /// Whether a person is at the other end.
    interactive: bool,
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
    /// What Tab offers after `/model`; read once, the list is long.
    known_models: Vec<String>,
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
        context: &mut Context,
    ) -> Result<Self> {
        let system = args
            .system
            .clone()
            .or_else(|| context.settings.system().map(str::to_owned));
        let mut chat = Self {
            args,
            store,
            connection: Connection::new(session::Limits::default()),
            interactive,
            id: None,
            next: 1,
            beginning: Beginning {
                title: args.title.clone(),
                model: None,
                system,
            },
            models: args.models.clone(),
            keep_partial: context.settings.keep_partial(),
            known_models: if interactive {
                session::known_models(context)
            } else {
                Vec::new()
            },
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

    /// Gets ready to ask. Without a key there is still the manual, for who sits at a terminal
    /// and named no model.
    fn connect(&mut self, context: &mut Context) -> Result<()> {
        let models = self.current_models(context)?;
        match self.connection.prepare(&models, context) {
            Err(error)
                if error.kind() == Kind::Denied && self.models.is_empty() && self.interactive =>
            {
                context.ui.note(&format!(
                    "{}. This is the offline guide: it knows pachat and nothing else.",
                    error.headline()
                ));
                context
                    .ui
                    .note("To talk with a model, leave with Ctrl-D and type one of these:");
                context.ui.note(
                    "  pachat config key set                                       (OpenRouter)",
                );
                context.ui.note("  pachat config set api.base_url http://localhost:11434/v1    (Ollama, for one)");
                self.models = vec![GUIDE.to_owned()];
                self.connection.prepare(&self.models, context)
            }
            other => other,
        }
    }

    fn greet(&mut self, context: &mut Context) {
        let models = self.current_models(context).map(|models| models.join(", "));
        let about = match &self.id {
            Some(id) => format!("{} ({})", self.title(), id.short()),
            None => "a new conversation".to_owned(),
        };
        let version = env!("CARGO_PKG_VERSION");
        let model = models.unwrap_or_default();
        context.ui.note(&format!(
            "pachat {version}: {about}, with {model}. /help shows the commands."
        ));
        if self.id.is_some() {
            self.show_recent(context);
        }
    }

    fn say_goodbye(&self, context: &mut Context) {
        if let Some(id) = &self.id {
            context
                .ui
                .note(&format!("go on with: pachat chat -C {}", id.short()));
        }
    }

    /// Reads lines until the end.
    fn talk(&mut self, lines: &mut dyn LineSource, context: &mut Context) -> Result<()> {
        loop {
            let suggestions = self.suggestions();
            let line = lines
                .read(PROMPT, &suggestions)
                .map_err(|error| Error::new(Kind::Io, "cannot read what is typed").cause(error))?;
            let text = match line {
                Line::End => return Ok(()),
                Line::Interrupt => {
                    context.ui.note("(Ctrl-D leaves)");
                    continue;
                }
                Line::Text(text) if text.trim().is_empty() => continue,
                Line::Text(text) => text,
            };
            lines.remember(&text);
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
        match error.kind() {
            Kind::Closed | Kind::Terminated => Err(error),
            _ if !self.interactive => Err(error),
            Kind::Interrupted => {
                context.signals.take_interrupt();
                context.ui.note("(interrupted; what has arrived is kept)");
                Ok(())
            }
            _ => {
                context.ui.error(&error);
                Ok(())
            }
        }
    }

    fn line(&mut self, text: &str, context: &mut Context) -> Result<Then> {
        match slash::read(text) {
            Meaning::Prompt(prompt) => self.prompt(prompt, context)?,
            Meaning::Command("/exit", _) => return Ok(Then::Leave),
            Meaning::Command(name, rest) => self.command(name, rest, context)?,
            Meaning::Unknown(word, near) => {
                let near = near
                    .map(|near| format!("; did you mean {near}?"))
                    .unwrap_or_default();
                let text = format!("{word} is no command{near} /help shows them all");
                return Err(Error::new(Kind::Usage, text));
            }
        }
        Ok(Then::Continue)
    }

    /// A turn.
    fn prompt(&mut self, prompt: &str, context: &mut Context) -> Result<()> {
        let models = self.current_models(context)?;
        self.connection.prepare(&models, context)?;
        let writer = if let Some(id) = self.id.clone() {
            let mut writer = self.writer(&id, context)?;
            session::check_size(&writer, prompt, context)?;
            writer.prompt(prompt)?;
            writer
        } else {
            let beginning = Beginning {
                model: models.first().cloned(),
                ..self.beginning.clone()
            };
            let writer = session::create(&self.store, beginning, prompt, context)?;
            self.id = Some(writer.conversation.id().clone());
            self.beginning.title = None;
            writer
        };
        self.answer(writer, models, context)
    }

    /// Opens the conversation to write to it, and says what has changed since the last look.
    fn writer(&mut self, id: &ConversationId, context: &mut Context) -> Result<Writer> {
        let writer = session::open(&self.store, id, context)?;
        let next = writer.conversation.next_number();
        if next > self.next {
            let added = next - self.next;
            context
                .ui
                .note(&format!("({added} messages were added elsewhere)"));
        }
        self.next = next;
        Ok(writer)
    }

    fn answer(&mut self, writer: Writer, models: Vec<String>, context: &mut Context) -> Result<()> {
        let ask = Ask {
            system: writer.conversation.header.system.clone(),
            models,
            max_tokens: self.args.max_tokens.or(context.settings.max_tokens()),
            temperature: self.args.temperature.or(context.settings.temperature()),
            options: serde_json::Map::new(),
            stream: true,
            keep_partial: self.keep_partial,
        };
        let mut keeper = Keeper::Stored(Box::new(writer));
        let clock = Arc::clone(&context.clock);
        let mut show = Show::new(&mut context.ui, Manner::Text, &ask.models[0]);
        let answered = turn::answer(
            &mut keeper,
            &ask,
            self.connection.responder(),
            &mut show,
            clock.as_ref(),
            &context.signals,
        );
        let ended = show.end();
        // The prompt is there, whatever became of the reply.
        self.next = keeper.conversation().next_number();
        let Outcome { error, reply, .. } = answered?;
        ended?;
        match (error, reply.state) {
            (Some(error), _) => return Err(error),
            (None, Some(State::Length)) => {
                context
                    .ui
                    .note("(cut at the maximum number of tokens; type `go on` for more)");
            }
            (None, Some(State::Filtered)) => {
                context.ui.note("(cut by the server's content filter)");
            }
            _ => {}
        }
        Ok(())
    }

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
            Some(id) => Ok(self.store.read(id)?.conversation),
            None => Err(Error::new(Kind::Usage, "nothing has been said yet")),
        }
    }

    fn title(&self) -> String {
        self.read().map_or_else(
            |_| "a new conversation".into(),
            |read| clean_line(read.title()),
        )
    }

    /// The end of the conversation, so that a person knows where it stopped.
    fn show_recent(&self, context: &mut Context) {
        const SHOWN: usize = 4;
        let Ok(conversation) = self.read() else {
            return;
        };
        let messages: Vec<_> = conversation.active().collect();
        let earlier = messages.len().saturating_sub(SHOWN);
        if earlier > 0 {
            context.ui.note(&format!("({earlier} earlier messages)"));
        }
        for message in &messages[earlier..] {
            let mark = if message.role == Role::User {
                PROMPT
            } else {
                ""
            };
            let text = message.content.to_text();
            let half = if message.is_unfinished() {
                "\n(interrupted)"
            } else {
                ""
            };
            // Showing the past is a courtesy; a closed output ends the chat at the next reply.
            let _ = context.ui.text(&format!("{mark}{}{half}\n", text.trim()));
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

    /// What Tab offers now.
    fn suggestions(&self) -> Suggestions {
        if !self.interactive {
            return Suggestions::default();
        }
        let commands = slash::ALL
            .iter()
            .map(|slash| (slash.name, !slash.argument.is_empty()))
            .collect();
        let ids = self.store.ids(Scope::Active).unwrap_or_default();
        let ids = ids.iter().rev().map(|id| id.short().to_owned()).collect();
        Suggestions {
            commands,
            words: vec![("/model", self.known_models.clone()), ("/open", ids)],
        }
    }
}
