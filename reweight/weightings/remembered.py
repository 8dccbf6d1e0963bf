"""One logit a row, raised and lowered by what each step says of that row."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from typing_extensions import override

from reweight._memory import Table
from reweight.errors import check_number
from reweight.weightings.context import WeightingContext
from reweight.weightings.weighting import LogitWeighting


class RememberedLogits(LogitWeighting):
    """φ_r += rate · mean z over the batch's losses of row r; w ∝ σ(prior + φ_r).

    That is gradient descent on L_v by the φ: with w_i = w(φ_i) fixed in form,
    dL_v/dφ_r ∝ −Σ s_i ∂w_i/∂φ_r, first-order in scores that the step has anyway.
    """

    rows: ClassVar[Literal["ids", "groups"]]

    def __init__(self, count: int, rate: float, prior: float = 0.0) -> None:
        check_number("rate", rate, above=True)
        if not math.isfinite(prior):
            raise ValueError(f"prior must be a finite number, got {prior!r}.")
        self.rate: float = rate
        self.prior: float = prior
        self._table = Table(count, what="samples" if self.rows == "ids" else "groups")
        self.needs: Mapping[str, int | None] = {self.rows: count}

    @property
    def remembered(self) -> Tensor:
        """φ by row, ``(rows,)``, float32, on the device it is used on; above 0: it helps."""
        return self._table.values

    @property
    def weights(self) -> Tensor:
        """σ(prior + φ) by row, ``(rows,)``: how much a row counts, between 0 and 1."""
        return torch.sigmoid(self.prior + self._table.values)

    @override
    def learn(self, context: WeightingContext) -> None:
        """Add what this step says of its rows."""
        self._table.add_mean(self._rows_of(context), self.rate * context.score)

    @override
    def logits(self, context: WeightingContext) -> Tensor:
        """Return prior + φ of each loss's row, ``(N,)``."""
        return self.prior + self._table.read(self._rows_of(context))

    def _rows_of(self, context: WeightingContext) -> Tensor:
        rows: Tensor | None = getattr(context, self.rows)
        assert rows is not None, "the reweighter asks for what is needed"
        return rows

    @override
    def state_dict(self) -> dict[str, Any]:
        """Return φ."""
        return self._table.state_dict()

    @override
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take what :meth:`state_dict` returned.

        Raises:
            ValueError: If it is of another number of rows.
        """
        self._table.load_state_dict(state)
