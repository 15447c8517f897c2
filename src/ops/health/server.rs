//! Probes of the server: whether it can be talked to, and whether it has the model.
//!
//! Layer: ops. Never a request that could be charged, and none that goes into the log.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::api::Client;
use crate::api::models::ModelInfo;
use crate::api::probe::{self, Answer, Diagnosis, Fault, Findings, Progress};
use crate::api::{Profile, Server};
use crate::model::base_url::BaseUrl;
use crate::ops::catalogue;
use crate::platform::Network;
use crate::store::Store;

use super::local::is_there;
use super::report::told;
use super::{GRACE, MODEL, Outcome, Probe, SERVER, Status, Task, Thresholds};

/// A server to look at.
pub struct ServerJob {
    /// Talks to it.
    pub client: Client,
    /// The way there.
    pub network: Arc<dyn Network>,
    /// Whether the key is not there to be judged.
    pub keyless: bool,
}

/// The model of new conversations.
#[derive(Clone, Debug)]
pub struct Model {
    /// Its name; `None` for the server's first.
    pub name: Option<String>,
    /// The server that has it.
    pub base_url: BaseUrl,
    /// What kind of server that is.
    pub profile: Profile,
    /// Whether it is built in.
    pub built_in: bool,
}

const CHOOSE: &str = "choose one with `pachat models`; then: pachat config set chat.model MODEL";

/// Variants that OpenRouter makes of any model; its list does not have them.
const VARIANTS: [&str; 6] = [
    ":nitro",
    ":floor",
    ":online",
    ":thinking",
    ":extended",
    ":exacto",
];

/// How soon the end of a model or a key is worth a warning.
const SOON: SignedDuration = SignedDuration::from_hours(14 * 24);

/// The server and its models, on a thread of their own.
pub(super) fn task(
    job: ServerJob,
    model: Model,
    limit: Duration,
    limits: Thresholds,
    store: &Store,
) -> Task {
    let progress = Progress::default();
    let seen = progress.clone();
    let client = job.client.clone();
    let store = store.clone();
    Task {
        names: &[SERVER, MODEL, super::CLOCK],
        limit: limit + GRACE,
        work: Box::new(move || {
            let findings = probe::probe(&job.client, &job.network, limit, job.keyless, &progress);
            look(&findings, &job, &model, limit, &limits, &store)
        }),
        late: Box::new(move || {
            let fault = Fault::too_slow(&client, seen.step(), limit);
            vec![
                faulty(&fault, &client),
                Probe::skipped(MODEL, "the server cannot be used"),
            ]
        }),
    }
}

/// Without asking anybody.
pub(super) fn unasked(model: &Model, why: &str, store: &Store) -> Outcome {
    let known = catalogue::kept(store, &model.base_url).ok().flatten();
    let models = match &known {
        Some(kept) if catalogue::is_fresh(kept, store.clock().now()) => Some(&kept.models),
        _ => None,
    };
    let why = format!("not asked ({why})");
    Outcome {
        probes: vec![
            Probe::skipped(SERVER, &why),
            match models {
                Some(models) => judge(model, models, store.clock().now()),
                None if model.built_in => built_in(),
                None => Probe::skipped(MODEL, format!("{}: {why}", shown(model))),
            },
        ],
        ..Outcome::default()
    }
}

fn look(
    findings: &Findings,
    job: &ServerJob,
    model: &Model,
    limit: Duration,
    limits: &Thresholds,
    store: &Store,
) -> Outcome {
    let now = store.clock().now();
    let skew = findings.skew;
    let (server, model) = match &findings.result {
        Ok(answer) => (
            answering(findings, answer, job, limits, now),
            models(answer, job, model, limit, store),
        ),
        Err(fault) => {
            let server = measured(faulty(fault, &job.client), findings);
            let model = if model.built_in {
                built_in()
            } else {
                Probe::skipped(
                    MODEL,
                    format!("{}: the server cannot be used", shown(model)),
                )
            };
            (server, model)
        }
    };
    Outcome {
        probes: vec![server, model],
        skew,
        ..Outcome::default()
    }
}

fn faulty(fault: &Fault, client: &Client) -> Probe {
    // A server that is there and busy is there.
    let status = match fault.diagnosis {
        Diagnosis::RateLimited => Status::Degraded,
        _ => Status::Unhealthy,
    };
    let base_url = client.endpoint().base_url.as_str();
    let otherwise = match fault.diagnosis {
        Diagnosis::Refused => "check host and port of the base URL, and whether the server runs",
        Diagnosis::Timeout | Diagnosis::Unreachable => {
            "check the network; behind a proxy, set HTTPS_PROXY"
        }
        Diagnosis::ExpiredKeyOrNoCredit => {
            "look at the key and the account where it was made; then: pachat config key set"
        }
        _ => "try again later; see what exactly happens with -vv",
    };
    Probe::new(SERVER, format!("{base_url} cannot be used")).failed(
        status,
        fault.diagnosis.code(),
        &fault.error,
        otherwise,
    )
}

fn answering(
    findings: &Findings,
    answer: &Answer,
    job: &ServerJob,
    limits: &Thresholds,
    now: Timestamp,
) -> Probe {
    let base_url = job.client.endpoint().base_url.as_str();
    let took = findings.times.response.unwrap_or_default();
    let mut value = format!("{base_url} answers in {} ms", took.as_millis());
    let account = answer.account.as_ref();
    if job.keyless && job.client.endpoint().profile.needs_key() {
        value.push_str("; no key was tried");
    }
    if let Some(left) = account.and_then(|account| account.limit_remaining) {
        value.push_str(&format!("; {} left to spend", left.rounded()));
    }
    let mut probe = measured(Probe::new(SERVER, value), findings);
    if let Some(left) = account.and_then(|account| account.limit_remaining) {
        probe = probe.metric(
            "key_limit_remaining_usd",
            "What may still be spent with the key",
            left.to_string().parse().unwrap_or(f64::NAN),
        );
    }
    if took > limits.response {
        probe = probe.degraded(
            "slow",
            format!(
                "a small request took {} ms, and {} ms are allowed",
                took.as_millis(),
                limits.response.as_millis()
            ),
            format!(
                "try again later; or allow more: pachat config set health.max_response_ms {}",
                limits.response.as_millis().saturating_mul(2)
            ),
        );
    }
    if let Some(end) = account.and_then(|account| account.expires_at)
        && end.duration_since(now) < SOON
    {
        probe = probe.degraded(
            "key-expires-soon",
            format!("the API key expires on {}", end.strftime("%Y-%m-%d")),
            "make a new one at https://openrouter.ai/settings/keys; then: pachat config key set",
        );
    }
    probe
}

/// Adds how long the steps took.
fn measured(mut probe: Probe, findings: &Findings) -> Probe {
    let times = findings.times;
    for (name, about, time) in [
        (
            "server_name_seconds",
            "How long looking up the server's name took",
            times.name,
        ),
        (
            "server_connect_seconds",
            "How long connecting to the server took",
            times.connect,
        ),
        (
            "server_tls_seconds",
            "How long agreeing on encryption took",
            times.tls,
        ),
        (
            "server_response_seconds",
            "How long a small request took, over a connection of its own",
            times.response,
        ),
    ] {
        if let Some(time) = time {
            probe = probe.metric(name, about, time.as_secs_f64());
        }
    }
    probe
}

/// The model against the server's list, which came along or is asked for where it is public.
fn models(
    answer: &Answer,
    job: &ServerJob,
    model: &Model,
    limit: Duration,
    store: &Store,
) -> Probe {
    let now = store.clock().now();
    if model.built_in {
        return built_in();
    }
    if let Some(models) = &answer.models {
        return judge(model, models, now);
    }
    if answer.account.is_none() {
        return Probe::skipped(MODEL, format!("{}: no key was tried", shown(model)));
    }
    let kept = catalogue::kept(store, &model.base_url).ok().flatten();
    if let Some(kept) = kept.filter(|kept| catalogue::is_fresh(kept, now)) {
        return judge(model, &kept.models, now);
    }
    // The list has half a megabyte: it is kept for the next look, where there is a place.
    let keeps = matches!(is_there(store), Ok(true)) && store.check_format().is_ok();
    match catalogue::fetch(store, &job.client, now, limit, keeps) {
        Ok(found) => judge(model, &found.models, now),
        Err(error) => {
            let (cause, _) = told(&error);
            Probe::skipped(
                MODEL,
                format!("{}: no list of models: {cause}", shown(model)),
            )
        }
    }
}

fn shown(model: &Model) -> &str {
    model.name.as_deref().unwrap_or("the server's first")
}

fn built_in() -> Probe {
    Probe::new(MODEL, "the built-in guide, which needs no server")
}

/// Whether the list has the model.
fn judge(model: &Model, models: &[ModelInfo], now: Timestamp) -> Probe {
    let Some(name) = &model.name else {
        return match models.first() {
            Some(first) => Probe::new(MODEL, format!("{}, the server's first", first.id)),
            None => Probe::new(MODEL, "none").unhealthy(
                Diagnosis::ModelGone.code(),
                "the server has no models",
                "load one there first; or name one: pachat config set chat.model MODEL",
            ),
        };
    };
    if is_unlisted(name, model.profile) {
        return Probe::new(MODEL, format!("{name}, which the server chooses itself"));
    }
    let found = models
        .iter()
        .find(|one| is_named(&one.id, name, model.profile));
    let Some(found) = found else {
        let probe = Probe::new(MODEL, name.clone());
        let has = match models.len() {
            0 => "no models".to_owned(),
            1 => format!("only {}", models[0].id),
            many => format!("{many} others"),
        };
        let cause = format!("the server does not have the model {name}; it has {has}");
        // It answers any name with the one model that it has loaded.
        return if model.profile.server() == Server::LlamaCpp {
            probe.degraded(Diagnosis::ModelGone.code(), cause, CHOOSE)
        } else {
            probe.unhealthy(Diagnosis::ModelGone.code(), cause, CHOOSE)
        };
    };
    let probe = Probe::new(MODEL, found.id.clone());
    let end = found.expires.as_deref().and_then(end_of);
    match end {
        Some(end) if end <= now => probe.unhealthy(
            Diagnosis::ModelGone.code(),
            format!("the server has withdrawn the model {name}"),
            CHOOSE,
        ),
        Some(end) if end.duration_since(now) < SOON => probe.degraded(
            "model-goes",
            format!(
                "the server withdraws the model on {}",
                end.strftime("%Y-%m-%d")
            ),
            CHOOSE,
        ),
        _ => probe,
    }
}

/// Names that stand for others, and are in no list.
fn is_unlisted(name: &str, profile: Profile) -> bool {
    profile.is_openrouter()
        && (name.starts_with('~') || name.starts_with('@') || name.starts_with("openrouter/"))
}

fn is_named(id: &str, name: &str, profile: Profile) -> bool {
    if id == name {
        return true;
    }
    match profile.server() {
        Server::OpenRouter => VARIANTS
            .iter()
            .any(|variant| name.strip_suffix(variant) == Some(id)),
        // Ollama lists the tag that it takes where none is named.
        _ => id.strip_suffix(":latest") == Some(name),
    }
}

/// The end of a day, `YYYY-MM-DD`.
fn end_of(day: &str) -> Option<Timestamp> {
    let day: jiff::civil::Date = day.get(..10)?.parse().ok()?;
    let next = day.tomorrow().ok()?;
    Some(next.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
}
