//! `pachat completions`: the script that a shell loads, and what pachat answers when
//! that script asks it for candidates.
//!
//! The script only registers pachat as its own completer. On Tab the shell runs
//! `COMPLETE=bash pachat -- WORDS…`, and [`complete`] prints the candidates. Promises:
//! it reads a few small files, writes nothing but candidates, and where something is
//! missing or broken it offers less instead of failing.

mod saved;

use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, CommandFactory, ValueEnum};
use clap_complete::engine::{
    ArgValueCompleter, CompletionCandidate, PathCompleter, ValueCompleter,
};
use clap_complete::env::{self, EnvCompleter};

use crate::cli::Cli;
use crate::context::Context;
use crate::model::error::Result;
use crate::model::id::ConversationId;
use crate::ops::guide;
use crate::platform::disk::{FileKind, Open};
use crate::platform::{Disk, Environment, Output};
use crate::term::clean::clean_line;

use super::validate;

/// Arguments of `completions`.
#[derive(Debug, Args)]
#[command(
    about = "Print the script that completes pachat's commands in a shell",
    long_about = "Prints the script that makes a shell complete subcommands, options, models, and the ids of \
        conversations, backups and rollback points. \
        The script asks pachat itself for the candidates, so it never grows old.",
    after_long_help = "Examples:\n  \
        pachat completions bash > ~/.local/share/bash-completion/completions/pachat\n  \
        pachat completions zsh > ~/.zfunc/_pachat\n  \
        pachat completions fish > ~/.config/fish/completions/pachat.fish"
)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    pub shell: Shell,
}

/// Shells that have completions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// GNU Bash
    Bash,
    /// Z shell
    Zsh,
    /// fish
    Fish,
    /// PowerShell
    #[value(name = "powershell")]
    PowerShell,
    /// Elvish
    Elvish,
}

/// The variable that makes pachat answer a shell instead of a person.
const VARIABLE: &str = "COMPLETE";
/// The most conversations that are offered; more than these nobody reads on a Tab.
const MOST_CONVERSATIONS: usize = 100;
/// The longest first line that is looked at for a title.
const LONGEST_HEADER: u64 = 64 * 1024;
/// The largest list of models that is read.
const LARGEST_CATALOGUE: u64 = 32 * 1024 * 1024;

/// Prints the script.
pub fn run(args: &CompletionsArgs, context: &mut Context) -> Result<()> {
    context.ui.data(script(args.shell).as_bytes())
}

/// Every script with the file name that its shell expects.
pub fn scripts() -> Vec<(String, String)> {
    [
        ("pachat.bash", Shell::Bash),
        ("_pachat", Shell::Zsh),
        ("pachat.fish", Shell::Fish),
        ("pachat.ps1", Shell::PowerShell),
        ("pachat.elv", Shell::Elvish),
    ]
    .into_iter()
    .map(|(name, shell)| (name.to_owned(), script(shell)))
    .collect()
}

/// Answers a shell that asks for candidates: the exit code, or `None` where nobody
/// asked and pachat is to run as usual.
///
/// `args` are those of the process, its name included. Call it before anything is
/// printed. The engine takes the position of the cursor from variables that the script
/// sets for bash, zsh and Elvish; those are read from the process, not from
/// `environment`.
pub fn complete(
    args: &[OsString],
    environment: &Environment,
    disk: &Arc<dyn Disk>,
    stdout: &mut Output,
) -> Option<u8> {
    let asked = environment.get_os(VARIABLE)?;
    let name = Path::new(asked).file_stem()?.to_str()?;
    let shell = Shell::value_variants()
        .iter()
        .copied()
        .find(|shell| shell.completer().is(name))?;
    let mut answer = Vec::new();
    match args.iter().position(|arg| arg == "--") {
        None => answer = script(shell).into_bytes(),
        Some(end) if end + 1 == args.len() => answer = script(shell).into_bytes(),
        Some(end) => {
            let words = args[end + 1..].to_vec();
            let data_dir = data_dir(&words, environment);
            let mut command = completed_command(disk, data_dir, environment);
            let directory = Some(environment.working_directory.as_path());
            let done =
                shell
                    .completer()
                    .write_complete(&mut command, words, directory, &mut answer);
            if done.is_err() {
                return Some(1);
            }
        }
    }
    // A shell that went away needs no candidates.
    let written = stdout
        .writer
        .write_all(&answer)
        .and_then(|()| stdout.writer.flush());
    Some(u8::from(written.is_err()))
}

impl Shell {
    fn completer(self) -> &'static dyn EnvCompleter {
        match self {
            Self::Bash => &env::Bash,
            Self::Zsh => &env::Zsh,
            Self::Fish => &env::Fish,
            Self::PowerShell => &env::Powershell,
            Self::Elvish => &env::Elvish,
        }
    }
}

/// Without it, the first Tab after zsh loaded the file would do nothing: loading it is
/// the answer to a call of `_pachat`, and the file has only defined another function.
const ZSH_FIRST_CALL: &str = "
# Loaded from fpath, this file is the body of _pachat: answer the call that loaded it.
if [[ \"${funcstack[1]}\" == _pachat ]]; then
    _clap_dynamic_completer_pachat \"$@\"
fi
";

fn script(shell: Shell) -> String {
    let mut bytes = Vec::new();
    shell
        .completer()
        .write_registration(VARIABLE, "pachat", "pachat", "pachat", &mut bytes)
        .expect("writing to memory cannot fail");
    let text = String::from_utf8_lossy(&bytes);
    let mut script: String = text
        .trim()
        .lines()
        .flat_map(|line| [line.trim_end(), "\n"])
        .collect();
    if shell == Shell::Zsh {
        script.push_str(ZSH_FIRST_CALL);
    }
    script
}

/// Finds candidates in a data directory for what was typed.
type Find = fn(&dyn Disk, &Path, &str) -> Vec<CompletionCandidate>;

/// The command line with candidates for conversations, models, backups and rollback points.
fn completed_command(
    disk: &Arc<dyn Disk>,
    data_dir: Option<PathBuf>,
    environment: &Environment,
) -> clap::Command {
    let Some(data_dir) = data_dir else {
        return Cli::command();
    };
    let completer = |find: Find| {
        let (disk, data_dir) = (Arc::clone(disk), data_dir.clone());
        ArgValueCompleter::new(move |current: &OsStr| {
            current
                .to_str()
                .map_or_else(Vec::new, |typed| find(disk.as_ref(), &data_dir, typed))
        })
    };
    let conversations = completer(conversation_candidates);
    let models = completer(model_candidates);
    let areas_and_conversations = completer(area_candidates);
    let backups = completer(saved::backups);
    let points = completer(saved::points);
    let trashed = completer(saved::trashed);
    // A restore takes files as well.
    let files = PathCompleter::file()
        .stdio()
        .current_dir(&environment.working_directory);
    let backups_and_files = {
        let backups = backups.clone();
        ArgValueCompleter::new(move |current: &OsStr| {
            let mut found = backups.complete(current);
            found.extend(files.complete(current));
            found
        })
    };
    let talk = |command: clap::Command| {
        command
            .mut_arg("conversation", |arg| arg.add(conversations.clone()))
            .mut_arg("models", |arg| arg.add(models.clone()))
    };
    Cli::command()
        .mut_subcommand("chat", talk)
        .mut_subcommand("send", talk)
        .mut_subcommand("export", |command| {
            command.mut_arg("ids", |arg| arg.add(conversations.clone()))
        })
        .mut_subcommand("backup", |command| {
            ["pin", "unpin"]
                .into_iter()
                .fold(command, |command, action| {
                    command.mut_subcommand(action, |command| {
                        command.mut_arg("id", |arg| arg.add(backups.clone()))
                    })
                })
        })
        .mut_subcommand("restore", |command| {
            command
                .mut_arg("backup", |arg| arg.add(backups_and_files))
                .mut_arg("conversations", |arg| arg.add(conversations.clone()))
        })
        .mut_subcommand("rollback", |command| {
            command.mut_arg("rollback_point", |arg| arg.add(points))
        })
        .mut_subcommand("validate", |command| {
            command.mut_arg("what", |arg| arg.add(areas_and_conversations))
        })
        .mut_subcommand("cleanup", |command| {
            command
                .mut_arg("ids", |arg| arg.add(conversations))
                .mut_arg("restore", |arg| arg.add(trashed))
        })
}

/// Where the conversations are, as far as that can be told without reading settings.
fn data_dir(words: &[OsString], environment: &Environment) -> Option<PathBuf> {
    let mut words = words.iter().filter_map(|word| word.to_str());
    while let Some(word) = words.next() {
        let typed = match word.strip_prefix("--data-dir") {
            Some("") => words.next(),
            Some(rest) => rest.strip_prefix('='),
            None => None,
        };
        if let Some(typed) = typed.filter(|typed| !typed.is_empty()) {
            return Some(environment.resolve(Path::new(typed)));
        }
    }
    ["PACHAT_DATA_DIR", "DATA_DIR"]
        .into_iter()
        .find_map(|name| environment.get_os(name))
        .map(|path| environment.resolve(Path::new(path)))
        .or_else(|| Some(environment.data_home.as_ref()?.join("pachat")))
}

/// The newest conversations by the end of their ids, and by the whole id where more
/// than nothing was typed, each with its title.
fn conversation_candidates(
    disk: &dyn Disk,
    data_dir: &Path,
    prefix: &str,
) -> Vec<CompletionCandidate> {
    let mut found = Vec::new();
    for (id, title) in conversations(disk, data_dir) {
        let help = (!title.is_empty()).then(|| title.into());
        for name in [id.short(), id.as_str()] {
            let is_whole = name == id.as_str();
            if name.starts_with(prefix) && !(is_whole && prefix.is_empty()) {
                found.push(CompletionCandidate::new(name).help(help.clone()));
            }
        }
    }
    if "last".starts_with(prefix) {
        let help = "the conversation used last";
        found.push(CompletionCandidate::new("last").help(Some(help.into())));
    }
    found
}

/// What `validate` can look at: its areas, and conversations.
fn area_candidates(disk: &dyn Disk, data_dir: &Path, prefix: &str) -> Vec<CompletionCandidate> {
    let mut found: Vec<_> = validate::AREAS
        .into_iter()
        .filter(|(name, _)| name.starts_with(prefix))
        .map(|(name, about)| CompletionCandidate::new(name).help(Some(about.into())))
        .collect();
    found.extend(conversation_candidates(disk, data_dir, prefix));
    found
}

/// The newest conversations and the titles they began with.
fn conversations(disk: &dyn Disk, data_dir: &Path) -> Vec<(ConversationId, String)> {
    let directory = data_dir.join("conversations").join("active");
    let mut ids: Vec<ConversationId> = disk
        .read_dir(&directory)
        .unwrap_or_default()
        .into_iter()
        .filter(|entry| entry.kind == FileKind::File)
        .filter_map(|entry| entry.name.to_str()?.strip_suffix(".jsonl")?.parse().ok())
        .collect();
    ids.sort_unstable_by(|a, b| b.cmp(a));
    ids.truncate(MOST_CONVERSATIONS);
    ids.into_iter()
        .map(|id| {
            let title = first_title(disk, &directory.join(format!("{id}.jsonl")));
            (id, title.unwrap_or_default())
        })
        .collect()
}

/// The title in the first line of a conversation, safe to show on a terminal.
fn first_title(disk: &dyn Disk, path: &Path) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Header {
        title: String,
    }
    let file = disk.open(path, Open::Read).ok()?;
    let mut bytes = Vec::new();
    file.take(LONGEST_HEADER).read_to_end(&mut bytes).ok()?;
    let line = bytes.split(|byte| *byte == b'\n').next()?;
    let header: Header = serde_json::from_slice(line).ok()?;
    Some(clean_line(&header.title))
}

/// The embedded model and those of the kept lists.
fn model_candidates(disk: &dyn Disk, data_dir: &Path, prefix: &str) -> Vec<CompletionCandidate> {
    let mut ids = models(disk, &data_dir.join("cache"));
    ids.push(guide::MODEL.to_owned());
    ids.sort_unstable();
    ids.dedup();
    ids.into_iter()
        .filter(|id| id.starts_with(prefix))
        .map(CompletionCandidate::new)
        .collect()
}

/// The ids in every `models*.json` of the cache, whatever else is in there.
fn models(disk: &dyn Disk, cache: &Path) -> Vec<String> {
    let mut ids = Vec::new();
    for entry in disk.read_dir(cache).unwrap_or_default() {
        let name = entry.name.to_string_lossy();
        if !(name.starts_with("models") && name.ends_with(".json")) {
            continue;
        }
        let Ok(bytes) = disk.read(&cache.join(&entry.name), LARGEST_CATALOGUE) else {
            continue;
        };
        let list: serde_json::Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let models = list.get("models").and_then(serde_json::Value::as_array);
        ids.extend(
            models
                .into_iter()
                .flatten()
                .filter_map(|model| model.get("id")?.as_str())
                .map(clean_line),
        );
    }
    ids
}

#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "the tests prepare files to be found"
)]
mod tests {
    use super::*;
    use crate::platform::disk::RealDisk;
    use std::sync::Mutex;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// What fish would be told for these words. (fish, because it passes the position
    /// of the cursor by the number of words.)
    fn ask(data_dir: &Path, variable: &str, words: &[&str]) -> (Option<u8>, String) {
        let mut environment = Environment::default();
        environment
            .variables
            .insert("COMPLETE".into(), variable.into());
        environment
            .variables
            .insert("PACHAT_DATA_DIR".into(), data_dir.into());
        let args: Vec<OsString> = ["pachat", "--", "pachat"]
            .iter()
            .chain(words)
            .map(OsString::from)
            .collect();
        let shared = Shared::default();
        let mut stdout = Output {
            size: None,
            writer: Box::new(shared.clone()),
            is_terminal: false,
        };
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        let code = complete(&args, &environment, &disk, &mut stdout);
        let bytes = shared.0.lock().unwrap().clone();
        (code, String::from_utf8(bytes).unwrap())
    }

    fn store() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let active = dir.path().join("conversations/active");
        std::fs::create_dir_all(&active).unwrap();
        for (id, line) in [
            (
                "20260822-094107-7k2m9q",
                r#"{"type":"conversation","title":"Trip to\u001b]0;x\u0007 Peru"}"#,
            ),
            ("20260823-094107-abcdef", r#"{"type":"conversation"}"#),
            ("20260824-094107-abc123", "broken"),
        ] {
            std::fs::write(active.join(format!("{id}.jsonl")), format!("{line}\n")).unwrap();
        }
        std::fs::write(active.join("notes.jsonl"), "{}").unwrap();
        std::fs::create_dir_all(dir.path().join("cache")).unwrap();
        std::fs::write(
            dir.path().join("cache/models-openrouter.json"),
            r#"{"models":[{"id":"openai/gpt-4o-mini"},{"name":"no id"},7]}"#,
        )
        .unwrap();
        std::fs::write(dir.path().join("cache/models.json"), "not json").unwrap();
        dir
    }

    #[test]
    fn areas_conversations_and_probes_are_offered() {
        let store = store();
        let (_, text) = ask(store.path(), "fish", &["validate", ""]);
        for word in [
            "platform", "config", "security", "store", "backups", "7k2m9q", "last",
        ] {
            let is_it = |line: &str| line.split('\t').next() == Some(word);
            assert!(text.lines().any(is_it), "{word}: {text}");
        }
        let (_, text) = ask(store.path(), "fish", &["validate", "st"]);
        assert_eq!(text, "store\tevery line of every conversation\n");
        let (_, text) = ask(store.path(), "fish", &["health", "--only", "backup,da"]);
        assert_eq!(text, "backup,data-dir\n");
    }

    #[test]
    fn conversations_are_offered_newest_first_with_clean_titles() {
        let store = store();
        for words in [
            ["send", "-C", ""].as_slice(),
            &["chat", "--conversation", ""],
            &["export", ""],
        ] {
            let (code, text) = ask(store.path(), "fish", words);
            assert_eq!(code, Some(0));
            let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('-')).collect();
            assert_eq!(
                lines,
                [
                    "abc123",
                    "abcdef",
                    "7k2m9q\tTrip to Peru",
                    "last\tthe conversation used last"
                ],
                "{words:?}"
            );
        }
        let (_, text) = ask(store.path(), "fish", &["export", "20260822"]);
        assert_eq!(text, "20260822-094107-7k2m9q\tTrip to Peru\n");
    }

    #[test]
    fn models_come_from_the_cache_whatever_is_in_it() {
        let store = store();
        let (_, text) = ask(store.path(), "fish", &["send", "-m", ""]);
        assert_eq!(text, "builtin/guide\nopenai/gpt-4o-mini\n");
        let (_, text) = ask(Path::new("/nonexistent"), "fish", &["chat", "-m", "b"]);
        assert_eq!(text, "builtin/guide\n");
    }

    #[test]
    fn backups_and_points_are_offered_newest_first_with_what_they_are() {
        let store = store();
        let backups = store.path().join("backups");
        let point = backups.join("points/point_20260823_094107");
        std::fs::create_dir_all(&point).unwrap();
        std::fs::create_dir_all(backups.join("points/.tmp-1")).unwrap();
        for (name, text) in [
            ("backup_20260822_094107.tar.gz", ""),
            (
                "backup_20260822_094107.json",
                r#"{"type":"data","note":"a\u001b[31mb"}"#,
            ),
            ("backup_20260824_094107.tar.gz.age", ""),
            ("backup_20260825_094107.json", "{}"),
            (".backup_20260826_094107.tar.gz.tmp", ""),
            (
                "points/point_20260823_094107/point.json",
                r#"{"reason":"restore"}"#,
            ),
        ] {
            std::fs::write(backups.join(name), text).unwrap();
        }
        let newest_first = [
            "backup_20260824_094107",
            "backup_20260822_094107\tdata: ab",
            "latest\tthe newest backup",
        ];
        for words in [
            ["backup", "pin", ""].as_slice(),
            &["backup", "unpin", ""],
            &["restore", ""],
        ] {
            let (_, text) = ask(store.path(), "fish", words);
            let lines: Vec<&str> = text.lines().take(newest_first.len()).collect();
            assert_eq!(lines, newest_first, "{words:?}");
        }
        let (_, text) = ask(store.path(), "fish", &["restore", "20260822"]);
        assert_eq!(text, "20260822_094107\tdata: ab\n");
        let words = ["rollback", "--rollback-point", ""];
        let (_, text) = ask(store.path(), "fish", &words);
        assert_eq!(
            text,
            "point_20260823_094107\trestore\nlatest\tthe newest point\n"
        );
    }

    #[test]
    fn a_restore_is_offered_files_too() {
        let store = store();
        std::fs::write(store.path().join("saved.tar.gz"), "").unwrap();
        let typed = store.path().join("sav");
        let (_, text) = ask(store.path(), "fish", &["restore", typed.to_str().unwrap()]);
        assert_eq!(
            text,
            format!("{}\n", store.path().join("saved.tar.gz").display())
        );
    }

    #[test]
    fn subcommands_and_options_are_offered() {
        let (_, text) = ask(Path::new("/nonexistent"), "fish", &["ex"]);
        assert!(text.starts_with("export\t"), "{text}");
        let (_, text) = ask(Path::new("/nonexistent"), "fish", &["send", "--no-s"]);
        assert!(text.contains("--no-save\t"), "{text}");
    }

    #[test]
    fn a_directory_on_the_command_line_counts() {
        let store = store();
        let typed = format!("--data-dir={}", store.path().display());
        let (_, text) = ask(Path::new("/nonexistent"), "fish", &[&typed, "export", "7k"]);
        assert_eq!(text, "7k2m9q\tTrip to Peru\n");
    }

    #[test]
    fn other_uses_of_the_variable_are_none_of_our_business() {
        for variable in ["", "0", "1", "tcsh"] {
            assert_eq!(
                ask(Path::new("/nonexistent"), variable, &["ex"]),
                (None, String::new())
            );
        }
    }

    #[test]
    fn each_shell_has_a_script() {
        let scripts = scripts();
        assert_eq!(scripts.len(), 5);
        for (name, text) in &scripts {
            assert!(text.contains("pachat"), "{name}");
            assert!(text.ends_with('\n') && !text.contains(" \n"), "{name}");
        }
        assert!(scripts[1].1.starts_with("#compdef pachat\n"));
    }
}
