"""Batch normalisation."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from reweight._derivative.beside_training.call import Call
from reweight._derivative.beside_training.saved_tensors import may_be_read
from reweight._torch_internals import batch_norm_statistics, by_known_batch_norm

_PARAMETERS = (
    "input",
    "running_mean",
    "running_var",
    "weight",
    "bias",
    "training",
    "momentum",
    "eps",
)
_DEFAULTS: dict[str, Any] = {"weight": None, "bias": None, "training": False, "eps": 1e-5}


def batch_norm(call: Call) -> Tensor | None:
    """``F.batch_norm`` by PyTorch's own kernel, in train and eval mode.

    The Jacobian by the input is symmetric, channel by channel, so that the kernel for the
    backward pass also takes tangents forward, where forward mode makes a dozen passes over memory.
    """
    node = call.out.grad_fn
    if not by_known_batch_norm(node) or not may_be_read():
        return None
    given = {**_DEFAULTS, **dict(zip(_PARAMETERS, call.args, strict=False)), **call.kwargs}
    x, weight, training = given["input"], given["weight"], given["training"]
    running_mean, running_var = given["running_mean"], given["running_var"]
    kept = batch_norm_statistics(node) if training else None
    mean, scale = kept or (running_mean, (running_var + given["eps"]).rsqrt())
    shape = (1, -1, *[1] * (x.dim() - 2))
    tangent: Tensor | None = None
    dx, dweight, dbias = (call.tangent(given[name]) for name in ("input", "weight", "bias"))
    if dx is not None:
        tangent = torch.ops.aten.native_batch_norm_backward(
            dx,
            x,
            weight,
            running_mean,
            running_var,
            mean,
            scale,
            training,
            given["eps"],
            [True, False, False],
        )[0]
    if dweight is not None:
        term = (x - mean.reshape(shape)).mul_((scale * dweight).reshape(shape))
        tangent = term if tangent is None else tangent.add_(term)
    if dbias is not None:
        term = dbias.reshape(shape)
        tangent = term.expand_as(x) if tangent is None else tangent.add_(term)
    return tangent
