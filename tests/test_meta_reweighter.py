"""The step: its loss, its gradient, what it reports, and what it refuses."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
from torch import nn

from reweight import (
    GradientSimilarity,
    KeepAll,
    LastLayerGradient,
    LossMagnitude,
    MetaReweighter,
    Rectify,
    ReweightedStep,
    ScoringContext,
    TopK,
    Uniform,
    normalize,
)
from tests import oracle
from tests.comparing import assert_same
from tests.helpers import flat_grad, reweighter, scored
from tests.problems import NOISY, PROBLEMS, mlp, opaque_batch


def rows(case):
    return oracle.per_sample_gradients(case.model, case.sample_losses, case.noisy)


def nobody(context):
    """Every sample scored below zero."""
    return -torch.ones_like(context.losses)


# The step ----------------------------------------------------------------------------------------


def test_the_gradient_is_the_weighted_sum(case):
    expected = rows(case)
    step = reweighter(case, scorer=LastLayerGradient(), selector=TopK(3))(case.noisy)
    assert step.kept == 3
    step.loss.backward()
    assert_same(flat_grad(case), step.weights @ expected, 1e-9)


def test_the_loss_is_the_weighted_sum(case):
    with oracle.undisturbed(case.model):
        losses = case.sample_losses(case.model, case.noisy).detach()
    step = reweighter(case)(case.noisy, case.trusted)
    assert_same(step.losses, losses, 1e-12)
    assert step.loss.dim() == 0
    assert_same(step.loss, (step.weights * losses).sum(), 1e-12)


def test_a_step_and_a_score_agree(case):
    weigh = reweighter(case)
    scored_only = weigh.score(case.noisy, case.trusted)
    step = weigh(case.noisy, case.trusted)
    assert_same(scored_only.losses, step.losses, 1e-12)
    assert_same(scored_only.weights, step.weights, 1e-12)
    assert_same(scored_only.loss, step.loss, 1e-12)
    for name, score in step.scores.items():
        assert_same(scored_only.scores[name], score, 1e-12)


def test_a_score_carries_no_graph():
    case = mlp()
    step = scored(case, GradientSimilarity(), trusted_coefficient=0.5)
    for tensor in (step.loss, step.weights, step.losses, step.trusted_loss, *step.scores.values()):
        assert not tensor.requires_grad


def test_a_step_carries_its_graph_in_the_loss_alone():
    case = mlp()
    step = reweighter(case)(case.noisy, case.trusted)
    assert isinstance(step, ReweightedStep)
    assert step.loss.requires_grad
    assert not step.weights.requires_grad
    assert not step.losses.requires_grad


def test_counts():
    case = mlp()
    weights = torch.tensor([0.25, 0.0, 0.125, 0.0, 0.125]).double()
    step = scored(case, Uniform(), selector=lambda _: weights)
    assert (step.kept, step.empty) == (3, False)
    assert step.effective_sample_size == pytest.approx(0.25 / (0.0625 + 2 * 0.015625))
    assert torch.equal(step.weights, weights)


def test_the_mean_trusted_loss_is_reported():
    case = mlp()
    step = scored(case, GradientSimilarity())
    expected = case.sample_losses(case.model, case.trusted).mean()
    assert_same(step.trusted_loss, expected, 1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_weights_of_a_half_precision_model_are_wide(dtype):
    case = mlp()
    case.model.to(dtype)
    case.noisy, case.trusted = ((x.to(dtype), y) for x, y in (case.noisy, case.trusted))
    step = reweighter(case)(case.noisy, case.trusted)
    assert step.weights.dtype == torch.float32
    step.loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in case.model.parameters())


def test_batches_may_change_size():
    case = mlp()
    weigh = reweighter(case)
    for count in (5, 1, 2):
        noisy = tuple(tensor[:count] for tensor in case.noisy)
        step = weigh(noisy, case.trusted)
        assert step.weights.shape == step.losses.shape == (count,)


def test_a_list_is_a_batch():
    case = mlp()
    one = scored(case, GradientSimilarity())
    case.noisy, case.trusted = list(case.noisy), list(case.trusted)
    assert torch.equal(scored(case, GradientSimilarity()).weights, one.weights)


def test_scorers_that_need_no_trusted_pass_run_none():
    case = mlp()
    calls = []
    case.model.register_forward_hook(lambda *_: calls.append(1))
    reweighter(case, scorer=Uniform())(case.noisy, case.trusted)
    assert len(calls) == 1


def test_nothing_of_a_step_outlives_it():
    case = mlp()
    seen = []

    def forward(model, batch):
        output = model(batch[0])
        seen.append(weakref.ref(output))
        return case.loss(output, batch[1])

    weigh = MetaReweighter(case.model, forward=forward)
    step = weigh(case.noisy, case.trusted)
    step.loss.backward()
    del step
    gc.collect()
    assert seen
    assert not [ref for ref in seen if ref() is not None]


# A user's own parts ------------------------------------------------------------------------------


def test_the_context_of_a_scorer(case):
    seen = {}

    def own(context):
        seen["context"] = context
        seen["losses"] = context.losses
        return torch.ones_like(context.losses)

    with oracle.undisturbed(case.model):
        losses = case.sample_losses(case.model, case.noisy)
    step = scored(case, own)
    assert isinstance(seen["context"], ScoringContext)
    assert seen["context"].model is case.model
    assert seen["context"].noisy is case.noisy
    assert seen["context"].trusted is case.trusted
    assert not seen["losses"].requires_grad
    assert_same(seen["losses"], losses, 1e-12)
    assert list(step.scores) == ["own"]


class Margin:
    """A small class of a user's own: no base class, no registration."""

    def __call__(self, context):
        return 2 * context.losses


def test_a_callable_object_is_a_scorer():
    case = mlp()
    own = scored(case, Margin(), selector=KeepAll())
    assert_same(own.weights, scored(case, LossMagnitude(), selector=KeepAll()).weights, 1e-12)
    assert len(own.scores) == 1


def test_a_function_is_a_selector():
    case = mlp()
    step = scored(case, Uniform(), selector=lambda w: torch.where(torch.arange(5) < 2, w, 0))
    assert (step.weights > 0).tolist() == [True, True, False, False, False]


# Nothing kept ------------------------------------------------------------------------------------


def test_an_empty_step_is_a_differentiable_zero(case):
    step = reweighter(case, scorer=nobody)(case.noisy, case.trusted)
    assert step.empty
    assert step.kept == 0
    assert step.effective_sample_size == 0
    assert not step.weights.any()
    assert step.loss.item() == 0
    assert step.loss.requires_grad
    step.loss.backward()
    assert not flat_grad(case).any()


def test_an_empty_step_may_fall_back_to_the_mean(case):
    expected = rows(case).mean(0)
    step = reweighter(case, scorer=nobody, on_empty="uniform")(case.noisy, case.trusted)
    assert step.empty
    assert step.kept == len(step.weights)
    step.loss.backward()
    assert_same(flat_grad(case), expected, 1e-12)


def test_on_empty_changes_nothing_where_something_is_kept():
    case = mlp()
    one = scored(case, GradientSimilarity(), on_empty="uniform")
    two = scored(case, GradientSimilarity(), on_empty="skip")
    assert not one.empty
    assert torch.equal(one.weights, two.weights)


# What is refused ---------------------------------------------------------------------------------


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_a_loss_that_reduces_is_refused_at_once(reduction):
    with pytest.raises(ValueError, match=r'reduction="none"'):
        MetaReweighter(nn.Linear(2, 2), nn.CrossEntropyLoss(reduction=reduction))


def test_a_scalar_loss_is_refused():
    case = mlp()
    case.loss = nn.functional.cross_entropy
    with pytest.raises(ValueError, match=r'reduction="none"'):
        reweighter(case)(case.noisy, case.trusted)


def test_one_of_loss_and_forward():
    model = nn.Linear(2, 2)
    loss = nn.MSELoss(reduction="none")
    with pytest.raises((TypeError, ValueError), match="forward"):
        MetaReweighter(model)
    with pytest.raises((TypeError, ValueError), match="forward"):
        MetaReweighter(model, loss, forward=lambda m, b: loss(m(b), b))


@pytest.mark.parametrize("batch", [torch.zeros(5, 6), {"x": 1}, (torch.zeros(5, 6),), 3])
@pytest.mark.parametrize("which", ["noisy", "trusted"])
def test_what_is_no_batch(batch, which):
    case = mlp()
    setattr(case, which, batch)
    with pytest.raises(TypeError, match=r"input, target"):
        reweighter(case)(case.noisy, case.trusted)


def test_an_opaque_batch_needs_forward():
    case = opaque_batch()
    weigh = MetaReweighter(case.model, nn.CrossEntropyLoss(reduction="none"))
    with pytest.raises(TypeError, match="forward"):
        weigh(case.noisy, case.trusted)


@pytest.mark.parametrize("option", ["on_empty", "on_nonfinite", "granularity"])
def test_unknown_options(option):
    case = mlp()
    with pytest.raises(ValueError, match=option):
        reweighter(case, **{option: "whatever"})


@pytest.mark.parametrize("coefficient", [-0.1, float("nan"), float("inf")])
def test_trusted_coefficients_that_make_no_sense(coefficient):
    with pytest.raises(ValueError, match="trusted_coefficient"):
        reweighter(mlp(), trusted_coefficient=coefficient)


def test_an_unknown_method():
    with pytest.raises(ValueError, match="telepathy"):
        GradientSimilarity(method="telepathy")


@pytest.mark.parametrize("shape", [(4,), (5, 1), ()])
def test_a_scorer_that_returns_the_wrong_shape(shape):
    def misshapen(_context):
        return torch.ones(shape)

    with pytest.raises(ValueError, match="misshapen"):
        scored(mlp(), misshapen)


def test_a_scorer_that_returns_no_tensor():
    with pytest.raises((TypeError, ValueError), match="wordy"):
        scored(mlp(), type("wordy", (), {"__call__": lambda *_: "text", "__name__": "wordy"})())


def test_a_selector_that_returns_the_wrong_shape():
    with pytest.raises(ValueError, match="selector"):
        scored(mlp(), Uniform(), selector=lambda weights: weights[:2])


@pytest.mark.parametrize("scorer", [3, "uniform", Uniform])
def test_what_is_no_scorer(scorer):
    with pytest.raises(TypeError, match="scorer"):
        reweighter(mlp(), scorer=scorer)


def test_what_is_no_model():
    with pytest.raises(TypeError, match="model"):
        MetaReweighter(lambda x: x, nn.MSELoss(reduction="none"))


@pytest.mark.parametrize("call", ["__call__", "score"])
def test_no_trainable_parameter(call):
    case = mlp()
    weigh = reweighter(case)
    case.model.requires_grad_(False)
    with pytest.raises(ValueError, match="requires"):
        getattr(weigh, call)(case.noisy, case.trusted)


def test_a_step_under_no_grad():
    case = mlp()
    weigh = reweighter(case)
    with torch.no_grad(), pytest.raises(RuntimeError, match="no_grad"):
        weigh(case.noisy, case.trusted)


def test_a_score_under_no_grad_is_fine():
    case = mlp()
    weigh = reweighter(case)
    expected = weigh.score(case.noisy, case.trusted)
    with torch.no_grad():
        step = weigh.score(case.noisy, case.trusted)
        assert not torch.is_grad_enabled()
    assert torch.equal(step.weights, expected.weights)


@pytest.mark.parametrize("name", ["mlp", "batchnorm_train", "dropout"])
def test_reweighting_trains(name):
    case = PROBLEMS[name]()
    optimizer = torch.optim.SGD(case.model.parameters(), lr=0.2)
    weigh = reweighter(case)
    trusted = []
    for _ in range(30):
        step = weigh(case.noisy, case.noisy)
        trusted.append(step.trusted_loss.item())
        step.loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert sum(trusted[-5:]) < 0.9 * sum(trusted[:5])


@pytest.mark.parametrize("call", ["__call__", "score"])
def test_inference_mode_is_refused(call):
    case = mlp()
    weigh = reweighter(case)
    with torch.inference_mode(), pytest.raises(RuntimeError, match="inference_mode"):
        getattr(weigh, call)(case.noisy, case.trusted)


@pytest.mark.parametrize("selector", [Rectify, 0.1])
def test_what_is_no_selector(selector):
    with pytest.raises(TypeError, match="selector"):
        reweighter(mlp(), selector=selector)


@pytest.mark.parametrize("selector", [lambda w: w > 0, lambda w: w / 0])
def test_what_are_no_weights(selector):
    case = mlp()
    with pytest.raises(ValueError, match="weights"):
        reweighter(case, selector=selector)(case.noisy, case.trusted)


def test_a_loss_class_is_not_a_loss():
    with pytest.raises(TypeError, match="loss must be a function"):
        MetaReweighter(mlp().model, nn.CrossEntropyLoss)


def test_dropping_everything_still_reports_every_score():
    case = mlp()
    inputs = torch.full_like(case.noisy[0], float("nan"))
    step = reweighter(case, on_nonfinite="drop").score((inputs, case.noisy[1]), case.trusted)
    assert not step.loss.requires_grad
    assert step.empty
    assert set(step.scores) == {"gradient_similarity", "last_layer_gradient"}


def test_the_paper_by_name():
    case = PROBLEMS["batchnorm_train"]()
    weigh = MetaReweighter.paper(case.model, case.loss)
    step = weigh.score(case.noisy, case.trusted)
    mixed = sum(0.5 * normalize(scores) for scores in step.scores.values())
    assert list(step.scores) == ["gradient_similarity", "last_layer_gradient"]
    expected = torch.where(mixed >= (1 - 1e-12) / NOISY, mixed, 0)
    assert_same(step.weights, expected, 1e-12)
    assert (weigh.trusted_coefficient, weigh.on_empty) == (0.0, "skip")


@pytest.mark.parametrize(
    "option", [{"scorer": Uniform()}, {"trusted_coefficient": 1.0}, {"on_empty": "uniform"}]
)
def test_the_paper_is_not_adjustable(option):
    with pytest.raises(TypeError, match=f"{next(iter(option))} would change it"):
        MetaReweighter.paper(nn.Linear(1, 1), nn.MSELoss(reduction="none"), **option)
