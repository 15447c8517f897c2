//! A conversation that came from elsewhere before, and comes again.
//!
//! Promise: what is here stays, byte for byte, and at most something is added at its end.

use std::collections::HashSet;

use jiff::Timestamp;

use crate::model::conversation::Conversation;
use crate::model::record::{self, Message, Rewind, Role};
use crate::store::read::Loaded;

/// The lines to compare with those that are here: they begin with these if there is something
/// to add, and are these if there is nothing. Where somebody has gone on here as well, they are
/// the coming ones as they are, which differ.
pub(super) fn go_on(here: &Loaded, coming: Vec<u8>) -> Vec<u8> {
    // The title may have been changed here or there since, so the headers do not count.
    let (header, ours) = here.lines.split_at(header_len(&here.lines));
    let theirs = &coming[header_len(&coming)..];
    if ours.starts_with(theirs) || theirs.starts_with(ours) {
        return [header, theirs].concat();
    }
    match Conversation::parse(&coming) {
        Ok(there) => add(here, &there).unwrap_or(coming),
        Err(_) => coming,
    }
}

/// The length of the first line.
fn header_len(lines: &[u8]) -> usize {
    memchr::memchr(b'\n', lines).map_or(lines.len(), |at| at + 1)
}

/// What is here, and at its end the way to what counts there: as when somebody has edited a
/// prompt there, or asked for another answer. `None` if that would take back something that was
/// said only here, or bring back something that was taken back here.
fn add(here: &Loaded, there: &Conversation) -> Option<Vec<u8>> {
    let ours: Vec<&Message> = here.conversation.active().collect();
    let theirs: Vec<&Message> = there.active().collect();
    let same = |(ours, theirs): &(&&Message, &&Message)| said(ours) == said(theirs);
    let common = ours.iter().zip(&theirs).take_while(same).count();
    let (taken_back, new) = (&ours[common..], &theirs[common..]);
    if new.is_empty() {
        return Some(here.lines.clone());
    }
    let known: HashSet<_> = there.all().map(|(message, _)| said(message)).collect();
    let is_only_here = |message: &&Message| !known.contains(&said(message));
    let mut ever = here.conversation.all().map(|(message, _)| said(message));
    if taken_back.iter().any(is_only_here) || ever.any(|message| message == said(new[0])) {
        return None;
    }
    let mut lines = here.lines.clone();
    if !taken_back.is_empty() {
        let to = common.checked_sub(1).map_or(0, |last| ours[last].n);
        lines.extend_from_slice(&record::line(&Rewind { to }));
    }
    for (n, message) in (here.conversation.next_number()..).zip(new) {
        let message = Message {
            n,
            ..(*message).clone()
        };
        lines.extend_from_slice(&record::line(&message));
    }
    Some(lines)
}

/// By what a message is known again.
fn said(message: &Message) -> (Role, &str, Timestamp) {
    // As it stands in the file: this program has written both.
    (message.role, message.content.raw().get(), message.at)
}
