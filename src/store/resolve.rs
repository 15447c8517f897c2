//! What people type, and the conversation they mean.

use crate::model::error::{Error, Kind, Result};
use crate::model::id::{ConversationId, SHORTEST_PREFIX};
use crate::model::size::grouped;

use super::Store;
use super::read::Scope;

impl Store {
    /// The conversation that `spec` names: `last` (of those in use), a full id, a prefix of an
    /// id's last part (three characters or more), or an exact title, in this order. It never
    /// guesses: none is [`Kind::NotFound`], more than one is [`Kind::Usage`] with the candidates.
    pub fn resolve(&self, spec: &str) -> Result<ConversationId> {
        let spec = spec.trim();
        if spec == "last" {
            return match self.last()? {
                Some(id) => Ok(id),
                None => Err(self.no_last()?),
            };
        }
        let ids = self.ids(Scope::All)?;
        let lower = spec.to_ascii_lowercase();
        if let Ok(id) = lower.parse::<ConversationId>() {
            return ids
                .into_iter()
                .find(|known| *known == id)
                .ok_or_else(|| unknown(spec));
        }
        let mut found: Vec<ConversationId> = if lower.len() >= SHORTEST_PREFIX {
            ids.iter()
                .filter(|id| id.short().starts_with(&lower))
                .cloned()
                .collect()
        } else {
            Vec::new()
        };
        if found.is_empty() {
            // Titles are inside the files: read them only when nothing else fits.
            found = ids
                .into_iter()
                .filter(|id| self.has_title(id, spec))
                .collect();
        }
        match found.len() {
            0 => Err(unknown(spec)),
            1 => Ok(found.remove(0)),
            _ => Err(self.ambiguous(spec, &found)),
        }
    }

    /// Why nothing is `last`. What is archived is not guessed at: it may be months old, and going
    /// on with it would take it out of the archive.
    fn no_last(&self) -> Result<Error> {
        let archived = self.ids(Scope::Archived)?.len();
        Ok(match archived {
            0 => Error::new(Kind::NotFound, "there is no conversation yet")
                .hint("begin one: pachat chat, or pachat send 'your question'"),
            some => Error::new(Kind::NotFound, "no conversation is in use")
                .why(match some {
                    1 => "there is only an archived one".to_owned(),
                    many => format!("there are only archived ones, {}", grouped(many)),
                })
                .hint("name the one that you mean; see them: pachat list --archived"),
        })
    }

    fn has_title(&self, id: &ConversationId, title: &str) -> bool {
        self.read(id)
            .is_ok_and(|loaded| loaded.conversation.header.title.as_deref() == Some(title))
    }

    fn ambiguous(&self, spec: &str, found: &[ConversationId]) -> Error {
        const SHOWN: usize = 5;
        let mut names: Vec<String> = found
            .iter()
            .take(SHOWN)
            .map(|id| match self.read(id) {
                Ok(loaded) => format!("{id} ({})", loaded.conversation.title()),
                Err(_) => id.to_string(),
            })
            .collect();
        if found.len() > SHOWN {
            names.push(format!("and {} more", found.len() - SHOWN));
        }
        Error::new(
            Kind::Usage,
            format!("`{spec}` names {} conversations", found.len()),
        )
        .cause(names.join(", "))
        .hint("type more of the last part of the id")
    }
}

fn unknown(spec: &str) -> Error {
    let error = Error::new(Kind::NotFound, format!("no conversation `{spec}`"));
    if spec.len() < SHORTEST_PREFIX {
        return error.hint(format!(
            "type at least {SHORTEST_PREFIX} characters of the last part of an id, or the exact title"
        ));
    }
    error.hint("see them all: pachat list --all")
}
