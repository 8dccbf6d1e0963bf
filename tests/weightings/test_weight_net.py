"""A network is trained on the exact meta-gradient, beside the model, and learns what harms."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reweight import GradientSimilarity, MetaReweighter, SampleWeights, WeightNet
from tests import oracle
from tests.comparing import assert_same
from tests.device import autocast, random_state
from tests.problems import float64
from tests.weightings.training import GROUPS, LOSS, ROWS, Training, same_state, standardised

# The gradient ------------------------------------------------------------------------------------


class Curve(nn.Sequential):
    """A network of a user's, in float64."""

    def __init__(self, width: int) -> None:
        with float64():
            super().__init__(nn.Linear(width, 5), nn.Tanh(), nn.Linear(5, 1))


def meta_gradient(training: Training, noisy, values: Tensor, parameters) -> Tensor:
    """Of the trusted loss, by the network's parameters, through one step of SGD with weights V."""
    theta = dict(training.model.named_parameters())
    losses = LOSS(torch.func.functional_call(training.model, theta, noisy[0]), noisy[1])
    rate = 1e-9  # so that the trusted gradient is the one at the parameters themselves
    grads = torch.autograd.grad((values * losses).sum(), list(theta.values()), create_graph=True)
    moved = {name: p - rate * grad for (name, p), grad in zip(theta.items(), grads, strict=True)}
    output = torch.func.functional_call(training.model, moved, training.trusted[0])
    return oracle.gradient(LOSS(output, training.trusted[1]).mean(), parameters) / rate


def update_of(weighting: WeightNet, act) -> Tensor:
    """What one step changes, by plain gradient descent in place of Adam."""
    parameters = list(weighting.module.parameters())
    weighting._optimizer = torch.optim.SGD(parameters, lr=1.0)
    before = [p.detach().clone() for p in parameters]
    act()
    return oracle.flat([p.detach() - b for p, b in zip(parameters, before, strict=True)])


def log_loss(context):
    return context.losses.log()


FEATURES = {
    "loss": 1,
    "remembered_loss": 1,
    "margin": 1,
    "remembered_margin": 1,
    "class": 3,
    "group": 3,
    log_loss: 1,
    ("group", "loss", "margin", "class"): 8,
}


@pytest.mark.parametrize("features", FEATURES, ids=lambda f: getattr(f, "__name__", str(f)))
def test_the_update_is_the_meta_gradient(features):
    module = Curve(FEATURES[features])
    weighting = WeightNet(
        module, features, num_samples=ROWS, num_classes=3, num_groups=GROUPS, pull=1e-12
    )
    training = Training(weighting)
    training.step(0)
    noisy, ids, groups = training.batch(1, 8)  # of so few no score is clipped
    seen: list[Tensor] = []
    module.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    network = copy.deepcopy(module)
    found = update_of(
        weighting, lambda: training.reweighter(noisy, training.trusted, ids=ids, groups=groups)
    )
    values = network(seen[0]).squeeze(1)
    expected = -meta_gradient(training, noisy, values, list(network.parameters()))
    assert found.norm() > 0
    assert torch.cosine_similarity(found, expected, dim=0).item() == pytest.approx(1, abs=1e-9)


def test_values_are_pulled_to_zero():
    """Where nothing is said, gradient descent is on pull / 2 times the mean square of V."""
    module = Curve(1)
    weighting = WeightNet(module, "loss", pull=0.3)
    training = Training(weighting, scorer=lambda context: 0 * context.losses)
    seen: list[Tensor] = []
    module.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    network = copy.deepcopy(module)
    found = update_of(weighting, lambda: training.step(0))
    square = 0.15 * network(seen[0]).square().mean()
    assert_same(found, -oracle.gradient(square, list(network.parameters())), 1e-9)


def test_values_tend_to_the_mean_score_by_the_pull():
    """With a class alone to tell samples by, V is a regression of z on it."""
    weighting = WeightNet(features="class", num_classes=3, pull=0.5, rate=0.02)
    said = torch.tensor([1.5, 0.3, -0.8])
    training = Training(weighting, scorer=lambda context: said[context.noisy[1]].double())
    (_, y), _, _ = training.batch(0, 40)
    for _ in range(500):
        step = training.step(0, 40)
    z = torch.tensor(standardised(said[y].tolist()))
    expected = torch.stack([torch.sigmoid(z[y == c].mean() / 0.5) for c in range(3)])
    found = torch.stack([step.weights[y == c][0] for c in range(3)])
    assert_same(found / found[0], expected / expected[0], 0.02)


# What it learns ----------------------------------------------------------------------------------


def toy(features, kind, seed=0):
    """Three clusters; of 300 samples 100 have a wrong label. Returns weights, and which are bad."""
    stream = torch.Generator(device="cpu").manual_seed(seed)
    with torch.device("cpu"):
        centres = 2.5 * torch.eye(3, 6)
        truth = torch.arange(300) % 3
        x = centres[truth] + 0.7 * torch.randn(300, 6, generator=stream)
        bad = torch.arange(300) < 100
        y = torch.where(bad, (truth + 1 + torch.arange(300) // 3 % 2) % 3, truth)
        trusted = centres[torch.arange(15) % 3] + 0.7 * torch.randn(15, 6, generator=stream)
    x, bad, y, trusted = (t.to(torch.get_default_device()) for t in (x, bad, y, trusted))
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 3))
    weighting = WeightNet(features=features, num_samples=300, num_classes=3)
    weighting = weighting if kind == "alone" else SampleWeights(300, rate=0.1) + weighting
    weigh = MetaReweighter(
        model, LOSS, scorer=GradientSimilarity(), weighting=weighting, trusted_coefficient=1.0
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for _ in range(30):
        for ids in torch.randperm(300, generator=stream, device="cpu").split(50):
            step = weigh((x[ids], y[ids]), (trusted, torch.arange(15) % 3), ids=ids)
            optimizer.zero_grad()
            step.loss.backward()
            optimizer.step()
    every = torch.arange(300)
    return weigh.score((x, y), (trusted, torch.arange(15) % 3), ids=every).weights, bad


def auroc(values: Tensor, positive: Tensor) -> float:
    more = values[positive][:, None] - values[~positive][None]
    return ((more > 0).float() + 0.5 * (more == 0).float()).mean().item()


@pytest.mark.parametrize(
    ("features", "kind"),
    [
        ("loss", "alone"),
        ("remembered_loss", "alone"),
        ("remembered_margin", "alone"),
        ("remembered_loss", "with_a_table"),
    ],
)
def test_it_learns_that_samples_of_a_high_loss_are_bad(features, kind):
    weights, bad = toy(features, kind)
    assert auroc(weights, ~bad) > 0.95
    assert weights[bad].sum() < 0.1  # of a third of the samples


def test_a_class_alone_does_not_tell():
    """So that the test above could fail."""
    weights, bad = toy("class", "alone")
    assert weights[bad].sum() > 0.25


# Beside the model --------------------------------------------------------------------------------


def test_random_streams_are_left_alone():
    training = Training(WeightNet(num_samples=ROWS))
    before = random_state()
    training.step(0)
    assert torch.equal(random_state(), before)
    WeightNet(num_samples=ROWS)
    assert torch.equal(random_state(), before)


def test_the_first_weights_are_equal_and_come_from_the_seed():
    def trained(seed):
        training = Training(WeightNet(num_samples=ROWS, seed=seed))
        return [training.step(number).weights for number in range(4)]

    first, again, other = trained(1), trained(1), trained(2)
    assert first[0].max() / first[0].min() < 1.1
    assert all(map(torch.equal, first, again))
    assert not torch.equal(first[3], other[3])


def test_the_model_gets_the_gradient_of_its_weighted_loss_alone():
    training = Training(WeightNet(features=["loss", "margin", log_loss]))
    for number in range(3):
        step = training.step(number)
    noisy, _, _ = training.batch(5, 8)
    training.optimizer.zero_grad()
    step = training.reweighter(noisy, training.trusted)
    assert all(p.grad is None for p in training.model.parameters())
    step.loss.backward()
    rows = oracle.per_sample_gradients(training.model, lambda m, b: LOSS(m(b[0]), b[1]), noisy)
    found = oracle.flat([p.grad for p in training.model.parameters()])
    assert_same(found, step.weights.to(rows) @ rows, 1e-9)
    assert all(p.grad is None for p in training.reweighter.weighting.module.parameters())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_default_network_is_in_float32(dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        weighting = WeightNet(features="loss")
        Training(weighting).step(0)
    finally:
        torch.set_default_dtype(before)
    assert {p.dtype for p in weighting.module.parameters()} == {torch.float32}


def test_under_autocast_the_network_computes_in_its_own_precision():
    seen: list[torch.dtype] = []

    class Looking(Curve):
        def forward(self, features):
            found = super().forward(features)
            seen.append(found.dtype)
            return found

    training = Training(WeightNet(Looking(1).float(), "loss"))
    training.model.float()
    (x, y), _, _ = training.batch(0, 8)
    with autocast(torch.bfloat16):
        training.reweighter((x.float(), y), (training.trusted[0].float(), training.trusted[1]))
    assert seen == [torch.float32] * 2


class Restless(nn.Module):
    """Has running statistics and random masks, and returns a line instead of a column."""

    def __init__(self) -> None:
        super().__init__()
        self.inside = nn.Sequential(
            nn.BatchNorm1d(1), nn.Linear(1, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 1)
        )

    def forward(self, features: Tensor) -> Tensor:
        return self.inside(features)[:, 0]


def test_a_network_with_statistics_and_masks_learns_in_training_alone():
    module = Restless()
    training = Training(WeightNet(module, "loss"))
    training.step(0)
    noisy, _, _ = training.batch(1, 8)
    before, random = copy.deepcopy(module.state_dict()), random_state()
    first = training.reweighter.score(noisy, training.trusted).weights
    assert torch.equal(first, training.reweighter.score(noisy, training.trusted).weights)
    assert same_state(dict(module.state_dict()), dict(before))
    assert torch.equal(random_state(), random)
    training.step(1)
    assert not same_state(dict(module.state_dict()), dict(before))


def test_a_frozen_part_of_a_network_stays():
    module = Curve(1)
    module[0].requires_grad_(False)
    before = module[0].weight.clone()
    training = Training(WeightNet(module, "loss"))
    for number in range(3):
        training.step(number)
    assert torch.equal(module[0].weight, before)


def test_a_compiled_model_may_be_weighed():
    training = Training(WeightNet(num_samples=ROWS))
    expected = [training.step(number).weights for number in range(3)]
    compiled = Training(WeightNet(num_samples=ROWS))
    inner = compiled.model
    compiled.reweighter = MetaReweighter(
        torch.compile(inner, backend="eager"),
        LOSS,
        scorer=GradientSimilarity(),
        weighting=compiled.reweighter.weighting,
    )
    found = [compiled.step(number).weights for number in range(3)]
    for one, other in zip(found, expected, strict=True):
        assert_same(one, other, 1e-5)


def test_copies_learn_apart():
    training = Training(WeightNet(num_samples=ROWS))
    training.step(0)
    twin = copy.deepcopy(training)
    first = [training.step(number).weights for number in (1, 2)]
    second = [twin.step(number).weights for number in (1, 2)]
    assert all(map(torch.equal, first, second))


# Features ----------------------------------------------------------------------------------------


class Recording(Curve):
    """Keeps what it was given."""

    def forward(self, features: Tensor) -> Tensor:
        self.given = features.detach().clone()
        return super().forward(features)


def given_to(features, width, steps=1, **options):
    module = Recording(width)
    weighting = WeightNet(
        module, features, num_samples=ROWS, num_classes=3, num_groups=GROUPS, **options
    )
    training = Training(weighting)
    steps = [training.step(number) for number in range(steps)]
    return module.given, steps, training


def clipped(values: list[float]) -> list[float]:
    mean = sum(values) / len(values)
    spread = math.sqrt(sum((v - mean) ** 2 for v in values) / len(values))
    return [max(-3.0, min(3.0, (v - mean) / spread)) for v in values]


def test_numbers_are_put_on_one_scale():
    given, (step,), _ = given_to(["loss", lambda c: torch.stack([c.losses, 5 - c.losses], 1)], 3)
    expected = torch.tensor(clipped(step.losses.tolist()), dtype=torch.float64)
    assert_same(given, torch.stack([expected, expected, -expected], 1), 1e-5)


def test_what_is_remembered_is_the_mean_and_later_forgotten():
    given, steps, training = given_to("remembered_loss", 1, steps=40)
    means: dict[int, float] = {}
    times: dict[int, int] = {}
    for number, step in enumerate(steps):
        _, ids, _ = training.batch(number, 8)
        said: dict[int, list[float]] = {}
        for row, loss in zip(ids.tolist(), step.losses.tolist(), strict=True):
            said.setdefault(row, []).append(loss)
        for row, losses in said.items():
            share = max(0.1, 1 / (times.get(row, 0) + 1))
            old = means.get(row, 0.0)
            means[row] = old + share * (sum(losses) / len(losses) - old)
            times[row] = times.get(row, 0) + 1
    assert max(times.values()) > 12
    expected = torch.tensor([means[row] for row in ids.tolist()], dtype=torch.float64)
    centred = expected - expected.mean()
    assert_same((given[:, 0] - given.mean()) / given.std(), centred / expected.std(), 1e-4)


def test_classes_and_groups_are_coded_after_the_numbers():
    given, _, training = given_to(["group", "class", "loss"], 7)
    (_, y), _, groups = training.batch(0, 8)
    assert torch.equal(given[:, 1:4], F.one_hot(y, 3).double())
    assert torch.equal(given[:, 4:], F.one_hot(groups, GROUPS).to(given))


def test_what_is_not_known_is_zero():
    def partly(context):
        values = context.losses.clone()
        values[2] = math.nan
        return values

    given, _, training = given_to([partly, "class"], 4)
    assert given[2, 0] == 0
    assert given[:, 0].count_nonzero() == 7
    weighting = training.reweighter.weighting
    assert all(p.isfinite().all() for p in weighting.module.parameters())


def test_one_value_for_all_is_zero():
    given, _, _ = given_to([lambda context: 0 * context.losses + 0.1, "loss"], 2)
    assert not given[:, 0].any()


def test_a_batch_of_one_sample_is_weighed():
    training = Training(WeightNet(num_samples=ROWS))
    assert training.step(0, 1).weights.tolist() == [1.0]


def regression(features):
    model = nn.Linear(3, 1)
    weighting = WeightNet(features=features, num_samples=ROWS, num_classes=3)
    weigh = MetaReweighter(
        model, nn.MSELoss(reduction="none"), scorer=GradientSimilarity(), weighting=weighting
    )
    return weigh((torch.randn(4, 3), torch.randn(4, 1)), (torch.randn(4, 3), torch.randn(4, 1)),
                 ids=[0, 1, 2, 3])  # fmt: skip


@pytest.mark.parametrize("features", ["loss", "remembered_loss"])
def test_losses_are_known_of_any_model(features):
    assert regression(features).weights.sum().item() == pytest.approx(1)


@pytest.mark.parametrize(
    ("features", "words"),
    [("margin", "margin is not known"), ("remembered_margin", "margin is not known"),
     ("class", "class is not known")],
)  # fmt: skip
def test_features_that_a_model_does_not_have_are_refused(features, words):
    with pytest.raises(ValueError, match=words):
        regression(features)


# Settings ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        ({}, ValueError, "'remembered_loss' needs num_samples="),
        ({"features": "class"}, ValueError, "'class' needs num_classes="),
        ({"features": ["loss", "group"]}, ValueError, "'group' needs num_groups="),
        ({"num_samples": 0}, ValueError, "num_samples must be an integer >= 1"),
        ({"features": "losses"}, ValueError, "no feature 'losses'; there are loss, margin"),
        ({"features": []}, ValueError, "one or more, each once"),
        ({"features": ["loss", "loss"]}, ValueError, "one or more, each once"),
        ({"features": [3]}, TypeError, "a name or a function"),
        ({"features": "loss", "rate": 0}, ValueError, "rate must be a finite number > 0"),
        ({"features": "loss", "pull": -1}, ValueError, "pull must be a finite number > 0"),
        ({"features": "loss", "module": len}, TypeError, "module must be a torch.nn.Module"),
        ({"features": "loss", "module": nn.Tanh()}, ValueError, "nothing to train"),
    ],
)
def test_wrong_settings_are_refused(options, kind, words):
    with pytest.raises(kind, match=words):
        WeightNet(**options)


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        (lambda context: context.losses[:3], r"must return \(8,\) or \(8, F\).*got \(3,\)"),
        (lambda _: 1.0, r"must return \(8,\) or \(8, F\).*got float"),
        (lambda context: context.losses[:, None, None], r"got \(8, 1, 1\)"),
    ],
)
def test_a_feature_of_another_shape_is_refused(returned, words):
    with pytest.raises(ValueError, match=words):
        Training(WeightNet(features=returned)).step(0)


def test_a_network_of_another_shape_is_refused():
    training = Training(WeightNet(nn.Linear(1, 2), "loss"))
    with pytest.raises(ValueError, match=r"must return \(8,\) or \(8, 1\).*got \(8, 2\)"):
        training.step(0)


def test_a_state_of_another_network_is_refused():
    training = Training(WeightNet(Curve(1), "loss"))
    training.step(0)
    other = Training(WeightNet(nn.Linear(1, 1), "loss"))
    before = other.state()
    with pytest.raises(ValueError, match="of another network"):
        other.reweighter.load_state_dict(training.reweighter.state_dict())
    assert same_state(other.state(), before)


def test_it_says_what_it_is():
    assert repr(WeightNet(features=["loss", log_loss])) == (
        "WeightNet(features=['loss', 'log_loss'], rate=0.01)"
    )
    assert repr(SampleWeights(4) + WeightNet(nn.Linear(1, 1), num_samples=4)) == (
        "SampleWeights(4, rate=1, prior=2) + "
        "WeightNet(Linear, features=['remembered_loss'], rate=0.01)"
    )
