"""A fit that goes on is the one that never stopped, bit for bit."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch

pytest.importorskip("sklearn", reason="scikit-learn is an extra of its own")

from reweight.integrations.sklearn import MLP, ReweightedClassifier
from tests.integrations.test_sklearn import small, toy


def fit_in_parts(parts, *, pickled=False, optimizer=torch.optim.Adam):
    x, y, _, mask, _ = toy()
    clf = ReweightedClassifier(
        small(), optimizer=optimizer, batch_size=32, random_state=0, warm_start=True
    )
    for epochs in parts:
        clf.set_params(max_epochs=epochs).fit(x, y, trusted=mask)
        if pickled:
            clf = pickle.loads(pickle.dumps(clf))
    return clf


def assert_alike(one, other):
    for name, values in one.module_.state_dict().items():
        assert torch.equal(values, other.module_.state_dict()[name])
    assert np.array_equal(one.sample_weight_, other.sample_weight_)
    assert np.array_equal(one.quality_, other.quality_)


@pytest.mark.parametrize("pickled", [False, True])
def test_a_fit_taken_up_again_is_the_one_that_never_stopped(pickled):
    parts = fit_in_parts([1, 3], pickled=pickled)
    assert_alike(parts, fit_in_parts([4]))
    assert len(parts.history_) == 4


class Stopped(torch.optim.Adam):
    """Adam, in whose 9th step somebody presses Ctrl+C."""

    steps = 0

    def step(self, closure=None):
        super().step(closure)
        type(self).steps += 1
        if self.steps == 9:
            raise KeyboardInterrupt


def test_a_fit_stopped_by_hand_keeps_what_is_learnt_and_goes_on():
    Stopped.steps = 0
    with pytest.warns(UserWarning, match="stopped by hand in epoch 2 of 4"):
        stopped = fit_in_parts([4], optimizer=Stopped)
    assert len(stopped.history_) == 1
    assert (stopped.sample_weight_ < 1).any()
    x, y, _, mask, _ = toy()
    stopped.set_params(max_epochs=3).fit(x, y, trusted=mask)
    assert_alike(stopped, fit_in_parts([4]))


def test_a_fit_stopped_before_its_first_step_is_not_kept():
    class AtOnce(MLP):
        def train(self, mode=True):
            if mode:
                raise KeyboardInterrupt
            return super().train(mode)

    x, y, _, mask, _ = toy()
    with pytest.raises(KeyboardInterrupt):
        ReweightedClassifier(AtOnce).fit(x, y, trusted=mask)
