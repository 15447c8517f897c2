//! What `validate` shows: findings in blocks for people, in rows for pipes, or as a document.
//!
//! Layer: commands.

use serde_json::{Value as Json, json};

use crate::context::Context;
use crate::model::error::{Error, Kind, Result};
use crate::model::finding::{Finding, Severity};
use crate::model::size::{ByteSize, counted};
use crate::model::time;
use crate::ops::validate::fix::{Fixed, Repair};
use crate::ops::validate::{backups, store};
use crate::store::atomic;
use crate::term::Ui;
use crate::term::table::{self, Align, Column};
use crate::term::ui::Talk;

use super::{ValidateArgs, command, no};

/// How many repairs are named before the question.
const NAMED: usize = 10;

/// Everything that was found, and what was done.
#[derive(Default)]
pub(super) struct Report {
    /// What was looked at.
    pub areas: Vec<&'static str>,
    pub findings: Vec<Finding>,
    pub store: Option<store::Counts>,
    pub backups: Option<backups::Counts>,
    /// What would be repaired, with `--dry-run`.
    pub planned: Option<Vec<Repair>>,
    /// What was repaired, with `--fix`.
    pub fixed: Option<Fixed>,
}

impl Report {
    fn count(&self, severity: Severity) -> usize {
        let findings = self.findings.iter();
        findings.filter(|found| found.severity == severity).count()
    }

    /// Whether something is wrong, beyond what is only worth knowing.
    fn is_bad(&self) -> bool {
        let worst = self.findings.iter().map(|finding| finding.severity).max();
        worst > Some(Severity::Note)
    }

    /// `1,204 conversations, 8,310 lines, 100.0 MB: no findings`.
    fn summary(&self) -> String {
        let mut looked = Vec::new();
        let number = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
        if let Some(counts) = &self.store {
            looked.push(counted(number(counts.conversations), "conversation"));
            looked.push(counted(number(counts.lines), "line"));
            looked.push(ByteSize(counts.bytes).to_string());
        }
        if let Some(counts) = &self.backups {
            looked.push(counts.shown());
        }
        if looked.is_empty() {
            looked.extend(self.areas.iter().map(ToString::to_string));
        }
        format!("{}: {}", looked.join(", "), self.tally())
    }

    /// `1 error, 2 warnings`.
    fn tally(&self) -> String {
        let severities = [Severity::Error, Severity::Warning, Severity::Note];
        let parts: Vec<String> = severities
            .into_iter()
            .map(|severity| (self.count(severity), severity.as_str()))
            .filter(|(count, _)| *count > 0)
            .map(|(count, word)| counted(count, word))
            .collect();
        if parts.is_empty() {
            "no findings".into()
        } else {
            parts.join(", ")
        }
    }
}

/// Shows the report where it was asked for.
pub(super) fn print(report: &Report, args: &ValidateArgs, context: &mut Context) -> Result<()> {
    if let Some(path) = &args.output {
        let path = context.environment.resolve(path);
        let text = if args.json {
            document(report, context)
        } else {
            planned_or(report, |report| blocks(&report.findings, None, false))
        };
        let (disk, random) = (context.disk.as_ref(), context.random.as_ref());
        atomic::replace(disk, random, &path, text.as_bytes())?;
    } else if args.json {
        context.ui.data(document(report, context).as_bytes())?;
    } else if context.ui.talk() == Talk::Quiet {
        // One line, and that only if something is wrong.
        return Ok(());
    } else if let Some(planned) = &report.planned {
        print_plan(planned, context)?;
    } else if context.ui.stdout_is_terminal() {
        let colour = context.ui.colour().stdout;
        let width = context.ui.size().map_or(80, |(columns, _)| columns);
        let text = blocks(&report.findings, Some(width), colour);
        context.ui.data(text.as_bytes())?;
    } else {
        let rows: Vec<Vec<String>> = report.findings.iter().map(row).collect();
        context.ui.data(table::tsv(&rows).as_bytes())?;
    }
    context.ui.note(&report.summary());
    hint(report, args, context);
    Ok(())
}

/// The exit code, and with `--quiet` the one line.
pub(super) fn verdict(report: &Report, args: &ValidateArgs, context: &Context) -> Result<()> {
    if !report.is_bad() {
        return Ok(());
    }
    if context.ui.talk() == Talk::Quiet {
        let what = format!("{}; see them: {}", report.tally(), command(args));
        return Err(Error::new(Kind::No, what));
    }
    Err(no())
}

/// How to go on, where that is not said with a finding.
fn hint(report: &Report, args: &ValidateArgs, context: &mut Context) {
    if let Some(planned) = &report.planned {
        let repairs = counted(planned.len(), "repair");
        context.ui.note(&match planned.len() {
            0 => "nothing can be repaired without losing something".to_owned(),
            _ => format!("{repairs} planned; make them: {} --fix", command(args)),
        });
    } else if report.fixed.is_none() {
        let fixable = report.findings.iter().filter(|found| found.fixable).count();
        if fixable > 0 {
            context.ui.note(&format!(
                "{fixable} of them can be repaired without losing anything: {} --fix",
                command(args)
            ));
        }
    }
}

/// Says what is to be repaired, before the question.
pub(super) fn announce(repairs: &[Repair], ui: &mut Ui) {
    ui.note(&format!(
        "{} that lose nothing, after a rollback point:",
        counted(repairs.len(), "repair")
    ));
    for repair in repairs.iter().take(NAMED) {
        ui.note(&format!("  {}: {}", repair.subject, repair.what));
    }
    if repairs.len() > NAMED {
        let more = repairs.len() - NAMED;
        ui.note(&format!("  and {more} more; all of them: --dry-run"));
    }
}

fn planned_or(report: &Report, otherwise: impl Fn(&Report) -> String) -> String {
    match &report.planned {
        Some(planned) => table::tsv(&plan_rows(planned)),
        None => otherwise(report),
    }
}

fn plan_rows(planned: &[Repair]) -> Vec<Vec<String>> {
    let row = |repair: &Repair| {
        vec![
            repair.code.to_owned(),
            repair.subject.clone(),
            repair.what.clone(),
        ]
    };
    planned.iter().map(row).collect()
}

fn print_plan(planned: &[Repair], context: &mut Context) -> Result<()> {
    let rows = plan_rows(planned);
    let column = |name| Column {
        name,
        align: Align::Left,
    };
    let columns = [column("CODE"), column("SUBJECT"), column("REPAIR")];
    table::show(&mut context.ui, &columns, &rows)
}

/// Severity, code, subject, line, cause, remedy, whether it can be repaired.
fn row(finding: &Finding) -> Vec<String> {
    vec![
        finding.severity.as_str().to_owned(),
        finding.code.to_owned(),
        finding.subject.clone(),
        finding
            .line
            .map(|line| line.to_string())
            .unwrap_or_default(),
        finding.cause.clone(),
        finding.remedy.clone(),
        if finding.fixable { "fixable" } else { "" }.to_owned(),
    ]
}

/// A block for each finding, below its area. With a width, lines are broken between words.
fn blocks(findings: &[Finding], width: Option<usize>, colour: bool) -> String {
    let paint = |code: &str, text: &str| {
        if colour {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    };
    let lines = |indent: usize, text: &str| {
        // On a terminal that narrow, lines wrap anyhow.
        let room = width.map_or(usize::MAX, |width| width.saturating_sub(indent).max(20));
        table::wrapped(text, room).join(&format!("\n{:indent$}", ""))
    };
    let mut out = String::new();
    let mut area = "";
    for finding in findings {
        let of = finding.code.split('.').next().unwrap_or_default();
        if of != area {
            if !area.is_empty() {
                out.push('\n');
            }
            area = of;
            out.push_str(&paint("1", area));
            out.push('\n');
        }
        let severity = finding.severity.as_str();
        let code = match finding.severity {
            Severity::Error => "1;31",
            Severity::Warning => "33",
            Severity::Note => "2",
        };
        let line = finding.line.map(|line| format!(":{line}"));
        let subject = format!("{}{}", finding.subject, line.unwrap_or_default());
        // The words are broken before they are painted: colours have no width.
        let head = lines(4, &format!("{severity}: {subject} [{}]", finding.code));
        let head = head
            .strip_prefix(severity)
            .and_then(|rest| rest.strip_suffix(&format!("[{}]", finding.code)))
            .unwrap_or_default();
        let remedy = lines(4, &format!("remedy: {}", finding.remedy));
        out.push_str(&format!(
            "  {}{head}{}\n    {}\n    {}{}\n",
            paint(code, severity),
            paint("2", &format!("[{}]", finding.code)),
            lines(4, &finding.cause),
            paint("36", "remedy:"),
            remedy.strip_prefix("remedy:").unwrap_or(&remedy),
        ));
    }
    out
}

fn document(report: &Report, context: &Context) -> String {
    let mut checked = json!({"areas": report.areas});
    if let Some(counts) = &report.store {
        checked["conversations"] = counts.conversations.into();
        checked["lines"] = counts.lines.into();
        checked["bytes"] = counts.bytes.into();
        checked["attachments"] = counts.attachments.into();
        if counts.storage > 0 {
            checked["storage_bytes"] = counts.storage.into();
        }
    }
    if let Some(counts) = &report.backups {
        checked["backups"] = counts.backups.into();
        checked["backup_bytes"] = counts.bytes.into();
        checked["points"] = counts.points.into();
    }
    let (mut fixed, mut skipped, mut point): (&[Repair], &[Repair], Json) = (&[], &[], Json::Null);
    if let Some(done) = &report.fixed {
        (fixed, skipped) = (&done.done, &done.skipped);
        point = done
            .point
            .as_ref()
            .map_or(Json::Null, |point| point.id.clone().into());
    }
    let mut document = json!({
        "schema": 1,
        "at": time::format(context.clock.now()),
        "version": env!("CARGO_PKG_VERSION"),
        "data_dir": context.data_dir().to_string_lossy(),
        "checked": checked,
        "counts": {
            "error": report.count(Severity::Error),
            "warning": report.count(Severity::Warning),
            "note": report.count(Severity::Note),
            "fixable": report.findings.iter().filter(|found| found.fixable).count(),
        },
        "findings": report.findings,
        "fixed": fixed,
        "skipped": skipped,
        "point": point,
    });
    if let Some(planned) = &report.planned {
        document["planned"] = json!(planned);
    }
    format!("{document}\n")
}
