//! The machine's schedulers: which it has, and what of pachat's stands there.
//!
//! Layer: ops. Promise: looking changes nothing.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

use jiff::{Timestamp, Zoned};

use crate::model::error::{Error, Kind, Result, describe};
use crate::platform::program::Ended;
use crate::platform::{Disk, Programs, Random};

use super::mark::{self, Owner};
use super::{Call, JOBS, Job, Scheduler, crontab, launchd, render, windows};

/// The most that is read of a file of a scheduler, in bytes.
const LARGEST: u64 = 1 << 20;

/// A machine, as one person has it.
pub struct Machine<'a> {
    /// Files.
    pub disk: &'a dyn Disk,
    /// Names of temporary files.
    pub random: &'a dyn Random,
    /// The schedulers' own programs.
    pub programs: &'a dyn Programs,
    /// The number of the person.
    pub user: Option<u32>,
    /// Where the person's configuration is.
    pub config_home: Option<PathBuf>,
    /// The person's home directory.
    pub home: Option<PathBuf>,
}

/// How the files of a job compare with what `install` would write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// There is nothing.
    Missing,
    /// They are the same.
    Current,
    /// An earlier `install` wrote them, and would write something else now.
    Outdated,
    /// A person has changed them since.
    Edited,
    /// There is something of that name that is not pachat's.
    Foreign,
}

impl State {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Current => "current",
            Self::Outdated => "outdated",
            Self::Edited => "edited",
            Self::Foreign => "foreign",
        }
    }
}

/// A job at a scheduler.
#[derive(Clone, Debug)]
pub struct Installed {
    /// The job.
    pub job: &'static Job,
    /// Its files.
    pub state: State,
    /// Whether the scheduler knows that it is to run it; `None` where nobody can be asked.
    pub active: Option<bool>,
    /// When it runs next, if that is known.
    pub next: Option<Timestamp>,
    /// How its last run ended, in the scheduler's own words, if it says so.
    pub last: Option<String>,
}

/// What stands at a scheduler.
#[derive(Clone, Debug)]
pub struct Standing {
    /// The scheduler.
    pub scheduler: Scheduler,
    /// Every job.
    pub jobs: Vec<Installed>,
}

impl Standing {
    /// Whether there is anything of pachat's.
    pub fn is_there(&self) -> bool {
        let ours = |job: &Installed| !matches!(job.state, State::Missing | State::Foreign);
        self.jobs.iter().any(ours)
    }
}

impl Machine<'_> {
    /// Whether the machine has this scheduler, and it answers.
    pub fn has(&self, scheduler: Scheduler) -> bool {
        let answers = |program: &str, arguments: &[&str]| {
            self.run(program, arguments, &[])
                .is_ok_and(|ended| ended.code == Some(0))
        };
        match scheduler {
            Scheduler::Systemd => answers("systemctl", &["--user", "show", "--property=Version"]),
            Scheduler::Launchd => answers("launchctl", &["managername"]),
            Scheduler::Windows => answers("schtasks", &["/Query", "/?"]),
            Scheduler::Cron => self.crontab().is_ok(),
        }
    }

    /// The scheduler to use: the one that is wanted; else the one that has the jobs already;
    /// else the best that the machine has.
    pub fn choose(&self, wanted: Option<Scheduler>) -> Result<Scheduler> {
        if let Some(wanted) = wanted {
            if self.has(wanted) {
                return Ok(wanted);
            }
            return Err(
                Error::new(Kind::NotFound, format!("{wanted} does not answer here"))
                    .why(match wanted {
                        Scheduler::Systemd => "there is no systemd instance for this user",
                        Scheduler::Launchd => "launchctl cannot be run",
                        Scheduler::Windows => "schtasks cannot be run",
                        Scheduler::Cron => "crontab cannot be run",
                    })
                    .hint(format!(
                        "leave out --with, or do it yourself: pachat config schedule print --with {wanted}"
                    )),
            );
        }
        let having = Scheduler::ALL.into_iter().filter(|one| self.has(*one));
        let having: Vec<Scheduler> = having.collect();
        let used = having.iter().find(|one| self.holds(**one));
        used.or(having.first()).copied().ok_or_else(|| {
            Error::new(
                Kind::NotFound,
                "this machine has no scheduler that pachat knows",
            )
            .why("neither systemctl --user nor launchctl, schtasks or crontab answers")
            .hint("see the command lines: pachat config schedule print --with cron")
        })
    }

    /// Whether files or lines of pachat's are at a scheduler. What cannot be read is none.
    pub fn holds(&self, scheduler: Scheduler) -> bool {
        if scheduler == Scheduler::Cron {
            // Also a block in which no job is to be recognised.
            let crontab = self.crontab();
            return crontab.is_ok_and(|text| matches!(crontab::current(&text), Ok(Some(_))));
        }
        self.files(scheduler, &Call::usual()).is_ok_and(|states| {
            states
                .values()
                .any(|state| matches!(state, State::Current | State::Outdated | State::Edited))
        })
    }

    /// What stands at a scheduler, compared with what this call would be.
    pub fn standing(&self, scheduler: Scheduler, call: &Call, now: &Zoned) -> Result<Standing> {
        let states = self.files(scheduler, call)?;
        let known = match scheduler {
            Scheduler::Systemd => self.ask_systemd(),
            _ => HashMap::new(),
        };
        let jobs = JOBS.iter().map(|job| {
            let state = states.get(job.name).copied().unwrap_or(State::Missing);
            let there = state != State::Missing;
            let mut installed = Installed {
                job,
                state,
                active: None,
                next: None,
                last: None,
            };
            match scheduler {
                Scheduler::Systemd => {
                    if let Some(known) = known.get(job.name).filter(|_| there) {
                        installed.active = Some(known.active);
                        installed.next = known.next;
                        installed.last.clone_from(&known.last);
                    }
                }
                Scheduler::Launchd | Scheduler::Windows if there => {
                    installed.active = Some(self.is_registered(scheduler, job.name));
                }
                Scheduler::Cron if there => installed.active = Some(true),
                _ => {}
            }
            if state == State::Current
                && installed.active == Some(true)
                && matches!(scheduler, Scheduler::Launchd | Scheduler::Cron)
            {
                installed.next = call.next(job, now);
            }
            installed
        });
        Ok(Standing {
            scheduler,
            jobs: jobs.collect(),
        })
    }

    /// The state of each job's files; jobs without any are missing.
    fn files(&self, scheduler: Scheduler, call: &Call) -> Result<HashMap<&'static str, State>> {
        if scheduler == Scheduler::Cron {
            return states_in(&self.crontab()?, call);
        }
        let directory = self.directory(scheduler)?;
        let all: Vec<&'static Job> = JOBS.iter().collect();
        let mut states: HashMap<&'static str, Vec<State>> = HashMap::new();
        for file in render(scheduler, &all, call) {
            let state = self.compare(&directory.join(&file.name), &file.text)?;
            states.entry(file.job).or_default().push(state);
        }
        let whole = |(job, states): (&'static str, Vec<State>)| {
            let worst = states.iter().max().copied().unwrap_or(State::Missing);
            // One of two.
            let half = worst == State::Current && states.contains(&State::Missing);
            (job, if half { State::Outdated } else { worst })
        };
        Ok(states.into_iter().map(whole).collect())
    }

    /// How a file compares with what would be written.
    pub(super) fn compare(&self, path: &Path, text: &str) -> Result<State> {
        let Some(bytes) = self.read(path)? else {
            return Ok(State::Missing);
        };
        Ok(match mark::owner(&bytes) {
            Owner::Ours if bytes == text.as_bytes() => State::Current,
            Owner::Ours => State::Outdated,
            Owner::Edited => State::Edited,
            Owner::Foreign => State::Foreign,
        })
    }

    /// A file, if it is there.
    fn read(&self, path: &Path) -> Result<Option<Vec<u8>>> {
        match self.disk.read(path, LARGEST) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            // Not what pachat writes.
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge => Ok(Some(Vec::new())),
            Err(error) => Err(Error::io(
                "cannot read a file of the scheduler",
                path,
                &error,
            )),
        }
    }

    /// Where the files of a scheduler are.
    pub(super) fn directory(&self, scheduler: Scheduler) -> Result<PathBuf> {
        let (base, below) = match scheduler {
            Scheduler::Launchd => (&self.home, "Library/LaunchAgents"),
            Scheduler::Windows => (&self.config_home, "pachat/schedule"),
            Scheduler::Systemd | Scheduler::Cron => (&self.config_home, "systemd/user"),
        };
        let base = base.as_ref().ok_or_else(|| {
            Error::new(Kind::Config, "there is no place for files of the scheduler")
                .why("this account has no home directory")
        })?;
        Ok(base.join(below))
    }

    /// The person's crontab; none is an empty one.
    pub(super) fn crontab(&self) -> Result<Vec<u8>> {
        let ended = self.run("crontab", &["-l"], &[])?;
        if ended.code == Some(0) {
            return Ok(ended.stdout);
        }
        let said = String::from_utf8_lossy(&ended.stderr).to_lowercase();
        if ended.code == Some(1) && (said.contains("no crontab") || said.contains("no such file")) {
            return Ok(Vec::new());
        }
        Err(failed("crontab", &["-l"], &ended))
    }

    /// Runs a program of a scheduler.
    pub(super) fn run(&self, program: &str, arguments: &[&str], stdin: &[u8]) -> Result<Ended> {
        let words: Vec<OsString> = arguments.iter().map(OsString::from).collect();
        let ended = self.programs.run(OsStr::new(program), &words, stdin, None);
        ended.map_err(|error| {
            let kind = match error.kind() {
                io::ErrorKind::NotFound => Kind::NotFound,
                _ => Kind::Io,
            };
            Error::new(kind, format!("cannot run {program}")).why(describe(&error))
        })
    }

    /// Whether launchd or the Task Scheduler knows a job.
    pub(super) fn is_registered(&self, scheduler: Scheduler, job: &str) -> bool {
        let ended = match scheduler {
            Scheduler::Launchd => self.run("launchctl", &["print", &self.target(job)], &[]),
            _ => self.run("schtasks", &["/Query", "/TN", &windows::task(job)], &[]),
        };
        ended.is_ok_and(|ended| ended.code == Some(0))
    }

    /// The domain of a person's agents.
    pub(super) fn domain(&self) -> String {
        format!("gui/{}", self.user.unwrap_or_default())
    }

    /// What launchd calls a job.
    pub(super) fn target(&self, job: &str) -> String {
        format!("{}/{}", self.domain(), launchd::label(job))
    }

    /// What systemd says about the jobs; nothing if it does not answer.
    pub(super) fn ask_systemd(&self) -> HashMap<&'static str, Known> {
        let units: Vec<String> = JOBS
            .iter()
            .flat_map(|job| ["timer", "service"].map(|kind| format!("pachat-{}.{kind}", job.name)))
            .collect();
        let mut arguments = vec![
            "--user",
            "show",
            "--timestamp=utc",
            "--property=Id,ActiveState,UnitFileState,NextElapseUSecRealtime,Result,ExecMainStatus,ExecMainExitTimestamp",
        ];
        arguments.extend(units.iter().map(String::as_str));
        match self.run("systemctl", &arguments, &[]) {
            Ok(ended) if ended.code == Some(0) => known(&String::from_utf8_lossy(&ended.stdout)),
            _ => HashMap::new(),
        }
    }
}

/// What systemd says about a job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Known {
    /// Whether its timer is enabled and waits.
    pub(super) active: bool,
    next: Option<Timestamp>,
    last: Option<String>,
}

/// Reads `systemctl show`: blocks of `Name=value`, with an empty line between two.
fn known(text: &str) -> HashMap<&'static str, Known> {
    let mut all: HashMap<&'static str, Known> = HashMap::new();
    for block in text.split("\n\n") {
        let values: HashMap<&str, &str> = block
            .lines()
            .filter_map(|line| line.split_once('='))
            .collect();
        let get = |name: &str| values.get(name).copied().unwrap_or_default();
        let unit = get("Id")
            .strip_prefix("pachat-")
            .and_then(|id| id.split_once('.'));
        let Some((job, kind)) = unit.and_then(|(name, kind)| Some((super::find(name)?, kind)))
        else {
            continue;
        };
        let known = all.entry(job.name).or_default();
        if kind == "timer" {
            known.active = get("ActiveState") == "active" && get("UnitFileState") == "enabled";
            known.next = utc(get("NextElapseUSecRealtime"));
        } else if utc(get("ExecMainExitTimestamp")).is_some() {
            known.last = Some(match (get("Result"), get("ExecMainStatus")) {
                ("success", "0") => "success".into(),
                (result, status) => format!("{result} ({status})"),
            });
        }
    }
    all
}

/// A time such as `Wed 2026-11-25 03:17:00 UTC`.
fn utc(text: &str) -> Option<Timestamp> {
    let mut words = text.split(' ').skip(1);
    let (date, time) = (words.next()?, words.next()?);
    format!("{date}T{time}Z").parse().ok()
}

/// Which jobs the block of a crontab has.
fn states_in(crontab: &[u8], call: &Call) -> Result<HashMap<&'static str, State>> {
    let Some((block, owner)) = crontab::current(crontab)? else {
        return Ok(HashMap::new());
    };
    let text = String::from_utf8_lossy(block);
    let lines = || text.lines().filter(|line| !line.starts_with('#'));
    let exact = |job: &&Job| {
        let arguments = format!(" {}", job.arguments.join(" "));
        lines().any(|line| line.contains(&arguments))
    };
    let jobs: Vec<&'static Job> = JOBS.iter().filter(exact).collect();
    if owner == Owner::Ours && crontab::block(&jobs, call).as_bytes() == block {
        return Ok(jobs.iter().map(|job| (job.name, State::Current)).collect());
    }
    let state = match owner {
        Owner::Ours => State::Outdated,
        Owner::Edited | Owner::Foreign => State::Edited,
    };
    // Another version, or a person, may have written other options.
    let alike = |job: &&Job| {
        lines().any(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            job.key().all(|word| words.contains(&word))
        })
    };
    let jobs = JOBS.iter().filter(alike);
    Ok(jobs.map(|job| (job.name, state)).collect())
}

/// The error of a program that did not end well.
pub(super) fn failed(program: &str, arguments: &[&str], ended: &Ended) -> Error {
    let line = format!("{program} {}", arguments.join(" "));
    let said = String::from_utf8_lossy(&ended.stderr);
    let error = Error::new(Kind::Io, format!("`{line}` failed"));
    let error = match ended.code {
        Some(code) => error.why(format!("exit code {code}")),
        None => error.why("a signal ended it"),
    };
    match said.lines().find(|line| !line.trim().is_empty()) {
        Some(first) => error.cause(first.trim()),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_of_another_version_is_recognised() {
        let jobs: Vec<&'static Job> = JOBS.iter().collect();
        let call = Call::usual();
        let current = crontab::block(&jobs, &call);
        let states = states_in(current.as_bytes(), &call).unwrap();
        assert!(states.len() == JOBS.len() && states.values().all(|one| *one == State::Current));
        // As if it had been written without an option that the jobs have now.
        let older = current.replace(" --quiet", "");
        let digest = older.find("digest ").unwrap() + "digest ".len();
        let mut blank = older.clone();
        blank.replace_range(digest..digest + 64, &"0".repeat(64));
        let older = mark::seal(&blank);
        let states = states_in(older.as_bytes(), &call).unwrap();
        assert!(states.len() == JOBS.len() && states.values().all(|one| *one == State::Outdated));
    }

    #[test]
    fn what_systemd_says_is_understood() {
        let text = "Id=pachat-backup.timer\nActiveState=active\nUnitFileState=enabled\nNextElapseUSecRealtime=Wed 2026-11-25 03:17:00 UTC\n\n\
            Id=pachat-backup.service\nActiveState=failed\nResult=exit-code\nExecMainStatus=74\nExecMainExitTimestamp=Tue 2026-11-24 03:17:04 UTC\n\n\
            Id=pachat-health.timer\nActiveState=inactive\nUnitFileState=\nNextElapseUSecRealtime=\n\n\
            Id=pachat-health.service\nResult=success\nExecMainStatus=0\nExecMainExitTimestamp=\n\n\
            Id=other.timer\nActiveState=active\n";
        let all = known(text);
        assert_eq!(all.len(), 2);
        assert_eq!(
            all["backup"],
            Known {
                active: true,
                next: Some("2026-11-25T03:17:00Z".parse().unwrap()),
                last: Some("exit-code (74)".into()),
            }
        );
        assert_eq!(all["health"], Known::default());
    }
}
