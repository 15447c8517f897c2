//! Process entry: the real host, and the exit code of a fault.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use pachat::model::error::Kind;
use pachat::platform::{Host, process};

fn main() -> ExitCode {
    process::report_faults();
    // Unwinding has given back the terminal and the locks when it gets here.
    catch_unwind(AssertUnwindSafe(|| {
        pachat::run(process::arguments(), Host::from_process())
    }))
    .unwrap_or_else(|_| ExitCode::from(Kind::Bug.code()))
}
