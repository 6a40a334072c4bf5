"""The Local cache against the bounded caches of Rust, called natively."""

from suite import build, machine
from suite.measure import local, repeated
from suite.section import Step
from suite.tables import number, pair_goals, pairs, size

TITLE = "Local, against Rust's bounded caches"
ORDER = 20
ABOUT = """
quick_cache, moka and foyer (in memory, S3-FIFO, 64 shards), called natively from Rust; ours through C. All have room for
twice the keys, so nothing is evicted; in the rows "get, and set after a miss" for half of them, so that about every miss
evicts, and the policies' hit ratios count too. The goals are for values of 100 bytes: of a hit of 4 KiB most is the copy, which is
the same for all.
"""
GOALS = {"quick_cache": 0.75, "moka": 0.15, "foyer": 0.35}
ROWS = "get_into,get,set,miss,mix"


def goal_of(peer: str):
    return lambda row: GOALS[peer] if row["op"] == "get_into" and row["value"] == 100 else None


def steps():
    def pair(peer, keys, value, draw):
        def run():
            return repeated(
                2, "pair", library=build.peers(), peer=peer, keys=keys, value=value, draw=draw, rows=ROWS, budget=100
            )

        return Step(f"{number(keys)} keys, {size(value)}, {draw}, against {peer}", run)

    def churn(peer):
        def run():
            # A bound that can't be had is no reason to measure without one.
            return local("pair", library=build.peers(), peer=peer, capacity=50, rows="churn", budget=300)

        return Step(f"evicting, against {peer}", run)

    for peer in GOALS:
        for keys in (100_000, 1_000_000):
            for draw in ("zipf", "uniform"):
                yield pair(peer, keys, 100, draw)
        yield pair(peer, 100_000, 4096, "zipf")
        yield churn(peer)


def tables(rows: list[dict]) -> str:
    text = ""
    for peer in GOALS:
        found = [row for row in rows if row["peer"] == peer]
        if found:
            text += f"Our time over that of {peer}:\n\n" + pairs(found, goal_of(peer))
    return text


def goals(rows: list[dict]):
    for peer in GOALS:
        yield from pair_goals([row for row in rows if row["peer"] == peer], goal_of(peer), peer)


def versions():
    return machine.locked("benches/peers/Cargo.lock", "quick_cache", "moka", "foyer-memory")
