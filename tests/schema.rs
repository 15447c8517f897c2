//! The committed JSON Schema is the one that the table of settings renders.

#[test]
fn the_committed_schema_is_up_to_date() {
    let committed = include_str!("../data/config.schema.json");
    assert!(
        committed.replace("\r\n", "\n") == pachat::settings::schema(),
        "data/config.schema.json is out of date: run `cargo run --example generate`"
    );
}

#[test]
fn the_schema_names_every_setting() {
    let schema: serde_json::Value = serde_json::from_str(&pachat::settings::schema()).unwrap();
    for setting in pachat::settings::TABLE {
        let (section, name) = setting.key.split_once('.').unwrap();
        let property = &schema["properties"][section]["properties"][name];
        assert!(property["description"].is_string(), "{}", setting.key);
        assert!(property["type"].is_string(), "{}", setting.key);
    }
}
