#!/usr/bin/env python3
"""Measures health, validate and cleanup against jq and gzip, in turn with them in the same minute.

    cargo build --release --locked && python3 benches/operate.py

Prints a table; `--write` puts it into benches/README.md, `--only r,s` limits the rows, and
`--quick` takes fewer rounds. Needs Linux, rustc, jq, gzip and Python 3.9; nothing leaves the
machine, and what is written stays below target/bench.
"""

import shutil
import subprocess
import sys

import corpus
from corpus import STORES
from run import WORK, Bench, arguments_of, measure_all, median, versions, write


class Operating(Bench):
    def begin(self):
        self.start()
        for name, (count, total) in STORES.items():
            corpus.make(self.store(name), count, total)
        # Limits are for people; these stores are above the usual ones on purpose.
        self.settings = ["limits.storage_mb=100000", "limits.conversations=1000000"]
        for name in STORES:
            for setting in self.settings:
                self.run(self.pachat(name, "config", "set", *setting.split("=")))
        # Files that have just been written are read again, until their times say something.
        subprocess.run(["sleep", "3"], check=True)

    def store(self, name):
        return WORK / "stores" / name

    def conversations(self, name):
        return self.store(name) / "conversations" / "active"

    def pachat(self, name, *arguments):
        return [self.binary, *arguments, "--data-dir", str(self.store(name)), "--quiet"]

    def against(self, mark, what, runs, bar, key="wall"):
        """A figure of ours alone, in milliseconds, against a bar of its own."""
        value = median(runs, key)
        self.row(mark, f"{what} against {bar} ms, {key}", "ms", bar, value, value / bar, 1)

    # The rows.

    def health(self):
        """r: every probe that needs no network."""
        for name in STORES:
            self.run(self.pachat(name, "backup"))
            find = ["find", str(self.store(name)), "-type", "f", "-printf", "%s\\n"]
            theirs, ours = self.in_turn(40, find, self.pachat(name, "health", "--offline", "--json"), quiet=True)
            self.against("r", f"`health --offline`, {name} store", ours, 50)
            self.compare("r", f"`health --offline`, {name} store : find -printf %s", (theirs, ours), "wall", None)

    def validate(self):
        """s: every line of every conversation."""
        for name in STORES:
            text = sum(path.stat().st_size for path in self.conversations(name).iterdir()) / 1e6
            jq = ["sh", "-c", f"find {self.conversations(name)} -name '*.jsonl' -print0 | xargs -0 cat | jq -c . > /dev/null"]
            cat = ["sh", "-c", f"find {self.conversations(name)} -name '*.jsonl' -print0 | xargs -0 cat > /dev/null"]
            _, theirs, ours = self.in_turn(7, cat, jq, self.pachat(name, "validate", "store"), quiet=True, warm=1)
            self.compare("s", f"`validate store`, {name} store : jq -c .", (theirs, ours), "cpu", None)
            speed = text / (median(ours, "cpu") / 1000)
            self.row("s", f"text per second of CPU, {name} store, against 300 MB/s", "MB/s", 300, speed, 300 / speed, 1)
            peak = max(run.peak for run in ours)
            self.row("s", f"peak memory of it, {name} store", "MiB", None, peak, None, None)

    def cleanup(self):
        """t, u: a plan, and carrying it out."""
        for name in STORES:
            dry = self.pachat(name, "cleanup", "--dry-run")
            (runs,) = self.in_turn(20, dry, quiet=True)
            self.against("t", f"`cleanup --dry-run`, {name} store, warm index", runs, 150)
            theirs, ours = [], []
            for number in range(self.rounds(5)):
                # Removed at the end only: ext4 searches long for inodes that were not in use in
                # the last seconds.
                copy = WORK / "copies" / f"{name}-{number}-gzip"
                shutil.copytree(self.store(name), copy)
                gzip = ["sh", "-c", f"find {copy}/conversations/active -name '*.jsonl' -print0 | xargs -0 gzip -6"]
                theirs.append(self.run(gzip, quiet=True))
                copy = WORK / "copies" / f"{name}-{number}-pachat"
                shutil.copytree(self.store(name), copy)
                archive = [self.binary, "cleanup", "--only", "archive", "--yes", "--data-dir", str(copy), "--quiet"]
                ours.append(self.run(archive, quiet=True))
            left = len(list((copy / "conversations" / "active").iterdir()))
            if left:
                sys.exit(f"{left} conversations are not archived")
            what = f"archiving, each verified and synced, {name} store : gzip -6"
            self.compare("u", what, (theirs, ours), "cpu", None)
            self.compare("u", what, (theirs, ours), "wall", None)
            peak = max(run.peak for run in ours)
            self.row("u", f"peak memory of it, {name} store", "MiB", 24, peak, peak / 24, 1)


def main():
    arguments = arguments_of(__doc__, "rstu")
    for tool in ("jq", "gzip"):
        if not shutil.which(tool):
            sys.exit(f"{tool} is not installed")
    bench = Operating(arguments.binary.resolve(), arguments.quick)
    parts = {"r": bench.health, "s": bench.validate, "t": bench.cleanup, "u": bench.cleanup}
    about = measure_all(bench, parts, arguments.only)
    write(bench, about + "; " + versions("jq", "gzip"), "operating results", arguments.write)


if __name__ == "__main__":
    main()
