//! The client: an endpoint, and what can be asked of it.
//!
//! Layer: `api`.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use reqwest::header::HeaderMap;

use crate::model::base_url::BaseUrl;
use crate::model::error::{Error, Kind, Result};
use crate::model::gate::Gate;
use crate::model::secret::Secret;
use crate::model::size::ByteSize;
use crate::platform::{Clock, Random};

use super::failure::{self, Context};
use super::profile::Profile;
use super::reply::Reply;
use super::request::Body;
use super::retry::{RetryPolicy, in_words};
use super::sse;
use super::transport::{NetworkEnvironment, Worker, builder};
use super::trouble::Trouble;

/// The largest document that [`Client::get`] reads. OpenRouter's list of models has half
/// a megabyte.
const LARGEST_DOCUMENT: u64 = 32 << 20;

/// How long to wait for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// For a connection.
    pub connect: Duration,
    /// From the request to the beginning of the response.
    pub first_byte: Duration,
    /// Between any two bytes of it; a comment counts.
    pub idle: Duration,
    /// Between two events with data; comments do not count, because a server may send
    /// them for a reply that will never come.
    pub data_idle: Duration,
    /// For everything together, retries included; `None` for no limit.
    pub total: Option<Duration>,
}

impl Limits {
    /// What is right for a server that is far away, or for one that is near but may have
    /// to load a model first.
    pub fn new(profile: Profile) -> Self {
        let patience = if profile.is_local() { 600 } else { 120 };
        Self {
            connect: Duration::from_secs(10),
            first_byte: Duration::from_secs(patience),
            idle: Duration::from_secs(patience),
            data_idle: Duration::from_secs(600),
            total: None,
        }
    }
}

/// A server, and how to talk to it.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Where it is.
    pub base_url: BaseUrl,
    /// What it is.
    pub profile: Profile,
    /// Who we are.
    pub key: Option<Secret>,
    /// Certificates to trust instead of the compiled-in ones.
    pub ca_file: Option<PathBuf>,
    /// Whether to tell OpenRouter which program asks.
    pub attribution: bool,
    /// How long to wait.
    pub limits: Limits,
    /// The most that may be held in memory of what it sends.
    pub memory: ByteSize,
    /// How often to try.
    pub retry: RetryPolicy,
    /// Certificates and proxies from the environment.
    pub network: NetworkEnvironment,
}

impl Endpoint {
    /// A server with everything else at its default.
    pub fn new(base_url: BaseUrl) -> Self {
        let profile = Profile::detect(&base_url);
        Self {
            base_url,
            profile,
            key: None,
            ca_file: None,
            attribution: false,
            limits: Limits::new(profile),
            memory: ByteSize(LARGEST_DOCUMENT),
            retry: RetryPolicy::default(),
            network: NetworkEnvironment::default(),
        }
    }

    /// The largest piece of a reply that is read, in bytes.
    pub(super) fn largest_piece(&self) -> usize {
        usize::try_from(self.memory.0)
            .map_or(sse::DEFAULT_LIMIT, |memory| memory.min(sse::DEFAULT_LIMIT))
    }

    /// What messages about a failed request to `model` are made from.
    pub fn context<'a>(&'a self, model: &'a str, clock: &'a dyn Clock) -> Context<'a> {
        Context {
            base_url: &self.base_url,
            profile: self.profile,
            key: self.key.as_ref(),
            model,
            proxied: self.network.is_proxied(&self.base_url),
            clock,
        }
    }
}

/// What all requests of a client share.
pub(super) struct Shared {
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) random: Arc<dyn Random>,
    pub(super) gate: Option<Arc<dyn Gate>>,
    worker: OnceLock<Worker>,
}

impl Shared {
    pub(super) fn worker(&self) -> &Worker {
        self.worker
            .get_or_init(|| Worker::start(Arc::clone(&self.endpoint)))
    }
}

/// Talks to one server. Connections are kept for the turns of a conversation; clones share
/// them.
#[derive(Clone)]
pub struct Client(Arc<Shared>);

impl Client {
    /// A client that does nothing yet.
    pub fn new(endpoint: Endpoint, clock: Arc<dyn Clock>, random: Arc<dyn Random>) -> Self {
        Self(Arc::new(Shared {
            endpoint: Arc::new(endpoint),
            clock,
            random,
            gate: None,
            worker: OnceLock::new(),
        }))
    }

    /// A client that gets ready for its first reply on another thread, while the caller
    /// goes on. What fails there is told by the first reply.
    pub fn start(endpoint: Endpoint, clock: Arc<dyn Clock>, random: Arc<dyn Random>) -> Self {
        let client = Self::new(endpoint, clock, random);
        client.0.worker();
        client
    }

    /// The same client with a gate that each try of a reply has to pass.
    ///
    /// To be called before the first reply: what is under way already has passed.
    #[must_use]
    pub fn behind(mut self, gate: Arc<dyn Gate>) -> Self {
        if let Some(shared) = Arc::get_mut(&mut self.0) {
            shared.gate = Some(gate);
        }
        self
    }

    /// The server.
    pub fn endpoint(&self) -> &Endpoint {
        &self.0.endpoint
    }

    /// Asks for a reply. The request leaves at once; a further body is tried only if the
    /// model of the one before cannot answer.
    pub fn reply(&self, bodies: Vec<Body>) -> Reply {
        Reply::new(Arc::clone(&self.0), bodies)
    }

    /// Fetches a document below the base URL, such as `/models`. `limit` is for all of it.
    pub fn get(&self, path: &str, limit: Duration) -> Result<Vec<u8>> {
        match self.fetch(path, limit) {
            Ok(document) => Ok(document.body),
            Err(refusal) => Err(self.explain(refusal, limit)),
        }
    }

    /// The same, with the head of the response, and with what exactly went wrong.
    pub(super) fn fetch(&self, path: &str, limit: Duration) -> Result<Document, Refusal> {
        let endpoint = &self.0.endpoint;
        let builder = builder(endpoint).map_err(Refusal::Trouble)?;
        let client = reqwest::blocking::ClientBuilder::from(builder)
            .build()
            .map_err(Refusal::new)?;
        let response = client
            .get(endpoint.base_url.join(path))
            .timeout(limit)
            .send()
            .map_err(Refusal::new)?;
        let status = response.status();
        let headers = response.headers().clone();
        let document = Document {
            headers,
            body: read(response, endpoint.memory.0.min(LARGEST_DOCUMENT))?,
        };
        if status.is_success() {
            return Ok(document);
        }
        Err(Refusal::Status(status.as_u16(), document))
    }

    /// What a person is told of a document that could not be fetched.
    pub(super) fn explain(&self, refusal: Refusal, limit: Duration) -> Error {
        let endpoint = &self.0.endpoint;
        let context = endpoint.context("", self.0.clock.as_ref());
        match refusal {
            Refusal::TooSlow => too_slow(endpoint, limit),
            Refusal::TooLarge if endpoint.memory.0 < LARGEST_DOCUMENT => {
                let memory = endpoint.memory;
                Error::new(Kind::Incomplete, "the server's answer is too large")
                    .why(format!("limits.memory_mb allows {memory}"))
                    .hint(failure::ALLOW_MORE_MEMORY)
            }
            Refusal::TooLarge => failure::not_an_api(&context).why("the answer is far too large"),
            Refusal::Trouble(trouble) => trouble.into_failure(&context).error,
            Refusal::Status(status, document) => {
                failure::of_response(status, &document.headers, &document.body, &context).error
            }
        }
    }

    /// The calendar's time.
    pub(super) fn now(&self) -> jiff::Timestamp {
        self.0.clock.now()
    }

    /// The clock that limits are measured with.
    pub(super) fn clock(&self) -> &dyn Clock {
        self.0.clock.as_ref()
    }
}

/// A document, and the head that came with it.
pub(super) struct Document {
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

/// Why there is no document.
pub(super) enum Refusal {
    /// It did not come in time.
    TooSlow,
    /// It is larger than may be held in memory, or than any document of an API.
    TooLarge,
    /// The connection failed.
    Trouble(Trouble),
    /// The server says no, with this status.
    Status(u16, Document),
}

impl Refusal {
    fn new(error: reqwest::Error) -> Self {
        if error.is_timeout() && !error.is_connect() {
            return Self::TooSlow;
        }
        Self::Trouble(Trouble::new(error))
    }
}

fn read(response: reqwest::blocking::Response, limit: u64) -> Result<Vec<u8>, Refusal> {
    let mut body = Vec::new();
    let mut reader = std::io::Read::take(response, limit + 1);
    if let Err(error) = std::io::Read::read_to_end(&mut reader, &mut body) {
        let inner = error
            .into_inner()
            .map(<dyn std::error::Error + Send + Sync>::downcast::<reqwest::Error>);
        return Err(match inner {
            Some(Ok(inner)) if inner.is_timeout() => Refusal::TooSlow,
            Some(Ok(inner)) => Refusal::Trouble(Trouble::new(*inner)),
            _ => Refusal::Trouble(Trouble::lost()),
        });
    }
    if body.len() as u64 > limit {
        return Err(Refusal::TooLarge);
    }
    Ok(body)
}

fn too_slow(endpoint: &Endpoint, limit: Duration) -> Error {
    let origin = endpoint.base_url.origin();
    Error::new(Kind::Unavailable, format!("no answer from {origin}"))
        .why(format!("it took longer than {}", in_words(limit)))
        .hint("try again later")
}
