"""What wraps a model: what is inside, and which of it hides or splits the parameters."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

from reweight._torch_internals import inside_compiled


def unwrapped(model: nn.Module) -> list[nn.Module]:
    """Return ``model``, what its outermost wrapper holds, and so on to the bare module.

    Wrappers are ``DistributedDataParallel``, ``DataParallel`` and ``torch.compile``'s.
    """
    found = [model]
    while True:
        inner = inside_compiled(found[-1])
        if inner is None and isinstance(found[-1], DistributedDataParallel | DataParallel):
            inner = found[-1].module
        if not isinstance(inner, nn.Module):
            return found
        found.append(inner)


def data_parallel_wrappers(model: nn.Module) -> list[DistributedDataParallel]:
    """Return the ``DistributedDataParallel`` modules around and inside ``model``."""
    if not _initialised():  # to look costs as much as a small layer
        return []
    return [part for part in model.modules() if isinstance(part, DistributedDataParallel)]


@contextmanager
def bypassed(wrappers: Sequence[DistributedDataParallel]) -> Iterator[None]:
    """Lead calls past ``wrappers``, to what they hold, in the body.

    A pass apart from training has no business with other ranks, which may not make it.
    """
    own = [wrapper.__dict__.get("forward") for wrapper in wrappers]
    for wrapper in wrappers:
        wrapper.__dict__["forward"] = partial(_call_module, wrapper)
    try:
        yield
    finally:
        for wrapper, forward in zip(wrappers, own, strict=True):
            wrapper.__dict__.pop("forward", None)
            if forward is not None:
                wrapper.__dict__["forward"] = forward


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
    if not _initialised():  # to look costs as much as a small layer
        return False
    return any(map(is_dtensor, model.parameters()))


def sharding(model: nn.Module) -> str | None:
    """Return the name of what splits the parameters of ``model`` over the ranks, or ``None``.

    Tensor parallelism is not meant: it splits the computation as well. Nothing is imported to
    find out: what has not been loaded cannot have touched the model.
    """
    seen: set[type] = set()
    for part in model.modules():
        if type(part) in seen:
            continue
        seen.add(type(part))
        for kind in type(part).__mro__:
            if kind.__name__ in _SHARDING:
                return _SHARDING[kind.__name__]
            if kind.__module__.startswith("deepspeed.") and kind.__name__.endswith("Engine"):
                return "DeepSpeed"
    for p in model.parameters():
        # ZeRO stage 3 marks its parameters, also those of a model taken out of its engine.
        if hasattr(p, "ds_id"):
            return "DeepSpeed ZeRO"
        if getattr(p, "tensor_model_parallel", False) and several_ranks():
            return "Megatron"
    return None


_SHARDING = {
    "FullyShardedDataParallel": "FSDP1 (FullyShardedDataParallel)",
    "XlaFullyShardedDataParallel": "FSDP1 (XlaFullyShardedDataParallel)",
    "FSDPModule": "FSDP2 (fully_shard)",
}


def may_be_sharded() -> bool:
    """Whether anything in this process could have split a model; to look at one costs more."""
    return _initialised() or "deepspeed" in sys.modules


def several_ranks(group: Any = None) -> bool:
    """Whether ``torch.distributed`` runs more than one rank now, in ``group`` or in all."""
    return _initialised() and bool(sys.modules["torch.distributed"].get_world_size(group) > 1)


def _initialised() -> bool:
    distributed = sys.modules.get("torch.distributed")
    return distributed is not None and distributed.is_available() and distributed.is_initialized()


def refuse_shared_statistics(model: nn.Module) -> None:
    """Refuse batch statistics of several ranks: no rank's gradients are its own samples' then.

    Raises:
        ValueError: If a ``SyncBatchNorm`` layer of ``model`` is in train mode.
    """
    for part in model.modules():
        if (
            isinstance(part, nn.SyncBatchNorm)
            and part.training
            and several_ranks(part.process_group)
        ):
            raise ValueError(
                "SyncBatchNorm in train mode mixes the samples of all ranks, so that gradients of "
                "one rank's samples cannot be told from the others': use BatchNorm (not "
                "converted), or put these layers into eval mode before the reweighter is built."
            )


def refuse_sharded(model: nn.Module) -> None:
    """Refuse to differentiate, or to run apart from training, a model that is split over ranks.

    Nothing but the wrapper's own forward pass gathers what the ranks hold: a derivative taken
    beside it would be zero, or that of a rank's part.

    Raises:
        ValueError: If FSDP, DeepSpeed or Megatron has the parameters of ``model``, or
            ``SyncBatchNorm`` its batch statistics.
    """
    refuse_shared_statistics(model)
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
    if may_be_sharded():
        refuse_sharded(model)
    if has_dtensors(model):
        raise ValueError(
            f'method="{method}" is not right under tensor parallelism (DTensor parameters), whose '
            f'derivatives PyTorch takes once and in reverse mode only: leave method at "auto", '
            f'which makes one backward pass a sample there, or choose "finite_difference".'
        )
