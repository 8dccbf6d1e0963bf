"""Random number streams, and how to put them back."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from reweight._isolation.numpy_state import NumPyState


class DeviceRandomState:
    """PyTorch's global random number generators, on the CPU and on ``devices``, as they stand now.

    Two are equal if every generator stands where it stood.
    """

    def __init__(self, devices: Sequence[torch.device]) -> None:
        self._devices = devices
        self._states = [torch.get_rng_state()]
        self._states += [
            torch.get_device_module(device).get_rng_state(*_argument(device)) for device in devices
        ]

    def restore(self) -> None:
        """Put every generator back."""
        torch.set_rng_state(self._states[0])
        for device, state in zip(self._devices, self._states[1:], strict=True):
            torch.get_device_module(device).set_rng_state(state, *_argument(device))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, DeviceRandomState):
            return NotImplemented
        return all(map(torch.equal, self._states, other._states))

    __hash__ = None  # type: ignore[assignment]


class RandomState:
    """The global random number generators a forward pass may draw from, as they stand now.

    PyTorch's on the CPU and on ``devices``, Python's, NumPy's where it is loaded, and
    ``generators``: objects of any of these that the model owns.
    """

    def __init__(
        self,
        devices: Sequence[torch.device],
        generators: Sequence[Any] = (),
        like: RandomState | None = None,
    ) -> None:
        self._generators = [(generator, _state_of(generator)) for generator in generators]
        self._python = random.getstate()
        self._numpy: NumPyState = NumPyState(None if like is None else like._numpy)
        self._torch = DeviceRandomState(devices)

    def restore(self) -> None:
        """Put every generator back."""
        random.setstate(self._python)
        self._numpy.restore()
        self._torch.restore()
        for generator, state in self._generators:
            _set_state(generator, state)

    def now(self) -> RandomState:
        """Return the same streams as they stand at this moment."""
        generators = [generator for generator, _ in self._generators]
        return RandomState(self._torch._devices, generators, like=self)


def _state_of(generator: Any) -> Any:
    if isinstance(generator, torch.Generator):
        return generator.get_state()
    if isinstance(generator, random.Random):
        return generator.getstate()
    if hasattr(generator, "bit_generator"):  # NumPy's
        return generator.bit_generator.state
    return generator.get_state()


def _set_state(generator: Any, state: Any) -> None:
    if isinstance(generator, random.Random):
        generator.setstate(state)
    elif hasattr(generator, "bit_generator"):
        generator.bit_generator.state = state
    else:
        generator.set_state(state)


def _argument(device: torch.device) -> tuple[torch.device, ...]:
    return () if device.type == "mps" else (device,)  # there is only one, and it is not asked for


def accelerators(tensors: Iterable[Tensor]) -> list[torch.device]:
    """Return the devices, other than the CPU, that hold one of ``tensors``."""
    found = {tensor.device for tensor in tensors if tensor.device.type not in ("cpu", "meta")}
    return sorted(found, key=str)
