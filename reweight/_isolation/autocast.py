"""Autocast for the training pass, and none for scores.

Some frameworks enter autocast inside the model: they wrap its ``forward``. PyTorch tells nobody
when that happens, so for the time of a pass ``torch.autocast`` is given another way in, for the
thread that runs the pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from reweight._torch_internals import enables_autocast, entering_autocast, turned_off


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

    @property
    def narrow(self) -> bool:
        """Whether that is to float16, in which small gradients vanish and large ones overflow."""
        return torch.float16 in self._dtypes.values()

    @contextmanager
    def for_scores(self) -> Iterator[None]:
        """Run the body without autocast and with gradients enabled, whatever the caller set."""
        with ExitStack() as stack:
            stack.enter_context(torch.enable_grad())
            for kind in self._dtypes:
                stack.enter_context(torch.autocast(kind, enabled=False))
            yield

    @contextmanager
    def for_training(self, *, cached: bool = True) -> Iterator[None]:
        """Run the body under the caller's autocast.

        Args:
            cached: Whether casts of parameters are kept until the caller leaves autocast. Those
                of a scoring pass serve nobody after it.
        """
        with ExitStack() as stack:
            for kind, dtype in self._dtypes.items():
                stack.enter_context(torch.autocast(kind, dtype=dtype, cache_enabled=cached))
            yield


@contextmanager
def autocast_inside_off() -> Iterator[Callable[[], bool]]:
    """Let autocast that is entered in the body do nothing, and yield what tells whether it was."""
    seen: list[bool] = []

    def enter(enter: Callable[[Any], Any], context: Any) -> Any:
        if enables_autocast(context):
            seen.append(True)
        with turned_off(context):
            return enter(context)

    with entering_autocast(enter):
        yield lambda: bool(seen)


@contextmanager
def autocast_inside_noticed() -> Iterator[Callable[[], bool]]:
    """Yield what tells whether autocast has been entered in the body, and enabled by it."""
    seen: list[bool] = []

    def enter(enter: Callable[[Any], Any], context: Any) -> Any:
        if enables_autocast(context):
            seen.append(True)
        return enter(context)

    with entering_autocast(enter):
        yield lambda: bool(seen)
