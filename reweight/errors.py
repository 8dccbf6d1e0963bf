"""Errors with a message that says what was wrong, what was expected and how to mend it."""

from __future__ import annotations

from typing import Literal

BatchName = Literal["noisy", "trusted"]


class NonFiniteError(ValueError):
    """A sample loss or a score is NaN or infinite.

    Attributes:
        indices: Positions, in the batch, of the samples at fault.
        what: What was not finite: ``"loss"`` or the name of a score.
        batch: The batch they are in: ``"noisy"`` or ``"trusted"``.
        count: How many samples that batch has.
    """

    def __init__(self, indices: list[int], what: str, batch: BatchName, count: int) -> None:
        self.indices = indices
        self.count = count
        self.what = what
        self.batch = batch
        shown = ", ".join(map(str, indices[:20])) + (", …" if len(indices) > 20 else "")
        super().__init__(
            f"{what} is not finite for {len(indices)} of {count} sample(s) of the {batch} batch, "
            f"at position(s) [{shown}]. Look at those inputs and targets, lower the learning rate, "
            f'or pass on_nonfinite="drop" to leave such samples out.'
        )
