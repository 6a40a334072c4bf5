"""What a section of the benchmarks is, and how the sections are found.

A section is a file of benches/sections/ with

    TITLE   its heading in docs/benchmarks.md
    ORDER   a number; the report has the sections in this order
    ABOUT   a paragraph of Markdown for the report: what is compared, and under which conditions
    steps(bench) -> iterable of Step       what is to be run; called once, before anything runs
    tables(rows) -> Markdown               from the rows of all its steps
    plots(rows, plot)                      optional; draws with suite.plots.Plot
    goals(rows) -> iterable of Goal        optional; what was to be reached

A step's function returns a list of rows: dictionaries that JSON can hold. They are kept in docs/benchmarks/NAME.json, and
the report is always made of all such files, so that one section can be measured again without the others. A step that
can't run here raises Skip with the reason, which the report repeats.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


class Skip(Exception):
    """This can't be measured here; the message says why."""


@dataclass(frozen=True)
class Step:
    """One thing to run: a line of the progress."""

    what: str
    run: Callable[[], list[dict]]


@dataclass(frozen=True)
class Goal:
    """A figure that was to be reached. `text` is the goal as one reads it, such as "≤ 0.95"."""

    what: str
    text: str
    figure: str
    reached: bool


def names() -> list[str]:
    """All sections, in the order of the report."""
    files = (Path(__file__).parent.parent / "sections").glob("[a-z]*.py")
    return sorted((file.stem for file in files), key=lambda name: (load(name).ORDER, name))


def load(name: str):
    """The module of a section."""
    return importlib.import_module(f"sections.{name}")
