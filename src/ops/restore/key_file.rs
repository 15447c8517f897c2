//! The key file of a sealed backup: restored where there is none, and nothing else.
//!
//! Layer: ops. Promise: a key file that is there is never changed and never removed, for it may
//! be all that opens somebody's keys.

use std::io;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::model::error::{Error, Result};
use crate::store::{Store, atomic};

use super::plan::KeyFile;

/// The most that is read of a key file, in bytes.
const LARGEST: u64 = 1 << 16;

fn path(config_dir: &Path) -> PathBuf {
    config_dir.join("master.key")
}

/// What is to happen to the key file, where the archive has `key`.
pub(super) fn plan(
    store: &Store,
    config_dir: Option<&Path>,
    key: Option<&[u8]>,
) -> Result<KeyFile> {
    let Some(key) = key else {
        return Ok(KeyFile::None);
    };
    let Some(directory) = config_dir else {
        return Ok(KeyFile::NoPlace);
    };
    let path = path(directory);
    match store.disk().read(&path, LARGEST).map(Zeroizing::new) {
        Ok(own) if own.as_slice() == key => Ok(KeyFile::Same),
        Ok(_) => Ok(KeyFile::Differs),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(KeyFile::Add),
        // Whatever it is, it is there.
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge => Ok(KeyFile::Differs),
        Err(error) => Err(Error::io("cannot read the key file", &path, &error)),
    }
}

/// Puts the key file in its place. The caller holds the lock of the sealed keys, and has found
/// that there is none.
pub(super) fn put(store: &Store, config_dir: Option<&Path>, key: Option<&[u8]>) -> Result<()> {
    match (config_dir, key) {
        (Some(directory), Some(key)) => put_new(store, &path(directory), key),
        _ => Ok(()),
    }
}

/// Writes a key file where there is none.
pub(super) fn put_new(store: &Store, path: &Path, key: &[u8]) -> Result<()> {
    if let Some(directory) = path.parent() {
        atomic::create_dirs(store.disk(), directory)?;
    }
    atomic::replace(store.disk(), store.random(), path, key)
}
