"""Draws the figures of `docs/simulator.md` from runs of the simulator. Run by `make plots`.

The same stack gives the same files to the byte: nothing in them is random or dated, and text stays text, in whatever font the
viewer has.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib import rcParams
from matplotlib.figure import Figure

from tests.sim import classics
from tests.sim.theory import TEXT

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from tests.sim.trace import Trace

FOLDER = Path(__file__).parent
STYLE: dict[Any, Any] = {
    "svg.hashsalt": "usernat",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "path.simplify_threshold": 0.5,
}
BLUE, ORANGE, GREEN, RED, GREY = "#0072b2", "#e69f00", "#009e73", "#d55e00", "#888888"
Span = tuple[float, float]


def main() -> None:
    """All four."""
    rcParams.update(STYLE)
    one_flow("slow-start", classics.slow_start_overflow(), (0, 1.1), with_queue=True)
    one_loss = classics.one_loss()
    at = one_loss.lost[-1].time
    one_flow("one-loss", one_loss, (at - 0.2, at + 0.5))
    one_flow("tail-loss", classics.tail_loss(), (0, 1.1))
    comparison("cubic-newreno", {name: classics.long_run(name) for name in ("newreno", "cubic")})


def two_panels() -> tuple[Figure, Axes, Axes]:
    """One above the other, with the same time axis."""
    figure = Figure(figsize=(7.5, 6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    return figure, above, below


def one_flow(name: str, trace: Trace, span: Span, *, with_queue: bool = False) -> None:
    """One flow: its windows above, its sequence numbers below."""
    figure, above, below = two_panels()
    draw_windows(above, trace, span, with_queue=with_queue)
    draw_sequence(below, trace, span)
    below.set_xlim(*span)
    below.set_xlabel("time, s")
    save(figure, name)


def draw_windows(axes: Axes, trace: Trace, span: Span, *, with_queue: bool) -> None:
    """cwnd, ssthresh, what is in flight, and the bottleneck's queue."""
    samples = [sample for sample in trace.samples if span[0] <= sample.time <= span[1]]
    times = [sample.time for sample in samples]
    flight = [(sample.snd_nxt - sample.snd_una) / TEXT for sample in samples]
    axes.step(times, flight, where="post", color=GREY, lw=0.8, label="SND.NXT - SND.UNA")
    cwnd = [sample.cwnd / TEXT for sample in samples]
    axes.step(times, cwnd, where="post", color=BLUE, lw=1.6, label="cwnd")
    known = [sample for sample in samples if sample.ssthresh is not None]
    axes.step(
        [sample.time for sample in known],
        [(sample.ssthresh or 0) / TEXT for sample in known],
        where="post",
        color=ORANGE,
        lw=1.2,
        ls="--",
        label="ssthresh",
    )
    if with_queue:
        queue = [sample.queue for sample in samples]
        axes.fill_between(times, queue, step="post", color=GREEN, alpha=0.25, lw=0, label="queue")
    axes.set_ylabel("segments")
    axes.set_ylim(bottom=0)
    legend_above(axes)


def legend_above(axes: Axes) -> None:
    """Where no curve can hide it."""
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=4)


def draw_sequence(axes: Axes, trace: Trace, span: Span) -> None:
    """Every segment as it is sent, by what becomes of it, and SND.UNA behind them."""
    seen = [sending for sending in trace.sendings if span[0] <= sending.time <= span[1]]
    kinds = (
        ("sent", BLUE, ".", 2.5, [one for one in seen if one.arrived and not one.again]),
        ("sent again", GREEN, "^", 4, [one for one in seen if one.arrived and one.again]),
        ("lost", RED, "x", 5, [one for one in seen if not one.arrived]),
    )
    samples = [sample for sample in trace.samples if span[0] <= sample.time <= span[1]]
    axes.step(
        [sample.time for sample in samples],
        [sample.snd_una / TEXT for sample in samples],
        where="post",
        color=GREY,
        lw=1,
        label="SND.UNA",
    )
    for label, colour, marker, size, sendings in kinds:
        axes.plot(
            [one.time for one in sendings],
            [one.seq / TEXT for one in sendings],
            color=colour,
            ls="none",
            marker=marker,
            ms=size,
            label=label,
        )
    axes.set_ylabel("sequence number, segments")
    axes.legend(loc="lower right")


def comparison(name: str, traces: dict[str, Trace]) -> None:
    """Two flows that never met: windows above, progress below."""
    figure, above, below = two_panels()
    for (kind, trace), colour in zip(traces.items(), (ORANGE, BLUE), strict=True):
        times = [sample.time for sample in trace.samples]
        above.step(
            times, [sample.cwnd / TEXT for sample in trace.samples], where="post", color=colour, label=kind
        )
        lost = [(one.time, one.seq) for one in trace.lost]
        below.plot(
            times, [sample.snd_una / TEXT for sample in trace.samples], color=colour, label=f"{kind}: SND.UNA"
        )
        below.plot(
            [time for time, _ in lost],
            [seq / TEXT for _, seq in lost],
            color=colour,
            ls="none",
            marker="x",
            ms=6,
            label=f"{kind}: lost",
        )
    above.set_ylabel("cwnd, segments")
    above.set_ylim(bottom=0)
    legend_above(above)
    below.set_ylabel("sequence number, segments")
    below.set_xlabel("time, s")
    below.legend(loc="lower right")
    save(figure, name)


def save(figure: Figure, name: str) -> None:
    """To `docs/`, without the date."""
    figure.savefig(FOLDER / f"{name}.svg", metadata={"Date": None, "Creator": None})


if __name__ == "__main__":
    main()
