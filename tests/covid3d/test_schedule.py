import dataclasses
import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.covid3d.config import Config
from examples.covid3d.presets import PRESETS
from examples.covid3d.schedule import is_saturated, learning_rate, steps_per_epoch


def plainly(losses, epoch, patience):
    """Walks through complete epochs and counts those that brought nothing."""
    if patience is None or len(losses) % epoch:
        return False
    lowest, idle = None, 0
    for start in range(0, len(losses), epoch):
        mean = sum(losses[start : start + epoch]) / epoch
        if lowest is None or lowest - mean > 0.001 * abs(lowest):
            lowest, idle = mean, 0
        else:
            idle += 1
    return idle >= patience


@given(
    losses=st.lists(st.sampled_from([0.5, 0.5, 0.4996, 0.4, 0.3, 0.9, -0.2]), max_size=40),
    epoch=st.integers(1, 4),
    patience=st.one_of(st.none(), st.integers(1, 5)),
)
def test_saturation_is_its_plain_rewriting(losses, epoch, patience):
    for n in range(len(losses) + 1):
        assert is_saturated(losses[:n], epoch, patience) == plainly(losses[:n], epoch, patience)


def test_saturation_by_hand():
    assert not is_saturated([1.0, 0.9, 0.9], 1, 2)
    assert is_saturated([1.0, 0.9, 0.9, 0.9], 1, 2)
    # A thousandth lower is not lower; two thousandths are.
    assert is_saturated([1.0, 0.9995], 1, 1)
    assert not is_saturated([1.0, 0.998], 1, 1)
    assert not is_saturated([5.0] * 100, 10, None)
    # The last epoch is not complete.
    assert is_saturated([1.0] * 4, 2, 1)
    assert not is_saturated([1.0] * 5, 2, 1)


@given(step=st.integers(0, 99), steps=st.integers(100, 200))
def test_learning_rates_are_their_formulae(step, steps):
    assert learning_rate(step, steps, 0.3, "constant") == 0.3
    cosine = 0.3 * 0.5 * (1 + math.cos(math.pi * step / steps))
    assert learning_rate(step, steps, 0.3, "cosine") == pytest.approx(cosine)
    poly = 0.3 * (1 - step / steps) ** 0.9
    assert learning_rate(step, steps, 0.3, "poly") == pytest.approx(poly)


@pytest.mark.parametrize("schedule", ["poly", "cosine"])
def test_rates_fall_from_the_initial_one_and_stay_above_zero(schedule):
    rates = [learning_rate(step, 50, 0.01, schedule) for step in range(50)]
    assert rates[0] == 0.01
    assert all(a > b > 0 for a, b in itertools.pairwise(rates))


def test_epochs_are_steps_over_four_flips_of_every_scan():
    config = Config(batch_size=4)
    assert [steps_per_epoch(n, config) for n in (0, 1, 4, 159)] == [1, 1, 4, 159]
    assert steps_per_epoch(5, Config(batch_size=3)) == 7


def test_epochs_override_steps(taught):
    (replicate,) = taught.replicates()
    lesson = taught.lesson(replicate, taught.run.path)
    assert lesson.teacher_length().steps == 4
    assert (lesson.student_length().steps, lesson.student_length().epoch) == (8, 6)
    assert lesson.whole_length().steps == 12
    config = dataclasses.replace(
        lesson.config, teacher_epochs=3, student_epochs=2, student_start="scratch"
    )
    lesson = dataclasses.replace(lesson, config=config)
    # Two teacher's scans, three unlabelled ones, four flips, batches of two.
    assert (lesson.teacher_length().steps, lesson.teacher_length().epoch) == (12, 4)
    assert (lesson.student_length().steps, lesson.student_length().epoch) == (12, 6)
    assert lesson.whole_length() == lesson.student_length()
    paper = PRESETS["experiment-1"]
    assert (paper.teacher_epochs, paper.student_epochs) == (500, 500)
