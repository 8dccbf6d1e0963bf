"""How good each given mask is, judged by what networks that never saw it would have drawn."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from examples.covid3d.audit.doubt import DOUBTS, explain
from examples.covid3d.audit.drawing import Drawing, doubtful_voxels
from examples.covid3d.audit.parts import Parts, measure

__all__ = ["DOUBTS", "Assessment", "Drawing", "assess", "doubtful_voxels"]

_FAR = 3.0
"""Standard deviations of the trusted masks at which quality is a half."""


@dataclass(frozen=True)
class Assessment:
    """What is said of one given mask.

    Attributes:
        scan: The scan's name.
        quality: 0 to 1; a half where the mask is as far from the trusted ones as three of their
            standard deviations.
        doubt: A key of :data:`~examples.covid3d.audit.doubt.DOUBTS`; ``"none"`` from a quality of
            a half.
        words: The doubt in words, with numbers.
        distance: How far from the trusted masks, in their standard deviations: the root of the
            sum of squares of ``beyond``.
        beyond: The same for each way in which a mask can be unlike them.
        parts: What was measured.
    """

    scan: str
    quality: float
    doubt: str
    words: str
    distance: float
    beyond: Mapping[str, float]
    parts: Parts

    def to_row(self) -> dict[str, str | float]:
        """The columns of ``audit.csv``."""
        row: dict[str, str | float] = {
            "scan": self.scan,
            "quality": self.quality,
            "doubt": self.doubt,
            "words": self.words,
            "distance": self.distance,
        }
        return row | self.parts.to_row()


@dataclass(frozen=True)
class _Feature:
    """One way in which a mask can be unlike the trusted ones.

    Attributes:
        of: The number, larger for worse; NaN where it has no meaning.
        least: Smallest standard deviation to believe: that of few trusted scans may be too small.
    """

    of: Callable[[Parts], float]
    least: float


_FEATURES = {
    "agreement": _Feature(lambda parts: 1 - parts.agreement, 0.015),
    "shift": _Feature(lambda parts: parts.shift_mm, 0.1),
    "volume": _Feature(lambda parts: abs(_log(parts.volume_ratio)), 0.03),
    "smoothness": _Feature(lambda parts: -_log(parts.roughness), 0.1),
}


def assess(audited: Sequence[Drawing], trusted: Sequence[Drawing]) -> list[Assessment]:
    """Judges given masks by how far they are from the trusted ones.

    Of each drawing four numbers are taken: disagreement with what networks would have drawn that
    never saw the mask, distance of the centres, ratio of the volumes, and smoothness. Each counts
    in standard deviations above the mean of the trusted scans, whose masks are known to be sound.

    Args:
        audited: The masks to judge.
        trusted: Trusted masks, their networks' drawings likewise of networks that did not learn
            from them; at least two.

    Returns:
        One assessment for each of ``audited``, in their order.

    Raises:
        ValueError: If fewer than two masks are trusted.
    """
    if len(trusted) < 2:
        raise ValueError(f"{len(trusted)} trusted masks; at least 2 are needed to judge by")
    known = [measure(one) for one in trusted]
    reference = {name: _reference(feature, known) for name, feature in _FEATURES.items()}
    sound = float(np.mean([parts.agreement for parts in known]))
    return [_assess(one, reference, sound) for one in audited]


def _assess(
    drawing: Drawing, reference: Mapping[str, tuple[float, float]], sound: float
) -> Assessment:
    parts = measure(drawing)
    beyond = {}
    for name, (mean, deviation) in reference.items():
        value = _FEATURES[name].of(parts)
        beyond[name] = 0.0 if math.isnan(value) else max(0.0, (value - mean) / deviation)
    distance = math.sqrt(sum(value**2 for value in beyond.values()))
    quality = 1 / (1 + math.exp(min(distance - _FAR, 50.0)))
    if quality >= 0.5:
        return Assessment(drawing.name, quality, "none", DOUBTS["none"], distance, beyond, parts)
    others = [value for name, value in beyond.items() if name != "smoothness"]
    if beyond["smoothness"] > max(others):
        doubt, words = "smooth", DOUBTS["smooth"]
    else:
        found = explain(drawing, sound)
        doubt, words = found.doubt, found.words
    return Assessment(drawing.name, quality, doubt, words, distance, beyond, parts)


def _reference(feature: _Feature, known: Sequence[Parts]) -> tuple[float, float]:
    """Mean and standard deviation of a feature over the trusted scans."""
    values = np.asarray([feature.of(parts) for parts in known])
    values = values[~np.isnan(values)]
    if len(values) < 2:
        return 0.0, math.inf
    return float(values.mean()), max(float(values.std(ddof=1)), feature.least)


def _log(value: float) -> float:
    return math.log(max(value, 1e-6)) if not math.isnan(value) else math.nan
