//! Markdown to the man macros.
//!
//! Covers what the manual uses: headings, paragraphs, lists, definition lists, code
//! blocks, tables, emphasis, code and links. A table becomes a list of terms,
//! because a terminal is narrow and `tbl` cannot wrap cells to it.

use std::fmt::Write as _;

use pulldown_cmark::{Event, HeadingLevel, LinkType, Options, Parser, Tag, TagEnd};

/// Renders a text. `top` is the level of heading that becomes a section (`.SH`); the
/// one below becomes a subsection, and higher ones are left out.
pub(super) fn render(markdown: &str, top: HeadingLevel) -> String {
    let options = Options::ENABLE_TABLES | Options::ENABLE_DEFINITION_LIST;
    let mut page = Page {
        top,
        ..Page::default()
    };
    for event in Parser::new_ext(markdown, options) {
        page.event(event);
    }
    page.flush();
    page.out
}

/// Text made safe to stand anywhere in a roff source.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\\' => out.push_str("\\(rs"),
            '-' => out.push_str("\\-"),
            '\'' => out.push_str("\\(aq"),
            '`' => out.push_str("\\(ga"),
            '^' => out.push_str("\\(ha"),
            '~' => out.push_str("\\(ti"),
            _ if character.is_ascii() => out.push(character),
            _ => {
                let _ = write!(out, "\\[u{:04X}]", u32::from(character));
            }
        }
    }
    out
}

struct Page {
    out: String,
    /// The paragraph in the making.
    line: String,
    top: HeadingLevel,
    /// One entry per open list: the next number, or `None` for bullets.
    lists: Vec<Option<u64>>,
    /// Whether the next paragraph continues a line that a macro began.
    tagged: bool,
    heading: Option<HeadingLevel>,
    code: bool,
    table: Table,
    /// Where the open link goes.
    link: Option<String>,
}

#[derive(Default)]
struct Table {
    head: Vec<String>,
    cells: Vec<String>,
    in_head: bool,
}

impl Default for Page {
    fn default() -> Self {
        Self {
            out: String::new(),
            line: String::new(),
            top: HeadingLevel::H2,
            lists: Vec::new(),
            tagged: false,
            heading: None,
            code: false,
            table: Table::default(),
            link: None,
        }
    }
}

impl Page {
    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Start(tag) => self.start(tag),
            Event::End(tag) => self.end(tag),
            Event::Text(text) if self.code => self.code_lines(&text),
            Event::Text(text) => self.line.push_str(&escape(&text)),
            Event::Code(text) => {
                let _ = write!(self.line, "\\fB{}\\fR", escape(&text));
            }
            Event::SoftBreak => self.line.push('\n'),
            Event::HardBreak => self.line.push_str("\n.br\n"),
            _ => {}
        }
    }

    fn start(&mut self, tag: Tag<'_>) {
        match tag {
            Tag::Heading { level, .. } => {
                self.flush();
                self.heading = Some(level);
            }
            Tag::Paragraph => {
                self.flush();
                self.paragraph();
            }
            Tag::CodeBlock(_) => {
                self.flush();
                if self.tagged {
                    self.out.push_str(
                        ".sp
",
                    );
                } else {
                    self.gap();
                }
                self.out.push_str(".RS 4\n.EX\n");
                self.tagged = false;
                self.code = true;
            }
            Tag::List(first) => {
                self.flush();
                if !self.lists.is_empty() || self.tagged {
                    self.out.push_str(".RS 7\n");
                }
                self.tagged = false;
                self.lists.push(first);
            }
            Tag::DefinitionList => {
                self.flush();
                if !self.lists.is_empty() || self.tagged {
                    self.out.push_str(".RS 7\n");
                }
                self.tagged = false;
                self.lists.push(None);
            }
            Tag::Item => self.item(),
            Tag::DefinitionListTitle => {
                self.flush();
                self.out.push_str(".TP\n");
            }
            Tag::DefinitionListDefinition => {
                self.flush();
                self.tagged = true;
            }
            Tag::Strong => self.line.push_str("\\fB"),
            Tag::Emphasis => self.line.push_str("\\fI"),
            Tag::Table(_) => {
                self.flush();
                self.table = Table::default();
            }
            Tag::TableHead => self.table.in_head = true,
            Tag::Link {
                link_type,
                dest_url,
                ..
            } if link_type != LinkType::Autolink => {
                self.link = Some(dest_url.into_string());
            }
            _ => {}
        }
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Heading(level) => self.end_heading(level),
            TagEnd::CodeBlock => {
                self.out.push_str(".EE\n.RE\n");
                self.code = false;
            }
            TagEnd::List(_) | TagEnd::DefinitionList => {
                self.flush();
                self.lists.pop();
                if !self.lists.is_empty() {
                    self.out.push_str(".RE\n");
                }
                self.tagged = false;
            }
            TagEnd::Link => {
                if let Some(target) = self.link.take() {
                    let _ = write!(self.line, " ({})", escape(&target));
                }
            }
            TagEnd::Strong | TagEnd::Emphasis => self.line.push_str("\\fR"),
            TagEnd::TableCell => {
                let cell = std::mem::take(&mut self.line);
                let row = &mut self.table;
                if row.in_head {
                    row.head.push(cell);
                } else {
                    row.cells.push(cell);
                }
            }
            TagEnd::TableHead => self.table.in_head = false,
            TagEnd::TableRow => self.row(),
            TagEnd::Paragraph
            | TagEnd::Item
            | TagEnd::DefinitionListTitle
            | TagEnd::DefinitionListDefinition => {
                self.flush();
                if matches!(
                    tag,
                    TagEnd::DefinitionListTitle | TagEnd::DefinitionListDefinition
                ) {
                    self.tagged = false;
                }
            }
            _ => {}
        }
    }

    /// Begins a paragraph: the first one of an item stands where its mark put it.
    fn paragraph(&mut self) {
        if self.tagged {
            self.tagged = false;
        } else if self.lists.is_empty() {
            self.gap();
        } else {
            self.out.push_str(".sp\n");
        }
    }

    /// Leaves a line free, except below a heading, which does so itself.
    fn gap(&mut self) {
        let last = self.out.lines().next_back().unwrap_or_default();
        if !(last.is_empty() || last.starts_with(".SH") || last.starts_with(".SS")) {
            self.out.push_str(".PP\n");
        }
    }

    fn item(&mut self) {
        self.flush();
        match self.lists.last_mut() {
            Some(Some(number)) => {
                let _ = writeln!(self.out, ".IP {number}. 4");
                *number += 1;
            }
            _ => self.out.push_str(".IP \\(bu 2\n"),
        }
        self.tagged = true;
    }

    fn end_heading(&mut self, level: HeadingLevel) {
        let title = std::mem::take(&mut self.line);
        self.heading = None;
        if level < self.top {
            return;
        }
        // Font changes inside a heading would end its own font.
        let title = title
            .replace("\\fB", "")
            .replace("\\fI", "")
            .replace("\\fR", "");
        let quoted = title.replace('"', "\\(dq");
        if level == self.top {
            let _ = writeln!(self.out, ".SH \"{quoted}\"");
        } else {
            let _ = writeln!(self.out, ".SS \"{quoted}\"");
        }
    }

    /// A row as a term and its text; further columns follow on lines of their own,
    /// with the column's name.
    fn row(&mut self) {
        let cells = std::mem::take(&mut self.table.cells);
        let mut cells = cells.into_iter();
        let Some(term) = cells.next() else { return };
        let _ = writeln!(self.out, ".TP\n\\fB{}\\fR", term.replace("\\fR", "\\fB"));
        for (place, cell) in cells.enumerate().filter(|(_, cell)| !cell.is_empty()) {
            if place > 0 {
                let name = self.table.head.get(place + 1).map_or("", String::as_str);
                let _ = write!(self.out, ".br\n\\fI{name}:\\fR ");
            }
            self.out.push_str(&guarded(&cell));
            self.out.push('\n');
        }
    }

    fn code_lines(&mut self, text: &str) {
        for line in text.trim_end_matches('\n').split('\n') {
            self.out.push_str(&guarded(&escape(line)));
            self.out.push('\n');
        }
    }

    fn flush(&mut self) {
        let line = std::mem::take(&mut self.line);
        if line.trim().is_empty() || self.heading.is_some() {
            return;
        }
        for part in line.lines() {
            self.out.push_str(&guarded(part.trim_start()));
            self.out.push('\n');
        }
    }
}

/// A line that roff takes for text, whatever it begins with.
fn guarded(line: &str) -> String {
    if line == ".br" {
        line.to_owned()
    } else if line.starts_with(['.', '\'']) {
        format!("\\&{line}")
    } else {
        line.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_construct_has_its_macro() {
        let markdown = "# T\n\n## One `x`\n\nText *it* **bo** `co-de`.\n.not a macro\n\n- a\n- b\n\n1. c\n\n```sh\n.dot \\ 'q'\n```\n\n`-x`\n: Means x.\n\n| A | B | C |\n|---|---|---|\n| 1 | two | three |\n\n[site](https://example.org)\n";
        assert_eq!(
            render(markdown, HeadingLevel::H2),
            ".SH \"One x\"\nText \\fIit\\fR \\fBbo\\fR \\fBco\\-de\\fR.\n\\&.not a macro\n\
             .IP \\(bu 2\na\n.IP \\(bu 2\nb\n.IP 1. 4\nc\n\
             .PP\n.RS 4\n.EX\n\\&.dot \\(rs \\(aqq\\(aq\n.EE\n.RE\n\
             .TP\n\\fB\\-x\\fR\nMeans x.\n\
             .TP\n\\fB1\\fR\ntwo\n.br\n\\fIC:\\fR three\n\
             .PP\nsite (https://example.org)\n"
        );
    }

    #[test]
    fn characters_outside_ascii_are_named() {
        assert_eq!(escape("7k2…"), "7k2\\[u2026]");
    }
}
