//! `config list`: what holds, and where it comes from.
//!
//! Layer: commands. API keys and pass phrases are no settings, so none can show up here.

use serde_json::{Value as Json, json};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::context::Context;
use crate::model::error::Result;
use crate::settings::{Entry, Origin, Settings, Value};
use crate::term::clean::clean_line;

/// The widest value in the table on a terminal, in columns.
const WIDEST: usize = 60;

pub(super) fn run(with_origin: bool, as_json: bool, context: &mut Context) -> Result<()> {
    for note in context.settings.notes() {
        context.ui.detail(note);
    }
    let text = if as_json {
        format!("{:#}\n", document(&context.settings))
    } else if context.ui.stdout_is_terminal() {
        table(context.settings.entries(), with_origin)
    } else {
        lines(context.settings.entries(), with_origin)
    };
    context.ui.text(&text)
}

fn document(settings: &Settings) -> Json {
    let entries: Vec<Json> = settings
        .entries()
        .iter()
        .map(|entry| {
            json!({
                "key": entry.setting.key,
                "value": entry.value.as_ref().map(Value::to_json),
                "origin": origin(&entry.origin),
            })
        })
        .collect();
    json!({
        "schema": 1,
        "data_dir": {
            "value": settings.data_dir().to_string_lossy(),
            "origin": origin(settings.data_dir_origin()),
        },
        "config_file": settings.config_file().to_string_lossy(),
        "config_dir": settings.config_dir().map(|path| path.to_string_lossy()),
        "settings": entries,
    })
}

/// An origin as the documents have it.
pub(super) fn origin(origin: &Origin) -> Json {
    match origin {
        Origin::Flag => json!({"kind": "option"}),
        Origin::Environment(variable) => json!({"kind": "environment", "variable": variable}),
        Origin::DotEnv(path, variable) => {
            json!({"kind": "dotenv", "path": path.to_string_lossy(), "variable": variable})
        }
        Origin::File(path) => json!({"kind": "file", "path": path.to_string_lossy()}),
        Origin::Default => json!({"kind": "default"}),
    }
}

/// Tab-separated: key, value (empty if nothing holds), origin. Tabs and line feeds of a
/// value become spaces; `config get` and `--json` have them exactly.
fn lines(entries: &[Entry], with_origin: bool) -> String {
    let mut text = String::new();
    for entry in entries {
        let value = entry.value.as_ref().map(ToString::to_string);
        text.push_str(entry.setting.key);
        text.push('\t');
        text.push_str(&clean_line(&value.unwrap_or_default()));
        if with_origin {
            text.push('\t');
            text.push_str(&clean_line(&entry.origin.to_string()));
        }
        text.push('\n');
    }
    text
}

fn table(entries: &[Entry], with_origin: bool) -> String {
    let values: Vec<String> = entries
        .iter()
        .map(|entry| match &entry.value {
            Some(value) => cut(&clean_line(&value.to_string())),
            None => "-".into(),
        })
        .collect();
    let keys = entries.iter().map(|entry| entry.setting.key.len()).max();
    let keys = keys.unwrap_or_default();
    let widest = values.iter().map(|value| value.width()).max();
    let widest = widest.unwrap_or_default();
    let mut text = String::new();
    for (entry, value) in entries.iter().zip(&values) {
        let mut line = format!("{:keys$}  {value}", entry.setting.key);
        if with_origin {
            line.push_str(&" ".repeat(widest - value.width() + 2));
            line.push_str(&clean_line(&entry.origin.to_string()));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn cut(text: &str) -> String {
    if text.width() <= WIDEST {
        return text.to_owned();
    }
    let mut out = String::new();
    let mut width = 0;
    for character in text.chars() {
        width += character.width().unwrap_or(0);
        if width >= WIDEST {
            break;
        }
        out.push(character);
    }
    out.push('…');
    out
}
