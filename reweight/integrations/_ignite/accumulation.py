"""When gradients of several batches are added up before the optimiser moves."""

from __future__ import annotations


class Accumulation:
    """Where in a group of batches a batch stands, as MONAI and ignite count them.

    Attributes:
        steps: How many batches are a group.
        first: Whether the batch is the first of its group: gradients are zero before it.
        last: Whether it is the last: the optimiser moves after it.
    """

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.first = True
        self.last = True
        self._any = False

    def at(self, iteration: int, epoch_length: int | None = None) -> None:
        """Say which batch is next.

        Args:
            iteration: Its number, from 1.
            epoch_length: Where the end of an epoch ends a group too, how many it has.
        """
        number = iteration - 1 if epoch_length is None else (iteration - 1) % epoch_length
        self.first = number % self.steps == 0
        self.last = (number + 1) % self.steps == 0 or number + 1 == epoch_length

    def moves(self, kept: bool) -> bool:
        """Whether the optimiser moves after this batch, of which something was kept or nothing.

        Where nothing was kept of a whole group its gradient is zero, and momentum and weight
        decay would move the parameters all the same.
        """
        self._any = kept or (self._any and not self.first)
        return self.last and self._any
