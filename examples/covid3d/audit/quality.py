"""How good each given mask is, judged by what networks that never saw it would have drawn."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from examples.covid3d.audit.doubt import DOUBTS, SOUND, explain
from examples.covid3d.audit.drawing import Drawing
from examples.covid3d.audit.parts import Parts, measure

_FAR, _STEEP = 2.5, 1.5
"""Standard deviations of the trusted masks at which quality is a half, and how fast it falls."""


@dataclass(frozen=True)
class Assessment:
    """What is said of one given mask.

    Attributes:
        scan: The scan's name.
        quality: 0 to 1; a half where the mask is as far from the trusted ones as two and a half
            of their standard deviations.
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
        usual: A standard deviation to believe in as much as in that of eight trusted scans: of few
            scans it may be far too small. A shift's is in voxels.
    """

    of: Callable[[Parts], float]
    usual: float


_FEATURES = {
    "agreement": _Feature(lambda parts: 1 - parts.agreement, 0.03),
    "shift": _Feature(lambda parts: parts.shift_mm, 0.4),
    "smoothness": _Feature(lambda parts: -parts.roughness, 0.015),
}
# The ratio of volumes is told but not judged by: networks differ in it by more than sound masks.
_AS_MANY = 8


def assess(audited: Sequence[Drawing], trusted: Sequence[Drawing]) -> list[Assessment]:
    """Judges given masks by how far they are from the trusted ones.

    Of each drawing three numbers are taken: disagreement with what networks would have drawn that
    never saw the mask, by how far it would have to move to agree best, and smoothness. Each counts
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
    # In one pass: a drawing may be read from disk each time it is asked for.
    measured = [(measure(one), np.mean(one.spacing)) for one in trusted]
    known = [parts for parts, _ in measured]
    side = float(np.mean([spacing for _, spacing in measured]))
    reference = {
        name: _reference(feature, known, side if name == "shift" else 1.0)
        for name, feature in _FEATURES.items()
    }
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
    distance = math.hypot(*beyond.values())
    quality = 1 / (1 + math.exp(min(_STEEP * (distance - _FAR), 50.0)))
    if quality >= 0.5:
        return Assessment(drawing.name, quality, SOUND, DOUBTS[SOUND], distance, beyond, parts)
    others = [value for name, value in beyond.items() if name != "smoothness"]
    if beyond["smoothness"] > max(others):
        doubt, words = "smooth", DOUBTS["smooth"]
    else:
        found = explain(drawing, sound)
        doubt, words = found.doubt, found.words
    return Assessment(drawing.name, quality, doubt, words, distance, beyond, parts)


def _reference(feature: _Feature, known: Sequence[Parts], unit: float) -> tuple[float, float]:
    """Mean and standard deviation of a feature over the trusted scans."""
    values = np.asarray([feature.of(parts) for parts in known])
    values = values[~np.isnan(values)]
    if len(values) < 2:
        return 0.0, math.inf
    square = len(values) * float(values.var(ddof=1)) + _AS_MANY * (feature.usual * unit) ** 2
    return float(values.mean()), math.sqrt(square / (len(values) + _AS_MANY))
