//! When a file that comes in was last changed: when something was last said in it.
//!
//! Layer: ops. An archive holds no times. With that of the restore, `last` would be whichever
//! conversation was written last, and not the one that somebody last talked in.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;

use crate::model::backup::Part;
use crate::model::id::ConversationId;
use crate::platform::disk::File;
use crate::store::Store;

/// How much of the end of a conversation is looked at, in bytes. What follows the time of a
/// message in its line is short, but for what a model thought.
const LONGEST: usize = 1 << 16;

/// The end of a conversation, while it goes by.
pub(super) struct Ending {
    id: ConversationId,
    tail: Vec<u8>,
}

impl Ending {
    /// That of a file of this part and name; `None` if it is none of a conversation in use. An
    /// archived one is never `last`.
    pub(super) fn of(part: Part, name: &str) -> Option<Self> {
        let id = name
            .strip_suffix(".jsonl")
            .filter(|_| part == Part::Active)?;
        Some(Self {
            id: id.parse().ok()?,
            tail: Vec::new(),
        })
    }

    /// More of the file.
    pub(super) fn update(&mut self, bytes: &[u8]) {
        let bytes = &bytes[bytes.len().saturating_sub(LONGEST)..];
        let over = (self.tail.len() + bytes.len()).saturating_sub(LONGEST);
        self.tail.drain(..over.min(self.tail.len()));
        self.tail.extend_from_slice(bytes);
    }

    /// Gives the file its time.
    pub(super) fn stamp(&self, store: &Store, file: &dyn File) {
        let set = self
            .time(store)
            .map_or(Ok(()), |time| file.set_modified(time));
        if let Err(error) = set {
            // The file is as it should be in every other respect.
            log::warn!("cannot set the time of {}: {error}", self.id);
        }
    }

    /// The time; `None` for now, as it is for one that is from the future.
    ///
    /// The part of the second is random: what is known of files without reading them goes by
    /// their times, and one that takes the place of another must not have the other's.
    fn time(&self, store: &Store) -> Option<SystemTime> {
        let said_at = last_time(&self.tail).or_else(|| self.id.begun_at())?;
        let now = store.clock().now();
        if said_at.as_second() >= now.as_second() {
            return None;
        }
        let seconds = u64::try_from(said_at.as_second()).ok()?;
        let nanoseconds = store.random().next_u32().ok()? % 1_000_000_000;
        Some(SystemTime::UNIX_EPOCH + Duration::new(seconds, nanoseconds))
    }
}

/// The time of the last message. A text cannot be mistaken for it: its quotation marks have
/// backslashes before them.
fn last_time(tail: &[u8]) -> Option<Timestamp> {
    const KEY: &[u8] = b",\"at\":\"";
    let at = memchr::memmem::rfind(tail, KEY)? + KEY.len();
    let end = at + memchr::memchr(b'"', &tail[at..])?;
    std::str::from_utf8(&tail[at..end]).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::record::{Content, Message, Role, Set, line};

    fn ending(pieces: &[&[u8]]) -> Ending {
        let mut ending = Ending::of(Part::Active, "20260822-094107-7k2m9q.jsonl").unwrap();
        for piece in pieces {
            ending.update(piece);
        }
        ending
    }

    #[test]
    fn the_last_message_says_when() {
        let at: Timestamp = "2026-08-22T09:41:07.5Z".parse().unwrap();
        let early = line(&Message::new(
            1,
            Role::User,
            Content::text("x"),
            Timestamp::UNIX_EPOCH,
        ));
        let told = format!(
            "{}\",\"at\":\"2027-01-01T00:00:00Z\"",
            "x".repeat(3 * LONGEST)
        );
        let mut last = Message::new(2, Role::Assistant, Content::text(&told), at);
        last.error = Some(told[3 * LONGEST..].to_owned());
        let last = line(&last);
        let set = line(&Set {
            title: Some("t".into()),
            ..Set::default()
        });
        for pieces in [
            &[&*early, &*last, &*set][..],
            &[&early, &last[..LONGEST], &last[LONGEST..], &set],
        ] {
            let found = ending(pieces);
            assert_eq!(last_time(&found.tail), Some(at));
            assert!(found.tail.len() <= LONGEST);
        }
        assert_eq!(last_time(&set), None);
        for name in ["20260822-094107-7k2m9q.partial", "x.jsonl"] {
            assert!(Ending::of(Part::Active, name).is_none());
        }
    }
}
