"""A model in training: its loss, its optimiser, one noisy and one trusted batch."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.profiler import record_function

Batch = tuple[Tensor, Tensor]
Loss = Callable[[Tensor, Tensor], Tensor]
Step = Callable[[], None]
"""One whole training step: forward, backward, optimiser step, ``zero_grad``."""


@dataclass(frozen=True)
class Cycle:
    """Several steps in a row, of which not all cost alike; times are told per step.

    Attributes:
        step: One training step.
        length: How many.
    """

    step: Step
    length: int

    def __call__(self) -> None:
        """Run the whole cycle."""
        for _ in range(self.length):
            self.step()


def steps_in(step: Step) -> int:
    """Return how many training steps a call of ``step`` makes."""
    return step.length if isinstance(step, Cycle) else 1


def _compiled(module: nn.Module) -> Callable[[Tensor], Tensor]:
    # Equal models share compiled code, and by default it is taken to have no hooks if the first of
    # them had none: a method that adds hooks would then run the code of one that does not.
    torch._dynamo.config.skip_nnmodule_hook_guards = False
    return torch.compile(module)


class Problem:
    """What every method is given, and the half of a training step that is the same for all.

    The optimiser's momentum exists from the outset (see :meth:`_allocate_momentum`), so that no
    method pays for it in time and none has it counted as its memory.

    Args:
        module: The model, on its device.
        noisy: C_p inputs and class labels; labels may be maps.
        trusted: C_v inputs and class labels.
        loss: Of outputs and labels, one value a sample or a map of them; cross-entropy if ``None``.
        amp: Run forward passes under ``torch.autocast`` to this dtype; with float16 the training
            loss is scaled.
        compiled: Train ``torch.compile(module)``.

    Attributes:
        module: The bare model: what second derivatives are taken of, which compiled models lack.
        model: The model to train: ``module``, compiled if so asked.
        loss: The loss function.
        trainable: The parameters that train.
        optimizer: SGD with momentum 0.9, of those.
    """

    def __init__(
        self,
        module: nn.Module,
        noisy: Batch,
        trusted: Batch,
        *,
        loss: Loss | None = None,
        amp: torch.dtype | None = None,
        compiled: bool = False,
    ) -> None:
        self.module = module
        self.model: Callable[[Tensor], Tensor] = _compiled(module) if compiled else module
        self.noisy = noisy
        self.trusted = trusted
        self.loss: Loss = nn.CrossEntropyLoss(reduction="none") if loss is None else loss
        self.device = noisy[0].device
        self.trainable = [p for p in module.parameters() if p.requires_grad]
        self.optimizer = torch.optim.SGD(self.trainable, lr=1e-3, momentum=0.9)
        self._amp = amp
        self._scaler = torch.amp.GradScaler(self.device.type, enabled=amp is torch.float16)
        self._allocate_momentum()

    def _allocate_momentum(self) -> None:
        # A step along zero gradients moves nothing and runs no layer: a process that has done no
        # more than this has a resident memory that a first training step can be measured against.
        for parameter in self.trainable:
            parameter.grad = torch.zeros_like(parameter)
        self.optimizer.step()
        self.optimizer.zero_grad()

    def autocast(self) -> AbstractContextManager[None]:
        """Return the context of every forward pass."""
        return torch.autocast(self.device.type, self._amp, enabled=self._amp is not None)

    def losses(self, call: Callable[[Tensor], Tensor], batch: Batch) -> Tensor:
        """Return one loss per sample, ``(C,)``, the mean of its map if there is one.

        Args:
            call: The model as a function of its inputs.
            batch: Inputs and labels.
        """
        with self.autocast():
            losses = self.loss(call(batch[0]), batch[1])
        return losses.flatten(1).mean(1) if losses.dim() > 1 else losses

    def descend(self, loss: Tensor) -> None:
        """Do the rest of the training step: backward, optimiser, and gradients to ``None``."""
        with record_function("training backward"):
            self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        with record_function("optimiser"):
            self._scaler.step(self.optimizer)
            self._scaler.update()
            self.optimizer.zero_grad()
