"""A given mask beside what networks that never saw it would have drawn."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
SURE = 0.1
"""A voxel is in doubt where the networks give the label that it has at most this probability."""

MISSED, INVENTED = 1, 2


@dataclass(frozen=True, eq=False)
class Drawing:
    """A given mask beside what networks that did not learn from it would have drawn.

    Attributes:
        name: The scan's name.
        given: Labels 0 or 1, (X, Y, Z), RAS+.
        probability: Of foreground, same shape.
        spacing: Voxel size, mm.
        memory: What a training that remembers came to think of the scan (φ), if there was one.
        loss: Its mean loss over that training.
    """

    name: str
    given: NDArray[np.uint8]
    probability: NDArray[np.float32]
    spacing: tuple[float, float, float]
    memory: float = math.nan
    loss: float = math.nan

    def __post_init__(self) -> None:
        if self.given.shape != self.probability.shape:
            raise ValueError(
                f"{self.name}: the mask has shape {self.given.shape} and the probability "
                f"{self.probability.shape}; expected one grid"
            )

    @property
    def mask(self) -> Mask:
        """The given mask."""
        return self.given.astype(bool)

    @property
    def expected(self) -> Mask:
        """What the networks would have drawn."""
        drawn: Mask = self.probability > 0.5
        return drawn


def doubtful_voxels(drawing: Drawing) -> NDArray[np.uint8]:
    """Marks voxels of whose given label the networks are sure that it is wrong.

    Args:
        drawing: The scan.

    Returns:
        (X, Y, Z): 1 where the mask misses foreground, 2 where it invents some, else 0.
    """
    doubt = np.zeros(drawing.given.shape, np.uint8)
    doubt[~drawing.mask & (drawing.probability > 1 - SURE)] = MISSED
    doubt[drawing.mask & (drawing.probability < SURE)] = INVENTED
    return doubt
