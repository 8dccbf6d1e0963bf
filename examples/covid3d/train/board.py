"""TensorBoard curves of a training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from examples.covid3d.common.errors import problem


class Board:
    """Writes the numbers of a step as TensorBoard scalars; does nothing unless ``enabled``.

    Args:
        folder: Where event files go.
        enabled: Whether to write.
        first: Step at which a resumed training starts; what was written of later ones is dropped.

    Raises:
        UserError: If TensorBoard is wanted but not installed.
    """

    def __init__(self, folder: Path, enabled: bool, first: int) -> None:
        self._writer: Any = None
        if not enabled:
            return
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise problem(
                "--tensorboard",
                f"TensorBoard is not installed ({error})",
                "the package tensorboard",
                "pip install tensorboard, or drop the option",
            ) from error
        self._writer = SummaryWriter(str(folder), purge_step=first + 1)

    def add(self, step: int, values: Mapping[str, Any], prefix: str) -> None:
        """Writes the numbers among ``values`` under ``prefix/NAME``."""
        if self._writer is None:
            return
        for name, value in values.items():
            if isinstance(value, int | float) and name != "step":
                self._writer.add_scalar(f"{prefix}/{name}", value, step)

    def histogram(self, step: int, values: Sequence[float], name: str) -> None:
        """Writes the distribution of some values; nothing where there are none."""
        if self._writer is not None and values:
            self._writer.add_histogram(name, np.asarray(values), step)

    def close(self) -> None:
        """Flushes and closes the files."""
        if self._writer is not None:
            self._writer.close()
