"""One figure: how well each kind of wrong mask is found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from examples.covid3d.audit.trial.settings import SHARES, Settings
from support.replacing import replacing

_SHOWN = {
    "Audit": "#1b6ca8",
    "Agreement with a network of the trusted scans (Dice)": "#e08214",
    "Mean loss over a training, RGS by scan": "#7f7f7f",
    "Memory of the similarity (RGS by scan)": "#5aae61",
}


def draw(path: Path, detectors: Sequence[Mapping[str, Any]], settings: Settings) -> None:
    """Draws AUROC by kind of fault, a panel for each number of trusted scans.

    Args:
        path: PNG to write.
        detectors: Lines of ``detectors.csv``; nothing is drawn without any.
        settings: Settings.
    """
    if not detectors:
        return
    figure = Figure(figsize=(5.2 * len(settings.trusted) + 2, 6.2), layout="constrained")
    axes = figure.subplots(1, len(settings.trusted), sharey=True, squeeze=False)[0]
    kinds = list(SHARES)
    height = 0.8 / len(_SHOWN)
    for panel, trusted in zip(axes, settings.trusted, strict=True):
        for place, (name, colour) in enumerate(_SHOWN.items()):
            of = [d for d in detectors if d["detector"] == name and d["trusted"] == trusted]
            if not of:
                continue
            means = [float(np.nanmean([line[kind] for line in of])) for kind in kinds]
            at = np.arange(len(kinds)) + (place - (len(_SHOWN) - 1) / 2) * height
            panel.barh(at, means, height, color=colour, label=name)
            for line in of:
                panel.plot([line[kind] for kind in kinds], at, ".", color="black", ms=3)
        panel.axvline(0.5, color="black", lw=0.8, ls=":")
        panel.axvline(0.95, color="black", lw=0.8, ls="--")
        panel.set(xlim=(0, 1.02), xlabel="AUROC against sound masks")
        panel.set_title(f"{trusted} trusted scans")
        panel.set_yticks(np.arange(len(kinds)), kinds)
    # Once: the panels share their axis.
    axes[0].invert_yaxis()
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=110)
