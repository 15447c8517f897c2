//! A pass phrase that is kept in a file or that a command prints.
//!
//! Layer: commands. Used by `backup`, which seals with it, and `restore`, which opens.

use std::path::Path;

use zeroize::Zeroize;

use crate::context::Context;
use crate::model::error::{Error, Result, describe};
use crate::model::secret::Secret;
use crate::platform::disk::Open;

/// The most that is read of a file with a secret, in bytes.
const LARGEST: u64 = 64 << 10;

/// The pass phrase of `--passphrase-file` or `--passphrase-command`; `None` where neither was
/// given. `refused` makes the error of what cannot be one: why, in a few words.
pub(super) fn given(
    file: Option<&Path>,
    command: Option<&str>,
    refused: &dyn Fn(&str) -> Error,
    context: &mut Context,
) -> Result<Option<Secret>> {
    let bytes = match (file, command) {
        (Some(path), _) => {
            let path = context.environment.resolve(path);
            read(&path, "the pass phrase", context)?
        }
        (None, Some(command)) => run(command, refused, context)?,
        (None, None) => return Ok(None),
    };
    let secret = first_line(bytes).ok_or_else(|| refused("it is not text"))?;
    if secret.expose().trim().is_empty() {
        return Err(refused("it is empty"));
    }
    Ok(Some(secret))
}

/// The content of a file with a secret. Warns if others can read it.
pub(super) fn read(path: &Path, what: &str, context: &mut Context) -> Result<Vec<u8>> {
    let disk = context.disk.as_ref();
    let bytes = disk
        .read(path, LARGEST)
        .map_err(|error| Error::io(format!("cannot read {what}"), path, &error))?;
    // The file behind a link counts, so it is opened.
    let stat = disk.open(path, Open::Read).and_then(|file| file.stat());
    let mode = stat.ok().and_then(|stat| stat.mode);
    if mode.is_some_and(|mode| mode & 0o077 != 0) {
        context.ui.warn(&format!(
            "others can read {what} in {path}; run `chmod 600 {path}`",
            path = path.display()
        ));
    }
    Ok(bytes)
}

fn run(command: &str, refused: &dyn Fn(&str) -> Error, context: &Context) -> Result<Vec<u8>> {
    let mut captured = context.programs.capture(command, None).map_err(|error| {
        let failed = || refused("the command cannot be run").cause(describe(&error));
        Error::of_wait(&error).unwrap_or_else(failed)
    })?;
    if captured.success {
        return Ok(captured.stdout);
    }
    captured.stdout.zeroize();
    Err(refused("the command failed").hint("run the command of --passphrase-command yourself"))
}

/// The first line, as an editor leaves it; `None` if it is not text.
fn first_line(mut bytes: Vec<u8>) -> Option<Secret> {
    let end = bytes
        .iter()
        .position(|byte| matches!(byte, b'\n' | b'\r'))
        .unwrap_or(bytes.len());
    bytes[end..].zeroize();
    bytes.truncate(end);
    Secret::from_bytes(bytes)
}
