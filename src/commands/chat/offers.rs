//! What Tab offers in a chat. Nothing is read before somebody presses it.

use std::sync::OnceLock;

use crate::commands::connection;
use crate::model::base_url::BaseUrl;
use crate::store::Store;
use crate::store::read::Scope;
use crate::term::editor::{Offer, Suggest};

use super::slash;

/// The words that may follow a slash command.
pub(super) struct Offers {
    store: Store,
    base_url: BaseUrl,
    /// Read once: the list is long, and seldom changes during a chat.
    models: OnceLock<Vec<String>>,
}

impl Offers {
    pub(super) fn new(store: Store, base_url: BaseUrl) -> Self {
        Self {
            store,
            base_url,
            models: OnceLock::new(),
        }
    }

    fn models(&self) -> Vec<Offer> {
        let models = self
            .models
            .get_or_init(|| connection::known_models(&self.store, &self.base_url));
        models
            .iter()
            .map(|model| Offer {
                word: model.clone(),
                about: String::new(),
            })
            .collect()
    }

    /// The newest conversations, with their titles.
    fn conversations(&self) -> Vec<Offer> {
        /// Titles are inside the files, so that many files take a moment to read.
        const MOST: usize = 200;
        let ids = self.store.ids(Scope::Active).unwrap_or_default();
        ids.iter()
            .rev()
            .take(MOST)
            .filter_map(|id| {
                let loaded = self.store.read(id).ok()?;
                Some(Offer {
                    word: id.short().to_owned(),
                    about: loaded.conversation.title().to_owned(),
                })
            })
            .collect()
    }
}

impl Suggest for Offers {
    fn commands(&self) -> Vec<(&'static str, bool)> {
        slash::ALL
            .iter()
            .map(|slash| (slash.name, !slash.argument.is_empty()))
            .collect()
    }

    fn words(&self, command: &str) -> Vec<Offer> {
        match command {
            "/model" => self.models(),
            "/open" => self.conversations(),
            _ => Vec::new(),
        }
    }
}
