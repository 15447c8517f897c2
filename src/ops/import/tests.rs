//! Whatever an export holds, what is made of it can be read.

use std::io::{Cursor, Write as _};
use std::sync::Arc;

use jiff::Timestamp;
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Map, Value, json};

use super::draft::Draft;
use super::tree::{Node, lay_out};
use super::{Read, Source, chatgpt, claude, go_on, llm, preview};
use crate::model::conversation::Conversation;
use crate::model::error::{Kind, Result};
use crate::model::record::{Content, Message, Role, line};
use crate::model::size::ByteSize;
use crate::ops::limits::Limits;
use crate::ops::watch::Unwatched;
use crate::platform::clock::RealClock;
use crate::platform::disk::RealDisk;
use crate::platform::random::RealRandom;
use crate::store::Store;
use crate::store::read::Loaded;

/// JSON with the names and words of all formats in odd places.
fn odd() -> impl Strategy<Value = Value> {
    let word = prop_oneof![
        Just("user"),
        Just("assistant"),
        Just("tool"),
        Just("system"),
        Just("human"),
        Just("text"),
        Just("code"),
        Just("thoughts"),
        Just("thinking"),
        Just("tool_use"),
        Just("multimodal_text"),
        Just("execution_output"),
        Just("image_asset_pointer"),
        Just("artifacts"),
        Just("a"),
        Just("b"),
        Just("c"),
        Just("interrupted"),
        Just(""),
        Just("2026-02-03T10:00:00Z"),
        Just("9999-99-99"),
        Just("```\n"),
    ];
    let leaf = prop_oneof![
        4 => word.prop_map(Value::from),
        1 => any::<f64>().prop_map(Value::from),
        1 => any::<i64>().prop_map(Value::from),
        1 => any::<bool>().prop_map(Value::from),
        1 => Just(Value::Null),
    ];
    let name = prop::sample::select(vec![
        "mapping",
        "message",
        "parent",
        "author",
        "role",
        "content",
        "content_type",
        "parts",
        "thoughts",
        "metadata",
        "attachments",
        "name",
        "create_time",
        "current_node",
        "title",
        "chat_messages",
        "sender",
        "text",
        "type",
        "uuid",
        "parent_message_uuid",
        "created_at",
        "files",
        "input",
        "thinking",
        "status",
        "finish_details",
        "a",
        "b",
        "c",
        "id",
        "prompt",
        "response",
        "system",
        "datetime_utc",
        "duration_ms",
        "input_tokens",
    ]);
    leaf.prop_recursive(6, 96, 8, move |inner| {
        let object = prop::collection::vec((name.clone(), inner.clone()), 0..8);
        prop_oneof![
            1 => prop::collection::vec(inner, 0..6).prop_map(Value::Array),
            3 => object.prop_map(|fields| {
                let fields = fields.into_iter().map(|(name, value)| (name.to_owned(), value));
                Value::Object(fields.collect::<Map<String, Value>>())
            }),
        ]
    })
}

/// What is here, if these are its lines.
fn here(lines: &[u8]) -> Loaded {
    Loaded {
        conversation: Conversation::parse(lines).unwrap(),
        misnamed: None,
        lines: lines.to_vec(),
        archived: false,
    }
}

fn active(lines: &[u8]) -> Vec<String> {
    let conversation = here(lines).conversation;
    let texts = conversation
        .active()
        .map(|message| message.content.to_text().into_owned());
    texts.collect()
}

/// A conversation whose places hang on earlier ones, as it was when there were so many.
fn grown(parents: &[Option<usize>], count: usize, current: usize) -> (Vec<u8>, Vec<String>) {
    let node = |at: usize| {
        let text = Content::text(&at.to_string());
        let message = Message::new(0, Role::User, text, Timestamp::UNIX_EPOCH);
        Node {
            key: at.to_string(),
            parent: parents[at].map(|parent| parent.to_string()),
            message: Some(Box::new(message)),
        }
    };
    let mut draft = Draft::new("chatgpt", "x");
    draft.lines = lay_out((0..count).map(node).collect(), Some(&current.to_string()));
    let way = std::iter::successors(Some(current), |at| parents[*at]);
    let mut way: Vec<String> = way.map(|at| at.to_string()).collect();
    way.reverse();
    (draft.lines(&draft.id(0)), way)
}

fn check(make: impl Fn() -> Draft) -> Result<(), TestCaseError> {
    let draft = make();
    if draft.is_empty() {
        return Ok(());
    }
    let id = draft.id(0);
    let lines = draft.lines(&id);
    let read = Conversation::parse(&lines).map_err(TestCaseError::fail)?;
    prop_assert_eq!(&read.faults, &[]);
    prop_assert_eq!(read.id(), &id);
    prop_assert_eq!(read.all().count(), draft.messages());
    for (at, (message, _)) in read.all().enumerate() {
        prop_assert_eq!(message.n, at as u64 + 1);
        prop_assert!(!message.content.to_text().trim().is_empty());
    }
    // The same again is the same.
    let again = make();
    prop_assert_eq!(again.id(0), id.clone());
    prop_assert_eq!(&go_on(&here(&lines), again.lines(&id)), &lines);
    Ok(())
}

/// What would come in of these bytes, where there is nothing yet.
fn look(bytes: Vec<u8>) -> Result<Read> {
    let nowhere = "/pachat-that-nobody-makes".into();
    let (disk, clock) = (Arc::new(RealDisk), Arc::new(RealClock::start()));
    let store = Store::new(nowhere, disk, clock, Arc::new(RealRandom));
    let limits = Limits {
        storage: ByteSize(u64::MAX),
        conversations: u64::MAX,
    };
    let sources = vec![Source::stream(
        "standard input",
        Box::new(Cursor::new(bytes)),
    )];
    preview(&store, sources, &limits, &mut Unwatched).map(|(read, _)| read)
}

/// An input of each kind.
fn inputs() -> Vec<Vec<u8>> {
    let sound = message(Value::Null, "/nowhere");
    let tree = json!({"mapping": {"a": {"message": sound, "parent": null}}, "current_node": "a", "id": "x"});
    let list = json!({"chat_messages": [sound], "uuid": "x"});
    let log = json!([{"id": "a", "conversation_id": "b", "prompt": "p", "response": "r", "datetime_utc": "2026-02-03T10:00:00"}]);
    let own = "{\"type\":\"conversation\",\"version\":1,\"id\":\"20260822-100000-aaaaaa\",\"created_at\":\"2026-08-22T10:00:00Z\"}\n\
        {\"type\":\"message\",\"n\":1,\"role\":\"user\",\"content\":\"x\",\"at\":\"2026-08-22T10:00:00Z\"}\n";
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(own.as_bytes()).unwrap();
    vec![
        json!([tree, list]).to_string().into_bytes(),
        tree.to_string().into_bytes(),
        log.to_string().into_bytes(),
        own.as_bytes().to_vec(),
        packed.finish().unwrap(),
    ]
}

#[test]
fn each_kind_of_input_is_read() {
    let found: Vec<usize> = inputs()
        .into_iter()
        .map(|input| look(input).unwrap().found.len())
        .collect();
    assert_eq!(found, [2, 1, 1, 1, 1]);
}

/// A message that may be odd in one place.
fn message(odd: Value, place: &str) -> Value {
    let mut message = json!({
        "author": {"role": "user"}, "content": {"content_type": "text", "parts": ["x"]}, "metadata": {},
        "sender": "human", "text": "x", "create_time": 1.7e9, "created_at": "2026-02-03T10:00:00Z",
    });
    if let Some(field) = message.pointer_mut(place) {
        *field = odd;
    }
    message
}

proptest! {
    #[test]
    fn whatever_an_export_holds_can_be_read(value in odd(), id in "[abc]?") {
        let with = |name: &str, inner: &Value| {
            json!({name: inner, "id": id, "uuid": id, "create_time": 1.7e9})
        };
        check(|| chatgpt::conversation(value.clone()))?;
        check(|| claude::conversation(value.clone()))?;
        check(|| chatgpt::conversation(with("mapping", &value)))?;
        check(|| claude::conversation(with("chat_messages", &value)))?;
        check(|| llm::conversation("a", vec![(Timestamp::UNIX_EPOCH, value.clone())]))?;
    }

    #[test]
    fn one_odd_field_costs_no_more_than_its_message(
        value in odd(),
        place in prop::sample::select(vec![
            "/author", "/author/role", "/content", "/content/content_type", "/content/parts",
            "/content/parts/0", "/metadata", "/sender", "/text", "/create_time", "/created_at",
        ]),
    ) {
        let (odd, sound) = (message(value.clone(), place), message(Value::Null, "/nowhere"));
        let tree = json!({
            "mapping": {
                "a": {"message": odd, "parent": null},
                "b": {"message": sound, "parent": "a"},
            },
            "current_node": "b", "id": "x",
        });
        let list = json!({"chat_messages": [odd, sound], "uuid": "x"});
        for make in [
            &(|| chatgpt::conversation(tree.clone())) as &dyn Fn() -> Draft,
            &|| claude::conversation(list.clone()),
        ] {
            check(make)?;
            prop_assert!((1..=2).contains(&make().messages()));
        }
    }

    #[test]
    fn what_went_on_elsewhere_goes_on_here(
        hangs_on in prop::collection::vec(any::<Index>(), 2..20),
        first in any::<Index>(),
        currents in any::<[Index; 2]>(),
        own in any::<bool>(),
    ) {
        let parents: Vec<Option<usize>> = hangs_on
            .iter()
            .enumerate()
            .map(|(at, parent)| parent.index(at + 1).checked_sub(1))
            .collect();
        let count = 1 + first.index(parents.len());
        let (mut lines, _) = grown(&parents, count, currents[0].index(count));
        if own {
            // Somebody has gone on here.
            let n = here(&lines).conversation.next_number();
            let message = Message::new(n, Role::User, Content::text("own"), Timestamp::UNIX_EPOCH);
            lines.extend_from_slice(&line(&message));
        }
        let (coming, way) = grown(&parents, parents.len(), currents[1].index(parents.len()));
        let merged = go_on(&here(&lines), coming.clone());
        // It stays as it is, or somebody has to decide: these are as nothing to add.
        let stays = merged == lines || merged == coming || lines.starts_with(&merged);
        if own {
            // What was said here is never taken back.
            prop_assert!(stays, "{}", String::from_utf8_lossy(&merged));
        } else if !stays {
            prop_assert!(merged.starts_with(&lines));
            prop_assert_eq!(active(&merged), way);
            prop_assert_eq!(go_on(&here(&merged), coming), merged);
        } else if merged != coming && !active(&lines).starts_with(&way) {
            // It was taken back here, or is another branch there.
            let known = here(&lines).conversation;
            let texts: Vec<String> = known.all().map(|(message, _)| message.content.to_text().into_owned()).collect();
            prop_assert!(way.iter().all(|text| texts.contains(text)), "{way:?}");
        }
    }

    #[test]
    fn a_new_branch_of_what_is_here_is_added(turns in 1..6_usize, edited in any::<Index>(), more in 1..4_usize) {
        // A straight conversation; then a prompt of it is edited, and it goes on from there.
        let mut parents: Vec<Option<usize>> = (0..turns).map(|at| at.checked_sub(1)).collect();
        let (lines, _) = grown(&parents, turns, turns - 1);
        parents.push(parents[edited.index(turns)]);
        parents.extend((1..more).map(|at| Some(turns + at - 1)));
        let (coming, way) = grown(&parents, parents.len(), parents.len() - 1);
        let merged = go_on(&here(&lines), coming.clone());
        prop_assert!(merged.starts_with(&lines) && merged.len() > lines.len());
        prop_assert_eq!(active(&merged), way);
        prop_assert_eq!(go_on(&here(&merged), coming), merged);
    }

    #[test]
    fn damage_is_refused_or_does_not_matter(
        kind in any::<Index>(),
        damage in prop::collection::vec((any::<Index>(), any::<u8>(), 0..4_u8), 1..4),
    ) {
        let mut inputs = inputs();
        let mut bytes = inputs.swap_remove(kind.index(inputs.len()));
        for (at, byte, how) in damage {
            if bytes.is_empty() {
                break;
            }
            let at = at.index(bytes.len());
            match how {
                0 => bytes[at] = byte,
                1 => bytes.truncate(at),
                2 => bytes.insert(at, byte),
                _ => drop(bytes.remove(at)),
            }
        }
        match look(bytes) {
            Ok(read) => prop_assert!(read.found.len() <= 2),
            Err(error) => prop_assert_eq!(error.kind(), Kind::Malformed, "{}", error),
        }
    }
}
