"""accelerate trains as the plain loop does, to the bit, and what can go wrong is mended."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from reweight import (
    GradientSimilarity,
    LastLayerGradient,
    MetaReweighter,
    SampleWeights,
    paired,
)
from reweight.step import ReweightedStep
from tests.integrations import accelerate_ranks as ranks
from tests.integrations.every_third import EveryThird

accelerate = pytest.importorskip("accelerate", reason="accelerate is in the extra accelerate")
integration = pytest.importorskip("reweight.integrations.accelerate")

COUNT = 24


def afresh_now() -> None:
    """What a new process would find: accelerate keeps its state for the whole of one."""
    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)
    accelerate.state.GradientState._reset_state()


@pytest.fixture(autouse=True)
def afresh():
    afresh_now()
    yield
    afresh_now()


def network() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01)


def options(**given: Any) -> dict[str, Any]:
    # One way to take derivatives: the clock would choose one, and they differ by rounding.
    scorer = GradientSimilarity("forward") / LastLayerGradient()
    weighting = SampleWeights(COUNT)
    return {"scorer": scorer, "weighting": weighting, "trusted_coefficient": 0.1, **given}


def loaders(shuffle: bool = False) -> tuple[DataLoader[Any], DataLoader[Any]]:
    random = torch.Generator().manual_seed(7)
    x = torch.randn(COUNT + 6, 5, generator=random)
    y = torch.randint(3, (COUNT + 6,), generator=random)
    noisy = TensorDataset(x[:COUNT], y[:COUNT], torch.arange(COUNT))
    trusted = TensorDataset(x[COUNT:], y[COUNT:])
    return DataLoader(noisy, 5, shuffle=shuffle), DataLoader(trusted, 4, shuffle=shuffle)


LOSS = nn.CrossEntropyLoss(reduction="none")


class Run:
    """A training run with accelerate, and what it went through."""

    def __init__(self, accumulate: int = 1, shuffle: bool = False, **given: Any) -> None:
        precision = given.pop("mixed_precision", "no")
        self.accelerator = accelerate.Accelerator(
            cpu=True, gradient_accumulation_steps=accumulate, mixed_precision=precision
        )
        model = network()
        given = given if "lookahead" in given else options(**given)
        prepared = integration.prepare(
            self.accelerator, model, sgd(model), *loaders(shuffle), LOSS, **given
        )
        self.model, self.optimizer, self.batches, self.reweighter = prepared
        self.steps: list[ReweightedStep] = []
        self.moved: list[bool] = []
        self.ids: list[list[int]] = []
        self.trusted: list[float] = []

    def epoch(self, most: int = 100) -> None:
        for number, ((x, y, ids), trusted) in enumerate(self.batches, start=1):
            with self.accelerator.accumulate(self.model):
                step = self.reweighter((x, y), trusted, ids=ids)
                self.accelerator.backward(step.loss)
                self.optimizer.step()
                self.optimizer.zero_grad()
            self.steps.append(step)
            self.ids.append(ids.tolist())
            self.trusted.append(float(trusted[0].sum()))
            self.moved.append(self.accelerator.sync_gradients)
            if number == most:
                break


def plain(
    epochs: int, accumulate: int = 1, shuffle: bool = False, autocast: bool = False, **given: Any
) -> tuple[nn.Module, list[ReweightedStep]]:
    """The loop with the library alone; an optimiser that has nothing to learn from rests."""
    model = network()
    optimizer = sgd(model)
    if given.pop("lookahead", False):
        given["scorer"] = GradientSimilarity(lookahead=optimizer) / LastLayerGradient()
    else:
        given = options(**given)
    reweighter = MetaReweighter(model, LOSS, **given)
    batches = paired(*loaders(shuffle))
    steps: list[ReweightedStep] = []
    for _ in range(epochs):
        for number, ((x, y, ids), trusted) in enumerate(batches, start=1):
            with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
                steps.append(reweighter((x, y), trusted, ids=ids))
            (steps[-1].loss / accumulate).backward()
            if number % accumulate == 0 or number == len(batches):
                if any(p.grad.any() for p in model.parameters() if p.grad is not None):
                    optimizer.step()
                optimizer.zero_grad()
    return model, steps


def same(run: Run, model: nn.Module, steps: list[ReweightedStep]) -> None:
    assert len(run.steps) == len(steps) > 0
    for step, other in zip(run.steps, steps, strict=True):
        assert torch.equal(step.weights, other.weights)
    mine = run.accelerator.unwrap_model(run.model).state_dict()
    for name, value in model.state_dict().items():
        assert torch.equal(mine[name], value), name


@pytest.mark.parametrize("shuffle", [False, True])
def test_weights_and_parameters_are_those_of_the_plain_loop(shuffle):
    run = Run(shuffle=shuffle)
    torch.manual_seed(5)
    run.epoch()
    run.epoch()
    torch.manual_seed(5)
    same(run, *plain(2, shuffle=shuffle))


@pytest.mark.compatibility(
    "framework", "accelerate, prepare(), accumulated gradients", "as the plain loop"
)
def test_accumulation_ends_with_the_noisy_loader_and_not_with_the_trusted_one():
    """Of 5 noisy batches; the trusted loader ends after every second."""
    run = Run(accumulate=3)
    run.epoch()
    run.epoch()
    assert run.moved == 2 * [False, False, True, False, True]
    same(run, *plain(2, accumulate=3))


def test_bf16_is_the_plain_loop_under_autocast():
    run = Run(mixed_precision="bf16")
    run.epoch()
    model, steps = plain(1, autocast=True)
    for step, other in zip(run.steps, steps, strict=True):
        torch.testing.assert_close(step.weights, other.weights, rtol=1e-4, atol=1e-5)
    for mine, value in zip(run.model.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(mine, value, rtol=1e-3, atol=1e-4)
    assert not torch.equal(run.model[0].weight, plain(1)[0][0].weight)


@pytest.mark.usefixtures("one_way")
def test_the_prepared_optimiser_may_be_the_lookahead():
    run = Run(lookahead=True)
    run.epoch()
    same(run, *plain(1, lookahead=True))
    assert not torch.equal(run.steps[2].weights, plain(1)[1][2].weights)


def test_a_scorer_beside_a_lookahead_is_refused():
    model = network()
    with pytest.raises(TypeError, match="prepare first"):
        integration.prepare(
            accelerate.Accelerator(cpu=True), model, sgd(model), *loaders(), LOSS,
            lookahead=True, scorer=GradientSimilarity(),
        )  # fmt: skip


def test_where_nothing_is_kept_no_parameter_moves():
    run = Run(accumulate=2, selector=torch.zeros_like, trusted_coefficient=0.0)
    run.epoch()
    assert all(step.kept == 0 for step in run.steps)
    for mine, before in zip(run.model.parameters(), network().parameters(), strict=True):
        assert torch.equal(mine, before)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_steps_without_a_kept_sample_between_others_are_those_of_the_plain_loop(accumulate):
    run = Run(accumulate, selector=EveryThird(), trusted_coefficient=0.0)
    run.epoch()
    run.epoch()
    twin = plain(2, accumulate, selector=EveryThird(), trusted_coefficient=0.0)
    assert [step.kept for step in run.steps].count(0) == 7
    same(run, *twin)


@pytest.mark.parametrize("stop", [3, 5], ids=["in the middle of an epoch", "at its end"])
def test_a_run_resumed_from_a_checkpoint_is_the_one_that_never_stopped(tmp_path, stop):
    whole = Run(shuffle=True)
    torch.manual_seed(5)
    for _ in range(3):
        whole.epoch()
    afresh_now()
    stopped = Run(shuffle=True)
    torch.manual_seed(5)
    stopped.epoch()
    stopped.epoch(stop if stop < 5 else 100)
    stopped.accelerator.save_state(tmp_path)
    afresh_now()
    torch.manual_seed(99)
    resumed = Run(shuffle=True)
    resumed.accelerator.load_state(tmp_path)
    resumed.epoch()
    if stop < 5:
        resumed.epoch()
    assert len(stopped.steps) + len(resumed.steps) == len(whole.steps)
    for step, other in zip(resumed.steps, whole.steps[len(stopped.steps) :], strict=True):
        assert torch.equal(step.weights, other.weights)
    for mine, other in zip(resumed.model.parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(mine, other)
    remembered = (run.reweighter.weighting.state_dict() for run in (resumed, whole))
    torch.testing.assert_close(*remembered, rtol=0, atol=0)


@pytest.mark.compatibility("framework", "accelerate, prepare(), two ranks", "as the plain loop")
def test_two_ranks_divide_the_samples_and_resume_where_they_stood(two_ranks, tmp_path):
    first, second = two_ranks(ranks.trained, str(tmp_path / "state"), 1, 1)
    for found in (first, second):
        assert (found["count"], found["wrapped"]) == (2, "DistributedDataParallel")
        assert found["resumed"] == found["whole"] == first["whole"]
        assert found["stopped"] != found["whole"]
        for what in ("steps", "ids", "trusted"):
            assert found[f"stopped {what}"] + found[f"resumed {what}"] == found[f"whole {what}"]
    epoch = len(first["whole ids"]) // 2
    ids = [i for found in (first, second) for batch in found["whole ids"][:epoch] for i in batch]
    assert set(ids) == set(range(COUNT))
    assert len(ids) <= COUNT + 6  # the last batch is filled up, so that both have as many
    assert first["whole trusted"] != second["whole trusted"]
