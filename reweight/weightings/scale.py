"""Numbers of any size on one scale."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from reweight._dtypes import widest

MOMENTUM = 0.99
LIMIT = 3.0


class Scale:
    """Takes the mean off each column, divides by its spread, and clips to ±3.

    Mean and spread are those of the last hundred or so batches: losses fall while a model trains.
    """

    def __init__(self) -> None:
        self._moments: Tensor | None = None  # weight, mean and mean square of each column

    def learn(self, values: Tensor) -> None:
        """Take in a batch, ``(N, F)``; what is not finite says nothing."""
        wide = values.to(widest(values.device))
        known = wide.isfinite()
        wide, count = torch.where(known, wide, torch.zeros_like(wide)), known.sum(dim=0)
        some = (count > 0).to(wide)
        sums = torch.stack([some, wide.sum(dim=0), wide.square().sum(dim=0)])
        sums[1:] /= count.clamp(min=1)
        before = torch.zeros_like(sums) if self._moments is None else self._moments.to(sums)
        # A column of which a batch says nothing stays as it was.
        self._moments = before + (1 - MOMENTUM) * some * (sums - before)

    def __call__(self, values: Tensor) -> Tensor:
        """Return ``(N, F)`` float32; 0 where a number is not finite or no batch was seen."""
        if self._moments is None:
            return torch.zeros_like(values, dtype=torch.float32)
        weight, mean, square = self._moments.to(values.device)
        weight = torch.where(weight > 0, weight, torch.ones_like(weight))
        mean, square = mean / weight, square / weight
        spread = (square - mean.square()).clamp(min=0).sqrt()
        # A column of one value has no spread but what rounding leaves of it.
        flat = spread <= 1e-6 * square.sqrt()
        scaled = (values.to(mean) - mean) / torch.where(flat, torch.inf, spread)
        scaled = torch.where(values.isfinite(), scaled.clamp(-LIMIT, LIMIT), 0.0)
        found: Tensor = scaled.to(torch.float32)
        return found

    def state_dict(self) -> dict[str, Any]:
        """Return mean and spread."""
        return {"moments": self._moments}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take what :meth:`state_dict` returned."""
        moments = state["moments"]
        self._moments = None if moments is None else moments.detach().clone()
