"""A running mean by row of a data set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from reweight._memory.table import Table


class RunningMean:
    """The mean of what was said of a row, the older of it forgotten.

    The n-th value counts 1/n while there are few, so that the start has no bias, and at least
    ``1 − momentum``.

    Args:
        means: Where the means are kept.
        times: Where it is kept how often each row, or each place of it, was seen.
        momentum: How much is kept of what is remembered, in [0, 1).
    """

    def __init__(self, means: Table, times: Table, momentum: float = 0.9) -> None:
        self._means, self._times = means, times
        self._momentum = momentum

    def read(self, rows: Tensor, otherwise: Tensor) -> Tensor:
        """Return the mean of ``rows``, ``(N,)``; ``otherwise`` where nothing was said of one."""
        means = self._means.read(rows)
        return torch.where(self._times.read(rows) > 0, means, otherwise.to(means))

    def add(self, rows: Tensor, values: Tensor, known: Tensor | None = None) -> None:
        """Take in ``values``; of a row that comes several times their mean, once.

        Args:
            rows: ``(N,)``.
            values: ``(N, ...)``, what the means are of.
            known: Which of them say something, bool, in the shape of what ``times`` holds of each
                row; ``None``: those that are finite.
        """
        means = self._means.read(rows)
        known = values.isfinite() if known is None else known
        share = torch.clamp(1 / (self._times.read(rows) + 1), min=1 - self._momentum)
        share = torch.where(known, share, torch.zeros_like(share))
        share = share.reshape(*share.shape, *[1] * (values.dim() - share.dim()))
        change = torch.where(share > 0, values.to(means) - means, torch.zeros_like(means))
        self._means.add_mean(rows, share * change)
        self._times.add_mean(rows, known.to(means))

    def state_dict(self) -> dict[str, Any]:
        """Return means, and how often each row was seen."""
        return {"means": self._means.state_dict(), "times": self._times.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take what :meth:`state_dict` returned.

        Raises:
            ValueError: If it is of another number of rows.
        """
        self._means.load_state_dict(state.get("means", {}))
        self._times.load_state_dict(state.get("times", {}))
