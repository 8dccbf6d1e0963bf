"""Runs of ``ReweightedTrainer``, and the same by the library alone."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import nn

from reweight import GradientSimilarity, LastLayerGradient, MetaReweighter, SampleWeights, paired
from tests.integrations.medical import NOISY, loaders, network, parameters_of

pytest.importorskip("monai", reason="monai is in the extra monai")
pytest.importorskip("ignite", reason="ignite is in the extra monai")

from ignite.engine import Events
from monai.engines.utils import IterationEvents
from monai.losses import DiceCELoss

from reweight.integrations.monai import ReweightedTrainer, per_sample

LOSS = {"to_onehot_y": True, "softmax": True}


def remembering() -> dict[str, Any]:
    # Of "auto" a clock decides how scores are taken, and so how they are rounded.
    scorer = GradientSimilarity("forward") / LastLayerGradient()
    return {"weighting": SampleWeights(NOISY), "trusted_coefficient": 0.1, "scorer": scorer}


def trainer(
    epochs: int = 2,
    *,
    options: Any = None,
    meta: bool = False,
    model: nn.Module | None = None,
    **kwargs: Any,
) -> ReweightedTrainer:
    noisy, trusted = loaders(meta=meta)
    model = network() if model is None else model
    made = ReweightedTrainer(
        torch.device("cpu"),
        epochs,
        noisy,
        model,
        kwargs.pop("optimizer", None) or torch.optim.SGD(model.parameters(), 0.1, momentum=0.9),
        kwargs.pop("loss", None) or DiceCELoss(**LOSS),
        trusted_data_loader=kwargs.pop("trusted_data_loader", trusted),
        reweighter=remembering() if options is None else options,
        **kwargs,
    )
    made.add_event_handler(
        Events.EPOCH_STARTED, lambda engine: noisy.set_epoch(engine.state.epoch - 1)
    )
    made.seen = []  # type: ignore[attr-defined]
    made.add_event_handler(
        IterationEvents.LOSS_COMPLETED,
        lambda engine: made.seen.append(engine.state.reweighted_step),
    )
    return made


def plain_loop(
    epochs: int = 2, *, options: Any = None, group: int = 1, around: Any = nullcontext
) -> tuple[nn.Module, list[Any], MetaReweighter]:
    """The library alone."""
    noisy, trusted = loaders()
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    options = remembering() if options is None else options
    reweighter = MetaReweighter(model, per_sample(DiceCELoss(**LOSS)), **options)
    steps, pairs = [], paired(noisy, trusted)
    model.train()
    for _ in range(epochs):
        for number, (batch, judge) in enumerate(pairs):
            if number % group == 0:
                optimizer.zero_grad()
            pair = (batch["image"], batch["label"]), (judge["image"], judge["label"])
            with around():
                step = reweighter(*pair, ids=batch["id"])
            (step.loss / group).backward()
            if (number + 1) % group == 0 or number + 1 == len(pairs):
                optimizer.step()
            steps.append(step)
    return model, steps, reweighter


def assert_same(engine: ReweightedTrainer, expected: tuple[nn.Module, list[Any], Any]) -> None:
    model, steps, reweighter = expected
    assert len(engine.seen) == len(steps) > 0
    for found, step in zip(engine.seen, steps, strict=True):
        assert torch.equal(found.weights, step.weights)
        assert torch.equal(found.loss, step.loss.detach())
    for left, right in zip(parameters_of(engine.network), parameters_of(model), strict=True):
        assert torch.equal(left, right)
    if isinstance(reweighter.weighting, SampleWeights):
        assert torch.equal(engine.reweighter.weighting.remembered, reweighter.weighting.remembered)
