//! Okapi BM25 over the sections of the manual.
//!
//! Layer: `ops`. Promises: the same question always ranks the same way, and a
//! hundred sections rank in far less than a millisecond.
//!
//! The formula and its constants are those of Robertson and Zaragoza, "The
//! Probabilistic Relevance Framework: BM25 and Beyond" (2009). A word in a title
//! counts as several in the body (BM25F with one length).

use std::collections::HashMap;

use super::Section;
use super::words::{alternatives, terms};

/// How fast a repeated word stops to count more.
const K1: f32 = 1.2;
/// How much a long section is held against it.
const B: f32 = 0.6;
/// A word in the title counts as this many in the body.
const TITLE: f32 = 5.0;
/// A word among the phrasings that a section lists for the search.
const KEYWORD: f32 = 3.0;
/// What a page about a command counts beside a topic: it lists what there is, where a
/// topic says how to do something.
const REFERENCE: f32 = 0.85;
/// How much more a section counts that is about every word of a question, in its title or the
/// listed phrasings, than one that mentions them. Without it, a frequent word next to a rare one
/// would count for nothing: "where is the log" would be about "where".
const ABOUT_ALL: f32 = 0.2;
/// The most terms of a question that are looked at; a pasted file must not make the
/// guide slow.
const LONGEST_QUESTION: usize = 64;

/// The weight, in a question, of a word that the manual does not have. Less than that
/// of a rare word: people put in names and adjectives that change nothing.
const UNKNOWN: f32 = 3.0;

/// Where each term occurs.
pub(super) struct Index {
    postings: HashMap<String, Vec<Posting>>,
    /// Length of each section relative to the average.
    lengths: Vec<f32>,
    /// What each section counts before anything is asked.
    priors: Vec<f32>,
}

/// An occurrence of a term.
#[derive(Clone, Copy)]
struct Posting {
    section: usize,
    /// How often, with titles and listed phrasings counting more.
    count: f32,
    /// Whether it is in the title or in a listed phrasing, not in passing.
    named: bool,
}

/// A section that fits a question.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hit {
    /// The section's place in the guide.
    pub section: usize,
    /// How well it fits; comparable within one question only.
    pub score: f32,
    /// The part of the question's weight that the section has words for, 0 to 1.
    pub covered: f32,
    /// Whether a word of the question is what the section is about, rather than one
    /// that it happens to mention.
    pub named: bool,
}

impl Index {
    pub(super) fn new(sections: &[Section]) -> Self {
        let mut postings: HashMap<String, Vec<Posting>> = HashMap::new();
        let mut lengths = Vec::with_capacity(sections.len());
        for (place, section) in sections.iter().enumerate() {
            let mut counts: HashMap<String, (f32, bool)> = HashMap::new();
            let body = terms(&section.body);
            lengths.push(to_f32(body.len()));
            for (text, weight) in [
                (body, 1.0),
                (terms(&section.title), TITLE),
                (terms(&section.keywords), KEYWORD),
            ] {
                for term in text {
                    let entry = counts.entry(term).or_default();
                    entry.0 += weight;
                    entry.1 |= weight > 1.0;
                }
            }
            for (term, (count, named)) in counts {
                postings.entry(term).or_default().push(Posting {
                    section: place,
                    count,
                    named,
                });
            }
        }
        let average = lengths.iter().sum::<f32>() / to_f32(sections.len().max(1));
        for length in &mut lengths {
            *length /= average.max(1.0);
        }
        let priors = sections
            .iter()
            .map(|section| {
                if section.page.ends_with("(1)") {
                    REFERENCE
                } else {
                    1.0
                }
            })
            .collect();
        Self {
            postings,
            lengths,
            priors,
        }
    }

    /// The sections that share a word with the question, best first.
    pub(super) fn search(&self, question: &str) -> Vec<Hit> {
        let mut asked = terms(question);
        asked.truncate(LONGEST_QUESTION);
        asked.sort_unstable();
        asked.dedup();
        let mut hits: Vec<Hit> = (0..self.lengths.len())
            .map(|section| Hit {
                section,
                score: 0.0,
                covered: 0.0,
                named: false,
            })
            .collect();
        let mut total = 0.0;
        // The part of the question that each section is about.
        let mut about = vec![0.0; hits.len()];
        for term in &asked {
            // A compound also counts by its parts; it is a bonus, never a debt.
            let weight = if term.contains(|c: char| !c.is_alphanumeric()) {
                0.0
            } else {
                self.rarity(term).unwrap_or(UNKNOWN)
            };
            total += weight;
            for (section, best) in self.matches(term) {
                hits[section].score += best.score;
                hits[section].covered += best.share * weight;
                hits[section].named |= best.named;
                if best.named {
                    about[section] += best.share * weight;
                }
            }
        }
        hits.retain(|hit| hit.score > 0.0);
        for hit in &mut hits {
            hit.score *= self.priors[hit.section];
            if total > 0.0 {
                hit.score *= 1.0 + ABOUT_ALL * about[hit.section] / total;
            }
            hit.covered = if total > 0.0 {
                hit.covered / total
            } else {
                1.0
            };
        }
        hits.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.section.cmp(&b.section)));
        hits
    }

    /// What a term and its synonyms are worth in each section. Only the best of them
    /// counts: two names for one thing are one thing.
    fn matches(&self, term: &str) -> HashMap<usize, Match> {
        let mut found: HashMap<usize, Match> = HashMap::new();
        for (word, share) in alternatives(term) {
            let Some(rarity) = self.rarity(&word) else {
                continue;
            };
            for posting in self.postings.get(&word).map_or(&[][..], Vec::as_slice) {
                let length = 1.0 - B + B * self.lengths[posting.section];
                let score =
                    share * rarity * posting.count * (K1 + 1.0) / (posting.count + K1 * length);
                let best = found.entry(posting.section).or_default();
                best.score = best.score.max(score);
                best.share = best.share.max(share);
                best.named |= posting.named;
            }
        }
        found
    }

    /// Inverse document frequency: what every section says tells little. `None` for a
    /// word that no section has.
    fn rarity(&self, term: &str) -> Option<f32> {
        let all = to_f32(self.lengths.len());
        let with = to_f32(self.postings.get(term)?.len());
        Some(logarithm(1.0 + (all - with + 0.5) / (with + 0.5)))
    }
}

/// What a term is worth in a section.
#[derive(Clone, Copy, Default)]
struct Match {
    score: f32,
    share: f32,
    named: bool,
}

/// The natural logarithm of a number from 1 on. `f32::ln` would be the only call into the C
/// library's mathematics, and every start of the program would load that library for it.
fn logarithm(mut number: f32) -> f32 {
    let mut sum = 0.0;
    while number > 1.5 {
        number /= 2.0;
        sum += std::f32::consts::LN_2;
    }
    // ln x = 2 artanh y: within 1e-7 of it, where y is at most a fifth.
    let y = (number - 1.0) / (number + 1.0);
    let square = y * y;
    sum + 2.0 * y * (1.0 + square * (1.0 / 3.0 + square * (1.0 / 5.0 + square / 7.0)))
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts of words and sections are small"
)]
fn to_f32(count: usize) -> f32 {
    count as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_logarithm_is_that_of_the_library() {
        for step in 0..10_000_u16 {
            let number = 1.0 + f32::from(step) / 16.0;
            let difference = logarithm(number) - number.ln();
            assert!(difference.abs() < 2e-6, "{number}: {difference}");
        }
    }
}
