//! What a chat shows around its turns: the greeting, where a conversation stopped, the
//! good-bye.

use crate::commands::show::{Manner, Show};
use crate::context::Context;
use crate::model::error::{Error, Result};
use crate::model::record::{Message, Role};
use crate::term::clean::{clean, clean_line};

use super::{Chat, PROMPT};

/// Says why it is the guide that answers, and what to do about it.
pub(super) fn introduce_guide(why: &Error, context: &mut Context) {
    for line in [
        &format!(
            "{}. This is the offline guide: it knows pachat and nothing else.",
            why.headline()
        ),
        "To talk with a model, leave with Ctrl-D and type one of these:",
        "  pachat config key set                                      (OpenRouter)",
        "  pachat config set api.base_url http://localhost:11434/v1   (Ollama, for one)",
    ] {
        context.ui.note(line);
    }
}

impl Chat<'_> {
    pub(super) fn greet(&mut self, context: &mut Context) {
        let models = self.current_models(context).map(|models| models.join(", "));
        let about = match &self.id {
            Some(id) => format!("{} ({})", self.title(), id.short()),
            None => "a new conversation".to_owned(),
        };
        let version = env!("CARGO_PKG_VERSION");
        let model = models.unwrap_or_default();
        context.ui.aside(&format!(
            "pachat {version}: {about}, with {model}. /help shows the commands."
        ));
        if self.id.is_some() {
            self.show_recent(context);
        }
        self.end_turn(context);
    }

    pub(super) fn say_goodbye(&self, context: &mut Context) {
        if let Some(id) = &self.id {
            // A restore or another pachat may have taken it away.
            let store = context.store();
            let places = [store.layout().active(id), store.layout().archived(id)];
            if places.iter().all(|path| store.disk().stat(path).is_err()) {
                return;
            }
            context
                .ui
                .aside(&format!("go on with: pachat chat -C {}", id.short()));
        }
    }

    /// An empty line, so that turns stand apart from each other.
    pub(super) fn end_turn(&self, context: &mut Context) {
        if self.interactive && context.ui.stdout_is_terminal() {
            // An output that is closed ends the chat at the next reply.
            let _ = context.ui.data(b"\n");
        }
    }

    /// Ends the line with the prompt where no editor does it.
    pub(super) fn end_line(&self, context: &mut Context) {
        if self.interactive && !self.edited {
            context.ui.talk_raw(b"\n");
        }
    }

    pub(super) fn title(&self) -> String {
        self.read().map_or_else(
            |_| "a new conversation".into(),
            |read| clean_line(read.title()),
        )
    }

    /// The end of the conversation, so that a person knows where it stopped.
    pub(super) fn show_recent(&self, context: &mut Context) {
        const SHOWN: usize = 4;
        let Ok(conversation) = self.read() else {
            return;
        };
        let messages: Vec<_> = conversation.active().collect();
        let earlier = messages.len().saturating_sub(SHOWN);
        match earlier {
            0 => {}
            1 => context.ui.aside("(1 earlier message)"),
            _ => context.ui.aside(&format!("({earlier} earlier messages)")),
        }
        for message in &messages[earlier..] {
            self.end_turn_before(message, context);
            // Showing the past is a courtesy; a closed output ends the chat at the next reply.
            let _ = show_past(message, context);
        }
    }

    fn end_turn_before(&self, message: &Message, context: &mut Context) {
        if message.role == Role::User {
            self.end_turn(context);
        }
    }
}

/// The end of a message from the past, as it looked when it was said.
fn show_past(message: &Message, context: &mut Context) -> Result<()> {
    /// Lines of a long message.
    const LINES: usize = 12;
    let text = message.content.to_text();
    let lines: Vec<&str> = text.trim().lines().collect();
    let hidden = lines.len().saturating_sub(LINES + 1);
    let tail = lines[hidden..].join("\n");
    if message.role == Role::User {
        if hidden > 0 {
            context.ui.aside(&format!("({hidden} lines)"));
        }
        let (green, bold, off) = if context.ui.colour().stdout {
            ("\x1b[1;32m", "\x1b[0;1m", "\x1b[0m")
        } else {
            ("", "", "")
        };
        let line = format!("{green}{PROMPT}{bold}{}{off}\n", clean(&tail));
        return context.ui.data(line.as_bytes());
    }
    if hidden > 0 {
        context
            .ui
            .aside(&format!("({hidden} lines; `pachat export` has all of it)"));
    }
    Show::new(&mut context.ui, Manner::Text, "").whole(&tail)?;
    if message.is_unfinished() {
        context.ui.aside("(interrupted)");
    }
    Ok(())
}
