//! The data directory around the conversations.

use std::fs;

use super::bed::{Bed, SKY, WHALES, active, conversation, gzip};
use super::case::{Case, case};

const STRAY: &str = "conversations/active/notes.txt";
const TEMPORARY: &str = "config/.app_config.json.0a1b2c3d.tmp";

/// A home without a data directory.
fn emptied(bed: &Bed) {
    fs::remove_dir_all(bed.data()).unwrap();
}

/// The conversations in use are away, and the new ones are not yet in their place.
fn half_swap(bed: &Bed, record: &str) {
    bed.put(".swap/record.json", record);
    for id in [WHALES, SKY] {
        bed.put(&format!(".swap/new/{}", active(id)), &conversation(id));
        bed.put(&format!(".swap/old/{}", active(id)), &conversation(id));
        bed.remove(&active(id));
    }
    fs::remove_dir(bed.data().join("conversations/active")).unwrap();
}

pub fn cases() -> Vec<Case> {
    vec![
        case("no data directory yet", |bed| emptied(bed)).finds("store.missing", "data/pachat"),
        case("a file where the data directory belongs", |bed| {
            emptied(bed);
            super::bed::put(&bed.data(), b"");
        })
        .looking_at(&["store"])
        .finds("store.not-a-directory", "data/pachat"),
        case("VERSION is missing", |bed| bed.remove("VERSION"))
            .heals("store.version-missing", "VERSION")
            .changes("VERSION"),
        case("VERSION is garbage", |bed| bed.put("VERSION", "one\n"))
            .finds("store.version-unreadable", "VERSION"),
        case("VERSION of a newer pachat", |bed| bed.put("VERSION", "2\n"))
            .finds("store.version-newer", "VERSION"),
        case("VERSION of an older format", |bed| {
            bed.put("VERSION", "0\n")
        })
        .finds("store.version-older", "VERSION"),
        case("a conversation that cannot be read", |bed| {
            bed.trouble.closed.insert(bed.data().join(active(WHALES)));
        })
        .looking_at(&["store"])
        .finds("store.unreadable", active(WHALES)),
        case("a file where the archive belongs", |bed| {
            fs::remove_dir_all(bed.data().join("conversations/archived")).unwrap();
            bed.put("conversations/archived", "");
        })
        .finds("store.not-a-directory", "conversations/archived"),
        case("a directory that is called like a conversation", |bed| {
            bed.remove(&active(WHALES));
            fs::create_dir(bed.data().join(active(WHALES))).unwrap();
            bed.chmod(&active(WHALES), 0o700);
        })
        .finds("store.directory", active(WHALES)),
        case("a conversation in capital letters", |bed| {
            bed.put("conversations/active/20260822-090000-ABCDEF.jsonl", "");
        })
        .finds("store.name", "20260822-090000-ABCDEF.jsonl"),
        case("a note among the conversations", |bed| {
            bed.put(STRAY, "buy milk\n")
        })
        .finds("store.foreign", STRAY),
        case("a conflict copy of a synchroniser", |bed| {
            let name = format!("conversations/active/{WHALES} (conflicted copy).jsonl");
            bed.put(&name, &conversation(WHALES));
        })
        .finds("store.name", "(conflicted copy).jsonl"),
        case("a temporary file of a dead pachat", |bed| {
            bed.put(TEMPORARY, "{")
        })
        .heals("store.temporary", TEMPORARY)
        .forgets(TEMPORARY),
        case("the quarantine is not empty", |bed| {
            bed.put("quarantine/20260820-080000-7k2m9q.812.torn", "{\"ty");
        })
        .finds("store.quarantine", "quarantine"),
        case("a log with lines that are none", |bed| {
            bed.put_bytes("logs/app.log", b"garbage\n\xff\xfe\n");
        })
        .finds("store.log-line", "logs/app.log"),
        case("an old log that is cut", |bed| {
            let whole = gzip(b"nothing\n");
            bed.put_bytes(
                "logs/app.log.20260801T000000Z.gz",
                &whole[..whole.len() / 2],
            );
        })
        .finds("store.log-damaged", "logs/app.log.20260801T000000Z.gz"),
        case("an index of garbage", |bed| {
            bed.put(
                "cache/conversations.jsonl",
                "{\"id\": \"nobody\"}\ngarbage\n",
            );
        })
        .heals("store.index", "cache/conversations.jsonl")
        .forgets("cache/conversations.jsonl"),
        case("more than may be stored", |bed| {
            bed.put(
                "config/app_config.json",
                "{\"limits\": {\"storage_mb\": 1}}",
            );
            bed.put("quarantine/old.torn", &"x".repeat(2 << 20));
        })
        .finds("store.storage-limit", "limits.storage_mb")
        .finds("store.quarantine", "quarantine"),
        case("more conversations than may be in use", |bed| {
            bed.put(
                "config/app_config.json",
                "{\"limits\": {\"conversations\": 2}}",
            );
        })
        .finds("store.count-limit", "limits.conversations"),
        case("a restore that died before it was decided", |bed| {
            bed.put(".swap/incoming/conversations/active/x", "half");
        })
        .heals("store.swap", ".swap")
        .changes(".swap")
        .forgets(".swap/"),
        case("half of a restore, on a disk that became read-only", |bed| {
            half_swap(
                bed,
                "{\"version\":1,\"parts\":[{\"part\":\"conversations/active\",\"existed\":true}]}\n",
            );
            bed.trouble.read_only = true;
        })
        .looking_at(&["store"])
        .finds("store.swap", ".swap"),
        case("half of a restore, and nobody knows which half", |bed| {
            half_swap(bed, "{\"version\":1,\"par");
        })
        .looking_at(&["store"])
        .finds("store.swap", ".swap"),
        case("a conversation that is being written to", |bed| {
            bed.append(&active(SKY), b"{\"type\":\"mess");
            bed.put(&format!("run/turn-{SKY}.lock"), "");
            bed.hold(&format!("run/turn-{SKY}.lock"));
        })
        .finds("store.busy", active(SKY)),
    ]
}
