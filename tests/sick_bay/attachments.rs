//! Files that conversations name.

use super::bed::{LATER, WHALES, active, digest, lines, prompt};
use super::case::{Case, case};

pub fn cases() -> Vec<Case> {
    let path = |digest: &str| format!("attachments/{digest}.png");
    let right = digest(b"a picture");
    let orphan = path(&right);
    let changed = path(&right);
    let (in_orphan, in_changed) = (orphan.clone(), changed.clone());
    vec![
        case("a picture that no conversation names", move |bed| {
            bed.put(&in_orphan, "a picture");
        })
        .finds("store.attachment-orphan", orphan),
        case("a picture with a bit flipped", move |bed| {
            bed.put(&in_changed, "a Picture");
            let name = in_changed.strip_prefix("attachments/").unwrap();
            let naming = prompt(3, LATER).replace("hello", name);
            bed.append(&active(WHALES), lines(&[&naming]).as_bytes());
        })
        .finds("store.attachment-digest", changed),
    ]
}
