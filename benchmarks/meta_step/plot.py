"""Bars of time and memory, in units of plain training."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from benchmarks.meta_step.methods import PEERS
from benchmarks.meta_step.summary import Measurement, SummaryRow, rows

# Okabe and Ito's palette, which those who see few colours tell apart.
_OURS, _PEERS, _REFERENCE = "#0072B2", "#E69F00", "#7F7F7F"

# Text stands over the dashed lines, which would strike it through.
_ON_WHITE = {"facecolor": "white", "edgecolor": "none", "pad": 1}


def figure(measured: Measurement) -> Figure:
    """Return the figure of one setup: a bar for each method, time on the left, memory right."""
    found = rows(measured)
    drawn = Figure(figsize=(11, 1.7 + 0.34 * len(found)), layout="constrained")
    left, right = drawn.subplots(1, 2, sharey=True)
    positions = range(len(found))
    left.set_yticks(positions, [row.method for row in found])
    left.set_ylim(len(found) - 0.4, -0.6)  # rows without a bar have their place too
    _times(left, found)
    _memory(right, found)
    drawn.suptitle(measured.describes, fontsize=10)
    colours = {"reference": _REFERENCE, "this library": _OURS, "what people use today": _PEERS}
    patches = [Patch(color=colour, label=label) for label, colour in colours.items()]
    drawn.legend(handles=patches, loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    return drawn


def _colour(row: SummaryRow) -> str:
    if row.method in ("plain", "floor"):
        return _REFERENCE
    return _PEERS if row.method in PEERS else _OURS


def _times(axes: Axes, found: list[SummaryRow]) -> None:
    longest = max((row.time[2] for row in found if row.time), default=1.0)
    for position, row in enumerate(found):
        if row.time is None:
            _missing(axes, position, row.time_error)
            continue
        low, middle, high = row.time
        axes.barh(position, middle, color=_colour(row), height=0.7)
        axes.errorbar(
            middle, position, xerr=[[middle - low], [high - middle]], color="black", capsize=3
        )
        _number(axes, high + 0.015 * longest, position, middle)
    axes.set_xlim(0, 1.12 * longest)
    floor = next((row.time[1] for row in found if row.method == "floor" and row.time), None)
    if floor is not None:
        axes.axvline(floor, color="black", linestyle="--", linewidth=1)
        axes.annotate(
            "floor: plain + trusted gradient",
            (floor, 1),
            xycoords=("data", "axes fraction"),
            xytext=(0, 3),
            textcoords="offset points",
            fontsize=8,
        )
    axes.set_xlabel("time of a whole step (× plain; median, quartiles)")


def _memory(axes: Axes, found: list[SummaryRow]) -> None:
    largest = max((row.tensors_ratio or 0.0 for row in found), default=0.0) or 1.0
    for position, row in enumerate(found):
        if row.tensors_ratio is None:
            _missing(axes, position, row.memory_error)
            continue
        axes.barh(position, row.tensors_ratio, color=_colour(row), height=0.7)
        _number(axes, row.tensors_ratio + 0.015 * largest, position, row.tensors_ratio)
    axes.set_xlim(0, 1.12 * largest)
    axes.axvline(1, color="black", linestyle=":", linewidth=1)
    axes.set_xlabel("peak of tensors (× plain)")


def _number(axes: Axes, x: float, y: float, value: float) -> None:
    axes.text(x, y, f"{value:.2f}", va="center", fontsize=8, bbox=_ON_WHITE, zorder=3)


def _missing(axes: Axes, position: int, error: str | None) -> None:
    said = error or "not measured"
    axes.text(
        0.01,
        position,
        said if len(said) <= 60 else said[:59] + "…",
        transform=axes.get_yaxis_transform(),
        va="center",
        fontsize=8,
        style="italic",
        bbox=_ON_WHITE,
        zorder=3,
    )
