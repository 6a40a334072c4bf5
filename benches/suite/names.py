"""How contenders are called, and their colours in plots."""

NAMES = {"lc": "lighter_cache", "bare": "bare DashMap", "tbb": "oneTBB", "glib": "GLib + mutex"}
COLORS = {
    "lc": "#c0392b",
    "bare": "#555555",
    "quick_cache": "#2471a3",
    "moka": "#1e8449",
    "foyer": "#b7950b",
    "tbb": "#7d3c98",
    "glib": "#a04000",
}


def name(contender: str) -> str:
    return NAMES.get(contender, contender)


def color(contender: str) -> str:
    return COLORS.get(contender, "#888888")
