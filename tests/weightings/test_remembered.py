"""What is remembered of samples and groups is what a slow loop remembers."""

from __future__ import annotations

import gc
import io
import math

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given
from torch import Tensor, nn

from reweight import (
    GradientSimilarity,
    GroupWeights,
    LastLayerGradient,
    LossMagnitude,
    MetaReweighter,
    PerBatch,
    SampleWeights,
    TopK,
    Uniform,
    WeightingContext,
    WeightNet,
    as_scorer,
    normalize,
)
from reweight.scorers import as_mixture
from tests.comparing import assert_same
from tests.device import autocast, random_state
from tests.weightings.training import GROUPS, ROWS, Loop, Training, same_state, shares

RATES = [0.1, 1.0]
TOLERANCE = 1e-5  # what is remembered is in float32

KINDS = {
    "samples": lambda rate: SampleWeights(ROWS, rate=rate, prior=0.0),
    "groups": lambda rate: GroupWeights(GROUPS, rate=rate),
}
ALL = {
    "samples": lambda: SampleWeights(ROWS),
    "groups": lambda: GroupWeights(["a", "b", "c"]),
    "net": lambda: WeightNet(num_samples=ROWS),
    "every_feature": lambda: WeightNet(
        features=["loss", "remembered_loss", "margin", "remembered_margin", "class", "group"],
        num_samples=ROWS,
        num_classes=3,
        num_groups=GROUPS,
    ),
    "sum": lambda: SampleWeights(ROWS) + WeightNet(num_samples=ROWS) + GroupWeights(GROUPS),
}
"""Every weighting that remembers."""


def rows_of(kind: str, ids: Tensor, groups: Tensor) -> Tensor:
    return ids if kind == "samples" else groups


# Against the loop --------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("kind", KINDS)
def test_every_step_adds_the_mean_standardised_score_of_each_row(kind, rate):
    weighting = KINDS[kind](rate)
    training, loop = Training(weighting), Loop(rate)
    for number, size in enumerate([8, 3, 12, 1, 8, 5]):  # ids come twice in some of them
        _, ids, groups = training.batch(number, size)
        rows = rows_of(kind, ids, groups)
        step = training.step(number, size)
        loop.learn(rows, step.scores["gradient_similarity"])
        assert_same(step.weights, shares(loop.logits(rows)), TOLERANCE)
        every = torch.arange(len(weighting.remembered))
        assert_same(weighting.remembered, torch.tensor(loop.logits(every)), TOLERANCE)
        assert_same(weighting.weights, torch.sigmoid(weighting.remembered), 1e-6)


@pytest.mark.parametrize("prior", [1.0, -2.0])
def test_a_sample_is_believed_by_the_prior_before_anything_is_known(prior):
    weighting = SampleWeights(ROWS, prior=prior)
    training, loop = Training(weighting), Loop(1.0)
    assert_same(weighting.weights, torch.sigmoid(torch.full_like(weighting.weights, prior)), 1e-6)
    for number in range(3):
        _, ids, _ = training.batch(number, 8)
        step = training.step(number)
        loop.learn(ids, step.scores["gradient_similarity"])
        logits = [prior + logit for logit in loop.logits(ids)]
        assert_same(step.weights, shares(logits), TOLERANCE)
    assert_same(weighting.weights, torch.sigmoid(prior + weighting.remembered), 1e-6)


def test_the_prior_is_finite():
    with pytest.raises(ValueError, match="prior must be a finite number"):
        SampleWeights(ROWS, prior=float("nan"))


@pytest.mark.parametrize("by", ["sample", "element"])
@pytest.mark.parametrize("kind", KINDS)
def test_elements_are_weighed_by_the_row_of_their_sample_or_their_own(kind, by):
    weighting = KINDS[kind](1.0)
    training, loop = Training(weighting, sequence=4, granularity="element"), Loop(1.0)
    for number in range(4):
        _, ids, groups = training.batch(number, 5, 4)
        name = "ids" if kind == "samples" else "groups"
        if by == "element":
            count = ROWS if kind == "samples" else GROUPS
            rows = torch.arange(20).reshape(5, 4) * (number + 3) % count
            step = training.step(number, 5, **{name: rows})
        else:
            rows = rows_of(kind, ids, groups).unsqueeze(1).expand(5, 4)
            step = training.step(number, 5)
        assert step.weights.shape == (5, 4)
        loop.learn(rows, step.scores["gradient_similarity"])
        assert_same(step.weights.flatten(), shares(loop.logits(rows)), TOLERANCE)


@pytest.mark.parametrize("granularity", ["sample", "element"])
def test_the_logits_of_a_sum_are_added(granularity):
    parts = SampleWeights(ROWS, rate=0.7, prior=0.0), GroupWeights(GROUPS, rate=0.3)
    training = Training(parts[0] + parts[1], sequence=4, granularity=granularity)
    loops = Loop(0.7), Loop(0.3)
    for number in range(4):
        _, ids, groups = training.batch(number, 5, 4)
        step = training.step(number, 5)
        both = [rows if granularity == "sample" else rows[:, None].expand(5, 4)
                for rows in (ids, groups)]  # fmt: skip
        for loop, rows in zip(loops, both, strict=True):
            loop.learn(rows, step.scores["gradient_similarity"])
        logits = [sum(pair) for pair in zip(*map(Loop.logits, loops, both), strict=True)]
        assert_same(step.weights.flatten(), shares(logits), TOLERANCE)


def test_sums_may_be_bracketed_in_any_way():
    def weights(weighting):
        training = Training(weighting)
        return torch.cat([training.step(number).weights for number in range(3)])

    def parts():
        return SampleWeights(ROWS), GroupWeights(GROUPS), SampleWeights(ROWS, rate=0.3)

    a, b, c = parts()
    found = weights((a + b) + c)
    a, b, c = parts()
    assert_same(weights(a + (b + c)), found, 1e-6)


@pytest.mark.parametrize("lam", [0.0, 0.3, 1.0])
def test_per_batch_normalises_and_mixes(lam):
    scorer = lam * GradientSimilarity() + (1 - lam) * LastLayerGradient()
    training = Training(PerBatch(), scorer=scorer)
    for number in range(3):
        step = training.step(number, ids=None, groups=None)
        found = [
            share * normalize(step.scores[name])
            for share, name in ((lam, "gradient_similarity"), (1 - lam, "last_layer_gradient"))
            if share
        ]
        assert_same(step.weights, torch.stack(found).sum(0), 1e-12)
    default = Training(None, scorer=scorer)
    assert torch.equal(default.step(0).weights, Training(PerBatch(), scorer=scorer).step(0).weights)


def test_of_several_signed_scorers_the_standardised_scores_are_averaged():
    weighting = SampleWeights(ROWS, prior=0.0)
    training = Training(
        weighting,
        scorer=0.75 * GradientSimilarity()
        + 0.5 * LossMagnitude()  # has no sign, and so no part
        + 0.25 * as_scorer(lambda context: context.losses - context.losses.mean()),
    )
    loop, other = Loop(0.75), Loop(0.25)
    _, ids, _ = training.batch(0, 8)
    step = training.step(0)
    names = list(step.scores)
    loop.learn(ids, step.scores[names[0]])
    other.learn(ids, step.scores[names[2]])
    logits = [sum(pair) for pair in zip(loop.logits(ids), other.logits(ids), strict=True)]
    assert_same(step.weights, shares(logits), TOLERANCE)


# What has no part in a step ----------------------------------------------------------------------


@pytest.mark.parametrize("kind", ALL)
def test_ignored_targets_have_no_part(kind):
    def trained(noisy, ids, groups):
        training = Training(ALL[kind]())
        steps = [training.step(0), training.step(1, noisy=noisy, ids=ids, groups=groups)]
        return training, steps[1]

    (x, y), ids, groups = Training.batch(1, 8)
    y = y.clone()
    y[[2, 5]] = -100
    rest = [0, 1, 3, 4, 6, 7]
    training, step = trained((x, y), ids, groups)
    other, expected = trained((x[rest], y[rest]), ids[rest], groups[rest])
    assert step.weights[[2, 5]].tolist() == [0, 0]
    assert_same(step.weights[rest], expected.weights, 1e-9)
    assert_near_state(training.state(), other.state())


def test_ignored_elements_have_no_part():
    (x, y), ids, _ = Training.batch(0, 5, 4)
    y[0] = -100
    y[1, 2:] = -100
    weighting = SampleWeights(ROWS, prior=0.0)
    training, loop = Training(weighting, sequence=4, granularity="element"), Loop(1.0)
    step = training.step(0, 5, noisy=(x, y))
    counted = y != -100
    rows = ids.unsqueeze(1).expand(5, 4)[counted.cpu()]
    loop.learn(rows, step.scores["gradient_similarity"][counted])
    assert_same(step.weights[counted], shares(loop.logits(rows)), TOLERANCE)
    assert not step.weights[~counted].any()


def assert_near_state(one, other):
    if isinstance(one, Tensor):
        assert torch.allclose(one, other, rtol=1e-6, atol=1e-9)
    elif isinstance(one, dict):
        assert set(one) == set(other)
        for key in one:
            assert_near_state(one[key], other[key])
    else:
        assert one == other


@pytest.mark.parametrize("kind", ALL)
def test_a_sample_that_is_dropped_leaves_no_trace(kind):
    def trained(noisy, ids, groups):
        training = Training(ALL[kind](), on_nonfinite="drop")
        training.step(0)
        return training, training.step(1, noisy=noisy, ids=ids, groups=groups)

    (x, y), ids, groups = Training.batch(1, 8)
    bad = x.clone()
    bad[[2, 5]] = math.nan
    rest = [0, 1, 3, 4, 6, 7]
    training, step = trained((bad, y), ids, groups)
    other, expected = trained((x[rest], y[rest]), ids[rest], groups[rest])
    assert step.dropped == (2, 5)
    assert step.weights[[2, 5]].tolist() == [0, 0]
    assert torch.equal(step.weights[rest], expected.weights)
    assert same_state(training.state(), other.state())


@pytest.mark.parametrize("kind", ALL)
def test_a_batch_of_nothing_teaches_nothing(kind):
    training = Training(ALL[kind](), on_nonfinite="drop")
    training.step(0)
    before = training.state()
    (x, y), _, _ = Training.batch(1, 8)
    step = training.step(1, noisy=(torch.full_like(x, math.nan), y))
    assert step.kept == 0
    step = training.step(1, noisy=(x, torch.full_like(y, -100)))
    assert step.kept == 0
    assert same_state(training.state(), before)


@pytest.mark.parametrize("without_gradients", [False, True])
@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize("kind", ALL)
def test_score_leaves_no_trace(kind, trained, without_gradients):
    training = Training(ALL[kind]())
    if trained:
        training.step(0)
    noisy, ids, groups = training.batch(1, 8)
    before, random = training.state(), random_state()
    with torch.set_grad_enabled(not without_gradients):
        first = training.reweighter.score(noisy, training.trusted, ids=ids, groups=groups)
        second = training.reweighter.score(noisy, training.trusted, ids=ids, groups=groups)
    assert torch.equal(first.weights, second.weights)
    assert same_state(training.state(), before)
    assert torch.equal(random_state(), random)


@pytest.mark.parametrize("kind", ALL)
def test_scoring_before_a_training_does_not_change_it(kind):
    plain, scored = Training(ALL[kind]()), Training(ALL[kind]())
    noisy, ids, groups = scored.batch(1, 8)
    found = scored.reweighter.score(noisy, scored.trusted, ids=ids, groups=groups)
    assert_same(found.weights, torch.full((8,), 1 / 8), 1e-6)  # nothing is known yet
    for number in range(3):
        assert torch.equal(plain.step(number).weights, scored.step(number).weights)
        scored.reweighter.score(noisy, scored.trusted, ids=ids, groups=groups)
    assert same_state(plain.state(), scored.state())


def test_a_step_in_which_all_scores_are_zero_says_nothing():
    training = Training(SampleWeights(ROWS), scorer=lambda context: 0 * context.losses)
    assert_same(training.step(0).weights, torch.full((8,), 1 / 8), 1e-6)


# Other precisions, steps and settings ------------------------------------------------------------


@pytest.mark.parametrize("kind", ALL)
def test_under_autocast_what_is_remembered_stays_in_float32(kind):
    with torch.random.fork_rng():
        training = Training(ALL[kind]())
        training.model.float()
    (x, y), ids, groups = training.batch(0, 8)
    weighting = training.reweighter.weighting
    loop = Loop(1.0)
    for _ in range(3):
        with autocast(torch.bfloat16):
            trusted = (training.trusted[0].float(), training.trusted[1])
            step = training.reweighter((x.float(), y), trusted, ids=ids, groups=groups)
        step.loss.backward()
        loop.learn(ids, step.scores["gradient_similarity"])
    assert step.weights.dtype == torch.float32
    assert_same(step.weights.sum(), torch.tensor(1.0), 1e-6)
    if kind == "samples":
        assert weighting.remembered.dtype == torch.float32
        logits = [weighting.prior + logit for logit in loop.logits(ids)]
        assert_same(step.weights, shares(logits), TOLERANCE)


@pytest.mark.parametrize("granularity", ["sample", "element"])
@pytest.mark.parametrize("kind", ALL)
def test_a_resumed_training_is_one_that_never_stopped(kind, granularity):
    def build():
        return Training(
            ALL[kind](), sequence=2 * (granularity == "element"), granularity=granularity
        )

    without = build()
    expected = [without.step(number).weights for number in range(6)]
    before = build()
    found = [before.step(number).weights for number in range(3)]
    stream = io.BytesIO()
    parts = (before.reweighter, before.model, before.optimizer)
    torch.save([part.state_dict() for part in parts], stream)
    before.step(3)  # what was saved does not change any more
    after = build()
    stream.seek(0)
    states = torch.load(stream, weights_only=True)
    for part, state in zip((after.reweighter, after.model, after.optimizer), states, strict=True):
        part.load_state_dict(state)
    found += [after.step(number).weights for number in range(3, 6)]
    assert all(map(torch.equal, found, expected))
    assert same_state(after.state(), without.state())


@pytest.mark.parametrize("kind", ALL)
def test_a_state_of_another_data_set_is_refused(kind):
    training = Training(ALL[kind]())
    training.step(0)
    other = Training(
        {
            "samples": lambda: SampleWeights(ROWS + 1),
            "groups": lambda: GroupWeights(GROUPS + 1),
            "net": lambda: WeightNet(num_samples=ROWS + 1),
            "every_feature": lambda: WeightNet(num_samples=ROWS),
            "sum": lambda: SampleWeights(ROWS) + GroupWeights(GROUPS),
        }[kind]()
    )
    before = other.state()
    with pytest.raises(ValueError, match=r"was saved|same features"):
        other.reweighter.load_state_dict(training.reweighter.state_dict())
    assert same_state(other.state(), before)


def test_shares_are_right_where_every_logit_is_far_below_zero():
    weighting = SampleWeights(ROWS)
    weighting.load_state_dict({"values": torch.linspace(-400, -390, ROWS)})
    training = Training(weighting)
    noisy, _, _ = training.batch(0, ROWS)
    step = training.reweighter.score(noisy, training.trusted, ids=torch.arange(ROWS))
    expected = torch.linspace(-10, 0, ROWS, dtype=torch.float64).softmax(0)
    assert_same(step.weights, expected, 1e-4)


@pytest.mark.usefixtures("one_way")
@pytest.mark.parametrize("kind", ALL)
def test_steps_leave_no_tensor_behind(kind):
    training = Training(ALL[kind]())
    gc.collect()
    gc.disable()
    try:
        counts = []
        for _ in range(6):
            training.step(0)
            counts.append(sum(issubclass(type(o), Tensor) for o in gc.get_objects()))
    finally:
        gc.enable()
    assert counts[3] == counts[4] == counts[5]


class Mix:
    """A mixture of one scorer, as the reweighter has."""

    mixture = as_mixture(GradientSimilarity())


finite = st.floats(-1e6, 1e6, width=32)


@given(
    scores=st.lists(finite, min_size=1, max_size=12),
    losses=st.lists(st.floats(0, 1e6, width=32), min_size=12, max_size=12),
    steps=st.integers(1, 4),
    kind=st.sampled_from(sorted(ALL)),
    data=st.data(),
)
def test_weights_are_never_negative_and_sum_to_one(scores, losses, steps, kind, data):
    weighting, count = ALL[kind](), len(scores)
    several = st.lists(st.integers(0, GROUPS - 1), min_size=count, max_size=count)
    context = WeightingContext(
        losses=torch.tensor(losses[:count]),
        scores={"gradient_similarity": torch.tensor(scores)},
        mixture=Mix.mixture,
        ids=torch.tensor(data.draw(several)),
        groups=torch.tensor(data.draw(several)),
        training=True,
        _labelled=lambda: (torch.zeros(count, dtype=torch.int64), torch.tensor(scores)),
    )
    for _ in range(steps):
        weighting.learn(context)
    weights = weighting(context)
    assert weights.shape == (count,)
    assert (weights >= 0).all()
    assert weights.sum().item() == pytest.approx(1, abs=1e-5)


# Settings ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [0.0, -1.0, math.inf, math.nan])
@pytest.mark.parametrize("kind", KINDS)
def test_a_rate_out_of_range_is_refused(kind, rate):
    with pytest.raises(ValueError, match="rate must be a finite number > 0"):
        KINDS[kind](rate)


@pytest.mark.parametrize("count", [0, -1, 2.5, True, None])
@pytest.mark.parametrize("make", [SampleWeights, GroupWeights])
def test_a_number_of_rows_out_of_range_is_refused(make, count):
    if make is GroupWeights and not isinstance(count, int):
        with pytest.raises((TypeError, ValueError)):
            make(count)
        return
    with pytest.raises(ValueError, match="must be an integer >= 1"):
        make(count)


def test_groups_have_names():
    weighting = GroupWeights(["web", "crowd", "rule"], rate=1.0)
    training, loop = Training(weighting), Loop(1.0)
    _, _, groups = training.batch(0, 8)
    loop.learn(groups, training.step(0).scores["gradient_similarity"])
    expected = [1 / (1 + math.exp(-logit)) for logit in loop.logits(torch.arange(3))]
    assert list(weighting.by_name()) == ["web", "crowd", "rule"]
    assert list(weighting.by_name().values()) == pytest.approx(expected)
    assert list(GroupWeights(2).by_name().items()) == [("0", 0.5), ("1", 0.5)]


def test_two_groups_of_one_name_are_refused():
    with pytest.raises(ValueError, match="two groups have one name"):
        GroupWeights(["a", "b", "a"])


def test_parts_of_a_sum_that_speak_of_other_data_are_refused():
    with pytest.raises(ValueError, match=r"same ids: .*knows 3 of them, another 4"):
        SampleWeights(3) + WeightNet(num_samples=4)


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("scorer", [Uniform, LastLayerGradient, LossMagnitude])
def test_a_scorer_without_a_sign_is_refused(kind, scorer):
    with pytest.raises(ValueError, match="by their sign"):
        MetaReweighter(nn.Linear(2, 2), nn.MSELoss(reduction="none"), scorer=scorer(),
                       weighting=ALL[kind]())  # fmt: skip


def test_a_selector_has_its_part():
    step = Training(SampleWeights(ROWS), selector=TopK(3)).step(0)
    assert step.kept == 3
