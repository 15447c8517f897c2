//! The file of settings, the file of variables, and the environment.

use super::case::{Case, case};

const FILE: &str = "config/app_config.json";
const ENV: &str = "config/pachat/.env";

/// A file of settings with one finding, on its second line.
fn file(name: &'static str, code: &'static str, text: &'static str) -> Case {
    case(name, move |bed| bed.put(FILE, text))
        .finds(code, FILE)
        .at_line(2)
}

/// A file of variables with one finding, on its second line.
fn variables(name: &'static str, code: &'static str, text: &'static [u8]) -> Case {
    case(name, move |bed| bed.put_config(".env", text))
        .finds(code, ENV)
        .at_line(2)
}

pub fn cases() -> Vec<Case> {
    vec![
        file("settings that end in the middle", "config.not-json", "{\"chat\": {\n"),
        file("settings with a comma too many", "config.not-json", "{\"chat\": {},\n}\n"),
        case("settings that are a list", |bed| bed.put(FILE, "[]\n"))
            .finds("config.not-json", FILE),
        case("settings that are empty", |bed| bed.put(FILE, ""))
            .finds("config.not-json", FILE)
            .at_line(1),
        case("settings in UTF-16", |bed| {
            let text: Vec<u8> = "{}".encode_utf16().flat_map(u16::to_le_bytes).collect();
            bed.put_bytes(FILE, &[&[0xff, 0xfe], &text[..]].concat());
        })
        .finds("config.not-json", FILE),
        case("settings of two megabytes", |bed| {
            bed.put(FILE, &" ".repeat(2 << 20));
        })
        .finds("config.unreadable", FILE),
        file(
            "a setting that does not exist",
            "config.unknown-setting",
            "{\n\"chat\": {\"modle\": \"a/b\"}}",
        ),
        file(
            "a number in quotes",
            "config.value",
            "{\n\"limits\": {\"memory_mb\": \"500\"}}",
        ),
        file(
            "a number that is too high",
            "config.value",
            "{\n\"chat\": {\"temperature\": 7}}",
        ),
        file("a section that is none", "config.value", "{\n\"chat\": true}"),
        file(
            "a setting that stands there twice",
            "config.duplicate",
            "{\"chat\": {\"model\": \"a\",\n\"model\": \"b\"}}",
        ),
        file(
            "a span of time that is none",
            "config.value",
            "{\n\"backup\": {\"keep_within\": \"a while\"}}",
        ),
        file(
            "no rule keeps backups",
            "config.retention",
            "{\n\"backup\": {\"keep_last\": 0}}",
        ),
        file(
            "a recipient with a slip in it",
            "config.recipient",
            "{\n\"backup\": {\"recipients\": \"age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8q\"}}",
        ),
        file(
            "backups are encrypted to nobody",
            "config.no-recipient",
            "{\n\"backup\": {\"encrypted\": true}}",
        ),
        file(
            "a day may cost more than its month",
            "config.conflict",
            "{\n\"limits\": {\"daily_cost_usd\": 5, \"monthly_cost_usd\": 2}}",
        ),
        case("a certificate file that is gone", |bed| {
            bed.put(FILE, "{\"api\": {\"ca_file\": \"ca.pem\"}}");
        })
        .finds("config.file-missing", "config/ca.pem"),
        case("an identity that is a directory", |bed| {
            bed.put(FILE, "{\"backup\": {\"identity\": \"../conversations\"}}");
        })
        .finds("config.file-missing", "conversations"),
        case("the file of settings that is named does not exist", |bed| {
            let path = bed.home().join("elsewhere.json");
            bed.sandbox.set("CONFIG_FILE", path.to_str().unwrap());
        })
        .finds("config.file-missing", "elsewhere.json"),
        variables("a variable without a value", "config.env-line", b"# mine\nLOG_LEVEL\n"),
        variables("variables in Latin-1", "config.env-line", b"LOG_LEVEL=debug\nA=\xe9\n"),
        variables(
            "a variable with a slip in its name",
            "config.unknown-variable",
            b"\nOPENROUTER_APIKEY=x\n",
        ),
        variables(
            "variables of the web ancestor",
            "config.unused-variable",
            b"LOG_LEVEL=info\nAPP_PORT=8080\n",
        ),
        variables(
            "a variable with a value that is not allowed",
            "config.variable",
            b"\nexport MAX_MEMORY_MB=lots\n",
        ),
        case("the environment has a value that is not allowed", |bed| {
            bed.sandbox.set("LOG_LEVEL", "loud");
        })
        .finds("config.variable", "environment"),
        case("the environment has a slip in a name", |bed| {
            bed.sandbox.set("PACHAT_LOGLEVEL", "debug");
        })
        .finds("config.unknown-variable", "environment"),
        case("several things at once, and every one is found", |bed| {
            bed.put(
                FILE,
                "{\"chat\": {\"modle\": \"a\", \"temperature\": 9},\n\"limits\": {\"memory_mb\": 0}}",
            );
            bed.put_config(".env", b"nonsense\nMAX_MEMORY_MB=lots\n");
        })
        .finds("config.unknown-setting", FILE)
        .at_line(1)
        .finds("config.value", FILE)
        .at_line(1)
        .finds("config.value", FILE)
        .at_line(2)
        .finds("config.env-line", ENV)
        .at_line(1)
        .finds("config.variable", ENV)
        .at_line(2),
    ]
}
