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
/// The most terms of a question that are looked at; a pasted file must not make the
/// guide slow.
const LONGEST_QUESTION: usize = 64;

/// Where each term occurs.
pub(super) struct Index {
    postings: HashMap<String, Vec<(usize, f32)>>,
    /// Length of each section relative to the average.
    lengths: Vec<f32>,
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
}

impl Index {
    pub(super) fn new(sections: &[Section]) -> Self {
        let mut postings: HashMap<String, Vec<(usize, f32)>> = HashMap::new();
        let mut lengths = Vec::with_capacity(sections.len());
        for (place, section) in sections.iter().enumerate() {
            let mut counts: HashMap<String, f32> = HashMap::new();
            let body = terms(&section.body);
            lengths.push(to_f32(body.len()));
            for (text, weight) in [
                (body, 1.0),
                (terms(&section.title), TITLE),
                (terms(&section.keywords), KEYWORD),
            ] {
                for term in text {
                    *counts.entry(term).or_default() += weight;
                }
            }
            for (term, count) in counts {
                postings.entry(term).or_default().push((place, count));
            }
        }
        let average = lengths.iter().sum::<f32>() / to_f32(sections.len().max(1));
        for length in &mut lengths {
            *length /= average.max(1.0);
        }
        Self { postings, lengths }
    }

    /// The sections that share a word with the question, best first.
    pub(super) fn search(&self, question: &str) -> Vec<Hit> {
        let mut asked = terms(question);
        asked.truncate(LONGEST_QUESTION);
        asked.sort_unstable();
        asked.dedup();
        let mut scores = vec![0.0f32; self.lengths.len()];
        let mut covered = vec![0.0f32; self.lengths.len()];
        let mut total = 0.0;
        for term in &asked {
            let weight = self.rarity(term);
            // A compound also counts by its parts; it is a bonus, never a debt.
            let counts = !term.contains(|c: char| !c.is_alphanumeric());
            if counts {
                total += weight;
            }
            // The best of a word and its synonyms: two names for one thing are one thing.
            let mut best: HashMap<usize, (f32, f32)> = HashMap::new();
            for (word, share) in alternatives(term) {
                for &(place, count) in self.postings.get(&word).map_or(&[][..], Vec::as_slice) {
                    let length = 1.0 - B + B * self.lengths[place];
                    let score =
                        share * self.rarity(&word) * count * (K1 + 1.0) / (count + K1 * length);
                    let entry = best.entry(place).or_default();
                    entry.0 = entry.0.max(score);
                    entry.1 = entry.1.max(share);
                }
            }
            for (place, (score, share)) in best {
                scores[place] += score;
                if counts {
                    covered[place] += share * weight;
                }
            }
        }
        let mut hits: Vec<Hit> = (0..scores.len())
            .filter(|&place| scores[place] > 0.0)
            .map(|section| Hit {
                section,
                score: scores[section],
                covered: if total > 0.0 {
                    covered[section] / total
                } else {
                    1.0
                },
            })
            .collect();
        hits.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.section.cmp(&b.section)));
        hits
    }

    /// Inverse document frequency: what everybody says tells little.
    fn rarity(&self, term: &str) -> f32 {
        let all = to_f32(self.lengths.len());
        let with = to_f32(self.postings.get(term).map_or(0, Vec::len));
        (1.0 + (all - with + 0.5) / (with + 0.5)).ln()
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts of words and sections are small"
)]
fn to_f32(count: usize) -> f32 {
    count as f32
}
