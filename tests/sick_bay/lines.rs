//! Single lines that are wrong, in conversations that are otherwise sound.

use super::bed::{Bed, EARLY, LATER, WHALES, active, prompt, reply};
use super::case::{Case, case};

/// A conversation with these lines after its first prompt, and one finding.
fn line(name: &'static str, code: &'static str, more: &[&str]) -> Case {
    let more: Vec<String> = more.iter().map(|line| (*line).to_owned()).collect();
    case(name, move |bed: &mut Bed| {
        let more: Vec<&str> = more.iter().map(String::as_str).collect();
        bed.whales(&more);
    })
    .finds(code, active(WHALES))
}

fn changed(from: &str, to: &str) -> String {
    reply(2, LATER).replace(from, to)
}

pub fn cases() -> Vec<Case> {
    vec![
        case("a line that is not UTF-8", |bed| {
            let text = [
                reply(2, LATER).into_bytes(),
                b"\n{\"type\":\"set\",\"title\":\"caf\xe9\"}".to_vec(),
            ]
            .concat();
            bed.whales(&[]);
            bed.append(&active(WHALES), &text);
            bed.append(&active(WHALES), b"\n");
        })
        .finds("store.not-utf8", active(WHALES)),
        line(
            "NULs in the middle",
            "store.nul",
            &["\0\0\0\0\0\0\0\0", &reply(2, LATER)],
        ),
        line(
            "a file that was cut in the middle and went on",
            "store.not-json",
            &[r#"{"type":"message","n":2,"role":"assi"#, &reply(3, LATER)],
        ),
        line(
            "a merge conflict of another program",
            "store.not-json",
            &["<<<<<<< HEAD", &reply(2, LATER)],
        ),
        line(
            "a line that is no record",
            "store.not-a-record",
            &[&reply(2, LATER), "[1,2,3]"],
        ),
        line(
            "a number where a text belongs",
            "store.field",
            &[&changed(
                r#""state":"complete""#,
                r#""state":"complete","model":7"#,
            )],
        ),
        line(
            "a message without a number",
            "store.number",
            &[&changed(r#""n":2,"#, "")],
        ),
        line(
            "two messages with one number",
            "store.number-twice",
            &[&changed(r#""n":2"#, r#""n":1"#)],
        ),
        line(
            "numbers that go down",
            "store.number-order",
            &[&reply(3, LATER), &prompt(2, LATER)],
        )
        .finds("store.number-gap", active(WHALES)),
        line(
            "numbers that are missing",
            "store.number-gap",
            &[&changed(r#""n":2"#, r#""n":4"#)],
        ),
        line(
            "a role that nobody knows",
            "store.role",
            &[&changed("assistant", "wizard")],
        ),
        line(
            "a message without content",
            "store.content",
            &[&changed(r#""content":"hi","#, "")],
        ),
        line(
            "a state that nobody knows",
            "store.state",
            &[&changed("complete", "splendid")],
        ),
        line(
            "a reply that does not say how it ended",
            "store.state-missing",
            &[&changed(r#","state":"complete""#, "")],
        ),
        line(
            "a time that is none",
            "store.time",
            &[&changed(LATER, "yesterday")],
        ),
        line(
            "a message of next year",
            "store.time-future",
            &[&reply(2, "2027-08-21T09:31:00.000Z")],
        ),
        line(
            "a message of 1970, when the clock had no battery",
            "store.time-early",
            &[&reply(2, "1970-01-01T00:00:07.000Z")],
        ),
        line(
            "a clock that was set back in between",
            "store.time-backwards",
            &[&reply(2, "2026-08-21T09:10:00.000Z")],
        ),
        line(
            "a rewind to nowhere",
            "store.rewind",
            &[&reply(2, LATER), r#"{"type":"rewind","to":17}"#],
        ),
        line(
            "a charge for nothing",
            "store.charge",
            &[
                &reply(2, LATER),
                r#"{"type":"charge","n":17,"cost":"0.01"}"#,
            ],
        ),
        line(
            "a change of something unknown",
            "store.set",
            &[&reply(2, LATER), r#"{"type":"set","mood":"cheerful"}"#],
        ),
        case("a line of a newer pachat, which is fine", |bed| {
            bed.whales(&[
                &reply(2, LATER),
                r#"{"type":"reaction","n":2,"emoji":"x"}"#,
                &prompt(3, EARLY).replace(EARLY, LATER),
            ]);
        }),
    ]
}
