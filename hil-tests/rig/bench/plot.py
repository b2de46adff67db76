"""The picture of a run: how much each transport lost, what it cost, what it used.

One column of dot plots, narrow enough for a telephone; colours and shapes both tell the transports apart. Text and
lines take their colour from the style sheet in the picture, which knows light and dark.
"""

import io
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from .cases import CASES, OURS, PEERS, Case
from .judge import MEASURES

INK, FAINT = "#010203", "#040506"
"""Stand for the style sheet's colours."""
STYLE = """<style>
:root { --ink: #1f2328; --faint: #d1d9e0 }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --faint: #3d444d } }
</style>"""
BARS_OF = {"bad_pct": ("lost", "lost_pct", "bad_pct"), "overhead_pct": ("overhead_pct",), "used_pct": ("used_pct",)}
"""The measures whose bars are drawn with a measure."""


@dataclass(frozen=True)
class Look:
    """How a transport is drawn; `aside`, so that none hides another."""

    colour: str
    shape: str
    size: int
    aside: float


LOOKS = {
    OURS: Look("#2b7de0", "o", 36, -0.14),
    "rist-ro": Look("#e0802b", "s", 20, 0.18),
    "srt": Look("#8c8c8c", "^", 24, 0.32),
}
LEAST_PCT = 0.002
"""Less than one datagram of a run: where "none" is drawn on a logarithmic axis."""
NONE_AT = 0.0008
SETTINGS = {
    "svg.fonttype": "none",
    "svg.hashsalt": "strata",
    "font.family": "sans-serif",
    "font.sans-serif": ["system-ui", "Segoe UI", "Roboto", "Helvetica", "Arial", "DejaVu Sans"],
    "font.size": 10,
    **dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), INK),
    "axes.edgecolor": FAINT,
    "grid.color": FAINT,
}


def _cases(rows: list[dict], measure: str) -> list[Case]:
    """The cases in which somebody has a value."""
    have = {row["run"]["case"] for row in rows if MEASURES[measure].value(row) is not None}
    return [case for case in CASES if case.name in have]


def _peers(rows: list[dict]) -> list[str]:
    present = {row["peer"] for row in rows}
    return [peer for peer in (*PEERS, OURS) if peer in present]


def _dots(axes: Axes, rows: list[dict], measure: str, floor: float | None = None) -> None:
    """A line for each case, a dot for each row, a mark where the bar is."""
    cases = _cases(rows, measure)

    def shown(value: float) -> float:
        return NONE_AT if floor and value < floor else value

    for line, case in enumerate(cases):
        for peer in _peers(rows):
            look = LOOKS[peer]
            of_peer = [row for row in rows if row["run"]["case"] == case.name and row["peer"] == peer]
            values = [shown(value) for row in of_peer if (value := MEASURES[measure].value(row)) is not None]
            at = [line + look.aside] * len(values)
            axes.scatter(values, at, s=look.size, c=look.colour, marker=look.shape, linewidths=0, zorder=3)
        for bar in (bar for bar in case.bars if bar.measure in BARS_OF[measure]):
            axes.plot([shown(bar.limit)] * 2, [line - 0.42, line + 0.42], color=INK, linewidth=1.2, zorder=2)
    axes.set_yticks(range(len(cases)), [case.name.replace(" Mbit/s", "M") for case in cases])
    axes.set_ylim(len(cases) - 0.4, -0.6)
    axes.grid(axis="both", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)
    for side in axes.spines.values():
        side.set_visible(False)


def _lost(axes: Axes, rows: list[dict]) -> None:
    _dots(axes, rows, "bad_pct", LEAST_PCT)
    axes.set_xscale("log")
    axes.set_xlim(NONE_AT * 0.6, 150)
    axes.set_xticks([NONE_AT, 0.01, 0.1, 1, 10, 100], ["none", "0.01", "0.1", "1", "10", "100 %"])
    axes.minorticks_off()
    axes.set_title("Lost or late", loc="left", fontweight="bold", fontsize=11)


def _overhead(axes: Axes, rows: list[dict]) -> None:
    _dots(axes, rows, "overhead_pct")
    axes.set_xlim(left=0)
    axes.xaxis.set_major_formatter("{x:.0f} %")
    axes.set_title("Overhead on the wire", loc="left", fontweight="bold", fontsize=11)


def _used(axes: Axes, rows: list[dict]) -> None:
    _dots(axes, rows, "used_pct")
    axes.set_xlim(0, 100)
    axes.xaxis.set_major_formatter("{x:.0f} %")
    axes.set_title("Of the links used", loc="left", fontweight="bold", fontsize=11)


PANELS = (("bad_pct", _lost), ("overhead_pct", _overhead), ("used_pct", _used))


def figure(rows: list[dict]) -> Figure:
    """The picture, one panel for each measure that somebody has."""
    panels = [(len(_cases(rows, measure)), draw) for measure, draw in PANELS if _cases(rows, measure)]
    lines = [lines for lines, _ in panels]
    picture = Figure(figsize=(5, 0.27 * sum(lines) + 0.62 * len(panels) + 0.3), layout="constrained")
    every_axes = picture.subplots(len(panels), 1, height_ratios=[count + 0.2 for count in lines], squeeze=False)[:, 0]
    for axes, (_, draw) in zip(every_axes, panels, strict=True):
        axes.patch.set_visible(False)
        draw(axes, rows)
    looks = [(peer, LOOKS[peer].colour, LOOKS[peer].shape) for peer in reversed(_peers(rows))]
    handles = [
        Line2D([], [], color=colour, marker=shape, linestyle="", label=label)
        for label, colour, shape in [*looks, ("bar", INK, "|")]
    ]
    picture.legend(handles=handles, loc="outside upper left", ncols=len(handles), frameon=False, handletextpad=0.2)
    return picture


def svg(rows: list[dict]) -> str:
    """The picture as SVG, the same for the same rows."""
    with mpl.rc_context(SETTINGS):
        out = io.StringIO()
        figure(rows).savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = out.getvalue().replace(INK, "var(--ink)").replace(FAINT, "var(--faint)")
    head, defs, rest = text.partition("<defs>")
    return head + STYLE + defs + rest


def write(rows: list[dict], path: Path) -> None:
    """Draw into a file."""
    path.write_text(svg(rows))
