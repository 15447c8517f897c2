//! Sizes that disagree, or that two programs would read in two ways.

use super::build::{Backup, GNU, MAGIC, SETTINGS, SIZE, entry, file, gz, header, tar, with};
use super::cases::{Case, hostile};

/// The usual archive with another entry for the settings, whose content is `{}` and a line feed.
fn with_settings(settings: Vec<u8>) -> Vec<u8> {
    let mut entries = Backup::usual().entries();
    entries[2] = settings;
    gz(&tar(&entries))
}

pub fn cases() -> Vec<Case> {
    let field = |size: &[u8]| {
        let header = with(header(SETTINGS, 3, b'0'), SIZE, size);
        with_settings(entry(header, b"{}\n"))
    };
    let base_256 = with(header(SETTINGS, 3, b'0'), MAGIC, GNU);
    let base_256 = with(base_256, SIZE, b"\x80\0\0\0\0\0\0\0\0\0\0\x03");
    let listed = |size: serde_json::Value| Backup::usual().field("/files/1/size", size).archive();
    let two_halves = Backup::usual()
        .field("/files/0/size", 1_u64 << 63)
        .field("/files/1/size", 1_u64 << 63);
    let of = |about: &str, archive| hostile(format!("size: {about}"), archive, "size", SETTINGS);
    vec![
        of(
            "larger than listed",
            with_settings(file(SETTINGS, b"{ }\n")),
        ),
        of("smaller than listed", with_settings(file(SETTINGS, b"{}"))),
        of("nothing", with_settings(file(SETTINGS, b""))),
        of("huge", field(b"77777777777\0")),
        of("all digits", field(b"777777777777")),
        of("of base 256", with_settings(entry(base_256, b"{}\n"))),
        of("negative of base 256", field(&[0xff; 12])),
        of("negative", field(b"-0000000003\0")),
        of("with a plus", field(b"+0000000003\0")),
        of("decimal", field(b"00000000008\0")),
        of("with a space before it", field(b" 0000000003\0")),
        of("with something after it", field(b"00000003\09\0\0")),
        of("hexadecimal", field(b"0x3\0\0\0\0\0\0\0\0\0")),
        of("absent", field(&[0; 12])),
        of("listed as more than any file has", listed(u64::MAX.into())),
        hostile(
            "size: sum that overflows",
            two_halves.archive(),
            "size",
            &two_halves.files[0].0,
        ),
        hostile(
            "manifest: negative size",
            listed((-3).into()),
            "manifest",
            "MANIFEST.json",
        ),
        hostile(
            "manifest: size with a fraction",
            listed(3.5.into()),
            "manifest",
            "MANIFEST.json",
        ),
        hostile(
            "manifest: size as text",
            listed("3".into()),
            "manifest",
            "MANIFEST.json",
        ),
    ]
}
