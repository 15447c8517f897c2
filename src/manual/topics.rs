//! The chapters of `data/manual`, and their sections.
//!
//! A chapter is a Markdown file with one first-level heading; each second-level
//! heading begins a section. Two comments, invisible wherever Markdown is shown, say
//! more: `<!-- ask: … -->` lists words that people use when they mean the section,
//! `<!-- try: … -->` the command to type where it is not the first line of the
//! section's first shell block. `<!-- exit-codes -->`, `<!-- environment -->` and
//! `<!-- findings: AREA -->` stand for what is generated.

use crate::ops::guide::Section;

/// A file of the manual.
pub(super) struct Chapter {
    /// The man page it becomes, without the part in parentheses.
    pub page: &'static str,
    /// The section of the man page.
    pub section: char,
    text: &'static str,
}

macro_rules! chapter {
    ($page:literal, $section:literal, $file:literal) => {
        Chapter {
            page: $page,
            section: $section,
            text: include_str!(concat!("../../data/manual/", $file)),
        }
    };
}

/// Every chapter, in the order of the guide.
pub(super) const CHAPTERS: [Chapter; 13] = [
    chapter!("pachat-guide", '7', "start.md"),
    chapter!("pachat-guide", '7', "asking.md"),
    chapter!("pachat-guide", '7', "conversations.md"),
    chapter!("pachat-guide", '7', "keys.md"),
    chapter!("pachat-guide", '7', "trouble.md"),
    chapter!("pachat-guide", '7', "network.md"),
    chapter!("pachat-guide", '7', "keeping.md"),
    chapter!("pachat-guide", '7', "backups.md"),
    chapter!("pachat-guide", '7', "operate.md"),
    chapter!("pachat-recovery", '7', "recovery.md"),
    chapter!("pachat-findings", '7', "findings.md"),
    chapter!("pachat-config", '5', "settings.md"),
    chapter!("pachat-data", '5', "data.md"),
];

impl Chapter {
    /// The chapter as Markdown, with generated parts in their places.
    pub(super) fn markdown(&self) -> String {
        let mut text = self
            .text
            .replace("<!-- exit-codes -->", &super::exit_code_table())
            .replace("<!-- environment -->", &super::variable_list());
        while let Some((before, rest)) = text.split_once("<!-- findings: ")
            && let Some((area, after)) = rest.split_once(" -->")
        {
            text = format!("{before}{}{after}", super::finding_list(area));
        }
        text
    }
}

/// The sections of every chapter.
pub(super) fn sections() -> Vec<Section> {
    CHAPTERS
        .iter()
        .flat_map(|chapter| {
            split(
                &chapter.markdown(),
                &format!("{}({})", chapter.page, chapter.section),
            )
        })
        .collect()
}

fn split(markdown: &str, page: &str) -> Vec<Section> {
    let mut found: Vec<Section> = Vec::new();
    let mut fenced = false;
    for line in markdown.lines() {
        fenced ^= line.starts_with("```");
        if let Some(title) = line.strip_prefix("## ").filter(|_| !fenced) {
            found.push(Section {
                title: title.to_owned(),
                page: page.to_owned(),
                ..Section::default()
            });
            continue;
        }
        // What stands before the first section introduces the chapter, not an answer.
        let Some(section) = found.last_mut() else {
            continue;
        };
        if let Some(words) = comment(line, "ask") {
            words.clone_into(&mut section.keywords);
        } else if let Some(command) = comment(line, "try") {
            section.command = Some(command.to_owned());
        } else {
            section.body.push_str(line);
            section.body.push('\n');
        }
    }
    for section in &mut found {
        section.body = section.body.trim().to_owned();
        if section.command.is_none() {
            section.command = first_command(&section.body);
        }
    }
    found
}

fn comment<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    line.strip_prefix("<!-- ")?
        .strip_suffix(" -->")?
        .strip_prefix(name)?
        .strip_prefix(": ")
}

/// The first line of the first shell block.
pub(super) fn first_command(body: &str) -> Option<String> {
    let block = body.split_once("```sh\n")?.1;
    let line = block.lines().find(|line| !line.starts_with('#'))?;
    Some(without_remark(line).to_owned())
}

/// A line of an example without the remark that two or more spaces set off.
pub(super) fn without_remark(line: &str) -> &str {
    let line = line.trim();
    line.find("  ").map_or(line, |end| &line[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chapter_splits_into_sections() {
        let sections = split(
            "# C\n\nIntro.\n\n## One\n<!-- ask: uno ein -->\n\nText.\n\n```sh\n## not a heading\npachat list  # all\n```\n\n## Two\n<!-- try: pachat chat -->\nMore.\n",
            "p(7)",
        );
        assert_eq!(sections.len(), 2);
        assert_eq!(sections[0].title, "One");
        assert_eq!(sections[0].keywords, "uno ein");
        assert_eq!(sections[0].command.as_deref(), Some("pachat list"));
        assert!(sections[0].body.starts_with("Text."));
        assert_eq!(sections[1].command.as_deref(), Some("pachat chat"));
        assert_eq!(sections[1].body, "More.");
    }
}
