"""The classifier among scikit-learn's tools, with all that can be given to it, right or wrong."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

pytest.importorskip("sklearn", reason="scikit-learn is an extra of its own")

from sklearn import config_context
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from reweight import GradientSimilarity, MendedLabels, SampleWeights, SoftLabels
from reweight.integrations.sklearn import MLP, ReweightedClassifier
from tests.integrations.test_sklearn import NAMES, toy

X, Y, TRUTH, MASK, WRONG = toy()


@pytest.mark.filterwarnings("ignore:no trusted rows were given", "ignore:invalid value encountered")
@parametrize_with_checks(
    [ReweightedClassifier(max_epochs=20)],
    expected_failed_checks=lambda _: {
        "check_do_not_raise_errors_in_init_or_set_params": (
            "an argument that is not known is refused at once, not kept as a parameter: the check "
            "passes one that is called as the keyword arguments are"
        )
    },
)
def test_it_is_an_estimator(estimator, check):
    check(estimator)


def quick(*given, **options):
    return ReweightedClassifier(*given, **{"max_epochs": 1, "random_state": 0, **options})


def test_parameters_with_a_prefix_are_got_set_and_cloned():
    clf = quick(MLP, module__hidden=8, reweighter__on_nonfinite="drop")
    clf.set_params(module__hidden=12, optimizer__weight_decay=0.1, lr=0.02)
    params = clone(clf).get_params()
    assert params["module__hidden"] == 12
    assert params["optimizer__weight_decay"] == 0.1
    assert params["reweighter__on_nonfinite"] == "drop"
    clf = clone(clf).fit(X, Y, trusted=MASK)
    assert clf.module_.layers[1].out_features == 12
    assert clf.optimizer_.param_groups[0]["weight_decay"] == 0.1
    assert clf.optimizer_.param_groups[0]["lr"] == 0.02
    assert clf.reweighter_.on_nonfinite == "drop"
    assert "module__hidden=12" in repr(clf)
    with pytest.raises(TypeError, match="modul__hidden"):
        ReweightedClassifier(modul__hidden=3)
    with pytest.raises(ValueError, match="Invalid parameter 'hidden'"):
        clf.set_params(hidden=3)


def test_a_mask_goes_through_pipelines_grid_search_and_cross_validation():
    far = X * 100 + 1000
    pipe = make_pipeline(StandardScaler(), quick(max_epochs=4, lr=0.01))
    name = "reweightedclassifier"
    folds = StratifiedKFold(3, shuffle=True, random_state=0)
    grid = GridSearchCV(pipe, {f"{name}__module__hidden": [1, 32]}, cv=folds)
    grid.fit(far, Y, **{f"{name}__trusted": MASK})
    assert grid.best_params_ == {f"{name}__module__hidden": 32}
    assert grid.best_estimator_[-1].sample_weight_.shape == (240,)
    assert grid.score(far, TRUTH) > 0.6
    given = {"params": {"trusted": MASK}, "error_score": "raise"}
    assert len(cross_val_score(quick(), X, Y, cv=folds, **given)) == 3
    with pytest.raises(ValueError, match=r"StratifiedKFold\(5, shuffle=True\)"):
        cross_val_score(quick(), X, Y, cv=StratifiedKFold(3), **given)


def test_metadata_routing_takes_trusted_rows_through_a_pipeline():
    far = X * 100 + 1000
    with config_context(enable_metadata_routing=True):
        clf = quick().set_fit_request(X_trusted=True, y_trusted=True)
        pipe = Pipeline([("scale", StandardScaler()), ("clf", clf)], transform_input=["X_trusted"])
        pipe.fit(far[48:], Y[48:], X_trusted=far[:48], y_trusted=Y[:48])
    scaled = StandardScaler().fit(far[48:]).transform(far)
    beside = quick().fit(scaled[48:], Y[48:], scaled[:48], Y[:48])
    assert np.array_equal(pipe[-1].sample_weight_, beside.sample_weight_)


def test_frames_keep_their_index():
    pd = pytest.importorskip("pandas", reason="frames are of pandas")
    index = [f"row{n}" for n in range(240)]
    frame = pd.DataFrame(X, columns=list("abcde"), index=index)
    labels = pd.Series(Y, index=index)
    clf = quick(max_epochs=10, lr=0.01).fit(frame, labels, trusted=pd.Series(MASK, index=index))
    plain = quick(max_epochs=10, lr=0.01).fit(X, Y, trusted=MASK)
    issues = clf.label_issues_
    assert list(issues.columns) == ["index", "given", "suggested", "quality"]
    assert issues.index.tolist() == [index[n] for n in issues["index"]]
    assert issues["index"].tolist() == plain.label_issues_["index"].tolist()
    assert (labels[issues.index] == issues["given"]).all()
    assert clf.feature_names_in_.tolist() == list("abcde")
    with pytest.raises(ValueError, match="feature names"):
        quick().fit(frame, labels, frame[["b", "a", "c", "d", "e"]].iloc[:48], labels.iloc[:48])


@pytest.mark.parametrize("names", [[3, 5, 9], [True, False], [2.0, 1.0], ["no", "yes"]])
def test_classes_may_be_of_any_type(names):
    values = np.array(names)
    labels = values[np.searchsorted(NAMES, Y) % len(names)]
    clf = quick().fit(X, labels, X[MASK], labels[MASK])
    assert clf.classes_.tolist() == sorted(names)
    assert clf.predict(X).dtype == values.dtype
    assert clf.label_issues_["given"].dtype == values.dtype
    assert clf.predict_proba(X).sum(axis=1) == pytest.approx(1)


def test_tensors_and_images_are_taken_as_they_are():
    images = torch.randn(60, 1, 6, 6, dtype=torch.float64)
    labels = torch.arange(60) % 2

    def network(num_classes):
        return nn.Sequential(nn.Conv2d(1, 3, 3), nn.Flatten(), nn.LazyLinear(num_classes))

    clf = quick(network).fit(images, labels, trusted=torch.arange(60) < 10)
    assert clf.predict(images).shape == (60,)
    assert clf.module_[0].weight.dtype == torch.float32
    assert any((p is q) for p in clf.module_[2].parameters() for q in params_of(clf))


def params_of(clf):
    return clf.optimizer_.param_groups[0]["params"]


@pytest.mark.parametrize("kind", ["embedding", "linear"])
def test_integers_stay_such_where_they_are_looked_up(kind):
    codes = np.random.default_rng(0).integers(0, 7, size=(80, 3))
    labels = codes.sum(axis=1) % 2
    module = {
        "embedding": nn.Sequential(nn.Embedding(7, 4), nn.Flatten(), nn.Linear(12, 2)),
        "linear": nn.Linear(3, 2),
    }[kind]
    assert quick(module).fit(codes, labels, trusted=np.arange(80) < 20).score(codes, labels) > 0


def test_batch_normalisation_meets_no_batch_of_one_row():
    module = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Linear(8, 3))
    clf = quick(module, batch_size=16).fit(X[:113], Y[:113], trusted=np.arange(113) < 16)
    assert len(clf.predict(X[:1])) == 1
    assert module[1].num_batches_tracked == 0  # a copy was trained
    assert clf.module_[1].num_batches_tracked == 7


def test_criteria_are_made_to_tell_one_loss_a_row():
    wholly = nn.Sequential(nn.Linear(5, 3), nn.LogSoftmax(1))
    logits = nn.Sequential(wholly[0])
    found = [
        quick(module, criterion=criterion, **more).fit(X, Y, trusted=MASK).predict_proba(X)
        for module, criterion, more in (
            (logits, nn.CrossEntropyLoss, {}),
            (logits, nn.CrossEntropyLoss(), {}),
            (wholly, nn.NLLLoss, {}),
            (logits, nn.CrossEntropyLoss, {"criterion__label_smoothing": 0.3}),
        )
    ]
    assert np.array_equal(found[0], found[1])
    np.testing.assert_allclose(found[0], found[2], atol=1e-5)
    assert not np.allclose(found[0], found[3])


def test_parts_are_chosen_by_name_class_or_instance():
    def fitted(**options):
        return quick(**options).fit(X, Y, trusted=MASK).reweighter_

    assert isinstance(fitted().labels, MendedLabels)
    assert fitted().trusted_coefficient == 0.1
    assert fitted(labels=MendedLabels, labels__rate=0.5).labels.rate == 0.5
    assert isinstance(fitted(labels="soft").labels, SoftLabels)
    by_name = fitted(weighting="sample", weighting__rate=0.3)
    assert by_name.labels is None
    assert by_name.weighting.rate == 0.3
    weighting = SampleWeights(240)
    given = fitted(weighting=weighting).weighting
    assert (given.remembered != 0).any()
    assert (weighting.remembered == 0).all()  # a copy learnt
    per_batch = quick(weighting="per_batch", reweighter__scorer=GradientSimilarity())
    per_batch.fit(X, Y, trusted=MASK)
    assert per_batch.sample_weight_[~MASK].mean() == pytest.approx(1, abs=0.1)


def test_a_line_is_printed_for_each_epoch(capsys):
    quick(max_epochs=2, verbose=1).fit(X, Y, trusted=MASK)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines] == ["epoch 1/2", "epoch 2/2"]
    assert all("trusted loss 1." in line for line in lines)


def test_a_report_names_the_classes(tmp_path):
    clf = quick(max_epochs=10, lr=0.01).fit(X, Y, trusted=MASK)
    page = clf.report(tmp_path / "issues.html", texts=[f"row {n}" for n in range(240)])
    text = page.read_text(encoding="utf-8")
    assert f"row {clf.label_issues_['index'][0]}" in text
    assert "cedar" in text
