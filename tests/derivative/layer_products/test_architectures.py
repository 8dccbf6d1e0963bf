"""Scores and weighted gradients layer by layer, against plain backward passes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from reweight import GradientSimilarity, ReweightedStep
from reweight._derivative.layer_products import LayerProducts
from tests import oracle
from tests.comparing import assert_same
from tests.derivative.layer_products.models import MORE
from tests.device import accelerators
from tests.helpers import flat_grad, reweighter
from tests.problems import PROBLEMS, Case

NOT_TAKEN = {
    "batchnorm_train": "batch normalisation in train mode",
    "resnet": "batch normalisation in train mode",
    "unet3d": "batch normalisation in train mode",
    "coupled_head": "batch normalisation in train mode",
    # An operator that works in place on a view: PyTorch's graph does not say which.
    "instancenorm": "AsStridedBackward0",
    "circular_conv_head": "CopySlices",
}
if accelerators():
    NOT_TAKEN["lstm"] = "CudnnRnnBackward0, a recurrent layer on a GPU, has no second derivative"
TAKEN = {name: make for name, make in {**PROBLEMS, **MORE}.items() if name not in NOT_TAKEN}


def by(method: str, case: Case, **options: Any) -> ReweightedStep:
    """The third step, in which nothing is proved any more, after its backward pass."""
    weigh = reweighter(case, scorer=GradientSimilarity(method=method), **options)
    torch.manual_seed(3)  # the same dropout masks whichever the method
    for _ in range(3):
        case.model.zero_grad()
        step = weigh(case.noisy, case.trusted)
        step.loss.backward()
    return step


def per_sample(losses: Tensor, parameters: list[Tensor]) -> Tensor:
    rows = [
        torch.autograd.grad(
            loss, parameters, retain_graph=True, allow_unused=True, materialize_grads=True
        )
        for loss in losses
    ]
    return torch.stack([oracle.flat([g.to_dense() for g in row]) for row in rows])


@pytest.mark.parametrize("name", TAKEN)
def test_products_equal_a_backward_pass_a_sample(name):
    case = TAKEN[name]()
    parameters = oracle.trainable(case.model)
    losses = case.sample_losses(case.model, case.noisy)
    products = LayerProducts(losses, parameters)
    rows = per_sample(losses, list(parameters.values()))
    v = {name: torch.randn_like(p) for name, p in parameters.items()}
    assert_same(products.scores(v), rows @ oracle.flat(list(v.values())), 1e-10)
    some = dict(list(v.items())[::2])
    rest = {name: torch.zeros_like(p) for name, p in parameters.items()}
    assert_same(products.scores(some), rows @ oracle.flat(list({**rest, **some}.values())), 1e-10)
    weights = torch.tensor([0.3, 0.0, 1.7, 0.2, 0.9], dtype=losses.dtype)
    found = {name: g.to_dense() for name, g in products.gradients(weights).items()}
    assert_same(oracle.flat(list({**rest, **found}.values())), weights @ rows, 1e-10)


@pytest.mark.parametrize("name", TAKEN)
def test_a_step_is_that_of_the_tangent_way(name):
    one, other = TAKEN[name](), TAKEN[name]()
    step = by("layer_products", one, trusted_coefficient=0.5)
    expected = by("auto" if other.forward_mode else other.exact, other, trusted_coefficient=0.5)
    for part in ("losses", "weights", "loss"):
        assert_same(getattr(step, part), getattr(expected, part), 1e-10)
    scores = (s.scores["gradient_similarity"] for s in (step, expected))
    assert_same(*scores, 1e-8)
    for (key, p), q in zip(one.model.named_parameters(), other.model.parameters(), strict=True):
        assert (p.grad is None) == (q.grad is None), key
        assert p.grad is None or p.grad.layout == q.grad.layout, key
    dense = [{n: p.grad for n, p in c.model.named_parameters()} for c in (one, other)]
    for key, g in dense[0].items():
        if g is not None:
            assert (g.to_dense() - dense[1][key].to_dense()).abs().max() <= 1e-10, key


@pytest.mark.parametrize("name", NOT_TAKEN)
def test_what_may_mix_samples_is_refused_by_name(name):
    case = PROBLEMS[name]()
    weigh = reweighter(case, scorer=GradientSimilarity("layer_products"))
    with pytest.raises(RuntimeError, match=NOT_TAKEN[name]):
        weigh(case.noisy, case.trusted)


@pytest.mark.parametrize("name", ["groupnorm", "tied"])
def test_score_has_no_training_pass_to_read_and_is_exact(name):
    case = PROBLEMS[name]()
    weigh = reweighter(case, scorer=GradientSimilarity("layer_products"))
    step = weigh.score(case.noisy, case.trusted)
    expected = oracle.gradient_similarity(case.model, case.sample_losses, case.noisy, case.trusted)
    assert_same(step.scores["gradient_similarity"], expected, 1e-9)


def test_single_precision():
    case, other = PROBLEMS["groupnorm"](), PROBLEMS["groupnorm"]()
    expected = by("forward", other).scores["gradient_similarity"]
    case.model.float()
    case.noisy, case.trusted = ((x.float(), y) for x, y in (case.noisy, case.trusted))
    step = by("layer_products", case)
    assert_same(step.scores["gradient_similarity"], expected, 1e-4)
    assert_same(flat_grad(case), flat_grad(other), 1e-4)
