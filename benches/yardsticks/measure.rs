//! Runs one process and says what it cost.
//!
//! ```text
//! measure run COMMAND…     one line: CPU ns, wall ns, peak KiB, bytes to the disk, exit status
//! measure first COMMAND…   one line: ns from the time stamp in the first piece to its arrival
//! ```
//!
//! The line goes to the file that `MEASURE_REPORT` names. A program of its own, because the
//! peak memory of a child begins with that of the process that started it, and Python's is
//! larger than anything that is measured here.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// `struct rusage` of 64-bit Linux: two times, then fourteen numbers.
#[repr(C)]
#[derive(Default)]
struct Usage {
    user: [i64; 2],
    system: [i64; 2],
    peak: i64,
    rest: [i64; 13],
}

unsafe extern "C" {
    fn wait4(pid: i32, status: *mut i32, options: i32, usage: *mut Usage) -> i32;
    fn waitid(kind: i32, id: u32, info: *mut [u64; 16], options: i32) -> i32;
}

const BY_PID: i32 = 1;
const EXITED: i32 = 4;
const LEAVE_IT: i32 = 0x0100_0000;

fn main() {
    let mut arguments = std::env::args_os().skip(1);
    let mode = arguments.next().expect("run or first");
    let mut command = Command::new(arguments.next().expect("a command"));
    command.args(arguments).env_remove("MEASURE_REPORT");
    let report = if mode == "first" {
        first(&mut command)
    } else {
        run(&mut command)
    };
    let path = std::env::var_os("MEASURE_REPORT").expect("MEASURE_REPORT names a file");
    std::fs::write(path, report).expect("the report can be written");
}

fn run(command: &mut Command) -> String {
    let start = Instant::now();
    let child = command.spawn().expect("the command can be started");
    wait_for(&child);
    let wall = start.elapsed().as_nanos();
    // While it is a zombie, its counters are still there.
    let written = written(&child);
    let mut usage = Usage::default();
    let mut status = 0;
    let pid = i32::try_from(child.id()).expect("a process id");
    // SAFETY: both pointers are to live values of the types that the call fills.
    let waited = unsafe { wait4(pid, &raw mut status, 0, &raw mut usage) };
    assert_eq!(waited, pid);
    let ns = |[seconds, micros]: [i64; 2]| seconds * 1_000_000_000 + micros * 1000;
    let cpu = ns(usage.user) + ns(usage.system);
    format!("{cpu} {wall} {} {written} {status}\n", usage.peak)
}

/// Waits for the end without taking the zombie away.
fn wait_for(child: &Child) {
    let mut info = [0; 16];
    // SAFETY: `info` is as large as a `siginfo_t`.
    let waited = unsafe { waitid(BY_PID, child.id(), &raw mut info, EXITED | LEAVE_IT) };
    assert_eq!(waited, 0);
}

/// Bytes that it made the kernel write to a disk, in whole pages.
fn written(child: &Child) -> u64 {
    let counters = std::fs::read_to_string(format!("/proc/{}/io", child.id()));
    counters
        .unwrap_or_default()
        .lines()
        .find_map(|line| line.strip_prefix("write_bytes: ")?.parse().ok())
        .unwrap_or(0)
}

/// The server writes the time into the first piece of its reply; whatever the program makes
/// of that piece, the digits come out.
fn first(command: &mut Command) -> String {
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .expect("the command can be started");
    let mut stdout = child.stdout.take().expect("stdout is a pipe");
    let mut all = Vec::new();
    let mut buffer = [0; 4096];
    let mut delay = None;
    loop {
        let count = stdout.read(&mut buffer).expect("the pipe can be read");
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time");
        if count == 0 {
            break;
        }
        all.extend_from_slice(&buffer[..count]);
        if delay.is_none() {
            let sent = all
                .split(|byte| !byte.is_ascii_digit())
                .find(|digits| digits.len() == 19)
                .map(|digits| String::from_utf8_lossy(digits).parse::<u128>());
            delay = sent.map(|sent| now.as_nanos() - sent.expect("nineteen digits"));
        }
    }
    let status = child.wait().expect("the command ends");
    assert!(status.success(), "{status}");
    format!("{}\n", delay.expect("a time stamp"))
}
