"""A remembered distribution over the labels of each sample."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from reweight._dtypes import at_least_float32, largest_or_one
from reweight._memory import Table
from reweight._step.soft_targets import SoftTargets
from reweight.errors import check_whole
from reweight.normalize import CLIP

_GIB = 2**30


class SoftLabels:
    """Train on a distribution over the labels of each sample, which the trusted batch mends.

    T, one number for each id and class, starts at ``prior`` for the label given. A step trains on
    softmax(T) in the label's place and then adds ``rate · z``, z the score of the sample under each
    label over the root mean square of the scores under the labels given, clipped to ±3: ascent by
    exponentiated gradients on how much the distribution helps the trusted batch. (EMLC, ICCV 2023,
    corrects labels by such products; MLC, AAAI 2021, and MSLC, AAAI 2021, by double backward.)

    Give it to ``MetaReweighter(..., labels=SoftLabels(len(dataset), num_classes))`` and ``ids=`` to
    each call. It needs :class:`~reweight.GradientSimilarity`, logits ``(C, K, ...)`` and class
    indices ``(C, ...)``. Cross-entropy costs nothing more; another loss is computed once a class.
    Targets that the loss ignores stay ignored.

    Args:
        num_samples: How many ids there are.
        num_classes: K.
        prior: What the label given is ahead by at first: 2 believes it to exp(2) to 1 against any
            other.
        rate: How fast T moves.
        shape: Of the map of labels of one sample, as of a mask; each place is mended by itself. A
            place must be the same in every epoch: without random crops and flips.
        max_gib: The most memory T may take; 4 bytes a class and 8 more a label.

    Raises:
        ValueError: If one is out of range, or T would take more memory than ``max_gib``.
    """

    def __init__(
        self,
        num_samples: int,
        num_classes: int,
        *,
        prior: float = 2.0,
        rate: float = 0.5,
        shape: Sequence[int] = (),
        max_gib: float = 4.0,
    ) -> None:
        check_whole("num_samples", num_samples)
        check_whole("num_classes", num_classes)
        for side in shape:
            check_whole("a side of shape", side)
        if num_classes < 2:
            raise ValueError(f"num_classes must be an integer >= 2, got {num_classes!r}.")
        if not 0 <= prior < math.inf:
            raise ValueError(f"prior must be a finite number >= 0, got {prior!r}.")
        if not 0 < rate < math.inf:
            raise ValueError(f"rate must be a finite number > 0, got {rate!r}.")
        self.shape: tuple[int, ...] = tuple(shape)
        size = num_samples * math.prod(self.shape) * (4 * num_classes + 8) / _GIB
        if size > max_gib:
            raise ValueError(
                f"soft labels of {num_samples} samples of shape {self.shape}, {num_classes} "
                f"classes, take {size:.3g} GiB on the model's device, and max_gib={max_gib:g}. "
                f"Raise max_gib if that is there, or keep fewer: of smaller masks, or of the "
                f"samples in doubt."
            )
        self.num_samples, self.num_classes = num_samples, num_classes
        self.prior, self.rate = prior, rate
        self.needs: Mapping[str, int | None] = {"ids": num_samples}
        self._table = Table(num_samples, (*self.shape, num_classes))
        self._given = torch.full((num_samples, *self.shape), -1, device="cpu")

    def targets(self, ids: Tensor) -> SoftTargets:
        """Return what is believed of these samples' labels.

        Args:
            ids: ``(C,)``, or one a label.
        """
        return SoftTargets(self._table.read(ids), self.prior)

    def learn(self, ids: Tensor, scores: Tensor, labels: Tensor) -> None:
        """Take in the scores of a step.

        Args:
            ids: ``(N,)``, int64.
            scores: ``(N, *shape, K)``, raw; 0 where no label is given.
            labels: ``(N, *shape)``, those given, int64; -1: none.
        """
        self._table.add(ids, self.rate * _standardised(scores, labels))
        self._given = self._given.to(ids.device)
        self._given[ids] = labels

    @property
    def probabilities(self) -> Tensor:
        """``(num_samples, *shape, K)``: softmax(T); uniform for ids that no step has seen."""
        return SoftTargets(self._table.values, self.prior).of(self._given, self.num_classes)

    @property
    def suggested(self) -> Tensor:
        """``(num_samples, *shape)``, int64: the likeliest label, -1 where none was ever given."""
        likeliest = self.probabilities.argmax(dim=-1)
        return torch.where(self._given >= 0, likeliest, torch.full_like(likeliest, -1))

    def state_dict(self) -> dict[str, Any]:
        """Return what is remembered: of T what was learnt, and the labels given."""
        return {**self._table.state_dict(), "given": self._given}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take what :meth:`state_dict` returned.

        Raises:
            ValueError: If it is of other samples or classes.
        """
        given = state.get("given") if isinstance(state, Mapping) else None
        if not isinstance(given, Tensor) or given.shape != self._given.shape:
            raise ValueError(
                f"the state of SoftLabels must hold the labels given, 'given', of shape "
                f"{tuple(self._given.shape)}: build it as it was built when the state was saved."
            )
        self._table.load_state_dict(state)
        self._given = given.detach().to(self._given, copy=True)

    def __repr__(self) -> str:
        shape = f", shape={self.shape}" if self.shape else ""
        return (
            f"SoftLabels({self.num_samples}, {self.num_classes}, prior={self.prior:g}, "
            f"rate={self.rate:g}{shape})"
        )


def _standardised(scores: Tensor, labels: Tensor) -> Tensor:
    """Return z: as the standardised scores of the labels given, and of the others on their scale.

    What is not finite says nothing.
    """
    scores = torch.nan_to_num(at_least_float32(scores), nan=0.0, posinf=0.0, neginf=0.0)
    scores = scores / largest_or_one(scores)
    own = scores.gather(-1, labels.clamp(min=0).unsqueeze(-1)).squeeze(-1)
    known = labels >= 0
    mean = torch.where(known, own, torch.zeros_like(own)).square().sum() / known.sum().clamp(min=1)
    rms = mean.sqrt()
    z = scores / torch.where(rms > 0, rms, torch.ones_like(rms))
    return torch.where(known.unsqueeze(-1), z, torch.zeros_like(z)).clamp(-CLIP, CLIP)
