//! What is to be done at a scheduler, and doing it.
//!
//! Layer: ops. Promise: a dry run shows the very steps; nothing that a person has edited is
//! replaced or removed without being told to; what is as it should be is left alone, so doing
//! it twice does nothing the second time.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::model::error::{Error, Kind, Result};
use crate::store::atomic;

use super::machine::failed;
use super::{Call, JOBS, Job, Machine, Rendered, Scheduler, State, crontab, render, windows};

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Write a file, in place of one that may be there.
    Write {
        /// Where.
        path: PathBuf,
        /// What.
        text: String,
    },
    /// Remove a file; that it is gone already is fine.
    Remove {
        /// Which.
        path: PathBuf,
    },
    /// Run a program of the scheduler.
    Run {
        /// Its name.
        program: &'static str,
        /// Its arguments.
        arguments: Vec<String>,
        /// Whether it may fail.
        may_fail: bool,
    },
    /// Replace the crontab.
    Crontab {
        /// By this. An empty one is removed.
        text: Vec<u8>,
    },
}

impl Step {
    /// The verb.
    pub const fn action(&self) -> &'static str {
        match self {
            Self::Write { .. } => "write",
            Self::Remove { .. } => "remove",
            Self::Run { .. } | Self::Crontab { .. } => "run",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Write { path, .. } | Self::Remove { path } => path.display().fmt(f),
            Self::Run {
                program, arguments, ..
            } => {
                f.write_str(program)?;
                arguments.iter().try_for_each(|word| write!(f, " {word}"))
            }
            Self::Crontab { text } if text.is_empty() => f.write_str("crontab -r"),
            Self::Crontab { .. } => f.write_str("crontab -"),
        }
    }
}

/// What is to be done; nothing if all is as it should be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The steps, in their order.
    pub steps: Vec<Step>,
}

impl Plan {
    fn run<S: Into<String>>(&mut self, program: &'static str, words: impl IntoIterator<Item = S>) {
        self.steps.push(Step::Run {
            program,
            arguments: words.into_iter().map(Into::into).collect(),
            may_fail: false,
        });
    }

    fn try_to_run<S: Into<String>>(
        &mut self,
        program: &'static str,
        words: impl IntoIterator<Item = S>,
    ) {
        self.steps.push(Step::Run {
            program,
            arguments: words.into_iter().map(Into::into).collect(),
            may_fail: true,
        });
    }
}

/// A file, what it should be, and how it compares.
struct Found {
    path: PathBuf,
    file: Rendered,
    state: State,
}

impl Machine<'_> {
    /// How to have these jobs, and no others, at a scheduler.
    pub fn plan_install(
        &self,
        scheduler: Scheduler,
        jobs: &[&'static Job],
        call: &Call,
        force: bool,
    ) -> Result<Plan> {
        call.check()?;
        let held = |other: &Scheduler| *other != scheduler && self.holds(*other);
        if let Some(other) = Scheduler::ALL.iter().find(|other| held(other)) {
            return Err(Error::new(
                Kind::Usage,
                format!("the jobs are not installed with {scheduler}"),
            )
            .why(format!(
                "{other} runs them already, and they would run twice"
            ))
            .hint("first: pachat config schedule remove"));
        }
        if scheduler == Scheduler::Cron {
            let block = crontab::block(jobs, call);
            return self.plan_crontab(&block, force);
        }
        let found = self.found(scheduler, call)?;
        let wanted = |one: &&Found| jobs.iter().any(|job| job.name == one.file.job);
        let (wanted, others): (Vec<&Found>, Vec<&Found>) = found.iter().partition(wanted);
        for one in &wanted {
            refuse_to_touch(one, force)?;
        }
        let mut plan = Plan::default();
        self.take_away(scheduler, &others, force, &mut plan)?;
        let stale: Vec<&Found> = wanted
            .into_iter()
            .filter(|one| one.state != State::Current)
            .collect();
        let fresh = |job: &Job| stale.iter().all(|one| one.file.job != job.name);
        match scheduler {
            Scheduler::Launchd => {
                // It does not notice that a file changed.
                let changed = stale.iter().filter(|one| one.state != State::Missing);
                for one in changed {
                    plan.try_to_run("launchctl", ["bootout", &self.target(one.file.job)]);
                }
            }
            Scheduler::Systemd | Scheduler::Windows | Scheduler::Cron => {}
        }
        plan.steps.extend(stale.iter().map(|one| Step::Write {
            path: one.path.clone(),
            text: one.file.text.clone(),
        }));
        match scheduler {
            Scheduler::Systemd => {
                let known = self.ask_systemd();
                let active =
                    |job: &Job| known.get(job.name).is_some_and(|known| known.active) && fresh(job);
                if !plan.steps.is_empty() {
                    plan.run("systemctl", ["--user", "daemon-reload"]);
                }
                let timers: Vec<String> = jobs
                    .iter()
                    .filter(|job| !active(job))
                    .map(|job| format!("pachat-{}.timer", job.name))
                    .collect();
                if !timers.is_empty() {
                    let words = ["--user", "enable", "--now"].map(str::to_owned);
                    plan.run("systemctl", words.into_iter().chain(timers));
                }
            }
            Scheduler::Launchd | Scheduler::Windows => {
                for job in jobs {
                    if !fresh(job) || !self.is_registered(scheduler, job.name) {
                        let one = found.iter().find(|one| one.file.job == job.name);
                        let path = one.map(|one| path_text(&one.path)).unwrap_or_default();
                        self.register(scheduler, job, path, &mut plan);
                    }
                }
            }
            Scheduler::Cron => {}
        }
        Ok(plan)
    }

    /// How to have nothing of pachat's at a scheduler any more.
    pub fn plan_remove(&self, scheduler: Scheduler, force: bool) -> Result<Plan> {
        if scheduler == Scheduler::Cron {
            return self.plan_crontab("", force);
        }
        let found = self.found(scheduler, &Call::usual())?;
        let mut plan = Plan::default();
        self.take_away(
            scheduler,
            &found.iter().collect::<Vec<_>>(),
            force,
            &mut plan,
        )?;
        if scheduler == Scheduler::Systemd && !plan.steps.is_empty() {
            plan.try_to_run("systemctl", ["--user", "daemon-reload"]);
            plan.try_to_run("systemctl", ["--user", "reset-failed", "pachat-*"]);
        }
        Ok(plan)
    }

    /// Carries out a plan, step by step. What an error leaves undone, the same command does
    /// when it is run again.
    pub fn apply(&self, plan: &Plan) -> Result<()> {
        for step in &plan.steps {
            match step {
                Step::Write { path, text } => {
                    if let Some(directory) = path.parent() {
                        atomic::create_dirs(self.disk, directory)?;
                    }
                    atomic::replace(self.disk, self.random, path, text.as_bytes())?;
                }
                Step::Remove { path } => match self.disk.remove_file(path) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => {
                        return Err(Error::io("cannot remove the file", path, &error));
                    }
                    _ => {}
                },
                Step::Run {
                    program,
                    arguments,
                    may_fail,
                } => {
                    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
                    let ended = self.run(program, &words, &[]);
                    if !may_fail {
                        let ended = ended?;
                        if ended.code != Some(0) {
                            return Err(failed(program, &words, &ended)
                                .hint("run the same command again once that is mended"));
                        }
                    }
                }
                Step::Crontab { text } => self.replace_crontab(text)?,
            }
        }
        Ok(())
    }

    fn found(&self, scheduler: Scheduler, call: &Call) -> Result<Vec<Found>> {
        let directory = self.directory(scheduler)?;
        let all: Vec<&'static Job> = JOBS.iter().collect();
        let files = render(scheduler, &all, call).into_iter();
        files
            .map(|file| {
                let path = directory.join(&file.name);
                let state = self.compare(&path, &file.text)?;
                Ok(Found { path, file, state })
            })
            .collect()
    }

    /// Removes what is pachat's of these files, and makes the scheduler forget it.
    fn take_away(
        &self,
        scheduler: Scheduler,
        found: &[&Found],
        force: bool,
        plan: &mut Plan,
    ) -> Result<()> {
        // What is not pachat's is none of its business.
        let ours = |one: &&&Found| !matches!(one.state, State::Missing | State::Foreign);
        let going: Vec<&&Found> = found.iter().filter(ours).collect();
        for one in &going {
            refuse_to_touch(one, force)?;
        }
        if going.is_empty() {
            return Ok(());
        }
        let mut names: Vec<&str> = going.iter().map(|one| one.file.job).collect();
        names.dedup();
        match scheduler {
            Scheduler::Systemd => {
                let timers = names.iter().map(|name| format!("pachat-{name}.timer"));
                let timers: Vec<String> = timers.collect();
                let with = |words: &[&str]| {
                    let words: Vec<String> = words.iter().map(ToString::to_string).collect();
                    words.into_iter().chain(timers.iter().cloned())
                };
                plan.try_to_run("systemctl", with(&["--user", "disable", "--now"]));
                // The times of the last runs, which `Persistent` keeps.
                plan.try_to_run("systemctl", with(&["--user", "clean", "--what=state"]));
                let wants = self.directory(scheduler)?.join("timers.target.wants");
                let links = timers.iter().map(|name| wants.join(name));
                // There only where systemd did not answer.
                let links = links.filter(|path| self.disk.stat(path).is_ok());
                plan.steps.extend(links.map(|path| Step::Remove { path }));
            }
            Scheduler::Launchd => {
                for name in names {
                    plan.try_to_run("launchctl", ["bootout", &self.target(name)]);
                }
            }
            Scheduler::Windows => {
                for name in names {
                    plan.try_to_run("schtasks", ["/Delete", "/TN", &windows::task(name), "/F"]);
                }
            }
            Scheduler::Cron => {}
        }
        let paths = going.iter().map(|one| one.path.clone());
        plan.steps.extend(paths.map(|path| Step::Remove { path }));
        Ok(())
    }

    fn register(&self, scheduler: Scheduler, job: &Job, path: String, plan: &mut Plan) {
        if scheduler == Scheduler::Launchd {
            plan.run("launchctl", ["bootstrap".into(), self.domain(), path]);
        } else {
            let task = windows::task(job.name);
            let words = ["/Create", "/TN", &task, "/XML", &path, "/F"];
            plan.run("schtasks", words);
        }
    }

    fn plan_crontab(&self, block: &str, force: bool) -> Result<Plan> {
        let before = self.crontab()?;
        let edited =
            crontab::current(&before)?.is_some_and(|(_, owner)| owner != super::mark::Owner::Ours);
        if edited && !force {
            return Err(hands_off("the block in the crontab"));
        }
        let text = crontab::merge(&before, block)?;
        let mut plan = Plan::default();
        if text != before {
            plan.steps.push(Step::Crontab { text });
        }
        Ok(plan)
    }

    fn replace_crontab(&self, text: &[u8]) -> Result<()> {
        let arguments: &[&str] = if text.is_empty() { &["-r"] } else { &["-"] };
        let ended = self.run("crontab", arguments, text)?;
        if ended.code != Some(0) {
            return Err(failed("crontab", arguments, &ended));
        }
        // Read back, because programs of this name differ much.
        if self.crontab()? == text {
            return Ok(());
        }
        Err(Error::new(Kind::Io, "the crontab is not what was written")
            .why("`crontab -l` prints something else now")
            .hint("look at it with `crontab -l`"))
    }
}

fn refuse_to_touch(one: &Found, force: bool) -> Result<()> {
    let untouchable = matches!(one.state, State::Edited | State::Foreign);
    if untouchable && !force {
        let what = if one.state == State::Edited {
            "a file of the scheduler"
        } else {
            "a file that pachat has not made"
        };
        return Err(hands_off(what).path(&one.path));
    }
    Ok(())
}

fn hands_off(what: &str) -> Error {
    Error::new(Kind::CannotCreate, format!("{what} is left alone"))
        .why("somebody has edited it since pachat wrote it, or it is somebody else's")
        .hint("look at it; then add --force to lose what was edited")
}

fn path_text(path: &Path) -> String {
    OsString::from(path).to_string_lossy().into_owned()
}
