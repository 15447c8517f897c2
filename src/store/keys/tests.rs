//! The sealed keys: modes, bindings, and what goes wrong.

use std::cell::Cell;
use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::sync::Mutex;
use std::time::Duration;

use super::*;
use crate::platform::Programs;
use crate::platform::disk::{Open, RealDisk};
use crate::platform::program::{Captured, Ended};
use crate::platform::random::RealRandom;
use crate::platform::streams::Secrets;

const HOST: &str = "https://openrouter.ai";
const KEY: &str = "sk-or-v1-0123456789";

/// Types the given pass phrases, one after the other.
struct Typist(Mutex<VecDeque<&'static str>>);

impl Secrets for Typist {
    fn ask(&self, _prompt: &str) -> io::Result<Zeroizing<String>> {
        match self.0.lock().unwrap().pop_front() {
            Some(text) => Ok(Zeroizing::new(text.to_owned())),
            None => Err(io::Error::from(io::ErrorKind::Unsupported)),
        }
    }
}

/// Prints the command line itself, or fails for `false`.
struct Echo(Cell<usize>);

impl Programs for Echo {
    fn capture(&self, command: &str, _limit: Option<Duration>) -> io::Result<Captured> {
        self.0.set(self.0.get() + 1);
        Ok(Captured {
            stdout: format!("{command}\r\n").into_bytes(),
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
    fn edit(&self, _editor: &str, _file: &Path) -> io::Result<bool> {
        Ok(false)
    }
}

struct Place {
    root: tempfile::TempDir,
    config_dir: PathBuf,
    data_dir: PathBuf,
    typist: Typist,
    echo: Echo,
    passphrase: Option<Secret>,
}

impl Place {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        Self {
            config_dir: root.path().join("home/.config/pachat"),
            data_dir: root.path().join("data"),
            root,
            typist: Typist(Mutex::default()),
            echo: Echo(Cell::new(0)),
            passphrase: None,
        }
    }

    fn typing(&self, texts: &[&'static str]) -> &Self {
        *self.typist.0.lock().unwrap() = texts.iter().copied().collect();
        self
    }

    fn access(&self) -> Access<'_> {
        Access {
            disk: &RealDisk,
            random: &RealRandom,
            config_dir: Some(&self.config_dir),
            data_dir: &self.data_dir,
            passphrase: self.passphrase.as_ref(),
            secrets: &self.typist,
            programs: &self.echo,
        }
    }

    fn path(&self) -> PathBuf {
        self.data_dir.join("config/api_keys.enc")
    }

    fn put(&self, origin: &str, key: &str, mode: Option<(Mode, Option<&str>)>) -> Result<Put> {
        let wrap = mode.map(|(mode, command)| NewWrap {
            mode,
            command: command.map(ToOwned::to_owned),
        });
        let key = Secret::new(key.into());
        put(
            &self.access(),
            &self.path(),
            origin,
            &key,
            wrap.as_ref(),
            "2026-08-22T09:41:07.123456Z".parse().unwrap(),
        )
    }

    fn open(&self, origin: &str) -> Result<Option<String>> {
        let store = read(&RealDisk, &self.path())?.unwrap();
        let key = store.open(origin, &self.access())?;
        Ok(key.map(|key| key.expose().to_owned()))
    }

    fn edit(&self, change: impl FnOnce(&mut serde_json::Value)) {
        let bytes = RealDisk.read(&self.path(), LARGEST).unwrap();
        let mut json = serde_json::from_slice(&bytes).unwrap();
        change(&mut json);
        let text = json.to_string();
        atomic::replace(&RealDisk, &RealRandom, &self.path(), text.as_bytes()).unwrap();
    }

    fn write_key_file(&self, bytes: &[u8]) {
        let path = self.config_dir.join("master.key");
        let _ = RealDisk.remove_file(&path);
        let mut file = RealDisk.open(&path, Open::CreateNew).unwrap();
        file.write_all(bytes).unwrap();
    }
}

#[test]
fn a_key_opens_for_its_own_origin_only() {
    let place = Place::new();
    let done = place.put(HOST, KEY, None).unwrap();
    assert_eq!((done.replaced, done.mode), (false, Mode::Keyfile));
    place.put("http://localhost:8000", "other", None).unwrap();
    assert_eq!(place.open(HOST).unwrap().as_deref(), Some(KEY));
    assert_eq!(place.open("https://evil.example").unwrap(), None);
    assert_eq!(
        place.open("https://openrouter.ai.evil.example").unwrap(),
        None
    );

    place.edit(|json| json["entries"][0]["origin"] = "https://evil.example".into());
    let error = place.open("https://evil.example").unwrap_err();
    assert_eq!(error.kind(), Kind::Malformed);
    assert!(error.headline().contains("changed or damaged"));

    let file = RealDisk.read(&place.path(), LARGEST).unwrap();
    let text = String::from_utf8(file).unwrap();
    assert!(!text.contains(KEY) && !text.contains("other\""));
}

#[cfg(unix)]
#[test]
fn the_files_are_private_and_the_key_file_is_outside_the_data_directory() {
    let place = Place::new();
    place.put(HOST, KEY, None).unwrap();
    let key_file = place.config_dir.join("master.key");
    let first = RealDisk.read(&key_file, 100).unwrap();
    assert_eq!(first.len(), 32);
    assert_eq!(RealDisk.stat(&key_file).unwrap().mode, Some(0o600));
    assert_eq!(RealDisk.stat(&place.path()).unwrap().mode, Some(0o600));
    place.put(HOST, "sk-second", None).unwrap();
    assert_eq!(RealDisk.read(&key_file, 100).unwrap(), first);

    let mut inside = Place::new();
    inside.data_dir = inside.config_dir.clone();
    let error = inside.put(HOST, KEY, None).unwrap_err();
    assert_eq!(error.kind(), Kind::Config);
    assert!(RealDisk.stat(&inside.root.path().join("home")).is_err());
}

#[test]
fn a_missing_wrong_or_short_key_file_is_told_apart() {
    let place = Place::new();
    place.put(HOST, KEY, None).unwrap();
    let message = |place: &Place| {
        let error = place.open(HOST).unwrap_err();
        assert_eq!(error.kind(), Kind::Denied);
        assert!(error.hint_text().is_some());
        // Setting another key must not seal over what cannot be opened, either.
        let before = RealDisk.read(&place.path(), LARGEST).unwrap();
        assert!(place.put("http://localhost:1", "x", None).is_err());
        assert_eq!(RealDisk.read(&place.path(), LARGEST).unwrap(), before);
        error.headline()
    };
    place.write_key_file(&[7; 32]);
    assert!(message(&place).contains("not the one that sealed them"));
    place.write_key_file(&[7; 31]);
    assert!(message(&place).contains("31 bytes"));
    RealDisk
        .remove_file(&place.config_dir.join("master.key"))
        .unwrap();
    assert!(message(&place).contains("master.key is missing"));
}

#[cfg(unix)]
#[test]
fn a_key_file_that_others_can_read_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    place.put(HOST, KEY, None).unwrap();
    let key_file = place.config_dir.join("master.key");
    std::fs::set_permissions(&key_file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let error = place.open(HOST).unwrap_err();
    assert!(error.headline().contains("other users"), "{error}");
    assert!(error.hint_text().unwrap().contains("chmod 600"));
}

#[test]
fn a_pass_phrase_seals_and_a_wrong_one_is_told() {
    let mut place = Place::new();
    place
        .typing(&["correct horse", "correct horse"])
        .put(HOST, KEY, Some((Mode::Passphrase, None)))
        .unwrap();
    assert!(RealDisk.stat(&place.config_dir).is_err(), "no key file");
    place.typing(&["correct horse"]);
    assert_eq!(place.open(HOST).unwrap().as_deref(), Some(KEY));
    // A host without a key is not worth a question.
    assert_eq!(place.open("https://evil.example").unwrap(), None);

    place.typing(&["wrong horse"]);
    let error = place.open(HOST).unwrap_err();
    assert_eq!(
        error.headline(),
        "cannot open the sealed keys: the pass phrase is wrong"
    );
    place.typing(&[]);
    assert!(
        place
            .open(HOST)
            .unwrap_err()
            .hint_text()
            .unwrap()
            .contains("ENCRYPTION_KEY")
    );

    place.passphrase = Some(Secret::new("battery staple".into()));
    let error = place.open(HOST).unwrap_err();
    assert!(error.headline().contains("ENCRYPTION_KEY is wrong"));
    assert!(!format!("{error:?}{:?}", error.hint_text()).contains("staple"));
}

#[test]
fn two_different_new_pass_phrases_seal_nothing() {
    let place = Place::new();
    place.typing(&["one", "two"]);
    let error = place
        .put(HOST, KEY, Some((Mode::Passphrase, None)))
        .unwrap_err();
    assert_eq!(error.kind(), Kind::Usage);
    assert!(read(&RealDisk, &place.path()).unwrap().is_none());
}

#[test]
fn a_change_of_mode_seals_every_key_anew() {
    let place = Place::new();
    place
        .put("http://localhost:8000", "first-key", None)
        .unwrap();
    let command = (Mode::Command, Some("pass show pachat"));
    let done = place.put(HOST, KEY, Some(command)).unwrap();
    assert_eq!((done.mode, done.resealed), (Mode::Command, 1));
    RealDisk
        .remove_file(&place.config_dir.join("master.key"))
        .unwrap();
    assert_eq!(
        place.open("http://localhost:8000").unwrap().as_deref(),
        Some("first-key")
    );
    assert_eq!(place.open(HOST).unwrap().as_deref(), Some(KEY));

    // A data directory from elsewhere brings no command to run.
    let text = RealDisk.read(&place.path(), LARGEST).unwrap();
    assert!(!String::from_utf8(text).unwrap().contains("pass show"));
    let kept = place.config_dir.join("master.command");
    let write = |text: &[u8]| atomic::replace(&RealDisk, &RealRandom, &kept, text).unwrap();
    write(b"pass show another");
    assert!(
        place
            .open(HOST)
            .unwrap_err()
            .headline()
            .contains("command's answer")
    );
    write(b"false");
    assert!(
        place
            .open(HOST)
            .unwrap_err()
            .headline()
            .contains("the command failed")
    );
    RealDisk.remove_file(&kept).unwrap();
    assert!(
        place
            .open(HOST)
            .unwrap_err()
            .headline()
            .contains("is missing")
    );
}

#[test]
fn damage_and_newer_versions_are_told_apart() {
    let place = Place::new();
    place.put(HOST, KEY, None).unwrap();
    let original = RealDisk.read(&place.path(), LARGEST).unwrap();
    let restore = || atomic::replace(&RealDisk, &RealRandom, &place.path(), &original).unwrap();
    let headline = || place.open(HOST).unwrap_err().headline();

    place.edit(|json| json["entries"][0]["created_at"] = "2020-01-01T00:00:00.000Z".into());
    assert!(headline().contains("changed or damaged"));
    restore();
    place.edit(|json| json["version"] = 2.into());
    assert!(headline().contains("format 2"));
    restore();
    place.edit(|json| json["format"] = "other".into());
    assert!(headline().contains("not a file of sealed keys"));
    restore();
    place.edit(|json| json["entries"][0]["nonce"] = "zz".into());
    assert!(headline().contains("missing or damaged"));
    restore();
    place.edit(|json| json["wrap"]["mode"] = "passphrase".into());
    assert!(headline().contains("not one that pachat makes"));
    restore();
    place.edit(|json| {
        json["wrap"] = serde_json::json!({"mode": "command", "kdf": {"algorithm": "argon2id",
            "memory_kib": u32::MAX, "passes": 3, "lanes": 1, "salt": "00".repeat(16)}});
    });
    assert!(headline().contains("not one that pachat makes"));
    atomic::replace(&RealDisk, &RealRandom, &place.path(), b"{").unwrap();
    assert!(headline().contains("not JSON"));
}

#[test]
fn removing_needs_no_key_and_takes_the_empty_file_along() {
    let place = Place::new();
    place.put(HOST, KEY, None).unwrap();
    place.put("http://localhost:8000", "other", None).unwrap();
    RealDisk
        .remove_file(&place.config_dir.join("master.key"))
        .unwrap();
    let remove = |origin| {
        let store = read(&RealDisk, &place.path()).unwrap().unwrap();
        store.remove(&RealDisk, &RealRandom, origin).unwrap()
    };
    assert!(!remove("https://evil.example"));
    assert!(remove(HOST));
    assert!(!read(&RealDisk, &place.path()).unwrap().unwrap().holds(HOST));
    assert!(remove("http://localhost:8000"));
    assert!(read(&RealDisk, &place.path()).unwrap().is_none());
}

#[test]
fn the_same_key_sealed_twice_looks_different() {
    let place = Place::new();
    place.put(HOST, KEY, None).unwrap();
    let first = RealDisk.read(&place.path(), LARGEST).unwrap();
    let done = place.put(HOST, KEY, None).unwrap();
    assert!(done.replaced);
    assert_ne!(RealDisk.read(&place.path(), LARGEST).unwrap(), first);
}
