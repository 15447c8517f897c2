//! The man pages.

use std::fmt::Write as _;

use pulldown_cmark::HeadingLevel;

use super::commands::{self, CommandPage};
use super::roff::{escape, render};
use super::topics::{CHAPTERS, Chapter};

/// The date of this edition, as `man` shows it. It changes with a release, never with
/// the clock, so that the pages can be compared.
const EDITION: &str = "2026-11-24";

/// Every man page: file name and text.
pub fn man_pages() -> Vec<(String, String)> {
    let mut pages: Vec<(String, String)> = commands::pages()
        .iter()
        .map(|page| (format!("{}.1", page.name), command_page(page)))
        .collect();
    let mut names: Vec<(&str, char)> = Vec::new();
    for chapter in &CHAPTERS {
        if !names.contains(&(chapter.page, chapter.section)) {
            names.push((chapter.page, chapter.section));
        }
    }
    for (name, section) in names {
        let chapters: Vec<&Chapter> = CHAPTERS
            .iter()
            .filter(|chapter| chapter.page == name && chapter.section == section)
            .collect();
        pages.push((
            format!("{name}.{section}"),
            topic_page(name, section, &chapters),
        ));
    }
    pages.sort();
    pages
}

fn title(name: &str, section: char) -> String {
    format!(
        ".\\\" Generated from the command line's definitions and data/manual: do not edit.\n\
         .TH {} {section} {EDITION} \"pachat {}\" \"pachat manual\"\n.nh\n.ad l\n",
        escape(&name.to_uppercase()),
        env!("CARGO_PKG_VERSION")
    )
}

fn name_section(name: &str, about: &str) -> String {
    format!(".SH NAME\n{} \\- {}\n", escape(name), escape(about))
}

fn synopsis(page: &CommandPage) -> String {
    let command = page.name.replace('-', " ");
    let lines = page.usage.lines().map(|line| {
        let rest = line.strip_prefix(&command).unwrap_or(line);
        format!("\\fB{}\\fR{}", escape(&command), escape(rest))
    });
    lines.collect::<Vec<_>>().join("\n.br\n")
}

fn command_page(page: &CommandPage) -> String {
    let is_root = page.name == "pachat";
    let mut text = title(&page.name, '1');
    text.push_str(&name_section(&page.name, &page.about));
    let _ = writeln!(text, ".SH SYNOPSIS\n{}", synopsis(page));
    let mut body = format!(
        "## Description

{}

",
        page.description
    );
    if !is_root {
        body.push_str(
            "Options that every command takes are described in **pachat**(1).

",
        );
    }
    if !page.children.is_empty() {
        body.push_str("## Commands\n\n");
        for (name, about) in &page.children {
            let _ = writeln!(body, "**{name}**(1)\n: {about}\n");
        }
    }
    body.push_str(&page.options);
    if !page.examples.is_empty() {
        let _ = writeln!(body, "## Examples\n\n```sh\n{}\n```\n", page.examples);
    }
    body.push_str("## Exit status\n\n");
    if is_root {
        body.push_str(&super::exit_code_table());
        let _ = write!(body, "\n## Environment\n\n{}", super::variable_list());
    } else {
        body.push_str(exit_status(&page.name));
        body.push_str(
            " Other codes, and what a script should do about each, are in **pachat**(1), as are the \
             environment variables.\n\n",
        );
    }
    body.push_str(FILES);
    let _ = writeln!(body, "\n## See also\n\n{}", see_also(page));
    text.push_str(&capitals(&render(&body, HeadingLevel::H2)));
    text
}

/// The codes that a command is most likely to end with.
fn exit_status(name: &str) -> &'static str {
    match name {
        "pachat-send" => {
            "0 if the reply is complete, 76 if it is not, 75 or 69 if the server is busy or away, 77 if \
             there is no key, 130 after Ctrl-C."
        }
        "pachat-chat" => "0 when you leave.",
        "pachat-list" => "0, or 1 if `--search` found nothing.",
        "pachat-export" => {
            "0, 66 if there is no such conversation, 2 if an id names several, 73 if a file exists already."
        }
        "pachat-import" => {
            "0, also if everything was there already; 65 if a file is not one that can be imported, or damaged; 66 if \
             there is no such file; 73 if a limit would be passed; 75 if somebody else is at work. Other than with 0, \
             nothing has come in."
        }
        "pachat-models" => {
            "0, 1 if no model matches, 69 if the server is away and no list was kept."
        }
        "pachat-config" => "0, 78 if a setting is invalid.",
        "pachat-config-key" => "0, 77 if a key cannot be opened.",
        "pachat-config-schedule" => {
            "0, 1 if `status` finds nothing installed or something not as it should be, 2 for root, 66 if the machine \
             has no scheduler, 73 if something was edited by hand, 74 if the scheduler's program fails."
        }
        _ => "0 on success.",
    }
}

const FILES: &str = "\
## Files

`~/.local/share/pachat`
: The data directory: conversations, settings, sealed keys, logs.

`~/.config/pachat`
: The configuration directory: `master.key`, `.env`, the history of `chat`.

**pachat-guide**(7) says where both are on other platforms.
";

fn see_also(page: &CommandPage) -> String {
    let mut names: Vec<String> = page
        .children
        .iter()
        .map(|(name, _)| format!("**{name}**(1)"))
        .collect();
    if let Some((parent, _)) = page.name.rsplit_once('-') {
        names.insert(0, format!("**{parent}**(1)"));
    }
    for (name, section) in [
        ("pachat-config", 5),
        ("pachat-data", 5),
        ("pachat-guide", 7),
        ("pachat-recovery", 7),
        ("pachat-findings", 7),
    ] {
        names.push(format!("**{name}**({section})"));
    }
    names.join(", ")
}

fn topic_page(name: &str, section: char, chapters: &[&Chapter]) -> String {
    let about = match name {
        "pachat-guide" => "how to do things with pachat, and what to do when they go wrong",
        "pachat-config" => "settings of pachat",
        "pachat-recovery" => "what to do when conversations, disks or keys are lost",
        "pachat-findings" => "what pachat validate can find",
        _ => "files of pachat",
    };
    let mut text = title(name, section);
    text.push_str(&name_section(name, about));
    for chapter in chapters {
        let mut markdown = chapter.markdown();
        if chapters.len() == 1
            && let Some(start) = markdown.find('\n')
        {
            markdown.replace_range(..start, "# Description");
        }
        text.push_str(&render(&markdown, HeadingLevel::H1));
    }
    text.push_str(&render(
        "## See also\n\n**pachat**(1), **pachat-config**(5), **pachat-data**(5), **pachat-guide**(7), **pachat-recovery**(7)\n",
        HeadingLevel::H2,
    ));
    capitals(&text)
}

/// Section headings in capitals, as man pages have them.
fn capitals(text: &str) -> String {
    text.lines()
        .map(|line| match line.strip_prefix(".SH ") {
            Some(heading) if !heading.contains('\\') => format!(".SH {}\n", heading.to_uppercase()),
            _ => format!("{line}\n"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_the_same_each_time_and_name_themselves() {
        let pages = man_pages();
        assert_eq!(pages, man_pages());
        for (file, text) in &pages {
            let (name, _) = file.rsplit_once('.').unwrap();
            let name = escape(name);
            assert!(text.contains(&format!(".SH NAME\n{name} \\- ")), "{file}");
            assert!(text.is_ascii(), "{file}");
        }
    }
}
