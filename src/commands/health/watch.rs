//! `health --watch`: a look every so often.
//!
//! On a terminal one report that is written over in place; in a pipe a line, or a document, for
//! each change. Each look reads the settings anew. Ctrl-C is how a watch ends, so its exit code is
//! that of the last look.

use std::ffi::OsString;
use std::io;
use std::time::Duration;

use super::report::{self, Line};
use super::{HealthArgs, complain, document, look, renew, save, verdict};
use crate::context::Context;
use crate::model::error::{Error, Kind, Result};
use crate::model::time;
use crate::ops::health::{Report, Status};
use crate::platform::signals::Signal;

/// How often to look whether a signal has arrived.
const LOOK: Duration = Duration::from_millis(50);

/// How long the command of `--on-change` may take: a watch shall not end because a mail server
/// does not answer.
const ALERT: Duration = Duration::from_secs(60);

/// How much the command of `--on-change` is told, in bytes: any pipe holds a page.
const MOST_TOLD: usize = 4000;

/// What counts as a change: status and complaints, not numbers.
type State = Vec<(&'static str, Status, Vec<&'static str>)>;

/// What was drawn last: how many lines, and how large the terminal was.
#[derive(Default)]
struct Drawn {
    lines: usize,
    size: (usize, usize),
}

/// Looks until a signal comes.
pub(super) fn run(
    args: &HealthArgs,
    names: &[&'static str],
    pause: Duration,
    context: &mut Context,
) -> Result<()> {
    let mut last: Option<(Status, State)> = None;
    let mut drawn = Drawn::default();
    loop {
        let start = context.clock.elapsed();
        // Once at the start they have been read already.
        let renewed = match last {
            Some(_) => renew(context),
            None => Ok(()),
        };
        let report = match renewed.and_then(|()| look(args, names, context)) {
            Err(error) if error.kind() == Kind::Interrupted => {
                // Before the first look is over there is no status to end with.
                return last.map_or(Err(error), |(status, _)| verdict(status));
            }
            other => other?,
        };
        let (status, state) = (report.status(), state(&report));
        let before = last.as_ref().map(|(status, _)| *status);
        let changed = last.as_ref().is_none_or(|(_, before)| *before != state);
        show(args, &report, changed, &mut drawn, context)?;
        if let Some(before) = before.filter(|before| *before != status) {
            alert(args, before, &report, context);
        }
        last = Some((status, state));
        while context.clock.elapsed().saturating_sub(start) < pause {
            match context.signals.pending() {
                Some(Signal::Interrupt) => return verdict(status),
                Some(signal) => return Err(Error::of_signal(signal)),
                None => context.clock.sleep(LOOK),
            }
        }
    }
}

fn state(report: &Report) -> State {
    let probes = report.probes.iter();
    probes
        .map(|probe| {
            let codes = probe.problems.iter().map(|problem| problem.code).collect();
            (probe.name, probe.status(), codes)
        })
        .collect()
}

fn show(
    args: &HealthArgs,
    report: &Report,
    changed: bool,
    drawn: &mut Drawn,
    context: &mut Context,
) -> Result<()> {
    if args.output.is_some() {
        let shown = document(args, report, context)?;
        save(args, &shown, context)?;
        return if changed {
            complain(report, context)
        } else {
            Ok(())
        };
    }
    let as_document = args.json || args.prometheus;
    if context.ui.can_redraw() && !as_document {
        return redraw(report, drawn, context);
    }
    if !changed {
        return Ok(());
    }
    if as_document {
        let shown = document(args, report, context)?;
        return context.ui.data(shown.as_bytes());
    }
    let line = format!("{}\t{}\n", time::format(report.at), report::line(report));
    context.ui.text(&line)
}

/// Writes over the report before, in one write: nothing flickers, and no line wraps or scrolls.
fn redraw(report: &Report, drawn: &mut Drawn, context: &mut Context) -> Result<()> {
    context.ui.measure();
    let (width, height) = context.ui.size().unwrap_or((80, 24));
    let mut lines: Vec<Line> = report::lines(report, width.saturating_sub(1));
    let at = report.at.to_zoned(context.clock.zone());
    lines.insert(
        1,
        report::remark(&format!("{}; Ctrl-C ends this", at.strftime("%H:%M:%S"))),
    );
    lines.truncate(height.saturating_sub(1).max(1));
    let colour = context.ui.colour().stdout;
    let text = report::text(&lines, Some(width.saturating_sub(1)), colour);
    let mut out = String::new();
    if drawn.lines > 0 && drawn.size != (width, height) {
        // Lines may have wrapped, scrolled away or come back: nobody knows where they are.
        out.push_str("\x1b[H\x1b[2J");
    } else if drawn.lines > 0 {
        out.push_str(&format!("\r\x1b[{}A", drawn.lines));
    }
    for line in text.lines() {
        out.push_str(line);
        out.push_str("\x1b[K\n");
    }
    out.push_str("\x1b[J");
    *drawn = Drawn {
        lines: lines.len(),
        size: (width, height),
    };
    context.ui.data(out.as_bytes())
}

/// Runs the command of `--on-change`. What it is told are words of pachat's own, handed over as
/// parameters, never as text of a command; what is wrong is its standard input.
fn alert(args: &HealthArgs, before: Status, report: &Report, context: &mut Context) {
    let Some(command) = &args.on_change else {
        return;
    };
    let words = [before.overall(), report.status().overall()];
    let (shell, mut arguments): (&str, Vec<OsString>) = if cfg!(unix) {
        let arguments = ["-c", command.as_str(), "pachat-health"];
        ("sh", arguments.iter().map(OsString::from).collect())
    } else {
        ("cmd", vec!["/C".into(), command.into()])
    };
    arguments.extend(words.map(OsString::from));
    let mut told = report::line(report);
    while told.len() > MOST_TOLD {
        told.pop();
    }
    told.push('\n');
    let ended = context
        .programs
        .run(shell.as_ref(), &arguments, told.as_bytes(), Some(ALERT));
    match ended {
        // A signal: the watch ends, and says no more than that.
        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
        Err(error) if error.kind() == io::ErrorKind::TimedOut => {
            let seconds = ALERT.as_secs();
            context.ui.warn(&format!(
                "the command of --on-change took longer than {seconds} s, and was ended"
            ));
        }
        Ok(ended) if ended.code == Some(0) => {}
        Ok(ended) => {
            let said = String::from_utf8_lossy(&ended.stderr);
            let said = said.lines().next().unwrap_or_default().to_owned();
            context
                .ui
                .warn(&format!("the command of --on-change failed: {said}"));
        }
        Err(error) => {
            let line = format!("the command of --on-change cannot be run: {error}");
            context.ui.warn(&line);
        }
    }
}
