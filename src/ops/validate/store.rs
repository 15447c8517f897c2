//! Every line of every conversation, and everything around it.
//!
//! Layer: ops. Promises: looking changes nothing and takes no lock that anybody would wait for;
//! no file is held in memory as a whole; whatever cannot be looked at is itself a finding. What
//! others change at the same moment is either seen as it was or as it is, or not judged.

mod attachments;
mod conversation;
mod files;
mod lines;
mod numbers;
mod record;
mod relations;
mod upkeep;

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use serde::Serialize;

use crate::model::backup::Part;
use crate::model::error::{Error, Result};
use crate::model::finding::{Finding, Severity};
use crate::model::id::ConversationId;
use crate::model::size::ByteSize;
use crate::ops::room::Tally;
use crate::ops::watch::Watch;
use crate::store::index::Index;
use crate::store::parts::PartFile;
use crate::store::{Store, shelf};

use attachments::Digests;
use conversation::{Outcome, Subject};
use files::Files;
use lines::Splitter;
use relations::Relations;
use upkeep::Format;

/// How often the bar moves and Ctrl-C is noticed.
const TICK: Duration = Duration::from_millis(50);

/// How many files a thread reads before it tells: to wake another for each small one would
/// cost as much as reading it.
const BATCH: usize = 64;

/// What to look at, and by what to judge it.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// Only these conversations and their side files; `None` is everything.
    pub only: Option<&'a [ConversationId]>,
    /// What is too large or too much.
    pub limits: Limits,
    /// How many threads read at once.
    pub cores: usize,
}

/// The limits of the settings.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Of one conversation.
    pub conversation: ByteSize,
    /// Of the data directory.
    pub storage: ByteSize,
    /// How many conversations may be in use.
    pub conversations: u64,
}

/// How much was looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Conversations: in use, archived, deleted.
    pub conversations: u64,
    /// Their lines.
    pub lines: u64,
    /// Their bytes, unpacked.
    pub bytes: u64,
    /// Attachments.
    pub attachments: u64,
    /// The bytes of all files of the store, as they are on the disk; 0 if only some
    /// conversations were looked at.
    pub storage: u64,
}

/// Looks at the store. An error is that of the watcher, or a signal.
pub fn look(
    store: &Store,
    request: &Request<'_>,
    watch: &mut dyn Watch,
) -> Result<(Vec<Finding>, Counts)> {
    let mut found = Vec::new();
    let mut counts = Counts::default();
    match upkeep::look_at_format(store, &mut found) {
        Format::Readable => {}
        Format::Missing | Format::Newer => return Ok((found, counts)),
    }
    let files = match request.only {
        None => {
            upkeep::look_for_swap(store, &mut found);
            files::list(store, &mut found)
        }
        Some(ids) => some_files(store, ids, &mut found),
    };
    let everything = request.only.is_none();
    let wanted = if everything {
        Digests::of(files.attachments.iter().map(|file| file.name.as_str()))
    } else {
        None
    };
    let read = read_all(store, request, &files, wanted, watch)?;
    found.extend(read.findings);
    counts.conversations = files.conversations.len() as u64;
    counts.lines = read.lines;
    counts.bytes = read.bytes;
    counts.attachments = files.attachments.len() as u64;
    found.extend(read.relations.look(store, everything));
    for (file, id) in &files.replies {
        let conversation = read.in_use.get(id);
        found.extend(upkeep::look_at_side_file(store, file, id, conversation));
    }
    if everything {
        if let Some(digests) = read.digests.filter(|_| read.all_whole) {
            let names = files.attachments.iter().map(|file| file.name.as_str());
            found.extend(attachments::orphans(&digests, names));
        }
        found.extend(read.stale.then(|| {
            upkeep::stale_index("it does not say of every conversation what its file says")
        }));
        upkeep::look_at_others(store, &files.others, &mut found);
        // What cannot be looked at has its own finding.
        counts.storage = storage(store, &files);
        let in_use = |(file, _): &&(PartFile, _)| file.part == Part::Active;
        let active = files.conversations.iter().filter(in_use).count() as u64;
        upkeep::look_at_room(store, &counts, active, &request.limits, &mut found);
        found.extend(files::left_over(store, files.temporary));
    }
    found.sort_by(|a, b| (&a.subject, a.line).cmp(&(&b.subject, b.line)));
    let mut busy = HashSet::new();
    // Once for each conversation, however often it was met.
    found.retain(|finding| finding.code != "store.busy" || busy.insert(finding.subject.clone()));
    Ok((found, counts))
}

/// The files of some conversations.
fn some_files(store: &Store, ids: &[ConversationId], found: &mut Vec<Finding>) -> Files {
    let mut files = Files::default();
    for id in ids {
        for (part, name) in [
            (Part::Active, format!("{id}.jsonl")),
            (Part::Archived, format!("{id}.jsonl.gz")),
            (Part::Active, format!("{id}.partial")),
        ] {
            let list = if name.ends_with(".partial") {
                &mut files.replies
            } else {
                &mut files.conversations
            };
            match shelf::look(store, part, &name) {
                Ok(file) => list.extend(file.map(|file| (file, id.clone()))),
                Err(error) => found.push(failed(&format!("{}/{name}", part.path()), &error)),
            }
        }
    }
    files
}

/// How large everything is together.
fn storage(store: &Store, files: &Files) -> u64 {
    let with_id = files.conversations.iter().chain(&files.replies);
    let listed = with_id
        .map(|(file, _)| file)
        .chain(&files.attachments)
        .chain(&files.others);
    let mut tally = Tally::default();
    for file in listed {
        tally.add(file.len, file.identity);
    }
    let parts = Part::ALL.map(|part| store.part_dir(part));
    // What cannot be looked at was told by name.
    let _ = tally.add_below(
        store.disk(),
        store.layout().root(),
        &parts,
        &mut |_, _, _| {},
    );
    tally.bytes()
}

/// What all the reading has told.
#[derive(Default)]
struct Read<'a> {
    findings: Vec<Finding>,
    relations: Relations<'a>,
    /// Conversations that have a side file.
    in_use: HashMap<ConversationId, Outcome>,
    lines: u64,
    bytes: u64,
    digests: Option<Digests>,
    /// Whether every conversation was read to its end.
    all_whole: bool,
    /// Whether the index is wrong about one.
    stale: bool,
}

/// Something to read.
#[derive(Clone, Copy)]
enum Job<'a> {
    Conversation(&'a PartFile, &'a ConversationId),
    Attachment(&'a PartFile),
}

impl Job<'_> {
    fn file(&self) -> &PartFile {
        match self {
            Self::Conversation(file, _) | Self::Attachment(file) => file,
        }
    }
}

/// What became of it.
enum Done {
    Conversation(Box<Outcome>),
    Attachment(Option<Finding>),
}

/// Reads every file, several at once.
fn read_all<'a>(
    store: &Store,
    request: &Request<'_>,
    files: &'a Files,
    wanted: Option<Digests>,
    watch: &mut dyn Watch,
) -> Result<Read<'a>> {
    let mut read = Read {
        all_whole: true,
        ..Read::default()
    };
    let conversations = files.conversations.iter();
    let mut jobs: Vec<Job<'_>> = conversations
        .map(|(file, id)| Job::Conversation(file, id))
        .collect();
    if request.only.is_none() {
        jobs.extend(files.attachments.iter().map(Job::Attachment));
    }
    for (file, id) in &files.conversations {
        read.relations.place(id, file.part);
    }
    let index = match request.only {
        None => upkeep::index(store, &mut read.findings),
        Some(_) => None,
    };
    let side_files: HashSet<&ConversationId> = files.replies.iter().map(|(_, id)| id).collect();
    watch.stage("checking", jobs.iter().map(|job| job.file().len).sum());
    // Files are done in any order, and told of in theirs.
    let mut told: Vec<(usize, Vec<Finding>)> = Vec::new();
    let mut take = |at: usize, done: Done| {
        let before = read.findings.len();
        match (jobs[at], done) {
            (Job::Conversation(file, id), Done::Conversation(mut outcome)) => {
                let around = Around {
                    store,
                    limit: request.limits.conversation,
                    index: index.as_ref(),
                };
                around.judge(file, id, &mut outcome, &mut read);
                if file.part == Part::Active && side_files.contains(id) {
                    read.in_use.insert(id.clone(), *outcome);
                }
            }
            (_, Done::Attachment(finding)) => read.findings.extend(finding),
            (Job::Attachment(_), Done::Conversation(_)) => {}
        }
        let new = read.findings.split_off(before);
        if !new.is_empty() {
            told.push((at, new));
        }
    };
    let digests = work(store, &jobs, wanted, request.cores, watch, &mut take)?;
    read.digests = digests;
    told.sort_unstable_by_key(|(at, _)| *at);
    read.findings
        .extend(told.into_iter().flat_map(|(_, findings)| findings));
    Ok(read)
}

/// Spreads the jobs over threads, and gives what was done, with the number of its job, to
/// `take`. Which digests were seen.
fn work(
    store: &Store,
    jobs: &[Job<'_>],
    wanted: Option<Digests>,
    cores: usize,
    watch: &mut dyn Watch,
    take: &mut dyn FnMut(usize, Done),
) -> Result<Option<Digests>> {
    let (next, stop, bytes) = (
        AtomicUsize::new(0),
        AtomicBool::new(false),
        AtomicU64::new(0),
    );
    let (sender, receiver) = mpsc::channel();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..cores.clamp(1, jobs.len().max(1)))
            .map(|_| {
                let worker = Worker {
                    store,
                    jobs,
                    next: &next,
                    stop: &stop,
                    bytes: &bytes,
                };
                let (sender, digests) = (sender.clone(), wanted.clone());
                scope.spawn(move || worker.run(digests, &sender))
            })
            .collect();
        drop(sender);
        let mut told = 0;
        let mut tell = |watch: &mut dyn Watch| {
            let now = bytes.load(Ordering::Relaxed);
            let more = now - std::mem::replace(&mut told, now);
            watch
                .advance(more)
                .inspect_err(|_| stop.store(true, Ordering::Relaxed))
        };
        loop {
            match receiver.recv_timeout(TICK) {
                Ok(batch) => batch.into_iter().for_each(|(at, done)| take(at, done)),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            // The threads see that they are to stop, and the scope waits for them.
            tell(watch)?;
        }
        tell(watch)?;
        let mut digests = wanted;
        for thread in threads {
            if let (Ok(Some(seen)), Some(digests)) = (thread.join(), digests.as_mut()) {
                digests.merge(seen);
            }
        }
        Ok(digests)
    })
}

/// One of the threads.
struct Worker<'a> {
    store: &'a Store,
    jobs: &'a [Job<'a>],
    next: &'a AtomicUsize,
    stop: &'a AtomicBool,
    bytes: &'a AtomicU64,
}

impl Worker<'_> {
    /// Does jobs until there are none; which digests were seen.
    fn run(
        self,
        mut digests: Option<Digests>,
        sender: &mpsc::Sender<Vec<(usize, Done)>>,
    ) -> Option<Digests> {
        let mut splitter = Splitter::default();
        let mut buffer = Vec::new();
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            let at = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(job) = self.jobs.get(at) else {
                // Nobody listens any more only when all is to stop.
                let _ = sender.send(batch);
                return digests;
            };
            let done = match job {
                Job::Conversation(file, id) => {
                    self.conversation(file, id, &mut splitter, digests.as_mut())
                }
                Job::Attachment(file) => self.attachment(file, &mut buffer),
            };
            match done {
                Ok(done) => batch.push((at, done)),
                Err(_) => return digests,
            }
            if batch.len() == BATCH {
                let full = std::mem::replace(&mut batch, Vec::with_capacity(BATCH));
                let _ = sender.send(full);
            }
        }
    }

    fn conversation(
        &self,
        file: &PartFile,
        id: &ConversationId,
        splitter: &mut Splitter,
        digests: Option<&mut Digests>,
    ) -> io::Result<Done> {
        let path = path_of(file);
        let subject = Subject {
            part: file.part,
            path: &path,
            name: &file.name,
            len: file.len,
            id,
        };
        let mut advance = |count| self.advance(count);
        conversation::look(self.store, &subject, splitter, digests, &mut advance)
            .map(|outcome| Done::Conversation(Box::new(outcome)))
    }

    fn attachment(&self, file: &PartFile, buffer: &mut Vec<u8>) -> io::Result<Done> {
        let path = path_of(file);
        let mut advance = |count| self.advance(count);
        attachments::look(self.store, &file.name, &path, buffer, &mut advance).map(Done::Attachment)
    }

    fn advance(&self, count: usize) -> io::Result<()> {
        self.bytes.fetch_add(count as u64, Ordering::Relaxed);
        if self.stop.load(Ordering::Relaxed) {
            return Err(io::Error::other("stopped"));
        }
        Ok(())
    }
}

/// What a conversation is judged by besides itself.
struct Around<'a> {
    store: &'a Store,
    limit: ByteSize,
    index: Option<&'a Index>,
}

impl Around<'_> {
    /// Says what can be said of a conversation once it was read.
    fn judge<'a>(
        &self,
        file: &'a PartFile,
        id: &'a ConversationId,
        outcome: &mut Outcome,
        read: &mut Read<'a>,
    ) {
        let path = path_of(file);
        if outcome.gone {
            // Archived, taken back or deleted meanwhile: its content is where it was not seen.
            read.all_whole = false;
            return;
        }
        read.lines += outcome.lines;
        read.bytes += outcome.bytes;
        read.all_whole &= outcome.whole;
        read.findings.append(&mut outcome.findings);
        read.relations.add(file.part, &path, id, outcome);
        if outcome.torn > 0 {
            read.findings.extend(torn(self.store, file, id, outcome));
        }
        if outcome.bytes > self.limit.0 && file.part == Part::Active {
            let size = ByteSize(outcome.bytes);
            read.findings.push(Finding::new(
                "store.conversation-limit",
                Severity::Warning,
                &path,
                format!(
                    "it has {size}, and the limit is {}: each request sends all of it",
                    self.limit
                ),
                "go on in a new conversation: pachat chat",
            ));
        }
        read.stale |= self.is_known_wrongly(file, outcome);
    }

    /// Whether the index believes something else of a file that looks as it did.
    fn is_known_wrongly(&self, file: &PartFile, outcome: &Outcome) -> bool {
        let Some(known) = self.index.and_then(|index| index.known(file)) else {
            return false;
        };
        outcome.whole
            && outcome.header.is_some()
            && !upkeep::is_known_rightly(known, outcome)
            // It may have grown since it was listed.
            && shelf::look(self.store, file.part, &file.name)
                .is_ok_and(|now| now.as_ref() == Some(file))
    }
}

/// A last line that was cut, unless somebody is just writing it.
fn torn(store: &Store, file: &PartFile, id: &ConversationId, outcome: &Outcome) -> Option<Finding> {
    let path = path_of(file);
    let line = outcome.lines + 1;
    let bytes = ByteSize(outcome.torn);
    if file.part != Part::Active {
        return Some(
            Finding::new(
                "store.archived-torn",
                Severity::Warning,
                path,
                format!("it ends in mid-line, with {bytes} that every reader passes over"),
                "nothing needs to be done: when it is used again, they go to the quarantine",
            )
            .at_line(line),
        );
    }
    if store.is_busy(id) {
        return Some(busy(id));
    }
    let now = shelf::look(store, file.part, &file.name).ok().flatten();
    if now.is_none_or(|now| now.len != outcome.bytes) {
        return None;
    }
    let is_repairable = is_repairable(outcome, id);
    if outcome.lines == 0 {
        return None;
    }
    let remedy = if is_repairable {
        "move them to the quarantine: pachat validate --fix; the next prompt does so, too"
    } else {
        "they are passed over; nothing is lost by leaving them"
    };
    let mut finding = Finding::new(
        "store.torn-tail",
        Severity::Warning,
        path,
        format!("the last line was cut while it was written: {bytes} without a line feed"),
        remedy,
    )
    .at_line(line);
    finding.fixable = is_repairable;
    Some(finding)
}

/// Whether a conversation can be opened in order to repair it: without a header it is refused,
/// and with that of another it would be taken for that.
fn is_repairable(outcome: &Outcome, id: &ConversationId) -> bool {
    outcome.header.as_ref().is_some_and(|head| head.id == *id)
}

fn busy(id: &ConversationId) -> Finding {
    Finding::new(
        "store.busy",
        Severity::Note,
        format!("{}/{id}.jsonl", Part::Active.path()),
        "it is in use at this moment, so its end was not judged",
        "look again when the reply has come",
    )
}

/// A file or directory that the disk does not give.
fn unreadable(path: &str, error: &io::Error) -> Finding {
    let why = conversation::plainly(error);
    let remedy = match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "check its owner and its permissions, and those of the directories above it"
        }
        _ => "the disk may be failing: save what can be read, and check it",
    };
    let cause = format!("it cannot be read: {why}");
    Finding::new("store.unreadable", Severity::Error, path, cause, remedy)
}

/// The same for an error that has been put into words.
fn failed(path: &str, error: &Error) -> Finding {
    Finding::new(
        "store.unreadable",
        Severity::Error,
        path,
        error.headline(),
        error
            .hint_text()
            .unwrap_or("check its owner and its permissions, and the disk"),
    )
}

/// Whether a file is compressed, by its name.
fn is_packed(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|end| end == "gz")
}

/// Path below the data directory.
fn path_of(file: &PartFile) -> String {
    format!("{}/{}", file.part.path(), file.name)
}
