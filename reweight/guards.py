"""What a scoring pass must not disturb, and what would disturb it.

A scoring pass runs the user's model once more, for its derivatives only. It leaves the random
number streams where they were, and runs eagerly, outside autocast and with operators that can be
differentiated twice.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel


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

    PyTorch's on the CPU and on ``devices``, Python's, and NumPy's where it is loaded. A generator
    object that the model owns is not seen.
    """

    def __init__(self, devices: Sequence[torch.device]) -> None:
        self._python = random.getstate()
        numpy = sys.modules.get("numpy")
        self._numpy = None if numpy is None else numpy.random.get_state()
        self._torch = DeviceRandomState(devices)

    def restore(self) -> None:
        """Put every generator back."""
        random.setstate(self._python)
        if self._numpy is not None:
            sys.modules["numpy"].random.set_state(self._numpy)
        self._torch.restore()


def _argument(device: torch.device) -> tuple[torch.device, ...]:
    return () if device.type == "mps" else (device,)  # there is only one, and it is not asked for


class Snapshot:
    """What a forward pass of ``module`` starts from: random number streams and buffers.

    Taken once a step, so that every scoring pass starts where the training pass does, whichever
    of them comes first.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self.devices = accelerators(module)
        self.random = RandomState(self.devices)
        self.buffers = {name: buffer.clone() for name, buffer in module.named_buffers()}

    def restore(self) -> None:
        """Put the module's buffers and every random number stream back."""
        with torch.no_grad():
            for name, buffer in self._module.named_buffers():
                buffer.copy_(self.buffers[name])
        self.random.restore()


def accelerators(module: nn.Module) -> list[torch.device]:
    """Return the devices, other than the CPU, that hold a tensor of ``module``."""
    tensors = [*module.parameters(), *module.buffers()]
    found = {tensor.device for tensor in tensors if tensor.device.type not in ("cpu", "meta")}
    return sorted(found, key=str)


def uses_compiler(module: nn.Module) -> bool:
    """Whether ``module``, or a part of it, runs through ``torch.compile``."""
    dynamo = sys.modules.get("torch._dynamo")
    if dynamo is None:  # nothing can be compiled before it is loaded, and loading it is slow
        return False
    return any(
        isinstance(part, dynamo.OptimizedModule)
        or getattr(part, "_compiled_call_impl", None) is not None
        for part in module.modules()
    )


class Precision:
    """Autocast as the caller set it, for the training pass, and none, for scores.

    A half-precision gradient changes what a small score is worth, and backward passes run under
    the autocast of whoever asks for them.

    Args:
        devices: Other than the CPU, those of the model.
    """

    def __init__(self, devices: Sequence[torch.device]) -> None:
        kinds = {"cpu", *(device.type for device in devices)}
        self._dtypes = {
            k: torch.get_autocast_dtype(k) for k in kinds if torch.is_autocast_enabled(k)
        }

    @property
    def autocast(self) -> bool:
        """Whether the caller has autocast on."""
        return bool(self._dtypes)

    @contextmanager
    def for_scores(self) -> Iterator[None]:
        """Run the body without autocast and with gradients enabled, whatever the caller set."""
        with ExitStack() as stack:
            stack.enter_context(torch.enable_grad())
            for kind in self._dtypes:
                stack.enter_context(torch.autocast(kind, enabled=False))
            yield

    @contextmanager
    def for_training(self) -> Iterator[None]:
        """Run the body under the caller's autocast."""
        with ExitStack() as stack:
            for kind, dtype in self._dtypes.items():
                stack.enter_context(torch.autocast(kind, dtype=dtype))
            yield


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


@contextmanager
def attributes_restored(module: nn.Module) -> Iterator[None]:
    """Put back, after the body, every plain attribute and buffer slot of ``module`` and its parts.

    Forward passes may count, cache or (``weight_norm``, as a hook) compute weights into
    attributes. What they change in place, inside a list of their own, say, is not seen.
    """
    slots = [slot for part in module.modules() for slot in (part.__dict__, part._buffers)]
    before = [dict(slot) for slot in slots]
    try:
        yield
    finally:
        for slot, values in zip(slots, before, strict=True):
            if len(slot) != len(values) or any(
                slot.get(name) is not value for name, value in values.items()
            ):
                slot.clear()
                slot.update(values)
