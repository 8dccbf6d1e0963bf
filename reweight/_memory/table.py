"""Numbers by row of a data set, which steps read and add to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from reweight.errors import check_whole


class Table:
    """One number, or several, a row, in float32 on the device of what is added.

    A step touches the rows of its batch alone, whatever the size of the table, and waits for
    nothing: no operation here asks the device for a value.

    Args:
        rows: How many.
        columns: The shape of what a row holds; ``()``: one number.
        start: What every row holds at first.
        what: What a row stands for, for messages: ``"samples"``.

    Raises:
        ValueError: If ``rows`` or a column is no integer of at least 1.
    """

    def __init__(
        self, rows: int, columns: tuple[int, ...] = (), start: float = 0.0, what: str = "samples"
    ) -> None:
        check_whole(f"the number of {what}", rows)
        for side in columns:
            check_whole("a side of what is remembered", side)
        self.values: Tensor = torch.full((rows, *columns), start, device="cpu")
        self._times: Tensor = torch.zeros(rows, device="cpu")

    def __len__(self) -> int:
        return len(self.values)

    def on(self, device: torch.device) -> Tensor:
        """Return the table on ``device``, where it lives from now on."""
        if self.values.device != device:
            self.values, self._times = self.values.to(device), self._times.to(device)
        return self.values

    def read(self, rows: Tensor) -> Tensor:
        """Return what ``rows``, ``(N,)``, hold: ``(N, *columns)``."""
        return self.on(rows.device)[rows]

    def add(self, rows: Tensor, values: Tensor) -> None:
        """Add to each row the sum of what is given for it.

        Args:
            rows: ``(N,)``, int64; a row may come several times.
            values: ``(N, *columns)``.
        """
        table = self.on(rows.device)
        values = values.detach().to(table)
        if table.is_cuda:  # in a fixed order, so that ranks which hold the same table still do
            table.index_put_((rows,), values, accumulate=True)
        else:
            table.index_add_(0, rows, values)

    def times(self, rows: Tensor) -> Tensor:
        """Return how often each of ``rows``, ``(N,)``, is among them."""
        self.on(rows.device)
        # A scratch of the table's length, of which only these rows are touched.
        self._times[rows] = 0
        self._times.index_add_(0, rows, torch.ones_like(rows, dtype=self._times.dtype))
        return self._times[rows]

    def add_mean(self, rows: Tensor, values: Tensor) -> None:
        """Add to each row the mean of what is given for it."""
        times = self.times(rows).reshape(-1, *[1] * (values.dim() - 1))
        self.add(rows, values.to(times) / times)

    def state_dict(self) -> dict[str, Any]:
        """Return the numbers."""
        return {"values": self.values}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take what :meth:`state_dict` returned.

        Raises:
            ValueError: If it is of another shape.
        """
        values = state.get("values") if isinstance(state, Mapping) else None
        if not isinstance(values, Tensor) or values.shape != self.values.shape:
            got = tuple(values.shape) if isinstance(values, Tensor) else "nothing"
            raise ValueError(
                f"the state holds numbers of shape {got} by row, and {tuple(self.values.shape)} "
                f"are remembered here: it is of another data set. Build this as it was built when "
                f"the state was saved."
            )
        self.values = values.detach().to(self.values, copy=True)
