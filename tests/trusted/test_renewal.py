"""The trusted gradient that serves for several steps, and the fast mode made of it."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn

from reweight import GradientSimilarity, MetaReweighter
from reweight._trusted.renewal import RenewedGradient
from tests.comparing import assert_same
from tests.helpers import flat_grad
from tests.problems import mlp

MODEL = nn.Linear(1, 1)


def gradient(value, name="w"):
    return {name: torch.tensor([float(value)])}


def served(held, values, model=MODEL, free=False):
    """What each of as many steps gets, if step k would compute values[k]."""
    found = []
    for value in values:
        step = held.next(model, ["w", "b"], lambda value=value: gradient(value), free=free)
        found.append(float(step["w"]))
    return found


def test_one_gradient_serves_for_so_many_steps():
    assert served(RenewedGradient(3, 0.0), range(1, 8)) == [1, 1, 1, 4, 4, 4, 7]


def test_renewals_are_averaged():
    assert served(RenewedGradient(2, 0.75), [8, 0, 4, 0, 0, 0]) == [8, 8, 7, 7, 5.25, 5.25]


def test_a_gradient_that_is_there_anyway_is_taken():
    assert served(RenewedGradient(4, 0.0), [1, 2, 3], free=True) == [1, 2, 3]


def test_another_model_starts_afresh():
    held = RenewedGradient(4, 0.5)
    assert served(held, [1, 2]) == [1, 1]
    assert served(held, [5], model=nn.Linear(1, 1)) == [5]


def test_a_parameter_that_is_frozen_meanwhile_starts_afresh():
    held = RenewedGradient(4, 0.5)
    held.next(MODEL, ["w", "b"], lambda: gradient(1, "b"), free=False)
    assert held.next(MODEL, ["w"], lambda: gradient(3), free=False) == gradient(3)


def test_a_parameter_without_gradient_counts_as_zero_in_the_average():
    held = RenewedGradient(1, 0.5)
    held.next(MODEL, ["w", "b"], lambda: gradient(4), free=False)
    found = held.next(MODEL, ["w", "b"], lambda: gradient(2, "b"), free=False)
    assert found == {**gradient(2), **gradient(1, "b")}


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda held: pickle.loads(pickle.dumps(held))])
def test_copies_keep_the_settings_and_no_gradient(copied):
    held = RenewedGradient(4, 0.5)
    served(held, [1])
    other = copied(held)
    assert (other.every, other.averaging) == (4, 0.5)
    assert served(other, [7]) == [7]


@pytest.mark.parametrize("every", [0, -1, 1.5, "2"])
def test_a_number_of_steps_that_is_none(every):
    with pytest.raises(ValueError, match="renew_every must be an integer >= 1"):
        GradientSimilarity(renew_every=every)


@pytest.mark.parametrize("averaging", [-0.1, 1, 2, float("nan")])
def test_a_share_out_of_range(averaging):
    with pytest.raises(ValueError, match="averaging must be at least 0 and less than 1"):
        GradientSimilarity(averaging=averaging)


def test_unrolled_keeps_no_gradient():
    with pytest.raises(ValueError, match="takes no trusted gradient"):
        GradientSimilarity("unrolled", renew_every=2)


def train(scorer, steps=5, **options):
    """Scores and trusted sizes seen, step by step, while the model moves."""
    case = mlp()
    weigh = MetaReweighter(case.model, case.loss, scorer=scorer, **options)
    sizes, scores = [], []
    case.model.register_forward_hook(lambda _module, _args, output: sizes.append(len(output)))
    for _ in range(steps):
        case.model.zero_grad()
        step = weigh(case.noisy, case.trusted)
        scores.append(step.scores["gradient_similarity"])
        step.loss.backward()
        with torch.no_grad():
            for p in case.model.parameters():
                p -= 0.1 * p.grad
    return scores, sizes.count(len(case.trusted[1]))


def test_the_trusted_batch_is_passed_in_every_fourth_step():
    _, passes = train(GradientSimilarity(renew_every=4), steps=9)
    assert passes == 3


def test_a_trusted_term_renews_it_in_every_step_at_no_further_pass():
    exact, _ = train(GradientSimilarity(), trusted_coefficient=0.5)
    held, passes = train(GradientSimilarity(renew_every=4), trusted_coefficient=0.5)
    assert passes == 5
    for a, b in zip(exact, held, strict=True):
        assert_same(b, a, 1e-12)


def test_the_first_scores_of_the_fast_mode_are_the_exact_ones():
    (exact,), _ = train(GradientSimilarity(), steps=1)
    (fast,), _ = train(GradientSimilarity.fast(), steps=1)
    assert_same(fast, exact, 1e-5)


def test_fast_takes_other_settings():
    scorer = GradientSimilarity.fast(method="forward", renew_every=2)
    _, passes = train(scorer, steps=4)
    assert (scorer.method, passes) == ("forward", 2)


def test_looking_at_weights_neither_uses_nor_leaves_an_old_gradient():
    case = mlp()
    scorer = GradientSimilarity(renew_every=100)
    weigh = MetaReweighter(case.model, case.loss, scorer=scorer)
    weigh.score(case.noisy, case.trusted)
    weigh(case.noisy, case.trusted)
    with torch.no_grad():
        for p in case.model.parameters():
            p += 0.1
    exact = MetaReweighter(case.model, case.loss, scorer=GradientSimilarity())
    expected = exact.score(case.noisy, case.trusted).scores["gradient_similarity"]
    found = weigh.score(case.noisy, case.trusted).scores["gradient_similarity"]
    assert_same(found, expected, 1e-12)
    stale = weigh(case.noisy, case.trusted).scores["gradient_similarity"]
    assert float((stale - expected).abs().max()) > 1e-3 * float(expected.abs().max())


def test_the_loss_is_that_of_the_weights():
    case = mlp()
    weigh = MetaReweighter(case.model, case.loss, scorer=GradientSimilarity.fast())
    step = weigh(case.noisy, case.trusted)
    step.loss.backward()
    actual = flat_grad(case)
    case.model.zero_grad()
    (step.weights * case.sample_losses(case.model, case.noisy)).sum().backward()
    assert_same(actual, flat_grad(case), 1e-12)
