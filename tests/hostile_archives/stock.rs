//! What stock programs make of the files of a backup.

use std::path::Path;
use std::process::Command;

use pachat::archive::read::read;

use super::build::Backup;
use super::recorder::Recorder;

/// Lays the files of the usual backup out in a directory.
fn lay_out(directory: &Path) {
    let backup = Backup::usual();
    let mut files = backup.files.clone();
    files.push(("MANIFEST.json".into(), backup.json().into_bytes()));
    for (path, data) in files {
        let path = directory.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, data).unwrap();
    }
}

const NAMES: [&str; 6] = [
    "MANIFEST.json",
    "attachments",
    "config",
    "conversations",
    "logs",
    "quarantine",
];

fn accepted(directory: &Path, about: &str) {
    let archive = std::fs::read(directory.join("x.tar.gz")).unwrap();
    let mut recorder = Recorder::default();
    let manifest = read(&mut &archive[..], false, &mut recorder);
    manifest.unwrap_or_else(|error| panic!("{about}: {error}"));
    assert_eq!(recorder.whole.len(), Backup::usual().files.len(), "{about}");
}

#[test]
#[ignore = "needs tar"]
fn what_tar_packs_is_accepted() {
    let directory = tempfile::tempdir().unwrap();
    lay_out(directory.path());
    for format in ["gnu", "oldgnu", "posix", "ustar"] {
        let status = Command::new("tar")
            .current_dir(directory.path())
            .args(["-czf", "x.tar.gz", "--format", format])
            .args(NAMES)
            .status()
            .unwrap();
        assert!(status.success(), "{format}");
        accepted(directory.path(), format);
    }
}

#[test]
#[ignore = "needs bsdtar"]
fn what_bsdtar_packs_is_accepted() {
    let directory = tempfile::tempdir().unwrap();
    lay_out(directory.path());
    for format in ["ustar", "pax", "paxr"] {
        let format = format!("--format={format}");
        let status = Command::new("bsdtar")
            .current_dir(directory.path())
            .args(["-czf", "x.tar.gz", &format])
            .args(NAMES)
            .status()
            .unwrap();
        assert!(status.success(), "{format}");
        accepted(directory.path(), &format);
    }
}

#[test]
#[ignore = "needs python3"]
fn what_python_packs_is_accepted() {
    let directory = tempfile::tempdir().unwrap();
    lay_out(directory.path());
    for format in ["USTAR_FORMAT", "GNU_FORMAT", "PAX_FORMAT"] {
        let program = format!(
            "import sys, tarfile\n\
             with tarfile.open('x.tar.gz', 'w:gz', format=tarfile.{format}) as tar:\n\
             \x20   for name in sys.argv[1:]: tar.add(name)\n"
        );
        let status = Command::new("python3")
            .current_dir(directory.path())
            .args(["-c", &program])
            .args(NAMES)
            .status()
            .unwrap();
        assert!(status.success(), "{format}");
        accepted(directory.path(), format);
    }
}
