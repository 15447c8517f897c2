//! Moving many conversations together, so that they share the syncs, which take most of the time.
//!
//! What holds for one holds for each of several: a step is taken with all of them before the
//! next one is taken with any. So a sync that makes all of them durable stands where each would
//! have needed its own, and the order of steps of each is the same.
//!
//! - The turns of all are held from the first step to the last, so a batch is small: [`MOST`]
//!   conversations and [`MOST_BYTES`] of text take about a tenth of a second, and several times
//!   that on a small machine. Whoever goes on with one of them meanwhile waits for so long.
//!   Only a conversation that is larger by itself takes longer.
//! - One that is in use, has changed or cannot be read is left where it is, and the others go on.
//! - What is about more than one ends the batch: an error of writing, a signal. Before the first
//!   one got its new name, all that was written is removed. After that, those that have their
//!   names are brought to an end, and only the rest stays.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::model::backup::Part;
use crate::model::error::{Error, Kind, Result, describe};
use crate::model::id::ConversationId;
use crate::store::atomic;
use crate::store::lock::{self, Lock};
use crate::store::looks::Looks;
use crate::store::parts::PartFile;

use super::pack::{self, Packer, Trouble};
use super::{CHANGED, GONE, Moved, Shelf, Spot, left, look, trash};

/// How many conversations make a batch at most. Each is an open file, of which a process may
/// have 256 on some platforms.
pub const MOST: usize = 128;
/// How many bytes the conversations of a batch have together at most, if they are several and
/// are packed.
pub const MOST_BYTES: u64 = 4 << 20;
/// More threads than this would cost more memory than they spare time.
const MOST_THREADS: usize = 8;

/// One of several conversations to move. None is named twice.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'w> {
    /// Which.
    pub id: &'w ConversationId,
    /// How the file of this part looked; it is left where it is if it looks otherwise now.
    pub seen: Option<(Part, &'w Looks)>,
}

/// What ended a batch: the number of the conversation that it was at, and the error.
pub type Ended = (usize, Error);

/// Told what became of a conversation, by its number, while its turn is still held.
pub type Tell<'t> = dyn FnMut(usize, Moved) + 't;

/// A conversation on its way to the archive.
struct Job {
    number: usize,
    id: ConversationId,
    source: PathBuf,
    temporary: PathBuf,
    target: PathBuf,
    /// How the source was before it was read.
    before: PartFile,
    /// How long it is, packed.
    packed: u64,
}

/// What became of a step with one of several: done, or left for this reason. An error is
/// about all of them.
type Fate<T> = Result<Result<T, String>>;

impl Shelf<'_> {
    /// Archives conversations, as one batch, on so many threads. `tell` is called once for each
    /// that was archived or left. The caller keeps to [`MOST`] and [`MOST_BYTES`].
    pub fn archive(
        &self,
        wanted: &[Wanted<'_>],
        cores: usize,
        tell: &mut Tell<'_>,
    ) -> Result<(), Ended> {
        let mut turns = Vec::new();
        let mut jobs = Vec::new();
        for (number, wanted) in wanted.iter().enumerate() {
            match self.job(number, wanted).map_err(|error| (number, error))? {
                Ok((turn, job)) => {
                    turns.push(turn);
                    jobs.push(job);
                }
                Err(why) => tell(number, Moved::Left(why)),
            }
        }
        let Some(first) = jobs.first() else {
            return Ok(());
        };
        let layout = self.store.layout();
        atomic::create_dirs(self.store.disk(), &layout.archived_dir())
            .map_err(|error| (first.number, error))?;
        let jobs = self.written(jobs, cores, tell)?;
        let (jobs, ended) = self.named(jobs)?;
        self.sources_removed(&jobs, tell)?;
        drop(turns);
        ended.map_or(Ok(()), Err)
    }

    /// A conversation that can be archived, and its turn.
    fn job(&self, number: usize, wanted: &Wanted<'_>) -> Fate<(Lock, Job)> {
        let (layout, id) = (self.store.layout(), wanted.id);
        let seen = wanted.seen.filter(|(part, _)| *part == Part::Active);
        let turn = match self.prepared(id, seen.map(|(_, looks)| looks))? {
            Ok(turn) => turn,
            Err(why) => return Ok(Err(why)),
        };
        let Some(before) = self.look(Part::Active, &format!("{id}.jsonl"))? else {
            return Ok(Err(GONE.into()));
        };
        let (source, target) = (layout.active(id), layout.archived(id));
        if self.exists(&target)? {
            match pack::begins_with(self.store.disk(), &source, &target) {
                Ok(true) => {}
                Ok(false) => {
                    let why = "another conversation with its id is archived already";
                    return Ok(Err(why.into()));
                }
                Err(error) => return Ok(Err(unreadable(&error))),
            }
        }
        let job = Job {
            number,
            id: id.clone(),
            source,
            temporary: layout.archived_dir().join(format!(".{id}.jsonl.gz.tmp")),
            target,
            before,
            packed: 0,
        };
        Ok(Ok((turn, job)))
    }

    /// Those of which there is now a packed copy, durable and proven.
    fn written(
        &self,
        mut jobs: Vec<Job>,
        cores: usize,
        tell: &mut Tell<'_>,
    ) -> Result<Vec<Job>, Ended> {
        let (store, signals) = (self.store, &self.signals);
        let disk = store.disk();
        let fates = each(&jobs, cores, Packer::new, |packer, job| {
            lock::stop_on(signals)?;
            fate(job, packer.pack(disk, &job.source, &job.temporary))
        });
        jobs = self.sift(jobs, fates, tell)?;
        let temporaries: Vec<PathBuf> = jobs.iter().map(|job| job.temporary.clone()).collect();
        if let (Err(error), Some(first)) = (disk.sync_files(&temporaries), jobs.first()) {
            store.note_failed_sync();
            let ended = (first.number, cannot(&first.source, &error));
            self.forget(&jobs);
            return Err(ended);
        }
        let fates = each(
            &jobs,
            cores,
            || (),
            |(), job| {
                lock::stop_on(signals)?;
                let same = match fate(job, pack::is_packed(disk, &job.source, &job.temporary))? {
                    Ok(same) => same,
                    Err(why) => return Ok(Err(why)),
                };
                let now = look(store, Part::Active, &job.before.name)?;
                Ok(if same && now.as_ref() == Some(&job.before) {
                    Ok(job.packed)
                } else {
                    // Nobody who keeps the rules writes to it now.
                    Err("it does not stay as it is while it is read".into())
                })
            },
        );
        self.sift(jobs, fates, tell)
    }

    /// Goes on with those that went well. Of the others nothing that was written stays.
    fn sift(
        &self,
        jobs: Vec<Job>,
        fates: Vec<Fate<u64>>,
        tell: &mut Tell<'_>,
    ) -> Result<Vec<Job>, Ended> {
        let mut ended = None;
        let mut well = Vec::new();
        for (mut job, fate) in jobs.into_iter().zip(fates) {
            match fate {
                Ok(Ok(packed)) => {
                    job.packed = packed;
                    well.push(job);
                    continue;
                }
                Ok(Err(why)) => tell(job.number, Moved::Left(why)),
                Err(error) => {
                    ended.get_or_insert((job.number, error));
                }
            }
            self.remove_quietly(&job.temporary);
        }
        let Some(ended) = ended else { return Ok(well) };
        self.forget(&well);
        Err(ended)
    }

    /// Those that have their names in the archive, for good; and what came before the others
    /// had them. An error if none is known to have it for good.
    fn named(&self, mut jobs: Vec<Job>) -> Result<(Vec<Job>, Option<Ended>), Ended> {
        let mut ended = None;
        for at in 0..jobs.len() {
            let job = &jobs[at];
            if let Err(error) = self.store.disk().rename(&job.temporary, &job.target) {
                ended = Some((job.number, cannot(&job.source, &error)));
                self.forget(&jobs[at..]);
                jobs.truncate(at);
                break;
            }
        }
        if let Some(first) = jobs.first() {
            self.sync_dir(&self.store.layout().archived_dir())
                .map_err(|error| (first.number, error))?;
        }
        Ok((jobs, ended))
    }

    /// The last step: the archived ones are the only ones.
    fn sources_removed(&self, jobs: &[Job], tell: &mut Tell<'_>) -> Result<(), Ended> {
        let Some(first) = jobs.first() else {
            return Ok(());
        };
        let mut ended = None;
        let mut gone = 0;
        for job in jobs {
            if let Err(error) = self.store.disk().remove_file(&job.source) {
                ended = Some((job.number, cannot(&job.source, &error)));
                break;
            }
            gone += 1;
        }
        self.sync_dir(&self.store.layout().active_dir())
            .map_err(|error| (first.number, error))?;
        for job in &jobs[..gone] {
            let spot = Spot {
                part: Part::Archived,
                name: format!("{}.jsonl.gz", job.id),
                bytes: job.packed,
            };
            tell(job.number, Moved::To(spot));
        }
        ended.map_or(Ok(()), Err)
    }

    fn forget(&self, jobs: &[Job]) {
        for job in jobs {
            self.remove_quietly(&job.temporary);
        }
    }

    /// Moves conversations to the trash, from wherever they are, as one batch. `tell` is called
    /// once for each that was moved or left. The caller keeps to [`MOST`].
    pub fn discard(&self, wanted: &[Wanted<'_>], tell: &mut Tell<'_>) -> Result<(), Ended> {
        let mut turns = Vec::new();
        let mut moved: Vec<(usize, Spot)> = Vec::new();
        let mut parts = Vec::new();
        let mut ended = None;
        for (number, wanted) in wanted.iter().enumerate() {
            match self.to_trash(wanted, &mut parts) {
                Ok(Ok((turn, spot))) => {
                    turns.push(turn);
                    moved.push((number, spot));
                }
                Ok(Err(why)) => tell(number, left(&why)),
                Err(error) => {
                    ended = Some((number, error));
                    break;
                }
            }
        }
        if !parts.is_empty() {
            // One that fails with the first of its two files has that one in the trash.
            let at = moved.first().map_or(0, |(number, _)| *number);
            self.sync_trash().map_err(|error| (at, error))?;
            // The archived ones first: if that is all that happens, the active ones count as
            // before.
            for part in [Part::Archived, Part::Active] {
                if parts.contains(&part) {
                    let directory = self.store.part_dir(part);
                    self.sync_dir(&directory).map_err(|error| (at, error))?;
                }
            }
        }
        for (number, spot) in moved {
            tell(number, Moved::To(spot));
        }
        drop(turns);
        ended.map_or(Ok(()), Err)
    }

    /// Moves the files of one conversation to the trash, durable after a sync of that and of
    /// the directories of `parts`, to which those are added that it was in. Its turn, and where
    /// the one is that counts.
    fn to_trash(&self, wanted: &Wanted<'_>, parts: &mut Vec<Part>) -> Fate<(Lock, Spot)> {
        let (id, seen) = (wanted.id, wanted.seen);
        let active = seen.filter(|(part, _)| *part == Part::Active);
        let turn = match self.prepared(id, active.map(|(_, looks)| looks))? {
            Ok(turn) => turn,
            Err(why) => return Ok(Err(why)),
        };
        let mut found = Vec::new();
        for (part, name) in [
            (Part::Archived, format!("{id}.jsonl.gz")),
            (Part::Active, format!("{id}.jsonl")),
        ] {
            if let Some(file) = self.look(part, &name)? {
                let same = seen.is_none_or(|(seen, looks)| {
                    seen != part || Looks::of(&file).as_ref() == Some(looks)
                });
                if part == Part::Archived && !same {
                    return Ok(Err(CHANGED.into()));
                }
                found.push(file);
            }
        }
        let names: Vec<&str> = found.iter().map(|file| file.name.as_str()).collect();
        let stamp = trash::free_stamp(self.store, &names)?;
        let mut last = None;
        for file in &found {
            last = Some(self.rename_to_trash(file, &stamp)?);
            if !parts.contains(&file.part) {
                parts.push(file.part);
            }
        }
        Ok(last.map(|spot| (turn, spot)).ok_or_else(|| GONE.into()))
    }
}

fn cannot(source: &std::path::Path, error: &std::io::Error) -> Error {
    Error::io("cannot archive the conversation", source, error).with_kind(Kind::Io)
}

fn unreadable(error: &std::io::Error) -> String {
    format!("it cannot be read: {}", describe(error))
}

/// Trouble with a source is that of one conversation; trouble with what was written is that of
/// the disk.
fn fate<T>(job: &Job, result: Result<T, Trouble>) -> Fate<T> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(Trouble::Source(error)) => Ok(Err(unreadable(&error))),
        Err(Trouble::Packed(error)) => Err(cannot(&job.source, &error)),
    }
}

/// Does the same with each, on up to so many threads, each of which has a `tool` for all that it
/// does; what comes of it is in the same order.
fn each<T: Sync, R: Send, S>(
    items: &[T],
    threads: usize,
    tool: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, &T) -> R + Sync,
) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let some = || {
        let mut tool = tool();
        let mut done = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(at) else {
                return done;
            };
            done.push((at, work(&mut tool, item)));
        }
    };
    let helpers = threads.min(MOST_THREADS).min(items.len()).saturating_sub(1);
    let mut all = thread::scope(|scope| {
        let thread = || thread::Builder::new().name("archive".into());
        // Where there is no thread to be had, fewer do it as well.
        let helpers: Vec<_> = (0..helpers)
            .map_while(|_| thread().spawn_scoped(scope, some).ok())
            .collect();
        let mut all = some();
        for helper in helpers {
            match helper.join() {
                Ok(done) => all.extend(done),
                Err(fault) => std::panic::resume_unwind(fault),
            }
        }
        all
    });
    all.sort_unstable_by_key(|(at, _)| *at);
    all.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_threads_do_comes_back_in_order_and_once() {
        let items: Vec<usize> = (0..1000).collect();
        for threads in [0, 1, 2, 64] {
            let once = |(): &mut (), item: &usize| *item;
            assert_eq!(each(&items, threads, || (), once), items, "{threads}");
            assert_eq!(each(&[7], threads, || (), once), [7]);
            assert!(each(&[], threads, || (), once).is_empty());
        }
    }
}
