"""What a step says of itself to a logger."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from reweight import GradientSimilarity, LossMagnitude, MetaReweighter, Rectify, TopK, Uniform
from tests.problems import PROBLEMS, mlp


def step_of(name: str = "mlp", **options: Any):
    case = PROBLEMS[name]()
    options.setdefault("scorer", 0.5 * GradientSimilarity() + 0.5 * Uniform())
    return MetaReweighter(case.model, case.loss, **options)(case.noisy, case.trusted)


def by_a_loop(step: Any) -> dict[str, float]:
    """The same numbers, one loss after another."""
    losses, weights = step.losses.flatten().tolist(), step.weights.flatten().tolist()
    counted = [True] * len(losses) if step.counted is None else step.counted.flatten().tolist()
    rows = [i for i, loss in enumerate(losses) if counted[i] and not math.isnan(loss)]
    total = sum(weights)
    found = {
        "loss": step.loss.item(),
        "noisy_loss": sum(losses[i] for i in rows) / len(rows),
        "kept": sum(weights[i] > 0 for i in rows) / len(rows),
        "effective_sample_size": total**2 / sum(w * w for w in weights) / len(rows),
        "largest_weight": max(weights) * len(rows) / total,
        "dropped": float(len(step.dropped)),
    }
    if step.trusted_loss is not None:
        found["trusted_loss"] = step.trusted_loss.item()
    for name, scores in step.scores.items():
        values = scores.flatten().tolist()
        found[f"score/{name}/mean"] = sum(values[i] for i in rows) / len(rows)
        found[f"score/{name}/negative"] = sum(values[i] < 0 for i in rows) / len(rows)
    return {f"reweight/{name}": value for name, value in found.items()}


OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "trusted_term": {"trusted_coefficient": 1.0},
    "rectified": {"selector": Rectify()},
    "uniform": {"scorer": Uniform(), "trusted_coefficient": 0.0},
    "one_kept": {"selector": TopK(1)},
}


@pytest.mark.parametrize("granularity", ["sample", "element"])
@pytest.mark.parametrize("options", OPTIONS)
def test_its_numbers_are_those_of_a_loop(options, granularity):
    step = step_of("voxel_map", granularity=granularity, **OPTIONS[options])
    found = step.summary()
    assert all(type(value) is float for value in found.values())
    assert found == pytest.approx(by_a_loop(step), rel=1e-12)


def test_it_agrees_with_the_properties():
    step = step_of(selector=Rectify())
    found = step.summary("")
    assert found["kept"] * len(step.losses) == pytest.approx(step.kept)
    share = found["effective_sample_size"] * len(step.losses)
    assert share == pytest.approx(step.effective_sample_size)


def test_equal_weights_are_one():
    found = step_of(scorer=Uniform()).summary("")
    names = ("kept", "effective_sample_size", "largest_weight")
    assert [found[name] for name in names] == pytest.approx([1.0] * 3)
    assert "trusted_loss" not in found


def test_ignored_and_dropped_samples_have_no_share():
    case = mlp()
    x, y = case.noisy
    x, y = x.clone(), y.clone()
    x[1], y[0] = float("nan"), -100
    weigh = MetaReweighter(
        case.model, case.loss, scorer=LossMagnitude(), on_nonfinite="drop", selector=TopK(2)
    )
    step = weigh((x, y), case.trusted)
    found = step.summary()
    assert found == pytest.approx(by_a_loop(step), rel=1e-12)
    assert found["reweight/dropped"] == 1.0
    assert found["reweight/kept"] == pytest.approx(2 / (len(y) - 2))


def test_a_step_that_keeps_none_says_so():
    step = step_of(scorer=lambda context: -context.losses)
    found = step.summary("")
    assert step.kept == 0
    names = ("loss", "kept", "effective_sample_size", "largest_weight")
    assert [found[name] for name in names] == [0.0] * 4


def test_a_step_of_nothing_has_no_mean():
    case = mlp()
    weigh = MetaReweighter(case.model, case.loss, on_nonfinite="drop")
    found = weigh((torch.full_like(case.noisy[0], math.nan), case.noisy[1]), case.trusted).summary()
    assert math.isnan(found["reweight/noisy_loss"])
    assert found["reweight/dropped"] == len(case.noisy[1])


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_no_sum_vanishes_or_overflows(scale):
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    weigh = MetaReweighter(
        model,
        forward=lambda model, batch: scale * model(batch).square().sum(1),
        scorer=lambda context: context.losses,
    )
    found = weigh(torch.randn(5, 3), None).summary("")
    assert all(map(math.isfinite, found.values()))
    assert 1 < found["largest_weight"] < 5


def test_the_prefix_can_be_chosen():
    assert all(name.startswith("train/") for name in step_of().summary("train/"))


class Waits(TorchDispatchMode):
    """Counts what an accelerator would have to be waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        name = str(function)
        if any(word in name for word in ("_local_scalar", "nonzero", "masked_select", "item")):
            self.found.append(name)
        if function is torch.ops.aten.index.Tensor:
            self.found += [name for index in arguments[1] if index.dtype == torch.bool]
        return function(*arguments, **(options or {}))


def test_it_waits_for_the_device_once(monkeypatch):
    step = step_of("voxel_map", trusted_coefficient=1.0)
    lists: set[int] = set()  # a mode, such as a default device's, hands a call on to itself
    to_list = Tensor.tolist
    monkeypatch.setattr(Tensor, "tolist", lambda self: lists.add(id(self)) or to_list(self))
    with Waits() as waits:
        step.summary()
    assert waits.found == []
    assert len(lists) == 1
    with Waits() as waits:  # so that the test could fail
        float(step.losses[0])
        bool(step.weights.any())
        step.losses[step.losses > 0]
    assert len(waits.found) == 3
