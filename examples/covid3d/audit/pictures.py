"""The pictures of a page: of the worst scans, of the trusted ones, and small ones to begin with."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from examples.covid3d.audit.drawing import Drawing, doubtful_voxels
from examples.covid3d.audit.observing import probability_of
from examples.covid3d.audit.slices import Picture, draw
from examples.covid3d.audit.verdict import Verdict
from examples.covid3d.scans.store import stored_with_mask

_MOST_TRUSTED = 24
_SMALL = 6

Pictures = dict[str, Picture]


def draw_scans(
    prepared: Path, folder: Path, verdict: Verdict, count: int
) -> tuple[Pictures, Pictures]:
    """Draws scans on the working grid, one at a time.

    Args:
        prepared: Folder of the prepared scans.
        folder: Where the probabilities lie.
        verdict: Which scans are the worst.
        count: Of how many; with none, of no trusted scan either.

    Returns:
        Pictures by name, and small ones of the very worst.
    """
    worst = [one.scan for one in verdict.judged[:count]]
    trusted = [one.scan for one in verdict.trusted[:_MOST_TRUSTED]] if count else []
    doubtful = [one.scan for one in verdict.doubtful if one.scan in worst]
    small = set(doubtful[:_SMALL] or worst[:1])
    drawn: Pictures = {}
    thumbnails: Pictures = {}
    for name in tqdm([*worst, *trusted], desc="pictures", unit="scan"):
        scan = stored_with_mask(prepared, name)
        given, spacing = np.asarray(scan.mask), scan.grid.spacing
        drawing = Drawing(name, given, probability_of(folder, name), spacing)
        doubt = doubtful_voxels(drawing) > 0
        picture = partial(
            draw, name, np.asarray(scan.image), drawing.mask, drawing.expected, spacing, doubt
        )
        drawn[name] = picture()
        if name in small:
            thumbnails[name] = picture(count=1)
    return drawn, thumbnails
