"""The training loop: Adam, a learning rate schedule, checkpoints, a log."""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from examples.covid3d.common.config import Config
from examples.covid3d.common.errors import UserError, problem
from examples.covid3d.common.files import read_torch, write_csv, write_json, write_torch
from examples.covid3d.train.board import Board
from examples.covid3d.train.precision import MixedPrecision
from examples.covid3d.train.schedule import is_saturated, learning_rate, window_of
from reweight import NonFiniteError

Logged = dict[str, Any]
LAST, BEST, WEIGHTS = "last.pt", "best.pt", "weights.pt"
_MOST_LOGGED = 5000
_log = logging.getLogger("examples.covid3d")


@dataclass(frozen=True, eq=False)
class Outcome:
    """What one step of a recipe gives.

    Attributes:
        loss: Scalar to differentiate.
        update: Whether to move the parameters.
        row: What to log of the step.
        samples: What to log of each sample.
    """

    loss: Tensor
    update: bool = True
    row: Logged = field(default_factory=dict)
    samples: list[Logged] = field(default_factory=list)


class Recipe:
    """A way to train: draws batch ``step``, runs the model forward and says what to minimise."""

    waited = 0.0
    """Seconds that steps waited for their batches."""

    final = True
    """Whether the training is in its last phase; only in that may it stop early."""

    def __call__(self, step: int) -> Outcome:
        """Draws the batches of ``step`` and gives its loss."""
        raise NotImplementedError

    def after_step(self, step: int) -> None:
        """Called when the optimiser has moved, as for a teacher that follows the student."""

    def evaluated(self) -> nn.Module | None:
        """The network to evaluate, where that is not the one being trained."""
        return None

    def tables(self) -> dict[str, list[Logged]]:
        """What to write as CSV beside the weights when training has ended, by file name."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint must hold beside model and optimiser."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes back what :meth:`state_dict` gave."""


@dataclass(frozen=True)
class Length:
    """How long a training is.

    Attributes:
        steps: At most.
        epoch: Steps in an epoch, for early stopping.
    """

    steps: int
    epoch: int = 1

    def times(self, factor: float) -> Length:
        """So many times as long."""
        return Length(round(self.steps * factor), self.epoch)


def train(
    model: nn.Module,
    recipe: Recipe,
    validate: Callable[[nn.Module], float],
    *,
    config: Config,
    length: Length,
    folder: Path,
    title: str,
) -> None:
    """Trains ``model`` and writes ``weights.pt``, ``steps.csv``, ``samples.csv``, ``curve.csv``.

    An interrupted training resumes from ``last.pt`` and ends with the same weights as one that was
    not (on the CPU; kernels of a GPU may round otherwise from run to run): the checkpoint holds
    model, optimiser, the recipe's state, random states, step and log, and batches depend on
    nothing but seed and step. ``best.pt`` is the checkpoint with the highest Dice. ``timing.json``
    has the seconds of the steps alone, without validation. Of more than 5,000 steps, evenly spaced
    ones are logged.

    Args:
        model: In its initial state; trained in place, batch normalisation in training mode.
        recipe: What to minimise.
        validate: Gives a network's Dice to log, and leaves it as found.
        config: Settings.
        length: Number of steps; fewer are taken if the loss is saturated (``config.patience``).
        folder: Where to write. Nothing is done if ``weights.pt`` is there already.
        title: Shown in the progress bar.

    Raises:
        UserError: If the training diverges.
    """
    if (folder / WEIGHTS).exists():
        return
    run = _Run(model, recipe, config, folder, next(model.parameters()).device, length.steps)
    run.resume()
    board = Board(folder / "tensorboard", config.tensorboard, run.step)
    steps = length.steps
    bar = tqdm(total=steps, initial=run.step, desc=title, unit="step")
    with contextlib.closing(board), bar:
        last = run.step == steps or run.saturated(length)
        while not last:
            start = time.perf_counter()
            row = run.take(learning_rate(run.step, steps, config.learning_rate, config.schedule))
            run.seconds += time.perf_counter() - start
            if row is None:
                raise problem(
                    title,
                    f"the loss is not finite at step {run.step}",
                    "a finite loss",
                    f"lower --learning-rate (now {config.learning_rate:g})",
                )
            board.add(run.step, row, "train")
            board.histogram(run.step, run.weights, "train/weights")
            bar.update()
            bar.set_postfix(loss=f"{row['loss']:.3f}", refresh=False)
            last = run.saturated(length) or run.step == steps
            if run.step % config.validate_every == 0 or last:
                run.validate(validate)
                board.add(run.step, run.log["curve"][-1], "validation")
            if run.step % config.checkpoint_every == 0 and not last:
                write_torch(folder / LAST, run.state())
    run.finish()


class _Run:
    """The state of a training under way."""

    def __init__(
        self,
        model: nn.Module,
        recipe: Recipe,
        config: Config,
        folder: Path,
        device: torch.device,
        steps: int,
    ) -> None:
        self._model, self._recipe, self._config = model, recipe, config
        self._folder, self._device = folder, device
        self._optimizer = torch.optim.Adam(model.parameters(), lr=config.learning_rate)
        self._precision = MixedPrecision(config.amp, device)
        # Of a long training every so manieth step is logged: memory must not grow with its length.
        self._every = math.ceil(steps / _MOST_LOGGED)
        self._waited = 0.0
        self._best = -1.0
        self._means: list[float] = []
        self._window: list[float] = []
        self.weights: list[float] = []
        self.step = 0
        self.seconds = 0.0
        self.log: dict[str, list[Logged]] = {"steps": [], "samples": [], "curve": []}
        model.train()

    def take(self, rate: float) -> Logged | None:
        """Takes a step and returns its log; None if the loss is not finite."""
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        try:
            with self._precision.autocast():
                outcome = self._recipe(self.step)
        except NonFiniteError:
            return None
        loss = float(outcome.loss.detach())
        if not torch.isfinite(outcome.loss.detach()):
            return None
        if outcome.update:
            self._precision.step(outcome.loss, self._optimizer)
            self._recipe.after_step(self.step)
        row = {"step": self.step, "loss": loss, **outcome.row}
        if self.step % self._every == 0:
            self.log["steps"].append(row)
            self.log["samples"] += outcome.samples
        if "mean_loss" in row:
            self._window.append(row["mean_loss"])
        self.step += 1
        self.weights = [float(sample["weight"]) for sample in outcome.samples]
        return row

    def saturated(self, length: Length) -> bool:
        """Judges the loss at the end of each window of the last phase."""
        if not self._recipe.final:
            self._means, self._window = [], []
        if len(self._window) == window_of(length.epoch):
            self._means.append(sum(self._window) / len(self._window))
            self._window = []
        return is_saturated(self._means, self._config.patience)

    def _evaluated(self) -> nn.Module:
        return self._recipe.evaluated() or self._model

    def validate(self, validate: Callable[[nn.Module], float]) -> None:
        dice = validate(self._evaluated())
        self.log["curve"].append({"step": self.step, "dice": dice})
        if dice > self._best:
            self._best = dice
            write_torch(self._folder / BEST, self.state())

    def state(self) -> dict[str, Any]:
        return {
            "model": self._model.state_dict(),
            "evaluated": self._evaluated().state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "recipe": self._recipe.state_dict(),
            "precision": self._precision.state_dict(),
            "rng": torch.get_rng_state(),
            "device_rng": torch.cuda.get_rng_state_all() if self._device.type == "cuda" else [],
            "step": self.step,
            "best": self._best,
            "means": self._means,
            "window": self._window,
            "seconds": self.seconds,
            "waited": self._waited + self._recipe.waited,
            "log": self.log,
        }

    def resume(self) -> None:
        path = self._folder / LAST
        if not path.exists():
            return
        try:
            state = read_torch(path)
        except UserError as error:
            _log.warning("The training begins anew, for its checkpoint is no use. %s", error)
            return
        self._model.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._recipe.load_state_dict(state["recipe"])
        self._precision.load_state_dict(state["precision"])
        torch.set_rng_state(state["rng"])
        if state["device_rng"] and self._device.type == "cuda":
            torch.cuda.set_rng_state_all(state["device_rng"])
        self.step, self._best, self.log = state["step"], state["best"], state["log"]
        self.seconds, self._waited = state["seconds"], state["waited"]
        self._means, self._window = state["means"], state["window"]

    def finish(self) -> None:
        for name, rows in {**self.log, **self._recipe.tables()}.items():
            write_csv(self._folder / f"{name}.csv", rows)
        waited = self._waited + self._recipe.waited
        timing = {"seconds": self.seconds, "steps": self.step, "wait_seconds": waited}
        write_json(self._folder / "timing.json", timing)
        write_torch(self._folder / LAST, self.state())
        chosen = self._evaluated().state_dict()
        if self._config.keep == "best":
            chosen = read_torch(self._folder / BEST)["evaluated"]
        # Last, for its presence means that all is there.
        write_torch(self._folder / WEIGHTS, chosen)
