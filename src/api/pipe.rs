//! The way of a response from the worker thread to the caller.
//!
//! Layer: `api`. Bytes are gathered in one buffer that the caller swaps for an empty one,
//! so a burst of small pieces costs one wake-up, and nothing is allocated once the two
//! buffers have grown.
//!
//! Promises: at most [`CAPACITY`] bytes wait, plus one read; dropping the [`Consumer`]
//! cancels the request at once; a [`Producer`] that is dropped early ends the response as
//! lost, so nobody waits for ever.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use tokio::sync::Notify;

use super::trouble::Trouble;

/// How many bytes may wait before the server is made to wait.
const CAPACITY: usize = 256 << 10;

/// How long the worker reads on after the caller is content, so that the connection can
/// serve the next turn. What comes then is the end of the chunked body, at once.
const DRAIN: Duration = Duration::from_millis(500);

/// The beginning of a response.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
}

/// What arrived.
#[derive(Debug)]
pub(super) enum Arrival {
    /// Nothing, in the time that the caller had.
    Nothing,
    Head(Head),
    /// Bytes of the body, now in the caller's buffer.
    Bytes,
    /// The end of the body.
    End,
    Failed(Trouble),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Interest {
    /// The caller reads.
    Reading,
    /// The caller has all it wants; what is left may be read and thrown away.
    Content,
    /// The caller is gone.
    Gone,
}

struct State {
    head: Option<Head>,
    bytes: Vec<u8>,
    end: Option<Result<(), Trouble>>,
    /// Whether the end has been told to somebody.
    ended: bool,
    /// Whether the caller sleeps until something arrives.
    asleep: bool,
    interest: Interest,
}

struct Shared {
    state: Mutex<State>,
    /// Something arrived.
    arrived: Condvar,
    /// The caller took bytes, or its interest changed.
    room: Notify,
    /// The caller's interest changed.
    interest: Notify,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // The state is whole between any two statements that change it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the caller if it sleeps. A wake-up is a system call whether anybody sleeps or
    /// not, and a burst is thousands of arrivals; it comes after the lock is free, or who
    /// wakes would go straight back to sleep on the lock.
    fn wake(&self, mut state: MutexGuard<'_, State>) {
        let asleep = std::mem::take(&mut state.asleep);
        drop(state);
        if asleep {
            self.arrived.notify_one();
        }
    }
}

/// The two ends of a new pipe.
pub(super) fn pipe() -> (Producer, Consumer) {
    let shared = Arc::new(Shared {
        state: Mutex::new(State {
            head: None,
            bytes: Vec::new(),
            end: None,
            ended: false,
            asleep: false,
            interest: Interest::Reading,
        }),
        arrived: Condvar::new(),
        room: Notify::new(),
        interest: Notify::new(),
    });
    (Producer(Arc::clone(&shared)), Consumer(shared))
}

/// The worker's end.
pub(super) struct Producer(Arc<Shared>);

impl Producer {
    /// Hands over the beginning.
    pub(super) fn head(&self, head: Head) {
        let mut state = self.0.state();
        state.head = Some(head);
        self.0.wake(state);
    }

    /// Hands over bytes, after waiting for room.
    pub(super) async fn bytes(&self, bytes: &[u8]) {
        loop {
            {
                let mut state = self.0.state();
                if state.interest != Interest::Reading {
                    return;
                }
                if state.bytes.len() < CAPACITY {
                    state.bytes.extend_from_slice(bytes);
                    self.0.wake(state);
                    return;
                }
            }
            self.0.room.notified().await;
        }
    }

    /// Hands over the end.
    pub(super) fn end(&self, end: Result<(), Trouble>) {
        let mut state = self.0.state();
        if !state.ended {
            state.ended = true;
            state.end = Some(end);
        }
        self.0.wake(state);
    }

    /// Returns as soon as reading on is pointless.
    pub(super) async fn unwanted(&self) {
        loop {
            // Not in the `match`: the lock must be free while waiting.
            let interest = self.0.state().interest;
            match interest {
                Interest::Reading => self.0.interest.notified().await,
                Interest::Content => {
                    tokio::time::sleep(DRAIN).await;
                    return;
                }
                Interest::Gone => return,
            }
        }
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.end(Err(Trouble::lost()));
    }
}

/// The caller's end. Dropping it cancels the request.
pub(super) struct Consumer(Arc<Shared>);

impl Consumer {
    /// Waits for the next thing, at most `patience`. `buffer` must be empty; it receives
    /// the bytes, and its memory is used for those that follow.
    pub(super) fn wait(&mut self, buffer: &mut Vec<u8>, patience: Duration) -> Arrival {
        let mut state = self.0.state();
        if !state.has_news() {
            let nothing = |state: &mut State| {
                state.asleep = !state.has_news();
                state.asleep
            };
            state = self
                .0
                .arrived
                .wait_timeout_while(state, patience, nothing)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
            state.asleep = false;
        }
        if let Some(head) = state.head.take() {
            return Arrival::Head(head);
        }
        if !state.bytes.is_empty() {
            std::mem::swap(&mut state.bytes, buffer);
            drop(state);
            self.0.room.notify_one();
            return Arrival::Bytes;
        }
        match state.end.take() {
            Some(Ok(())) => Arrival::End,
            Some(Err(trouble)) => Arrival::Failed(trouble),
            None => Arrival::Nothing,
        }
    }

    /// Lets the rest of the body be read and thrown away, to keep the connection.
    pub(super) fn content(self) {
        self.tell(Interest::Content);
    }

    fn tell(&self, interest: Interest) {
        let mut state = self.0.state();
        if state.interest == Interest::Reading {
            state.interest = interest;
            state.bytes = Vec::new();
            drop(state);
            self.0.interest.notify_one();
            self.0.room.notify_one();
        }
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.tell(Interest::Gone);
    }
}

impl State {
    fn has_news(&self) -> bool {
        self.head.is_some() || !self.bytes.is_empty() || self.end.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_producer_that_vanishes_ends_the_response() {
        let (producer, mut consumer) = pipe();
        let mut buffer = Vec::new();
        assert!(matches!(
            consumer.wait(&mut buffer, Duration::ZERO),
            Arrival::Nothing
        ));
        drop(producer);
        assert!(matches!(
            consumer.wait(&mut buffer, Duration::from_secs(60)),
            Arrival::Failed(_)
        ));
    }

    #[test]
    fn bytes_are_gathered_and_bounded() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let (producer, mut consumer) = pipe();
        let mut buffer = Vec::new();
        runtime.block_on(async {
            producer.bytes(b"ab").await;
            producer.bytes(&vec![b'c'; CAPACITY]).await;
            let full = tokio::time::timeout(Duration::from_millis(1), producer.bytes(b"d")).await;
            assert!(full.is_err(), "a full pipe makes the producer wait");
        });
        assert!(matches!(
            consumer.wait(&mut buffer, Duration::ZERO),
            Arrival::Bytes
        ));
        assert_eq!(buffer.len(), CAPACITY + 2);
        runtime.block_on(producer.bytes(b"d"));
        drop(consumer);
        runtime.block_on(producer.unwanted());
    }
}
