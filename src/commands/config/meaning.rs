//! What a value of a setting means to the rest of the program, beyond its shape.
//!
//! Layer: commands. The settings know shapes only, because they are loaded before anything else;
//! whoever types a value is told right away, and not by the next backup from cron.

use crate::archive::seal;
use crate::model::error::{Error, Kind, Result};
use crate::ops::retention::Within;
use crate::settings::{self, Change};

/// Checks the values that a change brings, each of the shape of its setting.
pub(super) fn check(key: &str, change: &Change) -> Result<()> {
    match &change.after {
        Some(value) if change.before != change.after => check_value(key, value),
        _ => Ok(()),
    }
}

/// Checks a value of the shape of its setting. Errors are of kind `Usage`.
pub(super) fn check_value(key: &str, value: &str) -> Result<()> {
    let cannot = |why: String| Error::new(Kind::Usage, format!("cannot set `{key}`")).why(why);
    match key {
        "backup.recipients" => check_recipients(value, cannot),
        "backup.keep_within" => value.parse::<Within>().map(drop).map_err(cannot),
        _ => Ok(()),
    }
}

fn check_recipients(value: &str, cannot: impl Fn(String) -> Error) -> Result<()> {
    let recipients = settings::recipients(value);
    if recipients.is_empty() {
        let hint = "so that there are none, run `pachat config unset backup.recipients`";
        return Err(cannot("it names nobody".into()).hint(hint));
    }
    recipients.iter().try_for_each(|recipient| {
        seal::check_recipient(recipient).map_err(|error| {
            let cannot = cannot(error.headline());
            match error.hint_text() {
                Some(hint) => cannot.hint(hint),
                None => cannot,
            }
        })
    })
}
