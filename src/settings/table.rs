//! The table of settings: the one source of `config list`, the JSON Schema, the man
//! page and the messages about wrong values.
//!
//! Layer: settings. Pure.

use std::fmt;

use crate::model::base_url::BaseUrl;

/// What a setting may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Shape {
    /// Any text but the empty one.
    Text,
    /// The path of a file.
    Path,
    /// An http or https URL without user name, query or fragment.
    Url,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// True or false.
    Flag,
    /// A whole number in this range, ends included.
    Whole(u64, u64),
    /// A number in this range, ends included.
    Real(f64, f64),
}

/// The value of a setting.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Text, a path, a URL or a choice.
    Text(String),
    /// True or false.
    Flag(bool),
    /// A whole number.
    Whole(u64),
    /// Any number; always finite.
    Real(f64),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Flag(flag) => flag.fmt(f),
            Self::Whole(number) => number.fmt(f),
            Self::Real(number) => number.fmt(f),
        }
    }
}

impl Value {
    /// The value as it stands in `app_config.json`.
    pub fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Text(text) => text.as_str().into(),
            Self::Flag(flag) => (*flag).into(),
            Self::Whole(number) => (*number).into(),
            Self::Real(number) => (*number).into(),
        }
    }
}

/// What holds where nothing is set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fallback {
    /// Nothing.
    None,
    /// This, written as on the command line.
    Value(&'static str),
    /// This on OpenRouter, nothing elsewhere.
    OnOpenRouter(&'static str),
    /// The first number for a server elsewhere, the second for one on this machine or
    /// in the local network, which may have to load the model first.
    ByDistance(u64, u64),
}

/// One setting.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Its name: section, dot, name.
    pub key: &'static str,
    /// What it may be.
    pub shape: Shape,
    /// What holds where it is not set.
    pub fallback: Fallback,
    /// The environment variable that sets it; `PACHAT_` before the name wins over it.
    pub variable: Option<&'static str>,
    /// One line for people.
    pub about: &'static str,
}

/// The longest time limit in seconds: a day.
const LONGEST: u64 = 86_400;

/// The longest age in days: a century.
const LONGEST_DAYS: u64 = 36_500;

/// The most backups that a rule may keep.
const MOST_KEPT: u64 = 100_000;

const fn setting(
    key: &'static str,
    shape: Shape,
    fallback: Fallback,
    variable: Option<&'static str>,
    about: &'static str,
) -> Setting {
    Setting {
        key,
        shape,
        fallback,
        variable,
        about,
    }
}

/// Every setting, grouped by section.
pub static TABLE: &[Setting] = &[
    setting(
        "api.base_url",
        Shape::Url,
        Fallback::Value("https://openrouter.ai/api/v1"),
        Some("OPENROUTER_BASE_URL"),
        "The server to talk to: its base URL, as a rule ending in /v1",
    ),
    setting(
        "api.profile",
        Shape::Choice(&[
            "auto",
            "openrouter",
            "openai",
            "ollama",
            "llamacpp",
            "lmstudio",
            "vllm",
            "generic",
        ]),
        Fallback::Value("auto"),
        None,
        "What kind of server it is; auto tells from the base URL",
    ),
    setting(
        "api.key_command",
        Shape::Text,
        Fallback::None,
        None,
        "A command that prints the API key, such as a password manager's",
    ),
    setting(
        "api.ca_file",
        Shape::Path,
        Fallback::None,
        None,
        "A PEM file of certificate authorities to trust instead of those compiled in",
    ),
    setting(
        "api.attribution",
        Shape::Flag,
        Fallback::Value("false"),
        None,
        "Tell OpenRouter that requests come from pachat",
    ),
    setting(
        "chat.model",
        Shape::Text,
        Fallback::OnOpenRouter("openrouter/auto"),
        None,
        "The model that new conversations talk to",
    ),
    setting(
        "chat.system",
        Shape::Text,
        Fallback::None,
        None,
        "The system message of new conversations",
    ),
    setting(
        "chat.max_tokens",
        Shape::Whole(1, 10_000_000),
        Fallback::None,
        None,
        "The longest reply, in tokens",
    ),
    setting(
        "chat.temperature",
        Shape::Real(0.0, 2.0),
        Fallback::None,
        None,
        "How freely the model chooses its words, from 0 to 2",
    ),
    setting(
        "chat.keep_partial",
        Shape::Flag,
        Fallback::Value("false"),
        None,
        "Send interrupted replies along as context",
    ),
    setting(
        "timeouts.connect_seconds",
        Shape::Whole(1, LONGEST),
        Fallback::Value("10"),
        None,
        "How long connecting may take",
    ),
    setting(
        "timeouts.first_byte_seconds",
        Shape::Whole(1, LONGEST),
        Fallback::ByDistance(120, 600),
        Some("REQUEST_TIMEOUT_SECONDS"),
        "How long the server may take to begin its answer",
    ),
    setting(
        "timeouts.idle_seconds",
        Shape::Whole(1, LONGEST),
        Fallback::ByDistance(120, 600),
        None,
        "How long the server may send nothing at all in the middle of a reply",
    ),
    setting(
        "timeouts.data_idle_seconds",
        Shape::Whole(1, LONGEST),
        Fallback::Value("600"),
        None,
        "How long the server may send nothing but signs of life",
    ),
    setting(
        "timeouts.total_seconds",
        Shape::Whole(1, LONGEST),
        Fallback::None,
        None,
        "How long a whole reply may take",
    ),
    setting(
        "limits.memory_mb",
        Shape::Whole(1, 1_000_000),
        Fallback::Value("500"),
        Some("MAX_MEMORY_MB"),
        "The most that is held in memory of a prompt, a file or a conversation, in megabytes",
    ),
    setting(
        "limits.conversation_mb",
        Shape::Whole(1, 1_000_000),
        Fallback::Value("10"),
        None,
        "The size from which a conversation should be continued in a new one, in megabytes",
    ),
    setting(
        "limits.storage_mb",
        Shape::Whole(1, 1_000_000_000),
        Fallback::Value("1000"),
        None,
        "How large the data directory may grow, in megabytes; what would make it larger is refused",
    ),
    setting(
        "limits.conversations",
        Shape::Whole(1, 100_000_000),
        Fallback::Value("1000"),
        None,
        "How many conversations may be in use, archived ones not counted; another new one is refused",
    ),
    setting(
        "limits.requests_per_minute",
        Shape::Whole(1, 1_000_000),
        Fallback::Value("50"),
        Some("MAX_REQUESTS_PER_MINUTE"),
        "How many requests all pachats of this data directory send in a minute",
    ),
    setting(
        "limits.requests_at_once",
        Shape::Whole(1, 1_000),
        Fallback::Value("5"),
        None,
        "How many requests all pachats of this data directory have under way at once",
    ),
    setting(
        "limits.daily_cost_usd",
        Shape::Real(0.0, 1_000_000.0),
        Fallback::None,
        None,
        "The most US dollars to spend in a day; further requests are refused",
    ),
    setting(
        "limits.monthly_cost_usd",
        Shape::Real(0.0, 1_000_000.0),
        Fallback::None,
        None,
        "The most US dollars to spend in a month; further requests are refused",
    ),
    setting(
        "backup.type",
        Shape::Choice(&["data", "full", "config"]),
        Fallback::Value("data"),
        None,
        "What a backup holds: conversations and attachments (data), settings and sealed keys (config), or all (full)",
    ),
    setting(
        "backup.encrypted",
        Shape::Flag,
        Fallback::Value("false"),
        None,
        "Encrypt every backup, to backup.recipients or with a pass phrase",
    ),
    setting(
        "backup.recipients",
        Shape::Text,
        Fallback::None,
        None,
        "The age1… recipients that encrypted backups are for, separated by commas or spaces",
    ),
    setting(
        "backup.keep_last",
        Shape::Whole(0, MOST_KEPT),
        Fallback::Value("7"),
        None,
        "How many of the newest backups of a type stay; 0 turns the rule off",
    ),
    setting(
        "backup.keep_daily",
        Shape::Whole(0, MOST_KEPT),
        Fallback::Value("0"),
        None,
        "Of how many days with a backup the newest one stays",
    ),
    setting(
        "backup.keep_weekly",
        Shape::Whole(0, MOST_KEPT),
        Fallback::Value("0"),
        None,
        "Of how many weeks with a backup the newest one stays",
    ),
    setting(
        "backup.keep_monthly",
        Shape::Whole(0, MOST_KEPT),
        Fallback::Value("0"),
        None,
        "Of how many months with a backup the newest one stays",
    ),
    setting(
        "backup.keep_yearly",
        Shape::Whole(0, MOST_KEPT),
        Fallback::Value("0"),
        None,
        "Of how many years with a backup the newest one stays",
    ),
    setting(
        "backup.keep_within",
        Shape::Text,
        Fallback::None,
        None,
        "How much older than the newest a backup may be and stay, such as 30d, 2w or 1y6m",
    ),
    setting(
        "backup.identity",
        Shape::Path,
        Fallback::None,
        None,
        "The file of an age identity that opens encrypted backups",
    ),
    setting(
        "rollback.keep",
        Shape::Whole(1, 10_000),
        Fallback::Value("10"),
        None,
        "How many rollback points to keep",
    ),
    setting(
        "cleanup.archive_days",
        Shape::Whole(0, LONGEST_DAYS),
        Fallback::Value("7"),
        None,
        "After how many days without a message cleanup archives a conversation; 0 for never",
    ),
    setting(
        "cleanup.delete_archived_days",
        Shape::Whole(1, LONGEST_DAYS),
        Fallback::None,
        None,
        "After how many days without a message cleanup moves an archived conversation to the trash",
    ),
    setting(
        "cleanup.empty_trash_days",
        Shape::Whole(0, LONGEST_DAYS),
        Fallback::None,
        None,
        "After how many days in the trash cleanup removes a conversation for good",
    ),
    setting(
        "cleanup.log_days",
        Shape::Whole(1, LONGEST_DAYS),
        Fallback::Value("30"),
        None,
        "How many days old logs stay",
    ),
    setting(
        "cleanup.min_age_days",
        Shape::Whole(0, LONGEST_DAYS),
        Fallback::Value("1"),
        None,
        "How many days without a message a conversation must have for cleanup to touch it at all",
    ),
    setting(
        "health.max_backup_age_days",
        Shape::Whole(1, LONGEST_DAYS),
        Fallback::Value("8"),
        None,
        "How many days old the newest verified backup may be before health complains",
    ),
    setting(
        "health.max_response_ms",
        Shape::Whole(1, 86_400_000),
        Fallback::Value("10000"),
        None,
        "How long the server may take to answer a probe before health complains, in milliseconds",
    ),
    setting(
        "log.level",
        Shape::Choice(&["off", "error", "warn", "info", "debug", "trace"]),
        Fallback::Value("info"),
        Some("LOG_LEVEL"),
        "How much goes to logs/app.log; info has a line for each request",
    ),
    setting(
        "log.debug",
        Shape::Flag,
        Fallback::Value("false"),
        Some("APP_DEBUG"),
        "Log details, too, whatever log.level says",
    ),
];

/// An environment variable that is no setting.
#[derive(Clone, Copy, Debug)]
pub struct Variable {
    /// Its name; `PACHAT_` before it wins.
    pub name: &'static str,
    /// Whether pachat does anything with it.
    pub used: bool,
    /// One line for people.
    pub about: &'static str,
}

const fn variable(name: &'static str, used: bool, about: &'static str) -> Variable {
    Variable { name, used, about }
}

/// The environment variables that are no settings.
pub static VARIABLES: &[Variable] = &[
    variable("OPENROUTER_API_KEY", true, "The API key"),
    variable(
        "ENCRYPTION_KEY",
        true,
        "The pass phrase of keys sealed with one",
    ),
    variable("DATA_DIR", true, "The data directory"),
    variable("CONFIG_FILE", true, "The file of settings"),
    variable("APP_PORT", false, "Accepted and not used: nothing listens"),
    variable("APP_HOST", false, "Accepted and not used: nothing listens"),
    variable(
        "SECRET_KEY",
        false,
        "Accepted and not used: there are no sessions",
    ),
];

/// The setting of that name.
pub fn find(key: &str) -> Option<&'static Setting> {
    TABLE.iter().find(|setting| setting.key == key)
}

/// The name that was probably meant by an unknown one.
pub(super) fn nearest(key: &str) -> Option<&'static str> {
    super::nearest::nearest(key, TABLE.iter().map(|setting| setting.key))
}

impl Setting {
    /// Whether a value may have a secret in it: people write pass phrases into commands.
    pub fn is_sensitive(&self) -> bool {
        self.key == "api.key_command"
    }

    /// What is allowed, to stand after "must be".
    pub fn allowed(&self) -> String {
        match self.shape {
            Shape::Text => "a text that is not empty".into(),
            Shape::Path => "the path of a file".into(),
            Shape::Url => "a URL that begins with https:// or http:// and has no user name".into(),
            Shape::Choice(words) => format!("one of {}", words.join(", ")),
            Shape::Flag => "true or false".into(),
            Shape::Whole(least, most) => format!("a whole number from {least} to {most}"),
            Shape::Real(least, most) => format!("a number from {least} to {most}"),
        }
    }

    /// A value as typed on the command line or in a variable. The error says what is
    /// allowed, and repeats the text.
    pub fn parse(&self, text: &str) -> Result<Value, String> {
        let trimmed = text.trim();
        let value = match self.shape {
            // A text stays as it is: a system message may end in a line feed on purpose.
            Shape::Text => (!trimmed.is_empty()).then(|| Value::Text(text.to_owned())),
            Shape::Path => (!trimmed.is_empty()).then(|| Value::Text(trimmed.to_owned())),
            Shape::Url => trimmed
                .parse::<BaseUrl>()
                .ok()
                .map(|url| Value::Text(url.as_str().to_owned())),
            Shape::Choice(words) => choose(words, trimmed),
            Shape::Flag => match trimmed.to_ascii_lowercase().as_str() {
                "true" | "yes" | "on" | "1" => Some(Value::Flag(true)),
                "false" | "no" | "off" | "0" => Some(Value::Flag(false)),
                _ => None,
            },
            Shape::Whole(..) => trimmed.parse().ok().map(Value::Whole),
            Shape::Real(..) => trimmed.parse().ok().map(Value::Real),
        };
        value
            .filter(|value| self.in_range(value))
            .ok_or_else(|| format!("must be {}, not {}", self.allowed(), self.quote(text)))
    }

    /// A value as it stands in `app_config.json`.
    pub fn from_json(&self, json: &serde_json::Value) -> Result<Value, String> {
        use serde_json::Value as Json;
        let value = match (self.shape, json) {
            (Shape::Text | Shape::Path | Shape::Url | Shape::Choice(_), Json::String(text)) => {
                return self.parse(text);
            }
            (Shape::Flag, Json::Bool(flag)) => Some(Value::Flag(*flag)),
            (Shape::Whole(..), Json::Number(number)) => number.as_u64().map(Value::Whole),
            (Shape::Real(..), Json::Number(number)) => number.as_f64().map(Value::Real),
            _ => None,
        };
        value
            .filter(|value| self.in_range(value))
            .ok_or_else(|| format!("must be {}, not {}", self.allowed(), short(json)))
    }

    fn in_range(&self, value: &Value) -> bool {
        match (self.shape, value) {
            (Shape::Whole(least, most), Value::Whole(number)) => (least..=most).contains(number),
            // A NaN is in no range.
            (Shape::Real(least, most), Value::Real(number)) => (least..=most).contains(number),
            _ => true,
        }
    }

    /// What was given, for a message. A URL with a password in it is not repeated.
    fn quote(&self, text: &str) -> String {
        if self.shape == Shape::Url && text.contains('@') {
            "one with a user name or password in it".into()
        } else {
            short(&text.into())
        }
    }
}

fn choose(words: &[&str], text: &str) -> Option<Value> {
    // `LOG_LEVEL=WARNING` and `INFO` are how other programs write it.
    let text = if text.eq_ignore_ascii_case("warning") {
        "warn"
    } else {
        text
    };
    words
        .iter()
        .find(|word| word.eq_ignore_ascii_case(text))
        .map(|word| Value::Text((*word).to_owned()))
}

/// A JSON value for a message, cut to a few words.
fn short(json: &serde_json::Value) -> String {
    const MOST: usize = 40;
    let text = json.to_string();
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_static_default_is_a_valid_value() {
        for setting in TABLE {
            match setting.fallback {
                Fallback::Value(text) | Fallback::OnOpenRouter(text) => {
                    assert!(setting.parse(text).is_ok(), "{}", setting.key);
                }
                Fallback::ByDistance(far, near) => {
                    assert!(setting.parse(&far.to_string()).is_ok());
                    assert!(setting.parse(&near.to_string()).is_ok());
                }
                Fallback::None => {}
            }
        }
    }

    #[test]
    fn keys_are_unique_and_have_one_section() {
        let mut keys: Vec<&str> = TABLE.iter().map(|setting| setting.key).collect();
        assert!(keys.iter().all(|key| key.matches('.').count() == 1));
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), TABLE.len());
    }

    #[test]
    fn values_are_checked_with_their_range() {
        let of = |key| find(key).unwrap();
        assert_eq!(
            of("log.level").parse("INFO"),
            Ok(Value::Text("info".into()))
        );
        assert_eq!(of("log.debug").parse("1"), Ok(Value::Flag(true)));
        for (key, text) in [
            ("chat.temperature", "hot"),
            ("chat.temperature", "2.1"),
            ("chat.temperature", "NaN"),
            ("chat.max_tokens", "0"),
            ("chat.max_tokens", "-1"),
            ("limits.memory_mb", "500MB"),
            ("log.level", "loud"),
            ("log.debug", "maybe"),
            ("chat.model", "  "),
            ("api.base_url", "ftp://x"),
        ] {
            let message = of(key).parse(text).unwrap_err();
            assert!(message.starts_with("must be "), "{message}");
        }
        let json = serde_json::json!("12");
        assert!(of("limits.memory_mb").from_json(&json).is_err());
    }

    #[test]
    fn a_password_in_a_url_is_not_repeated() {
        let url = find("api.base_url").unwrap();
        let message = url.parse("https://me:hunter2@example.org/v1").unwrap_err();
        assert!(!message.contains("hunter2"), "{message}");
    }
}
