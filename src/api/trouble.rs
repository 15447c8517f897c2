//! Failures of the connection itself, in plain words.
//!
//! Layer: `api`. A transport error is a chain of causes from four libraries; what a person
//! needs is which of a handful of things went wrong.

use std::error::Error as _;
use std::io;
use std::path::PathBuf;

use crate::model::error::{Error, Kind};

use super::failure::{Context, Failure, Retry};

/// What went wrong with a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// The client could not be set up: a certificate file, a proxy address.
    Setup(Option<PathBuf>),
    /// The host name is unknown.
    Dns,
    /// Nobody listens there.
    Refused,
    /// There is no way there.
    Unreachable,
    /// The certificate is not acceptable.
    Certificate(BadCertificate),
    /// What answers does not speak TLS, or not well.
    Tls,
    /// The proxy does not let it through.
    Proxy,
    /// No connection in time.
    ConnectTimeout,
    /// The server closed the connection, or the rest of the body never came.
    Closed,
    /// What answers does not speak HTTP.
    NotHttp,
    /// pachat's own worker is gone.
    Lost,
    /// Something else.
    Other,
}

/// What is wrong with a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadCertificate {
    /// Its time is over.
    Expired,
    /// Its time has not come.
    Early,
    /// Nobody who is trusted has signed it.
    UnknownIssuer,
    /// It is another server's.
    WrongName,
    /// Something else.
    Other,
}

impl BadCertificate {
    fn new(error: &rustls::Error) -> Option<Self> {
        use rustls::CertificateError as Bad;
        match error {
            rustls::Error::NoCertificatesPresented => Some(Self::Other),
            rustls::Error::InvalidCertificate(bad) => Some(match bad {
                Bad::Expired | Bad::ExpiredContext { .. } => Self::Expired,
                Bad::NotValidYet | Bad::NotValidYetContext { .. } => Self::Early,
                Bad::UnknownIssuer => Self::UnknownIssuer,
                Bad::NotValidForName | Bad::NotValidForNameContext { .. } => Self::WrongName,
                _ => Self::Other,
            }),
            _ => None,
        }
    }

    /// Why it is not trusted, and what to do about it.
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Expired => (
                "its certificate is not trusted: it has expired",
                "check this machine's clock; if it is right, the server's owner has to renew the certificate",
            ),
            Self::Early => (
                "its certificate is not trusted: it is not valid yet",
                "check this machine's clock",
            ),
            Self::UnknownIssuer => (
                "its certificate is not trusted: it is signed by an unknown authority",
                "for a certificate of your own authority, set SSL_CERT_FILE or ca_file; otherwise somebody may be in between",
            ),
            Self::WrongName => (
                "its certificate is not trusted: it is for another name",
                "check the host in the base URL; behind a proxy, somebody may be in between",
            ),
            Self::Other => (
                "its certificate is not trusted",
                "check this machine's clock; for a certificate of your own authority, set SSL_CERT_FILE or ca_file",
            ),
        }
    }
}

/// A failed connection, and the words of the library for it.
#[derive(Clone, Debug)]
pub(super) struct Trouble {
    pub(super) cause: Cause,
    text: String,
}

impl Trouble {
    /// The client cannot be set up.
    pub(super) fn setup(text: impl Into<String>, path: Option<PathBuf>) -> Self {
        Self {
            cause: Cause::Setup(path),
            text: text.into(),
        }
    }

    /// The worker ended without a word.
    pub(super) fn lost() -> Self {
        Self {
            cause: Cause::Lost,
            text: "the network thread ended".into(),
        }
    }

    /// Finds out what an error of a socket is about; `otherwise` where it does not tell.
    pub(super) fn of_io(error: &io::Error, otherwise: Cause) -> Self {
        Self {
            cause: cause_of(error).unwrap_or(otherwise),
            text: error.to_string(),
        }
    }

    /// What the library says.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Finds out what an error of the HTTP library is about.
    pub(super) fn new(error: reqwest::Error) -> Self {
        let error = error.without_url();
        let mut texts = vec![error.to_string()];
        let mut cause = None;
        let mut source = error.source();
        while let Some(inner) = source {
            cause = cause_of(inner).or(cause);
            texts.push(inner.to_string());
            source = inner.source();
        }
        let text = texts.pop().unwrap_or_default();
        let all = format!("{}: {text}", texts.join(": ")).to_lowercase();
        // A tunnel that fails does so for reasons that look like the server's own.
        let cause = if all.contains("tunnel") {
            Cause::Proxy
        } else {
            let timeout = error.is_timeout().then_some(Cause::ConnectTimeout);
            cause
                .or_else(|| cause_by_words(&all))
                .or(timeout)
                .unwrap_or(Cause::Other)
        };
        Self { cause, text }
    }

    /// What it means for a reply of which nothing has arrived.
    pub(super) fn into_failure(self, context: &Context<'_>) -> Failure {
        let origin = context.base_url.origin();
        let host = context.base_url.host();
        let what = format!("cannot reach {origin}");
        let unavailable = |why: &str| Error::new(Kind::Unavailable, what.clone()).why(why);
        let local = context.profile.is_local();
        let cause = match self.cause {
            // Whose name it is, or who refused, cannot be told apart through a proxy.
            Cause::Dns | Cause::Refused | Cause::Unreachable | Cause::ConnectTimeout
                if context.proxied =>
            {
                Cause::Proxy
            }
            cause => cause,
        };
        let (error, retry) = match cause {
            Cause::Setup(path) => {
                let error = Error::new(Kind::Config, "the connection cannot be set up")
                    .why(context.tidy(&self.text));
                return Failure::new(
                    match path {
                        Some(path) => error.path(&path),
                        None => error,
                    },
                    Retry::Never,
                );
            }
            Cause::Dns => (
                unavailable(&format!("the name {host} is not known"))
                    .hint("check the network connection and the base URL"),
                Retry::Later,
            ),
            Cause::Refused if local => (
                unavailable("nothing listens there")
                    .hint("start the server, or check the port of the base URL"),
                Retry::Later,
            ),
            Cause::Refused => (unavailable("the connection was refused"), Retry::Later),
            Cause::Unreachable => (
                unavailable("there is no way to it")
                    .hint("check the network connection; behind a proxy, set HTTPS_PROXY"),
                Retry::Later,
            ),
            Cause::Certificate(bad) => {
                let (why, hint) = bad.words();
                (unavailable(why).hint(hint), Retry::Never)
            }
            Cause::Tls => (
                unavailable("the encrypted connection failed")
                    .hint("check whether the base URL should begin with http:// instead"),
                Retry::Never,
            ),
            Cause::Proxy => (
                unavailable("the proxy cannot be reached or does not let the connection through")
                    .hint("check HTTPS_PROXY and NO_PROXY"),
                Retry::Later,
            ),
            Cause::ConnectTimeout => (unavailable("no connection in time"), Retry::Later),
            Cause::Closed => {
                let error = unavailable("the server closed the connection without an answer");
                let unencrypted = local && context.base_url.is_https();
                let error = if unencrypted {
                    error.hint("check whether the base URL should begin with http:// instead")
                } else {
                    error
                };
                (error, Retry::Later)
            }
            Cause::NotHttp => (
                Error::new(Kind::Incomplete, format!("{origin} is not an API"))
                    .why("what answers does not speak HTTP")
                    .hint("check the base URL: https or http, host and port"),
                Retry::Never,
            ),
            Cause::Lost => (
                Error::new(Kind::Bug, "the network thread of pachat ended"),
                Retry::Never,
            ),
            Cause::Other => (unavailable("the connection failed"), Retry::Later),
        };
        let failure = Failure::new(error.cause(context.tidy(&self.text)), retry);
        failure.announced_as("cannot connect")
    }

    /// What cut a reply off, in a few words.
    pub(super) fn cut(&self) -> &'static str {
        match self.cause {
            Cause::Closed => "the server closed the connection midway",
            Cause::Lost => "the network thread of pachat ended",
            _ => "the connection broke midway",
        }
    }
}

/// What the texts say, where the types do not.
fn cause_by_words(all: &str) -> Option<Cause> {
    let known = [
        ("dns error", Cause::Dns),
        ("failed to lookup", Cause::Dns),
        ("proxy", Cause::Proxy),
        ("unexpected eof", Cause::Closed),
        ("end of file", Cause::Closed),
        ("incomplete message", Cause::Closed),
        ("connection closed", Cause::Closed),
        ("connection reset", Cause::Closed),
        ("invalid http", Cause::NotHttp),
    ];
    let found = known.into_iter().find(|(words, _)| all.contains(words));
    found.map(|(_, cause)| cause)
}

/// What one link of the chain says by its type.
fn cause_of(error: &(dyn std::error::Error + 'static)) -> Option<Cause> {
    if let Some(error) = error.downcast_ref::<rustls::Error>() {
        return Some(BadCertificate::new(error).map_or(Cause::Tls, Cause::Certificate));
    }
    let error = error.downcast_ref::<io::Error>()?;
    // An I/O error hides what it wraps from `source`, and one may wrap another.
    if let Some(found) = error.get_ref().and_then(|inner| cause_of(inner)) {
        return Some(found);
    }
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Some(Cause::Refused),
        io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::NetworkDown
        | io::ErrorKind::AddrNotAvailable => Some(Cause::Unreachable),
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::UnexpectedEof => Some(Cause::Closed),
        io::ErrorKind::TimedOut => Some(Cause::ConnectTimeout),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::client::Endpoint;
    use crate::platform::clock::RealClock;

    #[test]
    fn a_bad_certificate_is_found_however_deep_it_is_wrapped() {
        let bad = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        let wrapped = io::Error::other(io::Error::other(bad));
        let unknown = Cause::Certificate(BadCertificate::UnknownIssuer);
        assert_eq!(cause_of(&wrapped), Some(unknown));
        let alert = rustls::Error::AlertReceived(rustls::AlertDescription::InternalError);
        assert_eq!(cause_of(&io::Error::other(alert)), Some(Cause::Tls));
        let refused = io::Error::other(io::Error::from(io::ErrorKind::ConnectionRefused));
        assert_eq!(cause_of(&refused), Some(Cause::Refused));
        assert_eq!(cause_of(&io::Error::other("words")), None);
    }

    #[test]
    fn each_cause_has_its_kind_and_only_passing_ones_are_tried_again() {
        let endpoint = Endpoint::new("https://api.example.com/v1".parse().unwrap());
        let clock = RealClock::start();
        let context = endpoint.context("m", &clock);
        for (cause, kind, retry) in [
            (Cause::Setup(None), Kind::Config, Retry::Never),
            (Cause::Dns, Kind::Unavailable, Retry::Later),
            (Cause::Refused, Kind::Unavailable, Retry::Later),
            (Cause::Unreachable, Kind::Unavailable, Retry::Later),
            (
                Cause::Certificate(BadCertificate::Expired),
                Kind::Unavailable,
                Retry::Never,
            ),
            (Cause::Tls, Kind::Unavailable, Retry::Never),
            (Cause::Proxy, Kind::Unavailable, Retry::Later),
            (Cause::ConnectTimeout, Kind::Unavailable, Retry::Later),
            (Cause::Closed, Kind::Unavailable, Retry::Later),
            (Cause::NotHttp, Kind::Incomplete, Retry::Never),
            (Cause::Lost, Kind::Bug, Retry::Never),
            (Cause::Other, Kind::Unavailable, Retry::Later),
        ] {
            let trouble = Trouble {
                cause: cause.clone(),
                text: "text".into(),
            };
            let failure = trouble.into_failure(&context);
            assert_eq!(failure.error.kind(), kind, "{cause:?}");
            assert_eq!(failure.retry, retry, "{cause:?}");
        }
    }
}
