"""One picture a stage: time, memory and idle time of every model and method."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.gpu.report import Line

# Okabe and Ito's palette, which those who see few colours tell apart; then shapes do.
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000", "#7F7F7F")
_MARKS = "osD^vP*X"

_MISSING: dict[str, Any] = {"fontsize": 8, "style": "italic", "va": "center"}

_Value = Callable[[Line, str], tuple[float, float, float] | None]


def file_name(stage: str) -> str:
    """Return the name of a stage's picture."""
    return re.sub(r"[^a-z0-9]+", "-", stage.lower()).strip("-") + ".png"


def figure(stage: str, lines: Sequence[Line], machine: str) -> Figure:
    """Return the picture of one stage.

    Args:
        stage: Its name, for the title.
        lines: A row each.
        machine: What it was measured on.
    """
    known = dict.fromkeys(m for line in lines for m, row in line.rows.items() if row.time)
    methods = [method for method in known if method != "plain"]
    shown: list[tuple[str, _Value, float | None]] = [
        ("time of a whole step (× plain)", _time, 1.0),
        ("peak memory (× plain)", _memory, 1.0),
        ("device idle (share of the step)", _idle, None),
    ]
    panels = [
        panel
        for number, panel in enumerate(shown)
        if number == 0 or any(panel[1](line, m) for line in lines for m in ["plain", *methods])
    ]
    height = 1.9 + len(lines) * (0.22 + 0.08 * len(methods))
    drawn = Figure(figsize=(3.2 + 3.6 * len(panels), height), layout="constrained")
    axes = drawn.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    axes[0].set_yticks(
        range(len(lines)),
        [f"{line.model} {line.size}\n{line.batch} + {line.batch} samples" for line in lines],
        fontsize=8,
    )
    axes[0].set_ylim(len(lines) - 0.5, -0.5)
    for ax, (label, value, reference) in zip(axes, panels, strict=True):
        _panel(ax, label, lines, methods, value, reference)
    handles, labels = axes[0].get_legend_handles_labels()
    drawn.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    drawn.suptitle(f"{stage}\n{machine}", fontsize=9)
    return drawn


def _panel(
    ax: Axes,
    label: str,
    lines: Sequence[Line],
    methods: Sequence[str],
    value: _Value,
    reference: float | None,
) -> None:
    step = 0.8 / max(1, len(methods))
    largest = 0.0
    for number, method in enumerate(methods):
        found = [(at, value(line, method)) for at, line in enumerate(lines)]
        points = [(at + (number + 0.5) * step - 0.4, v) for at, v in found if v is not None]
        colour, mark = _COLOURS[number % len(_COLOURS)], _MARKS[number % len(_MARKS)]
        ys = [y for y, _ in points]
        xs = [v[1] for _, v in points]
        errors = [[v[1] - v[0] for _, v in points], [v[2] - v[1] for _, v in points]]
        ax.errorbar(
            xs,
            ys,
            xerr=errors,
            fmt=mark,
            color=colour,
            # Where the colours begin again, the marks are hollow.
            markerfacecolor="white" if number >= len(_COLOURS) else colour,
            label=method,
            markersize=4,
            elinewidth=1,
        )
        largest = max([largest, *(v[2] for _, v in points)])
    for at, line in enumerate(lines):
        if not any(value(line, method) for method in methods):
            reason = next(iter(line.errors.values()), "not measured")
            ax.text(0.02, at, reason[:60], transform=ax.get_yaxis_transform(), **_MISSING)
    for at in range(1, len(lines)):
        ax.axhline(at - 0.5, color="#DDDDDD", linewidth=0.6)
    if reference is not None:
        ax.axvline(reference, color="black", linestyle=":", linewidth=1)
        ax.set_xlim(0, 1.1 * largest or None)
    else:
        ax.set_xlim(-0.03, 1.03)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x", color="#EEEEEE")
    ax.set_axisbelow(True)
    ax.set_xlabel(label, fontsize=9)


def _time(line: Line, method: str) -> tuple[float, float, float] | None:
    row = line.rows.get(method)
    return row.time if row is not None else None


def _memory(line: Line, method: str) -> tuple[float, float, float] | None:
    row = line.rows.get(method)
    ratio = row.tensors_ratio if row is not None else None
    return None if ratio is None else (ratio, ratio, ratio)


def _idle(line: Line, method: str) -> tuple[float, float, float] | None:
    idle = 1 - line.busy[method] if method in line.busy else None
    return None if idle is None else (idle, idle, idle)
