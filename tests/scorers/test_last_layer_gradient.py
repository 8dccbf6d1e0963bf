"""LastLayerGradient against one backward pass a sample."""

from __future__ import annotations

import copy
import sys

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from reweight import LastLayerGradient
from tests import oracle
from tests.comparing import assert_same
from tests.device import autocast
from tests.helpers import last_layer, reweighter
from tests.problems import PROBLEMS, Case, classified, cross_entropy, float64, mlp


def expected_norms(case, layer=None):
    layer = case.last if layer is None else layer
    if layer == "head" and hasattr(case.model, "embedding"):
        # A weight that is tied counts in the last layer's own use alone.
        case = copy.deepcopy(case)
        case.model.head.weight = nn.Parameter(case.model.head.weight.detach().clone())
    return oracle.last_layer_norms(case.model, case.sample_losses, case.noisy, layer)


def test_the_last_layer_is_found(case):
    assert_same(last_layer(case), expected_norms(case), 1e-9)


def test_the_layer_by_name(case):
    assert_same(last_layer(case, layer=case.last), expected_norms(case), 1e-9)


def test_the_layer_as_an_object(case):
    layer = case.model.get_submodule(case.last)
    assert_same(last_layer(case, layer=layer), expected_norms(case), 1e-9)


@pytest.mark.parametrize(
    ("problem", "layer"),
    [
        ("mlp", "0"),
        ("batchnorm_train", "0"),  # every loss depends on every sample's activations
        ("batchnorm_train", "1"),
        ("resnet", "0.shortcut"),
        ("groupnorm", "4"),
        ("instancenorm", "4"),
        ("unet3d", "up"),
        ("unet3d", "act"),
        ("attention", "embedding"),
        ("transformer_train", "encoder.linear2"),
        ("transformer_train", "encoder.norm2"),
        ("lstm", "lstm"),
        ("two_inputs_two_outputs", "classes"),
        ("shared_head", "body"),
        ("spectral_norm_hook", "2"),
    ],
)
def test_any_layer_may_be_named(problem, layer):
    case = PROBLEMS[problem]()
    assert_same(last_layer(case, layer=layer), expected_norms(case, layer), 1e-9)


class TwoHeads(nn.Module):
    """Which layer is executed last is not which one is registered last."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(8, 3)
        self.body = nn.Linear(6, 8)

    def forward(self, x):
        return self.head(torch.tanh(self.body(x)))


class Functional(TwoHeads):
    """The head's weight is used, the head itself never called."""

    def forward(self, x):
        return F.linear(torch.tanh(self.body(x)), self.head.weight, self.head.bias)


class Bilinear(TwoHeads):
    def __init__(self):
        super().__init__()
        self.head = nn.Bilinear(8, 8, 3)

    def forward(self, x):
        hidden = torch.tanh(self.body(x))
        return self.head(hidden, hidden)


class Residual(TwoHeads):
    """The head's output is used twice, once through what comes after it."""

    def forward(self, x):
        y = self.head(torch.tanh(self.body(x)))
        return y + torch.sin(y).cumsum(1)


class LayerNormLast(TwoHeads):
    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(3)

    def forward(self, x):
        return self.norm(super().forward(x))


def with_model(kind, last="head"):
    with float64():
        return Case(kind(), last=last, loss=cross_entropy, **classified(6))


@pytest.mark.parametrize("kind", [TwoHeads, Bilinear, Residual])
def test_executed_last(kind):
    case = with_model(kind)
    assert_same(last_layer(case), expected_norms(case), 1e-9)


def test_a_layer_whose_parameters_are_used_without_calling_it():
    """Exact, or refused: never a silent zero."""
    case = with_model(Functional)
    try:
        actual = last_layer(case, layer="head")
    except (ValueError, RuntimeError) as error:
        assert "head" in str(error)  # noqa: PT017
    else:
        assert_same(actual, expected_norms(case), 1e-9)


def test_a_normalisation_with_weights_may_be_the_layer():
    case = with_model(LayerNormLast, "norm")
    assert_same(last_layer(case, layer="norm"), expected_norms(case), 1e-9)


def test_sequence_that_sums_to_large_values_in_single_precision():
    case = PROBLEMS["linear_sequence"]()
    expected = expected_norms(case)
    case.model.float()
    case.noisy, case.trusted = (
        tuple(tensor.float() for tensor in batch) for batch in (case.noisy, case.trusted)
    )
    assert_same(last_layer(case), expected, 1e-5)


def test_a_batch_of_one():
    case = mlp()
    case.noisy = tuple(tensor[:1] for tensor in case.noisy)
    assert_same(last_layer(case), expected_norms(case), 1e-9)


def test_losses_that_use_the_output_of_another_sample():
    """A loss that couples the samples after the last layer (a batch-wide softmax)."""
    case = mlp()

    def contrast(model, batch):
        output = model(batch[0])
        return cross_entropy(output @ output.t(), torch.arange(len(output)))

    case.forward = contrast
    assert_same(last_layer(case), expected_norms(case), 1e-9)


def test_a_loss_that_begins_to_couple_the_samples():
    """After a warm-up, say. What was found out at an earlier step no longer holds."""
    case = mlp()
    warm = []

    def forward(model, batch):
        output = model(batch[0])
        target = torch.arange(len(output)) if warm else batch[1]
        return cross_entropy(output @ output.t() if warm else output, target)

    case.forward = forward
    weigh = reweighter(case, scorer=LastLayerGradient())
    for _ in range(2):
        step = weigh.score(case.noisy, case.trusted)
        assert_same(step.scores["last_layer_gradient"], expected_norms(case), 1e-9)
        warm.append(True)


def test_a_loss_that_couples_the_samples_of_some_batches_only():
    """A hinge between neighbours, active or not as the data have it."""
    case = mlp()

    def hinge(model, batch):
        output = model(batch[0])
        apart = (output - output.roll(1, 0)).square().sum(1)
        return cross_entropy(output, batch[1]) + torch.relu(0.05 - apart)

    case.forward = hinge
    weigh = reweighter(case, scorer=LastLayerGradient())
    for spread in (100.0, 0.1):
        case.noisy = case.noisy[0] / case.noisy[0].norm() * spread, case.noisy[1]
        step = weigh.score(case.noisy, case.trusted)
        assert_same(step.scores["last_layer_gradient"], expected_norms(case), 1e-9)


def test_an_unknown_layer_name():
    with pytest.raises(ValueError, match="no_such_layer"):
        last_layer(mlp(), layer="no_such_layer")


def test_a_layer_of_another_model():
    with pytest.raises(ValueError, match="layer"):
        last_layer(mlp(), layer=nn.Linear(2, 2))


def test_a_layer_that_never_runs():
    with pytest.raises(ValueError, match="spare"):
        last_layer(PROBLEMS["unused"](), layer="spare")


def test_a_layer_without_parameters():
    with pytest.raises(ValueError, match="1"):
        last_layer(mlp(), layer="1")


def test_a_copied_model_is_scored_by_its_own_layer():
    case = mlp()
    other = copy.deepcopy(case)
    with torch.no_grad():
        other.model[2].weight.mul_(3)
    assert_same(last_layer(other, layer="2"), expected_norms(other), 1e-9)


INDEPENDENT = ["mlp", "batchnorm_train", "unet3d", "linear_sequence", "conv1d_head"]


@pytest.mark.parametrize("name", INDEPENDENT)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_independent_samples_take_no_backward_pass_each(name, dtype, monkeypatch):
    def refuse(*_):
        raise AssertionError("one backward pass per sample, though nothing couples the samples")

    case = PROBLEMS[name]()
    case.model.to(dtype)
    module = sys.modules["reweight._last_layer.norms_per_sample"]
    monkeypatch.setattr(module, "_one_by_one", refuse)
    weigh = reweighter(case, scorer=LastLayerGradient())
    noisy = tuple(x.to(dtype) if x.is_floating_point() else x for x in case.noisy)
    assert weigh(noisy).loss.isfinite()


def count_passes(case, weigh):
    passes = []
    handle = case.model.register_forward_pre_hook(lambda *_: passes.append(1))
    weigh()
    handle.remove()
    return len(passes)


@pytest.mark.usefixtures("one_way")
@pytest.mark.parametrize("way", ["step", "score", "autocast"])
def test_no_pass_of_its_own_where_another_ran(way):
    case = mlp()
    weigh = reweighter(case, self_check=False)

    def call():
        if way == "score":
            return weigh.score(case.noisy, case.trusted)
        with autocast(enabled=way == "autocast"):
            return weigh(case.noisy, case.trusted)

    call()  # where scores need a pass of their own, the first step has to find the layer
    # trusted and dual; trusted and training; or all three
    assert count_passes(case, call) == (3 if way == "autocast" else 2)


@pytest.mark.parametrize("parametrize", ["weight_norm", "spectral_norm"])
def test_what_computes_a_weight_is_not_a_layer(parametrize):
    case = mlp()
    head = getattr(nn.utils.parametrizations, parametrize)(nn.Linear(8, 3).double())
    case.model = nn.Sequential(nn.Linear(6, 8).double(), nn.Tanh(), head)
    if parametrize == "spectral_norm":
        case.model.eval()  # the power iteration would move on between the two
    assert_same(last_layer(case), last_layer(case, layer="2"), 1e-12)


class LowRank(nn.Module):
    """A parametrisation with parameters of its own."""

    def __init__(self, rows, columns) -> None:
        super().__init__()
        self.left, self.right = nn.Parameter(torch.ones(rows, 1)), nn.Parameter(torch.ones(columns))

    def forward(self, weight):
        return weight + self.left * self.right


def test_a_parametrisation_with_parameters_is_part_of_its_layer():
    case = mlp()
    head = nn.Linear(8, 3)
    nn.utils.parametrize.register_parametrization(head, "weight", LowRank(3, 8))
    case.model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), head).double()
    assert_same(last_layer(case), last_layer(case, layer="2"), 1e-12)
    assert_same(last_layer(case), expected_norms(case, "2"), 1e-9)
