//! A response as it is read: bytes go in, pieces of the reply come out, and in the end it is
//! known how the reply ended.
//!
//! Layer: `api`; no I/O and no time, so a test or a fuzzer can feed it like the network does.
//! Promise: however the bytes are split over [`Response::feed`], the outcome is the same.

use reqwest::header::{CONTENT_TYPE, HeaderMap};

use crate::model::error::{Error, Kind};
use crate::model::reply::{Delta, Finish, Identity};
use crate::model::size::ByteSize;

use super::assembly::{Assembly, Ending};
use super::failure::{self, Context, Failure, Retry};
use super::reading::{Read, Reading};
use super::sse;

/// What feeding some bytes came to.
#[derive(Debug)]
pub enum Fed {
    /// More may come.
    More {
        /// Whether there was a comment.
        heartbeat: bool,
        /// Whether there was anything but comments.
        news: bool,
    },
    /// Nothing that follows can change the end.
    Ended(Result<Finish, Failure>),
}

/// One response.
pub struct Response {
    reading: Reading,
    assembly: Assembly,
    /// The largest piece that is read, in bytes.
    largest: usize,
}

impl Default for Response {
    fn default() -> Self {
        Self::new(sse::DEFAULT_LIMIT)
    }
}

impl Response {
    /// A response of which nothing has arrived, and no piece above this size is read.
    pub fn new(largest: usize) -> Self {
        Self {
            reading: Reading::default(),
            assembly: Assembly::default(),
            largest,
        }
    }

    /// Takes the beginning.
    pub fn head(&mut self, status: u16, headers: HeaderMap) {
        let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
        if let Some(id) = header("x-generation-id") {
            self.assembly.note_generation(id);
        }
        let is_page = header(CONTENT_TYPE.as_str()).is_some_and(|kind| {
            kind.trim_start()
                .get(..9)
                .is_some_and(|kind| kind.eq_ignore_ascii_case("text/html"))
        });
        self.reading = if (200..300).contains(&status) {
            Reading::unknown(is_page)
        } else {
            Reading::Refusal(status, headers, Vec::new())
        };
    }

    /// Takes bytes of the body.
    pub fn feed(&mut self, bytes: &[u8], context: &Context<'_>) -> Fed {
        match self.reading.read(bytes, self.largest, &mut self.assembly) {
            Read::On { heartbeat, news } => Fed::More { heartbeat, news },
            Read::Over => Fed::Ended(self.assembly.conclude(Ending::Marked, context)),
            Read::EndOfBody => Fed::Ended(self.end(context)),
            Read::Foreign => Fed::Ended(Err(foreign(context))),
            Read::TooLarge => Fed::Ended(Err(Failure::new(self.too_large(), Retry::Never))),
        }
    }

    fn too_large(&self) -> Error {
        let error = Error::new(Kind::Incomplete, "the reply is too large");
        if self.largest < sse::DEFAULT_LIMIT {
            let limit = ByteSize(self.largest as u64);
            return error
                .why(format!(
                    "one piece of it has more than the {limit} that limits.memory_mb allows"
                ))
                .hint(failure::ALLOW_MORE_MEMORY);
        }
        let limit = sse::DEFAULT_LIMIT >> 20;
        error.why(format!("one piece of it has more than {limit} MiB"))
    }

    /// The body is at its end.
    pub fn end(&mut self, context: &Context<'_>) -> Result<Finish, Failure> {
        let ending = match std::mem::take(&mut self.reading) {
            Reading::Refusal(status, headers, body) => {
                return Err(failure::of_response(status, &headers, &body, context));
            }
            Reading::Whole(body) if self.assembly.whole(&String::from_utf8_lossy(&body)) => {
                Ending::Marked
            }
            Reading::Whole(_) => return Err(foreign(context)),
            Reading::Events(mut parser) => {
                let assembly = &mut self.assembly;
                // What is pending was within the limit when it was taken in.
                let _ = parser.finish(|event| {
                    if let sse::Event::Message { name, data } = event {
                        assembly.event(name, data);
                    }
                });
                if self.assembly.is_over() {
                    Ending::Marked
                } else {
                    Ending::Closed
                }
            }
            Reading::Waiting | Reading::Unknown { .. } => Ending::Closed,
        };
        self.assembly.conclude(ending, context)
    }

    /// Nothing more comes though the body is not at its end; why, in a few words.
    pub fn cut(&mut self, why: &'static str, context: &Context<'_>) -> Result<Finish, Failure> {
        if let Reading::Refusal(..) = self.reading {
            // What was read of a refusal says more than that the rest of it is missing.
            return self.end(context);
        }
        self.assembly.conclude(Ending::Broken(why), context)
    }

    /// Nothing more is waited for, after the server said why the reply is over.
    pub(super) fn enough(&mut self, context: &Context<'_>) -> Result<Finish, Failure> {
        self.assembly.conclude(Ending::Closed, context)
    }

    /// The end of a reply that failed for good.
    pub fn failed(&mut self, error: Error) -> Finish {
        let error = if self.has_content() {
            midway(error)
        } else {
            error
        };
        let mut finish = Finish::failed(error);
        self.assembly.fill(&mut finish);
        finish
    }

    /// What has arrived since the last call.
    pub fn take(&mut self) -> Delta {
        std::mem::take(&mut self.assembly.delta)
    }

    /// Whether something has arrived that was not taken.
    pub(super) fn has_news(&self) -> bool {
        !self.assembly.delta.is_empty()
    }

    /// Whether there is nothing of it yet, not even its beginning.
    pub(super) fn is_awaited(&self) -> bool {
        matches!(self.reading, Reading::Waiting)
    }

    /// Whether the server has said why the reply is over.
    pub(super) fn is_finished(&self) -> bool {
        self.assembly.is_finished()
    }

    /// Whether any of the reply has arrived, reasoning included.
    pub fn has_content(&self) -> bool {
        self.assembly.has_content()
    }

    /// Who answers, as far as is known now.
    pub fn identity(&self) -> &Identity {
        self.assembly.identity()
    }
}

fn foreign(context: &Context<'_>) -> Failure {
    Failure::new(failure::not_an_api(context), Retry::Never)
}

/// An error after some of the reply has arrived.
fn midway(error: Error) -> Error {
    if error.kind() == Kind::Incomplete {
        return error;
    }
    let made = Error::new(Kind::Incomplete, "the reply failed midway").why(error.headline());
    match error.hint_text() {
        Some(hint) => made.hint(hint),
        None => made,
    }
}
