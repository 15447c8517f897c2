//! How the files of an archive stand to those of the store.
//!
//! Layer: ops. The lengths of the store's files are known before the archive is read, so
//! everything that a plan needs of the archive is measured while it goes by, and nothing has to
//! be written for it.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use crate::archive::manifest::{Entry, Manifest};
use crate::archive::path::ArchivePath;
use crate::model::backup::Part;
use crate::model::error::Result;
use crate::store::Store;
use crate::store::parts::PartFile;

use super::content::{self, Measured, Measuring, Text};
use super::plan::{self, Measure, Mode, Pair, Plan, Question, Relation};

/// The files of both, and how they stand.
pub(super) struct Comparison {
    mode: Mode,
    /// The files that were asked for, without the key file.
    entries: Vec<Entry>,
    /// Where each of them is in the list.
    places: HashMap<ArchivePath, usize>,
    /// What the archive's type covers.
    parts: &'static [Part],
    /// The parts that are to hold nothing else.
    whole: &'static [Part],
    /// The files of the store.
    pub(super) live: Vec<PartFile>,
    /// What is compared, by the place of the archive's file.
    compared: BTreeMap<usize, Compared>,
}

struct Compared {
    pair: Pair,
    /// What the store's file says; `None` if it cannot be read, or if that does not matter.
    own: Option<Text>,
    /// `None` as long as the archive's file has not gone by.
    relation: Option<Relation>,
}

/// Where a staged file is.
pub(super) type Staged<'a> = dyn Fn(Part, &str) -> PathBuf + 'a;

impl Comparison {
    /// Looks at the store. `everything` says that `entries` are all that the archive has.
    pub(super) fn begin(
        store: &Store,
        manifest: &Manifest,
        entries: &[Entry],
        everything: bool,
        mode: Mode,
    ) -> Result<Self> {
        let entries: Vec<Entry> = entries
            .iter()
            .filter(|entry| entry.path.part().is_some())
            .cloned()
            .collect();
        let parts = manifest.kind.parts();
        let places = entries
            .iter()
            .enumerate()
            .map(|(at, entry)| (entry.path.clone(), at))
            .collect();
        let mut comparison = Self {
            mode,
            entries,
            places,
            parts,
            whole: if everything { parts } else { &[] },
            live: store.inventory(parts)?.files,
            compared: BTreeMap::new(),
        };
        for pair in plan::pairs(mode, &comparison.entries, &comparison.live) {
            let compared = comparison.look(store, pair)?;
            comparison.compared.insert(compared.pair.entry, compared);
        }
        Ok(comparison)
    }

    /// What the store's file of a pair tells.
    fn look(&self, store: &Store, pair: Pair) -> Result<Compared> {
        let (entry, live) = (&self.entries[pair.entry], &self.live[pair.live]);
        let (own, relation) = match pair.measure {
            Measure::Bytes => (None, Some(bytes(store, entry, live)?)),
            Measure::Content => match content::of_store(store, live)? {
                Some(own) => (Some(own), None),
                None => (None, Some(Relation::Diverged)),
            },
        };
        Ok(Compared {
            pair,
            own,
            relation,
        })
    }

    /// What has to be measured of this file of the archive while it goes by.
    pub(super) fn measuring(&self, entry: &Entry) -> Option<Measuring> {
        let compared = self.compared.get(self.places.get(&entry.path)?)?;
        let own = compared.own.filter(|_| compared.relation.is_none())?;
        Some(Measuring::new(entry.path.part()?, own.len))
    }

    /// Takes what was measured; `None` if the file could not be unpacked.
    pub(super) fn measured(
        &mut self,
        store: &Store,
        entry: &Entry,
        measured: Option<Measured>,
    ) -> Result<()> {
        let place = self.places.get(&entry.path);
        if let Some(compared) = place.and_then(|at| self.compared.get_mut(at)) {
            let live = &self.live[compared.pair.live];
            compared.relation = Some(relate(store, live, compared.own, measured)?);
        }
        Ok(())
    }

    /// Adds a file that is made here and does not come out of an archive: all of it, and the
    /// place of the store's file of the same conversation.
    pub(super) fn add(
        &mut self,
        store: &Store,
        entry: &Entry,
        bytes: &[u8],
        live: Option<usize>,
    ) -> Result<()> {
        let at = self.entries.len();
        self.places.insert(entry.path.clone(), at);
        self.entries.push(entry.clone());
        let Some(live) = live else {
            return Ok(());
        };
        let pair = Pair {
            entry: at,
            live,
            measure: Measure::Content,
        };
        let compared = self.look(store, pair)?;
        self.compared.insert(at, compared);
        if let Some(mut measuring) = self.measuring(entry) {
            measuring.update(bytes);
            self.measured(store, entry, measuring.finish())?;
        }
        Ok(())
    }

    /// Looks at the store as it is now; the files of the archive have been staged.
    pub(super) fn look_again(&mut self, store: &Store, staged: &Staged<'_>) -> Result<()> {
        let live = store.inventory(self.parts)?.files;
        let before = std::mem::replace(&mut self.live, live);
        let known = std::mem::take(&mut self.compared);
        for pair in plan::pairs(self.mode, &self.entries, &self.live) {
            let known = known
                .get(&pair.entry)
                .filter(|known| before[known.pair.live] == self.live[pair.live]);
            let compared = match known {
                Some(known) => Compared {
                    pair,
                    own: known.own,
                    relation: known.relation,
                },
                None => self.look_at_both(store, pair, staged)?,
            };
            self.compared.insert(compared.pair.entry, compared);
        }
        Ok(())
    }

    fn look_at_both(&self, store: &Store, pair: Pair, staged: &Staged<'_>) -> Result<Compared> {
        let mut compared = self.look(store, pair)?;
        if let (None, Some(own)) = (compared.relation, compared.own) {
            let (part, name) = plan::named(&self.entries[compared.pair.entry]);
            let measured = content::measure(store, &staged(part, name), part, own.len)?;
            let live = &self.live[compared.pair.live];
            compared.relation = Some(relate(store, live, compared.own, measured)?);
        }
        Ok(compared)
    }

    /// The plan that follows from it.
    pub(super) fn plan(&self) -> Plan {
        let relations: Vec<Relation> = self
            .compared
            .values()
            // What has not gone by is nowhere; only an archive without the file has that.
            .map(|compared| compared.relation.unwrap_or(Relation::Diverged))
            .collect();
        plan::plan(&Question {
            mode: self.mode,
            entries: &self.entries,
            whole: self.whole,
            live: &self.live,
            relations: &relations,
        })
    }
}

/// How two texts stand, where both can be read.
fn relate(
    store: &Store,
    live: &PartFile,
    own: Option<Text>,
    measured: Option<Measured>,
) -> Result<Relation> {
    match (own, measured) {
        (Some(own), Some(measured)) => content::relate(store, live, own, measured),
        _ => Ok(Relation::Diverged),
    }
}

/// Whether a file of the store has the archive's bytes. A line that is cut does not count.
fn bytes(store: &Store, entry: &Entry, live: &PartFile) -> Result<Relation> {
    let torn = live.part.grows(&live.name) && live.len > entry.size;
    if live.len != entry.size && !torn {
        return Ok(Relation::Diverged);
    }
    let measured = store.measure(live.part, &live.name)?;
    let same = measured
        .is_some_and(|measured| (measured.size, measured.sha256) == (entry.size, entry.sha256));
    Ok(if same {
        Relation::Same
    } else {
        Relation::Diverged
    })
}
