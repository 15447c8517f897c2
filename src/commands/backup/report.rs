//! What `backup` prints: the path on stdout, the story on stderr.

use serde_json::{Value as Json, json};

use crate::commands::show::json_line;
use crate::context::Context;
use crate::model::backup::BackupType;
use crate::model::error::{Error, Result};
use crate::model::size::{ByteSize, counted, grouped};
use crate::ops::backup::{Job, Made, Output, Plan, Status};
use crate::ops::retention::Verdict;
use crate::store::backups::Backup;
use crate::term::table::{self, Align, Column};

/// How many names stand in a warning.
const NAMED: usize = 3;

/// Says what was made.
pub(super) fn made(made: &Made, job: &Job, as_json: bool, context: &mut Context) -> Result<()> {
    if as_json {
        let document = json!({
            "schema": 1,
            "backup": backup(&made.backup),
            "unchanged": made.unchanged,
            "removed": made.pruned.removed,
            "kept": kept(made.verdicts()),
        });
        context.ui.data(&json_line(&document)?)?;
    } else if !matches!(job.output, Output::Copy) {
        path(&made.backup, context)?;
    }
    tell(made, job, context);
    Ok(())
}

/// Says that there is nothing to back up yet.
pub(super) fn nothing_yet(error: &Error, as_json: bool, context: &mut Context) -> Result<()> {
    if as_json {
        let document = json!({"schema": 1, "backup": null});
        context.ui.data(&json_line(&document)?)?;
    }
    context.ui.note(&error.headline());
    Ok(())
}

/// The same on standard error alone.
pub(super) fn tell(made: &Made, job: &Job, context: &mut Context) {
    warn(&made.plan, context);
    for warning in &made.warnings {
        context.ui.warn(warning);
    }
    let line = if made.unchanged {
        unchanged(made)
    } else {
        story(made, job)
    };
    context.ui.note(&line);
}

/// The path of an archive, byte for byte.
fn path(backup: &Backup, context: &mut Context) -> Result<()> {
    let mut line = backup.path.as_os_str().as_encoded_bytes().to_vec();
    line.push(b'\n');
    context.ui.data(&line)
}

fn unchanged(made: &Made) -> String {
    let id = &made.backup.id;
    if made.labelled {
        format!("unchanged since {id}; its labels were added to that one")
    } else {
        format!("unchanged since {id}; nothing was written")
    }
}

fn story(made: &Made, job: &Job) -> String {
    let plan = &made.plan;
    let mut line = format!(
        "{}: {}, {} in {}, verified",
        made.backup.id,
        what(plan),
        ByteSize(plan.manifest.total_bytes()),
        ByteSize(made.backup.size)
    );
    if job.subject.sealed {
        line.push_str(", encrypted");
    }
    if !matches!(job.output, Output::Store) {
        return line;
    }
    match made.pruned.removed.as_slice() {
        [] if job.rules.are_off() => {
            line.push_str("; no rule says what to keep, so no old one is removed");
        }
        [] => {}
        [one] => line.push_str(&format!("; removed {one}")),
        several => line.push_str(&format!("; removed {} old ones", several.len())),
    }
    line
}

/// `1,000 conversations`, or of settings `2 files`.
fn what(plan: &Plan) -> String {
    let (number, noun) = match plan.manifest.kind {
        BackupType::Config => (plan.files.len(), "file"),
        BackupType::Data | BackupType::Full => (plan.conversations(), "conversation"),
    };
    counted(number, noun)
}

/// Warns of files that are broken, and of those that are left out.
fn warn(plan: &Plan, context: &mut Context) {
    if !plan.damaged.is_empty() {
        let files = counted(plan.damaged.len(), "damaged file");
        let named = first_few(&plan.damaged, "; ");
        let line = format!("{files}, backed up as they are: {named}");
        context.ui.warn(&line);
    }
    if !plan.foreign.is_empty() {
        let files = counted(plan.foreign.len(), "file");
        let named = first_few(&plan.foreign, ", ");
        let line = format!("{files} not of pachat, left out: {named}");
        context.ui.warn(&line);
    }
}

fn first_few(names: &[String], between: &str) -> String {
    let mut line = names[..names.len().min(NAMED)].join(between);
    if names.len() > NAMED {
        line.push_str(&format!("{between}and {} more", names.len() - NAMED));
    }
    line
}

/// What a backup would do.
pub(super) struct Forecast<'a> {
    /// What is in it.
    pub(super) plan: &'a Plan,
    /// What becomes of the backups of its type, itself included; empty if nothing would.
    pub(super) verdicts: &'a [Verdict],
    /// The one that holds all this already.
    pub(super) unchanged: Option<&'a Backup>,
}

/// Says what would be made.
pub(super) fn dry_run(forecast: &Forecast<'_>, as_json: bool, context: &mut Context) -> Result<()> {
    if as_json {
        let document = document(forecast);
        context.ui.data(&json_line(&document)?)?;
    } else {
        files(forecast.plan, context)?;
    }
    warn(forecast.plan, context);
    for verdict in forecast.verdicts {
        let line = if verdict.stays() {
            format!("stays: {} ({})", verdict.id, verdict.rules.join(", "))
        } else {
            format!("goes: {}", verdict.id)
        };
        context.ui.note(&line);
    }
    let plan = forecast.plan;
    let number = |status| {
        let files = plan.files.iter().filter(|file| file.status == status);
        grouped(files.count())
    };
    let mut line = format!(
        "{}, {} in {}: {} new, {} changed; nothing was written",
        what(plan),
        ByteSize(plan.manifest.total_bytes()),
        counted(plan.files.len(), "file"),
        number(Status::New),
        number(Status::Changed)
    );
    if let Some(backup) = forecast.unchanged {
        line.push_str(&format!(", and nothing would be: all is in {}", backup.id));
    }
    context.ui.note(&line);
    Ok(())
}

fn document(forecast: &Forecast<'_>) -> Json {
    let plan = forecast.plan;
    let files: Vec<Json> = plan
        .entries()
        .map(|(entry, file)| {
            json!({
                "status": file.status.as_str(),
                "path": entry.path.as_str(),
                "size": entry.size,
                "damaged": entry.damaged,
            })
        })
        .collect();
    let goes = forecast.verdicts.iter().filter(|verdict| !verdict.stays());
    let goes: Vec<&str> = goes.map(|verdict| verdict.id.as_str()).collect();
    json!({
        "schema": 1,
        "dry_run": true,
        "type": plan.manifest.kind.as_str(),
        "backup": forecast.unchanged.map(backup),
        "unchanged": forecast.unchanged.is_some(),
        "files": files,
        "total_bytes": plan.manifest.total_bytes(),
        "foreign": plan.foreign,
        "removed": goes,
        "kept": kept(forecast.verdicts),
    })
}

fn files(plan: &Plan, context: &mut Context) -> Result<()> {
    const COLUMNS: [Column; 3] = [
        Column {
            name: "STATUS",
            align: Align::Left,
        },
        Column {
            name: "SIZE",
            align: Align::Right,
        },
        Column {
            name: "PATH",
            align: Align::Left,
        },
    ];
    let for_people = context.ui.stdout_is_terminal();
    let rows: Vec<Vec<String>> = plan
        .entries()
        .map(|(entry, file)| {
            let size = if for_people {
                ByteSize(entry.size).to_string()
            } else {
                entry.size.to_string()
            };
            let path = entry.path.as_str().to_owned();
            vec![file.status.as_str().to_owned(), size, path]
        })
        .collect();
    if for_people {
        table::print(&mut context.ui, &COLUMNS, &rows)
    } else {
        context.ui.data(table::tsv(&rows).as_bytes())
    }
}

/// A backup as the documents have it: its card, its id and where it is.
fn backup(backup: &Backup) -> Json {
    let mut json = json!({
        "id": backup.id,
        "path": backup.path.to_string_lossy(),
    });
    if let (Json::Object(all), Ok(Json::Object(card))) =
        (&mut json, serde_json::to_value(&backup.card))
    {
        all.extend(card);
    }
    json
}

fn kept(verdicts: &[Verdict]) -> Vec<Json> {
    let stays = verdicts.iter().filter(|verdict| verdict.stays());
    stays
        .map(|verdict| json!({"id": verdict.id, "rules": verdict.rules}))
        .collect()
}
