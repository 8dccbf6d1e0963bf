"""The compiler, which is not loaded to ask for it."""

from __future__ import annotations

import sys

from torch import nn


def compiler_loaded() -> bool:
    """Whether the compiler was imported; before that nothing is compiled, and loading is slow."""
    return "torch._dynamo" in sys.modules


def anything_compiled() -> bool:
    """Whether a function has been compiled since the start, or since ``torch.compiler.reset``.

    A compiler that meets a mode traces it along, and may then compile something else.
    """
    frames = sys.modules.get("torch._dynamo.eval_frame")
    return any(map(callable, getattr(frames, "cached_backends", {}).values()))


def uses_compiler(module: nn.Module) -> bool:
    """Whether ``module``, or a part of it, runs through ``torch.compile`` (either way to ask)."""
    dynamo = sys.modules.get("torch._dynamo")
    if dynamo is None:
        return False
    kind, seen, left = dynamo.OptimizedModule, {module}, [module]
    while left:  # as module.modules() goes, which takes several times as long, and every step asks
        part = left.pop()
        if isinstance(part, kind) or getattr(part, "_compiled_call_impl", None) is not None:
            return True
        for child in part._modules.values():
            if child is not None and child not in seen:
                seen.add(child)
                left.append(child)
    return False


def inside_compiled(module: nn.Module) -> nn.Module | None:
    """Return the module that ``torch.compile`` wrapped in ``module``, or ``None``."""
    dynamo = sys.modules.get("torch._dynamo")
    if dynamo is None or not isinstance(module, dynamo.OptimizedModule):
        return None
    inner: nn.Module = module._orig_mod
    return inner
