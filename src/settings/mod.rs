//! Settings from every source, and where each one came from.
//!
//! Precedence: option, environment, `.env` of the configuration directory,
//! `app_config.json`, default. In each of the two layers of variables, `PACHAT_NAME` wins
//! over `NAME`. Loading reads at most two small files and creates nothing.
//!
//! Layer: beside `context`; nothing below may import it. Lower layers get plain values.

mod dotenv;
mod file;
mod findings;
mod lines;
mod load;
pub(crate) mod nearest;
mod schema;
mod table;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use log::LevelFilter;

use crate::cli::Global;
use crate::model::base_url::BaseUrl;
use crate::model::error::{Error, Kind, Result};
use crate::model::secret::Secret;
use crate::model::size::ByteSize;
use crate::model::usd::Usd;
use crate::platform::{Disk, Environment, Random};
use crate::store::atomic;

use load::Loading;

pub use file::Change;
pub use findings::{EnvFile, env_file, findings, line_of};
pub use schema::schema;
pub use table::{Fallback, Setting, Shape, TABLE, VARIABLES, Value, Variable, find};

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// An option on the command line.
    Flag,
    /// This environment variable.
    Environment(String),
    /// This variable in a `.env` file.
    DotEnv(PathBuf, String),
    /// A file of settings.
    File(PathBuf),
    /// Nothing set it.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("option"),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::DotEnv(path, name) => write!(f, "{} {name}", path.display()),
            Self::File(path) => path.display().fmt(f),
            Self::Default => f.write_str("default"),
        }
    }
}

/// One line of `config list`.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The setting.
    pub setting: &'static Setting,
    /// What holds, defaults included.
    pub value: Option<Value>,
    /// Where it came from.
    pub origin: Origin,
}

/// The settings of one run.
#[derive(Clone, Debug)]
pub struct Settings {
    data_dir: PathBuf,
    data_dir_origin: Origin,
    config_file: PathBuf,
    config_dir: Option<PathBuf>,
    /// What holds for each setting. Invariant: one entry for each of [`TABLE`], in its
    /// order, with a value of the setting's shape.
    entries: Vec<Entry>,
    /// The first of the entries, parsed.
    base_url: BaseUrl,
    ca_file: Option<PathBuf>,
    backup_identity: Option<PathBuf>,
    api_key: Option<(Secret, Origin)>,
    encryption_key: Option<Secret>,
    notes: Vec<String>,
}

impl Settings {
    /// Settings from every source, and what is odd about them.
    ///
    /// Errors are of kind `Config` and name the file, the setting and the line; a file
    /// with several wrong values has one error with all of them. A missing file is
    /// fine, unless it is an `--env-file`.
    pub fn load(
        global: &Global,
        environment: &Environment,
        disk: &dyn Disk,
    ) -> Result<(Self, Vec<String>)> {
        Loading::new(global, environment, disk)?.load(true)
    }

    /// The same without `app_config.json`: for the commands that repair it.
    pub fn load_without_file(
        global: &Global,
        environment: &Environment,
        disk: &dyn Disk,
    ) -> Result<(Self, Vec<String>)> {
        Loading::new(global, environment, disk)?.load(false)
    }

    /// The same without whatever is wrong: a file or a variable that cannot be read counts for
    /// nothing, and so does a value that is not allowed. For those who look for what is wrong;
    /// [`findings`] says what it is.
    pub fn load_what_can_be(
        global: &Global,
        environment: &Environment,
        disk: &dyn Disk,
    ) -> Result<Self> {
        Loading::forgiving(global, environment, disk)
            .load(true)
            .map(|(settings, _)| settings)
    }

    /// Where variables are read from.
    pub fn places_of_variables(
        global: &Global,
        environment: &Environment,
        disk: &dyn Disk,
    ) -> Vec<PathBuf> {
        Loading::without_variables(global, environment, disk).places()
    }

    /// These, and where the data is unless a file of variables says otherwise. Reads nothing.
    pub fn likely_places(
        global: &Global,
        environment: &Environment,
        disk: &dyn Disk,
    ) -> Vec<PathBuf> {
        let loading = Loading::without_variables(global, environment, disk);
        let mut places = loading.places();
        places.extend(loading.places_of_data());
        places
    }

    /// The data directory and the file of settings, which variables may name.
    pub fn places_of_data(
        global: &Global,
        environment: &Environment,
        disk: &dyn Disk,
    ) -> Vec<PathBuf> {
        Loading::forgiving(global, environment, disk).places_of_data()
    }

    /// The data directory, absolute.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Where the data directory was named.
    pub fn data_dir_origin(&self) -> &Origin {
        &self.data_dir_origin
    }

    /// The file of settings, absolute; it need not exist.
    pub fn config_file(&self) -> &Path {
        &self.config_file
    }

    /// Where `master.key`, `.env` and the history are; `None` without a home directory.
    pub fn config_dir(&self) -> Option<&Path> {
        self.config_dir.as_deref()
    }

    /// The sealed keys.
    pub fn keys_file(&self) -> PathBuf {
        self.data_dir.join("config").join("api_keys.enc")
    }

    /// Every setting, with what holds, in the order of the table.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// What holds for a setting, as people type it; `None` if nothing does, or if there
    /// is no such setting.
    pub fn get(&self, key: &str) -> Option<String> {
        self.value(key).map(ToString::to_string)
    }

    /// Where the value of a setting came from; `None` if there is no such setting.
    pub fn origin(&self, key: &str) -> Option<&Origin> {
        self.entry(key).map(|entry| &entry.origin)
    }

    /// What is worth knowing with `--verbose`: variables that are not used.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The API key of the environment or `.env`, as it stands there.
    pub fn api_key(&self) -> Option<(&Secret, &Origin)> {
        self.api_key.as_ref().map(|(key, origin)| (key, origin))
    }

    /// `ENCRYPTION_KEY`: the pass phrase of keys sealed with one.
    pub fn encryption_key(&self) -> Option<&Secret> {
        self.encryption_key.as_ref()
    }

    /// The server's address.
    pub fn base_url(&self) -> &BaseUrl {
        &self.base_url
    }

    /// What kind of server it is; `auto` tells from the base URL.
    pub fn profile(&self) -> &str {
        self.text("api.profile").unwrap_or("auto")
    }

    /// A command that prints the API key.
    pub fn key_command(&self) -> Option<&str> {
        self.text("api.key_command")
    }

    /// The certificate authorities to trust (PEM) instead of the compiled-in ones, absolute.
    pub fn ca_file(&self) -> Option<&Path> {
        self.ca_file.as_deref()
    }

    /// The file of an age identity that opens encrypted backups, absolute.
    pub fn backup_identity(&self) -> Option<&Path> {
        self.backup_identity.as_deref()
    }

    /// How many rollback points to keep; at least one.
    pub fn rollback_keep(&self) -> usize {
        let number = self.whole("rollback.keep").unwrap_or_default();
        usize::try_from(number).unwrap_or(usize::MAX)
    }

    /// Whether OpenRouter is told that requests come from pachat.
    pub fn attribution(&self) -> bool {
        self.flag("api.attribution")
    }

    /// The model of new conversations; `None` means the server's first.
    pub fn model(&self) -> Option<&str> {
        self.text("chat.model")
    }

    /// The system message of new conversations.
    pub fn system(&self) -> Option<&str> {
        self.text("chat.system")
    }

    /// The longest reply, in tokens.
    pub fn max_tokens(&self) -> Option<u32> {
        self.whole("chat.max_tokens")
            .and_then(|number| u32::try_from(number).ok())
    }

    /// From 0 to 2.
    pub fn temperature(&self) -> Option<f64> {
        match self.value("chat.temperature") {
            Some(Value::Real(number)) => Some(*number),
            _ => None,
        }
    }

    /// Whether interrupted replies are sent along as context.
    pub fn keep_partial(&self) -> bool {
        self.flag("chat.keep_partial")
    }

    /// How long connecting may take.
    pub fn connect_timeout(&self) -> Duration {
        self.seconds("timeouts.connect_seconds").unwrap_or_default()
    }

    /// How long the server may take to begin its answer.
    pub fn first_byte_timeout(&self) -> Duration {
        self.seconds("timeouts.first_byte_seconds")
            .unwrap_or_default()
    }

    /// How long the server may send nothing at all.
    pub fn idle_timeout(&self) -> Duration {
        self.seconds("timeouts.idle_seconds").unwrap_or_default()
    }

    /// How long the server may send nothing but signs of life.
    pub fn data_idle_timeout(&self) -> Duration {
        self.seconds("timeouts.data_idle_seconds")
            .unwrap_or_default()
    }

    /// How long a whole reply may take; `None` is for ever.
    pub fn total_timeout(&self) -> Option<Duration> {
        self.seconds("timeouts.total_seconds")
    }

    /// The most that is read of a prompt or a file.
    pub fn memory_limit(&self) -> ByteSize {
        ByteSize::megabytes(self.whole("limits.memory_mb").unwrap_or_default())
    }

    /// The size from which a conversation should be continued in a new one.
    pub fn conversation_limit(&self) -> ByteSize {
        ByteSize::megabytes(self.whole("limits.conversation_mb").unwrap_or_default())
    }

    /// The most requests in a minute, of all processes together.
    pub fn requests_per_minute(&self) -> u32 {
        self.count("limits.requests_per_minute")
    }

    /// The most requests at the same time, of all processes together.
    pub fn requests_at_once(&self) -> u32 {
        self.count("limits.requests_at_once")
    }

    /// The most to spend in a day and in a month, in US dollars.
    pub fn cost_limits(&self) -> (Option<Usd>, Option<Usd>) {
        let amount = |key| self.get(key).and_then(|text| text.parse().ok());
        (
            amount("limits.daily_cost_usd"),
            amount("limits.monthly_cost_usd"),
        )
    }

    /// What a backup holds: `data`, `full` or `config`.
    pub fn backup_type(&self) -> &str {
        self.text("backup.type").unwrap_or("data")
    }

    /// Whether every backup is sealed.
    pub fn backup_encrypted(&self) -> bool {
        self.flag("backup.encrypted")
    }

    /// Whom sealed backups are for, as it stands in the settings: not checked yet.
    pub fn backup_recipients(&self) -> Vec<String> {
        recipients(self.text("backup.recipients").unwrap_or_default())
    }

    /// How many backups a rule keeps: `last`, `daily`, `weekly`, `monthly` or `yearly`.
    pub fn backup_keep(&self, rule: &str) -> u32 {
        let number = self.whole(&format!("backup.keep_{rule}"));
        number
            .and_then(|number| u32::try_from(number).ok())
            .unwrap_or(0)
    }

    /// How much older than the newest a backup may be and stay: not checked yet.
    pub fn backup_keep_within(&self) -> Option<&str> {
        self.text("backup.keep_within")
    }

    /// How large the data directory may grow.
    pub fn storage_limit(&self) -> ByteSize {
        ByteSize::megabytes(self.whole("limits.storage_mb").unwrap_or_default())
    }

    /// How many conversations may be in use.
    pub fn conversations_limit(&self) -> u64 {
        self.whole("limits.conversations").unwrap_or_default()
    }

    /// After how many days cleanup does what a setting says, such as `cleanup.log_days`; `None`
    /// if it is not set.
    pub fn days(&self, key: &str) -> Option<u32> {
        self.whole(key)
            .and_then(|number| u32::try_from(number).ok())
    }

    /// How long the server may take to answer a probe before health complains.
    pub fn max_response(&self) -> Duration {
        Duration::from_millis(self.whole("health.max_response_ms").unwrap_or_default())
    }

    fn count(&self, key: &str) -> u32 {
        let number = self
            .whole(key)
            .and_then(|number| u32::try_from(number).ok());
        number.unwrap_or(u32::MAX)
    }

    /// How much goes to the log; with `log.debug`, at least every detail.
    pub fn log_level(&self) -> LevelFilter {
        let level = self.text("log.level").and_then(|text| text.parse().ok());
        let level = level.unwrap_or(LevelFilter::Info);
        if self.debug() {
            level.max(LevelFilter::Debug)
        } else {
            level
        }
    }

    /// Whether details are logged, whatever the level.
    pub fn debug(&self) -> bool {
        self.flag("log.debug")
    }

    fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.setting.key == key)
    }

    fn value(&self, key: &str) -> Option<&Value> {
        self.entry(key)?.value.as_ref()
    }

    fn text(&self, key: &str) -> Option<&str> {
        match self.value(key)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    fn flag(&self, key: &str) -> bool {
        matches!(self.value(key), Some(Value::Flag(true)))
    }

    fn whole(&self, key: &str) -> Option<u64> {
        match self.value(key)? {
            Value::Whole(number) => Some(*number),
            _ => None,
        }
    }

    fn seconds(&self, key: &str) -> Option<Duration> {
        self.whole(key).map(Duration::from_secs)
    }
}

/// The recipients in a value of `backup.recipients`: not checked yet.
pub fn recipients(text: &str) -> Vec<String> {
    text.split([',', ' ', '\t', '\n', '\r'])
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

/// Sets one setting in the file, creating it and its directory if they are missing.
/// Order, unknown keys and everything else stay.
///
/// An unknown key or a value that is not allowed is an error of kind `Usage`; a file
/// that is no JSON object is one of kind `Config` and stays as it is.
pub fn set(
    disk: &dyn Disk,
    random: &dyn Random,
    path: &Path,
    key: &str,
    text: &str,
) -> Result<Change> {
    let (setting, value) = parse(key, text)?;
    if let Some(directory) = path.parent() {
        atomic::create_dirs(disk, directory)?;
    }
    file::change(disk, random, path, setting, Some(&value))
}

/// A setting and the value that a text is for it; errors as of [`set`].
pub fn parse(key: &str, text: &str) -> Result<(&'static Setting, Value)> {
    let setting = known(key)?;
    let value = setting.parse(text).map_err(|why| {
        Error::new(Kind::Usage, format!("cannot set `{key}`"))
            .why(format!("it {why}"))
            .hint(format!("{}: {}", setting.key, setting.about))
    })?;
    Ok((setting, value))
}

/// Removes one setting from the file, so that its default counts again.
pub fn unset(disk: &dyn Disk, random: &dyn Random, path: &Path, key: &str) -> Result<Change> {
    file::change(disk, random, path, known(key)?, None)
}

/// What a text of settings says differently from another, setting by setting. A text that is
/// no valid one says nothing.
pub fn differences(before: Option<&[u8]>, after: &[u8]) -> Vec<(&'static str, Change)> {
    let values = |bytes: &[u8]| {
        let contents = file::parse(bytes, Path::new("")).unwrap_or_default();
        move |setting: &Setting| {
            let found = contents
                .values
                .iter()
                .rfind(|(own, _)| own.key == setting.key);
            found.map(|(_, value)| value.to_string())
        }
    };
    let (before, after) = (values(before.unwrap_or_default()), values(after));
    let changes = TABLE.iter().map(|setting| {
        let (before, after) = (before(setting), after(setting));
        (setting.key, Change { before, after })
    });
    changes
        .filter(|(_, change)| change.before != change.after)
        .collect()
}

/// Checks a text of settings as loading it would, and returns what is odd about it.
pub fn check(bytes: &[u8], path: &Path) -> Result<Vec<String>> {
    file::parse(bytes, path).map(|contents| contents.warnings())
}

/// The setting of that name, or an error of kind `Usage` that names the nearest one.
pub fn known(key: &str) -> Result<&'static Setting> {
    find(key).ok_or_else(|| {
        let error = Error::new(Kind::Usage, format!("there is no setting `{key}`"));
        match table::nearest(key) {
            Some(near) => error.hint(format!("did you mean `{near}`?")),
            None => error.hint("`pachat config list` shows them all"),
        }
    })
}
