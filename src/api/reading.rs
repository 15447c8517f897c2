//! The body of a response: what it turns out to be, and what is in it.
//!
//! Layer: `api`; no I/O and no time.

use reqwest::header::HeaderMap;

use super::assembly::Assembly;
use super::sse::{self, Event, Parser};

/// How much of an error body is read.
const LARGEST_ERROR: usize = 256 << 10;

/// How the body of a response is read.
pub(super) enum Reading {
    /// No response yet.
    Waiting,
    /// A refusal: status, headers, and the body so far.
    Refusal(u16, HeaderMap, Vec<u8>),
    /// Not a byte yet that tells what it is; whether it is announced as a web page.
    Unknown(bool),
    /// An event stream.
    Events(Box<Parser>),
    /// A reply in one piece.
    Whole(Vec<u8>),
}

/// What reading some bytes came to.
pub(super) enum Read {
    /// More may come.
    On {
        /// Whether there was a comment.
        heartbeat: bool,
        /// Whether there was anything but comments.
        news: bool,
    },
    /// Nothing that follows can change the end.
    Over,
    /// Enough was read; the rest of the body does not matter.
    EndOfBody,
    /// What answers does not speak the protocol.
    Foreign,
    /// A piece is above the limit.
    TooLarge,
}

impl Default for Read {
    fn default() -> Self {
        Self::On {
            heartbeat: false,
            news: false,
        }
    }
}

impl Reading {
    /// Reads on.
    pub(super) fn read(&mut self, bytes: &[u8], assembly: &mut Assembly) -> Read {
        if let Self::Unknown(is_page) = self {
            // The first byte tells more than the media type, which servers get wrong.
            let Some(first) = bytes.iter().find(|byte| !byte.is_ascii_whitespace()) else {
                return Read::default();
            };
            *self = match first {
                b'<' => return Read::Foreign,
                b'{' | b'[' => Self::Whole(Vec::new()),
                _ if *is_page => return Read::Foreign,
                _ => Self::Events(Box::default()),
            };
        }
        match self {
            Self::Refusal(_, _, body) => {
                let room = LARGEST_ERROR.saturating_sub(body.len());
                body.extend_from_slice(&bytes[..bytes.len().min(room)]);
                if body.len() >= LARGEST_ERROR {
                    return Read::EndOfBody;
                }
                Read::default()
            }
            Self::Whole(body) => {
                if body.len() + bytes.len() > sse::DEFAULT_LIMIT {
                    return Read::TooLarge;
                }
                body.extend_from_slice(bytes);
                Read::On {
                    heartbeat: false,
                    news: true,
                }
            }
            Self::Events(parser) => events(parser, bytes, assembly),
            Self::Waiting | Self::Unknown(_) => Read::default(),
        }
    }
}

fn events(parser: &mut Parser, bytes: &[u8], assembly: &mut Assembly) -> Read {
    let mut heartbeat = false;
    let mut news = false;
    let fed = parser.feed(bytes, |event| match event {
        Event::Comment => heartbeat = true,
        Event::Message { name, data } => {
            news = true;
            assembly.event(name, data);
        }
    });
    match fed {
        // What came before it may have ended the reply already.
        _ if assembly.is_over() => Read::Over,
        Err(sse::TooLarge) => Read::TooLarge,
        Ok(()) => Read::On { heartbeat, news },
    }
}
