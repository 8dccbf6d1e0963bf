"""The training loop: Adam, a decaying learning rate, checkpoints, a log."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from tqdm import tqdm

from examples.covid3d.config import Config
from examples.covid3d.errors import problem
from examples.covid3d.files import write_csv, write_torch
from reweight import NonFiniteError

Row = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Outcome:
    """What one step of an objective gives.

    Attributes:
        loss: Scalar to differentiate.
        update: Whether to move the parameters.
        row: What to log of the step.
        samples: What to log of each sample.
    """

    loss: Tensor
    update: bool = True
    row: Row = field(default_factory=dict)
    samples: list[Row] = field(default_factory=list)


class Objective(Protocol):
    """Draws batch ``step``, runs the model forward and says what to minimise."""

    def __call__(self, step: int) -> Outcome: ...  # noqa: D102


def train(
    model: nn.Module,
    objective: Objective,
    validate: Callable[[], float],
    *,
    config: Config,
    steps: int,
    folder: Path,
    title: str,
) -> None:
    """Trains ``model`` and writes ``weights.pt``, ``steps.csv``, ``samples.csv`` and ``curve.csv``.

    An interrupted training resumes from its last checkpoint and ends with the same weights as one
    that was not: the checkpoint holds model, optimiser, random state, step and log, and batches
    depend on nothing but seed and step. The learning rate falls as (1 - step / steps)^0.9.

    Args:
        model: In its initial state; trained in place, batch normalisation in training mode.
        objective: What to minimise.
        validate: Gives a Dice to log, and leaves the model as found.
        config: Settings.
        steps: Number of steps.
        folder: Where to write. Nothing is done if ``weights.pt`` is there already.
        title: Shown in the progress bar.

    Raises:
        UserError: If the training diverges.
    """
    if (folder / "weights.pt").exists():
        return
    optimizer = torch.optim.Adam(model.parameters(), lr=config.learning_rate)
    checkpoint = folder / "checkpoint.pt"
    log: dict[str, list[Row]] = {"steps": [], "samples": [], "curve": []}
    first = 0
    if checkpoint.exists():
        state = torch.load(checkpoint, map_location="cpu", weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["rng"])
        first, log = state["step"], state["log"]
    model.train()
    bar = tqdm(range(first, steps), desc=title, initial=first, total=steps, unit="step")
    for step in bar:
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * (1 - step / steps) ** 0.9
        try:
            outcome = objective(step)
        except NonFiniteError as error:
            raise _diverged(title, step, config) from error
        loss = float(outcome.loss.detach())
        if not torch.isfinite(outcome.loss.detach()):
            raise _diverged(title, step, config)
        if outcome.update:
            outcome.loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            optimizer.zero_grad()
        log["steps"].append({"step": step, "loss": loss, **outcome.row})
        log["samples"] += outcome.samples
        done = step + 1
        if done % config.validate_every == 0 or done == steps:
            log["curve"].append({"step": done, "dice": validate()})
        bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
        if done % config.checkpoint_every == 0 and done < steps:
            state = {
                "model": model.state_dict(),
                "optimizer": optimizer.state_dict(),
                "rng": torch.get_rng_state(),
                "step": done,
                "log": log,
            }
            write_torch(checkpoint, state)
    for name, rows in log.items():
        write_csv(folder / f"{name}.csv", rows)
    # Last, for its presence means that all is there.
    write_torch(folder / "weights.pt", model.state_dict())
    checkpoint.unlink(missing_ok=True)


def _diverged(title: str, step: int, config: Config) -> Exception:
    return problem(
        title,
        f"the loss is not finite at step {step}",
        "a finite loss",
        f"lower --learning-rate (now {config.learning_rate:g})",
    )
