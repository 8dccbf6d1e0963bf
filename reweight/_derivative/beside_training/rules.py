"""Which rule gives the tangent of which operator.

What has no rule is computed a second time, in PyTorch's forward mode. Rules are for the operators
that a step spends its time in.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from reweight._derivative.beside_training import elementwise, normalization, products
from reweight._derivative.beside_training.call import Call

Rule = Callable[[Call], Tensor | None]

RULES: dict[Any, Rule] = {
    **dict.fromkeys(products.LAYERS, products.layer),
    **dict.fromkeys(products.MATRIX_PRODUCTS, products.matrix_product),
    F.batch_norm: normalization.batch_norm,
    F.prelu: elementwise.prelu,
    **dict.fromkeys(elementwise.RELUS, elementwise.relu),
    **dict.fromkeys(elementwise.SUMS, elementwise.add),
    **dict.fromkeys(elementwise.CONCATENATIONS, elementwise.concatenate),
    **dict.fromkeys(elementwise.LINEAR, elementwise.linear),
}
"""A rule returns the tangent of the one output, or ``None`` for a call it does not cover."""
