"""The trusted gradient of several ranks: that of the mean over all their trusted losses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from reweight._isolation.objective import Parameters


@dataclass(frozen=True, eq=False, slots=True)
class JointGradient:
    """What the ranks' trusted batches say together.

    Attributes:
        loss: The mean trusted loss over all ranks, a scalar.
        gradient: Its gradient by parameter name; parameters that no rank's depends on are left out.
        share: This rank's share of the losses, a scalar.
        failed: How many ranks have had an error, and brought nothing.
    """

    loss: Tensor
    gradient: Parameters
    share: Tensor
    failed: int


def joint_gradient(
    total: Callable[[Tensor], Tensor],
    parameters: Mapping[str, Tensor],
    device: torch.device,
    own: tuple[Tensor, Tensor | int, Parameters] | None,
) -> JointGradient:
    """Return the mean over the ranks, each weighted by how many trusted losses it has.

    It is one message, of a dtype that holds all: half precision is summed in float32. Which
    parameters anyone has a gradient for is read from it, for which the device is waited for.

    Args:
        total: Sums a tensor over the ranks, and may overwrite it. Every rank calls this.
        parameters: Those that the gradient is of, by name; the same on every rank.
        device: Where the ranks exchange what they know.
        own: This rank's mean loss, of how many it is one, and its gradient, where what it does not
            depend on may be missing. ``None``: it has had an error.
    """
    dtype = torch.float32
    for p in parameters.values():
        dtype = torch.promote_types(dtype, p.dtype.to_real())
    loss, number, gradient = own or (torch.zeros((), device=device), 0, {})
    head = [own is None, *(name in gradient for name in parameters)]
    message = torch.cat(
        [
            torch.tensor(head, device=device).to(dtype),
            torch.ones(1, device=device, dtype=dtype),
            *(
                _line(gradient[name] if name in gradient else torch.zeros_like(p), device, dtype)
                for name, p in parameters.items()
            ),
            _line(loss, device, dtype),
        ]
    )
    count = torch.as_tensor(number).to(device, dtype)
    message[len(head) :] *= count
    message = total(message)
    errors, *having = message[: len(head)].tolist()
    all_counted = message[len(head)].clamp(min=1)
    share = count / all_counted
    message[len(head) + 1 :] /= all_counted
    sizes = [p.numel() * (2 if p.is_complex() else 1) for p in parameters.values()]
    *lines, mean = torch.split(message[len(head) + 1 :], [*sizes, 1])
    return JointGradient(
        mean.reshape(()).to(loss),
        {
            name: _like(p, line)
            for (name, p), line, has in zip(parameters.items(), lines, having, strict=True)
            if has
        },
        share,
        int(errors),
    )


def _line(values: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    values = values.detach()
    real = torch.view_as_real(values.resolve_conj()) if values.is_complex() else values
    return real.reshape(-1).to(device, dtype)


def _like(parameter: Tensor, line: Tensor) -> Tensor:
    real = line.to(parameter.device, parameter.dtype.to_real())
    if parameter.is_complex():
        return torch.view_as_complex(real.reshape(*parameter.shape, 2))
    return real.reshape(parameter.shape)
