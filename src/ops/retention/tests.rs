use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

/// Candidates that are named after their times; `!` before one pins it.
fn candidates(times: &[&str]) -> Vec<Candidate> {
    times
        .iter()
        .map(|time| {
            let at = time.trim_start_matches('!');
            Candidate {
                id: at.to_owned(),
                at: format!("{at}:00Z").parse().unwrap(),
                pinned: time.starts_with('!'),
                fresh: false,
            }
        })
        .collect()
}

/// What stays, with the rules that keep it.
fn kept(times: &[&str], rules: &Rules, zone: &TimeZone) -> Vec<String> {
    judge(&candidates(times), rules, zone)
        .into_iter()
        .filter(Verdict::stays)
        .map(|verdict| format!("{} {}", verdict.id, verdict.rules.join(",")))
        .collect()
}

const TIMES: [&str; 8] = [
    "2026-11-22T23:30",
    "2026-11-22T10:00",
    "2026-11-21T10:00",
    "2026-11-15T10:00",
    "!2026-10-31T10:00",
    "2026-10-30T10:00",
    "2025-12-31T10:00",
    "2025-01-01T10:00",
];

#[test]
fn each_rule_keeps_the_newest_of_its_periods() {
    let utc = &TimeZone::UTC;
    let last = Rules {
        last: 2,
        ..Rules::default()
    };
    assert_eq!(
        kept(&TIMES, &last, utc),
        [
            "2026-11-22T23:30 newest,last",
            "2026-11-22T10:00 last",
            "2026-10-31T10:00 pinned"
        ]
    );
    let periods = Rules {
        daily: 3,
        weekly: 2,
        monthly: 2,
        yearly: 5,
        ..Rules::default()
    };
    assert_eq!(
        kept(&TIMES, &periods, utc),
        [
            "2026-11-22T23:30 newest,daily,weekly,monthly,yearly",
            "2026-11-21T10:00 daily",
            "2026-11-15T10:00 daily,weekly",
            "2026-10-31T10:00 pinned,monthly",
            "2025-12-31T10:00 yearly",
        ]
    );
    let within = Rules {
        within: Some("1m".parse().unwrap()),
        ..Rules::default()
    };
    assert_eq!(kept(&TIMES, &within, utc).len(), 6);
}

#[test]
fn days_are_those_of_the_person() {
    let daily = Rules {
        daily: 9,
        ..Rules::default()
    };
    let times = ["2026-11-22T23:30", "2026-11-22T10:00"];
    assert_eq!(kept(&times, &daily, &TimeZone::UTC).len(), 1);
    let east = TimeZone::fixed(jiff::tz::offset(2));
    assert_eq!(kept(&times, &daily, &east).len(), 2);
}

#[test]
fn weeks_begin_on_monday_and_may_begin_in_another_year() {
    let weekly = Rules {
        weekly: 9,
        ..Rules::default()
    };
    // A Friday, the Thursday before it, and a Sunday, all at the turn of a year.
    let times = ["2027-01-01T10:00", "2026-12-31T10:00", "2026-12-27T10:00"];
    assert_eq!(
        kept(&times, &weekly, &TimeZone::UTC),
        ["2027-01-01T10:00 newest,weekly", "2026-12-27T10:00 weekly"]
    );
}

#[test]
fn what_was_made_just_now_stays_although_a_clock_is_wrong() {
    let mut candidates = candidates(&["2099-01-01T00:00", "2026-11-22T10:00"]);
    candidates[1].fresh = true;
    let last = Rules {
        last: 1,
        ..Rules::default()
    };
    let verdicts = judge(&candidates, &last, &TimeZone::UTC);
    assert_eq!(verdicts[1].rules, ["new"]);
}

#[test]
fn without_a_rule_everything_stays() {
    assert!(Rules::default().are_off());
    let kept = kept(&TIMES, &Rules::default(), &TimeZone::UTC);
    assert_eq!(kept.len(), TIMES.len());
    assert!(kept.iter().all(|line| line.ends_with("all")));
}

#[test]
fn spans_are_read_as_restic_reads_them() {
    for (text, shown) in [
        ("30d", "30d"),
        ("2w", "2w"),
        ("1y6m", "1y6m"),
        ("1y5m7d2h", "1y5m7d2h"),
        (" 12h ", "12h"),
        ("1d1d", "2d"),
    ] {
        assert_eq!(text.parse::<Within>().unwrap().to_string(), shown);
    }
    for text in [
        "",
        "d",
        "30",
        "-3d",
        "3 d",
        "3x",
        "1y6",
        "99999999999999999999d",
        "9223372036854775807d1d",
        "1d9223372036854775807d",
    ] {
        assert!(text.parse::<Within>().is_err(), "{text}");
    }
    let forever: Within = "9999y".parse().unwrap();
    let rules = Rules {
        within: Some(forever),
        ..Rules::default()
    };
    assert_eq!(kept(&TIMES, &rules, &TimeZone::UTC).len(), TIMES.len());
}

fn some_candidates() -> impl Strategy<Value = Vec<Candidate>> {
    // Some two years, so that every rule has something to choose from.
    let one = (1_700_000_000_i64..1_765_000_000, any::<bool>(), 0..8);
    prop::collection::vec(one, 0..40).prop_map(|several| {
        several
            .into_iter()
            .enumerate()
            .map(|(number, (second, pinned, chance))| Candidate {
                id: format!("{number:02}"),
                at: Timestamp::from_second(second).unwrap(),
                pinned: pinned && chance == 0,
                fresh: false,
            })
            .collect()
    })
}

fn some_rules() -> impl Strategy<Value = Rules> {
    let few = || 0_u32..6;
    (few(), few(), few(), few(), few(), prop::option::of(0..90)).prop_map(
        |(last, daily, weekly, monthly, yearly, within)| Rules {
            last,
            daily,
            weekly,
            monthly,
            yearly,
            within: within.map(|days| format!("{days}d").parse().unwrap()),
        },
    )
}

fn staying(candidates: &[Candidate], rules: &Rules) -> BTreeSet<String> {
    let zone = TimeZone::fixed(jiff::tz::offset(-5));
    judge(candidates, rules, &zone)
        .into_iter()
        .filter(Verdict::stays)
        .map(|verdict| verdict.id)
        .collect()
}

proptest! {
    #[test]
    fn the_newest_and_the_pinned_stay(candidates in some_candidates(), rules in some_rules()) {
        let staying = staying(&candidates, &rules);
        let newest = candidates.iter().max_by_key(|candidate| (candidate.at, &candidate.id));
        for candidate in newest.into_iter().chain(candidates.iter().filter(|one| one.pinned)) {
            prop_assert!(staying.contains(&candidate.id));
        }
        prop_assert_eq!(staying.is_empty(), candidates.is_empty());
    }

    #[test]
    fn judging_again_removes_nothing(candidates in some_candidates(), rules in some_rules()) {
        let once = staying(&candidates, &rules);
        let mut left = candidates;
        left.retain(|candidate| once.contains(&candidate.id));
        left.reverse();
        prop_assert_eq!(staying(&left, &rules), once);
    }

    #[test]
    fn a_larger_number_keeps_no_less(candidates in some_candidates(), rules in some_rules()) {
        prop_assume!(!rules.are_off());
        let before = staying(&candidates, &rules);
        for larger in [
            Rules { last: rules.last + 1, ..rules },
            Rules { daily: rules.daily + 1, ..rules },
            Rules { weekly: rules.weekly + 1, ..rules },
            Rules { monthly: rules.monthly + 1, ..rules },
            Rules { yearly: rules.yearly + 1, ..rules },
            Rules { within: Some("3m".parse().unwrap()), ..rules },
        ] {
            prop_assert!(before.is_subset(&staying(&candidates, &larger)), "{larger:?}");
        }
    }
}
