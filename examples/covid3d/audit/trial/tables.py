"""The tables of a trial, as Markdown and CSV, over the seeds that are complete."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from examples.covid3d.audit.trial.figure import draw
from examples.covid3d.audit.trial.finding import EVERY, FAULTS_ALONE
from examples.covid3d.audit.trial.results import of_detectors, of_rows, results, seconds_of
from examples.covid3d.audit.trial.settings import SHARES, SOUND, Settings
from examples.covid3d.audit.trial.units import ASSESSED, AUDIT, Unit
from examples.covid3d.common.files import read_csv, write_csv, write_text
from examples.covid3d.methods.rows import ROWS

TABLES = "tables.md"

_LABELS = {
    "oracle": "Told which masks are sound (oracle)",
    "audited": "Audited: doubtful masks redrawn, then equal weights + trusted",
}
_CONTROLS = ("equal-trusted", "supervised-trusted")
_TURNED = ", rotated and stretched"

Line = Mapping[str, Any]


def write_tables(out: Path, settings: Settings, kinds: Mapping[int, Mapping[str, str]]) -> Path:
    """Writes ``tables.md``, ``rows.csv``, ``detectors.csv`` and ``finding.png``.

    Args:
        out: Folder of the trial.
        settings: Settings.
        kinds: What is wrong with each audited mask, by seed.

    Returns:
        The file of the tables.
    """
    complete = results(out, settings)
    rows, detectors = of_rows(complete, settings), of_detectors(complete, kinds)
    write_csv(out / "rows.csv", rows)
    write_csv(out / "detectors.csv", detectors)
    doubts = _doubts(out, settings)
    write_csv(out / "doubts.csv", doubts)
    parts = [
        f"{len(complete)} trainings, {seconds_of(complete) / 60:.0f} minutes of one core.",
        *(
            text
            for trusted in settings.trusted
            for text in (
                f"## {trusted} trusted scans",
                _rows_table([line for line in rows if line["trusted"] == trusted], settings),
                _gap([line for line in rows if line["trusted"] == trusted]),
                _gap([line for line in rows if line["trusted"] == trusted], "+"),
                _detectors_table([line for line in detectors if line["trusted"] == trusted]),
                _kinds_table([line for line in detectors if line["trusted"] == trusted]),
                _doubts_table([line for line in doubts if line["trusted"] == trusted]),
            )
        ),
    ]
    write_text(out / TABLES, "\n\n".join(part for part in parts if part) + "\n")
    draw(out / "finding.png", detectors, settings)
    return out / TABLES


def spread(values: Sequence[float], digits: int = 3) -> str:
    """Mean and standard deviation over seeds, as text."""
    known = [value for value in values if not math.isnan(value)]
    if not known:
        return "–"
    mean = f"{np.mean(known):.{digits}f}"
    return f"{mean} ± {np.std(known, ddof=1):.{digits}f}" if len(known) > 1 else mean


def _markdown(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    if not lines:
        return ""
    rule = [":---", *["---:"] * (len(header) - 1)]
    return "\n".join("| " + " | ".join(line) + " |" for line in (header, rule, *lines))


def _by(lines: Sequence[Line], key: str) -> dict[str, list[Line]]:
    groups: dict[str, list[Line]] = {}
    for line in lines:
        groups.setdefault(str(line[key]), []).append(line)
    return groups


def _rows_table(lines: Sequence[Line], settings: Settings) -> str:
    groups = _by(lines, "row")
    shown = []
    for row in settings.rows:
        if row not in groups:
            continue
        of_row = groups[row]
        share = spread([line["share_sound"] for line in of_row], 2)
        shown.append(
            [
                _label(row),
                spread([line["dice"] for line in of_row], 4),
                share,
                f"{np.mean([line['processor_seconds'] for line in of_row]):.0f}",
            ]
        )
    return _markdown(["Row", "Dice, tested", "Weight on sound masks", "Processor seconds"], shown)


def _label(row: str) -> str:
    plain = row.removesuffix("+")
    return (_LABELS.get(plain) or ROWS[plain].label) + (_TURNED if row.endswith("+") else "")


def _gap(lines: Sequence[Line], suffix: str = "") -> str:
    """How far rows come from the better control to the oracle, over the seeds that all have."""
    groups = {
        row: {line["seed"]: line["dice"] for line in of}
        for row, of in _by(lines, "row").items()
        if row.endswith("+") == bool(suffix)
    }
    oracle, controls = f"oracle{suffix}", [f"{row}{suffix}" for row in _CONTROLS]
    if not {oracle, *controls} <= set(groups):
        return ""
    seeds = sorted(set.intersection(*(set(groups[row]) for row in (oracle, *controls))))
    if not seeds:
        return ""

    def mean(row: str) -> float:
        return float(np.mean([groups[row][seed] for seed in seeds]))

    better = max(controls, key=mean)
    room = [groups[oracle][seed] - groups[better][seed] for seed in seeds]
    words = [
        f"The oracle is {spread(room, 4)} from the better control ({_label(better)}), "
        f"over {len(seeds)} seeds. Of that:",
        "",
    ]
    for row in groups:
        if row in (oracle, better) or not set(seeds) <= set(groups[row]):
            continue
        gain = [groups[row][seed] - groups[better][seed] for seed in seeds]
        forward = min(np.mean(room), np.mean(gain)) > 0
        part = f", {np.mean(gain) / np.mean(room):.0%} of the way" if forward else ""
        words.append(f"- {_label(row)}: {spread(gain, 4)}{part}")
    return "\n".join(words)


def _detectors_table(lines: Sequence[Line]) -> str:
    columns = [EVERY, FAULTS_ALONE, "precision", "precision without the teacher's"]
    shown = [
        [name, *(spread([line[column] for line in of]) for column in columns)]
        for name, of in _by(lines, "detector").items()
    ]
    header = ["What finds wrong masks", "AUROC, all kinds", "AUROC, without the teacher's"]
    header += ["Precision at the true number", "Precision, without the teacher's"]
    return _markdown(header, shown)


def _kinds_table(lines: Sequence[Line]) -> str:
    groups = _by(lines, "detector")
    of_interest = ("Audit", "Agreement with a network", "Memory of the sim", "Mean loss over a tr")
    chosen = [name for name in groups if name.startswith(of_interest) and "control" not in name]
    shown = [
        [kind, *(spread([line[kind] for line in groups[name]], 2) for name in chosen)]
        for kind in SHARES
    ]
    return _markdown(["AUROC by kind, against sound masks", *chosen], shown) if chosen else ""


def _doubts(out: Path, settings: Settings) -> list[dict[str, Any]]:
    """What was said of masks of each kind."""
    counts: dict[tuple[int, str, str], int] = {}
    for seed in settings.seeds:
        for trusted in settings.trusted:
            path = Unit(seed, trusted, AUDIT).folder(out) / ASSESSED
            for line in read_csv(path) if path.exists() else []:
                key = (trusted, line["kind"], line["doubt"])
                counts[key] = counts.get(key, 0) + 1
    return [
        {"trusted": trusted, "kind": kind, "doubt": doubt, "masks": number}
        for (trusted, kind, doubt), number in sorted(counts.items())
    ]


def _doubts_table(lines: Sequence[Line]) -> str:
    shown = []
    for kind in (SOUND, *SHARES):
        of_kind = sorted(
            (line for line in lines if line["kind"] == kind), key=lambda line: -line["masks"]
        )
        if of_kind:
            said = ", ".join(f"{line['doubt']} {line['masks']}" for line in of_kind)
            shown.append([kind, str(sum(line["masks"] for line in of_kind)), said])
    return _markdown(["The mask is", "Masks", "The audit says (all seeds)"], shown)
