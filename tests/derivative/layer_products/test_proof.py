"""What the products give is held against an ordinary backward pass, while a graph is new."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from reweight import GradientSimilarity
from reweight._derivative import identity
from reweight._derivative.identity import shares
from reweight._derivative.layer_products import LayerProducts, Proof, affine, small
from reweight._derivative.layer_products.samples import Samples, dot, one_by_one, reshaped, spread
from tests.helpers import reweighter
from tests.problems import PROBLEMS, mlp


@pytest.mark.parametrize(("name", "holds"), [("mlp", False), ("groupnorm", True)])
def test_cudnn_s_rounding_is_no_excuse_where_there_are_no_convolutions(monkeypatch, name, holds):
    """TF32 is on by default there and nowhere else; no CPU has it."""
    monkeypatch.setattr(identity, "short_products", lambda _, convolutions: convolutions)
    case = PROBLEMS[name]()
    model = case.model.float()
    losses = case.losses(model, (case.noisy[0].float(), case.noisy[1]))
    parameters = dict(model.named_parameters())
    products = LayerProducts(losses, parameters)
    found = torch.autograd.grad(
        (shares(losses) * losses).sum(), parameters.values(), retain_graph=True
    )
    v = products.gradients(torch.eye(len(losses))[2])
    proof = Proof(dict(zip(parameters, found, strict=True)), losses.detach())
    assert proof.holds(products, products.scores(v), v)
    wrong = Proof({n: g * 1.003 for n, g in proof.gradients.items()}, proof.losses)
    assert wrong.holds(products, products.scores(v), v) == holds


def test_a_wrong_weighted_gradient_is_found_though_scores_are_right(monkeypatch):
    right = affine.Affine.weighted

    def wrong(self, kept, weights):
        return {k: g.flip(0) for k, g in right(self, kept, weights).items()}

    monkeypatch.setattr(affine.Affine, "weighted", wrong)
    case = mlp()
    weigh = reweighter(case, scorer=GradientSimilarity("layer_products"))
    with pytest.raises(RuntimeError, match="do not add up"):
        weigh(case.noisy, case.trusted)


def test_a_wrong_score_is_found_though_gradients_are_right(monkeypatch):
    right = affine.Affine.scores
    monkeypatch.setattr(
        affine.Affine, "scores", lambda self, kept, moved: right(self, kept, moved).flip(0)
    )
    case = mlp()
    weigh = reweighter(case, scorer=GradientSimilarity("layer_products"))
    with pytest.raises(RuntimeError, match="do not add up"):
        weigh(case.noisy, case.trusted)


def sides() -> tuple[LayerProducts, Proof, dict[str, Tensor]]:
    """What is held against what, and the gradient of the third loss as v."""
    case = mlp()
    losses = case.losses(case.model, case.noisy)
    parameters = dict(case.model.named_parameters())
    products = LayerProducts(losses, parameters)
    other = torch.autograd.grad((shares(losses) * losses).sum(), parameters.values())
    proof = Proof(dict(zip(parameters, other, strict=True)), losses.detach())
    return products, proof, products.gradients(torch.eye(5, dtype=losses.dtype)[2])


def test_what_is_right_holds_and_what_is_a_little_wrong_does_not():
    products, proof, v = sides()
    scores = products.scores(v)
    assert proof.holds(products, scores, v)
    assert not proof.holds(products, scores * (1 + 1e-4), v)
    wrong = Proof({n: g * (1 + 1e-4) for n, g in proof.gradients.items()}, proof.losses)
    assert not wrong.holds(products, scores, v)


def test_a_gradient_more_than_the_other_side_has_does_not_hold():
    products, proof, v = sides()
    fewer = dict(list(proof.gradients.items())[1:])
    assert not Proof(fewer, proof.losses).holds(products, products.scores(v), v)


def test_scores_that_are_not_finite_are_refused_elsewhere():
    products, proof, v = sides()
    scores = products.scores(v)
    scores[1] = torch.nan
    assert proof.holds(products, scores, v)


def test_finite_scores_do_not_add_up_to_a_product_that_is_no_number():
    products, proof, v = sides()
    scores = products.scores(v)
    assert not proof.holds(products, scores, {n: g * torch.nan for n, g in v.items()})


def test_two_steps_are_proved_and_two_more_when_other_operators_turn_up():
    case = PROBLEMS["groupnorm"]()
    weigh = reweighter(case, scorer=GradientSimilarity("layer_products"))

    def passes() -> int:
        before = weigh._objective.passes
        weigh(case.noisy, case.trusted)
        return weigh._objective.passes - before

    passes()  # once it is found out, too, what passes write into
    assert [passes() for _ in range(3)] == [2, 1, 1]
    case.model[2] = torch.nn.Tanh()
    assert [passes() for _ in range(3)] == [2, 2, 1]


def test_self_check_may_be_turned_off(monkeypatch):
    monkeypatch.setattr(small, "group_norm", None)
    case = mlp()
    weigh = reweighter(case, scorer=GradientSimilarity("layer_products"), self_check=False)
    before = weigh._objective.passes
    weigh(case.noisy, case.trusted)
    assert weigh._objective.passes - before == 1


shapes = st.lists(st.integers(1, 4), max_size=3)


@given(before=shapes, after=shapes, outer=st.integers(1, 3), within=st.integers(1, 3))
def test_samples_keep_their_numbers_in_every_shape(before, after, outer, within):
    count = 3
    made = (*before, outer * count * within, *after)
    at = Samples(len(before), within)
    numbers = torch.arange(count).repeat_interleave(within).repeat(outer)
    tensor = numbers.reshape(-1, *[1] * len(after)).expand(made)
    flat = one_by_one(tensor, at, count).flatten(1)
    assert (flat == torch.arange(count)[:, None]).all()
    for given_shape in ((tensor.numel(),), (*before, outer, count, within, *after), made):
        found = reshaped(at, made, given_shape, count)
        if found is not None:
            other = one_by_one(tensor.reshape(given_shape), found, count).flatten(1)
            assert (other == torch.arange(count)[:, None]).all()
    assert reshaped(at, made, made, count) is not None


@given(outer=st.integers(1, 3), within=st.integers(1, 3), side=st.integers(0, 2))
def test_products_and_weights_belong_to_their_samples(outer, within, side):
    count, shape = 4, [2, 3, 2]
    shape[side] = outer * count * within
    at = Samples(side, within)
    generator = torch.Generator(torch.get_default_device()).manual_seed(0)
    a, b = (torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(2))
    weights = torch.rand(count, generator=generator, dtype=torch.float64)
    numbers = torch.arange(count).repeat_interleave(within).repeat(outer)
    expected = torch.stack(
        [(a * b).index_select(side, (numbers == i).nonzero().flatten()).sum() for i in range(count)]
    )
    scaled = a * spread(weights, at, a)
    torch.testing.assert_close(dot(a.clone(), b, at, count), expected)
    torch.testing.assert_close(dot(scaled, b, at, count), expected * weights)
