"""Small plots as SVG inside the page: text stays text, colours are the page's, dark or light.

They are drawn narrow, so that a phone shows them at their own size and a wide page side by side.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape

WIDTH = 380.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 46.0, 12.0, 10.0, 40.0


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers from ``low`` to ``high``, about as many as asked for."""
    if not high > low:
        return [low]
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next((m * power for m in (1, 2, 2.5, 5) if m * power >= rough * 0.999), 10 * power)
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 12) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def number(value: float) -> str:
    """A tick's label."""
    return f"{value:.10g}".replace("-", "\N{MINUS SIGN}")


def text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    """A line of text."""
    named = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}"{named} text-anchor="{anchor}">{escape(words)}</text>'


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    """A straight line."""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>'


def dot(x: float, y: float, kind: str, says: str = "", radius: float = 4.5) -> str:
    """A dot, which says something when it is pointed at."""
    title = f"<title>{escape(says)}</title>" if says else ""
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}" class="{kind}">{title}</circle>'


def cloud(places: Sequence[tuple[float, float]], kind: str) -> str:
    """Very many dots, which take a tenth of the room of as many single ones and say nothing."""
    path = "".join(f"M{x:.0f} {y:.0f}h0" for x, y in places)
    return f'<path d="{path}" class="cloud {kind}"></path>'


def box(x: float, y: float, width: float, height: float, kind: str, says: str = "") -> str:
    """A rectangle."""
    title = f"<title>{escape(says)}</title>" if says else ""
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 0):.1f}" height="{max(height, 0):.1f}" '
        f'class="{kind}" rx="2">{title}</rect>'
    )


def panel(title: str, caption: str, says: str, height: float, marks: Sequence[str]) -> str:
    """A figure of the page: its title and caption above the plot.

    Args:
        title: What it shows, in bold.
        caption: How to read it.
        says: What one would tell somebody who cannot see it.
        height: Of the drawing, whose width is :data:`WIDTH`.
        marks: What is drawn.
    """
    return (
        f'<figure class="panel"><figcaption><b>{escape(title)}</b>{escape(caption)}</figcaption>'
        f'<svg class="plot" viewBox="0 0 {WIDTH:g} {height:g}" role="img" '
        f'aria-label="{escape(says)}">{"".join(marks)}</svg></figure>'
    )


class Axes:
    """A plot's plane: scales of both axes, with their ticks drawn.

    Args:
        x: Range across.
        y: Range up.
        x_label: What is across.
        y_label: What is up; printed above the axis, for a turned text is hard to read.
        height: Of the drawing.
    """

    def __init__(
        self,
        x: tuple[float, float],
        y: tuple[float, float],
        x_label: str,
        y_label: str,
        height: float = 250.0,
    ) -> None:
        self.height = height
        top = _TOP + 16
        self.x = _scale(x, (_LEFT, WIDTH - _RIGHT))
        self.y = _scale(y, (height - _BOTTOM, top))
        self.left, self.right = _LEFT, WIDTH - _RIGHT
        self.top, self.bottom = top, height - _BOTTOM
        self.marks: list[str] = [text(2, 14, y_label)]
        for value in ticks(*y, about=4):
            self.marks.append(line(_LEFT, self.y(value), self.right, self.y(value), "grid"))
            self.marks.append(text(_LEFT - 6, self.y(value) + 4, number(value), "", "end"))
        for value in ticks(*x):
            self.marks.append(text(self.x(value), self.bottom + 16, number(value), "", "middle"))
        self.marks.append(line(_LEFT, self.bottom, self.right, self.bottom, "axis"))
        self.marks.append(text((_LEFT + self.right) / 2, height - 6, x_label, "", "middle"))


def _scale(values: tuple[float, float], places: tuple[float, float]) -> Callable[[float], float]:
    (low, high), (start, end) = values, places
    width = (high - low) or 1.0
    return lambda value: start + (end - start) * (value - low) / width


class Lanes:
    """A lane for each method: its name above, marks on a scale that all share.

    Args:
        x: Range across.
        x_label: What is across.
        lanes: How many.
    """

    pitch = 40.0

    def __init__(self, x: tuple[float, float], x_label: str, lanes: int) -> None:
        self.height = lanes * self.pitch + 40
        self.x = _scale(x, (12, WIDTH - 12))
        bottom = lanes * self.pitch + 4
        self.marks: list[str] = []
        for value in ticks(*x):
            self.marks.append(line(self.x(value), 0, self.x(value), bottom, "grid"))
            self.marks.append(text(self.x(value), bottom + 14, number(value), "", "middle"))
        self.marks.append(text(WIDTH / 2, self.height - 5, x_label, "", "middle"))

    def name(self, lane: int, name: str, value: str, *, strong: bool = False) -> float:
        """Writes a lane's name and value above it, and gives the height of its marks."""
        y = lane * self.pitch + 14
        kind = "strong" if strong else "name"
        self.marks.append(text(2, y, name, kind))
        self.marks.append(text(WIDTH - 2, y, value, kind, "end"))
        return y + 13
