//! A home directory and a context for tests of settings and keys, without a process.

#![allow(dead_code, unreachable_pub, reason = "each test program uses its part")]
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::collections::{BTreeMap, VecDeque};
use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use clap::Parser;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use pachat::cli::{Cli, Command};
use pachat::context::Context;
use pachat::model::error::{Error, Result};
use pachat::platform::disk::{Open, RealDisk};
use pachat::platform::program::{Captured, Ended};
use pachat::platform::random::RealRandom;
use pachat::platform::{Clock, Disk, Environment, Input, Output, Programs, Secrets, Signals};
use pachat::settings::Settings;
use pachat::store::Store;
use pachat::store::log::Log;
use pachat::term::Ui;
use pachat::term::ui::{Colour, Talk};
use zeroize::Zeroizing;

/// An account with an empty home.
pub struct Home {
    pub root: tempfile::TempDir,
    pub variables: BTreeMap<String, String>,
    /// What is typed at hidden prompts.
    pub typed: Vec<&'static str>,
    pub stdin: &'static str,
    pub terminal: bool,
    /// What an editor makes of a file; `None` fails.
    pub editor: Option<fn(&str) -> String>,
}

/// What a command did.
pub struct Outcome {
    pub result: Result<()>,
    pub stdout: String,
    pub stderr: String,
}

impl Outcome {
    /// The error, which must be there.
    pub fn error(self) -> Error {
        self.result.expect_err("it should have failed")
    }
    /// Everything that a person could see.
    pub fn all(&self) -> String {
        let error = match &self.result {
            Ok(()) => String::new(),
            Err(error) => format!(
                "{error} {error:?} {:?} {:?} {:?}",
                error.hint_text(),
                error.cause_text(),
                error.path_ref()
            ),
        };
        format!("{}\n{}\n{error}", self.stdout, self.stderr)
    }
    /// Standard output of a command that succeeded.
    pub fn ok(self) -> String {
        if let Err(error) = &self.result {
            panic!("{error} {:?}", error.hint_text());
        }
        self.stdout
    }
}

impl Home {
    pub fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("config/pachat")).unwrap();
        std::fs::create_dir_all(root.path().join("cwd")).unwrap();
        Self {
            root,
            variables: BTreeMap::new(),
            typed: Vec::new(),
            stdin: "",
            terminal: false,
            editor: None,
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    pub fn config_file(&self) -> PathBuf {
        self.path("data/pachat/config/app_config.json")
    }

    /// Writes a file that only its owner can read.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let _ = RealDisk.remove_file(&path);
        let mut file = RealDisk.open(&path, Open::CreateNew).unwrap();
        file.write_all(text.as_bytes()).unwrap();
        path
    }

    pub fn write_config(&self, text: &str) -> PathBuf {
        self.write("data/pachat/config/app_config.json", text)
    }

    #[expect(clippy::unused_self, reason = "reads like its neighbours")]
    pub fn read(&self, path: &Path) -> String {
        String::from_utf8(RealDisk.read(path, 1 << 20).unwrap()).unwrap()
    }

    pub fn set(&mut self, name: &str, value: &str) -> &mut Self {
        self.variables.insert(name.into(), value.into());
        self
    }

    pub fn environment(&self) -> Environment {
        Environment {
            variables: self
                .variables
                .iter()
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
            working_directory: self.path("cwd"),
            data_home: Some(self.path("data")),
            config_home: Some(self.path("config")),
            ..Environment::default()
        }
    }

    /// Loads the settings as `pachat ARGUMENTS config path` would.
    pub fn load(&self, arguments: &[&str]) -> Result<(Settings, Vec<String>)> {
        let cli = parse(&[arguments, &["config", "path"]].concat());
        Settings::load(&cli.global, &self.environment(), &RealDisk)
    }

    /// Runs `pachat ARGUMENTS`, which must be a `config` command.
    pub fn run(&self, arguments: &[&str]) -> Outcome {
        let cli = parse(arguments);
        let (stdout, stderr) = (Shared::default(), Shared::default());
        let output = |shared: &Shared| Output {
            writer: Box::new(shared.clone()),
            is_terminal: self.terminal,
            size: None,
        };
        let load = Settings::load(&cli.global, &self.environment(), &RealDisk)
            .or_else(|_| Settings::load_without_file(&cli.global, &self.environment(), &RealDisk));
        let (settings, warnings) = match load {
            Ok(loaded) => loaded,
            Err(error) => {
                return Outcome {
                    result: Err(error),
                    stdout: String::new(),
                    stderr: String::new(),
                };
            }
        };
        let store = Store::new(
            settings.data_dir().to_path_buf(),
            Arc::new(RealDisk),
            Arc::new(Noon),
            Arc::new(RealRandom),
        );
        let mut context = Context {
            log: Arc::new(Log::new(store, settings.log_level(), 1)),
            ui: Ui::new(
                output(&stdout),
                output(&stderr),
                Talk::Verbose,
                Colour::default(),
            ),
            stdin: Input {
                reader: Box::new(io::Cursor::new(self.stdin)),
                is_terminal: false,
            },
            environment: self.environment(),
            secrets: Box::new(Typist(Mutex::new(self.typed.iter().copied().collect()))),
            clock: Arc::new(Noon),
            disk: Arc::new(RealDisk),
            guard: None,
            random: Arc::new(RealRandom),
            signals: Signals::default(),
            programs: Box::new(Editor(self.editor)),
            global: cli.global,
            settings,
        };
        for warning in warnings {
            context.ui.warn(&warning);
        }
        let Command::Config(args) = cli.command else {
            panic!("not a config command");
        };
        let result = pachat::commands::config::run(args, &mut context);
        Outcome {
            result,
            stdout: stdout.text(),
            stderr: stderr.text(),
        }
    }
}

fn parse(arguments: &[&str]) -> Cli {
    Cli::try_parse_from([&["pachat"], arguments].concat()).unwrap()
}

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Shared {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Typist(Mutex<VecDeque<&'static str>>);

impl Secrets for Typist {
    fn ask(&self, _prompt: &str) -> io::Result<Zeroizing<String>> {
        match self.0.lock().unwrap().pop_front() {
            Some(text) => Ok(Zeroizing::new(text.to_owned())),
            None => Err(io::Error::from(io::ErrorKind::Unsupported)),
        }
    }
}

struct Editor(Option<fn(&str) -> String>);

impl Programs for Editor {
    fn capture(&self, command: &str, _limit: Option<Duration>) -> io::Result<Captured> {
        Ok(Captured {
            stdout: format!("{command}\n").into_bytes(),
            success: command != "false",
        })
    }
    fn run(
        &self,
        _program: &OsStr,
        _arguments: &[OsString],
        _stdin: &[u8],
        _limit: Option<Duration>,
    ) -> io::Result<Ended> {
        Err(io::ErrorKind::NotFound.into())
    }
    fn edit(&self, editor: &str, file: &Path) -> io::Result<bool> {
        assert_eq!(editor, "ed --wait");
        let Some(edit) = self.0 else {
            return Ok(false);
        };
        let text = String::from_utf8(RealDisk.read(file, 1 << 20)?).unwrap();
        let edited = edit(&text);
        RealDisk.remove_file(file)?;
        let mut file = RealDisk.open(file, Open::CreateNew)?;
        file.write_all(edited.as_bytes())?;
        Ok(true)
    }
}

struct Noon;

impl Clock for Noon {
    fn now(&self) -> Timestamp {
        "2026-08-22T12:00:00.5Z".parse().unwrap()
    }
    fn elapsed(&self) -> Duration {
        Duration::ZERO
    }
    fn sleep(&self, _time: Duration) {}
    fn zone(&self) -> TimeZone {
        TimeZone::UTC
    }
}
