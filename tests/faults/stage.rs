//! A server with a script, a home, and what came of running pachat between the two.

use std::sync::Arc;

use serde_json::Value;

use crate::common::host::{Cues, Ran, Sandbox, TestClock};
use crate::common::server::{FakeServer, Request, Script, Step};

/// The key that every request carries; it must never be shown.
pub(crate) const KEY: &str = "test-key-0123456789";

/// A server and a home.
pub(crate) struct Stage {
    pub(crate) server: FakeServer,
    pub(crate) sandbox: Sandbox,
    pub(crate) cues: Cues,
}

impl Stage {
    /// A server that answers with these scripts in turn, the last one for ever.
    pub(crate) fn new(scripts: impl IntoIterator<Item = Script>) -> Self {
        Self::cued(|_| scripts.into_iter().collect())
    }

    /// The same with scripts that hold the host in their hands.
    pub(crate) fn cued(scripts: impl FnOnce(&Cues) -> Vec<Script>) -> Self {
        Self::on(Cues::default(), scripts)
    }

    /// A server with one script, and a clock on which ten minutes pass in half a second. The
    /// limits for bytes are so long that only the one for data can pass.
    pub(crate) fn in_quick_time(script: Script) -> Self {
        let cues = Cues {
            clock: Arc::new(TestClock::new().faster(1200)),
            ..Cues::default()
        };
        Self::on(cues, |_| vec![script])
            .setting("timeouts.first_byte_seconds", "86400")
            .setting("timeouts.idle_seconds", "86400")
    }

    /// The same on a certain host.
    pub(crate) fn on(cues: Cues, scripts: impl FnOnce(&Cues) -> Vec<Script>) -> Self {
        let server = FakeServer::answering(scripts(&cues));
        Self {
            sandbox: Sandbox::with_server(&server.base_url()),
            server,
            cues,
        }
    }

    /// Changes a setting.
    pub(crate) fn setting(self, key: &str, value: &str) -> Self {
        let ran = self.sandbox.run(&["config", "set", key, value]);
        assert_eq!(ran.code, 0, "{key}: {}", ran.stderr);
        self
    }

    /// The same as openrouter.ai would answer.
    pub(crate) fn openrouter(self) -> Self {
        self.setting("api.profile", "openrouter")
    }

    /// Runs `send -m a/b x` with further arguments.
    pub(crate) fn send(&self, more: &[&str]) -> Seen {
        let args = [&["send", "-m", "a/b"], more, &["x"]].concat();
        self.run(&args)
    }

    /// Runs pachat on the host that the scripts know. Once: its streams are kept.
    pub(crate) fn run(&self, args: &[&str]) -> Seen {
        let ran = self.sandbox.run_on(&self.cues, args, "");
        Seen::new(ran, self.sandbox.conversations(), self.server.requests())
    }
}

/// What a run left behind, for everybody to see.
pub(crate) struct Seen {
    pub(crate) ran: Ran,
    pub(crate) conversations: Vec<Vec<Value>>,
    pub(crate) requests: Vec<Request>,
}

impl Seen {
    pub(crate) fn new(ran: Ran, conversations: Vec<Vec<Value>>, requests: Vec<Request>) -> Self {
        let all = format!("{}{}", ran.stdout, ran.stderr);
        assert!(!all.contains(KEY), "the key is shown: {all}");
        for line in ran.stderr.lines() {
            assert!(
                line.chars().all(|c| !c.is_control()),
                "control characters: {line:?}"
            );
            assert!(line.chars().count() <= 460, "too long: {line}");
        }
        assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
        Self {
            ran,
            conversations,
            requests,
        }
    }

    /// Exactly this on standard output.
    #[track_caller]
    pub(crate) fn stdout(self, expected: &str) -> Self {
        let short = |text: &str| text.chars().take(200).collect::<String>();
        assert!(
            self.ran.stdout == expected,
            "stdout is {:?}, not {:?}; stderr: {}",
            short(&self.ran.stdout),
            short(expected),
            self.ran.stderr
        );
        self
    }

    /// This exit code.
    #[track_caller]
    pub(crate) fn code(self, expected: u8) -> Self {
        assert_eq!(self.ran.code, expected, "stderr: {}", self.ran.stderr);
        self
    }

    /// Nothing on standard error.
    #[track_caller]
    pub(crate) fn silent(self) -> Self {
        assert_eq!(self.ran.stderr, "");
        self
    }

    /// This is somewhere on standard error.
    #[track_caller]
    pub(crate) fn says(self, part: &str) -> Self {
        assert!(
            self.ran.stderr.contains(part),
            "{part:?} is not in: {}",
            self.ran.stderr
        );
        self
    }

    /// These messages are in the one conversation: `user=x`, `assistant:complete=Hello`.
    #[track_caller]
    pub(crate) fn stored(self, expected: &[&str]) -> Self {
        assert_eq!(self.conversations.len(), 1, "{}", self.ran.stderr);
        let messages = stored(&self.conversations[0]);
        assert_eq!(messages, expected, "stderr: {}", self.ran.stderr);
        self
    }

    /// So many requests.
    #[track_caller]
    pub(crate) fn asked(self, count: usize) -> Self {
        assert_eq!(self.requests.len(), count, "stderr: {}", self.ran.stderr);
        self
    }

    /// So many lines about trying again.
    #[track_caller]
    pub(crate) fn retried(self, count: usize) -> Self {
        let lines = self.ran.stderr.matches("trying again in").count();
        assert_eq!(lines, count, "stderr: {}", self.ran.stderr);
        self
    }

    /// The last message as it is in the file.
    pub(crate) fn reply(&self) -> &Value {
        self.conversations[0].last().unwrap()
    }
}

/// The messages of a conversation in short.
pub(crate) fn stored(conversation: &[Value]) -> Vec<String> {
    conversation
        .iter()
        .filter(|line| line["type"] == "message")
        .map(|line| {
            let text = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
            let state = match text("state") {
                state if state.is_empty() => state,
                state => format!(":{state}"),
            };
            format!("{}{state}={}", text("role"), text("content"))
        })
        .collect()
}

/// A step that waits until the person has seen this.
pub(crate) fn shown(cues: &Cues, text: &'static str) -> Step {
    let stdout = cues.stdout.clone();
    act(move || assert!(stdout.wait_for(text), "{text:?} is never shown"))
}

/// A step in which time passes.
pub(crate) fn pass(cues: &Cues, seconds: u64) -> Step {
    use pachat::platform::Clock;
    let clock = Arc::clone(&cues.clock);
    act(move || clock.sleep(std::time::Duration::from_secs(seconds)))
}

/// A step in which the person presses Ctrl-C.
pub(crate) fn interrupt(cues: &Cues) -> Step {
    let signals = cues.signals.clone();
    act(move || signals.raise_interrupt())
}

fn act(act: impl Fn() + Send + Sync + 'static) -> Step {
    Step::Do(Arc::new(act))
}
