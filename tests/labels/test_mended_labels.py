"""Mended labels mix the label given with what the model has long predicted."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F

from reweight import GradientSimilarity, MendedLabels, MetaReweighter
from tests.comparing import assert_same
from tests.labels.training import trained_on_wrong_labels
from tests.problems import CLASSES, PROBLEMS

N, PRIOR, RATE, PAIR, MEMORY = 9, 0.4, 0.7, 0.2, 0.6
# One id comes twice in a batch.
IDS = [torch.tensor([4, 0, 7, 2, 8]), torch.tensor([4, 3, 7, 3, 0])]


def mended(count=CLASSES, **options):
    return MendedLabels(N, count, prior=PRIOR, rate=RATE, pair_rate=PAIR, memory=MEMORY, **options)


def weigh_with(case, labels, **options):
    return MetaReweighter(
        case.model, case.loss, scorer=GradientSimilarity(), labels=labels, **options
    )


class Slow:
    """The definition, one sample at a time."""

    def __init__(self, count):
        self.phi, self.seen = [0.0] * N, [0] * N
        self.q = [torch.zeros(count).double() for _ in range(N)]
        self.pairs = torch.zeros(count, count).double()
        self.count = count

    def target(self, row, label):
        given = F.one_hot(torch.tensor(label), self.count).double()
        if not self.seen[row]:
            return given
        w = torch.sigmoid(PRIOR + self.phi[row] + self.pairs[label, self.q[row].argmax()])
        return w * given + (1 - w) * self.q[row].max() * self.q[row]

    def learn(self, rows, labels, scores, predictions):
        eye = torch.eye(self.count)
        scores = [
            torch.stack([s[k] / (p - eye[k]).norm() for k in range(self.count)])
            for s, p in zip(scores, predictions, strict=True)
        ]
        own = torch.stack([s[y] for s, y in zip(scores, labels, strict=True) if y >= 0])
        rms = own.square().mean().sqrt()
        moves, terms = {}, []
        for row, y, s, p in zip(rows, labels, scores, predictions, strict=True):
            if y < 0:
                continue
            share = 1 - min(MEMORY, self.seen[row] / (self.seen[row] + 1))
            moves.setdefault(row, []).append(share * (p - self.q[row]))
            z = float((s[y] / rms).clamp(-3, 3))
            self.phi[row] += RATE * z
            terms.append((row, y, z))
        for row, each in moves.items():
            self.q[row] = self.q[row] + torch.stack(each).mean(0)
            self.seen[row] += 1
        for row, y, z in terms:
            self.pairs[y, self.q[row].argmax()] += PAIR * z


@pytest.mark.parametrize("ignored", [[], [1, 3]])
def test_steps_are_as_their_definition_has_them(ignored):
    case, labels, slow = PROBLEMS["mlp"](), mended(), Slow(CLASSES)
    case.noisy[1][ignored] = -100
    weigh = weigh_with(case, labels)
    x, y = case.noisy
    optimizer = torch.optim.SGD(case.model.parameters(), 0.5)
    for number in range(5):
        ids = IDS[number % 2].tolist()
        logits = case.model(x).detach()
        step = weigh(case.noisy, case.trusted, ids=ids)
        slow.learn(ids, y.tolist(), step.label_scores, logits.softmax(1))
        targets = torch.stack(
            [slow.target(i, max(k, 0)) for i, k in zip(ids, y.tolist(), strict=True)]
        )
        mass = targets.sum(1) * (y >= 0)
        losses = -(targets * logits.log_softmax(1)).sum(1) / targets.sum(1) * (y >= 0)
        assert_same(step.losses, losses, 1e-5)
        assert_same(step.weights, mass / mass.sum(), 1e-5)
        optimizer.zero_grad()
        step.loss.backward()
        optimizer.step()
    seen = torch.tensor(slow.seen) > 0
    assert torch.equal(labels.trust.isfinite(), seen)
    assert torch.equal(labels.suggested >= 0, seen)


def test_before_anything_was_learnt_the_label_given_stands_alone():
    case = PROBLEMS["mlp"]()
    step = weigh_with(case, mended()).score(case.noisy, case.trusted, ids=IDS[0])
    plain = MetaReweighter(case.model, case.loss)(case.noisy, case.trusted)
    assert_same(step.losses, plain.losses, 1e-12)
    assert_same(step.weights, torch.full((5,), 0.2), 1e-6)


@pytest.mark.parametrize("granularity", ["sample", "element"])
def test_masks_are_mended_voxel_by_voxel(granularity):
    """As many samples of one voxel each would be, had they the same scores."""
    case = PROBLEMS["unet3d"]()
    case.noisy[1][0, :2] = -100
    shape = case.noisy[1].shape[1:]
    labels = mended(2, shape=shape)
    weigh = weigh_with(case, labels, granularity=granularity)
    assert labels.probabilities.shape == (N, *shape, 2)
    for _ in range(2):
        weigh(case.noisy, case.trusted, ids=IDS[0])
    given = torch.full((N, *shape), -1)
    given[IDS[0]] = case.noisy[1].clamp(min=-1)
    assert torch.equal(labels.suggested >= 0, given >= 0)
    assert torch.equal(labels.trust.isfinite(), given >= 0)
    assert_same(labels.probabilities.sum(-1), torch.ones(N, *shape), 1e-6)


def test_a_checkpoint_goes_on_where_it_stopped():
    case = PROBLEMS["mlp"]()
    one, other = weigh_with(case, mended()), weigh_with(case, mended())
    for _ in range(2):
        one(case.noisy, case.trusted, ids=IDS[0])
    other.load_state_dict(one.state_dict())
    copied = copy.deepcopy(one)
    losses = [w(case.noisy, case.trusted, ids=IDS[0]).losses for w in (one, other, copied)]
    assert torch.equal(losses[0], losses[1])
    assert torch.equal(losses[0], losses[2])
    for weigh in (other, copied):
        assert torch.equal(weigh.labels.probabilities, one.labels.probabilities)
    with pytest.raises(ValueError, match="build it as it was built"):
        MendedLabels(N + 1, CLASSES).load_state_dict(mended().state_dict())


def test_looking_at_weights_learns_nothing():
    case, labels = PROBLEMS["mlp"](), mended()
    weigh = weigh_with(case, labels)
    weigh(case.noisy, case.trusted, ids=IDS[0])
    before = copy.deepcopy(labels.state_dict())
    weigh.score(case.noisy, case.trusted, ids=IDS[0])
    for name, value in labels.state_dict().items():
        assert torch.equal(value, before[name])


def test_labels_that_are_wrong_are_mended():
    labels = MendedLabels(90, 3)
    truth, given = trained_on_wrong_labels(labels)
    wrong = given != truth
    assert (labels.suggested == truth)[wrong].float().mean() > 0.9
    assert (labels.suggested == truth)[~wrong].float().mean() > 0.9
    assert labels.trust[wrong].mean() < 0.2
    assert labels.trust[~wrong].mean() > 0.8


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rate": -1.0}, "rate"),
        ({"pair_rate": float("nan")}, "pair_rate"),
        ({"memory": 1.0}, "memory"),
        ({"max_gib": 1e-9}, "max_gib"),
    ],
)
def test_what_cannot_be_remembered_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        MendedLabels(9, 3, **options)
