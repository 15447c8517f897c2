//! A block of lines in a person's crontab, and the crontab around it.
//!
//! Format: crontab(5). Promise: what is outside the block stays byte for byte.

use std::fmt::Write as _;

use crate::model::error::{Error, Kind, Result};

use super::mark::{self, Owner};
use super::{Call, Job, When};

const BEGIN: &str = "# BEGIN pachat: ";
const END: &str = "# END pachat";

/// The block.
pub(super) fn block(jobs: &[&Job], call: &Call) -> String {
    let mut text = format!("{BEGIN}{}\n", mark::remark());
    text.push_str(
        "# cron makes up for nothing: what falls into a time when the machine is off is left out until the\n\
         # next one. A line of output is mailed to you, and fine is silent.\n",
    );
    for job in jobs {
        let (hour, minute) = call.minute(job);
        let when = match job.when {
            When::Hourly => format!("{minute} * * * *"),
            When::Daily(_) => format!("{minute} {hour} * * *"),
            When::Sundays(_) => format!("{minute} {hour} * * 0"),
            When::Monthly(_) => format!("{minute} {hour} 1 * *"),
        };
        let null = if job.data { " >/dev/null" } else { "" };
        // A bare percent sign would end the command; cron takes the backslash away.
        let command = call.command(job).replace('%', "\\%");
        let _ = writeln!(text, "{when} {command}{null}");
    }
    let _ = writeln!(text, "{END}");
    mark::seal(&text)
}

/// Where the block is in a crontab.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    start: usize,
    end: usize,
}

/// Finds the block. One without an end, or a second one, is an error: where it ends only its
/// person knows.
pub(super) fn find(crontab: &[u8]) -> Result<Option<Place>> {
    let odd = |why: &str| {
        Error::new(Kind::Malformed, "cannot tell which lines of the crontab are pachat's")
            .why(why)
            .hint("look at it with `crontab -e`, and remove the lines from `# BEGIN pachat` to `# END pachat`")
    };
    let mut begun = None;
    let mut found = None;
    let mut at = 0;
    for line in crontab.split_inclusive(|&byte| byte == b'\n') {
        let end = at + line.len();
        if line.starts_with(BEGIN.as_bytes()) {
            if begun.is_some() || found.is_some() {
                return Err(odd("there is a second `# BEGIN pachat`"));
            }
            begun = Some(at);
        } else if line.trim_ascii_end() == END.as_bytes() {
            let start = begun.take();
            let start =
                start.ok_or_else(|| odd("there is an `# END pachat` without a beginning"))?;
            found = Some(Place { start, end });
        }
        at = end;
    }
    match begun {
        Some(_) => Err(odd("there is a `# BEGIN pachat` without an end")),
        None => Ok(found),
    }
}

/// The block of a crontab, and whose it is.
pub(super) fn current(crontab: &[u8]) -> Result<Option<(&[u8], Owner)>> {
    let found = find(crontab)?;
    Ok(found.map(|Place { start, end }| {
        let block = &crontab[start..end];
        (block, mark::owner(block))
    }))
}

/// The crontab with this block in place of the one that is there, or at the end; with an empty
/// one, the crontab without it.
pub(super) fn merge(crontab: &[u8], block: &str) -> Result<Vec<u8>> {
    let len = crontab.len();
    let place = find(crontab)?.unwrap_or(Place {
        start: len,
        end: len,
    });
    let (before, after) = (&crontab[..place.start], &crontab[place.end..]);
    let mut merged = before.to_vec();
    // cron refuses a last line without a line feed.
    if !block.is_empty() && before.last().is_some_and(|&byte| byte != b'\n') {
        merged.push(b'\n');
    }
    merged.extend_from_slice(block.as_bytes());
    merged.extend_from_slice(after);
    Ok(merged)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::schedule::JOBS;

    fn own() -> String {
        block(&[&JOBS[0]], &Call::usual())
    }

    #[test]
    fn what_is_around_the_block_stays_byte_for_byte() {
        let block = own();
        for crontab in [
            &b""[..],
            b"MAILTO=me\n\n# \xff not text\n1 2 * * * x\n\n",
            b"a\r\nb\r\n",
        ] {
            let with = merge(crontab, &block).unwrap();
            assert_eq!(merge(&with, &block).unwrap(), with);
            assert_eq!(merge(&with, "").unwrap(), crontab);
            let between = [&with[..], b"5 5 * * * later\n"].concat();
            let without = merge(&between, "").unwrap();
            assert_eq!(without, [crontab, b"5 5 * * * later\n"].concat());
        }
    }

    #[test]
    fn a_block_whose_end_is_not_certain_is_left_alone() {
        let block = own();
        let (begin, _) = block.split_once('\n').unwrap();
        for crontab in [
            format!("{begin}\n1 * * * * x\n"),
            format!("{block}{block}"),
            format!("{END}\n"),
        ] {
            assert!(merge(crontab.as_bytes(), &block).is_err(), "{crontab}");
        }
    }

    #[test]
    fn a_percent_sign_does_not_end_the_command() {
        let call = Call {
            options: vec!["--data-dir".into(), "/a b/100%".into()],
            ..Call::usual()
        };
        let text = block(&[&JOBS[0]], &call);
        assert!(
            text.contains(r"--data-dir '/a b/100\%' backup --quiet --if-any >/dev/null"),
            "{text}"
        );
    }
}
