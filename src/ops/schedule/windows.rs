//! A task for each job, for the Task Scheduler of Windows.
//!
//! Format: the Task Scheduler schema, version 1.2. There is no encoding in the first line, and
//! nothing but ASCII in the text: `schtasks` hands the text on in another encoding than that of
//! the file.

use std::fmt::Write as _;

use super::{Call, Job, Program, Rendered, When, mark, xml};

/// The name of a job's task.
pub(super) fn task(job: &str) -> String {
    format!(r"\pachat\{job}")
}

pub(super) fn render(job: &'static Job, call: &Call) -> Rendered {
    let program = match &call.program {
        Program::At(path) => path.as_str(),
        Program::InCargoHome => r"%USERPROFILE%\.cargo\bin\pachat.exe",
    };
    let arguments: Vec<String> = call.words(job).map(quoted).collect();
    let trigger = trigger(job, call.minute(job).0);
    let text = format!(
        "<?xml version=\"1.0\"?>\n\
<!-- {remark} -->
<Task version=\"1.2\" xmlns=\"http://schemas.microsoft.com/windows/2004/02/mit/task\">
  <RegistrationInfo>
    <Description>pachat: {about}</Description>
  </RegistrationInfo>
  <Triggers>
{trigger}  </Triggers>
  <Principals>
    <Principal id=\"Author\">
      <LogonType>InteractiveToken</LogonType>
      <RunLevel>LeastPrivilege</RunLevel>
    </Principal>
  </Principals>
  <Settings>
    <MultipleInstancesPolicy>IgnoreNew</MultipleInstancesPolicy>
    <DisallowStartIfOnBatteries>false</DisallowStartIfOnBatteries>
    <StopIfGoingOnBatteries>false</StopIfGoingOnBatteries>
    <StartWhenAvailable>true</StartWhenAvailable>
    <ExecutionTimeLimit>PT2H</ExecutionTimeLimit>
    <Priority>8</Priority>
  </Settings>
  <Actions Context=\"Author\">
    <Exec>
      <Command>{command}</Command>
      <Arguments>{arguments}</Arguments>
    </Exec>
  </Actions>
</Task>
",
        remark = mark::remark(),
        about = xml(job.about),
        command = xml(program),
        arguments = xml(&arguments.join(" ")),
    );
    Rendered {
        name: format!("pachat-{}.xml", job.name),
        text: mark::seal(&text),
        job: job.name,
    }
}

/// The elements of a trigger, in the order that the schema wants.
fn trigger(job: &Job, hour: u32) -> String {
    let mut text = String::new();
    let element = if job.when == When::Hourly {
        "TimeTrigger"
    } else {
        "CalendarTrigger"
    };
    let _ = writeln!(text, "    <{element}>");
    if job.when == When::Hourly {
        text.push_str(
            "      <Repetition>\n        <Interval>PT1H</Interval>\n      </Repetition>\n",
        );
    }
    let _ = write!(
        text,
        "      <StartBoundary>2026-01-01T{hour:02}:00:00</StartBoundary>\n      <Enabled>true</Enabled>\n      \
         <RandomDelay>PT{}M</RandomDelay>\n",
        job.spread
    );
    match job.when {
        When::Hourly => {}
        When::Daily(_) => text.push_str(
            "      <ScheduleByDay>\n        <DaysInterval>1</DaysInterval>\n      </ScheduleByDay>\n",
        ),
        When::Sundays(_) => text.push_str(
            "      <ScheduleByWeek>\n        <WeeksInterval>1</WeeksInterval>\n        <DaysOfWeek>\n          \
             <Sunday />\n        </DaysOfWeek>\n      </ScheduleByWeek>\n",
        ),
        When::Monthly(_) => {
            text.push_str(
                "      <ScheduleByMonth>\n        <DaysOfMonth>\n          <Day>1</Day>\n        </DaysOfMonth>\n        <Months>\n",
            );
            for month in [
                "January", "February", "March", "April", "May", "June", "July", "August",
                "September", "October", "November", "December",
            ] {
                let _ = writeln!(text, "          <{month} />");
            }
            text.push_str("        </Months>\n      </ScheduleByMonth>\n");
        }
    }
    let _ = writeln!(text, "    </{element}>");
    text
}

/// A word of a command line, as programs on Windows split it.
fn quoted(word: &str) -> String {
    if !word.is_empty() && !word.contains([' ', '\t', '"']) {
        return word.to_owned();
    }
    let mut out = String::from("\"");
    let mut backslashes = 0;
    for c in word.chars() {
        match c {
            '\\' => backslashes += 1,
            '"' => {
                // Those before a quotation mark count double, and it needs one itself.
                out.push_str(&"\\".repeat(backslashes + 1));
                backslashes = 0;
            }
            _ => backslashes = 0,
        }
        out.push(c);
    }
    out.push_str(&"\\".repeat(backslashes));
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn words_are_split_as_they_were_put_together() {
        assert_eq!(quoted(r"C:\a\b"), r"C:\a\b");
        assert_eq!(quoted(r"C:\a b\"), r#""C:\a b\\""#);
        assert_eq!(quoted(r#"a\"b"#), r#""a\\\"b""#);
        assert_eq!(quoted(""), "\"\"");
    }
}
