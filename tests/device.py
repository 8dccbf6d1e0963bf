"""Which device the library's tests run on: ``REWEIGHT_TEST_DEVICE=cuda make test``.

Models and batches are made on it as PyTorch's default device. The flagship and the benchmarks
choose theirs themselves and are left out of such a run.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_sequence

VARIABLE = "REWEIGHT_TEST_DEVICE"


def wanted(name: str | None = None) -> torch.device | None:
    """The device asked for, or ``None``: the CPU, with no default device set.

    Raises:
        pytest.UsageError: If there is no such device, or it cannot run these tests.
    """
    name = os.environ.get(VARIABLE, "") if name is None else name
    if not name:
        return None
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise pytest.UsageError(f"{VARIABLE}={name}: {error}") from None
    if device.type == "mps":
        raise pytest.UsageError(
            f"{VARIABLE}={name}: MPS has no float64, in which the tests know the answer. Use cpu "
            f"or cuda."
        )
    try:
        torch.ones(1, device=device, dtype=torch.float64).add(1).item()
    except (AssertionError, NotImplementedError, RuntimeError) as error:
        raise pytest.UsageError(
            f"{VARIABLE}={name}: this device cannot compute here: {str(error).splitlines()[0]}"
        ) from None
    return device


def packed(sequences: Sequence[Tensor], *, enforce_sorted: bool = False) -> PackedSequence:
    """Pack sequences; PyTorch makes their lengths where the default device is, and wants a CPU."""
    with torch.device("cpu"):
        return pack_sequence(sequences, enforce_sorted=enforce_sorted)


def autocast(dtype: torch.dtype = torch.bfloat16, *, enabled: bool = True) -> torch.autocast:
    """Autocast for the device that the tests run on."""
    return torch.autocast(torch.get_default_device().type, dtype=dtype, enabled=enabled)


def accelerators() -> list[torch.device]:
    """The device the tests run on, in a list, unless it is the CPU."""
    device = torch.get_default_device()
    return [] if device.type == "cpu" else [device]


def near(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors are equal bit for bit; on an accelerator, but for rounding.

    There some kernels add in another order in every run.
    """
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    if not accelerators() or not (one.is_floating_point() or one.is_complex()):
        return torch.equal(one, other)
    if one.is_complex():
        one, other = (
            torch.view_as_real(one.resolve_conj()),
            torch.view_as_real(other.resolve_conj()),
        )
    units = 1024 if one.dtype.itemsize >= 4 else 8
    limit = units * torch.finfo(one.dtype).eps
    one, other = one.detach().double().cpu(), other.detach().double().cpu()
    largest = other[other.isfinite()].abs().max().item() if other.isfinite().any() else 0.0
    return torch.allclose(one, other, rtol=0.0, atol=limit * largest, equal_nan=True)


def random_state() -> Tensor:
    """Where PyTorch's global random streams stand: the CPU's, and the device's."""
    modules = [torch.get_device_module(device) for device in accelerators()]
    return torch.cat([torch.get_rng_state(), *(module.get_rng_state() for module in modules)])


def set_random_state(state: Tensor) -> None:
    """Put them where :func:`random_state` found them."""
    length = torch.get_rng_state().numel()
    torch.set_rng_state(state[:length].clone())
    for device in accelerators():
        torch.get_device_module(device).set_rng_state(state[length:].clone())
