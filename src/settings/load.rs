//! Putting the sources together, strongest first.
//!
//! Layer: settings. Reads at most two small files; creates nothing.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::cli::Global;
use crate::model::base_url::BaseUrl;
use crate::model::error::{Error, Kind, Result};
use crate::model::secret::Secret;
use crate::platform::{Disk, Environment};

use super::dotenv::{self, Dotenv, PREFIX};
use super::{Entry, Fallback, Origin, Setting, Settings, TABLE, Value, file};

/// The sources, while they are put together.
pub(super) struct Loading<'a> {
    global: &'a Global,
    environment: &'a Environment,
    disk: &'a dyn Disk,
    config_dir: Option<PathBuf>,
    dotenv: Option<Dotenv>,
    warnings: Vec<String>,
    /// Whether what is wrong is left out instead of being an error.
    forgiving: bool,
}

impl<'a> Loading<'a> {
    pub(super) fn new(
        global: &'a Global,
        environment: &'a Environment,
        disk: &'a dyn Disk,
    ) -> Result<Self> {
        let mut loading = Self::without_variables(global, environment, disk);
        if let Some(path) = loading.env_file() {
            loading.dotenv = Dotenv::read(disk, &path)?;
            if loading.dotenv.is_none() && global.env_file.is_some() {
                return Err(Error::new(Kind::NotFound, "cannot read the variables")
                    .why("no such file or directory")
                    .path(&path)
                    .hint("check the path after --env-file"));
            }
        }
        Ok(loading)
    }

    /// Sources from which whatever is wrong is left out.
    pub(super) fn forgiving(
        global: &'a Global,
        environment: &'a Environment,
        disk: &'a dyn Disk,
    ) -> Self {
        let mut loading = Self::without_variables(global, environment, disk);
        loading.forgiving = true;
        loading.dotenv = loading
            .env_file()
            .and_then(|path| Dotenv::read_what_can_be(disk, &path));
        loading
    }

    pub(super) fn without_variables(
        global: &'a Global,
        environment: &'a Environment,
        disk: &'a dyn Disk,
    ) -> Self {
        let config_dir = environment
            .config_home
            .as_ref()
            .map(|home| environment.resolve(home).join("pachat"));
        Self {
            global,
            environment,
            disk,
            config_dir,
            dotenv: None,
            warnings: Vec::new(),
            forgiving: false,
        }
    }

    /// What is looked into before it is known where the data is.
    pub(super) fn places(&self) -> Vec<PathBuf> {
        let directory = self.config_dir.clone();
        directory.into_iter().chain(self.env_file()).collect()
    }

    /// The data directory and the file of settings, as far as variables are known.
    pub(super) fn places_of_data(&self) -> Vec<PathBuf> {
        // That there is none is told by who loads the settings.
        self.data_dir().map_or_else(
            |_| Vec::new(),
            |(data_dir, _)| {
                let (config_file, _) = self.config_file(&data_dir);
                vec![data_dir, config_file]
            },
        )
    }

    /// The file of variables, which need not exist.
    pub(super) fn env_file(&self) -> Option<PathBuf> {
        match (&self.global.env_file, &self.config_dir) {
            (Some(path), _) => Some(self.environment.resolve(path)),
            (None, Some(directory)) => Some(directory.join(".env")),
            (None, None) => None,
        }
    }

    pub(super) fn load(mut self, with_file: bool) -> Result<(Settings, Vec<String>)> {
        self.warn_of_misspelt_variables();
        let (data_dir, data_dir_origin) = self.data_dir()?;
        let (config_file, config_file_origin) = self.config_file(&data_dir);
        let mut contents = file::Contents::default();
        if with_file && self.forgiving {
            let bytes = file::bytes(self.disk, &config_file).ok().flatten();
            let seen = bytes.and_then(|bytes| file::look(&bytes, &config_file).ok());
            contents = seen.unwrap_or_default();
        } else if with_file {
            match file::bytes(self.disk, &config_file)? {
                Some(bytes) => contents = file::parse(&bytes, &config_file)?,
                None if config_file_origin != Origin::Default => self.warnings.push(format!(
                    "{} ({config_file_origin}) does not exist; defaults are used",
                    config_file.display()
                )),
                None => {}
            }
        }
        let entries = self.entries(&contents, &config_file)?;
        let secret = |name| match self.secret(name) {
            Err(_) if self.forgiving => Ok(None),
            other => other,
        };
        let api_key = secret("OPENROUTER_API_KEY")?;
        let encryption_key = secret("ENCRYPTION_KEY")?.map(|(secret, _)| secret);
        self.warnings.extend(contents.warnings());
        let mut notes = Vec::new();
        if let Some(dotenv) = self.dotenv.take() {
            self.warnings.extend(dotenv.warnings);
            notes = dotenv.notes;
        }
        let base_url = base_url(&entries)
            .ok_or_else(|| Error::new(Kind::Bug, "the base URL has no default"))?;
        let mut settings = Settings {
            base_url,
            data_dir,
            data_dir_origin,
            config_dir: self.config_dir.take(),
            entries,
            ca_file: None,
            backup_identity: None,
            api_key,
            encryption_key,
            notes,
            config_file,
        };
        let file = |key| {
            let beside = settings.config_file.parent().unwrap_or(Path::new("/"));
            settings
                .text(key)
                .map(|path| self.expand(path.into(), beside))
        };
        (settings.ca_file, settings.backup_identity) =
            (file("api.ca_file"), file("backup.identity"));
        Ok((settings, self.warnings))
    }

    /// The data directory, and where it was named.
    pub(super) fn data_dir(&self) -> Result<(PathBuf, Origin)> {
        if let Some(path) = &self.global.data_dir {
            return Ok((self.environment.resolve(path), Origin::Flag));
        }
        if let Some((value, origin)) = self.variable("DATA_DIR") {
            return Ok((self.path(value, &origin), origin));
        }
        match &self.environment.data_home {
            Some(home) => Ok((
                self.environment.resolve(home).join("pachat"),
                Origin::Default,
            )),
            None => Err(
                Error::new(Kind::Config, "there is no place for conversations")
                    .why("this account has no home directory")
                    .hint("name a directory with --data-dir or PACHAT_DATA_DIR"),
            ),
        }
    }

    /// The file of settings, and where it was named.
    pub(super) fn config_file(&self, data_dir: &Path) -> (PathBuf, Origin) {
        if let Some(path) = &self.global.config_file {
            return (self.environment.resolve(path), Origin::Flag);
        }
        match self.variable("CONFIG_FILE") {
            Some((value, origin)) => (self.path(value, &origin), origin),
            None => (
                data_dir.join("config").join("app_config.json"),
                Origin::Default,
            ),
        }
    }

    /// What is wrong with options and variables: where each is, and why.
    pub(super) fn faults(&self) -> Vec<(&'static Setting, Origin, String)> {
        let stronger = TABLE.iter().filter_map(|setting| {
            self.stronger(setting)
                .map(|(value, at)| (setting, value, at))
        });
        stronger
            .filter_map(|(setting, value, at)| value.err().map(|why| (setting, at, why)))
            .collect()
    }

    /// What holds for each setting, from the strongest source that has it.
    fn entries(&self, contents: &file::Contents, config_file: &Path) -> Result<Vec<Entry>> {
        let mut faults = Vec::new();
        let mut entries: Vec<Entry> = Vec::with_capacity(TABLE.len());
        for setting in TABLE {
            let stronger = self
                .stronger(setting)
                .filter(|(value, _)| value.is_ok() || !self.forgiving);
            let (value, origin) = match stronger {
                Some((Ok(value), origin)) => (Some(value), origin),
                Some((Err(why), origin)) => {
                    faults.push(format!("{origin}: `{}` {why}", setting.key));
                    (None, origin)
                }
                None => match contents.values.iter().find(|(of, _)| of.key == setting.key) {
                    Some((_, value)) => {
                        (Some(value.clone()), Origin::File(config_file.to_path_buf()))
                    }
                    None => (fallback(setting, &entries), Origin::Default),
                },
            };
            entries.push(Entry {
                setting,
                value,
                origin,
            });
        }
        if faults.is_empty() {
            return Ok(entries);
        }
        Err(Error::new(Kind::Config, "the settings are not valid")
            .why(faults.join("; "))
            .hint("correct the option or variable, or leave it out"))
    }

    /// The value of an option or a variable, if one is there.
    fn stronger(&self, setting: &Setting) -> Option<(std::result::Result<Value, String>, Origin)> {
        if setting.key == "api.base_url"
            && let Some(text) = &self.global.base_url
        {
            return Some((setting.parse(text), Origin::Flag));
        }
        let (value, origin) = self.variable(setting.variable?)?;
        let parsed = match value.to_str() {
            Some(text) => setting.parse(text),
            None => Err("must be UTF-8 text".into()),
        };
        Some((parsed, origin))
    }

    fn secret(&self, name: &str) -> Result<Option<(Secret, Origin)>> {
        let Some((value, origin)) = self.variable(name) else {
            return Ok(None);
        };
        match value.into_string() {
            Ok(text) => Ok(Some((Secret::new(text), origin))),
            Err(_) => Err(Error::new(Kind::Denied, format!("cannot use {origin}"))
                .why("its value is not text")),
        }
    }

    /// A variable from the environment, else from the `.env` file; under pachat's own
    /// name first. Empty means unset.
    fn variable(&self, name: &str) -> Option<(OsString, Origin)> {
        let names = [format!("{PREFIX}{name}"), name.to_owned()];
        for name in &names {
            if let Some(value) = self.environment.get_os(name) {
                return Some((value.to_owned(), Origin::Environment(name.clone())));
            }
        }
        let dotenv = self.dotenv.as_ref()?;
        names.into_iter().find_map(|name| {
            let value = dotenv.get(&name)?.into();
            Some((value, Origin::DotEnv(dotenv.path.clone(), name)))
        })
    }

    /// A path from a variable. A relative one of a `.env` file is relative to that file,
    /// so that it means the same wherever pachat is started.
    fn path(&self, value: OsString, origin: &Origin) -> PathBuf {
        match origin {
            Origin::DotEnv(file, _) => self.expand(value, file.parent().unwrap_or(Path::new("/"))),
            _ => self.expand(value, &self.environment.working_directory),
        }
    }

    /// A path with `~/` at its beginning replaced, as no shell has done it in a file.
    fn expand(&self, value: OsString, beside: &Path) -> PathBuf {
        let path = PathBuf::from(value);
        match (path.strip_prefix("~"), self.environment.get_os("HOME")) {
            (Ok(rest), Some(home)) => Path::new(home).join(rest),
            _ => beside.join(path),
        }
    }

    /// Only names with pachat's own prefix: another program's are none of its business.
    fn warn_of_misspelt_variables(&mut self) {
        for name in self.environment.variables.keys() {
            if let Some(name) = name.to_str().filter(|name| name.starts_with(PREFIX))
                && let Some(near) = dotenv::misspelt(name)
            {
                self.warnings.push(format!(
                    "unknown environment variable {name} is ignored; did you mean {near}?"
                ));
            }
        }
    }
}

/// The default of a setting. `before` has the base URL, the first of the table.
fn fallback(setting: &Setting, before: &[Entry]) -> Option<Value> {
    let url = base_url(before);
    let parse = |text: &str| setting.parse(text).ok();
    match setting.fallback {
        Fallback::Value(text) => parse(text),
        Fallback::OnOpenRouter(text) if url.as_ref().is_some_and(BaseUrl::is_openrouter) => {
            parse(text)
        }
        Fallback::OnOpenRouter(_) | Fallback::None => None,
        Fallback::ByDistance(_, near) if url.as_ref().is_some_and(BaseUrl::is_private) => {
            Some(Value::Whole(near))
        }
        Fallback::ByDistance(far, _) => Some(Value::Whole(far)),
    }
}

/// The base URL, the first setting of the table. Its text has been parsed once already.
fn base_url(entries: &[Entry]) -> Option<BaseUrl> {
    match entries.first()?.value.as_ref()? {
        Value::Text(url) => url.parse().ok(),
        _ => None,
    }
}
