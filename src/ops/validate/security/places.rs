//! Where the directories are: synchronised with other machines, on a server, in a git work tree.

use std::path::{Path, PathBuf};

use crate::model::finding::{Finding, Severity};

use super::{Surroundings, exists, secret_files, subject};

/// Directories that programs keep in step with other machines, by the beginning of their names,
/// and whose they are.
const SYNCED: [(&str, &str); 9] = [
    ("Dropbox", "Dropbox"),
    ("OneDrive", "OneDrive"),
    ("Google Drive", "Google Drive"),
    ("GoogleDrive", "Google Drive"),
    ("My Drive", "Google Drive"),
    ("Nextcloud", "Nextcloud"),
    ("ownCloud", "ownCloud"),
    ("pCloudDrive", "pCloud"),
    ("Mobile Documents", "iCloud Drive"),
];

/// File systems that are on another machine, as Linux calls them.
const REMOTE: [&str; 13] = [
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "smbfs",
    "ncpfs",
    "afs",
    "ceph",
    "9p",
    "fuse.sshfs",
    "fuse.rclone",
    "fuse.glusterfs",
    "fuse.davfs2",
];

pub(super) fn look(around: &Surroundings<'_>, found: &mut Vec<Finding>) {
    let data = synced(around, around.data_dir);
    let config = around
        .config_dir
        .and_then(|directory| synced(around, directory));
    if let Some(whose) = data {
        found.push(Finding::new(
            "security.synced",
            Severity::Warning,
            around.data_dir.display().to_string(),
            format!("it is in a directory of {whose}: everything said goes to other machines, and what they write back may cut a conversation"),
            "keep it on this machine only, and let `pachat backup --encrypted` make what is copied elsewhere",
        ));
    }
    if let (Some(whose), Some(directory)) = (config, around.config_dir)
        && !secret_files(around).is_empty()
    {
        found.push(Finding::new(
            "security.synced",
            Severity::Warning,
            directory.display().to_string(),
            format!("it is in a directory of {whose}, so what opens the sealed keys goes to other machines"),
            "keep the configuration directory on this machine only; XDG_CONFIG_HOME says where it is",
        ));
    }
    look_at_halves(around, data.is_some() && config.is_some(), found);
    look_at_mount(around, found);
    look_for_git(around, found);
}

/// Who keeps a directory in step with other machines, if anybody does.
fn synced(around: &Surroundings<'_>, directory: &Path) -> Option<&'static str> {
    for ancestor in directory.ancestors() {
        let name = ancestor.file_name().and_then(|name| name.to_str());
        let known = SYNCED.iter().find(|(beginning, _)| {
            name.and_then(|name| name.strip_prefix(beginning))
                // `Dropbox (Personal)`, `OneDrive - Company`; but not `Dropboxes`.
                .is_some_and(|rest| !rest.starts_with(char::is_alphanumeric))
        });
        if let Some((_, whose)) = known {
            return Some(whose);
        }
        if name == Some("CloudStorage") {
            return Some("a cloud");
        }
        if exists(around, &ancestor.join(".stfolder")) {
            return Some("Syncthing");
        }
    }
    None
}

/// The sealed keys and what opens them must not travel together.
fn look_at_halves(around: &Surroundings<'_>, both_synced: bool, found: &mut Vec<Finding>) {
    let mut add = |path: &Path, cause: &str, remedy: &str| {
        found.push(Finding::new(
            "security.both-halves",
            Severity::Error,
            subject(around, path),
            cause,
            remedy,
        ));
    };
    let mut inside: Vec<PathBuf> = vec![
        around.data_dir.join("master.key"),
        around.data_dir.join("config/master.key"),
    ];
    let own = around
        .config_dir
        .map(|directory| directory.join("master.key"));
    if let Some(own) = own.as_ref().filter(|own| own.starts_with(around.data_dir)) {
        inside.push(own.clone());
    }
    inside.sort_unstable();
    inside.dedup();
    let mut is_inside = false;
    for path in inside.iter().filter(|path| exists(around, path)) {
        is_inside = true;
        add(
            path,
            "the key file is in the data directory, so every copy of that carries the sealed keys and what opens them",
            "move it to the configuration directory (`pachat config path` names it), or remove it if it is only a copy",
        );
    }
    let sealed = around.data_dir.join("config/api_keys.enc");
    if let Some(own) = own
        && both_synced
        && !is_inside
        && exists(around, &own)
        && exists(around, &sealed)
    {
        add(
            &own,
            "the key file and the sealed keys are both copied to other machines, so whoever has such a copy has the keys",
            "move one of them out of there, or seal the keys anew with `pachat config key set --wrap passphrase`",
        );
    }
}

/// Whether the data directory is on another machine. Only Linux tells.
fn look_at_mount(around: &Surroundings<'_>, found: &mut Vec<Finding>) {
    const LARGEST: u64 = 1 << 22;
    let Ok(bytes) = around.disk.read(Path::new("/proc/self/mountinfo"), LARGEST) else {
        return;
    };
    let table = String::from_utf8_lossy(&bytes);
    let mounts = table.lines().filter_map(mount);
    // Of two that are mounted at one place, the later one hides the other.
    let holder = mounts
        .filter(|(at, _)| around.data_dir.starts_with(at))
        .max_by_key(|(at, _)| at.components().count());
    let Some((at, kind)) = holder else {
        return;
    };
    if REMOTE.contains(&kind) {
        found.push(Finding::new(
            "security.network",
            Severity::Warning,
            around.data_dir.display().to_string(),
            format!(
                "it is on another machine ({kind} at {}): its administrators can read it, and locks and syncs there hold less than on a local disk",
                at.display()
            ),
            "keep it on a local disk, and let `pachat backup -o FILE` write to the other machine",
        ));
    }
}

/// The place and the kind of a line of `mountinfo` (`man proc_pid_mountinfo`): the fifth field,
/// and the first behind the dash.
fn mount(line: &str) -> Option<(PathBuf, &str)> {
    let (before, behind) = line.split_once(" - ")?;
    let place = before.split(' ').nth(4)?;
    let kind = behind.split(' ').next()?;
    // Blanks and the like are written in octal.
    let place = place
        .replace("\\040", " ")
        .replace("\\011", "\t")
        .replace("\\012", "\n")
        .replace("\\134", "\\");
    Some((place.into(), kind))
}

/// Secrets in a git work tree are one `git add` away from everybody.
fn look_for_git(around: &Surroundings<'_>, found: &mut Vec<Finding>) {
    for path in secret_files(around) {
        let tree = path
            .ancestors()
            .skip(1)
            .find(|directory| exists(around, &directory.join(".git")));
        if let Some(tree) = tree {
            found.push(Finding::new(
                "security.git",
                Severity::Warning,
                subject(around, &path),
                format!(
                    "it holds a key and is in the git work tree {}, one `git add` away from its history",
                    tree.display()
                ),
                "move it out of there; a line in .gitignore is the least",
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_mountinfo_is_read() {
        let line = "36 35 98:0 /mnt1 /my\\040place rw,noatime master:1 - fuse.sshfs me@host: rw";
        assert_eq!(
            mount(line),
            Some((PathBuf::from("/my place"), "fuse.sshfs"))
        );
        assert_eq!(mount("nonsense"), None);
    }
}
