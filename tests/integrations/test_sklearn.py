"""The classifier in scikit-learn's style learns what the library alone would."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

pytest.importorskip("sklearn", reason="scikit-learn is an extra of its own")

from reweight import MendedLabels, MetaReweighter, SampleWeights, TrainingDynamics, paired
from reweight.integrations._sklearn.batches import ShuffledBatches
from reweight.integrations._sklearn.random import OwnRandom
from reweight.integrations.sklearn import ReweightedClassifier
from tests import device

NAMES = np.array(["ash", "birch", "cedar"])


def toy(count: int = 240, trusted: int = 48, noise: float = 0.25):
    """Rows of three classes; the first ones are trusted, and a share of the others is wrong."""
    random = np.random.default_rng(0)
    x = random.normal(size=(count, 5)).astype(np.float32)
    truth = x[:, :3].argmax(axis=1)
    wrong = random.random(count) < noise
    wrong[:trusted] = False
    given = np.where(wrong, (truth + random.integers(1, 3, count)) % 3, truth)
    return x, NAMES[given], NAMES[truth], np.arange(count) < trusted, wrong


@pytest.fixture(autouse=True)
def own_device():
    """The classifier is told its device, whichever the tests run on."""
    with torch.device("cpu"):
        yield


def small() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 3))


@pytest.mark.compatibility("framework", "scikit-learn estimator", "as the plain loop")
@pytest.mark.parametrize("recipe", ["mended", "sample"])
@pytest.mark.parametrize("beside", [False, True])
@pytest.mark.usefixtures("one_way")
def test_it_is_the_loop_of_the_readme_bit_for_bit(recipe, beside):
    x, y, _, mask, _ = toy()
    options = {"optimizer": torch.optim.SGD, "lr": 0.1, "max_epochs": 3, "batch_size": 32}
    clf = ReweightedClassifier(
        small(),
        weighting="sample" if recipe == "sample" else None,
        trusted_batch_size=24,
        random_state=np.random.RandomState(5),
        **options,
    )
    if beside:
        clf.fit(x[48:], y[48:], x[:48], y[:48])
    else:
        clf.fit(x, y, trusted=mask)

    inputs, labels = torch.tensor(x), torch.tensor(np.searchsorted(NAMES, y))
    first = 48 if beside else 0  # an id is a row of X
    dynamics = TrainingDynamics(240 - first)
    seed = int(np.random.RandomState(5).randint(2**31 - 4))
    model = small()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    remembered = {
        "mended": {"labels": MendedLabels(240 - first, 3)},
        "sample": {"weighting": SampleWeights(240 - first)},
    }
    reweighter = MetaReweighter(
        model,
        nn.CrossEntropyLoss(reduction="none"),
        trusted_coefficient=0.1,
        dynamics=dynamics,
        **remembered[recipe],
    )
    loaders = [
        ShuffledBatches(
            inputs, labels, rows, size, torch.Generator().manual_seed(seed + n), torch.device("cpu")
        )
        for n, rows, size in ((1, torch.arange(48, 240), 32), (2, torch.arange(48), 24))
    ]
    batches = paired(*loaders)
    with OwnRandom(seed, torch.device("cpu"))():
        for _ in range(3):
            for (a, b, rows), (c, d, _) in batches:
                optimizer.zero_grad()
                step = reweighter((a, b), (c, d), ids=rows - first)
                step.loss.backward()
                optimizer.step()

    for one, other in zip(clf.module_.parameters(), model.parameters(), strict=True):
        assert torch.equal(one, other)
    weights = reweighter.labels.trust if recipe == "mended" else reweighter.weighting.weights
    assert np.array_equal(clf.sample_weight_[48 - first :], weights[48 - first :].double().numpy())
    issues = dynamics.find_label_issues()
    assert clf.label_issues_["index"].tolist() == issues.id[issues.is_label_issue].tolist()
    assert len(clf.label_issues_) > 10


def test_without_trusted_rows_it_is_plain_training_and_says_so():
    x, y, _, _, _ = toy()
    clf = ReweightedClassifier(small(), max_epochs=2, batch_size=40, random_state=0)
    with pytest.warns(UserWarning, match="no trusted rows were given") as said:
        clf.fit(x, y)
    assert said[0].filename == __file__
    seed = int(np.random.RandomState(0).randint(2**31 - 4))
    model, order = small(), torch.Generator().manual_seed(seed + 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
    labels = torch.tensor(np.searchsorted(NAMES, y))
    with OwnRandom(seed, torch.device("cpu"))():
        for _ in range(2):
            for rows in torch.randperm(240, generator=order).split(40):
                optimizer.zero_grad()
                loss = nn.functional.cross_entropy(model(torch.tensor(x)[rows]), labels[rows])
                loss.backward()
                optimizer.step()
    for one, other in zip(clf.module_.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(one, other)
    assert (clf.sample_weight_ == 1).all()
    assert len(clf.quality_) == 240


def test_the_wrong_labels_of_a_toy_set_are_found():
    x, y, truth, mask, wrong = toy(600, 60)
    clf = ReweightedClassifier(random_state=0, lr=0.01).fit(x, y, trusted=mask)
    issues = clf.label_issues_
    assert issues.dtype.names == ("index", "given", "suggested", "quality")
    assert wrong[issues["index"]].mean() > 0.9
    assert len(issues) > 0.6 * wrong.sum()
    assert (issues["given"] == y[issues["index"]]).all()
    assert (issues["suggested"] == truth[issues["index"]]).mean() > 0.85
    assert (np.diff(issues["quality"]) >= 0).all()
    assert (clf.quality_ < 0.5).sum() == len(issues)
    assert clf.sample_weight_[wrong].mean() < 0.3 < 0.8 < clf.sample_weight_[~wrong].mean()
    assert clf.score(x, truth) > 0.9
    assert (clf.sample_weight_[mask] == 1).all()
    assert (clf.quality_[mask] == 1).all()
    assert len(clf.history_) == 20
    assert clf.history_[-1]["trusted_loss"] < clf.history_[0]["trusted_loss"]


def test_two_fits_with_one_seed_are_alike_and_no_global_stream_moves():
    x, y, _, mask, _ = toy()
    torch.manual_seed(11)
    np.random.seed(11)  # noqa: NPY002 - it is the stream that is not to move
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    fits = [
        ReweightedClassifier(
            module__dropout=0.3, max_epochs=3, batch_size=16, random_state=seed
        ).fit(x, y, trusted=mask)
        for seed in (4, 4, 5)
    ]
    found = [clf.predict_proba(x) for clf in fits]
    assert np.array_equal(found[0], found[1])
    assert np.array_equal(fits[0].sample_weight_, fits[1].sample_weight_)
    assert not np.array_equal(found[0], found[2])
    # Ways that differ in rounding are chosen by no clock, or fits would be alike by chance alone.
    assert all("timed=False" in clf.reweighter_.explain() for clf in fits)
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])  # noqa: NPY002


def test_batches_hold_each_row_once_and_leave_no_rest():
    x, y = torch.arange(65.0).unsqueeze(1), torch.arange(65)
    rows = torch.arange(65)[torch.arange(65) != 7]
    batches = ShuffledBatches(x, y, rows, 21, torch.Generator(), torch.device("cpu"))
    passes = [list(batches), list(batches)]
    for found in passes:
        assert [len(b[2]) for b in found] == [16] * 4
        assert len(found) == len(batches)
        assert torch.cat([b[2] for b in found]).sort().values.tolist() == rows.tolist()
        assert all(torch.equal(a.squeeze(1), c.float()) for a, _, c in found)
        assert all(torch.equal(b, c) for _, b, c in found)
    assert not torch.equal(passes[0][0][2], passes[1][0][2])


def test_it_trains_on_the_device_that_is_asked_for_whatever_the_default_is():
    x, y, _, mask, _ = toy()
    options = {"max_epochs": 2, "batch_size": 32, "random_state": 0}
    module = nn.Linear(5, 3)
    plain = ReweightedClassifier(module, **options).fit(x, y, trusted=mask)
    asked = device.wanted() or torch.device("cpu")
    with torch.device("meta"):  # on which nothing can be computed
        moved = ReweightedClassifier(module, device=asked, **options).fit(x, y, trusted=mask)
        built = ReweightedClassifier(device=asked, **options).fit(x, y, trusted=mask)
        beside = ReweightedClassifier(module, device=asked, **options)
        found = beside.fit(x[48:], y[48:], x[:48], y[:48]).predict_proba(x)
    own = ReweightedClassifier(**options).fit(x, y, trusted=mask)
    np.testing.assert_allclose(built.predict_proba(x), own.predict_proba(x), atol=1e-5)
    assert next(moved.module_.parameters()).device.type == asked.type
    np.testing.assert_allclose(moved.predict_proba(x), plain.predict_proba(x), atol=1e-5)
    np.testing.assert_allclose(moved.sample_weight_, plain.sample_weight_, atol=1e-5)
    np.testing.assert_allclose(found, plain.predict_proba(x), atol=1e-5)


class Counting(torch.optim.SGD):
    """Counts its steps in a tensor on the default device, as PyTorch's own did up to 2.11."""

    def step(self, closure=None):
        state = self.state.setdefault(self.param_groups[0]["params"][0], {})
        state.setdefault("step", torch.tensor(0.0)).add_(1).item()
        return super().step(closure)


def test_an_optimiser_that_counts_on_the_default_device_counts_on_the_cpu():
    x, y, _, mask, _ = toy()
    options = {"max_epochs": 1, "batch_size": 32, "random_state": 0, "optimizer": Counting}
    expected = ReweightedClassifier(nn.Linear(5, 3), **options).fit(x, y, trusted=mask)
    with torch.device("meta"):
        found = ReweightedClassifier(expected.module, **options).fit(x, y, trusted=mask)
    np.testing.assert_allclose(found.predict_proba(x), expected.predict_proba(x), atol=1e-6)


class Accelerator:
    """The random numbers of another device: a count of what was drawn."""

    def __init__(self):
        self.state = 100

    def manual_seed(self, seed):
        self.state = seed

    def get_rng_state(self):
        return self.state

    def set_rng_state(self, state):
        self.state = state


def test_the_stream_of_another_device_goes_on_and_is_put_back(monkeypatch):
    module = Accelerator()
    monkeypatch.setattr(torch, "get_device_module", lambda _: module)
    random = OwnRandom(7, torch.device("cuda"))
    seen = []
    for _ in range(2):
        with random():
            seen.append(module.state)
            module.state += 1
        assert module.state == 100
    assert seen == [7, 8]
