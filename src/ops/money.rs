//! What was spent, what may be spent, and what an interrupted reply turned out to cost.
//!
//! Only what a server charged counts as spent. An estimate is used for one thing: to refuse a
//! request beforehand that might cost more than the person allows.

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::api::Client;
use crate::api::models::ModelInfo;
use crate::model::error::{Error, Kind, Result};
use crate::model::record::Charge;
use crate::model::reply::Usage;
use crate::model::usd::Usd;
use crate::store::Store;
use crate::store::read::Scope;
use crate::store::writer::Writer;

/// How long the server may take to say what a reply cost.
const LIMIT: Duration = Duration::from_secs(3);

/// Amounts that stop requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    /// For a day of the person's calendar.
    pub daily: Option<Usd>,
    /// For a month of it.
    pub monthly: Option<Usd>,
}

/// What was spent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// Since midnight.
    pub today: Usd,
    /// Since the first of the month.
    pub month: Usd,
}

/// Adds up what the kept replies of this month cost, in the person's time zone. Files that
/// did not change this month are not read.
pub fn spent(store: &Store, now: Timestamp, zone: &TimeZone) -> Result<Spent> {
    let local = now.to_zoned(zone.clone());
    let day = local.start_of_day().map_or(now, |day| day.timestamp());
    let first = local
        .first_of_month()
        .and_then(|first| first.start_of_day());
    let month = first.map_or(day, |first| first.timestamp());
    let mut spent = Spent::default();
    for id in store.ids(Scope::All)? {
        let modified = store
            .locate(&id)
            .and_then(|path| store.disk().stat(&path).ok()?.modified);
        let modified = modified.and_then(|time| Timestamp::try_from(time).ok());
        if modified.is_some_and(|modified| modified < month) {
            continue;
        }
        // What cannot be read is reported where it is used; a sum goes on without it.
        let Ok(loaded) = store.read(&id) else {
            continue;
        };
        for (message, _) in loaded.conversation.all() {
            let Some(cost) = message.cost else { continue };
            if message.at >= month {
                spent.month = spent.month + cost;
            }
            if message.at >= day {
                spent.today = spent.today + cost;
            }
        }
    }
    Ok(spent)
}

/// Refuses to spend more than the budget allows.
pub fn check_budget(budget: &Budget, spent: &Spent) -> Result<()> {
    for (limit, used, span, key) in [
        (budget.daily, spent.today, "today", "limits.daily_cost_usd"),
        (
            budget.monthly,
            spent.month,
            "this month",
            "limits.monthly_cost_usd",
        ),
    ] {
        if let Some(limit) = limit.filter(|limit| used >= *limit) {
            return Err(Error::new(Kind::Busy, "the budget is used up")
                .why(format!(
                    "{} of {} were spent {span}",
                    used.rounded(),
                    limit.rounded()
                ))
                .hint(format!(
                    "wait, or allow more: pachat config set {key} AMOUNT"
                )));
        }
    }
    Ok(())
}

/// What a request is made of, as far as its price goes.
#[derive(Clone, Copy, Debug)]
pub struct Order<'a> {
    /// The models that may answer.
    pub models: &'a [String],
    /// The length of the context, the prompt included, in bytes.
    pub prompt_bytes: usize,
    /// The most tokens of the reply.
    pub max_tokens: Option<u32>,
}

/// Refuses a request that may cost more than `limit`: the prompt at about four bytes a token,
/// and a reply as long as it is allowed to be.
pub fn check_cost(limit: Usd, order: &Order<'_>, catalogue: &[ModelInfo]) -> Result<()> {
    let prompt_tokens = order.prompt_bytes.div_ceil(4) as u64;
    for name in order.models {
        let refuse = |why: String| {
            Error::new(Kind::Usage, "the request might cost more than --max-cost").why(why)
        };
        let found = catalogue.iter().find(|model| model.id == *name);
        if found.is_some_and(|model| model.free) {
            continue;
        }
        let prices = found.and_then(|model| Some((model.prompt_price?, model.completion_price?)));
        let Some((prompt_price, reply_price)) = prices else {
            return Err(refuse(format!("the price of {name} is not known"))
                .hint("name another model: pachat models shows the prices"));
        };
        let longest = found.and_then(|model| model.max_completion_tokens.or(model.context_length));
        let Some(reply_tokens) = order.max_tokens.map(u64::from).or(longest) else {
            return Err(refuse("how long the reply may be is not known".into())
                .hint("say how long it may be: --max-tokens N"));
        };
        let cost = prompt_price
            .times(prompt_tokens)
            .zip(reply_price.times(reply_tokens))
            .map(|(prompt, reply)| prompt + reply);
        if cost.is_none_or(|cost| cost > limit) {
            let about = cost.map_or_else(|| "very much".to_owned(), Usd::rounded);
            return Err(refuse(format!(
                "up to about {about} for {prompt_tokens} + {reply_tokens} tokens of {name}"
            ))
            .hint("allow fewer tokens with --max-tokens, or ask a cheaper model"));
        }
    }
    Ok(())
}

/// Asks the server what the interrupted replies of a conversation cost, and writes it down.
/// What the server does not know (yet) stays unknown; this never fails a turn.
pub fn reconcile(writer: &mut Writer, client: &Client) {
    /// At most so many questions in one turn.
    const MOST: usize = 3;
    let unknown: Vec<(u64, String)> = writer
        .conversation
        .all()
        .filter(|(message, _)| message.is_unfinished() && message.cost.is_none())
        .filter_map(|(message, _)| Some((message.n, message.generation_id.clone()?)))
        .collect();
    for (n, id) in unknown.into_iter().rev().take(MOST) {
        let charge = client
            .get(&format!("/generation?id={}", encode(&id)), LIMIT)
            .ok()
            .and_then(|json| read_charge(n, &json));
        if let Some(charge) = charge
            && let Err(error) = writer.charge(charge)
        {
            log::warn!("what a reply cost is not kept: {error}");
            return;
        }
    }
}

/// An id as a value in a query.
fn encode(id: &str) -> String {
    id.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

fn read_charge(n: u64, json: &[u8]) -> Option<Charge> {
    #[derive(Deserialize)]
    struct Answer {
        data: Generation,
    }
    #[derive(Deserialize)]
    struct Generation {
        total_cost: Option<Box<RawValue>>,
        #[serde(default)]
        tokens_prompt: Option<u64>,
        #[serde(default)]
        tokens_completion: Option<u64>,
    }
    let Answer { data } = serde_json::from_slice(json).ok()?;
    let cost: Usd = data.total_cost?.get().trim_matches('"').parse().ok()?;
    let usage = serde_json::json!({
        "prompt_tokens": data.tokens_prompt,
        "completion_tokens": data.tokens_completion,
    });
    let usage = serde_json::value::to_raw_value(&usage).ok().map(Usage);
    Some(Charge { n, cost, usage })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usd(text: &str) -> Usd {
        text.parse().unwrap()
    }

    #[test]
    fn a_budget_stops_when_it_is_used_up() {
        let budget = Budget {
            daily: Some(usd("1")),
            monthly: Some(usd("10")),
        };
        let spent = |today, month| Spent {
            today: usd(today),
            month: usd(month),
        };
        assert!(check_budget(&budget, &spent("0.99", "9.99")).is_ok());
        let error = check_budget(&budget, &spent("1", "5")).unwrap_err();
        assert_eq!(error.kind(), Kind::Busy);
        assert!(error.headline().contains("today"), "{error}");
        let error = check_budget(&budget, &spent("0", "12")).unwrap_err();
        assert!(error.headline().contains("this month"), "{error}");
        assert!(check_budget(&Budget::default(), &spent("99", "99")).is_ok());
    }

    #[test]
    fn a_request_is_refused_by_what_it_may_cost() {
        let models = ["a/b".to_owned()];
        let order = |max_tokens| Order {
            models: &models,
            prompt_bytes: 400,
            max_tokens,
        };
        let catalogue = crate::api::models::parse(
            br#"{"data":[{"id":"a/b","context_length":1000,"pricing":{"prompt":"0.001","completion":"0.01"}}]}"#,
        )
        .unwrap();
        // 100 prompt tokens are $0.10; 10 reply tokens are $0.10.
        assert!(check_cost(usd("0.2"), &order(Some(10)), &catalogue).is_ok());
        let error = check_cost(usd("0.19"), &order(Some(10)), &catalogue).unwrap_err();
        assert!(error.headline().contains("$0.2000"), "{error}");
        assert!(
            check_cost(usd("5"), &order(None), &catalogue).is_err(),
            "1000 tokens are $10"
        );
        assert!(
            check_cost(usd("5"), &order(Some(1)), &[]).is_err(),
            "no price, no promise"
        );
    }

    #[test]
    fn a_charge_is_read_to_its_last_digit() {
        let json = br#"{"data":{"id":"gen-1","total_cost":1.305e-05,"tokens_prompt":67,"tokens_completion":5}}"#;
        let charge = read_charge(2, json).unwrap();
        assert_eq!(charge.cost.to_string(), "0.00001305");
        assert_eq!(charge.usage.unwrap().figures().completion_tokens, Some(5));
        assert!(read_charge(2, br#"{"data":{"total_cost":null}}"#).is_none());
        assert!(read_charge(2, b"<html>").is_none());
    }
}
