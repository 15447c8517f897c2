//! What the settings need to know about a base URL: whether it is one, which origin a
//! key is bound to, and whether the server is near.
//!
//! Layer: settings. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use reqwest::Url;

/// The URL without trailing slashes, if it can be a base URL: http or https, with a
/// host, and without a user name, password, query or fragment. (A password in it would
/// show up in listings and logs; a query would end up in the middle of a request's URL.)
pub(super) fn check(text: &str) -> Option<String> {
    let url = Url::parse(text).ok()?;
    let plain = matches!(url.scheme(), "http" | "https")
        && url.has_host()
        && url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    plain.then(|| text.trim_end_matches('/').to_owned())
}

/// Scheme, host and port, such as `https://openrouter.ai` or `http://localhost:11434`:
/// lower case, without a scheme's default port. What a sealed key is bound to.
pub(super) fn origin(url: &str) -> Option<String> {
    let url = Url::parse(url).ok()?;
    Some(url.origin().ascii_serialization())
}

/// Whether the server is OpenRouter, one of its regional hosts included.
pub(super) fn is_openrouter(url: &str) -> bool {
    host(url).is_some_and(|host| host == "openrouter.ai" || host.ends_with(".openrouter.ai"))
}

/// Whether the server is on this machine or in the local network.
pub(super) fn is_local(url: &str) -> bool {
    let Some(host) = host(url) else {
        return false;
    };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    match bare.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => is_local_v4(address),
        Ok(IpAddr::V6(address)) => is_local_v6(address),
        // A name without a dot is only known in the local network.
        Err(_) => {
            !host.contains('.')
                || [".local", ".localhost", ".internal", ".lan", ".home.arpa"]
                    .iter()
                    .any(|end| host.ends_with(end))
        }
    }
}

fn host(url: &str) -> Option<String> {
    Some(Url::parse(url).ok()?.host_str()?.to_owned())
}

fn is_local_v4(address: Ipv4Addr) -> bool {
    address.is_loopback()
        || address.is_private()
        || address.is_link_local()
        || address.is_unspecified()
}

fn is_local_v6(address: Ipv6Addr) -> bool {
    address.is_loopback()
        || address.is_unspecified()
        || address.is_unique_local()
        || address.is_unicast_link_local()
        || address.to_ipv4_mapped().is_some_and(is_local_v4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_url_is_plain() {
        assert_eq!(
            check("https://openrouter.ai/api/v1/").as_deref(),
            Some("https://openrouter.ai/api/v1")
        );
        for bad in [
            "",
            "openrouter.ai/api/v1",
            "ftp://openrouter.ai",
            "https://key@openrouter.ai",
            "https://openrouter.ai/v1?key=1",
            "https://openrouter.ai/v1#x",
            "file:///etc/passwd",
        ] {
            assert_eq!(check(bad), None, "{bad}");
        }
    }

    #[test]
    fn an_origin_is_normal() {
        for (url, expected) in [
            ("https://OpenRouter.ai:443/api/v1", "https://openrouter.ai"),
            ("http://localhost:11434/v1", "http://localhost:11434"),
            (
                "https://openrouter.ai.evil.example/v1",
                "https://openrouter.ai.evil.example",
            ),
        ] {
            assert_eq!(origin(url).as_deref(), Some(expected));
        }
        assert!(is_openrouter("https://eu.openrouter.ai/api/v1"));
        assert!(!is_openrouter("https://notopenrouter.ai/api/v1"));
    }

    #[test]
    fn near_and_far() {
        for near in [
            "http://localhost:11434/v1",
            "http://127.0.0.1:8080",
            "http://[::1]:8080",
            "http://192.168.1.5:1234/v1",
            "http://workstation:8000/v1",
            "http://gpu.local/v1",
        ] {
            assert!(is_local(near), "{near}");
        }
        for far in ["https://openrouter.ai/api/v1", "http://8.8.8.8/v1"] {
            assert!(!is_local(far), "{far}");
        }
    }
}
