//! JSON of other programs: a list of conversations, or one of them.
//!
//! Invariant: what is held in memory is one conversation at a time, however many there are;
//! of `llm`, whose log mixes them, all of them.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io::{self, BufRead, Read};
use std::rc::Rc;

use serde::de::{Deserializer as _, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::model::error::{Error, Result};

use super::source::{Progress, failed, refuse, too_large};
use super::{Intake, chatgpt, claude, llm};

/// Reads a list or a single object.
pub(super) fn read(
    input: &mut impl BufRead,
    progress: &mut Progress,
    intake: &mut Intake<'_, '_>,
) -> Result<()> {
    let limit = intake.limit();
    let is_list = input
        .fill_buf()
        .map_err(|error| failed(&error))?
        .starts_with(b"[");
    let room = Rc::new(Cell::new(limit));
    let metered = Metered {
        input,
        room: Rc::clone(&room),
    };
    let mut json = serde_json::Deserializer::from_reader(metered);
    let mut logs = llm::Logs::new(limit);
    let trouble = RefCell::new(None);
    let mut take = |name: &str, element: &RawValue| {
        room.set(limit);
        let taken = progress
            .tell(intake)
            .and_then(|()| object(name, element.get(), &mut logs, intake));
        let taken = taken.map_err(|error| *trouble.borrow_mut() = Some(error));
        taken.is_ok()
    };
    let read = if is_list {
        json.deserialize_seq(Elements {
            each: |number, element: &RawValue| take(&format!("element {number}"), element),
        })
    } else {
        <Box<RawValue> as serde::Deserialize>::deserialize(&mut json).map(|element| {
            take("it", &element);
        })
    };
    let read = read.and_then(|()| json.end());
    if let Some(error) = trouble.into_inner() {
        return Err(error);
    }
    read.map_err(|error| not_json(error, limit))?;
    logs.finish(intake)
}

/// What is wrong with text that is no JSON.
fn not_json(error: serde_json::Error, limit: u64) -> Error {
    if error.is_io() {
        let error = io::Error::from(error);
        return match error.kind() {
            io::ErrorKind::FileTooLarge => too_large(limit),
            _ => failed(&error),
        };
    }
    let cut = error.is_eof();
    let refusal = if cut {
        refuse("it ends in the middle".into())
    } else {
        refuse("it is neither JSON nor lines of pachat".into())
    };
    refusal.cause(error).hint(if cut {
        "fetch the file anew; nothing was imported"
    } else {
        KNOWN
    })
}

const KNOWN: &str = "what can be imported: what `pachat export -F jsonl` prints, the exports of ChatGPT and Claude \
    as they are downloaded, and what `llm logs -n 0 --json` prints";

/// Takes an object: an element of a list, or all there is; `name` says which.
fn object(name: &str, json: &str, logs: &mut llm::Logs, intake: &mut Intake<'_, '_>) -> Result<()> {
    let parsed: serde_json::Result<Value> = serde_json::from_str(json).or_else(|error| {
        // Programs that count in UTF-16 cut texts in the middle of a character.
        mended(json).map_or(Err(error), |json| serde_json::from_str(&json))
    });
    let value = parsed.map_err(|error| {
        refuse(format!("{name} cannot be read"))
            .cause(error)
            .hint("fetch the file anew, or take that one out of it; nothing was imported")
    })?;
    if value.get("mapping").is_some_and(Value::is_object) {
        return intake.draft(&chatgpt::conversation(value));
    }
    if value.get("chat_messages").is_some_and(Value::is_array) {
        return intake.draft(&claude::conversation(value));
    }
    if value.get("prompt").is_some() && value.get("response").is_some() {
        return logs.add(value, json.len() as u64);
    }
    if value.get("schema").is_some() && value.get("messages").is_some() {
        let why = format!("{name} is what `export -F json` prints, which leaves things out");
        return Err(refuse(why).hint("import what `pachat export -F jsonl` prints"));
    }
    Err(refuse(format!("{name} is no conversation of a kind that is known")).hint(KNOWN))
}

/// The text with the halves of characters replaced; `None` if there are none.
fn mended(json: &str) -> Option<String> {
    const REPLACEMENT: &str = "\\ufffd";
    let mut out = String::with_capacity(json.len());
    let mut rest = json;
    let mut changed = false;
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        out.push_str(before);
        let unit = |text: &str| {
            let digits = text.strip_prefix("\\u")?.get(..4)?;
            u16::from_str_radix(digits, 16).ok()
        };
        let taken = match unit(escape) {
            Some(0xd800..=0xdbff) => {
                let next = escape.get(6..).and_then(unit);
                if next.is_some_and(|next| (0xdc00..=0xdfff).contains(&next)) {
                    12
                } else {
                    0
                }
            }
            Some(0xdc00..=0xdfff) => 0,
            Some(_) => 6,
            // The character after a backslash is never the beginning of another escape.
            None => 1 + escape[1..].chars().next().map_or(0, char::len_utf8),
        };
        if taken == 0 {
            out.push_str(REPLACEMENT);
            changed = true;
            rest = &escape[6..];
        } else {
            out.push_str(&escape[..taken]);
            rest = &escape[taken..];
        }
    }
    out.push_str(rest);
    changed.then_some(out)
}

/// The elements of a list, one at a time; `each` says whether to go on.
struct Elements<F> {
    each: F,
}

impl<'de, F: FnMut(usize, &RawValue) -> bool> Visitor<'de> for Elements<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of conversations")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<(), A::Error> {
        let mut number = 0;
        while let Some(element) = list.next_element::<Box<RawValue>>()? {
            number += 1;
            if !(self.each)(number, &element) {
                return Err(serde::de::Error::custom("stopped"));
            }
        }
        Ok(())
    }
}

/// Reads no more than there is room for.
struct Metered<R> {
    input: R,
    room: Rc<Cell<u64>>,
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        let room = self.room.get();
        if count as u64 > room {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.room.set(room - count as u64);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_of_characters_are_replaced_and_nothing_else() {
        for (json, expected) in [
            (r#""\ud83d\ude00 ok""#, None),
            (r#""\\ud83d""#, None),
            (r#""\ud83d""#, Some(r#""\ufffd""#)),
            (r#""a\ud83d\n\ude00""#, Some(r#""a\ufffd\n\ufffd""#)),
            (r#""\ud83d\ud83d\ude00é""#, Some(r#""\ufffd\ud83d\ude00é""#)),
            (r#""é\u00e9\"\ude00""#, Some(r#""é\u00e9\"\ufffd""#)),
        ] {
            assert_eq!(mended(json).as_deref(), expected, "{json}");
        }
    }
}
