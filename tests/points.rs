//! Rollback points, inventories and published directories on the real disk.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may panic, and looks at the machine itself"
)]

mod common;

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use common::host::{TestClock, TestRandom};
use pachat::model::backup::{Part, Sha256};
use pachat::model::error::{Kind, Result};
use pachat::platform::disk::{Entry, File, Open, RealDisk, Stat, Walked};
use pachat::platform::{Clock as _, Disk, Signals};
use pachat::store::Store;
use pachat::store::lock::Patience;
use pachat::store::points::{self, Point};
use pachat::store::swap::Staging;

const ONE: &str = "20260101-000000-aaaaaa";
const TWO: &str = "20260101-000000-bbbbbb";
const CONVERSATIONS: [Part; 2] = [Part::Active, Part::Archived];

/// The real disk, but for what a test changes.
#[derive(Clone, Default)]
struct Odd {
    /// No file gets a second name.
    linkless: bool,
    /// Moves a file when this directory has been listed.
    moves: Option<(PathBuf, PathBuf, PathBuf)>,
}

impl Disk for Odd {
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn File>> {
        RealDisk.open(path, how)
    }
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        RealDisk.create_dir(path)
    }
    fn read_dir(&self, path: &Path) -> io::Result<Vec<Entry>> {
        let entries = RealDisk.read_dir(path);
        if let Some((directory, from, to)) = &self.moves
            && directory == path
            && from.exists()
        {
            fs::rename(from, to).unwrap();
        }
        entries
    }
    fn stat(&self, path: &Path) -> io::Result<Stat> {
        RealDisk.stat(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisk.rename(from, to)
    }
    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        if self.linkless {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        RealDisk.hard_link(from, to)
    }
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove_file(path)
    }
    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove_dir(path)
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        RealDisk.sync_dir(path)
    }
    fn sync_tree(&self, path: &Path) -> io::Result<()> {
        RealDisk.sync_tree(path)
    }
    fn set_mode(&self, path: &Path, mode: u32) -> io::Result<()> {
        RealDisk.set_mode(path, mode)
    }

    fn free_space(&self, path: &Path) -> io::Result<Option<u64>> {
        RealDisk.free_space(path)
    }
    fn walk(&self, path: &Path) -> io::Result<Vec<Walked>> {
        RealDisk.walk(path)
    }
}

struct Home {
    directory: tempfile::TempDir,
    disk: Odd,
    clock: Arc<TestClock>,
}

impl Home {
    fn new() -> Self {
        let home = Self {
            directory: tempfile::tempdir().unwrap(),
            disk: Odd::default(),
            clock: Arc::new(TestClock::new()),
        };
        for part in Part::ALL {
            fs::create_dir_all(home.root().join(part.path())).unwrap();
        }
        fs::write(home.root().join("VERSION"), "1\n").unwrap();
        home
    }

    fn root(&self) -> PathBuf {
        self.directory.path().join("pachat")
    }

    fn file(&self, part: Part, name: &str) -> PathBuf {
        self.root().join(part.path()).join(name)
    }

    fn write(&self, part: Part, name: &str, text: &str) {
        let mut options = fs::OpenOptions::new();
        let path = self.file(part, name);
        let mut file = options.append(true).create(true).open(path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    fn store(&self) -> Store {
        let random = Arc::new(TestRandom::new(1));
        Store::new(
            self.root(),
            Arc::new(self.disk.clone()),
            self.clock.clone(),
            random,
        )
    }

    fn point(&self, parts: &[Part]) -> Point {
        with_patience(|patience| points::create(&self.store(), parts, "manual", None, patience))
            .unwrap()
    }

    fn ids(&self) -> Vec<String> {
        let points = points::list(&self.store()).unwrap();
        points.into_iter().map(|point| point.id).collect()
    }

    /// What a point holds: names and the recorded text of each file.
    fn held(&self, spec: &str) -> Vec<(String, String)> {
        let store = self.store();
        let (point, files) = points::open(&store, spec).unwrap();
        files
            .iter()
            .map(|file| {
                let bytes = fs::read(points::path(&store, &point, file)).unwrap();
                let recorded = &bytes[..usize::try_from(file.len).unwrap()];
                (
                    file.name.clone(),
                    String::from_utf8(recorded.to_vec()).unwrap(),
                )
            })
            .collect()
    }

    fn names(&self, parts: &[Part]) -> Vec<String> {
        let files = self.store().inventory(parts).unwrap().files;
        files
            .into_iter()
            .map(|file| format!("{}/{}", file.part.path(), file.name))
            .collect()
    }
}

fn with_patience<T>(act: impl FnOnce(&mut Patience<'_>) -> Result<T>) -> Result<T> {
    act(&mut Patience {
        limit: Some(Duration::from_millis(50)),
        signals: &Signals::default(),
        notify: &mut || {},
    })
}

fn pairs(files: &[(&str, &str)]) -> Vec<(String, String)> {
    files
        .iter()
        .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
        .collect()
}

#[test]
fn what_is_appended_later_is_not_in_the_point() {
    for linkless in [false, true] {
        let mut home = Home::new();
        home.disk.linkless = linkless;
        let (one, side) = (format!("{ONE}.jsonl"), format!("{ONE}.partial"));
        home.write(Part::Active, &one, "first\nhal");
        home.write(Part::Active, &side, "shown\n");
        home.write(Part::Config, "app_config.json", "{\"no\": \"line feed\"}");
        home.write(Part::Logs, "app.log", "a line\n");
        home.write(Part::Quarantine, "torn", "never touched");
        let parts = [Part::Active, Part::Config, Part::Logs];
        let point = home.point(&parts);
        home.write(Part::Active, &one, "f\nmore\n");
        home.write(Part::Logs, "app.log", "another\n");
        fs::remove_file(home.file(Part::Active, &side)).unwrap();
        let expected = [
            ("app_config.json", "{\"no\": \"line feed\"}"),
            (one.as_str(), "first\n"),
            (side.as_str(), "shown\n"),
            ("app.log", "a line\n"),
        ];
        assert_eq!(home.held("latest"), pairs(&expected), "linkless {linkless}");
        assert_eq!((point.files, point.bytes), (4, 38));
        assert_eq!(point.parts, parts.map(Part::path));
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt;
            let (_, files) = points::open(&home.store(), &point.id).unwrap();
            let inode = |path: &Path| fs::metadata(path).unwrap().ino();
            let same = inode(&points::path(&home.store(), &point, &files[1]))
                == inode(&home.file(Part::Active, &one));
            assert_eq!(same, !linkless, "links share the file");
        }
    }
}

#[test]
fn a_point_can_be_read_with_plain_tools() {
    let home = Home::new();
    home.write(Part::Attachments, &"a".repeat(64), "picture");
    let store = home.store();
    let note = "before the \"big\" change";
    let point = with_patience(|patience| {
        points::create(&store, &[Part::Attachments], "manual", Some(note), patience)
    })
    .unwrap();
    let directory = home.root().join("backups/points").join(&point.id);
    let list = fs::read_to_string(directory.join("files.jsonl")).unwrap();
    let name = "a".repeat(64);
    assert_eq!(
        list,
        format!("{{\"part\":\"attachments\",\"name\":\"{name}\",\"len\":7}}\n")
    );
    let head: serde_json::Value =
        serde_json::from_slice(&fs::read(directory.join("point.json")).unwrap()).unwrap();
    assert_eq!(head["reason"], "manual");
    assert_eq!(head["note"], note);
    assert_eq!(head["files"], 1);
    assert_eq!(
        fs::read_to_string(directory.join("files/attachments").join(name)).unwrap(),
        "picture"
    );
}

#[test]
fn a_point_is_found_by_its_time_or_as_the_latest() {
    let home = Home::new();
    home.write(Part::Config, "app_config.json", "{}");
    let unknown = points::open(&home.store(), "latest").unwrap_err();
    assert_eq!(unknown.kind(), Kind::NotFound);
    assert!(
        unknown
            .hint_text()
            .unwrap()
            .contains("pachat rollback --list")
    );
    let first = home.point(&[Part::Config]).id;
    // In the same second, so it gets the next one.
    let second = home.point(&[Part::Config]).id;
    home.clock.sleep(Duration::from_secs(3 * 24 * 60 * 60));
    let third = home.point(&[Part::Config]).id;
    assert_eq!(home.ids(), [&third, &second, &first].map(Clone::clone));
    let open = |spec: &str| points::open(&home.store(), spec).map(|(point, _)| point.id);
    assert_eq!(open("latest").unwrap(), third);
    assert_eq!(open(&first).unwrap(), first);
    let time = second.strip_prefix("point_").unwrap();
    assert_eq!(open(time).unwrap(), second);
    assert_eq!(open("20260825").unwrap(), third);
    assert_eq!(open("point_20260825").unwrap(), third);
    assert_eq!(open("2026").unwrap_err().kind(), Kind::Usage);
    for nothing in ["", "point_", "2027", "../..", "20260825_"] {
        let kind = open(nothing).map_err(|error| error.kind());
        let found = nothing == "20260825_";
        assert_eq!(kind.is_ok(), found, "{nothing}");
    }
}

#[test]
fn pruning_keeps_the_newest_and_never_none() {
    let home = Home::new();
    home.write(Part::Config, "app_config.json", "{}");
    let prune =
        |keep| with_patience(|patience| points::prune(&home.store(), keep, patience)).unwrap();
    assert!(prune(0).is_empty());
    let made: Vec<String> = (0..4).map(|_| home.point(&[Part::Config]).id).collect();
    assert_eq!(
        prune(2).iter().map(|point| &point.id).collect::<Vec<_>>(),
        [&made[1], &made[0]]
    );
    assert_eq!(home.ids(), [made[3].clone(), made[2].clone()]);
    assert_eq!(prune(0).len(), 1);
    assert_eq!(home.ids(), [made[3].clone()]);
    let left = fs::read_dir(home.root().join("backups/points"))
        .unwrap()
        .count();
    assert_eq!(left, 1);
    // What it linked is still there.
    assert_eq!(
        fs::read_to_string(home.file(Part::Config, "app_config.json")).unwrap(),
        "{}"
    );
}

#[test]
fn a_damaged_point_is_not_used() {
    let home = Home::new();
    home.write(Part::Config, "app_config.json", "{}");
    let (first, second) = (
        home.point(&[Part::Config]).id,
        home.point(&[Part::Config]).id,
    );
    let directory = home.root().join("backups/points");
    fs::write(directory.join(&second).join("point.json"), "{").unwrap();
    assert_eq!(home.ids(), std::slice::from_ref(&first));
    let list = directory.join(&first).join("files.jsonl");
    let line = "{\"part\":\"config\",\"name\":\"app_config.json\",\"len\":2}\n";
    for damaged in [
        "",
        &line[..20],
        &line.replace(":2}", ":3}"),
        &line.replace("app_config.json", "../../VERSION"),
        &line.replace("config\",", "backups\","),
        &line.repeat(2),
    ] {
        fs::write(&list, damaged).unwrap();
        let error = points::open(&home.store(), &first).unwrap_err();
        assert_eq!(error.kind(), Kind::Malformed, "{damaged}");
    }
    fs::write(&list, line).unwrap();
    points::open(&home.store(), &first).unwrap();
}

#[test]
fn a_conversation_that_moves_while_it_is_listed_is_not_missed() {
    let (active, archived) = (format!("{ONE}.jsonl"), format!("{ONE}.jsonl.gz"));
    for put_away in [true, false] {
        let mut home = Home::new();
        let (from, to) = if put_away {
            home.write(Part::Active, &active, "x\n");
            (
                home.file(Part::Active, &active),
                home.file(Part::Archived, &archived),
            )
        } else {
            home.write(Part::Archived, &archived, "x\n");
            (
                home.file(Part::Archived, &archived),
                home.file(Part::Active, &active),
            )
        };
        for listed in [Part::Active, Part::Archived] {
            home.disk.moves = Some((home.root().join(listed.path()), from.clone(), to.clone()));
            let names = home.names(&CONVERSATIONS);
            assert_eq!(names.len(), 1, "{put_away}, {listed:?}: {names:?}");
            let place = if put_away {
                Part::Archived
            } else {
                Part::Active
            };
            assert!(
                names[0].starts_with(place.path()),
                "{put_away}, {listed:?}: {names:?}"
            );
            fs::rename(&to, &from).unwrap();
            home.disk.moves = Some((home.root().join(listed.path()), from.clone(), to.clone()));
            let point = home.point(&CONVERSATIONS);
            assert_eq!(point.files, 1, "{put_away}, {listed:?}");
            fs::rename(&to, &from).unwrap();
        }
    }
}

#[test]
fn an_inventory_tells_what_is_pachats_and_what_is_not() {
    let home = Home::new();
    home.write(Part::Active, &format!("{ONE}.jsonl"), "x\n");
    // One that was being taken out of the archive counts as active.
    home.write(Part::Archived, &format!("{ONE}.jsonl.gz"), "gz");
    home.write(Part::Archived, &format!("{TWO}.jsonl.gz"), "gz");
    home.write(Part::Config, "api_keys.enc", "sealed");
    home.write(Part::Config, "notes.txt", "of somebody else");
    home.write(
        Part::Config,
        ".app_config.json.0123abcd.tmp",
        "of a dead writer",
    );
    fs::create_dir(home.file(Part::Active, "folder")).unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink("/nowhere", home.file(Part::Config, "app_config.json")).unwrap();
    let parts = [Part::Config, Part::Active, Part::Archived];
    assert_eq!(
        home.names(&parts),
        [
            "config/api_keys.enc".to_owned(),
            format!("conversations/active/{ONE}.jsonl"),
            format!("conversations/archived/{TWO}.jsonl.gz"),
        ]
    );
    let foreign = home.store().inventory(&parts).unwrap().foreign;
    let mut expected = vec!["config/notes.txt", "conversations/active/folder"];
    if cfg!(unix) {
        expected.insert(0, "config/app_config.json");
    }
    assert_eq!(foreign, expected);
    fs::remove_dir_all(home.root()).unwrap();
    assert!(
        home.names(&Part::ALL).is_empty(),
        "no data directory has no files"
    );
}

#[test]
fn a_file_is_measured_up_to_its_last_line_feed() {
    let home = Home::new();
    let name = format!("{ONE}.jsonl");
    let store = home.store();
    assert_eq!(store.measure(Part::Active, &name).unwrap(), None);
    let header = format!(
        "{{\"type\":\"conversation\",\"version\":1,\"id\":\"{ONE}\",\"created_at\":\"2026-01-01T00:00:00Z\"}}\n"
    );
    let text = format!("{header}{}\n", "x".repeat(300_000));
    home.write(Part::Active, &name, &text);
    home.write(Part::Active, &name, &"half a line".repeat(20_000));
    let measured = store.measure(Part::Active, &name).unwrap().unwrap();
    assert_eq!(measured.size, text.len() as u64);
    assert_eq!(measured.sha256, Sha256::of(text.as_bytes()));
    assert_eq!(measured.damage, None);
    home.write(Part::Archived, &format!("{ONE}.jsonl.gz"), "not gzip");
    let archived = store.measure(Part::Archived, &format!("{ONE}.jsonl.gz"));
    let damage = archived.unwrap().unwrap().damage.unwrap();
    assert!(damage.contains("cannot be unpacked"), "{damage}");
}

#[test]
fn a_set_becomes_a_directory_of_its_own() {
    let home = Home::new();
    let target = home.directory.path().join("elsewhere");
    let name = format!("{ONE}.jsonl");
    let stage = |target: &Path| {
        with_patience(|patience| {
            let mut staging = Staging::beside(&home.store(), target, patience)?;
            staging
                .create(Part::Active, &name)?
                .write_all(b"x\n")
                .unwrap();
            Ok(staging)
        })
    };
    let hidden = home.directory.path().join(".elsewhere.pachat-tmp");
    // One that is dropped, one that died, and one at the same time.
    drop(stage(&target).unwrap());
    assert!(!hidden.exists());
    fs::create_dir_all(hidden.join("incoming/config")).unwrap();
    fs::write(hidden.join("incoming/config/app_config.json"), "left").unwrap();
    let staging = stage(&target).unwrap();
    assert_eq!(stage(&target).err().unwrap().kind(), Kind::Busy);
    assert!(!target.exists());
    staging.publish(1).unwrap();
    assert!(!hidden.exists());
    assert_eq!(
        fs::read(target.join("conversations/active").join(&name)).unwrap(),
        b"x\n"
    );
    assert_eq!(fs::read(target.join("VERSION")).unwrap(), b"1\n");
    assert!(!target.join("config").exists());
    // It is not empty any more.
    assert_eq!(stage(&target).err().unwrap().kind(), Kind::CannotCreate);
    let empty = home.directory.path().join("empty");
    fs::create_dir(&empty).unwrap();
    // What was packed in another format says so, whichever this program writes.
    stage(&empty).unwrap().publish(7).unwrap();
    assert_eq!(fs::read(empty.join("VERSION")).unwrap(), b"7\n");
}
