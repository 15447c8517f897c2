//! The lines of `logs/app.log`: written here, read back here.
//!
//! ```text
//! TIME LEVEL KIND PHRASE key=value key="another value"
//! 2026-11-22T11:00:00.123Z INFO request API response time first_byte_ms=180 total_ms=660 …
//! ```
//!
//! Invariants:
//! - A line is one line: a value that is not plain is a JSON string, in which also what
//!   would steer a terminal or turn the reading direction is escaped.
//! - An empty line means nothing, and one that does not parse is passed over by a reader.
//! - The phrase is for people and means nothing; fields begin at the first word with `=`.
//! - What was written parses back to the same. Unknown fields are passed over, so that a
//!   later version may add some.
//! - Of a text from outside no key is left once [`LogLine::tidy`] has been at it. Redaction
//!   comes before cutting and escaping, either of which could hide a key from it.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use log::Level;

use super::reply::State;
use super::secret::{Secret, redact};
use super::time;
use super::usd::Usd;

/// The most characters of one value. A library that dumps a buffer must not fill the log.
const LONGEST: usize = 2000;

/// A line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// When; milliseconds count.
    pub at: Timestamp,
    /// How serious it is.
    pub level: Level,
    /// The process that wrote it.
    pub pid: u32,
    /// What happened.
    pub event: Event,
}

/// What a line tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A request to a server, and what became of it.
    Exchange(Box<Exchange>),
    /// A change that somebody may want to trace.
    Audit(Audit),
    /// Something that the program or a library has to say.
    Program {
        /// Where in the program, as a module path.
        target: String,
        /// What it says.
        message: String,
    },
}

/// What a server was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// A reply to a prompt: kind `request`.
    Reply,
    /// Its list of models: kind `models`.
    Models,
}

/// A request to a server, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// What was asked for.
    pub asked: Asked,
    /// The conversation's id.
    pub conversation: Option<String>,
    /// The server's host, with the port where it is not the usual one.
    pub host: String,
    /// The model that was asked.
    pub model: Option<String>,
    /// The model that answered, as far as the server said.
    pub answered: Option<String>,
    /// How it ended; retries count as part of the one request.
    pub state: State,
    /// The exit code that this end stands for.
    pub exit_code: u8,
    /// From asking to the first piece of the reply, in milliseconds.
    pub first_byte_ms: Option<u64>,
    /// From asking to the end, in milliseconds.
    pub total_ms: u64,
    /// Tokens of the request.
    pub prompt_tokens: Option<u64>,
    /// Tokens of the reply.
    pub completion_tokens: Option<u64>,
    /// What the server charged, exactly.
    pub cost: Option<Usd>,
    /// What went wrong.
    pub error: Option<String>,
}

impl Exchange {
    /// What is not whole is a warning, what failed an error.
    pub fn level(&self) -> Level {
        match (self.state, self.exit_code) {
            (State::Error, _) | (_, 65..=78) => Level::Error,
            (State::Interrupted | State::Filtered, _) => Level::Warn,
            (State::Complete | State::Length, _) => Level::Info,
        }
    }
}

/// A change: what was done, and to what. Never holds a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audit {
    action: String,
    details: Vec<(String, String)>,
}

impl Audit {
    /// A change of this name, such as `config set` or `restore`.
    pub fn new(action: impl Into<String>) -> Self {
        Self {
            action: action.into(),
            details: Vec::new(),
        }
    }

    /// One detail more. Names are of lower-case letters and `_`, and not those of
    /// [`LogLine`]'s own fields; others are changed to fit.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        let mut name = name.replace(|c: char| !c.is_ascii_lowercase() && c != '_', "_");
        if name.is_empty() || name == "pid" || name == "action" {
            name.push('_');
        }
        self.details.push((name, value.into()));
        self
    }

    /// What was done.
    pub fn action(&self) -> &str {
        &self.action
    }

    /// The first detail of this name.
    pub fn detail(&self, name: &str) -> Option<&str> {
        let found = self.details.iter().find(|(given, _)| given == name);
        found.map(|(_, value)| value.as_str())
    }
}

impl LogLine {
    /// Takes keys out of every text, `known` ones included, and cuts what is too long.
    pub fn tidy(&mut self, known: &[&Secret]) {
        let tidy = |text: &mut String| {
            *text = redact(text, known);
            if let Some((end, _)) = text.char_indices().nth(LONGEST) {
                text.truncate(end);
                text.push('…');
            }
        };
        match &mut self.event {
            Event::Exchange(exchange) => {
                tidy(&mut exchange.host);
                let Exchange {
                    model,
                    answered,
                    error,
                    ..
                } = exchange.as_mut();
                [model, answered, error]
                    .into_iter()
                    .flatten()
                    .for_each(tidy);
            }
            Event::Audit(audit) => audit.details.iter_mut().for_each(|(_, value)| tidy(value)),
            Event::Program { message, .. } => tidy(message),
        }
    }
}

impl fmt::Display for LogLine {
    /// The line, without a line feed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ", time::format(self.at), self.level)?;
        match &self.event {
            Event::Exchange(exchange) => {
                let kind = match exchange.asked {
                    Asked::Reply => "request",
                    Asked::Models => "models",
                };
                write!(f, "{kind} API response time")?;
                write_exchange(exchange, f)?;
                field(f, "pid", self.pid)
            }
            Event::Audit(audit) => {
                f.write_str("audit change")?;
                field(f, "action", &audit.action)?;
                for (name, value) in &audit.details {
                    field(f, name, value)?;
                }
                field(f, "pid", self.pid)
            }
            Event::Program { target, message } => {
                f.write_str("program message")?;
                field(f, "message", message)?;
                field(f, "target", target)?;
                field(f, "pid", self.pid)
            }
        }
    }
}

fn write_exchange(exchange: &Exchange, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    optional(f, "first_byte_ms", exchange.first_byte_ms)?;
    field(f, "total_ms", exchange.total_ms)?;
    optional(f, "model", exchange.model.as_ref())?;
    optional(f, "answered", exchange.answered.as_ref())?;
    field(f, "state", exchange.state.as_str())?;
    field(f, "exit_code", exchange.exit_code)?;
    optional(f, "prompt_tokens", exchange.prompt_tokens)?;
    optional(f, "completion_tokens", exchange.completion_tokens)?;
    optional(f, "cost", exchange.cost)?;
    field(f, "host", &exchange.host)?;
    optional(f, "conversation", exchange.conversation.as_ref())?;
    optional(f, "error", exchange.error.as_ref())
}

fn optional(
    f: &mut fmt::Formatter<'_>,
    name: &str,
    value: Option<impl fmt::Display>,
) -> fmt::Result {
    match value {
        Some(value) => field(f, name, value),
        None => Ok(()),
    }
}

fn field(f: &mut fmt::Formatter<'_>, name: &str, value: impl fmt::Display) -> fmt::Result {
    write!(f, " {name}={}", quoted(&value.to_string()))
}

/// A value as it stands in a line: itself if it is one plain word, or else a JSON string.
fn quoted(value: &str) -> Cow<'_, str> {
    let plain = |c: char| !c.is_whitespace() && !matches!(c, '"' | '=' | '\\') && !is_active(c);
    if !value.is_empty() && value.chars().all(plain) {
        return Cow::Borrowed(value);
    }
    let mut out = String::with_capacity(value.len() + 2);
    out.push('"');
    for character in value.chars() {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            // All of them are below U+10000, so four digits are enough.
            _ if is_active(character) => {
                out.push_str(&format!("\\u{:04x}", u32::from(character)));
            }
            _ => out.push(character),
        }
    }
    out.push('"');
    Cow::Owned(out)
}

/// Whether a character does something other than being seen: controls, line separators, and
/// what turns the reading direction.
fn is_active(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

impl FromStr for LogLine {
    type Err = String;

    /// Reads a line without its line feed. The error says what is odd about it.
    fn from_str(line: &str) -> Result<Self, String> {
        let mut words = line.splitn(4, ' ');
        let mut word = |what: &str| words.next().ok_or_else(|| format!("there is no {what}"));
        let time = word("time")?;
        let at = time.parse().map_err(|_| "it begins with no time")?;
        let level = word("level")?.parse().map_err(|_| "there is no level")?;
        let kind = word("kind")?;
        let fields = Fields::read(word("field")?)?;
        let event = match kind {
            "request" => Event::Exchange(Box::new(fields.exchange(Asked::Reply)?)),
            "models" => Event::Exchange(Box::new(fields.exchange(Asked::Models)?)),
            "audit" => Event::Audit(fields.audit()?),
            "program" => Event::Program {
                target: fields.text("target")?,
                message: fields.text("message")?,
            },
            _ => return Err("its kind is unknown".into()),
        };
        Ok(Self {
            at,
            level,
            pid: fields.value("pid")?,
            event,
        })
    }
}

/// The fields of a line, in its order.
struct Fields<'a>(Vec<(&'a str, Cow<'a, str>)>);

impl<'a> Fields<'a> {
    /// Reads what follows the kind: words without `=`, then fields.
    fn read(text: &'a str) -> Result<Self, String> {
        let first = text.split(' ').take_while(|word| !word.contains('='));
        let phrase: usize = first.map(|word| word.len() + 1).sum();
        let mut rest = text.get(phrase..).unwrap_or_default();
        let mut fields = Vec::new();
        while !rest.is_empty() {
            let (name, tail) = rest.split_once('=').ok_or("a field has no value")?;
            let (value, tail) = if tail.starts_with('"') {
                let end = string_end(tail).ok_or("a string has no end")?;
                let value = serde_json::from_str::<String>(&tail[..end])
                    .map_err(|_| "a string is not one of JSON")?;
                (Cow::Owned(value), &tail[end..])
            } else {
                let end = tail.find(' ').unwrap_or(tail.len());
                (Cow::Borrowed(&tail[..end]), &tail[end..])
            };
            fields.push((name, value));
            rest = match tail.strip_prefix(' ') {
                Some(rest) => rest,
                None if tail.is_empty() => tail,
                None => return Err("a field has something behind its value".into()),
            };
        }
        Ok(Self(fields))
    }

    fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(given, _)| *given == name);
        found.map(|(_, value)| value.as_ref())
    }

    fn text(&self, name: &str) -> Result<String, String> {
        let found = self.get(name).map(str::to_owned);
        found.ok_or_else(|| format!("{name} is missing"))
    }

    fn value<T: FromStr>(&self, name: &str) -> Result<T, String> {
        self.optional(name)?
            .ok_or_else(|| format!("{name} is missing"))
    }

    fn optional<T: FromStr>(&self, name: &str) -> Result<Option<T>, String> {
        let parsed = self.get(name).map(str::parse).transpose();
        parsed.map_err(|_| format!("{name} is malformed"))
    }

    fn exchange(&self, asked: Asked) -> Result<Exchange, String> {
        Ok(Exchange {
            asked,
            conversation: self.optional("conversation")?,
            host: self.text("host")?,
            model: self.optional("model")?,
            answered: self.optional("answered")?,
            state: self.state()?,
            exit_code: self.value("exit_code")?,
            first_byte_ms: self.optional("first_byte_ms")?,
            total_ms: self.value("total_ms")?,
            prompt_tokens: self.optional("prompt_tokens")?,
            completion_tokens: self.optional("completion_tokens")?,
            cost: self.optional("cost")?,
            error: self.optional("error")?,
        })
    }

    fn state(&self) -> Result<State, String> {
        let word = self.text("state")?;
        let all = [
            State::Complete,
            State::Length,
            State::Filtered,
            State::Interrupted,
            State::Error,
        ];
        let found = all.into_iter().find(|state| state.as_str() == word);
        found.ok_or_else(|| "state is malformed".into())
    }

    fn audit(&self) -> Result<Audit, String> {
        let own = |name: &str| matches!(name, "pid" | "action");
        let details = self.0.iter().filter(|(name, _)| !own(name));
        Ok(Audit {
            action: self.text("action")?,
            details: details
                .map(|(name, value)| ((*name).to_owned(), value.clone().into_owned()))
                .collect(),
        })
    }
}

/// Where the string ends that a text begins with, its closing quote included.
fn string_end(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some(at + 1),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;

    fn exchange() -> Exchange {
        Exchange {
            asked: Asked::Reply,
            conversation: Some("20261122-110000-7k2m9q".into()),
            host: "openrouter.ai".into(),
            model: Some("a/b".into()),
            answered: Some("a/b:2".into()),
            state: State::Complete,
            exit_code: 0,
            first_byte_ms: Some(180),
            total_ms: 660,
            prompt_tokens: Some(67),
            completion_tokens: Some(5),
            cost: "0.00001305".parse().ok(),
            error: None,
        }
    }

    fn line(event: Event) -> LogLine {
        LogLine {
            at: "2026-11-22T11:00:00.123Z".parse().unwrap(),
            level: Level::Info,
            pid: 4711,
            event,
        }
    }

    #[test]
    fn a_request_reads_like_this() {
        let line = line(Event::Exchange(Box::new(exchange())));
        let text = "2026-11-22T11:00:00.123Z INFO request API response time first_byte_ms=180 \
            total_ms=660 model=a/b answered=a/b:2 state=complete exit_code=0 prompt_tokens=67 \
            completion_tokens=5 cost=0.00001305 host=openrouter.ai \
            conversation=20261122-110000-7k2m9q pid=4711";
        assert_eq!(line.to_string(), text);
        assert_eq!(text.parse(), Ok(line.clone()));
        // What a later version adds is passed over.
        assert_eq!(format!("{text} new=\"a b\"").parse(), Ok(line));
    }

    #[test]
    fn a_change_and_a_message_read_like_this() {
        let audit = Audit::new("config set")
            .with("setting", "chat.model")
            .with("new", "a \"b\"");
        let text = r#"2026-11-22T11:00:00.123Z INFO audit change action="config set" setting=chat.model new="a \"b\"" pid=4711"#;
        assert_eq!(line(Event::Audit(audit)).to_string(), text);
        let message = Event::Program {
            target: "pachat::store".into(),
            message: "two\nlines \u{1b}[31m\u{202e}é".into(),
        };
        let text = r#"2026-11-22T11:00:00.123Z INFO program message message="two\nlines \u001b[31m\u202eé" target=pachat::store pid=4711"#;
        assert_eq!(line(message).to_string(), text);
    }

    #[test]
    fn keys_are_taken_out_before_a_line_is_cut() {
        let known = Secret::new("local\"secret".into());
        let padding = "x".repeat(LONGEST - 6);
        let mut line = line(Event::Exchange(Box::new(Exchange {
            error: Some(format!("{padding} local\"secret")),
            model: Some("sk-or-v1-0123456789abcdef".into()),
            ..exchange()
        })));
        line.tidy(&[&known]);
        let text = line.to_string();
        for part in ["local", "secret", "0123456789"] {
            assert!(!text.contains(part), "{part}");
        }
        assert!(text.contains("model=sk-(redacted)"));
    }

    #[test]
    fn what_is_no_line_is_an_error() {
        for text in [
            "",
            "hello",
            "2026-11-22T11:00:00.123Z",
            "2026-11-22T11:00:00.123Z INFO",
            "2026-11-22T11:00:00.123Z INFO audit change",
            "2026-11-22T11:00:00.123Z INFO other thing pid=1",
            "2026-11-22T11:00:00.123Z INFO audit change action=\"x pid=1",
            "2026-11-22T11:00:00.123Z INFO audit change action=\"x\"y pid=1",
            "2026-11-22T11:00:00.123Z INFO audit change action=x pid=many",
            "soon INFO audit change action=x pid=1",
        ] {
            assert!(text.parse::<LogLine>().is_err(), "{text}");
        }
    }

    const TEXT: &str = "[\\x00-\\x7f\\u{80}-\\u{9f}\\u{2028}-\\u{202e}\\u{2066}é🙂 =\"\\\\]{0,20}";

    prop_compose! {
        fn any_exchange()(
            text in vec(option::of(TEXT), 5),
            numbers in vec(option::of(any::<u64>()), 4),
            state in prop::sample::select(vec![
                State::Complete, State::Length, State::Filtered, State::Interrupted, State::Error,
            ]),
            models in any::<bool>(),
            exit_code in any::<u8>(),
            cost in option::of("[0-9]{1,6}\\.[0-9]{1,24}"),
        ) -> Event {
            Event::Exchange(Box::new(Exchange {
                asked: if models { Asked::Models } else { Asked::Reply },
                conversation: text[0].clone(),
                host: text[1].clone().unwrap_or_default(),
                model: text[2].clone(),
                answered: text[3].clone(),
                state,
                exit_code,
                first_byte_ms: numbers[0],
                total_ms: numbers[1].unwrap_or_default(),
                prompt_tokens: numbers[2],
                completion_tokens: numbers[3],
                cost: cost.map(|cost| cost.parse().unwrap()),
                error: text[4].clone(),
            }))
        }
    }

    fn any_event() -> impl Strategy<Value = Event> {
        let audit = (TEXT, vec(("[a-zA-Z_=. ]{0,8}", TEXT), 0..4)).prop_map(|(action, details)| {
            let audit = details
                .iter()
                .fold(Audit::new(action), |audit, (name, value)| {
                    audit.with(name, value)
                });
            Event::Audit(audit)
        });
        let program = (TEXT, TEXT).prop_map(|(target, message)| Event::Program { target, message });
        prop_oneof![any_exchange(), audit, program]
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(
            event in any_event(),
            milliseconds in 0i64..4_000_000_000_000,
            pid in any::<u32>(),
            level in prop::sample::select(Level::iter().collect::<Vec<_>>()),
        ) {
            let at = Timestamp::from_millisecond(milliseconds).unwrap();
            let line = LogLine { at, level, pid, event };
            let text = line.to_string();
            prop_assert!(!text.chars().any(is_active), "{text:?}");
            prop_assert_eq!(text.parse(), Ok(line), "{}", text);
        }

        #[test]
        fn any_text_can_be_read_without_harm(text in "(2026-11-22T11:00:00Z INFO (audit|request) )?[ -~é]{0,60}") {
            let _ = text.parse::<LogLine>();
        }
    }
}
