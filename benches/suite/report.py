"""Writes docs/benchmarks.md and its plots from the results in docs/benchmarks/*.json.

Besides the sections, each docs/benchmarks/*.md is taken in as it is, at the end: for benchmarks that make their own text.
"""

import json
import re
from datetime import date

from . import section
from .build import OUT, ROOT, TRIAL
from .machine import machine
from .tables import mark, table

# A trial run writes elsewhere.
DOCS = OUT / "trial" if TRIAL else ROOT / "docs"
FOLDER = DOCS / "benchmarks"
PAGE = DOCS / "benchmarks.md"

HEAD = """# Benchmarks

Made by `make bench`, which measures, writes this page and its plots; `make bench ONLY=memory,large` measures sections
again, `make bench-quick` prints a few ratios in minutes.

## How it is measured

- **Ratios.** Each row is our time over the peer's (or what the table says), from rounds of both that alternate within one
  process. A round is shorter than a time slice of the scheduler, and both get the same keys; so whatever the machine does
  meanwhile meets both. Half of the rounds begin with the one, half with the other. A figure is the median of the rounds'
  ratios, in brackets their quartiles; where several processes were run, since their hash seeds and places in memory differ,
  the median of theirs. **Below 1 we are faster.**
- **Ours pays its boundary.** The library is called through its C functions and its shared object: handle check, checks of
  pointers and lengths, panic guard, fork gate. Each peer's loop is compiled in its own language, with inlining.
- **Conditions of ours**: room for twice the keys (`max_entries`), entries with a TTL, counters on. Peers are set up as
  plainly and as fast as they can be: without TTL, without counters, the Rust ones with the same hash function as the bare map.
- **Workload.** Keys of 16 to 32 bytes, asked for by a Zipf law (exponent 0.99) or uniformly; hot keys are no neighbours in
  memory. With two threads each is bound to a processor, and both begin a round together.
- A machine on which other work runs makes the brackets wide; it does not move the medians much.
"""


def results() -> dict[str, dict]:
    """The kept results of all sections that have any."""
    found = {}
    for name in section.names():
        file = FOLDER / f"{name}.json"
        if file.exists():
            found[name] = json.loads(file.read_text())
    return found


def keep(name: str, rows: list[dict], skipped: list[str], versions: dict[str, str]):
    """Keeps the results of one section."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    kept = {
        "date": date.today().isoformat(),
        "machine": machine(),
        "versions": versions,
        "skipped": skipped,
        "rows": rows,
    }
    lines = json.dumps(kept | {"rows": []}, indent=1, ensure_ascii=False)
    # One row a line: differences can be read.
    rows_text = ",\n  ".join(json.dumps(row, ensure_ascii=False) for row in rows)
    (FOLDER / f"{name}.json").write_text(lines.replace('"rows": []', f'"rows": [\n  {rows_text}\n ]') + "\n")


def all_goals(found: dict[str, dict]):
    """Goals of all sections, as (section's title, goal)."""
    for name, kept in found.items():
        module = section.load(name)
        for goal in getattr(module, "goals", lambda rows: [])(kept["rows"]):
            yield module.TITLE, goal


def write() -> tuple[int, int]:
    """Writes the page; answers how many goals were reached, and how many there are."""
    from .plots import Plot

    found = results()
    text = [HEAD]
    machines = {kept["machine"] for kept in found.values()}
    versions: dict[str, str] = {}
    for kept in found.values():
        versions |= kept["versions"]
    text.append("- **Machine**: " + "; ".join(sorted(machines)) + ".\n")
    text.append("- **Versions**: " + ", ".join(f"{name} {version}" for name, version in versions.items()) + ".\n\n")
    goals = list(all_goals(found))
    missed = [(title, goal) for title, goal in goals if not goal.reached]
    text.append(f"## Goals\n\n{len(goals) - len(missed)} of {len(goals)} goals are reached.")
    text.append(" Those that are not:\n\n" if missed else "\n\n")
    text.append(
        table(
            ["section", "what", "goal", "measured"],
            [[title, goal.what, goal.text, goal.figure] for title, goal in missed],
        )
    )
    for name, kept in found.items():
        module = section.load(name)
        text.append(f"## {module.TITLE}\n\n{module.ABOUT.strip()}\n\n{module.tables(kept['rows'])}")
        unbounded = any(row.get("ours") == "lc" and row.get("bounded") is False for row in kept["rows"])
        if unbounded:
            text.append("The build that was measured had no `max_entries` yet: ours ran without a bound.\n\n")
        for line in kept["skipped"]:
            text.append(f"Not run: {line}\n\n")
        plot = Plot(FOLDER)
        if kept["rows"] and hasattr(module, "plots"):
            module.plots(kept["rows"], plot)
        for file, caption in plot.made:
            text.append(f"![{caption}](benchmarks/{file})\n\n")
        text.append(f"Measured on {kept['date']}; all figures: [{name}.json](benchmarks/{name}.json).\n\n")
    text.append(hit_ratio())
    for fragment in sorted(FOLDER.glob("*.md")):
        text.append(fragment.read_text().strip() + "\n\n")
    PAGE.write_text("".join(text).strip() + "\n")
    return len(goals) - len(missed), len(goals)


def hit_ratio() -> str:
    """The tables and plots that `make hit-ratio` wrote, without the rows on threads."""
    page = (ROOT / "docs" / "hit-ratio.md").read_text()
    text = "## Hit ratio\n\nMade by `make hit-ratio`; how, what *model* and *gap* are, and more: [hit-ratio.md](hit-ratio.md).\n"
    for title, mark_of_part in {"Generated traces": "generated", "Public traces": "files"}.items():
        found = re.search(f"<!-- begin {mark_of_part} -->(.*?)<!-- end {mark_of_part} -->", page, re.S)
        if found and found.group(1).strip():
            tables, _, rest = found.group(1).partition("\n| trace | capacity | 1 thread |")
            plots = re.findall(r"!\[.*?\]\(.*?\)", rest or tables)
            tables = re.sub(r"!\[.*?\]\(.*?\)\n", "", tables)
            text += f"\n### {title}\n\n{tables.strip()}\n\n" + "\n".join(plots) + "\n"
    return text + "\n"


def show_goals(names: list[str]):
    """Prints the goals of these sections."""
    found = results()
    for title, goal in all_goals({name: found[name] for name in names if name in found}):
        print(f"{mark(goal.reached):>4}  {title}: {goal.what}: {goal.figure} ({goal.text})")
