"""How a scoring pass runs: on the start's random numbers, eagerly, by one backward pass.

A scoring pass runs the user's model once more, for its derivatives only.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from reweight._isolation.random_state import RandomState
from reweight._isolation.reentrant import without_reentrant_checkpoints
from reweight._torch_internals import compiler_loaded


@contextmanager
def scoring_pass(
    random: RandomState, *, fused_attention: bool = False, eager: bool = True
) -> Iterator[None]:
    """Run the body as a scoring pass.

    Random numbers are those given, and the streams are put back afterwards as they were.
    What is not to be recorded must not require a gradient: :class:`Precision` has enabled them.

    Args:
        random: The random number streams that the pass starts from.
        fused_attention: Whether attention may run as it would in training. Fused kernels have
            neither a forward-mode rule nor a second derivative.
        eager: Whether what has been compiled runs eagerly.
    """
    with ExitStack() as stack:
        stack.callback(random.now().restore)
        random.restore()
        stack.enter_context(without_reentrant_checkpoints())
        if not fused_attention:
            stack.enter_context(differentiable_attention())
        fast_path = torch.backends.mha.get_fastpath_enabled()
        stack.callback(torch.backends.mha.set_fastpath_enabled, fast_path)
        torch.backends.mha.set_fastpath_enabled(False)
        # Compiled code drops tangents without a word. A compiled function, such as a loss, cannot
        # be told from another, so that wherever something may have been compiled it runs eagerly.
        if eager and compiler_loaded():
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        yield


def differentiable_attention() -> AbstractContextManager[None]:
    """Return the context in which attention runs by the kernel that has a forward-mode rule."""
    return sdpa_kernel(SDPBackend.MATH)
