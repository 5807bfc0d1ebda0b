"""The bar chart `docs/benchmarks.png`: speed as a multiple of slirp4netns', on a logarithmic scale, so that a row of any unit can stand in it.

Nothing is dated: the same figures give the same file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from matplotlib import rcParams
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from pathlib import Path

    from bench.results import Line

STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.alpha": 0.25,
    "legend.frameon": False,
}
REFERENCE = "slirp4netns"
COLOURS = {
    "usernat": "#0072b2",
    "pasta": "#e69f00",
    "gvproxy": "#009e73",
    "raw loopback": "#cccccc",
}
ROWS = (
    "tcp-up-1500",
    "tcp-down-1500",
    "tcp-up-65520",
    "tcp-down-65520",
    "tcp-up-16-1500",
    "tcp-down-16-1500",
    "requests-1",
    "requests-64",
    "connections",
    "udp-up-64",
    "udp-down-64",
    "udp-up-1200",
    "udp-down-1200",
    "dns",
)
INCHES_A_ROW = 0.45
DOTS_AN_INCH = 150
HEIGHT = 0.8  # of a row, that bars take


def draw(lines: dict[str, Line], path: Path) -> bool:
    """Write the chart; False where there is not enough to draw."""
    chosen = [line for key in ROWS if (line := lines.get(key)) and line.result(REFERENCE)]
    names = [name for name in COLOURS if any(line.result(name) for line in chosen)]
    if not chosen:
        return False
    rcParams.update(STYLE)
    figure = Figure(figsize=(7.5, 1 + INCHES_A_ROW * len(chosen)), layout="constrained")
    axes = figure.subplots()
    thickness = HEIGHT / len(names)
    for index, name in enumerate(names):
        bars = [
            (place + (index - (len(names) - 1) / 2) * thickness, ours / theirs)
            for place, line in enumerate(chosen)
            if (ours := line.result(name)) and (theirs := line.result(REFERENCE))
        ]
        # From 1: what leads to the right is faster than the reference, what leads to the left slower.
        lengths = [value - 1 for _, value in bars]
        axes.barh([at for at, _ in bars], lengths, thickness, left=1, color=COLOURS[name], label=name)
    axes.set_xscale("log")
    axes.set_xlabel(f"times as fast as {REFERENCE} (the line at 1)")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.axvline(1, color="black", lw=0.8)
    axes.set_yticks(range(len(chosen)), [line.title for line in chosen])
    axes.set_ylim(len(chosen) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=len(names))
    figure.savefig(path, dpi=DOTS_AN_INCH, metadata={"Software": None})
    return True
