"""Cleanlab's score of a mask, where it is installed."""

from __future__ import annotations

import math

import numpy as np

from examples.covid3d.audit.drawing import Drawing


def cleanlab_quality(drawing: Drawing) -> float:
    """Cleanlab's soft minimum of the probabilities of a mask's labels (Lad & Mueller 2023).

    It is made for pictures: the volume is laid out as one, which the score does not mind.

    Args:
        drawing: The scan.

    Returns:
        0 to 1; NaN where cleanlab is not installed.
    """
    try:
        from cleanlab.segmentation.rank import get_label_quality_scores
    except ImportError:
        return math.nan
    side = drawing.given.shape[0]
    labels = drawing.given.reshape(1, side, -1).astype(int)
    foreground = drawing.probability.reshape(1, side, -1)
    probabilities = np.stack([1 - foreground, foreground], axis=1)
    scores, _ = get_label_quality_scores(labels, probabilities, verbose=False)
    return float(scores[0])
