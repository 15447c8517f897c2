//! What goes into the log, and when: a line for each request to a server, and one for each
//! change that somebody may want to trace.
//!
//! Layer: ops. Promise: what is written here holds no secret, and writing it cannot fail.

use std::time::Duration;

use crate::model::base_url::BaseUrl;
use crate::model::error::{Error, Kind, Result};
use crate::model::log_line::{Asked, Audit, Event, Exchange};
use crate::model::reply::{Figures, State, Usage};
use crate::store::log::Log;

use super::turn::{Ask, Keeper, Outcome};

/// Writes the line of a request for a reply, however it ended.
pub fn reply(
    log: &Log,
    server: &BaseUrl,
    ask: &Ask,
    keeper: &Keeper,
    answered: &Result<Outcome>,
    took: Duration,
) {
    let conversation = match keeper {
        Keeper::Stored(writer) => Some(writer.conversation.id().to_string()),
        Keeper::Memory(_) => None,
    };
    let mut exchange = Exchange {
        conversation,
        model: ask.models.first().cloned(),
        ..exchange(Asked::Reply, server, took)
    };
    match answered {
        Ok(Outcome { reply, error, .. }) => {
            let usage = reply.usage.as_ref();
            let figures = usage.map_or_else(Figures::default, Usage::figures);
            exchange.answered.clone_from(&reply.model);
            exchange.state = reply.state.unwrap_or(State::Error);
            exchange.first_byte_ms = reply.latency_ms.and_then(|latency| latency.first_byte);
            exchange.prompt_tokens = figures.prompt_tokens;
            exchange.completion_tokens = figures.completion_tokens;
            exchange.cost = reply.cost;
            exchange.fail(error.as_ref());
        }
        Err(error) => {
            exchange.state = State::Error;
            exchange.fail(Some(error));
        }
    }
    record(log, exchange);
}

/// Writes the line of a request for the list of models.
pub fn models<T>(log: &Log, server: &BaseUrl, fetched: &Result<T>, took: Duration) {
    let mut exchange = exchange(Asked::Models, server, took);
    if let Err(error) = fetched {
        exchange.state = State::Error;
        exchange.fail(Some(error));
    }
    record(log, exchange);
}

/// Writes down a change.
pub fn audit(log: &Log, change: Audit) {
    log.record(log::Level::Info, Event::Audit(change));
}

/// Writes down why a command failed, if somebody may ask later: not what was only mistyped,
/// and not what has its own line already.
pub fn failure(log: &Log, error: &Error) {
    let fleeting = matches!(
        error.kind(),
        Kind::Closed
            | Kind::No
            | Kind::Usage
            | Kind::NotFound
            | Kind::Interrupted
            | Kind::Terminated
    );
    if !fleeting {
        log.record_failure("pachat", &error.headline());
    }
}

fn exchange(asked: Asked, server: &BaseUrl, took: Duration) -> Exchange {
    let origin = server.origin();
    let host = origin.split_once("://").map_or(&*origin, |(_, host)| host);
    Exchange {
        asked,
        conversation: None,
        host: host.to_owned(),
        model: None,
        answered: None,
        state: State::Complete,
        exit_code: 0,
        first_byte_ms: None,
        total_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        prompt_tokens: None,
        completion_tokens: None,
        cost: None,
        error: None,
    }
}

impl Exchange {
    fn fail(&mut self, error: Option<&Error>) {
        self.exit_code = error.map_or(0, |error| error.kind().code());
        self.error = error.map(Error::headline);
    }
}

fn record(log: &Log, exchange: Exchange) {
    log.record(exchange.level(), Event::Exchange(Box::new(exchange)));
}
