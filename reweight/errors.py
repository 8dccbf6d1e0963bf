"""Errors with a message that says what was wrong, what was expected and how to mend it."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

BatchName = Literal["noisy", "trusted"]


class UnknownParametersError(ValueError):
    """The losses depend on parameters that no score would take into account.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from reweight import MetaReweighter, UnknownParametersError
        >>> encoder, head = nn.Linear(4, 8), nn.Linear(8, 3)
        >>> reweighter = MetaReweighter(head, nn.CrossEntropyLoss(reduction="none"))
        >>> batch = encoder(torch.randn(6, 4)), torch.randint(3, (6,))  # outside of the model
        >>> try:
        ...     reweighter(batch, batch)
        ... except UnknownParametersError:
        ...     print("give the reweighter one module that holds both")
        give the reweighter one module that holds both
    """


class UnguardedWriteError(RuntimeError):
    """A pass wrote into a tensor of the model's that it could not be kept from.

    Example:
        >>> import itertools
        >>> import torch
        >>> from torch import nn
        >>> from reweight import MetaReweighter, UnguardedWriteError
        >>> class Shrinking(nn.Linear):
        ...     def __init__(self):
        ...         super().__init__(4, 3)
        ...         self.aliases = itertools.repeat(self.weight.detach())  # out of reach
        ...
        ...     def forward(self, x):
        ...         next(self.aliases).mul_(0.9)
        ...         return super().forward(x)
        >>> reweighter = MetaReweighter(Shrinking(), nn.CrossEntropyLoss(reduction="none"))
        >>> batch = torch.randn(6, 4), torch.randint(3, (6,))
        >>> try:
        ...     reweighter(batch, batch)
        ... except UnguardedWriteError:
        ...     print("write into self.weight itself")
        write into self.weight itself
    """


class NotCompilableError(RuntimeError):
    """The model, or what is asked of it, does not go as compiled graphs (``compile=``).

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from reweight import MetaReweighter, NotCompilableError
        >>> model = nn.Linear(4, 3)
        >>> hook = model.register_forward_hook(lambda module, inputs, output: None)
        >>> loss = nn.CrossEntropyLoss(reduction="none")
        >>> reweighter = MetaReweighter(model, loss, compile="eager")
        >>> batch = torch.randn(6, 4), torch.randint(3, (6,))
        >>> try:
        ...     reweighter(batch, batch)
        ... except NotCompilableError as error:
        ...     print(error.reason)
        the model has hooks, which a graph leaves out
    """

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(
            f"compile= does not go on this model: {reason}. Leave compile= out; the training pass "
            f"itself may still be compiled (torch.compile(model))."
        )

    def __reduce__(self) -> tuple[type, tuple[str]]:
        return type(self), (self.reason,)


class UnrepeatableError(RuntimeError):
    """Two passes of one batch, from one state, gave different losses.

    Example:
        >>> import random
        >>> import torch
        >>> from torch import nn
        >>> from reweight import MetaReweighter, UnrepeatableError
        >>> class Jittered(nn.Linear):
        ...     system = random.SystemRandom()  # of which nobody can put back the state
        ...
        ...     def forward(self, x):
        ...         return super().forward(x + self.system.random())
        >>> reweighter = MetaReweighter(Jittered(4, 3), nn.CrossEntropyLoss(reduction="none"))
        >>> batch = torch.randn(6, 4), torch.randint(3, (6,))
        >>> try:
        ...     reweighter(batch, batch)
        ... except UnrepeatableError:
        ...     print("scores would be of another forward pass than the loss")
        scores would be of another forward pass than the loss
    """


class NonFiniteError(ValueError):
    """A sample loss or a score is NaN or infinite.

    Attributes:
        indices: Positions, in the batch, of the samples at fault.
        what: What was not finite: ``"loss"`` or the name of a score.
        batch: The batch they are in: ``"noisy"`` or ``"trusted"``.
        count: How many samples that batch has.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from reweight import MetaReweighter, NonFiniteError
        >>> batch = torch.randn(4, 3), torch.tensor([0.0, 1.0, float("nan"), 0.0])
        >>> reweighter = MetaReweighter(nn.Linear(3, 1), lambda out, y: (out[:, 0] - y) ** 2)
        >>> try:
        ...     reweighter(batch, (batch[0][:2], batch[1][:2]))
        ... except NonFiniteError as error:
        ...     print(error.what, error.batch, error.indices)
        loss noisy [2]
    """

    def __init__(self, indices: list[int], what: str, batch: BatchName, count: int) -> None:
        self.indices = indices
        self.count = count
        self.what = what
        self.batch = batch
        shown = ", ".join(map(str, indices[:20])) + (", …" if len(indices) > 20 else "")
        super().__init__(
            f"{what} is not finite for {len(indices)} of {count} sample(s) of the {batch} batch, "
            f"at position(s) [{shown}]. Look at those inputs and targets, and at whether the "
            f"model's parameters are still finite (a lower learning rate may keep them so); "
            f'on_nonfinite="drop" leaves such samples out.'
        )

    def __reduce__(self) -> tuple[type, tuple[list[int], str, BatchName, int]]:
        return type(self), (self.indices, self.what, self.batch, self.count)


class OtherRankError(RuntimeError):
    """Another rank has raised an error in this step, so that none can make it.

    Example:
        >>> from reweight import OtherRankError
        >>> try:
        ...     raise OtherRankError  # as a step does on all ranks but the one at fault
        ... except OtherRankError as error:
        ...     print(str(error)[:45])
        another rank has raised an error in this step
    """

    def __init__(self) -> None:
        super().__init__(
            "another rank has raised an error in this step, which the ranks make together: look "
            "for it in the output of the others. Whoever catches it must do so on every rank, and "
            "leave the step out on all of them."
        )

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return type(self), ()


def check_finite(values: Tensor, what: str, batch: BatchName) -> None:
    """Raise, with the positions of the samples at fault, if a value is NaN or infinite.

    Args:
        values: ``(C, ...)``.
        what: What the values are, for the message.
        batch: ``"noisy"`` or ``"trusted"``.

    Raises:
        NonFiniteError: If one is not finite.
    """
    finite = values.detach().isfinite()
    if not finite.all():
        samples = finite.reshape(finite.shape[0], -1).all(dim=1)
        positions = (~samples).nonzero().flatten().tolist()
        raise NonFiniteError(positions, what, batch, samples.numel())


NOT_THE_USERS = (RuntimeError, TypeError, ValueError, AssertionError, AttributeError, IndexError)
"""What PyTorch raises where a derivative is missing. Other errors are those of the user's code."""

REFUSALS = (
    *(NonFiniteError, UnknownParametersError, UnguardedWriteError, UnrepeatableError),
    OtherRankError,
    NotCompilableError,
    torch.OutOfMemoryError,
)
"""What another way to take a derivative would not mend."""


def check_whole(what: str, value: object) -> None:
    """Raise a ``ValueError`` unless ``value`` is an integer of at least 1."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{what} must be an integer >= 1, got {value!r}.")


def check_number(name: str, value: float, *, above: bool = False) -> None:
    """Raise a ``ValueError`` unless ``value`` is finite and at least 0, or ``above`` it."""
    if not (value > 0 if above else value >= 0) or not value < math.inf:
        raise ValueError(
            f"{name} must be a finite number {'>' if above else '>='} 0, got {value!r}."
        )
