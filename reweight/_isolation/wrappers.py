"""What wraps a model: what is inside, and which of it hides or splits the parameters."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.nn.parallel import DataParallel, DistributedDataParallel


def unwrapped(model: nn.Module) -> list[nn.Module]:
    """Return ``model``, what its outermost wrapper holds, and so on to the bare module.

    Wrappers are ``DistributedDataParallel``, ``DataParallel`` and ``torch.compile``'s.
    """
    found = [model]
    while True:
        inner = getattr(found[-1], "_orig_mod", None)
        if inner is None and isinstance(found[-1], DistributedDataParallel | DataParallel):
            inner = found[-1].module
        if not isinstance(inner, nn.Module):
            return found
        found.append(inner)


def data_parallel_wrappers(model: nn.Module) -> list[DistributedDataParallel]:
    """Return the ``DistributedDataParallel`` modules around and inside ``model``."""
    return [part for part in model.modules() if isinstance(part, DistributedDataParallel)]


@contextmanager
def bypassed(model: nn.Module) -> Iterator[None]:
    """In the body, lead calls past the ``DistributedDataParallel`` modules inside ``model``.

    A pass apart from training has no business with other ranks, which may not make it.
    """
    wrappers = data_parallel_wrappers(model)
    for wrapper in wrappers:
        wrapper.__dict__["forward"] = partial(_call_module, wrapper)
    try:
        yield
    finally:
        for wrapper in wrappers:
            wrapper.__dict__.pop("forward", None)


def _call_module(wrapper: DistributedDataParallel, *args: Any, **kwargs: Any) -> Any:
    return wrapper.module(*args, **kwargs)


def in_several_parts(model: nn.Module) -> bool:
    """Whether each training pass is split over several devices, each with a copy of the model.

    Hooks run once a copy then, in several threads, and see a part of the batch each.
    """
    return any(
        isinstance(part, DataParallel) and len(part.device_ids or ()) > 1
        for part in unwrapped(model)
    )


def is_dtensor(value: Tensor) -> bool:
    """Whether ``value`` is a ``DTensor``, spread over the ranks of a device mesh."""
    spread = sys.modules.get("torch.distributed.tensor")
    return spread is not None and isinstance(value, spread.DTensor)


def whole(value: Tensor) -> Tensor:
    """Return ``value``, gathered from all ranks where it is a ``DTensor``."""
    return value.full_tensor() if is_dtensor(value) else value  # type: ignore[attr-defined]


def has_dtensors(model: nn.Module) -> bool:
    """Whether a parameter of ``model`` is a ``DTensor``, as under tensor parallelism."""
    return any(map(is_dtensor, model.parameters()))


def sharding(model: nn.Module) -> str | None:
    """Return the name of what splits the parameters of ``model`` over the ranks, or ``None``.

    Tensor parallelism is not meant: it splits the computation as well. Nothing is imported to
    find out: what has not been loaded cannot have touched the model.
    """
    full = _loaded("torch.distributed.fsdp", "FullyShardedDataParallel")
    sharded = _loaded("torch.distributed.fsdp", "FSDPModule")
    for part in model.modules():
        if full is not None and isinstance(part, full):
            return "FSDP1 (FullyShardedDataParallel)"
        if sharded is not None and isinstance(part, sharded):
            return "FSDP2 (fully_shard)"
        if _is_engine(part):
            return "DeepSpeed"
    # ZeRO stage 3 marks its parameters, also those of a model taken out of its engine.
    if any(hasattr(p, "ds_id") or hasattr(p, "ds_status") for p in model.parameters()):
        return "DeepSpeed ZeRO"
    return None


def _is_engine(part: nn.Module) -> bool:
    return any(
        kind.__module__.partition(".")[0] == "deepspeed" and kind.__name__.endswith("Engine")
        for kind in type(part).__mro__
    )


def _loaded(module: str, name: str) -> type | None:
    return getattr(sys.modules.get(module), name, None)


def refuse_sharded(model: nn.Module) -> None:
    """Refuse to differentiate, or to run apart from training, a model that is split over ranks.

    Nothing but the wrapper's own forward pass gathers what the ranks hold: a derivative taken
    beside it would be zero, or that of a rank's part.

    Raises:
        ValueError: If FSDP or DeepSpeed has the parameters of ``model``.
    """
    what = sharding(model)
    if what is not None:
        raise ValueError(
            f"a model sharded by {what} cannot be scored by gradients, nor by score(), for a rank "
            f"holds only a part of it: wrap it in DistributedDataParallel instead, or score a "
            f"full replica and weigh the losses by step.weights, or train by a scorer that needs "
            f"no gradient (LossMagnitude, Uniform, RandomWeights), trusted_coefficient 0."
        )


def refuse_spread(model: nn.Module, method: str) -> None:
    """Refuse forward mode and second derivatives under tensor parallelism.

    PyTorch's ``DTensor`` has no forward mode, and differentiated twice it loses, without a word,
    what a rank got from another (``DTensor.from_local`` is differentiable once).

    Raises:
        ValueError: If a parameter of ``model`` is a ``DTensor``, or FSDP has split it.
    """
    refuse_sharded(model)
    if has_dtensors(model):
        raise ValueError(
            f'method="{method}" is not right under tensor parallelism (DTensor parameters), whose '
            f'derivatives PyTorch takes once and in reverse mode only: leave method at "auto", '
            f'which makes one backward pass a sample there, or choose "finite_difference".'
        )
