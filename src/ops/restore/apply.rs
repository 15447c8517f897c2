//! From a plan to what the parts of the store are to hold.
//!
//! Layer: ops. Used by restores and rollbacks.

use std::collections::BTreeMap;

use crate::model::backup::Part;
use crate::store::Store;
use crate::store::parts::PartFile;
use crate::store::swap::{NewPart, Take};

use super::plan::{Action, Plan};

/// What the parts in which something happens are to hold: files that are new or get another
/// content from `source`, all others as they are.
pub fn new_parts(
    store: &Store,
    plan: &Plan,
    live: &[PartFile],
    source: &dyn Fn(Part, &str) -> Take,
) -> Vec<NewPart> {
    let part = |part: Part| {
        let changed = plan.changes().filter(|step| step.part == part);
        let names: BTreeMap<&str, Action> = changed
            .map(|step| (step.name.as_str(), step.action))
            .collect();
        let own = live
            .iter()
            .filter(|file| file.part == part && !names.contains_key(file.name.as_str()))
            .map(|file| {
                let path = store.part_file(part, &file.name);
                (file.name.clone(), Take::From(path, file.len))
            });
        let new = names
            .iter()
            .filter(|(_, action)| **action != Action::Remove)
            .map(|(name, _)| ((*name).to_owned(), source(part, name)));
        let mut files: Vec<(String, Take)> = own.chain(new).collect();
        files.sort_by(|a, b| a.0.cmp(&b.0));
        NewPart { part, files }
    };
    plan.parts().into_iter().map(part).collect()
}
