"""How a method looks in all figures."""

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
    """Colour by what is scored; dashed where all weights are kept; a marker for +trusted."""

    colour: str
    dashed: bool = False
    marker: str = ""

    def style(self) -> dict[str, object]:
        """Return the arguments of ``Axes.plot``."""
        line = (0, (4, 1.5)) if self.dashed else "-"
        return {"color": self.colour, "linestyle": line, "marker": self.marker, "markersize": 5}


LOOKS = {
    "plain": Look(BLACK),
    "random": Look(GREY),
    "trusted": Look(AMBER),
    "mixed": Look(BLACK, dashed=True, marker="s"),
    "rgm": Look(PURPLE),
    "rgm-all": Look(PURPLE, dashed=True),
    "rgs": Look(BLUE),
    "rgs-all": Look(BLUE, dashed=True),
    "rgsm": Look(ORANGE),
    "rgsm-all": Look(ORANGE, dashed=True),
    "rgs-all+trusted": Look(BLUE, dashed=True, marker="s"),
    "rgsm+trusted": Look(ORANGE, marker="s"),
    "rgsm-all+trusted": Look(ORANGE, dashed=True, marker="s"),
    "rgsm-0.25": Look(SKY),
    "rgsm-0.75": Look(GREEN),
}


def add_legend(figure: Figure, methods: list[str], columns: int = 7) -> None:
    """Put the legend of those methods below the panels."""
    lines = [Line2D([], [], label=name, **LOOKS[name].style()) for name in methods]  # type: ignore[arg-type]
    figure.legend(
        handles=lines, loc="outside lower center", ncols=columns, fontsize=8, frameon=False
    )


def tidy(axes: Axes) -> None:
    """Leave out what carries no data."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.tick_params(labelsize=8)
