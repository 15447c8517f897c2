//! The machine: its clock, its terminal, its memory, and what its disk really does.

use pachat::platform::disk::FileSystem;

use super::bed::{WHALES, active};
use super::case::{Case, case};

const ROOMY: FileSystem = FileSystem {
    free: Some(100 << 30),
    total: Some(200 << 30),
    free_files: Some(1 << 20),
    read_only: Some(false),
};

pub fn cases() -> Vec<Case> {
    vec![
        case("a clock without a battery", |bed| {
            bed.time = Some("1970-01-01T00:01:00Z")
        })
        .looking_at(&["platform"])
        .finds("platform.clock", "clock"),
        case("a clock that was set back by a year", |bed| {
            bed.time = Some("2025-08-22T09:41:07Z");
        })
        .looking_at(&["platform"])
        .finds("platform.clock", "clock"),
        case("a clock that is twenty years ahead", |bed| {
            bed.time = Some("2046-08-22T09:41:07Z");
        })
        .looking_at(&["platform"])
        .finds("platform.clock", "clock"),
        case("a terminal that can do nothing", |bed| {
            bed.terminal = true;
            bed.sandbox.set("TERM", "dumb");
        })
        .finds("platform.terminal", "terminal"),
        case("a locale of another century", |bed| {
            bed.sandbox.set("LC_ALL", "de_DE.ISO-8859-1");
        })
        .finds("platform.locale", "environment"),
        case("an account without a home", |bed| {
            bed.sandbox.variables.remove(std::ffi::OsStr::new("HOME"));
        })
        .finds("platform.home", "environment"),
        case("less memory than may be read", |bed| {
            bed.trouble
                .elsewhere
                .insert("/proc/meminfo".into(), "MemTotal:  262144 kB\n".into());
        })
        .finds("platform.memory", "limits.memory_mb"),
        case("a container with little memory", |bed| {
            let elsewhere = &mut bed.trouble.elsewhere;
            elsewhere.insert("/proc/meminfo".into(), "MemTotal:  16777216 kB\n".into());
            elsewhere.insert("/sys/fs/cgroup/memory.max".into(), "134217728\n".into());
        })
        .finds("platform.memory", "limits.memory_mb"),
        case("a disk that became read-only", |bed| {
            bed.trouble.read_only = true
        })
        .finds("platform.read-only", "data/pachat"),
        case("a disk with room for no more files", |bed| {
            bed.trouble.file_system = Some(FileSystem {
                free_files: Some(12),
                ..ROOMY
            });
        })
        .finds("platform.files", "data/pachat"),
        case("a disk that is nearly full", |bed| {
            bed.trouble.file_system = Some(FileSystem {
                free: Some(20 << 20),
                ..ROOMY
            });
        })
        .finds("store.space", "data/pachat"),
        case("a disk that is full", |bed| bed.trouble.room = Some(0))
            .finds("platform.write", "data/pachat"),
        case("a disk that is full when the repair begins", |bed| {
            bed.append(&active(WHALES), b"{\"type\":\"mess");
            bed.trouble.room = Some(200);
        })
        .looking_at(&["store"])
        .finds("store.torn-tail", active(WHALES)),
        case("a read-only disk, and something to repair", |bed| {
            bed.append(&active(WHALES), b"{\"type\":\"mess");
            bed.trouble.read_only = true;
        })
        .looking_at(&["store"])
        .finds("store.torn-tail", active(WHALES)),
        case("a disk without hard links", |bed| {
            bed.trouble.without_links = true
        })
        .finds("platform.hard-links", "data/pachat"),
        case("a disk whose locks do not lock", |bed| {
            bed.trouble.without_locks = true
        })
        .finds("platform.locks", "data/pachat"),
        case("a disk on which nothing is replaced", |bed| {
            bed.trouble.without_replacing = true;
        })
        .finds("platform.rename", "data/pachat"),
        case("a disk that syncs no directories", |bed| {
            bed.trouble.without_directory_sync = true;
        })
        .finds("platform.sync", "data/pachat"),
    ]
}
