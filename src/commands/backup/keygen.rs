//! `pachat backup keygen`: the identity that opens encrypted backups.
//!
//! Invariant: a recipient gets into the settings only after its identity is out of this
//! process, on standard output or synced to a file. The other way round, backups could be
//! sealed that nobody can open.

use std::io::{self, Write as _};
use std::path::Path;

use zeroize::Zeroizing;

use crate::archive::seal;
use crate::commands::config;
use crate::context::Context;
use crate::model::error::{Error, Kind, Result};
use crate::model::log_line::Audit;
use crate::model::secret::Secret;
use crate::ops::journal;
use crate::platform::disk::Open;
use crate::settings::{self, Settings};

const SETTING: &str = "backup.recipients";

pub(super) fn run(output: Option<&Path>, context: &mut Context) -> Result<()> {
    let (identity, recipient) = seal::generate();
    context.log.hide(&identity);
    let text = text(&identity, &recipient, context);
    let _lock = config::lock(context)?;
    match output.map(|path| context.environment.resolve(path)) {
        Some(path) => {
            write(&path, text.as_bytes(), context)?;
            context
                .ui
                .note(&format!("the identity is in {}", path.display()));
        }
        None => context.ui.data(text.as_bytes())?,
    }
    add(&recipient, context)?;
    journal::audit(
        &context.log,
        Audit::new("backup keygen").with("recipient", &recipient),
    );
    for line in [
        format!("{recipient} is in {SETTING} now; undo: pachat config edit"),
        "keep the identity on paper or on another disk: without it nobody opens what is encrypted to it, \
         and pachat keeps no copy"
            .to_owned(),
        "encrypt to it: pachat backup --encrypted; always: pachat config set backup.encrypted true"
            .to_owned(),
        "open with it: pachat restore --identity FILE, or age -d -i FILE backup.tar.gz.age | tar xz"
            .to_owned(),
    ] {
        context.ui.note(&line);
    }
    Ok(())
}

/// The identity as `age-keygen` writes it.
fn text(identity: &Secret, recipient: &str, context: &Context) -> Zeroizing<String> {
    let created = context.clock.now();
    Zeroizing::new(format!(
        "# created: {created:.0}\n# public key: {recipient}\n{}\n",
        identity.expose().trim_end()
    ))
}

/// Writes the new file; one that exists may hold the only copy of another key.
fn write(path: &Path, bytes: &[u8], context: &Context) -> Result<()> {
    let disk = context.disk.as_ref();
    let fail = |error: io::Error| {
        let made = Error::io("cannot write the identity", path, &error);
        match error.kind() {
            io::ErrorKind::AlreadyExists => made
                .with_kind(Kind::CannotCreate)
                .hint("name another file: an identity is never replaced"),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => made,
            _ => made.with_kind(Kind::CannotCreate),
        }
    };
    let mut file = disk.open(path, Open::CreateNew).map_err(fail)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_data());
    drop(file);
    let directory = path.parent().unwrap_or(path);
    written
        .and_then(|()| disk.sync_dir(directory))
        .map_err(|error| {
            // Half a key is none.
            let _ = disk.remove_file(path);
            fail(error)
        })
}

/// Adds a recipient to the settings as they are now; the caller holds their lock.
fn add(recipient: &str, context: &Context) -> Result<()> {
    let disk = context.disk.as_ref();
    let (now, _) = Settings::load(&context.global, &context.environment, disk)?;
    let mut recipients = now.backup_recipients();
    recipients.push(recipient.to_owned());
    let path = context.settings.config_file();
    let value = recipients.join(", ");
    settings::set(disk, context.random.as_ref(), path, SETTING, &value)
        .map_err(|error| {
            error.hint(format!(
                "the identity itself is good; encrypt to it with --recipient {recipient}"
            ))
        })
        .map(drop)
}
