//! Conversations with branches, laid out in lines.
//!
//! Where somebody has edited a prompt or asked for another answer, there are branches. All of
//! them are kept, as `pachat chat` keeps what was taken back: a line says that from a message
//! on another way was taken. The branch that counts comes last.
//!
//! Invariant: the messages that are active at the end are those on the way from the beginning
//! to the current message, in this order.

use std::collections::{HashMap, HashSet};

use crate::model::record::Message;

use super::draft::Line;

/// A place in a conversation.
pub(super) struct Node {
    pub key: String,
    /// The key of the place before it; one that is not there is none.
    pub parent: Option<String>,
    /// What was said there; the number is given later. `None` where nothing is to be seen.
    pub message: Option<Box<Message>>,
}

/// The lines of a conversation: every message once, numbered, and rewinds between branches.
/// Without a known current place the last one counts.
pub(super) fn lay_out(nodes: Vec<Node>, current: Option<&str>) -> Vec<Line> {
    let places: HashMap<&str, usize> = nodes
        .iter()
        .enumerate()
        .map(|(at, node)| (node.key.as_str(), at))
        .collect();
    let parents: Vec<Option<usize>> = nodes
        .iter()
        .map(|node| {
            node.parent
                .as_deref()
                .and_then(|key| places.get(key))
                .copied()
        })
        .collect();
    let current = current
        .and_then(|key| places.get(key).copied())
        .or_else(|| nodes.iter().rposition(|node| node.message.is_some()));
    let mut way = HashSet::new();
    let mut at = current;
    // One that comes back to itself is no way.
    while let Some(place) = at.filter(|place| way.insert(*place)) {
        at = parents[place];
    }
    let mut children: Vec<Vec<usize>> = vec![Vec::new(); nodes.len()];
    let mut roots = Vec::new();
    for (at, parent) in parents.iter().enumerate() {
        match parent {
            Some(parent) => children[*parent].push(at),
            None => roots.push(at),
        }
    }
    // The one on the way is visited last.
    for siblings in children.iter_mut().chain([&mut roots]) {
        siblings.sort_by_key(|at| way.contains(at));
    }

    let mut messages: Vec<Option<Box<Message>>> =
        nodes.into_iter().map(|node| node.message).collect();
    let mut lines = Vec::new();
    // The number of the last message that is active, and that was given.
    let (mut top, mut last, mut end) = (0, 0, 0);
    // Places to visit, each with the number of the message before it.
    let mut stack: Vec<(usize, u64)> = roots.into_iter().rev().map(|at| (at, 0)).collect();
    while let Some((at, before)) = stack.pop() {
        let mut number = before;
        if let Some(mut message) = messages[at].take() {
            if top != before {
                lines.push(Line::Rewind(before));
            }
            last += 1;
            number = last;
            message.n = number;
            lines.push(Line::Message(message));
            top = number;
        }
        if Some(at) == current {
            end = number;
        }
        stack.extend(children[at].iter().rev().map(|child| (*child, number)));
    }
    if top != end {
        lines.push(Line::Rewind(end));
    }
    lines
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::*;
    use crate::model::conversation::Conversation;
    use crate::model::record::{Content, Header, Record, Rewind, Role};

    fn node(key: usize, parent: Option<usize>, says: bool) -> Node {
        let text = Content::text(&key.to_string());
        let message = Message::new(0, Role::User, text, Timestamp::UNIX_EPOCH);
        Node {
            key: key.to_string(),
            parent: parent.map(|parent| parent.to_string()),
            message: says.then(|| Box::new(message)),
        }
    }

    /// What is active at the end, and all that is there.
    fn read(lines: Vec<Line>) -> (Vec<String>, usize) {
        let id = crate::model::id::ConversationId::new(Timestamp::UNIX_EPOCH, 0);
        let header: Header = serde_json::from_value(serde_json::json!({
            "type": "conversation", "version": 1, "id": id, "created_at": "1970-01-01T00:00:00Z",
        }))
        .unwrap();
        let mut conversation = Conversation::new(header);
        for line in lines {
            conversation.apply(match line {
                Line::Message(message) => Record::Message(message),
                Line::Rewind(to) => Record::Rewind(Rewind { to }),
                Line::System(_) => unreachable!(),
            });
        }
        let active = conversation
            .active()
            .map(|message| message.content.to_text().into_owned());
        (active.collect(), conversation.all().count())
    }

    #[test]
    fn a_straight_conversation_has_no_rewinds() {
        let nodes = vec![
            node(0, None, false),
            node(1, Some(0), true),
            node(2, Some(1), true),
        ];
        let lines = lay_out(nodes, Some("2"));
        assert!(lines.iter().all(|line| matches!(line, Line::Message(_))));
        assert_eq!(read(lines), (vec!["1".into(), "2".into()], 2));
    }

    #[test]
    fn places_that_lead_to_themselves_end() {
        let nodes = vec![
            node(0, Some(1), true),
            node(1, Some(0), true),
            node(2, None, true),
        ];
        assert_eq!(read(lay_out(nodes, Some("0"))).1, 1);
        assert!(lay_out(Vec::new(), Some("0")).is_empty());
    }

    proptest! {
        #[test]
        fn the_way_to_the_current_place_is_what_counts(
            shape in prop::collection::vec((any::<prop::sample::Index>(), any::<bool>()), 1..40),
            current in any::<prop::sample::Index>(),
        ) {
            let mut parents: BTreeMap<usize, (Option<usize>, bool)> = BTreeMap::new();
            for (at, (parent, says)) in shape.iter().enumerate() {
                // Each hangs on an earlier one, or on nothing.
                let parent = parent.index(at + 1).checked_sub(1);
                parents.insert(at, (parent, *says));
            }
            let current = current.index(parents.len());
            let nodes = parents.iter().map(|(at, (parent, says))| node(*at, *parent, *says));
            let lines = lay_out(nodes.collect(), Some(&current.to_string()));

            let mut expected = Vec::new();
            let mut at = Some(current);
            while let Some(place) = at {
                let (parent, says) = parents[&place];
                if says {
                    expected.push(place.to_string());
                }
                at = parent;
            }
            expected.reverse();
            let said = parents.values().filter(|(_, says)| *says).count();
            prop_assert_eq!(read(lines), (expected, said));
        }
    }
}
