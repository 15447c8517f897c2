//! Pulling the plug, killing the process and failing the disk at every single operation of a
//! conversation: nothing acknowledged is lost, nothing shown is lost, and the next turn works.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may panic, and looks at the machine itself"
)]

mod common;

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::disk::{After, Event, SimulatedDisk};
use common::host::{TestClock, TestRandom};
use pachat::model::conversation::Conversation;
use pachat::model::error::{Error, Kind, Result};
use pachat::model::id::ConversationId;
use pachat::model::record::Role;
use pachat::model::reply::{Delta, Finish, Identity, Progress, ReplyStream, State};
use pachat::model::request::Request;
use pachat::model::size::ByteSize;
use pachat::ops::turn::{self, Ask, Audience, Keeper, Responder};
use pachat::platform::{Clock, Signals};
use pachat::store::Store;
use pachat::store::lock::Patience;
use pachat::store::read::Scope;
use pachat::store::writer::{Beginning, Writer};

const ROOT: &str = "/home/somebody/data/pachat";
const PIECES: [&str; 3] = ["Why ", "not?\n", "Ünïcödé 🙂"];

/// What the person knows to be there.
#[derive(Clone, Default)]
struct Known {
    id: Option<ConversationId>,
    /// Prompts whose saving was acknowledged.
    prompts: Vec<String>,
    /// Replies that were acknowledged as kept.
    replies: Vec<String>,
    /// What was shown of a reply that has not been acknowledged.
    shown: String,
}

/// A model that says the same three pieces every time.
struct Script(usize);

impl ReplyStream for Script {
    fn next(&mut self, _patience: Duration) -> Progress {
        self.0 += 1;
        match PIECES.get(self.0 - 1) {
            Some(text) => Progress::Delta(Delta {
                text: (*text).to_owned(),
                reasoning: String::new(),
            }),
            None => Progress::Done(Box::new(Finish::new(State::Complete))),
        }
    }

    fn identity(&self) -> &Identity {
        static NOBODY: Identity = Identity {
            generation_id: None,
            model: None,
            provider: None,
        };
        &NOBODY
    }
}

struct Model;

impl Responder for Model {
    fn reply(&mut self, _request: &Request<'_>) -> Result<Box<dyn ReplyStream>> {
        Ok(Box::new(Script(0)))
    }
}

/// A screen that remembers.
struct Screen(Arc<Mutex<Known>>);

impl Audience for Screen {
    fn delta(&mut self, delta: &Delta) -> Result<()> {
        self.0.lock().unwrap().shown.push_str(&delta.text);
        Ok(())
    }

    fn notice(&mut self, _line: &str) {}

    fn waiting(&mut self, _since: Duration) {}
}

fn store(disk: &SimulatedDisk, seed: u64) -> Store {
    let clock = Arc::new(TestClock::new());
    let random = Arc::new(TestRandom::new(seed));
    Store::new(ROOT.into(), Arc::new(disk.clone()), clock, random)
}

fn with_patience<T>(act: impl FnOnce(&mut Patience<'_>) -> Result<T>) -> Result<T> {
    let signals = Signals::default();
    // A lock that nobody holds is had at once; one that leaks fails the test soon.
    let limit = Some(Duration::from_millis(50));
    act(&mut Patience {
        limit,
        signals: &signals,
        notify: &mut || {},
    })
}

/// A turn as `send` does it, noting what becomes known on the way.
fn turn(store: &Store, prompt: &str, known: &Arc<Mutex<Known>>) -> Result<()> {
    let id = known.lock().unwrap().id.clone();
    let writer = match id {
        None => {
            with_patience(|patience| Writer::create(store, Beginning::default(), prompt, patience))?
        }
        Some(id) => {
            let mut writer = with_patience(|patience| Writer::open(store, &id, patience))?;
            writer.prompt(prompt)?;
            writer
        }
    };
    {
        let mut known = known.lock().unwrap();
        known.id = Some(writer.conversation.id().clone());
        known.prompts.push(prompt.to_owned());
        known.shown.clear();
    }
    let ask = Ask {
        models: vec!["a/model".into()],
        system: None,
        max_tokens: None,
        temperature: None,
        options: serde_json::Map::new(),
        stream: true,
        keep_partial: false,
        memory: ByteSize::megabytes(1),
    };
    let mut keeper = Keeper::Stored(Box::new(writer));
    let mut screen = Screen(Arc::clone(known));
    let clock = TestClock::new();
    let signals = Signals::default();
    let outcome = turn::answer(
        &mut keeper,
        &ask,
        &mut Model,
        &mut screen,
        &clock as &dyn Clock,
        &signals,
    )?;
    let mut known = known.lock().unwrap();
    if outcome.kept {
        known
            .replies
            .push(outcome.reply.content.to_text().into_owned());
        known.shown.clear();
    }
    match outcome.error {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

/// Two turns: one that begins a conversation, one that goes on with it.
fn talk(disk: &SimulatedDisk, known: &Arc<Mutex<Known>>) -> Result<()> {
    turn(&store(disk, 1), "first", known)?;
    turn(&store(disk, 2), "second", known)
}

fn texts(conversation: &Conversation, role: Role) -> Vec<String> {
    let active = conversation.active().filter(|message| message.role == role);
    active
        .map(|message| message.content.to_text().into_owned())
        .collect()
}

/// Checks a disk as the next start finds it, and that the next turn works on it.
fn check(disk: &SimulatedDisk, known: &Known, process_died: bool, context: &str) {
    let store = store(disk, 99);
    store
        .check()
        .unwrap_or_else(|error| panic!("{context}: {error}"));
    let ids = store.ids(Scope::All).unwrap();
    for id in &ids {
        store
            .read(id)
            .unwrap_or_else(|error| panic!("{context}: {id} cannot be read: {error}"));
    }
    let Some(id) = &known.id else {
        // Nothing was acknowledged; at most a whole conversation that was about to be.
        assert!(ids.len() <= 1, "{context}");
        return;
    };
    assert_eq!(ids, std::slice::from_ref(id), "{context}");
    let again = Arc::new(Mutex::new(known.clone()));
    turn(&store, "after", &again).unwrap_or_else(|error| panic!("{context}: next turn: {error}"));
    let conversation = store.read(id).unwrap().conversation;
    assert!(
        conversation.faults.is_empty() && conversation.torn == 0,
        "{context}"
    );
    let prompts = texts(&conversation, Role::User);
    for prompt in &known.prompts {
        assert!(
            prompts.contains(prompt),
            "{context}: prompt {prompt:?} is lost: {prompts:?}"
        );
    }
    assert_eq!(prompts.last().unwrap(), "after", "{context}");
    let replies = texts(&conversation, Role::Assistant);
    for reply in &known.replies {
        assert!(
            replies.contains(reply),
            "{context}: reply {reply:?} is lost: {replies:?}"
        );
    }
    if process_died && !known.shown.is_empty() {
        let kept = replies.iter().any(|reply| reply.starts_with(&known.shown));
        assert!(kept, "{context}: shown {:?}, kept {replies:?}", known.shown);
    }
    // No reply that did not end is called complete.
    let whole = PIECES.concat();
    for message in conversation
        .active()
        .filter(|message| message.role == Role::Assistant)
    {
        let complete = message.state == Some(State::Complete);
        assert!(
            !complete || message.content.to_text() == whole,
            "{context}: half is called whole"
        );
    }
    let partial = store.layout().partial(id);
    assert!(
        !disk.files().contains_key(&partial),
        "{context}: a side file is left over"
    );
}

/// How many operations the two turns take when nothing goes wrong.
fn operations() -> usize {
    let disk = SimulatedDisk::new(Path::new(ROOT));
    let known = Arc::default();
    talk(&disk, &known).unwrap();
    check(
        &disk.restart(After::PowerCut),
        &known.lock().unwrap().clone(),
        true,
        "nothing wrong",
    );
    disk.operations()
}

#[test]
fn the_plug_can_be_pulled_at_every_operation() {
    let operations = operations();
    assert!(
        operations > 50,
        "only {operations} operations: is the disk in use?"
    );
    for at in 0..operations {
        let disk = SimulatedDisk::new(Path::new(ROOT));
        disk.plan(at, Event::Stop);
        let known = Arc::default();
        let ended = talk(&disk, &known);
        // Giving back a lock may be the last operation; then the turns have succeeded.
        drop(ended);
        let known = known.lock().unwrap().clone();
        for after in After::ALL {
            let next = disk.restart(after);
            check(
                &next,
                &known,
                after == After::Kill,
                &format!("operation {at}, {after:?}"),
            );
        }
    }
}

#[test]
fn every_operation_can_fail_once() {
    let operations = operations();
    for at in 0..operations {
        for event in [
            Event::Fail(io::ErrorKind::StorageFull),
            Event::Fail(io::ErrorKind::Other),
            Event::Half(io::ErrorKind::StorageFull),
        ] {
            let disk = SimulatedDisk::new(Path::new(ROOT));
            disk.plan(at, event);
            let known = Arc::default();
            if let Err(error) = talk(&disk, &known) {
                let expected = matches!(error.kind(), Kind::Io | Kind::CannotCreate | Kind::Busy);
                assert!(expected, "operation {at}, {event:?}: {error:?}");
            }
            let known = known.lock().unwrap().clone();
            // The same machine goes on: everything is as it was left, and locks are free.
            check(&disk, &known, true, &format!("operation {at}, {event:?}"));
        }
    }
}

#[test]
fn a_reply_that_cannot_be_kept_is_not_shown() {
    // The disk fills up in the middle of the second reply.
    let operations = operations();
    let mut failed = 0;
    for at in 0..operations {
        let disk = SimulatedDisk::new(Path::new(ROOT));
        disk.plan(at, Event::Fail(io::ErrorKind::StorageFull));
        let known = Arc::default();
        if talk(&disk, &known)
            .is_err_and(|error: Error| error.headline().contains("keep the reply"))
        {
            failed += 1;
            let known = known.lock().unwrap();
            let kept = known.replies.concat();
            assert!(
                PIECES.concat().starts_with(&kept) || kept.starts_with(&PIECES.concat()),
                "{kept:?}"
            );
        }
    }
    assert!(failed >= PIECES.len(), "{failed}");
}
