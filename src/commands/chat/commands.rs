//! What each slash command does.

use std::path::{Path, PathBuf};

use crate::commands::connection::known_models;
use crate::commands::list::when;
use crate::commands::session::{self, spent_line};
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
            "/help" => {
                answer(&slash::help(), context)?;
                self.end_turn(context);
                Ok(())
            }
            "/new" => {
                let before = self.id.take();
                self.next = 1;
                self.beginning.title = (!rest.is_empty()).then(|| rest.to_owned());
                context.ui.aside(&match before {
                    Some(id) => format!("a new conversation; back with /open {}", id.short()),
                    None => "a new conversation".to_owned(),
                });
                Ok(())
            }
            "/open" => self.go_to(rest, context),
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
                    .aside("interrupted replies are part of the context from here on");
                Ok(())
            }
            "/save" => self.save(rest, context),
            "/usage" => self.usage(context),
            _ => Err(Error::new(Kind::Bug, format!("{name} is not wired up"))),
        }
    }

    fn go_to(&mut self, spec: &str, context: &mut Context) -> Result<()> {
        if spec.is_empty() {
            return Err(Error::new(Kind::Usage, "name a conversation")
                .hint("/list shows them, and Tab after `/open ` offers them"));
        }
        let id = self.store.resolve(spec)?;
        self.open(&id, context)?;
        // Its own model answers, unless the command line names one.
        self.models.clone_from(&self.args.models);
        self.connect(context)?;
        let models = self.current_models(context)?.join(", ");
        context
            .ui
            .aside(&format!("{} ({}), with {models}", self.title(), id.short()));
        self.show_recent(context);
        self.end_turn(context);
        Ok(())
    }

    fn list(&self, text: &str, context: &mut Context) -> Result<()> {
        const SHOWN: usize = 15;
        let search = (!text.is_empty()).then_some(text);
        let listing = listing::list(&self.store, Scope::Active, search)?;
        if listing.summaries.is_empty() {
            context.ui.aside("no conversations");
        }
        let width = context.ui.size().map_or(80, |(columns, _)| columns);
        let (now, zone) = (context.clock.now(), context.clock.zone());
        let mut text = String::new();
        for summary in listing.summaries.iter().take(SHOWN) {
            let here = if self.id.as_ref() == Some(&summary.id) {
                "*"
            } else {
                " "
            };
            let line = format!(
                "{here} {}  {:<12}  {}",
                summary.id.short(),
                when(summary.updated_at, now, &zone),
                clean_line(&summary.title)
            );
            text.push_str(&table::cut(&line, width));
            text.push('\n');
        }
        answer(&text, context)?;
        let more = listing.summaries.len().saturating_sub(SHOWN);
        if more > 0 {
            context
                .ui
                .aside(&format!("({more} more: /list TEXT, or `pachat list`)"));
        }
        self.end_turn(context);
        Ok(())
    }

    fn model(&mut self, names: &str, context: &mut Context) -> Result<()> {
        if names.is_empty() {
            let models = self.current_models(context)?;
            context.ui.aside(&models.join(", "));
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
            .aside(&format!("asking {} from here on", models.join(", ")));
        let known = known_models(&self.store, context.settings.base_url());
        // Only the guide is known where no list was ever fetched.
        if known.len() > 1 && !known.contains(&models[0]) {
            context
                .ui
                .aside("(the server's list of models does not have it; Tab offers what it has)");
        }
        self.models = models;
        Ok(())
    }

    fn system(&mut self, text: &str, context: &mut Context) -> Result<()> {
        if text.is_empty() {
            let system = match &self.id {
                Some(_) => self.read()?.header.system,
                None => self.beginning.system.clone(),
            };
            let system = system.filter(|text| !text.is_empty());
            for line in system.as_deref().unwrap_or("(no instructions)").lines() {
                context.ui.aside(line);
            }
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
        context.ui.aside(said);
        Ok(())
    }

    fn retitle(&mut self, title: &str, context: &mut Context) -> Result<()> {
        if title.is_empty() {
            let title = self.title();
            context.ui.aside(&title);
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
        context.ui.aside(&format!("the title is now: {title}"));
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
        context.ui.aside(&format!(
            "taken back: {}",
            table::cut(&clean_line(&text), 60)
        ));
        Ok(())
    }

    fn retry(&mut self, context: &mut Context) -> Result<()> {
        let models = self.current_models(context)?;
        self.connection.prepare(&models, context)?;
        let (mut writer, n, text) = self.last_prompt(context)?;
        session::check_room(&writer, &text, context)?;
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
        let path = expand(file, context);
        if context.disk.stat(&path).is_ok() {
            return Err(Error::new(Kind::CannotCreate, "cannot save")
                .why("the file exists already")
                .path(&path)
                .hint("name another one"));
        }
        let markdown = export::markdown(&self.read()?);
        let (disk, random) = (context.disk.as_ref(), context.random.as_ref());
        atomic::replace(disk, random, &path, markdown.as_bytes())?;
        context.ui.aside(&format!("written to {}", path.display()));
        Ok(())
    }

    fn usage(&self, context: &mut Context) -> Result<()> {
        let conversation = self.read()?;
        let replies = conversation
            .all()
            .filter(|(message, _)| message.role == Role::Assistant)
            .count();
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
        context.ui.aside(&format!(
            "{replies} {}, {} with token counts: {prompt} prompt + {reply} reply tokens; {cost}{}",
            if replies == 1 { "reply" } else { "replies" },
            figures.len(),
            spent_line(context),
        ));
        Ok(())
    }
}

/// What a slash command was asked for. Where standard output is not the person's terminal it
/// belongs to the replies alone.
fn answer(text: &str, context: &mut Context) -> Result<()> {
    if context.ui.stdout_is_terminal() {
        return context.ui.text(text);
    }
    text.lines().for_each(|line| context.ui.note(line));
    Ok(())
}

/// A path as a person types it where no shell expands `~/`.
fn expand(file: &str, context: &Context) -> PathBuf {
    let environment = &context.environment;
    match (file.strip_prefix("~/"), environment.get_os("HOME")) {
        (Some(rest), Some(home)) => Path::new(home).join(rest),
        _ => environment.resolve(Path::new(file)),
    }
}
