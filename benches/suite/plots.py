"""Plots of the report: SVG files in docs/benchmarks/, the same bytes for the same figures."""

from pathlib import Path

import matplotlib

matplotlib.use("svg")
matplotlib.rcParams |= {
    "svg.hashsalt": "lighter_cache",
    "svg.fonttype": "none",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
import matplotlib.pyplot as plt  # noqa: E402


class Plot:
    """Draws for one section and remembers the files for the report."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.made: list[tuple[str, str]] = []

    def axes(self, width=7.0, height=3.6):
        figure, axes = plt.subplots(figsize=(width, height), layout="constrained")
        return figure, axes

    def save(self, figure, name: str, caption: str):
        """Writes NAME.svg."""
        figure.savefig(self.folder / f"{name}.svg", metadata={"Date": None, "Creator": None})
        plt.close(figure)
        self.made.append((f"{name}.svg", caption))
