"""Loading PyTorch's further forward-mode rules without the warnings of its own that this gives."""

from __future__ import annotations

import functools
import warnings

import torch
from torch.autograd import forward_ad


@functools.cache
def load_forward_rules() -> None:
    """Load them, once: PyTorch does when the first tangent is made, by what it has deprecated.

    Where warnings are errors, as in many a test suite, the user's first step would end there.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        with forward_ad.dual_level():
            forward_ad.make_dual(*torch.zeros(2, 1, device="cpu"))  # type: ignore[no-untyped-call]
