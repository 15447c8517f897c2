//! Archives that keep every rule of the format and hold files that make no sense: the reader
//! accepts them, a restore does not.

use super::build::{ACTIVE, ARCHIVED, Backup, SETTINGS, conversation};
use super::cases::{At, Case, hostile};

pub fn cases() -> Vec<Case> {
    let of = |about: &str, path: &str, data: &[u8]| {
        let archive = Backup::of(vec![(path.into(), data.to_vec())]).archive();
        Case {
            at: At::Restore,
            ..hostile(format!("content: {about}"), archive, "content", path)
        }
    };
    vec![
        of("conversation that does not parse", ACTIVE, b"evil\n"),
        of("empty conversation", ACTIVE, b""),
        of(
            "conversation with another id",
            ACTIVE,
            &conversation("20260822-094107-zzzzzz"),
        ),
        of(
            "archived conversation that is not packed",
            ARCHIVED,
            &conversation("20250101-000000-zzz999"),
        ),
        of("settings that are no object", SETTINGS, b"[]\n"),
    ]
}
