//! Where settings come from, and what is said about wrong ones.

mod common_settings;

use std::time::Duration;

use common_settings::Home;
use pachat::cli::Global;
use pachat::model::error::Kind;
use pachat::platform::Environment;
use pachat::platform::disk::RealDisk;
use pachat::settings::{Origin, Settings};

const URL: &str = "api.base_url";

#[test]
fn each_source_wins_over_the_ones_below() {
    let mut home = Home::new();
    let expect = |home: &Home, flags: &[&str], url: &str, origin: &Origin| {
        let (settings, warnings) = home.load(flags).unwrap();
        assert_eq!(settings.base_url().as_str(), url);
        assert_eq!(settings.origin(URL), Some(origin));
        assert_eq!(warnings, [""; 0]);
    };
    expect(&home, &[], "https://openrouter.ai/api/v1", &Origin::Default);
    let file = home.write_config(r#"{"api": {"base_url": "http://file.test/v1"}}"#);
    expect(&home, &[], "http://file.test/v1", &Origin::File(file));
    let name = || "OPENROUTER_BASE_URL".to_owned();
    let own = || "PACHAT_OPENROUTER_BASE_URL".to_owned();
    let dotenv = home.write(
        "config/pachat/.env",
        "OPENROUTER_BASE_URL=http://dot.test/v1\n",
    );
    let origin = Origin::DotEnv(dotenv, name());
    expect(&home, &[], "http://dot.test/v1", &origin);
    let dotenv = home.write(
        "config/pachat/.env",
        "PACHAT_OPENROUTER_BASE_URL='http://owndot.test/v1' # mine\nOPENROUTER_BASE_URL=http://dot.test/v1\n",
    );
    let origin = Origin::DotEnv(dotenv, own());
    expect(&home, &[], "http://owndot.test/v1", &origin);
    home.set(&name(), "http://env.test/v1");
    expect(
        &home,
        &[],
        "http://env.test/v1",
        &Origin::Environment(name()),
    );
    home.set(&own(), "http://ownenv.test/v1/");
    expect(
        &home,
        &[],
        "http://ownenv.test/v1",
        &Origin::Environment(own()),
    );
    home.set(&own(), "");
    expect(
        &home,
        &[],
        "http://env.test/v1",
        &Origin::Environment(name()),
    );
    let flags = ["--base-url", "http://flag.test/v1"];
    expect(&home, &flags, "http://flag.test/v1", &Origin::Flag);
}

#[test]
fn a_dotenv_of_the_working_directory_is_not_read() {
    let home = Home::new();
    let text = "OPENROUTER_BASE_URL=http://evil.test/v1\nOPENROUTER_API_KEY=evil\nDATA_DIR=/evil\n";
    home.write("cwd/.env", text);
    let (settings, warnings) = home.load(&[]).unwrap();
    assert_eq!(settings.base_url().as_str(), "https://openrouter.ai/api/v1");
    assert!(settings.api_key().is_none());
    assert_eq!(settings.data_dir(), home.path("data/pachat"));
    assert!(warnings.is_empty());
    // Named, it is read.
    let (settings, _) = home.load(&["--env-file", ".env"]).unwrap();
    assert_eq!(settings.base_url().as_str(), "http://evil.test/v1");
    let error = home.load(&["--env-file", "none"]).unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
}

#[test]
fn the_data_directory_has_its_own_order() {
    let mut home = Home::new();
    let data_dir = |home: &Home, flags: &[&str]| home.load(flags).unwrap().0.data_dir().to_owned();
    home.write("config/pachat/.env", "DATA_DIR=beside\n");
    assert_eq!(data_dir(&home, &[]), home.path("config/pachat/beside"));
    home.set("HOME", "/home/me").set("DATA_DIR", "~/chats");
    assert_eq!(data_dir(&home, &[]), std::path::Path::new("/home/me/chats"));
    home.set("PACHAT_DATA_DIR", "/elsewhere");
    assert_eq!(data_dir(&home, &[]), std::path::Path::new("/elsewhere"));
    assert_eq!(
        data_dir(&home, &["--data-dir", "here"]),
        home.path("cwd/here")
    );
}

#[test]
fn without_a_home_a_data_directory_must_be_named() {
    let environment = Environment {
        working_directory: "/".into(),
        ..Environment::default()
    };
    let error = Settings::load(&Global::default(), &environment, &RealDisk).unwrap_err();
    assert_eq!(error.kind(), Kind::Config);
    assert!(error.hint_text().unwrap().contains("--data-dir"));
    let global = Global {
        data_dir: Some("/data".into()),
        ..Global::default()
    };
    let (settings, _) = Settings::load(&global, &environment, &RealDisk).unwrap();
    assert_eq!(settings.config_dir(), None);
}

#[test]
fn loading_creates_nothing() {
    let home = Home::new();
    home.load(&[]).unwrap();
    assert!(!home.path("data").exists());
    assert_eq!(
        std::fs::read_dir(home.path("config/pachat"))
            .unwrap()
            .count(),
        0
    );
}

#[test]
fn defaults_follow_the_server() {
    let home = Home::new();
    let (far, _) = home.load(&[]).unwrap();
    assert_eq!(far.model(), Some("openrouter/auto"));
    assert_eq!(far.first_byte_timeout(), Duration::from_secs(120));
    assert_eq!(far.total_timeout(), None);
    assert_eq!(far.memory_limit().0, 500_000_000);
    assert_eq!(far.conversation_limit().0, 10_000_000);
    assert_eq!(far.requests_per_minute(), 50);
    let (near, _) = home
        .load(&["--base-url", "http://localhost:11434/v1"])
        .unwrap();
    assert_eq!(near.model(), None);
    assert_eq!(near.first_byte_timeout(), Duration::from_secs(600));
    assert_eq!(near.base_url().origin(), "http://localhost:11434");
    assert_eq!(near.get("timeouts.idle_seconds").as_deref(), Some("600"));
}

#[test]
fn an_unknown_key_is_a_warning_that_names_the_nearest() {
    let home = Home::new();
    home.write_config(
        "{\n  \"$schema\": \"x\",\n  \"chat\": {\n    \"modle\": \"a/b\"\n  },\n  \"chat.model\": \"x\",\n  \"colour\": {\"a\": 1}\n}",
    );
    let (settings, warnings) = home.load(&[]).unwrap();
    assert_eq!(settings.model(), Some("openrouter/auto"));
    assert_eq!(warnings.len(), 3, "{warnings:?}");
    assert_eq!(
        warnings[0],
        "unknown setting `chat.modle` (line 4) is ignored; did you mean `chat.model`?"
    );
    assert!(
        warnings[1].contains("{\"chat\": {\"model\": …}}"),
        "{}",
        warnings[1]
    );
    assert!(warnings[2].contains("`colour` (line 7)"), "{}", warnings[2]);
}

#[test]
fn a_key_that_stands_there_twice_is_a_warning() {
    let home = Home::new();
    home.write_config("{\"chat\": {\"model\": \"a\",\n\"model\": \"b\"}}");
    let (settings, warnings) = home.load(&[]).unwrap();
    assert_eq!(settings.model(), Some("b"));
    assert!(warnings[0].contains("line 1 and on line 2"), "{warnings:?}");
}

#[test]
fn all_wrong_values_are_in_one_error_with_their_lines() {
    let home = Home::new();
    let path = home.write_config(
        "{\n  \"chat\": {\n    \"temperature\": \"hot\",\n    \"max_tokens\": 1.5\n  },\n  \"limits\": 7,\n  \"log\": {\"level\": \"loud\"}\n}",
    );
    let error = home.load(&[]).unwrap_err();
    assert_eq!(error.kind(), Kind::Config);
    assert_eq!(error.path_ref(), Some(path.as_path()));
    let text = error.headline();
    for part in [
        "4 values are wrong",
        "`chat.temperature` (line 3) must be a number from 0 to 2, not \"hot\"",
        "`chat.max_tokens` (line 4) must be a whole number",
        "`limits` (line 6) must be an object",
        "`log.level` (line 7) must be one of off, error",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(error.hint_text().unwrap().contains("pachat config edit"));
}

#[test]
fn a_file_that_is_no_json_says_where() {
    let home = Home::new();
    for (text, part) in [
        ("{\n \"chat\": ,\n}", "line 2"),
        ("[]", "one JSON object"),
        ("", "not JSON"),
    ] {
        home.write_config(text);
        let error = home.load(&[]).unwrap_err();
        assert_eq!(error.kind(), Kind::Config);
        assert!(error.headline().contains(part), "{}", error.headline());
    }
}

#[test]
fn a_wrong_variable_is_an_error_that_names_it() {
    let mut home = Home::new();
    home.set("PACHAT_MAX_MEMORY_MB", "lots")
        .set("LOG_LEVEL", "loud");
    let error = home.load(&[]).unwrap_err();
    assert_eq!(error.kind(), Kind::Config);
    for part in ["PACHAT_MAX_MEMORY_MB", "LOG_LEVEL", "\"lots\""] {
        assert!(error.headline().contains(part), "{}", error.headline());
    }
    let error = home.load(&["--base-url", "not a url"]).unwrap_err();
    assert!(error.headline().contains("option"), "{}", error.headline());
}

#[test]
fn misspelt_and_unused_variables_are_told() {
    let mut home = Home::new();
    home.write(
        "config/pachat/.env",
        "export OPENROUTER_API_KY=x\nAPP_PORT=8000\nSECRET_KEY=s\nUNRELATED=1\n",
    );
    home.set("PACHAT_DATADIR", "/x").set("APP_PORT", "1");
    let (settings, warnings) = home.load(&[]).unwrap();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].contains("PACHAT_DATADIR") && warnings[0].contains("PACHAT_DATA_DIR"));
    assert!(warnings[1].contains("did you mean OPENROUTER_API_KEY"));
    assert_eq!(settings.notes().len(), 3, "{:?}", settings.notes());
}

#[test]
fn a_broken_dotenv_names_the_line_and_repeats_nothing() {
    let home = Home::new();
    home.write(
        "config/pachat/.env",
        "APP_DEBUG=true\n\n# note\nOPENROUTER_API_KEY sk-hidden\n",
    );
    let error = home.load(&[]).unwrap_err();
    assert_eq!(error.kind(), Kind::Config);
    assert!(error.headline().contains("line 4"), "{}", error.headline());
    assert!(!format!("{error:?} {:?}", error.cause_text()).contains("hidden"));
}

#[cfg(unix)]
#[test]
fn a_readable_dotenv_is_a_warning_only_with_a_key_in_it() {
    use std::os::unix::fs::PermissionsExt;
    let home = Home::new();
    let readable = |text: &str| {
        let path = home.write("config/pachat/.env", text);
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)).unwrap();
        home.load(&[]).unwrap()
    };
    assert!(readable("LOG_LEVEL=INFO\n").1.is_empty());
    let (settings, warnings) = readable("LOG_LEVEL=INFO\nPACHAT_OPENROUTER_API_KEY=sk-hidden\n");
    assert!(warnings[0].contains("chmod 600"), "{warnings:?}");
    assert_eq!(settings.log_level(), log::LevelFilter::Info);
    let (secret, _) = settings.api_key().unwrap();
    assert_eq!(secret.expose(), "sk-hidden");
    assert!(!format!("{settings:?}{warnings:?}").contains("hidden"));
}

#[test]
fn a_named_file_of_settings_may_be_missing_but_not_silently() {
    let home = Home::new();
    let (_, warnings) = home.load(&["--config-file", "none.json"]).unwrap();
    assert!(warnings[0].contains("does not exist"), "{warnings:?}");
    home.write("cwd/mine.json", r#"{"api": {"ca_file": "ca.pem"}}"#);
    let (settings, _) = home.load(&["--config-file", "mine.json"]).unwrap();
    assert_eq!(settings.config_file(), home.path("cwd/mine.json"));
    assert_eq!(settings.ca_file(), Some(home.path("cwd/ca.pem").as_path()));
}
