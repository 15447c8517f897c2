//! The server's list of models, kept for an hour.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::api::Client;
use crate::api::models::{self, ModelInfo};
use crate::model::base_url::BaseUrl;
use crate::model::error::{Error, Kind, Result};
use crate::model::time;
use crate::store::log::Log;
use crate::store::{Store, atomic};

use super::journal;

/// How long a list counts as fresh, in seconds.
const FRESH: i64 = 3600;

/// How long the server has to send the list.
const LIMIT: Duration = Duration::from_secs(15);

/// The most that is read back: OpenRouter's list has half a megabyte.
const LARGEST: u64 = 64 << 20;

/// How fresh a list must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// Fetched now.
    Now,
    /// At most an hour old.
    Hour,
    /// Of any age.
    Any,
}

/// A list of models.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Catalogue {
    /// Which server's.
    pub origin: String,
    /// When it was fetched.
    #[serde(with = "time")]
    pub fetched_at: Timestamp,
    /// The models, in the server's order.
    pub models: Vec<ModelInfo>,
    /// Why it is older than it should be, if it is.
    #[serde(skip)]
    pub stale: Option<String>,
}

/// The kept list of a server, if there is one, however old. A file that cannot be read counts
/// as none: it can be fetched again.
pub fn kept(store: &Store, base_url: &BaseUrl) -> Result<Option<Catalogue>> {
    let path = path(store, base_url);
    match store.disk().read(&path, LARGEST.min(store.memory_limit())) {
        Ok(bytes) => {
            let catalogue: Option<Catalogue> = serde_json::from_slice(&bytes).ok();
            Ok(catalogue.filter(|catalogue| catalogue.origin == base_url.as_str()))
        }
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::FileTooLarge
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(Error::io("cannot read the list of models", &path, &error)),
    }
}

/// The list of the client's server: the kept one if it is fresh enough, or else the server's,
/// which is kept if it may be. If the server is away, an older list is better than none.
pub fn models(
    store: &Store,
    client: &Client,
    log: &Log,
    now: Timestamp,
    freshness: Freshness,
    keeps: bool,
) -> Result<Catalogue> {
    let base_url = &client.endpoint().base_url;
    let kept = kept(store, base_url)?;
    if freshness != Freshness::Now
        && let Some(kept) = &kept
        && (freshness == Freshness::Any || is_fresh(kept, now))
    {
        return Ok(kept.clone());
    }
    let start = store.clock().elapsed();
    let fetched = fetch(store, client, now, LIMIT, keeps);
    let took = store.clock().elapsed().saturating_sub(start);
    journal::models(log, base_url, &fetched, took);
    match fetched {
        Ok(catalogue) => Ok(catalogue),
        Err(error) if error.kind() == Kind::Unavailable && freshness == Freshness::Hour => {
            match kept {
                Some(kept) => Ok(Catalogue {
                    stale: Some(error.headline()),
                    ..kept
                }),
                None => Err(error),
            }
        }
        Err(error) => Err(error),
    }
}

/// The server's list as it is now, within `limit`; kept if it may be. Nothing of this goes
/// into the log.
pub fn fetch(
    store: &Store,
    client: &Client,
    now: Timestamp,
    limit: Duration,
    keeps: bool,
) -> Result<Catalogue> {
    let base_url = &client.endpoint().base_url;
    let json = client.get(models::PATH, limit)?;
    let catalogue = Catalogue {
        origin: base_url.as_str().to_owned(),
        fetched_at: now,
        models: models::parse(&json)?,
        stale: None,
    };
    // The list is there to be used; that it could not be kept only costs time later.
    if keeps && let Err(error) = keep(store, base_url, &catalogue) {
        log::warn!("the list of models is not kept: {error}");
    }
    Ok(catalogue)
}

/// A list from the future counts as old: the clock was wrong then, or is now. An empty one is
/// never fresh: a server that has loaded no model yet will soon have one.
pub fn is_fresh(catalogue: &Catalogue, now: Timestamp) -> bool {
    !catalogue.models.is_empty()
        && (0..FRESH).contains(&now.duration_since(catalogue.fetched_at).as_secs())
}

fn keep(store: &Store, base_url: &BaseUrl, catalogue: &Catalogue) -> Result<()> {
    atomic::create_dirs(store.disk(), &store.layout().cache_dir())?;
    let json = serde_json::to_vec(catalogue)
        .map_err(|error| Error::new(Kind::Bug, "cannot write JSON").cause(error))?;
    atomic::replace(store.disk(), store.random(), &path(store, base_url), &json)
}

/// One file for each server; two on one host and port take turns in it.
fn path(store: &Store, base_url: &BaseUrl) -> PathBuf {
    let name = format!("models-{}.json", base_url.file_name());
    store.layout().cache_dir().join(name)
}
