//! The names that an archive may hold.
//!
//! Two sets of rules, in this order, so that a refusal names the real reason: rule `path` is
//! about what no path may be on any system, rule `place` about what pachat does not put there.

use std::fmt;

use crate::model::backup::{BackupType, Part};

use super::Refusal;

/// The path of a file in an archive: a part of the store and a name that pachat itself gives
/// to files there, or the key file of a sealed archive. Never leads anywhere else.
///
/// Invariants: ASCII, at most [`LONGEST`] bytes, and below the directory of a part, so that
/// no file can be the parent of another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ArchivePath(String);

/// The key that opens the sealed API keys: in sealed archives only.
pub const MASTER_KEY: &str = "config/master.key";

/// The longest path in bytes: what the header of a tar entry holds in one piece. Only the
/// quarantine and attachments could come near.
pub const LONGEST: usize = 100;

/// The longest path that is looked at, and the longest component, in bytes.
const LONGEST_PATH: usize = 1_024;
const LONGEST_COMPONENT: usize = 255;

/// The most components of a path.
const DEEPEST: usize = 8;

impl ArchivePath {
    /// The path of a file of the store. `None` for a name that pachat does not give to files
    /// there, or that is too long.
    pub fn new(part: Part, name: &str) -> Option<Self> {
        let fits = part.path().len() + 1 + name.len() <= LONGEST;
        (fits && part.accepts(name)).then(|| Self(format!("{}/{name}", part.path())))
    }

    /// The path of the key file.
    pub fn master_key() -> Self {
        Self(MASTER_KEY.to_owned())
    }

    /// The path that these bytes spell, if an archive of this type may hold it; a `sealed` one
    /// may hold the key file.
    pub fn parse(bytes: &[u8], kind: BackupType, sealed: bool) -> Result<Self, Refusal> {
        let path = plain(bytes)?;
        let refuse = |detail: String| Err(Refusal::new("place", bytes, detail));
        let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
        let Some(part) = part_of(directory, kind) else {
            return refuse(if directory.is_empty() {
                "no file belongs at the top of an archive".into()
            } else {
                format!("nothing of a backup of type `{kind}` belongs into that directory")
            });
        };
        if path == MASTER_KEY {
            return if sealed {
                Ok(Self::master_key())
            } else {
                refuse("a key file belongs into an encrypted archive only".into())
            };
        }
        Self::new(part, name).map_or_else(
            || refuse("pachat does not give this name to files there".into()),
            Ok,
        )
    }

    /// The part of the store; `None` for the key file.
    pub fn part(&self) -> Option<Part> {
        Part::of(self.directory()).filter(|_| self.0 != MASTER_KEY)
    }

    /// The directory, without a `/` at its end.
    pub fn directory(&self) -> &str {
        self.0
            .rsplit_once('/')
            .map_or("", |(directory, _)| directory)
    }

    /// The name within the part.
    pub fn name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or_default()
    }

    /// The whole path, `/`-separated.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What no two files of an archive may have in common: the path as a file system sees it
    /// that ignores case and normalizes names. Paths are ASCII, so lower case is all of it.
    pub fn fold(&self) -> String {
        self.0.to_ascii_lowercase()
    }
}

impl fmt::Display for ArchivePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Checks the name of a directory, with or without a `/` at its end: an archive of this type
/// may hold those of its parts and their parents.
pub fn check_directory(bytes: &[u8], kind: BackupType) -> Result<(), Refusal> {
    let bytes = bytes.strip_suffix(b"/").unwrap_or(bytes);
    let path = plain(bytes)?;
    let known = kind.parts().iter().any(|part| {
        part.path()
            .strip_prefix(path)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    });
    if known {
        Ok(())
    } else {
        let detail = format!("a backup of type `{kind}` has no such directory");
        Err(Refusal::new("place", bytes, detail))
    }
}

/// The part with this directory, if backups of this type hold it.
fn part_of(directory: &str, kind: BackupType) -> Option<Part> {
    Part::of(directory).filter(|part| kind.parts().contains(part))
}

/// The bytes as a path that means the same on every system and leads nowhere else.
fn plain(bytes: &[u8]) -> Result<&str, Refusal> {
    let refuse = |detail: &str| Err(Refusal::new("path", bytes, detail));
    if bytes.len() > LONGEST_PATH {
        // The whole of it would fill the screen.
        let beginning = &bytes[..LONGEST_COMPONENT];
        let detail = format!("longer than {LONGEST_PATH} bytes");
        return Err(Refusal::new("path", beginning, detail));
    }
    let Ok(path) = std::str::from_utf8(bytes) else {
        return refuse("not UTF-8");
    };
    if let Some(what) = path.chars().find_map(forbidden) {
        return refuse(what);
    }
    if path.is_empty() {
        return refuse("empty");
    }
    if path.starts_with('/') {
        return refuse("absolute: it begins with `/`");
    }
    if path.split('/').count() > DEEPEST {
        return refuse("more than 8 levels deep");
    }
    match path.split('/').find_map(bad_component) {
        Some(what) => refuse(what),
        None => Ok(path),
    }
}

/// What is wrong with a character, if anything.
fn forbidden(c: char) -> Option<&'static str> {
    match c {
        '\0' => Some("a NUL byte"),
        '\\' => Some("a backslash, which separates directories on some systems"),
        ':' => Some("a colon, which names a drive or a stream on some systems"),
        c if c.is_control() => Some("a control character"),
        c if is_invisible(c) => Some("an invisible or direction-changing character"),
        _ => None,
    }
}

/// Unicode's format characters (category Cf), which show nothing or reorder what is shown,
/// and its line and paragraph separators.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}'
        | '\u{890}'..='\u{891}' | '\u{8e2}' | '\u{180e}' | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
        | '\u{fff9}'..='\u{fffb}' | '\u{110bd}' | '\u{110cd}' | '\u{13430}'..='\u{1343f}'
        | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0001}'..='\u{e007f}')
}

/// What is wrong with a component, if anything.
fn bad_component(component: &str) -> Option<&'static str> {
    match component {
        "" => Some("an empty component: `//`, or `/` at the end"),
        "." => Some("a `.` component"),
        ".." => Some("a `..` component"),
        _ if component.len() > LONGEST_COMPONENT => Some("a component longer than 255 bytes"),
        _ if component.ends_with('.') => Some("a component that ends with a dot"),
        _ if component.ends_with(' ') => Some("a component that ends with a space"),
        _ if is_device(component) => Some("the name of a device on Windows"),
        _ => None,
    }
}

/// Whether Windows takes this name for a device, whatever follows the first dot.
fn is_device(component: &str) -> bool {
    let stem = component.split('.').next().unwrap_or_default();
    let stem = stem.trim_end_matches(' ').to_ascii_uppercase();
    if matches!(
        stem.as_str(),
        "CON" | "PRN" | "AUX" | "NUL" | "CONIN$" | "CONOUT$" | "CLOCK$"
    ) {
        return true;
    }
    let number = stem
        .strip_prefix("COM")
        .or_else(|| stem.strip_prefix("LPT"));
    number.is_some_and(|number| {
        // The superscript digits count, too.
        let mut digits = number.chars();
        matches!(digits.next(), Some('0'..='9' | '¹' | '²' | '³')) && digits.next().is_none()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "20260822-094107-abc123";

    fn refusal(bytes: impl AsRef<[u8]>) -> (&'static str, String) {
        let refusal = ArchivePath::parse(bytes.as_ref(), BackupType::Full, false).unwrap_err();
        (refusal.rule, refusal.detail)
    }

    #[test]
    fn what_pachat_writes_is_a_path() {
        let digest = "0f".repeat(32);
        for path in [
            format!("conversations/active/{ID}.jsonl"),
            format!("conversations/active/{ID}.partial"),
            format!("conversations/archived/{ID}.jsonl.gz"),
            format!("attachments/{digest}.png"),
            format!("quarantine/{ID}.4096.torn"),
            "config/app_config.json".into(),
            "config/api_keys.enc".into(),
            "logs/app.log".into(),
        ] {
            let parsed = ArchivePath::parse(path.as_bytes(), BackupType::Full, false).unwrap();
            assert_eq!(parsed.as_str(), path);
            let part = parsed.part().unwrap();
            assert_eq!(ArchivePath::new(part, parsed.name()), Some(parsed));
        }
    }

    #[test]
    fn every_breach_of_rule_path_has_its_own_words() {
        let long = "a".repeat(256);
        let cases: Vec<(Vec<u8>, &str)> = vec![
            (b"logs/app.log\xff".to_vec(), "not UTF-8"),
            (b"logs/app\0.log".to_vec(), "NUL"),
            (b"logs/app\x1b[2J.log".to_vec(), "control"),
            ("logs/app\u{85}.log".into(), "control"),
            ("logs/app\u{202e}gol.".into(), "direction"),
            ("logs/app\u{200b}.log".into(), "invisible"),
            ("logs/app\u{e0061}.log".into(), "invisible"),
            (b"logs\\app.log".to_vec(), "backslash"),
            (b"C:/logs/app.log".to_vec(), "colon"),
            (b"".to_vec(), "empty"),
            (b"/etc/passwd".to_vec(), "absolute"),
            (b"logs//app.log".to_vec(), "empty component"),
            (b"logs/app.log/".to_vec(), "empty component"),
            (b"./logs/app.log".to_vec(), "a `.` component"),
            (b"logs/../../x".to_vec(), "a `..` component"),
            (b"a/b/c/d/e/f/g/h/i".to_vec(), "8 levels"),
            (format!("logs/{long}").into(), "255 bytes"),
            ("x/".repeat(600).into(), "1024 bytes"),
            (b"logs/app.log.".to_vec(), "with a dot"),
            (b"logs/app.log ".to_vec(), "with a space"),
            (b"logs/nul".to_vec(), "device"),
            (b"logs/NUL .txt".to_vec(), "device"),
            (b"quarantine/Com1.jsonl".to_vec(), "device"),
            ("quarantine/lpt\u{b9}".into(), "device"),
            (b"quarantine/conin$".to_vec(), "device"),
        ];
        for (bytes, word) in cases {
            let shown = bytes.escape_ascii().to_string();
            let (rule, detail) = refusal(&bytes);
            assert_eq!(rule, "path", "{shown}: {detail}");
            assert!(detail.contains(word), "{shown}: {detail}");
        }
    }

    #[test]
    fn names_close_to_devices_are_not_refused_as_such() {
        for name in ["com", "com10", "console", "nul-1", "lpt"] {
            assert!(!is_device(name), "{name}");
        }
    }

    #[test]
    fn what_pachat_does_not_put_there_breaks_rule_place() {
        for path in [
            "MANIFEST.json",
            "VERSION",
            "run/store.lock",
            "backups/backup_20260101_000000.tar.gz",
            "cache/index.json",
            "conversations/trash/x",
            "conversations/active/notes.txt",
            &format!("conversations/active/sub/{ID}.jsonl"),
            &format!("conversations/{ID}.jsonl"),
            "config/.env",
            "Config/app_config.json",
            "logs/app.log\u{e9}",
            "conversations/active",
            &format!("quarantine/{}", "a".repeat(90)),
        ] {
            assert_eq!(refusal(path).0, "place", "{path}");
        }
    }

    #[test]
    fn each_type_holds_its_own_parts() {
        let settings = b"config/app_config.json";
        assert!(ArchivePath::parse(settings, BackupType::Config, false).is_ok());
        let refusal = ArchivePath::parse(settings, BackupType::Data, false).unwrap_err();
        assert_eq!(refusal.rule, "place");
        assert!(refusal.detail.contains("`data`"), "{refusal}");
    }

    #[test]
    fn the_key_file_needs_a_seal_and_a_type_with_settings() {
        let key = MASTER_KEY.as_bytes();
        let parsed = ArchivePath::parse(key, BackupType::Config, true).unwrap();
        assert_eq!((&parsed, parsed.part()), (&ArchivePath::master_key(), None));
        let refusal = ArchivePath::parse(key, BackupType::Full, false).unwrap_err();
        assert!(refusal.detail.contains("encrypted"), "{refusal}");
        assert!(ArchivePath::parse(key, BackupType::Data, true).is_err());
    }

    #[test]
    fn directories_are_those_of_the_parts_and_their_parents() {
        for good in [
            "conversations",
            "conversations/",
            "conversations/active/",
            "attachments",
        ] {
            assert_eq!(
                check_directory(good.as_bytes(), BackupType::Data),
                Ok(()),
                "{good}"
            );
        }
        for (bad, rule) in [
            ("", "path"),
            ("/", "path"),
            ("./", "path"),
            ("conversations//", "path"),
            ("conv", "place"),
            ("conversations/trash/", "place"),
            ("conversations/active/x/", "place"),
            ("config/", "place"),
        ] {
            let refusal = check_directory(bad.as_bytes(), BackupType::Data).unwrap_err();
            assert_eq!(refusal.rule, rule, "{bad}");
        }
    }

    #[test]
    fn folding_ignores_case() {
        let one = ArchivePath::new(Part::Quarantine, "A.torn").unwrap();
        let two = ArchivePath::new(Part::Quarantine, "a.TORN").unwrap();
        assert_ne!(one, two);
        assert_eq!(one.fold(), two.fold());
    }
}
