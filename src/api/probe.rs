//! Whether a server can be talked to, and if not, at which step and why.
//!
//! Layer: `api`. The steps are those of every request: the name, a connection, encryption, a
//! document that costs nothing. Each has a bound, and each failure is told in the words that a
//! failed request would be told in. Promise: nothing is sent that could be charged.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use crate::model::error::{Error, Kind};
use crate::model::usd::Usd;
use crate::platform::Network;

use super::client::{Client, Document, Refusal};
use super::failure::{self, Context};
use super::models::{self, ModelInfo};
use super::retry::{in_words, server_time};
use super::transport;
use super::trouble::{Cause, Trouble};

/// The account's document at OpenRouter.
const KEY_PATH: &str = "/key";

/// The longest that looking up a name may take.
const LONGEST_LOOK_UP: Duration = Duration::from_secs(5);

/// Why a server cannot be talked to. The codes are for programs and are never renamed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Diagnosis {
    /// This machine has no network.
    Offline,
    /// The host's name cannot be looked up.
    Dns,
    /// Nobody listens there.
    Refused,
    /// There is no way there, though there is a network.
    Unreachable,
    /// It takes too long.
    Timeout,
    /// The proxy cannot be reached, or refuses.
    Proxy,
    /// The encrypted connection, or the certificate.
    Tls,
    /// What answers is not an API.
    WrongBaseUrl,
    /// The key is refused, or missing.
    BadKey,
    /// The key has expired, or there is nothing left to spend.
    ExpiredKeyOrNoCredit,
    /// The model is not among the server's.
    ModelGone,
    /// Too many requests.
    RateLimited,
    /// The server fails.
    ServerError,
    /// The connection cannot be set up: a certificate file, a proxy address.
    Setup,
    /// Something else.
    Other,
}

impl Diagnosis {
    /// Every diagnosis.
    pub const ALL: [Self; 15] = [
        Self::Offline,
        Self::Dns,
        Self::Refused,
        Self::Unreachable,
        Self::Timeout,
        Self::Proxy,
        Self::Tls,
        Self::WrongBaseUrl,
        Self::BadKey,
        Self::ExpiredKeyOrNoCredit,
        Self::ModelGone,
        Self::RateLimited,
        Self::ServerError,
        Self::Setup,
        Self::Other,
    ];

    /// The code for programs.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Offline => "offline",
            Self::Dns => "dns",
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::Proxy => "proxy",
            Self::Tls => "tls",
            Self::WrongBaseUrl => "wrong-base-url",
            Self::BadKey => "bad-key",
            Self::ExpiredKeyOrNoCredit => "expired-key-or-no-credit",
            Self::ModelGone => "model-gone",
            Self::RateLimited => "rate-limited",
            Self::ServerError => "server-error",
            Self::Setup => "setup",
            Self::Other => "failed",
        }
    }
}

/// A server that cannot be talked to.
#[derive(Debug)]
pub struct Fault {
    /// Why, for programs.
    pub diagnosis: Diagnosis,
    /// Why, for people, and what to do.
    pub error: Error,
}

impl Fault {
    /// A fault of a name.
    pub fn new(diagnosis: Diagnosis, error: Error) -> Self {
        Self { diagnosis, error }
    }

    /// No answer within the bound of all steps together.
    pub fn too_slow(client: &Client, step: Step, limit: Duration) -> Self {
        let origin = client.endpoint().base_url.origin();
        let error = Error::new(Kind::Unavailable, format!("no answer from {origin}"))
            .why(format!(
                "{} took longer than {}",
                step.words(),
                in_words(limit)
            ))
            .hint(match step {
                // A server that waits for the rest of a request has never heard of TLS.
                Step::Tls => "check whether the base URL should begin with http:// instead, or try again later",
                _ => "try again later; allow more with --timeout SECONDS",
            });
        Self::new(Diagnosis::Timeout, error)
    }
}

/// What a probe is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Looking up the name.
    Name,
    /// Connecting.
    Connect,
    /// Agreeing on encryption.
    Tls,
    /// Asking.
    Request,
}

impl Step {
    const ALL: [Self; 4] = [Self::Name, Self::Connect, Self::Tls, Self::Request];

    /// What is done in it, as the beginning of a sentence.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Name => "looking up the name",
            Self::Connect => "connecting",
            Self::Tls => "agreeing on encryption",
            Self::Request => "answering a small request",
        }
    }
}

/// How far a probe is, for whoever waits for it.
#[derive(Clone, Debug, Default)]
pub struct Progress(Arc<AtomicU8>);

impl Progress {
    /// The step that is under way.
    pub fn step(&self) -> Step {
        let number = usize::from(self.0.load(Ordering::Relaxed));
        Step::ALL.get(number).copied().unwrap_or(Step::Request)
    }

    fn enter(&self, step: Step) {
        let number = Step::ALL.iter().position(|one| *one == step);
        let number = number.and_then(|number| u8::try_from(number).ok());
        self.0.store(number.unwrap_or(0), Ordering::Relaxed);
    }
}

/// How long each step took; `None` for one that was not reached or not needed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// Looking up the name.
    pub name: Option<Duration>,
    /// Connecting.
    pub connect: Option<Duration>,
    /// Agreeing on encryption.
    pub tls: Option<Duration>,
    /// From asking to the whole answer, over a connection of its own.
    pub response: Option<Duration>,
}

/// What OpenRouter says about a key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// What may still be spent with it; `None` for any amount.
    pub limit_remaining: Option<Usd>,
    /// What was spent with it today.
    pub usage_daily: Option<Usd>,
    /// When it expires.
    pub expires_at: Option<Timestamp>,
}

/// What a server that can be talked to has said.
#[derive(Debug, Default)]
pub struct Answer {
    /// About the key, where it says that.
    pub account: Option<Account>,
    /// Its models, where it was asked for them.
    pub models: Option<Vec<ModelInfo>>,
}

/// What a probe has found.
#[derive(Debug)]
pub struct Findings {
    /// How long the steps took.
    pub times: Times,
    /// By how much the server's clock is ahead of this machine's, where it tells the time.
    pub skew: Option<SignedDuration>,
    /// The answer, or why there is none.
    pub result: Result<Answer, Fault>,
}

/// Talks to the client's server, step by step, for at most `limit` altogether.
///
/// With `keyless`, the key is not there to be judged: a server that wants one counts as one
/// that answers.
pub fn probe(
    client: &Client,
    network: &Arc<dyn Network>,
    limit: Duration,
    keyless: bool,
    progress: &Progress,
) -> Findings {
    let mut probe = Probe {
        client,
        network,
        limit,
        end: client.clock().elapsed() + limit,
        keyless,
        progress,
        times: Times::default(),
        skew: None,
    };
    let result = probe.run();
    Findings {
        times: probe.times,
        skew: probe.skew,
        result,
    }
}

struct Probe<'a> {
    client: &'a Client,
    network: &'a Arc<dyn Network>,
    limit: Duration,
    end: Duration,
    keyless: bool,
    progress: &'a Progress,
    times: Times,
    skew: Option<SignedDuration>,
}

impl Probe<'_> {
    fn run(&mut self) -> Result<Answer, Fault> {
        let endpoint = self.client.endpoint();
        let proxy = endpoint.network.proxy_for(&endpoint.base_url);
        let proxy = proxy.filter(|_| endpoint.network.is_proxied(&endpoint.base_url));
        let (host, port) = match proxy {
            Some(address) => place_of(address).ok_or_else(|| {
                self.judge(Trouble::setup(
                    "the address of the proxy is malformed",
                    None,
                ))
            })?,
            None => (
                endpoint.base_url.host().to_owned(),
                endpoint.base_url.port(),
            ),
        };
        let addresses = self.look_up(host, port)?;
        let stream = self.connect(&addresses)?;
        if proxy.is_none() && endpoint.base_url.is_https() {
            self.shake_hands(stream)?;
        }
        self.ask()
    }

    fn left(&self) -> Duration {
        self.end.saturating_sub(self.client.clock().elapsed())
    }

    fn too_slow(&self) -> Fault {
        Fault::too_slow(self.client, self.progress.step(), self.limit)
    }

    /// A look-up cannot be called off, so it runs on a thread that is left to itself.
    fn look_up(&mut self, host: String, port: u16) -> Result<Vec<SocketAddr>, Fault> {
        self.progress.enter(Step::Name);
        let start = self.client.clock().elapsed();
        let (sender, receiver) = mpsc::channel();
        let network = Arc::clone(self.network);
        let spawned = thread::Builder::new().name("names".into()).spawn(move || {
            // Nobody listens any more if it took too long.
            let _ = sender.send(network.resolve(&host, port));
        });
        if spawned.is_err() {
            return Err(self.judge(Trouble::lost()));
        }
        let found = receiver
            .recv_timeout(self.left().min(LONGEST_LOOK_UP))
            .map_err(|_| self.too_slow())?;
        self.times.name = Some(self.client.clock().elapsed().saturating_sub(start));
        match found {
            Ok(addresses) if !addresses.is_empty() => Ok(addresses),
            Ok(_) => Err(self.judge(Trouble::of_io(
                &io::Error::other("the name has no address"),
                Cause::Dns,
            ))),
            Err(error) => Err(self.judge(Trouble::of_io(&error, Cause::Dns))),
        }
    }

    /// Tries the addresses one by one; of several failures the most telling one counts.
    fn connect(&mut self, addresses: &[SocketAddr]) -> Result<TcpStream, Fault> {
        self.progress.enter(Step::Connect);
        let start = self.client.clock().elapsed();
        let most = self.client.endpoint().limits.connect;
        let mut worst: Option<Trouble> = None;
        for (at, address) in addresses.iter().enumerate() {
            let waiting = u32::try_from(addresses.len() - at).unwrap_or(1);
            let share = (self.left().min(most) / waiting).max(Duration::from_millis(1));
            match self.network.connect(address, share) {
                Ok(stream) => {
                    self.times.connect = Some(self.client.clock().elapsed().saturating_sub(start));
                    return Ok(stream);
                }
                Err(error) => {
                    let trouble = Trouble::of_io(&error, Cause::Other);
                    let told = worst.as_ref().map_or(0, |worst| rank(&worst.cause));
                    if rank(&trouble.cause) > told {
                        worst = Some(trouble);
                    }
                }
            }
        }
        Err(self.judge(worst.unwrap_or_else(Trouble::lost)))
    }

    /// A handshake by hand, so that what is wrong with it cannot be anything else.
    fn shake_hands(&mut self, mut stream: TcpStream) -> Result<(), Fault> {
        self.progress.enter(Step::Tls);
        let start = self.client.clock().elapsed();
        let endpoint = self.client.endpoint();
        let config = transport::tls(endpoint, false).map_err(|trouble| self.judge(trouble))?;
        let host = endpoint.base_url.host();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let name = rustls::pki_types::ServerName::try_from(host.to_owned())
            .map_err(|error| self.judge(Trouble::setup(error.to_string(), None)))?;
        let mut tls = rustls::ClientConnection::new(Arc::new(config), name)
            .map_err(|error| self.judge(Trouble::setup(error.to_string(), None)))?;
        while tls.is_handshaking() {
            // No time at all would mean "for ever".
            let left = Some(self.left().max(Duration::from_millis(1)));
            let bounded = stream
                .set_read_timeout(left)
                .and_then(|()| stream.set_write_timeout(left));
            if let Err(error) = bounded.and_then(|()| tls.complete_io(&mut stream).map(|_| ())) {
                return Err(match error.kind() {
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => self.too_slow(),
                    // Who hangs up in the middle of a handshake does not speak TLS, or not ours.
                    _ => Fault {
                        diagnosis: Diagnosis::Tls,
                        ..self.judge(Trouble::of_io(&error, Cause::Tls))
                    },
                });
            }
        }
        self.times.tls = Some(self.client.clock().elapsed().saturating_sub(start));
        Ok(())
    }

    /// The request: OpenRouter's word on the key, or the list of models, which elsewhere
    /// wants the key, too.
    fn ask(&mut self) -> Result<Answer, Fault> {
        self.progress.enter(Step::Request);
        let endpoint = self.client.endpoint();
        if !endpoint.profile.is_openrouter() || self.keyless {
            return self.ask_for_models();
        }
        match self.fetch(KEY_PATH) {
            Ok(document) => self.account(&document),
            // Whatever stands between here and OpenRouter may know the common requests only.
            Err(Refusal::Status(404, _)) if !endpoint.base_url.is_openrouter() => {
                self.ask_for_models()
            }
            Err(refusal) => Err(self.refused(refusal)),
        }
    }

    fn ask_for_models(&mut self) -> Result<Answer, Fault> {
        match self.fetch(models::PATH) {
            Ok(document) => match models::parse(&document.body) {
                Ok(models) => Ok(Answer {
                    models: Some(models),
                    ..Answer::default()
                }),
                Err(error) => Err(Fault::new(Diagnosis::WrongBaseUrl, error)),
            },
            Err(Refusal::Status(401, _)) if self.keyless => Ok(Answer::default()),
            Err(refusal) => Err(self.refused(refusal)),
        }
    }

    fn fetch(&mut self, path: &str) -> Result<Document, Refusal> {
        let start = self.client.clock().elapsed();
        let fetched = self.client.fetch(path, self.left());
        self.times.response = Some(self.client.clock().elapsed().saturating_sub(start));
        let (Ok(document) | Err(Refusal::Status(_, document))) = &fetched else {
            return fetched;
        };
        let now = self.client.now();
        self.skew = server_time(&document.headers).map(|server| server.duration_since(now));
        fetched
    }

    fn account(&self, document: &Document) -> Result<Answer, Fault> {
        let context = self.context();
        let Some(account) = Account::read(&document.body) else {
            let error = failure::not_an_api(&context).why("the answer does not describe a key");
            return Err(Fault::new(Diagnosis::WrongBaseUrl, error));
        };
        let place = "see https://openrouter.ai/settings/keys";
        let spent = account
            .limit_remaining
            .is_some_and(|left| left == Usd::ZERO || left.is_negative());
        let over = account.expires_at.is_some_and(|at| at <= self.client.now());
        let why = if over {
            "it has expired"
        } else if spent {
            "all that it may spend is spent"
        } else {
            return Ok(Answer {
                account: Some(account),
                models: None,
            });
        };
        let error = Error::new(Kind::Denied, "the API key cannot be used")
            .why(why)
            .hint(format!(
                "raise its limit or make a new one, {place}; then: pachat config key set"
            ));
        Err(Fault::new(Diagnosis::ExpiredKeyOrNoCredit, error))
    }

    fn context(&self) -> Context<'_> {
        self.client.endpoint().context("", self.client.clock())
    }

    /// What a failed connection means.
    fn judge(&self, trouble: Trouble) -> Fault {
        let endpoint = self.client.endpoint();
        let context = self.context();
        let diagnosis = diagnosis_of(
            &trouble.cause,
            endpoint.network.is_proxied(&endpoint.base_url),
        );
        let is_away = matches!(diagnosis, Diagnosis::Dns | Diagnosis::Unreachable);
        if is_away && !endpoint.base_url.is_loopback() && !self.network.has_route() {
            let error = Error::new(Kind::Unavailable, "this machine is offline")
                .why("it knows no way to any other network")
                .cause(context.tidy(trouble.text()))
                .hint("connect it to a network; what needs none: pachat health --offline");
            return Fault::new(Diagnosis::Offline, error);
        }
        if diagnosis == Diagnosis::Dns && is_passing(trouble.text()) {
            let host = endpoint.base_url.host();
            let error = Error::new(Kind::Unavailable, format!("cannot reach {host}"))
                .why("no name server tells its address")
                .cause(context.tidy(trouble.text()))
                .hint("check this machine's name servers (/etc/resolv.conf), and the base URL");
            return Fault::new(diagnosis, error);
        }
        Fault::new(diagnosis, trouble.into_failure(&context).error)
    }

    /// What a refusal means.
    fn refused(&self, refusal: Refusal) -> Fault {
        match refusal {
            Refusal::TooSlow => self.too_slow(),
            Refusal::Trouble(trouble) => self.judge(trouble),
            Refusal::TooLarge => {
                let error = self.client.explain(refusal, self.limit);
                let diagnosis = match error.kind() {
                    // It may be an answer, and too large for what this pachat may hold.
                    Kind::Incomplete => Diagnosis::Other,
                    _ => Diagnosis::WrongBaseUrl,
                };
                Fault::new(diagnosis, error)
            }
            Refusal::Status(status, _) => {
                let error = self.client.explain(refusal, self.limit);
                let expired = error.headline().to_lowercase().contains("expired");
                let diagnosis = match (status, error.kind()) {
                    (402 | 403, _) => Diagnosis::ExpiredKeyOrNoCredit,
                    (401, _) | (_, Kind::Denied) if expired => Diagnosis::ExpiredKeyOrNoCredit,
                    (429, Kind::Denied) => Diagnosis::ExpiredKeyOrNoCredit,
                    (401, _) | (_, Kind::Denied) => Diagnosis::BadKey,
                    (429, _) => Diagnosis::RateLimited,
                    (300..=399 | 404 | 405, kind) if kind != Kind::Unavailable => {
                        Diagnosis::WrongBaseUrl
                    }
                    (_, Kind::Unavailable) => Diagnosis::ServerError,
                    _ => Diagnosis::Other,
                };
                Fault::new(diagnosis, error)
            }
        }
    }
}

impl Account {
    /// Reads the document; `None` if it is another.
    fn read(json: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Wrapper {
            data: serde_json::Map<String, serde_json::Value>,
        }
        let Wrapper { data } = serde_json::from_slice(json).ok()?;
        let amount = |name: &str| {
            let value = data.get(name)?;
            let text = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            text.parse().ok()
        };
        Some(Self {
            limit_remaining: amount("limit_remaining"),
            usage_daily: amount("usage_daily"),
            expires_at: data
                .get("expires_at")
                .and_then(|at| at.as_str()?.parse().ok()),
        })
    }
}

fn diagnosis_of(cause: &Cause, proxied: bool) -> Diagnosis {
    match cause {
        Cause::Dns | Cause::Refused | Cause::Unreachable | Cause::Proxy if proxied => {
            Diagnosis::Proxy
        }
        Cause::Setup(_) => Diagnosis::Setup,
        Cause::Dns => Diagnosis::Dns,
        Cause::Refused => Diagnosis::Refused,
        Cause::Unreachable => Diagnosis::Unreachable,
        Cause::Certificate(_) | Cause::Tls => Diagnosis::Tls,
        Cause::Proxy => Diagnosis::Proxy,
        Cause::ConnectTimeout => Diagnosis::Timeout,
        Cause::Closed => Diagnosis::ServerError,
        Cause::NotHttp => Diagnosis::WrongBaseUrl,
        Cause::Lost | Cause::Other => Diagnosis::Other,
    }
}

/// How much a failure to connect tells: that somebody refused, more than that nobody answered,
/// more than that there is no way for this kind of address.
fn rank(cause: &Cause) -> u8 {
    match cause {
        Cause::Refused => 4,
        Cause::ConnectTimeout => 3,
        Cause::Unreachable => 2,
        _ => 1,
    }
}

/// Whether a look-up may succeed another time, as far as the system says.
fn is_passing(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    text.contains("temporary failure") || text.contains("try again")
}

/// Host and port of a proxy's address, which need not have a scheme.
fn place_of(address: &str) -> Option<(String, u16)> {
    let whole = if address.contains("://") {
        address.to_owned()
    } else {
        format!("http://{address}")
    };
    let url = reqwest::Url::parse(&whole).ok()?;
    let port = match url.scheme() {
        "socks5" | "socks5h" | "socks4" | "socks4a" => url.port().unwrap_or(1080),
        _ => url.port_or_known_default()?,
    };
    Some((url.host_str()?.to_owned(), port))
}
