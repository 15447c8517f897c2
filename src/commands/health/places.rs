//! The places that a look at health needs: whether they answer is found out before anything is
//! read there.
//!
//! Layer: commands. Promise: of a place that gives no answer, the name is told and nothing else
//! is wanted.

use std::io;
use std::path::PathBuf;

use super::HealthArgs;
use crate::cli::Global;
use crate::context::Context;
use crate::model::error::{Error, Kind, Result};
use crate::ops::health::{self, Silent};
use crate::platform::{Clock, Environment, Guard, Signals};
use crate::settings::Settings;

/// Looks at where settings are. Only a signal is an error.
pub fn look_at_settings(
    guard: &Guard,
    global: &Global,
    environment: &Environment,
    clock: &dyn Clock,
    signals: &Signals,
) -> Result<()> {
    let look = |places: &[PathBuf]| {
        let looked = guard.look(places, health::LOOK, clock, signals);
        looked.map_err(|error| of_look(&error))
    };
    // All at once, so that two dead ones take no longer than one: where the data most likely is
    // can be told before any file is read.
    look(&Settings::likely_places(global, environment, guard))?;
    look(&Settings::places_of_data(global, environment, guard))
}

/// Looks at whatever else is needed, and says what gives no answer. Only a signal is an error.
pub(super) fn look_at_rest(args: &HealthArgs, context: &Context) -> Result<Vec<Silent>> {
    let Some(guard) = &context.guard else {
        return Ok(Vec::new());
    };
    let (settings, environment) = (&context.settings, &context.environment);
    let mut places: Vec<Silent> = Vec::new();
    let config = Settings::places_of_variables(&context.global, environment, guard.as_ref());
    let config_file = settings.config_file().to_path_buf();
    places.push(Silent::Data(settings.data_dir().to_path_buf()));
    places.extend(config.into_iter().chain([config_file]).map(Silent::Config));
    let key_file = context.global.api_key_file.iter();
    let key_files = key_file.map(|path| environment.resolve(path));
    let backups = context.store().layout().backups_dir();
    places.extend(key_files.map(Silent::Key));
    places.push(Silent::Backups(backups));
    let output = args.output.iter().map(|path| environment.resolve(path));
    let output = output.filter_map(|path| path.parent().map(PathBuf::from));
    let paths: Vec<PathBuf> = places.iter().map(|place| place.path().into()).collect();
    let paths: Vec<PathBuf> = paths.into_iter().chain(output).collect();
    guard
        .look(
            &paths,
            health::LOOK,
            context.clock.as_ref(),
            &context.signals,
        )
        .map_err(|error| of_look(&error))?;
    places.retain(|place| guard.is_silent(place.path()));
    let silent: Vec<PathBuf> = places.iter().map(|place| place.path().into()).collect();
    places.retain(|place| {
        let path = place.path();
        !silent
            .iter()
            .any(|other| path != other && path.starts_with(other))
    });
    Ok(places)
}

fn of_look(error: &io::Error) -> Error {
    Error::of_wait(error)
        .unwrap_or_else(|| Error::new(Kind::Io, "cannot look at the disk").cause(error))
}
