//! `pachat validate`: a close look at everything, and repairs that lose nothing.
//!
//! Layer: commands. Promise: it looks where other commands refuse to start: at settings that
//! are wrong, at data of a newer pachat, at nothing at all. What is wrong there is a finding.

mod report;
pub(super) mod surroundings;

use std::path::PathBuf;

use clap::Args;

use crate::context::Context;
use crate::model::error::{Error, Kind, Result};
use crate::model::finding::Finding;
use crate::model::id::ConversationId;
use crate::model::log_line::Audit;
use crate::ops::journal;
use crate::ops::validate::fix::{self, Fixed, Repair};
use crate::ops::validate::{backups, store};
use crate::platform::process;
use crate::store::Store;

use super::config::quote;
use super::confirm::Confirm;
use super::waiting::{Watcher, with_patience};
use report::Report;

/// Arguments of `validate`.
#[derive(Debug, Args)]
#[command(
    about = "Check every file and setting, and repair what can be",
    long_about = "Looks at everything and changes nothing: the machine (platform), the settings (config), who else can \
        read what (security), every line of every conversation and all files around them (store), backups and \
        rollback points (backups). Each finding says what is wrong, why that matters and what to do. Exits with 1 if \
        there are warnings or errors; notes are only worth knowing. With --fix it repairs what can be repaired \
        without losing anything, after a rollback point, and looks again.",
    after_long_help = "Examples:\n  \
        pachat validate\n  \
        pachat validate store backups --deep\n  \
        pachat validate last\n  \
        pachat validate --fix\n  \
        pachat validate --json | jq -r '.findings[] | \"\\(.subject): \\(.remedy)\"'"
)]
pub struct ValidateArgs {
    /// What to look at: platform, config, security, store, backups (default: all but backups), or conversations: the beginning of an id's last part, an exact title, or `last`
    #[arg(value_name = "AREA|ID")]
    pub what: Vec<String>,

    /// Repair what can be repaired without losing anything, then look again
    #[arg(long)]
    pub fix: bool,

    /// Print what --fix would do, and change nothing
    #[arg(short = 'n', long, requires = "fix")]
    pub dry_run: bool,

    /// Look at backups, too, and read each of them digest by digest
    #[arg(long)]
    pub deep: bool,

    /// Print one JSON document
    #[arg(long)]
    pub json: bool,

    /// Write the findings to this file instead, all at once
    #[arg(short, long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub output: Option<PathBuf>,
}

/// Something to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Area {
    Platform,
    Config,
    Security,
    Store,
    Backups,
}

/// The areas by name, and what each of them is.
pub(super) const AREAS: [(&str, &str); 5] = [
    (Area::Platform.as_str(), "the machine and its file system"),
    (Area::Config.as_str(), "the settings and variables"),
    (Area::Security.as_str(), "who else can read or change what"),
    (Area::Store.as_str(), "every line of every conversation"),
    (Area::Backups.as_str(), "backups and rollback points"),
];

impl Area {
    const ALL: [Self; 5] = [
        Self::Platform,
        Self::Config,
        Self::Security,
        Self::Store,
        Self::Backups,
    ];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Platform => "platform",
            Self::Config => "config",
            Self::Security => "security",
            Self::Store => "store",
            Self::Backups => "backups",
        }
    }
}

/// What is asked for.
struct Asked {
    /// In the order in which they are looked at, each once.
    areas: Vec<Area>,
    /// Only these conversations; `None` for everything.
    only: Option<Vec<ConversationId>>,
    deep: bool,
}

/// Carries out `validate`.
pub fn run(args: &ValidateArgs, context: &mut Context) -> Result<()> {
    let store = context.store();
    let asked = asked(args, &store)?;
    let mut confirm = if args.fix && !args.dry_run {
        let command = format!("{} --fix", command(args));
        Some(Confirm::prepare(&command, context)?)
    } else {
        None
    };
    let mut report = look(&asked, &store, context)?;
    if args.fix {
        let repairs = fix::plan(&report.findings);
        if args.dry_run {
            report.planned = Some(repairs);
        } else if let Some(confirm) = &mut confirm {
            let fixed = repair(&repairs, confirm, &store, context)?;
            if !repairs.is_empty() {
                report = look(&asked, &store, context)?;
            }
            report.fixed = Some(fixed);
        }
    }
    report::print(&report, args, context)?;
    report::verdict(&report, args, context)
}

/// Tells areas from conversations.
fn asked(args: &ValidateArgs, store: &Store) -> Result<Asked> {
    let mut areas = Vec::new();
    let mut only: Vec<ConversationId> = Vec::new();
    for word in &args.what {
        if let Some(area) = Area::ALL.into_iter().find(|area| area.as_str() == word) {
            areas.push(area);
            continue;
        }
        let id = store.resolve(word).map_err(|error| {
            if error.kind() == Kind::NotFound {
                let areas = Area::ALL.map(Area::as_str).join(", ");
                return error.hint(format!(
                    "name a conversation of pachat list --all, or an area: {areas}"
                ));
            }
            error
        })?;
        if !only.contains(&id) {
            only.push(id);
        }
    }
    if !only.is_empty() {
        areas.push(Area::Store);
    }
    if areas.is_empty() {
        areas.extend(Area::ALL);
        areas.retain(|area| *area != Area::Backups || args.deep);
    }
    if args.deep {
        areas.push(Area::Backups);
    }
    areas.sort_unstable();
    areas.dedup();
    Ok(Asked {
        areas,
        only: (!only.is_empty()).then_some(only),
        deep: args.deep,
    })
}

/// Looks at everything that is asked for.
fn look(asked: &Asked, store: &Store, context: &mut Context) -> Result<Report> {
    let mut report = Report {
        areas: asked.areas.iter().map(|area| area.as_str()).collect(),
        ..Report::default()
    };
    for area in &asked.areas {
        let found = match area {
            Area::Platform => surroundings::platform_findings(context),
            Area::Config => surroundings::config_findings(context),
            Area::Security => surroundings::security_findings(context),
            Area::Store => look_at_store(asked, store, &mut report, context)?,
            Area::Backups => look_at_backups(asked, store, &mut report, context)?,
        };
        report.findings.extend(found);
    }
    Ok(report)
}

fn look_at_store(
    asked: &Asked,
    store: &Store,
    report: &mut Report,
    context: &Context,
) -> Result<Vec<Finding>> {
    let settings = &context.settings;
    let request = store::Request {
        only: asked.only.as_deref(),
        limits: store::Limits {
            conversation: settings.conversation_limit(),
            storage: settings.storage_limit(),
            conversations: settings.conversations_limit(),
        },
        cores: process::cores(),
    };
    let (found, counts) = store::look(store, &request, &mut Watcher::new(context))?;
    report.store = Some(counts);
    Ok(found)
}

fn look_at_backups(
    asked: &Asked,
    store: &Store,
    report: &mut Report,
    context: &Context,
) -> Result<Vec<Finding>> {
    let request = backups::Request {
        deep: asked.deep,
        max_age_days: context.settings.days("health.max_backup_age_days"),
    };
    let (found, counts) = backups::look(store, request, &mut Watcher::new(context))?;
    report.backups = Some(counts);
    Ok(found)
}

/// Shows what is to be repaired, asks, and does it.
fn repair(
    repairs: &[Repair],
    confirm: &mut Confirm,
    store: &Store,
    context: &mut Context,
) -> Result<Fixed> {
    if repairs.is_empty() {
        return Ok(Fixed::default());
    }
    if matches!(confirm, Confirm::Ask(_)) {
        report::announce(repairs, &mut context.ui);
        confirm.go_on(&mut context.ui, &context.signals)?;
    }
    let keep = context.settings.rollback_keep();
    let fixed = with_patience(context, |patience| {
        fix::apply(store, repairs, keep, patience)
    })?;
    let point = fixed.point.as_ref().map(|point| point.id.clone());
    for done in &fixed.done {
        let mut change = Audit::new("validate fix")
            .with("code", done.code)
            .with("subject", &*done.subject)
            .with("result", &*done.what);
        if let Some(point) = &point {
            change = change.with("point", &**point);
        }
        journal::audit(&context.log, change);
        context
            .ui
            .note(&format!("repaired {}: {}", done.subject, done.what));
    }
    for skipped in &fixed.skipped {
        context.ui.warn(&format!(
            "not repaired: {}: {}",
            skipped.subject, skipped.what
        ));
    }
    for warning in &fixed.warnings {
        context.ui.warn(warning);
    }
    if let Some(point) = point {
        context
            .ui
            .note(&format!("undo: pachat rollback --rollback-point {point}"));
    }
    Ok(fixed)
}

/// What was typed, to be typed again with something more.
fn command(args: &ValidateArgs) -> String {
    let mut command = String::from("pachat validate");
    for word in &args.what {
        command.push(' ');
        command.push_str(&quote(word));
    }
    if args.deep {
        command.push_str(" --deep");
    }
    command
}

/// Nothing more is said: the findings are the message.
fn no() -> Error {
    Error::new(Kind::No, "")
}
