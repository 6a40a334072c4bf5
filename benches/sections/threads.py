"""Throughput of two threads over that of one, and the distribution of the time of single calls."""

from suite import build
from suite.measure import local, repeated
from suite.names import color, name
from suite.section import Goal, Step
from suite.tables import figure, mark, number, table

TITLE = "Local, threads and latency"
ORDER = 40
ABOUT = """
Scaling is the throughput of two threads, each on a processor of its own, over that of one, in rounds that alternate, in the
mix of 95 % get and 5 % set with a TTL. **Here more is better.** Latency is that of single calls in the same mix with one
thread; it includes the reading of the clock, which is the same for all, and whatever the machine did meanwhile.
"""
SCALING = {100_000: 1.6, 1_000_000: 1.8}
LIBRARIES = {
    "lc": build.bare, "bare": build.bare, "quick_cache": build.peers, "moka": build.peers, "foyer": build.peers,
    "tbb": build.native, "glib": build.native,
}  # fmt: skip


def steps():
    def scaling(contender, keys):
        times, budget = (3, 300) if contender == "lc" else (1, 200)
        return lambda: repeated(
            times, "scaling", ours=contender, library=LIBRARIES[contender](), keys=keys, rows="mix", budget=budget
        )

    def latency(contender):
        return lambda: local("latency", ours=contender, library=LIBRARIES[contender](), budget=1200)

    for keys in SCALING:
        for contender in LIBRARIES:
            yield Step(f"scaling of {contender}, {number(keys)} keys", scaling(contender, keys))
    for contender in LIBRARIES:
        yield Step(f"latency of {contender}", latency(contender))


def percentile(row: dict, share: float) -> float:
    """Nanoseconds that this share of the calls did not exceed."""
    left = share * row["calls"]
    for upper, calls in row["buckets"]:
        left -= calls
        if left <= 0:
            return upper
    return row["buckets"][-1][0]


def tables(rows: list[dict]) -> str:
    scaling = [row for row in rows if row["mode"] == "scaling"]
    body = []
    for row in scaling:
        goal = SCALING.get(row["keys"], 0) if row["ours"] == "lc" else None
        body.append(
            [
                name(row["ours"]),
                number(row["keys"]),
                figure(row),
                f"≥ {goal}" if goal else "",
                mark(row["ratio"] >= goal) if goal else "",
            ]
        )
    text = table(["cache", "keys", "throughput of 2 threads over 1", "goal", "reached"], body)
    latency = [row for row in rows if row["mode"] == "latency"]
    ours = next((row for row in latency if row["ours"] == "lc"), None)
    if ours:
        shares = (0.5, 0.9, 0.99, 0.999)
        body = [
            [name(row["ours"]), *(f"{percentile(ours, share) / percentile(row, share):.2f}" for share in shares)]
            for row in latency
            if row is not ours
        ]
        text += "Our latency over theirs, at percentiles:\n\n" + table(["peer", "p50", "p90", "p99", "p99.9"], body)
    return text


def goals(rows: list[dict]):
    for row in rows:
        if row["mode"] == "scaling" and row["ours"] == "lc":
            goal = SCALING.get(row["keys"], 0)
            yield Goal(
                f"throughput of 2 threads over 1, {number(row['keys'])} keys",
                f"≥ {goal}",
                f"{row['ratio']:.2f}",
                row["ratio"] >= goal,
            )


def plots(rows: list[dict], plot):
    for keys in SCALING:
        found = [row for row in rows if row["mode"] == "scaling" and row["keys"] == keys]
        if not found:
            continue
        figure_, axes = plot.axes(height=3.2)
        for row in found:
            # One thread: 1000 / ns is operations per microsecond. Two: both at their own time.
            axes.plot(
                [1, 2],
                [1e3 / row["first_ns"], 2e3 / row["second_ns"]],
                marker="o",
                color=color(row["ours"]),
                label=name(row["ours"]),
                lw=2.5 if row["ours"] == "lc" else 1.2,
            )
        axes.set(xticks=[1, 2], xlabel="threads", ylabel="million operations per second", ylim=(0, None))
        axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
        plot.save(figure_, f"threads-{keys}", f"Throughput over threads, {number(keys)} keys, 95 % get and 5 % set")
    latency = [row for row in rows if row["mode"] == "latency"]
    if not latency:
        return
    figure_, axes = plot.axes()
    for row in latency:
        above, points = row["calls"], []
        for upper, calls in row["buckets"]:
            above -= calls
            points.append((upper, max(above, 0.5) / row["calls"]))
        axes.loglog(
            *zip(*points, strict=True),
            color=color(row["ours"]),
            label=name(row["ours"]),
            lw=2.5 if row["ours"] == "lc" else 1.2,
            drawstyle="steps-post",
        )
    axes.set(xlabel="nanoseconds", ylabel="share of calls that took longer", ylim=(1e-5, 1.2), xlim=(30, 1e6))
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    plot.save(
        figure_,
        "latency",
        "Share of calls that took longer than a time, 100,000 keys, 95 % get and 5 % set, one thread",
    )
