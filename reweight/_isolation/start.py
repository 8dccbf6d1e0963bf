"""What every pass of one step starts from."""

from __future__ import annotations

import torch
from torch import nn

from reweight._isolation.random_state import RandomState, accelerators


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
