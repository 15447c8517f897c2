//! `config key`: the sealed keys, and which key a request would carry.
//!
//! Layer: commands. Promise: of a key at most its last four characters are shown.

use std::cell::Cell;
use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use serde_json::{Value as Json, json};
use zeroize::Zeroizing;

use crate::context::Context;
use crate::model::error::{Error, Kind, Result};
use crate::model::log_line::Audit;
use crate::model::secret::Secret;
use crate::model::time;
use crate::ops::journal;
use crate::ops::key::{self, KeySource, Sources};
use crate::platform::Programs;
use crate::platform::program::{Captured, Ended};
use crate::settings::Origin;
use crate::store::keys::{self, Access, KeyStore, Mode, NewWrap};

use super::{KeyAction, Wrap};

pub(super) fn run(action: KeyAction, context: &mut Context) -> Result<()> {
    match action {
        KeyAction::Set {
            stdin,
            wrap,
            wrap_command,
        } => set(stdin, new_wrap(wrap, wrap_command)?.as_ref(), context),
        KeyAction::Status { json } => status(json, context),
        KeyAction::Remove => remove(context),
    }
}

/// The key for requests to the configured server, and where it came from; `None` if
/// there is none. May run a command or ask for a pass phrase, so it is called only when
/// a request is about to leave. Warns of a key that does not look like OpenRouter's.
pub fn resolve(context: &mut Context) -> Result<Option<(Secret, KeySource)>> {
    let resolved = with_sources(context, context.programs.as_ref(), key::resolve)?;
    if let Some((secret, _)) = &resolved {
        warn_of_doubt(secret, context);
    }
    Ok(resolved)
}

/// The key as a look at the installation finds it.
pub enum Quiet {
    /// There is none.
    Missing,
    /// It opened without a word.
    Found(Secret, KeySource),
    /// It is there, and opening it would take a person or a command: why it was left closed.
    Closed(KeySource, &'static str),
    /// It is there, and the command that opens it did not come to its end in time.
    Late(KeySource),
}

/// The key for requests, without asking anybody. A command is run only with a limit, and ended
/// when that has passed.
pub fn resolve_quietly(context: &Context, limit: Option<Duration>) -> Result<Quiet> {
    let programs = context.programs.as_ref();
    let Some(source) = with_sources(context, programs, key::source)? else {
        return Ok(Quiet::Missing);
    };
    let runs_commands = limit.is_some();
    let asks = context.settings.encryption_key().is_none();
    match source {
        KeySource::Sealed(Mode::Passphrase) if asks => {
            return Ok(Quiet::Closed(source, "it wants a pass phrase"));
        }
        // What a pass phrase is made into a key with takes time on purpose.
        KeySource::Sealed(Mode::Passphrase) if !runs_commands => {
            return Ok(Quiet::Closed(source, "not tried"));
        }
        KeySource::Command | KeySource::Sealed(Mode::Command) if !runs_commands => {
            return Ok(Quiet::Closed(source, "its command was not run"));
        }
        _ => {}
    }
    let programs = Limited {
        programs,
        limit,
        is_late: Cell::new(false),
    };
    let resolved = with_sources(context, &programs, key::resolve);
    if programs.is_late.get() {
        return Ok(Quiet::Late(source));
    }
    Ok(match resolved? {
        Some((secret, source)) => Quiet::Found(secret, source),
        None => Quiet::Missing,
    })
}

/// Programs that may take so long.
struct Limited<'a> {
    programs: &'a dyn Programs,
    limit: Option<Duration>,
    /// Whether one took longer.
    is_late: Cell<bool>,
}

impl Programs for Limited<'_> {
    fn capture(&self, command: &str, limit: Option<Duration>) -> io::Result<Captured> {
        let captured = self.programs.capture(command, limit.or(self.limit));
        if let Err(error) = &captured
            && error.kind() == io::ErrorKind::TimedOut
        {
            self.is_late.set(true);
        }
        captured
    }

    fn run(
        &self,
        program: &OsStr,
        arguments: &[OsString],
        stdin: &[u8],
        limit: Option<Duration>,
    ) -> io::Result<Ended> {
        self.programs.run(program, arguments, stdin, limit)
    }

    fn edit(&self, editor: &str, file: &Path) -> io::Result<bool> {
        self.programs.edit(editor, file)
    }
}

fn warn_of_doubt(secret: &Secret, context: &mut Context) {
    if context.settings.base_url().is_openrouter()
        && let Some(doubt) = key::doubt(secret)
    {
        context.ui.warn(&doubt);
    }
}

fn access<'a>(context: &'a Context, programs: &'a dyn Programs) -> Access<'a> {
    Access {
        disk: context.disk.as_ref(),
        random: context.random.as_ref(),
        config_dir: context.settings.config_dir(),
        data_dir: context.settings.data_dir(),
        passphrase: context.settings.encryption_key(),
        secrets: context.secrets.as_ref(),
        programs,
    }
}

fn with_sources<T>(
    context: &Context,
    programs: &dyn Programs,
    action: impl FnOnce(&Sources<'_>) -> Result<T>,
) -> Result<T> {
    let file = context.global.api_key_file.as_ref();
    let file = file.map(|path| context.environment.resolve(path));
    let variable = context.settings.api_key().map(|(secret, origin)| {
        let name = match origin {
            Origin::Environment(name) => name.clone(),
            Origin::DotEnv(path, name) => format!("{name} in {}", path.display()),
            other => other.to_string(),
        };
        (secret, name)
    });
    action(&Sources {
        file: file.as_deref(),
        command: context.settings.key_command(),
        variable,
        store: &context.settings.keys_file(),
        origin: &context.settings.base_url().origin(),
        access: access(context, programs),
    })
}

fn new_wrap(wrap: Option<Wrap>, command: Option<String>) -> Result<Option<NewWrap>> {
    let mode = match (wrap, &command) {
        (Some(Wrap::Keyfile), None) => Mode::Keyfile,
        (Some(Wrap::Passphrase), None) => Mode::Passphrase,
        (Some(Wrap::Command) | None, Some(_)) | (Some(Wrap::Command), None) => Mode::Command,
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => {
            return Err(Error::new(Kind::Usage, "cannot seal the key")
                .why("--wrap-command goes with --wrap command only")
                .hint("leave one of the two out"));
        }
    };
    Ok(Some(NewWrap { mode, command }))
}

fn set(stdin: bool, wrap: Option<&NewWrap>, context: &mut Context) -> Result<()> {
    let origin = context.settings.base_url().origin();
    let typed = if stdin {
        read_stdin(context)?
    } else {
        ask(&origin, context)?
    };
    let key = key::normalise(&typed, "cannot seal the key")?;
    warn_of_doubt(&key, context);
    context.log.hide(&key);
    let path = context.settings.keys_file();
    let lock = super::lock(context)?;
    let put = keys::put(
        &access(context, context.programs.as_ref()),
        &path,
        &origin,
        &key,
        wrap,
        context.clock.now(),
    )?;
    drop(lock);
    let verb = if put.replaced { "replaced" } else { "sealed" };
    let change = Audit::new("config key set")
        .with("server", &origin)
        .with("result", verb)
        .with("wrap", put.mode.name());
    journal::audit(&context.log, change);
    let undo = format!("pachat config key remove{}", base_url_option(context));
    context.ui.note(&format!(
        "{verb} the key for {origin} ({}); undo: {undo}",
        key::mask(&key)
    ));
    if put.resealed > 0 {
        let line = format!("keys of other servers sealed anew: {}", put.resealed);
        context.ui.note(&line);
    }
    let line = format!("sealed by {}: {}", put.mode.name(), put.mode.protects());
    context.ui.note(&line);
    match with_sources(context, context.programs.as_ref(), key::source)? {
        Some(KeySource::Sealed(_)) | None => {}
        Some(other) => context
            .ui
            .warn(&format!("the key from {other} wins over the sealed one")),
    }
    Ok(())
}

fn read_stdin(context: &mut Context) -> Result<Secret> {
    const LONGEST: u16 = 1 << 14;
    // Large enough from the start: growing would leave a copy of the key behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::from(LONGEST) + 1));
    (&mut context.stdin.reader)
        .take(u64::from(LONGEST))
        .read_to_end(&mut bytes)
        .map_err(|error| Error::new(Kind::Io, "cannot read the key from stdin").cause(error))?;
    Secret::from_bytes(std::mem::take(&mut *bytes))
        .ok_or_else(|| Error::new(Kind::Denied, "cannot seal the key").why("it is not text"))
}

fn ask(origin: &str, context: &Context) -> Result<Secret> {
    let prompt = format!("API key for {origin} (not shown): ");
    let typed = context.secrets.ask(&prompt).map_err(|error| {
        if let Some(signal) = Error::of_wait(&error) {
            return signal;
        }
        Error::new(Kind::Usage, "cannot ask for the key")
            .why("there is no terminal to ask on")
            .cause(error)
            .hint("give the key on standard input: pachat config key set --stdin")
    })?;
    Ok(Secret::from_zeroizing(typed))
}

fn base_url_option(context: &Context) -> String {
    match &context.global.base_url {
        Some(url) => format!(" --base-url {}", super::quote(url)),
        None => String::new(),
    }
}

fn remove(context: &mut Context) -> Result<()> {
    let origin = context.settings.base_url().origin();
    let path = context.settings.keys_file();
    let _lock = super::lock(context)?;
    let removed = match keys::read(context.disk.as_ref(), &path)? {
        Some(store) => store.remove(context.disk.as_ref(), context.random.as_ref(), &origin)?,
        None => false,
    };
    if !removed {
        return Err(Error::new(
            Kind::NotFound,
            format!("there is no sealed key for {origin}"),
        )
        .hint("`pachat config key status` shows the servers that have one"));
    }
    let change = Audit::new("config key remove").with("server", &origin);
    journal::audit(&context.log, change);
    let again = format!("pachat config key set{}", base_url_option(context));
    context.ui.note(&format!(
        "removed the sealed key for {origin}; it cannot be brought back: {again}"
    ));
    Ok(())
}

/// The key that a request would carry.
struct Status {
    source: KeySource,
    /// What may be shown of it; `None` if looking would run a command or ask.
    mask: Option<String>,
}

/// Prints which key would be sent where. Runs no command and asks nothing. Exit code 1
/// if there is none.
fn status(as_json: bool, context: &mut Context) -> Result<()> {
    let store = keys::read(context.disk.as_ref(), &context.settings.keys_file())?;
    let current = match with_sources(context, context.programs.as_ref(), key::source)? {
        None => None,
        Some(source @ (KeySource::Command | KeySource::Sealed(Mode::Command))) => {
            Some(Status { source, mask: None })
        }
        Some(source @ KeySource::Sealed(Mode::Passphrase)) => Some(Status { source, mask: None }),
        Some(source) => {
            let resolved = with_sources(context, context.programs.as_ref(), key::resolve)?;
            resolved.map(|(secret, _)| {
                warn_of_doubt(&secret, context);
                Status {
                    source,
                    mask: Some(key::mask(&secret)),
                }
            })
        }
    };
    let text = if as_json {
        format!(
            "{:#}\n",
            document(current.as_ref(), store.as_ref(), context)
        )
    } else {
        lines(current.as_ref(), store.as_ref(), context)
    };
    context.ui.text(&text)?;
    match current {
        Some(_) => Ok(()),
        None => Err(Error::new(Kind::No, "")),
    }
}

fn document(current: Option<&Status>, store: Option<&KeyStore>, context: &Context) -> Json {
    let kind = |source: &KeySource| match source {
        KeySource::File(_) => "file",
        KeySource::Command => "command",
        KeySource::Variable(_) => "variable",
        KeySource::Sealed(_) => "sealed",
    };
    let sealed: Vec<Json> = store
        .into_iter()
        .flat_map(KeyStore::origins)
        .map(|(origin, at)| json!({"origin": origin, "created_at": time::format(at)}))
        .collect();
    json!({
        "schema": 1,
        "base_url": context.settings.base_url().as_str(),
        "origin": context.settings.base_url().origin(),
        "key": current.map(|status| json!({
            "kind": kind(&status.source),
            "source": status.source.to_string(),
            "masked": status.mask,
        })),
        "wrap": store.map(|store| store.mode().name()),
        "sealed": sealed,
    })
}

/// Tab-separated in a pipe, in columns on a terminal.
fn lines(current: Option<&Status>, store: Option<&KeyStore>, context: &Context) -> String {
    let gap = |name: &str| {
        if context.ui.stdout_is_terminal() {
            format!("{name:8}")
        } else {
            format!("{name}\t")
        }
    };
    let key = match current {
        Some(Status {
            source,
            mask: Some(mask),
        }) => format!("{mask} from {source}"),
        Some(Status { source, mask: None }) => format!("from {source}"),
        None => "none".into(),
    };
    let mut lines = vec![
        gap("server") + context.settings.base_url().as_str(),
        gap("key") + &key,
    ];
    if let Some(store) = store {
        let mode = store.mode().name();
        lines.extend(store.origins().map(|(origin, at)| {
            let at = time::format(at);
            format!("{}{origin} ({mode}, since {at})", gap("sealed"))
        }));
    }
    lines.join("\n") + "\n"
}
