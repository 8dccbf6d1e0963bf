"""How a row looks in all figures."""

from __future__ import annotations

from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

# Okabe and Ito's colours, told apart with any kind of colour vision.
GREY, BLUE, ORANGE, GREEN = "#666666", "#0072B2", "#D55E00", "#009E73"
PURPLE, SKY, AMBER, BLACK = "#CC79A7", "#56B4E9", "#E69F00", "#000000"


@dataclass(frozen=True)
class Look:
    """Colour by kind: controls are dark, weights per batch blue, what remembers is warm."""

    colour: str
    dashed: bool = False
    marker: str = ""

    def style(self) -> dict[str, object]:
        """Return the arguments of ``Axes.plot``."""
        line = (0, (4, 1.5)) if self.dashed else "-"
        return {"color": self.colour, "linestyle": line, "marker": self.marker, "markersize": 4}


LOOKS = {
    "plain": Look(BLACK),
    "plain+trusted": Look(BLACK, dashed=True, marker="s"),
    "plain+trusted-1": Look(BLACK, dashed=True, marker="x"),
    "random": Look(GREY),
    "trusted": Look(GREY, dashed=True),
    "clean": Look(GREEN),
    "clean+trusted": Look(GREEN, dashed=True, marker="s"),
    "loss-table": Look(PURPLE, dashed=True),
    "similarity": Look(SKY),
    "default": Look(SKY, marker="v"),
    "per-batch": Look(SKY, marker="s"),
    "mixture": Look(BLUE),
    "learnt-mixture": Look(BLUE, marker="v"),
    "paper": Look(BLUE, dashed=True),
    "sample-weights": Look(ORANGE, marker="o"),
    "group-weights": Look(AMBER, dashed=True),
    "weight-net": Look(PURPLE),
    "weight-net-step": Look(PURPLE, marker="v"),
    "sum": Look(AMBER, marker="v"),
    "mended+net": Look(GREEN, marker="v"),
    "mended-labels": Look(GREEN, marker="o"),
    "mended-labels-1": Look(GREEN, dashed=True, marker="x"),
    "mended-labels-0": Look(GREEN, marker="^"),
    "bootstrap-88": Look(PURPLE, dashed=True, marker="o"),
    "bootstrap-50": Look(PURPLE, dashed=True, marker="^"),
    "soft-labels": Look(SKY, marker="o"),
    "logit-adjustment": Look(SKY, dashed=True),
    "sample-weights+logit-adjustment": Look(ORANGE, dashed=True),
    "folds": Look(GREY, marker="x"),
}


def look_of(row: str) -> Look:
    """Return the look of a row; grey and dotted with a cross, if it was given none."""
    return LOOKS.get(row, Look(GREY, dashed=True, marker="x"))


def add_legend(figure: Figure, rows: list[str], columns: int = 7) -> None:
    """Put the legend of those rows below the panels."""
    lines = [Line2D([], [], label=name, **look_of(name).style()) for name in rows]  # type: ignore[arg-type]
    figure.legend(
        handles=lines, loc="outside lower center", ncols=columns, fontsize=8, frameon=False
    )


def tidy(axes: Axes) -> None:
    """Leave out what carries no data."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.tick_params(labelsize=8)
