//! The HTTP client and the thread that drives it.
//!
//! Layer: `api`. A blocked read cannot be called off, so requests run as tasks of a small
//! runtime on a thread of their own; dropping the [`Consumer`] of a response drops the
//! task, which closes the connection at once. The thread builds the client, too, while the
//! caller goes on reading files.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use reqwest::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue,
};
use rustls::RootCertStore;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::model::base_url::BaseUrl;
use crate::platform::Environment;

use super::client::Endpoint;
use super::pipe::{Consumer, Head, Producer, pipe};
use super::trouble::Trouble;

const USER_AGENT: &str = concat!("pachat/", env!("CARGO_PKG_VERSION"));

/// What the environment says about the network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkEnvironment {
    /// `SSL_CERT_FILE`: trust these certificates, and only these.
    pub certificate_file: Option<PathBuf>,
    /// `SSL_CERT_DIR`, likewise.
    pub certificate_directories: Vec<PathBuf>,
    /// `HTTPS_PROXY`, for https addresses.
    pub https_proxy: Option<String>,
    /// `http_proxy`, for http addresses.
    pub http_proxy: Option<String>,
    /// `ALL_PROXY`, where the other two are not set.
    pub all_proxy: Option<String>,
    /// `NO_PROXY`: hosts that are reached directly.
    pub no_proxy: Option<String>,
}

impl NetworkEnvironment {
    /// Picks the variables out. Either case is taken, except that `HTTP_PROXY` is not
    /// read: in a CGI program the client chooses it.
    pub fn new(environment: &Environment) -> Self {
        let either = |upper: &str, lower: &str| {
            let value = environment.get(lower).or_else(|| environment.get(upper));
            value.map(str::to_owned)
        };
        Self {
            certificate_file: environment
                .get_os("SSL_CERT_FILE")
                .map(|path| environment.resolve(path.as_ref())),
            certificate_directories: environment
                .get_os("SSL_CERT_DIR")
                .map(|paths: &OsStr| std::env::split_paths(paths).collect())
                .unwrap_or_default(),
            https_proxy: either("HTTPS_PROXY", "https_proxy"),
            http_proxy: environment.get("http_proxy").map(str::to_owned),
            all_proxy: either("ALL_PROXY", "all_proxy"),
            no_proxy: either("NO_PROXY", "no_proxy"),
        }
    }

    /// The proxy for an address, before `NO_PROXY` is looked at. This machine is always
    /// reached directly.
    pub(super) fn proxy_for(&self, base_url: &BaseUrl) -> Option<&str> {
        if base_url.is_loopback() {
            return None;
        }
        let own = if base_url.is_https() {
            &self.https_proxy
        } else {
            &self.http_proxy
        };
        own.as_deref().or(self.all_proxy.as_deref())
    }

    /// Whether requests to an address go through a proxy, as far as can be told.
    pub(super) fn is_proxied(&self, base_url: &BaseUrl) -> bool {
        let direct = self.no_proxy.as_deref().unwrap_or_default();
        self.proxy_for(base_url).is_some() && !names_host(direct, base_url.host())
    }
}

/// Whether `NO_PROXY` names this host: itself, a domain that it is in, or all. Addresses and
/// ranges are left to the HTTP library; this is for messages.
fn names_host(no_proxy: &str, host: &str) -> bool {
    no_proxy
        .split(',')
        .map(|entry| entry.trim().trim_start_matches('.'))
        .filter(|entry| !entry.is_empty())
        .any(|entry| {
            let before = host
                .len()
                .checked_sub(entry.len())
                .and_then(|at| Some((host.get(..at)?, host.get(at..)?)));
            entry == "*"
                || before.is_some_and(|(before, end)| {
                    end.eq_ignore_ascii_case(entry) && (before.is_empty() || before.ends_with('.'))
                })
        })
}

/// The one place where clients are set up: TLS, proxies, redirects, time to connect.
pub(super) fn builder(endpoint: &Endpoint) -> Result<reqwest::ClientBuilder, Trouble> {
    let base_url = &endpoint.base_url;
    let network = &endpoint.network;
    let proxy = network.proxy_for(base_url);
    let mut builder = reqwest::Client::builder()
        .tls_backend_preconfigured(tls(endpoint, proxy.is_some())?)
        // A redirected POST would become a GET, and the key would go to another host.
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(endpoint.limits.connect)
        .user_agent(USER_AGENT)
        .default_headers(headers(endpoint)?)
        // Small requests and small answers: nothing to be gained by waiting.
        .tcp_nodelay(true)
        // Proxies come from the environment that was handed down, not from the process.
        .no_proxy();
    if let Some(address) = proxy {
        let proxy = reqwest::Proxy::all(address)
            .map_err(|_| Trouble::setup("the address of the proxy is malformed", None))?;
        let direct = network.no_proxy.as_deref().unwrap_or_default();
        builder = builder.proxy(proxy.no_proxy(reqwest::NoProxy::from_string(direct)));
    }
    Ok(builder)
}

fn headers(endpoint: &Endpoint) -> Result<HeaderMap, Trouble> {
    let mut headers = HeaderMap::new();
    // A compressing proxy would hold a stream back.
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    if let Some(key) = &endpoint.key {
        let value = zeroize::Zeroizing::new(format!("Bearer {}", key.expose()));
        let mut value = HeaderValue::from_str(&value).map_err(|_| {
            Trouble::setup("the API key holds characters that cannot be sent", None)
        })?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    if endpoint.attribution && endpoint.profile.is_openrouter() {
        headers.insert(
            HeaderName::from_static("x-title"),
            HeaderValue::from_static("pachat"),
        );
    }
    Ok(headers)
}

/// rustls with ring. A connection that is not encrypted needs no roots, and the variables
/// of the environment, which many machines set for every program, are not worth reading all
/// certificates for it. A file in pachat's own settings is: it must not be wrong unnoticed.
pub(super) fn tls(endpoint: &Endpoint, proxied: bool) -> Result<rustls::ClientConfig, Trouble> {
    let encrypted = endpoint.base_url.is_https() || proxied;
    let roots = if encrypted || endpoint.ca_file.is_some() {
        roots(endpoint)?
    } else {
        RootCertStore::empty()
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Trouble::setup(error.to_string(), None))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

/// Whom to trust: the certificates that were named, or else the compiled-in ones.
fn roots(endpoint: &Endpoint) -> Result<RootCertStore, Trouble> {
    let network = &endpoint.network;
    let mut roots = RootCertStore::empty();
    let file = endpoint
        .ca_file
        .as_ref()
        .or(network.certificate_file.as_ref());
    if file.is_none() && network.certificate_directories.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        return Ok(roots);
    }
    let mut certificates = Vec::new();
    if let Some(file) = file {
        let loaded = rustls_native_certs::load_certs_from_paths(Some(file), None);
        if loaded.certs.is_empty() {
            let why = loaded.errors.first().map_or_else(
                || "there is no certificate in the file".to_owned(),
                ToString::to_string,
            );
            return Err(Trouble::setup(why, Some(file.clone())));
        }
        certificates.extend(loaded.certs);
    }
    for directory in &network.certificate_directories {
        certificates
            .extend(rustls_native_certs::load_certs_from_paths(None, Some(directory)).certs);
    }
    roots.add_parsable_certificates(certificates);
    Ok(roots)
}

struct Job {
    request: reqwest::Request,
    producer: Producer,
}

/// The thread that carries requests. It ends when the last handle is dropped.
#[derive(Clone)]
pub(super) struct Worker(UnboundedSender<Job>);

impl Worker {
    /// Starts the thread and returns at once.
    pub(super) fn start(endpoint: Arc<Endpoint>) -> Self {
        let (sender, receiver) = unbounded_channel();
        let started = thread::Builder::new()
            .name("network".into())
            .spawn(move || run(&endpoint, receiver));
        if let Err(error) = started {
            // The receiver is gone with the closure, so the first request will fail.
            log::error!("cannot start a thread: {error}");
        }
        Self(sender)
    }

    /// Sends a request off.
    pub(super) fn send(&self, request: reqwest::Request) -> Consumer {
        let (producer, consumer) = pipe();
        // Without a thread the producer is dropped here, which ends the response as lost.
        let _ = self.0.send(Job { request, producer });
        consumer
    }
}

fn run(endpoint: &Endpoint, mut jobs: UnboundedReceiver<Job>) {
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            log::error!("cannot start the network runtime: {error}");
            return;
        }
    };
    let client = runtime.block_on(async {
        builder(endpoint)?
            .build()
            .map_err(|error| Trouble::setup(error.to_string(), None))
    });
    runtime.block_on(async {
        while let Some(job) = jobs.recv().await {
            match &client {
                Ok(client) => {
                    tokio::spawn(carry(client.clone(), job));
                }
                Err(trouble) => job.producer.end(Err(trouble.clone())),
            }
        }
    });
    // A name look-up that hangs must not hold the thread.
    runtime.shutdown_background();
}

async fn carry(client: reqwest::Client, job: Job) {
    let Job { request, producer } = job;
    let work = async {
        let end = match client.execute(request).await {
            Ok(response) => relay(response, &producer).await,
            Err(error) => Err(Trouble::new(error)),
        };
        producer.end(end);
    };
    tokio::select! {
        () = work => {}
        () = producer.unwanted() => {}
    }
}

async fn relay(mut response: reqwest::Response, producer: &Producer) -> Result<(), Trouble> {
    producer.head(Head {
        status: response.status(),
        headers: std::mem::take(response.headers_mut()),
    });
    while let Some(bytes) = response.chunk().await.map_err(Trouble::new)? {
        producer.bytes(&bytes).await;
    }
    Ok(())
}

/// A POST of JSON, ready to be cloned for each try.
pub(super) fn post(url: &str, body: Vec<u8>) -> Result<reqwest::Request, Trouble> {
    let url = reqwest::Url::parse(url).map_err(|error| Trouble::setup(error.to_string(), None))?;
    let mut request = reqwest::Request::new(reqwest::Method::POST, url);
    request
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    *request.body_mut() = Some(body.into());
    Ok(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_proxy_names_hosts_and_domains() {
        for (no_proxy, named) in [
            ("", false),
            (",, .", false),
            ("*", true),
            ("example.com", true),
            (".example.com", true),
            ("localhost, EXAMPLE.com", true),
            ("api.example.com", true),
            ("ple.com", false),
            ("www.api.example.com", false),
            ("é.com", false),
        ] {
            assert_eq!(names_host(no_proxy, "api.example.com"), named, "{no_proxy}");
        }
    }
}
