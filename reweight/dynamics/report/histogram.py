"""Histograms of issues and of the others, as inline SVG."""

from __future__ import annotations

import math
from html import escape

import torch
from torch import Tensor

_WIDTH, _HEIGHT = 340, 190
_LEFT, _RIGHT, _TOP, _BOTTOM = 38, 8, 10, 24
BINS = 30


def histogram(
    values: Tensor,
    issues: Tensor,
    title: str,
    note: str,
    ends: tuple[float, float] | None = None,
) -> str:
    """Return a figure: how many of the issues and of the others have which value.

    Args:
        values: ``(M,)``, NaN where not known.
        issues: ``(M,)`` bool.
        title: What the values are.
        note: What they mean.
        ends: Between which the bins are; ``None``: where nearly all values are.

    Returns:
        HTML; empty if no value is known.
    """
    known = values.isfinite()
    if not known.any():
        return ""
    numbers = values[known].double()
    low, high = ends or _range(numbers)
    counts = [
        torch.histc(part.clamp(low, high), bins=BINS, min=low, max=high).tolist()
        for part in (numbers[issues[known]], numbers[~issues[known]])
    ]
    bars = _bars(counts[0], counts[1], low, high)
    label = escape(f"{title}: {note}", quote=True)
    return (
        f'<figure class="chart"><figcaption><b>{escape(title)}</b> '
        f"<span>{escape(note)}</span></figcaption>"
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{label}">{bars}'
        f"</svg></figure>"
    )


def _range(numbers: Tensor) -> tuple[float, float]:
    """Return where the bins begin and end; what lies beyond is in the first and the last."""
    ordered = numbers.sort().values
    last = len(ordered) - 1
    low, high = float(ordered[last // 200]), float(ordered[last - last // 200])
    if high <= low:
        low, high = low - 0.5, high + 0.5
    return low, high


def _bars(issues: list[float], others: list[float], low: float, high: float) -> str:
    highest = max(max(a + b for a, b in zip(issues, others, strict=True)), 1)
    width = (_WIDTH - _LEFT - _RIGHT) / BINS
    floor, room = _HEIGHT - _BOTTOM, _HEIGHT - _BOTTOM - _TOP
    parts = []
    for share in (0.5, 1.0):
        y = floor - share * room
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y}" y2="{y}"/>')
        count = f"{round(share * highest):,}"
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.0f}" text-anchor="end">{count}</text>')
    for number, (bad, good) in enumerate(zip(issues, others, strict=True)):
        x, top = _LEFT + number * width, float(floor)
        for kind, of_kind in (("issue", bad), ("other", good)):
            height = of_kind / highest * room
            top -= height
            if of_kind:
                parts.append(
                    f'<rect class="{kind}" x="{x + 0.6:.2f}" y="{top:.2f}" '
                    f'width="{width - 1.2:.2f}" height="{height:.2f}"/>'
                )
    ends = f'x1="{_LEFT}" x2="{_WIDTH - _RIGHT}"'
    parts.append(f'<line class="axis" {ends} y1="{floor}" y2="{floor}"/>')
    for value in _ticks(low, high):
        x = _LEFT + (value - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT)
        place = f'x="{x:.1f}" y="{_HEIGHT - 6}" text-anchor="middle"'
        parts.append(f"<text {place}>{_said(value)}</text>")
    return "".join(parts)


def _ticks(low: float, high: float) -> list[float]:
    """Return round numbers between the ends, four to eight."""
    rough = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = max((size * power for size in (1, 2, 5) if size * power <= rough), default=power)
    first = math.ceil(low / step - 1e-9)
    return [number * step for number in range(first, math.floor(high / step + 1e-9) + 1)]


def _said(value: float) -> str:
    return f"{value:.6g}".replace("-", "−")
