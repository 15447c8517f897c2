//! `pachat export`: a conversation for other eyes and other programs.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use crate::context::Context;
use crate::model::error::{Error, Kind, Result};
use crate::model::id::ConversationId;
use crate::model::secret;
use crate::ops::export;
use crate::platform::disk::FileKind;
use crate::store::read::{Loaded, Scope};
use crate::store::{Store, atomic};

use super::session;

/// Arguments of `export`.
#[derive(Debug, Args)]
#[command(
    about = "Print a conversation as Markdown, text, JSON or JSON Lines",
    long_about = "Prints conversations on stdout or writes them to a file or a directory. Markdown is the default; \
        jsonl is the conversation's own lines, byte for byte, and loses nothing.",
    after_long_help = "Examples:\n  \
        pachat export last\n  \
        pachat export 7k2 -F json | jq .messages\n  \
        pachat export --all -o chats/ -F markdown"
)]
pub struct ExportArgs {
    /// The conversations: the beginning of an id's last part, an exact title, or `last` (the default)
    #[arg(value_name = "ID", conflicts_with = "all")]
    pub ids: Vec<String>,

    /// Export every conversation, archived ones included
    #[arg(long)]
    pub all: bool,

    /// The format
    #[arg(short = 'F', long, value_enum, default_value_t = Format::Markdown)]
    pub format: Format,

    /// Write to this file, or to one file per conversation in this directory
    #[arg(short, long, value_name = "PATH", value_hint = clap::ValueHint::AnyPath)]
    pub output: Option<PathBuf>,

    /// Replace files that exist
    #[arg(long)]
    pub force: bool,
}

/// Formats of `export`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Markdown, with a heading for each message
    Markdown,
    /// Plain text
    Text,
    /// One JSON document
    Json,
    /// The conversation's own lines
    Jsonl,
}

impl Format {
    fn extension(self) -> &'static str {
        match self {
            Self::Markdown => "md",
            Self::Text => "txt",
            Self::Json => "json",
            Self::Jsonl => "jsonl",
        }
    }

    /// The conversation in this format. Formats that go to other people have no API keys in
    /// them; JSON Lines are the file itself.
    fn render(self, loaded: &Loaded) -> Result<Rendered> {
        let conversation = &loaded.conversation;
        let text = match self {
            Self::Markdown => export::markdown(conversation),
            Self::Text => export::text(conversation),
            Self::Json => export::json(conversation)
                .map_err(|error| Error::new(Kind::Bug, "cannot write JSON").cause(error))?,
            Self::Jsonl => {
                return Ok(Rendered {
                    bytes: loaded.lines.clone(),
                    redacted: false,
                });
            }
        };
        let safe = secret::redact(&text, &[]);
        Ok(Rendered {
            redacted: safe != text,
            bytes: safe.into_bytes(),
        })
    }
}

/// A conversation as it is exported.
struct Rendered {
    bytes: Vec<u8>,
    /// Whether something that looks like an API key was replaced.
    redacted: bool,
}

/// Carries out `export`.
pub fn run(args: &ExportArgs, context: &mut Context) -> Result<()> {
    let store = context.store();
    store.check()?;
    let ids = if args.all {
        store.ids(Scope::All)?
    } else if args.ids.is_empty() {
        vec![store.resolve("last")?]
    } else {
        args.ids
            .iter()
            .map(|spec| store.resolve(spec))
            .collect::<Result<_>>()?
    };
    if let Some(output) = &args.output {
        let output = context.environment.resolve(output);
        return to_files(args, &store, &ids, &output, context);
    }
    for (at, id) in ids.iter().enumerate() {
        if at > 0 && matches!(args.format, Format::Markdown | Format::Text) {
            context.ui.data(b"\n")?;
        }
        let bytes = render(args.format, &store, id, context)?;
        // A reply may hold escape sequences; a pipe gets the exact bytes.
        if context.ui.stdout_is_terminal() {
            context.ui.text(&String::from_utf8_lossy(&bytes))?;
        } else {
            context.ui.data(&bytes)?;
        }
    }
    Ok(())
}

/// Renders a conversation, with what an interrupted reply has left folded in.
fn render(
    format: Format,
    store: &Store,
    id: &ConversationId,
    context: &mut Context,
) -> Result<Vec<u8>> {
    session::fold(store, id, context)?;
    let loaded = store.read(id)?;
    if let Some(fault) = loaded.conversation.faults.first() {
        let (line, why) = (fault.line, &fault.why);
        context
            .ui
            .warn(&format!("{id}: line {line} cannot be read: {why}"));
    }
    let rendered = format.render(&loaded)?;
    if rendered.redacted {
        context.ui.note(&format!(
            "pachat: {id}: what looks like an API key is replaced by (redacted); -F jsonl has everything"
        ));
    }
    Ok(rendered.bytes)
}

/// Writes one file, or one for each conversation into a directory. Each is there whole or
/// not at all.
fn to_files(
    args: &ExportArgs,
    store: &Store,
    ids: &[ConversationId],
    output: &Path,
    context: &mut Context,
) -> Result<()> {
    let is_directory = context
        .disk
        .stat(output)
        .is_ok_and(|stat| stat.kind == FileKind::Directory);
    let single = ids.len() == 1 && !args.all && !is_directory;
    if !single {
        atomic::create_dirs(context.disk.as_ref(), output)
            .map_err(|error| error.with_kind(Kind::CannotCreate))?;
    }
    for id in ids {
        let path = if single {
            output.to_path_buf()
        } else {
            output.join(format!("{id}.{}", args.format.extension()))
        };
        if !args.force && context.disk.stat(&path).is_ok() {
            return Err(Error::new(Kind::CannotCreate, "cannot export")
                .why("the file exists already")
                .path(&path)
                .hint("replace it with --force, or name another one"));
        }
        let bytes = render(args.format, store, id, context)?;
        atomic::replace(
            context.disk.as_ref(),
            context.random.as_ref(),
            &path,
            &bytes,
        )
        .map_err(|error| error.with_kind(Kind::CannotCreate))?;
    }
    let count = match ids.len() {
        1 => "1 conversation is".to_owned(),
        count => format!("{count} conversations are"),
    };
    context.ui.note(&format!("{count} in {}", output.display()));
    Ok(())
}
