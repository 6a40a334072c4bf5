"""The worker that uses the Python package; `worker.h` says how it is started and what it obeys."""

import os
import random
import sys
import threading
import time
from pathlib import Path

import lighter_cache
import record

CHILD_SECONDS = 1.5
JOIN_SECONDS = 30.0
FINAL_THREAD = 16


class Log:
    """One thread's records."""

    def __init__(self, worker, thread):
        self._file = open(worker.folder / f"{worker.id}.{thread}.log", "wb", buffering=1 << 15)
        self._cache = worker.cache
        self._before = self._counters()

    def _counters(self):
        stats = self._cache.stats()
        unconfirmed = stats.queued_writes + stats.replayed_writes + stats.dropped_writes
        return unconfirmed, stats.stale_served, stats.errors, stats.degraded, stats.queued_writes

    def add(self, begin, version, key, ttl_ms, operation, outcome):
        end = time.monotonic_ns()
        before, after = self._before, self._counters()
        self._before = after
        flags = 0
        if before != after or after[3] or after[4]:
            moved = [a != b for a, b in zip(after[:3], before[:3])] + [before[3] or after[3]]
            # Of the writes of one key only the last is queued: a further one does not show in the sum.
            moved[0] |= before[4] > 0 or after[4] > 0
            flags = sum(1 << place for place, set_ in enumerate(moved) if set_)
        self._file.write(record.FORMAT.pack(begin, end, version, key, ttl_ms, operation, outcome, flags))

    def close(self):
        self._file.close()


class Worker:
    """A cache, and the threads that work on it."""

    def __init__(self, url, number, threads, keys, seed, folder):
        self.id, self.thread_count, self.keys, self.seed = int(number), int(threads), int(keys), int(seed)
        self.folder = Path(folder)
        self.cache = lighter_cache.open(url)
        self._children = []
        self._start()

    def _start(self):
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._work, args=(number,)) for number in range(self.thread_count)]
        for thread in self._threads:
            thread.start()

    def end(self):
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _work(self, thread):
        dice = random.Random(f"{self.seed}.{self.id}.{thread}")
        version = self.id << 40 | thread << 32
        log = Log(self, thread)
        while not self._stop.is_set():
            for _ in range(dice.randint(1, 12)):
                version += 1
                self._once(log, dice, version)
            time.sleep(dice.uniform(0.001, 0.005))
        log.close()

    def _once(self, log, dice, version):
        key = dice.randrange(1 + dice.randrange(self.keys))
        name, roll = f"k{key}", dice.randrange(4000)
        if roll >= 600:
            self._read(log, key, record.GET)
            return
        begin, written, ttl_ms, outcome = time.monotonic_ns(), 0, 0, record.OK
        try:
            if roll == 0:
                operation = record.CLEAR
                self.cache.clear()
            elif roll < 150:
                operation = record.DELETE
                outcome = record.OK if self.cache.delete(name) else record.MISS
            else:
                operation, written = record.SET, version
                ttl_ms = dice.randint(50, 1550) if roll < 250 else 0
                value = record.make_value(version, key)
                begin = time.monotonic_ns()
                self.cache.set(name, value, ttl_ms / 1000 if ttl_ms else None)
        except lighter_cache.CacheError as error:
            print(f"{operation} gave {error!r}", file=sys.stderr)
            outcome = record.FAILED
        log.add(begin, written, key, ttl_ms, operation, outcome)

    def _read(self, log, key, operation):
        name, version, outcome = f"k{key}", 0, record.MISS
        begin = time.monotonic_ns()
        try:
            value = self.cache.get(name)
        except lighter_cache.CacheError as error:
            print(f"get gave {error!r}", file=sys.stderr)
            value, outcome = None, record.FAILED
        if value is not None:
            version = record.version_of(value, key)
            outcome = record.OK if version else record.TORN
        log.add(begin, version, key, 0, operation, outcome)

    # --- the commands

    def fork(self, number):
        child = os.fork()
        if child == 0:
            self.id, self._children = int(number), []
            self._start()
            time.sleep(CHILD_SECONDS)
            self.end()
            os._exit(0)
        self._children.append(child)
        return "forked"

    def quiet(self):
        self.end()
        for child in self._children:
            if os.waitpid(child, 0)[1] != 0:
                return "a forked child failed"
        deadline = time.monotonic() + JOIN_SECONDS
        while (stats := self.cache.stats()).degraded or stats.queued_writes:
            if time.monotonic() > deadline:
                return "L2 was not joined again"
            time.sleep(0.005)
        return "quiet"

    def final(self):
        log = Log(self, FINAL_THREAD)
        for key in range(self.keys):
            self._read(log, key, record.FINAL)
        log.close()
        return "final"


def main():
    worker = Worker(*sys.argv[1:])
    print("open", flush=True)
    while line := sys.stdin.readline().split():
        print(getattr(worker, line[0])(*line[1:]), flush=True)
    worker.end()  # whoever started it may have died before it said "quiet"


if __name__ == "__main__":
    main()
