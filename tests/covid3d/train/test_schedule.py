import dataclasses
import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.covid3d.common.config import Config
from examples.covid3d.run.presets import PRESETS
from examples.covid3d.train.schedule import is_saturated, learning_rate, steps_per_epoch, window_of


def plainly(means, patience):
    """Whether the last ``patience`` windows all failed to beat the lowest before them."""
    if patience is None or len(means) <= patience:
        return False
    # What a mean must fall below moves only when one falls far enough.
    lowest, better = means[0], [True]
    for mean in means[1:]:
        better.append(lowest - mean > 0.001 * abs(lowest))
        if better[-1]:
            lowest = mean
    return not any(better[-patience:])


@given(
    means=st.lists(st.sampled_from([0.5, 0.5, 0.4996, 0.4, 0.3, 0.9, -0.2]), max_size=12),
    patience=st.one_of(st.none(), st.integers(1, 5)),
)
def test_saturation_is_its_plain_rewriting(means, patience):
    assert is_saturated(means, patience) == plainly(means, patience)


def test_saturation_by_hand():
    assert not is_saturated([], 1)
    assert not is_saturated([1.0, 0.9, 0.9], 2)
    assert is_saturated([1.0, 0.9, 0.9, 0.9], 2)
    # A thousandth lower is not lower; two thousandths are.
    assert is_saturated([1.0, 0.9995], 1)
    assert not is_saturated([1.0, 0.998], 1)
    # Many small falls are none.
    assert is_saturated([1.0, 0.9995, 0.9992], 2)
    assert not is_saturated([5.0] * 100, None)


def test_windows_are_epochs_but_not_short_ones():
    assert [window_of(epoch) for epoch in (1, 99, 100, 101, 5000)] == [100, 100, 100, 101, 5000]


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
