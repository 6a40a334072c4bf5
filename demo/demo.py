"""`make demo`: a slow query over real text, looked up 20,000 times, without and with lighter_cache.

The words of every .py file of this machine's Python standard library go into SQLite; the look-up is
"which words are at home where this word is dense?", asked for words drawn by a Zipf law, as visitors
of a site ask for pages. Where a Redis or a Valkey can be had, the Hybrid cache follows, and a C
program that shares it.
"""

import argparse
import itertools
import json
import os
import random
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import lighter_cache
from display import Progress, Run, duration, line, step, table
from word_index import WordIndex, source_files

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))
import servers  # noqa: E402  (the test servers serve the demo too)

VOCABULARY = 5000
TTL = 3600
# The look-ups without a cache take a minute and a half; a machine on which they take longer does fewer of them.
UNCACHED_SECONDS = 180.0


def draw(words, count):
    """`count` words by a Zipf law (exponent 1) over the commonest ones; the same ones every time."""
    ranked = words[:VOCABULARY]
    weights = list(itertools.accumulate(1 / rank for rank in range(1, len(ranked) + 1)))
    return random.Random(20000).choices(ranked, cum_weights=weights, k=count)


def without_cache(index, asked):
    """Every look-up asks SQLite."""
    latencies, began = [], time.monotonic()
    progress = Progress("asking SQLite every time", len(asked))
    for word in asked:
        start = time.perf_counter_ns()
        index.related(word)
        latencies.append(time.perf_counter_ns() - start)
        progress(len(latencies))
        if time.monotonic() - began > UNCACHED_SECONDS:
            progress.end()
            break
    return Run("SQLite alone", latencies)


def with_cache(name, cache, index, asked):
    """Every look-up asks the cache first, and SQLite only for what it has not."""
    before = cache.stats()
    latencies = []
    progress = Progress(name, len(asked))
    for word in asked:
        start = time.perf_counter_ns()
        key = "related:" + word
        if cache.get(key) is None:
            cache.set(key, index.related(word), ttl=TTL)
        latencies.append(time.perf_counter_ns() - start)
        progress(len(latencies))
    return Run(name, latencies, cache.stats().hits - before.hits)


def show_answers(index, asked):
    """Three look-ups with their answers, so that one sees what is being cached."""
    for word in list(dict.fromkeys(asked))[20:23]:
        start = time.perf_counter_ns()
        answer = json.loads(index.related(word))
        line(f"{word}: {', '.join(answer[:6])} ...  ({duration(time.perf_counter_ns() - start)})")


def compile_reader(folder, library):
    """Builds demo/reader.c against the library of this tree."""
    (folder / "liblighter_cache.so.0").symlink_to(library / "liblighter_cache.so")
    program = folder / "reader"
    compiler = shlex.split(os.environ.get("CC", "cc"))
    flags = ["-O2", "-I", ROOT / "include", ROOT / "demo/reader.c", folder / "liblighter_cache.so.0"]
    subprocess.run([*compiler, *flags, f"-Wl,-rpath,{folder}", "-o", program], check=True)
    return program


def seen(cache, key, value):
    """Reads until the key has the value; the moment at which it had."""
    deadline = time.monotonic() + 10
    while cache.get(key) != value:
        if time.monotonic() > deadline:
            raise SystemExit(f"Python did not see {value!r} within 10 s")
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC)


def c_program(server, cache, url, asked, folder, library):
    """A C program reads what this process cached and overwrites one entry; this process sees it. Then a plain client
    overwrites it, and both see that."""
    keys = list(dict.fromkeys("related:" + word for word in asked))[:2000]
    reader = compile_reader(folder, library)
    process = subprocess.Popen([reader, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    process.stdin.write("\n".join(keys) + "\n\n")
    process.stdin.flush()
    word, found, total, *times = process.stdout.readline().split() or ["nothing", "0", "0", "0"]
    if word != "read" or found != total:
        raise SystemExit(f"the C program found {found} of {total} entries")
    line(f"demo/reader.c opened the same URL and read {int(found):,} entries that Python had cached")

    key, new = keys[0], b'["written", "by", "C"]'
    line(f"Python: {key} is {cache.get(key).decode()}")
    process.stdin.write(new.decode() + "\n")
    process.stdin.flush()
    at = seen(cache, key, new)
    _, began, ended = process.stdout.readline().split()
    line(f"C:      lc_set({key}) took {duration(int(ended) - int(began))}")
    line(f"Python: {key} is {new.decode()}, seen in its own memory {duration(at - int(began))} after C began to write")

    plain = b'["written", "by", "a", "plain", "client"]'
    process.stdin.write(plain.decode() + "\n")
    process.stdin.close()
    process.stdout.readline()
    with server.client() as client:
        began = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        client.call("SET", f"demo:{key}", plain)
    at = seen(cache, key, plain)
    word, in_c = process.stdout.readline().split() or ["nothing", "0"]
    if process.wait(15) != 0 or word != "saw":
        raise SystemExit("the C program failed")
    process.stdout.close()
    line(f"redis-cli, or any plain client: SET demo:{key} '{plain.decode()}'")
    line(
        f"C and Python see that in their own memory {duration(int(in_c) - began)} and {duration(at - began)} after it began"
    )
    return Run("C program, its L1 empty", [int(text) for text in times], int(found))


def without_server(server, cache, index, asked):
    """The server dies; the look-ups go on from this process's memory."""
    server.kill()
    run = with_cache("Hybrid, server killed", cache, index, asked)
    line(f"the server is gone, and all {run.count:,} look-ups were answered; degraded: {bool(cache.stats().degraded)}")
    server.restart()
    return run


def start_server():
    """A Redis, else a Valkey, else the reasons why there is none."""
    reasons = []
    for name in ("redis", "valkey"):
        try:
            return servers.start("single", server=name), reasons
        except servers.ServerError as error:
            reasons.append(str(error))
    return None, reasons


def hybrid_part(index, asked, folder, library, runs):
    step("4. Hybrid: this process's memory over a server that others share")
    server, reasons = start_server()
    if server is None:
        line("No Redis and no Valkey can be had on this machine, so this part is left out:")
        for reason in reasons:
            line(reason)
        return
    with server:
        url = f"hybrid+{server.url}?prefix=demo"
        line(f"{server.server} {server.version} is running; URL {url}")
        with lighter_cache.open(url) as cache:
            runs.append(with_cache("Hybrid, empty at first", cache, index, asked))
            runs.append(with_cache("Hybrid, once more", cache, index, asked))
            step("5. A C program and a plain client share the cache")
            runs.append(c_program(server, cache, url, asked, folder, library))
            step("6. The server is killed")
            runs.append(without_server(server, cache, index, asked))


def main():
    parser = argparse.ArgumentParser(description="lighter_cache at work on real input.")
    parser.add_argument("--library", type=Path, default=ROOT / "target/release", help="folder of liblighter_cache.so")
    parser.add_argument("--lookups", type=int, default=20000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="lc-demo-") as name:
        folder = Path(name)
        step("1. The slow source: words of the Python standard library in SQLite")
        files = source_files()
        index = WordIndex(folder / "words.db")
        index.fill(files, Progress("indexing files", len(files)))
        line(f"{index.bytes / 1e6:.1f} MB of source, {len(index.words):,} words, {index.postings:,} rows")
        asked = draw(index.words, arguments.lookups)
        line(
            f"{len(asked):,} look-ups by a Zipf law over {VOCABULARY:,} words, {len(set(asked)):,} different ones, such as"
        )
        show_answers(index, asked)

        step("2. No cache")
        runs = [without_cache(index, asked)]
        if runs[0].count < len(asked):
            line(f"enough of that: all {len(asked):,} would take {duration(runs[0].mean * len(asked))}")

        step("3. Local: in this process")
        with lighter_cache.open("local:") as cache:
            runs.append(with_cache("Local, empty at first", cache, index, asked))
            runs.append(with_cache("Local, once more", cache, index, asked))

        hybrid_part(index, asked, folder, arguments.library.resolve(), runs)
        index.close()

        step("What it comes to")
        table(runs)
        step(
            "p99 of a run that begins empty is a miss, which SQLite answers. Speed-up compares means with SQLite alone."
        )


if __name__ == "__main__":
    main()
