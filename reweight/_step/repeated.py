"""Whether passes of one batch, from one state, give the same losses."""

from __future__ import annotations

from torch import Tensor

from reweight._dtypes import size_class
from reweight.errors import UnrepeatableError

# By the size of a parameter's element: how far losses may be apart, by their largest. Kernels of
# attention and of compiled code round otherwise than others.
_TOLERANCES = {8: 1e-6, 4: 1e-2, 2: 1e-1}


class Repeated:
    """Compares the losses of the passes of one step.

    A memory that nobody can see (a generator, a counter of another library) makes one pass differ
    from the next. Scores would be those of another loss than the one trained on.
    """

    def __init__(self) -> None:
        self._first: Tensor | None = None

    def note(self, losses: Tensor, itemsize: int) -> None:
        """Compare ``losses`` with those of the passes before.

        Args:
            losses: Of the noisy batch.
            itemsize: Bytes of an element of the narrowest parameter.

        Raises:
            UnrepeatableError: If they differ by more than rounding.
        """
        losses = losses.detach()
        if self._first is None or self._first.shape != losses.shape:
            self._first = losses.clone()
            return
        apart = (losses - self._first).double().abs().max()
        allowed = _TOLERANCES[size_class(itemsize)] * self._first.double().abs().max()
        # Elsewhere dropout inside fused attention draws its own numbers, which nobody can repeat.
        if losses.device.type == "cpu" and bool(apart > allowed):
            raise UnrepeatableError(
                f"two forward passes of the same noisy batch, from the same state of the model, "
                f"gave different losses (by up to {float(apart):.3g}): something outlives a pass "
                f"that cannot be put back, such as a Python generator, a counter or cache in "
                f"another library's object, or random numbers from outside PyTorch, NumPy and "
                f"Python's random. Keep it in an attribute of a module, or take it from the batch."
            )
