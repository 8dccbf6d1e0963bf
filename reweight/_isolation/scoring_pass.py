"""What a scoring pass must not disturb, and what would disturb it.

A scoring pass runs the user's model once more, for its derivatives only. It leaves the random
number streams where they were, and runs eagerly, outside autocast and with operators that can be
differentiated twice.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from reweight._isolation.random_state import RandomState
from reweight._isolation.start import Snapshot


@contextmanager
def scoring_pass(start: Snapshot, *, fused_attention: bool = False) -> Iterator[None]:
    """Run the body as a scoring pass.

    Random numbers are those of ``start``, and the streams are given back afterwards as they were.
    What is not to be recorded must not require a gradient: :class:`Precision` has enabled them.

    Args:
        start: Where the pass starts from.
        fused_attention: Whether attention may run as it would in training. Fused kernels have
            neither a forward-mode rule nor a second derivative.
    """
    now = RandomState(start.devices)
    with ExitStack() as stack:
        stack.callback(now.restore)
        start.random.restore()
        if not fused_attention:
            stack.enter_context(differentiable_attention())
        fast_path = torch.backends.mha.get_fastpath_enabled()
        stack.callback(torch.backends.mha.set_fastpath_enabled, fast_path)
        torch.backends.mha.set_fastpath_enabled(False)
        # Compiled code drops tangents without a word. A compiled function, such as a loss, cannot
        # be told from another, so that wherever something may have been compiled it runs eagerly.
        if "torch._dynamo" in sys.modules:
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        yield


def differentiable_attention() -> AbstractContextManager[None]:
    """Return the context in which attention runs by the kernel that has a forward-mode rule."""
    return sdpa_kernel(SDPBackend.MATH)
