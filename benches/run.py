"""`make bench`: runs the sections of the benchmarks with a line of progress, keeps their results in docs/benchmarks/, and
writes docs/benchmarks.md. suite/section.py says what a section is.

    run.py [--only local,memory] [--report] [--quick]

With BENCH_TRIAL=1 in the environment everything is run small and short, to see that it runs; the page goes into
target/bench/trial/. --report only writes the page from the kept results; --quick prints the ratios to the bare map, writes nothing, and ends with
1 where a goal is missed.
"""

import argparse
import sys
import time

from suite import section
from suite.section import Skip


def progress(at: int, of: int, what: str, begun: float):
    seconds = int(time.monotonic() - begun)
    print(f"[{at}/{of}, {seconds // 60}:{seconds % 60:02}] {what}", file=sys.stderr, flush=True)


def measure(names: list[str]) -> None:
    """Runs sections and keeps what they found."""
    from suite import report
    from suite.machine import compilers

    begun = time.monotonic()
    steps = {name: list(section.load(name).steps()) for name in names}
    total = sum(map(len, steps.values()))
    at = 0
    for name in names:
        rows, skipped = [], []
        for step in steps[name]:
            at += 1
            progress(at, total, f"{name}: {step.what}", begun)
            try:
                rows += step.run()
            except Skip as reason:
                skipped.append(f"{step.what}: {reason}")
                print(f"  not run: {reason}", file=sys.stderr, flush=True)
        versions = getattr(section.load(name), "versions", dict)()
        report.keep(name, rows, skipped, compilers() | versions)
    reached, goals = report.write()
    report.show_goals(names)
    progress(total, total, f"done: {report.PAGE} is written; {reached} of {goals} goals are reached", begun)


def quick() -> int:
    """The ratios to the bare map, printed."""
    from sections import local

    rows = local.quick()
    print("Local cache / bare DashMap, time per operation\n")
    print(local.tables(rows))
    return int(any(not goal.reached for goal in local.goals(rows)))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", help="sections, with commas: " + ", ".join(section.names()))
    parser.add_argument("--report", action="store_true", help="only write the page")
    parser.add_argument("--quick", action="store_true", help="only print a few ratios")
    chosen = parser.parse_args()
    if chosen.quick:
        return quick()
    names = section.names()
    if chosen.only:
        asked = [name for name in chosen.only.replace(" ", ",").split(",") if name]
        unknown = set(asked) - set(names)
        if unknown:
            parser.error(f"no such section: {', '.join(sorted(unknown))}; there are {', '.join(names)}")
        names = [name for name in names if name in asked]
    if chosen.report:
        from suite import report

        report.write()
    else:
        measure(names)
    return 0


if __name__ == "__main__":
    sys.exit(main())
