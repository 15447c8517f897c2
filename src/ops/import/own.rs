//! The lines of another pachat: what `export -F jsonl` prints, or the files themselves.

use std::io::BufRead;

use crate::model::error::Result;
use crate::model::record::{self, Record};

use super::Intake;
use super::source::{Progress, read_line, refuse, too_large};

/// Whether a line begins a conversation. One of a newer pachat is refused: what it says
/// beyond what is known here would be lost on whoever reads it here.
pub(super) fn is_header(line: &[u8]) -> Result<bool> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let Ok(text) = std::str::from_utf8(line) else {
        return Ok(false);
    };
    match Record::parse(text) {
        Ok(Record::Header(header)) if header.version > record::VERSION => {
            Err(refuse(format!(
                "{} was written by a newer pachat: it has format {}, and this one knows formats up to {}",
                header.id,
                header.version,
                record::VERSION
            ))
            .hint("install the current version of pachat"))
        }
        Ok(Record::Header(_)) => Ok(true),
        _ => Ok(false),
    }
}

/// Reads conversations; `first` is the header of the first one.
pub(super) fn read(
    first: Vec<u8>,
    input: &mut impl BufRead,
    progress: &mut Progress,
    intake: &mut Intake<'_, '_>,
) -> Result<()> {
    let limit = intake.limit();
    let mut conversation = first;
    let mut line = Vec::new();
    loop {
        read_line(input, &mut line, limit)?;
        let is_end = line.is_empty();
        if is_end || is_header(&line)? {
            end(&mut conversation, intake)?;
            progress.tell(intake)?;
            super::own(intake, &conversation)?;
            if is_end {
                return Ok(());
            }
            conversation.clear();
        }
        conversation.extend_from_slice(&line);
        if conversation.len() as u64 > limit {
            return Err(too_large(limit));
        }
    }
}

/// Ends a conversation with a line feed. An editor may have taken the last one off; or the
/// last line is cut, as after a crash, and stays behind, as it does when pachat goes on with
/// such a conversation.
fn end(conversation: &mut Vec<u8>, intake: &mut Intake<'_, '_>) -> Result<()> {
    let whole = memchr::memrchr(b'\n', conversation).map_or(0, |at| at + 1);
    let tail = &conversation[whole..];
    if tail.is_empty() {
        return Ok(());
    }
    let is_sound = std::str::from_utf8(tail).is_ok_and(|line| Record::parse(line).is_ok());
    if is_sound {
        conversation.push(b'\n');
    } else if whole == 0 {
        return Err(refuse("it ends in the middle of its first line".into())
            .hint("fetch the file anew; nothing was imported"));
    } else {
        let bytes = tail.len();
        conversation.truncate(whole);
        intake.read.warnings.push(format!(
            "the last line is cut, and left out ({bytes} bytes); see whether the file is complete"
        ));
    }
    Ok(())
}
