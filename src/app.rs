//! Start-up, always in this order: completion, command line, settings, logging, checks that
//! cost nothing, the command. Then the exit code.

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches};

use crate::archive::manifest;
use crate::cli::{self, Cli, ColorChoice, Command, Global};
use crate::commands;
use crate::commands::config::{ConfigAction, ConfigArgs};
use crate::commands::health;
use crate::context::Context;
use crate::logging;
use crate::model::error::{Error, Kind, Result};
use crate::model::record;
use crate::ops::journal;
use crate::platform::{Clock, Disk, Environment, Guard, Host, Output, Signals};
use crate::settings::Settings;
use crate::store::{self, Store};
use crate::term::Ui;
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
        mut disk,
        random,
        signals,
        programs,
    } = host;
    if let Some(code) = commands::completions::complete(&args, &environment, &disk, &mut stdout) {
        return ExitCode::from(code);
    }
    let cli = match parse(&args) {
        Ok(cli) => cli,
        Err(error) if asks_for_versions(&args, &error) => {
            // A reader that is gone has seen enough.
            let _ = stdout.writer.write_all(versions().as_bytes());
            return ExitCode::SUCCESS;
        }
        Err(error) => return refuse(&error, &environment, &mut stdout, &mut stderr),
    };
    let colour = colour(&cli.global, &environment, &stdout, &stderr);
    let guard = match guard(&cli, &environment, &mut disk, clock.as_ref(), &signals) {
        Ok(guard) => guard,
        Err(error) => {
            let mut ui = Ui::new(stdout, stderr, talk(&cli.global), colour);
            return finish(Err(error), &mut ui);
        }
    };
    let store_of = |settings: &Settings| {
        Store::new(
            settings.data_dir().to_path_buf(),
            Arc::clone(&disk),
            Arc::clone(&clock),
            Arc::clone(&random),
        )
        .with_memory_limit(settings.memory_limit())
        .with_patience(cli.global.lock_timeout.map(Duration::from_secs))
    };
    let mut loaded = load_settings(&cli, &environment, disk.as_ref());
    if complete_swap(
        &cli,
        &loaded,
        &environment,
        disk.as_ref(),
        store_of,
        &mut stderr,
    ) {
        loaded = load_settings(&cli, &environment, disk.as_ref());
    }
    let (settings, warnings) = match loaded {
        Ok(loaded) => loaded,
        Err(error) => {
            let mut ui = Ui::new(stdout, stderr, talk(&cli.global), colour);
            return finish(Err(error), &mut ui);
        }
    };
    let store = store_of(&settings);
    let log = Arc::new(logging::log(&cli, &settings, store, &mut stderr));
    let _run = logging::Run::begin(&log);
    let mut ui = Ui::new(stdout, stderr, talk(&cli.global), colour);
    if environment.get("TERM") == Some("dumb") {
        ui = ui.without_erasing();
    }
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
        log,
        disk,
        guard,
        random,
        signals,
        programs,
    };
    let result = dispatch(cli.command, &mut context);
    if let Err(error) = &result {
        journal::failure(&context.log, error);
    }
    let code = finish(result, &mut context.ui);
    logging::warn_of_failure(&mut context);
    code
}

/// Puts a guard before the disk of a command that is to say that the disk is dead, and so must
/// not wait for it: settings are on it, too. Only a signal is an error.
fn guard(
    cli: &Cli,
    environment: &Environment,
    disk: &mut Arc<dyn Disk>,
    clock: &dyn Clock,
    signals: &Signals,
) -> Result<Option<Arc<Guard>>> {
    if !matches!(&cli.command, Command::Health(_)) {
        return Ok(None);
    }
    let guard = Arc::new(Guard::new(Arc::clone(disk)));
    *disk = Arc::clone(&guard) as Arc<dyn Disk>;
    health::look_at_settings(&guard, &cli.global, environment, clock, signals)?;
    Ok(Some(guard))
}

/// Settings from every source. A broken file of settings must not keep anybody from mending
/// it, so the commands that do so go on without it. Whoever looks for what is wrong goes on
/// with whatever is right, and tells the rest himself.
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
    // What is wrong with them is what these tell.
    if matches!(&cli.command, Command::Health(_) | Command::Validate(_)) {
        return Settings::load_what_can_be(&cli.global, environment, disk)
            .map(|settings| (settings, Vec::new()));
    }
    match Settings::load(&cli.global, environment, disk) {
        Err(error) if mends && error.kind() == Kind::Config => {
            Settings::load_without_file(&cli.global, environment, disk)
        }
        other => other,
    }
}

/// Completes a restore or rollback that died in its last steps: the settings may be among what
/// it has taken away and not put back yet. Says whether there was one, so that they are to be
/// loaded again. Where it cannot be completed, whoever needs the data says so.
fn complete_swap(
    cli: &Cli,
    loaded: &Result<(Settings, Vec<String>)>,
    environment: &Environment,
    disk: &dyn Disk,
    store_of: impl Fn(&Settings) -> Store,
    stderr: &mut Output,
) -> bool {
    let without_file;
    let settings = if let Ok((settings, _)) = loaded {
        settings
    } else {
        // The file does not say where the data is, and may be what is being replaced.
        match Settings::load_without_file(&cli.global, environment, disk) {
            Ok((settings, _)) => {
                without_file = settings;
                &without_file
            }
            Err(_) => return false,
        }
    };
    let store = store_of(settings);
    if !store.is_half_swapped() {
        return false;
    }
    // What is said about it belongs into the log.
    let log = Arc::new(logging::log(cli, settings, store.clone(), stderr));
    let _run = logging::Run::begin(&log);
    store.check().is_ok()
}

/// Whether the command line is `--version --json`. The parser stops at the first of the two,
/// whichever that is: `error` is what it said.
fn asks_for_versions(args: &[OsString], error: &clap::Error) -> bool {
    let is_version = |word: &OsString| word == "--version" || word == "-V";
    match error.kind() {
        ErrorKind::DisplayVersion => args.iter().any(|word| word == "--json"),
        _ => matches!(args, [_, first, second] if first == "--json" && is_version(second)),
    }
}

/// The version of the program and those of its formats, as a JSON document.
fn versions() -> String {
    let document = serde_json::json!({
        "schema": 1,
        "version": env!("CARGO_PKG_VERSION"),
        "store_format": store::FORMAT,
        "conversation_format": record::VERSION,
        "backup_format": manifest::VERSION,
        "target": { "os": std::env::consts::OS, "arch": std::env::consts::ARCH },
    });
    format!("{document}\n")
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
        Command::Import(args) => commands::import::run(&args, context),
        Command::Backup(args) => commands::backup::run(&args, context),
        Command::Restore(args) => commands::restore::run(&args, context),
        Command::Rollback(args) => commands::rollback::run(&args, context),
        Command::Health(args) => commands::health::run(&args, context),
        Command::Validate(args) => commands::validate::run(&args, context),
        Command::Cleanup(args) => commands::cleanup::run(&args, context),
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
            // That somebody else is at work is no news to a run that is to be quiet.
            let no_news = ui.talk() == Talk::Quiet && error.is_somebody_else();
            if !is_silent(&error) && !no_news {
                ui.error(&error);
            }
            ExitCode::from(error.kind().code())
        }
    }
}

fn is_silent(error: &Error) -> bool {
    let has_words = !error.headline().is_empty();
    error.kind() == Kind::Closed || (matches!(error.kind(), Kind::No | Kind::Usage) && !has_words)
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
