//! Where a server is: the address that every request path is appended to.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use url::{Host, Url};

use super::error::{Error, Kind};

/// The path under which openrouter.ai speaks the protocol.
const OPENROUTER_PATH: &str = "/api/v1";
/// The path under which nearly every other server does.
const USUAL_PATH: &str = "/v1";
/// What people copy along with the base from a manual.
const ENDPOINT_PATH: &str = "/chat/completions";

/// A base URL in one normal form.
///
/// Invariant: scheme `http` or `https`, a host, no user name or password, no query,
/// no fragment, no slash at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseUrl(Url);

impl BaseUrl {
    /// The whole address, without a slash at its end.
    pub fn as_str(&self) -> &str {
        self.0.as_str().trim_end_matches('/')
    }

    /// The address of a path below the base; `path` begins with a slash.
    pub fn join(&self, path: &str) -> String {
        format!("{}{path}", self.as_str())
    }

    /// Scheme, host and port, such as `https://openrouter.ai` or
    /// `http://localhost:11434`: what a key belongs to. The scheme is part of it, so a
    /// key sealed for https is never sent over http.
    pub fn origin(&self) -> String {
        self.0.origin().ascii_serialization()
    }

    /// Host and port in characters that are safe in a file name. Two addresses may share it.
    pub fn file_name(&self) -> String {
        let safe = |character: char| character.is_ascii_alphanumeric() || character == '.';
        let host: String = self
            .host()
            .chars()
            .map(|character| if safe(character) { character } else { '_' })
            .collect();
        format!("{host}-{}", self.port())
    }

    /// The host name or address.
    pub fn host(&self) -> &str {
        self.0.host_str().unwrap_or_default()
    }

    /// The port, the scheme's own if none is written.
    pub fn port(&self) -> u16 {
        self.0.port_or_known_default().unwrap_or_default()
    }

    /// Whether the server is OpenRouter, one of its regional hosts included.
    pub fn is_openrouter(&self) -> bool {
        let host = self.host();
        host == "openrouter.ai" || host.ends_with(".openrouter.ai")
    }

    /// Whether the connection is encrypted.
    pub fn is_https(&self) -> bool {
        self.0.scheme() == "https"
    }

    /// Whether the server is this very machine.
    pub fn is_loopback(&self) -> bool {
        match self.0.host() {
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.to_canonical().is_loopback(),
            Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
            None => false,
        }
    }

    /// Whether the server is this machine or one on a private network.
    pub fn is_private(&self) -> bool {
        const PRIVATE_SUFFIXES: [&str; 5] = [".local", ".lan", ".internal", ".home.arpa", ".home"];
        if self.is_loopback() {
            return true;
        }
        match self.0.host() {
            Some(Host::Ipv4(address)) => is_private_address(address.into()),
            Some(Host::Ipv6(address)) => is_private_address(address.into()),
            Some(Host::Domain(name)) => {
                !name.contains('.') || PRIVATE_SUFFIXES.iter().any(|end| name.ends_with(end))
            }
            None => false,
        }
    }
}

fn is_private_address(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let shared = address.octets()[0] == 100 && address.octets()[1] & 0xc0 == 64;
            address.is_private() || address.is_link_local() || address.is_unspecified() || shared
        }
        IpAddr::V6(address) => {
            address.is_unique_local() || address.is_unicast_link_local() || address.is_unspecified()
        }
    }
}

impl FromStr for BaseUrl {
    type Err = Error;

    /// Reads and normalises an address as a person types it.
    fn from_str(text: &str) -> Result<Self, Error> {
        let refuse = |why: &str| {
            Error::new(Kind::Config, "the base URL cannot be used")
                .why(why)
                .hint("it looks like https://openrouter.ai/api/v1 or http://localhost:11434/v1")
        };
        let text = text.trim();
        if !text.contains("://") {
            return Err(refuse("it does not begin with https:// or http://"));
        }
        let mut url = Url::parse(text).map_err(|error| refuse(&error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(refuse("it does not begin with https:// or http://"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            // Not quoted back: it may be a password.
            return Err(refuse("it holds a user name or a password"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(refuse("it has a query or a fragment"));
        }
        let path = url.path().trim_end_matches('/');
        let path = path.strip_suffix(ENDPOINT_PATH).unwrap_or(path);
        let path = path.trim_end_matches('/').to_owned();
        url.set_path(&path);
        let mut base = Self(url);
        if path.is_empty() {
            let usual = match base.host() {
                "openrouter.ai" => OPENROUTER_PATH,
                "api.openai.com" => USUAL_PATH,
                _ if base.is_private() => USUAL_PATH,
                _ => "",
            };
            base.0.set_path(usual);
        }
        Ok(base)
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for BaseUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for BaseUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base(text: &str) -> BaseUrl {
        text.parse().unwrap()
    }

    #[test]
    fn what_people_type_becomes_one_form() {
        for (given, kept) in [
            ("https://openrouter.ai", "https://openrouter.ai/api/v1"),
            ("https://openrouter.ai/", "https://openrouter.ai/api/v1"),
            (
                "https://openrouter.ai/api/v1/",
                "https://openrouter.ai/api/v1",
            ),
            (
                " https://OpenRouter.ai/api/v1/chat/completions ",
                "https://openrouter.ai/api/v1",
            ),
            ("http://localhost:11434", "http://localhost:11434/v1"),
            ("http://localhost:11434/v1//", "http://localhost:11434/v1"),
            ("http://192.168.1.5:8000/", "http://192.168.1.5:8000/v1"),
            ("http://[::1]:8080", "http://[::1]:8080/v1"),
            (
                "https://api.groq.com/openai/v1",
                "https://api.groq.com/openai/v1",
            ),
            ("https://example.com", "https://example.com"),
            ("https://example.com:443/x", "https://example.com/x"),
        ] {
            assert_eq!(base(given).as_str(), kept, "{given}");
            assert_eq!(base(kept), base(given), "normal forms are stable: {given}");
        }
        assert_eq!(
            base("https://example.com").join("/models"),
            "https://example.com/models"
        );
    }

    #[test]
    fn what_cannot_be_a_server_is_refused_without_quoting_a_password() {
        for bad in [
            "",
            "openrouter.ai",
            "localhost:11434",
            "ftp://example.com",
            "file:///etc/passwd",
            "https://user:hunter2@example.com",
            "https://example.com/?key=1",
            "https://",
            "http://[::1",
        ] {
            let error = bad.parse::<BaseUrl>().unwrap_err();
            assert_eq!(error.kind(), Kind::Config, "{bad}");
            assert!(!error.headline().contains("hunter2"));
        }
    }

    #[test]
    fn the_origin_tells_schemes_and_ports_apart() {
        assert_eq!(
            base("https://openrouter.ai:443/api/v1").origin(),
            "https://openrouter.ai"
        );
        assert_eq!(
            base("http://openrouter.ai/x").origin(),
            "http://openrouter.ai"
        );
        assert_eq!(base("http://[::1]:8080").origin(), "http://[::1]:8080");
    }

    #[test]
    fn near_and_far_are_told_apart() {
        for near in [
            "http://localhost",
            "http://127.0.0.1:1",
            "http://[::1]",
            "http://a.localhost",
        ] {
            assert!(
                base(near).is_loopback() && base(near).is_private(),
                "{near}"
            );
        }
        for private in [
            "http://10.1.2.3",
            "http://172.16.0.1",
            "http://[fd00::1]",
            "http://gpu",
            "http://gpu.local",
            "http://host.docker.internal",
        ] {
            assert!(!base(private).is_loopback(), "{private}");
            assert!(base(private).is_private(), "{private}");
        }
        for far in [
            "https://openrouter.ai",
            "http://8.8.8.8",
            "http://172.32.0.1",
        ] {
            assert!(!base(far).is_private(), "{far}");
        }
    }
}
