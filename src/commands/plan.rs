//! How a plan is shown: before the question, by `--dry-run`, and when it is done.
//!
//! Layer: commands. Used by `restore`, `rollback` and `import`.

use serde_json::{Map, Value as Json, json};

use crate::context::Context;
use crate::model::error::Result;
use crate::model::size::{ByteSize, grouped};
use crate::ops::restore::outcome;
use crate::ops::restore::plan::{Action, KeyFile, Plan, Step};
use crate::term::Ui;
use crate::term::table::{self, Align, Column};

/// How many changes, or names, are told; of the others, only how many there are.
pub(super) const NAMED: usize = 10;

/// Names for a line: `a, b, c`, or the first of them `and 90 more`.
pub(super) fn named<S: AsRef<str>>(names: &[S]) -> String {
    let first: Vec<&str> = names.iter().take(NAMED).map(AsRef::as_ref).collect();
    let first = first.join(", ");
    match names.len().saturating_sub(NAMED) {
        0 => first,
        more => format!("{first} and {} more", grouped(more)),
    }
}

/// Prints a plan on standard output: what changes, and with `-v` what stays.
pub(super) fn print(plan: &Plan, context: &mut Context) -> Result<()> {
    let verbose = context.global.verbose > 0;
    let rows: Vec<Vec<String>> = plan
        .steps
        .iter()
        .filter(|step| verbose || step.action.is_change())
        .map(row)
        .collect();
    let column = |name, align| Column { name, align };
    let columns = [
        column("ACTION", Align::Left),
        column("SIZE", Align::Right),
        column("FILE", Align::Left),
    ];
    table::show(&mut context.ui, &columns, &rows)
}

fn row(step: &Step) -> Vec<String> {
    vec![
        step.action.as_str().to_owned(),
        step.size.to_string(),
        step.path(),
    ]
}

/// Prints a plan as a JSON document that begins with `head`.
pub(super) fn print_json(head: Json, plan: &Plan, context: &mut Context) -> Result<()> {
    let verbose = context.global.verbose > 0;
    let shown =
        |step: &&Step| verbose || step.action.is_change() || step.action == Action::Diverged;
    let files: Vec<Json> = plan
        .steps
        .iter()
        .filter(shown)
        .map(|step| json!({"action": step.action.as_str(), "size": step.size, "path": step.path()}))
        .collect();
    let mut document = Map::new();
    document.insert("schema".into(), 1.into());
    let counts = json!({
        "added": plan.count(Action::Add),
        "replaced": plan.count(Action::Replace),
        "removed": plan.count(Action::Remove),
        "unchanged": plan.count(Action::Unchanged),
        "kept": plan.count(Action::Keep),
        "diverged": plan.count(Action::Diverged),
        "key_file": key_file(plan.key_file),
        "files": files,
    });
    for part in [head, counts] {
        if let Json::Object(part) = part {
            document.extend(part);
        }
    }
    let text = format!("{}\n", Json::Object(document));
    context.ui.data(text.as_bytes())
}

fn key_file(fate: KeyFile) -> Option<&'static str> {
    match fate {
        KeyFile::None => None,
        KeyFile::Add => Some("add"),
        KeyFile::Same => Some("unchanged"),
        KeyFile::Differs | KeyFile::NoPlace => Some("keep"),
    }
}

/// Says on standard error what a plan does, before the question.
pub(super) fn announce(what: &str, plan: &Plan, ui: &mut Ui) {
    let bytes = ByteSize(plan.bytes());
    ui.note(&format!("{what}: {} ({bytes} to write)", outcome(plan)));
    let changes = plan.changes().count();
    for step in plan.changes().take(NAMED) {
        ui.note(&format!("  {} {}", step.action.as_str(), step.path()));
    }
    if changes > NAMED {
        let more = changes - NAMED;
        ui.note(&format!("  and {more} more; all of them: --dry-run"));
    }
}

/// Says what stays as it is although the backup has something else.
pub(super) fn warn(plan: &Plan, spec: &str, ui: &mut Ui) {
    let diverged: Vec<String> = plan.diverged().map(|id| id.short().to_owned()).collect();
    if let Some(first) = diverged.first() {
        ui.warn(&format!(
            "kept as they are, because they and the backup have gone separate ways: {}; take the backup's: pachat restore {spec} --conversation {first}",
            named(&diverged)
        ));
    }
    match plan.key_file {
        KeyFile::Differs => ui.warn(
            "master.key is not the backup's, and stays; --to DIR gives the backup's, in DIR/config",
        ),
        KeyFile::NoPlace => ui.warn(
            "there is no configuration directory to put the backup's master.key in; --to DIR gives it, in DIR/config",
        ),
        KeyFile::None | KeyFile::Add | KeyFile::Same => {}
    }
}
