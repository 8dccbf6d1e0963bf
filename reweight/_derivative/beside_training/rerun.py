"""An operator's tangents by running it a second time, in PyTorch's forward mode."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn import functional as F

from reweight._derivative.beside_training.arguments import tensors_in, with_tensors
from reweight._derivative.forward_rules import load_forward_rules
from reweight._isolation.random_state import DeviceRandomState
from reweight._isolation.scoring_mode import ConstantUnderNoGrad
from reweight._isolation.scoring_pass import differentiable_attention
from reweight._torch_internals import version

# Fused kernels have no forward-mode rule.
_ATTENTION = (F.scaled_dot_product_attention, F.multi_head_attention_forward)


class Rerun:
    """One operator call, to be run again on what it saw the first time.

    Made before the call, it keeps what the call may change: the random numbers' state, the first
    argument of an operator that works in place, and statistics that an operator updates.

    Args:
        func: The operator.
        args: Its positional arguments.
        kwargs: Its keyword arguments.
        tangents: Tangents of its inputs by ``id``.
        devices: Devices other than the CPU whose random numbers it may draw.
        draws: Whether it may draw any.
        in_place: Whether it works in place, called so.

    Raises:
        ValueError: If it is given what may hide tensors or hold a state: functions, generators.
    """

    def __init__(
        self,
        func: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        tangents: Mapping[int, Tensor],
        devices: Sequence[torch.device],
        *,
        draws: bool,
        in_place: bool,
    ) -> None:
        self._func = func
        self._in_place = in_place
        self._devices = devices
        first = args[0] if self._in_place and args and isinstance(args[0], Tensor) else None
        self._random = DeviceRandomState(devices) if draws else None
        self._tangents: dict[int, Tensor] = {}
        self._shared: list[tuple[Tensor, int]] = []
        if any(map(_opaque, (*args, *kwargs.values()))):
            raise ValueError(f"{func} was given a function or a random number generator.")

        def seen(x: Tensor) -> Tensor:
            value, tangent = x.detach(), tangents.get(id(x))
            if x is first:
                value = value.clone()
                tangent = None if tangent is None else tangent.clone()
            elif tangent is None and x.dim() <= 1 and not x.requires_grad:
                value = value.clone()  # a running mean, perhaps
            else:
                self._shared.append((value, version(value)))
            if tangent is not None:
                self._tangents[id(value)] = tangent
            return value

        self._args, self._kwargs = with_tensors((args, kwargs), seen)

    def tangents(self) -> list[Tensor | None]:
        """Run the operator again.

        Returns:
            The tangent of every tensor among its results, and then, where it works in place, of
            its first argument; ``None`` where it is zero.

        Raises:
            RuntimeError: If the first run changed what the second one would read, and change again.
        """
        if any(version(value) != before for value, before in self._shared):
            raise RuntimeError(f"{self._func} changed what it was not expected to.")
        with ExitStack() as stack:
            if self._random is not None:
                now = DeviceRandomState(self._devices)
                if now != self._random:
                    stack.callback(now.restore)
                    self._random.restore()
            if self._func in _ATTENTION:
                stack.enter_context(differentiable_attention())
            stack.enter_context(torch.enable_grad())
            load_forward_rules()
            stack.enter_context(forward_ad.dual_level())
            args, kwargs = with_tensors((self._args, self._kwargs), self._dual)
            with ConstantUnderNoGrad():
                results = self._func(*args, **kwargs)
            changed = args[:1] if self._in_place else ()
            return [_tangent(x) for x in tensors_in((results, changed))]

    def _dual(self, x: Tensor) -> Tensor:
        tangent = self._tangents.get(id(x))
        if tangent is None:
            return x
        dual: Tensor = forward_ad.make_dual(x, tangent)  # type: ignore[no-untyped-call]
        return dual


def _tangent(x: Tensor) -> Tensor | None:
    tangent: Tensor | None = forward_ad.unpack_dual(x).tangent  # type: ignore[no-untyped-call]
    return None if tangent is None else tangent.detach()


def _opaque(value: Any) -> bool:
    return isinstance(value, torch.Generator) or (callable(value) and not isinstance(value, type))
