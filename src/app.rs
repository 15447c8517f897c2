//! Start-up, always in this order: completion, command line, logging, settings, checks that
//! cost nothing, the command. Then the exit code.

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches};

use crate::cli::{self, Cli, ColorChoice, Command, Global};
use crate::commands;
use crate::commands::config::{ConfigAction, ConfigArgs};
use crate::context::Context;
use crate::model::error::{Error, Kind, Result};
use crate::model::secret;
use crate::platform::{Disk, Environment, Host, Output};
use crate::settings::Settings;
use crate::term::Ui;
use crate::term::clean::clean_line;
use crate::term::ui::{Colour, Talk};

/// Runs pachat once: what `main` does, and what a test can do twice in one process.
///
/// `args` begins with the program's name, as it does for a process.
pub fn run(args: impl IntoIterator<Item = OsString>, host: Host) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    let Host {
        environment,
        stdin,
        mut stdout,
        mut stderr,
        secrets,
        clock,
        disk,
        random,
        signals,
        programs,
    } = host;
    if let Some(code) = commands::completions::complete(&args, &environment, &disk, &mut stdout) {
        return ExitCode::from(code);
    }
    let cli = match parse(&args) {
        Ok(cli) => cli,
        Err(error) => return refuse(&error, &environment, &mut stdout, &mut stderr),
    };
    start_logging(&cli.global, &environment);
    let colour = colour(&cli.global, &environment, &stdout, &stderr);
    let mut ui = Ui::new(stdout, stderr, talk(&cli.global), colour);
    if environment.get("TERM") == Some("dumb") {
        ui = ui.without_erasing();
    }
    let (settings, warnings) = match load_settings(&cli, &environment, disk.as_ref()) {
        Ok(loaded) => loaded,
        Err(error) => return finish(Err(error), &mut ui),
    };
    log::set_max_level(log_level(&cli.global, settings.log_level()));
    for warning in warnings {
        ui.warn(&warning);
    }
    for note in settings.notes() {
        ui.detail(note);
    }
    let mut context = Context {
        global: cli.global,
        settings,
        ui,
        stdin,
        environment,
        secrets,
        clock,
        disk,
        random,
        signals,
        programs,
    };
    finish(dispatch(cli.command, &mut context), &mut context.ui)
}

/// Settings from every source. A broken file of settings must not keep anybody from mending
/// it, so the commands that do so go on without it.
fn load_settings(
    cli: &Cli,
    environment: &Environment,
    disk: &dyn Disk,
) -> Result<(Settings, Vec<String>)> {
    let mends = matches!(
        &cli.command,
        Command::Config(ConfigArgs {
            action: ConfigAction::Edit
                | ConfigAction::Path
                | ConfigAction::Set { .. }
                | ConfigAction::Unset { .. }
        })
    );
    match Settings::load(&cli.global, environment, disk) {
        Err(error) if mends && error.kind() == Kind::Config => {
            Settings::load_without_file(&cli.global, environment, disk)
        }
        other => other,
    }
}

fn parse(args: &[OsString]) -> std::result::Result<Cli, clap::Error> {
    let first = args.get(1).and_then(|first| first.to_str());
    if let Some(mut command) = first.and_then(cli::only) {
        let parsed = command.try_get_matches_from_mut(args);
        match parsed.and_then(|matches| Cli::from_arg_matches(&matches)) {
            Err(error) if error.kind() != ErrorKind::DisplayVersion => {}
            done => return done,
        }
    }
    let mut command = Cli::command();
    let matches = command.try_get_matches_from_mut(args)?;
    Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
}

/// Shows help and version on stdout, and what is wrong with a command line on stderr.
fn refuse(
    error: &clap::Error,
    environment: &Environment,
    stdout: &mut Output,
    stderr: &mut Output,
) -> ExitCode {
    let asked = matches!(
        error.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
    );
    let output = if asked { stdout } else { stderr };
    let plain = environment.get("NO_COLOR").is_some() || !output.is_terminal;
    let rendered = error.render();
    let text = if plain {
        rendered.to_string()
    } else {
        rendered.ansi().to_string()
    };
    // A reader that is gone has seen enough.
    let _ = output
        .writer
        .write_all(text.as_bytes())
        .and_then(|()| output.writer.flush());
    if asked {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(Kind::Usage.code())
    }
}

fn dispatch(command: Command, context: &mut Context) -> Result<()> {
    match command {
        Command::Chat(args) => commands::chat::run(&args, context),
        Command::Send(args) => commands::send::run(&args, context),
        Command::List(args) => commands::list::run(&args, context),
        Command::Export(args) => commands::export::run(&args, context),
        Command::Models(args) => commands::models::run(&args, context),
        Command::Config(args) => commands::config::run(args, context),
        Command::Completions(args) => commands::completions::run(&args, context),
    }
}

/// Says what went wrong; the kind alone decides the exit code.
fn finish(result: Result<()>, ui: &mut Ui) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // "No" has been said by an empty answer; a signal has been noticed by who sent it.
            if !is_silent(&error) {
                ui.error(&error);
            }
            ExitCode::from(error.kind().code())
        }
    }
}

fn is_silent(error: &Error) -> bool {
    error.kind() == Kind::Closed || (error.kind() == Kind::No && error.headline().is_empty())
}

fn talk(global: &Global) -> Talk {
    match (global.quiet, global.verbose) {
        (true, _) => Talk::Quiet,
        (false, 0) => Talk::Normal,
        (false, _) => Talk::Verbose,
    }
}

fn colour(global: &Global, environment: &Environment, stdout: &Output, stderr: &Output) -> Colour {
    let dumb = environment.get("TERM") == Some("dumb");
    let allowed = environment.get("NO_COLOR").is_none() && !dumb;
    match global.color.unwrap_or_default() {
        ColorChoice::Always => Colour {
            stdout: true,
            stderr: true,
        },
        ColorChoice::Never => Colour::default(),
        ColorChoice::Auto => Colour {
            stdout: allowed && stdout.is_terminal,
            stderr: allowed && stderr.is_terminal,
        },
    }
}

/// Starts logging to stderr. What is logged before the settings are known is limited by
/// `-v` and the environment alone.
fn start_logging(global: &Global, environment: &Environment) {
    let level = ["PACHAT_LOG_LEVEL", "LOG_LEVEL"]
        .iter()
        .find_map(|name| environment.get(name))
        .and_then(|text| text.to_ascii_lowercase().parse().ok())
        .unwrap_or(log::LevelFilter::Warn);
    // What libraries log may hold a header; keys are taken out of every line.
    let format = |out: &mut env_logger::fmt::Formatter, record: &log::Record<'_>| {
        let text = secret::redact(&record.args().to_string(), &[]);
        let (time, level, target) = (out.timestamp_millis(), record.level(), record.target());
        writeln!(out, "{time} {level} {target}: {}", clean_line(&text))
    };
    // A second run in one process finds the logger in place.
    let _ = env_logger::Builder::new()
        .filter_level(log::LevelFilter::Trace)
        .format(format)
        .try_init();
    log::set_max_level(log_level(global, level));
}

fn log_level(global: &Global, configured: log::LevelFilter) -> log::LevelFilter {
    match (global.quiet, global.verbose) {
        (true, _) => log::LevelFilter::Error,
        (false, 0 | 1) => configured,
        (false, 2) => configured.max(log::LevelFilter::Debug),
        (false, _) => log::LevelFilter::Trace,
    }
}
