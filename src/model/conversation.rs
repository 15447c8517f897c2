//! A conversation, folded from the lines of its file.

use jiff::Timestamp;

use super::id::ConversationId;
use super::record::{Header, Message, Record, Role, Set};
use super::reply::State;
use super::usd::Usd;

/// A line that could not be read. It stays in the file as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Its number, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub why: String,
}

/// What a conversation file says.
#[derive(Clone, Debug)]
pub struct Conversation {
    /// The first line, with every later change of metadata applied.
    pub header: Header,
    /// All messages in the order of the file, rewound ones included.
    messages: Vec<Entry>,
    /// Lines that could not be read.
    pub faults: Vec<Fault>,
    /// Bytes behind the last line feed: a line that was cut while it was written.
    pub torn: usize,
}

#[derive(Clone, Debug)]
struct Entry {
    message: Message,
    active: bool,
}

impl Conversation {
    /// A conversation with nothing said yet.
    pub fn new(header: Header) -> Self {
        Self {
            header,
            messages: Vec::new(),
            faults: Vec::new(),
            torn: 0,
        }
    }

    /// Folds the content of a file. A line that does not parse is reported and skipped;
    /// only a missing header is an error, and it says why.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let whole = memchr::memrchr(b'\n', bytes).map_or(0, |at| at + 1);
        let torn = bytes.len() - whole;
        let mut lines = lines(&bytes[..whole]).enumerate();
        let Some((_, first)) = lines.next() else {
            return Err("it has no complete line".into());
        };
        let header = match read_line(first) {
            Ok(Record::Header(header)) => *header,
            Ok(_) => return Err("its first line is not the header of a conversation".into()),
            Err(why) => return Err(format!("its first line cannot be read: {why}")),
        };
        let mut conversation = Self {
            torn,
            ..Self::new(header)
        };
        for (index, line) in lines {
            match read_line(line) {
                Ok(record) => conversation.apply(record),
                Err(why) => conversation.faults.push(Fault {
                    line: index + 1,
                    why,
                }),
            }
        }
        Ok(conversation)
    }

    /// Applies one record, as if its line stood at the end of the file.
    pub fn apply(&mut self, record: Record) {
        match record {
            Record::Message(message) => {
                self.messages.push(Entry {
                    message: *message,
                    active: true,
                });
            }
            Record::Set(set) => self.set(*set),
            Record::Rewind(rewind) => {
                for entry in &mut self.messages {
                    entry.active &= entry.message.n <= rewind.to;
                }
            }
            Record::Charge(charge) => {
                let entry = self
                    .messages
                    .iter_mut()
                    .find(|entry| entry.message.n == charge.n);
                if let Some(Entry { message, .. }) = entry {
                    message.cost = Some(charge.cost);
                    message.usage = message.usage.take().or(charge.usage);
                }
            }
            // A second header can only be the work of another program; the first one counts.
            Record::Header(_) | Record::Unknown => {}
        }
    }

    fn set(&mut self, set: Set) {
        let header = &mut self.header;
        if set.title.is_some() {
            header.title = set.title;
        }
        if set.model.is_some() {
            header.model = set.model;
        }
        if let Some(system) = set.system {
            header.system = Some(system).filter(|system| !system.is_empty());
        }
        if let Some(tags) = set.tags {
            header.tags = tags;
        }
    }

    /// The id.
    pub fn id(&self) -> &ConversationId {
        &self.header.id
    }

    /// The title, or a stand-in.
    pub fn title(&self) -> &str {
        self.header.title.as_deref().unwrap_or("(untitled)")
    }

    /// The messages that count, oldest first.
    pub fn active(&self) -> impl DoubleEndedIterator<Item = &Message> {
        self.messages
            .iter()
            .filter(|entry| entry.active)
            .map(|entry| &entry.message)
    }

    /// Every message, with whether it counts.
    pub fn all(&self) -> impl DoubleEndedIterator<Item = (&Message, bool)> {
        self.messages
            .iter()
            .map(|entry| (&entry.message, entry.active))
    }

    /// The number of the next message. Numbers are never used again, also after a rewind.
    pub fn next_number(&self) -> u64 {
        self.messages
            .iter()
            .map(|entry| entry.message.n)
            .max()
            .unwrap_or(0)
            + 1
    }

    /// The last prompt that counts.
    pub fn last_prompt(&self) -> Option<&Message> {
        self.active().rfind(|message| message.role == Role::User)
    }

    /// When something was last said.
    pub fn updated_at(&self) -> Timestamp {
        self.messages
            .last()
            .map_or(self.header.created_at, |entry| entry.message.at)
    }

    /// How the last reply ended; `None` where a prompt has no reply, or nothing was said.
    pub fn state(&self) -> Option<State> {
        let last = self.active().next_back()?;
        (last.role == Role::Assistant).then(|| last.state.unwrap_or(State::Complete))
    }

    /// What all replies cost together, rewound ones included: they were paid, too.
    /// `None` if no server ever said a price.
    pub fn cost(&self) -> Option<Usd> {
        let mut costs = self
            .messages
            .iter()
            .filter_map(|entry| entry.message.cost)
            .peekable();
        costs.peek()?;
        Some(costs.sum())
    }
}

/// The lines of a text that ends with a line feed, without it. `memchr` looks at many bytes
/// at a time, which a search for one byte by a closure does not.
fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut start = 0;
    memchr::memchr_iter(b'\n', text).map(move |end| {
        let line = &text[start..end];
        start = end + 1;
        line
    })
}

fn read_line(line: &[u8]) -> Result<Record, String> {
    let text = std::str::from_utf8(line).map_err(|_| "it is not UTF-8".to_owned())?;
    Record::parse(text).map_err(|error| error.to_string())
}

/// A title made of a prompt: its first line with words in it, cut at a word.
pub fn title_of(prompt: &str) -> String {
    const LONGEST: usize = 60;
    let line = prompt
        .lines()
        .find(|line| line.chars().any(char::is_alphanumeric))
        .unwrap_or("(untitled)");
    let words: Vec<&str> = line.split_whitespace().collect();
    let line = words.join(" ");
    if line.chars().count() <= LONGEST {
        return line;
    }
    let end = line
        .char_indices()
        .nth(LONGEST - 1)
        .map_or(line.len(), |(at, _)| at);
    let cut = match line[..end].rfind(' ') {
        // Only where a good part of the title is left; some languages have no spaces.
        Some(space) if space > end / 2 => space,
        _ => end,
    };
    format!("{}…", line[..cut].trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::record::{Content, Rewind, line};
    use proptest::prelude::*;

    fn at() -> Timestamp {
        "2026-08-22T09:41:07Z".parse().unwrap()
    }

    fn file(records: &[Vec<u8>]) -> Vec<u8> {
        let header = Header {
            version: 1,
            id: ConversationId::new(at(), 7),
            created_at: at(),
            title: Some("t".into()),
            model: None,
            system: None,
            tags: Vec::new(),
            parent: None,
            imported: None,
        };
        let mut bytes = line(&header);
        for record in records {
            bytes.extend_from_slice(record);
        }
        bytes
    }

    fn message(n: u64, role: Role, text: &str) -> Vec<u8> {
        line(&Message::new(n, role, Content::text(text), at()))
    }

    #[test]
    fn rewound_messages_do_not_count_and_numbers_go_on() {
        let bytes = file(&[
            message(1, Role::User, "a"),
            message(2, Role::Assistant, "b"),
            message(3, Role::User, "c"),
            line(&Rewind { to: 2 }),
            message(4, Role::User, "d"),
        ]);
        let conversation = Conversation::parse(&bytes).unwrap();
        let active: Vec<u64> = conversation.active().map(|message| message.n).collect();
        assert_eq!(active, [1, 2, 4]);
        assert_eq!(conversation.next_number(), 5);
        assert_eq!(conversation.state(), None);
    }

    #[test]
    fn a_bad_line_is_reported_and_the_rest_is_read() {
        let mut bytes = file(&[
            message(1, Role::User, "a"),
            b"{broken\n".to_vec(),
            b"\xff\xfe\n".to_vec(),
            message(2, Role::Assistant, "b"),
        ]);
        bytes.extend_from_slice(b"{\"type\":\"mess");
        let conversation = Conversation::parse(&bytes).unwrap();
        assert_eq!(conversation.active().count(), 2);
        assert_eq!(
            conversation
                .faults
                .iter()
                .map(|fault| fault.line)
                .collect::<Vec<_>>(),
            [3, 4]
        );
        assert_eq!(conversation.torn, 13);
    }

    #[test]
    fn titles_are_short_and_whole_words() {
        assert_eq!(
            title_of("\n\n  why is\tthe sky blue?\nmore"),
            "why is the sky blue?"
        );
        assert_eq!(title_of("```\n---"), "(untitled)");
        let long = title_of(&"word ".repeat(40));
        assert!(
            long.ends_with("word…") && long.chars().count() <= 60,
            "{long}"
        );
        assert_eq!(title_of(&"長".repeat(80)).chars().count(), 60);
    }

    proptest! {
        #[test]
        fn odd_lines_cost_only_themselves(
            odd in prop::collection::vec(
                prop_oneof![
                    prop::collection::vec(any::<u8>(), 0..60),
                    "\\{\"type\":\"(message|set|rewind|conversation|x)\",\"(n|to|role|content|usage)\":(-?[0-9]{1,30}|1e999|\"[a-z]{0,3}\"|null|\\[\\]|\\{\\})\\}"
                        .prop_map(String::into_bytes),
                ],
                0..6,
            ),
        ) {
            let mut odd: Vec<Vec<u8>> = odd
                .into_iter()
                // Sound records are for the other tests.
                .filter(|line| !line.starts_with(b"{\"type\":\"rewind\""))
                .collect();
            for line in &mut odd {
                line.retain(|byte| *byte != b'\n');
                line.push(b'\n');
            }
            let mut records = vec![message(1, Role::User, "first")];
            records.extend(odd.iter().cloned());
            records.push(message(2, Role::Assistant, "last"));
            let read = Conversation::parse(&file(&records)).unwrap();
            prop_assert_eq!(read.all().count() + read.faults.len() <= records.len(), true);
            let texts: Vec<_> = read.active().map(|message| message.content.to_text()).collect();
            prop_assert!(texts.iter().any(|text| text == "first"));
            prop_assert!(texts.iter().any(|text| text == "last"));
            prop_assert_eq!(read.torn, 0);
            let _ = Conversation::parse(&odd.concat());
        }
    }
}
