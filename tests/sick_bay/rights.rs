//! Permissions, owners, links, and places that others see.

use std::fs;
use std::os::unix::fs::symlink;

use super::bed::{EARLY, RECIPIENT, SKY, WHALES, active, conversation, lines, prompt};
use super::case::{Case, case};

pub fn cases() -> Vec<Case> {
    vec![
        case("a data directory on a disk that is not mounted", |bed| {
            fs::remove_dir_all(bed.data()).unwrap();
            symlink(bed.data().with_file_name("away"), bed.data()).unwrap();
        })
        .looking_at(&["store"])
        .finds("store.unreadable", "data/pachat"),
        case("the data directory is open to everybody", |bed| {
            bed.chmod("", 0o755);
        })
        .heals("security.mode", "data/pachat")
        .changes(""),
        case("a conversation that everybody can read", |bed| {
            bed.chmod(&active(WHALES), 0o644);
        })
        .heals("security.mode", active(WHALES))
        .changes(active(WHALES)),
        case("a directory that everybody can write to", |bed| {
            bed.chmod("conversations/active", 0o777);
        })
        .heals("security.mode", "conversations/active")
        .changes("conversations/active"),
        case("a conversation that its owner cannot write", |bed| {
            bed.chmod(&active(WHALES), 0o400);
        })
        .heals("security.mode", active(WHALES))
        .changes(active(WHALES)),
        case(
            "thirty files that everybody can read are one finding",
            |bed| {
                for number in 0..30 {
                    let id = format!("20260822-0900{number:02}-aaaaaa");
                    bed.put(&active(&id), &conversation(&id));
                    bed.chmod(&active(&id), 0o644);
                }
            },
        )
        .heals("security.mode", "conversations/active")
        .changes("conversations/active/"),
        case("everything was copied with the usual permissions", |bed| {
            for path in ["", "config", "conversations", "conversations/active"] {
                bed.chmod(path, 0o755);
            }
            for path in ["VERSION", "config/app_config.json", &active(WHALES)] {
                bed.chmod(path, 0o644);
            }
        })
        .heals("security.mode", "data/pachat")
        .heals("security.mode", "config")
        .heals("security.mode", "conversations")
        .heals("security.mode", "conversations/active")
        .heals("security.mode", "VERSION")
        .heals("security.mode", "config/app_config.json")
        .heals("security.mode", active(WHALES))
        .changes("")
        .changes("config")
        .changes("conversations")
        .changes("conversations/active")
        .changes("VERSION")
        .changes("config/app_config.json")
        .changes(active(WHALES))
        .without_warning(),
        case("a conversation of somebody else", |bed| {
            let path = bed.data().join(active(WHALES));
            bed.trouble.owners.insert(path, 4711);
        })
        .finds("security.owner", active(WHALES)),
        case(
            "everything belongs to somebody else, as after sudo",
            |bed| {
                for id in [WHALES, SKY] {
                    let path = bed.data().join(active(id));
                    bed.trouble.owners.insert(path, 0x00ff_fffe);
                }
            },
        )
        .finds("security.owner", "conversations/active"),
        case("a directory that cannot be looked into", |bed| {
            bed.put("logs/app.log", "");
            bed.trouble.closed.insert(bed.data().join("logs"));
        })
        .finds("security.unreadable", "logs")
        .finds("store.unreadable", "logs"),
        case("above the data directory everybody can write", |bed| {
            let above = bed.home().parent().unwrap().to_path_buf();
            bed.trouble.above.insert(above, 0o777);
        })
        .finds("security.parent", ""),
        case("below a directory for everybody", |bed| {
            let above = bed.home().parent().unwrap().to_path_buf();
            bed.trouble.above.insert(above, 0o1777);
        })
        .finds("security.shared", "data/pachat"),
        case("a conversation that is a link", |bed| {
            let elsewhere = bed.home().join("elsewhere.jsonl");
            fs::write(&elsewhere, conversation(WHALES)).unwrap();
            bed.remove(&active(WHALES));
            symlink(&elsewhere, bed.data().join(active(WHALES))).unwrap();
        })
        .finds("store.symlink", active(WHALES)),
        case("a conversation that is a link to the passwords", |bed| {
            bed.remove(&active(WHALES));
            symlink("/etc/passwd", bed.data().join(active(WHALES))).unwrap();
        })
        .finds("store.symlink", active(WHALES)),
        case("the archive is a link to another disk", |bed| {
            let elsewhere = bed.home().join("archived");
            fs::rename(bed.data().join("conversations/archived"), &elsewhere).unwrap();
            symlink(&elsewhere, bed.data().join("conversations/archived")).unwrap();
        })
        .finds("store.symlink", "conversations/archived"),
        case("the data directory is in a Dropbox", |bed| {
            let to = bed.home().join("Dropbox/pachat");
            fs::create_dir(bed.home().join("Dropbox")).unwrap();
            fs::rename(bed.data(), &to).unwrap();
            bed.options = vec!["--data-dir".into(), to.to_str().unwrap().into()];
        })
        .finds("security.synced", "Dropbox/pachat"),
        case("everything is kept in step by Syncthing", |bed| {
            bed.seal_key();
            fs::create_dir(bed.home().join(".stfolder")).unwrap();
        })
        .finds("security.synced", "data/pachat")
        .finds("security.synced", "config/pachat")
        .finds("security.both-halves", "master.key"),
        case("the data directory is on a server", |bed| {
            let table = format!(
                "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n30 22 0:44 / {} rw - nfs4 server:/home rw\n",
                bed.home().display()
            );
            bed.trouble
                .elsewhere
                .insert("/proc/self/mountinfo".into(), table);
        })
        .finds("security.network", "data/pachat"),
        case("another machine is spoken to without encryption", |bed| {
            bed.put(
                "config/app_config.json",
                "{\"api\": {\"base_url\": \"http://192.0.2.7:8000/v1\"}}",
            );
        })
        .finds("security.plain-http", "api.base_url"),
        case("the identity of the backups is open to everybody", |bed| {
            let path = bed.home().join("identity.txt");
            super::bed::put(&path, b"AGE-SECRET-KEY-1");
            super::bed::set_mode(&path, 0o644);
            let text = format!(
                "{{\"backup\": {{\"identity\": \"{}\", \"recipients\": \"{RECIPIENT}\"}}}}",
                path.display()
            );
            bed.put("config/app_config.json", &text);
        })
        .heals("security.secret-mode", "identity.txt")
        .changes_home("identity.txt"),
        case("the history of chats is open to everybody", |bed| {
            bed.put_config("history", b"#V2\n");
            super::bed::set_mode(&bed.config_dir().join("history"), 0o644);
        })
        .heals("security.mode", "config/pachat/history")
        .changes_home("config/pachat/history"),
        case("a conversation that is open to everybody and torn", |bed| {
            bed.put(
                &active(WHALES),
                &lines(&[&super::bed::header(WHALES), &prompt(1, EARLY)]),
            );
            bed.append(&active(WHALES), b"{\"ty");
            bed.chmod(&active(WHALES), 0o666);
        })
        .heals("security.mode", active(WHALES))
        .heals("store.torn-tail", active(WHALES))
        .then("store.quarantine")
        .changes(active(WHALES)),
    ]
}
