"""Cosine similarity, by norms from the same products or from a backward pass a sample."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from reweight import GradientSimilarity
from reweight._derivative.layer_products import LayerProducts
from reweight.lookahead import as_lookahead
from tests import oracle
from tests.comparing import assert_same
from tests.derivative.layer_products.models import MORE
from tests.derivative.layer_products.test_architectures import per_sample
from tests.helpers import reweighter
from tests.problems import CLASSES, PROBLEMS, Case, classified, cross_entropy, float64

COUPLED = ("batchnorm_train", "resnet", "unet3d", "coupled_head", "instancenorm", "circular_conv")


def expected_cosine(case: Case) -> torch.Tensor:
    torch.manual_seed(3)
    parameters = list(oracle.trainable(case.model).values())
    losses = case.sample_losses(case.model, case.noisy)
    rows = per_sample(losses, parameters)
    return rows / rows.norm(dim=1, keepdim=True)


@pytest.mark.parametrize("name", {**PROBLEMS, **MORE})
@pytest.mark.parametrize("call", ["step", "score"])
def test_a_score_is_divided_by_the_length_of_the_samples_own_gradient(name, call):
    make = {**PROBLEMS, **MORE}[name]
    case, same, again = make(), make(), make()
    slow = name.startswith(COUPLED) or not case.twice
    method = "layer_products" if not slow and call == "step" else "double_backward"
    if not case.twice:
        method = "auto"
    weigh = reweighter(case, scorer=GradientSimilarity(method, normalize=True))
    torch.manual_seed(3)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", UserWarning)
        step = (weigh if call == "step" else weigh.score)(case.noisy, case.trusted)
    assert any("backward passes in a step" in str(w.message) for w in said) == slow
    unit = expected_cosine(same)
    torch.manual_seed(3)
    parameters = list(oracle.trainable(again.model).values())
    mean = again.sample_losses(again.model, again.trusted).mean()
    v = per_sample(mean[None], parameters)[0]
    assert_same(step.scores["gradient_similarity"], unit @ v, 1e-8)


def test_norms_are_over_the_parameters_that_are_compared():
    case = PROBLEMS["groupnorm"]()
    scorer = GradientSimilarity("layer_products", normalize=True, parameters=case.model[8])
    step = reweighter(case, scorer=scorer)(case.noisy, case.trusted)
    parameters = list(case.model[8].parameters())
    rows = oracle.per_sample_gradients(case.model, case.sample_losses, case.noisy, parameters)
    v = oracle.mean_gradient(case.model, case.sample_losses, case.trusted, parameters)
    assert_same(step.scores["gradient_similarity"], rows @ v / rows.norm(dim=1), 1e-9)


class Largest(TorchDispatchMode):
    """How many numbers the largest tensor has that an operator returned."""

    numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        sizes = [x.numel() for x in tree_leaves(out) if isinstance(x, Tensor)]
        self.numbers = max(self.numbers, *sizes, 0)
        return out


def wide_linear() -> Case:
    model = nn.Sequential(nn.Linear(48, 32), nn.Tanh(), nn.Linear(32, CLASSES))
    return Case(model, last="2", loss=cross_entropy, **classified(48))


def wide_linear_over_places() -> Case:
    model = nn.Sequential(nn.Linear(48, 32), nn.Tanh(), nn.Flatten(), nn.Linear(96, CLASSES))
    return Case(model, last="3", loss=cross_entropy, **classified(3, 48))


def wide_convolution() -> Case:
    model = nn.Sequential(nn.Conv1d(48, 32, 1), nn.Tanh(), nn.Flatten(), nn.Linear(96, CLASSES))
    return Case(model, last="3", loss=cross_entropy, **classified(48, 3))


@pytest.mark.parametrize("make", [wide_linear, wide_linear_over_places, wide_convolution])
def test_norms_of_a_bias_make_no_gradients_of_the_weight_beside_it(make):
    with float64():
        case = make()
    parameters = oracle.trainable(case.model)
    losses = case.sample_losses(case.model, case.noisy)
    rows = per_sample(losses, [parameters["0.bias"]])
    products = LayerProducts(losses, parameters)
    with Largest() as made:
        norms = products.norms(["0.bias"])
    assert_same(norms, rows.norm(dim=1), 1e-12)
    assert made.numbers <= len(losses) * parameters["0.bias"].numel()


def test_it_is_a_cosine_but_for_the_length_of_the_trusted_gradient():
    case = PROBLEMS["tied"]()
    weigh = reweighter(case, scorer=GradientSimilarity("layer_products", normalize=True))
    step = weigh(case.noisy, case.noisy)
    v = oracle.mean_gradient(case.model, case.sample_losses, case.noisy)
    assert (step.scores["gradient_similarity"].abs() <= v.norm() * (1 + 1e-9)).all()


def test_a_sample_without_a_gradient_scores_zero():
    case = PROBLEMS["mlp"]()
    case.noisy[1][2] = -100  # ignored
    weigh = reweighter(case, scorer=GradientSimilarity("layer_products", normalize=True))
    assert weigh(case.noisy, case.trusted).scores["gradient_similarity"][2] == 0


def test_other_look_aheads_are_not_compared_by_it():
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))])
    with pytest.raises(ValueError, match="normalize=True"):
        GradientSimilarity(normalize=True, lookahead=as_lookahead(optimizer))


def test_there_are_no_label_scores_of_it():
    assert not GradientSimilarity(normalize=True).knows_label_scores


def test_check_knows_it():
    case = PROBLEMS["groupnorm"]()
    weigh = reweighter(case, scorer=GradientSimilarity("layer_products", normalize=True))
    report = weigh.check(case.noisy, case.trusted)
    assert report.ok, str(report)
