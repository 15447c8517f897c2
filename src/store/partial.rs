//! The side file: the text of a reply while it arrives.
//!
//! Each piece is written here before it is shown, without a sync: it must survive the death
//! of the process, not of the machine. The file is JSON Lines: a head, then pieces.
//!
//! ```text
//! {"type":"partial","version":1,"n":2,"at":"2026-08-22T09:41:07.123Z","model":"asked/for"}
//! {"generation_id":"gen-1","model":"that/answers","provider":"P"}
//! {"text":"Hel"}
//! {"text":"lo"}
//! ```
//!
//! Invariant: it exists only while its writer holds the conversation's turn lock. Whoever
//! takes that lock and finds one knows that its writer died, and folds it in.

use std::borrow::Cow;
use std::io;
use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::error::{Error, Kind, Result};
use crate::model::id::ConversationId;
use crate::model::reply::{Delta, Identity};
use crate::model::time;
use crate::platform::disk::{File, Open};

use super::Store;

#[derive(Serialize, Deserialize)]
#[serde(tag = "type", rename = "partial")]
struct Head<'a> {
    version: u32,
    n: u64,
    #[serde(with = "time")]
    at: Timestamp,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    model: Option<Cow<'a, str>>,
}

#[derive(Default, Serialize, Deserialize)]
struct Piece<'a> {
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    text: Option<Cow<'a, str>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    reasoning: Option<Cow<'a, str>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    generation_id: Option<Cow<'a, str>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    model: Option<Cow<'a, str>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    provider: Option<Cow<'a, str>>,
}

/// An open side file.
pub struct Partial {
    store: Store,
    path: PathBuf,
    file: Box<dyn File>,
    len: u64,
    /// Lines that go out with the next write; empty but for an identity that waits.
    buffer: Vec<u8>,
}

impl Partial {
    /// Begins the side file of the message number `n`. The caller holds the turn lock and
    /// has folded in what an earlier writer left.
    pub(super) fn create(
        store: &Store,
        id: &ConversationId,
        n: u64,
        at: Timestamp,
        model: Option<&str>,
    ) -> Result<Self> {
        let path = store.layout().partial(id);
        let file = store.disk().open(&path, Open::CreateNew).map_err(|error| {
            Error::io("cannot keep the reply", &path, &error).with_kind(Kind::Io)
        })?;
        let mut partial = Self {
            store: store.clone(),
            path,
            file,
            len: 0,
            buffer: Vec::new(),
        };
        partial.add(&Head {
            version: 1,
            n,
            at,
            model: model.map(Cow::Borrowed),
        })?;
        partial.write()?;
        Ok(partial)
    }

    /// Keeps a piece of the reply.
    pub fn delta(&mut self, delta: &Delta) -> Result<()> {
        fn some(text: &str) -> Option<Cow<'_, str>> {
            (!text.is_empty()).then_some(Cow::Borrowed(text))
        }
        self.add(&Piece {
            text: some(&delta.text),
            reasoning: some(&delta.reasoning),
            ..Piece::default()
        })?;
        self.write()
    }

    /// The length of the file in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether nothing is in it; its head is from the beginning.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Keeps what is known about who answers, in the same write as the next piece: where
    /// none follows there is no reply to say it of.
    pub fn identity(&mut self, identity: &Identity) -> Result<()> {
        self.add(&Piece {
            generation_id: identity.generation_id.as_deref().map(Cow::Borrowed),
            model: identity.model.as_deref().map(Cow::Borrowed),
            provider: identity.provider.as_deref().map(Cow::Borrowed),
            ..Piece::default()
        })
    }

    fn add(&mut self, line: &impl Serialize) -> Result<()> {
        serde_json::to_writer(&mut self.buffer, line).map_err(|error| {
            Error::new(Kind::Bug, "cannot write down a piece of a reply").cause(error)
        })?;
        self.buffer.push(b'\n');
        Ok(())
    }

    fn write(&mut self) -> Result<()> {
        let written = self.file.write_all(&self.buffer);
        let len = self.buffer.len() as u64;
        self.buffer.clear();
        match written {
            Ok(()) => {
                self.len += len;
                Ok(())
            }
            Err(error) => {
                // Half a line would only be noise for who folds the file in.
                let _ = self.file.set_len(self.len);
                Err(Error::io("cannot keep the reply", &self.path, &error).with_kind(Kind::Io))
            }
        }
    }

    /// Removes the side file: its text is in the conversation, or there is none.
    pub fn remove(self) -> Result<()> {
        remove(&self.store, &self.path)
    }
}

/// Removes a side file; one that is gone already is fine.
pub(super) fn remove(store: &Store, path: &std::path::Path) -> Result<()> {
    match store.disk().remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(
                Error::io("cannot remove the side file of a reply", path, &error)
                    .with_kind(Kind::Io),
            )
        }
        _ => Ok(()),
    }
}

/// What a side file holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Remains {
    /// The number that the reply would have had; `None` if the head cannot be read.
    pub n: Option<u64>,
    /// When the reply began.
    pub at: Option<Timestamp>,
    /// What had arrived.
    pub delta: Delta,
    /// Who answered. The model is the one that was asked for, until the server named one.
    pub identity: Identity,
    /// Whether there were bytes that make no sense.
    pub damaged: bool,
}

/// Reads a side file, however it was cut.
pub fn parse(bytes: &[u8]) -> Remains {
    let mut remains = Remains::default();
    let mut lines = bytes.split_inclusive(|&byte| byte == b'\n');
    let Some(first) = lines.next() else {
        return remains;
    };
    match serde_json::from_slice::<Head<'_>>(first) {
        Ok(head) => {
            remains.n = Some(head.n);
            remains.at = Some(head.at);
            remains.identity.model = head.model.map(Cow::into_owned);
        }
        Err(_) => remains.damaged = true,
    }
    for line in lines {
        let Ok(piece) = serde_json::from_slice::<Piece<'_>>(line) else {
            remains.damaged = true;
            continue;
        };
        if let Some(text) = piece.text {
            remains.delta.text.push_str(&text);
        }
        if let Some(text) = piece.reasoning {
            remains.delta.reasoning.push_str(&text);
        }
        let identity = &mut remains.identity;
        for (known, new) in [
            (&mut identity.generation_id, piece.generation_id),
            (&mut identity.model, piece.model),
            (&mut identity.provider, piece.provider),
        ] {
            if let Some(new) = new {
                *known = Some(new.into_owned());
            }
        }
    }
    remains
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FILE: &str = concat!(
        r#"{"type":"partial","version":1,"n":2,"at":"2026-08-22T09:41:07.123Z","model":"a"}"#,
        "\n",
        r#"{"model":"b","provider":"p"}"#,
        "\n",
        r#"{"text":"Hel"}"#,
        "\n",
        r#"{"text":"lo\n","reasoning":"hm"}"#,
        "\n",
    );

    #[test]
    fn a_whole_side_file_is_read() {
        let remains = parse(FILE.as_bytes());
        assert_eq!(remains.n, Some(2));
        assert_eq!(
            remains.delta,
            Delta {
                text: "Hello\n".into(),
                reasoning: "hm".into()
            }
        );
        assert_eq!(remains.identity.model.as_deref(), Some("b"));
        assert!(!remains.damaged);
    }

    #[test]
    fn a_cut_one_gives_what_was_whole() {
        for end in 0..FILE.len() {
            let remains = parse(&FILE.as_bytes()[..end]);
            assert!("Hello\n".starts_with(&remains.delta.text), "cut at {end}");
        }
        assert!(parse(&[0; 40]).damaged);
        assert_eq!(parse(b""), Remains::default());
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_odd(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            at in 0usize..400,
        ) {
            let _ = parse(&bytes);
            // In the middle of a sound file they cost at most the lines that they touch.
            let at = at.min(FILE.len());
            let mixed = [&FILE.as_bytes()[..at], &bytes, b"\n", &FILE.as_bytes()[at..]].concat();
            let read = parse(&mixed);
            prop_assert!(read.damaged || !read.delta.text.is_empty());
        }
    }
}
