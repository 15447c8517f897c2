//! What is written opens with the tools of any system, and what they seal opens here.
#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may panic, and looks at the machine itself"
)]

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use pachat::archive::manifest::{Entry, Manifest};
use pachat::archive::path::ArchivePath;
use pachat::archive::seal::{Opener, Seal, generate, open, seal, wants_passphrase};
use pachat::archive::write::{Nothing, Source, Written, write};
use pachat::model::backup::{BackupType, Part, Sha256};
use pachat::model::error::Result;

struct Files(BTreeMap<ArchivePath, Vec<u8>>);

impl Files {
    /// Some of each kind: empty, of exactly one block, of many members.
    fn example() -> Self {
        let mut files = BTreeMap::new();
        let mut put = |part, name: &str, content: Vec<u8>| {
            files.insert(ArchivePath::new(part, name).unwrap(), content);
        };
        put(Part::Config, "app_config.json", b"{\"a\":1}\n".to_vec());
        put(Part::Logs, "app.log", Vec::new());
        put(Part::Logs, "app.log.1", vec![b'x'; 512]);
        let large = "a line of a long conversation\n".repeat(100_000);
        put(Part::Active, "20260822-094107-abc123.jsonl", large.into());
        for minute in 10..40 {
            let name = format!("20260822-09{minute}07-abc123.jsonl");
            let line = format!("{{\"minute\":{minute}}}\n");
            put(Part::Active, &name, line.repeat(2_000).into());
        }
        Self(files)
    }

    fn archive(&mut self) -> Vec<u8> {
        let files = self.0.iter().map(|(path, content)| Entry {
            path: path.clone(),
            size: content.len() as u64,
            sha256: Sha256::of(content),
            damaged: false,
        });
        let manifest = Manifest {
            kind: BackupType::Full,
            created_at: "2026-08-22T09:41:07Z".parse().unwrap(),
            store_format: 1,
            tags: vec!["a".into()],
            note: Some("with\na line feed and \"quotes\"".into()),
            files: files.collect(),
        };
        let mut bytes = Vec::new();
        let result = write(&manifest, self, &mut Nothing, 2, &mut bytes).unwrap();
        assert!(matches!(result, Written::Whole { .. }));
        bytes
    }

    fn assert_in(&self, directory: &Path) {
        for (path, content) in &self.0 {
            let file = directory.join(path.as_str());
            assert!(&fs::read(&file).unwrap() == content, "{path} differs");
            let mode = fs::metadata(&file).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{path}");
            let parent = fs::metadata(file.parent().unwrap()).unwrap();
            assert_eq!(parent.permissions().mode() & 0o777, 0o700, "{path}");
        }
    }
}

impl Source for Files {
    fn open(&mut self, entry: &Entry) -> Result<Option<Box<dyn Read>>> {
        let content = self.0.get(&entry.path).cloned();
        Ok(content.map(|content| Box::new(io::Cursor::new(content)) as _))
    }

    fn advance(&mut self, _: u64) -> Result<()> {
        Ok(())
    }
}

/// What a shell command prints, which must succeed and complain about nothing.
fn shell(directory: &Path, command: &str, input: &[u8]) -> Vec<u8> {
    let mut child = Command::new("sh")
        .args(["-ec", command])
        .current_dir(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let feeding = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "`{command}`: {complaint}");
    assert_eq!(complaint, "", "`{command}`");
    feeding.join().unwrap().unwrap();
    output.stdout
}

#[test]
#[ignore = "needs tar, gzip, jq, sha256sum"]
fn tar_unpacks_it_and_the_manifest_proves_it() {
    let mut files = Files::example();
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("b.tar.gz"), files.archive()).unwrap();
    shell(
        directory.path(),
        "gzip -t b.tar.gz; umask 0; tar xzf b.tar.gz",
        b"",
    );
    files.assert_in(directory.path());
    let proof = shell(
        directory.path(),
        r#"jq -r '.files[] | "\(.sha256)  \(.path)"' MANIFEST.json | sha256sum --strict -c"#,
        b"",
    );
    let proof = String::from_utf8(proof).unwrap();
    assert_eq!(proof.matches(": OK\n").count(), files.0.len());
    let one = shell(directory.path(), "grep -c app.log.1 MANIFEST.json", b"");
    assert_eq!(one, b"1\n");
    let total: usize = files.0.values().map(Vec::len).sum();
    let sum = shell(directory.path(), "jq .total_bytes MANIFEST.json", b"");
    assert_eq!(sum, format!("{total}\n").into_bytes());
    // As from the other end of a pipe, where nothing can be sought.
    let archive = fs::read(directory.path().join("b.tar.gz")).unwrap();
    let listed = shell(directory.path(), "tar tzf - | sort | uniq -d", &archive);
    assert_eq!(listed, b"");
}

#[test]
#[ignore = "needs age, tar"]
fn age_opens_what_is_sealed_here() {
    let mut files = Files::example();
    let directory = tempfile::tempdir().unwrap();
    let (identity, recipient) = generate();
    let (_, other) = generate();
    fs::write(
        directory.path().join("key.txt"),
        format!("# public key: {recipient}\n{}\n", identity.expose()),
    )
    .unwrap();
    let (mut writer, _) = seal(Vec::new(), &Seal::Recipients(vec![other, recipient])).unwrap();
    writer.write_all(&files.archive()).unwrap();
    let sealed = writer.finish().unwrap();
    shell(
        directory.path(),
        "umask 0; age -d -i key.txt | tar xz",
        &sealed,
    );
    files.assert_in(directory.path());
}

#[test]
#[ignore = "needs age, age-keygen"]
fn what_age_seals_opens_here() {
    let directory = tempfile::tempdir().unwrap();
    let run = |command: &str, input: &[u8]| shell(directory.path(), command, input);
    let identity = run("age-keygen 2>/dev/null", b"");
    let identity = String::from_utf8(identity).unwrap();
    fs::write(directory.path().join("key.txt"), &identity).unwrap();
    let recipient = String::from_utf8(run("age-keygen -y key.txt", b"")).unwrap();
    let opener = Opener::Identities(pachat::model::secret::Secret::new(identity));
    let archive = Files::example().archive();
    for armour in ["", "-a"] {
        let command = format!("age -r {} {armour}", recipient.trim());
        let sealed = run(&command, &archive);
        assert!(!wants_passphrase(&sealed));
        let mut plain = Vec::new();
        let mut reader = open(Box::new(&sealed[..]), &opener).unwrap();
        reader.read_to_end(&mut plain).unwrap();
        assert!(plain == archive);
    }
}
