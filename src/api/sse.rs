//! Server-sent events, read incrementally.
//!
//! Layer: `api`; knows nothing of JSON replies. Follows the event-stream rules of the
//! WHATWG HTML standard (section 9.2.6), with one deviation: at the end of the stream an
//! event without its closing blank line is still delivered if it is whole in itself,
//! because some servers end with `data: [DONE]` and nothing after it.
//!
//! Promises: any split of the bytes over [`Parser::feed`] gives the same events; no
//! allocation per event once the buffers have grown; no event above the limit is held.

use std::borrow::Cow;

use serde::de::IgnoredAny;

/// The mark that ends a stream of chat completions.
pub const DONE: &str = "[DONE]";

/// The largest event that is read by default. A generated image arrives as one event.
pub const DEFAULT_LIMIT: usize = 16 << 20;

const BYTE_ORDER_MARK: [u8; 3] = [0xef, 0xbb, 0xbf];

/// What the stream says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A comment: a sign of life.
    Comment,
    /// An event.
    Message {
        /// Its `event` field; empty for an ordinary one.
        name: &'a str,
        /// Its `data` lines, joined by line feeds.
        data: &'a str,
    },
}

/// An event or a line is larger than the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLarge;

/// Splits a stream of bytes into events.
#[derive(Debug)]
pub struct Parser {
    /// The beginning of a line that is not whole yet.
    line: Vec<u8>,
    /// The `data` lines of the event so far, each but the first after a line feed.
    data: Vec<u8>,
    /// Whether the event has any `data` line; an empty one counts.
    has_data: bool,
    /// The `event` field so far.
    name: Vec<u8>,
    /// The last byte was a CR: a LF that follows belongs to it.
    after_cr: bool,
    /// How many bytes of a leading byte order mark were seen; 3 once that is settled.
    mark: usize,
    limit: usize,
}

impl Default for Parser {
    fn default() -> Self {
        Self::new(DEFAULT_LIMIT)
    }
}

impl Parser {
    /// A parser at the start of a stream that refuses events above `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self {
            line: Vec::new(),
            data: Vec::new(),
            has_data: false,
            name: Vec::new(),
            after_cr: false,
            mark: 0,
            limit,
        }
    }

    /// Reads on and hands every event that is now whole to `sink`.
    pub fn feed(&mut self, bytes: &[u8], mut sink: impl FnMut(Event<'_>)) -> Result<(), TooLarge> {
        let mut rest = self.skip_mark(bytes);
        loop {
            if self.after_cr && !rest.is_empty() {
                self.after_cr = false;
                rest = rest.strip_prefix(b"\n").unwrap_or(rest);
            }
            let Some(end) = memchr::memchr2(b'\n', b'\r', rest) else {
                break;
            };
            self.after_cr = rest[end] == b'\r';
            let piece = &rest[..end];
            rest = &rest[end + 1..];
            if self.line.is_empty() {
                // The same limit as for a line that arrives in pieces.
                if piece.len() > self.limit {
                    return Err(TooLarge);
                }
                self.take_line(piece, &mut sink)?;
            } else {
                self.hold(piece)?;
                // Taken out and put back so that its memory is used again.
                let line = std::mem::take(&mut self.line);
                let taken = self.take_line(&line, &mut sink);
                self.line = line;
                self.line.clear();
                taken?;
            }
        }
        self.hold(rest)
    }

    /// Ends the stream: delivers what is pending if it is whole in itself.
    pub fn finish(&mut self, mut sink: impl FnMut(Event<'_>)) -> Result<(), TooLarge> {
        let line = std::mem::take(&mut self.line);
        if !line.is_empty() {
            self.take_line(&line, &mut sink)?;
        }
        let pending = String::from_utf8_lossy(&self.data);
        let is_whole =
            pending.trim() == DONE || serde_json::from_str::<IgnoredAny>(&pending).is_ok();
        if self.has_data && is_whole {
            self.dispatch(&mut sink);
        }
        self.data.clear();
        self.name.clear();
        self.has_data = false;
        Ok(())
    }

    /// Drops a byte order mark at the very start, however it is split.
    fn skip_mark<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let mut rest = bytes;
        while self.mark < BYTE_ORDER_MARK.len() {
            let Some((&first, tail)) = rest.split_first() else {
                break;
            };
            if first == BYTE_ORDER_MARK[self.mark] {
                self.mark += 1;
                rest = tail;
            } else {
                // Not a mark after all: what looked like its beginning is content.
                self.line.extend_from_slice(&BYTE_ORDER_MARK[..self.mark]);
                self.mark = BYTE_ORDER_MARK.len();
            }
        }
        rest
    }

    fn hold(&mut self, piece: &[u8]) -> Result<(), TooLarge> {
        if self.line.len() + piece.len() > self.limit {
            return Err(TooLarge);
        }
        self.line.extend_from_slice(piece);
        Ok(())
    }

    /// One whole line, without its end.
    fn take_line(&mut self, line: &[u8], sink: &mut impl FnMut(Event<'_>)) -> Result<(), TooLarge> {
        if line.is_empty() {
            self.dispatch(sink);
            return Ok(());
        }
        let colon = memchr::memchr(b':', line);
        let (field, value) = match colon {
            Some(0) => {
                sink(Event::Comment);
                return Ok(());
            }
            Some(at) => (&line[..at], &line[at + 1..]),
            None => (line, &[][..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"data" => {
                if self.data.len() + value.len() >= self.limit {
                    return Err(TooLarge);
                }
                if self.has_data {
                    self.data.push(b'\n');
                }
                self.has_data = true;
                self.data.extend_from_slice(value);
            }
            b"event" => {
                self.name.clear();
                self.name.extend_from_slice(value);
            }
            // `id` and `retry` are for reconnecting, which a POST must not do: it would be
            // answered, and billed, twice. Other fields are ignored by the standard.
            _ => {}
        }
        Ok(())
    }

    fn dispatch(&mut self, sink: &mut impl FnMut(Event<'_>)) {
        if self.has_data {
            // Lines are split before decoding. That is safe because no byte of a multi-byte
            // character, valid or not, is a CR or LF.
            let name = decoded(&self.name);
            let data = decoded(&self.data);
            sink(Event::Message {
                name: &name,
                data: &data,
            });
        }
        self.data.clear();
        self.name.clear();
        self.has_data = false;
    }
}

/// Text that is nearly always valid: `from_utf8` finds that out several times faster than
/// `from_utf8_lossy`, which looks at one byte after the other.
fn decoded(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => String::from_utf8_lossy(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Every event as text; a comment is `:`.
    fn events(pieces: &[&[u8]]) -> Vec<String> {
        let mut parser = Parser::default();
        let mut out = Vec::new();
        let mut sink = |event: Event<'_>| match event {
            Event::Comment => out.push(":".to_owned()),
            Event::Message { name: "", data } => out.push(data.to_owned()),
            Event::Message { name, data } => out.push(format!("{name}={data}")),
        };
        for piece in pieces {
            parser.feed(piece, &mut sink).unwrap();
        }
        parser.finish(&mut sink).unwrap();
        out
    }

    #[test]
    fn the_rules_of_the_standard() {
        for (stream, expected) in [
            (&b"data: a\n\ndata: b\n\n"[..], &["a", "b"][..]),
            (b"data:a\r\n\r\ndata:  b\r\rdata: c\n\n", &["a", " b", "c"]),
            (b"data: a\ndata: b\ndata\n\n", &["a\nb\n"]),
            (b"data\n\n", &[""]),
            (b": hi\n\n:\ndata: a\n\n", &[":", ":", "a"]),
            (b"event: error\ndata: a\n\n", &["error=a"]),
            (b"event: x\n\ndata: a\n\n", &["a"]),
            (b"id: 1\nretry: 5\nother: z\nnocolon\ndata: a\n\n", &["a"]),
            (b"\xef\xbb\xbfdata: a\n\n", &["a"]),
            (b"\xef\xbbdata: a\n\n", &[]),
            (b"data: \xef\xbb\xbfa\n\n", &["\u{feff}a"]),
            (b"data: a\xffb\xf0\x9f\n\n", &["a\u{fffd}b\u{fffd}"]),
            (b"\n\n\n", &[]),
            (b"dataa: x\n\ndat: y\n\n Data: z\n\n", &[]),
        ] {
            assert_eq!(events(&[stream]), expected, "{}", stream.escape_ascii());
        }
    }

    #[test]
    fn an_unfinished_event_counts_only_if_it_is_whole() {
        assert_eq!(events(&[b"data: [DONE]"]), ["[DONE]"]);
        assert_eq!(events(&[b"data: [DONE]\n"]), ["[DONE]"]);
        assert_eq!(events(&[b"data: {\"a\":1}"]), ["{\"a\":1}"]);
        assert!(events(&[b"data: {\"a\":"]).is_empty());
        assert!(events(&[b"data: text"]).is_empty());
        assert!(events(&[b"event: x"]).is_empty());
    }

    #[test]
    fn too_large_is_an_error_wherever_it_grows() {
        let one_line = [b"data: ".as_slice(), &[b'x'; 100]].concat();
        assert_eq!(Parser::new(50).feed(&one_line, |_| {}), Err(TooLarge));
        let many = b"data: xxxxxxxxxx\n".repeat(10);
        assert_eq!(Parser::new(50).feed(&many, |_| {}), Err(TooLarge));
        assert_eq!(Parser::new(200).feed(&many, |_| {}), Ok(()));
    }

    /// Text made of the bytes that matter.
    fn stream() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            Just(b"data: ".to_vec()),
            Just(b"data:".to_vec()),
            Just(b"event: e".to_vec()),
            Just(b": c".to_vec()),
            Just(b"\n".to_vec()),
            Just(b"\r".to_vec()),
            Just(b"\r\n\r\n".to_vec()),
            Just(b"\n\n".to_vec()),
            Just("é🙂".as_bytes().to_vec()),
            Just(BYTE_ORDER_MARK.to_vec()),
            Just(b"[DONE]".to_vec()),
            prop::collection::vec(any::<u8>(), 0..4),
        ];
        prop::collection::vec(piece, 0..30).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_events(bytes in stream(), cuts in prop::collection::vec(0usize..120, 0..8)) {
            let whole = events(&[&bytes]);
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            prop_assert_eq!(&events(&single), &whole);
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]).collect();
            prop_assert_eq!(&events(&pieces), &whole);
        }
    }
}
