"""Whether the scores under every label are those of the losses that are trained on."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from reweight._derivative.every_label import NoLabelScores
from reweight._dtypes import narrowest
from reweight._isolation.predictions import Supervised

# By the narrowest dtype: how far the two may be apart, by the largest. Of logits in half precision
# a GPU also takes the logarithm of the softmax in it, under autocast.
_TOLERANCES = {8: 1e-6, 4: 1e-3, 2: 2e-2}


def check_labels(
    source: Supervised, values: Tensor, derivative: Tensor, counted: Tensor | None
) -> None:
    """Compare what is known of each label with the derivative of the losses themselves.

    A loss that depends on more than output and target (parameters beside the model's output,
    weights from the batch) would have other scores.

    Args:
        source: What the losses are of.
        values: Derivatives under every label, ``(*labels.shape, K)``.
        derivative: Those of the losses, in their shape.
        counted: Which losses count.

    Raises:
        NoLabelScores: If they differ.
    """
    found = source.predictions()
    assert found is not None
    assert isinstance(source.target, Tensor)
    target = _probabilities(source.target, found.labels, values)
    own = (target.to(values) * values).sum(dim=-1)
    if own.shape != derivative.shape:
        given = (found.labels >= 0).flatten(start_dim=1)
        own = own.flatten(start_dim=1).sum(dim=1) / given.sum(dim=1).clamp(min=1)
    how_far = ""
    if own.shape == derivative.shape:
        apart = (own - derivative.to(own)).abs()
        if counted is not None:
            apart = apart * counted
        assert isinstance(source.output, Tensor)
        allowed = _TOLERANCES[narrowest([source.output, derivative])]
        reach = values.abs().max() + derivative.abs().max()
        if not bool(apart.max() > allowed * reach):
            return
        how_far = (
            f" Their derivatives are apart by {float(apart.max() / reach):.1e} of the largest; "
            f"{float(allowed):.0e} is rounding."
        )
    raise NoLabelScores(
        "the losses are not a function of the model's output and the target alone, sample by "
        "sample, or not the one expected: with forward=, the plain cross-entropy of the logits and "
        f"labels returned, averaged over those of a sample.{how_far}"
    )


def _probabilities(target: Tensor, labels: Tensor, values: Tensor) -> Tensor:
    several = target.dim() == values.dim() and target.shape != labels.shape
    if target.is_floating_point() and several and target.shape[1:] != (1,):
        return target.movedim(1, -1)
    return F.one_hot(labels.clamp(min=0), values.shape[-1])


def counted_labels(values: Tensor, counted: Tensor | None) -> Tensor:
    """Return ``values``, ``(*labels.shape, K)``, zero where the loss does not count."""
    if counted is None or counted.shape != values.shape[: counted.dim()]:
        return values
    counted = counted.reshape(*counted.shape, *[1] * (values.dim() - counted.dim()))
    return torch.where(counted, values, torch.zeros_like(values))
