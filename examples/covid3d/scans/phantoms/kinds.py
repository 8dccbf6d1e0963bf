"""Kinds of scan: the sound one that the teacher learns from, and those on which it may fail."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from examples.covid3d.scans.phantoms.scanner import OTHER, USUAL, Scanner


@dataclass(frozen=True)
class Kind:
    """What sets a scan apart from others.

    Attributes:
        name: One word, part of the names of unlabelled scans.
        scanner: What it is scanned with.
        healthy: Whether the lungs have no lesion.
        atelectasis: Probability of dependent atelectasis, which only looks like a lesion.
        deflated: How much denser than at full breath the lungs are, HU.
        breathing: How far the diaphragm moves while the scan is taken, mm.
    """

    name: str
    scanner: Scanner
    healthy: bool = False
    atelectasis: float = 0.4
    deflated: float = 0.0
    breathing: float = 0.0


SOUND = Kind("sound", USUAL)
"""Lesions, full breath, held still, on the scanner of the teacher's own scans."""

SCANNER = Kind("scanner", OTHER)
"""Another scanner: thick slices, a sharp and noisy kernel, lungs read too dense."""

SHALLOW = Kind("shallow", USUAL, atelectasis=1.0, deflated=120.0)
"""Lesions in lungs with little air, and dense bands at the back that are none."""

HEALTHY = Kind("healthy", USUAL, healthy=True, atelectasis=1.0, deflated=120.0)
"""No lesion, and what can be taken for one: little air in the lungs and dense bands at the back."""

MOTION = Kind("motion", USUAL, breathing=36.0)
"""A patient who went on breathing: the bases are drawn over one another."""

_MET = {SOUND: 3 / 8, SHALLOW: 2 / 8, SCANNER: 1 / 8, HEALTHY: 1 / 8, MOTION: 1 / 8}
SHARES: Mapping[str, Mapping[Kind, float]] = {
    "teacher": {SOUND: 1},
    "trusted": _MET,
    "unlabelled": {SOUND: 2 / 5, SCANNER: 1 / 5, HEALTHY: 1 / 4, MOTION: 3 / 20},
    "test": _MET,
}
"""Share of each kind, by role. The teacher's experts drew lesions on sound scans and no others; the
trusted scans are as those that will be met in use, which are tested."""


def deal(shares: Mapping[Kind, float], count: int) -> list[Kind]:
    """Deals out ``count`` scans so that every first part of the list has the shares, rounded."""
    dealt: list[Kind] = []
    for number in range(1, count + 1):
        dealt.append(max(shares, key=lambda kind: shares[kind] * number - dealt.count(kind)))
    return dealt
