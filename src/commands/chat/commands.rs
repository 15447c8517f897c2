//! What each slash command does.

use std::path::Path;

use crate::context::Context;
use crate::model::error::{Error, Kind, Result};
use crate::model::record::{Role, Set};
use crate::model::reply::Usage;
use crate::model::usd::Usd;
use crate::ops::{export, listing};
use crate::store::atomic;
use crate::store::read::Scope;
use crate::store::writer::Writer;
use crate::term::clean::clean_line;
use crate::term::table;

use super::{Chat, slash};

impl Chat<'_> {
    /// Carries out a slash command.
    pub(super) fn command(&mut self, name: &str, rest: &str, context: &mut Context) -> Result<()> {
        match name {
            "/help" => context.ui.data(slash::help().as_bytes()),
            "/new" => {
                self.id = None;
                self.next = 1;
                self.beginning.title = (!rest.is_empty()).then(|| rest.to_owned());
                context.ui.note("a new conversation");
                Ok(())
            }
            "/open" => {
                let id = self.store.resolve(rest)?;
                self.open(&id, context)?;
                context
                    .ui
                    .note(&format!("{} ({})", self.title(), id.short()));
                self.show_recent(context);
                Ok(())
            }
            "/list" => self.list(rest, context),
            "/model" => self.model(rest, context),
            "/system" => self.system(rest, context),
            "/title" => self.retitle(rest, context),
            "/undo" => self.undo(context),
            "/retry" => self.retry(context),
            "/keep" => {
                self.keep_partial = true;
                context
                    .ui
                    .note("interrupted replies are part of the context from here on");
                Ok(())
            }
            "/save" => self.save(rest, context),
            "/usage" => self.usage(context),
            _ => Err(Error::new(Kind::Bug, format!("{name} is not wired up"))),
        }
    }

    fn list(&self, text: &str, context: &mut Context) -> Result<()> {
        const SHOWN: usize = 15;
        let search = (!text.is_empty()).then_some(text);
        let listing = listing::list(&self.store, Scope::Active, search)?;
        if listing.summaries.is_empty() {
            context.ui.note("no conversations");
        }
        let width = context.ui.size().map_or(80, |(columns, _)| columns);
        for summary in listing.summaries.iter().take(SHOWN) {
            let here = if self.id.as_ref() == Some(&summary.id) {
                "*"
            } else {
                " "
            };
            let line = format!(
                "{here} {}  {}",
                summary.id.short(),
                clean_line(&summary.title)
            );
            context
                .ui
                .data(format!("{}\n", table::cut(&line, width)).as_bytes())?;
        }
        Ok(())
    }

    fn model(&mut self, names: &str, context: &mut Context) -> Result<()> {
        if names.is_empty() {
            let models = self.current_models(context)?;
            context.ui.note(&models.join(", "));
            return Ok(());
        }
        let models: Vec<String> = names
            .split([',', ' '])
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect();
        self.connection.prepare(&models, context)?;
        let set = Set {
            model: models.first().cloned(),
            ..Set::default()
        };
        self.change(set, context)?;
        context
            .ui
            .note(&format!("asking {} from here on", models.join(", ")));
        self.models = models;
        Ok(())
    }

    fn system(&mut self, text: &str, context: &mut Context) -> Result<()> {
        if text.is_empty() {
            let system = match &self.id {
                Some(_) => self.read()?.header.system,
                None => self.beginning.system.clone(),
            };
            context
                .ui
                .note(system.as_deref().unwrap_or("(no instructions)"));
            return Ok(());
        }
        let text = if text == "-" { "" } else { text };
        self.change(
            Set {
                system: Some(text.to_owned()),
                ..Set::default()
            },
            context,
        )?;
        self.beginning.system = (!text.is_empty()).then(|| text.to_owned());
        let said = if text.is_empty() {
            "no instructions from here on"
        } else {
            "instructions changed"
        };
        context.ui.note(said);
        Ok(())
    }

    fn retitle(&mut self, title: &str, context: &mut Context) -> Result<()> {
        if title.is_empty() {
            let title = self.title();
            context.ui.note(&title);
            return Ok(());
        }
        self.change(
            Set {
                title: Some(title.to_owned()),
                ..Set::default()
            },
            context,
        )?;
        if self.id.is_none() {
            self.beginning.title = Some(title.to_owned());
        }
        context.ui.note(&format!("the title is now: {title}"));
        Ok(())
    }

    /// Writes a change of metadata into the conversation, if there is one yet.
    fn change(&mut self, set: Set, context: &mut Context) -> Result<()> {
        match self.id.clone() {
            Some(id) => self.writer(&id, context)?.set(set),
            None => Ok(()),
        }
    }

    /// Opens the conversation and finds its last prompt.
    fn last_prompt(&mut self, context: &mut Context) -> Result<(Writer, u64, String)> {
        let nothing = || Error::new(Kind::Usage, "there is no prompt to take back");
        let id = self.id.clone().ok_or_else(nothing)?;
        let writer = self.writer(&id, context)?;
        let prompt = writer.conversation.last_prompt().ok_or_else(nothing)?;
        let (n, text) = (prompt.n, prompt.content.to_text().into_owned());
        Ok((writer, n, text))
    }

    fn undo(&mut self, context: &mut Context) -> Result<()> {
        let (mut writer, n, text) = self.last_prompt(context)?;
        writer.rewind(n - 1)?;
        context.ui.note(&format!(
            "taken back: {}",
            table::cut(&clean_line(&text), 60)
        ));
        Ok(())
    }

    fn retry(&mut self, context: &mut Context) -> Result<()> {
        let models = self.current_models(context)?;
        self.connection.prepare(&models, context)?;
        let (mut writer, n, text) = self.last_prompt(context)?;
        writer.rewind(n - 1)?;
        writer.prompt(&text)?;
        self.answer(writer, models, context)
    }

    fn save(&self, file: &str, context: &mut Context) -> Result<()> {
        if file.is_empty() {
            return Err(Error::new(Kind::Usage, "name a file").hint(
                "the conversation itself is always saved; `/save FILE` writes a copy as Markdown",
            ));
        }
        let path = context.environment.resolve(Path::new(file));
        if context.disk.stat(&path).is_ok() {
            return Err(Error::new(Kind::CannotCreate, "cannot save")
                .why("the file exists already")
                .path(&path));
        }
        let markdown = export::markdown(&self.read()?);
        let (disk, random) = (context.disk.as_ref(), context.random.as_ref());
        atomic::replace(disk, random, &path, markdown.as_bytes())?;
        context.ui.note(&format!("written to {}", path.display()));
        Ok(())
    }

    fn usage(&self, context: &mut Context) -> Result<()> {
        let conversation = self.read()?;
        let replies = conversation
            .all()
            .filter(|(message, _)| message.role == Role::Assistant);
        let figures: Vec<_> = conversation
            .all()
            .filter_map(|(message, _)| message.usage.as_ref())
            .map(Usage::figures)
            .collect();
        let prompt: u64 = figures
            .iter()
            .filter_map(|figures| figures.prompt_tokens)
            .sum();
        let reply: u64 = figures
            .iter()
            .filter_map(|figures| figures.completion_tokens)
            .sum();
        let cost = conversation
            .cost()
            .map_or("cost n/a".to_owned(), Usd::rounded);
        context.ui.note(&format!(
            "{} replies, {} of them with token counts: {prompt} prompt + {reply} reply tokens; {cost}",
            replies.count(),
            figures.len()
        ));
        Ok(())
    }
}
