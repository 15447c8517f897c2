//! Archived conversations.

use super::bed::{OLD, archived, conversation, gzip};
use super::case::{Case, case};

pub fn cases() -> Vec<Case> {
    let whole = || gzip(conversation(OLD).as_bytes());
    vec![
        case("an archived conversation is cut", move |bed| {
            let bytes = whole();
            bed.put_bytes(&archived(OLD), &bytes[..bytes.len() / 2]);
        })
        .finds("store.gzip", archived(OLD)),
        case("an archived conversation has a bit flipped", move |bed| {
            let mut bytes = whole();
            // In the check sum.
            let at = bytes.len() - 6;
            bytes[at] ^= 4;
            bed.put_bytes(&archived(OLD), &bytes);
        })
        .finds("store.gzip", archived(OLD)),
        case(
            "something stands behind an archived conversation",
            move |bed| {
                let bytes = [whole(), b"more".to_vec()].concat();
                bed.put_bytes(&archived(OLD), &bytes);
            },
        )
        .finds("store.gzip", archived(OLD)),
        case("an archived conversation is empty", |bed| {
            bed.put(&archived(OLD), "");
        })
        .finds("store.gzip", archived(OLD)),
        case("an archived conversation ends in mid-line", |bed| {
            let text = format!("{}{{\"type\":\"mess", conversation(OLD));
            bed.put_bytes(&archived(OLD), &gzip(text.as_bytes()));
        })
        .finds("store.archived-torn", archived(OLD)),
        case("an archived conversation has a bad line", |bed| {
            let text = format!("{}not JSON\n", conversation(OLD));
            bed.put_bytes(&archived(OLD), &gzip(text.as_bytes()));
        })
        .finds("store.not-json", archived(OLD)),
    ]
}
