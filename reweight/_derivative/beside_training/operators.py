"""What is known of an operator from its name alone, found out once for each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from reweight._derivative.beside_training.call import Rule
from reweight._derivative.beside_training.rules import RULES, may_draw
from reweight._derivative.beside_training.saved_tensors import keeps_no_input
from reweight._isolation.scoring_mode import NEVER, place_of_inplace
from reweight._torch_internals import draws_random_numbers, is_custom_operator

# What attributes of a tensor are tensors that may have a tangent.
_TENSORS = frozenset({"T", "mT", "H", "mH", "real", "imag"})
# What returns no tensor, or one that no gradient reaches.
_LOOKS = (
    "size dim ndimension stride numel nelement element_size storage_offset is_contiguous "
    "is_floating_point is_complex is_signed is_conj is_neg is_inference is_nonzero "
    "is_tensor is_same_size is_pinned get_device data_ptr item tolist equal allclose "
    "detach __len__ __bool__ __int__ __float__ __index__ __repr__ __format__ __hash__ "
    "__contains__ eq ne lt le gt ge __eq__ __ne__ __lt__ __le__ __gt__ __ge__ isnan "
    "isinf isfinite isposinf isneginf isclose logical_and logical_or logical_not argmax "
    "argmin argsort count_nonzero nonzero bool int long zeros_like ones_like empty_like "
    "full_like new_zeros new_ones new_empty new_full new_tensor"
)
# Functions written in Python, which bear no tag, and draw nothing.
_DRAW_NOTHING = (
    "adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool2d batch_norm celu "
    "cosine_similarity cross_entropy binary_cross_entropy "
    "binary_cross_entropy_with_logits elu embedding gelu glu group_norm hardsigmoid "
    "hardswish hardtanh huber_loss instance_norm interpolate kl_div l1_loss layer_norm "
    "leaky_relu log_softmax max_pool1d max_pool2d max_pool3d mish mse_loss nll_loss "
    "normalize pad prelu relu relu6 rms_norm selu sigmoid silu smooth_l1_loss softmax "
    "softmin softplus softsign tanh tanhshrink threshold upsample"
)


def _named(names: str, *places: Any) -> frozenset[Any]:
    found = (getattr(place, name, None) for place in places for name in names.split())
    return frozenset(function for function in found if function is not None)


_ONLY_LOOK = _named(_LOOKS, Tensor, torch)
_PLAIN = _named(_DRAW_NOTHING, F)


@dataclass(frozen=True, slots=True)
class Operator:
    """What is known of one operator.

    Attributes:
        looks: Whether no result of it has a tangent, so that there is nothing to follow.
        custom: Whether it is of ``torch.ops`` and not PyTorch's own.
        inplace: Where it may be said that it works in place, as ``place_of_inplace`` says.
        draws: Whether it may draw random numbers from the global generators.
        aliased: Whether its graph may keep an input, and is to keep an alias in its place.
        rule: The rule for its tangent, if there is one.
        draws_by_rule: Whether its rule has to know the numbers that it draws.
    """

    looks: bool
    custom: bool
    inplace: int
    draws: bool
    aliased: bool
    rule: Rule | None
    draws_by_rule: bool


def operator_of(func: Callable[..., Any]) -> Operator:
    """Return what is known of ``func``, as a function mode sees it."""
    try:
        return _operator_of(func)
    except TypeError:  # not hashable
        return Operator(False, is_custom_operator(func), NEVER, True, True, None, False)


@lru_cache(maxsize=4096)
def _operator_of(func: Callable[..., Any]) -> Operator:
    return Operator(
        looks=_only_looks(func),
        custom=is_custom_operator(func),
        inplace=place_of_inplace(func),
        draws=func not in _PLAIN and draws_random_numbers(func) is not False,
        aliased=not keeps_no_input(func),
        rule=RULES.get(func),
        draws_by_rule=may_draw(func),
    )


def _only_looks(func: Callable[..., Any]) -> bool:
    if getattr(func, "__name__", "") != "__get__":
        return func in _ONLY_LOOK
    attribute = getattr(getattr(func, "__self__", None), "__name__", None)
    return attribute is not None and attribute not in _TENSORS
