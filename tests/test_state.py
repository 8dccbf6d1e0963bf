"""A run that resumes from a checkpoint is, bit for bit, one that never stopped."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchopt
from torch import Tensor, nn
from torch.nn import functional as F

from reweight import (
    GradientSimilarity,
    KeepAll,
    LastLayerGradient,
    LossMagnitude,
    MetaReweighter,
    RandomWeights,
    Rectify,
    Scorer,
    TopK,
    Uniform,
)
from tests.device import near, random_state, set_random_state

STEPS, STOP = 6, 3


class RunningMean(Scorer):
    """A user's scorer that keeps a number: how far a loss is below the mean of all before."""

    def __init__(self):
        self.mean, self.count = torch.tensor(0.0), 0

    def __call__(self, context):
        losses = context.losses
        self.count += 1
        self.mean = self.mean + (losses.mean() - self.mean) / self.count
        return (2 * self.mean - losses).clamp(min=0)

    def state_dict(self):
        return {"mean": self.mean, "count": self.count}

    def load_state_dict(self, state):
        self.mean, self.count = state["mean"], state["count"]


class Alternating:
    """A user's callable that inherits nothing, and scores every other time the other way round."""

    def __init__(self):
        self.sign = 1

    def __call__(self, context):
        self.sign = -self.sign
        return self.sign * (context.losses - context.losses.mean())

    def state_dict(self):
        return {"sign": self.sign}

    def load_state_dict(self, state):
        self.sign = state["sign"]


class Network(nn.Module):
    """A user's scorer that is a module, and so has a state already."""

    def __init__(self):
        super().__init__()
        self.register_buffer("scale", torch.tensor(0.5))

    def forward(self, context):
        self.scale.mul_(1.3)
        return torch.sigmoid(self.scale * context.losses)


class Decaying:
    """A selector that cuts off more from call to call."""

    def __init__(self):
        self.threshold = 0.01

    def __call__(self, weights):
        self.threshold *= 1.5
        return torch.where(weights > self.threshold, weights, 0.0)

    def state_dict(self):
        return {"threshold": self.threshold}

    def load_state_dict(self, state):
        self.threshold = state["threshold"]


SCORERS: dict[str, Callable[[torch.optim.Optimizer], Any]] = {
    "default": lambda _: None,
    "similarity": lambda _: GradientSimilarity(),
    "double_backward": lambda _: GradientSimilarity("double_backward"),
    "finite_difference": lambda _: GradientSimilarity("finite_difference"),
    "unrolled": lambda _: GradientSimilarity("unrolled"),
    "two_inner_steps": lambda _: GradientSimilarity(
        "unrolled", lookahead=torchopt.sgd(0.1, momentum=0.9), inner_steps=2
    ),
    "restricted": lambda _: GradientSimilarity(parameters="head.*"),
    "torchopt_adam": lambda _: GradientSimilarity(lookahead=torchopt.adam(0.1, eps_root=1e-8)),
    "live_optimizer": lambda optimizer: GradientSimilarity(lookahead=optimizer),
    "renewed": lambda _: GradientSimilarity(renew_every=4),
    "renewed_and_due": lambda _: GradientSimilarity(renew_every=3),
    "averaged": lambda _: GradientSimilarity(averaging=0.5),
    "renewed_and_averaged": lambda _: GradientSimilarity(renew_every=2, averaging=0.7),
    "two_that_are_renewed": lambda _: (
        GradientSimilarity(renew_every=2) + 0.3 * GradientSimilarity(renew_every=5)
    ),
    "last_layer": lambda _: LastLayerGradient(),
    "loss": lambda _: LossMagnitude(),
    "uniform": lambda _: Uniform(),
    "random": lambda _: RandomWeights(5),
    "random_mixture": lambda _: 0.4 * RandomWeights(5) + 0.6 * GradientSimilarity(renew_every=4),
    "user_scorer": lambda _: RunningMean(),
    "user_callable": lambda _: Alternating(),
    "user_module": lambda _: Network(),
    "user_function": lambda _: lambda context: 1 / (1 + context.losses),
    "user_mixture": lambda _: RunningMean() + Uniform() + RandomWeights(1),
}
SELECTORS: dict[str, Callable[[], Any]] = {
    "keep_all": KeepAll,
    "rectify": Rectify,
    "top_k": lambda: TopK(0.5),
    "function": lambda: lambda weights: weights * (weights > 0.05),
    "with_a_state": Decaying,
}


class Net(nn.Module):
    """Dropout, running statistics, and a map of losses if asked for."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(6, 12), nn.BatchNorm1d(12), nn.Tanh(), nn.Dropout(0.3))
        self.head = nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


def squared(output: Tensor, target: Tensor) -> Tensor:
    return F.mse_loss(output, target, reduction="none")


def batch(number: int, size: int) -> tuple[Tensor, Tensor]:
    stream = torch.Generator(torch.get_default_device()).manual_seed(100 * size + number)
    return torch.randn(size, 6, generator=stream), torch.randn(size, 4, generator=stream)


class Run:
    """A training run, built anew from the same settings wherever it goes on."""

    def __init__(
        self, scorer: Any, selector: Any = KeepAll, model: Any = Net, **options: Any
    ) -> None:
        torch.manual_seed(0)
        self.model = model()
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=0.01)
        self.reweighter = MetaReweighter(
            self.model, squared, scorer=scorer(self.optimizer), selector=selector(), **options
        )

    def train(self, first: int, last: int) -> list[Tensor]:
        """Return all weights and losses of the steps from ``first`` on."""
        seen: list[Tensor] = []
        for number in range(first, last):
            self.optimizer.zero_grad()
            step = self.reweighter(batch(number, 8), batch(number, 5))
            step.loss.backward()
            self.optimizer.step()
            seen += [step.weights, step.losses, *step.scores.values()]
        return seen

    def parts(self) -> list[Any]:
        return [self.model, self.optimizer, self.reweighter]

    def save(self) -> bytes:
        stream = io.BytesIO()
        states = [part.state_dict() for part in self.parts()]
        torch.save({"parts": states, "random": random_state()}, stream)
        return stream.getvalue()

    def load(self, saved: bytes) -> None:
        state = torch.load(io.BytesIO(saved), weights_only=True)
        for part, own in zip(self.parts(), state["parts"], strict=True):
            part.load_state_dict(own)
        set_random_state(state["random"])

    def tensors(self) -> list[Tensor]:
        return list(self.model.state_dict().values())


def assert_resumes(*args: Any, **options: Any) -> None:
    without = Run(*args, **options)
    expected = without.train(0, STEPS)
    before = Run(*args, **options)
    first = before.train(0, STOP)
    saved = before.save()
    before.train(STOP, STEPS)  # what was saved does not change any more
    after = Run(*args, **options)
    after.load(saved)
    found = first + after.train(STOP, STEPS)
    assert all(map(near, found, expected))
    assert all(map(near, after.tensors(), without.tensors()))


@pytest.mark.parametrize("granularity", ["sample", "element"])
@pytest.mark.parametrize("scorer", SCORERS)
def test_every_scorer_resumes(scorer, granularity):
    assert_resumes(SCORERS[scorer], granularity=granularity)


@pytest.mark.parametrize("selector", SELECTORS)
@pytest.mark.parametrize("scorer", ["default", "renewed", "random"])
def test_every_selector_resumes(selector, scorer):
    assert_resumes(SCORERS[scorer], SELECTORS[selector])


@pytest.mark.parametrize(
    "options",
    [{"trusted_coefficient": 0.5}, {"on_empty": "uniform"}, {"on_nonfinite": "drop"}],
    ids=lambda options: next(iter(options)),
)
@pytest.mark.parametrize("scorer", ["default", "renewed_and_averaged", "live_optimizer"])
def test_every_setting_resumes(scorer, options):
    assert_resumes(SCORERS[scorer], **options)


@pytest.mark.parametrize(
    "scorer",
    [
        "renewed",
        "averaged",
        "random",
        "user_scorer",
        "user_callable",
        "user_module",
        "two_that_are_renewed",
    ],
)
def test_without_the_state_it_would_not(scorer):
    """So that the tests above could fail."""
    expected = Run(SCORERS[scorer]).train(0, STEPS)
    before = Run(SCORERS[scorer])
    before.train(0, STOP)
    after = Run(SCORERS[scorer])
    fresh = after.reweighter.state_dict()
    after.load(before.save())
    after.reweighter.load_state_dict(fresh)
    found = after.train(STOP, STEPS)
    assert not all(map(near, found, expected[-len(found) :]))


class NoForwardRule(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.square()

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return 2 * x * gradient


class Custom(Net):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(NoForwardRule.apply(self.body[0](x))[:, :6])


@pytest.mark.filterwarnings("ignore:.*has no forward-mode derivative")
@pytest.mark.parametrize("scorer", ["default", "renewed"])
def test_what_was_found_out_about_the_model_is_kept(scorer):
    assert_resumes(SCORERS[scorer], model=Custom)


def test_a_fallback_once_warned_of_is_not_warned_of_again(recwarn):
    before = Run(SCORERS["similarity"], model=Custom)
    before.train(0, STOP)
    assert len(recwarn) == 1
    after = Run(SCORERS["similarity"], model=Custom)
    after.load(before.save())
    after.train(STOP, STEPS)
    assert len(recwarn) == 1


# What is saved -----------------------------------------------------------------------------------


def test_the_state_names_what_takes_part():
    run = Run(SCORERS["user_mixture"], Decaying)
    state = run.reweighter.state_dict()
    assert set(state) == {"version", "objective", "scorers", "selector"}
    assert state["version"] == 1
    assert {"running_mean", "random_weights"} <= set(state["scorers"])
    assert "uniform" not in state["scorers"]
    assert "selector" not in Run(SCORERS["uniform"]).reweighter.state_dict()


def test_a_state_in_memory_does_not_change_as_the_run_goes_on():
    run = Run(SCORERS["renewed"])
    run.train(0, 1)
    state = run.reweighter.state_dict()
    kept = copy.deepcopy(state["scorers"]["gradient_similarity"]["held"])
    run.train(1, STEPS)
    now = state["scorers"]["gradient_similarity"]["held"]
    assert now["uses"] == kept["uses"]
    assert all(torch.equal(now["gradient"][name], g) for name, g in kept["gradient"].items())


def test_a_restricted_held_gradient_goes_to_the_parameters_it_is_of():
    assert_resumes(lambda _: GradientSimilarity(parameters="head.*", renew_every=4))


# What is refused ---------------------------------------------------------------------------------


def changed(state: dict[str, Any], **entries: Any) -> dict[str, Any]:
    return {**state, **entries}


def without(state: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in state.items() if name != key}


def with_a_gradient(state: dict[str, Any], gradient: Any) -> dict[str, Any]:
    held = {"gradient": gradient, "uses": 1, "period": 1}
    own = {**state["scorers"]["gradient_similarity"], "held": held}
    return changed(state, scorers={**state["scorers"], "gradient_similarity": own})


BAD: dict[str, tuple[Callable[[dict[str, Any]], Any], type[Exception], str]] = {
    "no dictionary": (lambda _: [1], TypeError, "got list"),
    "another version": (lambda s: changed(s, version=99), ValueError, "version 99"),
    "no version": (lambda s: without(s, "version"), ValueError, "no version"),
    "the model's": (lambda _: {"head.bias": torch.zeros(4)}, ValueError, "no version"),
    "no scorers": (lambda s: without(s, "scorers"), ValueError, "no scorers"),
    "no objective": (lambda s: without(s, "objective"), ValueError, "no objective"),
    "an empty objective": (lambda s: changed(s, objective={}), ValueError, "objective"),
    "a scorer less": (
        lambda s: changed(s, scorers=without(s["scorers"], "random_weights")),
        ValueError,
        "other scorers.*random_weights",
    ),
    "a scorer more": (
        lambda s: changed(s, scorers={**s["scorers"], "mine": {}}),
        ValueError,
        "other scorers.*mine",
    ),
    "a selector": (lambda s: changed(s, selector={}), ValueError, "with a selector that keeps"),
    "another shape": (
        lambda s: with_a_gradient(s, {"head.weight": torch.ones(2, 2)}),
        ValueError,
        "another model.*head.weight",
    ),
    "another name": (
        lambda s: with_a_gradient(s, {"tail": torch.ones(4)}),
        ValueError,
        "another model.*tail",
    ),
    "no tensors": (lambda s: with_a_gradient(s, {"head.bias": 3}), ValueError, "held trusted"),
    "no generator": (
        lambda s: changed(s, scorers={**s["scorers"], "random_weights": {}}),
        ValueError,
        "RandomWeights",
    ),
    "half a generator": (
        lambda s: changed(
            s, scorers={**s["scorers"], "random_weights": {"generator": torch.zeros(3).byte()}}
        ),
        ValueError,
        "RandomWeights",
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_does_not_fit_is_refused_and_changes_nothing(kind):
    make, error, words = BAD[kind]
    expected = Run(SCORERS["random_mixture"]).train(0, STEPS)
    run = Run(SCORERS["random_mixture"])
    first = run.train(0, STOP)
    bad = make(copy.deepcopy(run.reweighter.state_dict()))
    with pytest.raises(error, match=words):
        run.reweighter.load_state_dict(bad)
    assert all(map(near, first + run.train(STOP, STEPS), expected))


def test_a_selector_that_finds_no_state():
    state = Run(SCORERS["uniform"]).reweighter.state_dict()
    with pytest.raises(ValueError, match="this selector keeps a state"):
        Run(SCORERS["uniform"], Decaying).reweighter.load_state_dict(state)


class Stubborn(RunningMean):
    name = "zz_last"

    def load_state_dict(self, state):
        if state["count"] == 13:
            raise KeyError("thirteen")
        super().load_state_dict(state)


def test_what_a_scorer_of_ones_own_raises_undoes_the_others():
    def scorer(_):
        return RandomWeights(3) + Stubborn()

    run = Run(scorer)
    run.train(0, 1)
    state = copy.deepcopy(run.reweighter.state_dict())
    run.train(1, 2)
    before = copy.deepcopy(run.reweighter.state_dict())
    state["scorers"]["zz_last"]["count"] = 13
    with pytest.raises(KeyError, match="thirteen"):
        run.reweighter.load_state_dict(state)
    after = run.reweighter.state_dict()
    for name, own in before["scorers"].items():
        for key, value in own.items():
            now = after["scorers"][name][key]
            assert torch.equal(now, value) if torch.is_tensor(value) else now == value


def test_a_scorer_whose_own_state_is_loaded_goes_on_with_the_model_it_meets_next():
    """As a retry does it, which puts back what a scorer had before."""
    # By its name: which way is next in turn is not the scorer's to know.
    run = Run(lambda _: GradientSimilarity("forward", renew_every=2, averaging=0.7))
    run.train(0, STOP)
    (scorer,) = run.reweighter.scorer.scorers
    kept, random = copy.deepcopy([p.state_dict() for p in run.parts()]), random_state()
    expected = run.train(STOP, STEPS)
    run.model.load_state_dict(kept[0])
    run.optimizer.load_state_dict(kept[1])
    scorer.load_state_dict(kept[2]["scorers"]["gradient_similarity"])
    set_random_state(random)
    assert all(map(near, run.train(STOP, STEPS), expected))


# Copies ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda weigh: pickle.loads(pickle.dumps(weigh))], ids=["copy", "dump"]
)
@pytest.mark.parametrize("scorer", ["default", "renewed_and_averaged", "random", "user_scorer"])
def test_a_copy_goes_on_as_the_original_does(scorer, copied):
    run = Run(SCORERS[scorer])
    run.train(0, STOP)
    twin = Run(SCORERS[scorer])
    twin.reweighter = copied(run.reweighter)
    assert twin.reweighter.model is not run.model
    twin.model = twin.reweighter.model
    twin.optimizer = torch.optim.Adam(twin.model.parameters(), lr=0.01)
    twin.optimizer.load_state_dict(copy.deepcopy(run.optimizer.state_dict()))
    random = random_state()
    expected = run.train(STOP, STEPS)
    set_random_state(random)
    assert all(map(near, twin.train(STOP, STEPS), expected))


def test_a_copy_looks_ahead_with_a_copy_of_the_optimizer():
    run = Run(SCORERS["live_optimizer"])
    run.train(0, STOP)
    twin = copy.deepcopy(run.reweighter)
    scorer, *_ = twin.scorer.scorers
    inside = scorer.lookahead.optimizer
    assert inside is not run.optimizer
    held = {id(p) for group in inside.param_groups for p in group["params"]}
    assert held == {id(p) for p in twin.model.parameters()}
