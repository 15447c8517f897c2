#!/usr/bin/env python3
"""Measures backups against tar, gzip, age, restic and borg, in turn with them in the same minute.

    cargo build --release --locked && python3 benches/backup.py

Prints a table; `--write` puts it into benches/README.md, `--only k,m` limits the rows, and
`--quick` takes fewer rounds. Needs Linux, rustc, Python 3.9, restic, borg and age; nothing
leaves the machine, and what is written stays below target/bench.
"""

import json
import os
import re
import shutil
import statistics
import subprocess
import sys

import corpus
from corpus import STORES
from run import WORK, Bench, arguments_of, measure_all, median, versions, write


class Backups(Bench):
    def begin(self):
        self.start()
        # A place that all backups go to, as every tool has one, and a cache that stays.
        for name, (count, total) in STORES.items():
            directory = self.store(name)
            corpus.make(directory, count, total)
            self.text = {**getattr(self, "text", {}), name: size_of(directory / "conversations")}
        self.environment["RESTIC_PASSWORD"] = "bench"
        self.environment["RESTIC_CACHE_DIR"] = str(WORK / "restic-cache")
        self.environment["BORG_BASE_DIR"] = str(WORK / "borg")
        self.environment["BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK"] = "yes"
        identity = subprocess.run(["age-keygen"], capture_output=True, text=True, check=True)
        self.recipient = re.search(r"age1\w+", identity.stdout)[0]
        (WORK / "identity.txt").write_text(identity.stdout)

    def store(self, name):
        return WORK / "stores" / name

    def pachat(self, name, *arguments):
        return [self.binary, *arguments, "--data-dir", str(self.store(name)), "--quiet"]

    def alternate(self, count, *steps):
        """Runs (prepare, command) pairs in turn; the runs of each."""
        runs = [[] for _ in steps]
        for number in range(self.rounds(count) + 1):
            for place, (prepare, command) in enumerate(steps):
                prepare()
                run = self.run(command, quiet=True)
                if number >= 1:
                    runs[place].append(run)
        return runs

    def forget(self, name):
        """As before the first backup."""
        for directory in ("backups", "cache"):
            shutil.rmtree(self.store(name) / directory, ignore_errors=True)

    def tar_gz(self, name):
        source, target = self.store(name), WORK / f"{name}.tar.gz"
        return ["sh", "-c", f"tar c -C {source} conversations | gzip -6 > {target}"]

    def newest(self, name):
        return max((self.store(name) / "backups").glob("backup_*.tar.gz*"))

    # The rows.

    def first(self):
        """i, j, k: a first backup, verified; sealed; and how large it is."""
        for name in STORES:
            forget = lambda name=name: self.forget(name)  # noqa: E731
            nothing = lambda: None  # noqa: E731
            plain = self.pachat(name, "backup")
            sealed = self.pachat(name, "backup", "--recipient", self.recipient)
            aged = [*self.tar_gz(name)[:2], f"tar c -C {self.store(name)} conversations | gzip -6 | age -r {self.recipient} > {WORK}/x.age"]
            restic = WORK / "restic"
            restic_new = lambda: (  # noqa: E731
                shutil.rmtree(restic, ignore_errors=True),
                subprocess.run(["restic", "init", "-q", "-r", restic], env=self.environment, check=True),
            )
            restic_run = ["restic", "backup", "-q", "-r", str(restic), str(self.store(name) / "conversations")]
            borg = WORK / "borg-repo"
            borg_new = lambda: (  # noqa: E731
                shutil.rmtree(borg, ignore_errors=True),
                subprocess.run(["borg", "init", "-e", "none", borg], env=self.environment, check=True, capture_output=True),
            )
            borg_run = ["borg", "create", "-C", "zlib,6", f"{borg}::first", str(self.store(name) / "conversations")]
            count = 5 if name == "large" else 9
            tar, ours, ours_sealed, tar_age, by_restic, by_borg = self.alternate(
                count,
                (nothing, self.tar_gz(name)),
                (forget, plain),
                (forget, sealed),
                (nothing, aged),
                (restic_new, restic_run),
                (borg_new, borg_run),
            )
            what = f"first backup, verified, {name} store"
            self.compare("i", f"{what} : tar \\| gzip -6", (tar, ours), "wall", 0.6)
            self.compare("i", f"{what} : tar \\| gzip -6", (tar, ours), "cpu", 0.7)
            self.compare("i", f"{what} : restic", (by_restic, ours), "cpu", None)
            self.compare("i", f"{what} : borg, zlib", (by_borg, ours), "cpu", None)
            self.compare("j", f"encrypted, {name} store : ours unencrypted", (ours, ours_sealed), "wall", 1.1)
            self.compare("j", f"encrypted, {name} store : ours unencrypted", (ours, ours_sealed), "cpu", 1.1)
            self.compare("j", f"encrypted, {name} store : tar \\| gzip -6 \\| age", (tar_age, ours_sealed), "wall", None)
            forget()
            self.run(plain)
            theirs, size = (WORK / f"{name}.tar.gz").stat().st_size / 1e6, self.newest(name).stat().st_size / 1e6
            self.row("k", f"size, {name} store : tar.gz", "MB", theirs, size, size / theirs, 1.03)
            for mark, runs in (("q", ours), ("q", ours_sealed)):
                peak = max(run.peak for run in runs)
                sealed = "encrypted" if runs is ours_sealed else "first"
                self.row(mark, f"peak memory, {sealed} backup, {name} store", "MiB", 24, peak, peak / 24, 1)

    def again(self):
        """l, m: nothing changed, and a hundredth changed."""
        for name, (count, _) in STORES.items():
            self.forget(name)
            first = self.run(self.pachat(name, "backup"))
            restic = WORK / "restic"
            shutil.rmtree(restic, ignore_errors=True)
            conversations = str(self.store(name) / "conversations")
            subprocess.run(["restic", "init", "-q", "-r", restic], env=self.environment, check=True)
            by_restic = ["restic", "backup", "-q", "-r", str(restic), conversations]
            self.run(by_restic)
            # Files that have just been written are read again, until their times say something.
            subprocess.run(["sleep", "3"], check=True)
            self.run(self.pachat(name, "backup", "--force"))
            theirs, ours = self.in_turn(20, by_restic, self.pachat(name, "backup"), quiet=True, warm=1)
            self.compare("l", f"unchanged, {name} store : restic", (theirs, ours), "cpu", 0.2)
            self.compare("l", f"unchanged, {name} store : restic", (theirs, ours), "wall", None)
            names = sorted(os.listdir(self.store(name) / "conversations" / "active"))
            hundredth = count // 100
            for which in ("newest", "scattered"):
                firsts, changed, resticed = [], [], []
                for number in range(self.rounds(5)):
                    chosen = names[-hundredth:] if which == "newest" else names[number % 100 :: 100]
                    corpus.touch(self.store(name), chosen, number)
                    changed.append(self.run(self.pachat(name, "backup")))
                    resticed.append(self.run(by_restic))
                    # The yardstick: the same store, as if there had never been a backup.
                    aside = WORK / "aside"
                    shutil.rmtree(aside, ignore_errors=True)
                    aside.mkdir()
                    for part in ("backups", "cache"):
                        (self.store(name) / part).rename(aside / part)
                    firsts.append(self.run(self.pachat(name, "backup")))
                    self.forget(name)
                    for part in ("backups", "cache"):
                        (aside / part).rename(self.store(name) / part)
                what = f"1 % changed ({which}), {name} store"
                self.compare("m", f"{what} : ours, first", (firsts, changed), "cpu", 0.25)
                self.compare("m", f"{what} : restic", (resticed, changed), "cpu", None)
            peak = max(run.peak for run in changed)
            self.row("q", f"peak memory, 1 % changed, {name} store", "MiB", 24, peak, peak / 24, 1)

    def listing(self):
        """n: a list of 1,000 backups."""
        name = "thousand"
        corpus.make(self.store(name), 3, 3000)
        self.run(self.pachat(name, "backup"))
        backups = self.store(name) / "backups"
        archive, card = self.newest(name), next(backups.glob("backup_*.json"))
        document = json.loads(card.read_text())
        for number in range(999):
            stamp = f"backup_2025{number // 84 + 1:02}{number // 3 % 28 + 1:02}_{number % 3:02}0000"
            shutil.copy(archive, backups / f"{stamp}.tar.gz")
            (backups / f"{stamp}.json").write_text(json.dumps({**document, "archive": f"{stamp}.tar.gz"}))
        (runs,) = self.in_turn(40, self.pachat(name, "restore", "--list"), quiet=True)
        wall = median(runs, "wall")
        self.row("n", "`restore --list` of 1,000 backups", "ms", 50, wall, wall / 50, 1)

    def restoring(self):
        """o: into a new place, with every check."""
        for name in STORES:
            self.forget(name)
            self.run(self.pachat(name, "backup"))
            archive, out, target = self.newest(name), WORK / "out", WORK / "target"
            clear = lambda: (shutil.rmtree(out, ignore_errors=True), out.mkdir())  # noqa: E731
            gone = lambda: shutil.rmtree(target, ignore_errors=True)  # noqa: E731
            tar = ["tar", "xzf", str(archive), "-C", str(out)]
            ours = [self.binary, "restore", str(archive), "--yes", "--quiet", "--data-dir", str(target)]
            runs = self.alternate(7, (clear, tar), (gone, ours))
            bar = 1.5 if name == "large" else None
            self.compare("o", f"restore, {name} store : tar xzf", runs, "cpu", bar)
            self.compare("o", f"restore, {name} store : tar xzf", runs, "wall", None)
            peak = max(run.peak for run in runs[1])
            self.row("q", f"peak memory, restore, {name} store", "MiB", 24, peak, peak / 24, 1)

    def points(self):
        """p: a rollback point."""
        for name in STORES:
            points = self.store(name) / "backups" / "points"
            copy = ["cp", "-al", str(self.store(name) / "conversations"), str(WORK / "links")]
            gone = lambda: shutil.rmtree(WORK / "links", ignore_errors=True)  # noqa: E731
            clear = lambda points=points: shutil.rmtree(points, ignore_errors=True)  # noqa: E731
            theirs, ours = self.alternate(
                20, (gone, copy), (clear, self.pachat(name, "rollback", "--create-point"))
            )
            bar = 300 if name == "small" else None
            wall = median(ours, "wall")
            ratio = statistics.median(b.wall / a.wall for a, b in zip(theirs, ours, strict=True))
            self.row("p", f"rollback point, {name} store : cp -al", "ms", median(theirs, "wall"), wall, ratio, None)
            if bar:
                self.row("p", "the same against 0.3 s", "ms", bar, wall, wall / bar, 1)
            peak = max(run.peak for run in ours)
            self.row("q", f"peak memory, rollback point, {name} store", "MiB", 24, peak, peak / 24, 1)


def size_of(directory):
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


def main():
    arguments = arguments_of(__doc__, "ijklmnop")
    for tool in ("restic", "borg", "age", "tar", "gzip"):
        if not shutil.which(tool):
            sys.exit(f"{tool} is not installed")
    bench = Backups(arguments.binary.resolve(), arguments.quick)
    parts = {
        "i": bench.first, "j": bench.first, "k": bench.first, "l": bench.again, "m": bench.again,
        "n": bench.listing, "o": bench.restoring, "p": bench.points,
    }  # fmt: skip
    about = measure_all(bench, parts, arguments.only)
    about += "; " + versions("tar", "gzip", "age", "restic", "borg")
    write(bench, about, "backup results", arguments.write)


if __name__ == "__main__":
    main()
