"""How a scoring pass runs: on the start's random numbers, eagerly, by one backward pass.

A scoring pass runs the user's model once more, for its derivatives only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from reweight._isolation.checkpoints import without_reentrant_checkpoints
from reweight._isolation.random_state import RandomState
from reweight._torch_internals import compiler_loaded

Attention = Callable[[], AbstractContextManager[None]]


@contextmanager
def scoring_pass(
    random: RandomState, *, attention: Attention | None = None, eager: bool = True
) -> Iterator[None]:
    """Run the body as a scoring pass.

    Random numbers are those given, and the streams are put back afterwards as they were.
    What is not to be recorded must not require a gradient: :class:`Precision` has enabled them.

    Args:
        random: The random number streams that the pass starts from.
        attention: Makes the context that chooses attention's kernel: ``nullcontext`` the one of
            training, which has neither a forward-mode rule nor a second derivative as a rule;
            :func:`differentiable_attention` unless given.
        eager: Whether what has been compiled runs eagerly.
    """
    with ExitStack() as stack:
        stack.callback(random.now().restore)
        random.restore()
        stack.enter_context(without_reentrant_checkpoints())
        stack.enter_context((attention or differentiable_attention)())
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


def repeatable_attention() -> AbstractContextManager[None]:
    """Return the context of a kernel whose dropout can be told afterwards, fused on a GPU.

    Two passes that are to draw the same dropout both need it: every kernel draws otherwise.
    """
    return sdpa_kernel([SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH])
