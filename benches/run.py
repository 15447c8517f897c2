#!/usr/bin/env python3
"""Measures pachat against yardsticks, taken in turn with it in the same minute.

    cargo build --release --locked && python3 benches/run.py

Prints a table; `--write` puts it into benches/README.md, `--only c,d` limits the rows, and
`--quick` takes a fifth of the rounds. Everything is compiled, kept and thrown away below
target/bench. Needs Linux, rustc, curl and Python 3.9; nothing leaves the machine.
"""

import argparse
import datetime
import json
import os
import platform
import re
import shutil
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
WORK = ROOT / "target" / "bench"
MIB = 1024  # ru_maxrss is in KiB.
PROMPT = "why is the sky blue?"
MODEL = "bench/model"


class Run:
    """What one process cost."""

    def __init__(self, cpu, wall, peak, written, status):
        self.cpu = cpu / 1e6  # ms
        self.wall = wall / 1e6  # ms
        self.peak = peak / MIB  # MiB
        self.written = written  # bytes
        self.status = status


class Bench:
    def __init__(self, binary, quick):
        self.binary = str(binary)
        self.quick = quick
        self.rows = []
        self.report = WORK / "report"
        self.output = WORK / "output"
        self.environment = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(WORK / "home"),
            "OPENROUTER_API_KEY": "sk-or-v1-" + "0" * 64,
        }

    # Yardsticks and processes.

    def start(self):
        """Compiles the yardsticks and starts the server."""
        shutil.rmtree(WORK, ignore_errors=True)
        (WORK / "home").mkdir(parents=True)
        for name in ("hello", "measure", "server"):
            source = HERE / "yardsticks" / f"{name}.rs"
            command = ["rustc", "--edition", "2024", "-O", "-C", "strip=symbols"]
            subprocess.run([*command, "-o", WORK / "linked", source], check=True)
            install(WORK / "linked", WORK / name)
        install(self.binary, WORK / "pachat")
        self.binary = str(WORK / "pachat")
        self.server = subprocess.Popen([WORK / "server"], stdout=subprocess.PIPE)
        self.port = int(self.server.stdout.readline())

    def begin(self):
        """What the rows need besides; more in the other scripts."""
        self.start()

    def stop(self):
        self.server.kill()
        self.server.wait()

    def rounds(self, count):
        return max(3, count // 5) if self.quick else count

    def measure(self, mode, command, quiet=False):
        """Runs a command through `measure`; the fields of its report."""
        output = os.open(os.devnull if quiet else self.output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        environment = {**self.environment, "MEASURE_REPORT": str(self.report)}
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, output, 1),
        ]
        program = str(WORK / "measure")
        argv = [program, mode, *command]
        pid = os.posix_spawn(program, argv, environment, file_actions=actions)
        status = os.waitpid(pid, 0)[1]
        os.close(output)
        if status != 0:
            sys.exit(f"failed: {command}")
        return [int(field) for field in self.report.read_text().split()]

    def run(self, command, quiet=False):
        run = Run(*self.measure("run", command, quiet))
        if run.status != 0:
            sys.exit(f"status {run.status}: {command}")
        return run

    def in_turn(self, count, *commands, quiet=False, warm=3):
        """Runs the commands A B A B … A B; the runs of each."""
        runs = [[] for _ in commands]
        for number in range(self.rounds(count) + warm):
            for place, command in enumerate(commands):
                run = self.run(command, quiet)
                if number >= warm:
                    runs[place].append(run)
        return runs

    def url(self, scenario):
        return f"http://127.0.0.1:{self.port}/{scenario}/v1"

    def data(self, name):
        directory = WORK / "data" / name
        directory.mkdir(parents=True, exist_ok=True)
        return str(directory)

    def send(self, scenario, data, *options):
        return [
            self.binary, "send", "--data-dir", self.data(data), "--base-url", self.url(scenario),
            "-m", MODEL, *options, PROMPT,
        ]  # fmt: skip

    def curl(self, scenario, body=None):
        path = WORK / "body.json"
        if body is None:
            messages = [{"role": "user", "content": PROMPT}]
            body = json.dumps({"model": MODEL, "messages": messages, "stream": True})
        else:
            path = WORK / "long.json"
        path.write_text(body)
        return [
            "/usr/bin/curl", "-sN", "-H", "Content-Type: application/json", "-H", "Expect:",
            "-H", f"Authorization: Bearer {self.environment['OPENROUTER_API_KEY']}",
            "--data-binary", f"@{path}", f"{self.url(scenario)}/chat/completions",
        ]  # fmt: skip

    # Results.

    def row(self, mark, what, unit, yardstick, ours, ratio, bar):
        """`bar` is a limit for the ratio, or None for a figure without one."""
        verdict = "" if bar is None else ("met" if ratio <= bar else "**MISSED**")
        cells = [
            mark, what, figure(yardstick, unit), figure(ours, unit),
            "" if ratio is None else f"{ratio:.2f}", "" if bar is None else f"≤ {bar}", verdict,
        ]  # fmt: skip
        self.rows.append(cells)
        print("  ".join(cells), flush=True)

    def compare(self, mark, what, runs, key, bar):
        theirs, ours = runs
        ratio = statistics.median(
            getattr(b, key) / getattr(a, key) for a, b in zip(theirs, ours, strict=True)
        )
        self.row(
            mark, f"{what}, {key.upper() if key == 'cpu' else key}", "ms",
            median(theirs, key), median(ours, key), ratio, bar,
        )  # fmt: skip

    # The rows.

    def starting(self):
        """a, b: starting up."""
        hello, version, listing = self.in_turn(
            250,
            [str(WORK / "hello")],
            [self.binary, "--version"],
            [self.binary, "list", "--data-dir", self.data("empty")],
            quiet=True,
        )
        self.compare("a", "`--version` : hello-world", (hello, version), "cpu", 1.4)
        self.compare("b", "`list`, empty store : hello-world", (hello, listing), "cpu", 1.6)

    def one_shot(self):
        """c: a whole conversation in one command."""
        runs = self.in_turn(150, self.curl("short"), self.send("short", "one-shot"))
        self.compare("c", "`send`, short reply : curl", runs, "cpu", 0.6)
        self.compare("c", "`send`, short reply : curl", runs, "wall", 0.6)
        peak = max(run.peak for run in runs[1])
        self.row("c", "peak memory against 8 MiB", "MiB", 8, peak, peak / 8, 1)

    def burst(self):
        """d: a reply in very many pieces."""
        runs = self.in_turn(30, self.curl("burst-20000"), self.send("burst-20000", "burst"))
        self.compare("d", "20,000 pieces : curl", runs, "cpu", 2.5)
        self.compare("d", "20,000 pieces : curl", runs, "wall", None)
        text = self.output.read_text()
        if text.count(" word") != 20_000:
            sys.exit("the reply is not whole")
        (large,) = self.in_turn(5, self.send("burst-200000", "burst"), warm=0)
        small = median(runs[1], "peak")
        more = median([large[-1]], "peak") - small
        # 180,000 times five bytes, held twice: the text, and the line it is stored as.
        self.row("d", "peak, 20,000 and 200,000 pieces", "MiB", small, small + more, None, None)
        self.row("d", "growth per byte of reply", "B", None, more * MIB * MIB / 900_000, None, None)

    def first_piece(self):
        """e: from the server's write to our standard output."""
        commands = self.curl("stamp"), self.send("stamp", "first")
        delays = [[], []]
        for number in range(self.rounds(100) + 3):
            for place, command in enumerate(commands):
                (delay,) = self.measure("first", command)
                if number >= 3:
                    delays[place].append(delay / 1e6)
        ratio = statistics.median(b / a for a, b in zip(*delays, strict=True))
        theirs, ours = (statistics.median(times) for times in delays)
        self.row("e", "first piece, server to stdout : curl", "ms", theirs, ours, ratio, 1.5)

    def long_conversation(self):
        """f: a turn after 5,000 messages."""
        body = conversation(Path(self.data("long")), 5000)
        conversation(Path(self.data("brief")), 10)
        go_on = self.send("short", "long", "-c")
        runs = self.in_turn(40, self.curl("short", body), go_on)
        self.compare("f", f"turn after 5,000 messages ({len(body) / 1e6:.1f} MB) : curl", runs, "cpu", 2)
        self.compare("f", "the same", runs, "wall", 2)
        self.row("f", "peak memory of it", "MiB", None, median(runs[1], "peak"), None, None)
        (brief,) = self.in_turn(40, self.send("short", "brief", "-c"))
        few, many = (median(runs, "written") / 1024 for runs in (brief, runs[1]))
        what = "written in that turn, against one after 10 messages"
        self.row("f", what, "KiB", few, many, many / few, 1.1)

    def interrupt(self):
        """g: from Ctrl-C to the end of the process, and of the connection."""
        command = self.send("stall", "interrupted")
        ends, closes = [], []
        for _ in range(self.rounds(50)):
            with subprocess.Popen(
                command, env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            ) as process:  # fmt: skip
                process.stdout.read(5)
                # Not at the same place of its wait every time.
                time.sleep(0.02 + 0.0007 * len(ends))
                start = time.time_ns()
                process.send_signal(signal.SIGINT)
                status = process.wait()
                ends.append((time.time_ns() - start) / 1e6)
            if status != 130:
                sys.exit(f"status {status} after an interrupt")
            closes.append((int(self.server.stdout.readline()) - start) / 1e6)
        for what, times in (("Ctrl-C to exit", ends), ("Ctrl-C to closed connection", closes)):
            self.row("g", f"{what}, median", "ms", None, statistics.median(times), None, None)
            self.row("g", f"{what}, longest of {len(times)}", "ms", None, max(times), None, None)

    def parser(self):
        """h: the parser alone."""
        command = ["cargo", "bench", "--quiet", "--locked", "--bench", "sse"]
        out = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
        speed = float(re.search(r"median (\d+) MB/s", out)[1])
        self.row("h", "event-stream parser against 200 MB/s", "MB/s", 200, speed, 200 / speed, 1)


def install(binary, place):
    """Copies a program, as installing does: in a file as the linker has left it, the kernel finds
    its pages one by one."""
    shutil.copyfile(binary, place)
    place.chmod(0o755)


def median(runs, key):
    return statistics.median(getattr(run, key) for run in runs)


def figure(value, unit):
    if value is None:
        return ""
    return f"{value:.0f} {unit}" if value >= 100 else f"{value:.2f} {unit}"


def conversation(data, count):
    """Writes a conversation of `count` messages; the request that a further turn makes of it."""
    words = "the borrow checker “refuses” what would dangle; each value has one owner\n".split(" ")
    identifier = "20260822-094107-benchm"
    lines = [
        {
            "type": "conversation", "version": 1, "id": identifier, "title": "long", "model": MODEL,
            "created_at": "2026-08-22T09:41:07Z",
        }
    ]  # fmt: skip
    messages = []
    for n in range(1, count + 1):
        # From 80 to 2,000 characters, short ones more often; the same every time.
        length = 80 + round(1920 * ((n * 7919) % 1921 / 1920) ** 2)
        text = " ".join(words[(n + place) % len(words)] for place in range(length // 3))[:length]
        role = "user" if n % 2 else "assistant"
        line = {"type": "message", "n": n, "role": role, "content": text, "at": "2026-08-22T09:41:08Z"}
        if role == "assistant":
            line |= {
                "state": "complete", "finish_reason": "stop", "model": MODEL, "provider": "Bench",
                "generation_id": f"gen-{n:020}", "cost": "0.00012",
                "usage": {"prompt_tokens": n, "completion_tokens": 99, "total_tokens": n + 99},
                "latency_ms": {"first_byte": 300, "total": 2100},
            }  # fmt: skip
        lines.append(line)
        messages.append({"role": role, "content": text})
    active = data / "conversations" / "active"
    active.mkdir(parents=True)
    (data / "run").mkdir()
    (data / "VERSION").write_text("1\n")
    dump = lambda value: json.dumps(value, ensure_ascii=False, separators=(",", ":"))  # noqa: E731
    text = "".join(dump(line) + "\n" for line in lines)
    (active / f"{identifier}.jsonl").write_text(text)
    messages.append({"role": "user", "content": PROMPT})
    return dump({"model": MODEL, "messages": messages, "stream": True})


def described():
    """The machine, and the state of the program."""
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    ask = lambda *command: subprocess.run(command, capture_output=True, text=True, cwd=ROOT).stdout  # noqa: E731
    mount = ask("stat", "-f", "-c", "%T", str(WORK)).strip()
    if mount == "tmpfs":
        sys.exit("target/ is on a tmpfs: what is synced there costs nothing")
    return (
        f"{datetime.date.today()}, {cpu[1] if cpu else platform.machine()}, {os.cpu_count()} CPUs, "
        f"{platform.system()} {platform.release().split('-')[0]}, data on {mount}; "
        f"{ask('rustc', '--version').split(' (')[0].strip()}, "
        f"{' '.join(ask('curl', '--version').split()[:2])}; load {os.getloadavg()[0]:.1f}"
    )


def versions(*tools):
    """The tools, as they call themselves."""
    said = []
    for tool in tools:
        word = "version" if tool == "restic" else "--version"
        line = subprocess.run([tool, word], capture_output=True, text=True).stdout.splitlines()[0]
        said.append(f"{tool} {re.search(r'v?([0-9][0-9.]*)', line)[1]}")
    return ", ".join(said)


def arguments_of(about, letters):
    parser = argparse.ArgumentParser(description=about.split("\n")[0])
    parser.add_argument("--binary", type=Path, default=ROOT / "target" / "release" / "pachat")
    parser.add_argument("--only", default=letters, help="letters of rows")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--write", action="store_true", help="into benches/README.md")
    return parser.parse_args()


def measure_all(bench, parts, letters):
    """Takes the rows of these letters, each part once; what the figures were taken on."""
    try:
        bench.begin()
        about = described()
        for part in dict.fromkeys(part for letter, part in parts.items() if letter in letters):
            part()
    finally:
        bench.stop()
    return about


def write(bench, about, mark, into_page):
    """Prints the table, or puts it between two marks of the page."""
    head = "| | what : yardstick | yardstick | pachat | ratio | bar | |\n|---|---|--:|--:|--:|--:|---|\n"
    bench.rows.sort(key=lambda row: row[0])
    table = head + "".join(f"| {' | '.join(row)} |\n" for row in bench.rows)
    if not into_page:
        print(f"\n{about}\n\n{table}")
        return
    path = HERE / "README.md"
    start, end = f"<!-- {mark} -->\n", f"<!-- end of {mark} -->"
    before, rest = path.read_text().split(start)
    after = rest.split(end)[1]
    path.write_text(f"{before}{start}{about}\n\n{table}{end}{after}")


def main():
    arguments = arguments_of(__doc__, "abcdefgh")
    bench = Bench(arguments.binary.resolve(), arguments.quick)
    parts = {
        "a": bench.starting, "b": bench.starting, "c": bench.one_shot, "d": bench.burst,
        "e": bench.first_piece, "f": bench.long_conversation, "g": bench.interrupt,
        "h": bench.parser,
    }  # fmt: skip
    about = measure_all(bench, parts, arguments.only)
    write(bench, about, "results", arguments.write)


if __name__ == "__main__":
    main()
