//! The JSON Schema of `app_config.json`, for editors that complete and check it.
//!
//! Layer: settings. Rendered from [`TABLE`]; the committed copy is
//! `data/config.schema.json`.

use serde_json::{Map, Value as Json, json};

use super::table::{Fallback, Setting, Shape, TABLE};

/// The schema (draft 2020-12), indented, with a line feed at the end.
pub fn schema() -> String {
    let mut sections: Map<String, Json> = Map::new();
    sections.insert(
        "$schema".into(),
        json!({"type": "string", "description": "Where this schema is; for editors"}),
    );
    for setting in TABLE {
        let (section, name) = setting.key.split_once('.').unwrap_or(("", setting.key));
        let entry = sections.entry(section).or_insert_with(
            || json!({"type": "object", "properties": {}, "additionalProperties": false}),
        );
        if let Some(Json::Object(properties)) = entry.get_mut("properties") {
            properties.insert(name.to_owned(), property(setting));
        }
    }
    let document = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Settings of pachat",
        "description": "config/app_config.json in pachat's data directory",
        "type": "object",
        "properties": sections,
        "additionalProperties": false,
    });
    format!("{document:#}\n")
}

fn property(setting: &Setting) -> Json {
    let mut property: Map<String, Json> = Map::new();
    property.insert("description".into(), description(setting).into());
    let rules = match setting.shape {
        Shape::Text | Shape::Path => json!({"type": "string", "minLength": 1}),
        Shape::Url => json!({"type": "string", "format": "uri", "pattern": "^https?://"}),
        Shape::Choice(words) => json!({"type": "string", "enum": words}),
        Shape::Flag => json!({"type": "boolean"}),
        Shape::Whole(least, most) => {
            json!({"type": "integer", "minimum": least, "maximum": most})
        }
        Shape::Real(least, most) => json!({"type": "number", "minimum": least, "maximum": most}),
    };
    if let Json::Object(rules) = rules {
        property.extend(rules);
    }
    if let Fallback::Value(text) = setting.fallback
        && let Ok(value) = setting.parse(text)
    {
        property.insert("default".into(), value.to_json());
    }
    property.into()
}

fn description(setting: &Setting) -> String {
    let fallback = match setting.fallback {
        Fallback::OnOpenRouter(value) => format!(" (default: {value} on OpenRouter)"),
        Fallback::ByDistance(far, near) => {
            format!(" (default: {far}; {near} for a server in the local network)")
        }
        Fallback::None | Fallback::Value(_) => String::new(),
    };
    let variable = match setting.variable {
        Some(name) => format!(" (environment: {name})"),
        None => String::new(),
    };
    [setting.about, &fallback, &variable].concat()
}
