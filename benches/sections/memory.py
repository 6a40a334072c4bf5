"""Bytes per entry over the payload, and the memory of expired entries."""

from suite import build
from suite.measure import local
from suite.names import color, name
from suite.section import Goal, Step
from suite.tables import mark, number, table

TITLE = "Local, memory and expiry"
ORDER = 50
ABOUT = """
Bytes per entry: the growth of the resident set of a fresh process by a million entries with a TTL, keys of 16 bytes and values
of 32, less these 48; room for two million. quick_cache and foyer have no TTL: an expiry stands beside the value. The bare map has
neither TTL nor bound.

Expiry: entries that expire together, among so many that live, and that nobody reads. Shown is when their memory was back with the
allocator, counted from their expiry, and the processor time of the library's own thread for it.
"""
OVERHEAD, INTERVALS, GROWTH = 64, 2, 2
LIBRARIES = {
    "lc": build.bare,
    "quick_cache": build.peers,
    "foyer": build.peers,
    "moka": build.peers,
    "bare": build.bare,
}


def steps():
    def memory(contender):
        return lambda: local("memory", ours=contender, library=LIBRARIES[contender](), keys=1_000_000)

    for contender in LIBRARIES:
        yield Step(f"bytes per entry of {contender}", memory(contender))
    yield Step("expired entries among up to 1,000,000", lambda: local("expiry", keys=1_000_000))


def split(rows: list[dict]) -> tuple[list[dict], list[dict]]:
    return [row for row in rows if row["mode"] == "memory"], [row for row in rows if row["mode"] == "expiry"]


def growth(expiry: list[dict]) -> float:
    """Cost per expired entry among most live entries over that among fewest."""
    return expiry[-1]["cpu_ns_per_expired"] / expiry[0]["cpu_ns_per_expired"]


def tables(rows: list[dict]) -> str:
    memory, expiry = split(rows)
    body = []
    for row in memory:
        ours = row["ours"] == "lc"
        body.append(
            [
                name(row["ours"]),
                f"**{row['overhead']:.0f}**",
                f"≤ {OVERHEAD}" if ours else "",
                mark(row["overhead"] <= OVERHEAD) if ours else "",
            ]
        )
    text = table(["cache", "bytes per entry over the payload", "goal", "reached"], body)
    if expiry:
        body = [
            [
                number(row["live"]),
                number(row["expired"]),
                f"{row['freed_after_intervals']:.2f}" if row["freed"] else "never",
                f"≤ {INTERVALS}",
                mark(row["freed"] and row["freed_after_intervals"] <= INTERVALS),
                f"{row['cpu_ns_per_expired'] / expiry[0]['cpu_ns_per_expired']:.2f}",
            ]
            for row in expiry
        ]
        text += table(
            [
                "live entries",
                "expired",
                "freed after so many sweep intervals",
                "goal",
                "reached",
                "cost per expired entry, relative",
            ],
            body,
        )
    return text


def goals(rows: list[dict]):
    memory, expiry = split(rows)
    for row in memory:
        if row["ours"] == "lc":
            yield Goal(
                "bytes per entry over the payload",
                f"≤ {OVERHEAD}",
                f"{row['overhead']:.0f}",
                row["overhead"] <= OVERHEAD,
            )
    for row in expiry:
        good = row["freed"] and row["freed_after_intervals"] <= INTERVALS
        yield Goal(
            f"expired entries freed, among {number(row['live'])}",
            f"≤ {INTERVALS} sweep intervals",
            f"{row['freed_after_intervals']:.2f}",
            good,
        )
    if expiry:
        times = expiry[-1]["live"] // expiry[0]["live"]
        yield Goal(
            f"cost per expired entry among {times} times the live ones",
            f"≤ {GROWTH} ×",
            f"{growth(expiry):.2f}",
            growth(expiry) <= GROWTH,
        )


def plots(rows: list[dict], plot):
    memory, _ = split(rows)
    if not memory:
        return
    figure, axes = plot.axes(height=2.4)
    ordered = sorted(memory, key=lambda row: -row["overhead"])
    bars = axes.barh(
        [name(row["ours"]) for row in ordered],
        [row["overhead"] for row in ordered],
        color=[color(row["ours"]) for row in ordered],
    )
    axes.bar_label(bars, fmt="%.0f", padding=3)
    axes.axvline(OVERHEAD, color="#c0392b", ls=":", lw=1)
    axes.set(xlabel="bytes per entry over the payload of 48 (dotted: the goal)")
    plot.save(figure, "memory", "Bytes per entry over the payload")
