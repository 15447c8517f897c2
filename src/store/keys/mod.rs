//! API keys, sealed: `config/api_keys.enc`.
//!
//! Layer: store. Promises: a key is sealed for one origin (scheme, host, port) and opens
//! for no other; every change is atomic; no key and no pass phrase reaches a message.
//!
//! # Format
//!
//! One JSON object, mode 0600:
//!
//! ```json
//! {"format":"pachat-keys","version":1,
//!  "wrap":{"mode":"passphrase",
//!          "kdf":{"algorithm":"argon2id","memory_kib":65536,"passes":3,"lanes":1,"salt":"<16 bytes>"}},
//!  "check":{"nonce":"<24 bytes>","ciphertext":"<16 bytes>"},
//!  "entries":[{"origin":"https://openrouter.ai","created_at":"2026-08-22T09:41:07.123Z",
//!              "nonce":"<24 bytes>","ciphertext":"<key, then 16 bytes of tag>"}]}
//! ```
//!
//! Bytes are lower-case hexadecimal. Everything is sealed by XChaCha20-Poly1305 under one
//! wrapping key, with a random nonce each time (24 bytes: chance cannot repeat one).
//! Associated data are
//!
//! - of an entry: `pachat-keys/1`, `entry`, origin and `created_at`, joined by line feeds,
//!   so that an entry cannot be moved to another host or version;
//! - of the check, which seals nothing: `pachat-keys/1`, `check`, the mode and the
//!   parameters of the key derivation. It tells a wrong pass phrase from a damaged entry.
//!
//! # What each mode protects against
//!
//! | mode | the wrapping key | protects against | does not protect against |
//! |---|---|---|---|
//! | `keyfile` | 32 random bytes in `master.key` in the configuration directory | a copy of the data directory: a backup, a synchronised folder | who can read your home directory |
//! | `passphrase` | argon2id of a pass phrase | a copy of the whole disk, as far as the pass phrase cannot be guessed | programs that run as you while you type it |
//! | `command` | argon2id of what a command prints | as far as the command asks first, as a locked password manager does | programs that may run the command as you |
//!
//! What a command prints goes through argon2id, too, rather than through a plain hash:
//! password managers also hold passwords that people made up, and nobody can tell from
//! the output. A tenth of a second is a fair price for not having to.
//!
//! The command itself stands in `master.command` beside `master.key`, not in this file: a
//! data directory restored from someone else's archive must not bring a command to run.

mod hex;
mod wrap;

use std::io;
use std::path::{Path, PathBuf};

use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::model::error::{Error, Kind, Result};
use crate::model::secret::Secret;
use crate::model::time;
use crate::platform::{Disk, Random};

use super::atomic;
use hex::Hex;
use wrap::{Wrap, WrappingKey};

pub use wrap::{Access, Mode, NewWrap};

const FORMAT: &str = "pachat-keys";
const VERSION: u64 = 1;

/// The most that is read of the file, in bytes: room for hundreds of keys.
const LARGEST: u64 = 1 << 20;

/// The sealed keys as they stand in the file, not opened.
pub struct KeyStore {
    path: PathBuf,
    document: Document,
}

#[derive(Serialize, Deserialize)]
struct Document {
    format: String,
    version: u64,
    wrap: Wrap,
    check: Sealed,
    entries: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
struct Sealed {
    nonce: Hex,
    ciphertext: Hex,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    origin: String,
    #[serde(with = "time")]
    created_at: Timestamp,
    #[serde(flatten)]
    sealed: Sealed,
}

/// What [`put`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Put {
    /// Whether there was a key for the origin before.
    pub replaced: bool,
    /// What seals the keys now.
    pub mode: Mode,
    /// How many keys of other origins were sealed anew because the mode changed.
    pub resealed: usize,
}

/// Reads the file without opening any key; `None` if there is none.
pub fn read(disk: &dyn Disk, path: &Path) -> Result<Option<KeyStore>> {
    let bytes = match disk.read(path, LARGEST) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("cannot read the sealed keys", path, &error)),
    };
    let json: serde_json::Value = serde_json::from_slice(&bytes)
        .map_err(|error| malformed(path, "it is not JSON").cause(error))?;
    if json["format"] != FORMAT {
        return Err(malformed(path, "it is not a file of sealed keys"));
    }
    match json["version"].as_u64() {
        Some(VERSION) => {}
        Some(version) => {
            return Err(Error::new(Kind::Malformed, "cannot read the sealed keys")
                .why(format!(
                    "they are in format {version}, and this pachat knows format {VERSION}"
                ))
                .path(path)
                .hint("use the newer pachat that wrote the file"));
        }
        None => return Err(malformed(path, "it has no version")),
    }
    let document: Document = serde_json::from_value(json)
        .map_err(|error| malformed(path, "a part of it is missing or damaged").cause(error))?;
    document.wrap.validate(path)?;
    Ok(Some(KeyStore {
        path: path.to_path_buf(),
        document,
    }))
}

/// Seals a key for an origin, creating the file and its directory if they are missing.
///
/// With `new_wrap`, what seals the keys changes, and all keys are sealed anew: then both
/// the old and the new wrapping key are asked for. Without it, a new file is sealed by
/// [`Mode::Keyfile`]. A file that cannot be opened stays as it is.
pub fn put(
    access: &Access<'_>,
    path: &Path,
    origin: &str,
    key: &Secret,
    new_wrap: Option<&NewWrap>,
    now: Timestamp,
) -> Result<Put> {
    let old = read(access.disk, path)?;
    let unlocked = match &old {
        Some(store) => Some((store, store.unlock(access)?)),
        None => None,
    };
    let reused = unlocked.as_ref().and_then(|(store, key)| {
        let same = match new_wrap {
            None => true,
            Some(new) => new.command.is_none() && new.mode == store.mode(),
        };
        same.then(|| (store.document.wrap.clone(), key.clone()))
    });
    let rewrapped = reused.is_none();
    let (wrap, wrapping) = match reused {
        Some(reused) => reused,
        None => wrap::create(access, new_wrap.unwrap_or(&NewWrap::KEYFILE))?,
    };
    let sealer = Sealer {
        wrapping: &wrapping,
        random: access.random,
    };
    let mut entries = Vec::new();
    let mut put = Put {
        replaced: false,
        mode: wrap.mode,
        resealed: 0,
    };
    if let Some((store, old_key)) = &unlocked {
        for entry in &store.document.entries {
            if entry.origin == origin {
                put.replaced = true;
                continue;
            }
            let opened = store.decrypt(entry, old_key)?;
            entries.push(sealer.entry(&entry.origin, &opened, entry.created_at)?);
            put.resealed += usize::from(rewrapped);
        }
    }
    entries.push(sealer.entry(origin, key, now)?);
    let document = Document {
        format: FORMAT.into(),
        version: VERSION,
        check: sealer.seal(&wrap.associated(), b"")?,
        wrap,
        entries,
    };
    if let Some(directory) = path.parent() {
        atomic::create_dirs(access.disk, directory)?;
    }
    write(access.disk, access.random, path, &document)?;
    if let Some(command) = new_wrap.and_then(|new| new.command.as_deref()) {
        // After the file: a crash between the two leaves a command that the person has
        // just typed and can type again, and not an old one that nobody remembers.
        wrap::keep_command(access, command)?;
    }
    Ok(put)
}

impl KeyStore {
    /// What seals the keys.
    pub fn mode(&self) -> Mode {
        self.document.wrap.mode
    }

    /// The origins that have a key, each with the time it was sealed.
    pub fn origins(&self) -> impl Iterator<Item = (&str, Timestamp)> {
        self.document
            .entries
            .iter()
            .map(|entry| (entry.origin.as_str(), entry.created_at))
    }

    /// Whether there is a key for the origin.
    pub fn holds(&self, origin: &str) -> bool {
        self.origins().any(|(of, _)| of == origin)
    }

    /// The key of an origin. Without one, nothing is asked for and nothing is run.
    pub fn open(&self, origin: &str, access: &Access<'_>) -> Result<Option<Secret>> {
        let Some(entry) = self
            .document
            .entries
            .iter()
            .find(|entry| entry.origin == origin)
        else {
            return Ok(None);
        };
        let key = self.unlock(access)?;
        self.decrypt(entry, &key).map(Some)
    }

    /// Removes the key of an origin, and the file with the last one; `false` if there is
    /// none. Needs no wrapping key: who may write the file may remove it.
    pub fn remove(mut self, disk: &dyn Disk, random: &dyn Random, origin: &str) -> Result<bool> {
        if !self.holds(origin) {
            return Ok(false);
        }
        self.document.entries.retain(|entry| entry.origin != origin);
        if self.document.entries.is_empty() {
            disk.remove_file(&self.path)
                .map_err(|error| Error::io("cannot remove the sealed keys", &self.path, &error))?;
        } else {
            write(disk, random, &self.path, &self.document)?;
        }
        Ok(true)
    }

    /// The wrapping key, checked to be the one that sealed the file.
    fn unlock(&self, access: &Access<'_>) -> Result<WrappingKey> {
        let wrap = &self.document.wrap;
        let key = wrap::obtain(wrap, access, &self.path)?;
        match unseal(&key, &wrap.associated(), &self.document.check) {
            Some(_) => Ok(key),
            None => Err(wrap::refused(wrap.mode, access, &self.path)),
        }
    }

    fn decrypt(&self, entry: &Entry, key: &WrappingKey) -> Result<Secret> {
        let associated = associated(&entry.origin, entry.created_at);
        unseal(key, &associated, &entry.sealed)
            .and_then(|mut bytes| Secret::from_bytes(std::mem::take(&mut *bytes)))
            .ok_or_else(|| {
                malformed(
                    &self.path,
                    &format!("the key for {} was changed or damaged", entry.origin),
                )
            })
    }
}

/// Seals under one wrapping key.
struct Sealer<'a> {
    wrapping: &'a WrappingKey,
    random: &'a dyn Random,
}

impl Sealer<'_> {
    fn entry(&self, origin: &str, key: &Secret, created_at: Timestamp) -> Result<Entry> {
        let associated = associated(origin, created_at);
        Ok(Entry {
            origin: origin.to_owned(),
            created_at,
            sealed: self.seal(&associated, key.expose().as_bytes())?,
        })
    }

    fn seal(&self, associated: &str, plain: &[u8]) -> Result<Sealed> {
        const TAG: usize = 16;
        let mut nonce = [0; 24];
        self.random.fill(&mut nonce).map_err(no_randomness)?;
        // Large enough from the start: growing would leave a copy of the key behind.
        let mut buffer = Zeroizing::new(Vec::with_capacity(plain.len() + TAG));
        buffer.extend_from_slice(plain);
        XChaCha20Poly1305::new(self.wrapping.as_array())
            .encrypt_in_place(&XNonce::from(nonce), associated.as_bytes(), &mut *buffer)
            .map_err(|_| Error::new(Kind::Bug, "the cipher refused to seal a key"))?;
        Ok(Sealed {
            nonce: Hex(nonce.to_vec()),
            ciphertext: Hex(std::mem::take(&mut *buffer)),
        })
    }
}

/// The sealed bytes, if key, associated data and ciphertext belong together.
fn unseal(key: &WrappingKey, associated: &str, sealed: &Sealed) -> Option<Zeroizing<Vec<u8>>> {
    let nonce: [u8; 24] = sealed.nonce.0.as_slice().try_into().ok()?;
    let mut buffer = Zeroizing::new(sealed.ciphertext.0.clone());
    XChaCha20Poly1305::new(key.as_array())
        .decrypt_in_place(&XNonce::from(nonce), associated.as_bytes(), &mut *buffer)
        .ok()?;
    Some(buffer)
}

fn associated(origin: &str, created_at: Timestamp) -> String {
    format!(
        "{FORMAT}/{VERSION}\nentry\n{origin}\n{}",
        time::format(created_at)
    )
}

fn write(disk: &dyn Disk, random: &dyn Random, path: &Path, document: &Document) -> Result<()> {
    let mut text = serde_json::to_string_pretty(document)
        .map_err(|error| Error::new(Kind::Bug, "cannot write the sealed keys").cause(error))?;
    text.push('\n');
    atomic::replace(disk, random, path, text.as_bytes())
}

fn malformed(path: &Path, why: &str) -> Error {
    Error::new(Kind::Malformed, "cannot use the sealed keys")
        .why(why)
        .path(path)
        .hint("restore the file from a backup, or remove it and run `pachat config key set`")
}

fn no_randomness(error: io::Error) -> Error {
    Error::new(Kind::Io, "the system has no random bytes to give").cause(error)
}

#[cfg(test)]
mod tests;
