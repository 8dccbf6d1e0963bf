"""Which rule gives the tangent of which operator.

What has no rule is computed a second time, in PyTorch's forward mode. Rules are for the operators
that models are made of and that a step spends its time in.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from reweight._derivative.beside_training import (
    activations,
    arithmetic,
    attention,
    cross_entropy,
    dropout,
    linear,
    lookups,
    losses,
    normalization,
    products,
    row_norms,
    softmax,
    spread,
)
from reweight._derivative.beside_training.call import Call, NotCovered, Rule
from reweight._derivative.beside_training.saved_tensors import may_be_read
from reweight._torch_internals import is_view

RULES: dict[Any, Rule] = {
    **dict.fromkeys(products.LAYERS, products.layer),
    **dict.fromkeys(products.MATRIX_PRODUCTS, products.matrix_product),
    **dict.fromkeys(products.SUMS_WITH_PRODUCTS, products.product_added),
    torch.einsum: products.einsum,
    F.scaled_dot_product_attention: attention.attention,
    F.batch_norm: normalization.batch_norm,
    F.layer_norm: row_norms.layer_norm,
    F.group_norm: row_norms.group_norm,
    F.instance_norm: row_norms.instance_norm,
    F.rms_norm: row_norms.rms_norm,
    **activations.SIMPLE,
    **dict.fromkeys(activations.RELUS, activations.relu),
    **dict.fromkeys(activations.BOUNDED, activations.bounded),
    **dict.fromkeys(activations.CLAMPS, activations.clamp),
    **dict.fromkeys(activations.POWERS, activations.power),
    F.prelu: activations.prelu,
    F.leaky_relu: activations.leaky_relu,
    F.elu: activations.elu,
    F.gelu: activations.gelu,
    F.glu: activations.gated,
    F.softplus: activations.softplus,
    **dict.fromkeys(softmax.SOFTMAXES, softmax.softmax),
    **dict.fromkeys(softmax.LOG_SOFTMAXES, softmax.log_softmax),
    **dict.fromkeys(softmax.SUMS, softmax.log_sum_exp),
    **dict.fromkeys(arithmetic.SUMS, arithmetic.add),
    **dict.fromkeys(arithmetic.DIFFERENCES, arithmetic.subtract),
    **dict.fromkeys(arithmetic.REVERSED_DIFFERENCES, arithmetic.subtract_reversed),
    **dict.fromkeys(arithmetic.PRODUCTS, arithmetic.multiply),
    **dict.fromkeys(arithmetic.QUOTIENTS, arithmetic.divide),
    **dict.fromkeys(arithmetic.REVERSED_QUOTIENTS, arithmetic.divide_reversed),
    **dict.fromkeys(arithmetic.FILLS, arithmetic.fill),
    torch.where: arithmetic.choose,
    Tensor.where: arithmetic.choose,
    Tensor.__setitem__: arithmetic.set_item,
    **dict.fromkeys(linear.LINEAR, linear.linear),
    **dict.fromkeys(linear.TRANSPOSED, linear.linear),
    **dict.fromkeys(linear.RESHAPING, linear.reshaped),
    **dict.fromkeys(linear.CONCATENATIONS, linear.concatenate),
    **dict.fromkeys(linear.PARTITIONS, linear.partition),
    F.pad: linear.padded,
    **dict.fromkeys(spread.VARIANCES, spread.variance),
    **dict.fromkeys(spread.DEVIATIONS, spread.deviation),
    **dict.fromkeys(lookups.PICKS, lookups.picked),
    **dict.fromkeys(lookups.POOLS, lookups.pooled),
    **dict.fromkeys(lookups.POOLS_WITH_INDICES, lookups.pooled),
    F.embedding: lookups.embedding,
    **dict.fromkeys(dropout.DROPOUTS, dropout.dropout),
    F.cross_entropy: cross_entropy.cross_entropy,
    F.nll_loss: cross_entropy.nll_loss,
    **dict.fromkeys((F.mse_loss, F.l1_loss, F.smooth_l1_loss, F.huber_loss), losses.distance),
    F.binary_cross_entropy_with_logits: losses.binary_cross_entropy_with_logits,
    F.binary_cross_entropy: losses.binary_cross_entropy,
}
"""Every operator that has a rule."""


def _always(_: Call) -> bool:
    return True


def _only_the_first_moves(call: Call) -> bool:
    return len(call.args) == 2 and call.tangent(call.args[1]) is None


def _keeps_its_input(call: Call) -> bool:
    # Of a view that is written over, the graph has another node.
    return may_be_read() and not is_view(call.args[0])


_RANDOM = frozenset((*dropout.DROPOUTS, F.scaled_dot_product_attention))
_COVERS: dict[Any, Callable[[Call], bool]] = {
    **dict.fromkeys(activations.RELUS, _always),
    **dict.fromkeys(activations.IN_PLACE, _always),
    **dict.fromkeys((*activations.BOUNDED, F.leaky_relu, F.elu), _always),
    **dict.fromkeys(activations.WITH_INPLACE, _keeps_its_input),
    **dict.fromkeys(arithmetic.SUMS, _always),
    **dict.fromkeys(arithmetic.DIFFERENCES, _always),
    **dict.fromkeys(arithmetic.QUOTIENTS, _always),
    **dict.fromkeys(arithmetic.PRODUCTS, _only_the_first_moves),
    **dict.fromkeys(arithmetic.FILLS, _always),
    Tensor.__setitem__: _always,
    **dict.fromkeys(dropout.DROPOUTS, dropout.mask_will_be_kept),
    F.scaled_dot_product_attention: _always,
}


def may_draw(operator: Callable[..., Any]) -> bool:
    """Whether an operator that has a rule may draw random numbers."""
    return operator in _RANDOM


def may_refuse(call: Call) -> bool:
    """Whether a rule may find out only when it is too late that it does not cover a call.

    Then what a second run takes is to be kept before the first one.
    """
    if call.operator is not F.scaled_dot_product_attention:
        return False
    try:
        return attention.draws_dropout(call)
    except NotCovered:
        return True


def rule_for(call: Call, in_place: bool) -> Rule | None:
    """Return the rule of an operator that has not run yet, or ``None`` if it has none.

    An operator that writes over what it reads, or that draws random numbers, can not be run again
    after the fact: for those a rule is returned only if it covers this very call.

    Args:
        call: The call, its result unknown.
        in_place: Whether it changes its first argument.
    """
    rule = RULES.get(call.operator)
    if rule is None or not (in_place or call.operator in _RANDOM):
        return rule
    covers = _COVERS.get(call.operator)
    try:
        return rule if covers is not None and covers(call) else None
    except NotCovered:
        return None
