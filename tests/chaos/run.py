#!/usr/bin/env python3
"""Chaos: real processes on real servers while faults happen at random.

    python tests/chaos/run.py --library DIR [--seconds N] [--total N] [--seed N] [--server redis|valkey]
        [--topology single|cluster|sentinel]

A round starts a server, a Cluster or a master with its replica and Sentinels; four workers (C, C++, Python, and
C again), on a single server each behind a proxy of its own; and a plain client. It lets faults happen for `--seconds`, and none for a while; then waits until all is quiet, compares what every
process reads with what the server holds, and judges each operation (history.py). The last line of a failed round has
its seed and the command that repeats its faults and operations; when they fall is the machine's affair.

Exit status 0: no violation. `--expect-violations` turns that around, for runs that take a protection away
(`--option invalidation=none`) to show that the check bites.
"""

import argparse
import collections
import contextlib
import json
import os
import random
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import faults  # noqa: E402
import record  # noqa: E402
import servers  # noqa: E402
import workers  # noqa: E402
from history import MS, History, Verdict  # noqa: E402
from route import Route  # noqa: E402
from server_harness.nodes import StartFailed  # noqa: E402

WATCHDOG_MS = 500
BOUND_MS = WATCHDOG_MS + 500
CALM_BOUND_MS, RECOVERY_BOUND_MS = 100, 1000
LANGUAGES = ("c", "cpp", "python", "c")
THREADS, KEYS = 4, 32
CALM_SECONDS = 3.5
"""Of work without faults at the end of a round."""
PREFIX = "chaos"
PLACES = [("single", "redis"), ("single", "valkey"), ("cluster", "redis"), ("sentinel", "valkey")]
PLACES += [("cluster", "valkey"), ("sentinel", "redis")]
ONCE = 4
"""So many of the places are had in a run without a `--total`."""


def one_round(arguments, commands, seed, topology, program):
    """One round; returns its verdict and the names of the faults that happened."""
    dice = random.Random(seed)
    history = History(KEYS, BOUND_MS)
    happened = collections.Counter()
    at_least = len(faults.kinds(topology)) if arguments.faults is None else arguments.faults
    options = "&".join(
        [f"prefix={PREFIX}", f"watchdog={WATCHDOG_MS}ms", "l2_timeout=250ms", "breaker_open=250ms", *arguments.option]
    )
    with servers.start(topology, server=program) as server, tempfile.TemporaryDirectory(prefix="lc-chaos-") as logs:
        running = []
        try:
            for number, language in enumerate(LANGUAGES, 1):
                command = commands[language]
                running.append(workers.Worker(number, language, command, server, options, THREADS, KEYS, seed, logs))
            for worker in running:
                worker.opened()
            plain = workers.PlainClient(server.data_ports, PREFIX, KEYS, seed)
            plain.start()
            scene = faults.Scene(server, running, history, dice)
            end = time.monotonic() + arguments.seconds
            for name, seconds, calm in faults.schedule(topology, dice):
                if sum(happened.values()) >= at_least and time.monotonic() >= end:
                    break
                faults.happen(scene, name, seconds)
                happened[name] += 1
                time.sleep(calm)
            time.sleep(CALM_SECONDS)
            plain.end()
            _come_to_rest(server, running, history)
        finally:
            statuses = [worker.end() for worker in running]
        if any(statuses):
            history.verdict.violation("crashed", f"exit statuses {statuses}")
        for file in Path(logs).glob("*.log"):
            history.add(int(file.name.split(".")[0]), record.read(file))
        history.add(workers.PLAIN, plain.records)
    return history.judge(), happened


def _come_to_rest(server, running, history):
    """Stops the writing, waits until all have joined L2 and no proof is older than the last write, and looks."""
    for worker in running:
        worker.tell("quiet")
    for worker in running:
        worker.expect("quiet")
    time.sleep(BOUND_MS / 1000)
    for worker in running:
        worker.ask("final", "final")
    with contextlib.closing(Route(server.data_ports)) as route:
        for key in range(KEYS):
            value = route.call("GET", f"{PREFIX}:k{key}")
            history.server_holds(key, record.version_of(_payload(value), key) if value else 0)


def _payload(value):
    """What the library stores has a header of a few bytes before the payload."""
    return value[max(value.find(b"v0"), 0) :]


def report(verdict, happened, strict):
    """Prints what was seen; returns the number of violations."""
    staleness = verdict.staleness_ms()
    if strict and staleness["max"] > CALM_BOUND_MS:
        late = sum(age > CALM_BOUND_MS * MS for age in verdict.calm_staleness)
        verdict.violation("stale in calm", f"{late} reads, the oldest {staleness['max']:.0f} ms")
    slowest = {}
    for ns, name in verdict.recoveries:
        slowest[name] = max(slowest.get(name, 0), ns)
    for name, ns in slowest.items() if strict else ():
        if ns > RECOVERY_BOUND_MS * MS:
            verdict.violation("late recovery", f"{ns / MS:.0f} ms after {name}")
    print(f"  {verdict.operations:,} operations: {verdict.reads:,} reads, {verdict.writes:,} writes", end="")
    print(f" ({verdict.open_writes:,} not confirmed); {verdict.stale_marked:,} reads around stale serving")
    print("  faults: " + ", ".join(f"{count} {name}" for name, count in sorted(happened.items())))
    ages = ", ".join(f"{name} {age:.2f}" for name, age in staleness.items())
    print(f"  {verdict.calm_reads:,} reads in calm times were older than the last write by, in ms: {ages}")
    times = ", ".join(f"{name} {ns / MS:.0f}" for name, ns in sorted(slowest.items()))
    print(f"  slowest recovery, in ms after the end of: {times or 'none'}")
    for example in verdict.examples:
        print(f"  ! {example}")
    count = sum(verdict.violations.values())
    print(f"  {count} violations {dict(verdict.violations) or ''}".rstrip(), flush=True)
    return count


def main():
    parser = argparse.ArgumentParser(description="Real processes on real servers while faults happen.")
    parser.add_argument("--library", type=Path, default=HERE.parents[1] / "target/release")
    parser.add_argument("--seconds", type=float, default=10, help="of faults, each round")
    parser.add_argument("--faults", type=int, help="at least so many each round; by default each kind once")
    parser.add_argument("--total", type=float, default=0, help="seconds of rounds; 0 for one in each place")
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "little"))
    parser.add_argument("--server", choices=("redis", "valkey"), help="only on this one")
    parser.add_argument("--topology", choices=tuple(faults.FAULTS), help="only on this one")
    parser.add_argument("--strict", action="store_true", help="also bounds that a busy machine may miss")
    parser.add_argument("--option", action="append", default=[], help="of the caches, as NAME=VALUE")
    parser.add_argument("--expect-violations", action="store_true", help="succeed where some are found")
    parser.add_argument("--json", type=Path, help="write the figures of all rounds to this file")
    arguments = parser.parse_args()

    only = (arguments.topology, arguments.server)
    places = [place for place in PLACES if all(one in (None, its) for one, its in zip(only, place))]
    if not (any(only) or arguments.total):
        places = places[:ONCE]
    commands = workers.build(arguments.library, HERE.parents[1] / "target/chaos")
    os.environ["PYTHONPATH"] = str(HERE)
    total, happened, failed = Verdict(), collections.Counter(), []
    until = time.monotonic() + arguments.total
    number = 0
    while number < len(places) or time.monotonic() < until:
        place, seed = places[number % len(places)], arguments.seed + number
        number += 1
        print(f"round {number} on {' '.join(place)}, seed {seed}", flush=True)
        try:
            verdict, faults_of_it = one_round(arguments, commands, seed, *place)
        except (workers.Failed, servers.ServerError, StartFailed) as error:
            verdict, faults_of_it = Verdict(), collections.Counter()
            verdict.violation("stuck", str(error))
        if report(verdict, faults_of_it, arguments.strict):
            failed.append((seed, *place))
        total.add(verdict)
        happened += faults_of_it
    if number > 1:
        print("all rounds:")
        report(total, happened, False)
    if arguments.json:
        figures = {"operations": total.operations, "violations": dict(total.violations), "faults": dict(happened)}
        arguments.json.write_text(json.dumps(figures | {"staleness_ms": total.staleness_ms()}, indent=1) + "\n")
    more = "".join(f" --option {option}" for option in arguments.option)
    for seed, topology, program in failed:
        where = f"--topology {topology} --server {program} --seconds {arguments.seconds:g}"
        print(f"to repeat: python tests/chaos/run.py --seed {seed} {where}{more}")
    return 0 if bool(failed) == arguments.expect_violations else 1


if __name__ == "__main__":
    sys.exit(main())
