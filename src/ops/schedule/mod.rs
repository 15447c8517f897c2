//! What should happen by itself, and when: one table, from which the files of every scheduler
//! are made that a machine may have.
//!
//! Layer: ops. Promise: rendering is a pure function of the table and of a [`Call`], so what
//! ships in `data/`, what `config schedule print` shows and what `install` writes are the same
//! text. Nothing here runs by itself: pachat has no daemon.

mod crontab;
mod launchd;
mod machine;
mod mark;
mod plan;
mod systemd;
mod windows;

use std::fmt;
use std::fmt::Write as _;

use jiff::{Timestamp, ToSpan, Zoned};

use crate::model::backup::Hasher;
use crate::model::error::{Error, Kind, Result};

pub use machine::{Installed, Machine, Standing, State};
pub use plan::{Plan, Step};

/// Something that should happen by itself.
#[derive(Debug)]
pub struct Job {
    /// What it is called, in names of units and on the command line.
    pub name: &'static str,
    /// What it does, for people.
    pub about: &'static str,
    /// The arguments after `pachat`.
    pub arguments: &'static [&'static str],
    /// Whether standard output is data, which a scheduler has no use for.
    pub data: bool,
    /// When.
    pub when: When,
    /// Over how many minutes machines and people are spread.
    pub spread: u32,
    /// Exit codes that are no failure of the job.
    pub fine: &'static [u8],
}

impl Job {
    /// The arguments that say which job it is, whatever else stands in the line.
    fn key(&self) -> impl Iterator<Item = &'static str> {
        let arguments = self.arguments.iter().copied();
        arguments.take_while(|word| *word != "--quiet")
    }
}

/// When a job runs, in the machine's time zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Every hour.
    Hourly,
    /// Every day at this hour.
    Daily(u32),
    /// Every Sunday at this hour.
    Sundays(u32),
    /// Every first day of a month at this hour.
    Monthly(u32),
}

/// The jobs. The hours leave each time to be done before the next one begins: they all take
/// the same locks.
///
/// 75 (another pachat is at work) is fine everywhere: the next run comes by itself. `health`
/// says 1 for "degraded", which is worth a line in the journal and no alarm; 2, "unhealthy",
/// is a failure of the unit. Before there is a first conversation nothing is wrong.
pub static JOBS: [Job; 5] = [
    Job {
        name: "backup",
        about: "verified backup",
        arguments: &["backup", "--quiet", "--if-any"],
        data: true,
        when: When::Daily(3),
        spread: 60,
        fine: &[75],
    },
    Job {
        name: "daily",
        about: "daily cleanup: logs, temporary files, space",
        arguments: &["cleanup", "--daily", "--quiet", "--yes"],
        data: false,
        when: When::Daily(5),
        spread: 30,
        fine: &[75],
    },
    Job {
        name: "weekly",
        about: "weekly cleanup: backup, security",
        arguments: &["cleanup", "--weekly", "--quiet", "--yes"],
        data: false,
        when: When::Sundays(6),
        spread: 30,
        fine: &[75],
    },
    Job {
        name: "monthly",
        about: "monthly cleanup: archive, report",
        arguments: &["cleanup", "--monthly", "--quiet", "--yes"],
        data: false,
        when: When::Monthly(7),
        spread: 30,
        fine: &[75],
    },
    Job {
        name: "health",
        about: "check that everything works",
        arguments: &["health", "--quiet", "--if-any"],
        data: false,
        when: When::Hourly,
        spread: 10,
        fine: &[1, 75],
    },
];

/// The job of that name.
pub fn find(name: &str) -> Option<&'static Job> {
    JOBS.iter().find(|job| job.name == name)
}

/// The schedulers that machines have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheduler {
    /// A systemd instance of the user.
    Systemd,
    /// launchd, on macOS.
    Launchd,
    /// The Task Scheduler of Windows.
    Windows,
    /// A crontab.
    Cron,
}

impl Scheduler {
    /// Every one, the best first: cron is on many machines and knows least.
    pub const ALL: [Self; 4] = [Self::Systemd, Self::Launchd, Self::Windows, Self::Cron];

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Systemd => "systemd",
            Self::Launchd => "launchd",
            Self::Windows => "windows",
            Self::Cron => "cron",
        }
    }
}

/// Where the program is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Program {
    /// At this absolute path.
    At(String),
    /// Where `cargo install` puts it below the home directory, whosever that is: for the files
    /// in `data/`.
    InCargoHome,
}

/// How a job calls pachat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The program.
    pub program: Program,
    /// Options before the subcommand, such as `--data-dir` and its value.
    pub options: Vec<String>,
    /// Variables that the scheduler would not hand on.
    pub variables: Vec<(String, String)>,
    /// Where launchd puts what a job says; the others have a journal, or send mail.
    pub errors: Option<String>,
    /// What spreads the jobs of different people and machines: any text that differs.
    pub seed: String,
}

impl Call {
    /// The call of a default installation.
    pub fn usual() -> Self {
        Self {
            program: Program::InCargoHome,
            options: Vec::new(),
            variables: Vec::new(),
            errors: None,
            seed: String::new(),
        }
    }

    /// Checks that every word can stand in a line of a file.
    pub fn check(&self) -> Result<()> {
        let program = match &self.program {
            Program::At(path) => Some(path.as_str()),
            Program::InCargoHome => None,
        };
        let values = self.variables.iter().map(|(_, value)| value.as_str());
        let words = self.options.iter().chain(&self.errors).map(String::as_str);
        let odd = program
            .into_iter()
            .chain(words)
            .chain(values)
            .find(|word| word.chars().any(char::is_control));
        match odd {
            None => Ok(()),
            Some(word) => Err(Error::new(Kind::Usage, "a job cannot name this path")
                .why(format!("{word:?} has a control character in it"))),
        }
    }

    /// The options, then the arguments of a job.
    fn words<'a>(&'a self, job: &'a Job) -> impl Iterator<Item = &'a str> {
        let options = self.options.iter().map(String::as_str);
        options.chain(job.arguments.iter().copied())
    }

    /// When a job runs where the scheduler does not spread jobs by itself: always at the same
    /// minute for the same seed.
    fn minute(&self, job: &Job) -> (u32, u32) {
        let mut hasher = Hasher::default();
        hasher.update(job.name.as_bytes());
        hasher.update(b"\0");
        hasher.update(self.seed.as_bytes());
        let digest = hasher.finish().0;
        let number = u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]);
        let offset = number % job.spread;
        let hour = match job.when {
            When::Hourly => 0,
            When::Daily(hour) | When::Sundays(hour) | When::Monthly(hour) => hour,
        };
        (hour + offset / 60, offset % 60)
    }

    /// When a job runs, in words. Where the scheduler spreads jobs by itself, that is when its
    /// time begins.
    pub fn in_words(&self, job: &Job, scheduler: Scheduler) -> String {
        let spreads = matches!(scheduler, Scheduler::Systemd | Scheduler::Windows);
        let (hour, minute) = if spreads {
            (self.minute(job).0, 0)
        } else {
            self.minute(job)
        };
        let until = if spreads {
            format!(", at most {} minutes later", job.spread)
        } else {
            String::new()
        };
        match job.when {
            When::Hourly if spreads => format!("every hour{until}"),
            When::Hourly => format!("every hour at :{minute:02}"),
            When::Daily(_) => format!("every day at {hour:02}:{minute:02}{until}"),
            When::Sundays(_) => format!("Sundays at {hour:02}:{minute:02}{until}"),
            When::Monthly(_) => {
                format!("the first of a month at {hour:02}:{minute:02}{until}")
            }
        }
    }

    /// The next time that a job runs, where the scheduler does not spread jobs by itself.
    pub fn next(&self, job: &Job, now: &Zoned) -> Option<Timestamp> {
        let (hour, minute) = self.minute(job);
        let (hour, minute) = (i8::try_from(hour).ok()?, i8::try_from(minute).ok()?);
        if job.when == When::Hourly {
            let this = now.with().minute(minute).second(0).subsec_nanosecond(0);
            let this = this.build().ok()?;
            let next = if this > *now {
                this
            } else {
                this.checked_add(1.hour()).ok()?
            };
            return Some(next.timestamp());
        }
        // No month is longer.
        (0..=31).find_map(|days| {
            let day = now.date().checked_add(days.days()).ok()?;
            let fits = match job.when {
                When::Sundays(_) => day.weekday() == jiff::civil::Weekday::Sunday,
                When::Monthly(_) => day.day() == 1,
                When::Hourly | When::Daily(_) => true,
            };
            let at = day.at(hour, minute, 0, 0);
            let at = at.to_zoned(now.time_zone().clone()).ok()?;
            (fits && at > *now).then(|| at.timestamp())
        })
    }

    /// The command line of a job for people to read.
    pub fn command(&self, job: &Job) -> String {
        let mut line = String::new();
        for (name, value) in &self.variables {
            let _ = write!(line, "{name}={} ", sh_word(value));
        }
        match &self.program {
            Program::At(path) => line.push_str(&sh_word(path)),
            Program::InCargoHome => line.push_str("\"$HOME/.cargo/bin/pachat\""),
        }
        for word in self.words(job) {
            line.push(' ');
            line.push_str(&sh_word(word));
        }
        line
    }
}

/// A file for a scheduler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// Its name, without a directory.
    pub name: String,
    /// Its content.
    pub text: String,
    /// The job that it belongs to.
    pub job: &'static str,
}

/// The files of these jobs for a scheduler. For cron it is one, `pachat.crontab`: a block to
/// stand in a crontab.
pub fn render(scheduler: Scheduler, jobs: &[&'static Job], call: &Call) -> Vec<Rendered> {
    match scheduler {
        Scheduler::Systemd => jobs
            .iter()
            .flat_map(|job| systemd::render(job, call))
            .collect(),
        Scheduler::Launchd => jobs.iter().map(|job| launchd::render(job, call)).collect(),
        Scheduler::Windows => jobs.iter().map(|job| windows::render(job, call)).collect(),
        Scheduler::Cron => vec![Rendered {
            name: "pachat.crontab".into(),
            text: crontab::block(jobs, call),
            job: "",
        }],
    }
}

/// The directories of the repository that hold what ships for each scheduler.
pub const SHIPPED: [(Scheduler, &str); 4] = [
    (Scheduler::Systemd, "data/systemd"),
    (Scheduler::Launchd, "data/launchd"),
    (Scheduler::Windows, "data/windows"),
    (Scheduler::Cron, "data/cron"),
];

/// What `data/` ships for a scheduler: name and content of each file.
pub fn shipped(scheduler: Scheduler) -> Vec<(String, String)> {
    let jobs: Vec<&Job> = JOBS.iter().collect();
    render(scheduler, &jobs, &Call::usual())
        .into_iter()
        .map(|file| (file.name, file.text))
        .collect()
}

impl fmt::Display for Scheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word for `sh`.
fn sh_word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@+=,".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

/// A text inside an XML element. Everything is ASCII, so that no reader has to guess an
/// encoding.
fn xml(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c if c.is_ascii() => out.push(c),
            c => {
                let _ = write!(out, "&#{};", u32::from(c));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(seed: &str) -> Call {
        Call {
            seed: seed.into(),
            ..Call::usual()
        }
    }

    #[test]
    fn jobs_are_spread_and_each_stays_where_it_is() {
        for job in &JOBS {
            let minutes: std::collections::BTreeSet<(u32, u32)> = (0..200)
                .map(|n| call(&format!("/home/{n}")).minute(job))
                .collect();
            assert!(minutes.len() > job.spread as usize / 2, "{}", job.name);
            for (hour, minute) in minutes {
                assert!(hour < 24 && minute < 60);
            }
            assert_eq!(call("/a").minute(job), call("/a").minute(job));
        }
    }

    #[test]
    fn the_next_time_is_after_now() {
        let now: Zoned = "2026-11-30T23:59:30[UTC]".parse().unwrap();
        let call = call("");
        for job in &JOBS {
            let next = call
                .next(job, &now)
                .unwrap()
                .to_zoned(now.time_zone().clone());
            assert!(next > now, "{}", job.name);
            let days = match job.when {
                When::Sundays(_) => 7,
                // The first of December is tomorrow.
                When::Hourly | When::Daily(_) | When::Monthly(_) => 1,
            };
            assert!(next < now.checked_add(days.days()).unwrap(), "{}", job.name);
        }
    }

    #[test]
    fn a_path_with_a_line_feed_is_refused() {
        let mut call = call("");
        call.options = vec!["--data-dir".into(), "/a b/%h/$x'\"\\/ü".into()];
        assert!(call.check().is_ok());
        call.options.push("a\nb".into());
        assert!(call.check().is_err());
    }

    #[test]
    fn names_are_unique_and_every_job_is_quiet() {
        for (at, job) in JOBS.iter().enumerate() {
            assert!(JOBS[..at].iter().all(|other| other.name != job.name));
            assert!(job.arguments.contains(&"--quiet"), "{}", job.name);
            assert!(job.fine.contains(&75), "{}", job.name);
        }
    }
}
