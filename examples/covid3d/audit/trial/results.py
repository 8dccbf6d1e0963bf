"""What a trial has found so far, as plain rows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from examples.covid3d.audit.trial.finding import found
from examples.covid3d.audit.trial.settings import Settings
from examples.covid3d.audit.trial.units import AUDIT, RESULT, units_of
from examples.covid3d.common.files import read_json

DETECTORS: Mapping[tuple[str, str], str] = {
    (AUDIT, "audit"): "Audit",
    (AUDIT, "audit without smoothness"): "Audit, without smoothness",
    (AUDIT, "agreement"): "Agreement with the audit's students (Dice)",
    (AUDIT, "cleanlab"): "cleanlab, on the audit's students",
    ("supervised-trusted+", "agreement"): "Agreement with a network of the trusted scans (Dice)",
    ("supervised-trusted+", "cleanlab"): "cleanlab, on a network of the trusted scans",
    ("supervised-trusted", "agreement"): "The same, patches flipped only (Dice)",
    ("equal-trusted", "agreement"): "Agreement with equal weights + trusted (Dice)",
    ("rgs-scan", "agreement"): "Agreement with RGS, remembered by scan (Dice)",
    ("rgs-scan", "memory"): "Memory of the similarity (RGS by scan)",
    ("rgs-scan-loss", "memory"): "Memory of the loss (control)",
    ("rgs-scan", "mean loss"): "Mean loss over a training, RGS by scan",
    ("rgs-scan-loss", "mean loss"): "Mean loss over a training, control",
    ("rgs-source", "memory"): "Memory of the source",
}
"""What finds wrong masks, by the unit and the name of its list."""


def results(out: Path, settings: Settings) -> list[dict[str, Any]]:
    """The results of all units that are complete."""
    there = [read_json(unit.folder(out) / RESULT) for unit in units_of(settings)]
    return [one for one in there if one]


def of_rows(complete: list[dict[str, Any]], settings: Settings) -> list[dict[str, Any]]:
    """One line for each training: mean Dice, share of weight on sound masks, seconds."""
    return [
        {
            "row": one["row"],
            "trusted": trusted,
            "seed": one["seed"],
            "dice": float(np.mean(list(one["test"].values()))),
            "share_sound": one["share_sound"],
            "seconds": one["seconds"],
            "processor_seconds": one.get("processor_seconds", math.nan),
        }
        for one in complete
        if one["row"] != AUDIT
        # What uses no trusted scan is the same for any number of them.
        for trusted in (settings.trusted if one["row"] == "equal" else (one["trusted"],))
    ]


def of_detectors(
    complete: list[dict[str, Any]], kinds: Mapping[int, Mapping[str, str]]
) -> list[dict[str, Any]]:
    """One line for each detector, trusted number and seed: its AUROCs and precisions."""
    lines = []
    for one in complete:
        for name, quality in one.get("quality", {}).items():
            title = DETECTORS.get((one["row"], name))
            if title is None:
                continue
            line = {"detector": title, "trusted": one["trusted"], "seed": one["seed"]}
            lines.append({**line, **found(quality, kinds[one["seed"]])})
    order = list(DETECTORS.values())
    return sorted(lines, key=lambda line: (line["trusted"], order.index(str(line["detector"]))))


def seconds_of(complete: list[dict[str, Any]]) -> float:
    """Processor seconds of all trainings: those of a clock depend on what else is running."""
    return float(sum(one.get("processor_seconds", math.nan) for one in complete))
