//! How a backup is sealed: to recipients, or with a pass phrase from somewhere.

use zeroize::Zeroizing;

use crate::archive::seal::{self, Seal};
use crate::context::Context;
use crate::model::error::{Error, Kind, Result, describe};
use crate::model::secret::Secret;

use super::BackupArgs;
use crate::commands::passphrase;

/// How a backup is sealed.
pub(super) struct Sealing {
    /// Whether it is.
    pub(super) sealed: bool,
    /// To whom, sorted; nobody if it is with a pass phrase.
    pub(super) recipients: Vec<String>,
    /// The seal itself. `None` if the backup is open, or only announced.
    pub(super) seal: Option<Seal>,
}

/// How the backup is going to be sealed, without asking or running anything.
pub(super) fn announced(args: &BackupArgs, context: &Context) -> Result<Sealing> {
    let has_passphrase = args.passphrase_file.is_some() || args.passphrase_command.is_some();
    let wanted = args.encrypted || context.settings.backup_encrypted();
    let named = if !args.recipient.is_empty() {
        args.recipient.clone()
    } else if wanted && !has_passphrase {
        context.settings.backup_recipients()
    } else {
        Vec::new()
    };
    let mut recipients = Vec::new();
    for recipient in named {
        let recipient = recipient.trim().to_owned();
        seal::check_recipient(&recipient).map_err(|error| {
            if args.recipient.is_empty() {
                let path = context.settings.config_file();
                error.with_kind(Kind::Config).path(path)
            } else {
                error
            }
        })?;
        recipients.push(recipient);
    }
    recipients.sort_unstable();
    recipients.dedup();
    Ok(Sealing {
        sealed: wanted || has_passphrase || !recipients.is_empty(),
        recipients,
        seal: None,
    })
}

/// The same with the seal itself: the pass phrase is read or asked for.
pub(super) fn sealing(args: &BackupArgs, context: &mut Context) -> Result<Sealing> {
    let mut sealing = announced(args, context)?;
    if !sealing.sealed {
        return Ok(sealing);
    }
    sealing.seal = Some(if sealing.recipients.is_empty() {
        let passphrase = passphrase(args, context)?;
        context.log.hide(&passphrase);
        Seal::Passphrase(passphrase)
    } else {
        Seal::Recipients(sealing.recipients.clone())
    });
    Ok(sealing)
}

fn passphrase(args: &BackupArgs, context: &mut Context) -> Result<Secret> {
    let (file, command) = (
        args.passphrase_file.as_deref(),
        args.passphrase_command.as_deref(),
    );
    match passphrase::given(file, command, &refused, context)? {
        Some(secret) => Ok(secret),
        None => ask(context),
    }
}

/// Asks twice: what is mistyped here can never be opened again.
fn ask(context: &Context) -> Result<Secret> {
    let ask = |prompt: &str| -> Result<Zeroizing<String>> {
        context.secrets.ask(prompt).map_err(|error| {
            if let Some(signal) = Error::of_wait(&error) {
                return signal;
            }
            Error::new(Kind::Usage, "cannot encrypt the backup")
                .why("there is no recipient, and no terminal to ask for a pass phrase on")
                .cause(describe(&error))
                .hint("make an identity once with `pachat backup keygen`, or give --passphrase-file FILE")
        })
    };
    let first = ask("Pass phrase for the backup (not shown): ")?;
    let second = ask("The same again: ")?;
    if first != second {
        return Err(refused("the two are not the same"));
    }
    if first.trim().is_empty() {
        return Err(refused("it is empty"));
    }
    Ok(Secret::from_zeroizing(first))
}

fn refused(why: &str) -> Error {
    Error::new(
        Kind::Usage,
        "cannot encrypt the backup with this pass phrase",
    )
    .why(why)
}
