//! However the bytes of a reply are split, its outcome is the same: each body of the table in
//! a thousand random splits, from the parser through the assembly to the turn.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use pachat::api::response::{Fed, Response};
use pachat::api::{Context, Endpoint};
use pachat::model::conversation::Conversation;
use pachat::model::error::{Error, Result};
use pachat::model::id::ConversationId;
use pachat::model::record::{Content, Header, Message, Record, Role};
use pachat::model::reply::{Delta, Finish, Identity, Progress, ReplyStream};
use pachat::model::request::Request;
use pachat::model::size::ByteSize;
use pachat::ops::turn::{self, Ask, Audience, Keeper, Responder};
use pachat::platform::{Clock, Signals};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};

use crate::common::host::TestClock;
use crate::streams::{self, Stream};

/// How many random splits of each body.
const SPLITS: usize = 1000;

/// `SplitMix64`: the same numbers in each run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % bound as u64).unwrap()
    }
}

/// Where to cut a body: up to as many cuts as there are bytes, at any places.
fn cuts(length: usize, numbers: &mut Numbers) -> Vec<usize> {
    let most = [2, 8, 32, length + 1][numbers.below(4)];
    let count = numbers.below(most.max(1)) + 1;
    let mut cuts: Vec<usize> = (0..count).map(|_| numbers.below(length + 1)).collect();
    cuts.extend([0, length]);
    cuts.sort_unstable();
    cuts
}

/// Brings a body in pieces, as the network would.
struct Pieces {
    endpoint: Endpoint,
    clock: TestClock,
    response: Response,
    waiting: std::vec::IntoIter<Vec<u8>>,
    ended: Option<Finish>,
}

impl Pieces {
    fn new(stream: &Stream, cuts: &[usize]) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(stream.media_type));
        let mut response = Response::default();
        response.head(200, headers);
        let pieces: Vec<Vec<u8>> = cuts
            .windows(2)
            .map(|cut| stream.body[cut[0]..cut[1]].to_vec())
            .collect();
        Self {
            endpoint: Endpoint::new("http://127.0.0.1:9".parse().unwrap()),
            clock: TestClock::new(),
            response,
            waiting: pieces.into_iter(),
            ended: None,
        }
    }

    /// Reads on until there is something to hand out.
    fn read(&mut self) -> Option<std::result::Result<Finish, pachat::api::Failure>> {
        let context: Context<'_> = self.endpoint.context("a/b", &self.clock);
        for piece in self.waiting.by_ref() {
            match self.response.feed(&piece, &context) {
                Fed::More { news: true, .. } => return None,
                Fed::More { .. } => {}
                Fed::Ended(ended) => return Some(ended),
            }
        }
        Some(self.response.end(&context))
    }
}

impl ReplyStream for Pieces {
    fn next(&mut self, _patience: Duration) -> Progress {
        if let Some(finish) = self.ended.take() {
            return Progress::Done(Box::new(finish));
        }
        let ended = self.read();
        let delta = self.response.take();
        let finish = ended.map(|ended| match ended {
            Ok(finish) => finish,
            Err(failure) => self.response.failed(failure.error),
        });
        match (delta.is_empty(), finish) {
            (true, None) => Progress::Idle,
            (true, Some(finish)) => Progress::Done(Box::new(finish)),
            (false, finish) => {
                self.ended = finish;
                Progress::Delta(delta)
            }
        }
    }

    fn identity(&self) -> &Identity {
        self.response.identity()
    }
}

struct Replies(Option<Pieces>);

impl Responder for Replies {
    fn reply(&mut self, _request: &Request<'_>) -> Result<Box<dyn ReplyStream>> {
        Ok(Box::new(self.0.take().unwrap()))
    }
}

#[derive(Default)]
struct Eyes(String);

impl Audience for Eyes {
    fn delta(&mut self, delta: &Delta) -> Result<()> {
        self.0.push_str(&delta.text);
        Ok(())
    }
    fn notice(&mut self, _line: &str) {}
    fn waiting(&mut self, _since: Duration) {}
}

/// Everything that a split could change.
#[derive(Debug, PartialEq)]
struct Outcome {
    seen: String,
    stored: String,
    reasoning: Option<String>,
    state: &'static str,
    kept: bool,
    usage: Option<String>,
    identity: [Option<String>; 3],
    error: Option<String>,
    code: u8,
    notices: Vec<String>,
}

fn conversation() -> Conversation {
    let at: Timestamp = "2026-08-22T09:41:07Z".parse().unwrap();
    let mut conversation = Conversation::new(Header {
        version: 1,
        id: ConversationId::new(at, 1),
        created_at: at,
        title: None,
        model: None,
        system: None,
        tags: Vec::new(),
        parent: None,
        imported: None,
    });
    let prompt = Message::new(1, Role::User, Content::text("x"), at);
    conversation.apply(Record::Message(Box::new(prompt)));
    conversation
}

fn turn(stream: &Stream, cuts: &[usize]) -> Outcome {
    let mut keeper = Keeper::Memory(Box::new(conversation()));
    let ask = Ask {
        models: vec!["a/b".into()],
        system: None,
        max_tokens: None,
        temperature: None,
        options: serde_json::Map::new(),
        stream: true,
        keep_partial: false,
        memory: ByteSize::megabytes(1),
    };
    let mut eyes = Eyes::default();
    let clock = TestClock::new();
    let outcome = turn::answer(
        &mut keeper,
        &ask,
        &mut Replies(Some(Pieces::new(stream, cuts))),
        &mut eyes,
        &clock as &dyn Clock,
        &Signals::default(),
    )
    .unwrap();
    let reply = outcome.reply;
    Outcome {
        seen: eyes.0,
        stored: reply.content.to_text().into_owned(),
        reasoning: reply.reasoning,
        state: reply.state.unwrap().as_str(),
        kept: outcome.kept,
        usage: reply.usage.map(|usage| usage.0.get().to_owned()),
        identity: [reply.model, reply.provider, reply.generation_id],
        code: outcome
            .error
            .as_ref()
            .map_or(0, |error| error.kind().code()),
        error: outcome.error.as_ref().map(Error::headline),
        notices: outcome.notices,
    }
}

/// All splits of one body; how many there were.
fn check(stream: &Stream) -> usize {
    let length = stream.body.len();
    let whole = turn(stream, &[0, length]);
    assert_eq!(
        (whole.seen.as_str(), whole.code),
        (stream.text.as_str(), stream.code),
        "row {}: {whole:?}",
        stream.row
    );
    let expected = if whole.kept { whole.state } else { "" };
    assert_eq!(expected, stream.state, "row {}: {whole:?}", stream.row);
    let mut numbers = Numbers(u64::from(stream.row));
    let splits = if length > 8 << 10 { 20 } else { SPLITS };
    for _ in 0..splits {
        let cuts = cuts(length, &mut numbers);
        assert_eq!(turn(stream, &cuts), whole, "row {}: {cuts:?}", stream.row);
    }
    let bytes: Vec<usize> = (0..=length).collect();
    assert_eq!(
        turn(stream, &bytes),
        whole,
        "row {}: byte by byte",
        stream.row
    );
    splits + 1
}

#[test]
#[expect(clippy::print_stdout, reason = "what `--nocapture` is for")]
fn every_split_gives_the_same_outcome() {
    let streams = streams::all();
    let next = AtomicUsize::new(0);
    let splits = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(stream) = streams.get(next.fetch_add(1, Ordering::SeqCst)) {
                    splits.fetch_add(check(stream), Ordering::SeqCst);
                }
            });
        }
    });
    println!(
        "{} bodies in {} splits: the same outcome each time",
        streams.len(),
        splits.into_inner()
    );
}
