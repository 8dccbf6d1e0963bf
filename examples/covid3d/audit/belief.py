"""How far the judge can be believed: what it finds of faults planted in trusted masks."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from examples.covid3d.audit.doubt import SOUND
from examples.covid3d.audit.drawing import Drawing
from examples.covid3d.audit.faults import FAULTS, Fault, Labels
from examples.covid3d.audit.judging import portions_of
from examples.covid3d.audit.observing import Drawings
from examples.covid3d.audit.quality import assess
from examples.covid3d.audit.verdict import Verdict
from examples.covid3d.common.files import read_json, write_json
from examples.covid3d.measure.metrics import dice

_KEPT = "belief.json"
_MOST_SCANS = 8
_UNCHANGED = 0.99

PLANTED = (
    "another patient's", "mirrored left-right", "shifted by 3 voxels", "half of it missing",
    "over-drawn by 2 voxels", "under-drawn by 2 voxels", "empty",
)  # fmt: skip
"""Faults that any mask may have."""


def _half_missing(labels: Labels, others: Sequence[Labels], rng: np.random.Generator) -> Labels:
    """What lies on one side of the middle voxel, along the axis where the mask is longest."""
    del others, rng
    found = np.argwhere(labels)
    if not len(found):
        return labels
    axis = int(np.argmax(np.ptp(found, axis=0)))
    beyond = np.moveaxis(labels.copy(), axis, 0)
    beyond[int(np.median(found[:, axis])) :] = 0
    return np.moveaxis(beyond, 0, axis)


_FAULTS: dict[str, Fault] = {**FAULTS, "half of it missing": _half_missing}


class _Faulty(Sequence[Drawing]):
    """Each of some drawings with each fault planted, made when it is asked for."""

    def __init__(self, drawings: Drawings, others: Drawings) -> None:
        self._drawings, self._others = drawings, others
        self._last: tuple[int, Drawing, Drawing] | None = None

    def __len__(self) -> int:
        return len(self._drawings) * len(PLANTED)

    def __getitem__(self, index: int) -> Drawing:  # type: ignore[override]
        if index >= len(self):
            raise IndexError(index)
        number, kind = divmod(index, len(PLANTED))
        if self._last is None or self._last[0] != number:
            other = self._others[number % len(self._others)]
            self._last = number, self._drawings[number], other
        _, own, other = self._last
        rng = np.random.default_rng([number, kind])
        given = _FAULTS[PLANTED[kind]](own.given, [other.given], rng)
        name = PLANTED[kind] if dice(given, own.given) < _UNCHANGED else ""
        return dataclasses.replace(own, name=name, given=given)


def plant(trusted: Drawings, folder: Path) -> None:
    """Plants faults in trusted masks, and keeps how many of each kind were planted and found.

    Each scan is judged by those of the others that are in another portion. A fault that changes
    nothing, such as mirroring an empty mask, is none.

    Args:
        trusted: Drawings of the trusted scans.
        folder: Where to write; what is there already stays.
    """
    if (folder / _KEPT).exists():
        return
    planted: Counter[str] = Counter()
    found: Counter[str] = Counter()
    for part, rest in tqdm(portions_of(len(trusted)), desc="plant faults", unit="portion"):
        few = part[: max(1, _MOST_SCANS * len(part) // len(trusted))]
        others = trusted.some(rest)
        for one in assess(_Faulty(trusted.some(few), others), others):
            planted[one.scan] += 1
            found[one.scan] += one.doubt != SOUND
    kinds = [kind for kind in PLANTED if planted[kind]]
    write_json(folder / _KEPT, [[kind, found[kind], planted[kind]] for kind in kinds])


def believed(verdict: Verdict, folder: Path) -> Verdict:
    """Adds to a verdict what is to be said of the judge.

    Args:
        verdict: With the trusted scans as they are.
        folder: Where :func:`plant` kept what it counted.
    """
    counts = [(kind, int(found), int(of)) for kind, found, of in read_json(folder / _KEPT)]
    found, planted = (sum(count[i] for count in counts) for i in (1, 2))
    said = f"Of {planted} faults planted in copies of their masks it finds {found}"
    missed = [f"{kind}, {of - n} of {of}" for kind, n, of in counts if n < of]
    said += f" (not found: {'; '.join(missed)})." if missed else "."
    alarms = [one for one in verdict.trusted if one.doubt != SOUND]
    number = f"{len(alarms) or 'none'} of the {len(verdict.trusted)}"
    belief = [said, f"As they are, it doubts {number}."]
    return dataclasses.replace(verdict, belief=belief, planted=planted, found=found)
