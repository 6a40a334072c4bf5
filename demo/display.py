"""What the demo shows: steps, a progress bar, times with units, the closing table."""

import shutil
import sys
import time

_TERMINAL = sys.stdout.isatty()


def step(text):
    """The headline of a step."""
    print(f"\n\033[1m{text}\033[0m" if _TERMINAL else f"\n{text}", flush=True)


def line(text):
    """A line below a headline."""
    print(f"  {text}", flush=True)


class Progress:
    """A bar that is redrawn on a terminal; anywhere else a line every few seconds. Call it with the count done."""

    def __init__(self, what, total):
        self._what, self._total = what, total
        self._began = time.monotonic()
        self._drawn = self._began

    def __call__(self, done):
        now = time.monotonic()
        if now - self._drawn < (0.1 if _TERMINAL else 5.0) and done < self._total:
            return
        self._drawn = now
        if _TERMINAL:
            self._draw(done, now)
        else:
            line(f"{self._what}: {done:,} of {self._total:,}, {now - self._began:.1f} s")

    def end(self):
        """Leaves the bar where it is, where not all was done."""
        if _TERMINAL:
            print(flush=True)

    def _draw(self, done, now):
        tail = f" {done:,} of {self._total:,}, {now - self._began:.1f} s"
        width = max(10, min(40, shutil.get_terminal_size().columns - len(self._what) - len(tail) - 6))
        full = width * done // self._total
        end = "\n" if done == self._total else ""
        print(f"\r  {self._what} {'█' * full}{'░' * (width - full)}{tail}\033[K", end=end, flush=True)


def duration(nanoseconds):
    """Three digits and a unit."""
    for unit, size in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
        if nanoseconds >= size:
            value = nanoseconds / size
            return f"{value:.{2 if value < 10 else 1 if value < 100 else 0}f} {unit}"
    return f"{nanoseconds:.0f} ns"


class Run:
    """The latencies of one way of looking words up, in nanoseconds."""

    def __init__(self, name, latencies, hits=None, note=""):
        self.name, self.hits, self.note = name, hits, note
        self._sorted = sorted(latencies)
        self.count = len(latencies)
        self.mean = sum(latencies) / len(latencies)

    def share(self, part):
        """The latency that `part` of the look-ups did not exceed."""
        return self._sorted[min(self.count - 1, int(self.count * part))]


def table(runs):
    """One row per run; the first is what the others are compared with."""
    heads = ("", "look-ups", "hit rate", "p50", "p99", "mean", "speed-up")
    rows = [
        (
            run.name,
            f"{run.count:,}",
            "-" if run.hits is None else f"{100 * run.hits / run.count:.1f} %",
            duration(run.share(0.5)),
            duration(run.share(0.99)),
            duration(run.mean),
            f"{runs[0].mean / run.mean:,.{0 if runs[0].mean >= 10 * run.mean else 1}f} x",
        )
        for run in runs
    ]
    widths = [max(len(row[column]) for row in [heads, *rows]) for column in range(len(heads))]
    for row in [heads, None, *rows]:
        if row is None:
            line("-" * (sum(widths) + 2 * len(widths) - 2))
            continue
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:]))]
        line("  ".join(cells))
