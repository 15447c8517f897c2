//! The machine's own scheduler: what is written for it, put in place, shown and taken away.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may panic, and looks at the machine itself"
)]

mod common;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::host::{Sandbox, is_shared};
use common::server::{FakeServer, Script};
use pachat::ops::schedule::{Call, JOBS, Job, Program, Scheduler, render};
use pachat::platform::Programs;
use pachat::platform::program::{Captured, Ended};
use serde_json::Value;

/// The programs of a machine's schedulers, which remember what they were told.
#[derive(Default)]
struct Fake(Mutex<Told>);

#[derive(Default)]
struct Told {
    /// The programs that exist.
    has: Vec<&'static str>,
    /// What `crontab -l` prints; `None` is no crontab.
    crontab: Option<Vec<u8>>,
    /// Timers that are enabled, labels and tasks that are known.
    enabled: Vec<String>,
    /// Every call that changes something.
    calls: Vec<String>,
    /// A call that begins like this fails.
    fails: Option<&'static str>,
}

impl Fake {
    fn with(has: &[&'static str]) -> Arc<Self> {
        let told = Told {
            has: has.to_vec(),
            ..Told::default()
        };
        Arc::new(Self(Mutex::new(told)))
    }

    fn calls(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap().calls)
    }

    fn crontab(&self) -> Option<String> {
        let crontab = self.0.lock().unwrap().crontab.clone();
        crontab.map(|bytes| String::from_utf8(bytes).unwrap())
    }
}

fn ended(code: i32, stdout: &str, stderr: &str) -> Ended {
    Ended {
        code: Some(code),
        stdout: stdout.into(),
        stderr: stderr.into(),
    }
}

impl Told {
    fn systemctl(&mut self, words: &[&str]) -> Ended {
        match words {
            ["--user", "show", "--property=Version"] => ended(0, "Version=252\n", ""),
            ["--user", "show", ..] => {
                let blocks = words.iter().filter(|word| word.starts_with("pachat-"));
                let block = |unit: &&str| {
                    let on = self.enabled.iter().any(|one| one == unit);
                    let (active, enabled) = if on {
                        ("active", "enabled")
                    } else {
                        ("inactive", "disabled")
                    };
                    format!(
                        "Id={unit}\nActiveState={active}\nUnitFileState={enabled}\nNextElapseUSecRealtime=Wed 2026-11-25 03:17:00 UTC\n"
                    )
                };
                let text: Vec<String> = blocks.map(block).collect();
                ended(0, &text.join("\n"), "")
            }
            ["--user", "enable", "--now", timers @ ..] => {
                let timers = timers.iter().map(ToString::to_string);
                self.enabled.extend(timers);
                ended(0, "", "")
            }
            ["--user", "disable", "--now", timers @ ..] => {
                self.enabled.retain(|one| !timers.contains(&one.as_str()));
                ended(0, "", "")
            }
            _ => ended(0, "", ""),
        }
    }

    fn crontab(&mut self, words: &[&str], stdin: &[u8]) -> Ended {
        match (words, &self.crontab) {
            (["-l"], None) => ended(1, "", "no crontab for somebody\n"),
            (["-l"], Some(bytes)) => Ended {
                stdout: bytes.clone(),
                ..ended(0, "", "")
            },
            (["-r"], _) => {
                self.crontab = None;
                ended(0, "", "")
            }
            _ => {
                self.crontab = Some(stdin.to_vec());
                ended(0, "", "")
            }
        }
    }

    /// launchd and the Task Scheduler: what is registered is known.
    fn register(&mut self, program: &str, words: &[&str]) -> Ended {
        let known = |told: &Self, name: &str| {
            let known = told.enabled.iter().any(|one| one == name);
            ended(i32::from(!known), "", "")
        };
        match (program, words) {
            ("launchctl", ["print", target]) => known(self, target),
            ("launchctl", ["bootstrap", domain, path]) => {
                let label = Path::new(path).file_stem().unwrap().to_str().unwrap();
                self.enabled.push(format!("{domain}/{label}"));
                ended(0, "", "")
            }
            ("launchctl", ["bootout", target]) => {
                self.enabled.retain(|one| one != target);
                ended(0, "", "")
            }
            ("schtasks", ["/Query", "/TN", name]) => known(self, name),
            ("schtasks", ["/Create", "/TN", name, ..]) => {
                self.enabled.push((*name).to_owned());
                ended(0, "", "")
            }
            ("schtasks", ["/Delete", "/TN", name, ..]) => {
                self.enabled.retain(|one| one != name);
                ended(0, "", "")
            }
            _ => ended(0, "", ""),
        }
    }
}

impl Programs for Fake {
    fn capture(&self, _command: &str, _limit: Option<Duration>) -> io::Result<Captured> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn edit(&self, _editor: &str, _file: &Path) -> io::Result<bool> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn run(
        &self,
        program: &OsStr,
        words: &[OsString],
        stdin: &[u8],
        _: Option<Duration>,
    ) -> io::Result<Ended> {
        let program = program.to_str().unwrap();
        let words: Vec<&str> = words.iter().map(|word| word.to_str().unwrap()).collect();
        let mut told = self.0.lock().unwrap();
        if !told.has.contains(&program) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let line = format!("{program} {}", words.join(" "));
        let asks = ["show", "-l", "managername", "print", "/Query"];
        if !words.iter().any(|word| asks.contains(word)) {
            told.calls.push(line.clone());
        }
        if told.fails.is_some_and(|begin| line.starts_with(begin)) {
            return Ok(ended(1, "", "Failed to connect to bus\n"));
        }
        Ok(match program {
            "systemctl" => told.systemctl(&words),
            "crontab" => told.crontab(&words, stdin),
            _ => told.register(program, &words),
        })
    }
}

fn sandbox(fake: &Arc<Fake>) -> Sandbox {
    let mut sandbox = Sandbox::new();
    let home = sandbox.path().to_str().unwrap().to_owned();
    sandbox.set("HOME", &home);
    sandbox.programs = Some(Arc::clone(fake) as Arc<dyn Programs + Send + Sync>);
    sandbox
}

/// Every file below the home, with its content.
fn files(sandbox: &Sandbox) -> BTreeMap<PathBuf, Vec<u8>> {
    fn walk(directory: &Path, found: &mut BTreeMap<PathBuf, Vec<u8>>) {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else {
                found.insert(path.clone(), std::fs::read(&path).unwrap());
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(sandbox.path(), &mut found);
    // The log says what was done.
    found.retain(|path, _| !path.starts_with(sandbox.data_dir()));
    found
}

const INSTALL: [&str; 3] = ["config", "schedule", "install"];
const REMOVE: [&str; 3] = ["config", "schedule", "remove"];

fn status(sandbox: &Sandbox) -> (Value, u8) {
    let ran = sandbox.run(&["config", "schedule", "status", "--json"]);
    (serde_json::from_str(&ran.stdout).unwrap(), ran.code)
}

#[test]
fn systemd_timers_come_once_and_go_without_a_trace() {
    let fake = Fake::with(&["systemctl", "crontab"]);
    let sandbox = sandbox(&fake);
    let before = files(&sandbox);
    let planned = sandbox.run(&[&INSTALL[..], &["--dry-run"]].concat());
    assert_eq!((planned.code, files(&sandbox)), (0, before.clone()));
    assert_eq!(planned.stdout.lines().count(), 12, "{}", planned.stdout);

    let ran = sandbox.run(&INSTALL);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, ""), "{}", ran.stderr);
    assert!(ran.stderr.contains("undo: pachat config schedule remove"));
    assert!(ran.stderr.contains("loginctl enable-linger"));
    let calls = fake.calls();
    assert_eq!(calls[0], "systemctl --user daemon-reload");
    assert!(calls[1].starts_with("systemctl --user enable --now pachat-backup.timer "));
    let units = sandbox.path().join("config/systemd/user");
    let service = std::fs::read_to_string(units.join("pachat-backup.service")).unwrap();
    assert!(
        service.contains("\nExecStart=/usr/local/bin/pachat backup --quiet --if-any\n"),
        "{service}"
    );
    let installed = files(&sandbox);
    assert_eq!(installed.len(), 10);

    let again = sandbox.run(&INSTALL);
    assert!(again.stderr.contains("nothing to do"), "{}", again.stderr);
    assert_eq!((fake.calls(), files(&sandbox)), (vec![], installed));
    let (document, code) = status(&sandbox);
    assert_eq!((code, &document["scheduler"]), (0, &"systemd".into()));
    assert_eq!(document["jobs"][0]["state"], "current");
    assert_eq!(document["jobs"][0]["next"], "2026-11-25T03:17:00Z");

    let ran = sandbox.run(&REMOVE);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(files(&sandbox), before);
    let told = fake.0.lock().unwrap();
    assert_eq!(told.enabled, Vec::<String>::new());
    assert!(
        told.calls[1].contains("clean --what=state"),
        "{:?}",
        told.calls
    );
    drop(told);
    assert!(sandbox.run(&REMOVE).stderr.contains("nothing to do"));
    let (document, code) = status(&sandbox);
    assert_eq!((code, &document["scheduler"]), (1, &Value::Null));
}

#[test]
fn a_crontab_keeps_everything_else_byte_for_byte() {
    let fake = Fake::with(&["crontab"]);
    let sandbox = sandbox(&fake);
    let own = "MAILTO=me\n# my own %\n\n*/5 * * * * mine >/dev/null\n\n";
    for before in [None, Some(own)] {
        fake.0.lock().unwrap().crontab = before.map(|text| text.as_bytes().to_vec());
        let ran = sandbox.run(&INSTALL);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        assert_eq!(fake.calls(), ["crontab -"]);
        let installed = fake.crontab().unwrap();
        assert!(installed.starts_with(before.unwrap_or_default()));
        assert!(
            installed.contains(" * * * /usr/local/bin/pachat backup --quiet --if-any >/dev/null\n")
        );

        assert_eq!(sandbox.run(&INSTALL).code, 0);
        assert_eq!(fake.calls(), Vec::<String>::new());
        let (document, code) = status(&sandbox);
        assert_eq!(
            (code, &document["jobs"][4]["state"]),
            (0, &"current".into())
        );
        assert!(document["jobs"][4]["next"].is_string());

        // Lines that were added behind it stay, too.
        let later = "7 7 * * * later\n";
        let text = format!("{installed}{later}");
        fake.0.lock().unwrap().crontab = Some(text.into_bytes());
        assert_eq!(sandbox.run(&REMOVE).code, 0);
        let left = format!("{}{later}", before.unwrap_or_default());
        assert_eq!(fake.crontab(), Some(left));
        fake.calls();
    }
    // Nothing else in it: no crontab, as before.
    fake.0.lock().unwrap().crontab = None;
    assert_eq!(sandbox.run(&INSTALL).code, 0);
    assert_eq!(sandbox.run(&REMOVE).code, 0);
    assert_eq!(fake.crontab(), None);
}

#[test]
fn what_a_person_has_edited_is_left_alone_unless_forced() {
    let fake = Fake::with(&["systemctl"]);
    let sandbox = sandbox(&fake);
    assert_eq!(sandbox.run(&INSTALL).code, 0);
    let timer = sandbox
        .path()
        .join("config/systemd/user/pachat-backup.timer");
    let text = std::fs::read_to_string(&timer).unwrap();
    std::fs::write(&timer, text.replace("03:00", "04:30")).unwrap();
    let edited = files(&sandbox);
    fake.calls();
    for command in [&INSTALL[..], &REMOVE] {
        let ran = sandbox.run(command);
        assert_eq!(ran.code, 73, "{}", ran.stderr);
        assert!(ran.stderr.contains("pachat-backup.timer") && ran.stderr.contains("--force"));
        assert_eq!((fake.calls(), files(&sandbox)), (vec![], edited.clone()));
    }
    let (document, code) = status(&sandbox);
    assert_eq!((code, &document["jobs"][0]["state"]), (1, &"edited".into()));
    assert_eq!(sandbox.run(&[&INSTALL[..], &["--force"]].concat()).code, 0);
    assert_eq!(std::fs::read_to_string(&timer).unwrap(), text);

    // One that pachat has not made at all is not removed either.
    std::fs::write(&timer, "[Timer]\nOnCalendar=daily\n").unwrap();
    assert_eq!(sandbox.run(&INSTALL).code, 73);
    assert_eq!(sandbox.run(&[&REMOVE[..], &["--force"]].concat()).code, 0);
    assert_eq!(files(&sandbox).into_keys().collect::<Vec<_>>(), [timer]);
}

#[test]
fn an_edited_block_of_a_crontab_is_left_alone_unless_forced() {
    let fake = Fake::with(&["crontab"]);
    let sandbox = sandbox(&fake);
    assert_eq!(sandbox.run(&INSTALL).code, 0);
    let text = fake.crontab().unwrap();
    let edited = text.replace("/usr/local/bin", "/opt");
    fake.0.lock().unwrap().crontab = Some(edited.clone().into_bytes());
    for command in [&INSTALL[..], &REMOVE] {
        assert_eq!(sandbox.run(command).code, 73);
        assert_eq!(fake.crontab().unwrap(), edited);
    }
    assert_eq!(sandbox.run(&[&INSTALL[..], &["--force"]].concat()).code, 0);
    assert_eq!(fake.crontab().unwrap(), text);
    // Also where no job is to be recognised any more.
    for (from, to) in [(" --if-any", ""), (" --quiet", ""), ("pachat ", "mine ")] {
        let edited = text.replace(from, to);
        fake.0.lock().unwrap().crontab = Some(edited.clone().into_bytes());
        let ran = sandbox.run(&REMOVE);
        assert_eq!(ran.code, 73, "{}", ran.stderr);
        assert_eq!(fake.crontab().unwrap(), edited);
        let ran = sandbox.run(&["config", "schedule", "status"]);
        assert_eq!(ran.code, 1);
        assert!(
            ran.stderr.contains("schedule install --force"),
            "{}",
            ran.stderr
        );
        assert_eq!(sandbox.run(&[&REMOVE[..], &["--force"]].concat()).code, 0);
        assert_eq!(fake.crontab(), None);
    }
    // Where it ends only its person knows.
    let endless = text.replace("# END pachat\n", "");
    fake.0.lock().unwrap().crontab = Some(endless.clone().into_bytes());
    let ran = sandbox.run(&[&REMOVE[..], &["--force", "--with", "cron"]].concat());
    assert_eq!(ran.code, 65, "{}", ran.stderr);
    assert_eq!(fake.crontab().unwrap(), endless);
}

#[test]
fn an_install_has_these_jobs_and_no_others() {
    for scheduler in ["systemctl", "launchctl", "schtasks", "crontab"] {
        let fake = Fake::with(&[scheduler]);
        let sandbox = sandbox(&fake);
        let states = |sandbox: &Sandbox| -> Vec<String> {
            let (document, _) = status(sandbox);
            let jobs = document["jobs"].as_array().unwrap();
            let state = |job: &Value| job["state"].as_str().unwrap().to_owned();
            jobs.iter().map(state).collect()
        };
        let ran = sandbox.run(&INSTALL);
        assert_eq!(ran.code, 0, "{scheduler}: {}", ran.stderr);
        assert_eq!(states(&sandbox), ["current"; 5], "{scheduler}");
        fake.calls();
        assert_eq!(sandbox.run(&INSTALL).code, 0);
        assert_eq!(fake.calls(), Vec::<String>::new(), "{scheduler}");

        let only = [&INSTALL[..], &["--only", "backup,health"]].concat();
        let ran = sandbox.run(&only);
        assert_eq!(ran.code, 0, "{scheduler}: {}", ran.stderr);
        let expected = ["current", "missing", "missing", "missing", "current"];
        assert_eq!(states(&sandbox), expected, "{scheduler}");
        assert_eq!(status(&sandbox).1, 0, "{scheduler}");

        // Another program: all that is there is out of date, and then it is not.
        let ran = sandbox.run(&[&only[..], &["--program", "/opt/a b/pachat"]].concat());
        assert_eq!(ran.code, 0, "{scheduler}: {}", ran.stderr);
        assert_eq!(states(&sandbox)[0], "outdated", "{scheduler}");
        assert_eq!(status(&sandbox).1, 1, "{scheduler}");
        let named = [
            "config",
            "schedule",
            "status",
            "--program",
            "/opt/a b/pachat",
        ];
        assert_eq!(sandbox.run(&named).code, 0, "{scheduler}");
        assert_eq!(sandbox.run(&only).code, 0);
        assert_eq!(states(&sandbox), expected, "{scheduler}");

        assert_eq!(sandbox.run(&REMOVE).code, 0);
        assert_eq!(files(&sandbox), BTreeMap::new(), "{scheduler}");
        assert_eq!(fake.0.lock().unwrap().enabled, Vec::<String>::new());
    }
}

#[test]
fn never_as_root_and_never_twice() {
    let fake = Fake::with(&["systemctl", "crontab"]);
    let mut sandbox = sandbox(&fake);
    sandbox.user = Some(0);
    for command in [&INSTALL[..], &REMOVE] {
        let ran = sandbox.run(command);
        assert_eq!(ran.code, 2, "{}", ran.stderr);
        assert!(ran.stderr.contains("without sudo"), "{}", ran.stderr);
    }
    assert_eq!(sandbox.run(&["config", "schedule", "print"]).code, 0);
    sandbox.user = Some(1000);
    assert_eq!(
        sandbox
            .run(&[&INSTALL[..], &["--with", "cron"]].concat())
            .code,
        0
    );
    // What has the jobs is used again, although there is a better one.
    let ran = sandbox.run(&INSTALL);
    assert!(
        ran.stderr.contains("cron runs these jobs already"),
        "{}",
        ran.stderr
    );
    let ran = sandbox.run(&[&INSTALL[..], &["--with", "systemd"]].concat());
    assert_eq!(ran.code, 2);
    assert!(
        ran.stderr.contains("config schedule remove"),
        "{}",
        ran.stderr
    );
    assert_eq!(files(&sandbox), BTreeMap::new());
}

#[test]
fn a_machine_without_a_scheduler_or_with_one_that_fails_is_told() {
    let fake = Fake::with(&[]);
    let ran = sandbox(&fake).run(&INSTALL);
    assert_eq!(ran.code, 66);
    assert!(
        ran.stderr.contains("config schedule print"),
        "{}",
        ran.stderr
    );
    let ran = sandbox(&fake).run(&[&INSTALL[..], &["--with", "systemd"]].concat());
    assert_eq!(ran.code, 66);

    let fake = Fake::with(&["systemctl"]);
    let sandbox = sandbox(&fake);
    fake.0.lock().unwrap().fails = Some("systemctl --user enable");
    let ran = sandbox.run(&INSTALL);
    assert_eq!(ran.code, 74);
    assert!(
        ran.stderr.contains("Failed to connect to bus"),
        "{}",
        ran.stderr
    );
    // The files are there, the timers are not: that is seen, and the next time does the rest.
    let (document, code) = status(&sandbox);
    assert_eq!((code, &document["jobs"][0]["active"]), (1, &false.into()));
    fake.0.lock().unwrap().fails = None;
    assert_eq!(sandbox.run(&INSTALL).code, 0);
    assert_eq!(status(&sandbox).1, 0);
}

#[test]
fn other_places_are_carried_into_the_commands() {
    let fake = Fake::with(&["crontab"]);
    let mut sandbox = sandbox(&fake);
    let print = |sandbox: &Sandbox, options: &[&str]| {
        let arguments = [
            options,
            &["config", "schedule", "print", "--only", "backup"],
        ]
        .concat();
        let ran = sandbox.run(&arguments);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        ran.stdout
    };
    assert!(!print(&sandbox, &[]).contains("--data-dir"));
    std::fs::write(sandbox.path().join("own.env"), "").unwrap();
    let text = print(
        &sandbox,
        &["--data-dir", "/a b/100%", "--env-file", "own.env"],
    );
    let expected = format!(
        r"/usr/local/bin/pachat --data-dir '/a b/100\%' --env-file {}/own.env backup",
        sandbox.path().display()
    );
    assert!(text.contains(&expected), "{text}");
    sandbox.set("PACHAT_DATA_DIR", "/srv/chat");
    sandbox.set("CONFIG_FILE", "/srv/settings.json");
    sandbox.set("XDG_CONFIG_HOME", "/srv/config");
    let text = print(&sandbox, &[]);
    let options = "--data-dir /srv/chat --config-file /srv/settings.json backup";
    assert!(text.contains(options), "{text}");
    assert!(text.contains(" XDG_CONFIG_HOME="), "{text}");
}

#[test]
fn a_key_in_a_variable_is_not_handed_on_and_that_is_said() {
    let fake = Fake::with(&["systemctl"]);
    let mut sandbox = sandbox(&fake);
    sandbox.set("OPENROUTER_API_KEY", "test-key-0123456789");
    let ran = sandbox.run(&INSTALL);
    assert!(
        ran.stderr.contains("pachat config key set"),
        "{}",
        ran.stderr
    );
    for (path, bytes) in files(&sandbox) {
        let text = String::from_utf8(bytes).unwrap();
        assert!(!text.contains("test-key"), "{}", path.display());
    }
}

/// A call with everything that is awkward to write down.
fn awkward(program: &Path) -> Call {
    Call {
        program: Program::At(program.to_str().unwrap().to_owned()),
        options: vec![
            "--data-dir".into(),
            r#"/tmp/a b/100%/%h/$HOME/'q' "d" <&>\é"#.into(),
        ],
        variables: vec![("XDG_CONFIG_HOME".into(), "/tmp/c d/50%".into())],
        errors: Some("/tmp/e & f/pachat.log".into()),
        seed: "1000".into(),
    }
}

fn all_jobs() -> Vec<&'static Job> {
    JOBS.iter().collect()
}

fn check(command: &mut Command, stdin: &[u8]) -> String {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    child.stdin.take().unwrap().write_all(stdin).unwrap();
    let output = child.wait_with_output().unwrap();
    let (out, err) = (output.stdout, output.stderr);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{command:?}: {}{}",
        text(&out),
        text(&err)
    );
    text(&out) + &text(&err)
}

#[test]
#[ignore = "needs systemd-analyze"]
fn systemd_accepts_the_units_and_understands_the_calendars() {
    let directory = tempfile::tempdir().unwrap();
    let runtime = tempfile::tempdir().unwrap();
    for call in [
        awkward(Path::new("/bin/true")),
        awkward(Path::new("/usr/bin/env")),
    ] {
        for file in render(Scheduler::Systemd, &all_jobs(), &call) {
            std::fs::write(directory.path().join(&file.name), &file.text).unwrap();
            for line in file.text.lines() {
                if let Some(calendar) = line.strip_prefix("OnCalendar=") {
                    let said = check(
                        Command::new("systemd-analyze").args(["calendar", calendar]),
                        b"",
                    );
                    assert!(said.contains("Next elapse"), "{said}");
                }
            }
        }
        let paths = std::fs::read_dir(directory.path()).unwrap();
        let mut verify = Command::new("systemd-analyze");
        verify.args(["verify", "--user", "--man=no", "--recursive-errors=yes"]);
        verify.env("XDG_RUNTIME_DIR", runtime.path());
        verify.args(paths.map(|entry| entry.unwrap().path()));
        let said = check(&mut verify, b"");
        assert_eq!(said, "");
    }
}

#[test]
#[ignore = "needs cron's crontab"]
fn cron_accepts_the_block() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("crontab");
    for call in [awkward(Path::new("/bin/true")), Call::usual()] {
        let block = &render(Scheduler::Cron, &all_jobs(), &call)[0].text;
        std::fs::write(&path, block).unwrap();
        check(Command::new("crontab").arg("-n").arg(&path), b"");
        std::fs::write(&path, block.replace(" * * *", " * *")).unwrap();
        let refused = Command::new("crontab")
            .arg("-n")
            .arg(&path)
            .output()
            .unwrap();
        assert!(!refused.status.success(), "the check checks nothing");
    }
}

#[test]
#[ignore = "needs python3"]
fn plists_and_tasks_are_well_formed_and_say_what_they_should() {
    let call = awkward(Path::new("/usr/local/bin/pachat"));
    for file in render(Scheduler::Launchd, &all_jobs(), &call) {
        let script =
            "import json,plistlib,sys; print(json.dumps(plistlib.loads(sys.stdin.buffer.read())))";
        let said = check(
            Command::new("python3").args(["-c", script]),
            file.text.as_bytes(),
        );
        let plist: Value = serde_json::from_str(&said).unwrap();
        let words: Vec<&str> = plist["ProgramArguments"]
            .as_array()
            .unwrap()
            .iter()
            .map(|word| word.as_str().unwrap())
            .collect();
        assert_eq!(
            words[..3],
            ["/usr/local/bin/pachat", "--data-dir", &call.options[1]]
        );
        assert_eq!(
            plist["EnvironmentVariables"]["XDG_CONFIG_HOME"],
            "/tmp/c d/50%"
        );
        assert_eq!(plist["RunAtLoad"], false);
        assert!(plist["StartCalendarInterval"]["Minute"].is_u64());
        assert_eq!(
            format!("{}.plist", plist["Label"].as_str().unwrap()),
            file.name
        );
    }
    for file in render(Scheduler::Windows, &all_jobs(), &call) {
        assert!(file.text.is_ascii());
        let script = "import sys,xml.etree.ElementTree as e\n\
            ns='{http://schemas.microsoft.com/windows/2004/02/mit/task}'\n\
            t=e.fromstring(sys.stdin.read())\n\
            print(t.find(f'.//{ns}Arguments').text); print(t.find(f'.//{ns}StartWhenAvailable').text)";
        let said = check(
            Command::new("python3").args(["-c", script]),
            file.text.as_bytes(),
        );
        assert!(said.starts_with("--data-dir \"/tmp/a b/100%"), "{said}");
        assert!(said.contains("\ntrue"), "{said}");
    }
}

/// The words of an `ExecStart=`, as systemd splits them.
fn words_of(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        let last = words.last_mut().unwrap();
        match c {
            '"' => quoted = !quoted,
            '\\' => last.push(chars.next().unwrap()),
            ' ' if !quoted => words.push(String::new()),
            c => last.push(c),
        }
    }
    words
        .iter()
        .map(|word| word.replace("%%", "%").replace("$$", "$"))
        .collect()
}

const PACHAT: &str = env!("CARGO_BIN_EXE_pachat");

/// A home for real processes, with hardly any variables and no terminal.
struct Home {
    directory: tempfile::TempDir,
    data: PathBuf,
    call: Call,
}

impl Home {
    fn new(base_url: &str) -> Self {
        // Below `/tmp` the weekly look at security would have something to say.
        let home = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let data = home.path().join("a b 100% $x");
        private(
            &home.path().join(".config/pachat/.env"),
            &format!("OPENROUTER_BASE_URL={base_url}\n"),
        );
        let call = Call {
            program: Program::At(PACHAT.into()),
            options: vec!["--data-dir".into(), data.to_str().unwrap().into()],
            variables: Vec::new(),
            errors: None,
            seed: String::new(),
        };
        Self {
            directory: home,
            data,
            call,
        }
    }

    fn bare(&self, command: &mut Command) -> std::process::Output {
        command
            .env_clear()
            .env("HOME", self.directory.path())
            .env("PATH", "/usr/bin:/bin")
            .current_dir(self.directory.path())
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// Runs every command line of the rendered files as its scheduler does: how many. Where
    /// all is fine nothing is said.
    fn run_all(&self, jobs: &[&'static Job]) -> usize {
        let mut ran = 0;
        let block = &render(Scheduler::Cron, jobs, &self.call)[0].text;
        for line in block.lines().filter(|line| !line.starts_with('#')) {
            let command = line.splitn(6, ' ').nth(5).unwrap().replace("\\%", "%");
            let output = self.bare(Command::new("sh").args(["-c", &command]));
            assert_quiet(&command, &output);
            ran += 1;
        }
        for file in render(Scheduler::Systemd, jobs, &self.call) {
            let mut lines = file.text.lines();
            let Some(line) = lines.find_map(|line| line.strip_prefix("ExecStart=")) else {
                continue;
            };
            let words = words_of(line);
            let mut output = self.bare(Command::new(&words[0]).args(&words[1..]));
            if file.text.contains("StandardOutput=null") {
                output.stdout.clear();
            }
            assert_quiet(line, &output);
            ran += 1;
        }
        ran
    }
}

/// Writes a file as pachat does: for nobody else.
fn private(path: &Path, text: &str) {
    let mut directories = std::fs::DirBuilder::new();
    let mut options = std::fs::File::options();
    #[cfg(unix)]
    {
        std::os::unix::fs::DirBuilderExt::mode(&mut directories, 0o700);
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    }
    let directory = path.parent().unwrap();
    directories.recursive(true).create(directory).unwrap();
    let file = options.write(true).create_new(true).open(path);
    file.unwrap().write_all(text.as_bytes()).unwrap();
}

/// A conversation of last spring.
fn old_conversation(id: &str) -> String {
    let at = "2026-03-01T10:15:28.000Z";
    format!(
        "{{\"type\":\"conversation\",\"version\":1,\"id\":\"{id}\",\"created_at\":\"{at}\",\"title\":\"old\"}}\n\
         {{\"type\":\"message\",\"n\":1,\"role\":\"user\",\"content\":\"hello\",\"at\":\"{at}\"}}\n"
    )
}

fn assert_quiet(command: &str, output: &std::process::Output) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let said = (text(&output.stdout), text(&output.stderr));
    // Where the tests themselves are below `/tmp`, that is what the weekly look at security
    // has to say, in its one line.
    if command.contains("--weekly") && is_shared(Path::new(env!("CARGO_TARGET_TMPDIR"))) {
        assert_eq!((output.status.code(), said.1.lines().count()), (Some(1), 1));
        return;
    }
    assert_eq!(
        (output.status.code(), said),
        (Some(0), (String::new(), String::new())),
        "{command}"
    );
}

#[test]
fn every_job_runs_with_what_cron_gives_and_says_nothing() {
    let server = FakeServer::deciding(|_| Script::json(200, r#"{"data":[{"id":"one"}]}"#));
    let home = Home::new(&server.base_url());
    // Something to look after: new conversations, old ones, a log.
    for question in ["where are my files?", "how do I make a backup?"] {
        let words = ["send", "-m", "builtin/guide", question];
        let mut begun = Command::new(PACHAT);
        begun.args(&home.call.options).args(words);
        assert!(home.bare(&mut begun).status.success());
    }
    for id in ["20260301-101528-g28kq8", "20260302-101501-b01kq1"] {
        let path = format!("conversations/active/{id}.jsonl");
        private(&home.data.join(path), &old_conversation(id));
    }
    assert_eq!(home.run_all(&all_jobs()), 2 * JOBS.len());
    let count = |path: &str| std::fs::read_dir(home.data.join(path)).unwrap().count();
    assert!(count("backups") > 0, "nothing was backed up");
    assert_eq!(count("conversations/archived"), 2, "nothing was archived");
    assert!(!server.requests().is_empty(), "health asked no server");
}

#[test]
fn on_a_new_machine_no_job_says_anything_or_makes_anything() {
    let home = Home::new("http://127.0.0.1:9/v1");
    assert_eq!(home.run_all(&all_jobs()), 2 * JOBS.len());
    assert!(!home.data.exists());
    // Whoever types it, or has mistyped the directory, is told.
    let mut typed = Command::new(PACHAT);
    typed.args(&home.call.options).args(["backup", "--quiet"]);
    let output = home.bare(&mut typed);
    assert_eq!(output.status.code(), Some(66));
    assert_eq!(String::from_utf8_lossy(&output.stderr).lines().count(), 1);
}
