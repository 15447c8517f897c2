//! One try at a backup after another, until there is a verified archive.

use std::path::PathBuf;

use jiff::Timestamp;

use crate::archive::path::ArchivePath;
use crate::archive::write::Written;
use crate::model::error::{Error, Kind, Result};
use crate::platform::disk::File;
use crate::store::backups::{self, Backup, CARD_VERSION, Card, Draft};
use crate::store::lock::Patience;
use crate::store::{Store, atomic};

use super::index::Index;
use super::pack::{self, Attempt, Proof};
use super::prune::{self, Pruned};
use super::{Job, Made, Output, Plan, Subject, Watch, labels, now, survey};

/// How long a proof is good, in seconds: a week. After that an archive whose length is right is
/// read again, and what is copied from it unpacked once more.
const PROVEN: i64 = 7 * 86_400;

/// A backup in the making.
pub(super) struct Work<'a> {
    store: &'a Store,
    job: &'a Job,
    index: Index,
    /// Files that are not what the index says, although they look so.
    distrusted: Vec<ArchivePath>,
    /// Whether nothing is taken from the index and from earlier archives.
    anew: bool,
    warnings: Vec<String>,
}

/// What an attempt came to.
pub(super) enum Done {
    /// There was nothing new.
    Unchanged(Plan, Backup),
    /// There is a verified archive.
    Written(Plan, Target, Draft, Proof),
}

/// The name that an archive gets.
pub(super) struct Target {
    /// Of the archive.
    name: String,
    /// Where it will be, and in what place it is made.
    path: PathBuf,
}

impl<'a> Work<'a> {
    pub(super) fn new(store: &'a Store, job: &'a Job) -> Self {
        Self {
            store,
            job,
            index: Index::empty(job.subject.kind),
            distrusted: Vec::new(),
            anew: job.subject.force,
            warnings: Vec::new(),
        }
    }

    /// Tries once; `None` if files changed meanwhile, or what was copied proved bad.
    pub(super) fn attempt(
        &mut self,
        patience: &mut Patience<'_>,
        watch: &mut dyn Watch,
    ) -> Result<Option<Done>> {
        let (store, job) = (self.store, self.job);
        let entered = store.enter(patience)?;
        self.index = Index::load(store, job.subject.kind);
        for path in &self.distrusted {
            self.index.distrust(path);
        }
        let subject = Subject {
            force: self.anew,
            ..job.subject.clone()
        };
        let Some(mut plan) = survey::survey(store, &subject, &self.index, watch)? else {
            return Ok(None);
        };
        plan.manifest.tags.clone_from(&job.labels.tags);
        plan.manifest.note.clone_from(&job.labels.note);
        if matches!(job.output, Output::Store)
            && !job.subject.force
            && let Some(backup) = plan.unchanged.clone()
            && self.is_still_good(&backup, watch)?
        {
            return Ok(Some(Done::Unchanged(plan, backup)));
        }
        // With very many files it is large, and what is needed of it is in the plan by now.
        self.index.forget_files();
        let (target, draft, file) = self.begin(&plan)?;
        let attempt = Attempt {
            store,
            manifest: &plan.manifest,
            seal: job.seal.as_ref(),
            config_dir: job.subject.config_dir.as_deref(),
            cores: job.cores,
            path: draft.path(),
        };
        let mut earlier = self.index.earlier(store, self.anew);
        let packed = attempt.pack(file, &mut earlier, watch)?;
        // The files have been read; whoever waits to replace them can go on.
        drop(entered);
        let (mut outline, key) = match packed {
            (Written::Whole(outline), key) => (outline, key),
            (Written::Changed(entry), _) => {
                self.distrusted.push(entry.path);
                return Ok(None);
            }
        };
        if !self.index.proven_at().is_some_and(|at| self.is_recent(at)) {
            outline.forget_copies();
        }
        match attempt.verify(key, outline, watch) {
            Ok(proof) => Ok(Some(Done::Written(plan, target, draft, proof))),
            Err(error) if error.kind() == Kind::Malformed && earlier.copied() => {
                let name = self.index.archive_name().unwrap_or_default();
                self.warnings.push(format!(
                    "{name} seems to be damaged: what was copied from it did not verify; \
                     everything is packed anew"
                ));
                self.anew = true;
                Ok(None)
            }
            Err(error) if error.kind() == Kind::Malformed => Err(unproven(&error)),
            Err(error) => Err(error),
        }
    }

    /// Whether what was proven at this time need not be proven again.
    fn is_recent(&self, proven_at: Timestamp) -> bool {
        let age = now(self.store).duration_since(proven_at).as_secs();
        (0..PROVEN).contains(&age)
    }

    /// Whether an archive that is there is still what its card says. Its length is proof
    /// enough for a while; after that it is read.
    fn is_still_good(&mut self, backup: &Backup, watch: &mut dyn Watch) -> Result<bool> {
        let Some(card) = &backup.card else {
            return Ok(false);
        };
        if card.verified_at.is_some_and(|at| self.is_recent(at)) {
            return Ok(true);
        }
        let good = match pack::digest(self.store, &backup.path, backup.size, watch) {
            Ok(digest) => digest == card.sha256,
            // What cannot be read is no backup, and no reason to have none.
            Err(error) if matches!(error.kind(), Kind::Io | Kind::NotFound) => false,
            Err(error) => return Err(error),
        };
        let card = Card {
            verified_at: good.then(|| now(self.store)),
            ..card.clone()
        };
        backups::put_card(self.store, &card)?;
        if !good {
            self.warnings.push(format!(
                "{} is damaged: it is not what it was when it was made",
                backup.path.display()
            ));
            self.anew = true;
        }
        Ok(good)
    }

    /// The name of the archive, and a file to write it to.
    fn begin(&self, plan: &Plan) -> Result<(Target, Draft, Box<dyn File>)> {
        let (store, sealed) = (self.store, self.job.subject.sealed);
        let name = backups::new_name(store, plan.manifest.created_at, sealed)?;
        match &self.job.output {
            Output::Store | Output::Copy => {
                let directory = store.layout().backups_dir();
                atomic::create_dirs(store.disk(), &directory)?;
                pack::check_space(store, &directory, &plan.manifest)?;
                let (draft, file) = backups::draft(store, &name)?;
                let path = directory.join(&name);
                Ok((Target { name, path }, draft, file))
            }
            Output::File { path, replace } => {
                let path = pack::target(store, path, &name, *replace)?;
                if let Some(directory) = path.parent() {
                    pack::check_space(store, directory, &plan.manifest)?;
                }
                let (draft, file) = backups::draft_beside(store, &path)?;
                Ok((Target { name, path }, draft, file))
            }
        }
    }

    /// Gives the archive its name, and removes what no rule keeps.
    pub(super) fn finish(mut self, done: Done) -> Result<Made> {
        let (plan, target, draft, proof) = match done {
            Done::Written(plan, target, draft, proof) => (plan, target, draft, proof),
            Done::Unchanged(plan, backup) => {
                let (backup, labelled) = labels::add(self.store, backup, &self.job.labels)?;
                if !self.index.agrees(&plan) {
                    self.index.save(self.store, &plan);
                }
                return Ok(Made {
                    backup,
                    plan,
                    unchanged: true,
                    labelled,
                    pruned: Pruned::default(),
                    warnings: self.warnings,
                    copy: None,
                });
            }
        };
        let card = self.card(&plan, &target, &proof);
        let mut made = Made {
            backup: elsewhere(target.path, card.clone()),
            plan,
            unchanged: false,
            labelled: false,
            pruned: Pruned::default(),
            warnings: self.warnings,
            copy: None,
        };
        match &self.job.output {
            Output::Store => {
                made.backup = backups::publish(self.store, draft, card)?;
                if !self.job.subject.sealed {
                    let now = now(self.store);
                    let Proof {
                        size,
                        outline,
                        whole,
                        ..
                    } = proof;
                    self.index
                        .copy_from(target.name, size, outline.segments, whole, now);
                }
                made.pruned = prune::prune(self.store, self.job, &made.backup.id);
            }
            Output::File { path, replace } => {
                pack::target(self.store, path, &target.name, *replace)?;
                draft.publish(&made.backup.path)?;
            }
            // The open file outlives its name, which goes with the draft: so nobody has to
            // wait until a slow reader has it all.
            Output::Copy => made.copy = Some(pack::open(self.store, draft.path())?),
        }
        self.index.save(self.store, &made.plan);
        Ok(made)
    }

    fn card(&self, plan: &Plan, target: &Target, proof: &Proof) -> Card {
        let Job {
            subject, labels, ..
        } = self.job;
        Card {
            version: CARD_VERSION,
            archive: target.name.clone(),
            kind: subject.kind,
            created_at: plan.manifest.created_at,
            files: plan.manifest.files.len() as u64,
            total_bytes: plan.manifest.total_bytes(),
            size: proof.size,
            sha256: proof.sha256,
            content: plan.manifest.content(),
            encrypted: subject.sealed,
            recipients: subject.recipients.clone(),
            tags: labels.tags.clone(),
            note: labels.note.clone(),
            pinned: labels.pinned,
            verified_at: Some(now(self.store)),
        }
    }
}

fn elsewhere(path: PathBuf, card: Card) -> Backup {
    Backup {
        id: backups::id_at(card.created_at),
        path,
        size: card.size,
        card: Some(card),
    }
}

fn unproven(error: &Error) -> Error {
    Error::new(Kind::Io, "the backup did not verify")
        .why("what was read back is not what was written; nothing is kept of it")
        .cause(error.headline())
        .hint("check the disk and the memory of this machine")
}
