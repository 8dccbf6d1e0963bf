"""Selectors: which weights stay, and which become zero.

A selector is any callable that takes the weights of a batch, flattened to ``(N,)`` and
non-negative, and returns ``(N,)`` weights with some of them set to zero.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from reweight.selectors.keep_all import KeepAll
from reweight.selectors.rectify import Rectify
from reweight.selectors.top_k import TopK

Selector = Callable[[Tensor], Tensor]

__all__ = ["KeepAll", "Rectify", "Selector", "TopK"]
