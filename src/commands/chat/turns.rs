//! The turns of a chat: a prompt goes out, a reply comes in, and the chat goes on.

use std::sync::Arc;

use crate::commands::show::{Manner, Show};
use crate::commands::{connection, session};
use crate::context::Context;
use crate::model::error::{Error, Kind, Result};
use crate::model::id::ConversationId;
use crate::model::reply::State;
use crate::ops::turn::{Ask, Keeper, Outcome};
use crate::platform::terminal::Hushed;
use crate::store::writer::{Beginning, Writer};

use super::{Chat, gone};

impl Chat<'_> {
    /// A turn.
    pub(super) fn prompt(&mut self, prompt: &str, context: &mut Context) -> Result<()> {
        let models = self.current_models(context)?;
        self.connection.prepare(&models, context)?;
        let writer = if let Some(id) = self.id.clone() {
            let mut writer = self.writer(&id, context)?;
            session::check_room(&writer, prompt, context)?;
            writer.prompt(prompt)?;
            writer
        } else {
            let beginning = Beginning {
                model: models.first().cloned(),
                ..self.beginning.clone()
            };
            let writer = session::create(&self.store, beginning, prompt, context)?;
            self.id = Some(writer.conversation.id().clone());
            self.beginning.title = None;
            writer
        };
        self.answer(writer, models, context)
    }

    /// Opens the conversation to write to it, and says what has changed since the last look.
    pub(super) fn writer(&mut self, id: &ConversationId, context: &mut Context) -> Result<Writer> {
        let writer = session::open(&self.store, id, context).map_err(gone)?;
        let next = writer.conversation.next_number();
        match next.saturating_sub(self.next) {
            0 => {}
            1 => context.ui.aside("(a message was added elsewhere)"),
            added => context
                .ui
                .aside(&format!("({added} messages were added elsewhere)")),
        }
        self.next = next;
        Ok(writer)
    }

    /// Asks for the reply to the last prompt of a conversation and shows it.
    pub(super) fn answer(
        &mut self,
        writer: Writer,
        models: Vec<String>,
        context: &mut Context,
    ) -> Result<()> {
        let ask = Ask {
            system: writer.conversation.header.system.clone(),
            models,
            max_tokens: self.args.max_tokens.or(context.settings.max_tokens()),
            temperature: self.args.temperature.or(context.settings.temperature()),
            options: self.args.options.iter().cloned().collect(),
            stream: true,
            keep_partial: self.keep_partial,
            memory: context.settings.memory_limit(),
        };
        let mut keeper = Keeper::Stored(Box::new(writer));
        let clock = Arc::clone(&context.clock);
        // What is typed ahead would stand in the middle of the reply.
        let hushed = self.edited.then(Hushed::begin);
        let mut show = Show::new(&mut context.ui, Manner::Text, &ask.models[0]);
        let answered = self.connection.answer(
            &mut keeper,
            &ask,
            &mut show,
            clock.as_ref(),
            &context.signals,
            &context.log,
        );
        let ended = show.end();
        drop(hushed);
        // The prompt is there, whatever became of the reply.
        self.next = keeper.conversation().next_number();
        if let Ok(outcome) = &answered {
            self.connection.reconcile(&mut keeper, outcome);
        }
        // Given back before anybody reads about the end of the reply.
        drop(keeper);
        let outcome = answered?;
        ended?;
        let reported = self.report(outcome, context);
        self.end_turn(context);
        reported
    }

    /// Says what a person should know about how a reply ended.
    fn report(&self, outcome: Outcome, context: &mut Context) -> Result<()> {
        let Outcome {
            reply,
            kept,
            error,
            notices,
        } = outcome;
        for notice in &notices {
            context.ui.warn(notice);
        }
        let error = error.map(|error| connection::name_models(error, context));
        if !self.interactive {
            return error.map_or(Ok(()), Err);
        }
        match (error, reply.state) {
            (Some(error), _) if error.kind() == Kind::Interrupted => {
                context.signals.take_interrupt();
                if context.signals.pending().is_some() {
                    return Err(error);
                }
                context.ui.aside(if kept {
                    "(interrupted; what has arrived is kept. /retry asks again)"
                } else {
                    "(interrupted before anything arrived. /retry asks again)"
                });
            }
            (Some(error), _) if matches!(error.kind(), Kind::Closed | Kind::Terminated) => {
                return Err(error);
            }
            (Some(error), _) => {
                context.ui.error(&with_advice(error));
                if kept {
                    context
                        .ui
                        .aside("(what has arrived is kept, marked as incomplete)");
                }
            }
            (None, Some(State::Length)) => context
                .ui
                .aside("(cut at the maximum number of tokens; type `go on` for more)"),
            (None, Some(State::Filtered)) => {
                context.ui.aside("(cut by the server's content filter)");
            }
            (None, _) if reply.content.is_empty() => {
                context.ui.aside("(the reply is empty. /retry asks again)");
            }
            (None, _) => {}
        }
        Ok(())
    }
}

fn with_advice(error: Error) -> Error {
    if error.hint_text().is_some() {
        return error;
    }
    error.hint("/retry asks again")
}
