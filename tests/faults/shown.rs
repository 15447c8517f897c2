//! Rows 72 and 75: what is shown of costs, and of a reply that is meant for a terminal.

use crate::common::host::Cues;
use crate::common::server::{FINISHED, Script, delta};
use crate::stage::Stage;
use crate::{Row, row};

pub(crate) fn rows() -> Vec<Row> {
    vec![
        row(72, "usage.cost null, 0, negative, text", || {
            for (cost, shown) in [
                ("null", "cost n/a"),
                ("0", "$0;"),
                ("0.0", "$0;"),
                ("-0.5", "-$0.5000;"),
                ("\"0.25\"", "$0.2500;"),
                ("1e-7", "$0.0000001;"),
                ("5E-9", "$0.000000005;"),
                ("\"many\"", "cost n/a"),
                ("true", "cost n/a"),
                ("{}", "cost n/a"),
                ("1e400", "cost n/a"),
                ("\"NaN\"", "cost n/a"),
            ] {
                let usage = format!(
                    r#"{{"choices":[],"usage":{{"prompt_tokens":1,"completion_tokens":2,"cost":{cost}}}}}"#
                );
                let script = Script::events([&*delta("Hello"), FINISHED, &usage, "[DONE]"]);
                Stage::new([script])
                    .send(&["--usage"])
                    .stdout("Hello\n")
                    .code(0)
                    .says(shown)
                    .says("1 prompt + 2 reply tokens")
                    .stored(&["user=x", "assistant:complete=Hello"]);
            }
        }),
        row(75, "escape sequences in a reply", || {
            let pieces = [
                "a\u{1b}]0;ti",
                "tle\u{7}b\u{1b}",
                "[3",
                "1mc\u{202e}d\u{9b}1",
                "me\u{8}\r\u{1b}]52;c;aGk=\u{1b}",
                "\\f",
            ];
            let script = || {
                let stream = pieces.iter().fold(Script::stream(), |script, piece| {
                    script.event(&delta(piece))
                });
                stream.event(FINISHED).event("[DONE]")
            };
            let raw = pieces.concat();
            Stage::new([script()])
                .send(&[])
                .stdout(&format!("{raw}\n"))
                .code(0)
                .silent();
            for more in [&[][..], &["--no-stream"]] {
                let cues = Cues {
                    terminal: true,
                    ..Cues::default()
                };
                let stage = Stage::on(cues, |_| vec![script()]);
                let reply = format!("assistant:complete={raw}");
                stage
                    .send(more)
                    .stdout("abcdef\n")
                    .code(0)
                    .stored(&["user=x", &reply]);
            }
        }),
    ]
}
