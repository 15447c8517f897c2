//! What of a section goes into an answer.
//!
//! Layer: `ops`. Promises: a block of text, an entry of a list or a piece of code is
//! shown whole or not at all, and what is left out is said.

use std::fmt::Write as _;

use super::Section;
use super::words;

/// About as much text as a screen holds.
const LONGEST_ANSWER: usize = 1_800;

/// A body that fits a screen. Of a list of options, those that were asked for come
/// first; what is left out is said, with the page that has it.
pub(super) fn shorten(section: &Section, question: &str) -> String {
    if let Some(text) = only_options(section, question) {
        return text;
    }
    if section.body.len() <= LONGEST_ANSWER {
        return section.body.trim().to_owned();
    }
    let asked = words::terms(question);
    let blocks = blocks(&section.body);
    let is_asked = |block: &str| {
        block.starts_with('`')
            && block
                .lines()
                .next()
                .is_some_and(|term| words::terms(term).iter().any(|word| asked.contains(word)))
    };
    let mut order: Vec<usize> = (0..blocks.len()).collect();
    // Stable: the opening stays in front, then the options asked for, then the rest.
    order.sort_by_key(|&place| match place {
        0 => 0,
        _ if is_asked(&blocks[place]) => 1,
        _ => 2,
    });
    let mut kept = Vec::new();
    let mut length = 0;
    for &place in &order {
        length += blocks[place].len();
        if !kept.is_empty() && length > LONGEST_ANSWER {
            break;
        }
        kept.push(place);
    }
    kept.sort_unstable();
    // A heading or a lead-in at the very end announces nothing.
    while kept.len() > 1
        && kept
            .last()
            .is_some_and(|&place| blocks[place].starts_with('#') || blocks[place].ends_with(':'))
    {
        kept.pop();
    }
    let mut text = kept
        .iter()
        .map(|&place| blocks[place].as_str())
        .collect::<Vec<_>>()
        .join("\n\n");
    let _ = write!(text, "\n\n(There is more in {}.)", section.page);
    text
}

/// For a question that names options: what the section does, and these options alone.
fn only_options(section: &Section, question: &str) -> Option<String> {
    let named: Vec<String> = question
        .split_whitespace()
        .map(|word| word.trim_end_matches(|c: char| !c.is_alphanumeric()))
        .map(|word| word.trim_start_matches(['`', '\'', '"', '(']))
        .filter(|word| word.starts_with('-') && word.len() > 1)
        .map(|word| format!("`{word}`"))
        .collect();
    let blocks = blocks(&section.body);
    let defines = |block: &str| {
        block.starts_with("`-")
            && block
                .lines()
                .next()
                .is_some_and(|term| named.iter().any(|name| term.contains(name.as_str())))
    };
    let found: Vec<&str> = blocks
        .iter()
        .map(String::as_str)
        .filter(|block| defines(block))
        .collect();
    if found.is_empty() {
        return None;
    }
    let opening = blocks.first().map_or("", String::as_str);
    Some(format!(
        "{opening}\n\n{}\n\n(There is more in {}.)",
        found.join("\n\n"),
        section.page
    ))
}

/// Splits Markdown at blank lines, leaving code blocks whole.
fn blocks(body: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut open = false;
    let mut fenced = false;
    for line in body.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        if line.trim().is_empty() && !fenced {
            open = false;
            continue;
        }
        match found.last_mut() {
            Some(block) if open => {
                block.push('\n');
                block.push_str(line);
            }
            _ => found.push(line.to_owned()),
        }
        open = true;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_is_answered_alone() {
        let section = Section {
            body: "Sends.\n\n`-m`, `--model` *M*\n: Asks M.\n\n`--no-save`\n: Keeps nothing.\n"
                .into(),
            page: "pachat-send(1)".into(),
            ..Section::default()
        };
        assert_eq!(
            shorten(&section, "what does '--no-save' do?"),
            "Sends.\n\n`--no-save`\n: Keeps nothing.\n\n(There is more in pachat-send(1).)"
        );
        assert!(shorten(&section, "what is -m for").contains("Asks M."));
        assert_eq!(shorten(&section, "send"), section.body.trim());
    }

    #[test]
    fn a_long_section_is_cut_between_blocks_and_shows_the_option_asked_for() {
        let mut body = String::from("Opening.\n\n");
        for n in 0..200 {
            let _ = writeln!(body, "`--option-{n}`\n: Does number {n}.\n");
        }
        body.push_str("`--sentinel`\n: Does what was asked.\n");
        let section = Section {
            title: "t".into(),
            body,
            page: "pachat-send(1)".into(),
            ..Section::default()
        };
        let short = shorten(&section, "what does sentinel do");
        assert!(short.len() < LONGEST_ANSWER + 200);
        assert!(short.starts_with("Opening."));
        assert!(short.contains("Does what was asked."));
        assert!(short.ends_with("(There is more in pachat-send(1).)"));
    }
}
