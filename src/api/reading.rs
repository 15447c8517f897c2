//! The body of a response: what it turns out to be, and what is in it.
//!
//! Layer: `api`; no I/O and no time.

use reqwest::header::HeaderMap;

use super::assembly::Assembly;
use super::sse::{self, Event, Parser};

/// How much of an error body is read.
const LARGEST_ERROR: usize = 256 << 10;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// How the body of a response is read.
#[derive(Default)]
pub(super) enum Reading {
    /// No response yet.
    #[default]
    Waiting,
    /// A refusal: status, headers, and the body so far.
    Refusal(u16, HeaderMap, Vec<u8>),
    /// Not a byte yet that tells what it is.
    Unknown {
        /// Whether it is announced as a web page.
        is_page: bool,
        /// What has arrived: white space, or a byte order mark.
        held: Vec<u8>,
    },
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
    /// A body of which nothing has arrived.
    pub(super) fn unknown(is_page: bool) -> Self {
        Self::Unknown {
            is_page,
            held: Vec::new(),
        }
    }

    /// Reads on. No piece above `largest` bytes is held.
    pub(super) fn read(&mut self, bytes: &[u8], largest: usize, assembly: &mut Assembly) -> Read {
        let Self::Unknown { is_page, held } = self else {
            return self.read_known(bytes, largest, assembly);
        };
        // The first byte tells more than the media type, which servers get wrong.
        held.extend_from_slice(bytes);
        if held.len() < BYTE_ORDER_MARK.len() && BYTE_ORDER_MARK.starts_with(held) {
            return Read::default();
        }
        let visible = held.strip_prefix(BYTE_ORDER_MARK).unwrap_or(held);
        let blank = visible
            .iter()
            .take_while(|byte| byte.is_ascii_whitespace())
            .count();
        let next = match visible.get(blank) {
            _ if blank > LARGEST_ERROR => return Read::Foreign,
            None => return Read::default(),
            Some(b'<') => return Read::Foreign,
            Some(b'{' | b'[') => Self::Whole(Vec::new()),
            Some(_) if *is_page => return Read::Foreign,
            Some(_) => Self::Events(Box::new(Parser::new(largest))),
        };
        // All of it counts: a space before a field makes it another field.
        let held = std::mem::take(held);
        *self = next;
        self.read_known(&held, largest, assembly)
    }

    fn read_known(&mut self, bytes: &[u8], largest: usize, assembly: &mut Assembly) -> Read {
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
                if body.len() + bytes.len() > largest {
                    return Read::TooLarge;
                }
                body.extend_from_slice(bytes);
                Read::On {
                    heartbeat: false,
                    news: true,
                }
            }
            Self::Events(parser) => events(parser, bytes, assembly),
            Self::Waiting | Self::Unknown { .. } => Read::default(),
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
