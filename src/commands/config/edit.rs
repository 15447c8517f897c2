//! `config edit`: the settings in a person's editor.
//!
//! Layer: commands. Promise: the file changes at once and only to something valid; what
//! was typed is never thrown away.

use std::io;
use std::path::{Path, PathBuf};

use crate::context::Context;
use crate::model::error::{Error, Kind, Result};
use crate::model::log_line::Audit;
use crate::ops::journal;
use crate::platform::disk::Open;
use crate::settings;
use crate::store::atomic;

use super::meaning;

/// The most that is read back from the editor, in bytes.
const LARGEST: u64 = 1 << 20;

pub(super) fn run(context: &mut Context) -> Result<()> {
    let target = context.settings.config_file().to_path_buf();
    if let Some(directory) = target.parent() {
        atomic::create_dirs(context.disk.as_ref(), directory)?;
    }
    let before = current(context, &target)?;
    let start = before.clone().unwrap_or_else(|| b"{\n}\n".to_vec());
    let copy = copy(context, &target, &start)?;
    let outcome = edit(context, &target, before.as_deref(), &start, &copy);
    match outcome {
        Ok(line) => {
            discard(context, &copy);
            context.ui.note(&line);
            Ok(())
        }
        Err(error) => {
            let kept = changed(context, &copy, &start);
            if kept {
                let line = format!(
                    "{} is as it was; what you typed is in {}",
                    target.display(),
                    copy.display()
                );
                context.ui.note(&line);
            } else {
                discard(context, &copy);
            }
            Err(error)
        }
    }
}

/// Opens the copy in the editor and, if it is valid, replaces the target by it. Returns
/// what to tell.
fn edit(
    context: &mut Context,
    target: &Path,
    before: Option<&[u8]>,
    start: &[u8],
    copy: &Path,
) -> Result<String> {
    let editor = editor(context);
    let failed = |why: String| {
        Error::new(Kind::Usage, "the settings were not edited")
            .why(why)
            .hint("set VISUAL or EDITOR to an editor that waits until you are done")
    };
    match context.programs.edit(&editor, copy) {
        Ok(true) => {}
        Ok(false) => return Err(failed(format!("the editor `{editor}` did not end well"))),
        Err(error) => {
            return Err(failed(format!("the editor `{editor}` cannot be run")).cause(error));
        }
    }
    let after = context
        .disk
        .read(copy, LARGEST)
        .map_err(|error| Error::io("cannot read what was typed", copy, &error))?;
    if after == start {
        return Ok("nothing was changed".into());
    }
    for warning in settings::check(&after, copy)? {
        context.ui.warn(&warning);
    }
    for (key, change) in settings::differences(before, &after) {
        meaning::check(key, &change).map_err(|error| error.with_kind(Kind::Config).path(copy))?;
    }
    let _lock = super::lock(context)?;
    if current(context, target)?.as_deref() != before {
        return Err(Error::new(Kind::Busy, "the settings were not replaced")
            .why("they were changed by someone else in the meantime")
            .path(target)
            .hint("compare the two files, and run `pachat config edit` again"));
    }
    let (disk, random) = (context.disk.as_ref(), context.random.as_ref());
    atomic::replace(disk, random, target, &after)?;
    audit(before, &after, context);
    Ok(format!(
        "{} is replaced; undo: pachat config edit",
        target.display()
    ))
}

/// A line in the log for each setting that changed; one for anything else that did.
fn audit(before: Option<&[u8]>, after: &[u8], context: &Context) {
    let changes = settings::differences(before, after);
    for (key, change) in &changes {
        super::audit("config edit", key, change, context);
    }
    if changes.is_empty() {
        journal::audit(&context.log, Audit::new("config edit"));
    }
}

/// `VISUAL`, else `EDITOR`, else what every system of its kind has.
fn editor(context: &Context) -> String {
    let named = ["VISUAL", "EDITOR"]
        .iter()
        .find_map(|name| context.environment.get(name));
    let usual = if cfg!(windows) { "notepad" } else { "vi" };
    named.unwrap_or(usual).to_owned()
}

fn current(context: &Context, target: &Path) -> Result<Option<Vec<u8>>> {
    match context.disk.read(target, LARGEST) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("cannot read the settings", target, &error)),
    }
}

/// A copy beside the target; its name ends in `.json`, so that editors know what it is.
fn copy(context: &Context, target: &Path, bytes: &[u8]) -> Result<PathBuf> {
    let fail = |path: &Path, error: &io::Error| {
        Error::io("cannot make a copy to edit", path, error).with_kind(Kind::CannotCreate)
    };
    let random = context
        .random
        .next_u32()
        .map_err(|error| fail(target, &error))?;
    let stem = target.file_stem().unwrap_or_default().to_string_lossy();
    let copy = target.with_file_name(format!("{stem}.{random:08x}.edit.json"));
    let written = context
        .disk
        .open(&copy, Open::CreateNew)
        .and_then(|mut file| file.write_all(bytes));
    if let Err(error) = written {
        discard(context, &copy);
        return Err(fail(&copy, &error));
    }
    Ok(copy)
}

fn changed(context: &Context, copy: &Path, start: &[u8]) -> bool {
    match context.disk.read(copy, LARGEST) {
        Ok(now) => now != start,
        // Too large, or not readable: not ours to judge.
        Err(error) => error.kind() != io::ErrorKind::NotFound,
    }
}

fn discard(context: &Context, copy: &Path) {
    if let Err(error) = context.disk.remove_file(copy) {
        log::warn!("cannot remove {}: {error}", copy.display());
    }
}
