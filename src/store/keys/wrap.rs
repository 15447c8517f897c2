//! What seals the keys: a key file, a pass phrase, or what a command prints.
//!
//! Layer: store. Promise: `master.key` is created once and never overwritten.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use argon2::{Algorithm, Argon2, Params, Version};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use crate::model::error::{Error, Kind, Result};
use crate::model::secret::Secret;
use crate::platform::disk::Open;
use crate::platform::streams::Secrets;
use crate::platform::{Disk, Programs, Random};
use crate::store::atomic;

use super::hex::Hex;
use super::{FORMAT, VERSION, malformed, no_randomness};

/// What seals the keys. The module's documentation says what each protects against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Random bytes in `master.key`.
    Keyfile,
    /// A pass phrase.
    Passphrase,
    /// What a command prints.
    Command,
}

impl Mode {
    /// Its name in the file and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Keyfile => "keyfile",
            Self::Passphrase => "passphrase",
            Self::Command => "command",
        }
    }

    /// What it protects against, in one sentence.
    pub const fn protects(self) -> &'static str {
        match self {
            Self::Keyfile => {
                "a copy of the data directory alone, such as a backup, does not give the key away; \
                 whoever can read your home directory can read the key"
            }
            Self::Passphrase => {
                "a copy of the whole disk does not give the key away, as far as the pass phrase \
                 cannot be guessed"
            }
            Self::Command => {
                "the key is as safe as the command's answer: whoever may run the command as you \
                 can read the key"
            }
        }
    }
}

/// A change of what seals the keys.
#[derive(Clone, Debug)]
pub struct NewWrap {
    /// What seals them from now on.
    pub mode: Mode,
    /// With [`Mode::Command`], the command line whose output seals them.
    pub command: Option<String>,
}

impl NewWrap {
    /// What seals them unless someone asks for more.
    pub(super) const KEYFILE: Self = Self {
        mode: Mode::Keyfile,
        command: None,
    };
}

/// The means to get at a wrapping key. Each is used only when its mode asks for it.
#[derive(Clone, Copy)]
pub struct Access<'a> {
    /// Files.
    pub disk: &'a dyn Disk,
    /// For salts, nonces and a new key file.
    pub random: &'a dyn Random,
    /// Where `master.key` and `master.command` are; `None` without a home directory.
    pub config_dir: Option<&'a Path>,
    /// The data directory, which `master.key` must not be in.
    pub data_dir: &'a Path,
    /// The pass phrase of the environment.
    pub passphrase: Option<&'a Secret>,
    /// Asks for the pass phrase where the environment has none.
    pub secrets: &'a dyn Secrets,
    /// Runs the command.
    pub programs: &'a dyn Programs,
}

/// How the wrapping key is come by, as it stands in the file.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Wrap {
    pub(super) mode: Mode,
    #[serde(skip_serializing_if = "Option::is_none")]
    kdf: Option<Kdf>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Kdf {
    algorithm: String,
    memory_kib: u32,
    passes: u32,
    lanes: u32,
    salt: Hex,
}

/// 32 bytes that seal the keys; zeroized when dropped.
#[derive(Clone)]
pub(super) struct WrappingKey(Zeroizing<[u8; 32]>);

impl WrappingKey {
    pub(super) fn as_array(&self) -> &chacha20poly1305::Key {
        (&*self.0).into()
    }
}

const ARGON2ID: &str = "argon2id";

impl Wrap {
    /// What the check binds: everything here.
    pub(super) fn associated(&self) -> String {
        let mode = self.mode.name();
        let mut text = format!("{FORMAT}/{VERSION}\ncheck\n{mode}");
        if let Some(kdf) = &self.kdf {
            for part in [
                kdf.algorithm.clone(),
                kdf.memory_kib.to_string(),
                kdf.passes.to_string(),
                kdf.lanes.to_string(),
                kdf.salt.text(),
            ] {
                text.push('\n');
                text.push_str(&part);
            }
        }
        text
    }

    /// Refuses parameters that pachat never writes, above all ones that would take all
    /// memory or for ever.
    pub(super) fn validate(&self, path: &Path) -> Result<()> {
        let sound = match (self.mode, &self.kdf) {
            (Mode::Keyfile, None) => true,
            (Mode::Passphrase | Mode::Command, Some(kdf)) => {
                kdf.algorithm == ARGON2ID
                    && (8_192..=1_048_576).contains(&kdf.memory_kib)
                    && (1..=16).contains(&kdf.passes)
                    && (1..=4).contains(&kdf.lanes)
                    && (8..=64).contains(&kdf.salt.0.len())
            }
            _ => false,
        };
        if sound {
            Ok(())
        } else {
            Err(malformed(path, "its wrapping is not one that pachat makes"))
        }
    }
}

/// The wrapping key of an existing file, not yet checked against it.
pub(super) fn obtain(wrap: &Wrap, access: &Access<'_>, path: &Path) -> Result<WrappingKey> {
    match (wrap.mode, &wrap.kdf) {
        (Mode::Keyfile, _) => match read_key_file(access)? {
            Some(key) => Ok(key),
            None => Err(cannot_open("master.key is missing")
                .path(&in_config_dir(access, "master.key")?)
                .hint(format!(
                    "restore it, or remove {} and run `pachat config key set`",
                    path.display()
                ))),
        },
        (Mode::Passphrase, Some(kdf)) => derive(ask_passphrase(access, false)?.expose(), kdf),
        (Mode::Command, Some(kdf)) => {
            let command = kept_command(access)?;
            derive(run(access, &command)?.expose(), kdf)
        }
        (_, None) => Err(malformed(path, "its wrapping is incomplete")),
    }
}

/// The wrapping key for new files, with what to write about it.
pub(super) fn create(access: &Access<'_>, new: &NewWrap) -> Result<(Wrap, WrappingKey)> {
    let secret = match new.mode {
        Mode::Keyfile => {
            let key = match read_key_file(access)? {
                Some(key) => key,
                None => create_key_file(access)?,
            };
            let wrap = Wrap {
                mode: Mode::Keyfile,
                kdf: None,
            };
            return Ok((wrap, key));
        }
        Mode::Passphrase => ask_passphrase(access, true)?,
        Mode::Command => match &new.command {
            Some(command) => run(access, command)?,
            None => run(access, &kept_command(access)?)?,
        },
    };
    let mut salt = vec![0; 16];
    access.random.fill(&mut salt).map_err(no_randomness)?;
    // RFC 9106, second recommended option: 64 MiB, three passes. One lane, because
    // it is computed by one thread.
    let kdf = Kdf {
        algorithm: ARGON2ID.into(),
        memory_kib: 65_536,
        passes: 3,
        lanes: 1,
        salt: Hex(salt),
    };
    let key = derive(secret.expose(), &kdf)?;
    let wrap = Wrap {
        mode: new.mode,
        kdf: Some(kdf),
    };
    Ok((wrap, key))
}

/// The error for a wrapping key that does not open the file.
pub(super) fn refused(mode: Mode, access: &Access<'_>, path: &Path) -> Error {
    let start_afresh = format!(
        "to start afresh, remove {} and run `pachat config key set`",
        path.display()
    );
    match mode {
        Mode::Keyfile => cannot_open("master.key is not the one that sealed them").hint(format!(
            "restore the master.key that belongs to them; {start_afresh}"
        )),
        Mode::Passphrase if access.passphrase.is_some() => {
            cannot_open("the pass phrase in ENCRYPTION_KEY is wrong").hint(format!(
                "correct ENCRYPTION_KEY, or unset it to be asked; {start_afresh}"
            ))
        }
        Mode::Passphrase => {
            cannot_open("the pass phrase is wrong").hint(format!("try again; {start_afresh}"))
        }
        Mode::Command => cannot_open("the command's answer is not the one that sealed them").hint(
            format!("check the command in master.command; {start_afresh}"),
        ),
    }
    .path(path)
}

/// Remembers the command beside `master.key`.
pub(super) fn keep_command(access: &Access<'_>, command: &str) -> Result<()> {
    let path = in_config_dir(access, "master.command")?;
    if let Some(directory) = path.parent() {
        atomic::create_dirs(access.disk, directory)?;
    }
    let line = format!("{command}\n");
    atomic::replace(access.disk, access.random, &path, line.as_bytes())
}

fn kept_command(access: &Access<'_>) -> Result<String> {
    const LONGEST: u64 = 1 << 16;
    let path = in_config_dir(access, "master.command")?;
    match access.disk.read(&path, LONGEST) {
        Ok(bytes) => {
            let text = String::from_utf8_lossy(&bytes);
            Ok(text.trim().to_owned())
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(cannot_open("the file with the command is missing")
                .path(&path)
                .hint("write into it the command that printed the secret"))
        }
        Err(error) => Err(Error::io("cannot read the command", &path, &error)),
    }
}

fn run(access: &Access<'_>, command: &str) -> Result<Secret> {
    let fail = |why: &str| {
        cannot_open(why)
            .hint("run the command yourself and see what it says; it must print a secret")
    };
    let mut captured = access.programs.capture(command, None).map_err(|error| {
        let signal = Error::of_wait(&error);
        signal.unwrap_or_else(|| fail("the command cannot be run").cause(error))
    })?;
    if !captured.success {
        captured.stdout.zeroize();
        return Err(fail("the command failed"));
    }
    while matches!(captured.stdout.last(), Some(b'\n' | b'\r')) {
        captured.stdout.pop();
    }
    match Secret::from_bytes(captured.stdout) {
        Some(secret) if !secret.expose().is_empty() => Ok(secret),
        Some(_) => Err(fail("the command printed nothing")),
        None => Err(fail("the command did not print text")),
    }
}

/// The pass phrase of the environment, or one that is typed; a new one is typed twice.
fn ask_passphrase(access: &Access<'_>, is_new: bool) -> Result<Secret> {
    if let Some(secret) = access.passphrase {
        return Ok(secret.clone());
    }
    let ask = |prompt: &str| {
        access.secrets.ask(prompt).map_err(|error| {
            if let Some(signal) = Error::of_wait(&error) {
                return signal;
            }
            cannot_open("the pass phrase cannot be asked for")
                .cause(error)
                .hint("without a terminal, give the pass phrase in ENCRYPTION_KEY")
        })
    };
    let typed = ask(if is_new {
        "New pass phrase for the sealed keys: "
    } else {
        "Pass phrase of the sealed keys: "
    })?;
    if typed.is_empty() {
        return Err(cannot_open("the pass phrase is empty"));
    }
    if is_new && *ask("The same once more: ")? != *typed {
        return Err(Error::new(Kind::Usage, "cannot seal the key")
            .why("the two pass phrases differ")
            .hint("try again"));
    }
    Ok(Secret::from_zeroizing(typed))
}

fn derive(secret: &str, kdf: &Kdf) -> Result<WrappingKey> {
    let bug = |error: argon2::Error| Error::new(Kind::Bug, "argon2id failed").cause(error);
    let params = Params::new(kdf.memory_kib, kdf.passes, kdf.lanes, Some(32)).map_err(bug)?;
    let mut key = Zeroizing::new([0; 32]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(secret.as_bytes(), &kdf.salt.0, &mut *key)
        .map_err(bug)?;
    Ok(WrappingKey(key))
}

/// Reads `master.key`; `None` if there is none. One that other users can read is
/// refused, as ssh refuses such keys: it may have been read already.
fn read_key_file(access: &Access<'_>) -> Result<Option<WrappingKey>> {
    let path = in_config_dir(access, "master.key")?;
    let fail = |error: io::Error| Error::io("cannot read the key file", &path, &error);
    let mut file = match access.disk.open(&path, Open::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(fail(error)),
    };
    let stat = file.stat().map_err(fail)?;
    if stat.mode.is_some_and(|mode| mode & 0o077 != 0) {
        return Err(cannot_open("other users can read or change master.key")
            .path(&path)
            .hint(format!("run `chmod 600 {}`", path.display())));
    }
    let mut key = Zeroizing::new([0; 32]);
    let whole = stat.len == 32
        && match file.read_exact(&mut *key) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => false,
            Err(error) => return Err(fail(error)),
        };
    if whole {
        Ok(Some(WrappingKey(key)))
    } else {
        let why = format!("master.key has {} bytes instead of 32", stat.len);
        Err(cannot_open(&why)
            .path(&path)
            .hint("restore it from a backup; if it never sealed a key, remove it"))
    }
}

/// Creates `master.key`. Of two processes that try, one succeeds and the other reads.
fn create_key_file(access: &Access<'_>) -> Result<WrappingKey> {
    let path = in_config_dir(access, "master.key")?;
    let directory = path.parent().unwrap_or(Path::new("."));
    if directory.starts_with(access.data_dir) {
        return Err(Error::new(Kind::Config, "cannot seal the key with a key file")
            .why("the configuration directory is inside the data directory, so every copy would carry both")
            .path(directory)
            .hint("use --wrap passphrase, or another --data-dir"));
    }
    atomic::create_dirs(access.disk, directory)?;
    let mut key = Zeroizing::new([0; 32]);
    access.random.fill(&mut *key).map_err(no_randomness)?;
    let mut file = match access.disk.open(&path, Open::CreateNew) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return read_key_file(access)?.ok_or_else(|| cannot_open("master.key is missing"));
        }
        Err(error) => {
            return Err(Error::io("cannot create the key file", &path, &error)
                .with_kind(Kind::CannotCreate));
        }
    };
    let written = file.write_all(&*key).and_then(|()| file.sync_data());
    drop(file);
    let written = written.and_then(|()| access.disk.sync_dir(directory));
    if let Err(error) = written {
        // It is ours and nothing is sealed with it yet.
        let _ = access.disk.remove_file(&path);
        return Err(Error::io("cannot create the key file", &path, &error));
    }
    Ok(WrappingKey(key))
}

fn in_config_dir(access: &Access<'_>, name: &str) -> Result<PathBuf> {
    match access.config_dir {
        Some(directory) => Ok(directory.join(name)),
        None => Err(
            Error::new(Kind::Config, format!("there is no place for {name}"))
                .why("this account has no home directory")
                .hint("set HOME, or use --wrap passphrase"),
        ),
    }
}

fn cannot_open(why: &str) -> Error {
    Error::new(Kind::Denied, "cannot open the sealed keys").why(why)
}
