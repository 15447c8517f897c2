//! A service and a timer for each job, for the systemd instance of a user.
//!
//! Formats: systemd.service(5), systemd.timer(5), systemd.exec(5), systemd.time(7).

use std::fmt::Write as _;

use super::{Call, Job, Program, Rendered, When, mark};

/// How long a job may take before it is ended.
const LONGEST: &str = "2h";

pub(super) fn render(job: &'static Job, call: &Call) -> [Rendered; 2] {
    let file = |suffix: &str, text: &str| Rendered {
        name: format!("pachat-{}.{suffix}", job.name),
        text: mark::seal(text),
        job: job.name,
    };
    [
        file("service", &service(job, call)),
        file("timer", &timer(job)),
    ]
}

fn service(job: &Job, call: &Call) -> String {
    let mut text = format!("# {}\n", mark::remark());
    text.push_str(
        "# Change it with `systemctl --user edit`, for example to add OnFailure=: that survives.\n",
    );
    let _ = write!(
        text,
        "[Unit]\nDescription=pachat: {}\nDocumentation=man:pachat-config(1)\n\n[Service]\nType=oneshot\n",
        job.about
    );
    for (name, value) in &call.variables {
        let _ = writeln!(
            text,
            "Environment={}",
            quoted(&format!("{name}={value}"), false)
        );
    }
    text.push_str("ExecStart=");
    match &call.program {
        Program::At(path) => text.push_str(&quoted(path, false)),
        Program::InCargoHome => text.push_str("%h/.cargo/bin/pachat"),
    }
    for word in call.words(job) {
        text.push(' ');
        text.push_str(&quoted(word, true));
    }
    text.push('\n');
    let fine: Vec<String> = job.fine.iter().map(ToString::to_string).collect();
    let _ = writeln!(text, "SuccessExitStatus={}", fine.join(" "));
    let _ = writeln!(text, "TimeoutStartSec={LONGEST}");
    if job.data {
        text.push_str("StandardOutput=null\n");
    }
    text.push_str("Nice=10\nIOSchedulingClass=idle\nUMask=0077\n");
    // No more than these: namespaces need privileges that the instance of a user may not have,
    // and the command that prints a key may be any program.
    text.push_str(
        "NoNewPrivileges=yes\nLockPersonality=yes\nRestrictRealtime=yes\nRestrictSUIDSGID=yes\n",
    );
    text
}

fn timer(job: &Job) -> String {
    let calendar = calendar(job.when);
    let mut text = format!("# {}\n", mark::remark());
    let _ = write!(
        text,
        "[Unit]\nDescription=When pachat runs: {}\nDocumentation=man:pachat-config(1)\n\n\
         [Timer]\nOnCalendar={calendar}\nRandomizedDelaySec={}min\nFixedRandomDelay=yes\nAccuracySec=1min\n",
        job.about, job.spread
    );
    // What comes every hour need not be made up for.
    if job.when != When::Hourly {
        text.push_str(
            "# A time that passed while the machine was off is made up for.\nPersistent=yes\n",
        );
    }
    text.push_str("\n[Install]\nWantedBy=timers.target\n");
    text
}

fn calendar(when: When) -> String {
    match when {
        When::Hourly => "*-*-* *:00:00".into(),
        When::Daily(hour) => format!("*-*-* {hour:02}:00:00"),
        When::Sundays(hour) => format!("Sun *-*-* {hour:02}:00:00"),
        When::Monthly(hour) => format!("*-*-01 {hour:02}:00:00"),
    }
}

/// A word of a command line. In arguments a `$` would be a variable; in the path of the program
/// and in values it is not.
fn quoted(word: &str, argument: bool) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@+=,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    let mut out = String::from("\"");
    for c in word.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '%' => out.push_str("%%"),
            '$' if argument => out.push_str("$$"),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn words_mean_what_they_say() {
        assert_eq!(quoted("/usr/bin/pachat", true), "/usr/bin/pachat");
        assert_eq!(
            quoted("/a b/100%/$x/\"\\", true),
            r#""/a b/100%%/$$x/\"\\""#
        );
        assert_eq!(quoted("/a/$x", false), r#""/a/$x""#);
        assert_eq!(quoted("", true), "\"\"");
    }
}
