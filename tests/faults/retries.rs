//! Rows 28, 45 to 48, 50, 51 and 73: what passes is tried again, within limits.

use std::sync::Arc;
use std::time::Duration;

use pachat::platform::Clock;

use crate::common::host::{Cues, TestClock};
use crate::common::server::Script;
use crate::stage::Stage;
use crate::{Row, row};

const OK: &[&str] = &["user=x", "assistant:complete=ok"];

fn after(name: &str, value: &str) -> Script {
    Script::json(429, r#"{"error":{"message":"slow down"}}"#).header(name, value)
}

pub(crate) fn rows() -> Vec<Row> {
    vec![
        row(28, "429 or 502 as the first event", || {
            for (code, exit) in [(429, 75), (502, 69)] {
                let first = format!(
                    r#"{{"error":{{"code":{code},"message":"later"}},"choices":[{{"finish_reason":"error"}}]}}"#
                );
                let script = Script::stream().send(": PROCESSING\n\n").event(&first);
                let stage = Stage::new([script.clone(), Script::reply("ok")]);
                stage
                    .send(&[])
                    .stdout("ok\n")
                    .code(0)
                    .retried(1)
                    .stored(OK)
                    .asked(2);
                let stage = Stage::new([script]);
                stage
                    .send(&[])
                    .stdout("")
                    .code(exit)
                    .retried(3)
                    .stored(&["user=x"])
                    .asked(4);
            }
        }),
        row(45, "408, 500, 502, 503, 504, 524, 529, then good", || {
            for status in [408, 409, 425, 500, 502, 503, 504, 520, 524, 529] {
                let stage = Stage::new([Script::json(status, "{}"), Script::reply("ok")]);
                let seen = stage
                    .send(&[])
                    .stdout("ok\n")
                    .code(0)
                    .retried(1)
                    .stored(OK)
                    .asked(2);
                assert_eq!(seen.ran.stderr.lines().count(), 1, "{}", seen.ran.stderr);
            }
        }),
        row(46, "the same for ever", || {
            for (status, code) in [(500, 69), (503, 69), (529, 69), (429, 75)] {
                let stage = Stage::new([Script::json(status, "busy")]);
                stage
                    .send(&[])
                    .stdout("")
                    .code(code)
                    .retried(3)
                    .stored(&["user=x"])
                    .asked(4);
                assert!(stage.cues.clock.waited() <= Duration::from_secs(60));
                let once = Stage::new([Script::json(status, "busy")]);
                once.send(&["--no-retry"]).code(code).retried(0).asked(1);
            }
        }),
        row(47, "429 with Retry-After 2", || {
            let stage = Stage::new([after("Retry-After", "2"), Script::reply("ok")]);
            stage
                .send(&[])
                .stdout("ok\n")
                .code(0)
                .says("trying again in 2 s")
                .stored(OK)
                .asked(2);
            let clock = &stage.cues.clock;
            assert!(clock.elapsed() >= Duration::from_secs(2));
            assert!(
                clock.waited() <= Duration::from_millis(2500),
                "{:?}",
                clock.waited()
            );
        }),
        row(
            48,
            "Retry-After of an hour, as a date, negative, garbage",
            || {
                let stage = Stage::new([after("Retry-After", "3600")]);
                let seen = stage
                    .send(&[])
                    .stdout("")
                    .code(75)
                    .says("the server asks to wait 60 min");
                seen.retried(0).stored(&["user=x"]).asked(1);
                let date = after("Retry-After", "Sat, 22 Aug 2026 12:00:30 GMT")
                    .header("Date", "Sat, 22 Aug 2026 12:00:00 GMT");
                Stage::new([date, Script::reply("ok")])
                    .send(&[])
                    .code(0)
                    .says("trying again in 30 s");
                let late = after("Retry-After", "Sun, 23 Aug 2026 12:00:00 GMT")
                    .header("Date", "Sat, 22 Aug 2026 12:00:00 GMT");
                Stage::new([late])
                    .send(&[])
                    .code(75)
                    .says("asks to wait 24 h")
                    .asked(1);
                for nonsense in [
                    "-5",
                    "soon",
                    "",
                    "1e999",
                    "NaN",
                    "Sat, 22 Aug 1970 00:00:00 GMT",
                ] {
                    let stage = Stage::new([after("Retry-After", nonsense), Script::reply("ok")]);
                    stage.send(&[]).stdout("ok\n").code(0).retried(1).asked(2);
                    assert!(
                        stage.cues.clock.waited() <= Duration::from_secs(1),
                        "{nonsense}"
                    );
                }
            },
        ),
        row(50, "429 from upstream, the reason in metadata.raw", || {
            let body = r#"{"error":{"code":429,"message":"Provider returned error","metadata":{"raw":"m is temporarily rate-limited upstream","provider_name":"P","limit_source":"upstream_provider_shared_pool"}}}"#;
            Stage::new([Script::json(429, body)])
                .send(&[])
                .stdout("")
                .code(75)
                .says("m is temporarily rate-limited upstream (HTTP 429, from P)")
                .retried(3)
                .stored(&["user=x"])
                .asked(4);
            let stage = Stage::new([Script::json(429, body), Script::reply("ok")]);
            stage.send(&[]).stdout("ok\n").code(0).stored(OK).asked(2);
        }),
        row(51, "503 while the model is loading", || {
            let loading = Script::json(
                503,
                r#"{"error":{"message":"Loading model","type":"unavailable_error","code":503}}"#,
            );
            let mut scripts = vec![loading.clone(); 6];
            scripts.push(Script::reply("ok"));
            Stage::new(scripts)
                .send(&[])
                .stdout("ok\n")
                .code(0)
                .says("the server is loading its model: trying again")
                .stored(OK)
                .asked(7);
            let stage = Stage::new([loading]).setting("timeouts.first_byte_seconds", "20");
            let seen = stage
                .send(&[])
                .stdout("")
                .code(69)
                .says("still loading its model");
            let tries = seen.requests.len();
            assert!((2..=30).contains(&tries), "{tries} tries");
            seen.stored(&["user=x"]);
        }),
        row(73, "a clock that is wrong by years", || {
            for year in ["1975-01-01T00:00:00Z", "2155-12-31T23:59:59Z"] {
                let cues = Cues {
                    clock: Arc::new(TestClock::at(year)),
                    ..Cues::default()
                };
                let dated = after("Retry-After", "Sat, 22 Aug 2026 12:00:03 GMT")
                    .header("Date", "Sat, 22 Aug 2026 12:00:00 GMT");
                let scripts = vec![after("Retry-After", "2"), dated, Script::reply("ok")];
                let stage = Stage::on(cues, |_| scripts);
                let seen = stage.send(&[]).stdout("ok\n").code(0).stored(OK).asked(3);
                seen.says("trying again in 2 s").says("trying again in 3 s");
                assert!(stage.cues.clock.waited() <= Duration::from_millis(5500));
                // Without the server's own clock the date means nothing, and backing off is left.
                let cues = Cues {
                    clock: Arc::new(TestClock::at(year)),
                    ..Cues::default()
                };
                let undated = after("Retry-After", "Sat, 22 Aug 2026 12:00:03 GMT");
                let stage = Stage::on(cues, |_| vec![undated, Script::reply("ok")]);
                let seen = stage.send(&[]);
                assert!(matches!(seen.ran.code, 0 | 75), "{}", seen.ran.stderr);
            }
        }),
    ]
}
