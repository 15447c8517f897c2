//! A close look at the whole installation. Every finding has a cause and a remedy.
//!
//! Layer: ops. Looking changes nothing; [`fix`] repairs what can be repaired without loss.

pub mod backups;
pub mod config;
pub mod fix;
pub mod platform;
pub mod security;
pub mod store;

use crate::model::finding::Severity;
use Severity::{Error, Note, Warning};

/// A kind of finding: its code, how serious it is, whether `--fix` can repair one (if it is
/// proven that nothing is lost), and what it means.
pub type Code = (&'static str, Severity, bool, &'static str);

/// Every code that a look can give. Codes are never renamed.
pub const CODES: &[Code] = &[
    // The data directory itself.
    (
        "store.missing",
        Note,
        false,
        "there is no data directory yet",
    ),
    (
        "store.unreadable",
        Error,
        false,
        "a file or directory cannot be read",
    ),
    ("store.version-missing", Warning, true, "VERSION is missing"),
    (
        "store.version-unreadable",
        Error,
        false,
        "VERSION holds no number",
    ),
    (
        "store.version-newer",
        Error,
        false,
        "the data directory is of a newer pachat",
    ),
    (
        "store.version-older",
        Warning,
        false,
        "the data directory is of an older format",
    ),
    (
        "store.swap",
        Warning,
        true,
        "a restore or rollback did not finish",
    ),
    (
        "store.not-a-directory",
        Error,
        false,
        "something else stands where a directory of the store belongs",
    ),
    (
        "store.symlink",
        Warning,
        false,
        "a link or a special file stands where a plain file or directory belongs",
    ),
    (
        "store.directory",
        Warning,
        false,
        "a directory stands among files",
    ),
    (
        "store.name",
        Warning,
        false,
        "a file looks like a conversation, and its name is none",
    ),
    (
        "store.foreign",
        Note,
        false,
        "a file that pachat does not know",
    ),
    (
        "store.temporary",
        Note,
        true,
        "a temporary file was left over",
    ),
    (
        "store.quarantine",
        Note,
        false,
        "the quarantine holds bytes that a repair took out",
    ),
    (
        "store.log-line",
        Note,
        false,
        "lines of the log cannot be read",
    ),
    (
        "store.log-damaged",
        Note,
        false,
        "an old log cannot be unpacked",
    ),
    (
        "store.index",
        Note,
        true,
        "the index in cache/ is not what the files say",
    ),
    ("store.space", Warning, false, "the disk is nearly full"),
    (
        "store.storage-limit",
        Warning,
        false,
        "the data directory is near its limit, or above it",
    ),
    (
        "store.count-limit",
        Warning,
        false,
        "there are nearly as many conversations as are allowed, or more",
    ),
    (
        "store.busy",
        Note,
        false,
        "a conversation is in use: its last line and its side file were not judged",
    ),
    // A conversation as a file.
    (
        "store.no-header",
        Error,
        false,
        "a file does not begin with the header of a conversation",
    ),
    (
        "store.second-header",
        Warning,
        false,
        "a header stands in the middle of a file",
    ),
    (
        "store.wrong-id",
        Error,
        false,
        "the header names another id than the file",
    ),
    (
        "store.id-twice",
        Error,
        false,
        "the header names the id of another file",
    ),
    (
        "store.conversation-newer",
        Error,
        false,
        "a conversation is of a newer format",
    ),
    (
        "store.conversation-limit",
        Warning,
        false,
        "a conversation is larger than the limit",
    ),
    (
        "store.too-large",
        Error,
        false,
        "a conversation or one of its lines is larger than any that is read",
    ),
    (
        "store.torn-tail",
        Warning,
        true,
        "the last line was cut while it was written",
    ),
    (
        "store.archived-torn",
        Warning,
        false,
        "an archived or deleted conversation ends in mid-line",
    ),
    (
        "store.gzip",
        Error,
        false,
        "an archived conversation cannot be unpacked to its end",
    ),
    (
        "store.archived-twice",
        Warning,
        true,
        "a conversation is in use and archived, and the archived copy has nothing more",
    ),
    (
        "store.archived-differs",
        Warning,
        false,
        "a conversation is in use and archived, with different content",
    ),
    (
        "store.side-file",
        Warning,
        true,
        "a reply was interrupted and is not yet part of its conversation",
    ),
    (
        "store.side-file-damaged",
        Warning,
        true,
        "the side file of a reply holds bytes that make no sense",
    ),
    (
        "store.side-file-alone",
        Warning,
        false,
        "the side file of a reply has no conversation",
    ),
    // The lines of a conversation.
    ("store.not-utf8", Error, false, "a line is not UTF-8"),
    ("store.nul", Error, false, "a line holds NUL bytes"),
    ("store.not-json", Error, false, "a line is not JSON"),
    (
        "store.not-a-record",
        Error,
        false,
        "a line is no object with a type",
    ),
    (
        "store.field",
        Error,
        false,
        "a field of a line has a value that cannot be read",
    ),
    ("store.number", Error, false, "a message has no number"),
    (
        "store.number-twice",
        Error,
        false,
        "two messages have the same number",
    ),
    (
        "store.number-order",
        Warning,
        false,
        "the numbers of messages do not rise",
    ),
    (
        "store.number-gap",
        Warning,
        false,
        "numbers of messages are missing",
    ),
    (
        "store.role",
        Error,
        false,
        "a message has no role, or an unknown one",
    ),
    (
        "store.content",
        Error,
        false,
        "a message has no content, or one that is neither text nor parts",
    ),
    ("store.state", Error, false, "a reply has an unknown state"),
    (
        "store.state-missing",
        Warning,
        false,
        "a reply does not say how it ended",
    ),
    (
        "store.time",
        Error,
        false,
        "a line has no time, or one that is not RFC 3339",
    ),
    (
        "store.time-future",
        Warning,
        false,
        "a time lies in the future",
    ),
    (
        "store.time-early",
        Warning,
        false,
        "a message is older than its conversation",
    ),
    (
        "store.time-backwards",
        Note,
        false,
        "a message is older than the one before it",
    ),
    (
        "store.rewind",
        Warning,
        false,
        "a rewind goes to a message that does not exist",
    ),
    (
        "store.charge",
        Warning,
        false,
        "a charge belongs to a message that does not exist",
    ),
    (
        "store.set",
        Note,
        false,
        "a line changes something that this version does not know",
    ),
    // Between conversations.
    (
        "store.parent-missing",
        Note,
        false,
        "the conversation that a fork came from is gone",
    ),
    (
        "store.parent-message",
        Warning,
        false,
        "a fork begins at a message that its parent does not have",
    ),
    (
        "store.parent-cycle",
        Warning,
        false,
        "forks are their own ancestors",
    ),
    // Attachments.
    (
        "store.attachment-digest",
        Error,
        false,
        "the content of an attachment is not what its name says",
    ),
    (
        "store.attachment-orphan",
        Note,
        false,
        "no conversation names an attachment",
    ),
    // Backups and rollback points.
    (
        "backups.unreadable",
        Error,
        false,
        "a file or directory cannot be read",
    ),
    (
        "backups.none",
        Warning,
        false,
        "there is no verified backup",
    ),
    (
        "backups.old",
        Warning,
        false,
        "the newest verified backup is too old",
    ),
    (
        "backups.unverified",
        Warning,
        false,
        "a backup was never read back, or its card does not say so",
    ),
    (
        "backups.card-missing",
        Warning,
        false,
        "a backup has no card",
    ),
    (
        "backups.card-unreadable",
        Warning,
        false,
        "the card of a backup cannot be read",
    ),
    (
        "backups.card-newer",
        Warning,
        false,
        "the card of a backup is of a newer pachat",
    ),
    ("backups.card-alone", Note, false, "a card has no backup"),
    (
        "backups.size",
        Error,
        false,
        "a backup has another length than its card says",
    ),
    (
        "backups.digest",
        Error,
        false,
        "a backup has another digest than its card says",
    ),
    (
        "backups.damaged",
        Error,
        false,
        "a backup cannot be restored",
    ),
    (
        "backups.sealed",
        Note,
        false,
        "only the outer digest of an encrypted backup was compared",
    ),
    (
        "backups.foreign",
        Note,
        false,
        "a file that pachat does not know",
    ),
    (
        "backups.temporary",
        Note,
        true,
        "an unfinished backup or rollback point was left over",
    ),
    (
        "backups.point-unreadable",
        Warning,
        false,
        "a rollback point cannot be read",
    ),
    (
        "backups.point-file-missing",
        Warning,
        false,
        "a file of a rollback point is missing",
    ),
    (
        "backups.point-file-short",
        Warning,
        false,
        "a file of a rollback point is shorter than it was",
    ),
    // The machine and its file system.
    (
        "platform.terminal",
        Note,
        false,
        "the terminal is not one for chats, or too narrow",
    ),
    (
        "platform.locale",
        Note,
        false,
        "the locale is not one of UTF-8",
    ),
    ("platform.home", Warning, false, "HOME is not set"),
    ("platform.clock", Error, false, "the clock is wrong"),
    (
        "platform.memory",
        Warning,
        false,
        "more may be read at once than there is memory",
    ),
    (
        "platform.read-only",
        Error,
        false,
        "the file system is read-only",
    ),
    (
        "platform.files",
        Warning,
        false,
        "the file system has hardly room for more files",
    ),
    (
        "platform.write",
        Error,
        false,
        "nothing can be written to the data directory",
    ),
    (
        "platform.locks",
        Error,
        false,
        "locks do not keep each other out",
    ),
    (
        "platform.hard-links",
        Note,
        false,
        "the file system has no hard links",
    ),
    (
        "platform.rename",
        Error,
        false,
        "a file cannot be replaced by another one",
    ),
    (
        "platform.sync",
        Warning,
        false,
        "the names of new files cannot be made durable",
    ),
    // Settings, variables, and the files they name.
    (
        "config.unreadable",
        Error,
        false,
        "a file of settings or variables cannot be read",
    ),
    (
        "config.file-missing",
        Error,
        false,
        "a file that a setting, a variable or an option names is missing, empty or cannot be read",
    ),
    (
        "config.not-json",
        Error,
        false,
        "the file of settings is not a JSON object",
    ),
    (
        "config.value",
        Error,
        false,
        "a setting has a value that is not allowed",
    ),
    (
        "config.unknown-setting",
        Warning,
        false,
        "there is no setting of this name",
    ),
    (
        "config.duplicate",
        Warning,
        false,
        "a setting stands twice in the file",
    ),
    (
        "config.env-line",
        Error,
        false,
        "a line of the file of variables cannot be read",
    ),
    (
        "config.variable",
        Error,
        false,
        "a variable or an option has a value that is not allowed",
    ),
    (
        "config.unknown-variable",
        Warning,
        false,
        "there is no variable of this name",
    ),
    (
        "config.unused-variable",
        Note,
        false,
        "a variable is not used",
    ),
    (
        "config.conflict",
        Warning,
        false,
        "two settings contradict each other",
    ),
    (
        "config.recipient",
        Error,
        false,
        "a recipient of backups cannot be used",
    ),
    (
        "config.no-recipient",
        Warning,
        false,
        "backups are to be encrypted, and to nobody",
    ),
    ("config.retention", Note, false, "no backup is ever removed"),
    (
        "config.keys",
        Error,
        false,
        "the sealed keys cannot be read",
    ),
    (
        "config.key-file",
        Error,
        false,
        "the key file does not open the sealed keys",
    ),
    (
        "config.key-elsewhere",
        Warning,
        false,
        "keys are sealed, and none for this server",
    ),
    // Who else can read or change what there is.
    (
        "security.mode",
        Warning,
        true,
        "others can read or change a file or directory, or its owner cannot",
    ),
    (
        "security.secret-mode",
        Error,
        true,
        "others can read or change a file that holds a key",
    ),
    (
        "security.owner",
        Warning,
        false,
        "a file belongs to somebody else",
    ),
    (
        "security.unreadable",
        Error,
        false,
        "not everything in a directory can be looked at",
    ),
    (
        "security.parent",
        Error,
        false,
        "others can put something else in the place of a directory",
    ),
    (
        "security.shared",
        Warning,
        false,
        "a directory is below one that everybody writes to",
    ),
    (
        "security.synced",
        Warning,
        false,
        "a directory is kept in step with other machines",
    ),
    (
        "security.network",
        Warning,
        false,
        "the data directory is on another machine",
    ),
    (
        "security.both-halves",
        Error,
        false,
        "the sealed keys and what opens them are copied together",
    ),
    (
        "security.git",
        Warning,
        false,
        "a file that holds a key is in a git work tree",
    ),
    (
        "security.plain-key",
        Error,
        false,
        "a key stands in the file of settings",
    ),
    (
        "security.plain-http",
        Warning,
        false,
        "another machine is spoken to without encryption",
    ),
];
