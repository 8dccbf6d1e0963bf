"""What kind of fault would explain a mask: the one whose undoing makes it agree."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import binary_dilation, binary_erosion, binary_opening, label

from examples.covid3d.audit.drawing import Drawing, Mask
from examples.covid3d.audit.parts import best_shift, cropped
from examples.covid3d.measure.metrics import dice

SOUND = "none"
"""The doubt of a mask that nothing seems wrong with."""

DOUBTS = {
    SOUND: "nothing to doubt",
    "empty": "nothing is drawn where something is expected",
    "missed": "a part is missing",
    "invented": "a part is drawn where none is expected",
    "shifted": "shifted",
    "mirrored": "mirrored",
    "another": "agrees with nothing in this scan: another patient's mask?",
    "over-drawn": "drawn too large all around",
    "under-drawn": "drawn too small all around",
    "smooth": "smoother than the trusted masks: drawn by a network?",
    "unlike": "differs from what is expected in no one way",
}
"""Kinds of doubt, and what they say."""

_AXES = ("left-right", "front-back", "up-down")
# An explanation must win back so much of what is missing in agreement, and bring the mask as near
# as this to what sound ones have, or it is none.
_WINS, _REACHES = 0.35, 0.85
# Without one, a mask with less than this is not of this scan.
_FOREIGN = 0.75
# A missing or an invented part is in one piece, so thick and of such a share of the drawing.
_PART = 0.12


@dataclass(frozen=True)
class Explanation:
    """A fault that would explain a mask.

    Attributes:
        doubt: A key of :data:`DOUBTS`.
        words: The same in words, with numbers.
        agreement: Dice if it is undone.
    """

    doubt: str
    words: str
    agreement: float


def explain(drawing: Drawing, sound: float) -> Explanation:
    """Names the fault that explains best why a mask disagrees.

    Each kind of fault is undone as well as can be; the kind that brings the mask nearest to what
    is expected is the explanation, if it wins back enough of the agreement that sound masks have.

    Args:
        drawing: The scan.
        sound: Agreement of sound masks, that of the trusted ones.

    Returns:
        The explanation; ``"unlike"`` if there is none.
    """
    given, expected = cropped(drawing)
    now = dice(given, expected)
    if not given.any() and expected.any():
        return Explanation("empty", DOUBTS["empty"], 0.0)
    if given.any() and not expected.any():
        return Explanation("invented", DOUBTS["invented"], 0.0)
    found = [
        *_shifts(given, expected, drawing.spacing),
        *_mirrors(drawing),
        *_sizes(given, expected),
        *_pieces(given, expected),
    ]
    best = max(found, key=lambda one: one.agreement, default=None)
    enough = max(_REACHES * sound, now + _WINS * max(sound - now, 0.02))
    if best is not None and best.agreement >= enough:
        return best
    if now < _FOREIGN * sound:
        return Explanation("another", DOUBTS["another"], now)
    return Explanation("unlike", DOUBTS["unlike"], now)


def _shifts(
    given: Mask, expected: Mask, spacing: tuple[float, float, float]
) -> Iterator[Explanation]:
    steps, agreement = best_shift(given, expected)
    if any(steps):
        apart = [-step * side for step, side in zip(steps, spacing, strict=True)]
        along = ", ".join(
            f"{value:+.1f} mm {axis}" for value, axis in zip(apart, _AXES, strict=True) if value
        )
        yield Explanation("shifted", f"shifted by {along}", agreement)


def _mirrors(drawing: Drawing) -> Iterator[Explanation]:
    """The whole grid mirrored, as by a wrong orientation in a header."""
    for axis, name in enumerate(_AXES):
        flipped = np.flip(drawing.mask, axis)
        yield Explanation("mirrored", f"mirrored {name}", dice(flipped, drawing.expected))


def _sizes(given: Mask, expected: Mask) -> Iterator[Explanation]:
    ways: tuple[tuple[str, Callable[..., Mask]], ...] = (
        ("under-drawn", binary_dilation),
        ("over-drawn", binary_erosion),
    )
    for (doubt, undo), by in itertools.product(ways, (1, 2)):
        ratio = given.sum() / expected.sum()
        larger = f"{ratio:.2f} times the volume expected"
        if (ratio < 1) == (doubt == "under-drawn"):
            undone = undo(given, iterations=by)
            yield Explanation(doubt, f"{DOUBTS[doubt]}: {larger}", dice(undone, expected))


def _pieces(given: Mask, expected: Mask) -> Iterator[Explanation]:
    """The largest part that is thick and on one side alone."""
    for doubt, more, less in (("missed", expected, given), ("invented", given, expected)):
        # What is there on both sides must be most of the smaller: else it is another thing.
        if (more & less).sum() < 0.5 * less.sum():
            continue
        piece = _largest(binary_opening(more & ~less))
        share = piece.sum() / math.sqrt(float(given.sum()) * float(expected.sum()))
        if share < _PART:
            continue
        # With what is around it, for the opening has taken its edges.
        whole = binary_dilation(piece, iterations=2) & more & ~less
        mended = given | whole if doubt == "missed" else given & ~whole
        yield Explanation(
            doubt, f"{DOUBTS[doubt]}: {share:.0%} of the drawing", dice(mended, expected)
        )


def _largest(mask: Mask) -> Mask:
    labels, count = label(mask)
    if count == 0:
        return mask
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    largest: Mask = labels == int(sizes.argmax())
    return largest
