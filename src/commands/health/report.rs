//! What `health` prints: a table for people, rows for pipes, one line, one document.

use std::path::Path;

use serde_json::{Map, Value as Json, json};

use crate::commands::show::json_line;
use crate::model::error::{Error, Kind, Result};
use crate::model::time;
use crate::ops::health::{NAMES, Probe, Report, Status};
use crate::ops::statistics::{Span, Statistics, in_words};
use crate::term::clean::clean_line;
use crate::term::table::{self, Align, Column};

/// How wide the words for a status are.
const WORD: usize = "unhealthy".len() + 2;

/// A line for people: a word that may have a colour, and what follows.
pub(super) struct Line {
    word: String,
    status: Option<Status>,
    rest: String,
}

impl Line {
    fn plain(rest: String) -> Self {
        Self {
            word: String::new(),
            status: None,
            rest,
        }
    }
}

/// A line that is about no probe.
pub(super) fn remark(text: &str) -> Line {
    Line::plain(text.to_owned())
}

/// `2 of 13 probes: server, backup`, or how many there are.
fn summary(report: &Report) -> String {
    let count = report.probes.len();
    let bad: Vec<&str> = report.complaints().iter().map(|probe| probe.name).collect();
    let noun = if count == 1 { "probe" } else { "probes" };
    match bad.len() {
        0 => format!("{count} {noun}"),
        several => format!("{several} of {count} {noun}: {}", bad.join(", ")),
    }
}

/// The report for people, on a terminal so many columns wide.
pub(super) fn lines(report: &Report, width: usize) -> Vec<Line> {
    let status = report.status();
    let mut lines = vec![Line {
        word: format!("{}  ", status.overall()),
        status: Some(status),
        rest: summary(report),
    }];
    let widest = NAMES.iter().map(|name| name.len()).max().unwrap_or(0) + 2;
    for probe in &report.probes {
        let status = probe.status();
        let indent = WORD + widest;
        // On a terminal that narrow, lines wrap anyhow.
        let room = width.saturating_sub(indent).max(20);
        let gap = " ".repeat(indent);
        let mut value = table::wrapped(&probe.value, room).into_iter();
        lines.push(Line {
            word: format!("{:WORD$}", status.as_str()),
            status: Some(status),
            rest: format!("{:widest$}{}", probe.name, value.next().unwrap_or_default()),
        });
        let told = probe.problems.iter().flat_map(|problem| {
            let cause = table::wrapped(&format!("cause: {}", problem.cause), room);
            let remedy = table::wrapped(&format!("remedy: {}", problem.remedy), room);
            cause.into_iter().chain(remedy)
        });
        lines.extend(
            value
                .chain(told)
                .map(|line| Line::plain(format!("{gap}{line}"))),
        );
    }
    if let Some(statistics) = &report.statistics
        && statistics.week.requests > 0
    {
        lines.push(Line::plain(String::new()));
        let table = figures(statistics);
        lines.extend(table.lines().map(|line| Line::plain(line.to_owned())));
    }
    lines
}

/// Lines as text; with a width, none is wider.
pub(super) fn text(lines: &[Line], width: Option<usize>, colour: bool) -> String {
    let mut out = String::new();
    for line in lines {
        let rest = match width {
            Some(width) => table::cut(&line.rest, width.saturating_sub(line.word.len())),
            None => line.rest.clone(),
        };
        match line.status.filter(|_| colour) {
            Some(status) => {
                let code = match status {
                    Status::Ok => "\x1b[32m",
                    Status::Skipped => "\x1b[2m",
                    Status::Degraded => "\x1b[33m",
                    Status::Unhealthy => "\x1b[1;31m",
                };
                out.extend([code, &line.word, "\x1b[0m", &rest]);
            }
            None => out.extend([line.word.as_str(), &rest]),
        }
        out.push('\n');
    }
    out
}

/// What the log tells, as a table.
fn figures(statistics: &Statistics) -> String {
    let column = |name, align| Column { name, align };
    let columns = [
        column("LAST", Align::Left),
        column("REQUESTS", Align::Right),
        column("FAILED", Align::Right),
        column("AVERAGE", Align::Right),
        column("P50", Align::Right),
        column("P95", Align::Right),
        column("TOKENS", Align::Right),
        column("COST", Align::Left),
    ];
    let rows: Vec<Vec<String>> = Span::ALL
        .iter()
        .map(|span| {
            let window = statistics.window(*span);
            let time = |pick: fn(&crate::ops::statistics::Latency) -> u64| {
                let total = window.total_ms.as_ref();
                total.map_or_else(|| "-".into(), |latency| in_words(pick(latency)))
            };
            vec![
                span.as_str().to_owned(),
                window.requests.to_string(),
                window.failed.to_string(),
                time(|latency| latency.average),
                time(|latency| latency.p50),
                time(|latency| latency.p95),
                (window.prompt_tokens + window.completion_tokens).to_string(),
                window.cost.rounded(),
            ]
        })
        .collect();
    table::aligned(&columns, &rows, 100, false)
}

/// Rows for pipes: name, status, value, cause, remedy; `overall` first.
pub(super) fn tsv(report: &Report) -> String {
    let mut rows = vec![vec![
        "overall".to_owned(),
        report.status().overall().to_owned(),
        summary(report),
        String::new(),
        String::new(),
    ]];
    rows.extend(report.probes.iter().map(|probe| {
        let problem = probe.problems.first();
        vec![
            probe.name.to_owned(),
            probe.status().as_str().to_owned(),
            probe.value.clone(),
            problem
                .map(|problem| problem.cause.clone())
                .unwrap_or_default(),
            problem
                .map(|problem| problem.remedy.clone())
                .unwrap_or_default(),
        ]
    }));
    table::tsv(&rows)
}

/// Everything that is wrong, on one line.
pub(super) fn line(report: &Report) -> String {
    let complaints: Vec<String> = report
        .complaints()
        .iter()
        .flat_map(|probe| {
            probe.problems.iter().map(|problem| {
                let (cause, remedy) = (&problem.cause, &problem.remedy);
                clean_line(&format!("{}: {cause} [{remedy}]", probe.name))
            })
        })
        .collect();
    let word = report.status().overall();
    if complaints.is_empty() {
        return word.to_owned();
    }
    format!("{word}: {}", complaints.join("; "))
}

/// The document of `--json`, on one line.
pub(super) fn json(report: &Report, data_dir: &Path) -> Result<String> {
    let document = json!({
        "schema": 1,
        "status": report.status().overall(),
        "at": time::format(report.at),
        "version": env!("CARGO_PKG_VERSION"),
        "data_dir": data_dir.to_string_lossy(),
        "probes": report.probes.iter().map(probe).collect::<Vec<Json>>(),
        "statistics": report.statistics.as_ref().map(statistics),
    });
    String::from_utf8(json_line(&document)?)
        .map_err(|error| Error::new(Kind::Bug, "JSON is no text").cause(error))
}

fn probe(probe: &Probe) -> Json {
    let worst = probe.problems.first();
    let metrics: Map<String, Json> = probe
        .metrics
        .iter()
        .map(|metric| (metric.name.to_owned(), number(metric.value)))
        .collect();
    json!({
        "name": probe.name,
        "status": probe.status(),
        "value": probe.value,
        "code": worst.map(|problem| problem.code),
        "cause": worst.map(|problem| &problem.cause),
        "remedy": worst.map(|problem| &problem.remedy),
        "problems": probe.problems,
        "metrics": metrics,
    })
}

/// Whole numbers without a fraction.
fn number(value: f64) -> Json {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "it is whole, and no count is that large"
    )]
    if value.fract() == 0.0 && value.abs() < 9e15 {
        return Json::from(value as i64);
    }
    Json::from(value)
}

fn statistics(statistics: &Statistics) -> Json {
    let mut document = json!({
        "last_success": statistics.last_success,
        "last_failure": statistics.last_failure,
    });
    for span in Span::ALL {
        let window = statistics.window(span);
        let mut value = json!(window);
        value["error_rate"] = json!(window.error_rate());
        document[span.as_str()] = value;
    }
    document
}
