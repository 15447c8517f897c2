//! Sealed keys and what opens them.

use std::fs;

use super::bed::Bed;
use super::case::{Case, case};

const SEALED: &str = "config/api_keys.enc";

fn master(bed: &Bed) -> std::path::PathBuf {
    bed.config_dir().join("master.key")
}

pub fn cases() -> Vec<Case> {
    vec![
        case("sealed keys with a bit flipped", |bed| {
            bed.seal_key();
            let mut bytes = bed.bytes(SEALED);
            let at = bytes.len() / 2;
            bytes[at] = b'!';
            bed.put_bytes(SEALED, &bytes);
        })
        .finds("config.keys", SEALED),
        case("sealed keys of a newer pachat", |bed| {
            bed.seal_key();
            let text = String::from_utf8(bed.bytes(SEALED)).unwrap();
            bed.put(SEALED, &text.replace("\"version\": 1", "\"version\": 2"));
        })
        .finds("config.keys", SEALED),
        case("sealed keys, and the key file is gone", |bed| {
            bed.seal_key();
            fs::remove_file(master(bed)).unwrap();
        })
        .finds("config.key-file", "config/pachat/master.key"),
        case("a key file that was cut", |bed| {
            bed.seal_key();
            bed.put_config("master.key", &[7; 20]);
        })
        .finds("config.key-file", "config/pachat/master.key"),
        case("a key file of another account", |bed| {
            bed.seal_key();
            bed.put_config("master.key", &[7; 32]);
        })
        .finds("config.key-file", SEALED),
        case("keys are sealed for another server", |bed| {
            bed.seal_key();
            bed.put(
                "config/app_config.json",
                "{\"api\": {\"base_url\": \"https://api.example.com/v1\"}}",
            );
        })
        .finds("config.key-elsewhere", SEALED),
        case("a key file that everybody can read", |bed| {
            bed.seal_key();
            super::bed::set_mode(&master(bed), 0o644);
        })
        .heals("security.secret-mode", "config/pachat/master.key")
        .heals("config.key-file", "config/pachat/master.key")
        .changes_home("config/pachat/master.key"),
        case("sealed keys that everybody can read", |bed| {
            bed.seal_key();
            bed.chmod(SEALED, 0o644);
        })
        .heals("security.secret-mode", SEALED)
        .changes(SEALED),
        case("the key file in the data directory", |bed| {
            bed.seal_key();
            let bytes = fs::read(master(bed)).unwrap();
            bed.put_bytes("config/master.key", &bytes);
        })
        .finds("security.both-halves", "config/master.key")
        .finds("store.foreign", "config/master.key"),
        case("a key in the settings", |bed| {
            bed.put(
                "config/app_config.json",
                "{\"api\": {\n\"key_command\": \"echo sk-or-v1-0123456789abcdef\"}}",
            );
        })
        .finds("security.plain-key", "config/app_config.json"),
        case("a key in variables that everybody can read", |bed| {
            bed.put_config(".env", b"OPENROUTER_API_KEY=sk-or-v1-0123456789abcdef\n");
            super::bed::set_mode(&bed.config_dir().join(".env"), 0o644);
        })
        .heals("security.secret-mode", "config/pachat/.env")
        .changes_home("config/pachat/.env"),
        case("a key in variables in a git work tree", |bed| {
            bed.put_config(".env", b"OPENROUTER_API_KEY=sk-or-v1-0123456789abcdef\n");
            fs::create_dir(bed.home().join("config/.git")).unwrap();
        })
        .finds("security.git", "config/pachat/.env"),
    ]
}
