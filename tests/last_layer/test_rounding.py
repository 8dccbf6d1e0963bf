"""Rounding, denormals and kernels that sum in any order are not taken for coupling; coupling is."""

from __future__ import annotations

import sys
import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from reweight import LastLayerGradient, MetaReweighter
from tests import oracle
from tests.comparing import assert_same

CE = nn.CrossEntropyLoss(reduction="none")
WEIGHTED = nn.CrossEntropyLoss(reduction="none", weight=torch.rand(10) + 0.5)
SMOOTHED = nn.CrossEntropyLoss(reduction="none", label_smoothing=0.1)
STEPS = 5  # the first are tested in another way than the later ones


@pytest.fixture
def passes(monkeypatch):
    """How often a backward pass was made for every sample."""
    made = []
    for name in ("norms_per_sample", "norms_per_element"):
        module = sys.modules[f"reweight._last_layer.{name}"]
        original = module.one_by_one
        monkeypatch.setattr(
            module, "one_by_one", lambda *a, original=original: made.append(1) or original(*a)
        )
    return made


class Scaled(nn.Module):
    def __init__(self, scale, dtype, after=None):
        super().__init__()
        self.head, self.after = nn.Linear(8, 10, dtype=dtype), after
        with torch.no_grad():
            self.head.weight.mul_(scale)

    def forward(self, x):
        z = self.head(x)
        return z if self.after is None else self.after(z)


@pytest.mark.parametrize("loss", [CE, WEIGHTED, SMOOTHED], ids=["plain", "weighted", "smoothed"])
@pytest.mark.parametrize("after", [None, lambda z: z / 3 * 1.7], ids=["straight", "scaled"])
@pytest.mark.parametrize(
    ("dtype", "scale"),
    [(torch.float32, s) for s in (1, 20, 40, 60, 100)]
    + [(torch.float16, s) for s in (1, 4, 10)]
    + [(torch.bfloat16, s) for s in (1, 4, 10, 60)],
)
def test_saturated_softmaxes_take_no_pass_a_sample(loss, after, dtype, scale, passes):
    if dtype != torch.float32 and loss is WEIGHTED:
        loss = nn.CrossEntropyLoss(reduction="none", weight=WEIGHTED.weight.to(dtype))
    model = Scaled(scale, dtype, after)
    batch = torch.randn(16, 8).to(dtype), torch.randint(10, (16,))
    weigh = MetaReweighter(model, loss, scorer=LastLayerGradient())
    for _ in range(STEPS):
        step = weigh.score(batch)
    assert not passes
    expected = oracle.last_layer_norms(model, lambda m, b: loss(m(b[0]), b[1]), batch, "head")
    tolerance = 1e-5 if dtype == torch.float32 else 0.02
    if expected.any():
        assert_same(step.scores["last_layer_gradient"], expected, tolerance)


@pytest.mark.parametrize("granularity", ["sample", "element"])
def test_a_batch_of_denormals_takes_no_pass_a_sample(granularity, passes):
    batch = torch.randn(16, 5, 8), torch.randint(10, (16, 5))

    def forward(model, batch):
        z = model(batch[0]) / 3 * 1.7
        return F.cross_entropy(z.transpose(1, 2), batch[1], reduction="none") * 1e-41

    weigh = MetaReweighter(
        nn.Linear(8, 10), forward=forward, scorer=LastLayerGradient(), granularity=granularity
    )
    for _ in range(STEPS):
        weigh.score(batch)
    assert not passes


@pytest.mark.parametrize("granularity", ["sample", "element"])
def test_denormals_that_are_magnified_take_no_pass_a_sample(granularity, passes):
    """Beside ordinary gradients, some that were denormal on the way and are no longer."""
    gaps = torch.linspace(80, 103, 80).reshape(16, 5, 1)
    gaps[0] = 1
    batch = gaps, torch.zeros(16, 5, dtype=torch.long)
    weight = torch.tensor([0.7, 0.3])

    def forward(model, batch):
        z = model(batch[0]) * 1e12
        return F.cross_entropy(z.transpose(1, 2), batch[1], reduction="none", weight=weight)

    model = nn.Linear(1, 2, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[0], [-1e-12]]))
    weigh = MetaReweighter(
        model, forward=forward, scorer=LastLayerGradient(), granularity=granularity
    )
    for _ in range(STEPS):
        weigh.score(batch)
    assert not passes


@pytest.mark.parametrize("gain", [1, 40, 80, 200])
@pytest.mark.parametrize("granularity", ["sample", "element"])
@pytest.mark.parametrize("weight", [None, torch.tensor([0.3, 0.7])])
def test_saturated_segmentations_take_no_pass_a_sample(gain, granularity, weight, passes):
    net = nn.Conv2d(1, 2, 3, padding=1)
    with torch.no_grad():
        net.weight.mul_(gain)
    loss = nn.CrossEntropyLoss(reduction="none", weight=weight)
    batch = torch.randn(4, 1, 24, 24), torch.randint(0, 2, (4, 24, 24))
    weigh = MetaReweighter(net, loss, scorer=LastLayerGradient(), granularity=granularity)
    for _ in range(STEPS):
        weigh.score(batch)
    assert not passes


class Jittered(torch.autograd.Function):
    """What a kernel that adds in any order does: the last places of a gradient are never alike."""

    @staticmethod
    def forward(_, x):
        return x.clone()

    @staticmethod
    def backward(_, gradient):
        units = torch.randint(-2, 3, gradient.shape, device=gradient.device)
        units = units * torch.finfo(gradient.dtype).eps
        return gradient + gradient.abs().amax(1, keepdim=True) * units


@pytest.mark.parametrize("granularity", ["sample", "element"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_kernels_that_are_not_deterministic_are_not_coupling(dtype, granularity, passes):
    model = nn.Sequential(nn.Linear(8, 10, dtype=dtype))
    batch = torch.randn(16, 6, 8, dtype=dtype), torch.randint(10, (16, 6))

    def forward(model, batch):
        z = Jittered.apply(model(batch[0]).flatten(0, 1)).unflatten(0, (16, 6))
        return F.cross_entropy(z.transpose(1, 2), batch[1], reduction="none")

    weigh = MetaReweighter(
        model, forward=forward, scorer=LastLayerGradient(), granularity=granularity
    )
    for _ in range(STEPS):
        weigh.score(batch)
    assert not passes


class Switching(nn.Module):
    """A head, and behind it something that couples the samples in some modes or steps only."""

    def __init__(self):
        super().__init__()
        self.head, self.norm = nn.Linear(6, 3), nn.BatchNorm1d(3, affine=False)
        self.coupled = ""

    def forward(self, x):
        z = self.head(x)
        if self.coupled == "one pair":
            swapped = z.clone()
            swapped[1] = z[1] + 1e-2 * z[-1]
            return swapped
        if self.coupled == "mean":
            return z - z.mean(0)
        if self.coupled == "transposed":
            return z + 0.1 * (z @ z.t()).t()[:, :3]
        return self.norm(z)


@pytest.mark.parametrize("switch", ["train", "one pair", "mean", "transposed"])
@pytest.mark.parametrize("count", [5, 40])
def test_coupling_that_begins_after_many_steps_is_found_at_once(switch, count):
    model = Switching().double().eval()
    batch = torch.randn(count, 6).double(), torch.randint(3, (count,))
    weigh = MetaReweighter(model, CE, scorer=LastLayerGradient("head"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number in range(12):
            if number == 6:
                model.coupled = switch
                model.train(switch == "train")
            score = weigh.score(batch).scores["last_layer_gradient"]
            expected = oracle.last_layer_norms(model, lambda m, b: CE(m(b[0]), b[1]), batch, "head")
            assert_same(score, expected, 1e-9)


@pytest.mark.parametrize("active", [0.0, 1e-3, 1.0])
def test_coupling_that_the_data_decide_is_found_in_the_same_graph(active):
    """A margin between two samples that begins to be violated: same operators, same shapes."""
    model, count = nn.Linear(6, 3).double(), 40
    batch = torch.randn(count, 6).double(), torch.randint(3, (count,)), torch.zeros(count, 1)

    def forward(model, batch):
        z = model(batch[0])
        return CE(z, batch[1]) + (F.relu(z.roll(7, 0) * batch[2])).sum(1)

    weigh = MetaReweighter(model, forward=forward, scorer=LastLayerGradient())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number in range(10):
            if number == 6:
                batch[2][11] = active
            score = weigh.score(batch).scores["last_layer_gradient"]
            expected = oracle.per_sample_gradients(
                model, forward, batch, list(model.parameters())
            ).norm(dim=1)
            assert_same(score, expected, 1e-9)


def test_the_full_test_is_not_repeated_in_every_step(monkeypatch):
    made = []
    module = sys.modules["reweight._last_layer.output_gradients"]
    original = module._gradients
    monkeypatch.setattr(module, "_gradients", lambda *a: made.append(1) or original(*a))
    batch = torch.randn(512, 6), torch.randint(3, (512,))
    weigh = MetaReweighter(nn.Linear(6, 3), CE, scorer=LastLayerGradient())
    counts = []
    for _ in range(5):
        made.clear()
        weigh.score(batch)
        counts.append(len(made))
    assert counts == [4, 4, 1, 1, 1]  # nine binary digits; then the graph proves it


def test_the_users_random_numbers_are_left_alone():
    batch = torch.randn(9, 6), torch.randint(3, (9,))

    def forward(model, batch):
        return CE(model(batch[0]).flip(0).flip(0), batch[1])

    weigh = MetaReweighter(nn.Linear(6, 3), forward=forward, scorer=LastLayerGradient())
    before = torch.get_rng_state()
    for _ in range(4):
        weigh(batch)
    assert torch.equal(torch.get_rng_state(), before)
