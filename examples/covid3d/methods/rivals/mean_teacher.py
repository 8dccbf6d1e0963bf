"""A teacher that follows the student: the exponential moving average of its weights."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn


class MeanTeacher:
    """The mean teacher of Tarvainen & Valpola 2017.

    After optimiser step t = 0, 1, ... the teacher's weights become

        θ'_t = α_t θ'_{t-1} + (1 - α_t) θ_t,    α_t = min(1 - 1 / (t + 1), decay).

    So the first update copies the student, and until α_t reaches ``decay`` the teacher is the plain
    mean of all students so far.

    Chosen here, as the paper leaves it open:

    - Floating-point buffers (the running statistics of batch normalisation) are averaged as the
      weights are, for they have to lag behind as the weights do; to first order a layer's mean
      activation is linear in its weights. Other buffers (counters) are copied.
    - Asking the teacher never changes it. In training mode, batch normalisation uses the statistics
      of the batch, and the running ones are put back after the forward pass. So the teacher is a
      function of the students alone, however often it is asked.

    Attributes:
        module: The averaged module. It requires no gradient.
        decay: The largest α_t.

    Args:
        student: Module to follow, not wrapped (no DDP, no ``torch.compile``); it is copied, to its
            own device and dtype. In float16 or bfloat16, updates of size 1 - decay would be lost.
        decay: In [0, 1). UA-MT uses 0.99, Tarvainen & Valpola 0.99 to 0.999.
        training: Whether the teacher answers in training mode (batch statistics, dropout) or in
            evaluation mode. Does not depend on the student's mode.

    Raises:
        ValueError: If ``decay`` is out of range.
    """

    def __init__(self, student: nn.Module, decay: float = 0.99, *, training: bool = False) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"decay {decay} is not in [0, 1)")
        self.module = copy.deepcopy(student).requires_grad_(False).train(training)
        self.decay = decay
        self._updates = 0

    @property
    def updates(self) -> int:
        """Number of students averaged so far."""
        return self._updates

    def train(self, mode: bool = True) -> MeanTeacher:
        """Answers in training mode from now on, or with ``mode=False`` in evaluation mode."""
        self.module.train(mode)
        return self

    def eval(self) -> MeanTeacher:
        """Answers in evaluation mode from now on."""
        return self.train(False)

    @torch.no_grad()
    def update(self, student: nn.Module) -> None:
        """Moves towards the student; call it once after every optimiser step.

        Args:
            student: The module that this teacher was made from, on any device.

        Raises:
            ValueError: If its parameters or buffers are others than the teacher's.
        """
        alpha = min(1 - 1 / (self._updates + 1), self.decay)
        own = [*self.module.named_parameters(), *self.module.named_buffers()]
        new = dict([*student.named_parameters(), *student.named_buffers()])
        if [(name, mine.shape) for name, mine in own] != [(n, v.shape) for n, v in new.items()]:
            raise ValueError("the student's parameters or buffers are not those of its teacher")
        for name, mine in own:
            value = new[name].to(mine.device)
            if mine.is_floating_point():
                mine.lerp_(value.to(mine.dtype), 1 - alpha)
            else:
                mine.copy_(value)
        self._updates += 1

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """What the teacher says, without gradient.

        Args:
            images: (C, 1, *S).

        Returns:
            Logits, (C, K, *S).
        """
        buffers = list(self.module.buffers()) if self.module.training else []
        kept = [buffer.clone() for buffer in buffers]
        try:
            answer: Tensor = self.module(images)
        finally:
            for buffer, before in zip(buffers, kept, strict=True):
                buffer.copy_(before)
        return answer

    def state_dict(self) -> dict[str, Any]:
        """The averaged module and the number of updates: all that an exact resumption needs."""
        return {"module": self.module.state_dict(), "updates": self._updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Puts back what :meth:`state_dict` gave."""
        self.module.load_state_dict(state["module"])
        self._updates = int(state["updates"])
