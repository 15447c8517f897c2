//! Conversations whose file as a whole is not what it should be.

use super::bed::{
    EARLY, LATER, SKY, WHALES, active, archived, conversation, gzip, header, lines, prompt, reply,
};
use super::case::{Case, case};

const NEW: &str = "20260822-090000-new001";

fn fork(id: &str, of: &str, message: u64) -> String {
    let own = header(id);
    let own = own.strip_suffix('}').unwrap();
    lines(&[
        &format!(r#"{own},"parent":{{"id":"{of}","message":{message}}}}}"#),
        &prompt(1, "2026-08-22T09:01:00.000Z"),
    ])
}

pub fn cases() -> Vec<Case> {
    vec![
        case("the last line was cut while it was written", |bed| {
            bed.append(&active(WHALES), br#"{"type":"message","n":3,"ro"#);
        })
        .heals("store.torn-tail", active(WHALES))
        .then("store.quarantine")
        .changes(active(WHALES)),
        case("the end is NULs, as after a power cut", |bed| {
            bed.append(&active(WHALES), &[0; 512]);
        })
        .heals("store.torn-tail", active(WHALES))
        .then("store.quarantine")
        .changes(active(WHALES)),
        case("the whole file is one half line", |bed| {
            bed.put(&active(WHALES), &header(WHALES));
        })
        .finds("store.no-header", active(WHALES)),
        case("an empty file", |bed| bed.put(&active(WHALES), ""))
            .finds("store.no-header", active(WHALES)),
        case("a file of NULs", |bed| {
            bed.put_bytes(&active(WHALES), &[0; 4096]);
        })
        .finds("store.no-header", active(WHALES)),
        case("the header is missing", |bed| {
            let text = lines(&[&prompt(1, EARLY), &reply(2, LATER)]);
            bed.put(&active(WHALES), &text);
        })
        .finds("store.no-header", active(WHALES)),
        case("the header comes second", |bed| {
            let text = lines(&[&prompt(1, EARLY), &header(WHALES), &reply(2, LATER)]);
            bed.put(&active(WHALES), &text);
        })
        .finds("store.no-header", active(WHALES))
        .finds("store.second-header", active(WHALES)),
        case("two files were put together", |bed| {
            let text = conversation(WHALES);
            bed.append(
                &active(WHALES),
                lines(&[text.lines().next().unwrap()]).as_bytes(),
            );
        })
        .finds("store.second-header", active(WHALES)),
        case("a copy under another name", |bed| {
            bed.put(&active(NEW), &conversation("20260822-090000-xxxxxx"));
        })
        .finds("store.wrong-id", active(NEW)),
        case("a copy of a conversation that is there", |bed| {
            bed.put(&active(NEW), &conversation(WHALES));
        })
        .finds("store.id-twice", active(NEW)),
        case("a conversation of a newer pachat", |bed| {
            let text = conversation(WHALES).replace(r#""version":1"#, r#""version":2"#);
            bed.put(&active(WHALES), &text);
        })
        .finds("store.conversation-newer", active(WHALES)),
        case("a conversation that grew too large", |bed| {
            bed.put(
                "config/app_config.json",
                r#"{"limits":{"conversation_mb":1}}"#,
            );
            let long = prompt(3, LATER).replace("hello", &"hello ".repeat(200_000));
            bed.append(&active(WHALES), lines(&[&long]).as_bytes());
        })
        .finds("store.conversation-limit", active(WHALES)),
        case("in use and archived, the same", |bed| {
            bed.put_bytes(&archived(WHALES), &gzip(conversation(WHALES).as_bytes()));
        })
        .heals("store.archived-twice", archived(WHALES))
        .forgets(archived(WHALES)),
        case("in use and archived, and each has something else", |bed| {
            let text = conversation(WHALES).replace("hello", "good bye");
            bed.put_bytes(&archived(WHALES), &gzip(text.as_bytes()));
        })
        .finds("store.archived-differs", archived(WHALES)),
        case("a fork of something that is gone", |bed| {
            bed.put(&active(NEW), &fork(NEW, "20260101-000000-000000", 1));
        })
        .finds("store.parent-missing", active(NEW)),
        case("a fork of a message that is not there", |bed| {
            bed.put(&active(NEW), &fork(NEW, WHALES, 9));
        })
        .finds("store.parent-message", active(NEW)),
        case("two forks of each other", |bed| {
            bed.put(&active(NEW), &fork(NEW, SKY, 1));
            bed.put(&active(SKY), &fork(SKY, NEW, 1));
        })
        .finds("store.parent-cycle", active(SKY)),
        case("a reply that was interrupted by a crash", |bed| {
            bed.put(
                &active(WHALES),
                &lines(&[&header(WHALES), &prompt(1, EARLY)]),
            );
            bed.put(&partial(WHALES), &side_file(2));
        })
        .heals("store.side-file", partial(WHALES))
        .changes(active(WHALES))
        .forgets(partial(WHALES)),
        case("a side file with half a piece", |bed| {
            bed.put(
                &active(WHALES),
                &lines(&[&header(WHALES), &prompt(1, EARLY)]),
            );
            bed.put(&partial(WHALES), &format!("{}{{\"tex", side_file(2)));
        })
        .heals("store.side-file-damaged", partial(WHALES))
        .then("store.quarantine")
        .changes(active(WHALES))
        .forgets(partial(WHALES)),
        case("a side file without its conversation", |bed| {
            bed.put(&partial(NEW), &side_file(2));
        })
        .finds("store.side-file-alone", partial(NEW)),
    ]
}

fn partial(id: &str) -> String {
    format!("conversations/active/{id}.partial")
}

fn side_file(n: u64) -> String {
    lines(&[
        &format!(r#"{{"type":"partial","version":1,"n":{n},"at":"{LATER}","model":"a/b"}}"#),
        r#"{"text":"whales "}"#,
        r#"{"text":"sing"}"#,
    ])
}
