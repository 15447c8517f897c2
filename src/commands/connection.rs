//! The line to whoever answers, which `send` and `chat` share: a server, or the built-in guide.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use serde_json::{Value, json};

use crate::api::{self, Client, Endpoint, NetworkEnvironment, Profile, RetryPolicy, request};
use crate::context::Context;
use crate::manual;
use crate::model::base_url::BaseUrl;
use crate::model::conversation::Conversation;
use crate::model::error::{Error, Kind, Result};
use crate::model::gate::{Gate, Passage, Permit};
use crate::model::record::{Content, Role};
use crate::model::reply::ReplyStream;
use crate::model::request::Request;
use crate::model::secret::Secret;
use crate::model::usd::Usd;
use crate::ops::catalogue::{self, Catalogue, Freshness};
use crate::ops::guide::{self, Guide};
use crate::ops::journal;
use crate::ops::money::{self, Budget, Order};
use crate::ops::turn::{self, Ask, Audience, Keeper, Outcome, Responder};
use crate::platform::{Clock, Signals};
use crate::settings::Origin;
use crate::settings::nearest::distance;
use crate::store::Store;
use crate::store::gate::{Allowance, StoreGate};
use crate::store::lock;
use crate::store::log::Log;

use super::config::resolve_key;

/// The model that is built in.
pub(super) const GUIDE: &str = guide::MODEL;

/// Models to offer for completion: those of the kept catalogue, and the guide.
pub(super) fn known_models(store: &Store, base_url: &BaseUrl) -> Vec<String> {
    let mut models: Vec<String> = catalogue::kept(store, base_url)
        .ok()
        .flatten()
        .map(|kept| kept.models.into_iter().map(|model| model.id).collect())
        .unwrap_or_default();
    models.push(GUIDE.to_owned());
    models
}

/// To an error about a model that the server does not know, adds those of the kept catalogue
/// that look like it. Asks nobody.
pub(super) fn name_models(error: Error, context: &Context) -> Error {
    const MOST: usize = 3;
    let Some(wanted) = error.unknown_model_text() else {
        return error;
    };
    let known = known_models(&context.store(), context.settings.base_url());
    let name = wanted.rsplit('/').next().unwrap_or(wanted).to_lowercase();
    let limit = (wanted.chars().count() / 3).max(2);
    let mut like: Vec<(usize, &String)> = known
        .iter()
        .map(|id| (distance(wanted, id), id))
        .filter(|(distance, id)| {
            *distance <= limit || (name.len() > 2 && id.to_lowercase().contains(&name))
        })
        .collect();
    like.sort();
    let like: Vec<&str> = like.iter().take(MOST).map(|(_, id)| id.as_str()).collect();
    match like.as_slice() {
        [] => error,
        [one] => error.hint(format!("did you mean `-m {one}`?")),
        [first, rest @ ..] => {
            let rest = rest.join(", ");
            error.hint(format!("did you mean `-m {first}`, or {rest}?"))
        }
    }
}

/// What one call limits beyond the settings.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// The longest time for the whole reply.
    pub(super) total: Option<Duration>,
    /// Whether to try again when a server is busy or away.
    pub(super) retry: bool,
    /// Whether to wait where the account allows no request now.
    pub(super) wait: bool,
    /// Whether anything may be left on the disk.
    pub(super) keep: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            total: None,
            retry: true,
            wait: true,
            keep: true,
        }
    }
}

/// The line to whoever answers; made when it is first needed.
pub(super) struct Connection {
    limits: Limits,
    server: Option<Server>,
    guide: Option<GuideResponder>,
    /// Whether the guide was asked for last.
    to_guide: bool,
}

impl Connection {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            server: None,
            guide: None,
            to_guide: false,
        }
    }

    /// The models to ask: those named on the command line, or the conversation's, or the
    /// configured one, or the server's default.
    pub(super) fn models(
        &mut self,
        named: &[String],
        own: Option<&str>,
        context: &mut Context,
    ) -> Result<Vec<String>> {
        if !named.is_empty() {
            return Ok(named.to_vec());
        }
        if let Some(model) = own.or(context.settings.model()) {
            return Ok(vec![model.to_owned()]);
        }
        if context.settings.base_url().is_openrouter() {
            return Ok(vec!["openrouter/auto".to_owned()]);
        }
        // Other servers have no "auto"; a local one often has just one model anyway.
        let client = self.server(context)?.client.clone();
        let found = fetch_catalogue(client, self.limits.keep, context)?;
        let first = found.models.into_iter().next().map(|model| vec![model.id]);
        first.ok_or_else(|| {
            Error::new(Kind::Unavailable, "the server has no models")
                .hint("load one there first, or name one with -m MODEL")
        })
    }

    /// Gets ready to ask these models: checks that there is a key if one is needed and that
    /// the budget is not used up, and starts to build the client while the caller goes on.
    /// Nothing is sent.
    pub(super) fn prepare(&mut self, models: &[String], context: &mut Context) -> Result<()> {
        self.to_guide = models.first().is_some_and(|model| model == GUIDE);
        if self.to_guide {
            self.guide.get_or_insert_with(GuideResponder::new);
            return Ok(());
        }
        let server = self.server(context)?;
        server.require_key()?;
        let (daily, monthly) = context.settings.cost_limits();
        let budget = Budget { daily, monthly };
        if !server.profile.has_account() || budget == Budget::default() {
            return Ok(());
        }
        let spent = money::spent(&context.store(), context.clock.now(), &context.clock.zone())?;
        money::check_budget(&budget, &spent)
    }

    /// A turn with whoever answers, and the line of its request in the log. What the guide
    /// says has no line: nothing was asked of a server. [`Connection::prepare`] was called
    /// before.
    pub(super) fn answer(
        &mut self,
        keeper: &mut Keeper,
        ask: &Ask,
        audience: &mut dyn Audience,
        clock: &dyn Clock,
        signals: &Signals,
        log: &Log,
    ) -> Result<Outcome> {
        let start = clock.elapsed();
        let answered = turn::answer(keeper, ask, self.responder(), audience, clock, signals);
        let took = clock.elapsed().saturating_sub(start);
        if let Some(server) = self.server.as_ref().filter(|_| !self.to_guide) {
            let base_url = &server.client.endpoint().base_url;
            journal::reply(log, base_url, ask, keeper, &answered, took);
        }
        answered
    }

    /// Whoever answers.
    fn responder(&mut self) -> &mut dyn Responder {
        match &mut self.server {
            Some(server) if !self.to_guide => server,
            _ => self.guide.get_or_insert_with(GuideResponder::new),
        }
    }

    /// Refuses a request that might cost more than `limit`, before anything is stored or sent.
    pub(super) fn check_cost(
        &mut self,
        limit: Usd,
        ask: &Ask,
        conversation: &Conversation,
        prompt: &str,
        context: &mut Context,
    ) -> Result<()> {
        // What a server of one's own answers is not paid for.
        if self.to_guide || !self.server(context)?.profile.has_account() {
            return Ok(());
        }
        let request = turn::request(ask, conversation, false);
        let context_bytes: usize = request
            .messages
            .iter()
            .map(|message| message.content.get().len())
            .sum();
        let order = Order {
            models: &ask.models,
            prompt_bytes: context_bytes + prompt.len(),
            max_tokens: ask.max_tokens,
        };
        let client = self.server(context)?.client.clone();
        let found = fetch_catalogue(client, self.limits.keep, context)?;
        money::check_cost(limit, &order, &found.models)
    }

    /// After a reply that came to its end: asks what earlier ones, which did not, have cost.
    pub(super) fn reconcile(&self, keeper: &mut Keeper, outcome: &Outcome) {
        let Some(server) = self
            .server
            .as_ref()
            .filter(|server| server.profile.is_openrouter())
        else {
            return;
        };
        if let (Keeper::Stored(writer), None) = (keeper, &outcome.error) {
            money::reconcile(writer, &server.client);
        }
    }

    /// The client for the configured server.
    pub(super) fn client(&mut self, context: &mut Context) -> Result<&Client> {
        Ok(&self.server(context)?.client)
    }

    fn server(&mut self, context: &mut Context) -> Result<&mut Server> {
        if self.server.is_none() {
            self.server = Some(Server::new(self.limits, context)?);
        }
        self.server
            .as_mut()
            .ok_or_else(|| Error::new(Kind::Bug, "the server was not set up"))
    }

    /// The request as `--dry-run` shows it: everything but the key.
    pub(super) fn describe(request: &Request<'_>, context: &mut Context) -> Result<Value> {
        if request.models[0] == GUIDE {
            return Ok(json!({ "schema": 1, "model": GUIDE, "network": false }));
        }
        let base_url = context.settings.base_url().clone();
        let profile = Profile::new(context.settings.profile(), &base_url)?;
        let has_key = resolve_key(context)?.map(|(key, _)| key).is_some();
        let mut bodies = request::bodies(request, profile).into_iter();
        let body = bodies
            .next()
            .map(|body| serde_json::from_slice(&body.json).unwrap_or(Value::Null));
        let mut headers = json!({ "content-type": "application/json" });
        if has_key {
            headers["authorization"] = "Bearer (redacted)".into();
        }
        let fall_back: Vec<String> = bodies.map(|body| body.model).collect();
        Ok(json!({
            "schema": 1,
            "method": "POST",
            "url": base_url.join("/chat/completions"),
            "headers": headers,
            "body": body,
            "then_ask": fall_back,
        }))
    }
}

/// The server's models. Fetched on a thread of its own: a server that says nothing must not
/// keep Ctrl-C waiting.
fn fetch_catalogue(client: Client, keep: bool, context: &Context) -> Result<Catalogue> {
    const LOOK: Duration = Duration::from_millis(20);
    let (sender, receiver) = mpsc::channel();
    let (store, now) = (context.store(), context.clock.now());
    let log = Arc::clone(&context.log);
    std::thread::spawn(move || {
        let found = catalogue::models(&store, &client, &log, now, Freshness::Hour, keep);
        // Nobody listens any more if Ctrl-C was pressed.
        let _ = sender.send(found);
    });
    loop {
        match receiver.recv_timeout(LOOK) {
            Ok(found) => return found,
            Err(mpsc::RecvTimeoutError::Timeout) => lock::stop_on(&context.signals)?,
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                return Err(Error::new(Kind::Bug, "fetching the models has stopped"));
            }
        }
    }
}

/// A chat-completions server.
struct Server {
    client: Client,
    profile: Profile,
    has_key: bool,
}

impl Server {
    fn new(limits: Limits, context: &mut Context) -> Result<Self> {
        let base_url = context.settings.base_url().clone();
        let profile = Profile::new(context.settings.profile(), &base_url)?;
        let key = resolve_key(context)?.map(|(key, _)| key);
        if let Some(key) = &key {
            context.log.hide(key);
        }
        if key.is_some() && !may_carry_key(context) {
            return Err(
                Error::new(Kind::Config, "the key is not sent over plain http")
                    .why(format!(
                        "{} is another machine, and anybody in between could read it",
                        base_url.host()
                    ))
                    .hint("use https, or allow it with --insecure-http"),
            );
        }
        let has_key = key.is_some();
        let endpoint = endpoint(key, limits, profile, context);
        let gate = gate(&endpoint.base_url, profile, limits, context)?;
        let clock = Arc::clone(&context.clock);
        let random = Arc::clone(&context.random);
        let mut client = Client::start(endpoint, clock, random);
        if let Some(gate) = gate {
            client = client.behind(gate);
        }
        Ok(Self {
            client,
            profile,
            has_key,
        })
    }

    fn require_key(&self) -> Result<()> {
        if self.has_key || !self.profile.needs_key() {
            return Ok(());
        }
        Err(Error::new(Kind::Denied, "there is no API key")
            .why(format!("{} wants one", self.client.endpoint().base_url.host()))
            .hint("keep one with `pachat config key set`, or set OPENROUTER_API_KEY; without any, ask the offline guide: pachat send -m builtin/guide 'how do I connect?'"))
    }
}

/// Whether a key may go to the configured server: over plain http to another machine, anybody
/// in between could read it.
pub(super) fn may_carry_key(context: &Context) -> bool {
    let base_url = context.settings.base_url();
    base_url.is_https() || base_url.is_loopback() || context.global.insecure_http
}

/// The configured server, and how to talk to it.
pub(super) fn endpoint(
    key: Option<Secret>,
    limits: Limits,
    profile: Profile,
    context: &Context,
) -> Endpoint {
    Endpoint {
        base_url: context.settings.base_url().clone(),
        profile,
        key,
        ca_file: context.settings.ca_file().map(PathBuf::from),
        attribution: context.settings.attribution(),
        limits: api::Limits {
            connect: context.settings.connect_timeout(),
            first_byte: context.settings.first_byte_timeout(),
            idle: context.settings.idle_timeout(),
            data_idle: context.settings.data_idle_timeout(),
            total: limits.total.or(context.settings.total_timeout()),
        },
        memory: context.settings.memory_limit(),
        retry: if limits.retry {
            RetryPolicy::default()
        } else {
            RetryPolicy::never()
        },
        network: NetworkEnvironment::new(&context.environment),
    }
}

/// The limits of the person's account with a server. One on this machine or in the local
/// network has no account, and is limited only if the settings say so.
fn gate(
    base_url: &BaseUrl,
    profile: Profile,
    limits: Limits,
    context: &Context,
) -> Result<Option<Arc<dyn Gate>>> {
    let asked = |key| {
        context
            .settings
            .origin(key)
            .is_some_and(|origin| *origin != Origin::Default)
    };
    let named = asked("limits.requests_per_minute") || asked("limits.requests_at_once");
    if !profile.has_account() && !named {
        return Ok(None);
    }
    let allowance = Allowance {
        per_minute: context.settings.requests_per_minute(),
        at_once: context.settings.requests_at_once(),
    };
    let gate = StoreGate::new(&context.store(), base_url.file_name(), allowance);
    if limits.wait {
        return Ok(Some(Arc::new(gate)));
    }
    // Who does not wait must know before anything is stored, and then keeps its place.
    match gate.poll() {
        Passage::Open(permit) => Ok(Some(Arc::new(Prepaid {
            permit: Mutex::new(Some(permit)),
            gate,
        }))),
        Passage::Wait(wait) => Err(api::too_busy(&wait)),
    }
}

/// A gate that has been passed already, once.
struct Prepaid {
    permit: Mutex<Option<Permit>>,
    gate: StoreGate,
}

impl Gate for Prepaid {
    fn poll(&self) -> Passage {
        let permit = self.permit.lock().ok().and_then(|mut permit| permit.take());
        permit.map_or_else(|| self.gate.poll(), Passage::Open)
    }
}

impl Responder for Server {
    fn reply(&mut self, request: &Request<'_>) -> Result<Box<dyn ReplyStream>> {
        let bodies = request::bodies(request, self.profile);
        Ok(Box::new(self.client.reply(bodies)))
    }
}

/// The built-in guide.
struct GuideResponder(Guide);

impl GuideResponder {
    fn new() -> Self {
        Self(Guide::new(manual::sections()))
    }
}

impl Responder for GuideResponder {
    fn reply(&mut self, request: &Request<'_>) -> Result<Box<dyn ReplyStream>> {
        let question = request
            .messages
            .iter()
            .rfind(|message| message.role == Role::User);
        let question = question
            .and_then(|message| serde_json::from_str::<Content>(message.content.get()).ok())
            .map(|content| content.to_text().into_owned())
            .unwrap_or_default();
        Ok(Box::new(self.0.answer(&question)))
    }
}
