//! `config schedule`: the machine's own scheduler runs what should happen by itself.
//!
//! Layer: commands. Never for root: the jobs are those of the person whose conversations
//! they look after. Neither the store nor its lock is touched.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value as Json, json};

use crate::context::Context;
use crate::model::error::{Error, Kind, Result};
use crate::model::log_line::Audit;
use crate::ops::journal;
use crate::ops::schedule::{
    self, Call, Installed, JOBS, Job, Machine, Plan, Program, Scheduler, Standing, State,
};
use crate::platform::Disk;
use crate::platform::disk::Open;
use crate::settings::Origin;
use crate::term::table::{self, Align, Column};

/// The actions of `config schedule`.
#[derive(Debug, Subcommand)]
pub enum ScheduleAction {
    /// Let the jobs run by themselves
    #[command(
        long_about = "Writes the jobs into the scheduler that the machine has: the systemd instance of the user, launchd, the \
            Task Scheduler, or the crontab. Jobs that --only leaves out are removed. Doing it again changes nothing, and \
            brings everything up to date where options, paths or pachat itself have changed. What somebody has edited by \
            hand is left alone, unless --force is given. Not for root.\n\n\
            --data-dir, --config-file, --env-file and --api-key-file, and the variables that name these places, are \
            written into the jobs. Keys are not: see `pachat config key set`.",
        after_long_help = "Examples:\n  \
            pachat config schedule install\n  \
            pachat config schedule install --only backup,health --with cron\n  \
            pachat --data-dir /srv/chat config schedule install --dry-run"
    )]
    Install {
        /// Which scheduler to use
        #[arg(long, value_enum, value_name = "SCHEDULER")]
        with: Option<With>,
        /// What the jobs call.
        #[command(flatten)]
        jobs: JobArgs,
        /// Print what would be done, and do nothing
        #[arg(short = 'n', long)]
        dry_run: bool,
        /// Replace what was edited by hand
        #[arg(long)]
        force: bool,
    },
    /// Take the jobs away again
    Remove {
        /// Which scheduler to remove them from (default: every one that has them)
        #[arg(long, value_enum, value_name = "SCHEDULER")]
        with: Option<With>,
        /// Print what would be done, and do nothing
        #[arg(short = 'n', long)]
        dry_run: bool,
        /// Remove what was edited by hand, too
        #[arg(long)]
        force: bool,
    },
    /// Show which jobs run by themselves, and when
    #[command(
        long_about = "Shows each job: whether it is installed and as it should be (current), was installed by an earlier call \
            that would do something else now (outdated), was edited by hand (edited), or is not there (missing); when it \
            runs next, and how it ended last, as far as the scheduler tells. Exit code 1 where nothing is installed, or \
            where something is not as it should be. Give it the options that install was given, such as --data-dir."
    )]
    Status {
        /// Print one JSON document
        #[arg(long)]
        json: bool,
        /// Compare with jobs that call this program, as install was told
        #[arg(long, value_name = "PATH", value_hint = clap::ValueHint::FilePath)]
        program: Option<PathBuf>,
    },
    /// Print the files of a scheduler, to put them in place yourself
    Print {
        /// Which scheduler (default: the one that install would use)
        #[arg(long, value_enum, value_name = "SCHEDULER")]
        with: Option<With>,
        /// What the jobs call.
        #[command(flatten)]
        jobs: JobArgs,
    },
}

/// Which jobs, and what they call.
#[derive(Debug, Args)]
pub struct JobArgs {
    /// These jobs and no others: backup, daily, weekly, monthly, health
    #[arg(
        long,
        value_name = "JOB,…",
        value_delimiter = ',',
        hide_possible_values = true,
        value_parser = ["backup", "daily", "weekly", "monthly", "health"]
    )]
    only: Vec<String>,
    /// Call this program (default: this one, by its name in PATH)
    #[arg(long, value_name = "PATH", value_hint = clap::ValueHint::FilePath)]
    program: Option<PathBuf>,
}

/// The schedulers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum With {
    /// Timers of the systemd instance of this user
    Systemd,
    /// Agents of this user, on macOS
    Launchd,
    /// Tasks of this user, on Windows
    Windows,
    /// The crontab of this user
    Cron,
}

impl From<With> for Scheduler {
    fn from(with: With) -> Self {
        match with {
            With::Systemd => Self::Systemd,
            With::Launchd => Self::Launchd,
            With::Windows => Self::Windows,
            With::Cron => Self::Cron,
        }
    }
}

pub(super) fn run(action: ScheduleAction, context: &mut Context) -> Result<()> {
    match action {
        ScheduleAction::Install {
            with,
            jobs,
            dry_run,
            force,
        } => install(with, &jobs, dry_run, force, context),
        ScheduleAction::Remove {
            with,
            dry_run,
            force,
        } => remove(with, dry_run, force, context),
        ScheduleAction::Status { json, program } => status(json, program.as_deref(), context),
        ScheduleAction::Print { with, jobs } => print(with, &jobs, context),
    }
}

fn install(
    with: Option<With>,
    args: &JobArgs,
    dry_run: bool,
    force: bool,
    context: &mut Context,
) -> Result<()> {
    refuse_root(context)?;
    let (jobs, call) = (jobs(args), call(args.program.as_deref(), context)?);
    let machine = machine(context);
    let scheduler = machine.choose(with.map(Into::into))?;
    let plan = machine.plan_install(scheduler, &jobs, &call, force)?;
    let nothing = format!("nothing to do: {scheduler} runs these jobs already");
    if dry_run {
        show(&plan, context)?;
        if plan.steps.is_empty() {
            context.ui.note(&nothing);
        } else {
            let line =
                format!("what would be written: pachat config schedule print --with {scheduler}");
            context.ui.note(&line);
        }
        return Ok(());
    }
    machine.apply(&plan)?;
    if plan.steps.is_empty() {
        context.ui.note(&nothing);
    } else {
        audit("install", scheduler, context);
        tell(scheduler, &jobs, &call, context);
    }
    warn_of_key(&jobs, context);
    Ok(())
}

/// What was installed, when it runs, and how to undo it.
fn tell(scheduler: Scheduler, jobs: &[&Job], call: &Call, context: &mut Context) {
    for job in jobs {
        let when = call.in_words(job, scheduler);
        context
            .ui
            .note(&format!("{}: {}, {when}", job.name, job.about));
    }
    let line = format!("{scheduler} runs them from now on; undo: pachat config schedule remove");
    context.ui.note(&line);
    if scheduler == Scheduler::Systemd {
        context.ui.note(
            "only while you are logged in; also when you are not, after: loginctl enable-linger",
        );
    }
}

/// A scheduler hands on no variables, and no key should stand in its files.
fn warn_of_key(jobs: &[&Job], context: &mut Context) {
    let checks = jobs.iter().any(|job| job.name == "health");
    let variable = match context.settings.api_key() {
        Some((_, Origin::Environment(name))) if checks => name.clone(),
        _ => return,
    };
    context.ui.warn(&format!(
        "{variable} is not handed on to the jobs; so that `health` has a key: pachat config key set"
    ));
}

fn remove(with: Option<With>, dry_run: bool, force: bool, context: &mut Context) -> Result<()> {
    refuse_root(context)?;
    let machine = machine(context);
    let chosen: Vec<Scheduler> = match with {
        Some(with) => vec![with.into()],
        None => Scheduler::ALL
            .into_iter()
            .filter(|one| machine.holds(*one))
            .collect(),
    };
    let plans = chosen
        .iter()
        .map(|one| Ok((*one, machine.plan_remove(*one, force)?)))
        .collect::<Result<Vec<_>>>()?;
    for (_, plan) in &plans {
        if !dry_run {
            machine.apply(plan)?;
        }
    }
    let mut removed = false;
    for (scheduler, plan) in plans {
        if dry_run {
            show(&plan, context)?;
        } else if !plan.steps.is_empty() {
            removed = true;
            audit("remove", scheduler, context);
            let line = format!(
                "{scheduler} runs nothing of pachat's any more; undo: pachat config schedule install"
            );
            context.ui.note(&line);
        }
    }
    if !removed && !dry_run {
        context.ui.note("nothing to do: no job is installed");
    }
    Ok(())
}

fn status(json: bool, program: Option<&Path>, context: &mut Context) -> Result<()> {
    let machine = machine(context);
    let used = Scheduler::ALL.into_iter().find(|one| machine.holds(*one));
    let call = call(program, context)?;
    let now = context.clock.now().to_zoned(context.clock.zone());
    let standing = used
        .map(|one| machine.standing(one, &call, &now))
        .transpose()?;
    if json {
        let text = format!("{}\n", document(standing.as_ref(), &call));
        context.ui.data(text.as_bytes())?;
    } else if let Some(standing) = &standing {
        rows(standing, &call, context)?;
    } else {
        context.ui.note(
            "no job is installed; to let them run by themselves: pachat config schedule install",
        );
    }
    let odd = |job: &Installed| match job.state {
        State::Missing => false,
        State::Current => job.active == Some(false),
        State::Outdated | State::Edited | State::Foreign => true,
    };
    match standing {
        Some(standing) if standing.is_there() && !standing.jobs.iter().any(odd) => Ok(()),
        Some(standing) => {
            context.ui.note(&mending(&standing));
            Err(Error::new(Kind::No, ""))
        }
        None => Err(Error::new(Kind::No, "")),
    }
}

/// What brings up to date what is there, and adds nothing to it.
fn mending(standing: &Standing) -> String {
    let there = |one: &&Installed| one.state != State::Missing;
    let jobs: Vec<&str> = standing
        .jobs
        .iter()
        .filter(there)
        .map(|one| one.job.name)
        .collect();
    let mut command = String::from("pachat config schedule install");
    if !jobs.is_empty() && jobs.len() < standing.jobs.len() {
        command.push_str(" --only ");
        command.push_str(&jobs.join(","));
    }
    let touched = |one: &Installed| matches!(one.state, State::Edited | State::Foreign);
    // Nothing is to be recognised in a crontab that is edited beyond it.
    if jobs.is_empty() || standing.jobs.iter().any(touched) {
        format!("somebody has edited it; to lose what was edited: {command} --force")
    } else {
        format!("something is not as it should be; to bring it up to date: {command}")
    }
}

fn document(standing: Option<&Standing>, call: &Call) -> Json {
    let jobs: Vec<Json> = standing
        .into_iter()
        .flat_map(|standing| {
            standing.jobs.iter().map(|one| {
                json!({
                    "name": one.job.name,
                    "about": one.job.about,
                    "state": one.state.as_str(),
                    "active": one.active,
                    "when": call.in_words(one.job, standing.scheduler),
                    "next": one.next.map(|next| next.to_string()),
                    "last_result": one.last,
                    "command": call.command(one.job),
                })
            })
        })
        .collect();
    json!({
        "schema": 1,
        "scheduler": standing.map(|standing| standing.scheduler.as_str()),
        "jobs": jobs,
    })
}

fn rows(standing: &Standing, call: &Call, context: &mut Context) -> Result<()> {
    let zone = context.clock.zone();
    let rows: Vec<Vec<String>> = standing
        .jobs
        .iter()
        .map(|one| {
            let state = match (one.state, one.active) {
                (State::Current, Some(false)) => "inactive",
                (state, _) => state.as_str(),
            };
            let next = match (one.state, one.next) {
                (State::Missing, _) => "-".to_owned(),
                (_, Some(next)) => next
                    .to_zoned(zone.clone())
                    .strftime("%Y-%m-%d %H:%M")
                    .to_string(),
                (_, None) => call.in_words(one.job, standing.scheduler),
            };
            vec![
                one.job.name.to_owned(),
                state.to_owned(),
                standing.scheduler.to_string(),
                next,
                one.last.clone().unwrap_or_else(|| "-".into()),
            ]
        })
        .collect();
    if !context.ui.stdout_is_terminal() {
        return context.ui.data(table::tsv(&rows).as_bytes());
    }
    let column = |name| Column {
        name,
        align: Align::Left,
    };
    let columns = ["JOB", "STATE", "BY", "NEXT", "LAST"].map(column);
    table::print(&mut context.ui, &columns, &rows)
}

fn print(with: Option<With>, args: &JobArgs, context: &mut Context) -> Result<()> {
    let (jobs, call) = (jobs(args), call(args.program.as_deref(), context)?);
    call.check()?;
    let scheduler = match with {
        Some(with) => with.into(),
        None => machine(context).choose(None)?,
    };
    let files = schedule::render(scheduler, &jobs, &call);
    let several = files.len() > 1;
    for (at, file) in files.iter().enumerate() {
        if several {
            let blank = if at > 0 { "\n" } else { "" };
            context
                .ui
                .text(&format!("{blank}==> {} <==\n", file.name))?;
        }
        context.ui.text(&file.text)?;
    }
    Ok(())
}

/// Prints the steps of a plan, one a line.
fn show(plan: &Plan, context: &mut Context) -> Result<()> {
    let rows: Vec<Vec<String>> = plan
        .steps
        .iter()
        .map(|step| vec![step.action().to_owned(), step.to_string()])
        .collect();
    context.ui.data(table::tsv(&rows).as_bytes())
}

fn jobs(args: &JobArgs) -> Vec<&'static Job> {
    let wanted = |job: &&Job| args.only.is_empty() || args.only.iter().any(|name| name == job.name);
    JOBS.iter().filter(wanted).collect()
}

fn refuse_root(context: &Context) -> Result<()> {
    if context.environment.user != Some(0) {
        return Ok(());
    }
    Err(Error::new(Kind::Usage, "the jobs are not root's")
        .why("they would make files in your data directory that you cannot change")
        .hint("run it as yourself, without sudo"))
}

fn machine(context: &Context) -> Machine<'_> {
    let environment = &context.environment;
    Machine {
        disk: context.disk.as_ref(),
        random: context.random.as_ref(),
        programs: context.programs.as_ref(),
        user: environment.user,
        config_home: environment
            .config_home
            .as_ref()
            .map(|home| environment.resolve(home)),
        home: home(context),
    }
}

fn home(context: &Context) -> Option<PathBuf> {
    context.environment.get_os("HOME").map(PathBuf::from)
}

/// How the jobs call pachat so that they find what this call has found.
fn call(program: Option<&Path>, context: &Context) -> Result<Call> {
    let environment = &context.environment;
    let program = match program {
        Some(path) => environment.resolve(path),
        None => own_program(context)?,
    };
    let mut options = Vec::new();
    let mut add = |option: &str, path: &Path| -> Result<()> {
        options.push(option.to_owned());
        options.push(text(path)?);
        Ok(())
    };
    let settings = &context.settings;
    let data_dir = settings.data_dir();
    if !is_usual(
        settings.data_dir_origin(),
        "XDG_DATA_HOME",
        ".local/share",
        context,
    ) {
        add("--data-dir", data_dir)?;
    }
    let usual = data_dir.join("config").join("app_config.json");
    if settings.config_file() != usual {
        add("--config-file", settings.config_file())?;
    }
    let global = &context.global;
    for (option, path) in [
        ("--env-file", &global.env_file),
        ("--api-key-file", &global.api_key_file),
    ] {
        if let Some(path) = path {
            add(option, &environment.resolve(path))?;
        }
    }
    let mut variables = Vec::new();
    if !is_usual(&Origin::Default, "XDG_CONFIG_HOME", ".config", context)
        && let Some(path) = &environment.config_home
    {
        variables.push((
            "XDG_CONFIG_HOME".to_owned(),
            text(&environment.resolve(path))?,
        ));
    }
    let errors = home(context).map(|home| home.join("Library/Logs/pachat.log"));
    Ok(Call {
        program: Program::At(text(&program)?),
        options,
        variables,
        errors: errors.as_deref().map(text).transpose()?,
        seed: format!(
            "{}\0{}",
            environment.user.unwrap_or_default(),
            data_dir.display()
        ),
    })
}

/// Whether a scheduler, which hands on nothing but the home directory, finds a directory where
/// it is now.
fn is_usual(origin: &Origin, variable: &str, below: &str, context: &Context) -> bool {
    if matches!(origin, Origin::Flag | Origin::Environment(_)) {
        return false;
    }
    let named = context.environment.get_os(variable).map(Path::new);
    match (named, home(context)) {
        (None, _) => true,
        (Some(named), Some(home)) => named == home.join(below),
        (Some(_), None) => false,
    }
}

/// This program, by the name under which `PATH` finds it: the file behind a link is often that
/// of one version only.
fn own_program(context: &Context) -> Result<PathBuf> {
    let environment = &context.environment;
    let own = environment.program.as_ref().ok_or_else(|| {
        Error::new(Kind::Io, "cannot tell where this program is").hint("name it: --program PATH")
    })?;
    let disk = context.disk.as_ref();
    let identity = identity(disk, own);
    let path = environment.get_os("PATH").unwrap_or_default();
    let name = own.file_name().unwrap_or_default();
    let found = std::env::split_paths(path)
        .filter(|directory| directory.is_absolute())
        .map(|directory| directory.join(name))
        .find(|path| identity.is_some() && self::identity(disk, path) == identity);
    Ok(found.unwrap_or_else(|| own.clone()))
}

/// Which file a path leads to, links followed.
fn identity(disk: &dyn Disk, path: &Path) -> Option<(u64, u64)> {
    disk.open(path, Open::Read).ok()?.stat().ok()?.identity
}

fn text(path: &Path) -> Result<String> {
    path.to_str().map(str::to_owned).ok_or_else(|| {
        Error::new(Kind::Usage, "a job cannot name this path")
            .why("it is not text")
            .path(path)
    })
}

fn audit(what: &str, scheduler: Scheduler, context: &Context) {
    let line = Audit::new(format!("config schedule {what}")).with("scheduler", scheduler.as_str());
    journal::audit(&context.log, line);
}
