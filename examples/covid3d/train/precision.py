"""Automatic mixed precision for training passes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from examples.covid3d.common.config import Amp


class MixedPrecision:
    """Autocast and, for float16, loss scaling.

    Scores of a reweighted step are computed outside autocast, whatever this says: the library sees
    to it.

    Args:
        amp: ``off``, ``bf16`` or ``fp16``.
        device: Where the model is.
    """

    def __init__(self, amp: Amp, device: torch.device) -> None:
        self._enabled = amp != "off"
        self._dtype = torch.float16 if amp == "fp16" else torch.bfloat16
        self._device = device.type
        self._scaler = torch.amp.GradScaler(device.type, enabled=amp == "fp16")

    def autocast(self) -> torch.autocast:
        """Context for forward passes."""
        return torch.autocast(self._device, self._dtype, enabled=self._enabled)

    def step(self, loss: Tensor, optimizer: torch.optim.Optimizer) -> None:
        """Backward pass and optimiser step; skipped where scaled gradients overflow."""
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self._scaler.step(optimizer)
        self._scaler.update()
        optimizer.zero_grad()

    def state_dict(self) -> dict[str, Any]:
        """State of the loss scale; empty where there is none."""
        return self._scaler.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes back what :meth:`state_dict` gave."""
        if state:
            self._scaler.load_state_dict(state)
