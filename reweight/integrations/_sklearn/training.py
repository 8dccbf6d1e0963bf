"""The loop, and what of it goes on in a later fit."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from reweight._isolation.default_device import counted_on_the_cpu
from reweight._warnings import warn
from reweight.errors import NonFiniteError
from reweight.integrations._sklearn.batches import ShuffledBatches
from reweight.integrations._sklearn.given import Given
from reweight.integrations._sklearn.random import OwnRandom
from reweight.integrations._sklearn.rows import as_inputs
from reweight.meta_reweighter import MetaReweighter
from reweight.paired import paired


class Training:
    """What is learnt by one or several fits to the same rows. It holds none of their inputs.

    Args:
        random: Its streams of random numbers.
        module: What is trained.
        optimizer: Of its parameters.
        reweighter: What weighs each batch.
        given: The rows of the first fit.
        settings: The parameters of the classifier, by which all that was built.

    Attributes:
        history: One entry an epoch.
        labels: The number of the class given to each row, ``(N,)``.
        classes: The classes.
        trusted: Which rows are trusted, ``None`` where those are given beside X.
        judged: Whether there are any.
        judging: The numbers of the classes of those beside X.
    """

    def __init__(
        self,
        random: OwnRandom,
        module: nn.Module,
        optimizer: torch.optim.Optimizer,
        reweighter: MetaReweighter,
        given: Given,
        settings: dict[str, Any],
    ) -> None:
        self.random = random
        self.module = module
        self.optimizer = optimizer
        self.reweighter = reweighter
        self.settings = settings
        self.labels: Tensor = given.codes
        self.classes = given.classes
        self.trusted = given.mask
        self.judged: bool = given.judged
        self.judging: Tensor | None = None if given.judges is None else given.judges[1]
        self.history: list[dict[str, float]] = []
        self._orders = [torch.Generator("cpu").manual_seed(random.seed + n) for n in (1, 2)]
        self._stands: dict[str, Any] | None = None

    def run(
        self,
        given: Given,
        *,
        sizes: tuple[int, int],
        epochs: int,
        say: Callable[[str], None],
    ) -> None:
        """Train for some epochs; one stopped by hand keeps what was learnt until then.

        Args:
            given: The rows.
            sizes: The most rows of a batch, and of a trusted batch.
            epochs: How many passes over the rows that are weighed.
            say: Told how each epoch went.

        Raises:
            KeyboardInterrupt: If it is stopped before anything was learnt.
        """
        with self.random():
            self._run(given, sizes, epochs, say)

    def _run(
        self, given: Given, sizes: tuple[int, int], epochs: int, say: Callable[[str], None]
    ) -> None:
        x = as_inputs(given.x, self.module)
        judges = given.trusted(x, self.module)
        rows = torch.arange(len(x), device="cpu")
        if self.trusted is not None:
            rows = rows[torch.from_numpy(~self.trusted)]
        device = self.random.device
        noisy = ShuffledBatches(x, self.labels, rows, sizes[0], self._orders[0], device)
        trusted: Iterable[Any] = [None]
        if judges is not None:
            trusted = ShuffledBatches(*judges, sizes[1], self._orders[1], device)
        batches = paired(noisy, trusted)
        if self._stands is not None:
            batches.load_state_dict(self._stands)
        self.module.train()
        done = len(self.history)
        try:
            for epoch in range(done + 1, done + epochs + 1):
                self._epoch(
                    batches, f"epoch {epoch:{len(str(done + epochs))}}/{done + epochs}", say
                )
        except KeyboardInterrupt:
            assert self.reweighter.dynamics is not None
            if not self.reweighter.dynamics.times_seen.any():
                raise
            warn(
                f"fit was stopped by hand in epoch {len(self.history) + 1} of {done + epochs}; "
                f"what was learnt until then is kept, and fit with warm_start=True goes on."
            )
        finally:
            self.optimizer.zero_grad()
            self.module.eval()
            self._stands = batches.state_dict()

    def _epoch(self, batches: Iterable[Any], name: str, say: Callable[[str], None]) -> None:
        begun, losses, judged = time.perf_counter(), [], []
        for (x, y, rows), trusted in batches:
            self.optimizer.zero_grad()
            given = None if trusted is None else trusted[:2]
            try:
                step = self.reweighter((x, y), given, ids=rows)
            except NonFiniteError as error:
                if error.batch == "noisy":
                    error.add_note(f"These are the rows {rows[error.indices].tolist()} of X.")
                raise
            step.loss.backward()  # type: ignore[no-untyped-call]
            if step.kept:
                with counted_on_the_cpu():
                    self.optimizer.step()
            losses.append(step.losses.nanmean())
            if step.trusted_loss is not None:
                judged.append(step.trusted_loss.detach())
        found = {"epoch": float(len(self.history) + 1)}
        if losses:  # none where a pass was taken up at its end
            found["loss"] = torch.stack(losses).nanmean().item()
        if judged:
            found["trusted_loss"] = torch.stack(judged).nanmean().item()
        found["seconds"] = time.perf_counter() - begun
        self.history.append(found)
        numbers = [f"{key.replace('_', ' ')} {found[key]:.4f}" for key in found if "loss" in key]
        say("  ".join([name, *numbers, f"{found['seconds']:.1f} s"]))
