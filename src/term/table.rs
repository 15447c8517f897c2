//! Tables: aligned columns on a terminal, tab-separated values in a pipe.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::model::error::Result;

use super::clean::clean_line;
use super::ui::Ui;

/// How a column stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// To the left.
    Left,
    /// To the right, as numbers do.
    Right,
}

/// A column of a table.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// Its heading.
    pub name: &'static str,
    /// How it stands.
    pub align: Align,
}

/// Rows of tab-separated values, without a heading. Tabs and line feeds in a value become
/// spaces, so that a row is a line.
pub fn tsv(rows: &[Vec<String>]) -> String {
    let mut out = String::new();
    for row in rows {
        let cells: Vec<String> = row.iter().map(|cell| clean_line(cell)).collect();
        out.push_str(&cells.join("\t"));
        out.push('\n');
    }
    out
}

/// Shows the same rows to everybody: a table on a terminal, tab-separated values in a pipe;
/// nothing where there are none.
pub fn show(ui: &mut Ui, columns: &[Column], rows: &[Vec<String>]) -> Result<()> {
    if !ui.stdout_is_terminal() {
        return ui.data(tsv(rows).as_bytes());
    }
    if rows.is_empty() {
        return Ok(());
    }
    print(ui, columns, rows)
}

/// Prints a table that fits the terminal.
pub fn print(ui: &mut Ui, columns: &[Column], rows: &[Vec<String>]) -> Result<()> {
    let width = ui.size().map_or(80, |(columns, _)| columns);
    let table = aligned(columns, rows, width, ui.colour().stdout);
    ui.data(table.as_bytes())
}

/// A table `width` columns wide: the last column is cut with an ellipsis to fit.
pub fn aligned(columns: &[Column], rows: &[Vec<String>], width: usize, colour: bool) -> String {
    let rows: Vec<Vec<String>> = rows
        .iter()
        .map(|row| row.iter().map(|cell| clean_line(cell)).collect())
        .collect();
    let widths: Vec<usize> = columns
        .iter()
        .enumerate()
        .map(|(at, column)| {
            let cells = rows
                .iter()
                .filter_map(|row| row.get(at))
                .map(|cell| cell.width());
            cells.max().unwrap_or(0).max(column.name.width())
        })
        .collect();
    let heading: Vec<String> = columns
        .iter()
        .map(|column| column.name.to_owned())
        .collect();
    let mut out = String::new();
    let (bold, off) = if colour {
        ("\x1b[1m", "\x1b[0m")
    } else {
        ("", "")
    };
    out.push_str(bold);
    line(&mut out, columns, &widths, &heading, width);
    out.insert_str(out.len() - 1, off);
    for row in &rows {
        line(&mut out, columns, &widths, row, width);
    }
    out
}

fn line(out: &mut String, columns: &[Column], widths: &[usize], cells: &[String], width: usize) {
    const GAP: usize = 2;
    let mut used = 0;
    for (at, ((cell, column), &wide)) in cells.iter().zip(columns).zip(widths).enumerate() {
        let last = at + 1 == columns.len();
        let shown = if last {
            cut(cell, width.saturating_sub(used))
        } else {
            cell.clone()
        };
        let padding = wide.saturating_sub(shown.width());
        if column.align == Align::Right {
            out.extend(std::iter::repeat_n(' ', padding));
        }
        out.push_str(&shown);
        if !last {
            let behind = if column.align == Align::Left {
                padding
            } else {
                0
            };
            out.extend(std::iter::repeat_n(' ', behind + GAP));
        }
        used += wide + GAP;
    }
    out.push('\n');
}

/// A text cut to `width` columns, with an ellipsis where something is missing.
pub fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut out = String::new();
    let mut used = 0;
    for character in text.chars() {
        let wide = character.width().unwrap_or(0);
        if used + wide + 1 > width {
            break;
        }
        used += wide;
        out.push(character);
    }
    out.push('…');
    out
}

/// A text in lines of at most `room` columns, broken between words; a longer word stays whole.
pub fn wrapped(text: &str, room: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in clean_line(text).split(' ') {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.width() + 1 + word.width() <= room => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_characters_align_and_the_last_column_is_cut() {
        let columns = [
            Column {
                name: "A",
                align: Align::Left,
            },
            Column {
                name: "N",
                align: Align::Right,
            },
            Column {
                name: "TITLE",
                align: Align::Left,
            },
        ];
        let rows = [
            vec!["日本".into(), "7".into(), "a long title".into()],
            vec!["x".into(), "12".into(), "b\tc".into()],
        ];
        assert_eq!(
            aligned(&columns, &rows, 16, false),
            "A      N  TITLE\n日本   7  a lon…\nx     12  b c\n"
        );
        assert_eq!(tsv(&rows), "日本\t7\ta long title\nx\t12\tb c\n");
    }
}
