"""The outline of a mask as an SVG path along the edges of its pixels."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

_STEPS = {(0, 1): "h{}", (0, -1): "h-{}", (1, 0): "v{}", (-1, 0): "v-{}"}

Corner = tuple[int, int]


def outline(mask: NDArray[np.generic]) -> str:
    """Draws round a mask, holes too.

    Args:
        mask: (rows, columns).

    Returns:
        A path in units of pixels, the first pixel from 0 to 1; empty for an empty mask.
    """
    inside = np.pad(mask.astype(bool), 1)
    # Edges with the mask on their right: corner to corner, in the padded grid.
    ahead: dict[Corner, list[Corner]] = {}
    for di, dj, start, end in (
        (-1, 0, (0, 0), (0, 1)),
        (0, 1, (0, 1), (1, 1)),
        (1, 0, (1, 1), (1, 0)),
        (0, -1, (1, 0), (0, 0)),
    ):
        edge = inside & ~np.roll(inside, (-di, -dj), (0, 1))
        for i, j in zip(*(index.tolist() for index in np.nonzero(edge)), strict=True):
            there = (i + end[0], j + end[1])
            ahead.setdefault((i + start[0], j + start[1]), []).append(there)
    parts = []
    while ahead:
        first = next(iter(ahead))
        corners = [first]
        while corners[-1] in ahead:
            options = ahead[corners[-1]]
            corners.append(options.pop(_turn(corners, options)))
            if not options:
                del ahead[corners[-2]]
        parts.append(_written(corners))
    return "".join(parts)


def _turn(corners: list[Corner], options: list[Corner]) -> int:
    """Where two pixels touch at a corner, turns right, so that each is walked round by itself."""
    if len(options) < 2 or len(corners) < 2:
        return 0
    (a, b), (c, d) = corners[-2:]
    to_right = (c + (d - b), d - (c - a))
    return options.index(to_right) if to_right in options else 0


def _written(corners: list[Corner]) -> str:
    text = [f"M{corners[0][1] - 1} {corners[0][0] - 1}"]
    length, heading = 0, (0, 0)
    for (a, b), (c, d) in pairwise(corners):
        if (c - a, d - b) != heading and length:
            text.append(_STEPS[heading].format(length))
            length = 0
        heading = (c - a, d - b)
        length += 1
    # The last stretch closes the path by itself.
    return "".join(text) + "z"
