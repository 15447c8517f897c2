//! What each kind of server is sent, and what is expected of it.
//!
//! Layer: `api`. Strict servers refuse fields they do not know, so what only OpenRouter
//! understands goes to OpenRouter alone.

use crate::model::base_url::BaseUrl;
use crate::model::error::{Error, Kind, Result};

/// The servers that pachat knows by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    /// openrouter.ai.
    OpenRouter,
    /// api.openai.com.
    OpenAi,
    /// Ollama, port 11434.
    Ollama,
    /// llama.cpp's server, port 8080.
    LlamaCpp,
    /// LM Studio, port 1234.
    LmStudio,
    /// vLLM, port 8000.
    Vllm,
    /// Any other that speaks the protocol.
    Generic,
}

impl Server {
    /// Every kind, in the order of the manual.
    pub const ALL: [Self; 7] = [
        Self::OpenRouter,
        Self::OpenAi,
        Self::Ollama,
        Self::LlamaCpp,
        Self::LmStudio,
        Self::Vllm,
        Self::Generic,
    ];

    /// The name in settings.
    pub const fn name(self) -> &'static str {
        match self {
            Self::OpenRouter => "openrouter",
            Self::OpenAi => "openai",
            Self::Ollama => "ollama",
            Self::LlamaCpp => "llamacpp",
            Self::LmStudio => "lmstudio",
            Self::Vllm => "vllm",
            Self::Generic => "generic",
        }
    }

    /// The kind of server that usually answers at this address.
    fn detect(base_url: &BaseUrl) -> Self {
        match (base_url.host(), base_url.port()) {
            (host, _) if host == "openrouter.ai" || host.ends_with(".openrouter.ai") => {
                Self::OpenRouter
            }
            ("api.openai.com", _) => Self::OpenAi,
            (_, 11434) if base_url.is_private() => Self::Ollama,
            (_, 8080) if base_url.is_private() => Self::LlamaCpp,
            (_, 1234) if base_url.is_private() => Self::LmStudio,
            (_, 8000) if base_url.is_private() => Self::Vllm,
            _ => Self::Generic,
        }
    }
}

/// How to talk to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Profile {
    server: Server,
    is_local: bool,
    needs_key: bool,
}

impl Profile {
    /// The profile for a setting: `auto`, or the name of a server.
    pub fn new(setting: &str, base_url: &BaseUrl) -> Result<Self> {
        if setting == "auto" {
            return Ok(Self::detect(base_url));
        }
        let named = Server::ALL
            .into_iter()
            .find(|server| server.name() == setting);
        let server = named.ok_or_else(|| {
            let known = Server::ALL.map(Server::name).join(", ");
            Error::new(
                Kind::Config,
                format!("there is no server profile `{setting}`"),
            )
            .hint(format!("use auto, or one of {known}"))
        })?;
        Ok(Self::of(server, base_url))
    }

    /// The profile that the address suggests.
    pub fn detect(base_url: &BaseUrl) -> Self {
        Self::of(Server::detect(base_url), base_url)
    }

    fn of(server: Server, base_url: &BaseUrl) -> Self {
        Self {
            server,
            is_local: base_url.is_private(),
            needs_key: !base_url.is_private()
                || (server == Server::OpenRouter && !base_url.is_loopback()),
        }
    }

    /// Which server it is.
    pub fn server(self) -> Server {
        self.server
    }

    /// Whether this is OpenRouter, with its own fields and prices.
    pub fn is_openrouter(self) -> bool {
        self.server == Server::OpenRouter
    }

    /// Whether there is an account behind the server, which has limits and costs money. A
    /// server on this machine or in the local network is one's own, unless it is said to be
    /// OpenRouter (behind a proxy, for one).
    pub fn has_account(self) -> bool {
        self.is_openrouter() || !self.is_local
    }

    /// Whether the server is near and so perhaps slow: it may load a model first.
    pub fn is_local(self) -> bool {
        self.is_local
    }

    /// Whether a request without a key is pointless.
    pub fn needs_key(self) -> bool {
        self.needs_key
    }

    /// The field for the largest number of tokens of a reply. OpenAI refuses the older
    /// name for its newer models; local servers often know only the older one.
    pub fn max_tokens_field(self) -> &'static str {
        match self.server {
            Server::OpenAi => "max_completion_tokens",
            _ => "max_tokens",
        }
    }

    /// Whether token counts of a stream have to be asked for. OpenRouter always sends them.
    pub fn asks_for_usage(self) -> bool {
        !self.is_openrouter()
    }

    /// Whether the server itself falls back on further models.
    pub fn falls_back(self) -> bool {
        self.is_openrouter()
    }

    /// Whether the server takes the id of a conversation to keep its caches warm.
    pub fn takes_session(self) -> bool {
        self.is_openrouter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_suggest_their_servers() {
        for (url, server, needs_key) in [
            ("https://openrouter.ai", Server::OpenRouter, true),
            ("https://eu.openrouter.ai/api/v1", Server::OpenRouter, true),
            ("https://notopenrouter.ai/v1", Server::Generic, true),
            ("https://api.openai.com/v1", Server::OpenAi, true),
            ("http://localhost:11434", Server::Ollama, false),
            ("http://127.0.0.1:8080", Server::LlamaCpp, false),
            ("http://192.168.0.2:1234", Server::LmStudio, false),
            ("http://gpu:8000", Server::Vllm, false),
            ("https://example.com:8000/v1", Server::Generic, true),
        ] {
            let profile = Profile::detect(&url.parse().unwrap());
            assert_eq!(profile.server(), server, "{url}");
            assert_eq!(profile.needs_key(), needs_key, "{url}");
        }
    }

    #[test]
    fn a_setting_names_one_or_is_refused() {
        let base = "http://localhost:9".parse().unwrap();
        for server in Server::ALL {
            assert_eq!(Profile::new(server.name(), &base).unwrap().server(), server);
        }
        let error = Profile::new("olama", &base).unwrap_err();
        assert_eq!(error.kind(), Kind::Config);
        assert!(error.hint_text().unwrap().contains("ollama"));
    }
}
