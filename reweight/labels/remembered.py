"""What is remembered of the labels of a data set."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from reweight._dtypes import at_least_float32, largest_or_one
from reweight._memory import Table
from reweight._step.soft_targets import Labelled
from reweight.errors import check_whole
from reweight.normalize import CLIP

_GIB = 2**30


class RememberedLabels:
    """Base of what stands in for the labels given.

    Attributes:
        needs: What it has to be told of each sample, and below which number that must be.

    Example:
        >>> from reweight import MendedLabels, SoftLabels
        >>> from reweight.labels import RememberedLabels
        >>> issubclass(MendedLabels, RememberedLabels) and issubclass(SoftLabels, RememberedLabels)
        True
        >>> SoftLabels(3, num_classes=4).probabilities[0]  # nothing is known yet
        tensor([0.2500, 0.2500, 0.2500, 0.2500])
    """

    def __init__(
        self, num_samples: int, num_classes: int, shape: Sequence[int], max_gib: float, extra: int
    ) -> None:
        check_whole("num_samples", num_samples)
        check_whole("num_classes", num_classes)
        for side in shape:
            check_whole("a side of shape", side)
        if num_classes < 2:
            raise ValueError(f"num_classes must be an integer >= 2, got {num_classes!r}.")
        self.num_samples: int = num_samples
        self.num_classes: int = num_classes
        self.shape: tuple[int, ...] = tuple(shape)
        size = num_samples * math.prod(self.shape) * (4 * num_classes + 8 + extra) / _GIB
        if size > max_gib:
            raise ValueError(
                f"the labels of {num_samples} samples of shape {self.shape}, {num_classes} classes "
                f"each, take {size:.3g} GiB on the model's device to remember, and "
                f"max_gib={max_gib:g}. Raise it if that is there, or keep fewer: smaller masks, or "
                f"the samples in doubt."
            )
        self.needs: Mapping[str, int | None] = {"ids": num_samples}
        self._table = Table(num_samples, (*self.shape, num_classes))
        self._given = torch.full((num_samples, *self.shape), -1, device="cpu")

    def believed(self, ids: Tensor, labels: Tensor) -> Tensor:
        """Return a distribution, times what it counts, for each of ``labels``, ``(N, *shape)``.

        Args:
            ids: ``(N,)``, int64.
            labels: Those given, int64, -1 where there is none.

        Returns:
            ``(N, *shape, K)``.
        """
        raise NotImplementedError

    def check(self, found: Labelled) -> None:
        """Refuse a batch of other labels than are remembered here.

        Raises:
            ValueError: If places or classes are others.
        """
        if found.scores.shape[1:] != (*self.shape, self.num_classes):
            places, classes = tuple(found.labels.shape[1:]), found.scores.shape[-1]
            raise ValueError(
                f"{self!r} remembers labels of shape {self.shape} and {self.num_classes} classes "
                f"for each id, and this batch has shape {places} and {classes} classes. Build it "
                f"with that number of classes, with shape= where an id has several labels (a "
                f"mask), or give ids= one a label."
            )

    def learn(self, found: Labelled) -> None:
        """Take in what a step that trains says of its labels."""
        self._given = self._given.to(found.ids.device)
        known = found.labels >= 0
        self._given[found.ids] = torch.where(known, found.labels, self._given[found.ids])

    @property
    def probabilities(self) -> Tensor:
        """``(num_samples, *shape, K)``: what is believed; uniform where no label was seen yet."""
        device = self._table.values.device
        every = torch.arange(self.num_samples, device=device)
        given = self._given.to(device)
        believed = self.believed(every, given)
        believed = believed / believed.sum(dim=-1, keepdim=True)
        unknown = torch.full_like(believed, 1 / self.num_classes)
        return torch.where(given.unsqueeze(-1) >= 0, believed, unknown)

    @property
    def suggested(self) -> Tensor:
        """``(num_samples, *shape)``, int64: the likeliest label, -1 where none was seen yet."""
        likeliest = self.probabilities.argmax(dim=-1)
        given = self._given.to(likeliest.device)
        return torch.where(given >= 0, likeliest, torch.full_like(likeliest, -1))

    def state_dict(self) -> dict[str, Any]:
        """Return what is remembered, as tensors."""
        return {**self._table.state_dict(), "given": self._given}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take what :meth:`state_dict` returned.

        Raises:
            ValueError: If it is of other samples or classes.
        """
        given = state.get("given") if isinstance(state, Mapping) else None
        if not isinstance(given, Tensor) or given.shape != self._given.shape:
            raise ValueError(
                f"the state of {type(self).__name__} must hold the labels given, 'given', of shape "
                f"{tuple(self._given.shape)}: build it as it was built when the state was saved."
            )
        self._table.load_state_dict(state)
        self._given = given.detach().to(self._given, copy=True)

    def _one_hot(self, labels: Tensor) -> Tensor:
        """Return the labels given as ones among zeros, ``(..., K)``; zeros where there is none."""
        ones = F.one_hot(labels.clamp(min=0), self.num_classes) * (labels >= 0).unsqueeze(-1)
        return ones.to(self._table.values.dtype)

    def _about(self) -> str:
        return f"{self.num_samples}, {self.num_classes}" + (
            f", shape={self.shape}" if self.shape else ""
        )


def standardised(found: Labelled, *, by_length: bool = False) -> Tensor:
    """Return z, ``(N, *S, K)``: the scores over the rms of those of the labels given, within ±3.

    The column of the label given is then the standardised score of a sample, and the others are on
    its scale. What is not finite says nothing.

    Args:
        found: What a step says.
        by_length: Whether each score is first divided by the length of a cross-entropy's gradient
            at the logits, ‖p − e_k‖, at least 1e-3: it grows with that, and hard samples have a
            large one, right or wrong.
    """
    scores = at_least_float32(found.scores)
    if by_length:
        p = at_least_float32(found.logits).softmax(dim=-1)
        scores = scores / (p.square().sum(-1, keepdim=True) + 1 - 2 * p).clamp(min=1e-6).sqrt()
    scores = torch.nan_to_num(scores, nan=0.0, posinf=0.0, neginf=0.0)
    scores = scores / largest_or_one(scores)
    known = found.labels >= 0
    own = torch.where(known, of_the_given(scores, found.labels), torch.zeros_like(scores[..., 0]))
    rms = (own.square().sum() / known.sum().clamp(min=1)).sqrt()
    z = scores / torch.where(rms > 0, rms, torch.ones_like(rms))
    return torch.where(known.unsqueeze(-1), z, torch.zeros_like(z)).clamp(-CLIP, CLIP)


def of_the_given(values: Tensor, labels: Tensor) -> Tensor:
    """Return those of ``values``, ``(..., K)``, that are of the labels given, ``(...)``."""
    return values.gather(-1, labels.clamp(min=0).unsqueeze(-1)).squeeze(-1)
