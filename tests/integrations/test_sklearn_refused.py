"""What is given wrongly to the classifier is refused, or warned of, in words that mend it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

pytest.importorskip("sklearn", reason="scikit-learn is an extra of its own")

from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from reweight import NonFiniteError
from reweight.integrations.sklearn import MLP
from tests.integrations.test_sklearn import toy
from tests.integrations.test_sklearn_use import quick

X, Y, TRUTH, MASK, _ = toy()


def test_places_are_refused_where_they_would_be_of_other_rows():
    with pytest.raises(ValueError, match="places in X, and this is a clone"):
        cross_val_score(quick(), X, Y, params={"trusted": np.arange(48)}, error_score="raise")
    by_place = quick().fit(X, Y, trusted=np.flatnonzero(MASK))
    by_mask = quick().fit(X, Y, trusted=MASK)
    assert np.array_equal(by_place.sample_weight_, by_mask.sample_weight_)


def test_trusted_rows_that_a_pipeline_did_not_transform_are_noticed():
    far = X * 0.1 + 1000
    pipe = make_pipeline(StandardScaler(), quick())
    given = {
        "reweightedclassifier__X_trusted": far[MASK],
        "reweightedclassifier__y_trusted": Y[:48],
    }
    with pytest.warns(UserWarning, match="on another scale than X: the mean of feature 0"):
        pipe.fit(far, Y, **given)


def test_a_class_without_a_trusted_row_is_named():
    with pytest.warns(UserWarning, match="no trusted row is of class 'cedar'"):
        quick().fit(X, Y, trusted=MASK & (Y != "cedar"))


def test_a_loss_that_is_not_finite_names_its_rows():
    class Breaks(MLP):
        def forward(self, x):
            return torch.where(
                x[:, :1] == x.new_tensor(X[100, 0]), float("inf"), super().forward(x)
            )

    with pytest.raises(NonFiniteError) as raised:
        quick(Breaks).fit(X, Y, trusted=MASK)
    assert raised.value.__notes__ == ["These are the rows [100] of X."]


WRONG_WAYS = {
    "ones and zeros": ({"trusted": MASK.astype(int)}, ValueError, "same place twice"),
    "beyond": ({"trusted": [3, 240]}, ValueError, "places from 3 to 240, and X has rows 0 to 239"),
    "shares": ({"trusted": MASK * 0.5}, TypeError, "must be a mask"),
    "short": ({"trusted": MASK[1:]}, ValueError, "mask of 239 rows, and X has 240"),
    "none": ({"trusted": ~MASK & MASK}, ValueError, "marks no row"),
    "all": ({"trusted": MASK | True}, ValueError, "marks every row"),
    "half": ({"X_trusted": X}, ValueError, "must be given together"),
    "both": ({"X_trusted": X, "y_trusted": Y, "trusted": MASK}, ValueError, "not both"),
    "types": ({"X_trusted": X[:3], "y_trusted": [0, 1, 2]}, ValueError, "name the classes alike"),
    "features": ({"X_trusted": X[:3, :4], "y_trusted": Y[:3]}, ValueError, "expecting 5 features"),
}


@pytest.mark.parametrize("way", WRONG_WAYS)
def test_trusted_rows_that_do_not_fit_are_refused(way):
    given, kind, words = WRONG_WAYS[way]
    with pytest.raises(kind, match=words):
        quick().fit(X, Y, **given)


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        ({"module": nn.Linear(5, 2)}, ValueError, r"one logit a class, \(4, 3\).* returned \(4, 2"),
        ({"module": nn.Sequential(nn.Linear(5, 3), nn.Softmax(1))}, ValueError, "its softmax out"),
        ({"module": nn.Linear(5, 3), "criterion": nn.NLLLoss}, ValueError, "do not sum to 1"),
        ({"module": nn.Linear(5, 3), "module__bias": False}, TypeError, "give the class"),
        ({"module": "mlp"}, TypeError, "must be an nn.Module or its class"),
        ({"optimizer": torch.optim.SGD(MLP(5, 3).parameters())}, TypeError, "must be a class"),
        ({"labels": "mend"}, ValueError, "one of 'mended', 'soft'"),
        ({"labels": None, "labels__rate": 1}, TypeError, "labels__rate= cannot be handed"),
        ({"reweighter__labels": None}, TypeError, "the classifier's own parameter"),
        ({"reweighter__dynamics": None}, TypeError, "set by fit"),
        ({"max_epochs": 0}, ValueError, "max_epochs must be an integer >= 1"),
    ],
)
def test_settings_that_do_not_fit_are_refused(options, kind, words):
    with pytest.raises(kind, match=f"(?i){words}"):
        quick(**options).fit(X, Y, trusted=MASK)


def test_a_warm_start_goes_on_with_the_same_rows_and_settings_alone():
    clf = quick(warm_start=True).fit(X, Y, trusted=MASK)
    with pytest.raises(ValueError, match="goes on with the rows of the last fit"):
        clf.fit(X, TRUTH, trusted=MASK)
    with pytest.raises(ValueError, match="goes on with the rows of the last fit"):
        clf.fit(X, Y, X[MASK], Y[MASK])
    beside = quick(warm_start=True).fit(X, Y, X[MASK], Y[MASK]).fit(X, Y, X[MASK], Y[MASK])
    assert len(beside.history_) == 2
    with pytest.raises(ValueError, match="goes on with the rows of the last fit"):
        beside.fit(X, Y, X[:40], Y[:40])
    with pytest.raises(ValueError, match="batch_size changed since"):
        beside.set_params(batch_size=9).fit(X, Y, X[MASK], Y[MASK])
    with pytest.raises(ValueError, match="module__hidden changed since the last fit"):
        clf.set_params(module__hidden=3).fit(X, Y, trusted=MASK)
    clf = quick(warm_start=True).fit(X, Y, trusted=MASK)
    clf.set_params(lr=0.5).fit(X, Y, trusted=MASK)
    assert clf.optimizer_.param_groups[0]["lr"] == 0.5
