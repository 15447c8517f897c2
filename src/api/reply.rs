//! A reply in the making: tries, limits, and the response as it arrives.
//!
//! Layer: `api`. Runs on the caller's thread; only the connection lives elsewhere. Promises:
//! [`Reply::next`] never blocks longer than the caller's patience, nothing is tried again
//! after the first piece was handed out, and dropping the reply closes the connection.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::model::error::{Error, Kind};
use crate::model::gate::{Passage, Permit, Wait};
use crate::model::reply::{Finish, Identity, Progress, ReplyStream};

use super::client::Shared;
use super::failure::{Context, Failure, Retry};
use super::pipe::{Arrival, Consumer, Head};
use super::request::Body;
use super::response::{Fed, Response};
use super::retry::in_words;
use super::transport::post;
use super::trouble::Trouble;

/// The path of the endpoint, below the base URL.
const PATH: &str = "/chat/completions";

/// How long usage may follow after the server said why it stopped. A server that neither
/// marks the end nor closes the connection must not hold a complete reply back.
const GRACE: Duration = Duration::from_secs(5);

enum Phase {
    /// A request is under way.
    Trying(Consumer),
    /// Between two tries, until this time.
    Resting(Duration),
    /// Done.
    Over,
}

/// A candidate: the model, and its request.
struct Candidate {
    model: String,
    request: reqwest::Request,
}

/// Implements [`ReplyStream`] over HTTP.
pub struct Reply {
    shared: Arc<Shared>,
    /// The models to try, the current one first.
    candidates: VecDeque<Candidate>,
    phase: Phase,
    /// The response to this try.
    response: Response,
    /// Receives bytes from the pipe; empty between two calls.
    buffer: Vec<u8>,
    pending: VecDeque<Progress>,
    /// When it all began, when this try began, when a byte and when an event last came.
    began: Duration,
    tried: Duration,
    heard: Duration,
    learned: Duration,
    /// Tries after the first, of this model.
    retries: u32,
    /// Whether the one retry for replies that are empty was used.
    retried_once: bool,
    /// A place behind the gate, while a request is under way.
    permit: Option<Permit>,
    /// Whether the person knows that there is a wait in front of the gate.
    told: bool,
}

impl Reply {
    pub(super) fn new(shared: Arc<Shared>, bodies: Vec<Body>) -> Self {
        let url = shared.endpoint.base_url.join(PATH);
        let mut trouble = None;
        let mut candidates = VecDeque::with_capacity(bodies.len());
        for body in bodies {
            match post(&url, body.json) {
                Ok(request) => candidates.push_back(Candidate {
                    model: body.model,
                    request,
                }),
                Err(error) => trouble = Some(error),
            }
        }
        let now = shared.clock.elapsed();
        let largest_piece = shared.endpoint.largest_piece();
        let mut reply = Self {
            shared,
            candidates,
            phase: Phase::Over,
            response: Response::new(largest_piece),
            buffer: Vec::new(),
            pending: VecDeque::new(),
            began: now,
            tried: now,
            heard: now,
            learned: now,
            retries: 0,
            retried_once: false,
            permit: None,
            told: false,
        };
        match trouble {
            Some(trouble) => {
                let failure = trouble.into_failure(&reply.context());
                reply.give_up(failure.error);
            }
            None => reply.try_now(),
        }
        reply
    }

    fn context(&self) -> Context<'_> {
        context(&self.shared, &self.candidates)
    }

    /// Whether the gate lets a request through now; if not, the phase is another.
    fn pass_gate(&mut self) -> bool {
        let Some(gate) = self.shared.gate.as_ref().filter(|_| self.permit.is_none()) else {
            return true;
        };
        let wait = match gate.poll() {
            Passage::Open(permit) => {
                self.permit = Some(permit);
                return true;
            }
            Passage::Wait(wait) => wait,
        };
        let until = self.shared.clock.elapsed().saturating_add(wait.time);
        let total = self.shared.endpoint.limits.total;
        if total.is_some_and(|total| until > self.began + total) {
            self.give_up(too_busy(&wait));
            return false;
        }
        if !std::mem::replace(&mut self.told, true) {
            let time = in_words(wait.time.max(Duration::from_secs(1)));
            let notice = format!("{}: waiting for {time}", wait.why);
            self.pending.push_back(Progress::Notice(notice));
        }
        self.phase = Phase::Resting(until);
        false
    }

    /// Sends the request of the current candidate, if the gate is open.
    fn try_now(&mut self) {
        if !self.pass_gate() {
            return;
        }
        // A body of bytes can always be cloned; there is a candidate until the end.
        let request = self
            .candidates
            .front()
            .and_then(|candidate| candidate.request.try_clone());
        let Some(request) = request else {
            self.give_up(Error::new(Kind::Bug, "there is no request to send"));
            return;
        };
        let now = self.shared.clock.elapsed();
        self.tried = now;
        self.heard = now;
        self.learned = now;
        self.response = Response::new(self.shared.endpoint.largest_piece());
        self.phase = Phase::Trying(self.shared.worker().send(request));
    }

    /// The next limit to pass, and what it means to pass it.
    fn limit(&self) -> (Duration, Limit) {
        let limits = &self.shared.endpoint.limits;
        let mut nearest = if self.response.is_awaited() {
            (self.tried + limits.first_byte, Limit::FirstByte)
        } else if self.response.is_finished() {
            // From the last event, or comments could hold the end back for ever.
            (self.learned + GRACE.min(limits.idle), Limit::Grace)
        } else {
            let idle = (self.heard + limits.idle, Limit::Idle);
            let data = (self.learned + limits.data_idle, Limit::DataIdle);
            if data.0 < idle.0 { data } else { idle }
        };
        if let Some(total) = limits.total {
            let total = (self.began + total, Limit::Total);
            if total.0 < nearest.0 {
                nearest = total;
            }
        }
        nearest
    }

    fn limit_passed(&mut self, limit: Limit) {
        let limits = self.shared.endpoint.limits;
        let (why, wait, setting) = match limit {
            Limit::Grace => {
                let context = context(&self.shared, &self.candidates);
                let ended = self.response.enough(&context);
                self.settle(ended);
                return;
            }
            Limit::FirstByte => (
                "the server did not begin to answer",
                limits.first_byte,
                "timeouts.first_byte_seconds",
            ),
            Limit::Idle => (
                "the server fell silent",
                limits.idle,
                "timeouts.idle_seconds",
            ),
            Limit::DataIdle => (
                "the server sends signs of life but no text",
                limits.data_idle,
                "timeouts.data_idle_seconds",
            ),
            Limit::Total => (
                "the time that was allowed is over",
                limits.total.unwrap_or_default(),
                "--max-time or timeouts.total_seconds",
            ),
        };
        if self.response.has_content() {
            self.cut(why);
            return;
        }
        let error = Error::new(Kind::Unavailable, "there is no reply")
            .why(format!("{why} within {}", in_words(wait)))
            .hint(format!(
                "try again later, or allow more time with {setting}"
            ));
        // Not tried again: the time that the person allows is used up.
        self.give_up(error);
    }

    /// Decides what follows a failure: another try, another model, or the end.
    fn fail(&mut self, failure: Failure) {
        if self.response.has_content() {
            self.give_up(failure.error);
            return;
        }
        if let Some(wait) = self.wait_before_retry(failure.retry) {
            self.retried_once |= failure.retry == Retry::Once;
            self.retries += 1;
            self.pending.push_back(Progress::Notice(format!(
                "{}: trying again in {}",
                failure.announcement,
                in_words(wait)
            )));
            self.phase = Phase::Resting(self.shared.clock.elapsed().saturating_add(wait));
            self.permit = None;
            return;
        }
        let longest = self.shared.endpoint.retry.longest_wait;
        self.try_next_model(match failure.retry {
            Retry::After(wait) => Failure {
                error: asked_to_wait(failure.error, wait, longest),
                ..failure
            },
            _ => failure,
        });
    }

    /// How long to wait before another try; `None` if there is to be none.
    fn wait_before_retry(&self, retry: Retry) -> Option<Duration> {
        let policy = &self.shared.endpoint.retry;
        let limits = &self.shared.endpoint.limits;
        let random = self.shared.random.as_ref();
        let used = self.shared.clock.elapsed().saturating_sub(self.began);
        let left = self.retries < policy.retries;
        let (allowed, wait) = match retry {
            Retry::Never => (false, Duration::ZERO),
            Retry::Once => (!self.retried_once, policy.delay(0, random)),
            Retry::Later => (left, policy.delay(self.retries, random)),
            Retry::After(wait) => (left && wait <= policy.longest_wait, wait),
            // Not counted: a model takes as long to load as it takes.
            Retry::Loading => (used <= limits.first_byte, policy.base),
        };
        let until = used.saturating_add(wait);
        let in_budget = retry == Retry::Loading || until <= policy.budget;
        let in_total = limits.total.is_none_or(|total| until <= total);
        (policy.retries > 0 && allowed && in_budget && in_total).then_some(wait)
    }

    fn try_next_model(&mut self, failure: Failure) {
        if !failure.other_model || self.candidates.len() < 2 {
            let tries = self.retries + 1;
            self.give_up(match failure.error.cause_text() {
                None if tries > 1 => failure.error.cause(format!("tried {tries} times")),
                _ => failure.error,
            });
            return;
        }
        let failed = self.candidates.pop_front();
        let notice = format!(
            "{}: falling back from {} to {}",
            failure.error.headline(),
            failed.map_or_else(String::new, |candidate| candidate.model),
            self.candidates
                .front()
                .map_or("", |candidate| candidate.model.as_str()),
        );
        self.pending.push_back(Progress::Notice(notice));
        self.retries = 0;
        self.retried_once = false;
        self.try_now();
    }

    /// Ends with an error; what has arrived before it is handed out first.
    fn give_up(&mut self, error: Error) {
        self.hand_out();
        let finish = self.response.failed(error);
        self.phase = Phase::Over;
        self.permit = None;
        self.pending.push_back(Progress::Done(Box::new(finish)));
    }

    /// Queues the text that has arrived.
    fn hand_out(&mut self) {
        if self.response.has_news() {
            self.pending
                .push_back(Progress::Delta(self.response.take()));
        }
    }

    /// Nothing more comes, or nothing more matters.
    fn settle(&mut self, ended: Result<Finish, Failure>) {
        self.hand_out();
        match ended {
            Ok(finish) => {
                self.phase = Phase::Over;
                self.permit = None;
                self.pending.push_back(Progress::Done(Box::new(finish)));
            }
            Err(failure) => self.fail(failure),
        }
    }

    /// The reply ended by itself, so the connection is good for another one.
    fn settle_in_peace(&mut self, ended: Result<Finish, Failure>) {
        if ended.is_ok()
            && let Phase::Trying(consumer) = std::mem::replace(&mut self.phase, Phase::Over)
        {
            consumer.content();
        }
        self.settle(ended);
    }

    /// The reply does not come to its end.
    fn cut(&mut self, why: &'static str) {
        let context = context(&self.shared, &self.candidates);
        let ended = self.response.cut(why, &context);
        self.settle(ended);
    }

    fn arrived(&mut self, arrival: Arrival) {
        match arrival {
            Arrival::Nothing => {}
            Arrival::Head(head) => self.head(head),
            Arrival::Bytes => self.bytes(),
            Arrival::End => {
                let context = context(&self.shared, &self.candidates);
                let ended = self.response.end(&context);
                self.settle_in_peace(ended);
            }
            Arrival::Failed(trouble) => self.troubled(trouble),
        }
    }

    fn troubled(&mut self, trouble: Trouble) {
        if self.response.is_awaited() {
            let failure = trouble.into_failure(&self.context());
            self.fail(failure);
        } else {
            self.cut(trouble.cut());
        }
    }

    fn head(&mut self, head: Head) {
        let now = self.shared.clock.elapsed();
        self.heard = now;
        self.learned = now;
        self.response.head(head.status.as_u16(), head.headers);
    }

    /// Reads what the pipe put into the buffer.
    fn bytes(&mut self) {
        self.heard = self.shared.clock.elapsed();
        let context = context(&self.shared, &self.candidates);
        let fed = self.response.feed(&self.buffer, &context);
        self.buffer.clear();
        match fed {
            Fed::More { heartbeat, news } => {
                if news {
                    self.learned = self.heard;
                }
                if heartbeat && !self.response.has_news() {
                    self.pending.push_back(Progress::Heartbeat);
                }
                self.hand_out();
            }
            Fed::Ended(ended) => self.settle_in_peace(ended),
        }
    }
}

/// What messages about a failure are made from. Not a method, so that the response can be
/// changed meanwhile.
fn context<'a>(shared: &'a Shared, candidates: &'a VecDeque<Candidate>) -> Context<'a> {
    let model = candidates
        .front()
        .map_or("", |candidate| candidate.model.as_str());
    shared.endpoint.context(model, shared.clock.as_ref())
}

/// The error of who does not wait in front of a gate.
pub fn too_busy(wait: &Wait) -> Error {
    Error::new(Kind::Busy, "the request has to wait")
        .why(format!(
            "{}; there is room in {}",
            wait.why,
            in_words(wait.time)
        ))
        .hint("try again then, or let it wait: leave out --no-wait and --max-time")
}

/// A limit that was passed.
#[derive(Clone, Copy)]
enum Limit {
    FirstByte,
    Idle,
    DataIdle,
    Grace,
    Total,
}

/// An error with the time that the server asks to wait; beyond the longest wait it is
/// about time and nothing else.
fn asked_to_wait(error: Error, wait: Duration, longest: Duration) -> Error {
    let kind = if wait > longest {
        Kind::Busy
    } else {
        error.kind()
    };
    error
        .with_kind(kind)
        .hint(format!("the server asks to wait {}", in_words(wait)))
}

impl ReplyStream for Reply {
    fn next(&mut self, patience: Duration) -> Progress {
        let give_up = self.shared.clock.elapsed().saturating_add(patience);
        loop {
            if let Some(progress) = self.pending.pop_front() {
                return progress;
            }
            let now = self.shared.clock.elapsed();
            match self.phase {
                Phase::Over => {
                    let error = Error::new(Kind::Bug, "the reply is already over");
                    return Progress::Done(Box::new(Finish::failed(error)));
                }
                Phase::Resting(until) if now >= until => self.try_now(),
                Phase::Resting(until) => {
                    let clock = Arc::clone(&self.shared.clock);
                    clock.sleep(until.min(give_up).saturating_sub(now));
                    if until > give_up {
                        return Progress::Idle;
                    }
                }
                Phase::Trying(_) => {
                    let (at, limit) = self.limit();
                    let wait = at.min(give_up).saturating_sub(now);
                    let mut buffer = std::mem::take(&mut self.buffer);
                    let arrival = match &mut self.phase {
                        Phase::Trying(consumer) => consumer.wait(&mut buffer, wait),
                        _ => Arrival::Nothing,
                    };
                    self.buffer = buffer;
                    if let Arrival::Nothing = arrival {
                        if self.shared.clock.elapsed() < at {
                            return Progress::Idle;
                        }
                        self.limit_passed(limit);
                    } else {
                        self.arrived(arrival);
                        // A comment that comes and comes must not hide a stall.
                        let (at, limit) = self.limit();
                        let still_trying = matches!(self.phase, Phase::Trying(_));
                        if still_trying && self.shared.clock.elapsed() >= at {
                            self.limit_passed(limit);
                        }
                    }
                }
            }
        }
    }

    fn identity(&self) -> &Identity {
        self.response.identity()
    }
}
