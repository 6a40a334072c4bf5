"""Tables of ratios in Markdown."""

from .section import Goal

OPERATIONS = {
    "get_into": "`lc_get_into`, hit",
    "get": "`lc_get` + `lc_value_free`, hit",
    "set": "`lc_set`, overwrite",
    "set_ttl": "`lc_set` with a TTL, overwrite",
    "miss": "`lc_get_into`, miss",
    "mix": "95 % get, 5 % set",
    "churn": "get, and set after a miss",
}
DRAWS = {"zipf": "Zipf", "uniform": "uniform"}


def table(head: list[str], rows: list[list]) -> str:
    """A table; empty text where there are no rows."""
    if not rows:
        return ""
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(map(str, line)) + " |\n" for line in lines) + "\n"


def number(n: int) -> str:
    return f"{n:,}"


def size(n: int) -> str:
    return f"{n >> 20} MiB" if n % (1 << 20) == 0 else f"{n >> 10} KiB" if n % 1024 == 0 else f"{n} B"


def figure(row: dict, digits: int = 2) -> str:
    """A ratio with its quartiles."""
    return f"**{row['ratio']:.{digits}f}** ({row['low']:.{digits}f}–{row['high']:.{digits}f})"


def mark(reached: bool) -> str:
    return "yes" if reached else "no"


def pairs(rows: list[dict], goal) -> str:
    """Ratios of `pair` runs: a line for each operation and workload, a column for each number of threads.
    `goal(row)` is the largest ratio that is good enough, or None."""
    threads = sorted({row["threads"] for row in rows})
    lines = {}
    for row in rows:
        where = (row["op"], row["keys"], row["draw"], row["value"])
        lines.setdefault(where, {})[row["threads"]] = row
    order = list(OPERATIONS)
    body = []
    for (op, keys, draw, value), found in sorted(
        lines.items(), key=lambda line: (order.index(line[0][0]), *line[0][1:])
    ):
        wanted = goal(next(iter(found.values())))
        cells = [figure(found[n]) if n in found else "" for n in threads]
        reached = "" if wanted is None else mark(all(row["ratio"] <= wanted for row in found.values()))
        body.append(
            [
                OPERATIONS[op],
                number(keys),
                DRAWS[draw],
                size(value),
                *cells,
                "" if wanted is None else f"≤ {wanted:.2f}",
                reached,
            ]
        )
    columns = [f"{n} thread{'s' if n > 1 else ''}" for n in threads]
    return table(["operation", "keys", "asked for", "value", *columns, "goal", "reached"], body)


def pair_goals(rows: list[dict], goal, peer: str):
    """The goals of `pair` runs: one per operation and goal, reached where all of its workloads reach it."""
    found: dict[tuple, list[dict]] = {}
    for row in rows:
        if goal(row) is not None:
            found.setdefault((row["op"], goal(row)), []).append(row)
    for (op, wanted), same in found.items():
        ratios = [row["ratio"] for row in same]
        good = sum(ratio <= wanted for ratio in ratios)
        figure = f"{min(ratios):.2f}–{max(ratios):.2f}, {good} of {len(ratios)} workloads"
        yield Goal(f"{OPERATIONS[op]}, against {peer}", f"≤ {wanted:.2f}", figure, good == len(ratios))
