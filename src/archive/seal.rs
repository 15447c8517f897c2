//! Sealing an archive in the age v1 format: to recipients, or with a pass phrase.
//!
//! Any age program opens what is sealed here, and what any of them has sealed to an X25519
//! recipient or with a pass phrase is opened here, armoured or not. The random numbers come
//! from the age crate, which takes them from the operating system and ends the program if
//! there are none.
//!
//! A seal proves that the file was made by someone who knows the recipient or the pass phrase,
//! and no more: what comes out is as untrusted as any archive.

mod guard;
mod keys;

use std::cell::RefCell;
use std::collections::HashSet;
use std::io::{self, BufReader, Read, Write};

use age::armor::ArmoredReader;
use age::secrecy::{ExposeSecret, SecretString};
use age::{DecryptError, Decryptor, EncryptError, Encryptor};
use age_core::format::{FileKey as Key, Stanza};

use crate::model::error::{Error, Kind, Result, describe};
use crate::model::secret::Secret;

use super::cannot_write;
use guard::Guard;

/// The work of making a key out of a pass phrase, as a power of two: what the original age
/// program takes. About a second and 256 MiB of memory.
const WORK: u8 = 18;

/// The most work that a file may ask for; no age program asks for more. A hostile one could
/// otherwise keep the machine busy for hours.
const MOST_WORK: u8 = 22;

/// What the first line of a sealed file begins with, before the version.
const MAGIC: &[u8] = b"age-encryption.org/";

/// The first line of an armoured one.
const ARMOUR: &[u8] = b"-----BEGIN AGE ENCRYPTED FILE-----";

/// How a file begins that a pass phrase opens: such a header has nothing else in it.
const PASSPHRASE: &[u8] = b"age-encryption.org/v1\n-> scrypt ";

/// Who can open what is sealed.
pub enum Seal {
    /// The owners of these `age1…` recipients.
    Recipients(Vec<String>),
    /// Who knows the pass phrase.
    Passphrase(Secret),
}

/// The key of one sealed file, kept in memory to read it back right after writing: without
/// the owner's identity, and without the work that a pass phrase costs. Zeroized when dropped.
pub struct FileKey(Key);

/// What opens a sealed archive.
pub enum Opener {
    /// The text of an identity file: `AGE-SECRET-KEY-1…` lines and comments.
    Identities(Secret),
    /// A pass phrase.
    Passphrase(Secret),
    /// The key itself.
    Key(FileKey),
}

/// Writes to `out` what is written to it, sealed.
pub struct Sealer<W: Write>(age::stream::StreamWriter<W>);

impl<W: Write> Write for Sealer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl<W: Write> Sealer<W> {
    /// Writes the end; without it the file cannot be opened.
    pub fn finish(self) -> Result<W> {
        self.0.finish().map_err(cannot_write)
    }
}

/// Checks a recipient as people type it. The error, of kind `Usage`, says what is wrong with
/// it.
pub fn check_recipient(text: &str) -> Result<()> {
    keys::recipient(text).map(drop)
}

/// Begins to seal. Also gives the key, to verify what was written.
pub fn seal<W: Write>(out: W, seal: &Seal) -> Result<(Sealer<W>, FileKey)> {
    let recipients = keys::recipients(seal)?;
    let kept = RefCell::new(None);
    let keepers: Vec<Keeper<'_>> = recipients
        .iter()
        .map(|recipient| Keeper {
            recipient: recipient.as_ref(),
            kept: &kept,
        })
        .collect();
    let each = keepers.iter().map(|keeper| keeper as &dyn age::Recipient);
    let failed = |why: &str| Error::new(Kind::Bug, "cannot encrypt the backup").why(why);
    let encryptor = Encryptor::with_recipients(each).map_err(|error| failed(&error.to_string()))?;
    let key = kept.take().ok_or_else(|| failed("the key was not kept"))?;
    let writer = encryptor.wrap_output(out).map_err(cannot_write)?;
    Ok((Sealer(writer), FileKey(key)))
}

/// A recipient that keeps a copy of the key that is sealed to it.
struct Keeper<'a> {
    recipient: &'a dyn age::Recipient,
    kept: &'a RefCell<Option<Key>>,
}

impl age::Recipient for Keeper<'_> {
    fn wrap_file_key(
        &self,
        key: &Key,
    ) -> std::result::Result<(Vec<Stanza>, HashSet<String>), EncryptError> {
        self.kept.replace(Some(copy(key)));
        self.recipient.wrap_file_key(key)
    }
}

/// An identity that has the key already.
impl age::Identity for FileKey {
    fn unwrap_stanza(&self, _: &Stanza) -> Option<std::result::Result<Key, DecryptError>> {
        Some(Ok(copy(&self.0)))
    }
}

fn copy(key: &Key) -> Key {
    Key::init_with_mut(|bytes| bytes.copy_from_slice(key.expose_secret()))
}

/// Whether a file that begins with these bytes (at least 35) is sealed, armoured or not.
pub fn is_sealed(beginning: &[u8]) -> bool {
    beginning.starts_with(MAGIC) || beginning.starts_with(ARMOUR)
}

/// Whether a pass phrase opens it, and not an identity; at least the first 128 bytes are
/// needed.
pub fn wants_passphrase(beginning: &[u8]) -> bool {
    if !beginning.starts_with(ARMOUR) {
        return beginning.starts_with(PASSPHRASE);
    }
    // What is cut off behind the part that is looked at is an error that does not matter.
    let plain = ArmoredReader::new(beginning)
        .bytes()
        .map_while(io::Result::ok);
    plain.take(PASSPHRASE.len()).eq(PASSPHRASE.iter().copied())
}

/// Opens a sealed file. No key fits: an error of kind `Denied`; damaged: `Malformed`.
///
/// Reading from it gives an error of [`io::ErrorKind::InvalidData`] where the file is damaged
/// or cut off, and does not give a single byte that was not sealed. Only at the end is it sure
/// that nothing is missing.
pub fn open<'a>(mut input: Box<dyn Read + 'a>, opener: &Opener) -> Result<Box<dyn Read + 'a>> {
    let mut beginning = Vec::with_capacity(ARMOUR.len());
    (&mut input)
        .take(ARMOUR.len() as u64)
        .read_to_end(&mut beginning)
        .map_err(|error| cannot_open(DecryptError::Io(error)))?;
    if !is_sealed(&beginning) {
        return Err(malformed("it is not an age file"));
    }
    let armoured = beginning == ARMOUR;
    let (guard, limit) = Guard::new(io::Cursor::new(beginning).chain(input), armoured);
    let plain: Box<dyn Read + 'a> = if armoured {
        // In its own buffer, because the armour comes off in small pieces.
        let decryptor = Decryptor::new_buffered(BufReader::new(ArmoredReader::new(guard)));
        Box::new(Opened(unlock(decryptor, opener)?))
    } else {
        let decryptor = Decryptor::new_buffered(BufReader::new(guard));
        Box::new(Opened(unlock(decryptor, opener)?))
    };
    limit.lift();
    Ok(plain)
}

/// Finds the key that fits.
fn unlock<R: io::BufRead>(
    decryptor: std::result::Result<Decryptor<R>, DecryptError>,
    opener: &Opener,
) -> Result<age::stream::StreamReader<R>> {
    let decryptor = decryptor.map_err(cannot_open)?;
    match (opener, decryptor.is_scrypt()) {
        (Opener::Key(key), _) => decryptor.decrypt(std::iter::once(key as _)),
        (Opener::Identities(text), false) => {
            let identities = keys::identities(text)?;
            decryptor.decrypt(identities.iter().map(|identity| identity as _))
        }
        (Opener::Passphrase(passphrase), true) => {
            let mut identity = age::scrypt::Identity::new(secret_string(passphrase));
            identity.set_max_work_factor(MOST_WORK);
            decryptor.decrypt(std::iter::once(&identity as _))
        }
        (Opener::Identities(_), true) => {
            return Err(denied("it was encrypted with a pass phrase")
                .hint("name a file that holds it with --passphrase-file"));
        }
        (Opener::Passphrase(_), false) => {
            return Err(
                denied("it was encrypted to recipients, not with a pass phrase")
                    .hint("name the file of an identity with --identity"),
            );
        }
    }
    .map_err(cannot_open)
}

fn secret_string(secret: &Secret) -> SecretString {
    SecretString::from(secret.expose())
}

/// What comes out of a sealed file.
struct Opened<R>(R);

impl<R: Read> Read for Opened<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer).map_err(|error| match error.kind() {
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => io::Error::new(
                io::ErrorKind::InvalidData,
                "the encrypted file is damaged or cut off",
            ),
            _ => error,
        })
    }
}

fn cannot_open(error: DecryptError) -> Error {
    match error {
        DecryptError::NoMatchingKeys => denied("no identity fits")
            .hint("with --identity, name the file of an identity that it was encrypted to"),
        DecryptError::DecryptionFailed => denied("wrong pass phrase")
            .hint("try again; or keep the right one in a file and name it: --passphrase-file FILE"),
        DecryptError::ExcessiveWork { required, .. } => malformed(&format!(
            "its pass phrase asks for 2^{required} rounds of work, and at most 2^{MOST_WORK} are done"
        )),
        DecryptError::InvalidHeader => malformed("its header is damaged"),
        DecryptError::InvalidMac => malformed("its header was changed after it was encrypted"),
        DecryptError::UnknownFormat => malformed("it is of a newer version of the age format"),
        DecryptError::Io(error) => match error.kind() {
            io::ErrorKind::UnexpectedEof => malformed("its header is cut off"),
            io::ErrorKind::InvalidData => malformed("its header is damaged").cause(error),
            _ => Error::new(Kind::Io, "cannot read the encrypted file").why(describe(&error)),
        },
        other => malformed(&other.to_string()),
    }
}

fn malformed(why: &str) -> Error {
    Error::new(Kind::Malformed, "cannot open the encrypted file").why(why)
}

fn denied(why: &str) -> Error {
    Error::new(Kind::Denied, "cannot open the encrypted file").why(why)
}

/// A new identity, with its recipient: what `age-keygen` makes.
pub fn generate() -> (Secret, String) {
    let identity = age::x25519::Identity::generate();
    let recipient = identity.to_public().to_string();
    let text = identity.to_string().expose_secret().to_owned();
    (Secret::new(text), recipient)
}

#[cfg(test)]
mod tests;
