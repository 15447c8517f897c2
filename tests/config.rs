//! `pachat config`: what a person sees and finds on the disk.

mod common_settings;

use common_settings::Home;
use pachat::model::error::Kind;

const KEY: &str = "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";

#[test]
fn a_change_keeps_order_and_unknown_keys_and_says_how_to_undo_it() {
    let home = Home::new();
    let path = home.write_config(
        r#"{"zebra": 1, "chat": {"x": [1.50], "model": "a/b"}, "log": {"level": "info"}}"#,
    );
    let done = home.run(&["config", "set", "chat.model", "it's new"]);
    assert_eq!(done.stdout, "");
    assert!(
        done.stderr
            .contains("undo: pachat config set chat.model a/b"),
        "{}",
        done.stderr
    );
    done.ok();
    let text: String = home
        .read(&path)
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    assert_eq!(
        text,
        r#"{ "zebra": 1, "chat": { "x": [ 1.5 ], "model": "it's new" }, "log": { "level": "info" } }"#
    );
    assert_eq!(
        home.run(&["config", "get", "chat.model"]).ok(),
        "it's new\n"
    );
    let done = home.run(&["config", "unset", "log.level"]);
    assert!(
        done.stderr
            .contains("undo: pachat config set log.level info")
    );
    assert!(!home.read(&path).contains("log"));
    let done = home.run(&["config", "unset", "chat.model"]);
    assert!(done.stderr.contains(r"'it'\''s new'"), "{}", done.stderr);
}

#[test]
fn a_first_change_creates_a_private_file_with_the_right_types() {
    let home = Home::new();
    for (key, value) in [
        ("chat.temperature", "0.7"),
        ("api.attribution", "yes"),
        ("limits.memory_mb", "64"),
        ("chat.system", "Be brief.\n"),
    ] {
        home.run(&["config", "set", key, value]).ok();
    }
    let json: serde_json::Value = serde_json::from_str(&home.read(&home.config_file())).unwrap();
    let expected = serde_json::json!({
        "chat": {"temperature": 0.7, "system": "Be brief.\n"},
        "api": {"attribution": true},
        "limits": {"memory_mb": 64},
    });
    assert_eq!(json, expected);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(home.config_file())
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    let again = home.run(&["config", "set", "limits.memory_mb", "64"]);
    assert!(again.stderr.contains("is 64 already"), "{}", again.stderr);
}

#[test]
fn what_cannot_be_set_is_a_usage_error() {
    let home = Home::new();
    let error = home
        .run(&["config", "set", "chat.temperature", "hot"])
        .error();
    assert_eq!(error.kind(), Kind::Usage);
    assert!(error.headline().contains("a number from 0 to 2"), "{error}");
    for command in [
        ["config", "set", "chat.modle", "x"].as_slice(),
        &["config", "get", "chat.modle"],
        &["config", "unset", "chat.modle"],
    ] {
        let error = home.run(command).error();
        assert_eq!(error.kind(), Kind::Usage);
        assert_eq!(error.hint_text(), Some("did you mean `chat.model`?"));
    }
    assert!(!home.path("data").exists());
}

const RECIPIENT: &str = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";

#[test]
fn a_recipient_is_checked_when_it_is_set_and_not_by_the_next_backup() {
    let home = Home::new();
    let set = |value: &str| home.run(&["config", "set", "backup.recipients", value]);
    for (value, named, helps) in [
        ("age1x", "`age1x` is no recipient", "keygen"),
        (
            &format!("{RECIPIENT}, bob"),
            "`bob` is no recipient",
            "keygen",
        ),
        ("ssh-ed25519 AAAA", "keys of SSH", "keygen"),
        (" , ", "it names nobody", "config unset"),
    ] {
        let error = set(value).error();
        assert_eq!(error.kind(), Kind::Usage, "{value}");
        let said = error.headline();
        assert!(said.contains("cannot set `backup.recipients`"), "{said}");
        assert!(said.contains(named), "{said}");
        let hint = error.hint_text().unwrap();
        assert!(hint.contains(helps), "{hint}");
    }
    // Whoever sees that one can open everything.
    let secret = "AGE-SECRET-KEY-1QQQSYQCYQ5RQWZQFPG9SCRGWPUGPZYSNZS23V9CCRYDPK8QARC0SX9ENLN";
    let error = set(secret).error();
    assert!(error.headline().contains("secret identity"), "{error}");
    assert!(!error.headline().contains("QQQSY"), "{error}");
    assert!(!home.config_file().exists(), "nothing was written");
    set(&format!("{RECIPIENT}, {RECIPIENT}")).ok();
}

#[test]
fn a_span_of_time_is_checked_when_it_is_set() {
    let home = Home::new();
    let set = |value: &str| home.run(&["config", "set", "backup.keep_within", value]);
    let error = set("two weeks").error();
    assert_eq!(error.kind(), Kind::Usage);
    let said = error.headline();
    assert!(said.contains("cannot set `backup.keep_within`"), "{said}");
    assert!(said.contains("30d, 2w"), "{said}");
    assert!(!home.config_file().exists(), "nothing was written");
    set("1y6m").ok();
}

#[test]
fn a_recipient_that_is_typed_into_an_editor_is_checked_as_well() {
    let mut home = Home::new();
    home.write_config("{}");
    home.set("VISUAL", "ed --wait");
    home.editor = Some(|_| r#"{"backup": {"recipients": "bob"}}"#.into());
    let error = home.run(&["config", "edit"]).error();
    assert_eq!(error.kind(), Kind::Config);
    assert!(
        error.headline().contains("`bob` is no recipient"),
        "{error}"
    );
    assert_eq!(home.read(&home.config_file()), "{}");
}

#[test]
fn an_unset_setting_is_a_quiet_no() {
    let home = Home::new();
    let done = home.run(&["config", "get", "chat.system"]);
    assert_eq!((done.stdout.as_str(), done.stderr.as_str()), ("", ""));
    let error = done.error();
    assert_eq!((error.kind(), error.headline().as_str()), (Kind::No, ""));
    assert_eq!(home.run(&["config", "get", "log.level"]).ok(), "info\n");
}

#[test]
fn a_change_that_does_not_count_is_told() {
    let mut home = Home::new();
    home.set("LOG_LEVEL", "debug");
    let done = home.run(&["config", "set", "log.level", "error"]);
    assert!(
        done.stderr.contains("environment LOG_LEVEL, which wins"),
        "{}",
        done.stderr
    );
}

#[test]
fn the_list_is_a_table_for_people_and_tabs_for_programs() {
    let mut home = Home::new();
    home.write_config(r#"{"chat": {"model": "a/b", "system": "one\ntwo"}}"#);
    home.set("PACHAT_OPENROUTER_API_KEY", KEY)
        .set("ENCRYPTION_KEY", "hunter22");
    let lines = home.run(&["config", "list", "--origin"]).ok();
    let file = home.config_file().display().to_string();
    assert!(
        lines.contains(&format!("chat.model\ta/b\t{file}\n")),
        "{lines}"
    );
    assert!(lines.contains("chat.system\tone two\t"));
    assert!(lines.contains("chat.max_tokens\t\tdefault\n"));
    let json = home.run(&["config", "list", "--json"]).ok();
    assert!(!json.contains(KEY) && !json.contains("hunter22") && !lines.contains(KEY));
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["schema"], 1);
    let settings = json["settings"].as_array().unwrap();
    let system = settings
        .iter()
        .find(|entry| entry["key"] == "chat.system")
        .unwrap();
    assert_eq!(system["value"], "one\ntwo");
    assert_eq!(system["origin"]["path"], file.as_str());
    home.terminal = true;
    let table = home.run(&["config", "list"]).ok();
    // However wide the longest name makes the first column.
    let mut lines = table.lines().map(str::split_whitespace);
    assert!(
        lines.any(|line| line.eq(["chat.max_tokens", "-"])),
        "{table}"
    );
    assert!(!table.contains('\t'));
    assert_eq!(home.run(&["config", "path"]).ok(), format!("{file}\n"));
}

#[test]
fn editing_replaces_only_by_something_valid() {
    let mut home = Home::new();
    home.set("EDITOR", "ed --wait");
    let directory = home.config_file().parent().unwrap().to_owned();
    let files = || {
        let mut names: Vec<String> = std::fs::read_dir(&directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    home.editor = Some(|text| text.replace('}', "\"chat\": {\"model\": \"a/b\"}}"));
    home.run(&["config", "edit"]).ok();
    let before = home.read(&home.config_file());
    assert!(before.contains("a/b"));
    assert_eq!(files(), ["app_config.json"]);

    home.editor = Some(str::to_owned);
    let done = home.run(&["config", "edit"]);
    assert!(done.stderr.contains("nothing was changed"));

    home.editor = None;
    assert_eq!(home.run(&["config", "edit"]).error().kind(), Kind::Usage);
    assert_eq!(files(), ["app_config.json"]);

    home.editor = Some(|text| text.replace("\"a/b\"", "17"));
    let done = home.run(&["config", "edit"]);
    assert_eq!(home.read(&home.config_file()), before);
    let names = files();
    assert_eq!(names.len(), 2, "{names:?}");
    assert!(
        done.stderr.contains(&names[0]) || done.stderr.contains(&names[1]),
        "{}",
        done.stderr
    );
    let error = done.error();
    assert_eq!(error.kind(), Kind::Config);
    assert!(
        error.headline().contains("`chat.model` (line 2)"),
        "{error}"
    );
}

#[test]
fn a_broken_file_can_be_mended() {
    let mut home = Home::new();
    home.write_config(r#"{"chat": {"temperature": "hot"}}"#);
    let done = home.run(&["config", "set", "chat.temperature", "1"]);
    assert!(done.stderr.contains("was \"hot\""), "{}", done.stderr);
    home.load(&[]).unwrap();
    home.write_config("{");
    assert_eq!(
        home.run(&["config", "set", "log.level", "info"])
            .error()
            .kind(),
        Kind::Config
    );
    assert_eq!(home.read(&home.config_file()), "{");
    home.set("VISUAL", "ed --wait");
    home.editor = Some(|text| format!("{text}}}"));
    home.run(&["config", "edit"]).ok();
    home.load(&[]).unwrap();
}

#[test]
fn a_sealed_key_is_found_for_its_own_server_only() {
    let mut home = Home::new();
    home.typed = vec![KEY];
    let done = home.run(&["config", "key", "set"]);
    assert!(!done.all().contains(&KEY[9..20]), "{}", done.all());
    assert!(done.stderr.contains("undo: pachat config key remove"));
    assert!(done.stderr.contains("sealed by keyfile"));
    done.ok();
    home.typed = Vec::new();
    assert!(home.path("config/pachat/master.key").exists());

    let status = home.run(&["config", "key", "status"]).ok();
    assert!(
        status.contains("sk-or-v1-...eeff from the sealed keys"),
        "{status}"
    );
    let other = [
        "--base-url",
        "https://evil.example/v1",
        "config",
        "key",
        "status",
        "--json",
    ];
    let done = home.run(&other);
    let json: serde_json::Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(
        (&json["schema"], &json["key"]),
        (&1.into(), &serde_json::Value::Null)
    );
    assert_eq!(json["sealed"][0]["origin"], "https://openrouter.ai");
    assert_eq!(done.error().kind(), Kind::No);

    // A variable goes wherever the person points pachat.
    home.set("OPENROUTER_API_KEY", "Bearer another-key-with-many-letters");
    let json = home.run(&other).ok();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["key"]["masked"], "...ters");
    assert_eq!(json["key"]["source"], "OPENROUTER_API_KEY");
    let status = home.run(&["config", "key", "status"]);
    assert!(
        status.stderr.contains("does not begin with sk-or-v1-"),
        "{}",
        status.stderr
    );
}

#[test]
fn sources_of_keys_have_an_order() {
    let mut home = Home::new();
    let source = |home: &Home, flags: &[&str]| {
        let status = home.run(&[flags, &["config", "key", "status", "--json"]].concat());
        let json: serde_json::Value = serde_json::from_str(&status.stdout).unwrap();
        json["key"]["kind"].as_str().map(str::to_owned)
    };
    assert_eq!(source(&home, &[]), None);
    home.stdin = "  \"sk-or-v1-short\"\n";
    let done = home.run(&["config", "key", "set", "--stdin"]);
    assert!(done.stderr.contains("may have been cut"), "{}", done.stderr);
    done.ok();
    assert_eq!(source(&home, &[]).as_deref(), Some("sealed"));
    home.write("config/pachat/.env", &format!("OPENROUTER_API_KEY={KEY}\n"));
    assert_eq!(source(&home, &[]).as_deref(), Some("variable"));
    let done = home.run(&["config", "key", "set", "--stdin"]);
    assert!(
        done.stderr.contains("wins over the sealed one"),
        "{}",
        done.stderr
    );
    home.run(&["config", "set", "api.key_command", "pass show key"])
        .ok();
    assert_eq!(source(&home, &[]).as_deref(), Some("command"));
    home.write("cwd/key", KEY);
    assert_eq!(
        source(&home, &["--api-key-file", "key"]).as_deref(),
        Some("file")
    );
    let missing = ["--api-key-file", "none", "config", "key", "status"];
    assert_eq!(home.run(&missing).error().kind(), Kind::NotFound);
}

#[test]
fn a_bad_key_is_refused_without_repeating_it() {
    let mut home = Home::new();
    home.stdin = "sk-or-v1-hidden\u{1}\n";
    let done = home.run(&["config", "key", "set", "--stdin"]);
    assert!(!done.all().contains("hidden"), "{}", done.all());
    assert_eq!(done.error().kind(), Kind::Denied);
    home.stdin = "";
    assert_eq!(
        home.run(&["config", "key", "set", "--stdin"])
            .error()
            .kind(),
        Kind::Denied
    );
    let error = home.run(&["config", "key", "set"]).error();
    assert_eq!(error.kind(), Kind::Usage);
    assert!(error.hint_text().unwrap().contains("--stdin"));
}

#[test]
fn modes_of_sealing_can_be_changed_and_keys_removed() {
    let mut home = Home::new();
    home.stdin = KEY;
    home.run(&[
        "--base-url",
        "http://localhost:1/v1",
        "config",
        "key",
        "set",
        "--stdin",
    ])
    .ok();
    home.set("ENCRYPTION_KEY", "hunter22hunter22");
    let done = home.run(&["config", "key", "set", "--stdin", "--wrap", "passphrase"]);
    assert!(
        done.stderr.contains("keys of other servers sealed anew: 1"),
        "{}",
        done.stderr
    );
    assert!(done.stderr.contains("sealed by passphrase"));
    assert!(!done.all().contains("hunter22"));
    // Status asks for nothing, so it works with the wrong pass phrase, too.
    home.set("ENCRYPTION_KEY", "wrong");
    let status = home.run(&["config", "key", "status"]).ok();
    assert!(
        status.contains("from the sealed keys (pass phrase)"),
        "{status}"
    );
    let error = home.run(&["config", "key", "set", "--stdin"]).error();
    assert_eq!(error.kind(), Kind::Denied);
    assert!(
        error.headline().contains("ENCRYPTION_KEY is wrong"),
        "{error}"
    );

    let done = home.run(&[
        "config",
        "key",
        "set",
        "--stdin",
        "--wrap",
        "keyfile",
        "--wrap-command",
        "x",
    ]);
    assert_eq!(done.error().kind(), Kind::Usage);
    home.run(&["config", "key", "remove"]).ok();
    let error = home.run(&["config", "key", "remove"]).error();
    assert_eq!(error.kind(), Kind::NotFound);
    home.run(&[
        "--base-url",
        "http://localhost:1/v1",
        "config",
        "key",
        "remove",
    ])
    .ok();
    assert!(!home.path("data/pachat/config/api_keys.enc").exists());
}
