//! `pachat send`: one prompt, one reply.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use crate::context::Context;
use crate::model::error::{Error, Kind, Result, describe};
use crate::model::id::ConversationId;
use crate::model::record::Message;
use crate::model::reply::{State, Usage};
use crate::model::size::ByteSize;
use crate::model::usd::Usd;
use crate::ops::prompt::{self, Attachment};
use crate::ops::turn::{self, Ask, Keeper, Outcome};
use crate::store::Store;
use crate::store::writer::Beginning;

use super::connection::{self, Connection};
use super::session;
use super::show::{Manner, Show, json_line, usage_line};

/// Arguments of `send`.
#[derive(Debug, Args)]
#[command(
    about = "Send one prompt, print the reply",
    long_about = "Sends one prompt and prints the reply, and only the reply, on stdout.\n\n\
        The prompt is the arguments, or standard input, or both: the arguments, a blank line, \
        then what came from standard input. The prompt is on disk before the request leaves, and \
        each piece of the reply before it is printed.",
    after_long_help = "Examples:\n  \
        pachat send 'why is the sky blue?'\n  \
        git diff --staged | pachat send 'write a commit message' | git commit -F -\n  \
        pachat send -f src/main.rs 'what does this do?'\n  \
        pachat send -c 'shorter, please'\n  \
        pachat send -x 'a one-line awk that sums column 3' | sh"
)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of the command line"
)]
pub struct SendArgs {
    /// The prompt; `-` stands for standard input
    #[arg(value_name = "PROMPT")]
    pub prompt: Vec<String>,

    /// Ask this model; a further -m names the model to fall back on
    #[arg(short, long = "model", value_name = "MODEL", help_heading = "Model")]
    pub models: Vec<String>,

    /// Instructions that stand before the conversation
    #[arg(short, long, value_name = "TEXT", help_heading = "Model")]
    pub system: Option<String>,

    /// Stop the reply after this many tokens
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), help_heading = "Model")]
    pub max_tokens: Option<u32>,

    /// Randomness of the reply, from 0 to 2
    #[arg(long, value_name = "T", value_parser = temperature, help_heading = "Model")]
    pub temperature: Option<f64>,

    /// Add a field to the request; the value is JSON, or else text
    #[arg(long = "option", value_name = "KEY=VALUE", value_parser = key_value, help_heading = "Model")]
    pub options: Vec<(String, serde_json::Value)>,

    /// Attach a text file to the prompt
    #[arg(short, long = "file", value_name = "FILE", value_hint = clap::ValueHint::FilePath, help_heading = "Conversation")]
    pub files: Vec<PathBuf>,

    /// Go on with the last conversation
    #[arg(
        short = 'c',
        long = "continue",
        conflicts_with = "conversation",
        help_heading = "Conversation"
    )]
    pub resume: bool,

    /// Go on with this conversation: the beginning of its id's last part, its exact title, or `last`
    #[arg(short = 'C', long, value_name = "ID", help_heading = "Conversation")]
    pub conversation: Option<String>,

    /// Give the new conversation this title
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["resume", "conversation"], help_heading = "Conversation")]
    pub title: Option<String>,

    /// Keep nothing on disk
    #[arg(long, conflicts_with_all = ["resume", "conversation", "title"], help_heading = "Conversation")]
    pub no_save: bool,

    /// Send interrupted and failed replies along as context, too
    #[arg(long, help_heading = "Conversation")]
    pub keep_partial: bool,

    /// Print one JSON object when the reply is complete
    #[arg(long, conflicts_with_all = ["ndjson", "extract"], help_heading = "Output")]
    pub json: bool,

    /// Print events as JSON lines: start, delta, end
    #[arg(long, conflicts_with = "extract", help_heading = "Output")]
    pub ndjson: bool,

    /// Print only the first code block of the reply
    #[arg(short = 'x', long, help_heading = "Output")]
    pub extract: bool,

    /// Wait for the whole reply, then print it
    #[arg(long, help_heading = "Output")]
    pub no_stream: bool,

    /// Show tokens and cost on stderr
    #[arg(long, help_heading = "Output")]
    pub usage: bool,

    /// Print the request as JSON and send nothing
    #[arg(long, help_heading = "Output")]
    pub dry_run: bool,

    /// Give up after this many seconds
    #[arg(long, value_name = "SECONDS", value_parser = seconds, help_heading = "Limits")]
    pub max_time: Option<Duration>,

    /// Refuse to send what might cost more than this many US dollars
    #[arg(long, value_name = "USD", help_heading = "Limits")]
    pub max_cost: Option<Usd>,

    /// Do not try again when the server is busy or away
    #[arg(long, help_heading = "Limits")]
    pub no_retry: bool,

    /// Exit with 75 where the limits of the account would make it wait
    #[arg(long, help_heading = "Limits")]
    pub no_wait: bool,

    /// Exit with 76 if the reply was cut at the maximum number of tokens
    #[arg(long, help_heading = "Limits")]
    pub strict: bool,
}

pub(super) fn temperature(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if (0.0..=2.0).contains(&value) => Ok(value),
        _ => Err("it must be a number from 0 to 2".into()),
    }
}

pub(super) fn key_value(text: &str) -> Result<(String, serde_json::Value), String> {
    let (key, value) = text.split_once('=').ok_or("write it as KEY=VALUE")?;
    if key.is_empty() {
        return Err("the key is empty".into());
    }
    let value = serde_json::from_str(value).unwrap_or_else(|_| value.into());
    Ok((key.to_owned(), value))
}

fn seconds(text: &str) -> Result<Duration, String> {
    text.parse::<f64>()
        .ok()
        .filter(|seconds| *seconds > 0.0)
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(|| "it must be a number of seconds above 0".into())
}

/// Carries out `send`.
pub fn run(args: &SendArgs, context: &mut Context) -> Result<()> {
    let prompt = read_prompt(args, context)?;
    let mut connection = Connection::new(connection::Limits {
        total: args.max_time,
        retry: !args.no_retry,
        wait: !args.no_wait,
        keep: !args.no_save && !args.dry_run,
    });
    if args.dry_run {
        return dry_run(args, &prompt, &mut connection, context);
    }
    let (mut keeper, ask) = begin(args, &prompt, &mut connection, context)?;
    if args.ndjson {
        let start = json!({
            "type": "start", "schema": 1, "conversation": id_of(&keeper), "model": ask.models[0],
        });
        context.ui.data(&json_line(&start)?)?;
    }
    let manner = match () {
        () if args.ndjson => Manner::Events,
        () if args.json || args.extract || args.no_stream => Manner::Silent,
        () => Manner::Text,
    };
    let clock = Arc::clone(&context.clock);
    let mut show = Show::new(&mut context.ui, manner, &ask.models[0]);
    let answered = connection.answer(
        &mut keeper,
        &ask,
        &mut show,
        clock.as_ref(),
        &context.signals,
        &context.log,
    );
    let ended = show.end();
    let outcome = answered?;
    connection.reconcile(&mut keeper, &outcome);
    ended?;
    report(args, &keeper, outcome, context)
}

/// The conversation to go on with, if one was named.
fn resumed(args: &SendArgs, store: &Store) -> Result<Option<ConversationId>> {
    if args.conversation.is_some() || args.resume {
        store.check()?;
    }
    match (&args.conversation, args.resume) {
        (Some(spec), _) => store.resolve(spec).map(Some),
        (None, true) => store.resolve("last").map(Some),
        (None, false) => Ok(None),
    }
}

/// Puts the prompt where it is kept, and decides how to ask. After this the prompt is on
/// disk, unless nothing is to be kept; an error means that nothing was changed.
fn begin(
    args: &SendArgs,
    prompt: &str,
    connection: &mut Connection,
    context: &mut Context,
) -> Result<(Keeper, Ask)> {
    let store = context.store();
    if let Some(id) = resumed(args, &store)? {
        let mut writer = session::open(&store, &id, context)?;
        let header = &writer.conversation.header;
        let models = connection.models(&args.models, header.model.as_deref(), context)?;
        connection.prepare(&models, context)?;
        let system = args.system.clone().or_else(|| header.system.clone());
        session::check_room(&writer, prompt, context)?;
        let ask = ask(args, models, system, context);
        if let Some(limit) = args.max_cost {
            connection.check_cost(limit, &ask, &writer.conversation, prompt, context)?;
        }
        writer.prompt(prompt)?;
        return Ok((Keeper::Stored(Box::new(writer)), ask));
    }
    let models = connection.models(&args.models, None, context)?;
    connection.prepare(&models, context)?;
    let system = args
        .system
        .clone()
        .or_else(|| context.settings.system().map(str::to_owned));
    let beginning = Beginning {
        title: args.title.clone(),
        model: models.first().cloned(),
        system: system.clone(),
    };
    let ask = ask(args, models, system, context);
    if let Some(limit) = args.max_cost {
        let begun = session::in_memory(beginning.clone(), prompt, context)?;
        connection.check_cost(limit, &ask, &begun, "", context)?;
    }
    let keeper = if args.no_save {
        let begun = session::in_memory(beginning, prompt, context)?;
        Keeper::Memory(Box::new(begun))
    } else {
        Keeper::Stored(Box::new(session::create(
            &store, beginning, prompt, context,
        )?))
    };
    Ok((keeper, ask))
}

fn ask(args: &SendArgs, models: Vec<String>, system: Option<String>, context: &Context) -> Ask {
    Ask {
        models,
        system,
        max_tokens: args.max_tokens.or(context.settings.max_tokens()),
        temperature: args.temperature.or(context.settings.temperature()),
        options: args.options.iter().cloned().collect(),
        stream: !args.no_stream,
        keep_partial: args.keep_partial || context.settings.keep_partial(),
        memory: context.settings.memory_limit(),
    }
}

/// The prompt from arguments, files and standard input.
fn read_prompt(args: &SendArgs, context: &mut Context) -> Result<String> {
    let limit = context.settings.memory_limit();
    // All of it together has to fit.
    let mut room = limit;
    let mut files = Vec::new();
    for file in &args.files {
        let attached = attach(file, room, limit, context)?;
        room.0 -= attached.text.len() as u64;
        files.push(attached);
    }
    let named = args.prompt.iter().any(|word| word == "-");
    let piped = if named || !context.stdin.is_terminal {
        read_stdin(room, limit, context)?
    } else {
        String::new()
    };
    let words: Vec<&str> = args
        .prompt
        .iter()
        .map(String::as_str)
        .filter(|word| *word != "-")
        .collect();
    let prompt = prompt::assemble(&words.join(" "), &files, &piped);
    if prompt.is_empty() {
        return Err(Error::new(Kind::Usage, "there is nothing to send")
            .why("the prompt is empty")
            .hint("pachat send 'your question', or pipe a text into pachat send"));
    }
    Ok(prompt)
}

fn read_stdin(room: ByteSize, limit: ByteSize, context: &mut Context) -> Result<String> {
    let mut bytes = Vec::new();
    let read = (&mut context.stdin.reader)
        .take(room.0 + 1)
        .read_to_end(&mut bytes);
    read.map_err(|error| Error::new(Kind::Io, "cannot read standard input").why(describe(&error)))?;
    if bytes.len() as u64 > room.0 {
        return Err(too_large("standard input", limit));
    }
    utf8(bytes, "standard input")
}

fn attach(file: &Path, room: ByteSize, limit: ByteSize, context: &Context) -> Result<Attachment> {
    let path = context.environment.resolve(file);
    let name = file.display().to_string();
    let bytes = context
        .disk
        .read(&path, room.0)
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::FileTooLarge => too_large(&name, limit),
            _ => Error::io("cannot attach the file", &path, &error),
        })?;
    Ok(Attachment {
        text: utf8(bytes, &name)?,
        name,
    })
}

fn utf8(bytes: Vec<u8>, name: &str) -> Result<String> {
    String::from_utf8(bytes).map_err(|_| {
        Error::new(Kind::Malformed, format!("{name} is not text"))
            .why("it is not UTF-8")
            .hint("convert it first, for example with iconv or base64")
    })
}

fn too_large(name: &str, limit: ByteSize) -> Error {
    Error::new(Kind::Malformed, format!("{name} is too large"))
        .why(format!("at most {limit} are read for one prompt"))
        .hint("raise limits.memory_mb, or send a part of it")
}

/// Prints the request that would be sent, without the key. Nothing is changed.
fn dry_run(
    args: &SendArgs,
    prompt: &str,
    connection: &mut Connection,
    context: &mut Context,
) -> Result<()> {
    let store = context.store();
    let (conversation, system) = if let Some(id) = resumed(args, &store)? {
        let mut conversation = store.read(&id)?.conversation;
        session::say(&mut conversation, prompt, context);
        let own = conversation.header.system.clone();
        (conversation, own)
    } else {
        let own = context.settings.system().map(str::to_owned);
        let begun = session::in_memory(Beginning::default(), prompt, context)?;
        (begun, own)
    };
    let own = conversation.header.model.as_deref();
    let models = connection.models(&args.models, own, context)?;
    let ask = ask(args, models, args.system.clone().or(system), context);
    // A new conversation gets its id when it is begun, so there is none to show yet.
    let known = args.resume || args.conversation.is_some();
    let request = turn::request(&ask, &conversation, known);
    let document = Connection::describe(&request, context)?;
    context.ui.data(&json_line(&document)?)
}

/// Prints what is printed at the end, and turns the way in which the reply ended into the
/// result of the command.
fn report(args: &SendArgs, keeper: &Keeper, outcome: Outcome, context: &mut Context) -> Result<()> {
    let Outcome {
        reply,
        error,
        notices,
        ..
    } = outcome;
    if let Some(closed) = error.as_ref().filter(|error| error.kind() == Kind::Closed) {
        return Err(Error::new(Kind::Closed, closed.headline()));
    }
    if args.json || args.ndjson {
        let document = document(args, keeper, &reply, error.as_ref());
        context.ui.data(&json_line(&document)?)?;
    } else if args.no_stream && !args.extract {
        Show::new(&mut context.ui, Manner::Text, "").whole(&reply.content.to_text())?;
    }
    for notice in &notices {
        context.ui.warn(notice);
    }
    if args.usage {
        let spent = session::spent_line(context);
        context.ui.note(&format!("{}{spent}", usage_line(&reply)));
    }
    if let Some(error) = error {
        let error = connection::name_models(error, context);
        return Err(explain(error, keeper, &reply));
    }
    if args.extract {
        extract(&reply, context)?;
    }
    match reply.state {
        Some(State::Length) => cut(args, context),
        Some(State::Filtered) => {
            context
                .ui
                .warn("the reply was cut by the server's content filter");
            Ok(())
        }
        _ => Ok(()),
    }
}

fn cut(args: &SendArgs, context: &mut Context) -> Result<()> {
    let what = "the reply was cut at the maximum number of tokens";
    let hint = "go on with `pachat send -c 'go on'`, or allow more with --max-tokens";
    if args.strict {
        return Err(Error::new(Kind::Incomplete, what).hint(hint));
    }
    context.ui.warn(&format!("{what}; {hint}"));
    Ok(())
}

fn extract(reply: &Message, context: &mut Context) -> Result<()> {
    if let Some(code) = prompt::first_code_block(&reply.content.to_text()) {
        return context.ui.text(&code);
    }
    context
        .ui
        .note("pachat: there is no code block in the reply");
    Err(Error::new(Kind::No, ""))
}

/// Says of a broken reply what is kept, and how to go on.
fn explain(error: Error, keeper: &Keeper, reply: &Message) -> Error {
    let stored = matches!(keeper, Keeper::Stored(_));
    if !stored || error.hint_text().is_some() {
        return error;
    }
    let id = keeper.conversation().id().short();
    if reply.content.is_empty() {
        error.hint(format!(
            "the prompt is kept; ask again: pachat send -C {id} 'please answer'"
        ))
    } else {
        error.hint(format!(
            "what has arrived is kept; go on: pachat send -C {id} 'go on'"
        ))
    }
}

fn id_of(keeper: &Keeper) -> Option<&str> {
    match keeper {
        Keeper::Stored(writer) => Some(writer.conversation.id().as_str()),
        Keeper::Memory(_) => None,
    }
}

/// The one object of `--json`, and the last event of `--ndjson`.
fn document(args: &SendArgs, keeper: &Keeper, reply: &Message, error: Option<&Error>) -> Value {
    let mut document = if args.ndjson {
        json!({ "type": "end" })
    } else {
        json!({ "schema": 1, "content": reply.content.to_text(), "reasoning": reply.reasoning })
    };
    let usage = reply
        .usage
        .as_ref()
        .and_then(|Usage(raw)| serde_json::from_str::<Value>(raw.get()).ok());
    let error =
        error.map(|error| json!({ "exit_code": error.kind().code(), "message": error.headline() }));
    let rest = json!({
        "conversation": id_of(keeper),
        "n": reply.n,
        "state": reply.state,
        "finish_reason": reply.finish_reason,
        "model": reply.model,
        "provider": reply.provider,
        "generation_id": reply.generation_id,
        "usage": usage,
        "cost": reply.cost,
        "latency_ms": reply.latency_ms,
        "error": error,
    });
    if let (Value::Object(document), Value::Object(rest)) = (&mut document, rest) {
        document.extend(rest);
    }
    document
}
