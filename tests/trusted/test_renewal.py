"""The trusted gradient that serves for several steps, and the fast mode made of it."""

from __future__ import annotations

import copy
import math
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
SAME, TURNED = [3.0, 4.0], [4.0, -3.0]  # a right angle


def gradient(value, name="w"):
    return {name: torch.tensor([float(value)])}


def served(held, values, model=MODEL, free=False):
    """What each of as many steps gets, if step k would compute values[k]."""
    found = []
    for value in values:
        step = held.next(model, ["w", "b"], lambda value=value: gradient(value), free=free)
        found.append(float(step["w"]))
    return found


def renewals(every, directions, averaging=0.0):
    """The steps in which a gradient is taken, if that of step k is directions[k]."""
    held, taken = RenewedGradient(every, averaging), []
    for number, direction in enumerate(directions):

        def fresh(number=number, direction=direction):
            taken.append(number)
            return {"w": torch.tensor(direction)}

        held.next(MODEL, ["w"], fresh, free=False)
    return taken


def test_while_it_is_the_same_it_serves_for_longer_and_longer():
    assert renewals(8, [SAME] * 32) == [0, 1, 3, 7, 15, 23, 31]


@pytest.mark.parametrize(
    ("every", "taken"),
    [(1, [0, 1, 2, 3, 4, 5, 6]), (2, [0, 1, 3, 5]), (3, [0, 1, 3, 6]), (100, [0, 1, 3])],
)
def test_but_for_so_many_steps_at_most(every, taken):
    assert renewals(every, [SAME] * 7) == taken


def test_where_it_turns_from_step_to_step_it_is_taken_in_every_one():
    assert renewals(8, [SAME, TURNED] * 4) == list(range(8))


def test_one_turn_ends_the_trust_and_it_is_earned_anew():
    steps = [SAME] * 9 + [TURNED] * 11
    # Taken at 7 for eight steps; at 15 it has turned, and serves for one, two, four.
    assert renewals(8, steps) == [0, 1, 3, 7, 15, 16, 18]


@pytest.mark.parametrize(("degrees", "taken"), [(18.0, [0, 1, 3]), (18.4, [0, 1, 2, 3])])
def test_it_counts_as_changed_from_a_cosine_of_0_95_on(degrees, taken):
    angles = [math.radians(degrees * k) for k in range(4)]
    assert renewals(2, [[math.cos(a), math.sin(a)] for a in angles]) == taken


def test_length_does_not_count_but_sign_does():
    assert renewals(2, [[1.0, 2.0], [30.0, 60.0], [0.0, 0.0], [0.1, 0.2]]) == [0, 1, 3]
    assert renewals(2, [[1.0, 2.0], [-1.0, -2.0], [-1.0, -2.0], [0.0, 1.0]]) == [0, 1, 2]


@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e30])
def test_what_cannot_be_compared_counts_as_changed(scale):
    assert renewals(4, [[scale, scale]] * 4) == [0, 1, 2, 3]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.complex64])
def test_it_compares_in_any_precision(dtype):
    held = RenewedGradient(2, 0.0)
    large = {"w": torch.full((100_000,), 3.0, dtype=dtype)}
    taken = []
    for number in range(4):
        held.next(MODEL, ["w"], lambda number=number: taken.append(number) or large, free=False)
    assert taken == [0, 1, 3]


def test_the_angle_is_that_of_all_parameters_together():
    """What one of two gradients lacks counts as zero."""
    held = RenewedGradient(2, 0.0)
    held.next(MODEL, ["w", "b"], lambda: gradient(1) | gradient(1, "b"), free=False)
    held.next(MODEL, ["w", "b"], lambda: gradient(1), free=False)  # cosine 0.71
    assert held.next(MODEL, ["w", "b"], lambda: gradient(5), free=False) == gradient(5)


def test_renewals_are_averaged():
    assert served(RenewedGradient(1, 0.75), [8, 0, 4, 4]) == [8, 6, 5.5, 5.125]


def test_a_gradient_that_is_there_anyway_is_taken():
    assert served(RenewedGradient(4, 0.0), [1, 2, 3, 4, 5], free=True) == [1, 2, 3, 4, 5]


def test_another_model_starts_afresh():
    held = RenewedGradient(4, 0.0)
    assert served(held, [1, 2, 3]) == [1, 2, 2]
    assert served(held, [5, 6, 7], model=nn.Linear(1, 1)) == [5, 6, 6]


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


def train(scorer, steps=5, rate=0.1, **options):
    """Scores and trusted sizes seen, step by step, while the model moves."""
    with torch.device("cpu"):  # one run, whatever device the tests are on and draw from
        case = mlp()
    device = torch.get_default_device()
    case.model.to(device)
    case.noisy, case.trusted = ((x.to(device), y.to(device)) for x, y in (case.noisy, case.trusted))
    weigh = MetaReweighter(case.model, case.loss, scorer=scorer, self_check=False, **options)
    sizes, scores = [], []
    case.model.register_forward_hook(lambda _module, _args, output: sizes.append(len(output)))
    for _ in range(steps):
        case.model.zero_grad()
        step = weigh(case.noisy, case.trusted)
        scores.append(step.scores["gradient_similarity"])
        step.loss.backward()
        with torch.no_grad():
            for p in case.model.parameters():
                p -= rate * p.grad
    return scores, sizes.count(len(case.trusted[1]))


@pytest.mark.parametrize(("rate", "passes"), [(1e-6, 4), (5.0, 9)])
def test_how_often_the_trusted_batch_is_passed_depends_on_how_far_a_step_goes(rate, passes):
    found = train(GradientSimilarity(renew_every=4), steps=9, rate=rate)
    assert found[1] == passes


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
    _, passes = train(scorer, steps=4, rate=1e-6)
    assert (scorer.method, passes) == ("forward", 3)


def test_looking_at_weights_neither_uses_nor_leaves_an_old_gradient():
    case = mlp()
    scorer = GradientSimilarity(renew_every=100)
    weigh = MetaReweighter(case.model, case.loss, scorer=scorer)
    weigh.score(case.noisy, case.trusted)
    weigh(case.noisy, case.trusted)
    weigh(case.noisy, case.trusted)  # the same once more: it will serve for two
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
