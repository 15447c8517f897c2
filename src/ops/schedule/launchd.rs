//! An agent for each job, for launchd on macOS.
//!
//! Format: launchd.plist(5). A time that passed while the machine slept is made up for when it
//! wakes; one that passed while it was off is not.

use std::fmt::Write as _;

use super::{Call, Job, Program, Rendered, When, mark, xml};

/// The label of a job.
pub(super) fn label(job: &str) -> String {
    format!("pachat.{job}")
}

pub(super) fn render(job: &'static Job, call: &Call) -> Rendered {
    let mut text = String::from(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <!DOCTYPE plist PUBLIC \"-//Apple//DTD PLIST 1.0//EN\" \"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">\n",
    );
    let _ = write!(
        text,
        "<!-- {} -->\n<plist version=\"1.0\">\n<dict>\n",
        mark::remark()
    );
    let (program, home) = match &call.program {
        Program::At(path) => (path.as_str(), None),
        // launchd replaces nothing in a path.
        Program::InCargoHome => ("/Users/YOU/.cargo/bin/pachat", Some("YOU")),
    };
    if let Some(home) = home {
        let _ = writeln!(text, "  <!-- Put your name in place of {home}. -->");
    }
    string(&mut text, "Label", &label(job.name));
    text.push_str("  <key>ProgramArguments</key>\n  <array>\n");
    for word in std::iter::once(program).chain(call.words(job)) {
        let _ = writeln!(text, "    <string>{}</string>", xml(word));
    }
    text.push_str("  </array>\n");
    if !call.variables.is_empty() {
        text.push_str("  <key>EnvironmentVariables</key>\n  <dict>\n");
        for (name, value) in &call.variables {
            let _ = writeln!(
                text,
                "    <key>{}</key>\n    <string>{}</string>",
                xml(name),
                xml(value)
            );
        }
        text.push_str("  </dict>\n");
    }
    let (hour, minute) = call.minute(job);
    text.push_str("  <key>StartCalendarInterval</key>\n  <dict>\n");
    let mut number = |key: &str, value: u32| {
        let _ = writeln!(text, "    <key>{key}</key>\n    <integer>{value}</integer>");
    };
    match job.when {
        When::Hourly => {}
        When::Daily(_) => number("Hour", hour),
        When::Sundays(_) => {
            number("Weekday", 0);
            number("Hour", hour);
        }
        When::Monthly(_) => {
            number("Day", 1);
            number("Hour", hour);
        }
    }
    number("Minute", minute);
    text.push_str(
        "  </dict>\n  <key>RunAtLoad</key>\n  <false/>\n  <key>ProcessType</key>\n  <string>Background</string>\n  \
         <key>LowPriorityIO</key>\n  <true/>\n  <key>Nice</key>\n  <integer>10</integer>\n  \
         <key>Umask</key>\n  <integer>63</integer>\n",
    );
    if job.data {
        string(&mut text, "StandardOutPath", "/dev/null");
    }
    let errors = match &call.program {
        Program::InCargoHome => Some("/Users/YOU/Library/Logs/pachat.log"),
        Program::At(_) => call.errors.as_deref(),
    };
    if let Some(errors) = errors {
        if !job.data {
            string(&mut text, "StandardOutPath", errors);
        }
        string(&mut text, "StandardErrorPath", errors);
    }
    text.push_str("</dict>\n</plist>\n");
    Rendered {
        name: format!("{}.plist", label(job.name)),
        text: mark::seal(&text),
        job: job.name,
    }
}

fn string(text: &mut String, key: &str, value: &str) {
    let _ = writeln!(
        text,
        "  <key>{key}</key>\n  <string>{}</string>",
        xml(value)
    );
}
