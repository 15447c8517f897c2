//! What `validate` shows: findings in blocks for people, in rows for pipes, or as a document.
//!
//! Layer: commands.

use serde_json::{Value as Json, json};

use crate::context::Context;
use crate::model::error::{Error, Kind, Result};
use crate::model::finding::{Finding, Severity};
use crate::model::size::{ByteSize, counted};
use crate::ops::validate::fix::{Fixed, Repair};
use crate::ops::validate::{backups, store};
use crate::store::atomic;
use crate::term::Ui;
use crate::term::clean::clean_line;
use crate::term::table::{self, Align, Column};
use crate::term::ui::Talk;

use super::{ValidateArgs, no};

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
            document(report)
        } else {
            planned_or(report, |report| blocks(&report.findings, false))
        };
        let (disk, random) = (context.disk.as_ref(), context.random.as_ref());
        atomic::replace(disk, random, &path, text.as_bytes())?;
    } else if args.json {
        context.ui.data(document(report).as_bytes())?;
    } else if context.ui.talk() == Talk::Quiet {
        // One line, and that only if something is wrong.
        return Ok(());
    } else if let Some(planned) = &report.planned {
        print_plan(planned, context)?;
    } else if context.ui.stdout_is_terminal() {
        let colour = context.ui.colour().stdout;
        context
            .ui
            .data(blocks(&report.findings, colour).as_bytes())?;
    } else {
        let rows: Vec<Vec<String>> = report.findings.iter().map(row).collect();
        context.ui.data(table::tsv(&rows).as_bytes())?;
    }
    context.ui.note(&report.summary());
    hint(report, context);
    Ok(())
}

/// The exit code, and with `--quiet` the one line.
pub(super) fn verdict(report: &Report, context: &Context) -> Result<()> {
    if !report.is_bad() {
        return Ok(());
    }
    if context.ui.talk() == Talk::Quiet {
        let what = format!("{}; see them: pachat validate", report.tally());
        return Err(Error::new(Kind::No, what));
    }
    Err(no())
}

/// How to go on, where that is not said with a finding.
fn hint(report: &Report, context: &mut Context) {
    if let Some(planned) = &report.planned {
        let repairs = counted(planned.len(), "repair");
        context.ui.note(&match planned.len() {
            0 => "nothing can be repaired without losing something".to_owned(),
            _ => format!("{repairs} planned; make them: pachat validate --fix"),
        });
    } else if report.fixed.is_none() {
        let fixable = report.findings.iter().filter(|found| found.fixable).count();
        if fixable > 0 {
            context.ui.note(&format!(
                "{fixable} of them can be repaired without losing anything: pachat validate --fix"
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
    if !context.ui.stdout_is_terminal() {
        return context.ui.data(table::tsv(&rows).as_bytes());
    }
    if rows.is_empty() {
        return Ok(());
    }
    let column = |name| Column {
        name,
        align: Align::Left,
    };
    let columns = [column("CODE"), column("SUBJECT"), column("REPAIR")];
    table::print(&mut context.ui, &columns, &rows)
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

/// A block for each finding, below its area.
fn blocks(findings: &[Finding], colour: bool) -> String {
    let paint = |code: &str, text: &str| {
        if colour {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
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
        let severity = match finding.severity {
            Severity::Error => paint("1;31", "error"),
            Severity::Warning => paint("33", "warning"),
            Severity::Note => paint("2", "note"),
        };
        let line = finding.line.map(|line| format!(":{line}"));
        let subject = format!(
            "{}{}",
            clean_line(&finding.subject),
            line.unwrap_or_default()
        );
        out.push_str(&format!(
            "  {severity}: {subject} {}\n    {}\n    {} {}\n",
            paint("2", &format!("[{}]", finding.code)),
            clean_line(&finding.cause),
            paint("36", "fix:"),
            clean_line(&finding.remedy)
        ));
    }
    out
}

fn document(report: &Report) -> String {
    let mut checked = json!({"areas": report.areas});
    if let Some(counts) = &report.store {
        checked["conversations"] = counts.conversations.into();
        checked["lines"] = counts.lines.into();
        checked["bytes"] = counts.bytes.into();
        checked["attachments"] = counts.attachments.into();
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
        "checked": checked,
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
