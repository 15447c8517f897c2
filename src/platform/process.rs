//! The process itself: its arguments, and what it says when it has a fault.

use std::ffi::OsString;

/// The command line, the program's name first.
pub fn arguments() -> impl Iterator<Item = OsString> {
    std::env::args_os()
}

/// The number of this process.
pub fn id() -> u32 {
    std::process::id()
}

/// How many threads can work at once; 1 where the platform does not tell.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// The number of the user that this process acts for; `None` where users have none.
pub fn user() -> Option<u32> {
    #[cfg(unix)]
    let user = Some(rustix::process::geteuid().as_raw());
    #[cfg(not(unix))]
    let user = None;
    user
}

/// Where this program is.
pub fn program() -> std::io::Result<std::path::PathBuf> {
    std::env::current_exe()
}

/// Makes a fault in the program say what it is and that nothing is lost by it.
#[expect(clippy::print_stderr, reason = "there may be no other channel left")]
pub fn report_faults() {
    std::panic::set_hook(Box::new(|fault| {
        let place = fault
            .location()
            .map(ToString::to_string)
            .unwrap_or_default();
        let text = fault.payload_as_str().unwrap_or("no message");
        eprintln!(
            "pachat: this is a bug in pachat {}: {text}",
            env!("CARGO_PKG_VERSION")
        );
        eprintln!("  place: {place}");
        eprintln!("  hint: what was said so far is kept; please report this");
    }));
}
