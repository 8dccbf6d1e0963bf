"""Dropout, by the mask that was drawn and that the graph keeps: exact also where x is 0."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from reweight._derivative.beside_training.call import Call
from reweight._derivative.beside_training.saved_tensors import may_be_read
from reweight._torch_internals import dropout_mask, is_view

DROPOUTS = (F.dropout, F.dropout1d, F.dropout2d, F.dropout3d, torch.dropout, torch.dropout_)


def mask_will_be_kept(call: Call) -> bool:
    """Whether the mask can be read afterwards: then no second run is to be prepared for.

    Of a view that is written over, the graph has another node.
    """
    given = _given(call)
    in_place = given["inplace"] or call.operator is torch.dropout_
    return may_be_read() and not (in_place and is_view(given["input"]))


def dropout(call: Call) -> Tensor | None:
    """Dropout of numbers or of whole channels, also in place; the identity in eval mode."""
    given = _given(call)
    dx = call.tangents[id(given["input"])]
    if not (given["training"] and given["train"]) or given["p"] == 0:
        return dx
    kept = dropout_mask(call.out.grad_fn)
    if kept is None:
        return None
    mask, scaled = kept
    tangent: Tensor = dx * mask
    # The mask of a fused kernel is of booleans.
    return tangent if scaled else tangent.mul_(0 if given["p"] == 1 else 1 / (1 - given["p"]))


def _given(call: Call) -> dict[str, Any]:
    return call.given("input", "p", "training", "inplace", p=0.5, training=True, train=True)
