"""A default device other than the data's changes no number, whatever is learnt or remembered."""

from __future__ import annotations

import contextlib
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from reweight import (
    GradientSimilarity,
    GroupWeights,
    LastLayerGradient,
    LossMagnitude,
    MendedLabels,
    MetaReweighter,
    RandomWeights,
    SampleWeights,
    SoftLabels,
    TrainingDynamics,
    WeightNet,
)
from tests import problems

IDS, GROUPS = [3, 0, 4, 3, 1], [0, 1, 1, 0, 2]  # as a user may give them: lists are on no device
CE = nn.CrossEntropyLoss(reduction="none")


def apart(losses: Tensor) -> Tensor:
    """The same, so that the graph does not prove the samples apart: codes have to be drawn."""
    return losses.flip(0).flip(0)


def samples(model: nn.Module, batch: Any) -> Tensor:
    return apart(CE(model(batch[0]), batch[1]))


def elements(model: nn.Module, batch: Any) -> Tensor:
    return apart((model(batch[0]) - 0.1 * batch[1].unsqueeze(1)).square())


def net(**options: Any) -> WeightNet:
    return WeightNet(num_samples=5, num_classes=problems.CLASSES, num_groups=3, **options)


FEATURES = ["loss", "margin", "remembered_loss", "remembered_margin", "class", "group"]
OPTIONS: dict[str, dict[str, Any]] = {
    "default": {},
    "forward mode": {"scorer": lambda: GradientSimilarity("forward")},
    "a backward pass a sample": {"scorer": lambda: GradientSimilarity("per_sample")},
    "products of layers": {"scorer": lambda: GradientSimilarity("layer_products")},
    "fast": {"scorer": GradientSimilarity.fast},
    "renewed when due": {"scorer": lambda: GradientSimilarity(renew_every=2, averaging=0.5)},
    "mixture": {"scorer": lambda: RandomWeights() + LossMagnitude() + GradientSimilarity()},
    "codes": {"forward": lambda: samples, "scorer": LastLayerGradient},
    "codes of elements": {
        "forward": lambda: elements,
        "scorer": LastLayerGradient,
        "granularity": lambda: "element",
    },
    "elements": {"forward": lambda: elements, "granularity": lambda: "element"},
    "weights of samples": {"weighting": lambda: SampleWeights(5, prior=0.5)},
    "weights of groups": {"weighting": lambda: GroupWeights(3) + SampleWeights(5)},
    "weights by a net": {"weighting": lambda: net(features=FEATURES)},
    "mended labels": {"labels": lambda: MendedLabels(5, problems.CLASSES)},
    "soft labels": {"labels": lambda: SoftLabels(5, problems.CLASSES)},
    "scores of labels": {"label_scores": lambda: True},
    "dynamics": {"dynamics": lambda: TrainingDynamics(5)},
    "a trusted term": {"trusted_coefficient": lambda: 0.5},
    "uniform where empty": {"on_empty": lambda: "uniform"},
}


def run(option: str, default: torch.device | None, *, spoilt: bool) -> list[Tensor]:
    """What steps, a score and a check give, and what is saved and loaded between the steps."""
    case, options = problems.mlp(), OPTIONS[option]
    if spoilt:
        case.noisy[0][1] = torch.nan
    optimizer = torch.optim.SGD(case.model.parameters(), lr=0.1)
    rows = {"ids": IDS, "groups": GROUPS}

    def make() -> MetaReweighter:
        given = {name: value() for name, value in options.items()}
        if "forward" not in given:
            given["loss"] = CE
        policy = "drop" if spoilt else "raise"
        return MetaReweighter(case.model, on_nonfinite=policy, **given)

    torch.manual_seed(3)
    found: list[Any] = []
    with contextlib.nullcontext() if default is None else default:
        weigh = make()
        for number in range(6):
            if number == 4:
                state = pickle.dumps(weigh.state_dict())
                weigh = make()
                weigh.load_state_dict(pickle.loads(state))
            step = weigh(case.noisy, case.trusted, **rows)
            optimizer.zero_grad()
            step.loss.backward()
            optimizer.step()
            found += [step.loss, step.losses, step.weights, step.scores, step.label_scores]
            assert step.weights.device == step.losses.device == case.noisy[0].device
        found.append(weigh.score(case.noisy, case.trusted, **rows).weights)
        if not spoilt:
            report = weigh.check(case.noisy, case.trusted)
            found += [
                torch.tensor(-1.0 if row.error is None else row.error, device="cpu")
                for row in report.scorers
            ]
    state = weigh.state_dict()
    del state["objective"]["timings"]  # by the clock
    return [*tensors_in(found), *tensors_in(state), *case.model.parameters()]


def tensors_in(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    if not isinstance(value, list | tuple):
        return []
    return [tensor for each in value for tensor in tensors_in(each)]


@pytest.mark.usefixtures("one_way")
@pytest.mark.parametrize("spoilt", [False, True], ids=["finite", "drop"])
@pytest.mark.parametrize("option", OPTIONS)
def test_what_is_made_on_no_device_in_particular_is_not_on_the_default_one(option, spoilt):
    """On ``meta`` nothing is computed, and what lies there cannot meet the data."""
    with torch.device("cpu"):
        here = run(option, None, spoilt=spoilt)
        there = run(option, torch.device("meta"), spoilt=spoilt)
    assert len(here) == len(there)
    for one, other in zip(there, here, strict=True):
        assert one.device == other.device
        assert one.dtype == other.dtype
        torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)
