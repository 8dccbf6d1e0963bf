"""What a scoring pass must not disturb, and what would disturb it.

A scoring pass runs the user's model once more, for its derivatives only. It leaves the random
number streams where they were, and runs eagerly, outside autocast and with operators that can be
differentiated twice.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel


class RandomState:
    """The global random number generators a forward pass may draw from, as they stand now.

    PyTorch's on the CPU and on ``devices``, Python's, and NumPy's where it is loaded. A generator
    object that the model owns is not seen.
    """

    def __init__(self, devices: list[torch.device]) -> None:
        self._devices = devices
        self._python = random.getstate()
        numpy = sys.modules.get("numpy")
        self._numpy = None if numpy is None else numpy.random.get_state()
        self._cpu = torch.get_rng_state()
        self._accelerators = [
            torch.get_device_module(device).get_rng_state(*_argument(device)) for device in devices
        ]

    def restore(self) -> None:
        """Put every generator back."""
        random.setstate(self._python)
        if self._numpy is not None:
            sys.modules["numpy"].random.set_state(self._numpy)
        torch.set_rng_state(self._cpu)
        for device, state in zip(self._devices, self._accelerators, strict=True):
            torch.get_device_module(device).set_rng_state(state, *_argument(device))


def _argument(device: torch.device) -> tuple[torch.device, ...]:
    return () if device.type == "mps" else (device,)  # there is only one, and it is not asked for


def accelerators(module: nn.Module) -> list[torch.device]:
    """Return the devices, other than the CPU, that hold a tensor of ``module``."""
    tensors = [*module.parameters(), *module.buffers()]
    found = {tensor.device for tensor in tensors if tensor.device.type not in ("cpu", "meta")}
    return sorted(found, key=str)


def uses_compiler(module: nn.Module) -> bool:
    """Whether a part of ``module`` runs through ``torch.compile``."""
    dynamo = sys.modules.get("torch._dynamo")
    if dynamo is None:  # nothing can be compiled before it is loaded, and loading it is slow
        return False
    return any(
        isinstance(part, dynamo.OptimizedModule)
        or getattr(part, "_compiled_call_impl", None) is not None
        for part in module.modules()
    )


@contextmanager
def scoring_pass(module: nn.Module, *, fused_attention: bool = False) -> Iterator[None]:
    """Run the body as a scoring pass of ``module``.

    Random numbers are those the next pass will see, and are given back afterwards. Gradients are
    enabled, whatever the caller set: what is not to be recorded must not require them.

    Args:
        module: The model.
        fused_attention: Whether attention may run as it would in training. Fused kernels have
            neither a forward-mode rule nor a second derivative.
    """
    devices = accelerators(module)
    state = RandomState(devices)
    with ExitStack() as stack:
        stack.callback(state.restore)
        stack.enter_context(torch.enable_grad())
        # A loss scale or a half-precision gradient would change what a small score is worth.
        for kind in {"cpu", *(device.type for device in devices)}:
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        if not fused_attention:
            stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        fast_path = torch.backends.mha.get_fastpath_enabled()
        stack.callback(torch.backends.mha.set_fastpath_enabled, fast_path)
        torch.backends.mha.set_fastpath_enabled(False)
        if uses_compiler(module):
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        yield
