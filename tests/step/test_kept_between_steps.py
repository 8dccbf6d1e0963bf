"""What is kept from one step to the next, to look at less, is noticed to be out of date."""

from __future__ import annotations

import copy
import types
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from reweight import (
    GradientSimilarity,
    LastLayerGradient,
    MetaReweighter,
    NonFiniteError,
    RandomWeights,
    WeightNet,
)
from tests.device import near

CE = nn.CrossEntropyLoss(reduction="none")
STEPS = 4
_ZEROS = {"allow_unused": True, "materialize_grads": True}


def batch(seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator("cpu").manual_seed(seed)
    x = torch.randn(6, 4, generator=generator, device="cpu", dtype=torch.float64)
    y = torch.randint(0, 3, (6,), generator=generator, device="cpu")
    return x.to(torch.get_default_device()), y.to(torch.get_default_device())


class TwoHeads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(4, 5)
        self.heads = nn.ModuleList([nn.Linear(5, 3), nn.Linear(5, 3)])
        self.which = 0
        self.scale = torch.ones((), dtype=torch.float64)

    def forward(self, x: Tensor) -> Tensor:
        h = self.body(x).tanh() * self.scale
        other = self.heads[1 - self.which](h)  # is run, and is not last
        return self.heads[self.which](h) + 0 * other


def two_heads() -> TwoHeads:
    torch.manual_seed(0)
    return TwoHeads().double()


def norms(model: nn.Module, layer: nn.Module, given: tuple[Tensor, Tensor]) -> Tensor:
    losses = CE(model(given[0]), given[1])
    rows = [torch.autograd.grad(one, list(layer.parameters()), retain_graph=True) for one in losses]
    return torch.stack([torch.cat([g.flatten() for g in row]).norm() for row in rows])


def products(model: nn.Module, noisy: tuple[Tensor, Tensor], trusted: tuple[Tensor, Tensor]):
    own = [p for p in model.parameters() if p.requires_grad]
    v = torch.autograd.grad(CE(model(trusted[0]), trusted[1]).mean(), own, **_ZEROS)
    found = []
    for one in CE(model(noisy[0]), noisy[1]):
        each = torch.autograd.grad(one, own, retain_graph=True, **_ZEROS)
        found.append(sum((a * b).sum() for a, b in zip(each, v, strict=True)))
    return torch.stack(found).detach()


def test_another_layer_that_is_last_is_found_in_the_same_step():
    model = two_heads()
    weigh = MetaReweighter(model, CE, scorer=LastLayerGradient())
    for number in range(2 * STEPS):
        model.which = int(number >= STEPS)
        given = batch(number)
        step = weigh(given)
        layer = model.heads[model.which]
        torch.testing.assert_close(step.scores["last_layer_gradient"], norms(model, layer, given))


def freeze(model: TwoHeads) -> None:
    model.body.requires_grad_(False)


def replace(model: TwoHeads) -> None:
    model.heads[0] = nn.Linear(5, 3).double()


def replace_tensor(model: TwoHeads) -> None:
    model.scale = torch.tensor(0.25, dtype=torch.float64)


def swap_data(model: TwoHeads) -> None:
    model.body.weight.data = model.body.weight.data.clone().mul_(-2)


def another_forward(model: TwoHeads) -> None:
    def forward(self: TwoHeads, x: Tensor) -> Tensor:
        return self.heads[0](self.body(x).sigmoid())

    model.forward = types.MethodType(forward, model)  # type: ignore[method-assign]


def add_a_layer(model: TwoHeads) -> None:
    model.heads[0] = nn.Sequential(nn.Linear(5, 5), nn.Tanh(), nn.Linear(5, 3)).double()


@pytest.mark.parametrize(
    "change", [freeze, replace, replace_tensor, swap_data, another_forward, add_a_layer]
)
def test_a_model_that_changes_between_steps_is_looked_through_again(change):
    model = two_heads()
    weigh = MetaReweighter(model, CE, scorer=GradientSimilarity())
    for number in range(2 * STEPS):
        if number == STEPS:
            change(model)
        noisy, trusted = batch(number), batch(100 + number)
        step = weigh(noisy, trusted)
        torch.testing.assert_close(
            step.scores["gradient_similarity"], products(model, noisy, trusted)
        )


class Remembers(nn.Module):
    """Begins to keep something in a buffer after some steps, when a Python counter says so."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)
        self.register_buffer("mean", torch.zeros(4))
        self.begun = False

    def forward(self, x: Tensor) -> Tensor:
        if self.training and self.begun:
            self.mean.mul_(0.5).add_(x.detach().mean(dim=0))
        return self.layer(x - self.mean)


@pytest.mark.parametrize("scorer", [GradientSimilarity, LastLayerGradient])
def test_a_buffer_that_begins_to_be_written_into_moves_once_a_step(scorer):
    torch.manual_seed(0)
    model, alone = Remembers().double(), Remembers().double()
    weigh = MetaReweighter(model, CE, scorer=scorer())
    for number in range(2 * STEPS):
        model.begun = alone.begun = number >= STEPS
        noisy = batch(number)
        weigh(noisy, batch(100 + number))
        alone(noisy[0])
        assert torch.equal(model.mean, alone.mean)


def test_targets_that_begin_to_be_ignored_are_seen_in_the_same_step():
    model = two_heads()
    weigh = MetaReweighter(model, CE)
    plain = MetaReweighter(model, CE)
    for number in range(STEPS):
        weigh(batch(number), batch(100 + number))
    x, y = batch(50)
    y[2] = -100
    step, expected = weigh((x, y), batch(150)), plain((x, y), batch(150))
    assert step.counted is not None
    assert not step.counted[2]
    assert torch.equal(step.counted, expected.counted)
    torch.testing.assert_close(step.weights, expected.weights)
    for name, scores in expected.scores.items():
        torch.testing.assert_close(step.scores[name], scores)


@pytest.mark.parametrize("side", ["noisy", "trusted"])
def test_what_is_not_finite_is_found_before_anything_is_learnt(side):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 3)).double()
    weigh = MetaReweighter(model, CE)
    for number in range(STEPS):
        weigh(batch(number), batch(100 + number))
    batches = {"noisy": batch(50), "trusted": batch(150)}
    batches[side][0][3] = float("nan")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(NonFiniteError) as caught:
        weigh(batches["noisy"], batches["trusted"])
    assert caught.value.batch == side
    if side == "trusted":  # as if the training pass had not begun
        for name, value in model.state_dict().items():
            assert torch.equal(value, before[name]), name


def test_products_that_leave_the_range_are_taken_again_in_the_same_step():
    torch.manual_seed(0)
    model = nn.Linear(4, 3)
    weigh = MetaReweighter(model, lambda z, y: CE(z, y) * scale, scorer=GradientSimilarity())
    scale = 1.0
    for number in range(STEPS + 2):
        scale = 1.0 if number < STEPS else 1e-21
        noisy, trusted = ((x.float(), y) for x, y in (batch(number), batch(100 + number)))
        step = weigh(noisy, trusted)
    wide = nn.Linear(4, 3).double()
    wide.load_state_dict(model.state_dict())
    noisy, trusted = ((x.double(), y) for x, y in (noisy, trusted))
    expected = products(wide, noisy, trusted) * 1e-42
    torch.testing.assert_close(step.scores["gradient_similarity"], expected, rtol=1e-4, atol=0)


EXPECTING: dict[str, Callable[[], Any]] = {
    "default": lambda: GradientSimilarity() / LastLayerGradient(),
    "renewed": lambda: GradientSimilarity(renew_every=3),
    "renewed and due": lambda: GradientSimilarity(renew_every=2),
    "averaged": lambda: GradientSimilarity(averaging=0.5),
    "random": RandomWeights,
    "mixed": lambda: RandomWeights(3) + GradientSimilarity(renew_every=4),
}


@pytest.mark.parametrize("beta", [0.0, 0.5])
@pytest.mark.parametrize("scorer", EXPECTING)
def test_a_step_that_is_made_again_is_as_if_that_had_been_expected(scorer, beta):
    """Whether ignored targets are expected is all that the two differ in."""
    runs = []
    for expects in (False, True):
        model = two_heads()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        weigh = MetaReweighter(model, CE, scorer=EXPECTING[scorer](), trusted_coefficient=beta)
        weigh._losses.expects_ignored = expects
        seen = []
        for number in range(2 * STEPS):
            x, y = batch(number)
            if number >= STEPS:
                y[2] = -100
            step = weigh((x, y), batch(100))
            optimizer.zero_grad()
            step.loss.backward()
            optimizer.step()
            seen += [step.weights, *step.scores.values(), *map(torch.clone, model.parameters())]
        state = weigh.state_dict()
        del state["objective"]["timings"]
        runs.append((seen, state))
    (seen, state), (expected, expected_state) = runs
    assert all(map(near, seen, expected))
    assert same(state, expected_state)


def same(one: Any, other: Any) -> bool:
    """Whether two states are equal, tensors to the last bit."""
    if isinstance(one, Tensor):
        return near(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return one == other


METHODS = ["forward", "double_backward", "per_sample", "layer_products", "finite_difference"]


@pytest.mark.parametrize("beta", [0.0, 0.5])
@pytest.mark.parametrize("method", METHODS)
def test_nothing_writes_into_a_trusted_gradient_that_is_held(method, beta):
    """So that what a step that is made again starts from need not be copied."""
    model = two_heads()
    scorer = GradientSimilarity(method, renew_every=8, averaging=0.25)
    weigh = MetaReweighter(model, CE, scorer=scorer, trusted_coefficient=beta)
    held: list[tuple[Tensor, Tensor]] = []
    for number in range(STEPS + 2):
        step = weigh(batch(number), batch(100))
        step.loss.backward()
        gradient = scorer.state_dict()["held"]["gradient"]
        held += [(g, g.clone()) for g in gradient.values()]
    assert len(held) > STEPS
    assert all(g._version == 0 and torch.equal(g, before) for g, before in held)


class Asked:
    """A plain function as a scorer, and what it was shown."""

    def __init__(self) -> None:
        self.seen: list[tuple[bool, bool]] = []

    def __call__(self, context):
        losses = context.losses
        self.seen.append((bool(losses.isfinite().all()), context.counted is not None))
        return losses


def test_a_user_s_function_sees_finite_losses_only_and_once_a_step():
    model, asked = two_heads(), Asked()
    weigh = MetaReweighter(model, CE, scorer=lambda context: asked(context))
    for number in range(STEPS):
        weigh(batch(number))
    x, y = batch(50)
    x[3] = float("nan")
    with pytest.raises(NonFiniteError):
        weigh((x, y))
    assert asked.seen == [(True, False)] * STEPS
    x, y = batch(51)
    y[2] = -100
    weigh((x, y))
    assert asked.seen[STEPS:] == [(True, True)]


def diverged(**options: Any) -> tuple[MetaReweighter, dict[str, Any]]:
    """After a step without weights, which nobody has asked about yet; and the state before it."""
    model = two_heads()
    weigh = MetaReweighter(model, CE, weighting=WeightNet(features="loss"), **options)
    for number in range(STEPS):
        weigh(batch(number), batch(100 + number))
    good = copy.deepcopy(weigh.state_dict())
    with torch.no_grad():
        for p in weigh.weighting.module.parameters():
            p.fill_(torch.nan)
    weigh(batch(50), batch(150))
    return weigh, good


def test_a_step_without_weights_is_not_reported_once_a_good_state_is_loaded():
    weigh, good = diverged()
    weigh.load_state_dict(good)
    step = weigh(batch(51), batch(151))
    assert step.weights.isfinite().all()
    assert step.kept > 0


def leave(weigh: MetaReweighter) -> MetaReweighter:
    return weigh


def check(weigh: MetaReweighter) -> MetaReweighter:
    weigh.check(batch(52), batch(152))
    return weigh


def fail_to_load(weigh: MetaReweighter) -> MetaReweighter:
    with pytest.raises(ValueError, match="version"):
        weigh.load_state_dict({})
    return weigh


@pytest.mark.parametrize("meanwhile", [leave, check, copy.deepcopy, fail_to_load])
@pytest.mark.parametrize("on_empty", ["skip", "uniform"])
def test_a_step_without_weights_is_reported_by_the_next_whatever_came_between(meanwhile, on_empty):
    weigh, _ = diverged(on_empty=on_empty)
    weigh = meanwhile(weigh)
    with pytest.raises(ValueError, match="step before this one") as caught:
        weigh(batch(51), batch(151))
    assert "nothing" not in str(caught.value), "with equal weights it trained on the whole batch"
