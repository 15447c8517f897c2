use super::*;
use crate::archive::path::ArchivePath;
use crate::model::backup::Sha256;

const ONE: &str = "20260101-000000-aaaaaa";
const TWO: &str = "20260102-000000-bbbbbb";

fn entry(part: Part, name: &str) -> Entry {
    Entry {
        path: ArchivePath::new(part, name).unwrap(),
        size: 10,
        sha256: Sha256::of(b""),
        damaged: false,
    }
}

fn live(part: Part, name: &str) -> PartFile {
    PartFile {
        part,
        name: name.to_owned(),
        len: 7,
        modified: None,
        identity: None,
    }
}

fn active(id: &str) -> String {
    format!("{id}.jsonl")
}

fn partial(id: &str) -> String {
    format!("{id}.partial")
}

fn archived(id: &str) -> String {
    format!("{id}.jsonl.gz")
}

/// The plan as lines, where every pair stands as `relation` says.
fn planned(
    mode: Mode,
    whole: &[Part],
    entries: &[Entry],
    live: &[PartFile],
    relation: impl Fn(&Entry) -> Relation,
) -> Vec<String> {
    let relations: Vec<Relation> = pairs(mode, entries, live)
        .iter()
        .map(|pair| relation(&entries[pair.entry]))
        .collect();
    let plan = plan(&Question {
        mode,
        entries,
        whole,
        live,
        relations: &relations,
    });
    let shown = |step: &Step| format!("{} {}", step.action.as_str(), step.path());
    plan.steps.iter().map(shown).collect()
}

fn data() -> &'static [Part] {
    crate::model::backup::BackupType::Data.parts()
}

#[test]
fn the_log_and_the_quarantine_are_only_added_to() {
    let entries = [
        entry(Part::Logs, "app.log"),
        entry(Part::Logs, "app.log.20260101_000000.gz"),
    ];
    let live = [
        live(Part::Logs, "app.log"),
        live(Part::Logs, "app.log.20260102_000000.gz"),
        live(Part::Quarantine, "x.7.torn"),
    ];
    let whole = crate::model::backup::BackupType::Full.parts();
    let lines = |whole| {
        planned(Mode::Replace, whole, &entries, &live, |_| {
            Relation::Diverged
        })
    };
    assert_eq!(
        lines(whole),
        ["keep logs/app.log", "add logs/app.log.20260101_000000.gz"]
    );
    // Who asks for them by name gets them.
    assert_eq!(
        lines(&[]),
        [
            "replace logs/app.log",
            "add logs/app.log.20260101_000000.gz"
        ]
    );
}

#[test]
fn replacing_everything_leaves_exactly_what_the_archive_holds() {
    let entries = [
        entry(Part::Active, &active(ONE)),
        entry(Part::Archived, &archived(TWO)),
    ];
    let live = [
        live(Part::Active, &active(ONE)),
        live(Part::Active, &partial(ONE)),
        live(Part::Active, &active(TWO)),
        live(Part::Config, "app_config.json"),
    ];
    let lines = planned(Mode::Replace, data(), &entries, &live, |_| {
        Relation::Diverged
    });
    assert_eq!(
        lines,
        [
            format!("replace conversations/active/{ONE}.jsonl"),
            format!("remove conversations/active/{ONE}.partial"),
            format!("remove conversations/active/{TWO}.jsonl"),
            format!("add conversations/archived/{TWO}.jsonl.gz"),
        ]
    );
}

#[test]
fn replacing_one_conversation_takes_its_side_file_and_its_other_copy_along() {
    let entries = [entry(Part::Archived, &archived(ONE))];
    let live = [
        live(Part::Active, &active(ONE)),
        live(Part::Active, &partial(ONE)),
        live(Part::Active, &active(TWO)),
    ];
    let lines = planned(Mode::Replace, &[], &entries, &live, |_| Relation::Diverged);
    assert_eq!(
        lines,
        [
            format!("remove conversations/active/{ONE}.jsonl"),
            format!("remove conversations/active/{ONE}.partial"),
            format!("add conversations/archived/{ONE}.jsonl.gz"),
        ]
    );
}

#[test]
fn a_merge_decides_by_which_copy_has_more() {
    let entries = [entry(Part::Active, &active(ONE))];
    let live = [live(Part::Active, &active(ONE))];
    let path = format!("conversations/active/{ONE}.jsonl");
    for (relation, word) in [
        (Relation::Same, "unchanged"),
        (Relation::ArchiveHasMore, "replace"),
        (Relation::StoreHasMore, "keep"),
        (Relation::Diverged, "diverged"),
    ] {
        let lines = planned(Mode::Merge, data(), &entries, &live, |_| relation);
        assert_eq!(lines, [format!("{word} {path}")]);
    }
}

#[test]
fn a_merge_counts_both_places_as_one() {
    let entries = [entry(Part::Active, &active(ONE))];
    let live = [live(Part::Archived, &archived(ONE))];
    let (there, here) = (
        format!("conversations/active/{ONE}.jsonl"),
        format!("conversations/archived/{ONE}.jsonl.gz"),
    );
    for (relation, expected) in [
        (Relation::Same, vec![format!("unchanged {here}")]),
        (Relation::StoreHasMore, vec![format!("keep {here}")]),
        (
            Relation::ArchiveHasMore,
            vec![format!("add {there}"), format!("remove {here}")],
        ),
        (Relation::Diverged, vec![format!("diverged {here}")]),
    ] {
        let lines = planned(Mode::Merge, data(), &entries, &live, |_| relation);
        assert_eq!(lines, expected);
    }
}

#[test]
fn a_merge_removes_nothing_and_changes_no_settings() {
    let entries = [
        entry(Part::Config, "app_config.json"),
        entry(Part::Active, &active(ONE)),
        entry(Part::Active, &partial(ONE)),
    ];
    let live = [
        live(Part::Config, "app_config.json"),
        live(Part::Config, "api_keys.enc"),
        live(Part::Active, &active(TWO)),
    ];
    let whole = crate::model::backup::BackupType::Full.parts();
    let lines = planned(Mode::Merge, whole, &entries, &live, |_| Relation::Diverged);
    assert_eq!(
        lines,
        [
            "keep config/app_config.json".to_owned(),
            format!("add conversations/active/{ONE}.jsonl"),
            format!("add conversations/active/{ONE}.partial"),
        ]
    );
}

#[test]
fn what_has_arrived_of_a_reply_is_not_lost_in_a_merge() {
    let entries = [entry(Part::Active, &active(ONE))];
    let live = [
        live(Part::Active, &active(ONE)),
        live(Part::Active, &partial(ONE)),
    ];
    let lines = planned(Mode::Merge, data(), &entries, &live, |_| {
        Relation::ArchiveHasMore
    });
    assert_eq!(
        lines,
        [format!("diverged conversations/active/{ONE}.jsonl")]
    );
    // The same side file in the archive holds nothing that would be lost.
    let entries = [
        entry(Part::Active, &active(ONE)),
        entry(Part::Active, &partial(ONE)),
    ];
    let lines = planned(Mode::Merge, data(), &entries, &live, |entry| {
        if entry.path.name().ends_with(".partial") {
            Relation::Same
        } else {
            Relation::ArchiveHasMore
        }
    });
    assert_eq!(
        lines,
        [
            format!("replace conversations/active/{ONE}.jsonl"),
            format!("unchanged conversations/active/{ONE}.partial"),
        ]
    );
}

#[test]
fn both_places_of_conversations_are_changed_together() {
    let step = |part| Step {
        part,
        name: active(ONE),
        action: Action::Add,
        size: 1,
    };
    let plan = Plan {
        steps: vec![step(Part::Active)],
        key_file: KeyFile::None,
    };
    assert_eq!(plan.parts(), [Part::Active, Part::Archived]);
}
