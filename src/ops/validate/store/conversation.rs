//! One conversation, line by line: what each line must be where it stands.
//!
//! Layer: ops. What is kept of a conversation while it goes by is its numbers and a few times.

use std::io;

use flate2::read::MultiGzDecoder;
use jiff::{SignedDuration, Timestamp};

use crate::model::backup::Part;
use crate::model::error::describe;
use crate::model::finding::{Finding, Severity};
use crate::model::id::ConversationId;
use crate::model::record::{self, Header, Parent, Role};
use crate::model::size::{ByteSize, counted, grouped};
use crate::platform::disk::Open;
use crate::store::Store;

use super::attachments::Digests;
use super::lines::{End, LONGEST, Line, Splitter};
use super::numbers::{Numbers, Place};
use super::record::{Fault, Message, Said};

/// How far clocks may differ before a time counts as wrong.
const SKEW: SignedDuration = SignedDuration::from_mins(5);
/// How far times may go back without a word: clocks are corrected all the time.
const CORRECTION: SignedDuration = SignedDuration::from_mins(1);
/// How many findings of a kind a file has before they are only counted.
const NAMED: u64 = 3;
/// The most that a conversation may have, unpacked, to be read at all.
const LARGEST: u64 = 1 << 30;

/// What to look at.
pub(super) struct Subject<'a> {
    pub part: Part,
    /// Path below the data directory.
    pub path: &'a str,
    /// The name of the file.
    pub name: &'a str,
    /// Its length when it was listed: what was added since may not be looked at.
    pub len: u64,
    pub id: &'a ConversationId,
}

/// What a conversation turned out to be.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub findings: Vec<Finding>,
    pub header: Option<Box<Head>>,
    /// How many lines it has.
    pub lines: u64,
    /// How many bytes it has, unpacked.
    pub bytes: u64,
    /// How many of them are a line that was cut.
    pub torn: u64,
    /// How many messages.
    pub messages: u64,
    /// How many lines cannot be read.
    pub faults: u64,
    /// When something was last said.
    pub updated_at: Option<Timestamp>,
    /// Whether the file was read to its end.
    pub whole: bool,
    /// Whether the file was gone when it was opened.
    pub gone: bool,
}

/// What the header says.
#[derive(Debug)]
pub(super) struct Head {
    pub id: ConversationId,
    pub created_at: Timestamp,
    pub parent: Option<Parent>,
}

/// Reads a conversation. `advance` is told of each piece that was read, and may end it.
pub(super) fn look(
    store: &Store,
    subject: &Subject<'_>,
    splitter: &mut Splitter,
    digests: Option<&mut Digests>,
    advance: &mut dyn FnMut(usize) -> io::Result<()>,
) -> io::Result<Outcome> {
    let path = store.part_file(subject.part, subject.name);
    let mut look = Look::new(subject, store.clock().now(), digests);
    let mut file = match store.disk().open(&path, Open::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            look.outcome.gone = true;
            return Ok(look.outcome);
        }
        Err(error) => {
            look.unreadable(&error);
            return Ok(look.outcome);
        }
    };
    let packed = super::is_packed(subject.name);
    let mut stopped = false;
    let mut read = 0_u64;
    let mut step = |count: usize| {
        read += count as u64;
        if read > LARGEST {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        advance(count).inspect_err(|_| stopped = true)
    };
    let end = if packed {
        let mut decoder = MultiGzDecoder::new(file);
        splitter.each(&mut decoder, None, |line| look.line(&line), &mut step)
    } else {
        let expected = Some(subject.len);
        splitter.each(file.as_mut(), expected, |line| look.line(&line), &mut step)
    };
    match end {
        Err(error) if stopped => return Err(error),
        Err(error) => look.broken(&error, packed, read),
        Ok(end) => look.end(end),
    }
    Ok(look.outcome)
}

struct Look<'a> {
    subject: &'a Subject<'a>,
    now: Timestamp,
    digests: Option<&'a mut Digests>,
    outcome: Outcome,
    /// How often each code was found.
    counts: Vec<(&'static str, u64)>,
    numbers: Numbers,
    /// Whether a line could not be read since the last message.
    gap: bool,
    last: Option<Timestamp>,
    /// Whether the first line is a header of a conversation.
    begun: bool,
}

impl<'a> Look<'a> {
    fn new(subject: &'a Subject<'a>, now: Timestamp, digests: Option<&'a mut Digests>) -> Self {
        Self {
            subject,
            now,
            digests,
            outcome: Outcome::default(),
            counts: Vec::new(),
            numbers: Numbers::default(),
            gap: false,
            last: None,
            begun: false,
        }
    }

    fn line(&mut self, line: &Line<'_>) {
        self.outcome.lines += 1;
        let bytes = match line {
            Line::Whole(bytes) => bytes,
            Line::TooLong => {
                let cause = format!(
                    "it is longer than {} and was not looked at",
                    ByteSize(LONGEST as u64)
                );
                self.add(
                    "store.too-large",
                    Severity::Error,
                    cause,
                    "look at it with a text editor, and go on in a new conversation".into(),
                );
                self.gap = true;
                return;
            }
        };
        if let Some(digests) = &mut self.digests {
            digests.see(bytes);
        }
        let said = super::record::read(bytes);
        if self.outcome.lines == 1 {
            return self.first(said);
        }
        match said {
            Err(faults) => self.faults(faults),
            Ok(Said::Message(message)) => self.message(message),
            Ok(Said::Header(_)) => self.add(
                "store.second-header",
                Severity::Warning,
                "a second header stands in the middle; only the first one counts".into(),
                "two files may have been joined: take the conversation out of a backup, or split them with a text editor".into(),
            ),
            Ok(Said::Rewind(to)) => self.rewind(to),
            Ok(Said::Charge(n)) => self.charge(n),
            Ok(Said::Set(keys)) if !keys.is_empty() => {
                let cause = format!("it changes `{}`, which this version does not know", keys.join("`, `"));
                self.add("store.set", Severity::Note, cause, "a newer pachat may know it; it is kept and ignored".into());
            }
            Ok(Said::Set(_) | Said::Unknown) => {}
        }
    }

    fn first(&mut self, said: Result<Said, Vec<Fault>>) {
        match said {
            Ok(Said::Header(header)) => self.header(*header),
            Ok(Said::Message(message)) => {
                self.no_header("its first line is not the header of a conversation");
                self.message(message);
            }
            Ok(_) => self.no_header("its first line is not the header of a conversation"),
            Err(faults) => {
                let why = faults.first().map_or("", |(_, why)| why);
                self.no_header(&format!("its first line cannot be read: {why}"));
            }
        }
    }

    fn header(&mut self, header: Header) {
        self.begun = true;
        if header.version > record::VERSION {
            let cause = format!(
                "it has format {}, and this version knows formats up to {}",
                header.version,
                record::VERSION
            );
            self.add(
                "store.conversation-newer",
                Severity::Error,
                cause,
                "install the current version of pachat".into(),
            );
        }
        if header.created_at > self.now + SKEW {
            self.future("it was created", header.created_at);
        }
        self.outcome.updated_at = Some(header.created_at);
        self.outcome.header = Some(Box::new(Head {
            id: header.id,
            created_at: header.created_at,
            parent: header.parent,
        }));
    }

    fn no_header(&mut self, why: &str) {
        self.gap = true;
        let remedy = format!(
            "nothing of it is shown; take it out of a backup: {}",
            from_backup(self.subject.id)
        );
        self.add("store.no-header", Severity::Error, why.into(), remedy);
    }

    fn faults(&mut self, faults: Vec<Fault>) {
        self.outcome.faults += 1;
        self.gap = true;
        for (code, cause) in faults {
            self.add(code, Severity::Error, cause, self.passed_over());
        }
    }

    /// What to do about a line that no reader takes.
    fn passed_over(&self) -> String {
        format!(
            "it is passed over, and stays; if it matters, take the conversation out of a backup: {}",
            from_backup(self.subject.id)
        )
    }

    fn message(&mut self, message: Message) {
        self.outcome.messages += 1;
        self.outcome.updated_at = Some(message.at);
        self.number(message.n);
        self.gap = false;
        if !message.has_content {
            let cause = "its content is neither text nor a list of parts".into();
            self.add("store.content", Severity::Error, cause, self.passed_over());
        }
        if message.role == Role::Assistant && message.state.is_none() {
            self.add(
                "store.state-missing",
                Severity::Warning,
                format!("reply {} does not say how it ended", message.n),
                "it counts as complete; if it may not be, ask again: pachat chat -C ".to_owned()
                    + self.subject.id.as_str(),
            );
        }
        self.time(message);
    }

    fn number(&mut self, n: u64) {
        let place = self.numbers.add(n);
        let is_fork = |outcome: &Outcome| {
            outcome
                .header
                .as_ref()
                .is_some_and(|head| head.parent.is_some())
        };
        match place {
            Place::Next => {}
            Place::Twice => {
                let cause = format!("there is another message with the number {n}");
                self.add("store.number-twice", Severity::Error, cause,
                    "two programs may have written at once, or two files were joined: compare the two with a text editor".into());
            }
            Place::Earlier => {
                let cause = format!("message {n} stands behind messages with higher numbers");
                self.add(
                    "store.number-order",
                    Severity::Warning,
                    cause,
                    "lines may have been moved: compare with a backup".into(),
                );
            }
            Place::After(_) if self.gap => {}
            Place::After(0) if is_fork(&self.outcome) => {}
            Place::After(before) => {
                let cause = match n - before {
                    2 => format!("message {} is missing before it", before + 1),
                    _ => format!("messages {} to {} are missing before it", before + 1, n - 1),
                };
                let remedy = format!(
                    "lines may have been removed; an older copy may have them: {}",
                    from_backup(self.subject.id)
                );
                self.add("store.number-gap", Severity::Warning, cause, remedy);
            }
        }
    }

    fn time(&mut self, message: Message) {
        const HARMLESS: &str =
            "the clock may have been wrong; lists sort by these times, and nothing else suffers";
        let Message { n, at, .. } = message;
        let created = self.outcome.header.as_ref().map(|head| head.created_at);
        if at > self.now + SKEW {
            self.future(&format!("message {n} was written"), at);
        } else if created.is_some_and(|created| at < created - CORRECTION) {
            let cause = format!("message {n} is older than its conversation: {at}");
            self.add(
                "store.time-early",
                Severity::Warning,
                cause,
                HARMLESS.into(),
            );
        } else if self.last.is_some_and(|last| at < last - CORRECTION) {
            let cause = format!("message {n} is older than the one before it: {at}");
            self.add(
                "store.time-backwards",
                Severity::Note,
                cause,
                HARMLESS.into(),
            );
        }
        self.last = Some(at);
    }

    fn future(&mut self, what: &str, at: Timestamp) {
        let cause = format!("{what} in the future: {at}");
        self.add(
            "store.time-future",
            Severity::Warning,
            cause,
            "check the clock of this machine: date; what was written while it was wrong stays so, and sorts first".into(),
        );
    }

    fn rewind(&mut self, to: u64) {
        let shared = self
            .outcome
            .header
            .as_ref()
            .and_then(|head| head.parent.as_ref());
        let of_parent = shared.is_some_and(|parent| to <= parent.message);
        if to > 0 && !of_parent && !self.numbers.contains(to) {
            let cause = format!("it goes back to message {to}, which does not exist");
            self.add(
                "store.rewind",
                Severity::Warning,
                cause,
                "see what counts and what does not: pachat export".into(),
            );
        }
    }

    fn charge(&mut self, n: u64) {
        if !self.numbers.contains(n) {
            let cause = format!("it says what message {n} cost, which does not exist");
            self.add(
                "store.charge",
                Severity::Warning,
                cause,
                "the cost counts for nothing; nothing needs to be done".into(),
            );
        }
    }

    fn end(&mut self, end: End) {
        self.outcome.whole = true;
        self.outcome.bytes = end.len;
        self.outcome.torn = end.torn;
        if self.outcome.lines == 0 {
            let why = if end.len == 0 {
                "it is empty"
            } else {
                "it has no complete line"
            };
            self.no_header(why);
        }
        self.summarize();
    }

    /// Reading failed in the middle.
    fn broken(&mut self, error: &io::Error, packed: bool, read: u64) {
        self.outcome.bytes = read;
        if error.kind() == io::ErrorKind::FileTooLarge {
            let cause = format!(
                "it has more than {}, and no more is read",
                ByteSize(LARGEST)
            );
            self.whole_file(
                "store.too-large",
                cause,
                "split it with a text editor, or take it out of the data directory".into(),
            );
        } else if packed && is_damage(error) {
            let cause = format!(
                "it cannot be unpacked to its end ({} came out): {error}",
                counted(
                    usize::try_from(self.outcome.lines).unwrap_or(usize::MAX),
                    "line"
                )
            );
            let remedy = format!("take it out of a backup: {}", from_backup(self.subject.id));
            self.whole_file("store.gzip", cause, remedy);
        } else {
            self.unreadable(error);
        }
        self.summarize();
    }

    fn unreadable(&mut self, error: &io::Error) {
        let finding = super::unreadable(self.subject.path, error);
        self.outcome.findings.push(finding);
    }

    fn whole_file(&mut self, code: &'static str, cause: String, remedy: String) {
        let finding = Finding::new(code, Severity::Error, self.subject.path, cause, remedy);
        self.outcome.findings.push(finding);
    }

    /// A finding at the current line.
    fn add(&mut self, code: &'static str, severity: Severity, cause: String, remedy: String) {
        let at = self.counts.iter().position(|(known, _)| *known == code);
        let at = at.unwrap_or_else(|| {
            self.counts.push((code, 0));
            self.counts.len() - 1
        });
        self.counts[at].1 += 1;
        if self.counts[at].1 <= NAMED {
            let mut finding = Finding::new(code, severity, self.subject.path, cause, remedy);
            finding.line = Some(self.outcome.lines).filter(|line| *line > 0);
            self.outcome.findings.push(finding);
        }
    }

    /// Says of what was only counted how much there was.
    fn summarize(&mut self) {
        for (code, count) in std::mem::take(&mut self.counts) {
            let more = usize::try_from(count.saturating_sub(NAMED)).unwrap_or(usize::MAX);
            let mut findings = self.outcome.findings.iter_mut();
            if more > 0
                && let Some(last) = findings.rfind(|finding| finding.code == code)
            {
                let lines = if more == 1 { "line" } else { "lines" };
                last.cause.push_str(&format!(
                    "; and so in {} more {lines} of this file",
                    grouped(more)
                ));
            }
        }
    }
}

/// Whether an error is about the content, not about the disk.
fn is_damage(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::InvalidInput
            | io::ErrorKind::InvalidData
            | io::ErrorKind::UnexpectedEof
            | io::ErrorKind::Other
    )
}

/// The command that takes a conversation out of the newest backup.
pub(super) fn from_backup(id: &ConversationId) -> String {
    format!("pachat restore latest --conversation {id}")
}

/// The text of an error, in the words of the other messages.
pub(super) fn plainly(error: &io::Error) -> String {
    describe(error)
}
