//! Attachments that no conversation refers to.
//!
//! A conversation refers to an attachment if the digest that names it occurs anywhere in the
//! bytes of the conversation, be it active, archived or in the trash. Where one of them cannot
//! be read nobody can tell, and then nothing is an orphan.

use std::collections::HashSet;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use flate2::read::MultiGzDecoder;
use jiff::Timestamp;

use crate::model::backup::Part;
use crate::model::error::Result;
use crate::platform::Disk;
use crate::platform::disk::Open;
use crate::store::Store;
use crate::store::looks::Looks;

use super::{Action, Plan, Step, Target, Task, Wishes};

/// How many digits a digest has.
const DIGITS: usize = 64;
/// How much is read at once, in bytes.
const STEP: usize = 64 << 10;

/// Plans to move orphans to the trash that are older than the floor.
pub(super) fn attachments(store: &Store, wishes: &Wishes, plan: &mut Plan) -> Result<()> {
    let floor = wishes.min_age.before(&wishes.now);
    let files = store.inventory(&[Part::Attachments])?.files;
    let made = |at: Option<std::time::SystemTime>| {
        at.and_then(|at| Timestamp::try_from(at).ok())
            .unwrap_or(Timestamp::MAX)
    };
    let old: Vec<_> = files
        .iter()
        .filter(|file| made(file.modified) <= floor)
        .collect();
    if old.is_empty() {
        return Ok(());
    }
    let mut unseen: HashSet<&[u8]> = old.iter().map(|file| digest(&file.name)).collect();
    if let Some(path) = look_for(store, &mut unseen)? {
        plan.skip(
            Task::Attachments,
            "attachments",
            format!("{path} cannot be read, so nobody knows which attachments are needed"),
        );
        return Ok(());
    }
    let reason: Arc<str> = "no conversation refers to it".into();
    for file in old {
        if unseen.contains(digest(&file.name)) {
            plan.steps.push(Step {
                task: Task::Attachments,
                action: Action::Trash,
                path: format!("attachments/{}", file.name),
                bytes: file.len,
                age: Some(wishes.age(made(file.modified))),
                reason: Arc::clone(&reason),
                target: Target::Attachment(file.name.clone(), Looks::of(file)),
            });
        }
    }
    Ok(())
}

fn digest(name: &str) -> &[u8] {
    name.split('.').next().unwrap_or_default().as_bytes()
}

/// Takes out of the set what occurs in a conversation. The path of a conversation that cannot be
/// read, if there is one.
fn look_for(store: &Store, unseen: &mut HashSet<&[u8]>) -> Result<Option<String>> {
    let parts = [Part::Active, Part::Archived, Part::Trash];
    let mut read = HashSet::new();
    loop {
        let mut moved = false;
        for file in store.inventory(&parts)?.files {
            let path = format!("{}/{}", file.part.path(), file.name);
            if unseen.is_empty() || read.contains(&path) {
                continue;
            }
            match scan(
                store.disk(),
                &store.part_file(file.part, &file.name),
                unseen,
            ) {
                Ok(()) => {
                    read.insert(path);
                }
                // It has another name by now, and is found under that.
                Err(error) if error.kind() == io::ErrorKind::NotFound => moved = true,
                Err(_) => return Ok(Some(path)),
            }
        }
        if !moved {
            return Ok(None);
        }
    }
}

fn scan(disk: &dyn Disk, path: &Path, unseen: &mut HashSet<&[u8]>) -> io::Result<()> {
    let file = disk.open(path, Open::Read)?;
    if path.extension().is_some_and(|extension| extension == "gz") {
        occurrences(&mut MultiGzDecoder::new(file), unseen)
    } else {
        occurrences(&mut { file }, unseen)
    }
}

/// Takes out of the set every digest that occurs in what a reader gives, also within longer runs
/// of digits.
fn occurrences(reader: &mut dyn Read, unseen: &mut HashSet<&[u8]>) -> io::Result<()> {
    let mut buffer = vec![0; DIGITS + STEP];
    let mut carried = 0;
    loop {
        let count = match reader.read(&mut buffer[carried..]) {
            Ok(0) => return Ok(()),
            Ok(count) => carried + count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        for run in buffer[..count].split(|byte| !is_digit(byte)) {
            for window in run.windows(DIGITS) {
                unseen.remove(window);
            }
        }
        // The beginning of one that goes on in the next piece.
        carried = count.min(DIGITS - 1);
        buffer.copy_within(count - carried..count, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives so many bytes at a time.
    struct Dripping<'a>(&'a [u8], usize);

    impl Read for Dripping<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = self.1.min(self.0.len()).min(buffer.len());
            buffer[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            Ok(count)
        }
    }

    #[test]
    fn a_digest_is_found_wherever_it_stands() {
        let wanted = "0123456789abcdef".repeat(4);
        let text = |around: &str| format!("{around}{wanted}{around}");
        for text in [
            text(""),
            text("\"sha256:"),
            text("fffff"),
            text(&"x".repeat(STEP - 30)),
        ] {
            for step in [1, 63, 64, 65, STEP] {
                let mut unseen = HashSet::from([wanted.as_bytes()]);
                occurrences(&mut Dripping(text.as_bytes(), step), &mut unseen).unwrap();
                assert!(unseen.is_empty(), "{step} of {}", text.len());
            }
        }
        let mut unseen = HashSet::from([wanted.as_bytes()]);
        let almost = format!("{} {}", &wanted[..40], &wanted[40..]);
        occurrences(&mut Dripping(almost.as_bytes(), 7), &mut unseen).unwrap();
        assert_eq!(unseen.len(), 1);
    }
}
