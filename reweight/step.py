"""What one call of a :class:`~reweight.MetaReweighter` returns."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from reweight._dtypes import largest_or_one, widest


class _ReadWhenAsked:
    """An attribute that may be given as a scalar of the device, and is read the first time."""

    def __get__(self, step: Any, kind: type | None = None) -> bool:
        if step is None:  # what the attribute is where nothing is given
            return False
        value: bool | Tensor = step.__dict__["empty"]
        if isinstance(value, Tensor):
            value = step.__dict__["empty"] = bool(value)
        return value

    def __set__(self, step: Any, value: bool | Tensor) -> None:
        step.__dict__["empty"] = value


@dataclass(frozen=True, eq=False)
class ReweightedStep:
    """The weighted loss of one step and how its weights came about.

    C is the number of samples of this batch; with ``granularity="element"`` read ``(C, *S)`` for
    ``(C,)``, S the shape of one sample's loss map.

    Attributes:
        loss: Scalar ``Σ w_i L_i`` (Eq. 9; a sum) plus ``β L_v`` where a trusted coefficient β is
            set. It carries the graph: call ``loss.backward()``.
        weights: ``(C,)``, non-negative, in float32 or wider, without gradient.
        losses: ``(C,)``, the unweighted sample losses that are trained on (under ``labels=`` those
            of the mended labels), detached. NaN for a dropped sample.
        scores: The raw scores by scorer name, ``(C,)`` each. NaN for a dropped sample.
        trusted_loss: Scalar mean trusted loss ``L_v`` where a scorer or β needed it, else ``None``.
        empty: Whether no sample survived selection, before the ``on_empty`` policy was applied.
        dropped: Positions of the noisy samples left out because they were not finite
            (``on_nonfinite="drop"``).
        counted: ``(C,)`` bool, false where a loss does not count: its target is ignored, or
            ``forward`` said so. Its weight and scores are 0, and it has no share in 1/C. ``None``:
            all count.
        label_scores: ``(C, K)``, where they were asked for: the score that each sample would have
            under each of the K labels, by the first scorer that knows, in its scale. Where a sample
            has a map of labels, ``(C, *S, K)``: of the loss at that place alone. 0 where no label
            is given, NaN for a dropped sample.
        kept_by_all: How many weights are positive on all ranks, a scalar on the device.
        weights_of_all: ``(N,)``, the weights of all ranks' losses that count, in the order of the
            ranks; where they were weighed together (``sync="global"``, several ranks), else
            ``None``. Those of this rank sum to its share of them.
    """

    loss: Tensor
    weights: Tensor
    losses: Tensor
    scores: dict[str, Tensor] = field(default_factory=dict)
    trusted_loss: Tensor | None = None
    empty: _ReadWhenAsked = _ReadWhenAsked()
    dropped: tuple[int, ...] = ()
    counted: Tensor | None = None
    kept_by_all: Tensor | None = None
    weights_of_all: Tensor | None = None
    label_scores: Tensor | None = None

    @property
    def kept(self) -> int:
        """Number of positive weights. At 0 the loss is a differentiable zero (plus ``β L_v``).

        Skip the optimiser step then, so that momentum and weight decay do not move the parameters.
        Under DistributedDataParallel it is that of all ranks, so that they skip it together.
        """
        if self.kept_by_all is not None:
            return int(self.kept_by_all)
        return int((self.weights > 0).sum())

    @property
    def effective_sample_size(self) -> float:
        """Kish's effective sample size ``(Σ w)² / Σ w²``: C for equal weights, 0 for none.

        Of the weights of all ranks where they were weighed together.
        """
        weights = self.weights if self.weights_of_all is None else self.weights_of_all
        relative = weights.to(widest(weights.device))
        total = float(relative.sum())
        return total**2 / float(relative.square().sum()) if total > 0 else 0.0

    def summary(self, prefix: str = "reweight/") -> dict[str, float]:
        """Return what one would plot of this step, as numbers, at one wait for the device.

        ====================================  ====================================================
        key, after the prefix                 value
        ====================================  ====================================================
        ``loss``                              what is back-propagated
        ``noisy_loss``                        mean unweighted loss, of those that count
        ``trusted_loss``                      where it was computed
        ``kept``                              share of positive weights
        ``effective_sample_size``             Kish's, as a share: 1 for equal weights, 0 for none
        ``largest_weight``                    the largest, as a multiple of the mean weight
        ``dropped``                           how many samples were left out
        ``score/<scorer>/mean``               mean raw score
        ``score/<scorer>/negative``           share of scores below 0
        ====================================  ====================================================

        All but ``loss`` under ``sync="global"`` are those of this rank's batch. What is of no
        sample at all is NaN. Loggers take keys and values as they are (TensorBoard, W&B, MLflow):
        what they would refuse in a scorer's name becomes ``_``, or goes (``<lambda>``: ``lambda``).

        Args:
            prefix: Before each key, so that loggers show them together.
        """
        device, wide = self.weights.device, widest(self.weights.device)
        counts = self.losses.isfinite()  # those dropped are NaN, and have no share
        if self.counted is not None:
            counts = counts & self.counted
        number = counts.sum().to(wide)

        def mean(values: Tensor) -> Tensor:
            return torch.where(counts, values, torch.zeros_like(values)).to(wide).sum() / number

        weights = self.weights.to(wide)
        relative = weights / largest_or_one(weights)
        total, squares = relative.sum(), relative.square().sum()
        nothing = torch.zeros_like(total)
        some = total > 0
        found = {"loss": self.loss, "noisy_loss": mean(self.losses)}
        if self.trusted_loss is not None:
            found["trusted_loss"] = self.trusted_loss
        found["kept"] = mean(self.weights > 0)
        found["effective_sample_size"] = torch.where(some, total**2 / squares / number, nothing)
        found["largest_weight"] = torch.where(some, relative.max() * number / total, nothing)
        for name, scores in zip(_plain(self.scores), self.scores.values(), strict=True):
            found[f"score/{name}/mean"] = mean(scores)
            found[f"score/{name}/negative"] = mean(scores < 0)
        values = torch.stack([value.detach().to(device, wide) for value in found.values()]).tolist()
        named = dict(zip(found, values, strict=True), dropped=float(len(self.dropped)))
        return {prefix + name: value for name, value in named.items()}


def _plain(names: Iterable[str]) -> list[str]:
    """Return the names in letters that every logger takes, numbered where two would be the same."""
    found: list[str] = []
    for name in names:
        plain = name
        if not re.fullmatch(r"[A-Za-z0-9_.-]+", name):
            plain = re.sub(r"_*[^A-Za-z0-9_.-]+_*", "_", name).strip("_") or "scorer"
        same, number = plain, 2
        while plain in found:
            plain, number = f"{same}_{number}", number + 1
        found.append(plain)
    return found
