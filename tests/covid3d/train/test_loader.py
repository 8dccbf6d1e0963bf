import threading
import time

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from examples.covid3d.train.loader import Ahead
from examples.covid3d.train.patches import LabelledScan, PatchSampler


def sampler(seed=0):
    rng = np.random.default_rng(5)
    scans = [
        LabelledScan(
            f"s{i}",
            rng.random((20, 18, 17), dtype=np.float32),
            (rng.random((20, 18, 17)) < 0.05).astype(np.uint8),
        )
        for i in range(3)
    ]
    return PatchSampler(scans, (16, 16, 16), 2, 0.5, seed, 1, jitter=0.3)


def alike(a, b):
    assert torch.equal(a.images, b.images)
    assert torch.equal(a.masks, b.masks)
    assert (a.names, a.origins) == (b.names, b.origins)


@given(st.lists(st.integers(0, 6), min_size=1, max_size=8))
def test_gives_the_sampler_s_batches_in_any_order_of_steps(steps):
    ahead, plain = Ahead(sampler()), sampler()
    for step in steps:
        alike(ahead.draw(step), plain.draw(step))


class Slow:
    """Takes its time, and notes what it drew and in which thread."""

    def __init__(self, fails=()):
        self.drawn, self.fails = [], fails

    def draw(self, step):
        self.drawn.append((step, threading.current_thread() is threading.main_thread()))
        time.sleep(0.05)
        if step in self.fails:
            raise OSError(f"scan of step {step} is gone")
        return step


def test_the_next_batch_is_drawn_in_the_background_and_once():
    slow = Slow()
    ahead = Ahead(slow)
    assert [ahead.draw(step) for step in range(3)] == [0, 1, 2]
    time.sleep(0.02)
    assert slow.drawn == [(0, True), (1, False), (2, False), (3, False)]


def test_waiting_is_measured_but_for_the_first_batch():
    ahead = Ahead(Slow())
    ahead.draw(0)
    assert ahead.waited == 0
    ahead.draw(1)
    assert 0.02 < ahead.waited < 0.5
    waited = ahead.waited
    time.sleep(0.1)
    ahead.draw(2)
    assert ahead.waited - waited < 0.02


def test_an_exception_in_the_background_reaches_who_asks_for_that_batch():
    ahead = Ahead(Slow(fails=(1,)))
    assert ahead.draw(0) == 0
    with pytest.raises(OSError, match="scan of step 1 is gone"):
        ahead.draw(1)
    assert ahead.draw(2) == 2
