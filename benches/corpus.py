"""Conversations that compress as real ones do: prose, code and CJK, log-normal in size.

    python3 benches/corpus.py DIRECTORY COUNT MEGABYTES

makes a data directory. The same every time for the same tree of sources: words and lines come
from this repository's own manual and code.
"""

import json
import math
import os
import random
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# What each of the two stores is: name, conversations, bytes.
STORES = {"large": (1000, 100_000_000), "small": (10_000, 35_000_000)}


class Text:
    """Text by the sentence: words by their real frequency, lines of real code."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        manual = "\n".join(path.read_text() for path in sorted((ROOT / "data/manual").glob("*.md")))
        words = re.findall(r"[A-Za-z][a-z'-]*[,.;:]?", manual)
        # Chains of two words: real frequencies, real neighbours, and no sentence twice.
        self.after = {}
        for first, second in zip(words, words[1:]):
            self.after.setdefault(first, []).append(second)
        self.word = words[0]
        self.code = [
            line.rstrip()
            for path in sorted((ROOT / "src").rglob("*.rs"))
            for line in path.read_text().splitlines()
            if line.strip()
        ]
        # The thousand ideographs from U+4E00 on, the first ones more often.
        self.ideographs = [chr(0x4E00 + number) for number in range(1000)]
        self.weights = [1 / (number + 5) for number in range(1000)]

    def prose(self, length):
        out = []
        size = 0
        while size < length:
            self.word = self.random.choice(self.after.get(self.word) or list(self.after))
            # A word now and then that is nowhere else: names, numbers, links.
            word = self.word
            if self.random.random() < 0.06:
                word = "".join(self.random.choices("abcdefghijklmnoprstuvwy0123456789", k=7))
            out.append(word)
            size += len(word) + 1
        return " ".join(out)

    def source(self, length):
        out = ["```rust"]
        size = 0
        while size < length:
            start = self.random.randrange(len(self.code) - 12)
            for line in self.code[start : start + self.random.randint(2, 10)]:
                if self.random.random() < 0.3:
                    line = line.replace("self", "item" + str(self.random.randint(1, 999)))
                out.append(line)
                size += len(line) + 1
        return "\n".join([*out, "```"])

    def cjk(self, length):
        count = max(1, length // 3)
        text = "".join(self.random.choices(self.ideographs, self.weights, k=count))
        return re.sub(r"(.{17})", r"\1。", text)

    def message(self, length):
        kind = self.random.random()
        if kind < 0.6:
            return self.prose(length)
        return self.source(length) if kind < 0.85 else self.cjk(length)


def day(at):
    return f"2025-{at // 28 % 12 + 1:02}-{at % 28 + 1:02}"


def turn(text, n, at, length):
    """A prompt and a reply, as pachat writes them."""
    stamp = lambda ms: f"{day(at)}T{10 + n // 3600 % 12:02}:{n // 60 % 60:02}:{n % 60:02}.{ms:03}Z"  # noqa: E731
    prompt = {
        "type": "message", "n": n, "role": "user", "content": text.message(max(20, length // 6)),
        "at": stamp(n % 500),
    }  # fmt: skip
    reply = {
        "type": "message", "n": n + 1, "role": "assistant", "content": text.message(length),
        "at": stamp(500 + n * 7 % 500), "state": "complete", "finish_reason": "stop",
        "model": "anthropic/claude-sonnet-4.5", "provider": "Anthropic",
        "generation_id": f"gen-{text.random.getrandbits(96):024x}", "cost": f"0.{length:08}",
        "usage": {"prompt_tokens": length // 3, "completion_tokens": length // 4, "total_tokens": length // 2},
        "latency_ms": {"first_byte": 300 + length % 900, "total": 2100 + length},
    }  # fmt: skip
    return dump(prompt) + dump(reply)


def dump(value):
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n"


def identifier(number, source):
    alphabet = "0123456789abcdefghjkmnpqrstvwxyz"
    minute = number * 37
    date = day(number).replace("-", "")
    stamp = f"{date}-{minute // 60 % 24:02}{minute % 60:02}{number % 60:02}"
    return stamp + "-" + "".join(source.choices(alphabet, k=6))


def sizes(count, total, source):
    """Log-normal, as sizes of what people write are; together `total`."""
    raw = [math.exp(source.gauss(0, 1.1)) for _ in range(count)]
    scale = total / sum(raw)
    return [int(size * scale) for size in raw]


def make(directory, count, total):
    """A data directory with `count` conversations of `total` bytes together."""
    # As pachat makes them: for their owner alone.
    os.umask(0o077)
    source = random.Random(count)
    text = Text(count)
    active = Path(directory) / "conversations" / "active"
    active.mkdir(parents=True)
    (Path(directory) / "run").mkdir()
    (Path(directory) / "VERSION").write_text("1\n")
    for number, size in enumerate(sizes(count, total, source)):
        name = identifier(number, source)
        header = {
            "type": "conversation", "version": 1, "id": name, "created_at": f"{day(number)}T09:41:07.120Z",
            "title": text.message(30)[:60], "model": "openrouter/auto",
        }  # fmt: skip
        lines = [dump(header)]
        length = len(lines[0])
        n = 1
        while length < size or n == 1:
            lines.append(turn(text, n, number, min(source.randint(200, 4000), max(120, size - length))))
            length += len(lines[-1].encode())
            n += 2
        (active / f"{name}.jsonl").write_text("".join(lines))


def touch(directory, names, seed):
    """One more turn in each of these conversations."""
    text = Text(seed)
    for name in names:
        path = Path(directory) / "conversations" / "active" / name
        with path.open("a") as file:
            # The last day of the year as it is here: after everything else.
            file.write(turn(text, 9001 + 2 * seed, 335, 900))


if __name__ == "__main__":
    make(sys.argv[1], int(sys.argv[2]), int(float(sys.argv[3]) * 1e6))
