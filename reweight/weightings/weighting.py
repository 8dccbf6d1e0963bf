"""What turns the scores of a batch, and what is remembered, into weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, Union

import torch
from torch import Tensor
from typing_extensions import override

from reweight._step.rows import needs_of_all
from reweight.weightings.context import WeightingContext

WeightingLike: TypeAlias = Union["Weighting", Callable[[WeightingContext], Tensor]]


class Weighting:
    """Base of the library's weightings, and optional base of a user's own.

    Attributes:
        needs: What it has to be told of each sample: ``"ids"`` or ``"groups"``, and below which
            number they must be (``None``: any).
        needs_signed: Whether it needs a scorer whose scores have a sign.
        relative: Whether what it returns is divided by its sum.
        needs_label_scores: Whether ``context.label_scores`` is to be there, where they are known.
        learns: Whether :meth:`learn` does something. What it learns it learns of all ranks.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from reweight import MetaReweighter, Weighting
        >>> x = torch.tensor([[1.0], [2.0], [-1.0], [-2.0]])
        >>> y = torch.tensor([1, 0, 0, 0])  # 1 where x > 0, but for the second, which is wrong
        >>> trusted = torch.tensor([[1.0], [-1.0]]), torch.tensor([1, 0])
        >>> model, loss = nn.Linear(1, 2, bias=False), nn.CrossEntropyLoss(reduction="none")
        >>> class WarmedUp(Weighting):
        ...     learns, steps = True, 0
        ...
        ...     def learn(self, context):
        ...         self.steps += 1
        ...
        ...     def __call__(self, context):
        ...         return context.mixed if self.steps > 2 else torch.ones_like(context.losses)
        >>> reweighter = MetaReweighter(model, loss, weighting=WarmedUp())
        >>> [reweighter((x, y), trusted).kept for _ in range(4)]
        [4, 4, 3, 3]
    """

    needs: Mapping[str, int | None] = {}
    needs_signed: bool = False
    relative: bool = True
    needs_label_scores: bool = False
    learns: bool = False

    def learn(self, context: WeightingContext) -> None:
        """Take in what this step says, before the weights are asked for. In training alone."""

    def __call__(self, context: WeightingContext) -> Tensor:
        """Return weights, ``(N,)``, none negative."""
        raise NotImplementedError


class LogitWeighting(Weighting):
    """Weights proportional to the sigmoid of logits, so that several add up: ``A + B``.

    Example:
        >>> from reweight import SampleWeights, WeightNet
        >>> SampleWeights(100) + WeightNet(num_samples=100)
        SampleWeights(100, rate=1, prior=2) + WeightNet(features=['remembered_loss'], rate=0.01)
    """

    needs_signed = True
    learns = True

    def logits(self, context: WeightingContext) -> Tensor:
        """Return one number for each of the N losses, ``(N,)``, of any sign."""
        raise NotImplementedError

    @override
    def __call__(self, context: WeightingContext) -> Tensor:
        """Return w ∝ σ(logit), ``(N,)``."""
        # By logarithms: where every logit is far below zero, the shares are still right.
        return torch.nn.functional.logsigmoid(self.logits(context)).softmax(dim=0)

    def __add__(self, other: Any) -> LogitWeighting:
        if not isinstance(other, LogitWeighting):
            return NotImplemented
        return Sum([*_parts(self), *_parts(other)])

    def state_dict(self) -> dict[str, Any]:
        """Return what is remembered, as plain containers, numbers and tensors."""
        raise NotImplementedError

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take what :meth:`state_dict` returned."""
        raise NotImplementedError


class Sum(LogitWeighting):
    """Several weightings, whose logits are added."""

    def __init__(self, parts: list[LogitWeighting]) -> None:
        self.parts: tuple[LogitWeighting, ...] = tuple(parts)
        self.needs: Mapping[str, int | None] = needs_of_all(parts)
        self.needs_label_scores: bool = any(part.needs_label_scores for part in parts)

    @override
    def learn(self, context: WeightingContext) -> None:
        """Let every part learn."""
        for part in self.parts:
            part.learn(context)

    @override
    def logits(self, context: WeightingContext) -> Tensor:
        """Return the sum of all parts' logits, ``(N,)``."""
        return torch.stack([part.logits(context) for part in self.parts]).sum(dim=0)

    @override
    def state_dict(self) -> dict[str, Any]:
        """Return the state of every part, by its place."""
        return {str(number): part.state_dict() for number, part in enumerate(self.parts)}

    @override
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take what :meth:`state_dict` returned.

        Raises:
            ValueError: If it is of another number of weightings.
        """
        if set(state) != {str(number) for number in range(len(self.parts))}:
            raise ValueError(
                f"the state is of a sum of {len(state)} weightings, and this is one of "
                f"{len(self.parts)}. Build it as it was built when the state was saved."
            )
        for number, part in enumerate(self.parts):
            part.load_state_dict(state[str(number)])

    def __repr__(self) -> str:
        return " + ".join(map(repr, self.parts))


def _parts(weighting: LogitWeighting) -> tuple[LogitWeighting, ...]:
    return weighting.parts if isinstance(weighting, Sum) else (weighting,)


class _Function(Weighting):
    """A plain function, or any callable, as a weighting."""

    def __init__(self, function: Callable[[WeightingContext], Tensor]) -> None:
        self.function = function
        self.needs = getattr(function, "needs", {})
        self.needs_signed = bool(getattr(function, "needs_signed", False))
        self.relative = bool(getattr(function, "relative", True))
        self.needs_label_scores = bool(getattr(function, "needs_label_scores", False))
        self.learns = callable(getattr(function, "learn", None))

    @override
    def learn(self, context: WeightingContext) -> None:
        if self.learns:
            self.function.learn(context)  # type: ignore[attr-defined]

    @override
    def __call__(self, context: WeightingContext) -> Tensor:
        return self.function(context)

    def __repr__(self) -> str:
        return getattr(self.function, "__name__", repr(self.function))


def as_weighting(weighting: Any) -> Weighting:
    """Return ``weighting`` with all that the library asks of one.

    Raises:
        TypeError: If it is not callable.

    Example:
        >>> import torch
        >>> from reweight.weightings import as_weighting
        >>> def by_score(context):
        ...     return torch.sigmoid(context.score)
        >>> as_weighting(by_score)
        by_score
    """
    if isinstance(weighting, Weighting):
        return weighting
    if not callable(weighting) or isinstance(weighting, type):
        raise TypeError(
            f"a weighting must be a callable (context) -> weights, such as PerBatch() or "
            f"SampleWeights(len(dataset)); got {weighting!r}"
            + ("; did you forget to call the class?" if isinstance(weighting, type) else ".")
        )
    return _Function(weighting)


def part_of(weighting: Weighting) -> object:
    """Return what may keep a state: the weighting, or the callable it was made of.

    Example:
        >>> from reweight import PerBatch
        >>> from reweight.weightings import as_weighting, part_of
        >>> part_of(PerBatch())
        PerBatch()
        >>> part_of(as_weighting(max)) is max
        True
    """
    return weighting.function if isinstance(weighting, _Function) else weighting
