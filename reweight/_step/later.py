"""What has to be asked of the device in a step, asked all at once.

Whoever reads a tensor's value waits for everything that was queued before. So checks are noted
while a step is being computed, and read together when it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from reweight._dtypes import widest
from reweight.errors import BatchName, check_finite

Then = Callable[[float], None]


class NotExpected(Exception):  # noqa: N818 - nothing went wrong: the step is made once more
    """Something is otherwise than in all steps before, and other operators are needed for it.

    Attributes:
        noisy: The noisy batch, as it came.
    """

    noisy: Any = None


class Later:
    """Questions of one step.

    Attributes:
        at_once: Whether each is read when it is asked, where code that is not the library's own
            would go on with what may be wrong.
    """

    def __init__(self, *, at_once: bool = False) -> None:
        self.at_once = at_once
        self._asked: list[tuple[Tensor, Then]] = []

    def ask(self, value: Tensor, then: Then) -> None:
        """Call ``then`` with the value of a scalar, once it is read: in the order of questions."""
        if self.at_once:
            then(float(value))
        else:
            self._asked.append((value.detach(), then))

    def finite(self, values: Tensor, what: str, batch: BatchName) -> None:
        """Raise, when it is read, if ``values`` are not finite: see ``check_finite``."""
        if self.at_once:
            check_finite(values, what, batch)
            return
        values = values.detach()

        def refuse(wrong: float) -> None:
            if wrong:
                check_finite(values, what, batch)

        # Of numbers that are finite the sum of products with zero is zero; else it is NaN.
        self._asked.append(((values * 0).sum() != 0, refuse))

    def read(self) -> None:
        """Read what has been asked, for which the device is waited for once."""
        while self._asked:  # an answer may lead to further questions
            asked, self._asked = self._asked, []
            device = asked[0][0].device
            wide = widest(device)
            numbers = torch.stack([value.to(device, wide).reshape(()) for value, _ in asked])
            for number, (_, then) in zip(numbers.tolist(), asked, strict=True):
                then(number)
