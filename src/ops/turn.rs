//! A turn: a prompt that is on disk gets its reply.
//!
//! Invariants, in the order of a turn:
//! 1. The prompt is synced before the request leaves (by [`Writer::create`] or
//!    [`Writer::prompt`], before [`answer`] is called).
//! 2. A piece of the reply is in the side file before it is shown.
//! 3. The reply is appended with the state it ended in, synced, and only then is the side
//!    file removed.
//!
//! So at any instant, what was shown is in the conversation or in the side file.

use std::borrow::Cow;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::model::conversation::Conversation;
use crate::model::error::{Error, Kind, Result};
use crate::model::record::{Content, Latency, Message, Role};
use crate::model::reply::{Delta, Finish, Identity, Progress, ReplyStream, State};
use crate::model::request::{Outgoing, Request};
use crate::model::size::ByteSize;
use crate::platform::Clock;
use crate::platform::signals::{Signal, Signals};
use crate::store::partial::Partial;
use crate::store::writer::Writer;

/// The longest time between a signal and its effect.
const PATIENCE: Duration = Duration::from_millis(20);

/// Room for what else is written down of a reply, such as its usage, in bytes.
const FURTHER: u64 = 64 << 10;

/// Whoever answers: a server, or the built-in guide.
pub trait Responder {
    /// Asks. What can be known at once, such as a missing key, is an error; everything
    /// later is part of the reply.
    fn reply(&mut self, request: &Request<'_>) -> Result<Box<dyn ReplyStream>>;
}

/// Whoever watches a reply arrive.
pub trait Audience {
    /// A piece of the reply. An error ends the turn; of kind
    /// [`Kind::Closed`] if nobody
    /// reads any more.
    fn delta(&mut self, delta: &Delta) -> Result<()>;

    /// Something to tell the person: one line.
    fn notice(&mut self, line: &str);

    /// No text has come yet, for this long.
    fn waiting(&mut self, since: Duration);
}

/// Where a conversation is kept.
pub enum Keeper {
    /// In the store.
    Stored(Box<Writer>),
    /// Nowhere: it ends with the process.
    Memory(Box<Conversation>),
}

impl Keeper {
    /// What has been said so far.
    pub fn conversation(&self) -> &Conversation {
        match self {
            Self::Stored(writer) => &writer.conversation,
            Self::Memory(conversation) => conversation,
        }
    }
}

/// How to ask.
#[derive(Clone, Debug)]
pub struct Ask {
    /// The model, then those to fall back on. Never empty.
    pub models: Vec<String>,
    /// The system prompt.
    pub system: Option<String>,
    /// The most tokens of the reply.
    pub max_tokens: Option<u32>,
    /// Sampling temperature.
    pub temperature: Option<f64>,
    /// Further fields of the request.
    pub options: Map<String, Value>,
    /// Whether the reply is to come piece by piece.
    pub stream: bool,
    /// Whether interrupted and failed replies are part of the context.
    pub keep_partial: bool,
    /// The most bytes that the conversation may have in memory, the reply included.
    pub memory: ByteSize,
}

/// What became of a turn.
#[derive(Debug)]
pub struct Outcome {
    /// The reply, however it ended.
    pub reply: Message,
    /// Whether anything of it was worth keeping.
    pub kept: bool,
    /// Why it is not a whole reply, if it is not.
    pub error: Option<Error>,
    /// Oddities of the reply, each worth a line to the person.
    pub notices: Vec<String>,
}

/// Builds the request for the last prompt of a conversation.
pub fn request<'a>(ask: &'a Ask, conversation: &'a Conversation, save: bool) -> Request<'a> {
    Request {
        models: &ask.models,
        messages: context(conversation, ask.system.as_deref(), ask.keep_partial),
        stream: ask.stream,
        max_tokens: ask.max_tokens,
        temperature: ask.temperature,
        options: &ask.options,
        session: save.then(|| conversation.id().as_str()),
    }
}

/// The messages that a server gets to see.
///
/// Replies that did not come to their end are left out, unless wanted. Where that leaves two
/// prompts in a row they become one: many chat templates refuse roles that do not alternate.
fn context<'a>(
    conversation: &'a Conversation,
    system: Option<&'a str>,
    keep_partial: bool,
) -> Vec<Outgoing<'a>> {
    let mut messages: Vec<Outgoing<'a>> = Vec::new();
    if let Some(system) = system.filter(|system| !system.is_empty()) {
        messages.push(owned(Role::System, system));
    }
    for message in conversation.active() {
        if message.content.is_empty() || (message.is_unfinished() && !keep_partial) {
            continue;
        }
        match messages.last_mut() {
            Some(last) if last.role == message.role => merge(last, &message.content),
            _ => messages.push(Outgoing {
                role: message.role,
                content: Cow::Borrowed(message.content.raw()),
            }),
        }
    }
    messages
}

fn owned(role: Role, text: &str) -> Outgoing<'static> {
    let raw = serde_json::value::to_raw_value(text).expect("a string is always valid JSON");
    Outgoing {
        role,
        content: Cow::Owned(raw),
    }
}

fn merge(last: &mut Outgoing<'_>, next: &Content) {
    let earlier = serde_json::from_str::<Content>(last.content.get())
        .map(|content| content.to_text().into_owned());
    let text = format!("{}\n\n{}", earlier.unwrap_or_default(), next.to_text());
    *last = owned(last.role, &text);
}

/// Why the loop of a turn ended.
enum End {
    /// The reply ended by itself.
    Finished(Box<Finish>),
    /// A signal came.
    Signalled(Signal),
    /// The piece could not be kept or shown.
    Lost(Error),
}

/// Asks for the reply to the last prompt of the conversation, shows it as it comes and keeps
/// it. An error means that nothing was asked, or that the reply could not be kept; how the
/// reply itself ended stands in the outcome.
pub fn answer(
    keeper: &mut Keeper,
    ask: &Ask,
    responder: &mut dyn Responder,
    audience: &mut dyn Audience,
    clock: &dyn Clock,
    signals: &Signals,
) -> Result<Outcome> {
    let start = clock.elapsed();
    let stream = {
        let save = matches!(keeper, Keeper::Stored(_));
        responder.reply(&request(ask, keeper.conversation(), save))?
    };
    // While the request travels.
    let partial = match keeper {
        Keeper::Stored(writer) => Some(writer.begin_reply(ask.models.first().map(String::as_str))?),
        Keeper::Memory(_) => None,
    };
    let mut reading = Reading {
        partial,
        whole: Delta::default(),
        room: ask.memory.0.saturating_sub(match keeper {
            Keeper::Stored(writer) => writer.len(),
            Keeper::Memory(_) => 0,
        }),
        identity: Identity::default(),
        start,
        first_byte: None,
    };
    let end = reading.read(stream, audience, clock, signals);
    reading.finish(keeper, ask, end, clock)
}

/// A reply as far as it has been read.
struct Reading {
    partial: Option<Partial>,
    whole: Delta,
    /// The most bytes that it may have.
    room: u64,
    identity: Identity,
    start: Duration,
    first_byte: Option<Duration>,
}

impl Reading {
    /// Reads to the end. The stream is dropped on return, which closes the connection.
    fn read(
        &mut self,
        mut stream: Box<dyn ReplyStream>,
        audience: &mut dyn Audience,
        clock: &dyn Clock,
        signals: &Signals,
    ) -> End {
        loop {
            if let Some(signal) = signals.pending() {
                self.identity.clone_from(stream.identity());
                return End::Signalled(signal);
            }
            let progress = stream.next(PATIENCE);
            if *stream.identity() != self.identity {
                self.identity.clone_from(stream.identity());
                if let Some(Err(error)) = self
                    .partial
                    .as_mut()
                    .map(|partial| partial.identity(&self.identity))
                {
                    return End::Lost(error);
                }
            }
            match progress {
                Progress::Idle | Progress::Heartbeat => {
                    // Reasoning is no text: a model may think for minutes.
                    if self.whole.text.is_empty() {
                        audience.waiting(clock.elapsed().saturating_sub(self.start));
                    }
                }
                Progress::Notice(line) => audience.notice(&line),
                Progress::Done(finish) => return End::Finished(finish),
                Progress::Delta(delta) => {
                    let now = clock.elapsed();
                    self.first_byte
                        .get_or_insert(now.saturating_sub(self.start));
                    if let Err(error) = self.piece(&delta, audience) {
                        return End::Lost(error);
                    }
                }
            }
        }
    }

    /// Keeps a piece, then shows it: in this order.
    fn piece(&mut self, delta: &Delta, audience: &mut dyn Audience) -> Result<()> {
        self.check_room(delta)?;
        if let Some(partial) = &mut self.partial {
            partial.delta(delta)?;
        }
        self.whole.text.push_str(&delta.text);
        self.whole.reasoning.push_str(&delta.reasoning);
        audience.delta(delta)
    }

    /// Refuses a piece with which the conversation would not fit into memory when it is read
    /// again. In the file it is longer than here.
    fn check_room(&self, delta: &Delta) -> Result<()> {
        let so_far = match &self.partial {
            Some(partial) => partial.len(),
            None => (self.whole.text.len() + self.whole.reasoning.len()) as u64,
        };
        let len = (delta.text.len() + delta.reasoning.len()) as u64;
        let room = self.room.saturating_sub(so_far.saturating_add(FURTHER));
        // No byte becomes more than six, so most pieces need not be written down to know.
        let fits = len.saturating_mul(6) <= room
            || serde_json::to_string(&[&delta.text, &delta.reasoning])
                .is_ok_and(|json| json.len() as u64 <= room);
        if fits {
            return Ok(());
        }
        Err(Error::new(Kind::Incomplete, "the reply is cut")
            .why("with more of it the conversation would be larger than limits.memory_mb allows")
            .hint("limit replies with --max-tokens, or allow more: pachat config set limits.memory_mb NUMBER"))
    }

    /// Keeps the reply with the state in which it ended.
    fn finish(
        self,
        keeper: &mut Keeper,
        ask: &Ask,
        end: End,
        clock: &dyn Clock,
    ) -> Result<Outcome> {
        let (finish, error) = match end {
            End::Finished(mut finish) => {
                let error = finish.error.take();
                (*finish, error)
            }
            End::Signalled(signal) => (
                Finish::new(State::Interrupted),
                Some(Error::of_signal(signal)),
            ),
            End::Lost(error) => (Finish::new(State::Interrupted), Some(error)),
        };
        let total = clock.elapsed().saturating_sub(self.start);
        let cost = finish
            .cost
            .or_else(|| finish.usage.as_ref().and_then(|usage| usage.figures().cost));
        let reply = Message {
            state: Some(finish.state),
            finish_reason: finish.finish_reason,
            native_finish_reason: finish.native_finish_reason,
            model: self.identity.model.or_else(|| ask.models.first().cloned()),
            provider: self.identity.provider,
            generation_id: self.identity.generation_id,
            usage: finish.usage,
            cost,
            latency_ms: Some(Latency {
                first_byte: self.first_byte.map(milliseconds),
                total: milliseconds(total),
            }),
            reasoning: Some(self.whole.reasoning).filter(|text| !text.is_empty()),
            error: error
                .as_ref()
                .filter(|_| finish.state == State::Error)
                .map(Error::headline),
            ..Message::new(
                keeper.conversation().next_number(),
                Role::Assistant,
                Content::text(&self.whole.text),
                clock.now(),
            )
        };
        let kept = !self.whole.text.is_empty() || reply.reasoning.is_some();
        if kept {
            match keeper {
                Keeper::Stored(writer) => writer.message(reply.clone()).map_err(|error| {
                    error.hint("what was shown is in the side file, and goes into the conversation when it is next used")
                })?,
                Keeper::Memory(conversation) => {
                    conversation.apply(crate::model::record::Record::Message(Box::new(reply.clone())));
                }
            }
        }
        if let Some(partial) = self.partial {
            partial.remove()?;
        }
        Ok(Outcome {
            reply,
            kept,
            error,
            notices: finish.notices,
        })
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::id::ConversationId;
    use crate::model::record::{Header, Record};
    use jiff::Timestamp;

    fn conversation(said: &[(Role, &str, Option<State>)]) -> Conversation {
        let at: Timestamp = "2026-08-22T09:41:07Z".parse().unwrap();
        let header = Header {
            version: 1,
            id: ConversationId::new(at, 1),
            created_at: at,
            title: None,
            model: None,
            system: None,
            tags: Vec::new(),
            parent: None,
            imported: None,
        };
        let mut conversation = Conversation::new(header);
        for (n, (role, text, state)) in (1..).zip(said) {
            let message = Message {
                state: *state,
                ..Message::new(n, *role, Content::text(text), at)
            };
            conversation.apply(Record::Message(Box::new(message)));
        }
        conversation
    }

    fn sent(conversation: &Conversation, system: Option<&str>, keep_partial: bool) -> String {
        let messages = context(conversation, system, keep_partial);
        messages
            .iter()
            .map(|message| format!("{}:{}", message.role.as_str(), message.content.get()))
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn half_replies_are_left_out_and_roles_alternate() {
        let conversation = conversation(&[
            (Role::User, "a", None),
            (Role::Assistant, "half", Some(State::Interrupted)),
            (Role::User, "b", None),
            (Role::Assistant, "cut", Some(State::Length)),
            (Role::User, "c", None),
        ]);
        assert_eq!(
            sent(&conversation, Some("s"), false),
            r#"system:"s" user:"a\n\nb" assistant:"cut" user:"c""#
        );
        assert_eq!(
            sent(&conversation, None, true),
            r#"user:"a" assistant:"half" user:"b" assistant:"cut" user:"c""#
        );
    }
}
