"""What lands on PyTorch's default device unasked."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch


def counted_on_the_cpu() -> AbstractContextManager[Any]:
    """Have optimisers keep their count of steps there, which releases up to 2.11 make by default.

    On whatever device the default is, that is, be it one on which nothing can be computed.
    """
    return nullcontext() if torch.get_default_device().type == "cpu" else torch.device("cpu")
