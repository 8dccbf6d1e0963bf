"""What is remembered is what a slow loop over the steps finds."""

from __future__ import annotations

import io

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reweight import TrainingDynamics
from tests.dynamics.steps import Step, random_step, slow


@given(
    batches=st.lists(st.lists(st.integers(0, 6), min_size=1, max_size=9), min_size=1, max_size=6),
    classes=st.sampled_from([None, 2, 5]),
    signed=st.booleans(),
    seed=st.integers(0, 1000),
)
@settings(max_examples=60, deadline=None)
def test_any_order_of_ids_repeats_and_partial_coverage_agree_with_a_loop(
    batches, classes, signed, seed
):
    generator = torch.Generator().manual_seed(seed)
    steps = [random_step(generator, torch.tensor(ids), classes, signed) for ids in batches]
    dynamics = TrainingDynamics(8)
    for step in steps:
        dynamics.learn(step.context(), step.weights)
    expected = slow(8, steps, classes)
    for name in expected[0]:
        if name == "mean_probabilities" and classes is None:
            assert dynamics.mean_probabilities is None
            continue
        wanted = torch.tensor([row[name] for row in expected], dtype=torch.float64, device="cpu")
        got = getattr(dynamics, name).double().cpu()
        torch.testing.assert_close(got, wanted, rtol=2e-4, atol=2e-5, equal_nan=True, msg=name)


def test_a_state_goes_on_where_it_stopped_and_is_read_with_weights_only():
    for limit in (2**20, 0):
        generator = torch.Generator().manual_seed(0)
        steps = [
            random_step(generator, torch.tensor([n % 5, 0, 4, (2 * n) % 5]), 3, True)
            for n in range(6)
        ]
        whole, first = (TrainingDynamics(5, max_bytes=limit) for _ in range(2))
        for step in steps:
            whole.learn(step.context(), step.weights)
        for step in steps[:3]:
            first.learn(step.context(), step.weights)
        file = io.BytesIO()
        torch.save(first.state_dict(), file)
        file.seek(0)
        second = TrainingDynamics(5, max_bytes=limit)
        second.load_state_dict(torch.load(file, weights_only=True))
        for step in steps[3:]:
            second.learn(step.context(), step.weights)
        _same(second.state_dict(), whole.state_dict())


def _same(found, expected):
    assert type(found) is type(expected)
    if isinstance(found, dict):
        assert found.keys() == expected.keys()
        for name in found:
            _same(found[name], expected[name])
    elif isinstance(found, torch.Tensor):
        torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True)
    else:
        assert found == expected


def test_a_state_of_another_number_of_samples_is_refused_and_leaves_all_as_it_was():
    dynamics = TrainingDynamics(5)
    step = random_step(torch.Generator().manual_seed(0), torch.arange(5), 3, True)
    dynamics.learn(step.context(), step.weights)
    before = {k: v.clone() for k, v in dynamics.state_dict().items() if isinstance(v, torch.Tensor)}
    with pytest.raises(ValueError, match="another data set"):
        dynamics.load_state_dict(TrainingDynamics(6).state_dict())
    for name, value in before.items():
        torch.testing.assert_close(
            dynamics.state_dict()[name], value, rtol=0, atol=0, equal_nan=True
        )


def test_beyond_the_limit_the_class_with_most_of_the_votes_is_still_found():
    dynamics = TrainingDynamics(4, max_bytes=0)
    generator = torch.Generator().manual_seed(1)
    given, favourite = torch.tensor([0, 1, 2, 3]), torch.tensor([4, 3, 0, 1])
    for number in range(20):
        logits = torch.randn(4, 5, generator=generator, device="cpu").to(given.device)
        best = favourite if number % 4 else (favourite + number) % 5
        logits[torch.arange(4), best] += 6
        step = Step(torch.arange(4), torch.ones(4), torch.ones(4), logits, given)
        dynamics.learn(step.context(), step.weights)
    assert dynamics.mean_probabilities is None
    issues = dynamics.find_label_issues()
    found = issues.parts["other_label"][issues.id.argsort()]
    assert found.tolist() == favourite.tolist()


def test_a_class_that_logits_rule_out_leaves_every_number_finite():
    logits = torch.tensor([[0.0, float("-inf"), 1.0], [0.0, float("-inf"), float("-inf")]])
    step = Step(torch.arange(2), torch.ones(2), torch.ones(2), logits, torch.tensor([1, 0]))
    dynamics = TrainingDynamics(2)
    dynamics.learn(step.context(), step.weights)
    for name in ("mean_margin", "given_probability", "other_probability", "mean_probabilities"):
        assert getattr(dynamics, name).isfinite().all(), name
    assert dynamics.find_label_issues().label_quality.isfinite().all()


def test_a_batch_in_which_nothing_counts_teaches_nothing():
    dynamics = TrainingDynamics(3)
    none = torch.zeros(0)
    step = Step(none.long(), none, none, torch.zeros(0, 4), none.long())
    dynamics.learn(step.context(), step.weights)
    assert dynamics.times_seen.tolist() == [0, 0, 0]


def test_what_is_remembered_lives_where_the_batches_are():
    step = random_step(torch.Generator().manual_seed(0), torch.arange(3), 3, True)
    dynamics = TrainingDynamics(3)
    dynamics.learn(step.context(), step.weights)
    kind = torch.get_default_device().type
    assert {t.device.type for t in (dynamics.mean_loss, dynamics.given_labels)} == {kind}
    assert len(dynamics.find_label_issues()) == 3


@pytest.mark.parametrize("count", [0, -1, 2.5, True, "5"])
def test_a_number_of_samples_that_is_none_is_refused(count):
    with pytest.raises(ValueError, match="integer >= 1"):
        TrainingDynamics(count)
