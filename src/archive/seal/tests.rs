use age::armor::{ArmoredWriter, Format};

use super::*;

/// Three whole chunks of the age format and a bit.
const LEN: usize = 3 * 65_536 + 1_000;

fn content() -> Vec<u8> {
    (0..LEN)
        .map(|n| u8::try_from(n * 7 % 251).unwrap())
        .collect()
}

fn sealed_to(recipients: &[&String]) -> (Vec<u8>, FileKey) {
    let recipients = recipients.iter().map(|text| (*text).clone()).collect();
    let (mut writer, key) = seal(Vec::new(), &Seal::Recipients(recipients)).unwrap();
    writer.write_all(&content()).unwrap();
    (writer.finish().unwrap(), key)
}

/// The same by the age crate itself, with little work.
fn sealed_with(passphrase: &str, format: Format) -> Vec<u8> {
    let mut recipient = age::scrypt::Recipient::new(passphrase.into());
    recipient.set_work_factor(2);
    let encryptor = Encryptor::with_recipients(std::iter::once(&recipient as _)).unwrap();
    let armour = ArmoredWriter::wrap_output(Vec::new(), format).unwrap();
    let mut writer = encryptor.wrap_output(armour).unwrap();
    writer.write_all(&content()).unwrap();
    writer.finish().unwrap().finish().unwrap()
}

fn passphrase(text: &str) -> Opener {
    Opener::Passphrase(Secret::new(text.into()))
}

/// What comes out, to the end.
fn opened(sealed: &[u8], opener: &Opener) -> Result<Vec<u8>> {
    let mut plain = Vec::new();
    open(Box::new(sealed), opener)?
        .read_to_end(&mut plain)
        .map_err(|error| {
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
            malformed(&error.to_string())
        })?;
    Ok(plain)
}

fn kind(sealed: &[u8], opener: &Opener) -> Kind {
    opened(sealed, opener)
        .map(|plain| plain.len())
        .unwrap_err()
        .kind()
}

#[test]
fn each_recipient_opens_it_and_nobody_else() {
    let (one, its_recipient) = generate();
    let (two, other_recipient) = generate();
    let (sealed, _) = sealed_to(&[&its_recipient, &other_recipient]);
    assert!(is_sealed(&sealed) && !wants_passphrase(&sealed));
    for identity in [one, two] {
        assert_eq!(
            opened(&sealed, &Opener::Identities(identity)).unwrap(),
            content()
        );
    }

    let (stranger, _) = generate();
    let error = opened(&sealed, &Opener::Identities(stranger)).unwrap_err();
    assert_eq!(error.kind(), Kind::Denied);
    assert!(error.headline().contains("no identity fits"), "{error}");
    assert!(error.hint_text().unwrap().contains("--identity"));

    let error = opened(&sealed, &passphrase("x")).unwrap_err();
    assert_eq!(error.kind(), Kind::Denied);
    assert!(error.hint_text().unwrap().contains("--identity"));
}

#[test]
fn the_key_of_a_file_opens_it_and_no_other() {
    let (_, recipient) = generate();
    let (sealed, key) = sealed_to(&[&recipient]);
    let (other, _) = sealed_to(&[&recipient]);
    let key = Opener::Key(key);
    assert_eq!(opened(&sealed, &key).unwrap(), content());
    assert_eq!(kind(&other, &key), Kind::Malformed);
}

#[test]
fn a_pass_phrase_seals_and_the_key_reads_back_without_it() {
    let secret = Secret::new("correct horse".into());
    let (mut writer, key) = seal(Vec::new(), &Seal::Passphrase(secret)).unwrap();
    writer.write_all(b"text").unwrap();
    let sealed = writer.finish().unwrap();
    assert!(wants_passphrase(&sealed));
    assert_eq!(opened(&sealed, &Opener::Key(key)).unwrap(), b"text");
    assert_eq!(
        opened(&sealed, &passphrase("correct horse")).unwrap(),
        b"text"
    );
}

#[test]
fn another_pass_phrase_or_an_identity_is_denied() {
    let sealed = sealed_with("right", Format::Binary);
    let error = opened(&sealed, &passphrase("wrong")).unwrap_err();
    assert_eq!(error.kind(), Kind::Denied);
    assert!(error.headline().contains("wrong pass phrase"), "{error}");

    let error = opened(&sealed, &Opener::Identities(generate().0)).unwrap_err();
    assert_eq!(error.kind(), Kind::Denied);
    assert!(error.hint_text().unwrap().contains("--passphrase-file"));
}

#[test]
fn armour_comes_off() {
    let sealed = sealed_with("right", Format::AsciiArmor);
    assert!(is_sealed(&sealed[..35]) && wants_passphrase(&sealed[..128]));
    assert_eq!(opened(&sealed, &passphrase("right")).unwrap(), content());

    let windows = String::from_utf8(sealed.clone())
        .unwrap()
        .replace('\n', "\r\n");
    assert!(wants_passphrase(&windows.as_bytes()[..128]));
    assert_eq!(
        opened(windows.as_bytes(), &passphrase("right")).unwrap(),
        content()
    );

    let end = sealed.len() - "-----END AGE ENCRYPTED FILE-----\n".len();
    assert_eq!(kind(&sealed[..end], &passphrase("right")), Kind::Malformed);
    let more = [&sealed, &b"more\n"[..]].concat();
    assert_eq!(kind(&more, &passphrase("right")), Kind::Malformed);
}

#[test]
fn what_is_not_sealed_is_told_apart() {
    for plain in [
        &b"\x1f\x8b\x08"[..],
        b"",
        b"age-encryption",
        b"-----BEGIN OPENSSH PRIVATE KEY-----",
    ] {
        assert!(!is_sealed(plain) && !wants_passphrase(plain));
        assert_eq!(kind(plain, &passphrase("x")), Kind::Malformed);
    }
    let newer = b"age-encryption.org/v2\n-> scrypt x\n and the like, long enough";
    let error = opened(newer, &passphrase("x")).unwrap_err();
    assert!(error.headline().contains("newer version"), "{error}");
    assert!(!wants_passphrase(newer));
}

#[test]
fn a_file_that_asks_for_hours_of_work_is_refused() {
    let sealed = sealed_with("right", Format::Binary);
    let line = sealed.iter().position(|&byte| byte == b'\n').unwrap() + 1;
    let end = line
        + sealed[line..]
            .iter()
            .position(|&byte| byte == b'\n')
            .unwrap();
    assert!(sealed[..end].ends_with(b" 2"));
    let hostile = [&sealed[..end - 1], b"23", &sealed[end..]].concat();
    let error = opened(&hostile, &passphrase("right")).unwrap_err();
    assert_eq!(error.kind(), Kind::Malformed);
    assert!(error.headline().contains("2^23"), "{error}");
}

#[test]
fn an_endless_header_is_refused() {
    let stanza = b"-> X25519 aaaa\nAAAA\n";
    let hostile = [&b"age-encryption.org/v1\n"[..], &stanza.repeat(100_000)].concat();
    let error = opened(&hostile, &passphrase("x")).unwrap_err();
    assert_eq!(error.kind(), Kind::Malformed);
}

#[test]
fn a_file_cut_anywhere_is_noticed() {
    let (_, recipient) = generate();
    let (sealed, key) = sealed_to(&[&recipient]);
    let key = Opener::Key(key);
    let payload = sealed.len() - LEN - 4 * 16;
    let mut cuts: Vec<usize> = (0..=payload).collect();
    for chunk in 1..=3 {
        let end = payload + chunk * (65_536 + 16);
        cuts.extend([end - 1, end, end + 1]);
    }
    cuts.push(sealed.len() - 1);
    for cut in cuts {
        assert_eq!(kind(&sealed[..cut], &key), Kind::Malformed, "cut at {cut}");
    }
    let more = [&sealed, &b"\n"[..]].concat();
    assert_eq!(kind(&more, &key), Kind::Malformed);
}

#[test]
fn a_file_of_whole_chunks_ends_where_it_ends() {
    let (_, recipient) = generate();
    let (mut writer, key) = seal(Vec::new(), &Seal::Recipients(vec![recipient])).unwrap();
    writer.write_all(&content()[..2 * 65_536]).unwrap();
    let sealed = writer.finish().unwrap();
    let key = Opener::Key(key);
    assert_eq!(opened(&sealed, &key).unwrap(), content()[..2 * 65_536]);
    assert_eq!(
        kind(&sealed[..sealed.len() - 65_536 - 16], &key),
        Kind::Malformed
    );
    assert_eq!(kind(&[&sealed, &b"x"[..]].concat(), &key), Kind::Malformed);
}

#[test]
fn a_changed_bit_is_noticed() {
    let (identity, recipient) = generate();
    let (sealed, key) = sealed_to(&[&recipient]);
    let (identity, key) = (Opener::Identities(identity), Opener::Key(key));
    let payload = sealed.len() - LEN - 4 * 16;
    for at in (0..payload).chain((payload..sealed.len()).step_by(9_973)) {
        let mut bad = sealed.clone();
        bad[at] ^= 1;
        assert_eq!(kind(&bad, &key), Kind::Malformed, "at {at}");
        // A recipient's line that is damaged may look like that of somebody else.
        let found = kind(&bad, &identity);
        assert!(
            matches!(found, Kind::Malformed | Kind::Denied),
            "at {at}: {found:?}"
        );
    }
}

#[test]
fn nobody_to_seal_to_is_an_error() {
    let nobody = seal(Vec::new(), &Seal::Recipients(Vec::new()))
        .map(|_| ())
        .unwrap_err();
    assert_eq!(nobody.kind(), Kind::Usage);
    let empty = Seal::Passphrase(Secret::new(String::new()));
    assert_eq!(
        seal(Vec::new(), &empty).map(|_| ()).unwrap_err().kind(),
        Kind::Usage
    );
}

#[test]
fn what_the_writer_says_of_its_failure_is_kept() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let (_, recipient) = generate();
    // The header fits into the buffer, so the failure comes with the end.
    let out = io::BufWriter::new(Full);
    let (mut writer, _) = seal(out, &Seal::Recipients(vec![recipient])).unwrap();
    let error = writer.write_all(&content()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
}
